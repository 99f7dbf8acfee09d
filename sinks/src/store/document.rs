//! What nobody asks for alone, in one column: of a detection its evidence and why it fired.
//!
//! One row in the place of one for each cited event: an event that two detections cite stands with
//! both. Numbers are LEB128, texts stand behind their length; events are those of [`super::cited`].
//! A changed layout is another [`FORMAT`], and the old one is still read.

use event::EventTime;
use event::identity::Digest;
use event::incident::{Detection, Evidence, Said, Severity, Tier};

use super::cited::{Citing, Reading};

/// The first byte.
const FORMAT: u8 = 2;
/// Events stood as they are: five texts, and two times of eight bytes, little endian.
const FORMAT_OF_WHOLE_EVENTS: u8 = 1;
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
    let mut citing = Citing::default();
    for event in &detection.events {
        event.cited(|event| citing.event(event, out));
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

/// Adds a number.
#[inline]
pub(super) fn number(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Adds a text.
#[inline]
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Reads a document; `None` where it is none.
pub(super) fn read(bytes: &[u8]) -> Option<Document> {
    let mut left = Left(bytes);
    let [format, severity, late] = *left.take(3)? else { return None };
    let document = Document {
        severity: *Severity::ALL.get(usize::from(severity))?,
        late: *TIERS.get(usize::from(late))?,
        evidence_omitted: left.number()?,
        key: left.text()?.to_owned(),
        why: left.list(|left| Some((left.text()?.to_owned(), left.text()?.to_owned())))?,
        events: match format {
            FORMAT => {
                let mut reading = Reading::default();
                left.list(|left| reading.event(left))?
            }
            FORMAT_OF_WHOLE_EVENTS => left.list(whole_event)?,
            _ => return None,
        },
    };
    left.0.is_empty().then_some(document)
}

/// An event of the format before.
fn whole_event(left: &mut Left<'_>) -> Option<Evidence> {
    let id = left.text()?;
    let said =
        Said { feed: left.text()?, kind: left.text()?, device: left.text()?, raw: left.text()? };
    Some(Evidence::new(&[id], said, left.time()?, left.time()?))
}

/// What is still to be read.
pub(super) struct Left<'a>(pub(super) &'a [u8]);

impl<'a> Left<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(len)?;
        self.0 = left;
        Some(taken)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
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

    pub(super) fn text(&mut self) -> Option<&'a str> {
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
    fn events_of_any_likeness_are_read_as_they_were() {
        let raws = [
            "",
            "a",
            "{\"id\":100001,\"ok\":true}",
            "{\"id\":100002,\"ok\":true}",
            "ä\0\0\0\0\0\0",
        ];
        let long = ["x".repeat(64), "x".repeat(65), "y".repeat(1_000)];
        let raws: Vec<&str> = raws.into_iter().chain(long.iter().map(String::as_str)).collect();
        let ids = ["feed/door/7", "feed/door/", "feed/other/7", "pruned/00ff", ""];
        let times = [0, -1, 1_700_000_000_000_000, i64::MIN, i64::MAX];
        let mut events = Vec::new();
        for nth in 0..1_000_usize {
            let of = |all: usize, by: usize| nth * by / 7 % all;
            let (kind, device) = (["Badge", "Door", ""][of(3, 3)], ["door", "other"][of(2, 5)]);
            let said = Said { feed: "feed", kind, device, raw: raws[of(raws.len(), 11)] };
            let time = |by| EventTime(times[of(times.len(), by)]);
            events.push(Evidence::new(&[ids[of(ids.len(), 13)]], said, time(17), time(19)));
        }
        let (detection, mut bytes) = (Detection { events, ..detection() }, Vec::new());
        write(&detection, &mut bytes);
        let read = read(&bytes).expect("a document");
        assert_eq!(read.events, detection.events);
        let (mut citing, mut out) = (Citing::default(), Vec::new());
        let new = detection.events.iter().filter(|e| e.cited(|e| citing.event(e, &mut out)));
        assert_eq!(new.count(), distinct(&detection.events));
    }

    /// As a program of schema 7 has written it.
    #[test]
    fn a_document_of_whole_events_is_read() {
        let bytes = b"\x01\x03\x00\x00\x03key\x01\x05count\x012\x01\x0bfeed/door/1\x04feed\x05Badge\x04door\x02{}\
              \x01\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
        let read = read(bytes).expect("a document");
        let said = Said { feed: "feed", kind: "Badge", device: "door", raw: "{}" };
        let event = Evidence::new(&["feed/door/1"], said, EventTime(1), EventTime(-1));
        assert_eq!((read.severity, read.key.as_str()), (Severity::High, "key"));
        assert_eq!(read.why, [("count".to_owned(), "2".to_owned())]);
        assert_eq!(read.events, [event]);
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
