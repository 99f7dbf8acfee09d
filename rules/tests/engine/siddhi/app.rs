//! Reads a query of the other engine and writes it as a rulebook.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A stream's fields and their types.
pub type Streams = BTreeMap<String, Vec<(String, String)>>;

/// A query as a rulebook, and what its rows are made of.
pub struct Translation {
    pub rulebook: String,
    /// Columns of a row.
    pub columns: usize,
    pub streams: Streams,
    /// The field that each stream is partitioned by.
    pub partition: BTreeMap<String, String>,
}

/// Why a query has no counterpart.
pub type Reason = &'static str;

#[derive(Clone, Debug)]
enum Element {
    One {
        name: String,
        stream: String,
        condition: Vec<String>,
        least: u32,
        most: u32,
        counted: bool,
    },
    Not {
        stream: String,
        condition: Vec<String>,
        span: Option<String>,
    },
    Group {
        all: bool,
        parts: Vec<Element>,
    },
    Every(Vec<Element>),
    Chain(Vec<Element>),
}

/// Words, numbers, texts and symbols.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let (c, start) = (chars[at], at);
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        if c == '\'' || c == '"' {
            at += 1;
            while at < chars.len() && chars[at] != c {
                at += 1;
            }
            at += 1;
            let inner: String = chars[start + 1..at - 1].iter().collect();
            tokens.push(format!("'{inner}'"));
            continue;
        }
        let word = |c: char| c.is_alphanumeric() || c == '_';
        if word(c) {
            let number = c.is_ascii_digit();
            while at < chars.len() && (word(chars[at]) || number && chars[at] == '.') {
                at += 1;
            }
        } else {
            let two: String = chars[at..(at + 2).min(chars.len())].iter().collect();
            at += if ["->", "==", ">=", "<=", "!="].contains(&two.as_str()) { 2 } else { 1 };
        }
        tokens.push(chars[start..at].iter().collect());
    }
    tokens
}

/// A kind's name: `cseEventStream` → `CseEventStream`.
pub fn kind(stream: &str) -> String {
    let mut name = String::new();
    for part in stream.split('_') {
        let mut chars = part.chars();
        name.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        name.extend(chars);
    }
    name
}

/// A field's name, clear of those that every event has.
pub fn field(name: &str) -> String {
    let mut out = String::from("f_");
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn streams(app: &str) -> Streams {
    let mut streams = Streams::new();
    for part in app.split("define stream ").skip(1) {
        let Some((name, rest)) = part.split_once('(') else { continue };
        let Some((fields, _)) = rest.split_once(')') else { continue };
        let fields = fields.split(',').filter_map(|field| {
            let mut words = field.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_ascii_lowercase()))
        });
        streams.insert(name.trim().to_owned(), fields.collect());
    }
    streams
}

struct Parser {
    tokens: Vec<String>,
    at: usize,
    strict: Option<bool>,
    within: Option<String>,
    names: usize,
}

impl Parser {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> String {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned().unwrap_or_default()
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.peek() == token;
        self.at += usize::from(found);
        found
    }

    /// `1 sec`, `900 milliseconds`.
    fn span(&mut self) -> Result<String, Reason> {
        let (number, unit) = (self.next(), self.next());
        let unit = match unit.as_str() {
            "sec" | "second" | "seconds" => "s",
            "millisec" | "millisecond" | "milliseconds" => "ms",
            "min" | "minute" | "minutes" => "m",
            "hour" | "hours" => "h",
            _ => return Err("a span in another unit"),
        };
        Ok(format!("{number}{unit}"))
    }

    fn chain(&mut self) -> Result<Vec<Element>, Reason> {
        let mut elements = vec![self.logical()?];
        loop {
            let strict = match self.peek() {
                "->" => false,
                "," => true,
                _ => return Ok(elements),
            };
            self.at += 1;
            if *self.strict.get_or_insert(strict) != strict {
                return Err("`->` and `,` in one query");
            }
            elements.push(self.logical()?);
        }
    }

    fn logical(&mut self) -> Result<Element, Reason> {
        let first = self.element()?;
        let all = match self.peek() {
            "and" => true,
            "or" => false,
            _ => return Ok(first),
        };
        let mut parts = vec![first];
        while self.take(if all { "and" } else { "or" }) {
            parts.push(self.element()?);
        }
        Ok(Element::Group { all, parts })
    }

