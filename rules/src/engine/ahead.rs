//! What an event will want, looked up while others are judged.
//!
//! A site with many keys has its state in main memory: a step that begins to wait for it when it
//! looks costs more than all it does. Events stand in a queue before they are stepped: that of some
//! places on is looked at, a stage at a time. The cells found are handed to the steps
//! ([`super::near`]), which look whether they are the ones they want: findings do not depend on it.
//!
//! What events of a kind want is a few lists of places, one for each thing that is asked for, found out
//! once in a while. Which kind comes next, nobody can foretell: so the first of each list is asked for whether there is
//! one or not, nobody's else, and what is not there like all else, at the front of the table. What is seldom there
//! is asked for apart.

mod others;

use event::prefetch::{fetch, prefetch};
use event::{FieldId, RowLines};

use super::cells::{Entry, KeyCell};
use super::near::{Near, Nearby, Place, ROWS};
use super::scope::Context;
use super::seats::{Row, SEATS_MAX, SEATS_MIN};
use super::site::Site;
use super::state::State;
use super::wanted::{List, WANTS_MAX, Wish};
use others::Others;

/// Whether all that have a key take part, as soon as they have: tests have few keys, and few events.
const ALL: bool = cfg!(debug_assertions);

/// Keys from which on those of a fact or rule are looked up ahead: below, they stay in the nearest cache.
const MANY: u32 = if ALL { 1 } else { 32 };

/// Runs of a rule from which on the first of a key's is asked for: fewer stay in a cache that is near enough.
const MANY_RUNS: u32 = if ALL { 1 } else { 4_096 };

/// So many turns of a site go by, at least and at most, before it is looked up anew who has so many: each time
/// twice as many as before.
const LOOK_EVERY: u32 = if ALL { 4 } else { 256 };
const LOOK_EVERY_MOST: u32 = if ALL { 4 } else { 4_096 };

/// Events that are asked for together: a turn.
const TURN: usize = 2;

/// Turns that have numbers of their own.
const TURNS: usize = ROWS / TURN;

/// Turns from the current one to that of which each is asked: whose rows of seats are asked for; whose cells; and whose
/// lists. Each needs what the one before has brought: where a row begins is not asked for, so
/// that rows take two turns, and cells, in main memory, three.
const ROWS_OF: usize = 6;
const CELLS_OF: usize = 4;
const LISTS: usize = 1;

/// Turns of which something is known. The rows of events of yet another are asked for, and of two more it is asked who
/// is asked, where that is one list of many.
const KNOWN: usize = ROWS_OF + 1;
const _: () = assert!(KNOWN * TURN <= ROWS);

/// Places from the current event to the first of the furthest turn.
const FURTHEST: usize = (KNOWN - 1) * TURN - 1;

/// Rows are asked for so many places before the current event: what they say is asked somewhat later.
pub const ROWS_AHEAD: usize = FURTHEST + 4 * TURN;

/// Cells are asked for by so many: events of most kinds have no more.
const CELLS: usize = 3;

/// Fields of one event whose texts have rows of seats.
const FIELDS: usize = 2;

/// What is looked up ahead at a site: of those that have many keys there.
#[derive(Debug, Default)]
pub struct Ahead {
    by_kind: Vec<OfKind>,
    sorts: Sorts,
    /// Who has no seat, by kind.
    unseated: Vec<Vec<Wish>>,
    /// How many texts of an event have rows that are asked for.
    fields: usize,
    /// Turns until it is looked up anew who has many keys; and as many as there were the last time.
    looks: u32,
    every: u32,
    /// What was found out of the events to come, by their rows of [`super::near::Near`].
    asked: [[Asked; TURN]; TURNS],
    /// The same of others; empty where nobody else asks.
    others: Vec<Others>,
}

/// Some places, of which so many count.
#[derive(Clone, Copy, Debug)]
struct Places<const MOST: usize> {
    many: u8,
    places: [Place; MOST],
}

impl<const MOST: usize> Places<MOST> {
    const NONE: Self = Self { many: 0, places: [Place::NOBODY; MOST] };

    fn add(&mut self, place: Place) {
        if let Some(free) = self.places.get_mut(usize::from(self.many)) {
            *free = place;
            self.many += 1;
        }
    }

    /// Nobody's where there is none.
    #[inline(always)]
    fn first(&self) -> Place {
        self.places[0]
    }

    fn behind(&self, some: usize) -> &[Place] {
        self.all().get(some..).unwrap_or_default()
    }

    fn all(&self) -> &[Place] {
        self.places.get(..usize::from(self.many)).unwrap_or(&self.places)
    }
}

