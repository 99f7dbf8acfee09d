//! One number for all that was found: another number is another meaning.
//!
//! It covers every field of every finding: what it does, rule, key, times, severity, verification,
//! the identities of all contributing events, and the bound values. Texts enter by their digests, so
//! nothing is read again for it; positions and interned ids do not enter. Each finding has a hash of
//! its own and they are added up: the number knows the order of each site (by `seq`), and neither
//! batches nor shards.

use std::sync::Arc;

use event::identity::{Digest, TimedId};
use event::{Interner, Symbol};

use super::cells::halves;
use super::findings::{Effect, Finding, Findings};
use crate::plan::Plan;
use crate::value::Value;

/// What a run has found, counted and summed as it goes.
#[derive(Debug)]
pub struct Sum {
    plan: Arc<Plan>,
    /// Digests of the rules' ids.
    rules: Vec<u128>,
    /// One finding in its canonical form: as long as it ever was, so that a part is put down without a call.
    form: Vec<u8>,
    /// How much of it is this one's.
    used: usize,
    findings: u64,
    incidents: u64,
    total: u128,
}

impl Sum {
    /// Nothing yet, under a plan.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        let rules = plan.rules.iter().map(|rule| Digest::of(rule.id.as_bytes())).collect();
        Self { plan, rules, form: Vec::new(), used: 0, findings: 0, incidents: 0, total: 0 }
    }

    /// Incidents that were opened.
    #[must_use]
    pub fn incidents(&self) -> u64 {
        self.incidents
    }

    /// The number.
    #[must_use]
    pub fn hash(&self) -> u128 {
        Digest::default().number(u128::from(self.findings)).number(self.total).finish()
    }

    /// Adds what another one summed up, under the same plan.
    pub fn add(&mut self, other: &Self) {
        self.findings += other.findings;
        self.incidents += other.incidents;
        self.total = self.total.wrapping_add(other.total);
    }

    /// Adds what a step has found.
    pub fn take(&mut self, findings: &Findings, interner: &Interner) {
        for finding in findings.iter() {
            self.used = 0;
            self.effect(findings, finding.effect);
            self.fields(finding, interner);
            for evidence in findings.evidence(finding) {
                let [low, high] = halves(evidence.identity.0);
                let occurred = evidence.occurred.0.to_le_bytes();
                self.put_several([low.to_le_bytes(), high.to_le_bytes(), occurred]);
                self.put(evidence.part.to_le_bytes());
            }
            for (nth, value) in findings.why(finding).iter().enumerate() {
                self.value(*value, findings.texts(finding, nth), interner);
            }
            self.findings += 1;
            self.incidents += u64::from(finding.effect == Effect::Opened);
            self.total = self.total.wrapping_add(Digest::of(&self.form[..self.used]));
        }
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        match self.form.get_mut(self.used..).and_then(|rest| rest.first_chunk_mut()) {
            Some(room) => (*room, self.used) = (bytes, self.used + N),
            None => self.put_all(&bytes),
        }
    }

    /// Several of one length: whether there is room is asked once.
    #[inline(always)]
    fn put_several<const N: usize, const M: usize>(&mut self, parts: [[u8; N]; M]) {
        let room = self.form.get_mut(self.used..).map(|rest| rest.as_chunks_mut().0);
        match room.and_then(|rest| rest.first_chunk_mut()) {
            Some(room) => (*room, self.used) = (parts, self.used + N * M),
            None => self.put_all(parts.as_flattened()),
        }
    }

    #[cold]
    fn put_all(&mut self, bytes: &[u8]) {
        self.form.truncate(self.used);
        self.form.extend_from_slice(bytes);
        self.used = self.form.len();
        self.form.resize(2 * self.used, 0);
    }

    fn of_incident(&mut self, number: u8, incident: TimedId) {
        self.put([number]);
        self.put(incident.0.to_le_bytes());
    }

    /// A number that was given out is never another effect's, and each has what it needs behind it.
    fn effect(&mut self, findings: &Findings, effect: Effect) {
        match effect {
            Effect::Opened => self.put([1]),
            Effect::Joined(incident) => self.of_incident(2, incident),
            Effect::Shadowed => self.put([3]),
            Effect::Suppressed(by, incident) => {
                let by = Digest::of(self.plan.held_by(by).as_bytes());
                self.of_incident(4, incident.unwrap_or_default());
                self.put(by.to_le_bytes());
            }
            Effect::Escalated(incident, policy) => {
                let by = &self.plan.policies.escalate[usize::from(policy)].id;
                let by = Digest::of(by.as_bytes());
                self.of_incident(5, incident);
                self.put(by.to_le_bytes());
            }
            Effect::Linked(newer, older) => {
                self.of_incident(6, newer);
                self.put(older.0.to_le_bytes());
            }
            Effect::Cleared(incident) => self.of_incident(7, incident),
            Effect::Acted(incident, control) => {
                self.of_incident(8, incident);
                self.put_all(&findings.control(control).payload());
            }
            Effect::Unshelved(incident) => self.of_incident(9, incident),
            Effect::Shelf(until, control) => {
                self.put([10]);
                self.put(until.unwrap_or_default().0.to_le_bytes());
                self.put_all(&findings.control(control).payload());
            }
            Effect::ShelfEnded => self.put([11]),
            Effect::Stale(incident) => self.of_incident(12, incident),
        }
    }

    fn fields(&mut self, finding: &Finding, interner: &Interner) {
        // What is of an incident alone has no rule.
        let rule = self.rules.get(finding.rule.0 as usize).copied().unwrap_or_default();
        let [a, b, c] = finding.key;
        let text = |text: Symbol| digest(text, interner).to_le_bytes();
        let (site, area, person) = (text(finding.site), text(finding.area), text(finding.person));
        self.put_several([rule.to_le_bytes(), site, text(a), text(b), text(c), area, person]);
        let ([low, high], at) = (halves(finding.id.0), finding.at.0.to_le_bytes());
        let seq = finding.seq.to_le_bytes();
        self.put_several([seq, at, low.to_le_bytes(), high.to_le_bytes()]);
        self.put(finding.omitted.to_le_bytes());
        let late = finding.late.map_or(0, |tier| 1 + tier as u8);
        let complete = u8::from(finding.complete);
        self.put([finding.severity as u8, finding.verification, late, complete]);
    }

    fn value(&mut self, value: Value, texts: &[Symbol], interner: &Interner) {
        let (number, bits): (u8, u128) = match value {
            Value::Missing => (0, 0),
            Value::Bool(value) => (1, u128::from(value)),
            Value::Int(value) => (2, value as u128),
            Value::Float(value) => (3, u128::from(value.to_bits())),
            Value::Text(text) => (4, interner.digest(text)),
            Value::Time(time) => (5, time.0 as u128),
            Value::Span(span) => (6, span.0 as u128),
            Value::List { .. } => (7, texts.len() as u128),
        };
        self.put([number]);
        self.put(bits.to_le_bytes());
        texts.iter().for_each(|text| self.put(interner.digest(*text).to_le_bytes()));
    }
}

