//! Dead letters: deliveries that became no event, notifications that found no receiver.

use event::EventTime;
use rusqlite::{Connection, OptionalExtension, params};

use super::StoreLimits;
use super::counter;
use super::error::{Doing, StoreError};

/// One delivery that was refused, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The source's id in the configuration.
    pub source: String,
    /// Where its record stands; with `source` it tells a repeat.
    pub position: u64,
    /// Why ([`event::RejectReason::as_str`], or a sentence).
    pub reason: String,
    /// The bytes as they came.
    pub raw: Vec<u8>,
    /// When it was recorded.
    pub at: EventTime,
}

/// What a dead letter was. Each class has limits of its own: a flood of garbage from one source
/// must not push out the incidents that nobody was told of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It came in.
    Delivery,
    /// It should have gone out.
    Notification,
}

impl Class {
    pub(super) const ALL: [Self; 2] = [Self::Delivery, Self::Notification];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Notification => "notification",
        }
    }

    /// Names of the counters of rows kept, bytes kept, rows dropped.
    pub(super) const fn counters(self) -> [&'static str; 3] {
        match self {
            Self::Delivery => ["dead_deliveries", "dead_delivery_bytes", "dead_deliveries_dropped"],
            Self::Notification => {
                ["dead_notifications", "dead_notification_bytes", "dead_notifications_dropped"]
            }
        }
    }
}

/// Keeps one; the same place of the same source again replaces it.
pub(crate) fn keep(db: &Connection, class: Class, letter: &DeadLetter) -> Result<(), StoreError> {
    let doing = "keeping a dead letter";
    let [rows, bytes, _] = class.counters();
    let place = params![class.as_str(), letter.source, letter.position];
    let before: Option<i64> = db
        .prepare_cached(
            "SELECT length(raw) FROM dead_letter
             WHERE class = ?1 AND source = ?2 AND position = ?3",
        )
        .and_then(|mut s| s.query_row(place, |row| row.get(0)).optional())
        .doing(doing)?;
    db.prepare_cached(
        "INSERT INTO dead_letter (class, source, position, reason, raw, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (class, source, position)
         DO UPDATE SET reason = excluded.reason, raw = excluded.raw, at = excluded.at",
    )
    .and_then(|mut s| {
        s.execute(params![
            class.as_str(),
            letter.source,
            letter.position,
            letter.reason,
            letter.raw,
            letter.at.0
        ])
    })
    .doing(doing)?;
    counter::add(db, rows, i64::from(before.is_none()))?;
    counter::add(db, bytes, letter.raw.len() as i64 - before.unwrap_or(0))?;
    Ok(())
}

/// Drops the oldest above the limits, and counts them.
pub(crate) fn trim(db: &Connection, class: Class, limits: &StoreLimits) -> Result<(), StoreError> {
    let doing = "dropping the oldest dead letters";
    let names = class.counters();
    let mut rows = counter::get(db, names[0])?;
    let mut bytes = counter::get(db, names[1])?;
    let (rows_max, bytes_max) = (limits.dead_letters_max, limits.dead_letter_bytes_max);
    let mut dropped = 0;
    while rows as u64 > rows_max || bytes as u64 > bytes_max {
        let oldest: Option<(i64, i64)> = db
            .prepare_cached(
                "SELECT n, length(raw) FROM dead_letter WHERE class = ?1 ORDER BY n LIMIT 1",
            )
            .and_then(|mut s| {
                s.query_row([class.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .doing(doing)?;
        let Some((n, length)) = oldest else { break };
        db.prepare_cached("DELETE FROM dead_letter WHERE n = ?1")
            .and_then(|mut s| s.execute([n]))
            .doing(doing)?;
        rows -= 1;
        bytes -= length;
        dropped += 1;
        counter::add(db, names[1], -length)?;
    }
    if dropped > 0 {
        counter::add(db, names[0], -dropped)?;
        counter::add(db, names[2], dropped)?;
    }
    Ok(())
}
