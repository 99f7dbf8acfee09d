//! Facts that rules keep for themselves: rules that keep the same share one.

use std::collections::BTreeMap;

use super::check::{KnownFact, Type};
use super::expr::Expr;
use super::rulebook::Book;
use crate::plan::{Fact, FactId, FactKind};
use crate::value::Value;

/// Facts by a hash of what they keep.
#[derive(Debug, Default)]
pub struct Shared(BTreeMap<u64, Vec<FactId>>);

impl Shared {
    fn add(&mut self, fact: &Fact, id: FactId) {
        self.0.entry(hash_of(fact)).or_default().push(id);
    }
}

impl Book<'_> {
    /// Enters the facts that have names of their own.
    pub fn share_facts(&mut self) {
        for (number, fact) in self.facts.iter().enumerate() {
            self.shared.add(fact, FactId(number as u16));
        }
    }

    /// A fact that a rule keeps for itself; one that keeps the same already is shared.
    pub fn own_fact(&mut self, fact: Fact) -> FactId {
        // A named fact that something resets keeps other counts than a rule's own.
        let same = |f: &Fact| {
            f.reset.is_none()
                && (f.scope, &f.by, &f.kind, f.limits)
                    == (fact.scope, &fact.by, &fact.kind, fact.limits)
        };
        let alike = self.shared.0.get(&hash_of(&fact)).into_iter().flatten();
        if let Some(id) = alike.copied().find(|id| same(&self.facts[usize::from(id.0)])) {
            return id;
        }
        let (name, parts) = (fact.name.clone(), fact.by.len());
        let id = self.compiler.know_fact(KnownFact { name, ty: Some(Type::Int), parts });
        self.scopes.push(fact.scope);
        self.keys.push(fact.by.clone());
        self.shared.add(&fact, id);
        self.facts.push(fact);
        id
    }
}

/// A hash of what a fact keeps, to find those that may keep the same: the constants of its
/// conditions tell facts of many rules apart. It leaves nowhere.
fn hash_of(fact: &Fact) -> u64 {
    fn mix(hash: u64, part: u64) -> u64 {
        (hash ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }
    fn constants(expr: &Expr, hash: u64) -> u64 {
        let own = match expr {
            Expr::Constant(Value::Text(symbol)) => mix(hash, u64::from(symbol.0)),
            Expr::Constant(Value::Int(n)) => mix(hash, *n as u64),
            Expr::OneOf(_, values) => values.iter().fold(hash, |hash, value| match value {
                Value::Text(symbol) => mix(hash, u64::from(symbol.0)),
                _ => hash,
            }),
            _ => hash,
        };
        expr.operands().into_iter().fold(own, |hash, part| constants(part, hash))
    }
    let within = match fact.kind {
        FactKind::Count { within, .. } | FactKind::Distinct { within, .. } => within.0 as u64,
        _ => 0,
    };
    fact.triggers().into_iter().fold(within, |hash, trigger| {
        let hash = trigger.kinds.iter().fold(hash, |hash, kind| mix(hash, u64::from(kind.0)));
        trigger.condition.as_ref().map_or(hash, |condition| constants(condition, hash))
    })
}
