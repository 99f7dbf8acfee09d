//! Compiled expressions: a tree over slots and symbols that evaluates without allocating.
//!
//! `Missing` is CEL's error, absorbed as CEL absorbs errors: `false && missing` is false, `true ||
//! missing` is true, anything else that touches it is missing, and a missing condition does not
//! hold.

use std::cmp::Ordering;
use std::sync::Arc;

use event::model::Cell;
use event::{EventTime, Symbol, TimeSpan};

use super::syntax::Operator;
use crate::calendar::ScheduleId;
use crate::plan::{FactId, FieldRef, SessionField};
use crate::value::{Env, Value};

/// A compiled expression.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants say what they are; their operands follow CEL")]
pub enum Expr {
    Constant(Value),
    Field(FieldRef),
    Captured(u8),
    Fact(FactId),
    FactAt(FactId, Box<Expr>),
    Previous(FactId),
    Watched,
    Session(SessionField),
    Schedule(ScheduleId),
    /// A cell of a table: table, column, key.
    Column(u16, u16, Box<Expr>),
    /// Whether a table has a row of this key.
    HasRow(u16, Box<Expr>),
    /// Whether a list of integers has this one.
    HasInteger(u16, Box<Expr>),
    /// Text in a list cell.
    InList(Box<Expr>, Box<Expr>),
    /// One of several constants.
    OneOf(Box<Expr>, Arc<[Value]>),
    Has(Box<Expr>),
    /// Whether it is true; what is missing is not.
    Holds(Box<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Operator, Box<Expr>, Box<Expr>),
    Arithmetic(Operator, Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Text(TextTest, Box<Expr>, Box<Expr>),
    Size(Box<Expr>),
    /// Without its sign.
    Absolute(Box<Expr>),
    /// Kilometres between two places, latitude and longitude of each in degrees.
    Distance(Box<[Expr]>),
    /// Whether a text is a container number whose check digit is right.
    Container(Box<Expr>),
}

/// Tests of one text against another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as CEL's functions")]
pub enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

impl Expr {
    /// Its operands.
    #[must_use]
    pub fn operands(&self) -> Vec<&Expr> {
        match self {
            Self::FactAt(_, a)
            | Self::Column(_, _, a)
            | Self::HasRow(_, a)
            | Self::HasInteger(_, a)
            | Self::OneOf(a, _)
            | Self::Has(a)
            | Self::Holds(a)
            | Self::Not(a)
            | Self::Negate(a)
            | Self::Size(a)
            | Self::Absolute(a)
            | Self::Container(a) => vec![a],
            Self::InList(a, b)
            | Self::And(a, b)
            | Self::Or(a, b)
            | Self::Compare(_, a, b)
            | Self::Arithmetic(_, a, b)
            | Self::Text(_, a, b) => vec![a, b],
            Self::If(a, b, c) => vec![a, b, c],
            Self::Distance(degrees) => degrees.iter().collect(),
            Self::Constant(_)
            | Self::Field(_)
            | Self::Captured(_)
            | Self::Fact(_)
            | Self::Previous(_)
            | Self::Watched
            | Self::Session(_)
            | Self::Schedule(_) => Vec::new(),
        }
    }

    /// Whether any part of it asks this of a session.
    pub fn asks(&self, field: SessionField) -> bool {
        *self == Self::Session(field) || self.operands().iter().any(|part| part.asks(field))
    }

    /// Whether any part of it reads this table.
    pub fn reads(&self, table: u16) -> bool {
        let itself = match self {
            Self::Column(of, ..) | Self::HasRow(of, _) | Self::HasInteger(of, _) => *of == table,
            _ => false,
        };
        itself || self.operands().iter().any(|part| part.reads(table))
    }

    /// Whether it is true; missing is not. What conditions mostly are takes no detour by a value:
    /// both are true where each is, whatever is missing of them.
    #[inline]
    pub fn holds(&self, env: &impl Env) -> bool {
        match self {
            Self::Compare(operator, a, b) => {
                compare(env, *operator, a.operand(env), b.operand(env)) == Some(true)
            }
            Self::And(a, b) => a.holds_too(env) && b.holds_too(env),
            Self::Or(a, b) => a.holds_too(env) || b.holds_too(env),
            Self::OneOf(item, of) => is_one_of(item.operand(env), of),
            _ => self.eval(env) == Value::Bool(true),
        }
    }

    /// As [`Self::holds`], of a part.
    fn holds_too(&self, env: &impl Env) -> bool {
        self.holds(env)
    }

