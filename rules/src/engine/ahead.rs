//! What an event will want, looked up while others are judged.
//!
//! A site with many keys has its state in main memory: a step that begins to wait for it when it
//! looks costs more than all it does. Events stand in a queue before they are stepped: that of some
//! places on is looked at, a stage at a time. The cells found are handed to the steps
//! ([`super::near`]), which look whether they are the ones they want: findings do not depend on it.
//!
//! What events of a kind want is a few lists of places, one for each thing that is asked for, found out
//! once in a while. Which kind comes next, nobody can foretell: so most kinds have as many places in a list,
//! nobody's among them, and what is not there is asked for like all else, at the front of the table.

use event::prefetch::{fetch, prefetch};
use event::{FieldId, RowLines, Symbol};

use super::cells::{Entry, KeyCell};
use super::near::{Near, Nearby, Place, ROWS};
use super::scope::{Context, part_of};
use super::seats::Row;
use super::site::Site;
use super::state::{Owner, State};
use super::steps::{Roles, RuleForm};
use super::wanted::{List, WANTS_MAX, Wish};
use crate::condition::Counted;

/// Whether all that have a key take part, as soon as they have: tests have few keys, and few events.
const ALL: bool = cfg!(debug_assertions);

/// Keys from which on those of a fact or rule are looked up ahead: below, they stay in the nearest cache.
const MANY: u32 = if ALL { 1 } else { 32 };

/// So many turns of a site go by, at least and at most, before it is looked up anew who has so many: each time
/// twice as many as before.
const LOOK_EVERY: u32 = if ALL { 4 } else { 256 };
const LOOK_EVERY_MOST: u32 = if ALL { 4 } else { 4_096 };

/// Events that are asked for together: a turn.
const TURN: usize = 2;

/// Turns that have numbers of their own.
const TURNS: usize = ROWS / TURN;

/// Turns of which something is known: the current one; the next one, of whose lists the second is asked for;
/// the one after that, whose lists are; then the one whose cells are; the one whose rows of seats are; and the one
/// behind it, of whose texts it is asked where their rows are. Each needs what the one before has brought. The
/// rows of yet another are asked for, and of two more it is asked who is asked, where that is one list of many.
const KNOWN: usize = 6;
const _: () = assert!(KNOWN * TURN <= ROWS);

/// Places from the current event to the first of the furthest turn.
const FURTHEST: usize = (KNOWN - 1) * TURN - 1;

/// Rows are asked for so many places before the current event: what they say is asked somewhat later.
pub const ROWS_AHEAD: usize = FURTHEST + 4 * TURN;

/// Cells are asked for by so many.
const CELLS: usize = 4;

/// Fields of one event whose texts have rows of seats.
const FIELDS: usize = 2;

/// Look-ups of one event by those who have no seat, and by those who stand in the lists of its texts.
const OTHERS_MAX: usize = WANTS_MAX + LISTED_MAX;
const LISTED_MAX: usize = 8;

/// What is looked up ahead at a site: of those that have many keys there.
#[derive(Debug, Default)]
pub struct Ahead {
    by_kind: Vec<OfKind>,
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

    /// Has nobody's place, where there is one in others.
    fn fill(&mut self, other: &Self) {
        self.many = self.many.max(other.many.min(1));
    }

    #[inline(always)]
    fn all(&self) -> &[Place] {
        self.places.get(..usize::from(self.many)).unwrap_or(&self.places)
    }
}

/// What events of a kind look up by the cells of seats.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct OfKind {
    fields: [FieldId; FIELDS],
    /// So many fours of cells,
    fours: u8,
    cells: [[Place; CELLS]; WANTS_MAX / CELLS],
    /// and of them those with entries: with windows, of which some count each value once, and with those
    /// that wait;
    entries: Places<8>,
    windows: Places<6>,
    values: Places<2>,
    waiting: Places<4>,
    /// those with runs; and those that are one.
    runs: Places<6>,
    single: Places<4>,
}

