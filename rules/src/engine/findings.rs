//! What the engine found: a reused block of detections, links and clearings.

use std::ops::Range;

use event::control::Control;
use event::identity::TimedId;
use event::incident::{Severity, Tier};
use event::{EventTime, Identity, Position, Symbol};

use super::layout::Subject;
use crate::plan::RuleId;
use crate::probe::Probe;
use crate::value::Value;

/// One contributing event: where its bytes are, and who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceRef {
    /// Where its delivery stands in the log.
    pub position: Position,
    /// Which of the delivery's events.
    pub part: u16,
    /// Who it is.
    pub identity: Identity,
    /// When it occurred.
    pub occurred: EventTime,
}

/// What holds a detection back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// A policy of `inhibit`, by its place in the plan.
    Inhibition(u16),
    /// What this rule found to chatter.
    Chattering(RuleId),
    /// An operator's shelf.
    Shelf,
    /// So many incidents open that the lesser ones are told as one.
    Flood,
}

/// What a finding does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A detection that opened an incident under its own id.
    Opened,
    /// A detection that joined an incident.
    Joined(TimedId),
    /// A detection of a rule in mode `shadow`.
    Shadowed,
    /// A detection that a policy holds back, and the incident it is shown on, where there is one.
    Suppressed(HeldBy, Option<TimedId>),
    /// An incident has risen by an escalation (its place in the plan); severity and verification
    /// are the finding's.
    Escalated(TimedId, u16),
    /// Two incidents belong together: the newer, then the older.
    Linked(TimedId, TimedId),
    /// The condition of an incident has gone.
    Cleared(TimedId),
    /// An operator's act on an incident: which of the block's control records.
    Acted(TimedId, u32),
    /// An incident's shelf has ended by itself.
    Unshelved(TimedId),
    /// An operator has shelved rule and key until a time, or taken them up again: which control
    /// record.
    Shelf(Option<EventTime>, u32),
    /// The shelf of rule and key has ended by itself.
    ShelfEnded,
    /// An incident has been active for long.
    Stale(TimedId),
}

/// One finding. What is of an incident alone carries site, `seq` and time only.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The site; `Symbol::NONE` is the enterprise.
    pub site: Symbol,
    /// Its number in the site's outputs, from 1.
    pub seq: u64,
    /// What it does.
    pub effect: Effect,
    /// Event time.
    pub at: EventTime,
    /// The detection's id.
    pub id: TimedId,
    /// The rule.
    pub rule: RuleId,
    /// The rule's severity; an escalated incident's.
    pub severity: Severity,
    /// How far it verifies its incident, 0–4.
    pub verification: u8,
    /// The rule's key, `Symbol::NONE` behind its parts.
    pub key: [Symbol; 3],
    /// The area, or none.
    pub area: Symbol,
    /// The person, or none.
    pub person: Symbol,
    /// Contributing events that `evidence_max` left out.
    pub omitted: u32,
    /// Found of what came later than the slack.
    pub late: Option<Tier>,
    /// Whether all was at hand that it stands on.
    pub complete: bool,
    pub(super) event: Identity,
    pub(super) subject: Subject,
    pub(super) evidence: Range<u32>,
    pub(super) why: Range<u32>,
}

/// Findings of one step, in the order of each site.
#[derive(Debug, Default)]
pub struct Findings {
    findings: Vec<Finding>,
    evidence: Vec<EvidenceRef>,
    why: Vec<Value>,
    /// Texts of bound values that are lists: a table may be another one when they are shown.
    texts: Vec<Symbol>,
    /// The place of such a value in `why`, and its texts.
    lists: Vec<(u32, Range<u32>)>,
    probe: Option<Box<Probe>>,
    /// What operators did.
    controls: Vec<Control>,
}

impl Findings {
    /// Findings, with a probe that looks on.
    #[must_use]
    pub fn probed(probe: Probe) -> Self {
        Self { probe: Some(Box::new(probe)), ..Self::default() }
    }

    /// What looks on.
    #[must_use]
    #[inline]
    pub fn probe(&self) -> Option<&Probe> {
        self.probe.as_deref()
    }

    /// As [`Self::probe`], to take from it what it saw.
    #[inline]
    pub fn probe_mut(&mut self) -> Option<&mut Probe> {
        self.probe.as_deref_mut()
    }

    /// Forgets all, keeps the memory.
    pub fn clear(&mut self) {
        self.findings.clear();
        self.evidence.clear();
        self.why.clear();
        self.texts.clear();
        self.lists.clear();
        self.controls.clear();
    }

    /// What an operator did.
    #[must_use]
    pub fn control(&self, number: u32) -> &Control {
        &self.controls[number as usize]
    }

    pub(super) fn push_control(&mut self, control: &Control) -> u32 {
        self.controls.push(control.clone());
        self.controls.len() as u32 - 1
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// All, in the order of each site.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Finding> {
        self.findings.iter()
    }

