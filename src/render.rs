//! Findings in words: symbols become texts, positions become the evidence that stands there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use event::control;
use event::control::Control;
use event::identity::TimedId;
use event::incident::{Change, Cited, Detection, Incident, IncidentState, Output, Said};
use event::tables::Tables;
use event::{EventTime, Position, RecordBlock, RecordRef, Symbol};
use ingest::decode::{Decoder, raw_text};
use ingest::log::LogError;
use rules::engine::ROW_PART;
use rules::engine::findings::{Effect, EvidenceRef, Finding, Findings};
use rules::value::Value;
use sinks::Outputs;
use sinks::store::Head;

use crate::setup::Setup;

/// What the pseudo-site of enterprise rules is called in outputs.
pub const ENTERPRISE: &str = "enterprise";

/// What is said of a late detection that not all was at hand for: pruned, or too much to read.
pub const HISTORY: &str = "history";

/// What became of a delivery's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// They were read.
    There,
    /// The log no longer has them.
    Pruned,
    /// The log has only their place, and their source did not give them again: why.
    Unretained(String),
}

impl Found {
    /// What reading a log at a position has come to.
    pub fn of(read: Result<bool, LogError>) -> std::io::Result<Self> {
        match read {
            Ok(true) => Ok(Self::There),
            Ok(false) => Ok(Self::Pruned),
            Err(LogError::Unretained { place, .. }) => {
                Ok(Self::Unretained(format!("{place} is no longer retained by the broker")))
            }
            Err(LogError::Away { place, reason, .. }) => {
                Ok(Self::Unretained(format!("{place} could not be read again: {reason}")))
            }
            Err(error) => Err(std::io::Error::other(error)),
        }
    }
}

/// Where a delivery's bytes are read again.
pub trait Evidences {
    /// Adds the delivery at a position to `block`, where it can still be had.
    fn read(&mut self, position: Position, block: &mut RecordBlock) -> std::io::Result<Found>;

    /// Whether [`Self::read_on`] passed over deliveries that it could not have, since this was last
    /// asked.
    fn lacked(&mut self) -> bool {
        false
    }

    /// The deliveries at these positions will be read next, in this order.
    fn expect(&mut self, _positions: &[Position]) {}

    /// The configuration that decoded the delivery at a position, where it is not the one in force.
    fn decoded_by(&mut self, _position: Position) -> std::io::Result<Option<Arc<Setup>>> {
        Ok(None)
    }
    /// The oldest position that is still there.
    fn oldest(&self) -> Position;

    /// Adds the deliveries from a position on, about a block of them; where to go on, which is
    /// `from` at the end.
    fn read_on(&mut self, from: Position, block: &mut RecordBlock) -> std::io::Result<Position>;
}

/// A changed row as evidence: who changed what, or the delivery that did.
fn changed_row(at: &EvidenceRef, record: &RecordRef<'_>, take: &mut dyn FnMut(&Cited<'_>)) {
    let by = Control::parse(record.payload).map(|control| control.by).unwrap_or_default();
    let raw = raw_text(record.payload);
    let said = Said { feed: "tables", kind: "TableChanged", device: &by, raw: &raw };
    let position = record.position.0.to_string();
    let (occurred, recorded) = (at.occurred, record.recorded);
    take(&Cited { id: &["tables/", &position], said, occurred, recorded });
}

/// Turns findings of one configuration into outputs.
pub struct Renderer {
    setup: Arc<Setup>,
    decoder: Decoder,
    /// Decoders of configurations that were in force before, by hash.
    older: BTreeMap<String, Decoder>,
    block: RecordBlock,
    /// Memory for what is asked for.
    expected: Vec<Position>,
    /// Memory for a key and for a value.
    key: String,
    value: String,
}

impl Renderer {
    /// A renderer with a decoder of its own.
    pub fn new(setup: Arc<Setup>) -> anyhow::Result<Self> {
        let (decoder, older) = (setup.decoder()?.for_evidence(), BTreeMap::new());
        let (block, expected) = (RecordBlock::new(), Vec::new());
        let (key, value) = (String::new(), String::new());
        Ok(Self { setup, decoder, older, block, expected, key, value })
    }

    /// The tables have changed: evidence is read with these.
    pub fn know(&mut self, tables: &Arc<Tables>) {
        self.decoder.know(tables);
    }

    /// Asks for the memory of what findings cite, all at once: one by one each would be waited for.
    pub fn expect(&mut self, findings: &Findings, evidences: &mut impl Evidences) {
        self.expected.clear();
        for finding in findings.iter() {
            let names = finding.key.iter().chain([&finding.site, &finding.area, &finding.person]);
            names.for_each(|symbol| self.setup.interner.expect(*symbol));
            self.expected.extend(findings.evidence(finding).iter().map(|at| at.position));
        }
        evidences.expect(&self.expected);
    }

