//! A condition with the words it was written in: what explains it, and never what runs.

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

/// What must hold of one field, in two words: what does not pass does not meet the condition. Where it is
/// one of several texts, a mask of them is looked at, and of what does not meet it some passes.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    word: u32,
    field: FieldId,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Open,
    Text,
    /// One of up to four texts: a byte of a hash of each.
    Few,
    /// One of several: a bit of each.
    Texts,
    AtLeast,
    Below,
    /// What the event has been counted to, by the place among those that are counted so.
    Counted,
}

/// What counts have come to that the event which is judged is one of: of those facts that most rules ask
/// for, by their places.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    known: u32,
    counts: [i32; COUNTED_MAX],
}

/// So many facts have a place.
pub const COUNTED_MAX: usize = 32;

impl Counted {
    /// Another event is judged.
    #[inline]
    pub fn clear(&mut self) {
        self.known = 0;
    }

    /// What a count has come to with it.
    #[inline]
    pub fn set(&mut self, place: u8, count: i64) {
        self.known |= 1 << place;
        self.counts[usize::from(place)] = i32::try_from(count).unwrap_or(i32::MAX);
    }
}

impl Gate {
    /// Texts of which there is a byte of each.
    const FEW: usize = 4;

    /// All pass.
    pub const OPEN: Self = Self { word: 0, field: FieldId(0), how: How::Open };

    /// What a test lets pass; and whether that is just what meets it.
    fn of(test: &Test) -> (Self, bool) {
        match test {
            Test::Text(field, text) => (Self { word: text.0, field: *field, how: How::Text }, true),
            Test::OneOf(field, texts) => {
                let (field, texts) = (*field, texts.all());
                if let ([_, .., last], true) = (texts, texts.len() <= Self::FEW) {
                    let text = |nth: usize| Self::fingerprint(texts.get(nth).unwrap_or(last).0);
                    let word = u32::from_le_bytes([0, 1, 2, 3].map(text));
                    return (Self { word, field, how: How::Few }, false);
                }
                let word = texts.iter().fold(0, |all, text| all | Self::bit(*text));
                (Self { word, field, how: How::Texts }, false)
            }
            Test::Within(field, Bound { least, is }) => match i32::try_from(*least) {
                Ok(least) => {
                    let how = if *is { How::AtLeast } else { How::Below };
                    (Self { word: least as u32, field: *field, how }, true)
                }
                Err(_) => (Self::OPEN, false),
            },
        }
    }

    /// The field and the text that lets pass, where it is one text.
    pub(crate) fn text(self) -> Option<(FieldId, u32)> {
        (self.how == How::Text).then_some((self.field, self.word))
    }

    /// What a count lets pass that must come to so many.
    pub fn counted(place: u8, least: i64) -> Option<Self> {
        let word = i32::try_from(least).ok()? as u32;
        Some(Self { word, field: FieldId(place), how: How::Counted })
    }

    /// One that lets pass what either does, where they ask the same.
    pub fn either(self, other: Self) -> Option<Self> {
        if self.asks()? != other.asks()? {
            return None;
        }
        let (a, b) = (self.word as i32, other.word as i32);
        let (word, how) = match self.how {
            How::Text if other.how == How::Text && a == b => (self.word, How::Text),
            How::Open | How::Text | How::Few | How::Texts => {
                (self.texts() | other.texts(), How::Texts)
            }
            How::AtLeast | How::Counted => (a.min(b) as u32, self.how),
            How::Below => (a.max(b) as u32, self.how),
        };
        Some(Self { word, how, ..self })
    }

    /// What it asks, whatever it wants to hear; nothing, where it is open.
    pub fn asks(self) -> Option<(u8, u8)> {
        let how = match self.how {
            How::Open => return None,
            How::Text | How::Few | How::Texts => 0,
            How::AtLeast => 1,
            How::Below => 2,
            How::Counted => 3,
        };
        Some((how, self.field.0))
    }

    fn texts(self) -> u32 {
        match self.how {
            How::Text => Self::bit(Symbol(self.word)),
            // A text's bit is said by the upper bits of its byte.
            How::Few => self.word.to_le_bytes().iter().fold(0, |all, byte| all | 1 << (byte >> 3)),
            _ => self.word,
        }
    }

    #[inline]
    fn bit(text: Symbol) -> u32 {
        1 << (Self::fingerprint(text.0) >> 3)
    }

    #[inline]
    fn fingerprint(text: u32) -> u8 {
        (text.wrapping_mul(0x9e37_79b9) >> 24) as u8
    }

    /// Whether a text is one of several, most likely.
    #[inline]
    fn admits(self, text: u32) -> bool {
        let byte = Self::fingerprint(text);
        if self.how == How::Few {
            // Whether one of the bytes is the same: then there is a zero.
            let off = self.word ^ u32::from_le_bytes([byte; Self::FEW]);
            return off.wrapping_sub(0x0101_0101) & !off & 0x8080_8080 != 0;
        }
        self.word & 1 << (byte >> 3) != 0
    }

    /// Of the texts that pass, so many bits that few others have: all where it is not of several texts.
    pub fn bits(self, condition: &Condition) -> u64 {
        let Form::Fields(tests, _) = &condition.form else { return self.own_bits() };
        let texts = tests.iter().find_map(|test| match test {
            Test::OneOf(field, texts) if *field == self.field => Some(texts.all()),
            _ => None,
        });
        match texts {
            Some(texts) if matches!(self.how, How::Few | How::Texts) => {
                texts.iter().fold(0, |all, text| all | Self::fine_bit(*text))
            }
            _ => self.own_bits(),
        }
    }

    /// Whether it lets one of several texts pass: then its bits are looked at.
    pub fn is_of_texts(self) -> bool {
        self.how == How::Texts
    }

    fn own_bits(self) -> u64 {
        if self.how == How::Text { Self::fine_bit(Symbol(self.word)) } else { u64::MAX }
    }

    #[inline]
    fn fine_bit(text: Symbol) -> u64 {
        1 << (text.0.wrapping_mul(0x85eb_ca6b) >> 26)
    }

    /// Whether the text of an event that passes is, most likely, one of those whose bits these are.
    #[inline]
    pub fn is_among(self, event: EventRef<'_>, bits: u64) -> bool {
        let text = |value| bits & Self::fine_bit(Symbol(value as u32)) != 0;
        self.how != How::Texts || event.slot(self.field).is_some_and(text)
    }

    /// Whether an event may meet the condition.
    #[inline(always)]
    pub fn passes(self, event: EventRef<'_>, counted: &Counted) -> bool {
        if self.how == How::Open {
            return true;
        }
        if self.how == How::Text {
            return event.slot(self.field).is_some_and(|value| value as u32 == self.word);
        }
        if self.how == How::Counted {
            let place = usize::from(self.field.0) & (COUNTED_MAX - 1);
            // Of one that did not count the event nothing is known.
            return counted.known >> place & 1 == 0 || counted.counts[place] >= self.word as i32;
        }
        let Some(value) = event.slot(self.field) else { return false };
        let least = i64::from(self.word as i32);
        match self.how {
            How::Open | How::Text | How::Counted => true,
            How::Few | How::Texts => self.admits(value as u32),
            How::AtLeast => value as i64 >= least,
            How::Below => (value as i64) < least,
        }
    }
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
