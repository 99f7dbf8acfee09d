//! What a step reads of its fact or rule, found out at load and kept in a line of memory: nearly all keys
//! are one text of the event, nearly all conditions one test of one field.

use std::sync::Arc;

use event::prefetch::fetch;
use event::{EventRef, FieldId, FieldType, Symbol, TimeSpan};

use super::cells::Key;
use super::holdings::Bounds;
use super::layout::Watched;
use super::near::{self, Near};
use super::seats::Seat;
use super::state::Owner;
use crate::condition::{Bound, Condition, Gate, Limit};
use crate::lang::expr::Expr;
use crate::plan::{
    Emit, Fact, FactId, FactKind, FieldRef, Pattern, Plan, Rule, RuleId, Runs, Scope, Sequence,
    Skip, Trigger,
};
use crate::texts::Texts;
use crate::value::Value;

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// One text of the row.
    Text(FieldId),
    /// Anything else: see [`super::scope::key_of`].
    Parts,
}

/// What a trigger asks of an event of its kinds.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// What it must pass; that is all, unless the trigger asks for more.
    pub gate: Gate,
    /// Something else must hold: its condition says it.
    pub asks: bool,
    /// Conditions that are evaluated by that: none, or one.
    pub conditions: u8,
}

/// Where somebody is.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// At the site of the event.
    Site,
    /// A text of the row says it.
    Text(FieldId),
}

/// A fact that counts events, or a balance; of others nothing is said here.
#[derive(Clone, Debug)]
pub struct PreparedFact {
    /// Whose its cells are.
    pub owner: Owner,
    /// Its key, where that is one text;
    pub key: FieldId,
    /// and where they are found, then.
    pub place: near::Place,
    /// Whether it is.
    pub by: By,
    /// It is a number that needs no more than its window made exact.
    pub is_number: bool,
    /// Of what it counts the values of this text, each once.
    pub of: Option<FieldId>,
    /// Conditions that are met by an event that its list and the gate let pass.
    pub conditions: u8,
    /// Where all that is asked of what is counted is that a field is one of these texts.
    pub among: Option<(FieldId, Arc<Texts>)>,
    /// What moves a balance up.
    pub up: When,
    /// What moves it down.
    pub down: When,
    /// Where both are texts of one field: the field, and the texts.
    pub moves: Option<(FieldId, [u32; 2])>,
    /// How long what is counted counts.
    pub within: TimeSpan,
    /// How many events a key may hold.
    pub events_max: u32,
    /// Who looks when a balance has moved, where that is one rule, and its level.
    pub level: Option<(Owner, Bound)>,
}

/// A rule of one event; of other rules nothing is said here.
#[derive(Clone, Copy, Debug)]
pub struct PreparedEvent {
    /// Who it is.
    pub owner: Owner,
    /// What it asks of an event that its list and the gate let pass, where they speak for all fields.
    pub asks: Asks,
    /// It speaks when its condition turns true, and looks at each event for that.
    pub edge: bool,
}

/// What is asked of an event beside its fields.
#[derive(Clone, Copy, Debug)]
pub enum Asks {
    /// Nothing; so many conditions are met.
    Nothing {
        /// None, or one.
        conditions: u8,
    },
    /// That a fact is within a limit.
    Fact(FactId, Limit),
    /// Something else: its condition says it.
    More,
}

impl PreparedEvent {
    fn new(rule: &Rule, owner: Owner) -> Self {
        let asks = match &rule.pattern {
            Pattern::Event(Trigger { condition: None, .. }) => Asks::Nothing { conditions: 0 },
            Pattern::Event(Trigger { condition: Some(condition), .. }) => {
                match (condition.holds_by_fields(), condition.fact()) {
                    (Some(_), _) => Asks::Nothing { conditions: 1 },
                    (None, Some((fact, limit))) => Asks::Fact(fact, *limit),
                    (None, None) => Asks::More,
                }
            }
            _ => Asks::More,
        };
        Self { owner, asks, edge: rule.emit == Emit::Edge }
    }
}

/// The only guard of an `unless`, of which one event of the rule's key after the opening one is enough,
/// whatever it says: all runs of the key wait for it, and stand in no other list.
#[derive(Clone, Copy, Debug)]
pub struct PreparedGuard {
    /// The key of the rule, and of the guard.
    pub by: FieldId,
    /// How long runs wait.
    pub to: TimeSpan,
}

impl PreparedGuard {
    pub(super) fn of(rule: &Rule) -> Option<Self> {
        let Pattern::Unless { guards, .. } = &rule.pattern else { return None };
        let [guard] = guards.as_slice() else { return None };
        let plain = guard.at_least == 1 && guard.forward.is_none() && guard.backward.is_none();
        let after = guard.from >= TimeSpan::ZERO && guard.to > TimeSpan::ZERO;
        if !plain || !after || !rule.captures.is_empty() {
            return None;
        }
        match (By::of(&rule.by), By::of(&guard.same)) {
            (By::Text(by), By::Text(same)) if by == same => Some(Self { by, to: guard.to }),
            _ => None,
        }
    }
}