/// What events of a kind look up by the cells of seats.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct OfKind {
    fields: [FieldId; FIELDS],
    /// Whether there is more in a list than its first, or values;
    more: bool,
    /// So many groups of cells,
    groups: u8,
    cells: [[Place; CELLS]; WANTS_MAX.div_ceil(CELLS)],
    /// and of them those with entries, of which some count each value once;
    entries: Places<8>,
    values: Places<2>,
    /// those with runs; and those that are one.
    runs: Places<6>,
    single: Places<4>,
}

impl OfKind {
    const NOTHING: Self = Self {
        fields: [FieldId(0); FIELDS],
        more: false,
        groups: 0,
        cells: [[Place::NOBODY; CELLS]; WANTS_MAX.div_ceil(CELLS)],
        entries: Places::NONE,
        values: Places::NONE,
        runs: Places::NONE,
        single: Places::NONE,
    };

    fn add(&mut self, place: Place, list: List) {
        let mut free = self.cells.as_flattened_mut().iter_mut().enumerate();
        let Some((at, free)) = free.find(|(_, free)| **free == Place::NOBODY) else { return };
        (*free, self.groups) = (place, (at / CELLS) as u8 + 1);
        match list {
            List::Nothing => {}
            List::Run => self.single.add(place),
            List::Runs => self.runs.add(place),
            List::Waiting | List::Entries => self.entries.add(place),
            List::Values => {
                self.entries.add(place);
                self.values.add(place);
            }
        }
    }

    #[inline(always)]
    fn other_cells(&self) -> &[[Place; CELLS]] {
        if self.groups <= 1 {
            return &[];
        }
        self.cells.get(1..usize::from(self.groups)).unwrap_or_default()
    }

    fn see_what_is_more(&mut self) {
        let Self { entries, values, runs, single, .. } = self;
        self.more = entries.many.max(single.many).max(runs.many) > 1 || values.many > 0;
    }
}

/// Which sorts of lists there are of any kind: of the others, nothing is asked.
#[derive(Clone, Copy, Debug, Default)]
struct Sorts {
    entries: bool,
    runs: bool,
    single: bool,
}

impl Sorts {
    fn add(&mut self, of: &OfKind) {
        self.entries |= of.entries.many > 0;
        self.runs |= of.runs.many > 0;
        self.single |= of.single.many > 0;
    }
}

/// What was found out of one event.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// What those of its kind look up: at hand for each stage.
    of: OfKind,
    /// The rows of its texts.
    rows: [Row; FIELDS],
}

impl Default for Asked {
    fn default() -> Self {
        Self { of: OfKind::NOTHING, rows: Default::default() }
    }
}

/// Asks for the cell of a number that stands in another, if it is one: else for what is in front of the table.
#[inline(always)]
fn expect<T>(cells: &[T], cell: u32) {
    prefetch(cells, (cell.wrapping_add(1) as usize).wrapping_sub(1));
}

/// Cells of which there is one at least.
#[derive(Clone, Copy)]
struct Cells<'a, T> {
    all: &'a [T],
    first: &'a T,
}

impl<'a, T> Cells<'a, T> {
    #[inline(always)]
    fn of(all: &'a [T]) -> Option<Self> {
        all.first().map(|first| Self { all, first })
    }

    /// The cell of a number, if it is one: else the first, without a branch.
    #[inline(always)]
    fn likely(&self, cell: u32) -> &'a T {
        self.all.get(cell as usize).unwrap_or(self.first)
    }
}

impl Site {
    /// Asks for what freeing a run would touch, where the sweep comes to it soon.
    #[inline]
    pub(super) fn expect_sweep(&self, run: u32) {
        let Some(run) = self.state.runs.peek(run).filter(|run| run.owner != 0) else { return };
        self.state.keys.peek(run.key_cell).into_iter().for_each(fetch);
    }