    /// As [`Self::eval`], where what operands mostly are takes no call.
    #[inline]
    fn operand(&self, env: &impl Env) -> Value {
        match self {
            Self::Constant(value) => *value,
            Self::Field(field) => env.field(*field),
            Self::Watched => env.value(),
            Self::Fact(fact) => env.fact(*fact, None),
            _ => self.eval(env),
        }
    }

    /// Its value.
    pub fn eval(&self, env: &impl Env) -> Value {
        match self {
            Self::Constant(value) => *value,
            Self::Field(field) => env.field(*field),
            Self::Captured(index) => env.captured(*index),
            Self::Fact(fact) => env.fact(*fact, None),
            Self::FactAt(fact, key) => match key.eval(env) {
                Value::Text(key) => env.fact(*fact, Some(key)),
                _ => Value::Missing,
            },
            Self::Previous(fact) => env.previous(*fact),
            Self::Watched => env.value(),
            Self::Session(field) => env.session(*field),
            Self::Schedule(schedule) => Value::Bool(env.schedule(*schedule)),
            Self::Column(table, column, key) => column_of(env, *table, *column, key.eval(env)),
            Self::HasRow(table, key) => match key.eval(env) {
                Value::Text(key) => Value::Bool(env.tables().has(*table as usize, key)),
                _ => Value::Missing,
            },
            Self::HasInteger(table, item) => match item.eval(env) {
                Value::Int(n) => Value::Bool(env.tables().has_integer(*table as usize, n)),
                _ => Value::Missing,
            },
            Self::InList(item, list) => in_list(env, item.eval(env), list.eval(env)),
            Self::OneOf(item, of) => match item.eval(env) {
                Value::Missing => Value::Missing,
                value => Value::Bool(is_one_of(value, of)),
            },
            Self::Has(inner) => Value::Bool(inner.eval(env) != Value::Missing),
            Self::Holds(inner) => Value::Bool(inner.holds(env)),
            Self::Not(inner) => match inner.eval(env) {
                Value::Bool(b) => Value::Bool(!b),
                _ => Value::Missing,
            },
            Self::Negate(inner) => match inner.eval(env) {
                Value::Int(n) => Value::Int(n.saturating_neg()),
                Value::Float(x) => Value::Float(-x),
                Value::Span(s) => Value::Span(s.negated()),
                _ => Value::Missing,
            },
            Self::And(a, b) => both(a.eval(env), false, || b.eval(env)),
            Self::Or(a, b) => both(a.eval(env), true, || b.eval(env)),
            Self::Compare(operator, a, b) => {
                compare(env, *operator, a.operand(env), b.operand(env))
                    .map_or(Value::Missing, Value::Bool)
            }
            Self::Arithmetic(operator, a, b) => {
                arithmetic(*operator, a.operand(env), b.operand(env))
            }
            Self::If(condition, yes, no) => match condition.eval(env) {
                Value::Bool(true) => yes.eval(env),
                Value::Bool(false) => no.eval(env),
                _ => Value::Missing,
            },
            Self::Text(test, a, b) => text_test(env, *test, a.eval(env), b.eval(env)),
            Self::Size(inner) => match inner.eval(env) {
                Value::Text(symbol) => {
                    Value::Int(env.interner().text(symbol).chars().count() as i64)
                }
                list @ Value::List { .. } => {
                    list_of(env, list).map_or(Value::Missing, |l| Value::Int(l.len() as i64))
                }
                _ => Value::Missing,
            },
            Self::Absolute(inner) => match inner.eval(env) {
                Value::Int(n) => Value::Int(n.saturating_abs()),
                Value::Float(x) => Value::Float(x.abs()),
                Value::Span(s) => Value::Span(TimeSpan(s.0.saturating_abs())),
                _ => Value::Missing,
            },
            Self::Distance(degrees) => {
                let at = |n: usize| degrees.get(n).and_then(|d| as_float(d.eval(env)));
                match (at(0), at(1), at(2), at(3)) {
                    (Some(a), Some(b), Some(c), Some(d)) => distance_km((a, b), (c, d)),
                    _ => Value::Missing,
                }
            }
            Self::Container(inner) => match inner.eval(env) {
                Value::Text(number) => Value::Bool(is_container(env.interner().text(number))),
                _ => Value::Missing,
            },
        }
    }
}

/// Along the great circle of a sphere of 6,371 km (haversine); at most half a percent off. The
/// functions are those of a library that gives the same bits everywhere: the platform's may not.
fn distance_km((lat_a, lon_a): (f64, f64), (lat_b, lon_b): (f64, f64)) -> Value {
    let half = |a: f64, b: f64| libm::sin((b - a).to_radians() / 2.0);
    let (north, east) = (half(lat_a, lat_b), half(lon_a, lon_b));
    let narrow = libm::cos(lat_a.to_radians()) * libm::cos(lat_b.to_radians());
    let chord = libm::sqrt(north * north + narrow * east * east);
    finite(2.0 * 6_371.0 * libm::asin(chord.min(1.0)))
}

fn finite(x: f64) -> Value {
    if x.is_finite() { Value::Float(x) } else { Value::Missing }
}

/// ISO 6346: three letters of the owner, a category (U container, J equipment on one, Z chassis),
/// six digits, and the digit that checks them.
fn is_container(number: &str) -> bool {
    let (Some((body, check)), true) = (number.split_at_checked(10), number.len() == 11) else {
        return false;
    };
    let letters = body.bytes().take(4).all(|c| c.is_ascii_uppercase());
    let digits = body.bytes().skip(4).chain(check.bytes()).all(|c| c.is_ascii_digit());
    let category = matches!(body.as_bytes()[3], b'U' | b'J' | b'Z');
    let value = |c: u8| match u32::from(c) {
        digit @ 48..=57 => digit - 48,
        // A is 10; what eleven divides is left out, or the remainder would not see it.
        letter => letter - 55 + (letter - 56) / 10,
    };
    let sum = |body: &str| body.bytes().enumerate().map(|(n, c)| value(c) << n).sum::<u32>();
    letters && digits && category && sum(body) % 11 % 10 == value(check.as_bytes()[0])
}

/// CEL's `&&` (`decides` false) and `||` (`decides` true), absorbing what is missing.
fn both(a: Value, decides: bool, b: impl FnOnce() -> Value) -> Value {
    let decided = Value::Bool(decides);
    if a == decided {
        return decided;
    }
    match (a, b()) {
        (_, b) if b == decided => decided,
        (Value::Bool(_), Value::Bool(_)) => Value::Bool(!decides),
        _ => Value::Missing,
    }
}

fn column_of(env: &impl Env, table: u16, column: u16, key: Value) -> Value {
    let Value::Text(row) = key else { return Value::Missing };
    match env.tables().cell(table as usize, row, column as usize) {
        None => Value::Missing,
        Some(Cell::String(symbol)) => Value::Text(*symbol),
        Some(Cell::Int(n)) => Value::Int(*n),
        Some(Cell::Float(x)) => Value::Float(*x),
        Some(Cell::Bool(b)) => Value::Bool(*b),
        Some(Cell::Duration(span)) => Value::Span(*span),
        Some(Cell::Time(at)) => Value::Time(*at),
        Some(Cell::Strings(_)) => Value::List { table, row, column },
    }
}

/// The texts of a value that is a list.
pub fn list_of(env: &impl Env, list: Value) -> Option<&[Symbol]> {
    let Value::List { table, row, column } = list else { return None };
    match env.tables().cell(table as usize, row, column as usize)? {
        Cell::Strings(texts) => Some(texts),
        _ => None,
    }
}

fn in_list(env: &impl Env, item: Value, list: Value) -> Value {
    match (item, list_of(env, list)) {
        (Value::Text(symbol), Some(texts)) => Value::Bool(texts.contains(&symbol)),
        _ => Value::Missing,
    }
}

/// Whether a value is one of a list of constants. Texts, which they mostly are, cost a comparison
/// of numbers each.
#[inline]
fn is_one_of(value: Value, of: &[Value]) -> bool {
    match value {
        Value::Text(item) => of.iter().any(|one| matches!(one, Value::Text(one) if *one == item)),
        _ => of.iter().any(|one| equal(*one, value) == Some(true)),
    }
}

#[inline]
fn equal(a: Value, b: Value) -> Option<bool> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Some(a == b),
        (Value::Bool(a), Value::Bool(b)) => Some(a == b),
        _ => order(a, b).map(|o| o == Ordering::Equal),
    }
}

