//! The read side of the store: a connection of its own, which never waits for the writer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use event::EventTime;
use event::identity::TimedId;
use event::incident::Evidence;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params, params_from_iter};

use super::dead::Class;
use super::document::Document;
use super::error::{Doing, StoreError};
use super::figures::{self, AlarmFigures};
use super::view::{
    Counts, DeadLetterView, DetectionView, Filter, IncidentDetail, IncidentSummary, LinkedIncident,
    Opening, Page, ShelfView, SinkCounts, SuppressedView, TimelineEntry,
};
use super::{column, counter, file};
use crate::limits;

const SUMMARY: &str = "SELECT n, id, rule, title, severity, site, area, person, state, opened_at, \
     updated_at, detections, events, evidence_omitted, config_hash, revision, verification, suppressed, late, assigned, disposition, stale_at, feeds FROM incident";

/// Reads the store while it is being written. Shared between threads; they take turns.
#[derive(Debug)]
pub struct Reader {
    db: Mutex<Connection>,
}

impl Reader {
    /// Opens a store that [`super::Store::open`] has made.
    ///
    /// # Errors
    /// There is none, or its schema is not this program's.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Ok(Self { db: Mutex::new(file::open_for_reading(path.as_ref())?) })
    }

    /// Incidents by time of opening, newest first; `cursor` is the `next` of the page before.
    ///
    /// # Errors
    /// The cursor is none of this list, or SQLite refused.
    pub fn incidents(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<IncidentSummary>, StoreError> {
        let limit = limit.clamp(1, limits::PAGE_ITEMS_MAX);
        let (condition, mut values) = condition(filter, cursor)?;
        values.push(Value::Integer(limit as i64 + 1));
        let sql = format!("{SUMMARY}{condition} ORDER BY id DESC LIMIT ?");
        let db = self.lock();
        let db = db.unchecked_transaction().doing("listing incidents")?;
        let mut items = summaries(&db, &sql, params_from_iter(values))?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|i| i.id.to_string());
        Ok(Page { items, next })
    }

    /// Incidents in the order in which they were stored, those behind the `n` of the last one known;
    /// at most [`limits::CHANGES_MAX`].
    ///
    /// # Errors
    /// SQLite refused.
    pub fn opened_after(&self, n: i64) -> Result<Vec<Opening>, StoreError> {
        rows(
            &self.lock(),
            "SELECT n, id, rule, opened_at, concluded_at FROM incident
             WHERE n > ?1 ORDER BY n LIMIT ?2",
            params![n, limits::CHANGES_MAX],
            |row| {
                Ok(Opening {
                    n: row.get(0)?,
                    id: column::id(row, 1)?,
                    rule: row.get(2)?,
                    opened_at: column::time(row, 3)?,
                    concluded_at: row.get::<_, Option<i64>>(4)?.map(EventTime),
                })
            },
        )
    }

    /// One incident, all of it as of one moment.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn incident(&self, id: TimedId) -> Result<Option<IncidentDetail>, StoreError> {
        let db = self.lock();
        let db = db.unchecked_transaction().doing("reading an incident")?;
        let n: Option<i64> = db
            .query_row("SELECT n FROM incident WHERE id = ?1", [id.to_string()], |row| row.get(0))
            .optional()
            .doing("reading an incident")?;
        n.map(|n| {
            let incident = summary_of(&db, n)?;
            let (detections, events) = told(&db, n, &incident)?;
            Ok(IncidentDetail {
                detections,
                events,
                timeline: timeline(&db, n, &incident)?,
                incident,
                links: links(&db, id)?,
                suppressed: suppressed_on(&db, n)?,
            })
        })
        .transpose()
    }

    /// Incidents that changed after `revision`, in the order of their last change, and the revision
    /// to ask with next. At most [`limits::CHANGES_MAX`]: ask again until none comes.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn changed_since(&self, revision: u64) -> Result<(Vec<IncidentSummary>, u64), StoreError> {
        // What has not changed since it was born has the revision for its number.
        let sql = format!(
            "SELECT * FROM (
                 SELECT * FROM ({SUMMARY} WHERE n > ?1 AND revision = n ORDER BY n LIMIT ?2)
                 UNION ALL SELECT * FROM (
                     {SUMMARY} WHERE revision > ?1 AND revision <> n ORDER BY revision LIMIT ?2))
             ORDER BY revision LIMIT ?2"
        );
        let db = self.lock();
        let db = db.unchecked_transaction().doing("reading changes")?;
        let items = summaries(&db, &sql, params![revision, limits::CHANGES_MAX])?;
        let next = items.last().map_or(revision, |i| i.revision);
        Ok((items, next))
    }

    /// The newest dead letters.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetterView>, StoreError> {
        let shown = limits::DEAD_LETTER_SHOWN_BYTES_MAX;
        rows(
            &self.lock(),
            "SELECT class, source, position, reason, coalesce(substr(raw, 1, ?1), x''), length(raw), at
             FROM dead_letter ORDER BY n DESC LIMIT ?2",
            params![shown, limit.min(limits::PAGE_ITEMS_MAX)],
            |row| {
                let (raw, bytes): (Vec<u8>, u64) = (row.get(4)?, row.get(5)?);
                Ok(DeadLetterView {
                    class: row.get(0)?,
                    source: row.get(1)?,
                    position: row.get(2)?,
                    reason: row.get(3)?,
                    raw: column::shown(raw, bytes),
                    bytes,
                    at: column::time(row, 6)?,
                })
            },
        )
    }

    /// Rules that are shelved, those first that end first.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn shelves(&self) -> Result<Vec<ShelfView>, StoreError> {
        rows(
            &self.lock(),
            "SELECT site, rule, key, at, until, author, reason FROM shelf ORDER BY until, rule, key",
            [],
            |row| {
                Ok(ShelfView {
                    site: row.get(0)?,
                    rule: row.get(1)?,
                    key: row.get(2)?,
                    at: column::time(row, 3)?,
                    until: column::time(row, 4)?,
                    by: row.get(5)?,
                    reason: row.get(6)?,
                })
            },
        )
    }

    /// Figures of alarm management, over all that the store holds.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn alarm_figures(&self, flood: Option<&str>) -> Result<AlarmFigures, StoreError> {
        let db = self.lock();
        let db = db.unchecked_transaction().doing("reading figures")?;
        figures::read(&db, flood)
    }

    /// The newest detections that policies held back, those on no incident included.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn suppressed(&self, limit: usize) -> Result<Vec<SuppressedView>, StoreError> {
        rows(
            &self.lock(),
            "SELECT d.id, s.policy, d.rule, d.title, d.severity, d.site, d.area, d.key, d.at, i.id
             FROM suppressed s JOIN detection d ON d.n = s.detection
             LEFT JOIN incident i ON i.n = s.incident ORDER BY s.at DESC, d.id DESC LIMIT ?1",
            [limit.min(limits::PAGE_ITEMS_MAX)],
            |row| {
                let incident: Option<String> = row.get(9)?;
                Ok(SuppressedView {
                    id: column::id(row, 0)?,
                    by: row.get(1)?,
                    rule: row.get(2)?,
                    title: row.get(3)?,
                    severity: column::severity(row, 4)?,
                    site: row.get(5)?,
                    area: row.get(6)?,
                    key: row.get(7)?,
                    at: column::time(row, 8)?,
                    incident: incident.as_deref().and_then(TimedId::parse),
                })
            },
        )
    }

    /// What the store holds, as of one moment.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let db = self.lock();
        let db = db.unchecked_transaction().doing("counting")?;
        let count = |name| counter::get(&db, name).map(|value| value as u64);
        let mut counts = Counts {
            detections: count(counter::DETECTIONS)?,
            shadowed: count(counter::SHADOWED)?,
            suppressed: count(counter::SUPPRESSED)?,
            events: count(counter::EVENTS)?,
            sinks: sinks(&db)?,
            revision: count(counter::REVISION)?,
            ..Counts::default()
        };
        for class in Class::ALL {
            let [kept, _, dropped] = class.counters();
            counts.dead_letters.insert(class.as_str().to_owned(), count(kept)?);
            counts.dead_letters_dropped.insert(class.as_str().to_owned(), count(dropped)?);
        }
        // Along one index, which has all three.
        let sql = "SELECT state, severity, rule FROM incident ORDER BY id";
        let doing = "counting incidents";
        let mut incidents = db.prepare_cached(sql).doing(doing)?;
        let mut incidents = incidents.query([]).doing(doing)?;
        while let Some(row) = incidents.next().doing(doing)? {
            counts.add(row).doing(doing)?;
        }
        Ok(counts)
    }

    /// A reader that panicked left nothing half done: reading changes nothing.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Counts one more incident.
    fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let (state, rule) = (row.get_ref(0)?.as_str()?, row.get_ref(2)?.as_str()?);
        let severity = column::severity(row, 1)?.as_str();
        self.incidents += 1;
        for (counts, name) in [
            (&mut self.incidents_by_state, state),
            (&mut self.incidents_by_severity, severity),
            (&mut self.incidents_by_rule, rule),
        ] {
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => _ = counts.insert(name.to_owned(), 1),
            }
        }
        Ok(())
    }
}

