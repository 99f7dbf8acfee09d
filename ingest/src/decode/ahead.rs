//! Deliveries of a block, some at a time: all are looked at before the first of them is decoded, so that
//! the memory which their names stand in is at hand by then.

use std::ops::Range;

use event::{EventBlock, RecordBlock, RecordFlags, RecordKind, RecordRef};

use super::layout::Expected;
use super::{Decoder, Outcome};

/// Deliveries that are looked at one after the other: it takes longer than memory is away.
const GROUP: usize = 16;

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
        let mut next = places.start;
        while next < places.end {
            let these = next..places.end.min(next + GROUP);
            next = these.end;
            for (place, expected) in these.clone().zip(&mut group) {
                self.expect(&records.get(place), expected);
            }
            for (place, expected) in these.zip(&group) {
                if self.laid_out(&records.get(place), expected, out).is_some() {
                    each(place, Outcome::Decoded(1), out);
                    continue;
                }
                let record = records.get(place);
                if record.kind != RecordKind::Delivery {
                    return place;
                }
                let outcome = self.decode_otherwise(&record, expected, out);
                each(place, outcome, out);
                if !self.changes.is_empty() {
                    return place + 1;
                }
            }
        }
        places.end
    }

    /// Looks for the layout of a delivery, where all of its source go by one mapping.
    #[inline(always)]
    pub(super) fn expect(&mut self, record: &RecordRef<'_>, expected: &mut Expected) {
        expected.mapping = u32::MAX;
        let plain = record.kind == RecordKind::Delivery && !record.flags.has(RecordFlags::OVERSIZE);
        let reading = self.readings.get(record.source.0 as usize);
        let Some(only) = reading.and_then(|reading| reading.only).filter(|_| plain) else { return };
        let Some(Some(fast)) = self.fast.get_mut(only) else { return };
        expected.mapping = only as u32;
        fast.layouts.expect(record, &self.context.symbols, expected);
    }

    /// A delivery whose layout is not known, or was not when it was looked at.
    #[inline(never)]
    fn decode_otherwise(
        &mut self,
        record: &RecordRef<'_>,
        expected: &Expected,
        out: &mut EventBlock,
    ) -> Outcome {
        match self.fast.get(expected.mapping as usize) {
            // Others were made since.
            Some(Some(fast)) if fast.layouts.made != expected.made => self.decode(record, out),
            _ => self.decode_unexpected(record, out),
        }
    }
}
