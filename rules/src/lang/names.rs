//! `lists` and `macros` of a rulebook: names for values, and for parts of expressions.

use std::sync::Arc;

use event::config::{Node, Reader};

use super::check::{Compiler, Type};
use super::syntax::parse;
use crate::value::Value;

/// Reads both sections of one file.
pub fn read(compiler: &mut Compiler<'_>, reader: &mut Reader, root: &Node) {
    for (name, node) in root.get("lists").map(Node::entries).unwrap_or_default() {
        let Some(text) = free(compiler, reader, name) else { continue };
        let texts: Vec<String> =
            node.items().iter().filter_map(|item| reader.scalar(item).map(str::to_owned)).collect();
        let numbers: Option<Vec<Value>> =
            texts.iter().map(|text| text.parse().ok().map(Value::Int)).collect();
        let (values, ty) = match numbers.filter(|numbers| !numbers.is_empty()) {
            Some(numbers) => (numbers, Type::Int),
            None => {
                let symbol = |text: &String| compiler.interner.intern(text).map(Value::Text);
                (texts.iter().filter_map(symbol).collect(), Type::Text)
            }
        };
        compiler.lists.insert(text, (Arc::from(values), ty));
    }
    for (name, node) in root.get("macros").map(Node::entries).unwrap_or_default() {
        let Some(text) = free(compiler, reader, name) else { continue };
        let Some(expression) = reader.scalar(node).map(str::to_owned) else { continue };
        match parse(&expression) {
            Ok(ast) => drop(compiler.macros.insert(text, ast)),
            Err(fault) => {
                let place = reader.place_in(node, fault.from);
                reader.error(place, fault.width as u32, fault.message, fault.help);
            }
        }
    }
}

/// A name that nothing else has.
fn free(compiler: &Compiler<'_>, reader: &mut Reader, name: &Node) -> Option<String> {
    let text = reader.scalar(name)?.to_owned();
    let taken = compiler.lists.contains_key(&text)
        || compiler.macros.contains_key(&text)
        || compiler.model.table(&text).is_some();
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if taken {
        reader.error_at(name, format!("`{text}` names something else already"));
    } else if !word {
        let help = Some("write letters, digits and _".to_owned());
        reader.error_with(name, format!("`{text}` cannot stand in an expression"), help);
    }
    (!taken && word).then_some(text)
}
