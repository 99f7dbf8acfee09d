//! Cells found ahead of the events that want them.
//!
//! Each event that is near has a row of cells, by the last bits of their owners' numbers. A row may be
//! another event's by the time it is read, and a cell another key's: who reads one looks whose it is.
//! A live cell of an owner and a key is the only one, however it was found.

use event::Symbol;
use event::prefetch::{fetch, prefetch};

use super::cells::Key;
use super::keys::Packed;
use super::pages::NIL;
use super::seats::{Row, Seat};
use super::state::{Owner, State, Vacant, beside, tag_of};

/// Events that are near.
pub const ROWS: usize = 16;

/// Cells of each.
const CELLS: usize = 16;

/// Cells of one event: a line of memory.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Nearby([u32; CELLS]);

impl Nearby {
    const NOTHING: Self = Self([NIL; CELLS]);

    /// That of an owner.
    #[inline(always)]
    pub fn of(&self, Owner(owner): Owner) -> u32 {
        self.0[owner as usize % CELLS]
    }
}

/// Rows of cells, and the current one.
#[derive(Debug)]
pub struct Near {
    rows: [Nearby; ROWS],
    at: usize,
}

impl Default for Near {
    fn default() -> Self {
        Self { rows: [Nearby::NOTHING; ROWS], at: 0 }
    }
}

impl Near {
    /// The next event has come; its row.
    #[inline(always)]
    pub fn go_on(&mut self) -> usize {
        self.at = (self.at + 1) % ROWS;
        self.at
    }

    /// The next event's row is the first.
    pub fn start(&mut self) {
        self.at = ROWS - 1;
    }

    /// The current event's cell of an owner, most likely; [`NIL`] where none was found.
    #[inline(always)]
    pub fn cell(&self, owner: Owner) -> u32 {
        self.row(self.at).of(owner)
    }

    /// What was found for an event.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &Nearby {
        &self.rows[row % ROWS]
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
    pub fn look_ahead(&mut self, row: usize, owner: Owner, text: Symbol) {
        // Who keeps account of what it holds is not looked up where that is nothing.
        if self.bounds.keeps_account(owner)
            && self.awaited.as_ref().is_some_and(|awaited| !awaited.may_await(owner, text))
        {
            return;
        }
        let cell = self.index.likely(beside(Packed::text(text).half(), owner));
        self.found_ahead(row, owner, cell);
    }

    /// The same, where the owner has a seat in the text's row.
    #[inline(always)]
    pub fn see_ahead(&mut self, row: usize, owner: Owner, of: Row, seat: Seat) {
        let cell = self.seats.cell(of, seat);
        self.found_ahead(row, owner, cell);
    }

    #[inline(always)]
    fn found_ahead(&mut self, row: usize, owner: Owner, cell: u32) {
        self.near.rows[row % ROWS].0[owner.0 as usize % CELLS] = cell;
        prefetch(self.keys.cells(), if cell == NIL { 0 } else { cell as usize });
    }
}
