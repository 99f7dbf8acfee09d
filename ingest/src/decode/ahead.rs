//! Deliveries of a block, some at a time: all are looked at before the first of them is decoded, so that
//! the memory which their names stand in is at hand by then.

use std::ops::Range;

use event::tables::Tables;
use event::{
    EventBlock, ROOM, RecordBlock, RecordFlags, RecordHead, RecordKind, RecordRef, SourceId, Span,
    SymbolCache,
};

use super::layouts::Expected;
use super::wide::{Task, Vectors, perform};
use super::{Context, Decoder, Fast, Outcome, Reading};

/// Deliveries that are looked at one after the other: it takes longer than memory is away.
const GROUP: usize = 16;

impl Decoder {
    /// Decodes deliveries of a block, each as [`Self::decode`] does, up to a record
    /// that is none, or behind one that changes rows of tables; where to go on. `each` is told what
    /// became of each of some deliveries of one source, with all that was decoded so far.
    pub fn decode_on(
        &mut self,
        records: &RecordBlock,
        places: Range<usize>,
        out: &mut EventBlock,
        mut each: impl FnMut(Range<usize>, Outcome, &EventBlock),
    ) -> usize {
        self.context.symbols.settle(places.len());
        self.changes.clear();
        let mut group = [Expected::NOTHING; GROUP];
        let (mut next, mut first, mut end) = (places.start, places.start, places.start);
        while next < places.end {
            if next == end {
                (first, end) = (next, places.end.min(next + GROUP));
                self.expect_some(records, first, &mut group[..end - first]);
            }
            let made = self.decode_some(records, next, &group[next - first..end - first], out);
            if made > next {
                each(next..made, Outcome::Decoded(1), out);
                next = made;
                continue;
            }
            let record = records.get(next);
            if record.kind != RecordKind::Delivery {
                return next;
            }
            let outcome = self.decode_otherwise(&record, &group[next - first], out);
            each(next..next + 1, outcome, out);
            next += 1;
            if !self.changes.is_empty() {
                return next;
            }
        }
        places.end
    }

    /// Looks for the layouts of deliveries, and then for their names, whose memory has come by then.
    #[inline(never)]
    fn expect_some(&mut self, records: &RecordBlock, first: usize, group: &mut [Expected]) {
        let Self { readings, fast, context, .. } = self;
        let spans = records.spans(first..first + group.len());
        perform(Expecting { readings, fast, symbols: &context.symbols, records, spans, group });
    }

    /// Decodes deliveries of one source by the layouts that they have, up to one that has none, or that is
    /// another source's; where that is.
    #[inline(never)]
    fn decode_some(
        &mut self,
        records: &RecordBlock,
        first: usize,
        group: &[Expected],
        out: &mut EventBlock,
    ) -> usize {
        let Self { readings, fast, context, tables, roads, .. } = self;
        let source = records.source(first);
        let Some(only) = only(readings, source) else { return first };
        let Some(Some(fast)) = fast.get(only) else { return first };
        let spans = records.spans(first..first + group.len());
        let by = (&readings[source.0 as usize], &**tables);
        let made = perform(Decoding { fast, source, by, context, records, spans, group, out });
        let roads = &mut roads[source.0 as usize];
        roads.laid_out += made as u64;
        roads.scanned += made as u64;
        first + made
    }

    /// A delivery that has no layout, or was looked at before another was made, or not at all.
    #[inline(never)]
    fn decode_otherwise(
        &mut self,
        record: &RecordRef<'_>,
        expected: &Expected,
        out: &mut EventBlock,
    ) -> Outcome {
        let fast =
            only(&self.readings, record.source).and_then(|only| self.fast.get(only)?.as_ref());
        match fast {
            Some(fast) if fast.layouts.is_stale(expected) => self.decode(record, out),
            _ => self.decode_unexpected(record, out),
        }
    }

    /// The event of a delivery, if its layout is known; else nothing was done.
    pub(super) fn decode_alone(
        &mut self,
        record: &RecordRef<'_>,
        out: &mut EventBlock,
    ) -> Option<()> {
        let Self { readings, fast, context, tables, roads, .. } = self;
        let (head, bytes) = (record.head(), record.room.first_chunk()?);
        let only = only(readings, record.source).filter(|_| is_plain(&head))?;
        let (fast, source) = (fast.get_mut(only)?.as_mut()?, record.source.0 as usize);
        let (by, record) = ((&readings[source], &**tables), (&head, record.payload.len(), bytes));
        perform(Alone { fast, by, context, record, out })?;
        roads[source].laid_out += 1;
        roads[source].scanned += 1;
        Some(())
    }
}

