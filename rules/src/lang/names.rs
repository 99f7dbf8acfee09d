//! `lists` and `macros` of a rulebook: names for values, and for parts of expressions.

use event::Interner;
use event::config::{Node, Reader};
use event::model::{Model, Table, TableKind};

use super::check::Compiler;
use super::syntax::parse;

/// Adds the lists of one file to the model: a list is a table of keys alone, and is changed like
/// one.
pub fn lists(model: &mut Model, interner: &Interner, reader: &mut Reader, root: &Node) {
    for (name, node) in root.get("lists").map(Node::entries).unwrap_or_default() {
        let Some(text) = word(reader, name) else { continue };
        if model.table(&text).is_some() {
            reader.error_at(name, format!("`{text}` names something else already"));
            continue;
        }
        let texts: Vec<String> =
            node.items().iter().filter_map(|item| reader.scalar(item).map(str::to_owned)).collect();
        let numbers: Option<Vec<String>> = texts
            .iter()
            .map(|text| text.parse::<i64>().ok().map(|number| number.to_string()))
            .collect();
        let (keys, kind) = match numbers.filter(|numbers| !numbers.is_empty()) {
            Some(numbers) => (numbers, TableKind::Integers),
            None => (texts, TableKind::Texts),
        };
        let keys = keys.iter().filter_map(|key| interner.intern(key));
        let rows = keys.map(|key| (key, Vec::new())).collect();
        model.push(Table { name: text, kind, rows, ..Table::default() });
    }
}

/// Reads the macros of one file.
pub fn macros(compiler: &mut Compiler<'_>, reader: &mut Reader, root: &Node) {
    for (name, node) in root.get("macros").map(Node::entries).unwrap_or_default() {
        let Some(text) = word(reader, name) else { continue };
        if compiler.macros.contains_key(&text) || compiler.model.table(&text).is_some() {
            reader.error_at(name, format!("`{text}` names something else already"));
            continue;
        }
        let Some(expression) = reader.scalar(node).map(str::to_owned) else { continue };
        match parse(&expression) {
            Ok(_) => drop(compiler.macros.insert(text, expression.as_str().into())),
            Err(fault) => {
                let place = reader.place_in(node, fault.from);
                reader.error(place, fault.width as u32, fault.message, fault.help);
            }
        }
    }
}

/// A name that may stand in an expression.
fn word(reader: &mut Reader, name: &Node) -> Option<String> {
    let text = reader.scalar(name)?.to_owned();
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !word {
        let help = Some("write letters, digits and _".to_owned());
        reader.error_with(name, format!("`{text}` cannot stand in an expression"), help);
    }
    word.then_some(text)
}
