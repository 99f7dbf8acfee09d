//! Deliveries of a block, each looked at before it is decoded, so that the memory which its names
//! stand in is at hand by then.

use std::ops::Range;

use event::{EventBlock, RecordBlock, RecordFlags, RecordKind, RecordRef};

use super::layout::Expected;
use super::{Decoder, Outcome};

/// How far ahead a delivery is looked at: further than memory is away, in deliveries.
const AHEAD: usize = 8;

impl Decoder {
    /// Decodes deliveries of a block, each as [`Self::decode`] does, up to a record
    /// that is none, or behind one that changes rows of tables; where to go on. `each` is told what
    /// became of each, with all that was decoded so far.
    pub fn decode_on(
        &mut self,
        records: &RecordBlock,
        places: Range<usize>,
        out: &mut EventBlock,
        mut each: impl FnMut(&RecordRef<'_>, Outcome, &EventBlock),
    ) -> usize {
        let mut expected = [Expected::NOTHING; AHEAD];
        let mut next = places.start;
        for place in places.clone() {
            let record = records.get(place);
            if record.kind != RecordKind::Delivery {
                return place;
            }
            while next < places.end.min(place + AHEAD) {
                expected[next % AHEAD] = self.expect(&records.get(next));
                next += 1;
            }
            let outcome = self.decode_expected(&record, expected[place % AHEAD], out);
            each(&record, outcome, out);
            if !self.changes.is_empty() {
                return place + 1;
            }
        }
        places.end
    }

    /// Looks for the layout of a delivery, where all of its source go by one mapping.
    #[inline(always)]
    pub(super) fn expect(&mut self, record: &RecordRef<'_>) -> Expected {
        let plain = record.kind == RecordKind::Delivery && !record.flags.has(RecordFlags::OVERSIZE);
        let reading = self.readings.get(record.source.0 as usize);
        let first = reading.and_then(|reading| reading.only).filter(|_| plain);
        let fast = first.and_then(|first| self.fast.get_mut(first)?.as_mut());
        let fast = fast.filter(|_| self.context.cited.is_none());
        fast.map_or(Expected::NOTHING, |fast| fast.layouts.expect(record, &self.context.symbols))
    }
}
