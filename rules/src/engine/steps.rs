//! What an event of a kind may do to a fact or rule, found out once: the lists that an event goes along say it of each, in
//! twelve bytes, so that whom it does not concern costs no look at anything else.

use std::cell::RefCell;
use std::cmp::Reverse;

use event::{FieldId, FieldType, KindId, TimeSpan};

use super::asked::Numbered;
use super::claims::claims;
use super::holdings::is_large;
use super::prepared::{By, PreparedFact, PreparedGuard, PreparedRule, When};
use super::sequence::{Shape, shape_of};
use crate::condition::{COUNTED_MAX, Gate};
use crate::plan::{Emit, Fact, FactId, FactKind, FieldRef, Pattern, Plan, Rule, RuleId, Trigger};

/// What an event may be to the one whose list it stands in: bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Of a sequence of two events: the first.
    pub const STARTS: Self = Self(1);
    /// The second.
    pub const COMPLETES: Self = Self(2);
    /// One that ends the runs that wait, whatever it says.
    pub const ENDS: Self = Self(4);
    /// One that ends them if it meets a condition.
    pub const MAY_END: Self = Self(8);
    /// Of a fact, or a rule of one event: one that meets what the condition says of fields, by the list
    /// that it stands in and the gate. Of a sequence of two events or `unless`: one that it begins with
    /// meets the condition.
    pub const SURE: Self = Self(16);
    /// Of a sequence of two events: one that starts none of its runs, and of which nothing else is
    /// remembered.
    pub const ALONE: Self = Self(32);
    /// Of a sequence of two events or `unless`, of a large rulebook: `ALONE` or a guard's, and its key is the
    /// text that lists go by: where the rule holds nothing for that, it is no concern of it.
    pub const HELD: Self = Self(64);
    /// Of a fact: somebody looks when it has changed.
    pub const WATCHED: Self = Self(32);
    /// Of a fact that counts, too: it is all that its condition says.
    pub const MET: Self = Self(64);
    /// Of a fact: a rule or fact that is asked by the same event may read what it was before.
    pub const READ: Self = Self(128);
    /// Of a balance: it may move up,
    pub const UP: Self = Self(1);
    /// or down.
    pub const DOWN: Self = Self(2);
    /// Of a fact: its key is the text by which its list is found.
    pub const FACT_BY_LIST: Self = Self(8);
    /// The same of a rule, and of the guard of its `unless`.
    pub const RULE_BY_LIST: Self = Self(128);
    /// Of `unless`: the opening event.
    pub const OPENS: Self = Self(1);
    /// A guard's, after it.
    pub const EXCUSES: Self = Self(2);
    /// A guard's, before it.
    pub const REMEMBERED: Self = Self(4);

    /// Any of these.
    #[inline(always)]
    pub fn has(self, roles: Self) -> bool {
        self.0 & roles.0 != 0
    }

    /// Either.
    #[inline(always)]
    pub const fn or(self, roles: Self) -> Self {
        Self(self.0 | roles.0)
    }

    /// These, less some.
    #[inline]
    pub const fn without(self, roles: Self) -> Self {
        Self(self.0 & !roles.0)
    }

    fn of<const N: usize>(roles: [(Self, bool); N]) -> Self {
        let held = roles.into_iter().filter(|(_, holds)| *holds);
        held.fold(Self::default(), |all, (role, _)| all.or(role))
    }
}

/// What a rule does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleForm {
    /// It is of one event.
    Event,
    /// A sequence of two events, of which nothing is kept but who the first was, and whose key is one text of
    /// the row; a key has any number of runs,
    Short,
    /// or one at most, and what is asked of both events is a test.
    Single,
    /// As either, but the key is not one text of the row, or more is asked than that.
    Pair,
    /// `unless`.
    Unless,
    /// Impossible travel, of which all stands in the row.
    Travel,
    /// Anything else: its pattern says it.
    Other,
}

/// A rule that events of a kind may step.
#[derive(Clone, Copy, Debug)]
pub struct RuleStep {
    /// What an event must pass to concern it.
    pub gate: Gate,
    /// The rule.
    pub rule: RuleId,
    /// What it does.
    pub form: RuleForm,
    /// What an event of the kind may be to it.
    pub roles: Roles,
}

