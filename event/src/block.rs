//! A reused block of decoded events: rows of `u64` words, no allocation in steady state.
//!
//! Row = eight header words, then one word for each slot of the vocabulary. A slot whose presence
//! bit is clear holds garbage and is never read.

use std::ops::Range;

use bytemuck::Zeroable;

use crate::identity::Identity;
use crate::lines::{MemoryLine, NewRow, RowLines};
use crate::prefetch::{prefetch, prefetch_to_write};
use crate::record::{Position, SourceId, StreamId};
use crate::streaming::{Processor, copy_past_caches};
use crate::symbol::Symbol;
use crate::time::EventTime;
use crate::vocabulary::{FieldId, KindId, Vocabulary};

const OCCURRED: usize = 0;
const RECORDED: usize = 1;
const IDENTITY_LOW: usize = 2;
const IDENTITY_HIGH: usize = 3;
/// kind (16) | flags (16) | stream (16) | source (16), from the low end.
const CLASS: usize = 4;
/// site (32) | device (32).
const PLACE: usize = 5;
/// Log position (48) | part (16).
const POSITION: usize = 6;
pub(crate) const PRESENT: usize = 7;
/// Header words of a row.
pub const HEADER_WORDS: usize = 8;
/// How many rows ahead of the one that is added memory is asked for.
pub(crate) const ROWS_AHEAD: usize = 4;
/// Words in which most rows have all of their fields.
pub(crate) const SHORT_WORDS: usize = 16;
/// Words of a line of memory.
pub(crate) const LINE_WORDS: usize = 8;
/// Fields of such a row.
pub const SHORT_FIELDS: usize = SHORT_WORDS - HEADER_WORDS;

/// What is true of an event beside its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFlags(pub u16);

impl EventFlags {
    /// A retained MQTT message, or any replay of old state: sets state, fires no edge rule.
    pub const RETAINED: Self = Self(1);
    /// The device is not in the site model: kept, counted, listed.
    pub const UNKNOWN_DEVICE: Self = Self(1 << 1);
    /// The device's clock is off beyond its bound: judged by recorded time.
    pub const QUARANTINED: Self = Self(1 << 2);
    /// The payload had neither id nor time: a repeat within `repeat_ms` is a duplicate.
    pub const NO_IDENTITY: Self = Self(1 << 3);
    /// Life safety (duress, panic, fire, tamper): never suppressed.
    pub const LIFE_SAFETY: Self = Self(1 << 4);

    /// Both sets.
    #[must_use]
    #[inline]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is set.
    #[must_use]
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The header of an event.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// When it happened, by the device.
    pub occurred: EventTime,
    /// When we recorded it.
    pub recorded: EventTime,
    /// Who it is.
    pub identity: Identity,
    /// Its kind.
    pub kind: KindId,
    /// What is true of it beside its content.
    pub flags: EventFlags,
    /// The input stream it came by.
    pub stream: StreamId,
    /// The source it is counted under.
    pub source: SourceId,
    /// The site.
    pub site: Symbol,
    /// The device that said it.
    pub device: Symbol,
    /// Where its delivery stands in the log.
    pub position: Position,
    /// Which of its delivery's events it is.
    pub part: u16,
}

/// Decoded events of one block.
#[derive(Clone, Debug)]
pub struct EventBlock {
    stride: usize,
    /// `used / pitch`: asked for several times an event, and a division each time.
    rows: usize,
    /// Words from row to row: as many whole lines of memory as it takes.
    pitch: usize,
    /// Words of the rows.
    used: usize,
    /// As long as it ever was. Behind the rows all fields are zero but those that are present, where none was handed over.
    lines: Vec<MemoryLine>,
}

impl EventBlock {
    /// An empty block for rows of this vocabulary.
    #[must_use]
    #[inline]
    pub fn new(vocabulary: &Vocabulary) -> Self {
        Self::of(HEADER_WORDS + vocabulary.fields().len())
    }

    fn of(stride: usize) -> Self {
        let pitch = stride.next_multiple_of(LINE_WORDS);
        Self { stride, rows: 0, pitch, used: 0, lines: Vec::new() }
    }

    #[inline(always)]
    fn words(&self) -> &[u64] {
        bytemuck::cast_slice(&self.lines)
    }

    /// Words of one row.
    #[must_use]
    #[inline]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Events in the block.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Forgets all rows, keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Takes the rows out, and leaves an empty block without memory of its own.
    #[must_use]
    #[inline]
    pub fn take(&mut self) -> Self {
        let empty = Self::of(self.stride);
        std::mem::replace(self, empty)
    }

