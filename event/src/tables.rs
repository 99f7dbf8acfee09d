//! Tables as they are now: the site model, and over it the rows that were changed while it runs.
//!
//! What was changed is kept by the names of table and row, so that a snapshot of it can be put over
//! another model. Reads go by symbols and cost nothing more where nothing was changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::did_you_mean;
use crate::control::RowChange;
use crate::limits::CHANGED_ROWS_MAX;
use crate::model::{Cell, ColumnType, Model, Row, Table, TableKind};
use crate::symbol::{Interner, Symbol};
use crate::time::EventTime;

type Hash = foldhash::fast::FixedState;

/// The last change of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Its cells by column; `None`: it was removed.
    pub cells: Option<BTreeMap<String, Value>>,
    /// When the change was made, in microseconds of event time; `i64::MIN` where nobody knows.
    pub at: i64,
    /// Who made it.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How many changes there had been with it: tells newer from older.
    pub serial: u64,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The row is another one now.
    Changed,
    /// It is what it was.
    Same,
    /// The row was changed later than this change was made: it stands.
    Older,
}

/// A change that cannot be made, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, ": {help}"))
    }
}

impl std::error::Error for Refused {}

fn refused<T>(message: String, help: Option<String>) -> Result<T, Refused> {
    Err(Refused { message, help })
}

/// Rows of one table that were changed; a removed one is `None`.
type Overlay = HashMap<Symbol, Option<Row>, Hash>;

/// The tables of a model as they are now.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    model: Arc<Model>,
    overlays: Vec<Overlay>,
    /// Keys of lists of integers by their number, by table.
    integers: Vec<HashMap<i64, Symbol, Hash>>,
    changes: BTreeMap<String, BTreeMap<String, Changed>>,
    count: usize,
    serial: u64,
    refused: u64,
}

impl Tables {
    /// A model in which nothing was changed.
    #[must_use]
    pub fn new(model: Arc<Model>, interner: &Interner) -> Self {
        let integers = model.tables.iter().map(|table| match table.kind {
            TableKind::Integers => {
                let number = |key: &Symbol| Some((interner.text(*key).parse().ok()?, *key));
                table.rows.keys().filter_map(number).collect()
            }
            _ => HashMap::default(),
        });
        let integers = integers.collect();
        let overlays = vec![Overlay::default(); model.tables.len()];
        Self { model, overlays, integers, ..Self::default() }
    }

    /// Names, columns and types; its rows are those of the files.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// A row.
    #[must_use]
    pub fn row(&self, table: usize, key: Symbol) -> Option<&Row> {
        let overlay = &self.overlays[table];
        if !overlay.is_empty()
            && let Some(row) = overlay.get(&key)
        {
            return row.as_ref();
        }
        self.model.tables[table].rows.get(&key)
    }

    /// One cell.
    #[must_use]
    pub fn cell(&self, table: usize, key: Symbol, column: usize) -> Option<&Cell> {
        self.row(table, key)?.get(column)?.as_ref()
    }

    /// Whether a table has a row of a key.
    #[must_use]
    pub fn has(&self, table: usize, key: Symbol) -> bool {
        self.row(table, key).is_some()
    }

    /// Whether an integer is in a list of integers.
    #[must_use]
    pub fn has_integer(&self, table: usize, number: i64) -> bool {
        self.integers[table].get(&number).is_some_and(|key| self.has(table, *key))
    }

    /// Keys and rows of a table, in no order.
    pub fn rows(&self, table: usize) -> impl Iterator<Item = (Symbol, &Row)> {
        let overlay = &self.overlays[table];
        let base = self.model.tables[table].rows.iter();
        let base = base.filter(|(key, _)| !overlay.contains_key(*key));
        let changed = overlay.iter().filter_map(|(key, row)| Some((key, row.as_ref()?)));
        base.chain(changed).map(|(key, row)| (*key, row))
    }

