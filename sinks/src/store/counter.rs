//! Counts that the store carries along, because counting rows would scan them.

use rusqlite::{Connection, OptionalExtension, params};

use super::error::{Doing, StoreError};

/// Grows with every change of every incident: what `changed_since` goes by.
pub(super) const REVISION: &str = "revision";
/// Detections of rules in mode `live`.
pub(super) const DETECTIONS: &str = "detections";
/// Detections of rules in mode `shadow`.
pub(super) const SHADOWED: &str = "shadowed";
/// Detections that policies held back.
pub(super) const SUPPRESSED: &str = "suppressed";
/// Events kept as evidence, once for each incident that they are of.
pub(super) const EVENTS: &str = "events";

/// Adds to a counter and returns its new value.
pub(super) fn add(db: &Connection, name: &str, delta: i64) -> Result<i64, StoreError> {
    db.prepare_cached(
        "INSERT INTO counter (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = value + excluded.value RETURNING value",
    )
    .and_then(|mut s| s.query_row(params![name, delta], |row| row.get(0)))
    .doing("counting in the store")
}

/// A counter's value; 0 when nothing was counted yet.
pub(super) fn get(db: &Connection, name: &str) -> Result<i64, StoreError> {
    db.prepare_cached("SELECT value FROM counter WHERE name = ?1")
        .and_then(|mut s| s.query_row([name], |row| row.get(0)).optional())
        .map(Option::unwrap_or_default)
        .doing("reading a count of the store")
}