impl OfKind {
    const NOTHING: Self = Self {
        fields: [FieldId(0); FIELDS],
        fours: 0,
        cells: [[Place::NOBODY; CELLS]; WANTS_MAX / CELLS],
        entries: Places::NONE,
        windows: Places::NONE,
        values: Places::NONE,
        waiting: Places::NONE,
        runs: Places::NONE,
        single: Places::NONE,
    };

    fn add(&mut self, place: Place, list: List) {
        let mut free = self.cells.as_flattened_mut().iter_mut().enumerate();
        let Some((at, free)) = free.find(|(_, free)| **free == Place::NOBODY) else { return };
        (*free, self.fours) = (place, (at / CELLS) as u8 + 1);
        match list {
            List::Nothing => {}
            List::Run => self.single.add(place),
            List::Runs => self.runs.add(place),
            List::Waiting => {
                self.entries.add(place);
                self.waiting.add(place);
            }
            List::Entries | List::Values => {
                self.entries.add(place);
                self.windows.add(place);
                if list == List::Values {
                    self.values.add(place);
                }
            }
        }
    }

    #[inline(always)]
    fn cells(&self) -> &[[Place; CELLS]] {
        self.cells.get(..usize::from(self.fours)).unwrap_or(&self.cells)
    }

    /// Has nobody's places, too, where there are any of another kind.
    fn fill(&mut self, other: &Self) {
        self.entries.fill(&other.entries);
        self.windows.fill(&other.windows);
        self.runs.fill(&other.runs);
        self.single.fill(&other.single);
    }
}

/// What was found out of one event.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// What those of its kind look up: at hand for each stage.
    of: OfKind,
    /// Its texts, and their rows.
    texts: [Symbol; FIELDS],
    rows: [Row; FIELDS],
}

impl Default for Asked {
    fn default() -> Self {
        Self { of: OfKind::NOTHING, texts: Default::default(), rows: Default::default() }
    }
}

/// One look-up of an event by one who has no seat, or stands in a list.
#[derive(Clone, Copy, Debug, Default)]
struct Other {
    owner: Owner,
    text: Symbol,
    place: Place,
    list: List,
}

/// Those of one event: the first so many, where there are more.
#[derive(Clone, Copy, Debug, Default)]
struct Others {
    many: u8,
    all: [Other; OTHERS_MAX],
}

impl Others {
    #[inline(always)]
    fn add_listed(&mut self, near: &Near, owner: Owner, text: Symbol, list: List) {
        // Who is listed gives way to who is always asked: of two in one place the last is kept.
        if usize::from(self.many) < LISTED_MAX {
            self.add(near, owner, text, list);
        }
    }

    #[inline(always)]
    fn add(&mut self, near: &Near, owner: Owner, text: Symbol, list: List) {
        if let Some(other) = self.all.get_mut(usize::from(self.many)) {
            *other = Other { owner, text, place: near.place(owner), list };
            self.many += 1;
        }
    }

    #[inline(always)]
    fn all(&self) -> &[Other] {
        self.all.get(..usize::from(self.many)).unwrap_or(&self.all)
    }
}

/// Asks for the cell of a number that stands in another, if it is one: else for what is in front of the table.
#[inline(always)]
fn expect<T>(cells: &[T], cell: u32) {
    prefetch(cells, (cell.wrapping_add(1) as usize).wrapping_sub(1));
}

/// The cell of a number, if it is one: else the first, without a branch.
#[inline(always)]
fn likely<T>(cells: &[T], cell: u32) -> Option<&T> {
    let first = cells.first()?;
    Some(cells.get(cell as usize).unwrap_or(first))
}