    /// One finding, added to what the store is told: when it was concluded, and what is added to its
    /// number, by its site.
    pub fn tell(
        &mut self,
        (findings, finding): (&Findings, &Finding),
        evidences: &mut impl Evidences,
        (concluded, base): (EventTime, impl Fn(&str) -> u64),
        outputs: &mut Outputs,
    ) -> std::io::Result<()> {
        if finding.effect != Effect::Opened {
            let mut output = self.output(findings, finding, evidences)?;
            output.concluded = Some(concluded);
            output.seq += base(&output.site);
            outputs.push(output);
            return Ok(());
        }
        let setup = self.setup.clone();
        let rule = &setup.plan.rules[finding.rule.0 as usize];
        let text = |symbol| setup.interner.text(symbol);
        let site = if finding.site == Symbol::NONE { ENTERPRISE } else { text(finding.site) };
        let (mut key, mut value) = (std::mem::take(&mut self.key), std::mem::take(&mut self.value));
        key.clear();
        self.put_key(finding, &mut key);
        let head = Head {
            id: finding.id,
            seq: finding.seq + base(site),
            late: finding.late,
            concluded: Some(concluded),
            at: finding.at,
            severity: finding.severity,
            verification: finding.verification,
            omitted: u64::from(finding.omitted),
            site,
            rule: &rule.id,
            title: &rule.title,
            area: finding.area.some().map(text),
            person: finding.person.some().map(text),
            key: &key,
            config_hash: &setup.hash,
        };
        let (why, evidence) = (findings.why(finding), findings.evidence(finding));
        let values = rule.why.len().min(why.len());
        let mut writing = outputs.open(&head, values + usize::from(!finding.complete));
        for (nth, ((label, _), shown)) in rule.why.iter().zip(why).enumerate() {
            value.clear();
            self.put_value(*shown, findings.texts(finding, nth), &mut value);
            writing.why(label, &value);
        }
        if !finding.complete {
            writing.why(HISTORY, "incomplete");
        }
        writing.events(evidence.len());
        for at in evidence {
            self.evidence(at, evidences, &mut |event| writing.event(event))?;
        }
        writing.end();
        (self.key, self.value) = (key, value);
        Ok(())
    }

    /// One finding as an output.
    pub fn output(
        &mut self,
        findings: &Findings,
        finding: &Finding,
        evidences: &mut impl Evidences,
    ) -> std::io::Result<Output> {
        let change = match finding.effect {
            Effect::Linked(incident, to) => Change::Linked { incident, to, at: finding.at },
            Effect::Cleared(incident) => Change::Cleared { incident, at: finding.at },
            Effect::Stale(incident) => Change::Stale { incident, at: finding.at },
            Effect::Unshelved(incident) => Change::Unshelved { incident, at: finding.at },
            Effect::Shelf(until, number) => {
                let control = findings.control(number);
                self.shelf(finding, until, &control.by, &control.reason)
            }
            Effect::ShelfEnded => self.shelf(finding, None, "", ""),
            Effect::Acted(incident, number) => {
                let control = findings.control(number);
                let act = match &control.change {
                    control::Change::Incident(act) => act.clone(),
                    other => unreachable!("an act on {incident} is no {other:?}"),
                };
                let (by, reason) = (control.by.clone(), control.reason.clone());
                Change::Acted { at: finding.at, act, by, reason }
            }
            Effect::Suppressed(by, incident) => {
                let detection = self.detection(findings, finding, incident, evidences)?;
                let by = self.setup.plan.held_by(by).to_owned();
                Change::Suppressed { detection: Box::new(detection), by }
            }
            Effect::Escalated(incident, policy) => Change::Escalated {
                incident,
                at: finding.at,
                severity: finding.severity,
                verification: finding.verification,
                by: self.setup.plan.policies.escalate[usize::from(policy)].id.clone(),
            },
            Effect::Opened => {
                let detection = self.detection(findings, finding, Some(finding.id), evidences)?;
                Change::Opened(Box::new(self.incident(&detection)), Box::new(detection))
            }
            Effect::Joined(incident) => {
                let detection = self.detection(findings, finding, Some(incident), evidences)?;
                Change::Joined(Box::new(detection))
            }
            Effect::Shadowed => {
                Change::Shadowed(Box::new(self.detection(findings, finding, None, evidences)?))
            }
        };
        let (site, seq, late) = (self.site(finding.site), finding.seq, finding.late);
        Ok(Output { site, seq, late, concluded: None, change })
    }

