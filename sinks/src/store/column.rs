//! Our words as SQLite columns, and back.

use event::EventTime;
use event::identity::TimedId;
use event::incident::{IncidentState, Severity, Tier};
use rusqlite::Row;
use rusqlite::types::Type;

use super::document::{self, Document};

const STATES: [IncidentState; 6] = [
    IncidentState::Active,
    IncidentState::Acknowledged,
    IncidentState::Cleared,
    IncidentState::Closed,
    IncidentState::Shelved,
    IncidentState::Suppressed,
];

/// The store was edited by hand: no version of this program writes such a value.
fn damaged<T>(column: usize, kind: Type, value: &dyn std::fmt::Display) -> rusqlite::Result<T> {
    let text = format!("`{value}` was written by hand: restore a copy of the store");
    Err(rusqlite::Error::FromSqlConversionFailure(column, kind, text.into()))
}

pub(super) fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<TimedId> {
    let text: String = row.get(column)?;
    TimedId::parse(&text).map_or_else(|| damaged(column, Type::Text, &text), Ok)
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<EventTime> {
    row.get(column).map(EventTime)
}

pub(super) fn severity(row: &Row<'_>, column: usize) -> rusqlite::Result<Severity> {
    let number: usize = row.get(column)?;
    Severity::ALL.get(number).map_or_else(|| damaged(column, Type::Integer, &number), |s| Ok(*s))
}

pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<IncidentState> {
    let text: String = row.get(column)?;
    STATES
        .into_iter()
        .find(|s| s.as_str() == text)
        .map_or_else(|| damaged(column, Type::Text, &text), Ok)
}

pub(super) fn tier(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Tier>> {
    let text: Option<String> = row.get(column)?;
    let Some(text) = text else { return Ok(None) };
    Tier::parse(&text).map_or_else(|| damaged(column, Type::Text, &text), |tier| Ok(Some(tier)))
}

pub(super) fn document(row: &Row<'_>, column: usize) -> rusqlite::Result<Document> {
    let bytes = row.get_ref(column)?.as_blob()?;
    document::read(bytes).map_or_else(|| damaged(column, Type::Blob, &"a document"), Ok)
}

/// A number for a severity that keeps their order.
pub(super) fn of_severity(severity: Severity) -> u8 {
    severity as u8
}

/// Text where the bytes are UTF-8, else base 64.
pub(super) fn shown(raw: Vec<u8>, bytes: u64) -> String {
    match String::from_utf8(raw) {
        Ok(text) => text,
        // Cut by us in the middle of a character, not by the sender.
        Err(e) if bytes as usize > e.as_bytes().len() && e.utf8_error().error_len().is_none() => {
            String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]).into_owned()
        }
        Err(e) => format!("base64:{}", base64(e.as_bytes())),
    }
}

/// RFC 4648, part 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// The feeds of an incident's column.
pub(super) fn feeds(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').filter(|feed| !feed.is_empty())
}

/// Feeds as a column holds them: each once, in order.
pub(super) fn of_feeds(mut feeds: Vec<&str>) -> String {
    feeds.sort_unstable();
    feeds.dedup();
    feeds.join("\n")
}