/// Asks for where it stands who is asked of the events furthest behind, and for the lists of some nearer
/// ones.
#[inline(never)]
fn ask_who_is_asked<'a>(cx: Context<'_>, behind: &impl Fn(usize) -> Option<RowLines<'a>>) {
    for place in FURTHEST + 2 * TURN..FURTHEST + 3 * TURN {
        let Some(event) = behind(place).map(|lines| lines.row()) else { break };
        let interest = cx.layout.interest(event.kind());
        interest.facts.expect(|field| part_of(cx, event, field));
        interest.rules.expect(|field| part_of(cx, event, field));
    }
    for place in FURTHEST + TURN..FURTHEST + 2 * TURN {
        let Some(event) = behind(place).map(|lines| lines.row()) else { break };
        let interest = cx.layout.interest(event.kind());
        interest.facts.expect_list(|field| part_of(cx, event, field));
        interest.rules.expect_list(|field| part_of(cx, event, field));
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
        // What is done for each text is laid out as often as there are texts.
        if ahead.fields == 1 {
            ahead.ask_for_texts::<1>(state, turn, &behind);
        } else {
            ahead.ask_for_texts::<FIELDS>(state, turn, &behind);
        }
        ahead.ask_for_lists(state, (turn + 2) % TURNS);
        ahead.ask_behind_first(state, (turn + 1) % TURNS);
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
        for turn in 0..KNOWN - 1 {
            ahead.ask_where_rows_are::<FIELDS>(state, turn, turn * TURN, &behind);
        }
        (0..KNOWN - 2).for_each(|turn| ahead.ask_for_rows::<FIELDS>(state, turn));
        (0..KNOWN - 3).for_each(|turn| ahead.ask_for_cells::<FIELDS>(state, turn));
        (0..KNOWN - 4).for_each(|turn| ahead.ask_for_lists(state, turn));
        ahead.ask_behind_first(state, 0);
    }
}

