//! Mappings: how a foreign payload or CSV row becomes events.
//!
//! A mapping is declared in YAML (`docs/MAPPINGS.md`) and compiled once; at run time the decoder
//! reads each path of a payload in one walk and evaluates [`Pick`]s over what it found.

mod path;
mod read;
mod rows;
mod time;

use std::sync::Arc;

use event::model::Model;
use event::{FieldId, FieldType, KindId, Symbol, Vocabulary};

pub use path::PathTree;
pub(crate) use path::after;
pub use read::{compile, declare};
pub(crate) use time::zone as zone_named;
pub use time::{TimeFormat, Zone};

/// A path of a mapping: an index into the decoder's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathId(pub u16);

/// All mappings of a configuration, the built-in ones first.
#[derive(Debug)]
pub struct Mappings {
    pub(crate) list: Vec<Arc<Mapping>>,
    pub(crate) model: Arc<Model>,
    pub(crate) vocabulary: Arc<Vocabulary>,
}

impl Mappings {
    /// The names that a source may list.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|m| m.name.as_str())
    }

    /// The mapping of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Mapping>> {
        self.list.iter().find(|m| m.name == name)
    }
}

/// One mapping, compiled.
#[derive(Debug)]
pub struct Mapping {
    /// Its name, as sources list it.
    pub name: String,
    /// What the payload is.
    pub format: Format,
    /// Topics it takes; none: every topic.
    pub topics: Vec<TopicFilter>,
    pub(crate) tree: PathTree,
    /// Paths that must be there.
    pub(crate) require: Vec<Source>,
    /// When no part takes the payload: refuse it instead of ignoring it.
    pub(crate) strict: bool,
    pub(crate) parts: Vec<Part>,
    /// What it changes of tables.
    pub(crate) rows: Vec<RowPart>,
}

impl Mapping {
    /// Whether it reads deliveries of a topic.
    #[inline]
    pub(crate) fn takes(&self, topic: &[u8]) -> bool {
        self.topics.is_empty() || self.topics.iter().any(|t| t.matches(topic))
    }

    /// Whether it reads deliveries of every topic.
    pub(crate) fn takes_all(&self) -> bool {
        self.topics.is_empty()
    }

    /// Whether some part goes over the elements of an array.
    pub(crate) fn has_elements(&self) -> bool {
        self.parts.iter().any(|part| part.each.is_some())
    }
}

/// What a payload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// The canonical JSON of an event (`portcullis events schema`).
    Canonical,
    /// CloudEvents 1.0, structured mode, with a canonical event as `data`.
    CloudEvents,
    /// JSON, read by paths.
    Json,
    /// A CSV row of these columns, read by name; a row that repeats them is the header.
    Csv(Vec<String>),
    /// A bare text (`online`), read as `$`.
    Text,
}

/// One kind of event that a payload may hold.
#[derive(Debug)]
pub(crate) struct Part {
    pub each: Option<Each>,
    pub when: Vec<Condition>,
    pub kind: KindPick,
    pub occurred: Option<TimePick>,
    pub recorded: Option<TimePick>,
    pub feed: Option<Pick>,
    pub device: Option<Pick>,
    pub site: Option<Pick>,
    pub id: Option<Pick>,
    pub id_with_time: bool,
    pub fields: Vec<(FieldId, FieldType, Pick)>,
}

/// One row of a table that a payload may change.
#[derive(Debug)]
pub(crate) struct RowPart {
    pub each: Option<Each>,
    pub when: Vec<Condition>,
    pub table: Arc<str>,
    pub row: Pick,
    pub cells: Vec<(Arc<str>, Pick)>,
    /// When the change was made.
    pub at: Option<TimePick>,
    /// With all of these the row is removed; `None`: never.
    pub remove: Option<Vec<Condition>>,
}

/// One event for each element of an array that is not also in another.
#[derive(Debug)]
pub(crate) struct Each {
    pub of: PathId,
    pub minus: Option<PathId>,
    pub tree: PathTree,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Always this.
    Constant(Arc<str>),
    /// A path of the payload, or a column.
    Path(PathId),
    /// A path of the element that [`Each`] is at.
    Item(PathId),
    /// A level of the topic.
    Topic(usize),
    /// Several, joined.
    Join(Vec<Pick>, Arc<str>),
}

