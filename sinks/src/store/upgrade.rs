//! Bringing an older store's rows into documents: what SQL alone cannot do.

use event::identity::TimedId;
use event::incident::{Detection, Evidence, Said};
use rusqlite::{Connection, params};

use super::{column, document};

/// Behind the tables of schema 7, from those of schema 6: each detection with its evidence.
pub(super) fn into_documents(db: &Connection) -> rusqlite::Result<()> {
    let mut detections = db.prepare(
        "SELECT d.n, d.id, d.incident, d.rule, d.title, d.severity, d.site, d.area, d.person, d.key,
                d.at, d.evidence_omitted, d.why, d.late, i.id, i.detections
         FROM detection d LEFT JOIN incident i ON i.n = d.incident ORDER BY d.n",
    )?;
    let mut events = db.prepare(
        "SELECT e.id, e.feed, e.kind, e.device, e.occurred, e.recorded, e.raw
         FROM detection d JOIN json_each(d.events) cited
         JOIN event e ON e.n = cited.value WHERE d.n = ?1 ORDER BY cited.key",
    )?;
    let mut opening = db.prepare("UPDATE incident SET opening = ?2 WHERE n = ?1")?;
    let mut further = db.prepare(
        "INSERT INTO further (n, id, incident, rule, title, severity, site, area, person, key, at,
             document) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    let mut cite = db.prepare("INSERT OR IGNORE INTO cited (incident, event) VALUES (?1, ?2)")?;
    let (mut bytes, mut kept) = (Vec::new(), 0);
    let mut rows = detections.query([])?;
    while let Some(row) = rows.next()? {
        let (n, incident): (i64, Option<i64>) = (row.get(0)?, row.get(2)?);
        let (why, opened): (String, Option<String>) = (row.get(12)?, row.get(14)?);
        let cited = events.query_map([n], evidence)?.collect::<rusqlite::Result<Vec<_>>>()?;
        let detection = Detection {
            id: column::id(row, 1)?,
            rule: row.get(3)?,
            title: row.get(4)?,
            severity: column::severity(row, 5)?,
            site: row.get(6)?,
            area: row.get(7)?,
            person: row.get(8)?,
            key: row.get(9)?,
            at: column::time(row, 10)?,
            events: cited,
            evidence_omitted: row.get(11)?,
            why: serde_json::from_str(&why).unwrap_or_default(),
            incident: opened.as_deref().and_then(TimedId::parse),
            verification: 0,
            late: column::tier(row, 13)?,
        };
        document::write(&detection, &mut bytes);
        if let Some(incident) = incident
            && row.get::<_, u64>(15)? > 1
        {
            for event in &detection.events {
                cite.execute(params![incident, document::identity(event)])?;
            }
        }
        if detection.incident == Some(detection.id) {
            opening.execute(params![incident, bytes])?;
            continue;
        }
        if incident.is_none() {
            kept += document::distinct(&detection.events);
        }
        further.execute(params![
            n,
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
            bytes
        ])?;
    }
    db.execute(
        "UPDATE counter SET value = ?1 + (SELECT total(events) FROM incident) WHERE name = 'events'",
        [kept],
    )?;
    db.execute_batch(
        "DROP TABLE incident_event;
         DROP TABLE detection;
         DROP TABLE event;
         ALTER TABLE further RENAME TO detection;
         ALTER TABLE cited RENAME TO incident_event;
         CREATE INDEX detection_by_incident ON detection (incident, at, id)
             WHERE incident IS NOT NULL;",
    )
}

fn evidence(row: &rusqlite::Row<'_>) -> rusqlite::Result<Evidence> {
    let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str()?);
    let said = Said { feed: text(1)?, kind: text(2)?, device: text(3)?, raw: text(6)? };
    let (occurred, recorded) = (column::time(row, 4)?, column::time(row, 5)?);
    Ok(Evidence::new(&[text(0)?], said, occurred, recorded))
}