/// What a fact does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactForm {
    /// It counts it, by a text of the row.
    Count,
    /// It counts each of a field's texts once, by another.
    Distinct,
    /// It goes up or down, by what stands in the row.
    Balance,
    /// Anything else: its kind says it.
    Other,
}

/// A fact that events of a kind may change.
#[derive(Clone, Copy, Debug)]
pub struct FactStep {
    /// What an event must pass to change it.
    pub gate: Gate,
    /// The fact.
    pub fact: FactId,
    /// What it does.
    pub form: FactForm,
    /// What an event of the kind may be to it.
    pub roles: Roles,
    /// Where stands what it has counted to.
    pub place: Option<u8>,
}

/// Facts that rules want to come to so many: those that most ask for have a place in
/// [`crate::condition::Counted`].
pub struct Places {
    places: Vec<Option<u8>>,
    /// There are many rules.
    many: bool,
    /// What was said of each rule's gate last: of all kinds of event it is mostly listed by the same field.
    gates: RefCell<Vec<Option<Listed>>>,
}

/// By which field a rule is listed, its gate then, whether that leaves no field to be looked at, and the bits of
/// the gate's texts.
type Listed = (Option<FieldId>, Gate, bool, u64);

impl Places {
    /// Of the facts that these rules read.
    pub fn of<'a>(plan: &Plan, rules: impl Iterator<Item = &'a Rule>) -> Self {
        let facts = &plan.facts;
        let mut asked = vec![0_u32; facts.len()];
        for rule in rules {
            if let Some((FactId(fact), _)) = counts_to(rule) {
                asked[usize::from(fact)] += 1;
            }
        }
        let counts = |fact: &usize| {
            let kind = &facts[*fact].kind;
            asked[*fact] > 0 && matches!(kind, FactKind::Count { .. } | FactKind::Distinct { .. })
        };
        let mut most: Vec<usize> = (0..facts.len()).filter(counts).collect();
        most.sort_by_key(|fact| Reverse(asked[*fact]));
        let mut places = vec![None; facts.len()];
        for (place, fact) in most.into_iter().take(COUNTED_MAX).enumerate() {
            places[fact] = Some(place as u8);
        }
        let gates = RefCell::new(vec![None; plan.rules.len()]);
        Self { places, many: is_large(plan), gates }
    }

    fn listed(&self, rule: &Rule, RuleId(id): RuleId, listed: Option<FieldId>) -> Listed {
        let known = &mut self.gates.borrow_mut()[usize::from(id)];
        match *known {
            Some(said) if said.0 == listed => said,
            _ => {
                let (gate, sure) = gate_of_rule(rule, listed, self);
                let bits = match &rule.pattern {
                    Pattern::Event(Trigger { condition: Some(condition), .. }) => {
                        gate.bits(condition)
                    }
                    _ => u64::MAX,
                };
                *known.insert((listed, gate, sure, bits))
            }
        }
    }

    /// A rule's gate, and the bits of the texts that it asks for, by the field that the rule is listed by.
    pub fn gate(&self, rule: &Rule, id: RuleId, listed: Option<FieldId>) -> (Gate, u64) {
        let (_, gate, _, bits) = self.listed(rule, id, listed);
        (gate, bits)
    }

    /// Where a fact's stands.
    pub fn place(&self, fact: FactId) -> Option<u8> {
        self.places[usize::from(fact.0)]
    }
}

/// The fact that must come to so many where a rule of one event is met.
fn counts_to(rule: &Rule) -> Option<(FactId, i64)> {
    match &rule.pattern {
        Pattern::Event(Trigger { condition: Some(condition), .. }) => condition.counts_to(),
        _ => None,
    }
}

impl RuleStep {
    /// What an event of a kind may be to a rule, where a list goes by a field already.
    pub fn new(
        rule: &Rule,
        id: RuleId,
        kind: KindId,
        listed: Option<FieldId>,
        places: &Places,
    ) -> Self {
        let (form, roles) = form_of(rule, kind);
        let (_, gate, sure, _) = places.listed(rule, id, listed);
        let sure = sure || begins_surely(rule, form, kind, listed);
        let guards = match &rule.pattern {
            Pattern::Unless { guards, .. } => guards.as_slice(),
            _ => &[],
        };
        let by_list =
            is_by(&rule.by, listed) && guards.iter().all(|guard| is_by(&guard.same, listed));
        let held = places.many && listed.is_some_and(|by| is_of_held(rule, form, roles, by));
        let roles = roles.or(Roles::of([
            (Roles::SURE, sure),
            (Roles::HELD, held),
            (Roles::RULE_BY_LIST, by_list),
        ]));
        Self { gate, rule: id, form, roles }
    }
}