impl Ahead {
    /// Goes from the texts of some events to the rows of others, and from the rows of others to their cells.
    #[inline(always)]
    fn ask_for_texts<'a, const MANY: usize>(
        &mut self,
        state: &mut State,
        turn: usize,
        behind: &impl Fn(usize) -> Option<RowLines<'a>>,
    ) {
        self.ask_where_rows_are::<MANY>(state, (turn + 5) % TURNS, FURTHEST, behind);
        self.ask_for_rows::<MANY>(state, (turn + 4) % TURNS);
        self.ask_for_cells::<MANY>(state, (turn + 3) % TURNS);
    }

    /// Asks for where the rows of texts are.
    #[inline(always)]
    fn ask_where_rows_are<'a, const MANY: usize>(
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
            asked.of = *self.by_kind.get(kind).unwrap_or(&OfKind::NOTHING);
            // Of a kind of one field it is the same twice.
            for field in 0..MANY {
                asked.texts[field] = event.likely_text(asked.of.fields[field]);
                state.seats.expect_block(asked.texts[field]);
            }
        }
    }

    /// Asks for the rows.
    #[inline(always)]
    fn ask_for_rows<const MANY: usize>(&mut self, state: &State, turn: usize) {
        for asked in &mut self.asked[turn % TURNS] {
            for field in 0..MANY {
                asked.rows[field] = state.seats.row(asked.texts[field]);
                state.seats.expect(asked.rows[field]);
            }
        }
    }

    /// Finds the cells in the rows, and asks for them.
    #[inline(always)]
    fn ask_for_cells<const MANY: usize>(&self, state: &mut State, turn: usize) {
        let State { seats, near, keys, .. } = state;
        for (place, asked) in self.asked[turn % TURNS].iter().enumerate() {
            let near = near.row_mut(turn * TURN + place);
            seats.gather::<MANY>(&asked.rows, near.seated());
            for four in asked.of.cells() {
                four.iter().for_each(|place| expect(keys.cells(), near.at(*place)));
            }
        }
    }

    /// What was asked of an event, and its cells that were found.
    #[inline(always)]
    fn found<'s>(&'s self, near: &'s Near, turn: usize, place: usize) -> (&'s OfKind, &'s Nearby) {
        (&self.asked[turn % TURNS][place % TURN].of, near.row(turn * TURN + place))
    }

    /// Asks for what the cells' lists begin and end with.
    #[inline(always)]
    fn ask_for_lists(&self, state: &State, turn: usize) {
        let keys = state.keys.cells();
        for place in 0..TURN {
            let (of, near) = self.found(&state.near, turn, place);
            for place in of.entries.all() {
                likely(keys, near.at(*place)).into_iter().for_each(|c| ask_for_entries(state, c));
            }
            for place in of.runs.all() {
                likely(keys, near.at(*place)).into_iter().for_each(|c| ask_for_runs(state, c));
            }
            for place in of.single.all() {
                likely(keys, near.at(*place)).into_iter().for_each(|c| ask_beside_run(state, c));
            }
            for place in of.values.all() {
                let cell = keys.get(near.at(*place) as usize);
                cell.into_iter().for_each(|cell| ask_for_values(state, cell));
            }
        }
    }

    /// What the first of a list leads to: the event behind it, which may have left the window, too; the run
    /// that it stands for.
    #[inline(always)]
    fn ask_behind_first(&self, state: &State, turn: usize) {
        let (keys, entries) = (state.keys.cells(), state.entries.cells());
        for place in 0..TURN {
            let (of, near) = self.found(&state.near, turn, place);
            let first = |place: &Place| likely(entries, likely(keys, near.at(*place))?.head);
            for place in of.windows.all() {
                first(place).into_iter().for_each(|first| ask_for_next(state, first));
            }
            for place in of.waiting.all() {
                first(place).into_iter().for_each(|first| ask_for_awaited(state, first));
            }
        }
    }

    #[cold]
    fn look_who_is_large(&mut self, state: &State, cx: Context<'_>) {
        let kinds = cx.layout.wanted.kinds();
        self.by_kind.clear();
        self.unseated.resize_with(kinds.len(), Vec::new);
        let mut all = OfKind::NOTHING;
        self.fields = 0;
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
                of.add(place, wish.list);
            }
            all.fill(&of);
            self.fields = self.fields.max(fields);
            self.by_kind.push(of);
        }
        self.by_kind.iter_mut().filter(|of| of.fours > 0).for_each(|of| of.fill(&all));
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
    expect(state.entries.cells(), cell.tail);
}

#[inline(always)]
fn ask_for_values(state: &State, cell: &KeyCell) {
    if let Some(at) = cell.values() {
        expect(state.values.cells(), at);
    }
}

