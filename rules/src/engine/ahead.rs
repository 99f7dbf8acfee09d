//! What an event will want, looked up while others are judged.
//!
//! A site with many keys has its state in main memory: a step that begins to wait for it when it
//! looks costs more than all it does. Events stand in a queue before they are stepped: that of some
//! places on is looked at, a stage at a time. The cells found are handed to the steps
//! ([`super::near`]), which look whether they are the ones they want: findings do not depend on it.

use event::prefetch::{fetch, prefetch};
use event::{EventRef, FieldId, FieldType, KindId, Symbol};

use super::cells::KeyCell;
use super::layout::Layout;
use super::near::ROWS;
use super::pages::NIL;
use super::scope::{Context, part_of};
use super::seats::{Row, Seat};
use super::sequence::Shape;
use super::site::Site;
use super::state::{Owner, State};
use super::steps::{FactStep, Roles, RuleForm, RuleStep};
use crate::condition::Counted;
use crate::plan::{FactKind, FieldRef, Pattern, Plan};

/// Whether all that have a key take part, as soon as they have: tests have few keys, and few events.
const ALL: bool = cfg!(debug_assertions);

/// Keys from which on those of a fact or rule are looked up ahead: below, they stay in the nearest cache.
const MANY: u32 = if ALL { 1 } else { 32 };

/// So many turns of a site go by, at least, before it is looked up anew who has so many.
const LOOK_EVERY: u32 = if ALL { 4 } else { 256 };

/// Events that are asked for together: a turn.
const TURN: usize = 2;

/// Turns that have numbers of their own.
const TURNS: usize = ROWS / TURN;

/// Turns of which something is known: the current one; the next one, of whose lists the second is asked for;
/// the one after that, whose lists are; then the one whose cells are; and the one behind it, of which the
/// index is asked where its keys' cells are. Each needs what the one before has brought. The rows of yet
/// another are asked for, and of two more it is asked who is asked, where that is one list of many.
const KNOWN: usize = 5;

/// Places from the current event to the first of the furthest turn.
const FURTHEST: usize = (KNOWN - 1) * TURN - 1;

/// Look-ups asked for of one event: past it most rules of a large rulebook will not come to theirs.
const WANTS_MAX: usize = 16;

/// Fields of one event by which there are look-ups.
const FIELDS_MAX: usize = 4;

/// Texts of one event by which there are look-ups: of those fields, and those that lists of facts and rules
/// go by.
const TEXTS: usize = 8;
/// Where the texts of those lists stand: of facts, and of rules.
const LISTED: [u8; 2] = [4, 5];

/// Look-ups of one event by those who stand in such lists.
const LISTED_MAX: usize = 8;

/// What is looked up ahead at a site: of those that have many keys there.
#[derive(Debug, Default)]
pub struct Ahead {
    wants: Vec<Want>,
    by_kind: Vec<OfKind>,
    /// Turns until it is looked up anew who has many keys.
    looks: u32,
    /// What was found out of the events to come, by their rows of [`super::near::Near`].
    asked: [Asked; ROWS],
}

/// The look-ups of events of a kind.
#[derive(Clone, Copy, Debug)]
struct OfKind {
    wants: Wants,
    /// How many fields, and which.
    many: u8,
    /// Whether any of who looks up has no seat.
    hashed: bool,
    fields: [FieldId; FIELDS_MAX],
}

impl OfKind {
    const NOTHING: Self = Self {
        wants: Wants { from: 0, lists: 0, to: 0 },
        many: 0,
        hashed: false,
        fields: [FieldId(0); FIELDS_MAX],
    };
}

/// Where look-ups stand: those first whose lists are asked for, too.
#[derive(Clone, Copy, Debug, Default)]
struct Wants {
    from: u16,
    lists: u16,
    to: u16,
}

