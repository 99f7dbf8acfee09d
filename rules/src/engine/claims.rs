//! What the conditions of facts and rules claim of an event's fields: what they compare with constants.

use event::{FieldType, KindId, Symbol};

use crate::lang::expr::Expr;
use crate::lang::syntax::Operator;
use crate::plan::{Emit, Entity, Fact, FieldRef, Guard, Pattern, Rule, Sequence, Session, Trigger};
use crate::value::Value;

/// What follows from a condition that holds: the field has one of these values.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim<F> {
    /// The field.
    pub field: F,
    pub(super) values: Vec<Symbol>,
}

/// One reason to ask a fact or rule: an event of these kinds that meets the claims; where there are
/// none, any.
pub struct Ask {
    /// Kinds of event.
    pub kinds: Vec<KindId>,
    /// Each of them follows from the condition.
    pub claims: Vec<Claim<FieldRef>>,
}

/// A part of an expression that is a field of the current event, or what a table says of one.
fn field_of_event(expr: &Expr) -> Option<FieldRef> {
    match expr {
        Expr::Field(field) => Some(*field),
        Expr::Column(table, column, key) => {
            let of = match **key {
                Expr::Field(FieldRef::Slot(id, FieldType::String)) => Entity::Slot(id),
                Expr::Field(FieldRef::Device) => Entity::Device,
                Expr::Field(FieldRef::Site) => Entity::Site,
                _ => return None,
            };
            Some(FieldRef::Joined { of, table: *table, column: *column })
        }
        _ => None,
    }
}

/// The text that a constant is, where it is one that an event may have.
fn named(value: &Value) -> Option<Symbol> {
    match value {
        Value::Text(symbol) => symbol.some(),
        _ => None,
    }
}