    /// Whether both say the same: tables of the same names and columns, and the same rows in them.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.model.tables, &other.model.tables);
        let same = |index: usize| {
            let (a, b) = (&ours[index], &theirs[index]);
            let rows = || self.rows(index);
            (&a.name, a.entity, &a.columns) == (&b.name, b.entity, &b.columns)
                && rows().count() == other.rows(index).count()
                && rows().all(|(key, row)| other.row(index, key) == Some(row))
        };
        ours.len() == theirs.len() && (0..ours.len()).all(same)
    }

    /// The last changes of a table's rows, by key.
    #[must_use]
    pub fn changes(&self, table: &str) -> Option<&BTreeMap<String, Changed>> {
        self.changes.get(table)
    }

    /// How many changes there have been: another number means that something is different.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Changes that could not be made, since the state began.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether a change can be made now; else what to write.
    pub fn check(&self, change: &RowChange, interner: &Interner) -> Result<(), Refused> {
        self.resolve(change, interner).map(|_| ())
    }

    /// Makes a change. `now` is the time of one that states none: it is never older than another.
    pub fn apply(
        &mut self,
        change: &RowChange,
        (by, reason): (&str, &str),
        now: EventTime,
        interner: &Interner,
    ) -> Result<Applied, Refused> {
        let (table, key, row) = match self.resolve(change, interner) {
            Ok(resolved) => resolved,
            Err(refused) => {
                self.refused += 1;
                return Err(refused);
            }
        };
        let rows = self.changes.entry(change.table.clone()).or_default();
        let last = rows.get(&change.row).map(|changed| changed.at);
        if change.at.is_some_and(|at| last.is_some_and(|last| at.0 < last)) {
            return Ok(Applied::Older);
        }
        self.serial += 1;
        self.count += usize::from(last.is_none());
        let changed = Changed {
            cells: change.cells.clone(),
            at: change.at.unwrap_or(now).0.max(last.unwrap_or(i64::MIN)),
            by: by.to_owned(),
            reason: reason.to_owned(),
            serial: self.serial,
        };
        rows.insert(change.row.clone(), changed);
        let same = self.row(table, key) == row.as_ref();
        self.put(table, key, row, interner);
        Ok(if same { Applied::Same } else { Applied::Changed })
    }

    fn put(&mut self, table: usize, key: Symbol, row: Option<Row>, interner: &Interner) {
        if self.model.tables[table].kind == TableKind::Integers
            && let Ok(number) = interner.text(key).parse()
        {
            self.integers[table].insert(number, key);
        }
        self.overlays[table].insert(key, row);
    }

    /// A change by table, symbol and cells, or why it cannot be made now.
    fn resolve(&self, change: &RowChange, interner: &Interner) -> Result<Resolved, Refused> {
        let resolved = resolve(&self.model, change, interner)?;
        let known = self.changes.get(&change.table).is_some_and(|c| c.contains_key(&change.row));
        if self.count >= CHANGED_ROWS_MAX && !known {
            let message = format!("{CHANGED_ROWS_MAX} rows have been changed already");
            let help = Some("write the changes into the table's file and start anew".to_owned());
            return refused(message, help);
        }
        Ok(resolved)
    }

    /// The changes after a serial number, as bytes of a snapshot.
    #[must_use]
    pub fn save(&self, after: u64) -> Vec<u8> {
        let rows = self
            .changes
            .iter()
            .flat_map(|(table, rows)| rows.iter().map(move |(row, changed)| (table, row, changed)));
        let rows: Vec<_> = rows.filter(|(.., changed)| changed.serial > after).collect();
        match serde_json::to_vec(&(self.serial, self.refused, rows)) {
            Ok(bytes) => bytes,
            Err(error) => unreachable!("texts, numbers and maps of texts only: {error}"),
        }
    }

    /// Puts the changes of a snapshot over what is here; `None` where the bytes are none of ours.
    /// Those that do not fit this model are left out and counted as refused.
    pub fn load(&mut self, bytes: &[u8], interner: &Interner) -> Option<()> {
        let (serial, refused, rows): (u64, u64, Vec<(String, String, Changed)>) =
            serde_json::from_slice(bytes).ok()?;
        self.refused = refused;
        for (table, row, changed) in rows {
            let change = RowChange { table, row, cells: changed.cells.clone(), at: None };
            self.restore(change, changed, interner);
        }
        self.serial = self.serial.max(serial);
        Some(())
    }

    /// The same changes over another model. Where the files now say something else of a row than
    /// they did, they are newer than its change. Changes that do not fit are left out, and counted.
    #[must_use]
    pub fn over(&self, model: Arc<Model>, interner: &Interner) -> Self {
        let mut other = Self::new(model, interner);
        (other.serial, other.refused) = (self.serial + 1, self.refused);
        for (table, rows) in &self.changes {
            for (row, changed) in rows {
                if self.written(table, row, interner) != other.written(table, row, interner) {
                    continue;
                }
                let (table, row, cells) = (table.clone(), row.clone(), changed.cells.clone());
                let change = RowChange { table, row, cells, at: None };
                other.restore(change, changed.clone(), interner);
            }
        }
        other
    }

    /// What the files say of a row.
    fn written(
        &self,
        table: &str,
        row: &str,
        interner: &Interner,
    ) -> Option<BTreeMap<String, Value>> {
        let (_, table) = self.model.table(table)?;
        Some(cells_of(table, table.rows.get(&interner.find(row)?)?, interner))
    }

    /// Rows that are others than they were before, in the order of tables and keys, of tables that
    /// were there before.
    #[must_use]
    pub fn differences(&self, before: &Self, interner: &Interner) -> Vec<RowChange> {
        let mut all = Vec::new();
        for (index, table) in self.model.tables.iter().enumerate() {
            let Some((was, known)) = before.model.table(&table.name) else { continue };
            if known.columns != table.columns {
                continue;
            }
            let mut keys: Vec<Symbol> = self
                .rows(index)
                .filter(|(key, row)| before.row(was, *key) != Some(row))
                .map(|(key, _)| key)
                .chain(before.rows(was).map(|(key, _)| key).filter(|key| !self.has(index, *key)))
                .collect();
            keys.sort_unstable_by_key(|key| interner.text(*key));
            all.extend(keys.into_iter().map(|key| RowChange {
                table: table.name.clone(),
                row: interner.text(key).to_owned(),
                cells: self.row(index, key).map(|row| cells_of(table, row, interner)),
                at: None,
            }));
        }
        all
    }

    fn restore(&mut self, change: RowChange, changed: Changed, interner: &Interner) {
        let Ok((index, key, row)) = self.resolve(&change, interner) else {
            self.refused += 1;
            return;
        };
        let rows = self.changes.entry(change.table).or_default();
        self.count += usize::from(rows.insert(change.row, changed).is_none());
        self.put(index, key, row, interner);
    }
}

