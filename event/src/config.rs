//! Configuration as a tree with places, and diagnostics that point at them.
//!
//! Every YAML file of a configuration is read into [`Node`]s; each part walks its own files with a
//! [`Reader`], which collects all faults at once: file, line, column, what is wrong, what to write.

mod plain;
mod whole;

use std::fmt;
use std::sync::Arc;

/// A place in a file; line and column count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One fault or warning in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's path as it was given.
    pub file: String,
    /// Where in the file.
    pub place: Place,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What to change, where we know.
    pub suggestion: Option<String>,
    /// The line of source, for the underline.
    pub source_line: String,
    /// Characters to underline.
    pub width: u32,
    /// A warning does not stop the load.
    pub warning: bool,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.warning { "warning" } else { "error" };
        let Place { line, column } = self.place;
        writeln!(f, "{severity}: {}", self.message)?;
        writeln!(f, "  --> {}:{line}:{column}", self.file)?;
        if !self.source_line.is_empty() {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let indent = " ".repeat(column.saturating_sub(1) as usize);
            writeln!(f, "{margin} |\n{number} | {}", self.source_line)?;
            writeln!(f, "{margin} | {indent}{}", "^".repeat(self.width.max(1) as usize))?;
        }
        if let Some(suggestion) = &self.suggestion {
            writeln!(f, "  = help: {suggestion}")?;
        }
        Ok(())
    }
}

/// One YAML value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Yaml,
}

/// A YAML value. Scalars keep their text: the reader knows what type it wants.
#[derive(Clone, Debug)]
pub enum Yaml {
    /// A scalar; `plain` when it was written without quotes.
    Scalar {
        /// The text, unquoted.
        text: Box<str>,
        /// Whether it was written without quotes.
        plain: bool,
    },
    /// A sequence.
    Sequence(Box<[Node]>),
    /// A mapping, in the order of the file.
    Mapping(Box<[(Node, Node)]>),
}

impl Node {
    /// The text of a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether it is YAML's null: empty, `~` or `null`, unquoted.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Yaml::Scalar { text, plain: true } if matches!(&**text, "" | "~" | "null"))
    }

    /// The value of a key of a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v)
    }

    /// The entries of a mapping; none for anything else.
    #[must_use]
    pub fn entries(&self) -> &[(Node, Node)] {
        match &self.value {
            Yaml::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; a scalar or mapping counts as a sequence of itself, null as none.
    #[must_use]
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Yaml::Sequence(items) => items,
            _ if self.is_null() => &[],
            _ => std::slice::from_ref(self),
        }
    }

    fn kind(&self) -> &'static str {
        match self.value {
            Yaml::Scalar { .. } => "a scalar",
            Yaml::Sequence(_) => "a list",
            Yaml::Mapping(_) => "a mapping",
        }
    }
}

/// One file being read, and the faults found in it so far.
#[derive(Debug)]
pub struct Reader<'t> {
    file: Arc<str>,
    text: &'t str,
    /// Where its lines begin.
    lines: Vec<u32>,
    /// What was found, in the order of finding.
    pub diagnostics: Vec<Diagnostic>,
}

impl<'t> Reader<'t> {
    /// Parses a file's text. A syntax error leaves an empty mapping and one diagnostic.
    #[must_use]
    pub fn parse(file: &str, text: &'t str) -> (Self, Node) {
        let ends = memchr::memchr_iter(b'\n', text.as_bytes());
        let lines = std::iter::once(0).chain(ends.map(|at| at as u32 + 1)).collect();
        let mut reader = Self { file: file.into(), text, lines, diagnostics: Vec::new() };
        let node = plain::read(text).or_else(|| whole::read(text, &mut reader));
        let empty =
            || Node { place: Place { line: 1, column: 1 }, value: Yaml::Mapping([].into()) };
        (reader, node.filter(|node| !node.is_null()).unwrap_or_else(empty))
    }