/// See [`Decoder::expect_some`].
struct Expecting<'a> {
    readings: &'a [Reading],
    fast: &'a mut [Option<Fast>],
    symbols: &'a SymbolCache,
    records: &'a RecordBlock,
    spans: &'a [Span],
    group: &'a mut [Expected],
}

impl Task for Expecting<'_> {
    type Done = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { readings, fast, symbols, records, spans, group } = self;
        let many = spans.len().min(group.len());
        let (spans, group) = (&spans[..many], &mut group[..many]);
        let mut at = 0;
        while at < many {
            let source = spans[at].head().source;
            let fast = only(readings, source).and_then(|only| fast.get_mut(only)?.as_mut());
            let Some(Fast { layouts, .. }) = fast else {
                group[at].forget();
                at += 1;
                continue;
            };
            layouts.settle(symbols);
            while at < many && spans[at].head().source == source {
                let (span, expected) = (&spans[at], &mut group[at]);
                at += 1;
                match records.room_of(span) {
                    Some(bytes) if is_plain(span.head()) => {
                        layouts.expect(vectors, (span.len(), bytes), source, symbols, expected);
                    }
                    _ => expected.forget(),
                }
            }
        }
        for expected in group {
            expected.find(vectors, symbols);
        }
    }
}

/// See [`Decoder::decode_some`].
struct Decoding<'a> {
    fast: &'a Fast,
    source: SourceId,
    by: (&'a Reading, &'a Tables),
    context: &'a mut Context,
    records: &'a RecordBlock,
    spans: &'a [Span],
    group: &'a [Expected],
    out: &'a mut EventBlock,
}

impl Task for Decoding<'_> {
    /// How many became events.
    type Done = usize;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> usize {
        let Self { fast, source, by, context, records, spans, group, out } = self;
        let many = spans.len().min(group.len());
        let (spans, group) = (&spans[..many], &group[..many]);
        // Of one source those that come later were not looked at earlier: if the first is not stale, none is.
        if group.first().is_none_or(|first| fast.layouts.is_stale(first)) {
            return 0;
        }
        let mut rows = out.new_rows(many);
        let mut made = 0;
        while made < many {
            let (span, expected) = (&spans[made], &group[made]);
            let head = span.head();
            let (Some(bytes), Some(row)) = (records.room_of(span), rows.next()) else { break };
            let record = (head, bytes);
            if head.source != source
                || fast.event(vectors, record, expected, by, context, row).is_none()
            {
                break;
            }
            made += 1;
        }
        drop(rows);
        out.keep(made);
        made
    }
}

/// See [`Decoder::decode_alone`].
struct Alone<'a> {
    fast: &'a mut Fast,
    by: (&'a Reading, &'a Tables),
    context: &'a mut Context,
    /// With the length of its payload.
    record: (&'a RecordHead, usize, &'a [u8; ROOM]),
    out: &'a mut EventBlock,
}

impl Task for Alone<'_> {
    type Done = Option<()>;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Option<()> {
        let Self { fast, by, context, record: (head, len, bytes), out } = self;
        let (symbols, mut expected) = (&context.symbols, Expected::NOTHING);
        fast.layouts.settle(symbols);
        fast.layouts.expect(vectors, (len, bytes), head.source, symbols, &mut expected);
        expected.find(vectors, symbols);
        let row = out.new_rows(1).next()?;
        fast.event(vectors, (head, bytes), &expected, by, context, row)?;
        out.keep(1);
        Some(())
    }
}

/// The mapping by which all deliveries of a source go.
#[inline(always)]
fn only(readings: &[Reading], source: SourceId) -> Option<usize> {
    readings.get(source.0 as usize)?.only
}

#[inline(always)]
fn is_plain(record: &RecordHead) -> bool {
    record.kind == RecordKind::Delivery && !record.flags.has(RecordFlags::OVERSIZE)
}