#[inline(always)]
fn ask_for_runs(state: &State, cell: &KeyCell) {
    expect(state.runs.cells(), cell.head);
    expect(state.beside.cells(), cell.head);
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

/// Those who have no seat, and who stand in the lists of texts.
impl Ahead {
    #[inline(never)]
    fn ask_for_others<'a>(
        &mut self,
        cx: Context<'_>,
        state: &mut State,
        turn: usize,
        behind: &impl Fn(usize) -> Option<RowLines<'a>>,
    ) {
        if cx.layout.is_large {
            ask_who_is_asked(cx, behind);
        }
        let rows = |turn: usize| turn % TURNS * TURN..(turn % TURNS + 1) * TURN;
        for (place, row) in rows(turn + 5).enumerate() {
            self.others[row].many = 0;
            let Some(event) = behind(FURTHEST + place) else { continue };
            if cx.layout.is_large {
                self.ask_who_is_listed(cx, state, row, event);
            }
            self.ask_for_slots(state, row, event);
        }
        for row in rows(turn + 3) {
            for other in self.others[row].all() {
                state.look_ahead(row, other.owner, other.place, other.text);
            }
        }
        for row in rows(turn + 2) {
            self.found_others(state, row, |list, cell| match list {
                List::Entries | List::Waiting => ask_for_entries(state, cell),
                List::Values => {
                    ask_for_entries(state, cell);
                    ask_for_values(state, cell);
                }
                List::Runs => ask_for_runs(state, cell),
                List::Run => ask_beside_run(state, cell),
                List::Nothing => {}
            });
        }
        let entries = state.entries.cells();
        for row in rows(turn + 1) {
            self.found_others(state, row, |list, cell| {
                let Some(first) = entries.get(cell.head as usize) else { return };
                match list {
                    List::Waiting => ask_for_awaited(state, first),
                    List::Entries | List::Values => ask_for_next(state, first),
                    _ => {}
                }
            });
        }
        // The third of a window: several that came close to each other leave it together. Where keys are few
        // and windows long, the lines are at hand, and it is not worth asking.
        for row in rows(turn) {
            self.found_others(state, row, |list, cell| {
                let first = entries.get(cell.head as usize);
                let first = first.filter(|_| matches!(list, List::Entries | List::Values));
                let second = first.and_then(|first| entries.get(first.next as usize));
                second.into_iter().for_each(|second| ask_for_next(state, second));
            });
        }
    }

    /// The look-ups of an event by others, each with the cell that was found.
    #[inline(always)]
    fn found_others(&self, state: &State, row: usize, mut each: impl FnMut(List, &KeyCell)) {
        let near = state.near.row(row);
        for other in self.others[row].all() {
            if let Some(cell) = state.keys.peek(near.at(other.place)) {
                each(other.list, cell);
            }
        }
    }

    fn ask_for_slots(&mut self, state: &State, row: usize, event: RowLines<'_>) {
        let kind = usize::from(event.head().kind().0);
        for wish in self.unseated.get(kind).into_iter().flatten() {
            let text = event.row().text_or_none(wish.by);
            state.expect_slot(text);
            self.others[row].add(&state.near, wish.owner, text, wish.list);
        }
    }

    /// What those look up who stand in the list of a text, and keep state by that text.
    fn ask_who_is_listed(
        &mut self,
        cx: Context<'_>,
        state: &State,
        row: usize,
        event: RowLines<'_>,
    ) {
        let (event, layout, near) = (event.row(), cx.layout, &state.near);
        let others = &mut self.others[row];
        let interest = layout.interest(event.kind());
        if let Some((text, facts)) = interest.facts.listed(|field| part_of(cx, event, field)) {
            state.expect_slot(text);
            for step in facts.iter().filter(|step| step.roles.has(Roles::FACT_BY_LIST)) {
                if step.gate.passes(event, &Counted::default()) {
                    others.add_listed(near, layout.fact(step.fact), text, List::Entries);
                }
            }
        }
        if let Some((text, rules)) = interest.rules.listed(|field| part_of(cx, event, field)) {
            state.expect_slot(text);
            for step in rules.iter().filter(|step| step.roles.has(Roles::RULE_BY_LIST)) {
                let owner = layout.rule(step.rule);
                let waits = |owner| !step.roles.has(Roles::HELD) || state.may_await(owner, text);
                if matches!(step.form, RuleForm::Event) {
                    continue;
                }
                if !step.roles.has(Roles::HELD) {
                    layout.prepared.expect_rule(step.rule);
                }
                match step.form {
                    RuleForm::Short if waits(owner) => {
                        others.add_listed(near, owner, text, List::Runs);
                    }
                    RuleForm::Single if waits(owner) => {
                        others.add_listed(near, owner, text, List::Run);
                    }
                    RuleForm::Unless
                        if step.roles.has(Roles::OPENS.or(Roles::HELD)) && waits(owner) =>
                    {
                        others.add_listed(near, owner, text, List::Runs);
                    }
                    RuleForm::Unless if !step.roles.has(Roles::HELD) => {
                        let waiting = layout.guard_waiting(step.rule, 0);
                        others.add_listed(near, waiting, text, List::Waiting);
                    }
                    _ => {}
                }
            }
        }
    }
}
