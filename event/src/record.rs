//! Deliveries and the other records of the log, in reused blocks.
//!
//! A source hands over one buffer with the spans of N records and acknowledges the range at once.
//! The log holds the same records; recovery and the live way read the same blocks.

use std::ops::{Range, RangeInclusive};

use crate::prefetch::prefetch;
use crate::streaming::replace_past_caches;
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
    /// An operator's or the program's own change: canonical JSON in the payload. 7 is taken: the log
    /// keeps deliveries under it of which it has only the place.
    Control = 6,
}

impl RecordKind {
    /// The kind of a number read from a log.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
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

/// What is known of a record beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct RecordHead {
    /// What it is.
    pub kind: RecordKind,
    /// What the transport said of it.
    pub flags: RecordFlags,
    /// The stream it came by.
    pub stream: StreamId,
    /// The source it is counted under.
    pub source: SourceId,
    /// When we recorded it.
    pub recorded: EventTime,
    /// Where it stands in the log.
    pub position: Position,
}

/// Where bytes stand in a block.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: u32,
    end: u32,
}

impl From<Range<u32>> for Part {
    #[inline(always)]
    fn from(Range { start, end }: Range<u32>) -> Self {
        Self { start, end }
    }
}

impl Part {
    #[inline(always)]
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A record as a block has it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    head: RecordHead,
    topic: Part,
    payload: Part,
}

impl Span {
    /// A record whose bytes stand there.
    #[inline]
    fn of(record: &RecordRef<'_>, topic: Part, payload: Part) -> Self {
        Self { head: record.head(), topic, payload }
    }

    /// What is known of it.
    #[must_use]
    #[inline(always)]
    pub fn head(&self) -> &RecordHead {
        &self.head
    }

    /// Bytes of its payload.
    #[must_use]
    #[inline(always)]
    pub fn len(&self) -> usize {
        (self.payload.end - self.payload.start) as usize
    }

    /// Whether it has no payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload.start >= self.payload.end
    }
}

/// Where a delivery's payload stands at its source, for a log that keeps no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source's partition.
    pub partition: i32,
    /// The place in it.
    pub offset: i64,
    /// CRC-32C of the payload: what is read there again must be what was judged.
    pub checksum: u32,
}

impl Origin {
    /// Of a record that stands in the log as a whole.
    const NONE: Self = Self { partition: 0, offset: -1, checksum: 0 };
}

/// Records in one reused buffer.
#[derive(Clone, Debug, Default)]
pub struct RecordBlock {
    /// As long as it ever was, so that nothing is cleared before it is read into, and by [`ROOM`] longer
    /// than what is used of it.
    buffer: Vec<u8>,
    /// How much of it belongs to the records.
    used: usize,
    spans: Vec<Span>,
    /// As many as records, up to the last one that has some.
    origins: Vec<Origin>,
}

