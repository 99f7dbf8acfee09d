//! Turning the engine's outputs into rows, each exactly once.

use std::collections::{BTreeMap, BTreeSet};

use event::EventTime;
use event::identity::TimedId;
use event::incident::{Change, Detection, Evidence, Incident, IncidentState, Output, Tier};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::{Doing, StoreError};
use super::{acts, column, counter};

/// Incidents that one commit changed, in the order of their first change.
pub(super) struct Changes<'o> {
    pub(super) incidents: Vec<Changed<'o>>,
    places: BTreeMap<i64, usize>,
}

/// What one commit did to one incident.
pub(super) struct Changed<'o> {
    pub(super) n: i64,
    pub(super) what: BTreeSet<&'static str>,
    pub(super) detections: Vec<&'o Detection>,
    /// The last output that changed it.
    pub(super) by: &'o Output,
    /// Whether people are told: something of it is no mere record of long ago.
    pub(super) told: bool,
}

impl<'o> Changes<'o> {
    pub(super) fn of(&mut self, n: i64, by: &'o Output, what: &'static str) -> &mut Changed<'o> {
        let place = *self.places.entry(n).or_insert_with(|| {
            let none =
                Changed { n, what: BTreeSet::new(), detections: Vec::new(), by, told: false };
            self.incidents.push(none);
            self.incidents.len() - 1
        });
        let changed = &mut self.incidents[place];
        changed.what.insert(what);
        changed.by = by;
        changed.told |= by.late != Some(Tier::Recorded);
        changed
    }
}

/// Applies all outputs that are not in the store yet.
pub(super) fn apply<'o>(db: &Connection, outputs: &'o [Output]) -> Result<Changes<'o>, StoreError> {
    let mut emitted = emitted_seq(db)?;
    let mut moved = BTreeSet::new();
    let mut changes = Changes { incidents: Vec::new(), places: BTreeMap::new() };
    for output in outputs {
        let last = emitted.entry(output.site.clone()).or_insert(0);
        if output.seq <= *last {
            continue;
        }
        *last = output.seq;
        moved.insert(output.site.as_str());
        change(db, output, &mut changes)?;
    }
    for site in moved {
        db.prepare_cached(
            "INSERT INTO site (name, emitted_seq) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET emitted_seq = excluded.emitted_seq",
        )
        .and_then(|mut s| s.execute(params![site, emitted[site]]))
        .doing("storing a site's emitted_seq")?;
    }
    for changed in &changes.incidents {
        let revision = counter::add(db, counter::REVISION, 1)?;
        db.prepare_cached("UPDATE incident SET revision = ?2 WHERE n = ?1")
            .and_then(|mut s| s.execute([changed.n, revision]))
            .doing("numbering a change")?;
    }
    Ok(changes)
}

/// Each site's last stored output.
pub(super) fn emitted_seq(db: &Connection) -> Result<BTreeMap<String, u64>, StoreError> {
    db.prepare_cached("SELECT name, emitted_seq FROM site")
        .and_then(|mut s| s.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .doing("reading the sites' emitted_seq")
}

fn change<'o>(
    db: &Connection,
    output: &'o Output,
    changes: &mut Changes<'o>,
) -> Result<(), StoreError> {
    match &output.change {
        Change::Opened(incident, detection) => {
            let n = open(db, incident, output)?;
            if join(db, n, detection)? {
                let text = format!("opened by {}: {}", detection.rule, detection.title);
                timeline(db, n, detection.at, "opened", Some(detection.id), &text)?;
                changes.of(n, output, "opened").detections.push(detection);
            }
            for to in &incident.links {
                link(db, output, (incident.id, *to), incident.opened_at, changes)?;
            }
        }
        Change::Joined(detection) => {
            let id = detection.incident.unwrap_or_default();
            let n = known(db, output, id)?;
            let before = standing(db, n)?;
            if join(db, n, detection)? {
                let text = format!("joined by {}: {}", detection.rule, detection.title);
                timeline(db, n, detection.at, "joined", Some(detection.id), &text)?;
                changes.of(n, output, "joined").detections.push(detection);
                rise(db, n, before, detection, output, changes)?;
            }
        }
        Change::Shadowed(detection) => {
            if store_detection(db, None, detection)?.is_some() {
                counter::add(db, counter::SHADOWED, 1)?;
            }
        }
        Change::Suppressed { detection, by } => suppress(db, detection, by, output, changes)?,
        Change::Escalated { incident, at, severity, verification, by } => {
            let n = known(db, output, *incident)?;
            db.prepare_cached(
                "UPDATE incident SET severity = max(severity, ?2),
                     verification = max(verification, ?3) WHERE n = ?1",
            )
            .and_then(|mut s| s.execute(params![n, column::of_severity(*severity), verification]))
            .doing("raising an incident")?;
            let severity = severity.as_str();
            let text = format!("{by}: now {severity}, verification level {verification}");
            timeline(db, n, *at, "escalated", None, &text)?;
            changes.of(n, output, "escalated");
        }
        Change::Linked { incident, to, at } => {
            link(db, output, (*incident, *to), *at, changes)?;
        }
        Change::Acted { .. }
        | Change::Unshelved { .. }
        | Change::Shelf { .. }
        | Change::Stale { .. } => acts::apply(db, output, changes)?,
        Change::Cleared { incident, at } => {
            let n = known(db, output, *incident)?;
            let (_, state) = standing(db, n)?;
            if state == IncidentState::Shelved {
                acts::clear_shelved(db, n)?;
            }
            if matches!(state, IncidentState::Active | IncidentState::Acknowledged) {
                set_state(db, n, IncidentState::Cleared)?;
            }
            timeline(db, n, *at, "cleared", None, "the condition has gone")?;
            changes.of(n, output, "cleared");
        }
    }
    Ok(())
}