    fn element(&mut self) -> Result<Element, Reason> {
        if self.take("every") {
            return Ok(Element::Every(vec![self.element()?]));
        }
        if self.take("(") {
            let inner = self.chain()?;
            if !self.take(")") {
                return Err("a form this adapter does not read");
            }
            if self.take("within") {
                self.within = Some(self.span()?);
            }
            return Ok(Element::Chain(inner));
        }
        if self.take("not") {
            let (stream, condition) = self.stream()?;
            let span = if self.take("for") { Some(self.span()?) } else { None };
            return Ok(Element::Not { stream, condition, span });
        }
        let named = self.tokens.get(self.at + 1).is_some_and(|t| t == "=");
        self.names += 1;
        let name = if named { self.next() } else { format!("unnamed{}", self.names) };
        self.at += usize::from(named);
        let (stream, condition) = self.stream()?;
        let (least, most, counted) = self.times()?;
        Ok(Element::One { name, stream, condition, least, most, counted })
    }

    fn stream(&mut self) -> Result<(String, Vec<String>), Reason> {
        let name = self.next();
        if self.peek() == "#" {
            return Err("a window");
        }
        let mut condition = Vec::new();
        if self.take("[") {
            let mut depth = 1;
            loop {
                match self.peek() {
                    "" => return Err("a form this adapter does not read"),
                    "[" => depth += 1,
                    "]" => depth -= 1,
                    _ => {}
                }
                let token = self.next();
                if depth == 0 {
                    break;
                }
                condition.push(token);
            }
        }
        Ok((name, condition))
    }

    fn times(&mut self) -> Result<(u32, u32, bool), Reason> {
        let most = 255;
        Ok(match self.peek() {
            "+" => (1, most, self.take("+")),
            "*" => (0, most, self.take("*")),
            "?" => (0, 1, self.take("?")),
            "<" => {
                self.at += 1;
                let mut text = String::new();
                while !self.take(">") {
                    if self.peek().is_empty() {
                        return Err("a form this adapter does not read");
                    }
                    text += &self.next();
                }
                let (least, up_to) = text.split_once(':').unwrap_or((&text, &text));
                let least = if least.is_empty() { Ok(0) } else { least.parse() };
                let up_to = if up_to.is_empty() { Ok(most) } else { up_to.parse() };
                match (least, up_to) {
                    (Ok(least), Ok(up_to)) => (least, up_to, true),
                    _ => return Err("a form this adapter does not read"),
                }
            }
            _ => (1, 1, false),
        })
    }
}

/// A condition in CEL; `own` is the step it stands in, where it has a name.
fn cel(condition: &[String], own: &str) -> Result<String, Reason> {
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while at < condition.len() {
        let token = condition[at].as_str();
        at += 1;
        let word = token.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let translated = match token {
            "and" => "&&".to_owned(),
            "or" => "||".to_owned(),
            "not" => "!".to_owned(),
            "is" => {
                at += 1;
                let operand = out.pop().unwrap_or_default();
                format!("!has({operand})")
            }
            "true" | "false" => token.to_owned(),
            _ if word && condition.get(at).is_some_and(|t| t == "(") => {
                return Err("a function");
            }
            _ if word => {
                let mut path = token.to_owned();
                if condition.get(at).is_some_and(|t| t == "[") {
                    if condition.get(at + 2).is_none_or(|t| t != "]") {
                        return Err("an index counted from the last");
                    }
                    write!(path, "[{}]", condition[at + 1]).map_err(|_| "")?;
                    at += 3;
                }
                if condition.get(at).is_some_and(|t| t == ".") {
                    write!(path, ".{}", field(&condition[at + 1])).map_err(|_| "")?;
                    at += 2;
                } else {
                    path = format!("{own}.{}", field(token));
                }
                path
            }
            _ => token.to_owned(),
        };
        out.push(translated);
    }
    Ok(out.join(" "))
}

/// Puts chains that stand in parentheses into the chain around them.
fn flat(elements: Vec<Element>) -> Vec<Element> {
    let mut out = Vec::new();
    for element in elements {
        match element {
            Element::Chain(inner) => out.extend(flat(inner)),
            Element::Every(inner) => out.push(Element::Every(flat(inner))),
            Element::Group { all, parts } => {
                out.push(Element::Group { all, parts: flat(parts) });
            }
            other => out.push(other),
        }
    }
    out
}

