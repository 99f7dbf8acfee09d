//! What operators do, as rows: states, shelves, and who did what and why in the timeline.

use event::EventTime;
use event::control::{Act, IncidentAct};
use event::incident::{Change, IncidentState, Output};
use rusqlite::{Connection, params};

use super::commit::{Changes, row_of, set_state, standing};
use super::error::{Doing, StoreError};

/// Applies an act, the end of a shelf, or an incident's becoming stale. What is of an incident that
/// the store does not know changes nothing.
pub(super) fn apply<'o>(
    db: &Connection,
    output: &'o Output,
    changes: &mut Changes<'o>,
) -> Result<(), StoreError> {
    match &output.change {
        Change::Acted { at, act: IncidentAct { incident, act, .. }, by, reason } => {
            let Some(n) = row_of(db, *incident)? else { return Ok(()) };
            let (what, text) = done(db, n, act)?;
            let text = if reason.is_empty() { text } else { format!("{text}: {reason}") };
            timeline(db, n, *at, what, by, &text)?;
            changes.of(n, output, what);
        }
        Change::Unshelved { incident, at } => {
            let Some(n) = row_of(db, *incident)? else { return Ok(()) };
            unshelve(db, n)?;
            timeline(db, n, *at, "unshelved", "", "its shelf has ended")?;
            changes.of(n, output, "unshelved");
        }
        Change::Stale { incident, at } => {
            let Some(n) = row_of(db, *incident)? else { return Ok(()) };
            db.prepare_cached("UPDATE incident SET stale_at = ?2 WHERE n = ?1")
                .and_then(|mut s| s.execute(params![n, at.0]))
                .doing("marking an incident stale")?;
            timeline(db, n, *at, "stale", "", "active for longer than it should be")?;
            changes.of(n, output, "stale");
        }
        Change::Shelf { rule, key, at, until, by, reason } => {
            let doing = "storing a shelf";
            let place = params![output.site, rule, key];
            db.prepare_cached("DELETE FROM shelf WHERE site = ?1 AND rule = ?2 AND key = ?3")
                .and_then(|mut s| s.execute(place))
                .doing(doing)?;
            if let Some(until) = until {
                db.prepare_cached(
                    "INSERT INTO shelf (site, rule, key, at, until, author, reason)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )
                .and_then(|mut s| {
                    s.execute(params![output.site, rule, key, at.0, until.0, by, reason])
                })
                .doing(doing)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// What the timeline says of an act, once it is done.
fn done(db: &Connection, n: i64, act: &Act) -> Result<(&'static str, String), StoreError> {
    let (_, state) = standing(db, n)?;
    Ok(match act {
        Act::Acknowledge => {
            match state {
                IncidentState::Active => set_state(db, n, IncidentState::Acknowledged)?,
                IncidentState::Shelved => back_to(db, n, IncidentState::Acknowledged)?,
                _ => {}
            }
            ("acknowledged", "acknowledged".to_owned())
        }
        Act::Assign(to) => {
            db.prepare_cached("UPDATE incident SET assigned = ?2 WHERE n = ?1")
                .and_then(|mut s| s.execute(params![n, to]))
                .doing("assigning an incident")?;
            ("assigned", format!("assigned to {to}"))
        }
        Act::Close(disposition) => {
            let word = disposition.as_str();
            db.prepare_cached("UPDATE incident SET disposition = ?2 WHERE n = ?1")
                .and_then(|mut s| s.execute(params![n, word]))
                .doing("closing an incident")?;
            set_state(db, n, IncidentState::Closed)?;
            ("closed", format!("closed as {}", word.replace('-', " ")))
        }
        Act::Shelve(span) => {
            if !matches!(state, IncidentState::Shelved | IncidentState::Closed) {
                back_to(db, n, state)?;
                set_state(db, n, IncidentState::Shelved)?;
            }
            ("shelved", format!("shelved for {span}"))
        }
        Act::Unshelve => {
            unshelve(db, n)?;
            ("unshelved", "taken up again".to_owned())
        }
    })
}

/// Notes what a shelved incident goes back to.
fn back_to(db: &Connection, n: i64, state: IncidentState) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE incident SET unshelved_state = ?2 WHERE n = ?1")
        .and_then(|mut s| s.execute(params![n, state.as_str()]))
        .map(|_| ())
        .doing("shelving an incident")
}

/// The condition of a shelved incident has gone.
pub(super) fn clear_shelved(db: &Connection, n: i64) -> Result<(), StoreError> {
    back_to(db, n, IncidentState::Cleared)
}

fn unshelve(db: &Connection, n: i64) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE incident SET state = coalesce(unshelved_state, state), unshelved_state = NULL
         WHERE n = ?1 AND state = 'shelved'",
    )
    .and_then(|mut s| s.execute([n]))
    .map(|_| ())
    .doing("taking up a shelved incident")
}

fn timeline(
    db: &Connection,
    incident: i64,
    at: EventTime,
    what: &str,
    by: &str,
    text: &str,
) -> Result<(), StoreError> {
    let author = (!by.is_empty()).then_some(by);
    db.prepare_cached(
        "INSERT INTO timeline (incident, at, what, text, author) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .and_then(|mut s| s.execute(params![incident, at.0, what, text, author]))
    .map(|_| ())
    .doing("storing a timeline")
}