    /// Looks up what the events behind the one that is stepped now will want. Between turns, it is one
    /// comparison.
    #[inline(always)]
    pub fn expect<'a>(&mut self, cx: Context<'_>, behind: impl Fn(usize) -> Option<RowLines<'a>>) {
        let row = self.state.near.go_on();
        if row.is_multiple_of(TURN) {
            self.expect_turn(cx, row / TURN, behind);
        }
    }

    #[inline(never)]
    fn expect_turn<'a>(
        &mut self,
        cx: Context<'_>,
        turn: usize,
        behind: impl Fn(usize) -> Option<RowLines<'a>>,
    ) {
        let Self { ahead, state, .. } = self;
        match ahead.looks.checked_sub(1) {
            Some(looks) => ahead.looks = looks,
            None => ahead.look_who_is_large(state, cx),
        }
        if !ahead.others.is_empty() {
            ahead.ask_for_others(cx, state, turn, &behind);
        }
        if ahead.fields == 0 {
            return;
        }
        // What is done for each text is laid out as often as there are texts, and for each length of a row.
        let one = ahead.fields == 1;
        match state.seats.each() {
            SEATS_MIN if one => ahead.ask_for_texts::<1, SEATS_MIN>(state, turn, &behind),
            SEATS_MIN => ahead.ask_for_texts::<FIELDS, SEATS_MIN>(state, turn, &behind),
            4 => ahead.ask_for_texts::<FIELDS, 4>(state, turn, &behind),
            8 => ahead.ask_for_texts::<FIELDS, 8>(state, turn, &behind),
            _ => ahead.ask_for_texts::<FIELDS, SEATS_MAX>(state, turn, &behind),
        }
        ahead.ask_for_lists(state, (turn + LISTS) % TURNS);
    }

    /// The same for events that come all at once, before the first: when [`Self::expect`] sees them
    /// they are nearer already than it asks for.
    pub fn expect_first<'a>(
        &mut self,
        cx: Context<'_>,
        behind: impl Fn(usize) -> Option<RowLines<'a>>,
    ) {
        if cx.layout.is_large || self.ahead.fields == 0 || behind(0).is_none() {
            return;
        }
        let Self { ahead, state, .. } = self;
        state.near.start();
        match state.seats.each() {
            SEATS_MIN => ahead.ask_for_first_texts::<SEATS_MIN>(state, &behind),
            4 => ahead.ask_for_first_texts::<4>(state, &behind),
            8 => ahead.ask_for_first_texts::<8>(state, &behind),
            _ => ahead.ask_for_first_texts::<SEATS_MAX>(state, &behind),
        }
        (0..LISTS).for_each(|turn| ahead.ask_for_lists(state, turn));
    }
}

