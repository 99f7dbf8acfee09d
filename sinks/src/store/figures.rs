//! Figures of alarm management: how many alarms people get, and of which kinds (EEMUA 191, ISA-18.2).

use std::collections::BTreeMap;

use event::EventTime;
use rusqlite::Connection;
use serde::Serialize;

use super::column;
use super::error::StoreError;
use super::read::rows;

/// Ten minutes, the span that the trade counts by.
const SPAN: i64 = 600_000_000;
const DAY: i64 = 86_400_000_000;

/// Figures over all incidents that the store holds, in event time. An alarm is an incident that
/// opened: what joins one, or is held back, calls nobody anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AlarmFigures {
    /// Since when.
    pub from: Option<EventTime>,
    /// Until when: the newest change of any incident.
    pub until: Option<EventTime>,
    /// Incidents opened.
    pub alarms: u64,
    /// On average in ten minutes, for one operator: at most 1 is very likely to be acceptable.
    pub per_10_minutes: f64,
    /// The most in any ten minutes of the clock: a flood is 10.
    pub per_10_minutes_max: u64,
    /// On average in a day: about 144 are acceptable.
    pub per_day: f64,
    /// Shares of the severities, of 1; about 0.05 high and critical, 0.15 medium, 0.8 low.
    pub shares: BTreeMap<String, f64>,
    /// Share of the time in flood, of 1: below 0.01.
    pub in_flood: f64,
    /// Floods.
    pub floods: u64,
    /// Incidents that are active or acknowledged and stale.
    pub stale: u64,
    /// Detections held back, by policy.
    pub suppressed: BTreeMap<String, u64>,
    /// Closed incidents by disposition.
    pub dispositions: BTreeMap<String, u64>,
}

fn one(db: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<i64, StoreError> {
    Ok(rows(db, sql, values, |row| row.get::<_, Option<i64>>(0))?.pop().flatten().unwrap_or(0))
}

fn counts(db: &Connection, sql: &str) -> Result<BTreeMap<String, u64>, StoreError> {
    Ok(rows(db, sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
}

/// Reads them; `flood` is the rule whose incidents are floods.
pub(super) fn read(db: &Connection, flood: Option<&str>) -> Result<AlarmFigures, StoreError> {
    let alarms = one(db, "SELECT count(*) FROM incident", [])?;
    if alarms == 0 {
        return Ok(AlarmFigures::default());
    }
    let from = one(db, "SELECT opened_at FROM incident ORDER BY id LIMIT 1", [])?;
    let until = one(
        db,
        "SELECT max(at) FROM (SELECT max(updated_at) AS at FROM incident
                              UNION ALL SELECT max(at) FROM timeline)",
        [],
    )?;
    // Less than one span would make a rate of one alarm.
    let span = (until - from).max(SPAN) as f64;
    let share = |(severity, n): (event::incident::Severity, u64)| {
        (severity.as_str().to_owned(), n as f64 / alarms as f64)
    };
    let severities =
        rows(db, "SELECT severity, count(*) FROM incident GROUP BY severity", [], |row| {
            Ok((column::severity(row, 0)?, row.get::<_, u64>(1)?))
        })?;
    let max = one(
        db,
        "SELECT max(n) FROM (SELECT count(*) AS n FROM incident GROUP BY opened_at / ?1)",
        [SPAN],
    )?;
    let flood = flood.unwrap_or_default();
    let floods = one(db, "SELECT count(*) FROM incident WHERE rule = ?1", [flood])?;
    let flooded = one(
        db,
        "SELECT sum(coalesce((SELECT min(t.at) FROM timeline t
                              WHERE t.incident = i.n AND t.what = 'cleared'), ?2) - i.opened_at)
         FROM incident i WHERE i.rule = ?1",
        rusqlite::params![flood, until],
    )?;
    Ok(AlarmFigures {
        from: Some(EventTime(from)),
        until: Some(EventTime(until)),
        alarms: alarms as u64,
        per_10_minutes: alarms as f64 / (span / SPAN as f64),
        per_10_minutes_max: max as u64,
        per_day: alarms as f64 / (span / DAY as f64),
        shares: severities.into_iter().map(share).collect(),
        in_flood: flooded as f64 / span,
        floods: floods as u64,
        stale: one(
            db,
            "SELECT count(*) FROM incident
             WHERE stale_at IS NOT NULL AND state IN ('active', 'acknowledged')",
            [],
        )? as u64,
        suppressed: counts(db, "SELECT policy, count(*) FROM suppressed GROUP BY policy")?,
        dispositions: counts(
            db,
            "SELECT disposition, count(*) FROM incident WHERE disposition IS NOT NULL
             GROUP BY disposition",
        )?,
    })
}
