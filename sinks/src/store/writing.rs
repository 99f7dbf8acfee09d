//! What a commit writes with: statements that are looked up once.

use std::collections::HashSet;
use std::sync::LazyLock;

use event::identity::TimedId;
use event::incident::Tier;
use rusqlite::{CachedStatement, Connection};

use super::column;
use super::error::{Doing, StoreError};
use super::outputs::Opened;

/// Incidents of one statement: beginning and ending one costs as much as a row.
const ROWS: usize = 16;
/// Columns of one of them, behind its number.
const COLUMNS: [&str; 20] = [
    "id",
    "rule",
    "title",
    "severity",
    "site",
    "area",
    "person",
    "state",
    "opened_at",
    "updated_at",
    "config_hash",
    "late",
    "detections",
    "events",
    "evidence_omitted",
    "verification",
    "feeds",
    "revision",
    "concluded_at",
    "opening",
];

/// What all incidents of one statement have in common: its first three values, and that their detection is
/// kept.
const COMMON: [&str; 4] = ["state", "config_hash", "late", "detections"];
/// What each has of its own; an incident that was never joined was updated when it was opened.
const OWN: [&str; 15] = [
    "id",
    "rule",
    "title",
    "severity",
    "site",
    "area",
    "person",
    "opened_at",
    "events",
    "evidence_omitted",
    "verification",
    "feeds",
    "revision",
    "concluded_at",
    "opening",
];
/// Which of them is also when it was updated.
const OPENED_AT: usize = 7;

/// A transaction, with the statements that run for every incident: looking one up by its text costs
/// an eighth of what it does.
pub(super) struct Writing<'c, 'o> {
    pub(super) db: &'c Connection,
    incident: CachedStatement<'c>,
    incidents: CachedStatement<'c>,
    /// What stands under an id: an incident, the detection that opened it, another detection.
    stands: CachedStatement<'c>,
    pub(super) detection: CachedStatement<'c>,
    /// Memory for the document of one detection.
    pub(super) document: Vec<u8>,
    /// The number of the incident whose row was written last.
    last: Option<i64>,
    /// Incidents whose rows are not written yet, and whether the detection is kept with each.
    pending: Vec<Row<'o>>,
    /// Greater than any id, of an incident or a detection, that stood here before.
    newest: Option<TimedId>,
    /// Ids of this commit.
    ids: HashSet<TimedId, foldhash::fast::FixedState>,
}

/// Inserts an incident with its number.
///
/// A row that is refused ends the transaction, as it does anyhow. Else, and where several rows come with
/// their numbers, `SQLite` would copy each page first to be able to undo the statement by itself: twice
/// as many bytes in a file as the commit itself.
fn insertion() -> String {
    let columns = COLUMNS.join(", ");
    let places = vec!["?"; COLUMNS.len()].join(", ");
    format!("INSERT OR ROLLBACK INTO incident ({columns}, n) VALUES ({places}, ?)")
}

/// The same of many that are numbered from the last one on.
fn insertions() -> String {
    let (common, own) = (COMMON.join(", "), OWN.join(", "));
    let row = |row: usize| {
        let first = COMMON.len() + row * OWN.len();
        let own: Vec<String> = (first..first + OWN.len()).map(|nth| format!("?{nth}")).collect();
        format!("(?1, ?2, ?3, 1, ?{}, {})", first + OPENED_AT, own.join(", "))
    };
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    let rows = rows.join(", ");
    format!("INSERT OR ROLLBACK INTO incident ({common}, updated_at, {own}) VALUES {rows}")
}

