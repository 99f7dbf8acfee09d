//! What a rule looks for: event, sequence, unless, watch, passage, travel.

use event::TimeSpan;
use event::config::{Node, Reader, Yaml};

use super::check::{Compiler, Names, Type};
use super::expr::Expr;
use super::rulebook::{Book, positive};
use super::syntax::Operator;
use super::{sequence, session};
use crate::condition::{Condition, Where};
use crate::plan::{Fact, FactId, FactKind, FieldRef, Guard, Pattern, Scope, Trigger};
use crate::value::Value;

/// Guards of one `unless`: their counts share a word.
const GUARDS_MAX: usize = 8;

/// Values a guard's condition may read of a guard event that came before.
const GUARD_CAPTURES_MAX: usize = 3;

/// Reads the pattern of a rule; fills in the rule's key where none was written.
pub fn read(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    by: &mut Option<Vec<FieldRef>>,
    scope: Scope,
) -> Option<Pattern> {
    let own = ["sequence", "watch", "session", "passage", "travel"];
    if let (Some(at), Some(word)) =
        (node.get("exceptions"), own.iter().find(|word| node.get(word).is_some()))
    {
        let help = Some("write it into the condition".to_owned());
        reader.error_with(at, format!("`exceptions` go with `on`, not with `{word}`"), help);
    }
    if node.get("sequence").is_some() {
        return sequence::read(book, reader, node, by).map(Pattern::Sequence);
    }
    if let Some(session) = node.get("session") {
        return session::read(book, reader, node, session, by).map(Pattern::Session);
    }
    if let Some(guards) = node.get("unless") {
        return unless(book, reader, node, guards, by);
    }
    if let Some(fact) = node.get("watch") {
        return watch(book, reader, node, fact, by, scope);
    }
    let windows = [("count", node.get("count")), ("distinct", node.get("distinct"))];
    if let Some((word, Some(window))) = windows.into_iter().find(|(_, window)| window.is_some()) {
        return self::window(book, reader, node, (word, window), by, scope);
    }
    if let Some(passage) = node.get("passage") {
        return self::passage(book, reader, passage, by);
    }
    if let Some(travel) = node.get("travel") {
        return self::travel(book, reader, travel, by);
    }
    let on = trigger(book, reader, node, &["e"])?;
    if by.is_none() {
        // The state it speaks by: that of the first fact it reads.
        *by = book.compiler.reads.first().map(|f| book.keys[f.0 as usize].clone());
    }
    check_scopes(book, reader, node, scope);
    Some(Pattern::Event(on))
}

fn check_scopes(book: &Book<'_>, reader: &mut Reader, node: &Node, scope: Scope) {
    for fact in &book.compiler.reads {
        if book.scopes[fact.0 as usize] != scope {
            let name = &book.compiler.facts[fact.0 as usize].name;
            let at = node.get("if").unwrap_or(node);
            reader.error_at(at, format!("fact `{name}` has another scope than the rule"));
        }
    }
}

/// Reads `on:` and `if:` of a mapping, over an event called by any of `names`.
fn trigger(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    current: &[&str],
) -> Option<Trigger> {
    let Some(on) = node.get("on") else {
        let help = Some("write on: AccessDenied".to_owned());
        reader.error_with(node, "`on` is missing: which kinds of event", help);
        return None;
    };
    let names =
        Names { current: current.iter().map(|n| (*n).to_owned()).collect(), ..Names::default() };
    let kinds = book.kinds(reader, on);
    let condition = node.get("if").and_then(|c| condition(book, reader, c, &names));
    let excepted = exceptions(book, reader, node, &names);
    Some(Trigger { kinds, condition: condition.into_iter().chain(excepted).reduce(Condition::and) })
}

/// `exceptions: {cleaners: e.person.role == 'cleaner'}`: where one is true the event is none of the
/// rule's. One that is missing excepts nothing.
fn exceptions(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    names: &Names,
) -> Vec<Condition> {
    let mut excepted = Vec::new();
    for (name, exception) in node.get("exceptions").map(Node::entries).unwrap_or_default() {
        let name = name.text();
        let condition = book.compiler.condition(reader, exception, names, name);
        excepted.extend(condition.map(Condition::excepted));
    }
    excepted
}

impl Compiler<'_> {
    /// As [`Self::expression`], of true or false, with the words it was written in; of an exception
    /// with its name.
    pub fn condition(
        &mut self,
        reader: &mut Reader,
        node: &Node,
        names: &Names,
        label: Option<&str>,
    ) -> Option<Condition> {
        let (expr, _) = self.expression(reader, node, names, Some(Type::Bool))?;
        let text = reader.scalar(node).unwrap_or_default().trim().to_owned();
        let place = Where::new(reader.shared_file(), reader.place_in(node, 0));
        Some(Condition::written(expr, text, place, label.map(str::to_owned)))
    }
}

/// Reads a condition.
pub fn condition(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    names: &Names,
) -> Option<Condition> {
    book.compiler.condition(reader, node, names, None)
}

