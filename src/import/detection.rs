//! A Sigma detection (`selection`s and a condition over them) as a CEL condition.

use event::config::{Node, Yaml};

/// Fields by their names here, and whether they hold numbers.
#[derive(Debug, Default)]
pub struct Fields {
    used: std::collections::BTreeMap<String, bool>,
}

impl Fields {
    /// A field's name here: `ComputerName` and `computer.name` are `computer_name`.
    pub fn named(&mut self, name: &str) -> String {
        let mut out = String::new();
        let mut lower = false;
        for c in name.chars() {
            if !c.is_ascii_alphanumeric() {
                lower = false;
                if !out.ends_with('_') {
                    out.push('_');
                }
                continue;
            }
            if c.is_ascii_uppercase() && lower {
                out.push('_');
            }
            lower = !c.is_ascii_uppercase();
            out.push(c.to_ascii_lowercase());
        }
        if event::vocabulary::HEADER_NAMES.contains(&out.as_str()) || out == "e" {
            out += "_value";
        }
        self.used.entry(out.clone()).or_insert(false);
        out
    }

    fn numeric(&mut self, name: &str) -> String {
        let name = self.named(name);
        self.used.insert(name.clone(), true);
        name
    }

    /// Names and types, for the section `fields`.
    pub fn declared(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.used
            .iter()
            .map(|(name, number)| (name.as_str(), if *number { "float" } else { "string" }))
    }
}

/// The condition of a detection, or what in it has no counterpart.
pub fn condition(detection: &Node, fields: &mut Fields) -> Result<String, String> {
    let text = detection.get("condition").and_then(Node::text);
    let text = text.ok_or("its condition is missing, or a list of several")?;
    let mut selections = Vec::new();
    for (name, node) in detection.entries() {
        let name = name.text().unwrap_or_default();
        if name != "condition" && name != "timeframe" {
            selections.push((name.to_owned(), selection(node, fields)?));
        }
    }
    over_selections(text, &selections)
}

/// A map is all of its entries; a list of maps any of them.
fn selection(node: &Node, fields: &mut Fields) -> Result<String, String> {
    match &node.value {
        Yaml::Mapping(entries) => {
            let parts: Result<Vec<_>, _> =
                entries.iter().map(|(key, value)| field(key, value, fields)).collect();
            Ok(joined(&parts?, " && "))
        }
        Yaml::Sequence(items) => {
            let parts: Result<Vec<_>, _> =
                items.iter().map(|item| selection(item, fields)).collect();
            Ok(joined(&parts?, " || "))
        }
        Yaml::Scalar { text, .. } => Err(format!("the keyword `{text}` is of no field")),
    }
}

fn joined(parts: &[String], with: &str) -> String {
    if parts.len() == 1 { parts[0].clone() } else { format!("({})", parts.join(with)) }
}

/// `Field|modifier|…: value`, or a list of values.
fn field(key: &Node, value: &Node, fields: &mut Fields) -> Result<String, String> {
    let key = key.text().unwrap_or_default();
    let mut words = key.split('|');
    let name = words.next().unwrap_or_default();
    let (mut all, mut test) = (false, "==");
    for word in words {
        match word {
            "all" => all = true,
            "contains" | "startswith" | "endswith" => test = word,
            "gt" => test = ">",
            "gte" => test = ">=",
            "lt" => test = "<",
            "lte" => test = "<=",
            "exists" => test = "has",
            _ => return Err(format!("the modifier `{word}` of `{key}`")),
        }
    }
    if value.is_null() {
        return Ok(format!("!has(e.{})", fields.named(name)));
    }
    let mut parts = Vec::new();
    for item in value.items() {
        let text = item.text().ok_or_else(|| format!("the value of `{key}`"))?;
        parts.push(one(name, test, text, fields)?);
    }
    Ok(joined(&parts, if all { " && " } else { " || " }))
}

fn one(name: &str, test: &str, text: &str, fields: &mut Fields) -> Result<String, String> {
    if matches!(test, ">" | ">=" | "<" | "<=") {
        let number = text.parse::<f64>().map_err(|_| format!("`{text}` is no number"))?;
        return Ok(format!("e.{} {test} {number:?}", fields.numeric(name)));
    }
    let field = fields.named(name);
    if test == "has" {
        let not = if text == "true" { "" } else { "!" };
        return Ok(format!("{not}has(e.{field})"));
    }
    let (begins, ends) = (text.starts_with('*'), text.len() > 1 && text.ends_with('*'));
    let inner = text.trim_start_matches('*').trim_end_matches('*');
    if inner.contains(['*', '?']) {
        return Err(format!("a wildcard inside `{text}`"));
    }
    let quoted = format!("'{}'", inner.replace('\\', "\\\\").replace('\'', "\\'"));
    Ok(match (test, begins, ends) {
        ("contains", ..) | (_, true, true) => format!("e.{field}.contains({quoted})"),
        ("startswith", ..) | (_, false, true) => format!("e.{field}.startsWith({quoted})"),
        ("endswith", ..) | (_, true, false) => format!("e.{field}.endsWith({quoted})"),
        _ => format!("e.{field} == {quoted}"),
    })
}

/// `selection and not 1 of filter_*`.
fn over_selections(text: &str, selections: &[(String, String)]) -> Result<String, String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let mut out = Vec::new();
    while let Some(word) = words.next() {
        let quantifier = match word {
            "1" | "any" => Some(" || "),
            "all" => Some(" && "),
            _ => None,
        };
        if let (Some(with), Some(&"of")) = (quantifier, words.peek()) {
            words.next();
            let which = words.next().unwrap_or_default();
            let prefix = which.strip_suffix('*');
            let chosen: Vec<String> = selections
                .iter()
                .filter(|(name, _)| match prefix {
                    Some(prefix) => name.starts_with(prefix),
                    None => which == "them" || name == which,
                })
                .map(|(_, condition)| condition.clone())
                .collect();
            if chosen.is_empty() {
                return Err(format!("`{which}` names no selection"));
            }
            out.push(joined(&chosen, with));
            continue;
        }
        out.push(match word {
            "and" => "&&".to_owned(),
            "or" => "||".to_owned(),
            "not" => "!".to_owned(),
            "(" | ")" => word.to_owned(),
            name => {
                let found = selections.iter().find(|(known, _)| known == name);
                let found = found.ok_or_else(|| format!("`{name}` in its condition"))?;
                let negated = out.last().is_some_and(|last: &String| last == "!");
                if negated { format!("({})", found.1) } else { found.1.clone() }
            }
        });
    }
    Ok(out.join(" ").replace("! ", "!"))
}