    /// A finding's contributing events, the trigger last.
    #[must_use]
    pub fn evidence(&self, finding: &Finding) -> &[EvidenceRef] {
        &self.evidence[finding.evidence.start as usize..finding.evidence.end as usize]
    }

    /// A finding's bound values, in the order of the rule's `why`.
    #[must_use]
    pub fn why(&self, finding: &Finding) -> &[Value] {
        &self.why[finding.why.start as usize..finding.why.end as usize]
    }

    /// The texts of a finding's bound value that is a list.
    #[must_use]
    pub fn texts(&self, finding: &Finding, nth: usize) -> &[Symbol] {
        let place = finding.why.start + nth as u32;
        let found = self.lists.iter().find(|(of, _)| *of == place);
        found.map_or(&[], |(_, range)| &self.texts[range.start as usize..range.end as usize])
    }

    /// Where the next finding's evidence begins.
    pub(super) fn evidence_mark(&self) -> u32 {
        self.evidence.len() as u32
    }

    pub(super) fn push_evidence(&mut self, evidence: EvidenceRef) {
        // An edge of a schedule has no bytes to show.
        if evidence.position != Position::NONE {
            self.evidence.push(evidence);
        }
    }

    /// Puts the evidence since `mark` in order of time, the trigger (pushed last) at the end, each
    /// event once, at most `max` with the first and the last kept; returns how many went.
    pub(super) fn trim_evidence(&mut self, mark: u32, max: usize) -> u32 {
        let mark = mark as usize;
        let trigger = match &self.evidence[mark..] {
            [] | [_] => return 0,
            // Nearly all: two events, in order.
            [first, second] if first.identity != second.identity => return 0,
            [.., trigger] => *trigger,
        };
        let end = self.evidence.len() - 1;
        self.evidence[mark..end].sort_unstable_by_key(|e| (e.occurred, e.identity));
        let mut kept = mark;
        for index in mark..end {
            let one = self.evidence[index];
            let again = kept > mark && self.evidence[kept - 1].identity == one.identity;
            if !again && one.identity != trigger.identity {
                self.evidence[kept] = one;
                kept += 1;
            }
        }
        self.evidence.truncate(kept);
        self.evidence.push(trigger);
        let excess = (self.evidence.len() - mark).saturating_sub(max.max(2));
        self.evidence.drain(mark + 1..mark + 1 + excess);
        excess as u32
    }

    /// The last event of the evidence since `mark`; none for an edge of a schedule.
    pub(super) fn trigger(&self, mark: u32) -> Option<EvidenceRef> {
        self.evidence[mark as usize..].last().copied()
    }

    /// The bound values since `mark`.
    pub(super) fn why_since(&self, mark: u32) -> &[Value] {
        &self.why[mark as usize..]
    }

    /// The evidence since `mark`.
    pub(super) fn evidence_since(&self, mark: u32) -> &[EvidenceRef] {
        &self.evidence[mark as usize..]
    }

    /// Takes back what was pushed since the marks.
    pub(super) fn forget_since(&mut self, (evidence, why): (u32, u32)) {
        self.evidence.truncate(evidence as usize);
        self.why.truncate(why as usize);
        while self.lists.pop_if(|(place, _)| *place >= why).is_some() {}
    }

    pub(super) fn forget_evidence(&mut self, mark: u32) {
        self.evidence.truncate(mark as usize);
    }

    pub(super) fn push_plain(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn push_why(&mut self, value: Value) {
        self.why.push(value);
    }

    /// A bound value that is a list.
    pub(super) fn push_texts(&mut self, value: Value, texts: &[Symbol]) {
        let from = self.texts.len() as u32;
        self.texts.extend_from_slice(texts);
        self.lists.push((self.why.len() as u32, from..self.texts.len() as u32));
        self.why.push(value);
    }

    pub(super) fn why_mark(&self) -> u32 {
        self.why.len() as u32
    }

    #[inline(always)]
    pub(super) fn push(&mut self, mut finding: Finding, evidence_from: u32, why_from: u32) {
        finding.evidence = evidence_from..self.evidence.len() as u32;
        finding.why = why_from..self.why.len() as u32;
        self.findings.push(finding);
    }
}

impl Finding {
    /// Whether a rule has spoken.
    #[must_use]
    pub fn is_detection(&self) -> bool {
        matches!(
            self.effect,
            Effect::Opened | Effect::Joined(_) | Effect::Shadowed | Effect::Suppressed(..)
        )
    }

    /// A finding about incidents alone.
    #[inline(always)]
    pub(super) fn of_incident(site: Symbol, seq: u64, effect: Effect, at: EventTime) -> Self {
        Self {
            site,
            seq,
            effect,
            at,
            id: TimedId::default(),
            rule: RuleId(u16::MAX),
            severity: Severity::Info,
            verification: 0,
            key: [Symbol::NONE; 3],
            area: Symbol::NONE,
            person: Symbol::NONE,
            omitted: 0,
            late: None,
            complete: true,
            event: Identity(0),
            subject: [Symbol::NONE; 6],
            evidence: 0..0,
            why: 0..0,
        }
    }
}