fn order(a: Value, b: Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(&b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(&b),
        (Value::Int(a), Value::Float(b)) => (a as f64).partial_cmp(&b),
        (Value::Float(a), Value::Int(b)) => a.partial_cmp(&(b as f64)),
        (Value::Time(a), Value::Time(b)) => Some(a.cmp(&b)),
        (Value::Span(a), Value::Span(b)) => Some(a.cmp(&b)),
        _ => None,
    }
}

#[inline]
fn compare(env: &impl Env, operator: Operator, a: Value, b: Value) -> Option<bool> {
    if matches!(operator, Operator::Equal | Operator::NotEqual) {
        return equal(a, b).map(|same| same == (operator == Operator::Equal));
    }
    let order = match (a, b) {
        (Value::Text(a), Value::Text(b)) => {
            Some(env.interner().text(a).cmp(env.interner().text(b)))
        }
        _ => order(a, b),
    }?;
    Some(match operator {
        Operator::Less => order.is_lt(),
        Operator::LessEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        _ => order.is_ge(),
    })
}

/// Integers saturate (CEL says error); a division by zero is missing.
fn arithmetic(operator: Operator, a: Value, b: Value) -> Value {
    use Operator::{Add, Divide, Multiply, Remainder, Subtract};
    match (operator, a, b) {
        (Add, Value::Time(t), Value::Span(s)) | (Add, Value::Span(s), Value::Time(t)) => {
            Value::Time(t.plus(s))
        }
        (Subtract, Value::Time(t), Value::Span(s)) => Value::Time(t.minus(s)),
        (Subtract, Value::Time(a), Value::Time(b)) => Value::Span(EventTime::since(a, b)),
        (Add, Value::Span(a), Value::Span(b)) => Value::Span(TimeSpan(a.0.saturating_add(b.0))),
        (Subtract, Value::Span(a), Value::Span(b)) => {
            Value::Span(TimeSpan(a.0.saturating_sub(b.0)))
        }
        (Multiply, Value::Span(s), Value::Int(n)) | (Multiply, Value::Int(n), Value::Span(s)) => {
            Value::Span(TimeSpan(s.0.saturating_mul(n)))
        }
        (Multiply, Value::Span(s), Value::Float(x))
        | (Multiply, Value::Float(x), Value::Span(s)) => {
            if x.is_finite() {
                Value::Span(TimeSpan((s.0 as f64 * x) as i64))
            } else {
                Value::Missing
            }
        }
        (_, Value::Int(a), Value::Int(b)) => {
            let result = match operator {
                Add => Some(a.saturating_add(b)),
                Subtract => Some(a.saturating_sub(b)),
                Multiply => Some(a.saturating_mul(b)),
                Divide => a.checked_div(b),
                Remainder => a.checked_rem(b),
                _ => None,
            };
            result.map_or(Value::Missing, Value::Int)
        }
        (Remainder, ..) => Value::Missing,
        _ => match (as_float(a), as_float(b)) {
            (Some(a), Some(b)) => float_arithmetic(operator, a, b),
            _ => Value::Missing,
        },
    }
}