/// A row as JSON, by column.
fn cells_of(table: &Table, row: &Row, interner: &Interner) -> BTreeMap<String, Value> {
    let cells = table.columns.iter().zip(row);
    cells
        .filter_map(|((name, _), cell)| Some((name.clone(), cell.as_ref()?.json(interner))))
        .collect()
}

fn column_help(table: &Table, name: &str) -> Option<String> {
    if table.kind != TableKind::Table {
        return Some("a list has keys alone: write {}".to_owned());
    }
    let names = || table.columns.iter().map(|(n, _)| n.as_str());
    let all = || format!("there are {}", names().collect::<Vec<_>>().join(", "));
    did_you_mean(name, names()).or_else(|| Some(all()))
}

/// One cell from JSON; null is no cell.
fn cell_of(
    table: &Table,
    column: usize,
    value: &Value,
    interner: &Interner,
) -> Result<Option<Cell>, Refused> {
    let (name, ty): (&str, ColumnType) = (&table.columns[column].0, table.columns[column].1);
    if value.is_null() {
        return Ok(None);
    }
    match Cell::of_json(value, ty, interner) {
        Some(cell) => Ok(Some(cell)),
        None => {
            let message = format!("{value} in column `{name}` of table `{}`", table.name);
            refused(message, Some(format!("write {}", ty.wanted())))
        }
    }
}