/// The configured sinks with their counts.
pub(crate) fn sinks(db: &Connection) -> Result<Vec<SinkCounts>, StoreError> {
    rows(
        db,
        "SELECT name, pending, delivered, dead FROM sink WHERE configured = 1 ORDER BY n",
        [],
        |row| {
            Ok(SinkCounts {
                name: row.get(0)?,
                pending: row.get(1)?,
                delivered: row.get(2)?,
                dead: row.get(3)?,
            })
        },
    )
}

/// The incident of a row.
pub(super) fn summary_of(db: &Connection, n: i64) -> Result<IncidentSummary, StoreError> {
    summaries(db, &format!("{SUMMARY} WHERE n = ?1"), [n])?
        .pop()
        .ok_or(rusqlite::Error::QueryReturnedNoRows)
        .doing("reading an incident")
}

/// `WHERE …` and its values, for a filter behind a cursor.
fn condition(filter: &Filter, cursor: Option<&str>) -> Result<(String, Vec<Value>), StoreError> {
    let mut parts = Vec::new();
    let mut values = Vec::new();
    let mut narrow = |sql: &'static str, value: Value| {
        parts.push(sql);
        values.extend(std::iter::repeat_n(value, sql.matches('?').count()));
    };
    if let Some(cursor) = cursor {
        let id = TimedId::parse(cursor)
            .ok_or_else(|| StoreError::Cursor { cursor: cursor.chars().take(64).collect() })?;
        narrow("id < ?", Value::Text(id.to_string()));
    }
    if let Some(state) = filter.state {
        narrow("state = ?", Value::Text(state.as_str().to_owned()));
    }
    if let Some(severity) = filter.severity {
        narrow("severity = ?", Value::Integer(i64::from(column::of_severity(severity))));
    }
    if filter.stale == Some(true) {
        let sql = "stale_at > ? AND state IN ('active', 'acknowledged')";
        narrow(sql, Value::Integer(i64::MIN));
    }
    if let Some(site) = &filter.site {
        narrow("site = ?", Value::Text(site.clone()));
    }
    if let Some(rule) = &filter.rule {
        narrow("rule = ?", Value::Text(rule.clone()));
    }
    if let Some(text) = filter.text.as_deref().filter(|t| !t.is_empty()) {
        let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        narrow(
            "(title LIKE ? ESCAPE '\\' OR rule LIKE ? ESCAPE '\\' OR site LIKE ? ESCAPE '\\' OR \
             area LIKE ? ESCAPE '\\' OR person LIKE ? ESCAPE '\\' OR id LIKE ? ESCAPE '\\')",
            Value::Text(format!("%{escaped}%")),
        );
    }
    let sql =
        if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) };
    Ok((sql, values))
}

