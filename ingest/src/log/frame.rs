//! One record as bytes.
//!
//! length u32 · CRC-32C u32 · kind u8 · flags u8 · stream u16 · source u16 · topic length u16 ·
//! recorded i64 · unsynced u32 · topic · payload; little endian. The checksum covers the record's
//! position and everything behind itself, so a record in the wrong place is no record. `unsynced`
//! is how many bytes before this record were not durable when it was written: what tells a torn
//! tail from damage.

use std::ops::Range;

use event::{
    EventTime, Position, RecordBlock, RecordFlags, RecordKind, RecordRef, SourceId, StreamId,
};

use super::checksum::checksum;
use super::offsets;

/// Bytes before the topic.
pub const HEADER: usize = 28;
/// Bytes before what the checksum covers.
const COVERED_FROM: usize = 8;

/// A record that was found whole.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Bytes to the next one.
    pub len: usize,
    /// Bytes before it that were not durable when it was written.
    pub unsynced: u32,
    /// All of it but its topic and its payload.
    pub head: RecordRef<'static>,
    /// Where its topic stands; the payload is what follows.
    pub topic: Range<usize>,
    /// It holds deliveries of which only the place is kept: see [`offsets`].
    pub offsets: bool,
}

impl Frame {
    /// Adds the record, which was found at the beginning of `bytes`.
    pub fn push(&self, bytes: &[u8], out: &mut RecordBlock) {
        let (topic, payload) = (&bytes[self.topic.clone()], &bytes[self.topic.end..self.len]);
        out.push(&RecordRef { topic, payload, ..self.head });
    }
}

/// A record's topic, as long as a frame can have it.
#[inline]
pub fn topic<'a>(record: &RecordRef<'a>) -> &'a [u8] {
    &record.topic[..record.topic.len().min(u16::MAX as usize)]
}

/// The header of a frame of `len` bytes, without its checksum. It is put together in words, as the checksum reads it.
#[inline]
fn header(record: &RecordRef<'_>, kind: u8, len: usize, unsynced: u32) -> [u8; HEADER] {
    let (stream, source) = (u64::from(record.stream.0), u64::from(record.source.0));
    let (kind, flags) = (u64::from(kind), u64::from(record.flags.0));
    let topic_len = topic(record).len() as u64;
    let what = kind | flags << 8 | stream << 16 | source << 32 | topic_len << 48;
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&(len as u32).to_le_bytes());
    header[8..16].copy_from_slice(&what.to_le_bytes());
    header[16..24].copy_from_slice(&record.recorded.0.to_le_bytes());
    header[24..].copy_from_slice(&unsynced.to_le_bytes());
    header
}

/// Appends the header of a frame of `len` bytes; where it begins.
pub fn begin(
    record: &RecordRef<'_>,
    kind: u8,
    len: usize,
    unsynced: u32,
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    out.extend_from_slice(&header(record, kind, len, unsynced));
    start
}

/// Sets the checksum of the frame that begins at `start` and ends `out`.
pub fn seal(start: usize, position: u64, out: &mut [u8]) {
    let crc = checksum(position, &[&out[start + COVERED_FROM..]]);
    out[start + 4..start + COVERED_FROM].copy_from_slice(&crc.to_le_bytes());
}

/// Appends a record that will stand at `position`.
#[inline]
pub fn encode(record: &RecordRef<'_>, position: u64, unsynced: u32, out: &mut Vec<u8>) {
    let topic = topic(record);
    let len = HEADER + topic.len() + record.payload.len();
    let mut header = header(record, record.kind as u8, len, unsynced);
    // Of where the bytes stand: what has just been written in other parts than it is read in the processor waits for.
    let crc = checksum(position, &[&header[COVERED_FROM..], topic, record.payload]);
    header[4..COVERED_FROM].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(topic);
    out.extend_from_slice(record.payload);
}

/// The length that a record's first bytes claim, where it is one a record can have.
pub fn claimed_len(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let most = HEADER + u16::MAX as usize + event::limits::DELIVERY_BYTES_MAX;
    (HEADER..=most).contains(&len).then_some(len)
}

/// Reads the record at the beginning of `bytes`, as a file has them; `None` when there is no whole one.
pub fn decode(bytes: &[u8], position: u64) -> Option<Frame> {
    let frame = bytes.get(..claimed_len(bytes)?)?;
    let crc = u32::from_le_bytes(frame[4..8].try_into().ok()?);
    if checksum(position, &[&frame[COVERED_FROM..]]) != crc {
        return None;
    }
    decode_ours(bytes, position)
}

/// The same of what has never left memory: nothing but a file can have damaged it. Deliveries of
/// which only the place is kept are left to [`offsets::resolve`].
pub fn decode_ours(bytes: &[u8], position: u64) -> Option<Frame> {
    let len = claimed_len(bytes)?;
    let bytes = bytes.get(..len)?;
    let offsets = bytes[8] == offsets::KIND;
    let kind = if offsets { RecordKind::Delivery } else { RecordKind::from_number(bytes[8])? };
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let topic_len = u16_at(14) as usize;
    let topic = if offsets { offsets::topic(len, topic_len)? } else { HEADER..HEADER + topic_len };
    if topic.end > len {
        return None;
    }
    let head = RecordRef {
        kind,
        flags: RecordFlags(bytes[9]),
        stream: StreamId(u16_at(10)),
        source: SourceId(u16_at(12)),
        recorded: EventTime(i64::from_le_bytes(bytes[16..24].try_into().ok()?)),
        position: Position(position),
        topic: b"",
        payload: b"",
        room: b"",
    };
    let unsynced = u32::from_le_bytes(bytes[24..28].try_into().ok()?);
    Some(Frame { len, unsynced, head, topic, offsets })
}