/// A table, a row's key, and its cells; `None` where it is removed.
type Resolved = (usize, Symbol, Option<Row>);

/// Whether a change fits a model; else what to write.
pub fn check(model: &Model, change: &RowChange, interner: &Interner) -> Result<(), Refused> {
    resolve(model, change, interner).map(|_| ())
}

fn resolve(model: &Model, change: &RowChange, interner: &Interner) -> Result<Resolved, Refused> {
    let Some((index, table)) = model.table(&change.table) else {
        let known = model.by_name.keys().map(String::as_str);
        let help = did_you_mean(&change.table, known)
            .or_else(|| Some("declare it in a file listed under `model:`".to_owned()));
        return refused(format!("no table or list `{}`", change.table), help);
    };
    let integer = change.row.parse::<i64>().is_ok_and(|n| n.to_string() == change.row);
    if table.kind == TableKind::Integers && !integer {
        let message = format!("`{}` is not an integer", change.row);
        return refused(message, Some(format!("`{}` is a list of integers", table.name)));
    }
    let Some(key) = interner.intern(&change.row).and_then(Symbol::some) else {
        let help = Some("write a name of 1 to 1,024 bytes".to_owned());
        return refused("a row's key is empty or too long".to_owned(), help);
    };
    let Some(cells) = &change.cells else { return Ok((index, key, None)) };
    let mut row = vec![None; table.columns.len()];
    for (name, value) in cells {
        let Some(column) = table.column(name) else {
            return refused(
                format!("table `{}` has no column `{name}`", table.name),
                column_help(table, name),
            );
        };
        row[column] = cell_of(table, column, value, interner)?;
    }
    Ok((index, key, Some(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Badges with a status, as a file would say, and a list of numbers.
    fn model(interner: &Interner, rows: &[(&str, &str)]) -> Arc<Model> {
        let symbol = |text: &str| interner.intern(text).unwrap_or_default();
        let mut model = Model::default();
        let columns = vec![("status".to_owned(), ColumnType::String)];
        let rows = rows.iter().map(|(key, s)| (symbol(key), vec![Some(Cell::String(symbol(s)))]));
        let rows = rows.collect();
        model.push(Table { name: "badges".into(), columns, rows, ..Table::default() });
        let rows = [(symbol("7"), Vec::new())].into_iter().collect();
        let kind = TableKind::Integers;
        model.push(Table { name: "levels".into(), kind, rows, ..Table::default() });
        Arc::new(model)
    }

    fn set(row: &str, status: &str, at: Option<i64>) -> RowChange {
        let cells = [("status".to_owned(), status.into())].into_iter().collect();
        let at = at.map(EventTime);
        RowChange { table: "badges".into(), row: row.into(), cells: Some(cells), at }
    }

    fn status(tables: &Tables, interner: &Interner, row: &str) -> Option<String> {
        match tables.cell(0, interner.find(row)?, 0)? {
            Cell::String(symbol) => Some(interner.text(*symbol).to_owned()),
            _ => None,
        }
    }

    #[test]
    fn an_older_change_never_undoes_a_newer_one() {
        let interner = Interner::default();
        let mut tables = Tables::new(model(&interner, &[("A", "active")]), &interner);
        let mut apply = |change: &RowChange, now: i64| {
            let applied = tables.apply(change, ("t", ""), EventTime(now), &interner);
            (applied, status(&tables, &interner, "A"))
        };
        let is = |applied, status: &str| (Ok(applied), Some(status.to_owned()));
        assert_eq!(apply(&set("A", "stopped", Some(50)), 90), is(Applied::Changed, "stopped"));
        assert_eq!(apply(&set("A", "lost", Some(49)), 91), is(Applied::Older, "stopped"));
        assert_eq!(apply(&set("A", "stopped", Some(60)), 92), is(Applied::Same, "stopped"));
        assert_eq!(apply(&set("A", "lost", Some(55)), 93), is(Applied::Older, "stopped"));
        // One that does not say when it was made is of now, even where the row's clock is ahead.
        assert_eq!(apply(&set("A", "lost", None), 10), is(Applied::Changed, "lost"));
        let removed = RowChange { cells: None, ..set("A", "", Some(60)) };
        assert_eq!(apply(&removed, 94), (Ok(Applied::Changed), None));
    }

    #[test]
    fn what_cannot_be_made_says_what_to_write_and_is_counted() {
        let interner = Interner::default();
        let mut tables = Tables::new(model(&interner, &[]), &interner);
        let level =
            |row: &str| RowChange { table: "levels".into(), row: row.into(), ..set("", "", None) };
        let wrong = |value: Value| {
            let cells = [("status".to_owned(), value)].into_iter().collect();
            RowChange { cells: Some(cells), ..set("A", "", None) }
        };
        let faults = [
            (RowChange { table: "badge".into(), ..set("A", "", None) }, "did you mean `badges`?"),
            (wrong(true.into()), "write a text"),
            (set("", "stopped", None), "1 to 1,024 bytes"),
            (level("seven"), "a list of integers"),
            (level("07"), "a list of integers"),
            (level("8"), "keys alone"),
        ];
        for (number, (change, help)) in faults.into_iter().enumerate() {
            let refused = tables.apply(&change, ("t", ""), EventTime(0), &interner);
            let said = refused.map_err(|refused| refused.to_string());
            assert!(said.as_ref().is_err_and(|said| said.contains(help)), "{said:?} has no {help}");
            assert_eq!(tables.refused(), number as u64 + 1);
        }
        let eight = RowChange { cells: Some(BTreeMap::new()), ..level("8") };
        assert!(tables.apply(&eight, ("t", ""), EventTime(0), &interner).is_ok());
        assert!(tables.has_integer(1, 8) && tables.has_integer(1, 7) && !tables.has_integer(1, 9));
        let gone = RowChange { cells: None, ..level("7") };
        assert!(tables.apply(&gone, ("t", ""), EventTime(0), &interner).is_ok());
        assert!(!tables.has_integer(1, 7));
    }

    #[test]
    fn changes_survive_a_snapshot_and_another_model_and_a_file_that_says_otherwise_wins() {
        let interner = Interner::default();
        let files = [("A", "active"), ("B", "active"), ("C", "active")];
        let base = model(&interner, &files);
        let mut tables = Tables::new(base.clone(), &interner);
        for (row, now) in [("A", 1), ("B", 2), ("D", 3)] {
            let change = set(row, "stopped", None);
            assert!(tables.apply(&change, ("ann", "lost"), EventTime(now), &interner).is_ok());
        }
        let mut again = Tables::new(base, &interner);
        assert_eq!(again.load(&tables.save(0), &interner), Some(()));
        assert_eq!(again.changes("badges"), tables.changes("badges"));
        assert!(again.same_as(&tables) && again.serial() == tables.serial());
        assert_eq!(tables.save(tables.serial()), b"[3,0,[]]");

        // The file now says of B that it is lost, and of C that it is no more.
        let next = model(&interner, &[("A", "active"), ("B", "lost"), ("E", "active")]);
        let over = tables.over(next, &interner);
        let said = |row: &str| status(&over, &interner, row).unwrap_or_default();
        assert_eq!(
            ["A", "B", "C", "D", "E"].map(said),
            ["stopped", "lost", "", "stopped", "active"]
        );
        assert_eq!(over.refused(), 0);
        let differ: Vec<_> = over.differences(&tables, &interner);
        let differ: Vec<_> = differ.iter().map(|change| change.row.as_str()).collect();
        assert_eq!(differ, ["B", "C", "E"]);
    }
}