    fn shelf(
        &self,
        finding: &Finding,
        until: Option<event::EventTime>,
        by: &str,
        reason: &str,
    ) -> Change {
        Change::Shelf {
            rule: self.setup.plan.rules[finding.rule.0 as usize].id.clone(),
            key: self.key(finding),
            at: finding.at,
            until,
            by: by.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn key(&self, finding: &Finding) -> String {
        let mut key = String::new();
        self.put_key(finding, &mut key);
        key
    }

    fn put_key(&self, finding: &Finding, key: &mut String) {
        let parts = finding.key.iter().filter_map(|part| part.some());
        self.put_texts(parts, "/", key);
    }

    fn put_texts(&self, texts: impl Iterator<Item = Symbol>, between: &str, out: &mut String) {
        for (place, symbol) in texts.enumerate() {
            if place > 0 {
                out.push_str(between);
            }
            out.push_str(self.setup.interner.text(symbol));
        }
    }

    fn incident(&self, detection: &Detection) -> Incident {
        Incident {
            id: detection.id,
            rule: detection.rule.clone(),
            title: detection.title.clone(),
            severity: detection.severity,
            site: detection.site.clone(),
            area: detection.area.clone(),
            person: detection.person.clone(),
            state: IncidentState::Active,
            opened_at: detection.at,
            updated_at: detection.at,
            config_hash: self.setup.hash.clone(),
            links: Vec::new(),
        }
    }

    fn detection(
        &mut self,
        findings: &Findings,
        finding: &Finding,
        incident: Option<TimedId>,
        evidences: &mut impl Evidences,
    ) -> std::io::Result<Detection> {
        let setup = self.setup.clone();
        let rule = &setup.plan.rules[finding.rule.0 as usize];
        let mut events = Vec::new();
        for evidence in findings.evidence(finding) {
            self.evidence(evidence, evidences, &mut |event| events.push(event.into()))?;
        }
        let values = rule.why.iter().map(|(label, _)| label.clone());
        let shown = findings
            .why(finding)
            .iter()
            .enumerate()
            .map(|(nth, value)| self.value(*value, findings.texts(finding, nth)));
        let why = values.zip(shown);
        let gaps = (!finding.complete).then(|| (HISTORY.to_owned(), "incomplete".to_owned()));
        Ok(Detection {
            id: finding.id,
            rule: rule.id.clone(),
            title: rule.title.clone(),
            severity: finding.severity,
            site: self.site(finding.site),
            area: finding.area.some().map(|s| self.text(s)),
            person: finding.person.some().map(|s| self.text(s)),
            key: self.key(finding),
            at: finding.at,
            events,
            evidence_omitted: u64::from(finding.omitted),
            why: why.chain(gaps).collect(),
            incident,
            verification: finding.verification,
            late: finding.late,
        })
    }

    /// The event behind a reference, lent to `take`; what is no longer there says so instead of its bytes.
    fn evidence(
        &mut self,
        at: &EvidenceRef,
        evidences: &mut impl Evidences,
        take: &mut dyn FnMut(&Cited<'_>),
    ) -> std::io::Result<()> {
        self.block.clear();
        let found = evidences.read(at.position, &mut self.block)?;
        let there = found == Found::There && !self.block.is_empty();
        if there && at.part == ROW_PART {
            changed_row(at, &self.block.get(0), take);
            return Ok(());
        }
        if there {
            let decoder = match evidences.decoded_by(at.position)? {
                Some(setup) if setup.hash != self.setup.hash => older(&mut self.older, &setup)?,
                _ => &mut self.decoder,
            };
            if decoder.cite_to(&self.block.get(0), at.part, take) {
                return Ok(());
            }
        }
        let (why, raw) = match found {
            Found::Unretained(raw) => ("unretained/", raw),
            Found::There | Found::Pruned => ("pruned/", String::new()),
        };
        let (said, occurred) = (Said { raw: &raw, ..Said::default() }, at.occurred);
        let id = &[why, &format!("{:032x}", at.identity.0)];
        take(&Cited { id, said, occurred, recorded: occurred });
        Ok(())
    }

    fn text(&self, symbol: Symbol) -> String {
        self.setup.interner.text(symbol).to_owned()
    }

    fn site(&self, site: Symbol) -> String {
        if site == Symbol::NONE { ENTERPRISE.to_owned() } else { self.text(site) }
    }

    fn value(&self, value: Value, texts: &[Symbol]) -> String {
        let mut shown = String::new();
        self.put_value(value, texts, &mut shown);
        shown
    }

    fn put_value(&self, value: Value, texts: &[Symbol], out: &mut String) {
        // Writing into memory cannot fail.
        let _ = match value {
            Value::Missing => write!(out, "missing"),
            Value::Bool(v) => write!(out, "{v}"),
            Value::Int(v) => write!(out, "{v}"),
            Value::Float(v) => write!(out, "{v}"),
            Value::Time(v) => write!(out, "{v}"),
            Value::Span(v) => write!(out, "{v}"),
            Value::Text(v) => write!(out, "{}", self.setup.interner.text(v)),
            Value::List { .. } => {
                self.put_texts(texts.iter().copied(), ", ", out);
                Ok(())
            }
        };
    }
}

/// The decoder of a configuration that was in force before.
fn older<'a>(
    known: &'a mut BTreeMap<String, Decoder>,
    setup: &Setup,
) -> std::io::Result<&'a mut Decoder> {
    if !known.contains_key(&setup.hash) {
        let decoder = setup.decoder().map_err(std::io::Error::other)?.for_evidence();
        known.insert(setup.hash.clone(), decoder);
    }
    known.get_mut(&setup.hash).ok_or_else(|| std::io::Error::other("it was put there"))
}