/// Whether nothing but what a rule holds for its key, a text of the row, makes an event a concern of it.
fn is_of_held(rule: &Rule, form: RuleForm, roles: Roles, by: FieldId) -> bool {
    match form {
        RuleForm::Short | RuleForm::Single | RuleForm::Pair => {
            roles.has(Roles::ALONE) && By::of(&rule.by) == By::Text(by)
        }
        RuleForm::Unless => {
            let guard = PreparedGuard::of(rule);
            roles == Roles::EXCUSES && guard.is_some_and(|guard| guard.by == by)
        }
        RuleForm::Event | RuleForm::Travel | RuleForm::Other => false,
    }
}

/// Whether an event of a kind that stands in a list meets what a sequence of two events or `unless` begins
/// with: the list is of those that do.
fn begins_surely(rule: &Rule, form: RuleForm, kind: KindId, listed: Option<FieldId>) -> bool {
    let met = |on: &Trigger| {
        let (gate, sure) = gate_of(on, listed);
        let by_fields = on.condition.is_some() && on.is_by_fields();
        on.is_of(kind) && sure && gate.asks().is_none() && by_fields
    };
    match &rule.pattern {
        Pattern::Sequence(of)
            if matches!(form, RuleForm::Short | RuleForm::Single | RuleForm::Pair) =>
        {
            let by = listed.map(|field| FieldRef::Slot(field, FieldType::String));
            // Then all of its events are listed by what the first says.
            by.is_some_and(|field| rule.by.contains(&field)) && met(&of.steps[0].parts[0].on)
        }
        Pattern::Unless { on, guards } => {
            met(on) && guards.iter().all(|guard| !guard.kinds.contains(&kind))
        }
        _ => false,
    }
}

fn form_of(rule: &Rule, kind: KindId) -> (RuleForm, Roles) {
    let is = |trigger: &Trigger| trigger.is_of(kind);
    match &rule.pattern {
        Pattern::Event(_) => (RuleForm::Event, Roles::default()),
        Pattern::Travel { .. } if PreparedRule::is_plain_travel(rule) => {
            (RuleForm::Travel, Roles::default())
        }
        Pattern::Sequence(of) => {
            let shape = shape_of(rule);
            if shape == Shape::Long {
                return (RuleForm::Other, Roles::default());
            }
            let ends = || {
                let ends = of.steps[1].without.iter().chain(&of.without).chain(&of.strict);
                ends.filter(|trigger| is(trigger))
            };
            let starts = is(&of.steps[0].parts[0].on);
            let roles = Roles::of([
                (Roles::STARTS, starts),
                (Roles::ALONE, !starts && of.lead.is_none()),
                (Roles::COMPLETES, is(&of.steps[1].parts[0].on)),
                (Roles::ENDS, ends().any(|trigger| trigger.condition.is_none())),
                (Roles::MAY_END, ends().next().is_some()),
            ]);
            let asks = |step: usize| When::of(&of.steps[step].parts[0].on).asks;
            let ends_by_chance = roles.has(Roles::MAY_END) && !roles.has(Roles::ENDS);
            let form = match shape {
                _ if By::of(&rule.by) == By::Parts => RuleForm::Pair,
                Shape::Single if asks(0) || asks(1) || ends_by_chance => RuleForm::Pair,
                Shape::Single => RuleForm::Single,
                _ => RuleForm::Short,
            };
            (form, roles)
        }
        Pattern::Unless { on, guards } => {
            let guards = || guards.iter().filter(|guard| guard.kinds.contains(&kind));
            let roles = Roles::of([
                (Roles::OPENS, is(on)),
                (Roles::EXCUSES, guards().any(|guard| guard.to > TimeSpan::ZERO)),
                (Roles::REMEMBERED, guards().any(|guard| guard.from < TimeSpan::ZERO)),
            ]);
            (RuleForm::Unless, roles)
        }
        _ => (RuleForm::Other, Roles::default()),
    }
}