/// What was found out of one event.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    wants: Wants,
    /// The texts, and the rows of those of its fields.
    texts: [Symbol; TEXTS],
    rows: [Row; FIELDS_MAX],
    /// How many look-ups there are of those who stand in lists, and which: the first so many, where there are more.
    many: u8,
    listed: [Want; LISTED_MAX],
}

impl Asked {
    /// Whoever stands in a list looks up its text.
    #[inline(always)]
    fn add(&mut self, owner: Owner, by: u8, list: List) {
        if let Some(want) = self.listed.get_mut(usize::from(self.many)) {
            *want = Want { owner, by, list, seat: Seat::NONE };
            self.many += 1;
        }
    }

    /// The look-ups of those who stand in lists.
    #[inline(always)]
    fn listed(&self) -> &[Want] {
        &self.listed[..usize::from(self.many).min(LISTED_MAX)]
    }
}

/// What a list is one of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum List {
    #[default]
    Nothing,
    /// None: the cell is a run.
    Run,
    /// Events of a window.
    Entries,
    /// Entries that stand for runs.
    Waiting,
    Runs,
}

/// One look-up of an event.
#[derive(Clone, Copy, Debug, Default)]
struct Want {
    owner: Owner,
    /// Which of the texts is the key.
    by: u8,
    /// What the cell's list is one of.
    list: List,
    /// Where in the text's row the cell is.
    seat: Seat,
}

/// One look-up that events of a kind may make.
#[derive(Clone, Copy, Debug)]
struct Wish {
    owner: Owner,
    /// The field that is the key.
    by: FieldId,
    list: List,
}

/// What events of each kind look up by one field.
#[derive(Debug, Default)]
pub struct Wanted(Vec<Vec<Wish>>);

impl Wanted {
    /// Of the facts and rules of a layout.
    pub fn new(plan: &Plan, layout: &Layout, kinds: usize) -> Self {
        Self((0..kinds).map(|kind| wanted_by(plan, layout, KindId(kind as u16))).collect())
    }

    /// Who looks up.
    pub fn owners(&self) -> impl Iterator<Item = Owner> {
        self.0.iter().flatten().map(|wish| wish.owner)
    }
}

fn wanted_by(plan: &Plan, layout: &Layout, kind: KindId) -> Vec<Wish> {
    let mut wanted: Vec<Wish> = Vec::new();
    let mut want = |owner: Owner, by: &[FieldRef], list: List| {
        let [FieldRef::Slot(by, FieldType::String)] = by else { return };
        let known = wanted.iter().any(|want| want.owner == owner && want.by == *by);
        if wanted.len() < WANTS_MAX && !known {
            wanted.push(Wish { owner, by: *by, list });
        }
    };
    let interest = layout.interest(kind);
    for FactStep { fact, .. } in interest.facts.often(WANTS_MAX) {
        let by = &plan.facts[fact.0 as usize].by;
        let list = match plan.facts[fact.0 as usize].kind {
            FactKind::Count { .. } | FactKind::Distinct { .. } => List::Entries,
            FactKind::Balance { .. } | FactKind::Set { .. } | FactKind::Tally { .. } => {
                List::Nothing
            }
        };
        want(layout.fact(*fact), by, list);
        let watchers = layout.watchers(*fact).often(WANTS_MAX).iter();
        watchers.for_each(|rule| want(layout.rule(*rule), by, List::Nothing));
    }
    for RuleStep { rule: id, .. } in interest.rules.often(WANTS_MAX) {
        let rule = &plan.rules[id.0 as usize];
        match &rule.pattern {
            Pattern::Event(_) => {
                for fact in &rule.evidence_of {
                    want(layout.fact(*fact), &plan.facts[fact.0 as usize].by, List::Entries);
                }
            }
            Pattern::Watch { .. } => {}
            Pattern::Unless { on, guards } => {
                let own = layout.prepared.rule(*id).guard.is_some();
                if own || on.kinds.contains(&kind) {
                    let list = if own { List::Runs } else { List::Nothing };
                    want(layout.rule(*id), &rule.by, list);
                }
                for (number, guard) in guards.iter().enumerate().filter(|_| !own) {
                    want(layout.guard_waiting(*id, number), &guard.same, List::Waiting);
                }
            }
            Pattern::Passage { .. } | Pattern::Travel { .. } => {
                want(layout.rule(*id), &rule.by, List::Nothing);
            }
            Pattern::Sequence(_) if layout.shape(*id) == Shape::Single => {
                want(layout.rule(*id), &rule.by, List::Run);
            }
            Pattern::Sequence(_) | Pattern::Session(_) => {
                want(layout.rule(*id), &rule.by, List::Runs);
            }
        }
    }
    wanted.sort_by_key(|want| want.list == List::Nothing);
    wanted
}

