//! Memory that an event will want, asked for while others are judged.
//!
//! A site with many keys has its state in main memory: a step that begins to wait for it when it
//! looks costs more than all it does. Events stand in a queue before they are stepped: that of some
//! places on is looked at, a stage at a time. It reads nothing that is decided by and changes
//! nothing: findings do not depend on it.

use std::ops::Range;

use event::prefetch::fetch;
use event::{EventRef, FieldId, FieldType, KindId, Symbol};

use super::layout::Layout;
use super::pages::NIL;
use super::scope::Context;
use super::sequence::Shape;
use super::site::Site;
use super::state::{Owner, half_of};
use super::steps::{FactStep, RuleStep};
use crate::plan::{FieldRef, Pattern, Plan};

/// Keys, or events, from which on those of a fact or rule are asked for ahead: below, they stay in the
/// caches anyway, and asking costs more than it gives.
const MANY: u32 = 512;

/// So many events of a site go by, at least, before it is looked up anew who has so many keys.
const LOOK_EVERY: u32 = 1_024;

/// What is asked for at a site: by those that have many keys there.
#[derive(Debug, Default)]
pub struct Ahead {
    wants: Vec<Want>,
    /// Which of them events of a kind have.
    by_kind: Vec<Range<u32>>,
    /// Events until it is looked up anew.
    left: u32,
    /// What was found out of the events behind, by their place in the queue.
    found: [Found; FOUND],
    /// Events asked for so far: where the next one's stands among them.
    next: usize,
}

/// Events of which something is found out: more than the furthest is behind.
const FOUND: usize = 16;

/// What was found out of an event.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// Where what is wanted of it begins.
    from: u32,
    /// How much that is.
    many: u32,
    /// Of each, half of its key's hash, then its cell; [`NIL`] where it has none.
    words: [u32; WANTS_MAX],
}

/// Look-ups asked for of one event: past it most rules of a large rulebook will not come to theirs.
const WANTS_MAX: usize = 16;

/// How far behind the next event each is asked for, a few steps, which take about as long as memory
/// does: its row, where the index says which cells its keys have, the cells, the first run or event
/// of their lists. Each needs what the one before has brought.
const ROW: usize = 14;
const SLOT: usize = 9;
const CELL: usize = 6;
const LIST: usize = 3;

/// What a list is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Nothing,
    /// None: the cell is a run.
    Run,
    Entries,
    Runs,
}

/// One look-up of an event.
#[derive(Clone, Copy, Debug)]
struct Want {
    /// The field that is the key.
    by: FieldId,
    owner: Owner,
    /// Who answers for it.
    holder: u32,
    /// What the cell's list is one of.
    list: List,
    /// Whether the keys are few, and no more than what their lists hold is asked for.
    few: bool,
}

/// What events of each kind look up by one field.
#[derive(Debug, Default)]
pub struct Wanted(Vec<Vec<Want>>);

impl Wanted {
    /// Of the facts and rules of a layout.
    pub fn new(plan: &Plan, layout: &Layout, kinds: usize) -> Self {
        Self((0..kinds).map(|kind| wanted_by(plan, layout, KindId(kind as u16))).collect())
    }
}

