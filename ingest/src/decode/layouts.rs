//! The layouts of one mapping's payloads: which one a payload has, and from which one is made.

use event::{EventFlags, KindId, ROOM, RecordRef, SourceId, SymbolCache};

use super::layout::{Homes, Layout};
use super::program::Programs;
use super::scan::Scanned;
use crate::limits::{LAYOUT_BYTES_MAX, LAYOUT_SETS, LAYOUT_VALUES_MAX, LAYOUTS_ALIKE_MAX};

/// What was found of a payload before its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Layouts made before.
    made: u32,
    /// The place of its layout; past all where it has none.
    place: u32,
    pub homes: Homes,
}

impl Expected {
    /// Of a payload that nobody has looked at.
    pub const NOTHING: Self =
        Self { made: u32::MAX, place: NOWHERE, homes: [0; LAYOUT_VALUES_MAX] };
}

/// Layouts of payloads, by their lengths.
pub(super) struct Layouts {
    /// Sets of so many each, by the payload's length; nothing before the first is made.
    layouts: Vec<Layout>,
    /// By length, the place of the layout that a payload of that length had last.
    last: Vec<u32>,
    /// By set, where the values of the payload stood that last had no layout: what comes twice in a
    /// row is worth one.
    marks: [u64; LAYOUT_SETS],
    /// Payloads that came.
    now: u64,
    /// Of these, those that had a layout.
    found: u64,
    /// As it was when something was learned last.
    found_before: u64,
    /// Whether it is worth it: more for each that was found, less for each that was not.
    worth: i64,
    /// Nothing is looked at before this one.
    rest: u64,
    /// Layouts made so far: what was found before another one was made may be that one now.
    made: u32,
}

/// No layout's place.
const NOWHERE: u32 = u32::MAX;
/// What a payload that is found is worth, in those that are not.
const FOUND: u64 = 4;
const WORTH_MAX: i64 = 4_096;
/// What a layout costs that could not be made.
const FAILED: i64 = 64;
/// Payloads that are not looked at where it is not worth it.
const REST: u64 = 20_000;

impl Layouts {
    pub fn none() -> Self {
        Self {
            layouts: Vec::new(),
            last: Vec::new(),
            marks: [0; LAYOUT_SETS],
            now: 0,
            found: 0,
            found_before: 0,
            worth: WORTH_MAX,
            rest: 0,
            made: 0,
        }
    }

    /// Looks for the layout of a payload, which may be read on behind, and asks for the memory of the
    /// names that it has.
    #[inline(always)]
    pub fn expect(
        &mut self,
        payload: &[u8],
        bytes: &[u8; ROOM],
        source: SourceId,
        symbols: &SymbolCache,
        expected: &mut Expected,
    ) {
        (expected.made, expected.place) = (self.made, NOWHERE);
        self.now += 1;
        let Some(last) = self.last.get(payload.len()) else { return };
        if self.now < self.rest {
            return;
        }
        let mut place = *last;
        if !self.layouts.get(place as usize).is_some_and(|layout| layout.fits(payload, source)) {
            place = self.other(payload, source);
        }
        let Some(layout) = self.layouts.get_mut(place as usize) else { return };
        self.found += 1;
        layout.used = self.now;
        expected.place = place;
        layout.expect(bytes, symbols, &mut expected.homes);
    }

    /// The place of a layout that no payload of this length had last.
    #[cold]
    #[inline(never)]
    fn other(&mut self, payload: &[u8], source: SourceId) -> u32 {
        let first = payload.len() % LAYOUT_SETS * LAYOUTS_ALIKE_MAX;
        let set = self.layouts.get(first..first + LAYOUTS_ALIKE_MAX).unwrap_or_default();
        let found = set.iter().position(|layout| layout.fits(payload, source));
        let Some(at) = found else { return NOWHERE };
        let place = (first + at) as u32;
        self.last[payload.len()] = place;
        place
    }

    /// Whether others were made since this one was looked for.
    pub fn is_stale(&self, expected: &Expected) -> bool {
        expected.made != self.made
    }

    /// The layout that a payload was found to have, if no other was made since.
    #[inline(always)]
    pub fn at(&self, expected: &Expected) -> Option<&Layout> {
        self.layouts.get(expected.place as usize).filter(|_| expected.made == self.made)
    }

    /// Learns of a payload that was scanned, and has a program, but no layout.
    #[inline(never)]
    pub fn learn(
        &mut self,
        record: &RecordRef<'_>,
        scanned: &Scanned<'_>,
        (program, programs): (usize, &Programs),
        (feed, flags): (&str, impl Fn(KindId) -> EventFlags),
    ) {
        let len = record.payload.len();
        if self.now < self.rest || len > LAYOUT_BYTES_MAX {
            return;
        }
        let found = self.found - std::mem::replace(&mut self.found_before, self.found);
        let worth = self.worth.saturating_add_unsigned(found.saturating_mul(FOUND));
        self.worth = worth.min(WORTH_MAX) - 1;
        if self.worth < 0 {
            (self.worth, self.rest) = (WORTH_MAX / 4, self.now + REST);
        }
        let mark = scanned.each(u64::MAX).fold(1, |mark: u64, (_, place)| {
            (mark ^ u64::from(place.from())).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        if std::mem::replace(&mut self.marks[len % LAYOUT_SETS], mark) != mark {
            return;
        }
        if self.layouts.is_empty() {
            self.layouts = vec![Layout::NONE; LAYOUT_SETS * LAYOUTS_ALIKE_MAX];
            self.last = vec![NOWHERE; LAYOUT_BYTES_MAX + 1];
        }
        let first = len % LAYOUT_SETS * LAYOUTS_ALIKE_MAX;
        let set = first..first + LAYOUTS_ALIKE_MAX;
        let oldest = set.min_by_key(|at| self.layouts[*at].used).unwrap_or(first);
        self.made = self.made.wrapping_add(1) % u32::MAX;
        let made = programs.made(program);
        let mut layout = made.and_then(|made| {
            Layout::of(record, scanned, (made, programs.asked()), flags(made.kind), feed)
        });
        match &mut layout {
            Some(layout) => (layout.program, layout.used) = (program, self.now),
            None => self.worth -= FAILED,
        }
        self.layouts[oldest] = layout.unwrap_or(Layout::NONE);
        self.last[len] = oldest as u32;
    }
}
