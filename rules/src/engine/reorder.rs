//! Events that wait for the watermark, in the order (occurred, rank, site, identity).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use event::{EventMut, EventRef, EventTime, Interner};

/// Rows that wait, each for as long as somebody knows its number. A row is copied once, when it is
/// kept: from queue to queue goes its number.
pub struct Rows {
    stride: usize,
    words: Vec<u64>,
    free: Vec<u32>,
    interner: Arc<Interner>,
}

impl Rows {
    /// No row yet, of `stride` words; their sites are named here.
    pub fn new(stride: usize, interner: Arc<Interner>) -> Self {
        Self { stride, words: Vec::new(), free: Vec::new(), interner }
    }

    /// A row that is kept, or was until now.
    #[inline]
    pub fn get(&self, row: u32) -> EventRef<'_> {
        let start = row as usize * self.stride;
        EventRef::from_words(&self.words[start..start + self.stride])
    }

    /// A row that is kept, to change it; not in what decides its place.
    pub fn get_mut(&mut self, row: u32) -> EventMut<'_> {
        let start = row as usize * self.stride;
        EventMut::from_words(&mut self.words[start..start + self.stride])
    }

    /// Keeps a copy of a row.
    #[inline(always)]
    pub fn keep(&mut self, event: EventRef<'_>) -> u32 {
        let Some(row) = self.free.pop() else { return self.grow(event) };
        let (start, told) = (row as usize * self.stride, event.told());
        self.words[start..start + told.len()].copy_from_slice(told);
        row
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, event: EventRef<'_>) -> u32 {
        self.words.extend_from_slice(event.words());
        (self.words.len() / self.stride - 1) as u32
    }

    /// Gives a row up: it is good until another is kept.
    #[inline]
    pub fn give_up(&mut self, row: u32) {
        self.free.push(row);
    }

    /// What decides between rows of one time and rank.
    #[inline(never)]
    fn tie(&self, row: u32) -> (u128, u128) {
        let event = self.get(row);
        (self.interner.digest(event.site()), event.identity().0)
    }
}

/// A row that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// When it occurred.
    pub at: EventTime,
    /// Its kind's rank.
    pub rank: u8,
    /// Which of several rows it is one of.
    pub line: u16,
    /// Its number there.
    pub row: u32,
}

impl Waiting {
    /// Whether it comes before another.
    #[inline(always)]
    pub fn is_before(self, rows: &[Rows], other: Self) -> bool {
        self.at < other.at || self.at == other.at && self.is_before_of_then(rows, other)
    }

    #[inline(never)]
    fn is_before_of_then(self, rows: &[Rows], other: Self) -> bool {
        self.rank < other.rank || self.rank == other.rank && self.tie(rows) < other.tie(rows)
    }

    fn tie(self, rows: &[Rows]) -> (u128, u128) {
        rows[usize::from(self.line)].tie(self.row)
    }
}

/// A queue of what came in order: a power of two of places.
#[derive(Debug)]
struct Ring {
    places: Box<[Waiting]>,
    head: u32,
    tail: u32,
    /// When the last that was pushed occurred.
    last: EventTime,
}

const NOBODY: Waiting = Waiting { at: EventTime::MIN, rank: 0, line: 0, row: 0 };

impl Default for Ring {
    fn default() -> Self {
        Self { places: [NOBODY; 16].into(), head: 0, tail: 0, last: EventTime::MIN }
    }
}

impl Ring {
    #[inline]
    fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    /// What stands at a number that counts on for ever.
    #[inline]
    fn at(&self, number: u32) -> Waiting {
        self.places[number as usize & (self.places.len() - 1)]
    }

    #[inline]
    fn get(&self, behind: usize) -> Option<Waiting> {
        (behind < self.len()).then(|| self.at(self.head.wrapping_add(behind as u32)))
    }

    #[inline]
    fn push(&mut self, new: Waiting) {
        if self.len() == self.places.len() {
            self.grow();
        }
        let mask = self.places.len() - 1;
        self.places[self.tail as usize & mask] = new;
        (self.tail, self.last) = (self.tail.wrapping_add(1), new.at);
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let all: Vec<_> = self.iter().collect();
        (self.head, self.tail) = (0, all.len() as u32);
        let places = all.iter().copied().chain(std::iter::repeat_n(NOBODY, all.len()));
        self.places = places.collect();
    }

    fn iter(&self) -> impl Iterator<Item = Waiting> {
        (0..self.len()).filter_map(|behind| self.get(behind))
    }
}

/// Time, rank, site, identity; and the row.
type Disordered = (EventTime, u8, u128, u128, (u16, u32));

fn in_heap(Reverse((at, rank, .., (line, row))): &Reverse<Disordered>) -> Waiting {
    Waiting { at: *at, rank: *rank, line: *line, row: *row }
}

/// A queue of rows. What arrives in order costs a push at its end; the rest goes through a heap.
/// The smaller of both heads is next.
#[derive(Debug, Default)]
pub struct Reorder {
    ordered: Ring,
    disordered: BinaryHeap<Reverse<Disordered>>,
}

impl Reorder {
    /// Events waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.ordered.len() + self.disordered.len()
    }

    /// Takes a row that is kept.
    #[inline(always)]
    pub fn push(&mut self, rows: &[Rows], new: Waiting) {
        // Where nothing waits it is whoever was the last: he was let go before.
        if new.at > self.ordered.last {
            self.ordered.push(new);
        } else {
            self.push_near(rows, new);
        }
    }

    /// Takes one that may have to stand before others.
    #[inline(never)]
    fn push_near(&mut self, rows: &[Rows], new: Waiting) {
        match self.ordered.get(self.ordered.len().wrapping_sub(1)) {
            Some(last) if new.is_before(rows, last) => {
                let (site, identity) = new.tie(rows);
                let row = (new.line, new.row);
                self.disordered.push(Reverse((new.at, new.rank, site, identity, row)));
            }
            _ => self.ordered.push(new),
        }
    }

    /// The next event, and whether it stands in the heap.
    fn first(&self, rows: &[Rows]) -> Option<(Waiting, bool)> {
        let ordered = self.ordered.get(0);
        let Some(heap) = self.disordered.peek() else { return Some((ordered?, false)) };
        let heap = in_heap(heap);
        match ordered {
            Some(first) if !heap.is_before(rows, first) => Some((first, false)),
            _ => Some((heap, true)),
        }
    }

    /// What stands so many places behind the next event, where it came in order.
    #[inline]
    pub fn behind(&self, places: usize) -> Option<Waiting> {
        self.ordered.get(places)
    }

    /// Takes the next event that occurred before `watermark`; `MAX` lets all go.
    #[inline(always)]
    pub fn pop(&mut self, rows: &[Rows], watermark: EventTime) -> Option<Waiting> {
        if !self.disordered.is_empty() {
            return self.pop_either(rows, watermark);
        }
        let first = self.ordered.get(0)?;
        if first.at >= watermark && watermark != EventTime::MAX {
            return None;
        }
        self.ordered.head = self.ordered.head.wrapping_add(1);
        Some(first)
    }

    #[inline(never)]
    fn pop_either(&mut self, rows: &[Rows], watermark: EventTime) -> Option<Waiting> {
        let (first, in_heap) = self.first(rows)?;
        if first.at >= watermark && watermark != EventTime::MAX {
            return None;
        }
        if in_heap {
            self.disordered.pop();
        } else {
            self.ordered.head = self.ordered.head.wrapping_add(1);
        }
        Some(first)
    }

    /// Every waiting row, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Waiting> {
        self.ordered.iter().chain(self.disordered.iter().map(in_heap))
    }
}
