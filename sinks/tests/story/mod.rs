//! Outputs of an engine that both test files tell their stories with.

use event::EventTime;
use event::identity::{Digest, TimedId};
use event::incident::{
    Change, Detection, Evidence, Incident, IncidentState, Output, Said, Severity,
};

pub const SITE: &str = "harbour-north";

pub fn at(second: i64) -> EventTime {
    EventTime::from_millis(1_794_600_000_000 + second * 1_000)
}

pub fn id(second: i64, name: &str) -> TimedId {
    TimedId::new(at(second), Digest::of(name.as_bytes()))
}

pub fn evidence(feed: &str, number: i64) -> Evidence {
    let (id, raw) = (format!("{feed}/dev-1/{number}"), format!("{{\"n\":{number}}}"));
    let said = Said { feed, kind: "MotionDetected", device: "dev-1", raw: &raw };
    Evidence::new(&[&id], said, at(number), at(number))
}

pub fn detection(rule: &str, second: i64, incident: Option<TimedId>) -> Box<Detection> {
    Box::new(Detection {
        id: id(second, rule),
        rule: rule.to_owned(),
        title: format!("what {rule} is about"),
        severity: Severity::Medium,
        site: SITE.to_owned(),
        area: Some("yard".to_owned()),
        person: None,
        key: "yard".to_owned(),
        at: at(second),
        events: vec![evidence("camera", second - 1), evidence("fence", second)],
        evidence_omitted: 0,
        why: vec![("count".to_owned(), "2".to_owned())],
        incident,
        verification: 1,
        late: None,
    })
}

pub fn opened(seq: u64, rule: &str, second: i64) -> Output {
    let id = id(second, rule);
    let detection = detection(rule, second, Some(id));
    let incident = Incident {
        id,
        rule: rule.to_owned(),
        title: detection.title.clone(),
        severity: detection.severity,
        site: SITE.to_owned(),
        area: detection.area.clone(),
        person: None,
        state: IncidentState::Active,
        opened_at: at(second),
        updated_at: at(second),
        config_hash: "c0ffee".to_owned(),
        links: Vec::new(),
    };
    output(seq, Change::Opened(Box::new(incident), detection))
}

pub fn joined(seq: u64, rule: &str, second: i64, incident: TimedId) -> Output {
    output(seq, Change::Joined(detection(rule, second, Some(incident))))
}

pub fn output(seq: u64, change: Change) -> Output {
    Output { site: SITE.to_owned(), seq, late: None, concluded: None, change }
}