    /// Forgets the rows from `len` on: how a delivery is refused as a whole.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.rows = self.rows.min(len);
        self.used = self.rows * self.pitch;
    }

    /// Adds a row with an all-zero header and no field present.
    #[inline(always)]
    pub fn push(&mut self) -> EventMut<'_> {
        let row = self.room();
        if let Some((header, slots)) = row.split_first_chunk_mut::<HEADER_WORDS>() {
            clear(slots, header[PRESENT]);
            *header = [0; HEADER_WORDS];
        }
        EventMut(row)
    }

    /// Memory that so many rows may be made of, in order: they are none before they are kept.
    #[inline(always)]
    pub fn new_rows(&mut self, most: usize) -> impl Iterator<Item = NewRow<'_>> {
        let end = self.used + most * self.pitch;
        if self.lines.len() < end / LINE_WORDS {
            self.grow(end);
        }
        let lines = &mut self.lines[self.used / LINE_WORDS..end / LINE_WORDS];
        lines.chunks_exact_mut(self.pitch / LINE_WORDS).map(NewRow)
    }

    /// So many of the rows that there was memory for have been made.
    #[inline(always)]
    pub fn keep(&mut self, made: usize) {
        self.rows += made;
        self.used += made * self.pitch;
        assert!(self.used <= self.lines.len() * LINE_WORDS, "no memory was asked for");
    }

    /// The words of another row, as they were left.
    #[inline(always)]
    fn room(&mut self) -> &mut [u64] {
        let start = self.used;
        self.rows += 1;
        self.used += self.pitch;
        if self.lines.len() < self.used / LINE_WORDS {
            self.grow(self.used);
        }
        let ahead = (start + ROWS_AHEAD * self.pitch) / LINE_WORDS;
        ask_for_row(&self.lines, ahead);
        &mut bytemuck::cast_slice_mut::<_, u64>(&mut self.lines)[start..][..self.stride]
    }

    #[cold]
    fn grow(&mut self, words: usize) {
        let lines = (words / LINE_WORDS).max(2 * self.lines.len());
        self.lines.resize(lines, MemoryLine::zeroed());
    }

    /// Adds a copy of a row of the same vocabulary.
    #[inline]
    pub fn push_row(&mut self, event: EventRef<'_>) {
        assert_eq!(event.0.len(), self.stride, "rows of two vocabularies in one block");
        self.room().copy_from_slice(event.0);
    }

    /// Adds copies of these rows of the same vocabulary: for a thread on another processor [past the
    /// caches](copy_past_caches), or for this one, as far as there is anything in them. Panics where there are no such
    /// rows.
    pub fn hand_over(&mut self, from: &Self, rows: &[u32], to: Processor) {
        assert_eq!(from.stride, self.stride, "rows of two vocabularies in one block");
        let (begin, end) = (self.used, self.used + rows.len() * self.pitch);
        if self.lines.len() < end / LINE_WORDS {
            self.grow(end);
        }
        let each = self.pitch / LINE_WORDS;
        let made = &from.lines[..from.used / LINE_WORDS];
        let these = rows.iter().map(|row| RowLines(&made[*row as usize * each..][..each]));
        let places = self.lines[begin / LINE_WORDS..end / LINE_WORDS].chunks_exact_mut(each);
        let both = these.zip(places);
        match to {
            Processor::Other => copy_past_caches(both.map(|(row, to)| {
                let told = row.told();
                (told, &mut to[..told.len()])
            })),
            Processor::This => both.for_each(|(row, to)| row.copy_to(to)),
        }
        (self.rows, self.used) = (self.rows + rows.len(), end);
    }

    /// Row `index`. Panics when there is no such row.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> EventRef<'_> {
        EventRef(&self.words()[..self.used][index * self.pitch..][..self.stride])
    }

    /// Row `index`, to change it.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> EventMut<'_> {
        let words = &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.used];
        EventMut(&mut words[index * self.pitch..][..self.stride])
    }

    /// Asks for a row's header: it will be read soon.
    #[inline(always)]
    pub fn expect(&self, index: usize) {
        prefetch(&self.lines, index * (self.pitch / LINE_WORDS));
    }

    /// Some rows in order. Panics where there are not so many.
    #[inline]
    pub fn some(&self, rows: Range<usize>) -> impl ExactSizeIterator<Item = EventRef<'_>> {
        let words = &self.words()[..self.used][rows.start * self.pitch..rows.end * self.pitch];
        words.chunks_exact(self.pitch).map(|row| EventRef(&row[..self.stride]))
    }

    /// Some rows in order, as they stand in memory. Panics where there are not so many.
    #[inline(always)]
    pub fn rows(&self, these: Range<usize>) -> impl Iterator<Item = RowLines<'_>> {
        let each = self.pitch / LINE_WORDS;
        let lines = &self.lines[..self.used / LINE_WORDS][these.start * each..these.end * each];
        lines.chunks_exact(each).map(RowLines)
    }

    /// All rows in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> {
        let words = &self.words()[..self.used];
        words.chunks_exact(self.pitch).map(|row| EventRef(&row[..self.stride]))
    }
}