/// A value and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Pick {
    pub source: Source,
    /// Characters from … to, negative from the end.
    pub slice: Option<(i32, i32)>,
    /// What stands for what; a value that is not in it is refused, unless `otherwise` is given.
    pub map: Option<ValueMap>,
    /// The cell of this column in the row of that key.
    pub join: Option<(usize, usize)>,
    pub default: Option<Arc<str>>,
    /// Nothing of all this is done to the value.
    pub plain: bool,
}

impl Pick {
    pub fn new(
        source: Source,
        slice: Option<(i32, i32)>,
        map: Option<ValueMap>,
        join: Option<(usize, usize)>,
        default: Option<Arc<str>>,
    ) -> Self {
        let untouched = slice.is_none() && map.is_none() && join.is_none() && default.is_none();
        let plain = untouched && !matches!(source, Source::Join(..));
        Self { source, slice, map, join, default, plain }
    }
}

/// Foreign values and ours; `None` leaves the field out.
#[derive(Clone, Debug, Default)]
pub(crate) struct ValueMap {
    pub entries: Vec<(String, Option<Arc<str>>)>,
    pub otherwise: Option<Option<Arc<str>>>,
}

/// The kind of an event: fixed, or by a value of the payload.
#[derive(Clone, Debug)]
pub(crate) enum KindPick {
    Fixed(KindId),
    /// The payload's value, mapped; a value mapped to nothing makes no event.
    Mapped(Box<Pick>, Vec<(String, Option<KindId>)>, Option<Option<KindId>>),
}

#[derive(Clone, Debug)]
pub(crate) struct TimePick {
    pub pick: Pick,
    pub format: TimeFormat,
}

/// What must be so for a part to take the payload.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub source: Source,
    pub test: Test,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// One of these texts.
    OneOf(Vec<Pattern>),
    NoneOf(Vec<Pattern>),
    Exists(bool),
    /// Differs from another value.
    Differs(Source),
}

/// An MQTT topic filter: `+` is one level, `#` the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFilter(Vec<String>);

impl TopicFilter {
    /// Parses a filter; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let levels: Vec<_> = text.split('/').map(str::to_owned).collect();
        for (place, level) in levels.iter().enumerate() {
            if level.contains('#') && (level != "#" || place + 1 != levels.len()) {
                return Err("`#` stands alone, as the last level".into());
            }
            if level.contains('+') && level != "+" {
                return Err("`+` stands alone in its level".into());
            }
        }
        Ok(Self(levels))
    }

    /// Whether a topic passes.
    #[must_use]
    pub fn matches(&self, topic: &[u8]) -> bool {
        let mut levels = topic.split(|b| *b == b'/');
        for filter in &self.0 {
            if filter == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if filter == "+" || filter.as_bytes() == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

/// A text in which `*` stands for any text.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    Plain(String),
    Starred(String),
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        let starred = text.contains('*');
        if starred { Self::Starred(text.to_owned()) } else { Self::Plain(text.to_owned()) }
    }

    #[inline]
    pub fn takes(&self, text: &str) -> bool {
        match self {
            Self::Plain(plain) => plain == text,
            Self::Starred(pattern) => fits(pattern, text),
        }
    }
}

/// Whether `text` fits `pattern`, where `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut rest = rest;
    while let Some((middle, after)) = rest.split_once('*') {
        let Some(at) = text.find(middle) else { return false };
        (text, rest) = (&text[at + middle.len()..], after);
    }
    text.ends_with(rest)
}

/// A text of the configuration as a symbol: load time only.
pub(crate) fn symbol(interner: &event::Interner, text: &str) -> Symbol {
    interner.intern(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_patterns() {
        let filter = |text: &str| TopicFilter::parse(text).unwrap_or_else(|e| panic!("{e}"));
        assert!(filter("a/+/c").matches(b"a/b/c"));
        assert!(!filter("a/+/c").matches(b"a/b/c/d"));
        assert!(filter("a/#").matches(b"a/b/c/d"));
        assert!(!filter("a/#").matches(b"b/a"));
        assert!(TopicFilter::parse("a/#/b").is_err() && TopicFilter::parse("a+").is_err());
        assert!(fits("onvif:*/PIR", "onvif:Device/axis:Sensor/PIR"));
        assert!(!fits("onvif:*/PIR", "onvif:Device/axis:Sensor/Heat"));
        assert!(fits("*", "") && fits("a*b*c", "axxbyyc") && !fits("a*b*c", "axxbyy"));
    }
}
