//! A condition with the words it was written in: what explains it, and never what runs.

mod gate;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use event::config::Place;
use event::{EventRef, FieldId, FieldType, Symbol};

use crate::lang::expr::Expr;
use crate::lang::syntax::Operator;
use crate::plan::{FactId, FieldRef};
use crate::texts::Texts;
use crate::value::Value;

pub use gate::{COUNTED_MAX, Counted, Gate};

/// A condition of a rulebook. It is what it compiles to: two that mean the same are equal, wherever
/// they stand.
#[derive(Clone)]
pub struct Condition {
    expr: Expr,
    form: Form,
    written: Arc<[Written]>,
}

/// What of a condition is decided without anything of [`crate::value::Env`]. Its tag is a byte by
/// itself: it is looked at for nearly all conditions of an event.
#[derive(Clone)]
#[repr(u8)]
enum Form {
    /// All of it: an event's field is this text.
    Text(FieldId, Symbol),
    /// What must hold of an event's fields; and the rest.
    Fields(Arc<[Test]>, Rest),
    /// All of it: a level.
    Level(Bound),
    /// Nothing.
    Other,
}

/// What is asked of one field.
enum Test {
    /// It is this text.
    Text(FieldId, Symbol),
    /// It is one of these.
    OneOf(FieldId, Arc<Texts>),
    /// It is a number within a bound.
    Within(FieldId, Bound),
}

/// What must hold beside the fields.
#[derive(Clone)]
enum Rest {
    Nothing,
    /// A fact is a number within a bound.
    Fact(FactId, Limit),
    /// Something else.
    Expr(Arc<Expr>),
}

/// What a fact is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// A constant.
    Constant(Bound),
    /// A field of the event, which is this much above it or below.
    Field(FieldId, Operator, i64),
}

impl Limit {
    /// The fact of a comparison, and what it is compared with.
    fn of(expr: &Expr) -> Option<(FactId, Self)> {
        if let Some((Expr::Fact(fact), bound)) = Bound::of(expr) {
            return Some((*fact, Self::Constant(bound)));
        }
        let Expr::Compare(operator, field, than) = expr else { return None };
        let Expr::Field(FieldRef::Slot(field, FieldType::Int)) = **field else { return None };
        if !matches!(
            operator,
            Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual
        ) {
            return None;
        }
        let (fact, add) = match &**than {
            Expr::Fact(fact) => (*fact, 0),
            Expr::Arithmetic(Operator::Add, a, b) => match (&**a, &**b) {
                (Expr::Fact(fact), Expr::Constant(Value::Int(n)))
                | (Expr::Constant(Value::Int(n)), Expr::Fact(fact)) => (*fact, *n),
                _ => return None,
            },
            _ => return None,
        };
        Some((fact, Self::Field(field, *operator, add)))
    }

    /// Whether a fact's value meets it; `None` where it or the field is no integer.
    #[inline]
    pub fn holds(&self, value: Value, event: EventRef<'_>) -> Option<bool> {
        match self {
            Self::Constant(bound) => bound.holds(value),
            Self::Field(field, operator, add) => {
                let (Value::Int(n), Some(field)) = (value, event.int(*field)) else { return None };
                let than = n.saturating_add(*add);
                Some(match operator {
                    Operator::Less => field < than,
                    Operator::LessEqual => field <= than,
                    Operator::Greater => field > than,
                    _ => field >= than,
                })
            }
        }
    }
}

/// At least a number, or less.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    least: i64,
    is: bool,
}

impl Bound {
    /// What a comparison bounds, and how.
    fn of(expr: &Expr) -> Option<(&Expr, Self)> {
        let Expr::Compare(operator, value, than) = expr else { return None };
        let Expr::Constant(Value::Int(n)) = **than else { return None };
        let (least, is) = match operator {
            Operator::GreaterEqual => (n, true),
            Operator::Less => (n, false),
            Operator::Greater => (n.checked_add(1)?, true),
            Operator::LessEqual => (n.checked_add(1)?, false),
            _ => return None,
        };
        Some((value, Self { least, is }))
    }

    /// Whether a number is within it.
    #[inline]
    pub(crate) fn has(self, number: i64) -> bool {
        (number >= self.least) == self.is
    }

    /// Whether a number is within it; `None` where the value is no integer.
    #[inline]
    pub fn holds(self, value: Value) -> Option<bool> {
        match value {
            Value::Int(n) => Some(self.has(n)),
            _ => None,
        }
    }
}

impl Test {
    /// Whether a list of events by this field's texts has those that meet it, and no other.
    fn is_listed(&self, by: Option<FieldId>) -> bool {
        match self {
            Self::Text(field, text) => Some(*field) == by && text.some().is_some(),
            Self::OneOf(field, texts) => {
                Some(*field) == by && texts.all().iter().all(|text| text.some().is_some())
            }
            Self::Within(..) => false,
        }
    }