/// What stood where a row will be written may have been read by another thread: the lines are in its cache, too.
#[inline(always)]
pub(crate) fn ask_for_row(lines: &[MemoryLine], first: usize) {
    [0, 1].into_iter().for_each(|line| prefetch_to_write(lines, first + line));
}

/// Clears the fields that a row before had, as bits; to clear all of them takes longer.
#[inline(always)]
pub(crate) fn clear(slots: &mut [u64], mut stale: u64) {
    while stale != 0 {
        slots[stale.trailing_zeros() as usize] = 0;
        stale &= stale - 1;
    }
}

/// One event, read.
#[derive(Clone, Copy, Debug)]
pub struct EventRef<'a>(pub(crate) &'a [u64]);

impl<'a> EventRef<'a> {
    /// A row kept elsewhere, as [`Self::words`] gave it.
    #[must_use]
    #[inline]
    pub fn from_words(words: &'a [u64]) -> Self {
        debug_assert!(words.len() >= HEADER_WORDS);
        Self(words)
    }

    /// The row's words, to keep it elsewhere.
    #[must_use]
    #[inline]
    pub fn words(&self) -> &'a [u64] {
        self.0
    }

    /// The row's words as far as there is anything in them: the rest is never read.
    #[must_use]
    #[inline(always)]
    pub fn told(&self) -> &'a [u64] {
        let slots = (u64::BITS - self.0[PRESENT].leading_zeros()) as usize;
        self.0.get(..HEADER_WORDS + slots).unwrap_or(self.0)
    }

    /// Copies the row, as far as there is anything in it, to another place of as many words.
    #[inline(always)]
    pub fn copy_to(&self, to: &mut [u64]) {
        let told = self.told();
        let short = (to.first_chunk_mut::<SHORT_WORDS>(), self.0.first_chunk::<SHORT_WORDS>());
        match short {
            // Of a fixed length it is some moves in a row, and no call.
            (Some(to), Some(from)) if told.len() <= SHORT_WORDS => *to = *from,
            _ => to[..told.len()].copy_from_slice(told),
        }
    }

    /// Asks for the row's memory, as far as most events have fields: it will be read soon.
    #[inline]
    pub fn expect(&self) {
        [0, HEADER_WORDS].into_iter().for_each(|word| prefetch(self.0, word));
    }

    /// Asks for what stands behind the header.
    #[inline(always)]
    pub fn expect_fields(&self) {
        prefetch(self.0, HEADER_WORDS);
    }

    /// When it happened, by the device.
    #[must_use]
    #[inline]
    pub fn occurred(&self) -> EventTime {
        EventTime(self.0[OCCURRED] as i64)
    }

    /// When we recorded it.
    #[must_use]
    #[inline]
    pub fn recorded(&self) -> EventTime {
        EventTime(self.0[RECORDED] as i64)
    }

    /// Who it is.
    #[must_use]
    #[inline(always)]
    pub fn identity(&self) -> Identity {
        Identity(u128::from(self.0[IDENTITY_HIGH]) << 64 | u128::from(self.0[IDENTITY_LOW]))
    }

    /// Its kind.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> KindId {
        KindId(self.0[CLASS] as u16)
    }

    /// What is true of it beside its content.
    #[must_use]
    #[inline]
    pub fn flags(&self) -> EventFlags {
        EventFlags((self.0[CLASS] >> 16) as u16)
    }

    /// Stream and source as a word: the same for all events of a stream.
    #[must_use]
    #[inline]
    pub fn origin(&self) -> u32 {
        (self.0[CLASS] >> 32) as u32
    }

    /// The header alone, as a row without fields: whoever reads it does not look at the length again.
    #[must_use]
    #[inline(always)]
    pub fn head(&self) -> Option<Self> {
        self.0.first_chunk::<HEADER_WORDS>().map(|words| Self(words))
    }

    /// The input stream it came by: the unit of watermarks.
    #[must_use]
    #[inline]
    pub fn stream(&self) -> StreamId {
        StreamId((self.0[CLASS] >> 32) as u16)
    }

    /// The source it is counted under.
    #[must_use]
    #[inline]
    pub fn source(&self) -> SourceId {
        SourceId((self.0[CLASS] >> 48) as u16)
    }

    /// The site: the unit of order and of state.
    #[must_use]
    #[inline]
    pub fn site(&self) -> Symbol {
        Symbol(self.0[PLACE] as u32)
    }

    /// The device that said it.
    #[must_use]
    #[inline]
    pub fn device(&self) -> Symbol {
        Symbol((self.0[PLACE] >> 32) as u32)
    }

    /// Where its delivery stands in the log.
    #[must_use]
    #[inline]
    pub fn position(&self) -> Position {
        Position(self.0[POSITION] & ((1 << 48) - 1))
    }

    /// What evidence keeps of it: its time, its identity (low half first), and the place of its
    /// delivery with the part, as the row has them.
    #[must_use]
    #[inline]
    pub fn cited(&self) -> (EventTime, [u64; 2], u64) {
        let row = &self.0[..HEADER_WORDS];
        let identity = [row[IDENTITY_LOW], row[IDENTITY_HIGH]];
        (EventTime(row[OCCURRED] as i64), identity, row[POSITION])
    }

    /// Which of its delivery's events it is.
    #[must_use]
    #[inline]
    pub fn part(&self) -> u16 {
        (self.0[POSITION] >> 48) as u16
    }

    /// Whether a field is present.
    #[must_use]
    #[inline(always)]
    pub fn has(&self, field: FieldId) -> bool {
        self.0[PRESENT] >> field.0 & 1 == 1
    }

    /// The raw slot of a present field.
    #[must_use]
    #[inline(always)]
    pub fn slot(&self, field: FieldId) -> Option<u64> {
        if self.has(field) { Some(self.0[HEADER_WORDS + field.0 as usize]) } else { None }
    }

    /// A text field.
    #[must_use]
    #[inline(always)]
    pub fn text(&self, field: FieldId) -> Option<Symbol> {
        self.slot(field).map(|bits| Symbol(bits as u32))
    }

    /// A text field, [`Symbol::NONE`] where it is missing. Without a branch: which fields the next event has, nobody
    /// could foretell.
    #[must_use]
    #[inline(always)]
    pub fn text_or_none(&self, field: FieldId) -> Symbol {
        let bits = self.0.get(HEADER_WORDS + field.0 as usize).map_or(0, |bits| *bits as u32);
        let present = (self.0[PRESENT] >> field.0) as u32 & 1;
        Symbol(bits & 0_u32.wrapping_sub(present))
    }

    /// An integer field.
    #[must_use]
    #[inline]
    pub fn int(&self, field: FieldId) -> Option<i64> {
        self.slot(field).map(|bits| bits as i64)
    }

    /// A field that holds a time.
    #[must_use]
    #[inline]
    pub fn time(&self, field: FieldId) -> Option<EventTime> {
        self.int(field).map(EventTime)
    }

    /// A float field.
    #[must_use]
    #[inline]
    pub fn float(&self, field: FieldId) -> Option<f64> {
        self.slot(field).map(f64::from_bits)
    }

    /// A boolean field.
    #[must_use]
    #[inline]
    pub fn bool(&self, field: FieldId) -> Option<bool> {
        self.slot(field).map(|bits| bits != 0)
    }
}