/// Bytes that can be read from the begin of each payload of a block on, however short it is.
pub const ROOM: usize = 544;

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
    /// The payload, and whatever stands behind it in the same buffer: who reads many bytes at once
    /// need not stop short of the payload's end. Of a record that stands in no block it may be no longer
    /// than the payload.
    pub room: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// A record of the first stream of the first source, without a time or a topic: those of our own
    /// making, and of a log of one file.
    #[must_use]
    pub fn plain(kind: RecordKind, position: Position, payload: &'a [u8]) -> Self {
        let (flags, recorded) = (RecordFlags::default(), EventTime(0));
        let (stream, source, topic) = (StreamId(0), SourceId(0), b"");
        Self { kind, flags, stream, source, recorded, position, topic, payload, room: payload }
    }

    /// What is known of it beside its bytes.
    #[must_use]
    #[inline(always)]
    pub fn head(&self) -> RecordHead {
        let Self { kind, flags, stream, source, recorded, position, .. } = *self;
        RecordHead { kind, flags, stream, source, recorded, position }
    }

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
        self.used
    }

    /// Bytes of memory that it takes with what is known of its records.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.used + ROOM + size_of_val(&*self.spans) + size_of::<Self>()
    }

    /// Forgets all records, keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
        self.spans.clear();
        self.origins.clear();
    }

    /// Becomes a copy of another block, for a thread on another processor ([`replace_past_caches`]).
    pub fn hand_over(&mut self, from: &Self) {
        let room = from.buffer.len().min(from.used + ROOM);
        replace_past_caches(&from.buffer[..room], &mut self.buffer);
        replace_past_caches(&from.spans, &mut self.spans);
        self.used = from.used;
        self.origins.clone_from(&from.origins);
    }

    /// Adds a record by copying its bytes.
    pub fn push(&mut self, record: &RecordRef<'_>) {
        // One block may lend its topic again and again: keep it once in a row.
        let topic = match self.spans.last() {
            Some(last) if self.buffer[last.topic.range()] == *record.topic => last.topic,
            _ => self.append(record.topic).into(),
        };
        let payload = self.append(record.payload);
        self.spans.push(Span::of(record, topic, payload.into()));
    }

    /// Adds a delivery by copying its bytes, of which the log keeps only where they came from.
    pub fn push_from(&mut self, record: &RecordRef<'_>, origin: Origin) {
        if self.origins.len() != self.spans.len() {
            self.origins.resize(self.spans.len(), Origin::NONE);
        }
        self.origins.push(origin);
        self.push(record);
    }

    /// Where record `index` came from, where the log keeps no more than that.
    #[must_use]
    #[inline]
    pub fn origin(&self, index: usize) -> Option<Origin> {
        self.origins.get(index).copied().filter(|origin| origin.offset >= 0)
    }

    /// Gives what is known of where its records came from, and its memory, to a block that is filled next: the log has it.
    pub fn lend_origins(&mut self, next: &mut Self) {
        next.origins = std::mem::take(&mut self.origins);
        next.origins.clear();
    }

    /// Whether all records stand in the log as wholes.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.origins.is_empty()
    }

    /// Lets `fill` append bytes (a read from a socket) and returns their range, to be made records
    /// by [`Self::push_span`] without a copy.
    pub fn append_with<R>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> (Range<u32>, R) {
        let start = self.used as u32;
        self.buffer.truncate(self.used);
        let result = fill(&mut self.buffer);
        self.used = self.buffer.len();
        self.buffer.resize(self.used + ROOM, 0);
        (start..self.used as u32, result)
    }

    /// Lets `fill` write `len` bytes (a read from a file) and returns their range, to be cut into
    /// records by [`Self::cut`] without a copy. What it leaves alone is whatever stood there.
    pub fn append_read<R>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> (Range<u32>, R) {
        let (start, end) = (self.used, self.used + len);
        if self.buffer.len() < end + ROOM {
            self.buffer.resize(end + ROOM, 0);
        }
        self.used = end;
        (start as u32..end as u32, fill(&mut self.buffer[start..end]))
    }

    /// Of what was appended last only that is used which stands before `end`.
    pub fn shorten(&mut self, end: u32) {
        self.used = self.used.min(end as usize);
    }

    /// Adds bytes, to be a topic or to be cut.
    pub fn append(&mut self, bytes: &[u8]) -> Range<u32> {
        self.append_read(bytes.len(), |room| room.copy_from_slice(bytes)).0
    }

    /// Appended bytes, and what makes records like this one of parts of them.
    pub fn cut(
        &mut self,
        bytes: &Range<u32>,
        like: &RecordRef<'_>,
        topic: Range<u32>,
    ) -> (&[u8], Cut<'_>) {
        assert!(topic.end as usize <= self.used && bytes.end as usize <= self.used);
        let payloads = &self.buffer[bytes.start as usize..bytes.end as usize];
        (
            payloads,
            Cut {
                spans: &mut self.spans,
                like: Span::of(like, topic.into(), bytes.clone().into()),
            },
        )
    }

    /// Adds a record whose topic and payload already stand in the buffer.
    pub fn push_span(&mut self, record: &RecordRef<'_>, topic: Range<u32>, payload: Range<u32>) {
        let part = payload.start as usize..payload.end as usize;
        let (flags, position) = (record.flags, record.position);
        self.cut(&(0..self.used as u32), record, topic).1.push(flags, position, part);
    }

    /// Bytes of the buffer.
    #[must_use]
    #[inline]
    pub fn bytes_of(&self, range: &Range<u32>) -> &[u8] {
        &self.buffer[range.start as usize..range.end as usize]
    }

    /// Sets the position of record `index`: done by the log as it appends.
    #[inline]
    pub fn set_position(&mut self, index: usize, position: Position) {
        self.spans[index].head.position = position;
    }

    /// Record `index`. Panics when there is no such record.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> RecordRef<'_> {
        let span = &self.spans[index];
        let room = &self.buffer[span.payload.start as usize..];
        let RecordHead { kind, flags, stream, source, recorded, position } = span.head;
        RecordRef {
            kind,
            flags,
            stream,
            source,
            recorded,
            position,
            // Mostly nobody asks for it: it must not cost a check.
            topic: self.buffer.get(span.topic.range()).unwrap_or_default(),
            payload: &room[..(span.payload.end - span.payload.start) as usize],
            room,
        }
    }

    /// The source of record `index`. Panics when there is no such record.
    #[must_use]
    #[inline]
    pub fn source(&self, index: usize) -> SourceId {
        self.spans[index].head.source
    }

    /// Some records as they stand here. Panics where there are not so many.
    #[must_use]
    #[inline(always)]
    pub fn spans(&self, these: Range<usize>) -> &[Span] {
        &self.spans[these]
    }

    /// What can be read from the begin of a record's payload on.
    #[must_use]
    #[inline(always)]
    pub fn room_of(&self, span: &Span) -> Option<&[u8; ROOM]> {
        let start = span.payload.start as usize;
        self.buffer.get(start..start + ROOM)?.first_chunk()
    }

    /// Where about the record at a position stands, where records stand in the order of their positions, by those of
    /// the first and the last: they are as far apart as they are many.
    #[must_use]
    pub fn guess(&self, position: Position, all: RangeInclusive<Position>) -> usize {
        let (Position(first), Position(last)) = all.into_inner();
        let behind = self.spans.len().saturating_sub(1) as u64;
        match last.checked_sub(first) {
            None | Some(0) => 0,
            Some(apart) => (position.0.saturating_sub(first) * behind / apart) as usize,
        }
    }

    /// The record at a position, which stands near a guess.
    #[must_use]
    pub fn find_near(&self, position: Position, guess: usize) -> Option<usize> {
        let mut near = guess;
        while self.spans.get(near)?.head.position < position {
            near += 1;
        }
        while self.spans.get(near)?.head.position > position {
            near = near.checked_sub(1)?;
        }
        (self.spans[near].head.position == position).then_some(near)
    }

    /// Asks for the memory of what is known of record `index`.
    #[inline]
    pub fn expect(&self, index: usize) {
        prefetch(&self.spans, index);
        // It may end in the next line.
        prefetch(&self.spans, index + 1);
    }

    /// Asks for the memory of the first `bytes` of its payload. Panics when there is no such record.
    #[inline]
    pub fn expect_payload(&self, index: usize, bytes: usize) {
        let payload = self.spans[index].payload.range();
        let end = payload.end.min(payload.start + bytes);
        (payload.start..end).step_by(64).for_each(|at| prefetch(&self.buffer, at));
    }

    /// All records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Makes records of appended bytes.
