//! Facts: named state kept by key.

use event::TimeSpan;
use event::config::{Node, Reader, did_you_mean};

use super::check::{Compiler, KnownFact, Names, Type};
use super::rulebook::{key, kinds, limits, positive};
use crate::plan::{Fact, FactId, FactKind, FieldRef, Scope, TallyPart, Trigger};
use crate::value::Value;

/// A fact whose name, key and type are known, and whose expressions are not compiled yet: facts
/// may read one another.
#[derive(Debug)]
pub struct DraftFact {
    name: String,
    /// Its place among the facts of its file.
    place: usize,
    /// Its scope.
    pub scope: Scope,
    /// Its key.
    pub by: Vec<FieldRef>,
}

const KEYS: &[&str] = &[
    "count", "distinct", "on", "if", "by", "within", "scope", "up", "down", "set", "init", "ttl",
    "tally", "reset", "limits",
];

/// Reads what others need to know of a fact.
pub fn draft(
    compiler: &mut Compiler<'_>,
    reader: &mut Reader,
    place: usize,
    (name, node): &(Node, Node),
) -> Option<DraftFact> {
    let text = reader.scalar(name)?.to_owned();
    reader.expect_keys(node, KEYS);
    if compiler.fact_named(&text).is_some() {
        reader.error_at(name, format!("fact `{text}` stands twice"));
        return None;
    }
    if matches!(text.as_str(), "e" | "x" | "value") {
        reader.error_at(name, format!("`{text}` cannot name a fact: expressions use it"));
        return None;
    }
    let by = match node.get("by") {
        Some(by) if !by.entries().is_empty() => {
            let named: Vec<&Node> = by.entries().iter().map(|(name, _)| name).collect();
            named.into_iter().flat_map(|name| key(compiler, reader, name)).collect()
        }
        Some(by) => key(compiler, reader, by),
        None => {
            let help = Some("write by: door".to_owned());
            reader.error_with(node, "`by` is missing", help);
            Vec::new()
        }
    };
    let words = [("site", Scope::Site), ("enterprise", Scope::Enterprise)];
    let scope = node.get("scope").and_then(|n| reader.one_of(n, &words)).unwrap_or_default();
    let ty = match (node.get("set"), node.get("init")) {
        (None, _) => Some(Type::Int),
        (Some(_), Some(init)) => constant(compiler, reader, init).map(|(_, ty)| ty),
        (Some(_), None) => None,
    };
    compiler.know_fact(KnownFact { name: text.clone(), ty, parts: by.len() });
    Some(DraftFact { name: text, place, scope, by })
}

/// A value written in YAML: a CEL constant, or a bare word as a text.
fn constant(
    compiler: &mut Compiler<'_>,
    reader: &mut Reader,
    node: &Node,
) -> Option<(Value, Type)> {
    let text = reader.scalar(node)?;
    let number = text.parse::<i64>().map(|n| (Value::Int(n), Type::Int)).ok();
    let float = || text.parse::<f64>().map(|x| (Value::Float(x), Type::Float)).ok();
    let word = || match text {
        "true" | "false" => Some((Value::Bool(text == "true"), Type::Bool)),
        _ => {
            let bare = text.trim_matches('\'');
            compiler.interner.intern(bare).map(|s| (Value::Text(s), Type::Text))
        }
    };
    number.or_else(float).or_else(word)
}

/// Compiles a drafted fact.
pub fn finish(
    compiler: &mut Compiler<'_>,
    reader: &mut Reader,
    root: &Node,
    draft: &DraftFact,
    number: usize,
) -> Option<Fact> {
    let (_, node) = root.get("facts")?.entries().get(draft.place)?;
    compiler.reads.clear();
    compiler.touched.clear();
    let kind = match node.get("tally") {
        Some(of) => tally(compiler, reader, root, node, of, draft)?,
        None => kind(compiler, reader, node, number)?,
    };
    let reset = node.get("reset").map(|reset| match reset.get("on") {
        Some(on) => {
            reader.expect_keys(reset, &["on", "if"]);
            trigger(compiler, reader, on, reset.get("if"))
        }
        None => trigger(compiler, reader, reset, None),
    });
    let mut reads = std::mem::take(&mut compiler.touched);
    if let FactKind::Tally { of, .. } = &kind {
        reads.push(*of);
        if let Some(at) = node.get("reset") {
            reader.error_at(at, "a tally follows its fact: reset that one");
        }
    }
    let (name, scope, by) = (draft.name.clone(), draft.scope, draft.by.clone());
    let limits = limits(reader, node);
    Some(Fact { name, scope, by, kind, reads, reset, limits, whose: None })
}