fn summaries(
    db: &Connection,
    sql: &str,
    values: impl Params,
) -> Result<Vec<IncidentSummary>, StoreError> {
    let mut found: Vec<(i64, IncidentSummary)> =
        rows(db, sql, values, |row| Ok((row.get(0)?, summary(row)?)))?;
    for (_, incident) in &mut found {
        incident.links = links(db, incident.id)?.into_iter().map(|l| l.id).collect();
    }
    Ok(found.into_iter().map(|(_, incident)| incident).collect())
}

fn summary(row: &Row<'_>) -> rusqlite::Result<IncidentSummary> {
    Ok(IncidentSummary {
        id: column::id(row, 1)?,
        rule: row.get(2)?,
        title: row.get(3)?,
        severity: column::severity(row, 4)?,
        site: row.get(5)?,
        area: row.get(6)?,
        person: row.get(7)?,
        state: column::state(row, 8)?,
        opened_at: column::time(row, 9)?,
        updated_at: column::time(row, 10)?,
        detections: row.get(11)?,
        events: row.get(12)?,
        evidence_omitted: row.get(13)?,
        config_hash: row.get(14)?,
        revision: row.get(15)?,
        verification: row.get(16)?,
        suppressed: row.get(17)?,
        late: column::tier(row, 18)?,
        assigned: row.get(19)?,
        disposition: row.get(20)?,
        stale_at: row.get::<_, Option<i64>>(21)?.map(EventTime),
        feeds: column::feeds(row.get_ref(22)?.as_str()?).map(str::to_owned).collect(),
        links: Vec::new(),
    })
}