    /// How much it lets pass, about.
    fn texts(&self) -> usize {
        match self {
            Self::Text(..) => 1,
            Self::Within(_, Bound { least, .. }) if i32::try_from(*least).is_err() => usize::MAX,
            Self::Within(..) => 2,
            Self::OneOf(_, texts) => 1 + texts.all().len(),
        }
    }

    fn of(expr: &Expr) -> Option<Self> {
        if let Some((Expr::Field(FieldRef::Slot(field, FieldType::Int)), bound)) = Bound::of(expr) {
            return Some(Self::Within(*field, bound));
        }
        let (field, texts) = match expr {
            Expr::Compare(Operator::Equal, field, text) => match &**text {
                Expr::Constant(text) => (field, std::slice::from_ref(text)),
                _ => return None,
            },
            Expr::OneOf(field, texts) => (field, &texts[..]),
            _ => return None,
        };
        let Expr::Field(FieldRef::Slot(field, FieldType::String)) = **field else { return None };
        if let [Value::Text(text)] = texts {
            return Some(Self::Text(field, *text));
        }
        let mut symbols = Vec::with_capacity(texts.len());
        for text in texts {
            let Value::Text(text) = text else { return None };
            symbols.push(*text);
        }
        Some(Self::OneOf(field, Arc::new(Texts::new(symbols.into()))))
    }

    #[inline]
    fn holds(&self, event: EventRef<'_>) -> bool {
        match self {
            Self::Text(field, text) => event.text(*field) == Some(*text),
            Self::OneOf(field, texts) => event.text(*field).is_some_and(|text| texts.has(text)),
            Self::Within(field, bound) => event.int(*field).is_some_and(|n| bound.has(n)),
        }
    }
}

/// The parts that must all hold.
pub(crate) fn conjuncts<'a>(expr: &'a Expr, out: &mut Vec<&'a Expr>) {
    if let Expr::And(a, b) = expr {
        conjuncts(a, out);
        conjuncts(b, out);
    } else {
        out.push(expr);
    }
}

impl Form {
    fn of(expr: &Expr) -> Self {
        if let Some((Expr::Watched, bound)) = Bound::of(expr) {
            return Self::Level(bound);
        }
        let mut parts = Vec::new();
        conjuncts(expr, &mut parts);
        let (mut tests, mut rest) = (Vec::new(), Vec::new());
        for part in parts {
            match Test::of(part) {
                Some(test) => tests.push(test),
                None => rest.push(part.clone()),
            }
        }
        if let ([Test::Text(field, text)], []) = (&tests[..], &rest[..]) {
            return Self::Text(*field, *text);
        }
        // What is quickly decided first, and of lists the shorter: it says less often that it holds.
        tests.sort_by_key(|test| match test {
            Test::OneOf(_, texts) => texts.all().len(),
            Test::Text(..) | Test::Within(..) => 0,
        });
        let rest = match (rest.first().and_then(Limit::of), rest.len()) {
            (_, 0) => Rest::Nothing,
            (Some((fact, limit)), 1) => Rest::Fact(fact, limit),
            _ if tests.is_empty() => return Self::Other,
            _ => {
                let both = |a, b| Expr::And(Box::new(a), Box::new(b));
                rest.into_iter().reduce(both).map_or(Rest::Nothing, |rest| Rest::Expr(rest.into()))
            }
        };
        Self::Fields(tests.into(), rest)
    }
}

/// A place in a rulebook: it shows as `file:line:column`.
#[derive(Clone, Debug)]
pub struct Where {
    file: Arc<str>,
    place: Place,
}

impl Where {
    /// A place in a file.
    pub fn new(file: Arc<str>, place: Place) -> Self {
        Self { file, place }
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "{}:{line}:{column}", self.file)
    }
}

/// A part of a condition as it stands in the rulebook.
#[derive(Clone)]
pub struct Written {
    /// What it compiles to: finds the part again.
    pub expr: Expr,
    /// Its text.
    pub text: String,
    /// Where.
    pub place: Where,
    /// What an exception is called.
    pub label: Option<String>,
}

impl Condition {
    /// A condition and where it was written.
    #[must_use]
    pub fn written(expr: Expr, text: String, place: Where, label: Option<String>) -> Self {
        let written = [Written { expr: expr.clone(), text, place, label }];
        Self::of(expr, written.into())
    }

    fn of(expr: Expr, written: Arc<[Written]>) -> Self {
        Self { form: Form::of(&expr), expr, written }
    }

