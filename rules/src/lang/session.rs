//! `session`, and what its condition may ask: `s.count(Kind)`, `s.sum(Kind, e.people)`,
//! `s.open.field`, `s.close.field`, `s.closed`, `s.orphan`, `s.duration`.

use event::KindId;
use event::config::{Node, Reader, did_you_mean};

use super::check::{Compiler, Names, Type, Typed, fault, typed};
use super::expr::Expr;
use super::pattern::{condition, stream};
use super::rulebook::{Book, positive};
use super::syntax::{Ast, Fault, Node as Part};
use crate::condition::Condition;
use crate::plan::{Aggregate, Capture, FieldRef, Session, SessionField, Trigger};

/// Parts of a session that captures are of: the opening event, the closing one, what is counted.
const OPEN: u8 = 0;
const CLOSE: u8 = 1;
const COUNTED: u8 = 2;

/// What a condition may ask of a session.
const ASKED: &[(&str, SessionField, Type)] = &[
    ("closed", SessionField::Closed, Type::Bool),
    ("orphan", SessionField::Orphan, Type::Bool),
    ("duration", SessionField::Duration, Type::Span),
];

/// Values that events before a session may add to: they are kept in an entry.
const BEFORE_MAX: usize = 3;

/// Reads a session rule.
pub fn read(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    session: &Node,
    by: &mut Option<Vec<FieldRef>>,
) -> Option<Session> {
    reader.expect_keys(session, &["open", "close", "by", "grace", "max", "before"]);
    let any = session.get("by").and_then(|by| by.get("any"));
    if let Some(inner) = session.get("by") {
        if any.is_some() {
            reader.expect_keys(inner, &["any"]);
        }
        *by = Some(book.key(reader, any.unwrap_or(inner)));
    }
    if let (Some(_), Some(before)) = (any, session.get("before")) {
        reader.error_at(before, "`before` goes with one key, not with any of several");
    }
    if by.is_none() {
        let help = Some("write by: door".to_owned());
        reader.error_with(session, "`by` is missing: what begins and ends", help);
    }
    let mut end = |key: &str, example: &str| match session.get(key) {
        Some(end) => stream(book, reader, end),
        None => {
            let help = Some(format!("write {key}: {example}"));
            reader.error_with(session, format!("`{key}` is missing"), help);
            None
        }
    };
    let (open, close) = (end("open", "DoorOpened"), end("close", "DoorClosed"));
    let before = session.get("before").and_then(|before| {
        reader.expect_keys(before, &["on", "for"]);
        let kinds = before.get("on").map(|on| book.kinds(reader, on)).unwrap_or_default();
        let span = positive(reader, before, "for");
        if span.is_none() || kinds.is_empty() {
            let help = Some("write before: {on: AccessGranted, for: 10s}".to_owned());
            reader.error_with(before, "`before` says which kinds, and for how long", help);
        }
        Some((kinds, span?))
    });
    let names = Names { session: true, ..Names::default() };
    book.compiler.aggregates.clear();
    let condition = node.get("if").and_then(|c| condition(book, reader, c, &names));
    let aggregates = book.compiler.aggregates.clone();
    if let Some((kinds, _)) = &before {
        let early = |(_, a): &&(u8, Aggregate)| a.on.kinds.iter().any(|k| kinds.contains(k));
        if aggregates.iter().filter(early).count() > BEFORE_MAX {
            let message = format!("`before` adds to more than {BEFORE_MAX} counts");
            reader.error_at(session.get("before").unwrap_or(session), message);
        }
    }
    let orphans = condition.as_ref().is_some_and(|c| c.asks(SessionField::Orphan));
    Some(Session {
        any: any.is_some(),
        open: open?,
        close: close?,
        grace: reader.optional_span(session, "grace").unwrap_or_default(),
        max: positive(reader, session, "max"),
        before,
        aggregates,
        condition,
        orphans,
    })
}

impl Compiler<'_> {
    /// `s.closed`, `s.open.driver`; `None` where the member is of something else.
    pub fn session_member(
        &mut self,
        ast: &Ast,
        object: &Ast,
        member: &str,
    ) -> Result<Option<Typed>, Fault> {
        if matches!(&object.node, Part::Name("s")) {
            let asked = ASKED.iter().find(|(name, ..)| *name == member);
            if let Some((_, field, ty)) = asked {
                return Ok(Some(typed(Expr::Session(*field), *ty)));
            }
            let known = ASKED.iter().map(|(name, ..)| *name).chain(["open", "close"]);
            let help = did_you_mean(member, known)
                .or_else(|| Some("there are s.open.field, s.close.field, s.count(Kind)".into()));
            return Err(fault(ast, format!("a session has no `{member}`"), help));
        }
        let Part::Member(session, end) = &object.node else { return Ok(None) };
        if !matches!(&session.node, Part::Name("s")) {
            return Ok(None);
        }
        let part = match *end {
            "open" => OPEN,
            "close" => CLOSE,
            _ => return Ok(None),
        };
        self.captured(ast, part, None, member).map(Some)
    }

    /// `s.count(Kind, condition)`, `s.sum(Kind, number, condition)`.
    pub fn aggregate(
        &mut self,
        ast: &Ast,
        function: &str,
        arguments: &[Ast],
    ) -> Result<Typed, Fault> {
        let names = Names { current: vec!["e".into()], ..Names::default() };
        let (kinds, summed, condition) = match (function, arguments) {
            ("count", [kinds]) => (kinds, None, None),
            ("count", [kinds, condition]) => (kinds, None, Some(condition)),
            ("sum", [kinds, summed]) => (kinds, Some(summed), None),
            ("sum", [kinds, summed, condition]) => (kinds, Some(summed), Some(condition)),
            _ => {
                let help = Some("write s.count(Kind) or s.sum(Kind, e.field)".to_owned());
                return Err(fault(ast, format!("a session has no `{function}`"), help));
            }
        };
        let kinds = self.named_kinds(kinds)?;
        let condition = condition.map(|c| self.of_type(c, &names, Type::Bool)).transpose()?;
        let condition = condition.map(Condition::from);
        let (sum, ty) = match summed {
            None => (None, Type::Int),
            Some(summed) => {
                let done = self.compile(summed, &names)?;
                if !matches!(done.ty, Type::Int | Type::Float) {
                    return Err(fault(summed, format!("{} is no number", done.ty.name()), None));
                }
                (Some(done.expr), done.ty)
            }
        };
        let aggregate = Aggregate { on: Trigger { kinds, condition }, sum };
        if let Some((place, _)) = self.aggregates.iter().find(|(_, known)| *known == aggregate) {
            return Ok(typed(Expr::Captured(*place), ty));
        }
        let nth = Some(self.aggregates.len() as u8);
        let place = self.capture(ast, Capture { part: COUNTED, nth, field: FieldRef::Time })?;
        self.aggregates.push((place, aggregate));
        Ok(typed(Expr::Captured(place), ty))
    }

    fn named_kinds(&self, ast: &Ast) -> Result<Vec<KindId>, Fault> {
        let one = |ast: &Ast| match &ast.node {
            Part::Name(name) => self.vocabulary.kind_named(name).ok_or_else(|| {
                let known = self.vocabulary.kinds().iter().map(|k| k.name.as_str());
                fault(ast, format!("no kind of event `{name}`"), did_you_mean(name, known))
            }),
            _ => Err(fault(ast, "which kinds of event".into(), None)),
        };
        match &ast.node {
            Part::List(items) => items.iter().map(one).collect(),
            _ => Ok(vec![one(ast)?]),
        }
    }
}
