//! The site model and the lists: tables of typed columns, keyed by a name.
//!
//! Areas, doors, devices, persons, containers, seals: each is a table. Mappings join with them,
//! expressions read them (`e.person.visitor`, `seals[e.container].number`, `door.held_limit`).

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::symbol::{Interner, Symbol};
use crate::time::{EventTime, TimeSpan};
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
    /// A point in time (RFC 3339).
    Time,
    /// A list of texts: for `in`.
    Strings,
}

impl ColumnType {
    /// The types by the words of a configuration.
    pub const WORDS: [(&str, Self); 7] = [
        ("string", Self::String),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("duration", Self::Duration),
        ("time", Self::Time),
        ("strings", Self::Strings),
    ];

    /// What to write for it, in words.
    #[must_use]
    pub fn wanted(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Int => "an integer",
            Self::Float => "a number",
            Self::Bool => "true or false",
            Self::Duration => "a span of time such as 30s",
            Self::Time => "a time in RFC 3339 such as 2026-03-02T08:00:00Z",
            Self::Strings => "a list of texts",
        }
    }
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
    /// A point in time.
    Time(EventTime),
    /// A list of texts.
    Strings(Vec<Symbol>),
}

/// The cells of a row in the order of the table's columns; `None` where it does not say.
pub type Row = Vec<Option<Cell>>;

impl Cell {
    /// A cell from a text of a file; `None` where the text is nothing of the type.
    #[must_use]
    pub fn of_text(text: &str, ty: ColumnType, interner: &Interner) -> Option<Self> {
        Some(match ty {
            ColumnType::String => Self::String(interner.intern(text)?),
            ColumnType::Int => Self::Int(text.parse().ok()?),
            ColumnType::Float => Self::Float(text.parse().ok().filter(|x: &f64| x.is_finite())?),
            ColumnType::Bool => Self::Bool(text.parse().ok()?),
            ColumnType::Duration => Self::Duration(TimeSpan::parse(text)?),
            ColumnType::Time => Self::Time(EventTime::parse_rfc3339(text.as_bytes())?),
            ColumnType::Strings => {
                let items = text.split([',', ';', ' ']).map(str::trim).filter(|t| !t.is_empty());
                Self::Strings(items.map(|t| interner.intern(t)).collect::<Option<_>>()?)
            }
        })
    }

    /// A cell from JSON; `None` where the value is nothing of the type.
    #[must_use]
    pub fn of_json(value: &serde_json::Value, ty: ColumnType, interner: &Interner) -> Option<Self> {
        use serde_json::Value;
        match (value, ty) {
            (Value::String(text), _) => Self::of_text(text, ty, interner),
            (Value::Bool(value), ColumnType::Bool) => Some(Self::Bool(*value)),
            (Value::Number(n), ColumnType::Int) => n.as_i64().map(Self::Int),
            (Value::Number(n), ColumnType::Float) => n.as_f64().map(Self::Float),
            (Value::Number(n), ColumnType::String) => {
                interner.intern(&n.to_string()).map(Self::String)
            }
            (Value::Array(items), ColumnType::Strings) => {
                let texts = items.iter().map(|item| interner.intern(item.as_str()?));
                texts.collect::<Option<_>>().map(Self::Strings)
            }
            _ => None,
        }
    }

    /// As JSON, such as [`Self::of_json`] reads.
    #[must_use]
    pub fn json(&self, interner: &Interner) -> serde_json::Value {
        match self {
            Self::String(symbol) => interner.text(*symbol).into(),
            Self::Int(n) => (*n).into(),
            Self::Float(x) => (*x).into(),
            Self::Bool(b) => (*b).into(),
            Self::Duration(span) => span.to_string().into(),
            Self::Time(at) => at.to_string().into(),
            Self::Strings(list) => list.iter().map(|s| interner.text(*s)).collect(),
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
    /// Rows by key, as the files say. What they are now: [`crate::tables::Tables`].
    pub rows: HashMap<Symbol, Row, foldhash::fast::FixedState>,
    /// What kind of table it is.
    pub kind: TableKind,
}

/// Tables of the site model, and the lists of a rulebook, which are tables of keys alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TableKind {
    /// A table of the site model.
    #[default]
    Table,
    /// A list of texts.
    Texts,
    /// A list of integers; its keys are their decimal texts.
    Integers,
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
    pub tables: Vec<Arc<Table>>,
    /// Tables by name.
    pub by_name: BTreeMap<String, usize>,
}

impl Model {
    /// Adds a table; the last of one name wins.
    pub fn push(&mut self, table: Table) {
        self.by_name.insert(table.name.clone(), self.tables.len());
        self.tables.push(Arc::new(table));
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
        let mut tables = self.tables.iter().enumerate();
        tables.find(|(_, t)| t.entity == Some(field)).map(|(index, table)| (index, &**table))
    }
}