/// One event, written.
#[derive(Debug)]
pub struct EventMut<'a>(pub(crate) &'a mut [u64]);

impl<'a> EventMut<'a> {
    /// A row kept elsewhere.
    #[must_use]
    #[inline]
    pub fn from_words(words: &'a mut [u64]) -> Self {
        debug_assert!(words.len() >= HEADER_WORDS);
        Self(words)
    }

    /// Sets all of the header.
    #[inline(always)]
    pub fn header(&mut self, header: &Header) {
        let Some(row) = self.0.first_chunk_mut::<HEADER_WORDS>() else { return };
        let mut row = EventMut(row);
        row.times(header.occurred, header.recorded);
        row.identity(header.identity);
        row.class(header.kind, header.flags, header.stream, header.source);
        row.place(header.site, header.device);
        row.position(header.position, header.part);
    }

    /// Sets several fields, each by its slot as [`EventRef::slot`] gave it.
    #[inline(always)]
    pub fn fields(&mut self, fields: impl Iterator<Item = (FieldId, u64)>) {
        let Some((header, slots)) = self.0.split_first_chunk_mut::<HEADER_WORDS>() else { return };
        let mut present = header[PRESENT];
        for (field, bits) in fields {
            present |= 1 << field.0;
            slots[field.0 as usize] = bits;
        }
        header[PRESENT] = present;
    }

