//! Cells found ahead of the events that want them.
//!
//! Each event that is near has a row of cells, by the last bits of their owners' numbers. A row may be
//! another event's by the time it is read, and a cell another key's: who reads one looks whose it is.
//! A live cell of an owner and a key is the only one, however it was found.

use bytemuck::{Pod, Zeroable};
use event::Symbol;
use event::prefetch::{fetch, prefetch};

use super::cells::{Key, KeyCell};
use super::holdings::Bounds;
use super::keys::Packed;
use super::pages::NIL;
use super::seats::{SEATS_MAX, Seat};
use super::state::{Owner, State, Vacant, beside, tag_of};

/// Events that are near.
pub const ROWS: usize = 16;

/// Owners are told apart by so many of their numbers' last values.
const OWNERS: usize = 256;

/// Places of a row: those of seats, and of owners that have none.
const PLACES: usize = 2 * SEATS_MAX;

/// Where rows have an owner's cell: its seat, or another place, which it may share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(u8);

impl Place {
    /// Nobody's: there is never a cell.
    pub const NOBODY: Self = Self(PLACES as u8 - 1);

    /// That of a seat; nobody's where it is none.
    pub const fn of_seat(Seat(seat): Seat) -> Self {
        Self(seat)
    }
}

/// Cells of one event: 1 more than each; 0 where none was found. A line of memory has those of seats.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Nearby([u32; PLACES]);

impl Nearby {
    /// That of a place; [`NIL`] where none was found.
    #[inline(always)]
    pub fn at(&self, Place(place): Place) -> u32 {
        self.0[usize::from(place) % PLACES].wrapping_sub(1)
    }

    /// Those of seats.
    #[inline(always)]
    pub fn seated(&mut self) -> &mut [u32; SEATS_MAX] {
        self.0.first_chunk_mut().unwrap_or_else(|| unreachable!("a row has places for all seats"))
    }
}

/// Rows of cells, and the current one.
#[derive(Debug)]
pub struct Near {
    rows: [Nearby; ROWS],
    at: usize,
    /// Places in front of that.
    first: usize,
    /// Where in them the cells of owners are.
    places: [Place; OWNERS],
}

impl Near {
    /// Nothing found; who has seats stands in the bounds.
    pub fn new(bounds: &Bounds) -> Self {
        let mut places = [Place::NOBODY; OWNERS];
        for (owner, place) in places.iter_mut().enumerate() {
            *place = Place((SEATS_MAX + owner % (PLACES - SEATS_MAX - 1)) as u8);
        }
        for (Owner(owner), seat) in bounds.seats() {
            places[owner as usize % OWNERS] = Place::of_seat(seat);
        }
        Self { rows: [Nearby([0; PLACES]); ROWS], at: 0, first: 0, places }
    }

    /// The next event has come; its row.
    #[inline(always)]
    pub fn go_on(&mut self) -> usize {
        self.at = (self.at + 1) % ROWS;
        self.first = self.at * PLACES;
        self.at
    }

    /// The next event's row is the first.
    pub fn start(&mut self) {
        self.at = ROWS - 1;
        self.first = self.at * PLACES;
    }

    /// Where rows have the cell of an owner.
    #[inline(always)]
    pub fn place(&self, Owner(owner): Owner) -> Place {
        self.places[owner as usize % OWNERS]
    }

    /// The current event's cell of an owner, most likely; [`NIL`] where none was found.
    #[inline(always)]
    pub fn cell(&self, owner: Owner) -> u32 {
        self.row(self.at).at(self.place(owner))
    }

    /// The same, where it is known where rows have it.
    #[inline(always)]
    pub fn at(&self, Place(place): Place) -> u32 {
        let rows: &[u32; ROWS * PLACES] = bytemuck::cast_ref(&self.rows);
        rows[(self.first + usize::from(place)) % rows.len()].wrapping_sub(1)
    }

    /// What was found for an event.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &Nearby {
        &self.rows[row % ROWS]
    }

    /// The same, to be found.
    #[inline(always)]
    pub fn row_mut(&mut self, row: usize) -> &mut Nearby {
        &mut self.rows[row % ROWS]
    }
}

impl State {
    /// The cell of an owner and key.
    #[inline(always)]
    pub fn find(&self, owner: Owner, key: &Key) -> Option<u32> {
        self.look(owner, key).ok()
    }

    /// The cell of an owner and key, or where it would be entered.
    #[inline(always)]
    pub fn look(&self, owner: Owner, key: &Key) -> Result<u32, Vacant> {
        let (cell, whose) = match Packed::of(key) {
            Some(packed) => self.look_near(owner, packed),
            None => self.seek_wide(owner, key),
        };
        if whose == owner.0 + 1 { Ok(cell) } else { Err(Vacant(cell)) }
    }

