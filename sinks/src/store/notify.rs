//! From what a commit changed to what the sinks will be told.

use event::EventTime;
use event::identity::{Digest, TimedId};
use event::incident::{Detection, IncidentState, Severity, Tier};
use rusqlite::{Connection, params};
use serde::Serialize;

use super::StoreLimits;
use super::commit::{Changed, Changes};
use super::dead::{self, Class, DeadLetter};
use super::error::{Doing, StoreError};
use super::queue;
use super::read;
use super::view::IncidentSummary;
use crate::limits;

/// The body of a notification.
#[derive(Serialize)]
struct Body<'a> {
    id: String,
    changes: Vec<&'static str>,
    incident: &'a IncidentSummary,
    detections: Vec<Told<'a>>,
}

/// One detection as it is told: what happened and why, evidence by reference.
#[derive(Serialize)]
struct Told<'a> {
    id: TimedId,
    rule: &'a str,
    title: &'a str,
    severity: Severity,
    key: &'a str,
    at: EventTime,
    why: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    late: Option<Tier>,
    events: Vec<Cited<'a>>,
}

/// One contributing event without its bytes, which the API gives.
#[derive(Serialize)]
struct Cited<'a> {
    id: &'a str,
    feed: &'a str,
    kind: &'a str,
    device: &'a str,
    occurred: EventTime,
}

/// Puts one notification of every changed incident into the outbox of every configured sink.
/// Returns whether there was any. What is held back or shelved is shown, and told to nobody.
pub(super) fn enqueue(
    db: &Connection,
    changes: &Changes<'_>,
    sinks: &[(i64, String)],
    limits: &StoreLimits,
) -> Result<bool, StoreError> {
    if sinks.is_empty() {
        return Ok(false);
    }
    let mut told = false;
    for changed in changes.incidents.iter().filter(|changed| changed.told) {
        let incident = read::summary_of(db, changed.n)?;
        let silent = matches!(incident.state, IncidentState::Suppressed | IncidentState::Shelved);
        if silent || changed.what.iter().all(|what| *what == "suppressed") {
            continue;
        }
        let id = id_of(&incident, changed);
        let text = body(&id, &incident, changed)?;
        let n: i64 = db
            .prepare_cached(
                "INSERT INTO notification (id, incident, body, open) VALUES (?1, ?2, ?3, ?4)
                 RETURNING n",
            )
            .and_then(|mut s| {
                let row = params![id, incident.id.to_string(), text, sinks.len()];
                s.query_row(row, |row| row.get(0))
            })
            .doing("storing a notification")?;
        for (sink, _) in sinks {
            queue::push(db, *sink, n)?;
        }
        told = true;
    }
    for (sink, name) in sinks {
        bury_excess(db, *sink, name, limits.outbox_pending_max)?;
    }
    Ok(told)
}

/// Derived from the last output that changed the incident: which outputs share a commit may differ
/// from run to run, but one output is committed once.
fn id_of(incident: &IncidentSummary, changed: &Changed<'_>) -> String {
    let hash = Digest::default()
        .part(b"notification")
        .number(incident.id.0)
        .part(changed.by.site.as_bytes())
        .number(u128::from(changed.by.seq))
        .finish();
    TimedId::new(incident.updated_at, hash).to_string()
}

fn body(id: &str, incident: &IncidentSummary, changed: &Changed<'_>) -> Result<String, StoreError> {
    let skipped = changed.detections.len().saturating_sub(limits::NOTIFIED_DETECTIONS_MAX);
    let body = Body {
        id: id.to_owned(),
        changes: changed.what.iter().copied().collect(),
        incident,
        detections: changed.detections[skipped..].iter().map(|d| told(d)).collect(),
    };
    serde_json::to_string(&body)
        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
        .doing("writing a notification")
}

fn told(detection: &Detection) -> Told<'_> {
    let events = detection.events.iter().map(|e| Cited {
        id: e.id(),
        feed: e.feed(),
        kind: e.kind(),
        device: e.device(),
        occurred: e.occurred,
    });
    Told {
        id: detection.id,
        rule: &detection.rule,
        title: &detection.title,
        severity: detection.severity,
        key: &detection.key,
        at: detection.at,
        why: &detection.why,
        late: detection.late,
        events: events.collect(),
    }
}

/// INV-BOUND: a sink that is away for weeks costs a bounded amount of disk; its oldest
/// notifications become dead letters.
fn bury_excess(db: &Connection, sink: i64, name: &str, pending_max: u64) -> Result<(), StoreError> {
    while queue::pending(db, sink)? > pending_max {
        let Some(oldest) = queue::waiting(db, sink, 1)?.pop() else { break };
        let letter = DeadLetter {
            source: name.to_owned(),
            position: oldest.n,
            reason: format!("more than {pending_max} notifications wait for this sink"),
            at: queue::time_of(oldest.notification.incident),
            raw: oldest.notification.body.into_bytes(),
        };
        if queue::remove(db, sink, oldest.n, queue::Fate::Dead)? {
            dead::keep(db, Class::Notification, &letter)?;
        }
    }
    Ok(())
}