impl<'c, 'o> Writing<'c, 'o> {
    pub(super) fn begin(db: &'c Connection) -> Result<Self, StoreError> {
        static ONE: LazyLock<String> = LazyLock::new(insertion);
        static MANY: LazyLock<String> = LazyLock::new(insertions);
        let prepare = |text| db.prepare_cached(text).doing("preparing a commit");
        let newest: Option<String> = prepare(
            "SELECT max(coalesce((SELECT max(id) FROM incident), ''),
                 coalesce((SELECT max(id) FROM detection), ''))",
        )?
        .query_row([], |row| row.get(0))
        .doing("looking for the newest incident")?;
        Ok(Self {
            db,
            incident: prepare(&ONE)?,
            incidents: prepare(&MANY)?,
            stands: prepare(
                "SELECT (SELECT opening IS NOT NULL FROM incident WHERE id = ?1),
                     EXISTS (SELECT 1 FROM detection WHERE id = ?1)",
            )?,
            detection: prepare(
                "INSERT INTO detection (id, incident, rule, title, severity, site, area, person,
                     key, at, document)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?,
            document: Vec::new(),
            last: None,
            pending: Vec::with_capacity(ROWS),
            newest: newest.as_deref().and_then(TimedId::parse),
            ids: HashSet::default(),
        })
    }

    /// Whether there is an incident of an id, and a detection.
    pub(super) fn stands(&mut self, id: TimedId) -> Result<(bool, bool), StoreError> {
        if self.ids.contains(&id) {
            self.flush()?;
        } else if self.newest.is_none_or(|newest| id > newest) {
            return Ok((false, false));
        }
        let found = self.stands.query_row([id.to_string()], |row| {
            let opening: Option<bool> = row.get(0)?;
            Ok((opening.is_some(), opening == Some(true) || row.get(1)?))
        });
        found.doing("looking for an incident")
    }

    /// Something stands under an id from now on.
    pub(super) fn stands_now(&mut self, id: TimedId) {
        self.ids.insert(id);
    }

    /// Adds the row of an incident that is not there, with the detection that opened it, or without.
    pub(super) fn open(
        &mut self,
        n: i64,
        opened: Opened<'o>,
        kept: bool,
    ) -> Result<(), StoreError> {
        self.ids.insert(opened.id());
        self.pending.push((n, opened, kept));
        let whole = self.last.is_none() || self.pending.len() == ROWS;
        if whole { self.flush() } else { Ok(()) }
    }

    /// Whatever reads or changes incidents finds all of them afterwards.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        let Some(((first, ..), (last, ..))) = self.pending.first().zip(self.pending.last()) else {
            return Ok(());
        };
        let (first, last) = (*first, *last);
        let many = self.pending.len() == ROWS
            && last - first == ROWS as i64 - 1
            && self.last == Some(first - 1)
            && alike(&self.pending);
        let written = if many {
            many_at_once(&mut self.incidents, &self.pending)
        } else {
            self.pending.iter().try_for_each(|row| alone(&mut self.incident, row))
        };
        self.pending.clear();
        written.doing("storing an incident")?;
        assert_eq!(self.db.last_insert_rowid(), last, "an incident's number is its first revision");
        self.last = Some(last);
        Ok(())
    }
}

type Row<'o> = (i64, Opened<'o>, bool);

fn alone(statement: &mut CachedStatement<'_>, row: &Row<'_>) -> rusqlite::Result<()> {
    bind(statement, row)?;
    statement.raw_bind_parameter(COLUMNS.len() + 1, row.0)?;
    statement.raw_execute().map(|_| ())
}

/// Whether incidents have in common what nearly all have.
fn alike(rows: &[Row<'_>]) -> bool {
    rows.first().is_some_and(|(_, first, _)| {
        let common = (first.state(), first.config_hash(), first.late());
        rows.iter().all(|(_, opened, kept)| {
            let never_joined = opened.updated_at() == opened.opened_at();
            let of_it = (opened.state(), opened.config_hash(), opened.late());
            *kept && never_joined && of_it == common
        })
    })
}

fn many_at_once(statement: &mut CachedStatement<'_>, rows: &[Row<'_>]) -> rusqlite::Result<()> {
    let mut next = 0;
    macro_rules! bind {
        ($($value:expr),* $(,)?) => {
            $(next += 1; statement.raw_bind_parameter(next, $value)?;)*
        };
    }
    for (place, (n, opened, _)) in rows.iter().enumerate() {
        if place == 0 {
            let late = opened.late().map(Tier::as_str);
            bind!(opened.state().as_str(), opened.config_hash(), late);
        }
        let id = opened.id().text();
        bind!(
            std::str::from_utf8(&id)?,
            opened.rule(),
            opened.title(),
            column::of_severity(opened.severity()),
            opened.site(),
            opened.area(),
            opened.person(),
            opened.opened_at().0,
            opened.distinct(),
            opened.omitted(),
            opened.verification(),
            opened.feeds(),
            *n,
            opened.concluded().map(|at| at.0),
            opened.document(),
        );
    }
    statement.raw_execute().map(|_| ())
}

/// Gives a statement the values of a row.
fn bind(statement: &mut CachedStatement<'_>, (n, opened, kept): &Row<'_>) -> rusqlite::Result<()> {
    let (n, kept) = (*n, *kept);
    let mut next = 0;
    macro_rules! bind {
        ($($value:expr),* $(,)?) => {
            $(next += 1; statement.raw_bind_parameter(next, $value)?;)*
        };
    }
    let id = opened.id().text();
    bind!(
        std::str::from_utf8(&id)?,
        opened.rule(),
        opened.title(),
        column::of_severity(opened.severity()),
        opened.site(),
        opened.area(),
        opened.person(),
        opened.state().as_str(),
        opened.opened_at().0,
        opened.updated_at().0,
        opened.config_hash(),
        opened.late().map(Tier::as_str),
        u8::from(kept),
        if kept { opened.distinct() } else { 0 },
        if kept { opened.omitted() } else { 0 },
        opened.verification(),
        if kept { opened.feeds() } else { "" },
        n,
        opened.concluded().map(|at| at.0),
        kept.then(|| opened.document()),
    );
    Ok(())
}