    /// A line, from 1.
    fn line(&self, number: u32) -> Option<&'t str> {
        let from = self.lines.get(number.saturating_sub(1) as usize)?;
        self.text[*from as usize..].lines().next()
    }

    /// The file's path as it was given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The same, for whoever keeps it.
    #[must_use]
    pub fn shared_file(&self) -> Arc<str> {
        self.file.clone()
    }

    /// Whether any fault (not a warning) was found.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.diagnostics.iter().any(|d| !d.warning)
    }

    /// Adds a fault at a place.
    pub fn error(&mut self, place: Place, width: u32, message: String, suggestion: Option<String>) {
        let source_line = self.line(place.line).unwrap_or_default().to_owned();
        self.diagnostics.push(Diagnostic {
            file: self.file.to_string(),
            place,
            message,
            suggestion,
            source_line,
            width,
            warning: false,
        });
    }

    /// Adds a fault about a node.
    pub fn error_at(&mut self, node: &Node, message: impl Into<String>) {
        self.error_with(node, message, None);
    }

    /// Adds a fault about a node, with what to change.
    pub fn error_with(
        &mut self,
        node: &Node,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        let width = node.text().map_or(1, |t| t.chars().count() as u32);
        self.error(node.place, width, message.into(), suggestion);
    }

    /// The place of character `offset` of a scalar's text: exact for plain and quoted one-line
    /// scalars without escapes, the beginning of the scalar otherwise.
    #[must_use]
    pub fn place_in(&self, node: &Node, offset: usize) -> Place {
        let Yaml::Scalar { text, plain } = &node.value else { return node.place };
        let column = node.place.column + u32::from(!plain);
        let line = self.line(node.place.line);
        let before = column as usize - 1;
        let from = |line: &str| {
            let nth = || line.char_indices().nth(before).map(|(at, _)| at);
            if line.is_ascii() { Some(before) } else { nth() }
        };
        let here = line.and_then(|line| line.get(from(line)?..)).unwrap_or_default();
        if here.starts_with(&**text) {
            Place { line: node.place.line, column: column + offset as u32 }
        } else {
            node.place
        }
    }

    /// Says of every key that is not among `known` that it is unknown, and which one was meant;
    /// says of anything but a mapping that a mapping was wanted.
    pub fn expect_keys(&mut self, node: &Node, known: &[&str]) {
        if !matches!(node.value, Yaml::Mapping(_)) {
            self.error_with(
                node,
                format!("expected a mapping, found {}", node.kind()),
                Some(format!("the keys are {}", known.join(", "))),
            );
            return;
        }
        for (key, _) in node.entries() {
            let name = key.text().unwrap_or_default();
            if !known.contains(&name) {
                let help = did_you_mean(name, known.iter().copied());
                self.error_with(key, format!("unknown key `{name}`"), help);
            }
        }
    }

    /// The text of a required scalar.
    pub fn required_text(&mut self, node: &Node, key: &str) -> Option<String> {
        match node.get(key) {
            None => {
                self.error_at(node, format!("`{key}` is missing"));
                None
            }
            Some(value) => self.scalar(value).map(str::to_owned),
        }
    }

    /// The text of an optional scalar.
    pub fn optional_text(&mut self, node: &Node, key: &str) -> Option<String> {
        node.get(key).and_then(|value| self.scalar(value).map(str::to_owned))
    }

    /// The text of a scalar; anything else is a fault.
    pub fn scalar<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        if node.text().is_none() {
            self.error_at(node, format!("expected one value, found {}", node.kind()));
        }
        node.text()
    }

    /// A value of a type that parses from text; `wanted` says the form (`a number`).
    pub fn parsed<T: std::str::FromStr>(&mut self, node: &Node, wanted: &str) -> Option<T> {
        let text = self.scalar(node)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.error_at(node, format!("`{text}` is not {wanted}"));
        }
        parsed
    }

    /// An optional span of time (`30s`, `5m`).
    pub fn optional_span(&mut self, node: &Node, key: &str) -> Option<crate::TimeSpan> {
        let value = node.get(key)?;
        let text = self.scalar(value)?;
        let span = crate::TimeSpan::parse(text);
        if span.is_none() {
            let help = Some("write a number and a unit: 400ms, 30s, 5m, 8h, 7d".to_owned());
            self.error_with(value, format!("`{text}` is not a span of time"), help);
        }
        span
    }

    /// An optional boolean.
    pub fn optional_bool(&mut self, node: &Node, key: &str) -> Option<bool> {
        let value = node.get(key)?;
        self.parsed(value, "true or false")
    }

    /// One of a closed set of words.
    pub fn one_of<T: Copy>(&mut self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let text = self.scalar(node)?;
        if let Some((_, value)) = words.iter().find(|(w, _)| *w == text) {
            return Some(*value);
        }
        let help = did_you_mean(text, words.iter().map(|(w, _)| *w));
        let all: Vec<_> = words.iter().map(|(w, _)| *w).collect();
        self.error_with(node, format!("`{text}` is none of {}", all.join(", ")), help);
        None
    }
}

/// “did you mean `x`?” when one of the known words is close enough.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let limit = 1 + word.chars().count() / 3;
    known
        .map(|k| (strsim::damerau_levenshtein(word, k), k))
        .filter(|(distance, k)| *distance <= limit || k.eq_ignore_ascii_case(word))
        .min()
        .map(|(_, k)| format!("did you mean `{k}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_point_at_their_place() {
        let (mut reader, node) = Reader::parse(
            "x.yaml",
            "rules:\n  - {id: R1, onn: AccessDenied}\n  - {id: R2, id: R3}\n",
        );
        assert_eq!(reader.diagnostics.len(), 1, "{:?}", reader.diagnostics);
        let Some(rules) = node.get("rules") else { panic!("rules") };
        for rule in rules.items() {
            reader.expect_keys(rule, &["id", "on"]);
        }
        assert_eq!(reader.diagnostics.len(), 2);
        let text = reader.diagnostics[1].to_string();
        assert!(text.contains("x.yaml:2:14") && text.contains("did you mean `on`?"), "{text}");
        assert!(text.contains("  |              ^^^\n"), "{text}");
    }

    #[test]
    fn a_place_inside_a_scalar_is_exact() {
        let (reader, node) = Reader::parse("x", "if: \"a == b\"\nor: c == d\n");
        let quoted = node.get("if").map(|n| reader.place_in(n, 2));
        assert_eq!(quoted, Some(Place { line: 1, column: 8 }));
        let plain = node.get("or").map(|n| reader.place_in(n, 2));
        assert_eq!(plain, Some(Place { line: 2, column: 7 }));
    }

    #[test]
    fn broken_yaml_is_a_diagnostic() {
        let (reader, node) = Reader::parse("x", "a: [1, 2\nb: 3");
        assert!(reader.failed());
        assert!(node.entries().is_empty() || node.get("a").is_some());
    }
}
