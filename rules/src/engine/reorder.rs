//! Events that wait for the watermark, in the order (occurred, rank, identity); and, of several
//! sites, in the order (occurred, rank, site, identity).

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use event::{EventRef, EventTime};
use hashbrown::HashMap;

/// A waiting row whose key is read in it where times and ranks are equal.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    at: EventTime,
    rank: u8,
    row: u32,
}

/// A reused buffer of rows of one site. What arrives in order costs a push at the end of a queue;
/// the rest goes through a heap. The smaller of both heads is next.
#[derive(Debug)]
pub struct Reorder {
    stride: usize,
    rows: Vec<u64>,
    free: Vec<u32>,
    ordered: VecDeque<Waiting>,
    disordered: BinaryHeap<Reverse<(EventTime, u8, u128, u32)>>,
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
    #[inline]
    pub fn len(&self) -> usize {
        self.ordered.len() + self.disordered.len()
    }

    /// A row that was popped: good until the next push.
    #[inline]
    pub fn row(&self, row: u32) -> EventRef<'_> {
        let start = row as usize * self.stride;
        EventRef::from_words(&self.rows[start..start + self.stride])
    }

    /// Keeps a copy of a row.
    #[inline]
    pub fn push(&mut self, rank: u8, event: EventRef<'_>) {
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
        let at = event.occurred();
        let in_order = self.ordered.back().is_none_or(|last| {
            (last.at, last.rank) < (at, rank)
                || (last.at, last.rank) == (at, rank)
                    && self.row(last.row).identity() <= event.identity()
        });
        if in_order {
            self.ordered.push_back(Waiting { at, rank, row });
        } else {
            self.disordered.push(Reverse((at, rank, event.identity().0, row)));
        }
    }

    /// Whether the next one stands in the heap.
    #[inline]
    fn is_from_heap(&self) -> bool {
        let Some(Reverse(heap)) = self.disordered.peek() else { return false };
        self.ordered.front().is_none_or(|first| {
            (heap.0, heap.1) < (first.at, first.rank)
                || (heap.0, heap.1) == (first.at, first.rank)
                    && heap.2 < self.row(first.row).identity().0
        })
    }

    /// What stands so many places behind the next event, where it came in order.
    #[inline]
    pub fn behind(&self, places: usize) -> Option<EventRef<'_>> {
        self.ordered.get(places).map(|waiting| self.row(waiting.row))
    }

    /// Time and rank of the next event.
    #[inline]
    pub fn next(&self) -> Option<(EventTime, u8)> {
        match self.disordered.peek() {
            Some(Reverse(heap)) if self.is_from_heap() => Some((heap.0, heap.1)),
            _ => self.ordered.front().map(|first| (first.at, first.rank)),
        }
    }

    /// Takes the next event that occurred before `watermark`; `MAX` lets all go.
    #[inline]
    pub fn pop(&mut self, watermark: EventTime) -> Option<u32> {
        let due = |at: EventTime| at < watermark || watermark == EventTime::MAX;
        let row = if self.is_from_heap() {
            let next = self.disordered.peek_mut().filter(|next| due(next.0.0))?;
            PeekMut::pop(next).0.3
        } else {
            self.ordered.front().filter(|first| due(first.at))?;
            self.ordered.pop_front()?.row
        };
        self.free.push(row);
        Some(row)
    }

    /// Every waiting row and its rank, in no particular order: for a snapshot.
    pub fn rows(&self) -> impl Iterator<Item = (u8, EventRef<'_>)> {
        let ordered = self.ordered.iter().map(|waiting| (waiting.rank, waiting.row));
        let heap = self.disordered.iter().map(|Reverse((_, rank, _, row))| (*rank, *row));
        ordered.chain(heap).map(|(rank, row)| (rank, self.row(row)))
    }
}

/// What sites forward to the enterprise: a queue for each of them, for most comes in order.
#[derive(Debug)]
pub struct Merge {
    stride: usize,
    /// By the digest of the site's name.
    queues: Vec<(u128, Reorder)>,
    places: HashMap<u128, usize, foldhash::fast::FixedState>,
    waiting: usize,
    /// The heads of the queues: time, rank, site, place of the queue.
    heads: BinaryHeap<Reverse<(EventTime, u8, u128, u32)>>,
}

impl Merge {
    /// Nothing of rows of `stride` words.
    pub fn new(stride: usize) -> Self {
        let (queues, places) = (Vec::new(), HashMap::default());
        Self { stride, queues, places, waiting: 0, heads: BinaryHeap::new() }
    }

    /// Events waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// The queue of a site.
    pub fn queue(&mut self, digest: u128) -> usize {
        *self.places.entry(digest).or_insert_with(|| {
            self.queues.push((digest, Reorder::new(self.stride)));
            self.queues.len() - 1
        })
    }

    /// Keeps a copy of a row from the site of a queue.
    #[inline]
    pub fn push(&mut self, queue: usize, rank: u8, event: EventRef<'_>) {
        self.queues[queue].1.push(rank, event);
        self.waiting += 1;
    }

    /// Looks at all queues; between this and the last [`Merge::pop`] nothing may be pushed.
    pub fn begin(&mut self) {
        self.heads.clear();
        for (place, (site, rows)) in self.queues.iter().enumerate() {
            if let Some((at, rank)) = rows.next() {
                self.heads.push(Reverse((at, rank, *site, place as u32)));
            }
        }
    }

    /// What stands so many places behind the next event in its queue, where it came in order.
    #[inline]
    pub fn behind(&self, places: usize) -> Option<EventRef<'_>> {
        let Reverse((.., place)) = self.heads.peek()?;
        self.queues[*place as usize].1.behind(places)
    }

    /// Takes the next event that occurred before `watermark`; `MAX` lets all go. The row is good
    /// until the next push.
    #[inline]
    pub fn pop(&mut self, watermark: EventTime) -> Option<EventRef<'_>> {
        let mut head = self.heads.peek_mut()?;
        let Reverse((_, _, site, place)) = *head;
        let rows = &mut self.queues[place as usize].1;
        let row = rows.pop(watermark)?;
        self.waiting -= 1;
        match rows.next() {
            Some((at, rank)) => *head = Reverse((at, rank, site, place)),
            None => drop(PeekMut::pop(head)),
        }
        Some(self.queues[place as usize].1.row(row))
    }

    /// Every waiting row with its rank and its site's digest: for a snapshot.
    pub fn rows(&self) -> impl Iterator<Item = (u128, u8, EventRef<'_>)> {
        let queues = self.queues.iter();
        queues.flat_map(|(site, rows)| rows.rows().map(|(rank, event)| (*site, rank, event)))
    }

    /// Hands all rows to a merge that has let go what was due; what still waits there stays there.
    pub fn hand_over(&mut self, to: &mut Self) {
        for (site, rows) in self.queues.iter_mut().filter(|(_, rows)| rows.len() > 0) {
            let place = to.queue(*site);
            let there = &mut to.queues[place].1;
            to.waiting += rows.len();
            while let Some((_, rank)) = there.next()
                && let Some(row) = there.pop(EventTime::MAX)
            {
                rows.push(rank, there.row(row));
            }
            std::mem::swap(rows, there);
        }
        self.waiting = 0;
    }

    /// The same queues without rows, of rows of `stride` words: whoever knows a queue's place goes
    /// on knowing it.
    pub fn emptied(&self, stride: usize) -> Self {
        let queues = self.queues.iter().map(|(site, _)| (*site, Reorder::new(stride))).collect();
        let places = self.places.clone();
        Self { stride, queues, places, waiting: 0, heads: BinaryHeap::new() }
    }
}
