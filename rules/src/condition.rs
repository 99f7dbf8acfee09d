//! A condition with the words it was written in: what explains it, and never what runs.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use event::{EventRef, FieldId, FieldType, Symbol};

use crate::lang::expr::Expr;
use crate::lang::syntax::Operator;
use crate::plan::FieldRef;
use crate::value::Value;

/// A condition of a rulebook. It is what it compiles to: two that mean the same are equal, wherever
/// they stand.
#[derive(Clone)]
pub struct Condition {
    expr: Expr,
    /// The field and the text, where it is no more than that an event's field is this text: most
    /// conditions are, and it is decided without anything of [`crate::value::Env`].
    text: Option<(FieldId, Symbol)>,
    written: Arc<[Written]>,
}

/// The field and the text of a condition that compares a text field with a constant.
fn text_of(expr: &Expr) -> Option<(FieldId, Symbol)> {
    let Expr::Compare(Operator::Equal, a, b) = expr else { return None };
    match (&**a, &**b) {
        (
            Expr::Field(FieldRef::Slot(field, FieldType::String)),
            Expr::Constant(Value::Text(text)),
        ) => Some((*field, *text)),
        _ => None,
    }
}

/// A part of a condition as it stands in the rulebook.
#[derive(Clone)]
pub struct Written {
    /// What it compiles to: finds the part again.
    pub expr: Expr,
    /// Its text.
    pub text: String,
    /// `file:line:column`.
    pub place: String,
    /// What an exception is called.
    pub label: Option<String>,
}

impl Condition {
    /// A condition and where it was written.
    #[must_use]
    pub fn written(expr: Expr, text: String, place: String, label: Option<String>) -> Self {
        let written = [Written { expr: expr.clone(), text, place, label }];
        Self::of(expr, written.into())
    }

    fn of(expr: Expr, written: Arc<[Written]>) -> Self {
        Self { text: text_of(&expr), expr, written }
    }

    /// Whether an event meets it, where that needs no more than a look at one field.
    #[inline]
    pub fn holds_of(&self, event: EventRef<'_>) -> Option<bool> {
        self.text.map(|(field, text)| event.text(field) == Some(text))
    }

    /// Both of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let written = self.written.iter().chain(other.written.iter()).cloned().collect();
        Self::of(Expr::And(Box::new(self.expr), Box::new(other.expr)), written)
    }

    /// Not, where it is true; one that is missing excepts nothing.
    #[must_use]
    pub fn excepted(self) -> Self {
        let expr = Expr::Not(Box::new(Expr::Holds(Box::new(self.expr))));
        Self::of(expr, self.written)
    }

    /// What it compiles to.
    #[must_use]
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// How a part of it was written, where it was written by itself.
    #[must_use]
    pub fn part(&self, expr: &Expr) -> Option<&Written> {
        self.written.iter().find(|written| written.expr == *expr)
    }

    /// Where the first of it stands.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.written.first().map(|written| written.place.as_str())
    }
}

impl Deref for Condition {
    type Target = Expr;

    fn deref(&self) -> &Expr {
        &self.expr
    }
}

impl From<Expr> for Condition {
    fn from(expr: Expr) -> Self {
        Self::of(expr, Arc::new([]))
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.expr == other.expr
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}
