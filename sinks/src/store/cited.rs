//! Events in a document, each as what it differs by from the one before.
//!
//! What a detection cites is much alike: readings of one camera, one badge at two doors. Half of the bytes that
//! an incident took were those of the event before, and a commit writes each of them into a journal and a file.
//!
//! An event: a byte of flags; feed, kind and device, where they are others than before; the id, or what of it
//! stands behind `feed/device/`; when it occurred since the one before, and for how long it went until it was
//! recorded (LEB128, the sign last); the payload's length, and of each eight words of eight bytes a byte with a bit for
//! those that differ, then these. Behind the payload's end are zeros, and before the first event all is empty.

use std::ops::Range;

use event::EventTime;
use event::incident::{Cited, Evidence, Said};

use super::document::{Left, number, text};

/// Feed, kind and device are those of the event before.
const SAME: [u8; 3] = [1, 1 << 1, 1 << 2];
/// The id begins with `feed/device/`, which is left out.
const UNDER_DEVICE: u8 = 1 << 3;

/// Eight words, as they stand in a payload.
type Piece = [u64; 8];
const PIECE: usize = size_of::<Piece>();

/// Writes the events of a document. Its memory serves for the next one.
#[derive(Debug, Default)]
pub(super) struct Citing {
    /// Where feed, kind and device of the event before stand in what is written.
    said: [Range<usize>; 3],
    occurred: EventTime,
    raw: Vec<Piece>,
    /// Events so far, each once.
    seen: Vec<Seen>,
}

/// What tells an event from others: when it occurred, its id and its kind, by where they stand in what is written.
#[derive(Debug)]
struct Seen {
    occurred: EventTime,
    under_device: bool,
    own: Range<usize>,
    said: [Range<usize>; 3],
}

impl Seen {
    /// Whether it is another one that occurred at the same time.
    #[cold]
    fn is(&self, other: &Self, written: &[u8]) -> bool {
        written[self.said[1].clone()] == written[other.said[1].clone()]
            && self.id(written).eq(other.id(written))
    }

    fn id(&self, written: &[u8]) -> impl Iterator<Item = u8> {
        let [feed, _, device] = &self.said;
        let above = [&written[feed.clone()], b"/", &written[device.clone()], b"/"];
        let above = above.into_iter().take(if self.under_device { 4 } else { 0 });
        above.chain([&written[self.own.clone()]]).flatten().copied()
    }
}

impl Citing {
    /// Another document begins.
    pub(super) fn begin(&mut self) {
        self.said = Default::default();
        self.occurred = EventTime(0);
        self.raw.clear();
        self.seen.clear();
    }

    /// Adds an event; whether the document did not have it already.
    pub(super) fn event(&mut self, event: &Cited<'_>, out: &mut Vec<u8>) -> bool {
        let Said { feed, kind, device, raw } = event.said;
        let (place, mut flags) = (out.len(), 0);
        // Once for all of it: lengths, two times, and a byte for each piece.
        let texts: usize = event.id.iter().map(|part| part.len()).sum();
        out.reserve(texts + feed.len() + kind.len() + device.len() + 2 * raw.len() + 128);
        out.push(0);
        for (nth, said) in [feed, kind, device].into_iter().enumerate() {
            let before = &mut self.said[nth];
            if *said.as_bytes() == out[before.clone()] {
                flags |= SAME[nth];
            } else {
                text(said, out);
                *before = out.len() - said.len()..out.len();
            }
        }
        let own = match event.id {
            // As it is put together of them.
            [of, "/", by, "/", own] if is(of, feed) && is(by, device) => Some(*own),
            [id] => under(id, feed, device),
            _ => None,
        };
        let under_device = own.is_some();
        let len = own.map_or(texts, str::len);
        number(len as u64, out);
        match own {
            Some(own) => out.extend_from_slice(own.as_bytes()),
            None => event.id.iter().for_each(|part| out.extend_from_slice(part.as_bytes())),
        }
        let own = out.len() - len..out.len();
        out[place] = flags | if under_device { UNDER_DEVICE } else { 0 };
        signed(event.occurred.0.wrapping_sub(self.occurred.0), out);
        signed(event.recorded.0.wrapping_sub(event.occurred.0), out);
        self.occurred = event.occurred;
        self.payload(raw.as_bytes(), out);
        let (occurred, said) = (event.occurred, self.said.clone());
        let this = Seen { occurred, under_device, own, said };
        let new = self.seen.iter().all(|seen| seen.occurred != occurred || !seen.is(&this, out));
        if new {
            self.seen.push(this);
        }
        new
    }