/// What follows from an expression that is true.
fn claims_of(expr: &Expr, field: &impl Fn(&Expr) -> Option<FieldRef>) -> Vec<Claim<FieldRef>> {
    let one = |of: &Expr, values: &[Value]| {
        let field = field(of)?;
        let mut texts = Vec::with_capacity(values.len());
        for value in values {
            texts.push(named(value)?);
        }
        // By their numbers, to find those that stand twice: nothing goes by this order.
        texts.sort_unstable_by_key(|symbol| symbol.0);
        texts.dedup();
        Some(Claim { field, values: texts })
    };
    match expr {
        Expr::And(a, b) => {
            let mut claims = claims_of(a, field);
            claims.append(&mut claims_of(b, field));
            claims
        }
        Expr::Or(a, b) => {
            let others = claims_of(b, field);
            let both = |claim: Claim<FieldRef>| {
                let other = others.iter().find(|other| other.field == claim.field)?;
                let mut values = [claim.values, other.values.clone()].concat();
                values.sort_unstable_by_key(|symbol| symbol.0);
                values.dedup();
                Some(Claim { field: claim.field, values })
            };
            claims_of(a, field).into_iter().filter_map(both).collect()
        }
        Expr::Holds(inner) => claims_of(inner, field),
        Expr::OneOf(item, of) => one(item, of).into_iter().collect(),
        Expr::Compare(Operator::Equal, a, b) => match (&**a, &**b) {
            (of, Expr::Constant(value)) | (Expr::Constant(value), of) => {
                one(of, &[*value]).into_iter().collect()
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// What follows from a trigger's condition, where it holds.
pub fn claims(trigger: &Trigger) -> Vec<Claim<FieldRef>> {
    trigger.condition.as_ref().map_or(Vec::new(), |c| claims_of(c, &field_of_event))
}

fn ask(trigger: &Trigger) -> Ask {
    Ask { kinds: trigger.kinds.clone(), claims: claims(trigger) }
}

/// What all of several triggers claim of the fields of a key: whatever meets one of them has one of
/// these values there, and whatever shares its key with that has, too.
fn anchors<'a>(
    triggers: impl Iterator<Item = &'a Trigger>,
    by: &[FieldRef],
) -> Vec<Claim<FieldRef>> {
    let of_key = |trigger| {
        let mut claims = claims(trigger);
        claims.retain(|claim| by.contains(&claim.field));
        claims
    };
    let all: Vec<_> = triggers.map(of_key).collect();
    let Some((first, others)) = all.split_first() else { return Vec::new() };
    let in_all = |claim: &Claim<FieldRef>| {
        let mut values = claim.values.clone();
        for other in others {
            let same = other.iter().find(|other| other.field == claim.field)?;
            values.extend(&same.values);
        }
        values.sort_unstable_by_key(|symbol| symbol.0);
        values.dedup();
        Some(Claim { field: claim.field, values })
    };
    first.iter().filter_map(in_all).collect()
}

/// When a fact is to be asked.
pub fn asks_of_fact(fact: &Fact) -> Vec<Ask> {
    fact.triggers().into_iter().map(ask).collect()
}

/// When a rule is to be asked.
pub fn asks_of_rule(rule: &Rule) -> Vec<Ask> {
    let always = |claims| vec![Ask { kinds: rule.kinds(), claims }];
    match &rule.pattern {
        Pattern::Event(on) => {
            let mut ask = ask(on);
            if rule.emit == Emit::Edge {
                // An event that does not meet the condition ends the level of its key.
                ask.claims.retain(|claim| rule.by.contains(&claim.field));
            }
            vec![ask]
        }
        Pattern::Travel { on, .. } => vec![ask(on)],
        Pattern::Passage { on, forgive, .. } => [on].into_iter().chain(forgive).map(ask).collect(),
        Pattern::Watch { .. } => Vec::new(),
        Pattern::Session(session) => always(anchors_of_session(rule, session)),
        Pattern::Sequence(sequence) => {
            // All runs are of keys that the first step has seen.
            let starts = sequence.steps[0].parts.iter().map(|part| &part.on);
            let anchors = anchors(starts, &rule.by);
            if anchors.is_empty() {
                triggers_of(sequence).map(ask).collect()
            } else {
                always(anchors)
            }
        }
        Pattern::Unless { on, guards } => {
            let opening = claims(on);
            let guards = guards.iter().map(|guard| Ask {
                kinds: guard.kinds.clone(),
                claims: claims_of_guard(&opening, guard),
            });
            [ask(on)].into_iter().chain(guards).collect()
        }
    }
}

fn triggers_of(sequence: &Sequence) -> impl Iterator<Item = &Trigger> {
    let steps = sequence.steps.iter();
    let steps = steps.flat_map(|s| s.parts.iter().map(|part| &part.on).chain(&s.without));
    let lead = sequence.lead.iter().map(|lead| &lead.on);
    steps.chain(lead).chain(&sequence.without).chain(&sequence.strict)
}

/// Sessions are of keys that an opening has seen, and ends without a beginning are judged alone.
fn anchors_of_session(rule: &Rule, session: &Session) -> Vec<Claim<FieldRef>> {
    if session.any {
        return Vec::new();
    }
    let orphans = session.orphans.then_some(&session.close);
    anchors([&session.open].into_iter().chain(orphans), &rule.by)
}

/// A guard event counts for openings that share its fields `same`; and where its own condition
/// holds, whichever of the two came first.
fn claims_of_guard(opening: &[Claim<FieldRef>], guard: &Guard) -> Vec<Claim<FieldRef>> {
    let shared = opening.iter().filter(|claim| guard.same.contains(&claim.field)).cloned();
    let forward = guard.forward.as_ref().map(|c| claims_of(c, &field_of_event));
    let captured = |expr: &Expr| match expr {
        Expr::Captured(place) => guard.captures.get(usize::from(*place)).copied(),
        _ => None,
    };
    let backward = guard.backward.as_ref().map(|c| claims_of(c, &captured));
    let own = match (forward, backward) {
        (Some(mut forward), Some(backward)) => {
            forward.retain(|claim| backward.contains(claim));
            forward
        }
        (claims, None) | (None, claims) => claims.unwrap_or_default(),
    };
    shared.chain(own).collect()
}

/// What a watch claims of its key, by the places of a changed fact's key.
pub fn claims_of_watch(
    rule: &Rule,
    watched: &[FieldRef],
    changed: &[FieldRef],
) -> Vec<Claim<usize>> {
    let Pattern::Watch { condition, .. } = &rule.pattern else { return Vec::new() };
    let mut claims = claims_of(condition, &field_of_event);
    claims.retain(|claim| watched.contains(&claim.field));
    let placed = |claim: Claim<FieldRef>| {
        let place = changed.iter().position(|field| *field == claim.field)?;
        Some(Claim { field: place, values: claim.values })
    };
    claims.into_iter().filter_map(placed).collect()
}
