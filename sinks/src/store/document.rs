//! What nobody asks for alone, in one column: of a detection its evidence and why it fired.
//!
//! One row in the place of one for each cited event: an event that two detections cite stands with
//! both. Numbers are LEB128, texts stand behind their length, times are eight bytes, little endian.
//! A changed layout is another [`FORMAT`], and the old one is still read.

use std::ops::Range;

use event::EventTime;
use event::identity::Digest;
use event::incident::{Cited, Detection, Evidence, Said, Severity, Tier};

/// The first byte.
const FORMAT: u8 = 1;
const TIERS: [Option<Tier>; 3] = [None, Some(Tier::Live), Some(Tier::Recorded)];

/// What was written of a detection.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    pub(super) severity: Severity,
    pub(super) late: Option<Tier>,
    pub(super) evidence_omitted: u64,
    pub(super) key: String,
    pub(super) why: Vec<(String, String)>,
    /// The trigger is the last.
    pub(super) events: Vec<Evidence>,
}

/// Replaces `out` by a detection's document.
pub(super) fn write(detection: &Detection, out: &mut Vec<u8>) {
    out.clear();
    let Detection { severity, late, evidence_omitted, key, .. } = detection;
    begin((*severity, *late, *evidence_omitted, key), out);
    number(detection.why.len() as u64, out);
    for (name, value) in &detection.why {
        text(name, out);
        text(value, out);
    }
    number(detection.events.len() as u64, out);
    for event in &detection.events {
        event.cited(|event| cite(event, out));
    }
}

/// Adds what comes first: severity, how late, events omitted, key.
pub(super) fn begin(
    (severity, late, omitted, key): (Severity, Option<Tier>, u64, &str),
    out: &mut Vec<u8>,
) {
    let late = TIERS.iter().position(|tier| *tier == late).unwrap_or_default();
    out.extend([FORMAT, severity as u8, late as u8]);
    number(omitted, out);
    text(key, out);
}

/// Adds an event, of so many as were said; where its id and its kind stand.
pub(super) fn cite(event: &Cited<'_>, out: &mut Vec<u8>) -> [Range<usize>; 2] {
    let Said { feed, kind, device, raw } = event.said;
    let len: usize = event.id.iter().map(|part| part.len()).sum();
    // Once for all of it: five lengths, of five bytes at most, and two times.
    out.reserve(len + feed.len() + kind.len() + device.len() + raw.len() + 5 * 5 + 2 * 8);
    number(len as u64, out);
    event.id.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    let id = out.len() - len..out.len();
    text(feed, out);
    text(kind, out);
    let kind = out.len() - kind.len()..out.len();
    text(device, out);
    text(raw, out);
    out.extend_from_slice(&event.occurred.0.to_le_bytes());
    out.extend_from_slice(&event.recorded.0.to_le_bytes());
    [id, kind]
}

/// Adds a number: how many follow.
pub(super) fn number(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Adds a text.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Reads a document; `None` where it is none.
pub(super) fn read(bytes: &[u8]) -> Option<Document> {
    let mut left = Left(bytes);
    let [FORMAT, severity, late] = *left.take(3)? else { return None };
    let document = Document {
        severity: *Severity::ALL.get(usize::from(severity))?,
        late: *TIERS.get(usize::from(late))?,
        evidence_omitted: left.number()?,
        key: left.text()?.to_owned(),
        why: left.list(|left| Some((left.text()?.to_owned(), left.text()?.to_owned())))?,
        events: left.list(|left| {
            let id = left.text()?;
            let said = Said {
                feed: left.text()?,
                kind: left.text()?,
                device: left.text()?,
                raw: left.text()?,
            };
            Some(Evidence::new(&[id], said, left.time()?, left.time()?))
        })?,
    };
    left.0.is_empty().then_some(document)
}

/// What is still to be read.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(len)?;
        self.0 = left;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte <= 0x7f {
                return Some(value);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(len)?).ok()
    }

    fn time(&mut self) -> Option<EventTime> {
        Some(EventTime(i64::from_le_bytes(self.take(8)?.try_into().ok()?)))
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.number()?).map(|_| each(self)).collect()
    }
}

/// What tells an event from all others: id, kind and time, since a device whose ids wrap repeats an
/// id over its life. It stands in the store: never to be changed.
pub(super) fn identity(event: &Evidence) -> i64 {
    let digest = Digest::default().part(event.id().as_bytes()).part(event.kind().as_bytes());
    digest.number(event.occurred.0 as u128).finish() as i64
}

/// How many different events there are among those that one detection cites: at most a few.
pub(super) fn distinct(events: &[Evidence]) -> usize {
    let same = |a: &Evidence, b: &Evidence| {
        (a.occurred, a.id(), a.kind()) == (b.occurred, b.id(), b.kind())
    };
    let first = |(place, event): &(usize, &Evidence)| {
        !events[..*place].iter().any(|before| same(before, event))
    };
    events.iter().enumerate().filter(first).count()
}

#[cfg(test)]
mod tests {
    use event::identity::TimedId;

    use super::*;

    fn detection() -> Detection {
        let evidence = |number: i64| {
            let raw = "ä\"".repeat(100);
            let said = Said { feed: "feed", kind: "Badge", device: "door", raw: &raw };
            let id = format!("feed/door/{number}");
            Evidence::new(&[&id], said, EventTime(number), EventTime(-number))
        };
        Detection {
            id: TimedId(7),
            rule: "rule".to_owned(),
            title: "title".to_owned(),
            severity: Severity::High,
            site: "site".to_owned(),
            area: None,
            person: None,
            key: "key".to_owned(),
            at: EventTime(7),
            events: vec![evidence(1), evidence(2), evidence(1)],
            evidence_omitted: 300,
            why: vec![("count".to_owned(), "2".to_owned())],
            incident: None,
            verification: 0,
            late: Some(Tier::Recorded),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let (detection, mut bytes) = (detection(), vec![9; 9]);
        write(&detection, &mut bytes);
        let read = read(&bytes).expect("a document");
        assert_eq!((read.severity, read.late), (Severity::High, Some(Tier::Recorded)));
        assert_eq!((read.evidence_omitted, &read.key), (300, &detection.key));
        assert_eq!((&read.why, &read.events), (&detection.why, &detection.events));
        assert_eq!(distinct(&read.events), 2);
    }

    #[test]
    fn what_is_cut_or_longer_is_no_document() {
        let mut bytes = Vec::new();
        write(&detection(), &mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]), None, "{len} bytes");
        }
        bytes.push(0);
        assert_eq!(read(&bytes), None);
    }
}
