//! Facts that rules keep for themselves: rules that keep the same share one, and so do rules that count
//! the same for keys of their own.

use std::collections::{BTreeMap, BTreeSet};

use event::Symbol;

use super::check::{KnownFact, Type};
use super::expr::Expr;
use super::rulebook::Book;
use super::syntax::Operator;
use crate::condition::{Condition, conjuncts};
use crate::plan::{Fact, FactId, FactKind, FieldRef, Trigger, Whose};
use crate::value::Value;

/// Facts by a hash of what they keep.
#[derive(Debug, Default)]
pub struct Shared {
    /// Those that keep just the same.
    same: BTreeMap<u64, Vec<FactId>>,
    /// Windows that rules share, by a hash of what they count, whosoever it is.
    alike: BTreeMap<u64, Vec<usize>>,
    windows: Vec<Window>,
}

/// A window that rules share.
#[derive(Debug)]
struct Window {
    fact: FactId,
    /// What each rule's own would be, but for the keys.
    own: Fact,
    field: FieldRef,
    /// Whom the rules ask for.
    values: Vec<Symbol>,
    /// The windows that it takes the place of, by their hashes.
    of: BTreeSet<u64>,
}

impl Book<'_> {
    /// Enters the facts that have names of their own.
    pub fn share_facts(&mut self) {
        for (number, fact) in self.facts.iter().enumerate() {
            let id = FactId(number as u16);
            self.shared.same.entry(hash_of(fact)).or_default().push(id);
        }
    }

    /// A fact that a rule keeps for itself; one that keeps the same already is shared.
    pub fn own_fact(&mut self, fact: Fact) -> FactId {
        let alike = self.shared.same.get(&hash_of(&fact)).into_iter().flatten();
        if let Some(id) =
            alike.copied().find(|id| keeps_the_same(&self.facts[usize::from(id.0)], &fact))
        {
            return id;
        }
        match of_keys(&fact) {
            Some((field, values, own)) => self.window_of(fact, field, values, own),
            None => {
                let hash = hash_of(&fact);
                let id = self.add_fact(fact);
                self.shared.same.entry(hash).or_default().push(id);
                id
            }
        }
    }

    /// The window that counts what a rule's own would count, kept for the rule's keys, too.
    fn window_of(&mut self, fact: Fact, field: FieldRef, values: Vec<Symbol>, own: Fact) -> FactId {
        let (hash, whole) = (hash_of(&own), hash_of(&fact));
        let alike = self.shared.alike.get(&hash).into_iter().flatten().copied();
        let windows = &self.shared.windows;
        let is_it =
            |at: &usize| windows[*at].field == field && keeps_the_same(&windows[*at].own, &own);
        if let Some(at) = alike.into_iter().find(is_it) {
            let window = &mut self.shared.windows[at];
            window.values.extend(values);
            window.of.insert(whole);
            return window.fact;
        }
        let id = self.add_fact(fact);
        let place = self.shared.windows.len();
        self.shared.alike.entry(hash).or_default().push(place);
        self.shared.windows.push(Window { fact: id, own, field, values, of: [whole].into() });
        id
    }

    fn add_fact(&mut self, fact: Fact) -> FactId {
        let (name, parts) = (fact.name.clone(), fact.by.len());
        let id = self.compiler.know_fact(KnownFact { name, ty: Some(Type::Int), parts });
        self.scopes.push(fact.scope);
        self.keys.push(fact.by.clone());
        self.facts.push(fact);
        id
    }

    /// Says of each window that rules share for whom it is kept, once all rules are read.
    pub fn finish_windows(&mut self) {
        for Window { fact, own, field, mut values, of } in std::mem::take(&mut self.shared.windows)
        {
            let mut seen = BTreeSet::new();
            values.retain(|value| seen.insert(value.0));
            let fact = &mut self.facts[usize::from(fact.0)];
            let rest = trigger_of(&own).and_then(|on| on.condition.clone());
            if let Some(on) = trigger_of_mut(fact).filter(|_| of.len() > 1) {
                let texts = values.iter().map(|value| Value::Text(*value)).collect();
                let keys = Expr::OneOf(Box::new(Expr::Field(field)), texts);
                let keys = Condition::from(keys);
                on.condition = Some(match rest.clone() {
                    Some(rest) => keys.and(rest),
                    None => keys,
                });
            }
            // They hold no more than each its own would.
            fact.limits.keys = fact.limits.keys.saturating_mul(of.len() as u32);
            // By their numbers, to find one: nothing else goes by this order.
            values.sort_unstable_by_key(|value| value.0);
            fact.whose = Some(Whose { field, values: values.into(), rest });
        }
    }
}

/// Whether two facts of rules keep the same. A named fact that something resets keeps other counts than a
/// rule's own.
fn keeps_the_same(a: &Fact, b: &Fact) -> bool {
    a.reset.is_none() && (a.scope, &a.by, &a.kind, a.limits) == (b.scope, &b.by, &b.kind, b.limits)
}

fn trigger_of(fact: &Fact) -> Option<&Trigger> {
    match &fact.kind {
        FactKind::Count { on, .. } | FactKind::Distinct { on, .. } => Some(on),
        _ => None,
    }
}

fn trigger_of_mut(fact: &mut Fact) -> Option<&mut Trigger> {
    match &mut fact.kind {
        FactKind::Count { on, .. } | FactKind::Distinct { on, .. } => Some(on),
        _ => None,
    }
}

/// What a count's condition says of one part of its key alone, where it says that once: the part, its
/// values; and the count without it.
fn of_keys(fact: &Fact) -> Option<(FieldRef, Vec<Symbol>, Fact)> {
    let condition = trigger_of(fact)?.condition.as_ref()?;
    let mut parts = Vec::new();
    conjuncts(condition.expr(), &mut parts);
    let mut of_key = None;
    let mut rest: Option<Expr> = None;
    for part in parts {
        match key_values(part, &fact.by) {
            Some(_) if of_key.is_some() => return None,
            Some(found) => of_key = Some(found),
            None => {
                rest = Some(match rest {
                    Some(rest) => Expr::And(Box::new(rest), Box::new(part.clone())),
                    None => part.clone(),
                });
            }
        }
    }
    let (field, values) = of_key?;
    let mut own = fact.clone();
    trigger_of_mut(&mut own)?.condition = rest.map(Condition::from);
    Some((field, values, own))
}

/// The values that a condition admits of a part of a key, where that is all it says.
fn key_values(expr: &Expr, by: &[FieldRef]) -> Option<(FieldRef, Vec<Symbol>)> {
    let (of, values) = match expr {
        Expr::OneOf(of, values) => (&**of, &values[..]),
        Expr::Compare(Operator::Equal, a, b) => match (&**a, &**b) {
            (of, Expr::Constant(value)) | (Expr::Constant(value), of) => {
                (of, std::slice::from_ref(value))
            }
            _ => return None,
        },
        _ => return None,
    };
    let Expr::Field(field) = of else { return None };
    if !by.contains(field) {
        return None;
    }
    let mut texts = Vec::with_capacity(values.len());
    for value in values {
        let Value::Text(symbol) = value else { return None };
        texts.push(symbol.some()?);
    }
    Some((*field, texts))
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