/// No text and an empty one are the same.
fn digest(text: Symbol, interner: &Interner) -> u128 {
    text.some().map_or(0, |text| interner.digest(text))
}

#[cfg(test)]
mod tests {
    use event::incident::{Severity, Tier};
    use event::model::Model;
    use event::{EventTime, Identity, Position, Vocabulary};

    use super::super::findings::{EvidenceRef, HeldBy};
    use super::*;
    use crate::plan::RuleId;

    fn plan(interner: &Interner) -> Arc<Plan> {
        let text = "rules: [{id: one, on: AccessDenied}, {id: two, on: AccessGranted}]";
        let files = [("r.yaml".to_owned(), text.to_owned())];
        let (vocabulary, model) = (Vocabulary::default().into(), Model::default().into());
        let plan = crate::lang::compile(crate::lang::parse(&files), vocabulary, model, interner);
        Arc::new(plan.unwrap_or_else(|faults| panic!("{faults:?}")))
    }

    type Found = (Finding, EvidenceRef, Value);

    fn base(interner: &Interner) -> Found {
        let text = |text: &str| interner.intern(text).unwrap_or_else(|| panic!("{text}"));
        let plain = Finding::of_incident(text("site"), 1, Effect::Opened, EventTime(5));
        let finding = Finding { rule: RuleId(0), key: [text("a"); 3], id: TimedId(9), ..plain };
        let (identity, occurred) = (Identity(7), EventTime(4));
        let evidence = EvidenceRef { position: Position(3), part: 0, identity, occurred };
        (finding, evidence, Value::Int(1))
    }

    fn hash(all: &[Found], interner: &Interner) -> u128 {
        let (mut sum, mut findings) = (Sum::new(plan(interner)), Findings::default());
        for (finding, evidence, why) in all {
            let marks = (findings.evidence_mark(), findings.why_mark());
            findings.push_evidence(*evidence);
            findings.push_why(*why);
            findings.push(finding.clone(), marks.0, marks.1);
        }
        sum.take(&findings, interner);
        sum.hash()
    }

    #[test]
    fn every_part_of_a_finding_moves_the_number() {
        let interner = Interner::default();
        let text = |text: &str| interner.intern(text).unwrap_or_else(|| panic!("{text}"));
        let changes: [&dyn Fn(&mut Found); 22] = [
            &|found| found.0.site = text("other"),
            &|found| found.0.seq = 2,
            &|found| found.0.effect = Effect::Shadowed,
            &|found| found.0.effect = Effect::Joined(TimedId(8)),
            &|found| found.0.effect = Effect::Joined(TimedId(10)),
            &|found| found.0.effect = Effect::Suppressed(HeldBy::Shelf, None),
            &|found| found.0.effect = Effect::Suppressed(HeldBy::Shelf, Some(TimedId(8))),
            &|found| found.0.effect = Effect::Suppressed(HeldBy::Chattering(RuleId(0)), None),
            &|found| found.0.at = EventTime(6),
            &|found| found.0.id = TimedId(10),
            &|found| found.0.rule = RuleId(1),
            &|found| found.0.severity = Severity::High,
            &|found| found.0.verification = 1,
            &|found| found.0.key[1] = text("b"),
            &|found| found.0.area = text("a"),
            &|found| found.0.person = text("a"),
            &|found| found.0.omitted = 1,
            &|found| found.0.late = Some(Tier::Live),
            &|found| found.0.complete = false,
            &|found| found.1.identity = Identity(8),
            &|found| found.1.occurred = EventTime(5),
            &|found| found.2 = Value::Bool(true),
        ];
        let mut numbers = vec![hash(&[], &interner), hash(&[base(&interner)], &interner)];
        for change in changes {
            let mut found = base(&interner);
            change(&mut found);
            numbers.push(hash(&[found], &interner));
        }
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "two of them are one");
    }

    #[test]
    fn neither_positions_nor_the_order_of_sites_nor_symbols_move_it() {
        let interner = Interner::default();
        let (one, mut two) = (base(&interner), base(&interner));
        two.0.seq = 2;
        let both = hash(&[one.clone(), two.clone()], &interner);
        two.1.position = Position(1_000);
        assert_eq!(hash(&[two, one], &interner), both);
        let other = Interner::default();
        ["x", "y", "z"].iter().for_each(|text| assert!(other.intern(text).is_some()));
        assert_eq!(hash(&[base(&other)], &other), hash(&[base(&interner)], &interner));
    }
}