/// A sequence of two events, impossible travel, or `unless`; of other rules nothing is said here.
#[derive(Clone, Copy, Debug)]
pub struct PreparedRule {
    /// Whose its cells are.
    pub owner: Owner,
    /// Its key, where that is one text;
    pub key: FieldId,
    /// and where they are, then.
    pub seat: Seat,
    pub place: near::Place,
    /// A match uses its event up.
    pub past_last: bool,
    /// A run starts in the place of one that waits.
    pub last: bool,
    /// Something must have been absent before.
    pub lead: bool,
    /// The first event, or a sighting.
    pub first: When,
    /// The second event.
    pub second: When,
    /// How long a sequence may take; the least time between two places.
    pub within: TimeSpan,
    /// Where a sighting is.
    pub whereabouts: Place,
    /// Of an `unless` that is plain.
    pub guard: Option<PreparedGuard>,
}

impl By {
    /// The text, where it is one.
    pub fn text(self) -> Option<FieldId> {
        match self {
            Self::Text(field) => Some(field),
            Self::Parts => None,
        }
    }

    pub(super) fn of(by: &[FieldRef]) -> Self {
        match by {
            [FieldRef::Slot(field, FieldType::String)] => Self::Text(*field),
            _ => Self::Parts,
        }
    }
}

/// The key that is one text. Whoever looks it up makes it there, for one that stands in memory is put into
/// a word again.
#[inline(always)]
pub fn key_of_text(text: Symbol) -> Key {
    [text, Symbol::NONE, Symbol::NONE, Symbol::NONE]
}

/// A text of an event that is a key, where it has it.
#[inline(always)]
pub fn text_of_key(event: EventRef<'_>, field: FieldId) -> Option<Symbol> {
    event.text(field)?.some()
}

impl When {
    const ASKS: Self = Self { gate: Gate::OPEN, asks: true, conditions: 0 };

    pub(super) fn of(trigger: &Trigger) -> Self {
        let none = Self { gate: Gate::OPEN, asks: false, conditions: 0 };
        let Some(condition) = &trigger.condition else { return none };
        match (condition.gate(None), condition.holds_by_fields()) {
            ((gate, true), Some(true)) => Self { gate, conditions: 1, ..none },
            _ => Self::ASKS,
        }
    }
}

impl Place {
    fn of(place: FieldRef) -> Option<Self> {
        match place {
            FieldRef::Site => Some(Self::Site),
            FieldRef::Slot(field, FieldType::String) => Some(Self::Text(field)),
            _ => None,
        }
    }
}

impl PreparedFact {
    /// A fact, and who looks at it.
    fn new(plan: &Plan, number: usize, watched: &Watched, tallied: bool) -> Self {
        let (fact, owner) = (&plan.facts[number], Owner(number as u32));
        let mut prepared = Self {
            owner,
            key: By::of(&fact.by).text().unwrap_or(FieldId(0)),
            place: near::Place::NOBODY,
            by: By::of(&fact.by),
            is_number: matches!(fact.kind, FactKind::Count { .. } | FactKind::Balance { .. }),
            of: None,
            conditions: 0,
            among: None,
            up: When::ASKS,
            down: When::ASKS,
            moves: None,
            within: TimeSpan::ZERO,
            events_max: fact.limits.events,
            level: None,
        };
        match &fact.kind {
            FactKind::Count { on, within } | FactKind::Distinct { on, within, .. } => {
                prepared.conditions = u8::from(on.condition.is_some());
                prepared.among = on.condition.as_ref().and_then(Condition::among);
                prepared.within = *within;
                if let FactKind::Distinct { of: FieldRef::Slot(of, FieldType::String), .. } =
                    fact.kind
                {
                    (prepared.of, prepared.is_number) = (Some(of), true);
                }
            }
            FactKind::Balance { up, down } => {
                (prepared.up, prepared.down) = (When::of(up), When::of(down));
                if let (Some((field, up)), Some((other, down))) =
                    (prepared.up.gate.text(), prepared.down.gate.text())
                    && field == other
                {
                    prepared.moves = Some((field, [up, down]));
                }
                if let (Watched::Levels(levels), false) = (watched, tallied)
                    && let [(rule, bound)] = levels.as_slice()
                {
                    prepared.level = Some((owner_of(plan, *rule), *bound));
                }
            }
            _ => {}
        }
        prepared
    }

    /// Whether a balance moves by what stands in the row, and what is counted stands in it.
    pub fn is_plain(fact: &Fact) -> bool {
        let plain = |trigger| !When::of(trigger).asks;
        let moves = match &fact.kind {
            FactKind::Balance { up, down } => plain(up) && plain(down),
            FactKind::Count { on, .. } => on.is_by_fields(),
            FactKind::Distinct { on, of, .. } => {
                on.is_by_fields() && matches!(of, FieldRef::Slot(_, FieldType::String))
            }
            _ => true,
        };
        moves && By::of(&fact.by) != By::Parts
    }
}