fn written(element: &Element) -> Result<String, Reason> {
    Ok(match element {
        Element::One { name, stream, condition, least, most, .. } => {
            let mut text = format!("{name}: {}", kind(stream));
            if !condition.is_empty() {
                write!(text, ", if: \"{}\"", cel(condition, name)?).map_err(|_| "")?;
            }
            if (*least, *most) != (1, 1) {
                write!(text, ", times: {least}..{most}").map_err(|_| "")?;
            }
            format!("{{{text}}}")
        }
        Element::Not { stream, condition, span } => {
            let mut text = format!("not: {}", kind(stream));
            if !condition.is_empty() {
                write!(text, ", if: \"{}\"", cel(condition, "e")?).map_err(|_| "")?;
            }
            if let Some(span) = span {
                write!(text, ", for: {span}").map_err(|_| "")?;
            }
            format!("{{{text}}}")
        }
        Element::Group { all, parts } => {
            let untimed = |p: &&Element| matches!(p, Element::Not { span: None, .. });
            if parts.iter().any(|p| untimed(&p)) && !all {
                return Err("`not …` without `for` beside `or`");
            }
            let mut text = String::new();
            for part in parts.iter().filter(untimed) {
                write!(text, "{}, ", written(part)?).map_err(|_| "")?;
            }
            let rest: Vec<&Element> = parts.iter().filter(|p| !untimed(p)).collect();
            let counted = |e: &&&Element| matches!(e, Element::One { counted: true, .. });
            match rest.as_slice() {
                [] => return Err("a group of absences without `for`"),
                [one] => text += &written(one)?,
                many => {
                    if many.iter().any(|e| counted(&e)) {
                        return Err("a counted step in a group");
                    }
                    let parts = many.iter().map(|e| written(e)).collect::<Result<Vec<_>, _>>()?;
                    let word = if *all { "all" } else { "any" };
                    write!(text, "{{{word}: [{}]}}", parts.join(", ")).map_err(|_| "")?;
                }
            }
            text
        }
        Element::Every(_) => return Err("`every` inside the pattern"),
        Element::Chain(_) => return Err("a chain inside a group"),
    })
}

fn streams_of(elements: &[Element], out: &mut Vec<String>) {
    for element in elements {
        match element {
            Element::One { stream, .. } | Element::Not { stream, .. } => {
                if !out.contains(stream) {
                    out.push(stream.clone());
                }
            }
            Element::Group { parts, .. } | Element::Every(parts) | Element::Chain(parts) => {
                streams_of(parts, out);
            }
        }
    }
}

/// Which first events start runs and what a match ends, and the steps without their `every`.
fn starts(
    mut elements: Vec<Element>,
    strict: bool,
) -> Result<(&'static str, Vec<Element>), Reason> {
    let Some(Element::Every(inner)) = elements.first().cloned() else {
        return Ok(("once", elements));
    };
    let whole = elements.len() == 1;
    let counted = |e: &Element| matches!(e, Element::One { counted: true, .. });
    let runs = match inner.as_slice() {
        [Element::One { .. }] if strict && elements.iter().chain(&inner).any(counted) => "first",
        [Element::One { counted: false, .. }] => "each",
        [Element::One { .. }] if whole => "first",
        [Element::One { .. }] => return Err("`every` over a counted step"),
        [Element::Not { .. }] => return Err("`every` over an absence"),
        _ if whole => "first\n  skip: past-last",
        _ => return Err("`every` over a part of the pattern"),
    };
    elements.splice(0..1, inner);
    Ok((runs, elements))
}