fn wanted_by(plan: &Plan, layout: &Layout, kind: KindId) -> Vec<Want> {
    let mut wanted: Vec<Want> = Vec::new();
    let mut want = |owner: Owner, by: &[FieldRef], list: List| {
        let [FieldRef::Slot(by, FieldType::String)] = by else { return };
        if wanted.len() < WANTS_MAX {
            let holder = layout.bounds.holder(owner);
            wanted.push(Want { by: *by, owner, holder, list, few: false });
        }
    };
    let interest = layout.interest(kind);
    for FactStep { fact, .. } in interest.facts.often(WANTS_MAX) {
        let by = &plan.facts[fact.0 as usize].by;
        want(layout.fact(*fact), by, List::Entries);
        layout
            .watchers(*fact)
            .often(WANTS_MAX)
            .iter()
            .for_each(|rule| want(layout.rule(*rule), by, List::Runs));
    }
    for RuleStep { rule: id, .. } in interest.rules.often(WANTS_MAX) {
        let rule = &plan.rules[id.0 as usize];
        match &rule.pattern {
            Pattern::Event(_) | Pattern::Watch { .. } => {}
            Pattern::Unless { guards, .. } => {
                for (number, guard) in guards.iter().enumerate() {
                    want(layout.guard_waiting(*id, number), &guard.same, List::Entries);
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
    wanted
}

impl Site {
    /// Asks for what freeing a run would touch, where the sweep comes to it soon.
    #[inline]
    pub(super) fn expect_sweep(&self, run: u32) {
        let Some(run) = self.state.runs.peek(run).filter(|run| run.owner != 0) else { return };
        self.state.keys.peek(run.key_cell).into_iter().for_each(fetch);
    }

    /// Asks for what the events behind the one that is stepped next will look up. Where nobody has
    /// many keys it is one comparison.
    #[inline]
    pub fn expect<'a>(&mut self, cx: Context<'_>, behind: impl Fn(usize) -> Option<EventRef<'a>>) {
        match self.ahead.left.checked_sub(1) {
            Some(left) => self.ahead.left = left,
            None => self.look_who_is_large(cx),
        }
        if self.ahead.wants.is_empty() {
            return;
        }
        if let Some(event) = behind(ROW) {
            event.expect();
        }
        let next = self.ahead.next;
        self.ahead.next = next.wrapping_add(1);
        // Where another event has come between, something else is asked for, and nothing is wrong.
        self.ask_for_slots(next.wrapping_add(SLOT) % FOUND, behind(SLOT));
        self.ask_for_cells(next.wrapping_add(CELL) % FOUND);
        self.ask_for_lists(next.wrapping_add(LIST) % FOUND);
    }

    /// The same for the first of events that come all at once: when [`Self::expect`] sees them they are
    /// nearer already than it asks for.
    pub fn expect_first<'a>(&mut self, behind: impl Fn(usize) -> Option<EventRef<'a>>) {
        if self.ahead.wants.is_empty() || behind(1).is_none() {
            return;
        }
        let next = self.ahead.next;
        for place in 0..SLOT {
            self.ask_for_slots(next.wrapping_add(place) % FOUND, behind(place));
        }
        for place in 0..CELL {
            self.ask_for_cells(next.wrapping_add(place) % FOUND);
        }
        for place in 0..LIST {
            self.ask_for_lists(next.wrapping_add(place) % FOUND);
        }
    }

    #[inline(always)]
    fn ask_for_slots(&mut self, place: usize, event: Option<EventRef<'_>>) {
        let Ahead { wants, by_kind, found, .. } = &mut self.ahead;
        let found = &mut found[place];
        found.many = 0;
        let Some(event) = event else { return };
        let Some(range) = by_kind.get(event.kind().0 as usize) else { return };
        (found.from, found.many) = (range.start, range.end - range.start);
        let wants = &wants[range.start as usize..range.end as usize];
        for (number, want) in wants.iter().enumerate() {
            let word = &mut found.words[number % WANTS_MAX];
            let Some(key) = event.text(want.by).and_then(Symbol::some) else {
                *word = NIL;
                continue;
            };
            *word = half_of(&[key, Symbol::NONE, Symbol::NONE, Symbol::NONE]);
            if !want.few {
                fetch(self.state.slot(want.owner, *word));
            }
        }
    }

    #[inline(always)]
    fn ask_for_cells(&mut self, place: usize) {
        let Ahead { wants, found, .. } = &mut self.ahead;
        let Found { from, many, words } = &mut found[place];
        let Some(wants) = wants.get(*from as usize..(*from + *many) as usize) else { return };
        for (number, want) in wants.iter().enumerate() {
            let word = &mut words[number % WANTS_MAX];
            if *word == NIL {
                continue;
            }
            // Were it another's cell the wrong line would be asked for, and nothing else be wrong.
            *word = self.state.likely(want.owner, *word).unwrap_or(NIL);
            if let (false, Some(cell)) = (want.few, self.state.keys.peek(*word)) {
                fetch(cell);
            }
        }
    }

    #[inline(always)]
    fn ask_for_lists(&self, place: usize) {
        let Found { from, many, words } = &self.ahead.found[place];
        let wants = self.ahead.wants.get(*from as usize..(*from + *many) as usize);
        for (number, want) in wants.unwrap_or_default().iter().enumerate() {
            let index = &words[number % WANTS_MAX];
            let Some(cell) = self.state.keys.peek(*index) else { continue };
            match want.list {
                List::Nothing => {}
                List::Run => {
                    // A run that ends leaves the line by age, too.
                    for beside in [cell.age.older, cell.age.newer] {
                        self.state.keys.peek(beside).into_iter().for_each(fetch);
                    }
                    self.state.noted.peek(cell.value as u32).into_iter().for_each(fetch);
                }
                List::Entries => self.state.entries.peek(cell.head).into_iter().for_each(fetch),
                List::Runs => self.state.runs.peek(cell.head).into_iter().for_each(fetch),
            }
        }
    }

    #[cold]
    fn look_who_is_large(&mut self, cx: Context<'_>) {
        let Ahead { wants, by_kind, left, found, .. } = &mut self.ahead;
        *found = Default::default();
        let (holdings, kinds) = (&self.state.holdings, &cx.layout.wanted.0);
        wants.clear();
        by_kind.clear();
        for of_kind in kinds {
            let from = wants.len() as u32;
            wants.extend(of_kind.iter().filter_map(|want| {
                let holding = holdings.get(want.holder);
                let few = holding.keys < MANY;
                (!few || holding.events >= MANY).then_some(Want { few, ..*want })
            }));
            by_kind.push(from..wants.len() as u32);
        }
        *left = LOOK_EVERY.max(4 * kinds.len() as u32);
    }
}
