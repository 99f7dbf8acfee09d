//! What a run over history has found: incidents and detections, in the order of their ids.

use std::collections::BTreeMap;

use event::EventTime;
use event::identity::TimedId;
use event::incident::{Change, Detection, Severity};
use serde_json::{Value, json};

/// An incident as far as it was told.
pub struct Told {
    pub rule: String,
    pub severity: Severity,
    pub site: String,
    pub area: Option<String>,
    pub opened_at: EventTime,
    pub detections: Vec<TimedId>,
    pub events: Vec<String>,
    pub links: Vec<TimedId>,
    pub verification: u8,
    /// What policies held back and is shown here, by policy.
    pub suppressed: BTreeMap<String, u64>,
}

/// What was found, in the order of ids.
#[derive(Default)]
pub struct Report {
    pub incidents: BTreeMap<TimedId, Told>,
    pub detections: BTreeMap<(TimedId, String), Value>,
}

impl Report {
    /// Takes what a finding says.
    pub fn take(&mut self, change: Change) {
        match change {
            Change::Opened(incident, detection) => {
                let told = Told {
                    rule: incident.rule,
                    severity: incident.severity,
                    site: incident.site,
                    area: incident.area,
                    opened_at: incident.opened_at,
                    detections: Vec::new(),
                    events: Vec::new(),
                    links: Vec::new(),
                    verification: 0,
                    suppressed: BTreeMap::new(),
                };
                self.incidents.insert(incident.id, told);
                self.detected(&detection);
            }
            Change::Joined(detection) | Change::Shadowed(detection) => self.detected(&detection),
            Change::Suppressed { detection, by } => self.suppressed(&detection, by),
            Change::Escalated { incident, severity, verification, .. } => {
                if let Some(told) = self.incidents.get_mut(&incident) {
                    told.severity = told.severity.max(severity);
                    told.verification = told.verification.max(verification);
                }
            }
            Change::Linked { incident, to, .. } => {
                for (one, other) in [(incident, to), (to, incident)] {
                    if let Some(told) = self.incidents.get_mut(&one) {
                        told.links.push(other);
                    }
                }
            }
            Change::Cleared { .. }
            | Change::Acted { .. }
            | Change::Unshelved { .. }
            | Change::Shelf { .. }
            | Change::Stale { .. } => {}
        }
    }

    fn detected(&mut self, detection: &Detection) {
        let events: Vec<_> = detection.events.iter().map(|e| e.id().to_owned()).collect();
        if let Some(told) = detection.incident.and_then(|id| self.incidents.get_mut(&id)) {
            told.severity = told.severity.max(detection.severity);
            told.verification = told.verification.max(detection.verification);
            told.detections.push(detection.id);
            for event in &events {
                if !told.events.contains(event) {
                    told.events.push(event.clone());
                }
            }
        }
        let line = line(detection, &events);
        self.detections.insert((detection.id, detection.rule.clone()), line);
    }

    /// What a policy held back is a detection like any other, and says by what.
    fn suppressed(&mut self, detection: &Detection, by: String) {
        if let Some(told) = detection.incident.and_then(|id| self.incidents.get_mut(&id)) {
            *told.suppressed.entry(by.clone()).or_default() += 1;
        }
        let events: Vec<_> = detection.events.iter().map(|e| e.id().to_owned()).collect();
        let mut line = line(detection, &events);
        line["suppressed_by"] = by.into();
        self.detections.insert((detection.id, detection.rule.clone()), line);
    }

    /// Each incident as a JSON object.
    pub fn incident_lines(&self) -> impl Iterator<Item = Value> {
        self.incidents.iter().map(|(id, told)| {
            json!({
                "id": id,
                "rule": told.rule,
                "severity": told.severity,
                "site": told.site,
                "area": told.area,
                "opened_at": told.opened_at,
                "detections": told.detections,
                "events": told.events,
                "links": told.links,
                "verification": told.verification,
                "suppressed": told.suppressed,
            })
        })
    }
}

/// A detection as a JSON object.
fn line(detection: &Detection, events: &[String]) -> Value {
    json!({
        "id": detection.id,
        "rule": detection.rule,
        "key": detection.key,
        "at": detection.at,
        "events": events,
        "site": detection.site,
        "severity": detection.severity,
        "incident": detection.incident,
        "evidence_omitted": detection.evidence_omitted,
        "why": detection.why.iter().cloned().collect::<BTreeMap<_, _>>(),
        "late": detection.late,
    })
}
