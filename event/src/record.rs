//! Deliveries and the other records of the log, in reused blocks.
//!
//! A source hands over one buffer with the spans of N records and acknowledges the range at once.
//! The log holds the same records; recovery and the live way read the same blocks.

use std::ops::Range;

use crate::time::{EventTime, TimeSpan};

/// Where a record stands in the one ordered log: a byte offset, below 2^48. For a source that *is*
/// the log (a file of `replay`), the offset of the record in the files laid end to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Of what stands nowhere in the log: an edge of a schedule.
    pub const NONE: Self = Self((1 << 48) - 1);
}

/// An input stream: a Kafka partition, an MQTT connection, an HTTP endpoint, a file. The unit that
/// has a watermark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u16);

/// A configured source: the unit that has books. An index into the configuration's sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

/// What a record is. The numbers stand in log files: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// Bytes from outside: payload, and topic (MQTT topic, Kafka topic, HTTP path, file name).
    Delivery = 1,
    /// All streams were silent: the payload is the monotonic span since the site's last record
    /// (i64 microseconds, little endian).
    Tick = 2,
    /// A stream begins: from here on the watermark waits for it. Topic: its name.
    StreamOpened = 3,
    /// A stream is drained and silent: the watermark no longer waits for it until it speaks again.
    StreamIdle = 4,
    /// A stream has ended: nothing will follow.
    StreamEnded = 5,
    /// An operator's or the program's own change: canonical JSON in the payload.
    Control = 6,
}

impl RecordKind {
    /// The kind of a number read from a log.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Delivery,
            2 => Self::Tick,
            3 => Self::StreamOpened,
            4 => Self::StreamIdle,
            5 => Self::StreamEnded,
            6 => Self::Control,
            _ => return None,
        })
    }
}

/// What the transport said of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordFlags(pub u8);

impl RecordFlags {
    /// The broker replays old state (MQTT retain).
    pub const RETAINED: Self = Self(1);
    /// The payload was longer than the limit and is cut to it: reject as oversize, keep the head.
    pub const OVERSIZE: Self = Self(1 << 1);

    /// Whether all of `other` is set.
    #[must_use]
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

#[derive(Clone, Debug)]
struct Span {
    kind: RecordKind,
    flags: RecordFlags,
    stream: StreamId,
    source: SourceId,
    recorded: EventTime,
    position: Position,
    topic: Range<u32>,
    payload: Range<u32>,
}

/// Records in one reused buffer.
#[derive(Clone, Debug, Default)]
pub struct RecordBlock {
    buffer: Vec<u8>,
    spans: Vec<Span>,
}

/// One record, read.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// What it is.
    pub kind: RecordKind,
    /// What the transport said of it.
    pub flags: RecordFlags,
    /// The stream it came by.
    pub stream: StreamId,
    /// The source it is counted under.
    pub source: SourceId,
    /// When we recorded it (wall clock of the log's writer).
    pub recorded: EventTime,
    /// Where it stands in the log; meaningless before the log or the file reader has set it.
    pub position: Position,
    /// Topic, path or file name.
    pub topic: &'a [u8],
    /// The bytes as they came.
    pub payload: &'a [u8],
}

impl RecordRef<'_> {
    /// The span of a [`RecordKind::Tick`].
    #[must_use]
    pub fn tick(&self) -> Option<TimeSpan> {
        let bytes = self.payload.try_into().ok()?;
        (self.kind == RecordKind::Tick).then(|| TimeSpan(i64::from_le_bytes(bytes)))
    }
}

impl RecordBlock {
    /// An empty block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records in the block.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes held, topics included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Forgets all records, keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.spans.clear();
    }

    /// Adds a record by copying its bytes.
    pub fn push(&mut self, record: &RecordRef<'_>) {
        // One block may lend its topic again and again: keep it once in a row.
        let topic = match self.spans.last() {
            Some(last) if self.bytes_of(&last.topic) == record.topic => last.topic.clone(),
            _ => self.append(record.topic),
        };
        let payload = self.append(record.payload);
        self.spans.push(Span {
            kind: record.kind,
            flags: record.flags,
            stream: record.stream,
            source: record.source,
            recorded: record.recorded,
            position: record.position,
            topic,
            payload,
        });
    }

    /// Lets `fill` append bytes (a read from a file or a socket) and returns their range, to be
    /// cut into records by [`Self::push_span`] without a copy.
    pub fn append_with<R>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> (Range<u32>, R) {
        let start = self.buffer.len() as u32;
        let result = fill(&mut self.buffer);
        (start..self.buffer.len() as u32, result)
    }

    /// Adds a record whose topic and payload already stand in the buffer.
    pub fn push_span(&mut self, record: &RecordRef<'_>, topic: Range<u32>, payload: Range<u32>) {
        assert!(
            payload.end as usize <= self.buffer.len() && topic.end as usize <= self.buffer.len()
        );
        self.spans.push(Span {
            kind: record.kind,
            flags: record.flags,
            stream: record.stream,
            source: record.source,
            recorded: record.recorded,
            position: record.position,
            topic,
            payload,
        });
    }

    /// Bytes of the buffer.
    #[must_use]
    #[inline]
    pub fn bytes_of(&self, range: &Range<u32>) -> &[u8] {
        &self.buffer[range.start as usize..range.end as usize]
    }

    /// Sets the position of record `index`: done by the log as it appends.
    pub fn set_position(&mut self, index: usize, position: Position) {
        self.spans[index].position = position;
    }

    /// Record `index`. Panics when there is no such record.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> RecordRef<'_> {
        let span = &self.spans[index];
        RecordRef {
            kind: span.kind,
            flags: span.flags,
            stream: span.stream,
            source: span.source,
            recorded: span.recorded,
            position: span.position,
            topic: self.bytes_of(&span.topic),
            payload: self.bytes_of(&span.payload),
        }
    }

    /// All records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    fn append(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.buffer.len() as u32;
        self.buffer.extend_from_slice(bytes);
        start..self.buffer.len() as u32
    }
}