/// The row of a new incident; of the one that stands already where the id is known.
fn open(db: &Connection, incident: &Incident, output: &Output) -> Result<i64, StoreError> {
    let doing = "storing an incident";
    db.prepare_cached(
        "INSERT INTO incident (id, rule, title, severity, site, area, person, state, opened_at,
                               updated_at, config_hash, late, concluded_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT (id) DO NOTHING",
    )
    .and_then(|mut s| {
        s.execute(params![
            incident.id.to_string(),
            incident.rule,
            incident.title,
            column::of_severity(incident.severity),
            incident.site,
            incident.area,
            incident.person,
            incident.state.as_str(),
            incident.opened_at.0,
            incident.updated_at.0,
            incident.config_hash,
            output.late.map(Tier::as_str),
            output.concluded.map(|at| at.0),
        ])
    })
    .doing(doing)?;
    row_of(db, incident.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows).doing(doing)
}

/// Adds a detection to an incident; `false` where it is there already.
fn join(db: &Connection, incident: i64, detection: &Detection) -> Result<bool, StoreError> {
    let doing = "adding a detection to its incident";
    let Some((_, events)) = store_detection(db, Some(incident), detection)? else {
        return Ok(false);
    };
    counter::add(db, counter::DETECTIONS, 1)?;
    let mut new = 0;
    for (n, evidence) in events.iter().zip(&detection.events) {
        new += db
            .prepare_cached(
                "INSERT OR IGNORE INTO incident_event (incident, event) VALUES (?1, ?2)",
            )
            .and_then(|mut s| s.execute([incident, *n]))
            .doing(doing)?;
        db.prepare_cached("INSERT OR IGNORE INTO incident_feed (incident, feed) VALUES (?1, ?2)")
            .and_then(|mut s| s.execute(params![incident, evidence.feed]))
            .doing(doing)?;
    }
    db.prepare_cached(
        "UPDATE incident SET detections = detections + 1, events = events + ?2,
             evidence_omitted = evidence_omitted + ?3, updated_at = max(updated_at, ?4),
             severity = max(severity, ?5), verification = max(verification, ?6) WHERE n = ?1",
    )
    .and_then(|mut s| {
        s.execute(params![
            incident,
            new,
            detection.evidence_omitted,
            detection.at.0,
            column::of_severity(detection.severity),
            detection.verification
        ])
    })
    .doing(doing)?;
    Ok(true)
}

/// Says in the timeline what a joined detection did to severity and state: a condition that came
/// back makes a cleared incident active again (ISA-18.2, return to alarm).
fn rise<'o>(
    db: &Connection,
    n: i64,
    (severity, state): (u8, IncidentState),
    detection: &Detection,
    by: &'o Output,
    changes: &mut Changes<'o>,
) -> Result<(), StoreError> {
    if column::of_severity(detection.severity) > severity {
        let text = format!("now {}", detection.severity.as_str());
        timeline(db, n, detection.at, "escalated", Some(detection.id), &text)?;
        changes.of(n, by, "escalated");
    }
    if state == IncidentState::Cleared {
        set_state(db, n, IncidentState::Active)?;
        timeline(db, n, detection.at, "returned", Some(detection.id), "the condition came back")?;
        changes.of(n, by, "returned");
    }
    Ok(())
}

/// A detection that a policy holds back: kept as it is, told nobody, counted on the incident.
fn suppress<'o>(
    db: &Connection,
    detection: &Detection,
    by: &str,
    output: &'o Output,
    changes: &mut Changes<'o>,
) -> Result<(), StoreError> {
    let doing = "storing what is held back";
    let incident = match detection.incident {
        Some(incident) => row_of(db, incident)?,
        None => None,
    };
    let Some((n, _)) = store_detection(db, None, detection)? else { return Ok(()) };
    db.prepare_cached(
        "INSERT INTO suppressed (detection, incident, policy, at) VALUES (?1, ?2, ?3, ?4)",
    )
    .and_then(|mut s| s.execute(params![n, incident, by, detection.at.0]))
    .doing(doing)?;
    counter::add(db, counter::SUPPRESSED, 1)?;
    if let Some(incident) = incident {
        db.prepare_cached("UPDATE incident SET suppressed = suppressed + 1 WHERE n = ?1")
            .and_then(|mut s| s.execute([incident]))
            .doing(doing)?;
        changes.of(incident, output, "suppressed");
    }
    Ok(())
}

