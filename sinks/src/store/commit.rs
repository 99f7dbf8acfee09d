//! Turning the engine's outputs into rows, each exactly once.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use event::EventTime;
use event::identity::TimedId;
use event::incident::{Change, Detection, Evidence, IncidentState, Output, Tier};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::{Doing, StoreError};
use super::outputs::{Opened, Outputs, Told};
use super::writing::Writing;
use super::{acts, column, counter, document, read};

/// Incidents that one commit changed, in the order of their first change.
pub(super) struct Changes<'o> {
    pub(super) incidents: Vec<Changed<'o>>,
    places: BTreeMap<i64, usize>,
    /// What is counted is added up here, and stored once a commit.
    counts: BTreeMap<&'static str, i64>,
    /// The same of what opened.
    opened: Opens,
    /// The revision given last.
    revision: i64,
    /// Whether somebody is told of what opens.
    told: bool,
}

#[derive(Default)]
struct Opens {
    detections: i64,
    events: i64,
}

/// Which output it was.
#[derive(Clone, Copy)]
pub(super) struct By<'o> {
    pub(super) site: &'o str,
    pub(super) seq: u64,
    late: Option<Tier>,
}

impl<'o> From<&'o Output> for By<'o> {
    fn from(output: &'o Output) -> Self {
        Self { site: &output.site, seq: output.seq, late: output.late }
    }
}

/// What one commit did to one incident.
pub(super) struct Changed<'o> {
    pub(super) n: i64,
    pub(super) what: BTreeSet<&'static str>,
    pub(super) detections: Vec<Cow<'o, Detection>>,
    /// The last output that changed it.
    pub(super) by: By<'o>,
    /// Whether people are told: something of it is no mere record of long ago.
    pub(super) told: bool,
}

impl<'o> Changes<'o> {
    pub(super) fn of(
        &mut self,
        n: i64,
        by: impl Into<By<'o>>,
        what: &'static str,
    ) -> &mut Changed<'o> {
        let by = by.into();
        let place = *self.places.entry(n).or_insert_with(|| {
            let (what, detections) = (BTreeSet::new(), Vec::new());
            self.incidents.push(Changed { n, what, detections, by, told: false });
            self.incidents.len() - 1
        });
        let changed = &mut self.incidents[place];
        changed.what.insert(what);
        changed.by = by;
        changed.told |= by.late != Some(Tier::Recorded);
        changed
    }

    fn count(&mut self, name: &'static str, more: i64) {
        *self.counts.entry(name).or_insert(0) += more;
    }

    fn next_revision(&mut self) -> i64 {
        self.revision += 1;
        self.revision
    }
}

/// Applies all outputs that are not in the store yet; `told` where somebody is told of what changes.
pub(super) fn apply<'o>(
    db: &Connection,
    outputs: &'o [Outputs],
    told: bool,
) -> Result<Changes<'o>, StoreError> {
    let mut writing = Writing::begin(db)?;
    let mut emitted: BTreeMap<&str, u64> = BTreeMap::new();
    let before = counter::get(db, counter::REVISION)?;
    let (incidents, places, counts) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let opened = Opens::default();
    let mut changes = Changes { incidents, places, counts, opened, revision: before, told };
    for output in outputs.iter().flat_map(Outputs::iter) {
        let (site, seq) = match output {
            Told::Opened(opened) => (opened.site(), opened.seq()),
            Told::Other(output) => (output.site.as_str(), output.seq),
        };
        let last = match emitted.entry(site) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(emitted_of(db, site)?),
        };
        if seq <= *last {
            continue;
        }
        *last = seq;
        match output {
            Told::Opened(opened) => open(&mut writing, opened, &mut changes)?,
            Told::Other(output) => {
                writing.flush()?;
                change(&mut writing, output, &mut changes)?;
            }
        }
    }
    writing.flush()?;
    for (site, last) in emitted {
        db.prepare_cached(
            "INSERT INTO site (name, emitted_seq) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET emitted_seq = excluded.emitted_seq",
        )
        .and_then(|mut s| s.execute(params![site, last]))
        .doing("storing a site's emitted_seq")?;
    }
    for place in 0..changes.incidents.len() {
        let n = changes.incidents[place].n;
        // What is of this commit was born with its revision.
        if n <= before {
            let revision = changes.next_revision();
            db.prepare_cached("UPDATE incident SET revision = ?2 WHERE n = ?1")
                .and_then(|mut s| s.execute([n, revision]))
                .doing("numbering a change")?;
        }
    }
    let Opens { detections, events } = changes.opened;
    changes.count(counter::DETECTIONS, detections);
    changes.count(counter::EVENTS, events);
    changes.count(counter::REVISION, changes.revision - before);
    for (name, more) in &changes.counts {
        counter::add(db, name, *more)?;
    }
    Ok(changes)
}

