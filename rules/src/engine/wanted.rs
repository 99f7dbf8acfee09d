//! What events of each kind look up, by one text of theirs: found out once, when the rules are loaded.

use event::{FieldId, FieldType, KindId};

use super::layout::Layout;
use super::sequence::Shape;
use super::state::Owner;
use super::steps::{FactStep, RuleStep};
use crate::plan::{FactKind, FieldRef, Pattern, Plan};

/// Look-ups asked for of one event: past it most rules of a large rulebook will not come to theirs.
pub const WANTS_MAX: usize = 16;

/// What a cell's list is one of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum List {
    #[default]
    Nothing,
    /// None: the cell is a run.
    Run,
    /// Events of a window.
    Entries,
    /// The same, of which each value counts once.
    Values,
    /// Entries that stand for runs.
    Waiting,
    Runs,
}

/// One look-up that events of a kind may make.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub owner: Owner,
    /// The field that is the key.
    pub by: FieldId,
    pub list: List,
}

/// What events of each kind look up by one field.
#[derive(Debug, Default)]
pub struct Wanted(Vec<Vec<Wish>>);

impl Wanted {
    /// Of the facts and rules of a layout, up to the last kind of which anybody looks up anything.
    pub fn new(plan: &Plan, layout: &Layout, kinds: usize) -> Self {
        let kinds = (0..kinds).map(|kind| wanted_by(plan, layout, KindId(kind as u16)));
        let mut kinds: Vec<_> = kinds.collect();
        kinds.truncate(kinds.iter().rposition(|wishes| !wishes.is_empty()).map_or(0, |at| at + 1));
        Self(kinds)
    }

    /// By kind.
    pub fn kinds(&self) -> &[Vec<Wish>] {
        &self.0
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
            FactKind::Count { .. } => List::Entries,
            FactKind::Distinct { .. } => List::Values,
            FactKind::Balance { .. } | FactKind::Set { .. } | FactKind::Tally { .. } => {
                List::Nothing
            }
        };
        want(layout.fact(*fact), by, list);
        // A balance says itself where its level is.
        if layout.prepared.fact(*fact).level.is_some() {
            continue;
        }
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
    wanted
}