    fn payload(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        self.raw.resize(raw.len().div_ceil(PIECE), Piece::default());
        number(raw.len() as u64, out);
        let mut end = out.len();
        out.resize(end + self.raw.len() * (1 + PIECE), 0);
        for (nth, before) in self.raw.iter_mut().enumerate() {
            let (differ, mut words) = (end, 0);
            end += 1;
            let piece = piece_of(raw, nth * PIECE);
            for (nth, before) in before.iter_mut().enumerate() {
                // It is written, and stays if it differs: which do would be guessed wrong.
                if let Some(place) = out.get_mut(end..).and_then(<[u8]>::first_chunk_mut) {
                    *place = piece[nth].to_le_bytes();
                }
                let differs = piece[nth] != *before;
                *before = piece[nth];
                words |= u8::from(differs) << nth;
                end += 8 * usize::from(differs);
            }
            out[differ] = words;
        }
        out.truncate(end);
    }
}

/// The words from a place of a payload on, with zeros behind its end.
#[inline(always)]
fn piece_of(raw: &[u8], from: usize) -> Piece {
    let left = &raw[from..];
    let mut piece = Piece::default();
    if let Some(whole) = left.first_chunk::<PIECE>() {
        let (words, _) = whole.as_chunks();
        for (nth, word) in piece.iter_mut().enumerate() {
            *word = u64::from_le_bytes(words[nth]);
        }
        return piece;
    }
    let (words, rest) = left.as_chunks();
    for (nth, word) in words.iter().enumerate() {
        piece[nth] = u64::from_le_bytes(*word);
    }
    for (nth, byte) in rest.iter().enumerate() {
        piece[words.len()] |= u64::from(*byte) << (8 * nth);
    }
    piece
}

/// Whether a text is the other one, mostly by where it stands.
fn is(text: &str, other: &str) -> bool {
    std::ptr::eq(text, other) || text == other
}

/// What of an id stands behind `feed/device/`.
fn under<'a>(id: &'a str, feed: &str, device: &str) -> Option<&'a str> {
    let behind = id.strip_prefix(feed)?.strip_prefix('/')?;
    behind.strip_prefix(device)?.strip_prefix('/')
}

fn signed(value: i64, out: &mut Vec<u8>) {
    number((value << 1 ^ value >> 63) as u64, out);
}

/// Reads the events of a document.
#[derive(Default)]
pub(super) struct Reading<'a> {
    said: [&'a str; 3],
    occurred: i64,
    raw: Vec<[u8; PIECE]>,
}

impl<'a> Reading<'a> {
    /// The next one; `None` where there is none.
    pub(super) fn event(&mut self, left: &mut Left<'a>) -> Option<Evidence> {
        let [flags] = *left.take(1)? else { return None };
        for (said, same) in self.said.iter_mut().zip(SAME) {
            if flags & same == 0 {
                *said = left.text()?;
            }
        }
        let ([feed, kind, device], own) = (self.said, left.text()?);
        let whole = [feed, "/", device, "/", own];
        let id = if flags & UNDER_DEVICE == 0 { &whole[4..] } else { &whole };
        self.occurred = self.occurred.wrapping_add(signed_of(left)?);
        let recorded = self.occurred.wrapping_add(signed_of(left)?);
        let len = usize::try_from(left.number()?).ok()?;
        let pieces = len.div_ceil(PIECE);
        if pieces > left.0.len() {
            return None;
        }
        self.raw.resize(pieces, [0; PIECE]);
        for piece in &mut self.raw {
            let [differ] = *left.take(1)? else { return None };
            for (nth, word) in piece.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                if differ >> nth & 1 == 1 {
                    *word = left.take(8)?.try_into().ok()?;
                }
            }
        }
        let raw = std::str::from_utf8(&self.raw.as_flattened()[..len]).ok()?;
        let said = Said { feed, kind, device, raw };
        Some(Evidence::new(id, said, EventTime(self.occurred), EventTime(recorded)))
    }
}

fn signed_of(left: &mut Left<'_>) -> Option<i64> {
    let value = left.number()?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}
