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

    /// The same changes over another model. Those that do not fit it are left out, and counted.
    #[must_use]
    pub fn over(&self, model: Arc<Model>, interner: &Interner) -> Self {
        let mut other = Self::new(model, interner);
        (other.serial, other.refused) = (self.serial, self.refused);
        for (table, rows) in &self.changes {
            for (row, changed) in rows {
                let (table, row, cells) = (table.clone(), row.clone(), changed.cells.clone());
                let change = RowChange { table, row, cells, at: None };
                other.restore(change, changed.clone(), interner);
            }
        }
        other
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
