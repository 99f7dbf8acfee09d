//! Sigma rules and correlations (SigmaHQ specification 2) as a rulebook.

use std::fmt::Write as _;

use event::config::{Node, Reader};

use super::detection::{Fields, condition};

/// One document, parsed.
pub struct Document {
    place: String,
    root: Node,
}

/// What became of them.
pub struct Imported {
    /// The rulebook.
    pub rulebook: String,
    /// Rules in it.
    pub rules: usize,
    /// What it cannot say, and why.
    pub refused: Vec<String>,
}

/// The documents of a file: they are parted by `---`.
pub fn documents(path: &str, text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut part = String::new();
    for line in text.lines().chain(["---"]) {
        if line.trim_end() == "---" {
            if !part.trim().is_empty() {
                let (_, root) = Reader::parse(path, &part);
                documents.push(Document { place: path.to_owned(), root });
            }
            part.clear();
        } else {
            part += line;
            part.push('\n');
        }
    }
    documents
}

/// Which events a referred rule is of.
#[derive(Clone, Debug)]
enum Events {
    /// A kind, and what must hold.
    Kind { kind: String, condition: Option<String> },
    /// The detections of another correlation.
    Detection(String),
}

struct Import<'a> {
    documents: &'a [Document],
    fields: Fields,
    kinds: Vec<String>,
    facts: String,
    rules: String,
    notes: Vec<String>,
}

/// Translates all documents.
pub fn import(documents: &[Document]) -> Imported {
    let mut import = Import {
        documents,
        fields: Fields::default(),
        kinds: Vec::new(),
        facts: String::new(),
        rules: String::new(),
        notes: Vec::new(),
    };
    let (mut rules, mut refused) = (0, Vec::new());
    for document in documents {
        let title = word(&document.root, "title").unwrap_or("a rule without a title");
        let done = if document.root.get("correlation").is_some() {
            import.correlation(&document.root)
        } else if import.is_referred(&document.root) {
            // It stands within the correlations that refer to it.
            continue;
        } else {
            import.single(&document.root)
        };
        match done {
            Ok(()) => rules += 1,
            Err(reason) => refused.push(format!("{} ({title}): {reason}", document.place)),
        }
    }
    Imported { rulebook: import.written(), rules, refused }
}

fn word<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key).and_then(Node::text)
}

fn words<'n>(node: &'n Node, key: &str) -> Vec<&'n str> {
    let items = node.get(key).map(Node::items).unwrap_or_default();
    items.iter().filter_map(Node::text).collect()
}

/// `many-failed-logins`.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