/// The row of a detection and those of its events in their order; `None` where it is there already.
fn store_detection(
    db: &Connection,
    incident: Option<i64>,
    detection: &Detection,
) -> Result<Option<(i64, Vec<i64>)>, StoreError> {
    let doing = "storing a detection";
    let why = serde_json::to_string(&detection.why)
        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
        .doing(doing)?;
    let n: Option<i64> = db
        .prepare_cached(
            "INSERT INTO detection (id, incident, rule, title, severity, site, area, person, key,
                                    at, evidence_omitted, why, late)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT (id) DO NOTHING RETURNING n",
        )
        .and_then(|mut s| {
            let row = params![
                detection.id.to_string(),
                incident,
                detection.rule,
                detection.title,
                column::of_severity(detection.severity),
                detection.site,
                detection.area,
                detection.person,
                detection.key,
                detection.at.0,
                detection.evidence_omitted,
                why,
                detection.late.map(Tier::as_str),
            ];
            s.query_row(row, |row| row.get(0)).optional()
        })
        .doing(doing)?;
    let Some(n) = n else { return Ok(None) };
    let mut events = Vec::with_capacity(detection.events.len());
    for (place, evidence) in detection.events.iter().enumerate() {
        let event = store_event(db, evidence)?;
        db.prepare_cached(
            "INSERT INTO detection_event (detection, place, event) VALUES (?1, ?2, ?3)",
        )
        .and_then(|mut s| s.execute(params![n, place, event]))
        .doing(doing)?;
        events.push(event);
    }
    Ok(Some((n, events)))
}

/// The row of an event, written the first time it is cited.
fn store_event(db: &Connection, event: &Evidence) -> Result<i64, StoreError> {
    let doing = "storing an event";
    let inserted: Option<i64> = db
        .prepare_cached(
            "INSERT INTO event (id, feed, kind, device, occurred, recorded, raw)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING RETURNING n",
        )
        .and_then(|mut s| {
            let row = params![
                event.id,
                event.feed,
                event.kind,
                event.device,
                event.occurred.0,
                event.recorded.0,
                event.raw
            ];
            s.query_row(row, |row| row.get(0)).optional()
        })
        .doing(doing)?;
    if let Some(n) = inserted {
        counter::add(db, counter::EVENTS, 1)?;
        return Ok(n);
    }
    db.prepare_cached("SELECT n FROM event WHERE id = ?1 AND occurred = ?2 AND kind = ?3")
        .and_then(|mut s| {
            s.query_row(params![event.id, event.occurred.0, event.kind], |row| row.get(0))
        })
        .doing(doing)
}

/// Links two incidents, once. An incident of another site may not be stored yet: the link waits
/// for it.
fn link<'o>(
    db: &Connection,
    output: &'o Output,
    (newer, older): (TimedId, TimedId),
    at: EventTime,
    changes: &mut Changes<'o>,
) -> Result<(), StoreError> {
    let added = db
        .prepare_cached("INSERT OR IGNORE INTO link (incident, linked, at) VALUES (?1, ?2, ?3)")
        .and_then(|mut s| s.execute(params![newer.to_string(), older.to_string(), at.0]))
        .doing("linking incidents")?;
    if added == 0 {
        return Ok(());
    }
    for (id, other) in [(newer, older), (older, newer)] {
        if let Some(n) = row_of(db, id)? {
            timeline(db, n, at, "linked", Some(other), &format!("linked with {other}"))?;
            changes.of(n, output, "linked");
        }
    }
    Ok(())
}

pub(super) fn row_of(db: &Connection, id: TimedId) -> Result<Option<i64>, StoreError> {
    db.prepare_cached("SELECT n FROM incident WHERE id = ?1")
        .and_then(|mut s| s.query_row([id.to_string()], |row| row.get(0)).optional())
        .doing("finding an incident")
}

fn known(db: &Connection, output: &Output, incident: TimedId) -> Result<i64, StoreError> {
    row_of(db, incident)?.ok_or_else(|| StoreError::UnknownIncident {
        site: output.site.clone(),
        seq: output.seq,
        incident,
    })
}

pub(super) fn standing(db: &Connection, n: i64) -> Result<(u8, IncidentState), StoreError> {
    db.prepare_cached("SELECT severity, state FROM incident WHERE n = ?1")
        .and_then(|mut s| s.query_row([n], |row| Ok((row.get(0)?, column::state(row, 1)?))))
        .doing("reading an incident")
}

pub(super) fn set_state(db: &Connection, n: i64, state: IncidentState) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE incident SET state = ?2 WHERE n = ?1")
        .and_then(|mut s| s.execute(params![n, state.as_str()]))
        .map(|_| ())
        .doing("storing an incident's state")
}

fn timeline(
    db: &Connection,
    incident: i64,
    at: EventTime,
    what: &str,
    subject: Option<TimedId>,
    text: &str,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO timeline (incident, at, what, subject, text) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .and_then(|mut s| {
        s.execute(params![incident, at.0, what, subject.map(|s| s.to_string()), text])
    })
    .map(|_| ())
    .doing("storing a timeline")
}
