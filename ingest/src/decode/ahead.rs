//! Deliveries of a block, some at a time: all are looked at before the first of them is decoded, so that
//! the memory which their names stand in is at hand by then.

use std::ops::Range;

use event::{EventBlock, RecordBlock, RecordFlags, RecordKind, RecordRef, SourceId};

use super::layouts::{Expected, Layouts};
use super::{Decoder, Outcome, Reading};

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
                self.find_some(&mut group[..end - first]);
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

    /// Looks for the layouts of deliveries.
    #[inline(never)]
    fn expect_some(&mut self, records: &RecordBlock, first: usize, group: &mut [Expected]) {
        let Self { readings, fast, context, .. } = self;
        let mut by: Option<(SourceId, &mut Layouts)> = None;
        for (at, expected) in group.iter_mut().enumerate() {
            let record = records.get(first + at);
            if by.as_ref().is_none_or(|(source, _)| *source != record.source) {
                by = only(readings, record.source)
                    .and_then(|only| fast.get_mut(only)?.as_mut())
                    .map(|fast| (record.source, &mut fast.layouts));
                if let Some((_, layouts)) = &mut by {
                    layouts.settle(&context.symbols);
                }
            }
            match (&mut by, record.room.first_chunk()) {
                (Some((source, layouts)), Some(bytes)) if is_plain(&record) => {
                    layouts.expect(record.payload, bytes, *source, &context.symbols, expected);
                }
                _ => expected.forget(),
            }
        }
    }

    /// Finds the names of deliveries, whose memory has come by now.
    #[inline(never)]
    fn find_some(&self, group: &mut [Expected]) {
        for expected in group {
            expected.find(&self.context.symbols);
        }
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
        let reading = &readings[source.0 as usize];
        let mut made = 0;
        for expected in group {
            let record = records.get(first + made);
            let by = (reading, &**tables);
            if record.source != source || fast.event(&record, expected, by, context, out).is_none()
            {
                break;
            }
            made += 1;
        }
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
        let only = only(&self.readings, record.source).filter(|_| is_plain(record))?;
        let fast = self.fast.get_mut(only)?.as_mut()?;
        let (bytes, symbols) = (record.room.first_chunk()?, &self.context.symbols);
        let mut expected = Expected::NOTHING;
        fast.layouts.settle(symbols);
        fast.layouts.expect(record.payload, bytes, record.source, symbols, &mut expected);
        expected.find(symbols);
        let source = record.source.0 as usize;
        let by = (&self.readings[source], &*self.tables);
        fast.event(record, &expected, by, &mut self.context, out)?;
        self.roads[source].laid_out += 1;
        self.roads[source].scanned += 1;
        Some(())
    }
}

/// The mapping by which all deliveries of a source go.
#[inline(always)]
fn only(readings: &[Reading], source: SourceId) -> Option<usize> {
    readings.get(source.0 as usize)?.only
}

#[inline(always)]
fn is_plain(record: &RecordRef<'_>) -> bool {
    record.kind == RecordKind::Delivery && !record.flags.has(RecordFlags::OVERSIZE)
}
