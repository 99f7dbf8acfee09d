//! Which branches of a rulebook were reached: each part of a condition true and false, each step,
//! excuse and setting met.

use std::collections::BTreeMap;

use event::tables::Tables;
use event::{Interner, Symbol};

use super::judged::judge;
use super::{Joint, Judged, Look, Probe, Role, Sighting, To};
use crate::calendar::ScheduleId;
use crate::condition::Condition;
use crate::explain::Words;
use crate::plan::{FactId, FieldRef, Mode, Pattern, Plan, SessionField, Step, Trigger};
use crate::value::{Env, Value};

/// One branch, and how it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The rule, or `fact NAME`.
    pub owner: String,
    /// In the words of the rulebook.
    pub text: String,
    /// `file:line:column`, where it was written by itself.
    pub place: Option<String>,
    /// Seen true, or met.
    pub met: bool,
    /// Seen false; always, where only being met counts.
    pub unmet: bool,
}

impl Branch {
    /// What of it no test has reached.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        match (self.met, self.unmet) {
            (true, true) => None,
            (true, false) => Some("never false"),
            (false, true) => Some("never true"),
            (false, false) => Some("never reached"),
        }
    }
}

/// Who owns a branch: a rule, or a fact behind the rules.
type Owner = usize;
type Key = (Owner, Role, String, Option<String>);

/// All branches of a rulebook, in its order.
#[derive(Debug, Default)]
pub struct Coverage {
    branches: BTreeMap<Key, Branch>,
    rules: usize,
}

/// Nothing is known: conditions are only taken apart.
struct Nothing<'a>(&'a Tables, &'a Interner);

impl Env for Nothing<'_> {
    fn field(&self, _: FieldRef) -> Value {
        Value::Missing
    }
    fn captured(&self, _: u8) -> Value {
        Value::Missing
    }
    fn fact(&self, _: FactId, _: Option<Symbol>) -> Value {
        Value::Missing
    }
    fn previous(&self, _: FactId) -> Value {
        Value::Missing
    }
    fn value(&self) -> Value {
        Value::Missing
    }
    fn session(&self, _: SessionField) -> Value {
        Value::Missing
    }
    fn schedule(&self, _: ScheduleId) -> bool {
        false
    }
    fn tables(&self) -> &Tables {
        self.0
    }
    fn interner(&self) -> &Interner {
        self.1
    }
}

/// Lists the branches of one owner.
struct Listing<'a> {
    tables: &'a Tables,
    interner: &'a Interner,
    words: Words<'a>,
    owner: (Owner, String),
    into: &'a mut Coverage,
}

impl Listing<'_> {
    fn add(&mut self, key: Key, text: String, place: Option<String>, unmet: bool) {
        let owner = self.owner.1.clone();
        let branch = Branch { owner, text, place, met: false, unmet };
        self.into.branches.entry(key).or_insert(branch);
    }

    /// A thing that must be met once.
    fn met(&mut self, role: Role, what: String) {
        let key = (self.owner.0, role, detail(role, &what), None);
        self.add(key, what, None, true);
    }

    fn condition(&mut self, role: Role, condition: &Condition) {
        let judged = judge(&self.words, condition, &Nothing(self.tables, self.interner));
        for leaf in leaves(&judged, None) {
            let text = match &leaf.0.label {
                Some(label) => format!("exception `{label}`: {}", leaf.0.text),
                None => leaf.0.text.clone(),
            };
            self.add(key_of(self.owner.0, role, &leaf), text, leaf.1, false);
        }
    }

    fn trigger(&mut self, role: Role, trigger: &Trigger, what: &str) {
        let kinds = self.words.kinds(&trigger.kinds);
        self.met(role, if what.is_empty() { kinds } else { format!("{what}: {kinds}") });
        if let Some(condition) = &trigger.condition {
            self.condition(role, condition);
        }
    }

    fn step(&mut self, number: usize, step: &Step) {
        for (place, part) in step.parts.iter().enumerate() {
            let role = Role::Step(number as u8, place as u8);
            if let Some(condition) = &part.on.condition {
                self.condition(role, condition);
            }
            let kinds = self.words.kinds(&part.on.kinds);
            if part.absent.is_some() {
                // Both ways: it lasts, and something comes.
                let key = (self.owner.0, role, String::new(), None);
                self.add(key, format!("step {}: no {kinds}", number + 1), None, false);
            } else {
                self.met(role, format!("step {}: {kinds}", number + 1));
            }
        }
        for without in &step.without {
            self.trigger(Role::Ends, without, "ends a run");
        }
    }

    fn rule(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Event(on) => self.trigger(Role::On, on, "speaks of"),
            Pattern::Travel { on, .. } => {
                self.trigger(Role::On, on, "speaks of");
            }
            Pattern::Sequence(sequence) => {
                for (number, step) in sequence.steps.iter().enumerate() {
                    self.step(number, step);
                }
                if let Some(lead) = &sequence.lead {
                    self.trigger(Role::Lead, &lead.on, "not before");
                }
                for ends in sequence.without.iter().chain(&sequence.strict) {
                    self.trigger(Role::Ends, ends, "ends a run");
                }
            }
            Pattern::Unless { on, guards } => {
                self.trigger(Role::On, on, "speaks of");
                for (number, guard) in guards.iter().enumerate() {
                    let role = Role::Guard(number as u8);
                    let kinds = self.words.kinds(&guard.kinds);
                    self.met(role, format!("excuse {}: {kinds}", number + 1));
                    if let Some(condition) = guard.forward.as_ref().or(guard.backward.as_ref()) {
                        self.condition(role, condition);
                    }
                }
            }
            Pattern::Watch { condition, .. } => self.condition(Role::Level, condition),
            Pattern::Session(session) => {
                self.trigger(Role::Opens, &session.open, "begins");
                self.trigger(Role::Closes, &session.close, "ends");
                for (number, (_, aggregate)) in session.aggregates.iter().enumerate() {
                    self.trigger(Role::Counts(number as u8), &aggregate.on, "counts");
                }
                if let Some(condition) = &session.condition {
                    self.condition(Role::Session, condition);
                }
            }
            Pattern::Passage { on, forgive, .. } => {
                self.trigger(Role::On, on, "speaks of");
                if let Some(forgive) = forgive {
                    self.trigger(Role::Forgive, forgive, "forgives");
                }
            }
        }
    }
}

