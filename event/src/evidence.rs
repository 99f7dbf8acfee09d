//! An event as it is cited: by detections, and by those that show them.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::EventTime;

/// One contributing event, as it is shown, stored and cited. Its texts are one piece of memory, which
/// all that cite it share.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// When it happened.
    pub occurred: EventTime,
    /// When it was recorded.
    pub recorded: EventTime,
    texts: Arc<str>,
    /// Where each text but the last ends.
    ends: [u32; 4],
}

/// What an [`Evidence`] says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// The feed named by the mapping.
    pub feed: &'a str,
    /// The kind of event.
    pub kind: &'a str,
    /// The device that said it.
    pub device: &'a str,
    /// The delivery's bytes: text where they are UTF-8, else `base64:…`; empty when pruned.
    pub raw: &'a str,
}

/// An event as it is cited, its texts wherever they stand.
#[derive(Clone, Copy, Debug)]
pub struct Cited<'a> {
    /// Parts of `feed/device/id`, the payload's own id unhashed at the end.
    pub id: &'a [&'a str],
    /// What it says.
    pub said: Said<'a>,
    /// When it happened.
    pub occurred: EventTime,
    /// When it was recorded.
    pub recorded: EventTime,
}

/// Adds the texts one behind the other; where each but the last ends.
fn write(id: &[&str], said: Said<'_>, texts: &mut String) -> [u32; 4] {
    let Said { feed, kind, device, raw } = said;
    let rest = [feed, kind, device, raw];
    texts.reserve(id.iter().chain(&rest).map(|text| text.len()).sum());
    id.iter().for_each(|part| texts.push_str(part));
    rest.map(|text| {
        let end = texts.len() as u32;
        texts.push_str(text);
        end
    })
}

fn text<'a>(texts: &'a str, ends: &[u32; 4], nth: usize) -> &'a str {
    let start = nth.checked_sub(1).map_or(0, |before| ends[before]) as usize;
    let end = ends.get(nth).map_or(texts.len(), |end| *end as usize);
    &texts[start..end]
}

impl From<&Cited<'_>> for Evidence {
    fn from(cited: &Cited<'_>) -> Self {
        Self::new(cited.id, cited.said, cited.occurred, cited.recorded)
    }
}

impl Evidence {
    /// The same, lent to `take`.
    pub fn cited<R>(&self, take: impl FnOnce(&Cited<'_>) -> R) -> R {
        let (feed, kind, device, raw) = (self.feed(), self.kind(), self.device(), self.raw());
        let said = Said { feed, kind, device, raw };
        let (occurred, recorded) = (self.occurred, self.recorded);
        take(&Cited { id: &[self.id()], said, occurred, recorded })
    }

    /// An event by the parts of its id (`feed/device/id`, the payload's own id unhashed at the end), what
    /// it says, when it happened and when it was recorded.
    #[must_use]
    pub fn new(id: &[&str], said: Said<'_>, occurred: EventTime, recorded: EventTime) -> Self {
        let mut texts = String::new();
        let ends = write(id, said, &mut texts);
        Self { occurred, recorded, texts: texts.into(), ends }
    }

    fn text(&self, nth: usize) -> &str {
        text(&self.texts, &self.ends, nth)
    }

    /// `feed/device/id`, the payload's own id unhashed at the end.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text(0)
    }

    /// The feed named by the mapping.
    #[must_use]
    pub fn feed(&self) -> &str {
        self.text(1)
    }

    /// The kind of event.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text(2)
    }

    /// The device that said it.
    #[must_use]
    pub fn device(&self) -> &str {
        self.text(3)
    }

    /// The delivery's bytes: text where they are UTF-8, else `base64:…`; empty when pruned.
    #[must_use]
    pub fn raw(&self) -> &str {
        self.text(4)
    }
}

/// The JSON of an [`Evidence`].
#[derive(Serialize, Deserialize)]
struct Shape<T> {
    id: T,
    feed: T,
    kind: T,
    device: T,
    occurred: EventTime,
    recorded: EventTime,
    raw: T,
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shape {
            id: self.id(),
            feed: self.feed(),
            kind: self.kind(),
            device: self.device(),
            occurred: self.occurred,
            recorded: self.recorded,
            raw: self.raw(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Evidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shape = Shape::<String>::deserialize(deserializer)?;
        let Shape { id, feed, kind, device, occurred, recorded, raw } = &shape;
        let said = Said { feed, kind, device, raw };
        Ok(Self::new(&[id], said, *occurred, *recorded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_texts_are_what_it_was_made_of() {
        let said = Said { feed: "feed", kind: "", device: "dör", raw: "{}" };
        let evidence = Evidence::new(&["feed", "/dör/", "7"], said, EventTime(1), EventTime(2));
        let texts = [evidence.id(), evidence.feed(), evidence.kind(), evidence.device()];
        assert_eq!((texts, evidence.raw()), (["feed/dör/7", "feed", "", "dör"], "{}"));
        let json = serde_json::to_string(&evidence).expect("JSON");
        assert!(json.starts_with(r#"{"id":"feed/dör/7","feed":"feed","kind":"","device":"dör""#));
        assert_eq!(serde_json::from_str::<Evidence>(&json).expect("evidence"), evidence);
    }
}
