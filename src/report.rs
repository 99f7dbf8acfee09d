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
                };
                self.incidents.insert(incident.id, told);
                self.detected(&detection);
            }
            Change::Joined(detection) | Change::Shadowed(detection) => self.detected(&detection),
            Change::Linked { incident, to, .. } => {
                for (one, other) in [(incident, to), (to, incident)] {
                    if let Some(told) = self.incidents.get_mut(&one) {
                        told.links.push(other);
                    }
                }
            }
            Change::Cleared { .. } => {}
        }
    }

    fn detected(&mut self, detection: &Detection) {
        let events: Vec<_> = detection.events.iter().map(|e| e.id.clone()).collect();
        if let Some(told) = detection.incident.and_then(|id| self.incidents.get_mut(&id)) {
            told.severity = told.severity.max(detection.severity);
            told.detections.push(detection.id);
            for event in &events {
                if !told.events.contains(event) {
                    told.events.push(event.clone());
                }
            }
        }
        let line = json!({
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
        });
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
            })
        })
    }
}