#[derive(Debug)]
pub struct Cut<'a> {
    spans: &'a mut Vec<Span>,
    /// What all are like; its payload are the bytes.
    like: Span,
}

impl Cut<'_> {
    /// Adds a record whose payload is a part of the bytes.
    #[inline]
    pub fn push(&mut self, flags: RecordFlags, position: Position, part: Range<usize>) {
        let span = self.span(flags, position, part);
        assert!(self.is_within(&span));
        self.spans.push(span);
    }

    /// Adds records whose payloads are parts of the bytes, one behind the other.
    #[inline(always)]
    pub fn extend(&mut self, parts: impl ExactSizeIterator<Item = (Position, Range<usize>)>) {
        let Self { spans, like } = self;
        let (first, head, topic) = (like.payload.start, like.head, like.topic);
        spans.extend(parts.map(|(position, part)| Span {
            head: RecordHead { position, ..head },
            topic,
            payload: (first + part.start as u32..first + part.end as u32).into(),
        }));
        assert!(self.spans.last().is_none_or(|last| self.is_within(last)));
    }

    /// Records of the block.
    #[must_use]
    pub fn records(&self) -> usize {
        self.spans.len()
    }

    /// Forgets the records of the block behind so many.
    pub fn truncate(&mut self, records: usize) {
        self.spans.truncate(records);
    }

    #[inline(always)]
    fn span(&self, flags: RecordFlags, position: Position, part: Range<usize>) -> Span {
        let first = self.like.payload.start;
        let payload = first + part.start as u32..first + part.end as u32;
        let head = RecordHead { flags, position, ..self.like.head };
        Span { head, topic: self.like.topic, payload: payload.into() }
    }

    #[inline(always)]
    fn is_within(&self, span: &Span) -> bool {
        span.payload.start <= span.payload.end && span.payload.end <= self.like.payload.end
    }
}
