//! The site model and the lists: tables of typed columns, keyed by a name.
//!
//! Areas, doors, devices, persons, containers, seals: each is a table. Mappings join with them,
//! expressions read them (`e.person.visitor`, `seals[e.container].number`, `door.held_limit`).

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::symbol::Symbol;
use crate::time::TimeSpan;
use crate::vocabulary::FieldId;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// A text.
    String,
    /// An integer.
    Int,
    /// A double.
    Float,
    /// True or false.
    Bool,
    /// A span of time (`30s`).
    Duration,
    /// A list of texts: for `in`.
    Strings,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A text.
    String(Symbol),
    /// An integer.
    Int(i64),
    /// A double.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A span of time.
    Duration(TimeSpan),
    /// A list of texts.
    Strings(Vec<Symbol>),
}

impl Cell {
    /// The type of column this cell fits.
    #[must_use]
    pub fn column_type(&self) -> ColumnType {
        match self {
            Self::String(_) => ColumnType::String,
            Self::Int(_) => ColumnType::Int,
            Self::Float(_) => ColumnType::Float,
            Self::Bool(_) => ColumnType::Bool,
            Self::Duration(_) => ColumnType::Duration,
            Self::Strings(_) => ColumnType::Strings,
        }
    }
}

/// One table: rows keyed by a text.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its name, as expressions write it.
    pub name: String,
    /// The event field whose values are its keys (`person` → `e.person.visitor`), if any.
    pub entity: Option<FieldId>,
    /// Column names and types, in the order of a row's cells.
    pub columns: Vec<(String, ColumnType)>,
    /// Rows by key; a cell is `None` where the row does not say.
    pub rows: HashMap<Symbol, Vec<Option<Cell>>, foldhash::fast::FixedState>,
}

impl Table {
    /// The place of a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(n, _)| n == name)
    }

    /// One cell.
    #[must_use]
    pub fn cell(&self, key: Symbol, column: usize) -> Option<&Cell> {
        self.rows.get(&key)?.get(column)?.as_ref()
    }
}

/// One guarded site.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name, as events carry it.
    pub name: Symbol,
    /// IANA name of its time zone.
    pub time_zone: String,
}

/// Sites and tables of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The sites; when empty, any site name is taken.
    pub sites: Vec<Site>,
    /// Tables in the order of their declaration; expressions hold indexes into it.
    pub tables: Vec<Table>,
    /// Tables by name.
    pub by_name: BTreeMap<String, usize>,
}

impl Model {
    /// Adds a table; the last of one name wins.
    pub fn push(&mut self, table: Table) {
        self.by_name.insert(table.name.clone(), self.tables.len());
        self.tables.push(table);
    }

    /// The table of a name, and its index.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<(usize, &Table)> {
        let index = *self.by_name.get(name)?;
        Some((index, &self.tables[index]))
    }

    /// The table whose keys are the values of a field.
    #[must_use]
    pub fn table_of(&self, field: FieldId) -> Option<(usize, &Table)> {
        self.tables.iter().enumerate().find(|(_, t)| t.entity == Some(field))
    }
}