    /// Sets both times.
    #[inline(always)]
    pub fn times(&mut self, occurred: EventTime, recorded: EventTime) {
        self.0[OCCURRED] = occurred.0 as u64;
        self.0[RECORDED] = recorded.0 as u64;
    }

    /// Sets the identity.
    #[inline(always)]
    pub fn identity(&mut self, identity: Identity) {
        self.0[IDENTITY_LOW] = identity.0 as u64;
        self.0[IDENTITY_HIGH] = (identity.0 >> 64) as u64;
    }

    /// Sets the kind, and where the event came from.
    #[inline(always)]
    pub fn class(&mut self, kind: KindId, flags: EventFlags, stream: StreamId, source: SourceId) {
        self.0[CLASS] = u64::from(kind.0)
            | u64::from(flags.0) << 16
            | u64::from(stream.0) << 32
            | u64::from(source.0) << 48;
    }

    /// Adds flags.
    #[inline]
    pub fn flag(&mut self, flags: EventFlags) {
        self.0[CLASS] |= u64::from(flags.0) << 16;
    }

    /// Sets site and device.
    #[inline(always)]
    pub fn place(&mut self, site: Symbol, device: Symbol) {
        self.0[PLACE] = u64::from(site.0) | u64::from(device.0) << 32;
    }

    /// Sets where the delivery stands in the log, and which of its events this is.
    #[inline(always)]
    pub fn position(&mut self, position: Position, part: u16) {
        assert!(position.0 < 1 << 48, "log position past 256 TiB");
        self.0[POSITION] = position.0 | u64::from(part) << 48;
    }

    /// Sets the raw slot of a field, as [`EventRef::slot`] gave it.
    #[inline]
    pub fn set(&mut self, field: FieldId, bits: u64) {
        self.0[PRESENT] |= 1 << field.0;
        self.0[HEADER_WORDS + field.0 as usize] = bits;
    }

    /// Sets a text field.
    #[inline]
    pub fn text(&mut self, field: FieldId, value: Symbol) {
        self.set(field, u64::from(value.0));
    }

    /// Sets an integer field.
    #[inline]
    pub fn int(&mut self, field: FieldId, value: i64) {
        self.set(field, value as u64);
    }

    /// Sets a field that holds a time.
    #[inline]
    pub fn time(&mut self, field: FieldId, value: EventTime) {
        self.int(field, value.0);
    }

    /// Sets a float field.
    #[inline]
    pub fn float(&mut self, field: FieldId, value: f64) {
        self.set(field, value.to_bits());
    }

    /// Sets a boolean field.
    #[inline]
    pub fn bool(&mut self, field: FieldId, value: bool) {
        self.set(field, u64::from(value));
    }

    /// The same row, read.
    #[must_use]
    #[inline]
    pub fn as_ref(&self) -> EventRef<'_> {
        EventRef(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::field;

    #[test]
    fn a_row_keeps_every_part_apart() {
        let mut block = EventBlock::new(&Vocabulary::default());
        block.push();
        let mut e = block.push();
        e.times(EventTime(-5), EventTime(7));
        e.identity(Identity(u128::MAX - 1));
        e.class(KindId(513), EventFlags::RETAINED, StreamId(u16::MAX), SourceId(3));
        e.flag(EventFlags::QUARANTINED);
        e.place(Symbol(11), Symbol(u32::MAX));
        e.position(Position((1 << 48) - 1), u16::MAX);
        e.text(field::DOOR, Symbol(9));
        e.int(FieldId(6), -3);
        let e = block.get(1);
        assert_eq!((e.occurred(), e.recorded()), (EventTime(-5), EventTime(7)));
        assert_eq!(e.identity(), Identity(u128::MAX - 1));
        assert_eq!(
            (e.kind(), e.stream(), e.source()),
            (KindId(513), StreamId(u16::MAX), SourceId(3))
        );
        assert_eq!(e.flags(), EventFlags::RETAINED.with(EventFlags::QUARANTINED));
        assert_eq!((e.site(), e.device()), (Symbol(11), Symbol(u32::MAX)));
        assert_eq!((e.position(), e.part()), (Position((1 << 48) - 1), u16::MAX));
        assert_eq!(
            (e.text(field::DOOR), e.text(field::AREA), e.int(FieldId(6))),
            (Some(Symbol(9)), None, Some(-3))
        );
        assert_eq!(block.len(), 2);
        block.truncate(1);
        assert_eq!(block.len(), 1);
    }
}