impl PreparedRule {
    /// A rule, whose cells belong to `owner`.
    fn new(rule: &Rule, owner: Owner) -> Self {
        let mut prepared = Self {
            owner,
            key: By::of(&rule.by).text().unwrap_or(FieldId(0)),
            seat: Seat::NONE,
            place: near::Place::NOBODY,
            past_last: false,
            last: false,
            lead: false,
            first: When::ASKS,
            second: When::ASKS,
            within: TimeSpan::ZERO,
            whereabouts: Place::Site,
            guard: None,
        };
        match &rule.pattern {
            Pattern::Sequence(Sequence { lead, steps, within, runs, skip, .. }) => {
                let when = |step: usize| {
                    let parts = steps.get(step).map(|step| step.parts.as_slice());
                    match parts {
                        Some([part]) => When::of(&part.on),
                        _ => When::ASKS,
                    }
                };
                (prepared.first, prepared.second) = (when(0), when(1));
                prepared.past_last = *skip == Skip::PastLast;
                prepared.last = *runs == Runs::Last;
                prepared.lead = lead.is_some();
                prepared.within = *within;
            }
            Pattern::Travel { on, place, min_time: Expr::Constant(Value::Span(span)) } => {
                prepared.first = When::of(on);
                prepared.within = *span;
                prepared.whereabouts = Place::of(*place).unwrap_or(Place::Site);
            }
            Pattern::Unless { on, .. } => {
                prepared.first = When::of(on);
                prepared.guard = PreparedGuard::of(rule);
            }
            _ => {}
        }
        prepared
    }

    /// Whether impossible travel is judged by what stands in the row.
    pub fn is_plain_travel(rule: &Rule) -> bool {
        let Pattern::Travel { on, place, min_time: Expr::Constant(Value::Span(_)) } = &rule.pattern
        else {
            return false;
        };
        let plain = !When::of(on).asks && Place::of(*place).is_some();
        plain && By::of(&rule.by) != By::Parts
    }
}

/// Whose a rule's own cells are.
fn owner_of(plan: &Plan, RuleId(rule): RuleId) -> Owner {
    Owner(plan.facts.len() as u32 + u32::from(rule))
}

/// All of a plan, by number; nothing, for a scope that has no part in it.
#[derive(Debug)]
pub struct Prepared {
    facts: Vec<PreparedFact>,
    rules: Vec<PreparedRule>,
    events: Vec<PreparedEvent>,
}

impl Prepared {
    /// Of a plan, for a scope; `looks` says who looks at a fact, and whether its keys are counted.
    pub fn new<'a>(
        plan: &Plan,
        scope: Scope,
        looks: impl Fn(usize) -> (&'a Watched, bool),
    ) -> Self {
        let has_part = plan.facts.iter().any(|fact| fact.scope == scope)
            || plan.rules.iter().any(|rule| rule.scope == scope);
        if !has_part {
            let (facts, rules, events) = Default::default();
            return Self { facts, rules, events };
        }
        let facts = (0..plan.facts.len()).map(|number| {
            let (watched, tallied) = looks(number);
            PreparedFact::new(plan, number, watched, tallied)
        });
        let rules = plan.rules.iter().enumerate();
        let rules =
            rules.map(|(n, rule)| PreparedRule::new(rule, owner_of(plan, RuleId(n as u16))));
        let events = plan.rules.iter().enumerate();
        let events =
            events.map(|(n, rule)| PreparedEvent::new(rule, owner_of(plan, RuleId(n as u16))));
        Self { facts: facts.collect(), rules: rules.collect(), events: events.collect() }
    }

    /// Who has a seat is known.
    pub fn seat(&mut self, bounds: &Bounds) {
        let near = Near::new(bounds);
        for fact in &mut self.facts {
            fact.place = near.place(fact.owner);
        }
        for rule in &mut self.rules {
            (rule.seat, rule.place) = (bounds.seat_of(rule.owner), near.place(rule.owner));
        }
    }

    /// A fact.
    #[inline(always)]
    pub fn fact(&self, FactId(fact): FactId) -> &PreparedFact {
        &self.facts[fact as usize]
    }

    /// A rule of one event.
    #[inline(always)]
    pub fn event(&self, RuleId(rule): RuleId) -> &PreparedEvent {
        &self.events[rule as usize]
    }

    /// Asks for what is said of a rule that is not of one event.
    #[inline(always)]
    pub fn expect_rule(&self, RuleId(rule): RuleId) {
        let rule = &self.rules[rule as usize];
        fetch(rule);
        fetch(&rule.guard);
    }

    /// Any other rule.
    #[inline(always)]
    pub fn rule(&self, RuleId(rule): RuleId) -> &PreparedRule {
        &self.rules[rule as usize]
    }
}