/// Asks for where it stands who is asked of the events furthest behind, and for the lists of some nearer
/// ones.
#[inline(never)]
fn ask_who_is_asked<'a>(cx: Context<'_>, behind: impl Fn(usize) -> Option<EventRef<'a>>) {
    for place in FURTHEST + 2 * TURN..FURTHEST + 3 * TURN {
        let Some(event) = behind(place) else { break };
        let interest = cx.layout.interest(event.kind());
        interest.facts.expect(|field| part_of(cx, event, field));
        interest.rules.expect(|field| part_of(cx, event, field));
    }
    for place in FURTHEST + TURN..FURTHEST + 2 * TURN {
        let Some(event) = behind(place) else { break };
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
    pub fn expect<'a>(&mut self, cx: Context<'_>, behind: impl Fn(usize) -> Option<EventRef<'a>>) {
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
        behind: impl Fn(usize) -> Option<EventRef<'a>>,
    ) {
        match self.ahead.looks.checked_sub(1) {
            Some(looks) => self.ahead.looks = looks,
            None => self.ahead.look_who_is_large(&self.state, cx),
        }
        if cx.layout.is_large {
            ask_who_is_asked(cx, &behind);
        } else if self.ahead.wants.is_empty() {
            return;
        }
        let rows = FURTHEST + 3 * TURN..FURTHEST + 4 * TURN;
        rows.map_while(&behind).for_each(|event| event.expect());
        let Self { ahead, state, .. } = self;
        let furthest = (turn + 4) % TURNS;
        ahead.ask_for_slots(state, furthest, FURTHEST, &behind);
        if cx.layout.is_large {
            ahead.ask_who_is_listed(cx, state, furthest, &behind);
        }
        ahead.ask_for_cells(state, (turn + 3) % TURNS);
        ahead.ask_for_lists(state, (turn + 2) % TURNS);
        ahead.ask_behind_first(state, (turn + 1) % TURNS);
        if cx.layout.is_large {
            ahead.ask_behind_second(state, turn);
        }
    }

    /// The same for events that come all at once, before the first: when [`Self::expect`] sees them
    /// they are nearer already than it asks for.
    pub fn expect_first<'a>(
        &mut self,
        cx: Context<'_>,
        behind: impl Fn(usize) -> Option<EventRef<'a>>,
    ) {
        if cx.layout.is_large || self.ahead.wants.is_empty() || behind(0).is_none() {
            return;
        }
        let Self { ahead, state, .. } = self;
        state.near.start();
        (0..KNOWN - 1).for_each(|turn| ahead.ask_for_slots(state, turn, turn * TURN, &behind));
        (0..KNOWN - 2).for_each(|turn| ahead.ask_for_cells(state, turn));
        (0..KNOWN - 3).for_each(|turn| ahead.ask_for_lists(state, turn));
        ahead.ask_behind_first(state, 0);
    }
}

