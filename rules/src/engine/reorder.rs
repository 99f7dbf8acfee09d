//! Events that wait for the watermark, in the order (occurred, rank, site, identity).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use event::{EventRef, EventTime};

/// The order of events within a site; across sites, the digest of the site's name goes before the
/// identity.
pub type OrderKey = (EventTime, u8, u128, u128);

/// A reused buffer of rows. What arrives in order costs a push at the end of a queue; the rest
/// goes through a heap. The smaller of both heads is next.
#[derive(Debug)]
pub struct Reorder {
    stride: usize,
    rows: Vec<u64>,
    free: Vec<u32>,
    ordered: VecDeque<(OrderKey, u32)>,
    disordered: BinaryHeap<Reverse<(OrderKey, u32)>>,
}

impl Reorder {
    /// An empty buffer of rows of `stride` words.
    pub fn new(stride: usize) -> Self {
        Self {
            stride,
            rows: Vec::new(),
            free: Vec::new(),
            ordered: VecDeque::new(),
            disordered: BinaryHeap::new(),
        }
    }

    /// Events waiting.
    pub fn len(&self) -> usize {
        self.ordered.len() + self.disordered.len()
    }

    /// Keeps a copy of a row.
    pub fn push(&mut self, key: OrderKey, event: EventRef<'_>) {
        let row = match self.free.pop() {
            Some(row) => {
                let start = row as usize * self.stride;
                self.rows[start..start + self.stride].copy_from_slice(event.words());
                row
            }
            None => {
                self.rows.extend_from_slice(event.words());
                (self.rows.len() / self.stride - 1) as u32
            }
        };
        if self.ordered.back().is_none_or(|(last, _)| *last <= key) {
            self.ordered.push_back((key, row));
        } else {
            self.disordered.push(Reverse((key, row)));
        }
    }

    /// Whether the next event occurred before `watermark`.
    pub fn is_due(&self, watermark: EventTime) -> bool {
        let ordered = self.ordered.front().map(|(key, _)| key.0);
        let disordered = self.disordered.peek().map(|Reverse((key, _))| key.0);
        let next = ordered.into_iter().chain(disordered).min();
        next.is_some_and(|at| at < watermark || watermark == EventTime::MAX)
    }

    /// Takes the next event that occurred before `watermark`; `MAX` lets all go. The row is good
    /// until the next push.
    pub fn pop(&mut self, watermark: EventTime) -> Option<EventRef<'_>> {
        let ordered = self.ordered.front().map(|(key, _)| *key);
        let disordered = self.disordered.peek().map(|Reverse((key, _))| *key);
        let from_heap = match (ordered, disordered) {
            (None, None) => return None,
            (Some(a), Some(b)) => b < a,
            (None, Some(_)) => true,
            (Some(_), None) => false,
        };
        let next = if from_heap { disordered } else { ordered };
        if next.is_none_or(|(at, ..)| at >= watermark && watermark != EventTime::MAX) {
            return None;
        }
        let row = if from_heap {
            self.disordered.pop().map(|Reverse((_, row))| row)
        } else {
            self.ordered.pop_front().map(|(_, row)| row)
        }?;
        self.free.push(row);
        let start = row as usize * self.stride;
        Some(EventRef::from_words(&self.rows[start..start + self.stride]))
    }

    /// Every waiting row, in no particular order: for a snapshot.
    pub fn rows(&self) -> impl Iterator<Item = (OrderKey, EventRef<'_>)> {
        let heap = self.disordered.iter().map(|Reverse(entry)| entry);
        self.ordered.iter().chain(heap).map(|(key, row)| {
            let start = *row as usize * self.stride;
            (*key, EventRef::from_words(&self.rows[start..start + self.stride]))
        })
    }
}
