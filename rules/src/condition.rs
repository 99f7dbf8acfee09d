//! A condition with the words it was written in: what explains it, and never what runs.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::lang::expr::Expr;

/// A condition of a rulebook. It is what it compiles to: two that mean the same are equal, wherever
/// they stand.
#[derive(Clone)]
pub struct Condition {
    expr: Expr,
    written: Arc<[Written]>,
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
        Self { expr, written: written.into() }
    }

    /// Both of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let written = self.written.iter().chain(other.written.iter()).cloned().collect();
        Self { expr: Expr::And(Box::new(self.expr), Box::new(other.expr)), written }
    }

    /// Not, where it is true; one that is missing excepts nothing.
    #[must_use]
    pub fn excepted(self) -> Self {
        let expr = Expr::Not(Box::new(Expr::Holds(Box::new(self.expr))));
        Self { expr, written: self.written }
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
        Self { expr, written: Arc::new([]) }
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