impl Ahead {
    #[inline(always)]
    fn ask_for_slots<'a>(
        &mut self,
        state: &State,
        turn: usize,
        from: usize,
        behind: impl Fn(usize) -> Option<EventRef<'a>>,
    ) {
        for (place, asked) in self.asked[turn * TURN..][..TURN].iter_mut().enumerate() {
            (asked.wants, asked.many) = (Wants::default(), 0);
            let Some(event) = behind(from + place) else { continue };
            let Some(of) = self.by_kind.get(event.kind().0 as usize) else { continue };
            asked.wants = of.wants;
            for by in 0..usize::from(of.many).min(FIELDS_MAX) {
                let text = event.text_or_none(of.fields[by]);
                (asked.texts[by], asked.rows[by]) = (text, state.seats.row(text));
                state.seats.expect(asked.rows[by]);
                if of.hashed {
                    state.expect_slot(text);
                }
            }
        }
    }

    /// What those look up who stand in the list of a text, and keep state by that text.
    #[inline(never)]
    fn ask_who_is_listed<'a>(
        &mut self,
        cx: Context<'_>,
        state: &State,
        turn: usize,
        behind: impl Fn(usize) -> Option<EventRef<'a>>,
    ) {
        let layout = cx.layout;
        for (place, asked) in self.asked[turn * TURN..][..TURN].iter_mut().enumerate() {
            let Some(event) = behind(FURTHEST + place) else { continue };
            let interest = layout.interest(event.kind());
            if let Some((text, facts)) = interest.facts.listed(|field| part_of(cx, event, field)) {
                asked.texts[usize::from(LISTED[0])] = text;
                state.expect_slot(text);
                for step in facts.iter().filter(|step| step.roles.has(Roles::FACT_BY_LIST)) {
                    if step.gate.passes(event, &Counted::default()) {
                        asked.add(layout.fact(step.fact), LISTED[0], List::Entries);
                    }
                }
            }
            if let Some((text, rules)) = interest.rules.listed(|field| part_of(cx, event, field)) {
                asked.texts[usize::from(LISTED[1])] = text;
                state.expect_slot(text);
                for step in rules.iter().filter(|step| step.roles.has(Roles::RULE_BY_LIST)) {
                    let owner = layout.rule(step.rule);
                    let waits =
                        |owner| !step.roles.has(Roles::HELD) || state.may_await(owner, text);
                    if matches!(step.form, RuleForm::Event) {
                        continue;
                    }
                    if !step.roles.has(Roles::HELD) {
                        layout.prepared.expect_rule(step.rule);
                    }
                    match step.form {
                        RuleForm::Short if waits(owner) => asked.add(owner, LISTED[1], List::Runs),
                        RuleForm::Single if waits(owner) => asked.add(owner, LISTED[1], List::Run),
                        RuleForm::Unless
                            if step.roles.has(Roles::OPENS.or(Roles::HELD)) && waits(owner) =>
                        {
                            asked.add(owner, LISTED[1], List::Runs);
                        }
                        RuleForm::Unless if !step.roles.has(Roles::HELD) => {
                            let waiting = layout.guard_waiting(step.rule, 0);
                            asked.add(waiting, LISTED[1], List::Waiting);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    #[inline(never)]
    fn ask_for_cells(&self, state: &mut State, turn: usize) {
        for (place, asked) in self.asked[turn * TURN..][..TURN].iter().enumerate() {
            let Asked { wants: Wants { from, to, .. }, texts, rows, .. } = asked;
            let row = turn * TURN + place;
            // Who is listed gives way to who is always asked: of two in one place the last is kept.
            for want in asked.listed() {
                state.look_ahead(row, want.owner, texts[usize::from(want.by) % TEXTS]);
            }
            for want in &self.wants[usize::from(*from)..usize::from(*to)] {
                let by = usize::from(want.by);
                if want.seat == Seat::NONE {
                    state.look_ahead(row, want.owner, texts[by % TEXTS]);
                } else {
                    state.see_ahead(row, want.owner, rows[by % FIELDS_MAX], want.seat);
                }
            }
        }
    }

    /// The look-ups of the events of a turn whose lists are asked for, each with the cell that was found.
    #[inline(always)]
    fn found<'s>(&self, state: &'s State, turn: usize, mut each: impl FnMut(List, &'s KeyCell)) {
        let keys = state.keys.cells();
        for (place, asked) in self.asked[turn * TURN..][..TURN].iter().enumerate() {
            let Wants { from, lists, .. } = asked.wants;
            let near = state.near.row(turn * TURN + place);
            for wants in [&self.wants[usize::from(from)..usize::from(lists)], asked.listed()] {
                for want in wants {
                    if let Some(cell) = keys.get(near.of(want.owner) as usize) {
                        each(want.list, cell);
                    }
                }
            }
        }
    }

    #[inline(never)]
    fn ask_for_lists(&self, state: &State, turn: usize) {
        let entries = state.entries.cells();
        let (runs, noted) = (state.runs.cells(), state.noted.cells());
        let beside = state.beside.cells();
        let values = state.values.cells();
        self.found(state, turn, |list, cell| match list {
            List::Entries | List::Waiting if cell.head != NIL => {
                prefetch(entries, cell.head as usize);
                prefetch(entries, cell.tail as usize);
                if let Some(at) = cell.values() {
                    prefetch(values, at as usize);
                }
            }
            List::Runs if cell.head != NIL => {
                prefetch(runs, cell.head as usize);
                prefetch(beside, cell.head as usize);
            }
            List::Run => {
                prefetch(noted, cell.value as u32 as usize);
            }
            _ => {}
        });
    }

    /// What the first of a list leads to: the event behind it, which may have left the window, too; the run
    /// that it stands for.
    #[inline(never)]
    fn ask_behind_first(&self, state: &State, turn: usize) {
        let (entries, runs) = (state.entries.cells(), state.runs.cells());
        self.found(state, turn, |list, cell| {
            let Some(entry) = entries.get(cell.head as usize) else { return };
            match list {
                List::Waiting => prefetch(runs, entry.words[0] as u32 as usize),
                List::Entries => prefetch(entries, entry.next as usize),
                _ => {}
            }
        });
    }

    /// The third of a window: several that came close to each other leave it together. Where keys are few and
    /// windows long, the lines are at hand, and it is not worth asking.
    #[inline(never)]
    fn ask_behind_second(&self, state: &State, turn: usize) {
        let entries = state.entries.cells();
        self.found(state, turn, |list, cell| {
            let first = entries.get(cell.head as usize).filter(|_| list == List::Entries);
            let second = first.and_then(|first| entries.get(first.next as usize));
            if let Some(second) = second {
                prefetch(entries, second.next as usize);
            }
        });
    }

    #[cold]
    fn look_who_is_large(&mut self, state: &State, cx: Context<'_>) {
        let kinds = &cx.layout.wanted.0;
        self.asked = Default::default();
        self.wants.clear();
        self.by_kind.clear();
        for wishes in kinds.iter().take(usize::from(u16::MAX) / WANTS_MAX) {
            let mut of = OfKind::NOTHING;
            let from = self.wants.len() as u16;
            of.wants = Wants { from, lists: from, to: from };
            for Wish { owner, by, list } in wishes {
                if state.cells_of[state.bounds.holder(*owner) as usize] < MANY {
                    continue;
                }
                let known = of.fields[..usize::from(of.many)].iter().position(|field| field == by);
                let by = match known {
                    Some(known) => known as u8,
                    None if usize::from(of.many) < FIELDS_MAX => {
                        of.fields[usize::from(of.many)] = *by;
                        of.many += 1;
                        of.many - 1
                    }
                    None => continue,
                };
                let seat = state.bounds.seat_of(*owner);
                of.hashed |= seat == Seat::NONE;
                self.wants.push(Want { owner: *owner, by, list: *list, seat });
                of.wants.to += 1;
                of.wants.lists += u16::from(*list != List::Nothing);
            }
            self.by_kind.push(of);
        }
        self.looks = if ALL { LOOK_EVERY } else { LOOK_EVERY.max(kinds.len() as u32) };
    }
}
