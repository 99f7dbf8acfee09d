//! Deliveries of which the log keeps only where their payloads stand: a run of them in one frame.
//!
//! The header of a frame ([`super::frame`]) with kind 7, then for each delivery eight bytes: its
//! number in the frame u16 · how far its offset is behind the first u16 · CRC-32C of its payload u32.
//! Then the topic, and: partition i32 · first offset i64 · bytes at which an oversize payload was
//! cut u32. A delivery's position is that of its eight bytes, so that it can be found from there.

use std::ops::Range;

use event::{Position, RecordBlock, RecordFlags, RecordKind, RecordRef, SourceId};

use super::frame::Frame;
use super::{Held, LogError, checksum, frame};

/// Kind of such a frame, beside the numbers of [`RecordKind`].
pub const KIND: u8 = 7;
/// Bytes of one delivery.
const ENTRY: usize = 8;
/// Bytes behind the topic.
const TAIL: usize = 16;
/// Deliveries of one frame.
const RUN_MAX: usize = 4_096;

/// Reads payloads again, at the source that holds them.
pub trait Payloads: Send + Sync + std::fmt::Debug {
    /// Gives `each` the payloads at rising offsets of a topic's partition, in order.
    ///
    /// # Errors
    /// One of them cannot be had; those before it were given.
    fn read(
        &self,
        source: SourceId,
        place: (&str, i32),
        offsets: &[i64],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Lack>;
}

/// Why a payload cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Its source has deleted it.
    Gone,
    /// Its source cannot be asked now.
    Away(String),
}

/// How many records from `from` on fit into one frame; none where that one is kept as a whole.
pub fn run(block: &RecordBlock, from: usize) -> usize {
    let Some(first) = block.origin(from) else { return 0 };
    let head = block.get(from);
    let follows = |index: &usize| {
        let (record, origin) = (block.get(*index), block.origin(*index));
        origin.is_some_and(|origin| {
            origin.partition == first.partition
                && (0..=i64::from(u16::MAX)).contains(&(origin.offset - first.offset))
        }) && (record.stream, record.source, record.flags, record.recorded)
            == (head.stream, head.source, head.flags, head.recorded)
            && record.topic == head.topic
            && (!record.flags.has(RecordFlags::OVERSIZE)
                || record.payload.len() == head.payload.len())
    };
    let end = block.len().min(from + RUN_MAX);
    (from..end).take_while(follows).count()
}

/// Appends a frame of `count` records that will stand at `position`; their positions too.
pub fn encode(
    block: &RecordBlock,
    (from, count): (usize, usize),
    (position, unsynced): (u64, u32),
    out: &mut Vec<u8>,
    positions: &mut Vec<u64>,
) {
    let (record, first) = (block.get(from), block.origin(from).map_or(0, |o| o.offset));
    let partition = block.origin(from).map_or(0, |o| o.partition);
    let topic = frame::topic(&record);
    let len = frame::HEADER + count * ENTRY + topic.len() + TAIL;
    let start = frame::begin(&record, KIND, len, unsynced, out);
    for number in 0..count {
        let origin = block.origin(from + number);
        let (offset, checksum) = origin.map_or((first, 0), |o| (o.offset, o.checksum));
        positions.push(position + (out.len() - start) as u64);
        out.extend_from_slice(&(number as u16).to_le_bytes());
        out.extend_from_slice(&((offset - first) as u16).to_le_bytes());
        out.extend_from_slice(&checksum.to_le_bytes());
    }
    out.extend_from_slice(topic);
    out.extend_from_slice(&partition.to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    let cut = record.flags.has(RecordFlags::OVERSIZE).then_some(record.payload.len() as u32);
    out.extend_from_slice(&cut.unwrap_or(u32::MAX).to_le_bytes());
    frame::seal(start, position, out);
}

/// Where the frame would begin whose delivery stands at a position with these bytes.
pub fn frame_start(entry: &[u8], position: u64) -> Option<u64> {
    let number = u64::from(u16::from_le_bytes(entry.get(..2)?.try_into().ok()?));
    position.checked_sub(frame::HEADER as u64 + number * ENTRY as u64)
}

/// Behind a delivery at a position, in its frame.
pub fn next(position: u64) -> u64 {
    position + ENTRY as u64
}

/// Where the topic of a frame of `len` bytes stands.
pub fn topic(len: usize, topic_len: usize) -> Option<Range<usize>> {
    let end = len.checked_sub(TAIL)?;
    let start = end.checked_sub(topic_len).filter(|start| *start >= frame::HEADER)?;
    Some(start..end)
}

/// Adds the deliveries of a whole frame that stand in a range of positions: out of memory where they
/// were taken a moment ago, else from their source.
pub fn resolve(
    (frame, bytes): (&Frame, &[u8]),
    within: &Range<u64>,
    held: &Held,
    payloads: Option<&dyn Payloads>,
    out: &mut RecordBlock,
) -> Result<(), LogError> {
    let tail = &bytes[frame.topic.end..];
    let i32_at =
        |at: usize| i32::from_le_bytes([tail[at], tail[at + 1], tail[at + 2], tail[at + 3]]);
    let (partition, cut) = (i32_at(0), i32_at(12) as u32 as usize);
    let first_offset = i64::from(i32_at(4) as u32) | i64::from(i32_at(8)) << 32;
    let start = frame.head.position.0 + frame::HEADER as u64;
    let all = bytes[frame::HEADER..frame.topic.start].chunks_exact(ENTRY);
    // Position, offset and checksum of each.
    let entries = all.zip((start..).step_by(ENTRY)).filter(|(_, at)| within.contains(at));
    let entries: Vec<_> = entries
        .map(|(entry, at)| {
            let behind = u16::from_le_bytes([entry[2], entry[3]]);
            let checksum = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            (at, first_offset + i64::from(behind), checksum)
        })
        .collect();
    let Some((first, ..)) = entries.first().copied() else { return Ok(()) };
    if held.copy(Position(first), entries.len(), out) {
        return Ok(());
    }
    let name = &bytes[frame.topic.clone()];
    let topic = String::from_utf8_lossy(name);
    let offsets: Vec<_> = entries.iter().map(|(_, offset, _)| *offset).collect();
    let (mut done, mut changed) = (0, false);
    let mut each = |payload: &[u8]| {
        let (at, _, wanted) = entries[done];
        let payload = &payload[..payload.len().min(cut)];
        changed |= checksum::of(payload) != wanted;
        if !changed {
            out.push(&RecordRef { position: Position(at), topic: name, payload, ..frame.head });
            done += 1;
        }
    };
    let read = match payloads {
        Some(payloads) => {
            payloads.read(frame.head.source, (topic.as_ref(), partition), &offsets, &mut each)
        }
        None => Err(Lack::Away("no source is configured that keeps it".to_owned())),
    };
    let Some((at, offset, _)) = entries.get(done) else { return Ok(()) };
    let (position, place) = (*at, format!("{topic}/{partition} offset {offset}"));
    Err(match read {
        Err(Lack::Away(reason)) => LogError::Away { position, place, reason },
        Err(Lack::Gone) | Ok(()) => LogError::Unretained { position, place },
    })
}

const _: () = assert!(RecordKind::from_number(KIND).is_none(), "the number is taken");