/// Kinds alone, or `{on: …, if: …}`.
pub fn stream(book: &mut Book<'_>, reader: &mut Reader, node: &Node) -> Option<Trigger> {
    if matches!(node.value, Yaml::Mapping(_)) && node.get("detection").is_none() {
        reader.expect_keys(node, &["on", "if"]);
        return trigger(book, reader, node, &["e"]);
    }
    Some(Trigger { kinds: book.kinds(reader, node), condition: None })
}

/// `count` and `distinct`: an event that makes so many within a window.
fn window(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    (word, window): (&str, &Node),
    by: &mut Option<Vec<FieldRef>>,
    scope: Scope,
) -> Option<Pattern> {
    let distinct = word == "distinct";
    let keys: &[&str] =
        if distinct { &["of", "by", "within", "at_least"] } else { &["by", "within", "at_least"] };
    reader.expect_keys(window, keys);
    if let Some(inner) = window.get("by") {
        if by.is_some() {
            reader.error_at(inner, format!("`by` stands in the rule and in its `{word}`"));
        }
        *by = Some(book.key(reader, inner));
    }
    let key = by.get_or_insert_default().clone();
    let mut required = |key: &str, example: &str| {
        let found = window.get(key);
        if found.is_none() {
            let help = Some(format!("write {key}: {example}"));
            reader.error_with(window, format!("`{key}` is missing"), help);
        }
        found
    };
    let at_least = required("at_least", "3");
    let of = if distinct { required("of", "credential") } else { None };
    required("within", "60s");
    let within = positive(reader, window, "within");
    let at_least = reader.parsed::<u32>(at_least?, "a number");
    let of = of.map(|of| book.key(reader, of));
    let on = trigger(book, reader, node, &["e"])?;
    let within = within?;
    let limits = book.limits;
    if let Some(least) = at_least.filter(|least| *least > limits.events) {
        let at = window.get("at_least").unwrap_or(window);
        let message = format!("{least} events are never reached: `limits` keeps {}", limits.events);
        reader.error_at(at, message);
    }
    let kind = match of {
        Some(of) => FactKind::Distinct { on: on.clone(), of: *of.first()?, within },
        None => FactKind::Count { on: on.clone(), within },
    };
    let name = format!("{word} of {}", node.get("id").and_then(Node::text).unwrap_or_default());
    let fact = book.own_fact(Fact {
        name,
        scope,
        by: key,
        kind,
        reads: book.compiler.touched.clone(),
        reset: None,
        limits,
        whose: None,
    });
    check_scopes(book, reader, node, scope);
    book.compiler.reads.push(fact);
    book.compiler.touch(fact);
    let least = Expr::Constant(Value::Int(i64::from(at_least?)));
    let enough = Expr::Compare(Operator::GreaterEqual, Box::new(Expr::Fact(fact)), Box::new(least));
    let enough = Condition::from(enough);
    let condition = match on.condition {
        Some(condition) => condition.and(enough),
        None => enough,
    };
    Some(Pattern::Event(Trigger { kinds: on.kinds, condition: Some(condition) }))
}

fn unless(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    guards_node: &Node,
    by: &mut Option<Vec<FieldRef>>,
) -> Option<Pattern> {
    let on = trigger(book, reader, node, &["e"])?;
    let mut guards = Vec::new();
    for item in guards_node.items() {
        guards.extend(guard(book, reader, item));
    }
    if guards.is_empty() || guards.len() > GUARDS_MAX {
        reader.error_at(guards_node, format!("`unless` has 1 to {GUARDS_MAX} guards"));
        return None;
    }
    if by.is_none() {
        *by = guards.first().map(|g| g.same.clone());
    }
    Some(Pattern::Unless { on, guards })
}

fn guard(book: &mut Book<'_>, reader: &mut Reader, node: &Node) -> Option<Guard> {
    reader.expect_keys(node, &["on", "same", "if", "from", "to", "at_least"]);
    let Some(on) = node.get("on") else {
        reader.error_at(node, "`on` is missing: which kinds of event");
        return None;
    };
    let kinds = book.kinds(reader, on);
    let same = node.get("same").map(|n| book.key(reader, n)).unwrap_or_default();
    let from = reader.optional_span(node, "from").unwrap_or_default();
    let to = reader.optional_span(node, "to").unwrap_or_default();
    if from > TimeSpan::ZERO || to < TimeSpan::ZERO || from == to {
        let help = Some("write from: -10s, to: 2s; one of them may be left out".to_owned());
        reader.error_with(node, "a window reaches back to `from` ≤ 0 and on to `to` ≥ 0", help);
        return None;
    }
    let at_least = match node.get("at_least") {
        Some(n) => reader.parsed::<u8>(n, "a number from 1 to 255").unwrap_or(1).max(1),
        None => 1,
    };
    let names = |current: &str, earlier: &str| Names {
        current: vec![current.into()],
        earlier: vec![(earlier.into(), 0)],
        ..Names::default()
    };
    let expression = node.get("if");
    let forward = match expression {
        Some(c) if to > TimeSpan::ZERO => condition(book, reader, c, &names("x", "e")),
        _ => None,
    };
    let (mut backward, mut captures) = (None, Vec::new());
    if let Some(c) = expression.filter(|_| from < TimeSpan::ZERO) {
        let opening = std::mem::take(&mut book.compiler.captures);
        let told = reader.diagnostics.len();
        backward = condition(book, reader, c, &names("e", "x"));
        // What is wrong both ways is told once.
        if to > TimeSpan::ZERO {
            reader.diagnostics.truncate(told);
        }
        let found = std::mem::replace(&mut book.compiler.captures, opening);
        captures = found.into_iter().map(|capture| capture.field).collect();
        if captures.len() > GUARD_CAPTURES_MAX {
            let message = format!("reads more than {GUARD_CAPTURES_MAX} fields of `x`");
            reader.error_at(c, message);
        }
    }
    Some(Guard {
        kinds,
        same,
        forward,
        backward,
        captures,
        from,
        to,
        at_least: u32::from(at_least),
    })
}