/// What an event must pass to meet a trigger's condition, of a list of those that have one of a field's
/// texts; and whether that leaves no field to be looked at.
fn gate_of(trigger: &Trigger, listed: Option<FieldId>) -> (Gate, bool) {
    let Some(condition) = &trigger.condition else { return (Gate::OPEN, true) };
    // Where it says more of the field, the list may be of the other.
    let once = |field: &FieldId| {
        let by = FieldRef::Slot(*field, FieldType::String);
        claims(trigger).iter().filter(|claim| claim.field == by).count() == 1
    };
    condition.gate(listed.filter(once))
}

/// What an event must pass to concern a rule. Where a condition that does not hold ends a level, or
/// another event may be meant, all pass. And whether that leaves no field to be looked at.
fn gate_of_rule(rule: &Rule, listed: Option<FieldId>, places: &Places) -> (Gate, bool) {
    match (&rule.pattern, rule.emit) {
        (Pattern::Event(_), Emit::Edge) => (Gate::OPEN, false),
        (Pattern::Event(on), _) => {
            let (gate, sure) = gate_of(on, listed);
            let counted = || {
                let (fact, least) = counts_to(rule)?;
                Gate::counted(places.place(fact)?, least)
            };
            (if gate.asks().is_none() { counted().unwrap_or(gate) } else { gate }, sure)
        }
        _ => (Gate::OPEN, false),
    }
}

impl FactStep {
    /// What an event of a kind may be to a fact, where a list goes by a field already.
    pub fn new(
        fact: &Fact,
        id: FactId,
        kind: KindId,
        listed: Option<FieldId>,
        (watched, read, place): (bool, bool, Option<u8>),
    ) -> Self {
        let resets = fact.reset.as_ref().is_some_and(|reset| reset.is_of(kind));
        let gate = |on: &Trigger| gate_of(on, listed);
        let open = (Gate::OPEN, false);
        let (gate, sure) = match &fact.kind {
            _ if resets => open,
            FactKind::Count { on, .. } | FactKind::Distinct { on, .. } => gate(on),
            FactKind::Balance { up, down } => match (up.is_of(kind), down.is_of(kind)) {
                (true, false) => gate(up),
                (false, true) => gate(down),
                _ => open,
            },
            FactKind::Set { .. } | FactKind::Tally { .. } => open,
        };
        let plain = !resets && PreparedFact::is_plain(fact);
        let (form, own) = match &fact.kind {
            FactKind::Count { .. } if plain => (FactForm::Count, Roles::MET),
            FactKind::Distinct { .. } if plain => (FactForm::Distinct, Roles::default()),
            FactKind::Balance { up, down } if plain => {
                let moves = [(Roles::UP, up.is_of(kind)), (Roles::DOWN, down.is_of(kind))];
                (FactForm::Balance, Roles::of(moves))
            }
            _ => (FactForm::Other, Roles::default()),
        };
        let looks = [(Roles::SURE, sure), (Roles::WATCHED, watched), (Roles::READ, read)];
        let by_list = [(Roles::FACT_BY_LIST, is_by(&fact.by, listed))];
        let roles = Roles::of(looks).or(own).or(Roles::of(by_list));
        Self { gate, fact: id, form, roles, place }
    }
}

/// Whether a key is the text that a list goes by.
fn is_by(key: &[FieldRef], listed: Option<FieldId>) -> bool {
    listed.is_some_and(|field| By::of(key) == By::Text(field))
}

/// The field whose values a list is one of, where it is a text of the row.
pub fn listed_by(field: Option<FieldRef>) -> Option<FieldId> {
    match field {
        Some(FieldRef::Slot(field, FieldType::String)) => Some(field),
        _ => None,
    }
}

impl Numbered for FactStep {
    #[inline]
    fn number(&self) -> u16 {
        self.fact.0
    }
}

impl Numbered for RuleStep {
    #[inline]
    fn number(&self) -> u16 {
        self.rule.0
    }
}

impl Numbered for FactId {
    #[inline]
    fn number(&self) -> u16 {
        self.0
    }
}

impl Numbered for RuleId {
    #[inline]
    fn number(&self) -> u16 {
        self.0
    }
}
