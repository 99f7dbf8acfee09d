//! Deliveries of a block, some at a time: all are looked at before the first of them is decoded, so that
//! the memory which their names stand in is at hand by then.

use std::ops::Range;

use event::{EventBlock, RecordBlock, RecordFlags, RecordKind, RecordRef, SourceId};

use super::layouts::{Expected, Layouts};
use super::{Decoder, Fast, Outcome, Reading, Roads};

/// Deliveries that are looked at one after the other: it takes longer than memory is away.
const GROUP: usize = 16;

/// What was found of them, by the last digits of their places.
type Group = [Expected; GROUP];

/// What one source's deliveries are decoded by.
struct By<'a> {
    source: SourceId,
    reading: &'a Reading,
    fast: &'a Fast,
    roads: &'a mut Roads,
}

impl Decoder {
    /// Decodes deliveries of a block, each as [`Self::decode`] does, up to a record
    /// that is none, or behind one that changes rows of tables; where to go on. `each` is told what
    /// became of which, with all that was decoded so far.
    pub fn decode_on(
        &mut self,
        records: &RecordBlock,
        places: Range<usize>,
        out: &mut EventBlock,
        mut each: impl FnMut(usize, Outcome, &EventBlock),
    ) -> usize {
        self.context.symbols.settle(places.len());
        self.changes.clear();
        let mut group = [Expected::NOTHING; GROUP];
        let (mut next, mut end) = (places.start, places.start);
        while next < places.end {
            if next == end {
                end = places.end.min(next + GROUP);
                self.expect_some(records, next..end, &mut group);
            }
            next = self.decode_some(records, next..end, &group, out, &mut each);
            if next == end {
                continue;
            }
            let record = records.get(next);
            if record.kind != RecordKind::Delivery {
                return next;
            }
            let outcome = self.decode_otherwise(&record, &group[next % GROUP], out);
            each(next, outcome, out);
            next += 1;
            if !self.changes.is_empty() {
                return next;
            }
        }
        places.end
    }

    /// Looks for the layouts of deliveries.
    #[inline(never)]
    fn expect_some(&mut self, records: &RecordBlock, places: Range<usize>, group: &mut Group) {
        let Self { readings, fast, context, .. } = self;
        let mut by: Option<(SourceId, &mut Layouts)> = None;
        for place in places {
            let record = records.get(place);
            if by.as_ref().is_none_or(|(source, _)| *source != record.source) {
                by = only(readings, record.source)
                    .and_then(|only| fast.get_mut(only)?.as_mut())
                    .map(|fast| (record.source, &mut fast.layouts));
            }
            let expected = &mut group[place % GROUP];
            match (&mut by, record.room.first_chunk()) {
                (Some((source, layouts)), Some(bytes)) if is_plain(&record) => {
                    layouts.expect(record.payload, bytes, *source, &context.symbols, expected);
                }
                _ => *expected = Expected::NOTHING,
            }
        }
    }

    /// Decodes deliveries by the layouts that they have, up to one that has none; where that is.
    #[inline(never)]
    fn decode_some(
        &mut self,
        records: &RecordBlock,
        places: Range<usize>,
        group: &Group,
        out: &mut EventBlock,
        each: &mut impl FnMut(usize, Outcome, &EventBlock),
    ) -> usize {
        let Self { readings, fast, context, tables, roads, .. } = self;
        let mut by: Option<By<'_>> = None;
        for place in places.clone() {
            let record = records.get(place);
            let source = record.source;
            if by.as_ref().is_none_or(|by| by.source != source) {
                by = only(readings, source).and_then(|only| {
                    let (reading, roads) =
                        (&readings[source.0 as usize], &mut roads[source.0 as usize]);
                    Some(By { source, reading, fast: fast.get(only)?.as_ref()?, roads })
                });
            }
            let Some(By { reading, fast, roads, .. }) = &mut by else { return place };
            let made = fast.event(&record, &group[place % GROUP], (reading, tables), context, out);
            if made.is_none() {
                return place;
            }
            roads.laid_out += 1;
            roads.scanned += 1;
            each(place, Outcome::Decoded(1), out);
        }
        places.end
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
        fast.layouts.expect(record.payload, bytes, record.source, symbols, &mut expected);
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