/// A site's last stored output; 0 when there is none.
fn emitted_of(db: &Connection, site: &str) -> Result<u64, StoreError> {
    db.prepare_cached("SELECT emitted_seq FROM site WHERE name = ?1")
        .and_then(|mut s| s.query_row([site], |row| row.get(0)).optional())
        .map(Option::unwrap_or_default)
        .doing("reading a site's emitted_seq")
}

/// Each site's last stored output.
pub(super) fn emitted_seq(db: &Connection) -> Result<BTreeMap<String, u64>, StoreError> {
    db.prepare_cached("SELECT name, emitted_seq FROM site")
        .and_then(|mut s| s.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .doing("reading the sites' emitted_seq")
}

fn change<'o>(
    writing: &mut Writing<'_, '_>,
    output: &'o Output,
    changes: &mut Changes<'o>,
) -> Result<(), StoreError> {
    let db = writing.db;
    match &output.change {
        Change::Opened(..) => unreachable!("it is told as an opening"),
        Change::Joined(detection) => {
            let id = detection.incident.unwrap_or_default();
            let n = known(db, output, id)?;
            let before = standing(db, n)?;
            if join(writing, n, detection, changes)? {
                let text = format!("joined by {}: {}", detection.rule, detection.title);
                timeline(db, n, detection.at, "joined", Some(detection.id), &text)?;
                changes.of(n, output, "joined").detections.push(Cow::Borrowed(detection));
                rise(db, n, before, detection, output, changes)?;
            }
        }
        Change::Shadowed(detection) => {
            if store_detection(writing, None, detection)? {
                changes.count(counter::SHADOWED, 1);
                changes.count(counter::EVENTS, document::distinct(&detection.events) as i64);
            }
        }
        Change::Suppressed { detection, by } => suppress(writing, detection, by, output, changes)?,
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
            link(db, output.into(), (*incident, *to), *at, changes)?;
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

/// Opens an incident with its first detection: one row that is right at once, where neither is
/// known. An engine that began anew tells what stands here already: then it is joined, if at all.
fn open<'o>(
    writing: &mut Writing<'_, 'o>,
    opened: Opened<'o>,
    changes: &mut Changes<'o>,
) -> Result<(), StoreError> {
    let (id, at) = (opened.id(), opened.opened_at());
    let by = By { site: opened.site(), seq: opened.seq(), late: opened.late() };
    let (known_already, stands) = writing.stands(id)?;
    if known_already {
        let n = known(writing.db, by, id)?;
        let detection = opened.detection();
        if join(writing, n, &detection, changes)? {
            changes.of(n, by, "opened").detections.push(Cow::Owned(detection));
        }
    } else {
        let n = changes.next_revision();
        // The detection may stand here as one that was held back, or made in the shadow.
        let kept = !stands;
        writing.open(n, opened, kept)?;
        if kept {
            changes.opened.detections += 1;
            changes.opened.events += opened.distinct() as i64;
        }
        if changes.told {
            let detections = kept.then(|| Cow::Owned(opened.detection()));
            changes.of(n, by, "opened").detections.extend(detections);
        }
    }
    for to in opened.links() {
        writing.flush()?;
        link(writing.db, by, (id, *to), at, changes)?;
    }
    Ok(())
}

fn feeds_of(detection: &Detection) -> Vec<&str> {
    detection.events.iter().map(Evidence::feed).collect()
}

/// Events become evidence of an incident; how many that makes more.
fn cite(db: &Connection, incident: i64, events: &[Evidence]) -> Result<usize, StoreError> {
    db.prepare_cached("INSERT OR IGNORE INTO incident_event (incident, event) VALUES (?1, ?2)")
        .and_then(|mut s| {
            let one = |event| s.execute([incident, document::identity(event)]);
            events.iter().map(one).sum()
        })
        .doing("adding evidence to an incident")
}

/// Adds a detection to an incident; `false` where it is there already.
fn join(
    writing: &mut Writing<'_, '_>,
    incident: i64,
    detection: &Detection,
    changes: &mut Changes<'_>,
) -> Result<bool, StoreError> {
    let doing = "adding a detection to its incident";
    let db = writing.db;
    // What one detection cites stands with it: rows of an incident's events begin with its second.
    let sole = read::sole_document(db, incident)?;
    if !store_detection(writing, Some(incident), detection)? {
        return Ok(false);
    }
    changes.count(counter::DETECTIONS, 1);
    if let Some(sole) = sole {
        cite(db, incident, &sole.events)?;
    }
    let new = cite(db, incident, &detection.events)?;
    changes.count(counter::EVENTS, new as i64);
    let feeds: String = db
        .prepare_cached("SELECT feeds FROM incident WHERE n = ?1")
        .and_then(|mut s| s.query_row([incident], |row| row.get(0)))
        .doing(doing)?;
    let mut all = feeds_of(detection);
    all.extend(column::feeds(&feeds));
    db.prepare_cached(
        "UPDATE incident SET detections = detections + 1, events = events + ?2,
             evidence_omitted = evidence_omitted + ?3, updated_at = max(updated_at, ?4),
             severity = max(severity, ?5), verification = max(verification, ?6), feeds = ?7
         WHERE n = ?1",
    )
    .and_then(|mut s| {
        s.execute(params![
            incident,
            new,
            detection.evidence_omitted,
            detection.at.0,
            column::of_severity(detection.severity),
            detection.verification,
            column::of_feeds(all),
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
    writing: &mut Writing<'_, '_>,
    detection: &Detection,
    by: &str,
    output: &'o Output,
    changes: &mut Changes<'o>,
) -> Result<(), StoreError> {
    let (db, doing) = (writing.db, "storing what is held back");
    let incident = match detection.incident {
        Some(incident) => row_of(db, incident)?,
        None => None,
    };
    if !store_detection(writing, None, detection)? {
        return Ok(());
    }
    let n = db.last_insert_rowid();
    changes.count(counter::EVENTS, document::distinct(&detection.events) as i64);
    db.prepare_cached(
        "INSERT INTO suppressed (detection, incident, policy, at) VALUES (?1, ?2, ?3, ?4)",
    )
    .and_then(|mut s| s.execute(params![n, incident, by, detection.at.0]))
    .doing(doing)?;
    changes.count(counter::SUPPRESSED, 1);
    if let Some(incident) = incident {
        db.prepare_cached("UPDATE incident SET suppressed = suppressed + 1 WHERE n = ?1")
            .and_then(|mut s| s.execute([incident]))
            .doing(doing)?;
        changes.of(incident, output, "suppressed");
    }
    Ok(())
}

/// Adds the row of a detection that opened no incident; `false` where it is there already.
fn store_detection(
    writing: &mut Writing<'_, '_>,
    incident: Option<i64>,
    detection: &Detection,
) -> Result<bool, StoreError> {
    let (doing, id) = ("storing a detection", detection.id.to_string());
    if writing.stands(detection.id)?.1 {
        return Ok(false);
    }
    writing.stands_now(detection.id);
    document::write(detection, &mut writing.document);
    writing
        .detection
        .execute(params![
            id,
            incident,
            detection.rule,
            detection.title,
            column::of_severity(detection.severity),
            detection.site,
            detection.area,
            detection.person,
            detection.key,
            detection.at.0,
            writing.document,
        ])
        .doing(doing)?;
    Ok(true)
}

/// Links two incidents, once. An incident of another site may not be stored yet: the link waits
/// for it.
fn link<'o>(
    db: &Connection,
    by: By<'o>,
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
            changes.of(n, by, "linked");
        }
    }
    Ok(())
}

pub(super) fn row_of(db: &Connection, id: TimedId) -> Result<Option<i64>, StoreError> {
    db.prepare_cached("SELECT n FROM incident WHERE id = ?1")
        .and_then(|mut s| s.query_row([id.to_string()], |row| row.get(0)).optional())
        .doing("finding an incident")
}

fn known<'o>(db: &Connection, by: impl Into<By<'o>>, incident: TimedId) -> Result<i64, StoreError> {
    row_of(db, incident)?.ok_or_else(|| {
        let By { site, seq, .. } = by.into();
        StoreError::UnknownIncident { site: site.to_owned(), seq, incident }
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
