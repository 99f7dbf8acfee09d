//! The layouts of one mapping's payloads: which one a payload has, and from which one is made.

use event::{EventFlags, KindId, ROOM, RecordRef, SourceId, SymbolCache};

use super::layout::{Layout, Sought};
use super::program::Programs;
use super::scan::Scanned;
use super::wide::{Task, Vectors, perform};
use crate::limits::{LAYOUT_BYTES_MAX, LAYOUT_SETS, LAYOUTS_ALIKE_MAX};

/// What was found of a payload before its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Layouts made before.
    made: u32,
    /// The place of its layout; past all where it has none, or some names are not known.
    place: u32,
    /// How many fours of names are looked up.
    fours: usize,
    pub names: Sought,
}

impl Expected {
    /// Of a payload that nobody has looked at.
    pub const NOTHING: Self =
        Self { made: u32::MAX, place: NOWHERE, fours: 0, names: Sought::NOTHING };

    /// It is a payload of which nothing is known.
    #[inline(always)]
    pub fn forget(&mut self) {
        (self.made, self.place, self.fours) = (u32::MAX, NOWHERE, 0);
    }

    /// Finds its names, whose memory was asked for.
    #[inline(always)]
    pub fn find<V: Vectors>(&mut self, vectors: V, symbols: &SymbolCache) {
        if self.fours > 0 && !self.names.find(vectors, self.fours, symbols) {
            self.place = NOWHERE;
        }
    }
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
    /// Whether some have seen enough payloads to tell which names are the same in all.
    tried: bool,
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
            tried: false,
        }
    }

    /// Looks for the layout of a payload, which may be read on behind, and asks for the memory of the
    /// names that it has.
    #[inline(always)]
    pub fn expect<V: Vectors>(
        &mut self,
        vectors: V,
        (len, bytes): (usize, &[u8; ROOM]),
        source: SourceId,
        symbols: &SymbolCache,
        expected: &mut Expected,
    ) {
        self.now += 1;
        expected.made = self.made;
        let place = self.last.get(len).copied().unwrap_or(NOWHERE);
        match self.layouts.get_mut(place as usize) {
            Some(layout) if self.now >= self.rest && layout.fits(vectors, len, bytes, source) => {
                (self.found, layout.used) = (self.found + 1, self.now);
                expected.place = place;
                expected.fours = layout.expect(vectors, bytes, symbols, &mut expected.names);
                if layout.trial.is_on() {
                    self.tried |= layout.try_names(&expected.names);
                }
            }
            _ => self.expect_other((len, bytes), source, symbols, expected),
        }
    }

    /// Makes names that a layout has always had a part of it, before payloads are looked at.
    #[inline(always)]
    pub fn settle(&mut self, symbols: &SymbolCache) {
        if self.tried {
            self.settle_tried(symbols);
        }
    }

    #[cold]
    #[inline(never)]
    fn settle_tried(&mut self, symbols: &SymbolCache) {
        (self.tried, self.made) = (false, self.made.wrapping_add(1) % u32::MAX);
        self.layouts.iter_mut().for_each(|layout| layout.settle(symbols));
    }

    /// The same of a payload that has no layout, or one that none of its length had last.
    #[cold]
    #[inline(never)]
    fn expect_other(
        &mut self,
        (len, bytes): (usize, &[u8; ROOM]),
        source: SourceId,
        symbols: &SymbolCache,
        expected: &mut Expected,
    ) {
        (expected.place, expected.fours) = (NOWHERE, 0);
        if self.now < self.rest || len > LAYOUT_BYTES_MAX {
            return;
        }
        let first = len % LAYOUT_SETS * LAYOUTS_ALIKE_MAX;
        let set = self.layouts.get_mut(first..first + LAYOUTS_ALIKE_MAX).unwrap_or_default();
        let names = &mut expected.names;
        let found = perform(Fitting { set, len, bytes, source, symbols, names });
        let Some((at, fours)) = found else { return };
        let layout = &mut set[at];
        (self.found, layout.used) = (self.found + 1, self.now);
        if layout.trial.is_on() {
            self.tried |= layout.try_names(&expected.names);
        }
        let place = (first + at) as u32;
        self.last[len] = place;
        (expected.place, expected.fours) = (place, fours);
    }

    /// Whether others were made since this one was looked for.
    pub fn is_stale(&self, expected: &Expected) -> bool {
        expected.made != self.made
    }

    /// The layout that a payload was found to have, if its names are known; of one that is not stale.
    #[inline(always)]
    pub fn at(&self, expected: &Expected) -> Option<&Layout> {
        self.layouts.get(expected.place as usize)
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
        self.made = self.made.wrapping_add(1) % u32::MAX;
        let layout = programs.made(program).and_then(|made| {
            let flags = (flags(made.kind), feed);
            Layout::of(record, scanned, (made, programs.asked()), flags, (program, mark))
        });
        let mut layout = layout.unwrap_or_else(|| {
            self.worth -= FAILED;
            Layout::NONE
        });
        // One that was too narrow goes, or else the one that was of use longest ago.
        let narrow = set.clone().find(|at| layout.was_of(&self.layouts[*at]));
        layout.used = self.now;
        layout.try_after(narrow.map(|at| &self.layouts[at]));
        let oldest = || set.min_by_key(|at| self.layouts[*at].used);
        let place = narrow.or_else(oldest).unwrap_or(first);
        self.layouts[place] = layout;
        self.last[len] = place as u32;
    }
}

/// Looks for the layout of a payload among some, and asks for the memory of the names that it has.
struct Fitting<'a> {
    set: &'a [Layout],
    len: usize,
    bytes: &'a [u8; ROOM],
    source: SourceId,
    symbols: &'a SymbolCache,
    names: &'a mut Sought,
}

impl Task for Fitting<'_> {
    /// Which one it is, and how many fours of names.
    type Done = Option<(usize, usize)>;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Option<(usize, usize)> {
        let Self { set, len, bytes, source, symbols, names } = self;
        for (at, layout) in set.iter().enumerate() {
            if layout.fits(vectors, len, bytes, source) {
                return Some((at, layout.expect(vectors, bytes, symbols, names)));
            }
        }
        None
    }
}