/// `ReconCmdA`; of an id `Sigma5638f7c0`.
fn kind_of(text: &str) -> String {
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let capital = |part: &str| {
        let mut chars = part.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    let is_id = text.len() == 36 && text.matches('-').count() == 4;
    let kind: String = if is_id { capital(&text[..8]) } else { parts.map(capital).collect() };
    if is_id || !kind.starts_with(|c: char| c.is_ascii_alphabetic()) {
        format!("Sigma{kind}")
    } else {
        kind
    }
}

fn severity(root: &Node) -> &str {
    match word(root, "level") {
        Some("informational") => "info",
        Some(level @ ("low" | "medium" | "high" | "critical")) => level,
        _ => "medium",
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Import<'_> {
    fn id(&self, root: &Node) -> String {
        let text = word(root, "name").or_else(|| word(root, "title")).or_else(|| word(root, "id"));
        let id = slug(text.unwrap_or("sigma"));
        let again = self.rules.matches(&format!("- id: {id}\n")).count();
        if again > 0 { format!("{id}-{}", again + 1) } else { id }
    }

    fn find(&self, reference: &str) -> Option<&Node> {
        let refers = |root: &&Node| {
            word(root, "id") == Some(reference) || word(root, "name") == Some(reference)
        };
        self.documents.iter().map(|document| &document.root).find(refers)
    }

    fn is_referred(&self, root: &Node) -> bool {
        let own = [word(root, "id"), word(root, "name")];
        let correlations = self.documents.iter().filter_map(|d| d.root.get("correlation"));
        let mut references = correlations.flat_map(|c| words(c, "rules"));
        references.any(|reference| own.contains(&Some(reference)))
    }

    fn kind(&mut self, name: String) -> String {
        if !self.kinds.contains(&name) {
            self.kinds.push(name.clone());
        }
        name
    }

    /// The kind and the condition of a rule with a detection.
    fn events_of(&mut self, root: &Node) -> Result<Events, String> {
        let detection = root.get("detection").ok_or("it has neither detection nor correlation")?;
        let source = root.get("logsource").ok_or("its logsource is missing")?;
        let parts = ["product", "category", "service"].map(|key| word(source, key));
        let name: Vec<&str> = parts.into_iter().flatten().collect();
        if name.is_empty() {
            return Err("its logsource names nothing".to_owned());
        }
        let kind = self.kind(kind_of(&name.join("-")));
        let condition = Some(condition(detection, &mut self.fields)?);
        Ok(Events::Kind { kind, condition })
    }

    fn events(&mut self, reference: &str) -> Result<Events, String> {
        let Some(root) = self.find(reference).cloned() else {
            let kind = self.kind(kind_of(reference));
            let note = format!(
                "{kind}: the rule {reference} was not given; map what it finds to this kind"
            );
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
            return Ok(Events::Kind { kind, condition: None });
        };
        if root.get("correlation").is_some() {
            return Ok(Events::Detection(slug(
                word(&root, "name").or_else(|| word(&root, "title")).unwrap_or(reference),
            )));
        }
        self.events_of(&root)
    }

    fn head(&mut self, root: &Node) {
        let id = self.id(root);
        let title = quoted(word(root, "title").unwrap_or(&id));
        let severity = severity(root);
        writeln!(self.rules, "- id: {id}\n  title: {title}\n  severity: {severity}")
            .unwrap_or_default();
        if let Some(text) = word(root, "description") {
            writeln!(self.rules, "  procedure: {}", quoted(text)).unwrap_or_default();
        }
    }

    /// A rule of its own.
    fn single(&mut self, root: &Node) -> Result<(), String> {
        let Events::Kind { kind, condition } = self.events_of(root)? else { return Ok(()) };
        self.head(root);
        writeln!(self.rules, "  on: {kind}").unwrap_or_default();
        if let Some(condition) = condition {
            writeln!(self.rules, "  if: {}", quoted(&condition)).unwrap_or_default();
        }
        Ok(())
    }

    fn correlation(&mut self, root: &Node) -> Result<(), String> {
        let Some(correlation) = root.get("correlation") else { return Ok(()) };
        let kind = word(correlation, "type").unwrap_or_default();
        if !matches!(kind, "event_count" | "value_count" | "temporal" | "temporal_ordered") {
            return Err(format!("`{kind}` has no counterpart: windows count events and values"));
        }
        if correlation.get("aliases").is_some() {
            return Err("`aliases`: a key is of the same fields in every event".to_owned());
        }
        let span = word(correlation, "timespan").ok_or("`timespan` is missing")?.to_owned();
        let by: Vec<String> =
            words(correlation, "group-by").into_iter().map(|f| self.fields.named(f)).collect();
        if by.len() > rules::limits::KEY_PARTS_MAX {
            return Err(format!("it groups by {} fields, more than a key has", by.len()));
        }
        let by = if by.is_empty() { "site".to_owned() } else { format!("[{}]", by.join(", ")) };
        let references = words(correlation, "rules");
        let events: Vec<Events> =
            references.iter().map(|r| self.events(r)).collect::<Result<_, _>>()?;
        if events.is_empty() {
            return Err("it refers to no rule".to_owned());
        }
        if kind.starts_with("temporal") {
            return self.temporal(root, correlation, &events, (&by, &span));
        }
        self.window(root, correlation, &events, (&by, &span))
    }

    /// Rules that all come, in their order or in any.
    fn temporal(
        &mut self,
        root: &Node,
        correlation: &Node,
        events: &[Events],
        (by, span): (&str, &str),
    ) -> Result<(), String> {
        let least = correlation.get("condition").and_then(|c| word(c, "gte"));
        if correlation.get("condition").is_some() && least != Some(&events.len().to_string()) {
            return Err("a condition that asks for some of its rules".to_owned());
        }
        let steps = events.iter().enumerate().map(|(n, events)| {
            let name = format!("r{}", n + 1);
            match events {
                Events::Detection(rule) => format!("{{{name}: {{detection: {rule}}}}}"),
                Events::Kind { kind, condition: None } => format!("{{{name}: {kind}}}"),
                Events::Kind { kind, condition: Some(condition) } => {
                    format!("{{{name}: {kind}, if: {}}}", quoted(condition))
                }
            }
        });
        let steps: Vec<String> = steps.collect();
        let ordered = word(correlation, "type") == Some("temporal_ordered") || steps.len() == 1;
        let steps = if ordered { steps } else { vec![format!("{{all: [{}]}}", steps.join(", "))] };
        self.head(root);
        writeln!(self.rules, "  by: {by}\n  within: {span}\n  skip: past-last\n  sequence:")
            .unwrap_or_default();
        for step in steps {
            writeln!(self.rules, "  - {step}").unwrap_or_default();
        }
        Ok(())
    }

    /// So many events, or values, within a time: judged at each event, told when it becomes true.
    fn window(
        &mut self,
        root: &Node,
        correlation: &Node,
        events: &[Events],
        (by, span): (&str, &str),
    ) -> Result<(), String> {
        let condition = correlation.get("condition").ok_or("its condition is missing")?;
        let fact = format!("{}_in_{span}", self.id(root).replace('-', "_"));
        let mut tests = Vec::new();
        for (key, value) in condition.entries() {
            let operator = match key.text().unwrap_or_default() {
                "gt" => ">",
                "gte" => ">=",
                "lt" => "<",
                "lte" => "<=",
                "eq" => "==",
                "neq" => "!=",
                "field" => continue,
                other => return Err(format!("`{other}` in its condition")),
            };
            let number = value.text().and_then(|text| text.parse::<u64>().ok());
            tests.push(format!("{fact} {operator} {}", number.ok_or("a count that is no number")?));
        }
        if tests.is_empty() {
            return Err("its condition compares with nothing".to_owned());
        }
        let (on, filter) = combined(events)?;
        let filter_text = filter.as_ref().map_or(String::new(), |f| format!(", if: {}", quoted(f)));
        let what = match word(correlation, "type") {
            Some("value_count") => {
                let fields = words(condition, "field");
                let [field] = fields.as_slice() else {
                    return Err("it counts the values of several fields, or of none".to_owned());
                };
                format!("distinct: {}, on: {on}", self.fields.named(field))
            }
            _ => format!("count: {on}"),
        };
        writeln!(self.facts, "  {fact}: {{{what}{filter_text}, by: {by}, within: {span}}}")
            .unwrap_or_default();
        self.head(root);
        let all: Vec<String> = filter.map(|f| format!("({f})")).into_iter().chain(tests).collect();
        writeln!(self.rules, "  on: {on}\n  if: {}\n  emit: edge", quoted(&all.join(" && ")))
            .unwrap_or_default();
        Ok(())
    }

    fn written(&self) -> String {
        let mut out = String::from(
            "# Imported from Sigma. Texts are compared as they are written here: Sigma ignores case.\n",
        );
        self.notes.iter().for_each(|note| writeln!(out, "# {note}").unwrap_or_default());
        writeln!(out, "kinds: [{}]\nfields:", self.kinds.join(", ")).unwrap_or_default();
        for (name, ty) in self.fields.declared() {
            // The built-in ones are there already.
            if event::Vocabulary::default().field_named(name).is_none() {
                writeln!(out, "  {name}: {ty}").unwrap_or_default();
            }
        }
        if !self.facts.is_empty() {
            write!(out, "facts:\n{}", self.facts).unwrap_or_default();
        }
        write!(out, "rules:\n{}", self.rules).unwrap_or_default();
        out
    }
}

/// Kinds and condition of several rules together.
fn combined(events: &[Events]) -> Result<(String, Option<String>), String> {
    let (mut kinds, mut detections, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
    for events in events {
        match events {
            Events::Detection(rule) => detections.push(rule.clone()),
            Events::Kind { kind, condition } => {
                if !kinds.contains(kind) {
                    kinds.push(kind.clone());
                }
                conditions.push((kind.clone(), condition.clone()));
            }
        }
    }
    match (kinds.as_slice(), detections.as_slice()) {
        ([], rules) => Ok((format!("{{detection: [{}]}}", rules.join(", ")), None)),
        ([kind], []) => {
            let parts: Option<Vec<String>> = conditions.into_iter().map(|(_, c)| c).collect();
            Ok((kind.clone(), parts.map(|parts| parts.join(" || "))))
        }
        (kinds, []) => {
            let part = |(kind, condition): &(String, Option<String>)| match condition {
                Some(condition) => format!("e.kind == '{kind}' && ({condition})"),
                None => format!("e.kind == '{kind}'"),
            };
            let parts: Vec<String> = conditions.iter().map(part).collect();
            Ok((format!("[{}]", kinds.join(", ")), Some(parts.join(" || "))))
        }
        _ => Err("it counts events and correlations together".to_owned()),
    }
}