    /// Whether an event meets it, where that needs no more than looks at its fields.
    #[inline(always)]
    pub fn holds_of(&self, event: EventRef<'_>) -> Option<bool> {
        match &self.form {
            Form::Text(field, text) => Some(event.text(*field) == Some(*text)),
            Form::Fields(tests, rest) if tests.iter().all(|test| test.holds(event)) => {
                matches!(rest, Rest::Nothing).then_some(true)
            }
            Form::Fields(..) => Some(false),
            Form::Level(_) | Form::Other => None,
        }
    }

    /// What the condition says of one field of an event; and whether no other field is left to be
    /// looked at. A list of events may have been gone by that have one of the texts of a field that the
    /// condition wants.
    pub(crate) fn gate(&self, listed: Option<FieldId>) -> (Gate, bool) {
        let text;
        let tests = match &self.form {
            Form::Text(field, of) => {
                text = [Test::Text(*field, *of)];
                &text[..]
            }
            Form::Fields(tests, _) => tests,
            Form::Level(_) | Form::Other => return (Gate::OPEN, false),
        };
        let left: Vec<&Test> = tests.iter().filter(|test| !test.is_listed(listed)).collect();
        // One that is said twice is in the list of one of the two.
        let left = if tests.len() - left.len() > 1 { tests.iter().collect() } else { left };
        match left[..] {
            [] => (Gate::OPEN, true),
            [one] => Gate::of(one),
            [first, ..] => {
                let least = left.iter().min_by_key(|test| test.texts());
                (Gate::of(least.unwrap_or(&first)).0, false)
            }
        }
    }

    /// Whether an event meets it that its fields speak for; `None` where more is asked than fields.
    #[inline]
    pub(crate) fn holds_by_fields(&self) -> Option<bool> {
        match &self.form {
            Form::Text(..) | Form::Fields(_, Rest::Nothing) => Some(true),
            _ => None,
        }
    }

    /// The field and its texts, where it is all that one of them must be there.
    pub(crate) fn among(&self) -> Option<(FieldId, Arc<Texts>)> {
        let Form::Fields(tests, Rest::Nothing) = &self.form else { return None };
        let [Test::OneOf(field, texts)] = &**tests else { return None };
        Some((*field, texts.clone()))
    }

    /// The fact and the bound that are left to be asked, where [`Self::holds_of`] has not decided and
    /// that is all.
    #[inline]
    pub(crate) fn fact(&self) -> Option<(FactId, &Limit)> {
        match &self.form {
            Form::Fields(_, Rest::Fact(fact, limit)) => Some((*fact, limit)),
            _ => None,
        }
    }

    /// The fact that must come to so many, whatever else is asked.
    pub(crate) fn counts_to(&self) -> Option<(FactId, i64)> {
        match &self.form {
            Form::Fields(_, Rest::Fact(fact, Limit::Constant(Bound { least, is: true }))) => {
                Some((*fact, *least))
            }
            _ => None,
        }
    }

    /// What is left to be asked of an event, where [`Self::holds_of`] has not decided.
    #[inline]
    pub(crate) fn rest(&self) -> &Expr {
        match &self.form {
            Form::Fields(_, Rest::Expr(rest)) => rest,
            _ => &self.expr,
        }
    }

    /// Whether a watched value meets it, where that needs no more than a look at the value.
    #[inline]
    pub(crate) fn holds_at(&self, value: Value) -> Option<bool> {
        match &self.form {
            Form::Level(bound) => bound.holds(value),
            _ => None,
        }
    }

    /// What it says of a watched value, where it says nothing else.
    pub(crate) fn level(&self) -> Option<Bound> {
        match &self.form {
            Form::Level(bound) => Some(*bound),
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
    pub fn place(&self) -> Option<&Where> {
        self.written.first().map(|written| &written.place)
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

#[cfg(test)]
mod tests {
    use super::gate::How;
    use super::*;

    #[test]
    fn a_gate_of_few_texts_lets_them_pass_and_hardly_any_other() {
        let mut random = 7_u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random >> 8
        };
        let (mut passed, mut others) = (0, 0);
        for _ in 0..1_000 {
            let mut few = || {
                let texts: Vec<Symbol> = (0..2 + next() % 3).map(|_| Symbol(next())).collect();
                let of = Test::OneOf(FieldId(1), Arc::new(Texts::new(texts.clone().into())));
                (texts, Gate::of(&of).0)
            };
            let ((a, of_a), (b, of_b)) = (few(), few());
            assert!(of_a.how == How::Few && a.iter().all(|text| of_a.admits(text.0)), "{a:?}");
            let either = of_a.either(of_b).expect("they ask the same");
            assert!(a.iter().chain(&b).all(|text| either.admits(text.0)), "{a:?} {b:?}");
            let other = b.iter().filter(|text| !a.contains(text));
            passed += other.clone().filter(|text| of_a.admits(text.0)).count();
            others += other.count();
        }
        assert!(passed * 40 < others, "{passed} of {others}");
    }
}