fn as_float(value: Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(n as f64),
        Value::Float(x) => Some(x),
        _ => None,
    }
}

fn float_arithmetic(operator: Operator, a: f64, b: f64) -> Value {
    let result = match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        _ => a / b,
    };
    finite(result)
}

fn text_test(env: &impl Env, test: TextTest, a: Value, b: Value) -> Value {
    let (Value::Text(a), Value::Text(b)) = (a, b) else { return Value::Missing };
    let (a, b) = (env.interner().text(a), env.interner().text(b));
    Value::Bool(match test {
        TextTest::StartsWith => a.starts_with(b),
        TextTest::EndsWith => a.ends_with(b),
        TextTest::Contains => a.contains(b),
    })
}

#[cfg(test)]
mod tests {
    use super::is_container;

    #[test]
    fn container_numbers_are_checked_as_iso_6346_says() {
        for good in ["CSQU3054383", "MWCU6059784", "CBHU3202732", "CSQU0000070"] {
            assert!(is_container(good), "{good}");
            // Any other check digit is wrong.
            for digit in "0123456789".chars().filter(|d| !good.ends_with(*d)) {
                let other = format!("{}{digit}", &good[..10]);
                assert!(!is_container(&other), "{other}");
            }
        }
        for bad in ["", "CSQU305438", "CSQU30543830", "csqu3054383", "CSQA3054383", "CSQÜ305438"] {
            assert!(!is_container(bad), "{bad}");
        }
        // The same serial as equipment and as a chassis has another check digit.
        for category in ["J", "Z"] {
            let valid = (0..10).filter(|d| is_container(&format!("CSQ{category}305438{d}")));
            assert_eq!(valid.count(), 1);
        }
    }
}