/// What must be so of a pattern's first and last step.
fn bounds(elements: &mut [Element], strict: bool) -> Result<(), Reason> {
    let last = elements.len() - 1;
    let read = |elements: &[Element], name: &str| {
        let index = format!("{name}[");
        let text = elements.iter().skip(1).map(written).collect::<Result<Vec<_>, _>>();
        text.is_ok_and(|t| t.iter().any(|t| t.contains(&index) && !t.contains("!has")))
    };
    if let Element::One { name, least: 0, .. } = &elements[0] {
        if !read(elements, &name.clone()) {
            return Err("an optional first step");
        }
        // Without it a later condition is missing, so it is not optional at all.
        if let Element::One { least, .. } = &mut elements[0] {
            *least = 1;
        }
    }
    let begins = match &elements[0] {
        Element::Group { parts, .. } => !parts.iter().any(|p| matches!(p, Element::Not { .. })),
        Element::Not { span, .. } => span.is_some() && last > 0,
        _ => true,
    };
    if !begins {
        return Err("begins with a group of absences");
    }
    if strict && matches!(elements[0], Element::Not { .. }) && last == 0 {
        return Err("an absence alone");
    }
    match &mut elements[last] {
        Element::One { least: 0, .. } => Err("an optional last step"),
        Element::One { least, most, .. } => {
            *most = *least;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Translates one case's query.
pub fn translate(app: &str) -> Result<Translation, Reason> {
    let streams = streams(app);
    if app.matches("from ").count() != 1 {
        return Err("several queries");
    }
    let body = app.split_once("from ").map_or("", |(_, body)| body);
    let (pattern, rest) = body.split_once("select ").ok_or("no rows are selected")?;
    let select = rest.split("insert").next().unwrap_or_default();
    if select.contains("group by") || select.contains("having") {
        return Err("rows that are grouped");
    }
    let mut parser =
        Parser { tokens: tokens(pattern), at: 0, strict: None, within: None, names: 0 };
    let elements = parser.chain()?;
    if parser.take("within") {
        parser.within = Some(parser.span()?);
    }
    if parser.at != parser.tokens.len() {
        return Err("a form this adapter does not read");
    }
    let strict = parser.strict == Some(true);
    let (runs, elements) = starts(flat(elements), strict)?;
    let mut elements = flat(elements);
    bounds(&mut elements, strict)?;
    let steps = elements.iter().map(written).collect::<Result<Vec<_>, _>>()?;
    let columns = columns(select, &elements)?;
    let mut used = Vec::new();
    streams_of(&elements, &mut used);
    let kinds: Vec<String> = used.iter().map(|s| kind(s)).collect();
    let partition = partition(app, &used)?;
    let mut text = String::from("kinds: [Start");
    streams.keys().for_each(|s| write!(text, ", {}", kind(s)).expect("a String takes all"));
    text += "]\nfields:\n  key: string\n";
    for (name, ty) in fields(&streams)? {
        writeln!(text, "  {name}: {ty}").expect("a String takes all");
    }
    writeln!(
        text,
        "rules:\n- id: r\n  group: none\n  by: {}\n  runs: {runs}\n  sequence: [{}]",
        if partition.is_empty() { "site" } else { "key" },
        steps.join(", ")
    )
    .expect("a String takes all");
    if let Some(within) = parser.within {
        writeln!(text, "  within: {within}").expect("a String takes all");
    }
    if strict {
        writeln!(text, "  strict: [{}]", kinds.join(", ")).expect("a String takes all");
    }
    writeln!(text, "  why:").expect("a String takes all");
    for (n, column) in columns.iter().enumerate() {
        writeln!(text, "    c{n}: {column}").expect("a String takes all");
    }
    Ok(Translation { rulebook: text, columns: columns.len(), streams, partition })
}

/// Fields of all streams, by the names they have here.
fn fields(streams: &Streams) -> Result<BTreeMap<String, &'static str>, Reason> {
    let mut fields = BTreeMap::new();
    for (name, ty) in streams.values().flatten() {
        let ty = match ty.as_str() {
            "string" => "string",
            "int" | "long" => "int",
            "float" | "double" => "float",
            "bool" => "bool",
            _ => return Err("a field of another type"),
        };
        let known = fields.entry(field(name)).or_insert(ty);
        if *known != ty {
            return Err("one field of two types");
        }
    }
    Ok(fields)
}

fn partition(app: &str, used: &[String]) -> Result<BTreeMap<String, String>, Reason> {
    let mut partition = BTreeMap::new();
    let Some((_, rest)) = app.split_once("partition with") else { return Ok(partition) };
    let inside = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    for part in inside.map_or("", |(inside, _)| inside).split(',') {
        let (field, stream) = part.trim().split_once(" of ").ok_or("a partition by range")?;
        if !field.trim().chars().all(char::is_alphanumeric) {
            return Err("a partition by range");
        }
        partition.insert(stream.trim().to_owned(), field.trim().to_owned());
    }
    let both = used.iter().all(|stream| partition.contains_key(stream));
    if both { Ok(partition) } else { Err("a partition of one stream only") }
}

/// The columns of a row, as expressions over the steps.
fn columns(select: &str, elements: &[Element]) -> Result<Vec<String>, Reason> {
    let mut ones = Vec::new();
    for element in elements {
        match element {
            Element::One { name, counted, .. } => ones.push((name.clone(), *counted)),
            Element::Group { parts, .. } => ones.extend(parts.iter().filter_map(|p| match p {
                Element::One { name, counted, .. } => Some((name.clone(), *counted)),
                _ => None,
            })),
            _ => {}
        }
    }
    let mut columns = Vec::new();
    for column in select.split(',') {
        let words = tokens(column);
        let end = words.iter().position(|w| w == "as").unwrap_or(words.len());
        let path = match &words[..end] {
            [name, dot, field_name] if dot == "." => match ones.iter().find(|(n, _)| n == name) {
                Some((_, true)) => format!("{name}[0].{}", field(field_name)),
                Some((_, false)) => format!("{name}.{}", field(field_name)),
                None => return Err("a column of nothing"),
            },
            [name, open, index, close, dot, field_name]
                if open == "[" && close == "]" && dot == "." =>
            {
                if !ones.iter().any(|(n, _)| n == name) {
                    return Err("a column of nothing");
                }
                format!("{name}[{index}].{}", field(field_name))
            }
            _ => return Err("a column that is computed"),
        };
        columns.push(path);
    }
    if columns.len() > 8 {
        return Err("more columns than a detection has bound values");
    }
    Ok(columns)
}