impl Ahead {
    /// Goes from the texts of some events to the rows of others, and from the rows of others to their cells.
    #[inline(always)]
    fn ask_for_texts<'a, const MANY: usize, const SEATS: usize>(
        &mut self,
        state: &mut State,
        turn: usize,
        behind: &impl Fn(usize) -> Option<RowLines<'a>>,
    ) {
        self.ask_for_rows::<MANY, SEATS>(state, (turn + ROWS_OF) % TURNS, FURTHEST, behind);
        self.ask_for_cells::<MANY, SEATS>(state, (turn + CELLS_OF) % TURNS);
    }

    /// The same for all turns of which something is known.
    #[inline(never)]
    fn ask_for_first_texts<'a, const SEATS: usize>(
        &mut self,
        state: &mut State,
        behind: &impl Fn(usize) -> Option<RowLines<'a>>,
    ) {
        for turn in 0..ROWS_OF {
            self.ask_for_rows::<FIELDS, SEATS>(state, turn, turn * TURN, behind);
        }
        (0..CELLS_OF).for_each(|turn| self.ask_for_cells::<FIELDS, SEATS>(state, turn));
    }

    /// Asks for the rows of the texts of some events.
    #[inline(always)]
    fn ask_for_rows<'a, const MANY: usize, const SEATS: usize>(
        &mut self,
        state: &State,
        turn: usize,
        from: usize,
        behind: &impl Fn(usize) -> Option<RowLines<'a>>,
    ) {
        for (place, asked) in self.asked[turn % TURNS].iter_mut().enumerate() {
            let Some(event) = behind(from + place) else {
                asked.of = OfKind::NOTHING;
                continue;
            };
            let kind = usize::from(event.head().kind().0);
            // Read where it stands: what has just been copied is there somewhat later.
            let of = self.by_kind.get(kind).unwrap_or(&OfKind::NOTHING);
            asked.of = *of;
            // Of a kind of one field it is the same twice.
            for field in 0..MANY {
                let text = event.likely_text(of.fields[field]);
                asked.rows[field] = state.seats.row_of::<SEATS>(text);
                state.seats.expect(asked.rows[field]);
            }
        }
    }

    /// Finds the cells in the rows, and asks for them.
    #[inline(always)]
    fn ask_for_cells<const MANY: usize, const SEATS: usize>(&self, state: &mut State, turn: usize) {
        let State { seats, near, keys, .. } = state;
        for (place, asked) in self.asked[turn % TURNS].iter().enumerate() {
            let near = near.row_mut(turn * TURN + place);
            let seated = near.seated();
            seats.gather::<MANY, SEATS>(&asked.rows, seated);
            if SEATS == SEATS_MIN {
                // To find out which of so few are wanted takes longer than to ask for them.
                seated[..SEATS].iter().for_each(|cell| expect(keys.cells(), cell.wrapping_sub(1)));
                continue;
            }
            asked.of.cells[0].iter().for_each(|place| expect(keys.cells(), near.at(*place)));
            for group in asked.of.other_cells() {
                group.iter().for_each(|place| expect(keys.cells(), near.at(*place)));
            }
        }
    }

    /// What was asked of the events of a turn, and their cells that were found.
    #[inline(always)]
    fn found<'s>(&'s self, near: &'s Near, turn: usize) -> [(&'s OfKind, &'s Nearby); TURN] {
        let asked = &self.asked[turn % TURNS];
        [(&asked[0].of, near.row(turn * TURN)), (&asked[1].of, near.row(turn * TURN + 1))]
    }

    /// Asks for what the cells' lists begin with: the last of one is written to, which nobody waits for.
    #[inline(always)]
    fn ask_for_lists(&self, state: &State, turn: usize) {
        let (found, sorts) = (self.found(&state.near, turn), self.sorts);
        let Some(keys) = Cells::of(state.keys.cells()) else { return };
        if sorts.entries {
            for (of, near) in &found {
                ask_for_entries(state, keys.likely(near.at(of.entries.first())));
            }
        }
        if sorts.runs {
            for (of, near) in &found {
                ask_for_runs(state, keys.likely(near.at(of.runs.first())));
            }
        }
        if sorts.single {
            for (of, near) in &found {
                ask_beside_run(state, keys.likely(near.at(of.single.first())));
            }
        }
        if found[0].0.more | found[1].0.more {
            self.ask_for_more_lists(state, turn);
        }
    }

    /// The same of those of a list that are not its first; and of values.
    #[inline(never)]
    fn ask_for_more_lists(&self, state: &State, turn: usize) {
        let Some(keys) = Cells::of(state.keys.cells()) else { return };
        for (of, near) in self.found(&state.near, turn).iter().filter(|(of, _)| of.more) {
            let cell = |place: &Place| keys.likely(near.at(*place));
            of.entries.behind(1).iter().for_each(|place| ask_for_entries(state, cell(place)));
            of.runs.behind(1).iter().for_each(|place| ask_for_runs(state, cell(place)));
            of.single.behind(1).iter().for_each(|place| ask_beside_run(state, cell(place)));
            of.values.all().iter().for_each(|place| ask_for_values(state, near.at(*place)));
        }
    }

    #[cold]
    fn look_who_is_large(&mut self, state: &State, cx: Context<'_>) {
        let kinds = cx.layout.wanted.kinds();
        self.by_kind.clear();
        self.unseated.resize_with(kinds.len(), Vec::new);
        (self.fields, self.sorts) = (0, Sorts::default());
        for (wishes, unseated) in kinds.iter().zip(&mut self.unseated) {
            let (mut of, mut fields) = (OfKind::NOTHING, 0);
            unseated.clear();
            for wish in wishes {
                if state.cells_of[state.bounds.holder(wish.owner) as usize] < MANY {
                    continue;
                }
                let known = of.fields[..fields].contains(&wish.by);
                let place = state.near.place(wish.owner);
                let seat = Place::of_seat(state.bounds.seat_of(wish.owner));
                if place != seat || !known && fields == FIELDS {
                    unseated.push(*wish);
                    continue;
                }
                if !known {
                    of.fields[fields..].fill(wish.by);
                    fields += 1;
                }
                let runs = state.holdings.get(state.bounds.holder(wish.owner)).runs;
                let few = wish.list == List::Runs && runs < MANY_RUNS;
                of.add(place, if few { List::Nothing } else { wish.list });
            }
            of.see_what_is_more();
            self.sorts.add(&of);
            self.fields = self.fields.max(fields);
            self.by_kind.push(of);
        }
        let others =
            cx.layout.is_large || self.unseated.iter().any(|unseated| !unseated.is_empty());
        self.others.resize(if others { ROWS } else { 0 }, Others::default());
        self.every = (2 * self.every).clamp(LOOK_EVERY, LOOK_EVERY_MOST).max(kinds.len() as u32);
        self.looks = self.every;
    }
}

#[inline(always)]
fn ask_for_entries(state: &State, cell: &KeyCell) {
    expect(state.entries.cells(), cell.head);
}

#[inline(always)]
fn ask_for_values(state: &State, cell: u32) {
    if let Some(at) = state.keys.peek(cell).and_then(KeyCell::values) {
        expect(state.values.cells(), at);
    }
}

#[inline(always)]
fn ask_for_runs(state: &State, cell: &KeyCell) {
    expect(state.runs.cells(), cell.head);
}

#[inline(always)]
fn ask_beside_run(state: &State, cell: &KeyCell) {
    expect(state.noted.cells(), cell.value as u32);
}

#[inline(always)]
fn ask_for_next(state: &State, first: &Entry) {
    expect(state.entries.cells(), first.next);
}

#[inline(always)]
fn ask_for_awaited(state: &State, first: &Entry) {
    expect(state.runs.cells(), first.words[0] as u32);
}