/// What is held back and shown on an incident, counted by policy.
fn suppressed_on(db: &Connection, incident: i64) -> Result<BTreeMap<String, u64>, StoreError> {
    let counts = rows(
        db,
        "SELECT policy, count(*) FROM suppressed WHERE incident = ?1 GROUP BY policy",
        [incident],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(counts.into_iter().collect())
}

/// An incident's detections, and the evidence of those, each event once; both by time.
fn told(
    db: &Connection,
    n: i64,
    incident: &IncidentSummary,
) -> Result<(Vec<DetectionView>, Vec<Evidence>), StoreError> {
    let mut found = rows(
        db,
        "SELECT id, rule, title, at, document FROM detection WHERE incident = ?1
         ORDER BY at, id LIMIT ?2",
        params![n, limits::DETAIL_ROWS_MAX],
        |row| {
            let (id, at) = (column::id(row, 0)?, column::time(row, 3)?);
            Ok((id, row.get(1)?, row.get(2)?, at, column::document(row, 4)?))
        },
    )?;
    if let Some(document) = opening(db, n)? {
        let (rule, title) = (incident.rule.clone(), incident.title.clone());
        found.push((incident.id, rule, title, incident.opened_at, document));
    }
    found.sort_by_key(|(id, _, _, at, _)| (*at, *id));
    found.truncate(limits::DETAIL_ROWS_MAX);
    let mut events = Vec::new();
    let detections = found
        .into_iter()
        .map(|(id, rule, title, at, document)| {
            let Document { severity, late, evidence_omitted, key, why, events: cited } = document;
            let ids = cited.iter().map(|event| event.id().to_owned()).collect();
            events.extend(cited);
            DetectionView {
                id,
                rule,
                title,
                severity,
                key,
                at,
                events: ids,
                evidence_omitted,
                why,
                late,
            }
        })
        .collect();
    let order = |event: &Evidence| (event.occurred, event.id().to_owned(), event.kind().to_owned());
    events.sort_by_cached_key(order);
    events.dedup_by(|a, b| (a.occurred, a.id(), a.kind()) == (b.occurred, b.id(), b.kind()));
    events.truncate(limits::DETAIL_ROWS_MAX);
    Ok((detections, events))
}

/// The document of the detection that opened an incident, where it stands there.
fn opening(db: &Connection, incident: i64) -> Result<Option<Document>, StoreError> {
    db.prepare_cached("SELECT opening FROM incident WHERE n = ?1 AND opening IS NOT NULL")
        .and_then(|mut s| s.query_row([incident], |row| column::document(row, 0)).optional())
        .doing("reading an incident's detection")
}

/// The document of an incident's only detection; `None` where it has none, or several.
pub(super) fn sole_document(
    db: &Connection,
    incident: i64,
) -> Result<Option<Document>, StoreError> {
    db.prepare_cached(
        "SELECT coalesce(i.opening, (SELECT document FROM detection WHERE incident = i.n))
         FROM incident i WHERE i.n = ?1 AND i.detections = 1",
    )
    .and_then(|mut s| s.query_row([incident], |row| column::document(row, 0)).optional())
    .doing("reading an incident's detection")
}

/// How it was opened, then what stands of it.
fn timeline(
    db: &Connection,
    n: i64,
    incident: &IncidentSummary,
) -> Result<Vec<TimelineEntry>, StoreError> {
    let opened = TimelineEntry {
        at: incident.opened_at,
        what: "opened".to_owned(),
        subject: Some(incident.id),
        text: format!("opened by {}: {}", incident.rule, incident.title),
        by: None,
    };
    let rest = rows(
        db,
        "SELECT at, what, subject, text, author FROM timeline WHERE incident = ?1 ORDER BY n LIMIT ?2",
        params![n, limits::DETAIL_ROWS_MAX],
        |row| {
            let subject: Option<String> = row.get(2)?;
            Ok(TimelineEntry {
                at: column::time(row, 0)?,
                what: row.get(1)?,
                subject: subject.as_deref().and_then(TimedId::parse),
                text: row.get(3)?,
                by: row.get(4)?,
            })
        },
    )?;
    Ok(std::iter::once(opened).chain(rest).collect())
}

fn links(db: &Connection, id: TimedId) -> Result<Vec<LinkedIncident>, StoreError> {
    rows(
        db,
        "SELECT l.other, min(l.at), i.rule, i.title, i.site
         FROM (SELECT linked AS other, at FROM link WHERE incident = ?1
               UNION ALL SELECT incident, at FROM link WHERE linked = ?1) l
         LEFT JOIN incident i ON i.id = l.other GROUP BY l.other ORDER BY l.other LIMIT ?2",
        params![id.to_string(), limits::DETAIL_ROWS_MAX],
        |row| {
            Ok(LinkedIncident {
                id: column::id(row, 0)?,
                at: column::time(row, 1)?,
                rule: row.get(2)?,
                title: row.get(3)?,
                site: row.get(4)?,
            })
        },
    )
}

/// Runs a query and maps its rows.
pub(super) fn rows<T>(
    db: &Connection,
    sql: &str,
    values: impl Params,
    map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    db.prepare_cached(sql)
        .and_then(|mut s| s.query_map(values, map)?.collect())
        .doing("reading the store")
}