    /// As [`Self::look`], of a key of one text, where it is known where rows have the owner's cell.
    #[inline(always)]
    pub fn look_text(&self, (owner, place): (Owner, Place), text: Symbol) -> Result<u32, Vacant> {
        let (near, key) = (self.near.at(place), Packed::text(text));
        let (cell, whose) = match self.keys.peek(near) {
            Some(held) if held.is(owner, key) => (near, held.owner),
            _ => self.seek(owner, key),
        };
        if whose == owner.0 + 1 { Ok(cell) } else { Err(Vacant(cell)) }
    }

    /// The cell of an owner and a text, to change it: where it was found ahead and holds something, as nearly
    /// all do.
    #[inline(always)]
    pub fn near_mut(
        &mut self,
        (owner, place): (Owner, Place),
        text: Symbol,
    ) -> Option<(u32, &mut KeyCell)> {
        let cell = self.near.at(place);
        let held = self.keys.peek_mut(cell)?;
        (held.key == Packed::text(text) && held.owner == owner.0 + 1).then_some((cell, held))
    }

    /// Whether the cell of an owner and a text was found ahead and stands empty: there is no other.
    #[inline(always)]
    pub fn is_idle_near(&self, (owner, place): (Owner, Place), text: Symbol) -> bool {
        let held = self.keys.peek(self.near.at(place));
        held.is_some_and(|held| held.key == Packed::text(text) && held.is_idle_of(owner))
    }

    /// Whether the cell in an owner's seat of a text holds anything.
    #[inline(always)]
    pub fn is_taken(&self, (owner, seat): (Owner, Seat), text: Symbol) -> bool {
        let cell = self.seats.cell(self.seats.row(text), seat);
        self.keys.peek(cell).is_some_and(|held| held.owner == owner.0 + 1)
    }

    /// The cell of an owner and key, and whose that says it is: the one that was found ahead, most likely.
    #[inline(always)]
    fn look_near(&self, owner: Owner, key: Packed) -> (u32, u32) {
        let near = self.near.cell(owner);
        match self.keys.peek(near) {
            Some(held) if held.is(owner, key) => (near, held.owner),
            _ => self.seek(owner, key),
        }
    }

    /// The same by the index; `NIL` where there is none.
    #[inline(never)]
    fn seek(&self, owner: Owner, key: Packed) -> (u32, u32) {
        if let Some((text, seat)) = self.seat_of(owner, key) {
            let cell = self.seats.cell(self.seats.row(text), seat);
            return self.keys.peek(cell).map_or((NIL, 0), |held| (cell, held.owner));
        }
        match self.index.first_of(beside(key.half(), owner)) {
            Err(true) => return (NIL, 0),
            Ok(cell) => {
                let held = self.keys.get(cell);
                if held.is(owner, key) {
                    return (cell, held.owner);
                }
            }
            Err(false) => {}
        }
        self.seek_further(owner, key)
    }

    #[cold]
    #[inline(never)]
    fn seek_further(&self, owner: Owner, key: Packed) -> (u32, u32) {
        let tag = beside(key.half(), owner);
        let found = self.index.find(tag, |cell| self.keys.get(cell).is(owner, key));
        found.map_or((NIL, 0), |cell| (cell, self.keys.get(cell).owner))
    }

    #[cold]
    #[inline(never)]
    fn seek_wide(&self, owner: Owner, key: &Key) -> (u32, u32) {
        let found = self.index.find(tag_of(owner, key), |cell| {
            let cell = self.keys.get(cell);
            cell.is(owner, cell.key) && self.is_wide(cell, key)
        });
        found.map_or((NIL, 0), |cell| (cell, self.keys.get(cell).owner))
    }

    /// Asks for where the index begins to look for a key of one text, whoever owns it: those of one key
    /// stand together.
    #[inline(always)]
    pub fn expect_slot(&self, text: Symbol) {
        fetch(self.index.first(Packed::text(text).half()));
    }

    /// Finds the cell of an owner and a text for an event that will want it, most likely, and asks for it. Were
    /// it another's the wrong line would be asked for, and nothing else be wrong.
    #[inline(always)]
    pub fn look_ahead(&mut self, row: usize, owner: Owner, place: Place, text: Symbol) {
        // Who keeps account of what it holds is not looked up where that is nothing.
        if self.bounds.keeps_account(owner)
            && self.awaited.as_ref().is_some_and(|awaited| !awaited.may_await(owner, text))
        {
            return;
        }
        let cell = match self.bounds.seat_of(owner) {
            Seat::NONE => self.index.likely(beside(Packed::text(text).half(), owner)),
            seat => self.seats.cell(self.seats.row(text), seat),
        };
        self.near.row_mut(row).0[usize::from(place.0) % PLACES] = cell.wrapping_add(1);
        prefetch(self.keys.cells(), if cell == NIL { 0 } else { cell as usize });
    }
}
