//! Any YAML, read by a parser for all of it.

use std::collections::BTreeSet;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{Node, Place, Reader, Yaml};

/// Keys of a mapping that are looked through one by one; of more, a set is kept.
pub(super) const SHORT: usize = 16;

/// A list or mapping that has not ended.
struct Open {
    place: Place,
    /// Where its items or entries begin.
    from: usize,
    /// Of a mapping.
    keys: Option<Keys>,
}

#[derive(Default)]
struct Keys {
    /// The key that waits for its value.
    next: Option<Node>,
    /// The keys so far, of a long one.
    seen: BTreeSet<String>,
}

/// A tree being read.
#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    items: Vec<Node>,
    entries: Vec<(Node, Node)>,
    root: Option<Node>,
}

/// The tree of a text. Where it is none, the reader is told.
pub(super) fn read(text: &str, reader: &mut Reader<'_>) -> Option<Node> {
    let mut tree = Tree::default();
    for item in Parser::new_from_str(text) {
        let (event, span) = match item {
            Ok(item) => item,
            Err(error) => {
                let (line, column) = (error.marker().line(), error.marker().col());
                let place = Place { line: line as u32, column: column as u32 + 1 };
                reader.error(place, 1, format!("not YAML: {}", error.info()), None);
                break;
            }
        };
        let place = Place { line: span.start.line() as u32, column: span.start.col() as u32 + 1 };
        let done = match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                Some(Node { place, value: Yaml::Scalar { text: (*text).into(), plain } })
            }
            Event::SequenceStart(..) => {
                tree.open.push(Open { place, from: tree.items.len(), keys: None });
                None
            }
            Event::MappingStart(..) => {
                let keys = Some(Keys::default());
                tree.open.push(Open { place, from: tree.entries.len(), keys });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => tree.close(),
            Event::Alias(_) => {
                let message = "aliases are not taken here: write the value out";
                reader.error(place, 1, message.into(), None);
                Some(Node { place, value: Yaml::Scalar { text: "".into(), plain: true } })
            }
            _ => None,
        };
        if let Some(done) = done {
            tree.put(done, reader);
        }
    }
    tree.root
}

impl Tree {
    /// What ends here; each has a piece of memory of its size.
    fn close(&mut self) -> Option<Node> {
        let Open { place, from, keys } = self.open.pop()?;
        let value = match keys {
            None => Yaml::Sequence(self.items.drain(from..).collect()),
            Some(_) => Yaml::Mapping(self.entries.drain(from..).collect()),
        };
        Some(Node { place, value })
    }

    fn put(&mut self, done: Node, reader: &mut Reader<'_>) {
        let Some(Open { from, keys, .. }) = self.open.last_mut() else {
            if self.root.is_some() {
                reader.error(done.place, 1, "one document per file".into(), None);
            } else {
                self.root = Some(done);
            }
            return;
        };
        let Some(Keys { next, seen }) = keys else {
            self.items.push(done);
            return;
        };
        let Some(key) = next.take() else {
            *next = Some(done);
            return;
        };
        if stands_already(&self.entries[*from..], &key, seen) {
            let text = key.text().unwrap_or_default();
            let message = format!("key `{text}` stands twice");
            reader.error(key.place, text.len() as u32, message, None);
        }
        self.entries.push((key, done));
    }
}

/// Whether a mapping has a key already. `seen` are those of a long one.
fn stands_already(entries: &[(Node, Node)], name: &Node, seen: &mut BTreeSet<String>) -> bool {
    if entries.len() < SHORT {
        return entries.iter().any(|(key, _)| key.text() == name.text());
    }
    if seen.is_empty() {
        seen.extend(entries.iter().filter_map(|(key, _)| key.text().map(str::to_owned)));
    }
    name.text().is_some_and(|text| !seen.insert(text.to_owned()))
}