fn watch(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    fact_node: &Node,
    by: &mut Option<Vec<FieldRef>>,
    scope: Scope,
) -> Option<Pattern> {
    let fact = book.fact(reader, fact_node, scope)?;
    let key = book.keys[fact.0 as usize].clone();
    if by.as_ref().is_some_and(|stated| *stated != key) {
        let at = node.get("by").unwrap_or(node);
        reader.error_at(at, "a watch is kept by its fact's key");
    }
    *by = Some(key.clone());
    let names = Names {
        value: book.compiler.facts[fact.0 as usize].ty,
        key_only: Some(key),
        ..Names::default()
    };
    let Some(expression) = node.get("if") else {
        let help = Some("write if: value >= 31".to_owned());
        reader.error_with(node, "`if` is missing: which values", help);
        return None;
    };
    let condition = condition(book, reader, expression, &names)?;
    let hold = match node.get("for") {
        None => None,
        Some(span) => Some(span_of(book, reader, span, &names)?),
    };
    let triggers: Vec<FactId> = book.compiler.reads.clone();
    book.compiler.touch(fact);
    if let Some(resolve) = node.get("resolve") {
        book.kinds(reader, resolve);
    }
    let clears = node.get("resolve").is_some();
    Some(Pattern::Watch { fact, condition, hold, triggers, clears })
}

/// A span written out (`30s`), or an expression that gives one.
pub fn span_of(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    names: &Names,
) -> Option<Expr> {
    if let Some(span) = node.text().and_then(TimeSpan::parse) {
        return Some(Expr::Constant(Value::Span(span)));
    }
    book.compiler.expression(reader, node, names, Some(Type::Span)).map(|(expr, _)| expr)
}

fn key_of(book: &mut Book<'_>, reader: &mut Reader, node: &Node) -> Option<Vec<FieldRef>> {
    let Some(by) = node.get("by") else {
        let help = Some("write by: person".to_owned());
        reader.error_with(node, "`by` is missing: whose presence", help);
        return None;
    };
    Some(book.key(reader, by))
}

fn passage(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    by: &mut Option<Vec<FieldRef>>,
) -> Option<Pattern> {
    reader.expect_keys(node, &["by", "on", "if", "from", "to", "forget", "forgive"]);
    *by = Some(key_of(book, reader, node)?);
    let on = trigger(book, reader, node, &["e"])?;
    let names = Names { current: vec!["e".into()], ..Names::default() };
    let mut side = |key: &str| match node.get(key) {
        Some(side) => {
            book.compiler.expression(reader, side, &names, Some(Type::Text)).map(|(expr, _)| expr)
        }
        None => book.compiler.access_point(key).or_else(|| {
            let help = format!("write {key}: e.area, or a table `access_points` with `from`, `to`");
            reader.error_with(node, format!("`{key}` is missing"), Some(help));
            None
        }),
    };
    let (from, to) = (side("from"), side("to"));
    let forget = positive(reader, node, "forget");
    Some(Pattern::Passage {
        on,
        from: from?,
        to: to?,
        forget: forget.unwrap_or(TimeSpan::from_secs(7 * 86_400)),
        forgive: node.get("forgive").and_then(|n| stream(book, reader, n)),
    })
}

fn travel(
    book: &mut Book<'_>,
    reader: &mut Reader,
    node: &Node,
    by: &mut Option<Vec<FieldRef>>,
) -> Option<Pattern> {
    reader.expect_keys(node, &["by", "on", "if", "place", "min_time"]);
    *by = Some(key_of(book, reader, node)?);
    let on = trigger(book, reader, node, &["e"])?;
    let place = match node.get("place") {
        None => FieldRef::Site,
        Some(place) => *book.key(reader, place).first()?,
    };
    let Some(min_time) = node.get("min_time") else {
        let help = Some("write min_time: 5m".to_owned());
        reader.error_with(node, "`min_time` is missing", help);
        return None;
    };
    let names = Names { current: vec!["e".into()], there: Some(place), ..Names::default() };
    let min_time = span_of(book, reader, min_time, &names)?;
    Some(Pattern::Travel { on, place, min_time })
}