/// `{tally: where, by: {area: value}}`, `{tally: open, by: door.interlock, if: value}`.
fn tally(
    compiler: &mut Compiler<'_>,
    reader: &mut Reader,
    root: &Node,
    node: &Node,
    of: &Node,
    draft: &DraftFact,
) -> Option<FactKind> {
    let name = reader.scalar(of)?;
    let counted = root.get("facts").and_then(|facts| facts.get(name));
    let known = compiler.fact_named(name).map(|fact| usize::from(fact.0));
    let (Some(known), Some(counted)) = (known, counted.filter(|fact| fact.get("set").is_some()))
    else {
        let sets = root.get("facts").map(Node::entries).unwrap_or_default();
        let sets = sets.iter().filter(|(_, fact)| fact.get("set").is_some());
        let help = did_you_mean(name, sets.filter_map(|(name, _)| name.text()));
        let message = format!("no fact `{name}` of this file that is `set`");
        reader.error_with(of, message, help);
        return None;
    };
    let by = node.get("by")?;
    let mut have = Vec::new();
    if let Some(by) = counted.get("by") {
        have = key(compiler, reader, by);
    }
    let mut parts = Vec::new();
    for (place, field) in draft.by.iter().enumerate() {
        let value = by.entries().get(place).map(|(_, value)| value);
        let from_key = match field {
            FieldRef::Joined { of, .. } => have.contains(field) || have.contains(&of.field()),
            field => have.contains(field),
        };
        match value {
            Some(value) if value.text() != Some("value") => {
                reader.error_with(value, "not where a key comes from", Some("write value".into()));
            }
            Some(_) => parts.push(TallyPart::Value),
            None if from_key => parts.push(TallyPart::Key(*field)),
            None => {
                let help = Some(format!("write by: {{area: value}} to count values of `{name}`"));
                reader.error_with(by, format!("`{name}` is not kept by this"), help);
            }
        }
    }
    let ty = compiler.facts[known].ty;
    if parts.contains(&TallyPart::Value) && ty.is_some_and(|ty| ty != Type::Text) {
        reader.error_at(of, format!("the values of `{name}` are no texts"));
    }
    let names = Names { value: ty, key_only: Some(have), ..Names::default() };
    let condition = match node.get("if") {
        Some(c) => Some(compiler.condition(reader, c, &names, None)?),
        None => None,
    };
    Some(FactKind::Tally { of: FactId(known as u16), parts, condition })
}

fn kind(
    compiler: &mut Compiler<'_>,
    reader: &mut Reader,
    node: &Node,
    number: usize,
) -> Option<FactKind> {
    if let Some(of) = node.get("count") {
        let on = trigger(compiler, reader, of, node.get("if"));
        return Some(FactKind::Count { on, within: window(reader, node)? });
    }
    if let Some(of) = node.get("distinct") {
        let field = *key(compiler, reader, of).first()?;
        let Some(kinds) = node.get("on") else {
            reader.error_at(node, "`on` is missing: which kinds of event count");
            return None;
        };
        let on = trigger(compiler, reader, kinds, node.get("if"));
        return Some(FactKind::Distinct { on, of: field, within: window(reader, node)? });
    }
    if let (Some(up), Some(down)) = (node.get("up"), node.get("down")) {
        let mut side = |side: &Node| {
            reader.expect_keys(side, &["on", "if"]);
            let Some(kinds) = side.get("on") else {
                reader.error_at(side, "`on` is missing");
                return Trigger { kinds: Vec::new(), condition: None };
            };
            trigger(compiler, reader, kinds, side.get("if"))
        };
        return Some(FactKind::Balance { up: side(up), down: side(down) });
    }
    if let Some(set) = node.get("set") {
        return setting(compiler, reader, node, set, number);
    }
    let help = Some("write count:, distinct:, up: and down:, set:, or tally:".to_owned());
    reader.error_with(node, "a fact that keeps nothing", help);
    None
}

fn window(reader: &mut Reader, node: &Node) -> Option<TimeSpan> {
    if node.get("within").is_none() {
        let help = Some("write within: 60s".to_owned());
        reader.error_with(node, "`within` is missing", help);
    }
    positive(reader, node, "within")
}

fn setting(
    compiler: &mut Compiler<'_>,
    reader: &mut Reader,
    node: &Node,
    set: &Node,
    number: usize,
) -> Option<FactKind> {
    let init = node.get("init").and_then(|n| constant(compiler, reader, n));
    let condition = node.get("if");
    let mut on = Vec::new();
    for (kind, value) in set.entries() {
        let wanted = compiler.facts[number].ty;
        let names = Names { current: vec!["e".into()], value: wanted, ..Names::default() };
        let trigger = trigger(compiler, reader, kind, condition);
        let Some((value, ty)) = compiler.expression(reader, value, &names, wanted) else {
            continue;
        };
        compiler.facts[number].ty = Some(ty);
        on.push((trigger, value));
    }
    if set.entries().is_empty() {
        let help = Some("write set: {DoorOpened: 'true', DoorClosed: 'false'}".to_owned());
        reader.error_with(set, "nothing sets the fact", help);
    }
    let init = init.map_or(Value::Missing, |(value, _)| value);
    Some(FactKind::Set { on, init, ttl: positive(reader, node, "ttl") })
}

fn trigger(
    compiler: &mut Compiler<'_>,
    reader: &mut Reader,
    on: &Node,
    condition: Option<&Node>,
) -> Trigger {
    let names = Names { current: vec!["e".into()], ..Names::default() };
    let condition = condition.and_then(|c| compiler.condition(reader, c, &names, None));
    Trigger { kinds: kinds(compiler, reader, on), condition }
}
