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

/// So many turns of a site go by, at least, before it is looked up anew who has so many keys.
const LOOK_EVERY: u32 = 256;

/// Events that are asked for together: a turn.
const TURN: u8 = 4;

/// Look-ups asked for of one event: past it most rules of a large rulebook will not come to theirs.
const WANTS_MAX: usize = 16;

/// Turns of which something is known: the next one, whose lists are asked for; the one after that,
/// whose cells are; and the one behind it, of which the index is asked where its keys' cells are. Each
/// needs what the one before has brought. The rows of yet another are asked for.
const TURNS: usize = 3;

/// What is asked for at a site: by those that have many keys there.
#[derive(Debug, Default)]
pub struct Ahead {
    wants: Vec<Want>,
    /// Which of them events of a kind have.
    by_kind: Vec<Range<u32>>,
    /// Events of this turn that are still to come.
    left: u8,
    /// Turns until it is looked up anew.
    looks: u32,
    /// What was found out of the turns to come; the furthest stands where the current one did.
    turns: [Turn; TURNS],
    current: usize,
}

/// What was found out of some events.
#[derive(Debug)]
struct Turn {
    many: usize,
    asked: [Asked; WANTS_MAX * TURN as usize],
}

impl Default for Turn {
    fn default() -> Self {
        let what = What { owner: Owner(0), list: List::Nothing, few: false };
        Self { many: 0, asked: [Asked { what, word: NIL }; WANTS_MAX * TURN as usize] }
    }
}

/// One look-up that was asked for: half of its key's hash, then its cell, [`NIL`] where it has none.
#[derive(Clone, Copy, Debug)]
struct Asked {
    what: What,
    word: u32,
}

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
    /// Who answers for it.
    holder: u32,
    what: What,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug)]
struct What {
    owner: Owner,
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
            wanted.push(Want { by: *by, holder, what: What { owner, list, few: false } });
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
            Pattern::Unless { on, guards } => {
                if on.kinds.contains(&kind) {
                    want(layout.rule(*id), &rule.by, List::Nothing);
                }
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
    // Those of one field together: the key's hash is the same.
    wanted.sort_by_key(|want| want.by);
    wanted
}

impl Site {
    /// Asks for what freeing a run would touch, where the sweep comes to it soon.
    #[inline]
    pub(super) fn expect_sweep(&self, run: u32) {
        let Some(run) = self.state.runs.peek(run).filter(|run| run.owner != 0) else { return };
        self.state.keys.peek(run.key_cell).into_iter().for_each(fetch);
    }

    /// Asks for what the events behind the one that is stepped now will look up. Where nobody has
    /// many keys, and between turns, it is one comparison.
    #[inline(always)]
    pub fn expect<'a>(&mut self, cx: Context<'_>, behind: impl Fn(usize) -> Option<EventRef<'a>>) {
        match self.ahead.left.checked_sub(1) {
            Some(left) => self.ahead.left = left,
            None => self.expect_turn(cx, behind),
        }
    }

    #[inline(never)]
    fn expect_turn<'a>(&mut self, cx: Context<'_>, behind: impl Fn(usize) -> Option<EventRef<'a>>) {
        self.ahead.left = TURN - 1;
        match self.ahead.looks.checked_sub(1) {
            Some(looks) => self.ahead.looks = looks,
            None => self.look_who_is_large(cx),
        }
        if self.ahead.wants.is_empty() {
            return;
        }
        let (current, furthest) = (self.ahead.current, TURNS * usize::from(TURN) - 1);
        let [next, after] = [1, 2].map(|behind| (current + behind) % TURNS);
        self.ahead.current = next;
        let turn = usize::from(TURN);
        (furthest + turn..furthest + 2 * turn).map_while(&behind).for_each(|event| event.expect());
        self.ask_for_slots(current, furthest, behind);
        self.ask_for_cells(after);
        self.ask_for_lists(next);
    }

    /// The same for events that come all at once, before the first: when [`Self::expect`] sees them
    /// they are nearer already than it asks for.
    pub fn expect_first<'a>(&mut self, behind: impl Fn(usize) -> Option<EventRef<'a>>) {
        if self.ahead.wants.is_empty() || behind(1).is_none() {
            return;
        }
        (self.ahead.left, self.ahead.current) = (0, 0);
        for turn in 0..TURNS {
            self.ask_for_slots(turn, turn * usize::from(TURN), &behind);
        }
        (0..TURNS - 1).for_each(|turn| self.ask_for_cells(turn));
        self.ask_for_lists(0);
    }

    #[inline(always)]
    fn ask_for_slots<'a>(
        &mut self,
        turn: usize,
        from: usize,
        behind: impl Fn(usize) -> Option<EventRef<'a>>,
    ) {
        let Ahead { wants, by_kind, turns, .. } = &mut self.ahead;
        let Turn { many, asked } = &mut turns[turn];
        let mut next = 0;
        for place in from..from + usize::from(TURN) {
            let Some(event) = behind(place) else { break };
            let Some(range) = by_kind.get(event.kind().0 as usize) else { continue };
            let wants = wants.get(range.start as usize..range.end as usize).unwrap_or_default();
            // Those of one field stand together: its half is the same.
            let (mut by, mut word) = (None, NIL);
            for Want { what, by: field, .. } in wants {
                if by != Some(*field) {
                    by = Some(*field);
                    let key = event.text_or_none(*field);
                    word = half_of(&[key, Symbol::NONE, Symbol::NONE, Symbol::NONE]);
                    fetch(self.state.slot(word));
                }
                if let Some(asked) = asked.get_mut(next) {
                    (*asked, next) = (Asked { what: *what, word }, next + 1);
                }
            }
        }
        *many = next;
    }

    #[inline(always)]
    fn ask_for_cells(&mut self, turn: usize) {
        let Turn { many, asked } = &mut self.ahead.turns[turn];
        let Some(asked) = asked.get_mut(..*many) else { return };
        for Asked { what, word } in asked {
            // Were it another's cell the wrong line would be asked for, and nothing else be wrong.
            *word = self.state.likely(what.owner, *word).unwrap_or(NIL);
            if let (false, Some(cell)) = (what.few, self.state.keys.peek(*word)) {
                fetch(cell);
            }
        }
    }

    #[inline(always)]
    fn ask_for_lists(&self, turn: usize) {
        let Turn { many, asked } = &self.ahead.turns[turn];
        for Asked { what, word } in asked.get(..*many).unwrap_or_default() {
            let Some(cell) = self.state.keys.peek(*word) else { continue };
            match what.list {
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
        let Ahead { wants, by_kind, looks, turns, .. } = &mut self.ahead;
        turns.iter_mut().for_each(|turn| turn.many = 0);
        let (state, kinds) = (&self.state, &cx.layout.wanted.0);
        wants.clear();
        by_kind.clear();
        for of_kind in kinds {
            let from = wants.len() as u32;
            wants.extend(of_kind.iter().filter_map(|want| {
                let few = state.cells_of[want.holder as usize] < MANY;
                let what = What { few, ..want.what };
                let many = !few || state.holdings.get(want.holder).events >= MANY;
                many.then_some(Want { what, ..*want })
            }));
            by_kind.push(from..wants.len() as u32);
        }
        *looks = LOOK_EVERY.max(kinds.len() as u32);
    }
}