/// What tells things of one role apart.
fn detail(role: Role, what: &str) -> String {
    match role {
        // Several may end a run, and several arms set a fact: their kinds tell them apart.
        Role::Ends | Role::Fact(_) => what.rsplit(": ").next().unwrap_or(what).to_owned(),
        _ => String::new(),
    }
}

fn key_of(owner: Owner, role: Role, (leaf, place): &(&Judged, Option<String>)) -> Key {
    (owner, role, leaf.text.clone(), place.clone())
}

/// The parts of a condition that are true or false by themselves, with the place of the text that
/// they stand in.
fn leaves<'a>(of: &'a Judged, place: Option<&str>) -> Vec<(&'a Judged, Option<String>)> {
    let place = of.place.as_deref().or(place);
    let joined = matches!(of.joint, Joint::All | Joint::Any | Joint::Not | Joint::Either);
    if joined && of.label.is_none() && !of.parts.is_empty() {
        return of.parts.iter().flat_map(|part| leaves(part, place)).collect();
    }
    vec![(of, place.map(str::to_owned))]
}

impl Coverage {
    /// Every branch of a rulebook, none reached.
    #[must_use]
    pub fn new(plan: &Plan, interner: &Interner) -> Self {
        let tables = &Tables::new(plan.model.clone(), interner);
        let mut coverage = Self { rules: plan.rules.len(), ..Self::default() };
        for (number, rule) in plan.rules.iter().enumerate() {
            if rule.mode == Mode::Off {
                continue;
            }
            let owner = (number, rule.id.clone());
            let words = Words { plan, interner, rule };
            let mut listing = Listing { tables, interner, words, owner, into: &mut coverage };
            listing.rule(&rule.pattern);
        }
        let Some(rule) = plan.rules.first() else { return coverage };
        for (number, fact) in plan.facts.iter().enumerate() {
            // A rule's own window is the rule's.
            if fact.name.contains(' ') {
                continue;
            }
            let owner = (plan.rules.len() + number, format!("fact {}", fact.name));
            let words = Words { plan, interner, rule };
            let mut listing = Listing { tables, interner, words, owner, into: &mut coverage };
            for trigger in fact.triggers() {
                listing.trigger(Role::Fact(number as u16), trigger, &fact.name);
            }
        }
        coverage
    }

    /// Takes what a probe of everything has seen.
    pub fn take(&mut self, probe: &Probe, plan: &Plan) {
        for sighting in &probe.sightings {
            let owner = usize::from(sighting.rule.0);
            for look in &sighting.looks {
                self.seen(owner, look);
            }
            self.lasted(sighting, plan);
        }
        for (_, _, looks) in &probe.facts {
            for look in looks {
                if let Role::Fact(fact) = look.role {
                    self.seen(self.rules + usize::from(fact), look);
                }
            }
        }
    }

    fn seen(&mut self, owner: Owner, look: &Look) {
        let key = (owner, look.role, detail(look.role, &look.what), None);
        if let Some(branch) = self.branches.get_mut(&key) {
            // Of an absence, that something came is its being false.
            if branch.text.contains(": no ") {
                branch.unmet |= look.met;
            } else {
                branch.met |= look.met;
            }
        }
        let judged = look.judged.iter().flat_map(|judged| leaves(judged, None));
        for leaf in judged.filter(|(leaf, _)| leaf.reached) {
            if let Some(branch) = self.branches.get_mut(&key_of(owner, look.role, &leaf)) {
                branch.met |= leaf.0.holds == Some(true);
                branch.unmet |= leaf.0.holds != Some(true);
            }
        }
    }

    /// An absence that a run waited for has lasted.
    fn lasted(&mut self, sighting: &Sighting, plan: &Plan) {
        let owner = usize::from(sighting.rule.0);
        let Pattern::Sequence(sequence) = &plan.rules[owner].pattern else { return };
        if sighting.event.is_some() {
            return;
        }
        for turn in &sighting.turns {
            let on = matches!(turn.to, To::Step(_) | To::Counted) || !sighting.spoke.is_empty();
            let Some(step) = sequence.steps.get(turn.run.step as usize).filter(|_| on) else {
                continue;
            };
            for (place, _) in step.parts.iter().enumerate().filter(|(_, p)| p.absent.is_some()) {
                let role = Role::Step(turn.run.step as u8, place as u8);
                if let Some(branch) = self.branches.get_mut(&(owner, role, String::new(), None)) {
                    branch.met = true;
                }
            }
        }
    }

    /// All branches, in the order of the rulebook.
    pub fn branches(&self) -> impl Iterator<Item = &Branch> {
        self.branches.values()
    }

    /// How many branches were reached both ways, and how many there are.
    #[must_use]
    pub fn reached(&self) -> (usize, usize) {
        let all = self.branches.len();
        (self.branches.values().filter(|branch| branch.missing().is_none()).count(), all)
    }
}
