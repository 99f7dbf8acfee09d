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
    form: Form,
    written: Arc<[Written]>,
}

/// What most conditions are no more than: they are decided without anything of [`crate::value::Env`].
#[derive(Clone, Copy)]
enum Form {
    /// An event's field is this text.
    Text(FieldId, Symbol),
    /// The watched value is at least this number, or less.
    AtLeast(i64, bool),
    /// Something else.
    Other,
}

impl Form {
    fn of(expr: &Expr) -> Self {
        let Expr::Compare(operator, a, b) = expr else { return Self::Other };
        match (operator, &**a, &**b) {
            (
                Operator::Equal,
                Expr::Field(FieldRef::Slot(field, FieldType::String)),
                Expr::Constant(Value::Text(text)),
            ) => Self::Text(*field, *text),
            (Operator::GreaterEqual, Expr::Watched, Expr::Constant(Value::Int(n))) => {
                Self::AtLeast(*n, true)
            }
            (Operator::Less, Expr::Watched, Expr::Constant(Value::Int(n))) => {
                Self::AtLeast(*n, false)
            }
            (Operator::Greater, Expr::Watched, Expr::Constant(Value::Int(n))) if *n < i64::MAX => {
                Self::AtLeast(n + 1, true)
            }
            (Operator::LessEqual, Expr::Watched, Expr::Constant(Value::Int(n)))
                if *n < i64::MAX =>
            {
                Self::AtLeast(n + 1, false)
            }
            _ => Self::Other,
        }
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
        Self { form: Form::of(&expr), expr, written }
    }

    /// Whether an event meets it, where that needs no more than a look at one field.
    #[inline]
    pub fn holds_of(&self, event: EventRef<'_>) -> Option<bool> {
        match self.form {
            Form::Text(field, text) => Some(event.text(field) == Some(text)),
            Form::AtLeast(..) | Form::Other => None,
        }
    }

    /// Whether a watched value meets it, where that needs no more than a look at the value.
    #[inline]
    pub(crate) fn holds_at(&self, value: Value) -> Option<bool> {
        match (self.form, value) {
            (Form::AtLeast(least, is), Value::Int(n)) => Some((n >= least) == is),
            _ => None,
        }
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
