//! Facts: named state kept by key.

use event::TimeSpan;
use event::config::{Node, Reader};

use super::check::{Compiler, KnownFact, Names, Type};
use super::rulebook::{key, kinds, positive};
use crate::plan::{Fact, FactKind, FieldRef, Scope, Trigger};
use crate::value::Value;

/// A fact whose name, key and type are known, and whose expressions are not compiled yet: facts
/// may read one another.
#[derive(Debug)]
pub struct DraftFact {
    name: String,
    /// Its scope.
    pub scope: Scope,
    /// Its key.
    pub by: Vec<FieldRef>,
}

const KEYS: &[&str] =
    &["count", "distinct", "on", "if", "by", "within", "scope", "up", "down", "set", "init", "ttl"];

/// Reads what others need to know of a fact.
pub fn draft(
    compiler: &mut Compiler<'_>,
    reader: &mut Reader,
    name: &Node,
    node: &Node,
) -> Option<DraftFact> {
    let text = reader.scalar(name)?.to_owned();
    reader.expect_keys(node, KEYS);
    if compiler.facts.iter().any(|f| f.name == text) {
        reader.error_at(name, format!("fact `{text}` stands twice"));
        return None;
    }
    if matches!(text.as_str(), "e" | "x" | "value") {
        reader.error_at(name, format!("`{text}` cannot name a fact: expressions use it"));
        return None;
    }
    let by = match node.get("by") {
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
    compiler.facts.push(KnownFact { name: text.clone(), ty, parts: by.len() });
    Some(DraftFact { name: text, scope, by })
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
    let node = root.get("facts")?.get(&draft.name)?;
    compiler.reads.clear();
    let kind = kind(compiler, reader, node, number)?;
    let reads = std::mem::take(&mut compiler.reads);
    Some(Fact { name: draft.name.clone(), scope: draft.scope, by: draft.by.clone(), kind, reads })
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
    let help = Some("write count:, distinct:, up: and down:, or set:".to_owned());
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
    let condition =
        condition.and_then(|c| compiler.expression(reader, c, &names, Some(Type::Bool)));
    Trigger { kinds: kinds(compiler, reader, on), condition: condition.map(|(c, _)| c) }
}
