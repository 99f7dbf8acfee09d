//! The outbox as a table: rows wait for their sink in the order of their notifications.

use event::EventTime;
use event::identity::TimedId;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::StoreLimits;
use super::column;
use super::dead::{self, Class, DeadLetter};
use super::error::{Doing, StoreError};
use crate::sink::Notification;

/// One row that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) n: u64,
    pub(crate) notification: Notification,
    pub(crate) attempts: u32,
}

/// How a row leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    Dead,
}

/// Makes `names` the configured sinks.
pub(crate) fn register(db: &mut Connection, names: &[&str]) -> Result<(), StoreError> {
    let doing = "registering the sinks";
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).doing(doing)?;
    tx.execute("UPDATE sink SET configured = 0", []).doing(doing)?;
    for name in names {
        tx.execute(
            "INSERT INTO sink (name, configured) VALUES (?1, 1)
             ON CONFLICT (name) DO UPDATE SET configured = 1",
            [name],
        )
        .doing(doing)?;
    }
    tx.commit().doing(doing)
}

/// The configured sinks with their row numbers.
pub(crate) fn configured(db: &Connection) -> Result<Vec<(i64, String)>, StoreError> {
    db.prepare_cached("SELECT n, name FROM sink WHERE configured = 1 ORDER BY n")
        .and_then(|mut s| s.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .doing("reading the sinks")
}

/// Appends a notification to a sink's rows.
pub(super) fn push(db: &Connection, sink: i64, notification: i64) -> Result<(), StoreError> {
    let doing = "filling the outbox";
    db.prepare_cached("INSERT INTO outbox (sink, notification) VALUES (?1, ?2)")
        .and_then(|mut s| s.execute([sink, notification]))
        .doing(doing)?;
    db.prepare_cached("UPDATE sink SET pending = pending + 1 WHERE n = ?1")
        .and_then(|mut s| s.execute([sink]))
        .map(|_| ())
        .doing(doing)
}

/// How many rows wait for a sink.
pub(super) fn pending(db: &Connection, sink: i64) -> Result<u64, StoreError> {
    db.prepare_cached("SELECT pending FROM sink WHERE n = ?1")
        .and_then(|mut s| s.query_row([sink], |row| row.get(0)))
        .doing("reading the outbox")
}

/// The oldest rows of a sink.
pub(crate) fn waiting(
    db: &Connection,
    sink: i64,
    limit: usize,
) -> Result<Vec<Waiting>, StoreError> {
    db.prepare_cached(
        "SELECT o.notification, n.id, n.incident, n.body, o.attempts
         FROM outbox o JOIN notification n ON n.n = o.notification
         WHERE o.sink = ?1 ORDER BY o.notification LIMIT ?2",
    )
    .and_then(|mut s| {
        s.query_map(params![sink, limit], |row| {
            let notification =
                Notification { id: row.get(1)?, incident: column::id(row, 2)?, body: row.get(3)? };
            Ok(Waiting { n: row.get(0)?, notification, attempts: row.get(4)? })
        })?
        .collect()
    })
    .doing("reading the outbox")
}

/// Takes a row out, and its notification with the last of its rows. `false` where it was gone:
/// the store buried it meanwhile as one too many.
pub(super) fn remove(
    db: &Connection,
    sink: i64,
    notification: u64,
    fate: Fate,
) -> Result<bool, StoreError> {
    let doing = "emptying the outbox";
    let removed = db
        .prepare_cached("DELETE FROM outbox WHERE sink = ?1 AND notification = ?2")
        .and_then(|mut s| s.execute(params![sink, notification]))
        .doing(doing)?;
    if removed == 0 {
        return Ok(false);
    }
    let (delivered, buried) = (u8::from(fate == Fate::Delivered), u8::from(fate == Fate::Dead));
    db.prepare_cached(
        "UPDATE sink SET pending = pending - 1, delivered = delivered + ?2, dead = dead + ?3
         WHERE n = ?1",
    )
    .and_then(|mut s| s.execute(params![sink, delivered, buried]))
    .doing(doing)?;
    let open: Option<i64> = db
        .prepare_cached("UPDATE notification SET open = open - 1 WHERE n = ?1 RETURNING open")
        .and_then(|mut s| s.query_row([notification], |row| row.get(0)).optional())
        .doing(doing)?;
    if open.is_some_and(|open| open <= 0) {
        db.prepare_cached("DELETE FROM notification WHERE n = ?1")
            .and_then(|mut s| s.execute([notification]))
            .doing(doing)?;
    }
    Ok(true)
}

/// The sink has it.
pub(crate) fn delivered(db: &mut Connection, sink: i64, row: &Waiting) -> Result<(), StoreError> {
    let doing = "noting a delivery";
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).doing(doing)?;
    remove(&tx, sink, row.n, Fate::Delivered)?;
    tx.commit().doing(doing)
}

/// It failed once more, and stays.
pub(crate) fn failed(db: &Connection, sink: i64, row: &Waiting) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE outbox SET attempts = attempts + 1 WHERE sink = ?1 AND notification = ?2",
    )
    .and_then(|mut s| s.execute(params![sink, row.n]))
    .map(|_| ())
    .doing("noting a failed delivery")
}

/// It will not be tried again.
pub(crate) fn bury(
    db: &mut Connection,
    (sink, name): (i64, &str),
    row: &Waiting,
    reason: &str,
    at: EventTime,
) -> Result<(), StoreError> {
    let doing = "burying a notification";
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).doing(doing)?;
    if remove(&tx, sink, row.n, Fate::Dead)? {
        let letter = DeadLetter {
            source: name.to_owned(),
            position: row.n,
            reason: reason.to_owned(),
            raw: row.notification.body.clone().into_bytes(),
            at,
        };
        dead::keep(&tx, Class::Notification, &letter)?;
        dead::trim(&tx, Class::Notification, &StoreLimits::default())?;
    }
    tx.commit().doing(doing)
}

/// The event time that an id begins with.
pub(super) fn time_of(id: TimedId) -> EventTime {
    EventTime::from_millis((id.0 >> 80) as i64)
}
