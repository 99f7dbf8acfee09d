//! Who reads what facts are, and were before an event: of those that nobody reads no change is noted.

use std::collections::BTreeSet;

use event::KindId;

use super::layout::rules_of;
use crate::plan::{FactId, Pattern, Plan, Scope};

/// Who reads facts: those read while events of a kind are judged, and those that may be read while any
/// are. A level that says something of its value alone reads nothing; what only `why` shows is not told
/// apart.
#[derive(Default)]
pub struct Readers {
    by_kind: BTreeSet<(KindId, FactId)>,
    always: BTreeSet<FactId>,
}

impl Readers {
    /// Of a scope.
    pub fn new(plan: &Plan, scope: Scope) -> Self {
        let mut readers = Self::default();
        let all: Vec<_> = (0..plan.facts.len() as u16).map(FactId).collect();
        for (_, rule) in rules_of(plan, scope) {
            let reads = if rule.why.is_empty() { &rule.reads } else { &all };
            match &rule.pattern {
                Pattern::Watch { condition, hold: None, .. }
                    if condition.level().is_some() && rule.why.is_empty() => {}
                Pattern::Watch { .. } => readers.always.extend(reads),
                _ => readers.read(&rule.kinds(), reads),
            }
        }
        for fact in plan.facts.iter().filter(|fact| fact.scope == scope) {
            fact.triggers().iter().for_each(|trigger| readers.read(&trigger.kinds, &fact.reads));
        }
        readers
    }

    fn read(&mut self, kinds: &[KindId], facts: &[FactId]) {
        for kind in kinds {
            self.by_kind.extend(facts.iter().map(|fact| (*kind, *fact)));
        }
    }

    /// Whether a fact may be read while an event of a kind is judged.
    pub fn has(&self, kind: KindId, fact: FactId) -> bool {
        self.always.contains(&fact) || self.by_kind.contains(&(kind, fact))
    }
}
