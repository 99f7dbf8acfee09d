//! Values of expressions, and where an expression reads them from.

use event::tables::Tables;
use event::{EventTime, Interner, Symbol, TimeSpan};

use crate::calendar::ScheduleId;
use crate::plan::{FactId, FieldRef, SessionField};

/// What an expression yields. `Missing` makes the conjunct it stands in false, and is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// No such field, key or row.
    Missing,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A double.
    Float(f64),
    /// A text.
    Text(Symbol),
    /// A point in event time.
    Time(EventTime),
    /// A span of time.
    Span(TimeSpan),
    /// A list of texts: one cell of a table of the model.
    List {
        /// Index of the table in the model.
        table: u16,
        /// The row's key.
        row: Symbol,
        /// The column.
        column: u16,
    },
}

/// What an expression may read. The engine lends one for each evaluation; nothing is allocated.
///
/// "The current event" is the one being judged. Earlier events of the same run are not at hand any
/// more: what is needed of them was captured (see [`crate::plan::Rule::captures`]).
pub trait Env {
    /// A field of the current event; under a timer or a watch, a part of the key.
    fn field(&self, field: FieldRef) -> Value;
    /// A captured value of an earlier event of the run.
    fn captured(&self, index: u8) -> Value;
    /// A fact's value: for the current event's key, or for `key` where one is given (facts kept by
    /// one field only).
    fn fact(&self, fact: FactId, key: Option<Symbol>) -> Value;
    /// A fact's value before the current event, for its key.
    fn previous(&self, fact: FactId) -> Value;
    /// The value of the watched fact; in a fact's own expression, its value so far.
    fn value(&self) -> Value;
    /// What is asked of a session as a whole.
    fn session(&self, field: SessionField) -> Value;
    /// Whether a schedule is on, at the site and the time of the evaluation.
    fn schedule(&self, schedule: ScheduleId) -> bool;
    /// Tables, as they are now.
    fn tables(&self) -> &Tables;
    /// Texts behind symbols.
    fn interner(&self) -> &Interner;
}
