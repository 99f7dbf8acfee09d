//! Identities seen at a site: what makes a redelivery a duplicate.

use event::{EventTime, Identity, TimeSpan};
use hashbrown::HashTable;

use super::cells::{SeenCell, halves, whole};
use super::pages::{Bytes, NIL, Pages};

/// Identities of one site, the oldest forgotten first: by age in event time, and by number.
#[derive(Debug)]
pub struct Seen {
    cells: Pages<SeenCell>,
    index: HashTable<u32>,
    head: u32,
    tail: u32,
    within: TimeSpan,
    max: usize,
    /// Identities forgotten because there were too many: a redelivery of one would be an event.
    pub evicted: u64,
}

impl Seen {
    /// Nothing seen yet; remembers `within` in event time, at most `max`.
    pub fn new(within: TimeSpan, max: usize) -> Self {
        let (cells, index) = (Pages::default(), HashTable::new());
        Self { cells, index, head: NIL, tail: NIL, within, max, evicted: 0 }
    }

    /// Remembers so long, and so many, from now on.
    pub fn bound(&mut self, within: TimeSpan, max: usize) {
        (self.within, self.max) = (within, max);
    }

    /// Whether this identity is new; it is remembered from now on.
    pub fn is_new(
        &mut self,
        identity: Identity,
        occurred: EventTime,
        watermark: EventTime,
    ) -> bool {
        self.forget_one(watermark);
        self.forget_one(watermark);
        let parts = halves(identity.0);
        let cells = &self.cells;
        // An identity is a hash already: any word of it serves.
        let found = self.index.find(parts[0], |i| cells.get(*i).identity == parts).copied();
        if let Some(cell) = found {
            // Past the horizon it is forgotten whether its cell was freed already or not: what is
            // freed when depends on traffic, what is a duplicate may not.
            if !self.expired(cell, watermark) {
                return false;
            }
            self.cells.get_mut(cell).occurred = occurred.0;
            return true;
        }
        if self.cells.live() >= self.max {
            self.evicted += 1;
            self.free_head();
        }
        let cell = SeenCell { live: 1, next: NIL, occurred: occurred.0, identity: parts };
        let new = self.cells.insert(cell);
        match self.tail {
            NIL => self.head = new,
            tail => self.cells.get_mut(tail).next = new,
        }
        self.tail = new;
        let cells = &self.cells;
        self.index.insert_unique(parts[0], new, |i| cells.get(*i).identity[0]);
        true
    }

    /// Identities remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.cells.live()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.cells.bytes() + self.index.capacity() * 5
    }

    fn expired(&self, cell: u32, watermark: EventTime) -> bool {
        watermark.since(EventTime(self.cells.get(cell).occurred)) >= self.within
    }

    fn forget_one(&mut self, watermark: EventTime) {
        if self.head != NIL && self.expired(self.head, watermark) {
            self.free_head();
        }
    }

    fn free_head(&mut self) {
        let head = self.head;
        let cell = *self.cells.get(head);
        if let Ok(entry) = self.index.find_entry(cell.identity[0], |i| *i == head) {
            entry.remove();
        }
        self.cells.remove(head);
        self.head = cell.next;
        if self.head == NIL {
            self.tail = NIL;
        }
    }

    /// Writes all pages, or those that changed.
    pub fn save(&mut self, out: &mut Vec<u8>, full: bool) {
        out.extend_from_slice(&self.head.to_le_bytes());
        out.extend_from_slice(&self.tail.to_le_bytes());
        out.extend_from_slice(&self.evicted.to_le_bytes());
        self.cells.save(out, full);
    }

    /// Reads pages over what is here.
    pub fn load(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        self.head = input.u32()?;
        self.tail = input.u32()?;
        self.evicted = input.u64()?;
        self.cells.load(input)
    }

    /// Builds the index from the cells.
    pub fn reindex(&mut self) {
        self.index.clear();
        let cells = &self.cells;
        for cell in cells.indexes() {
            let identity = cells.get(cell).identity;
            self.index.insert_unique(identity[0], cell, |i| cells.get(*i).identity[0]);
        }
        debug_assert!(self.head == NIL || whole(cells.get(self.head).identity) != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redelivery_is_a_duplicate_until_the_horizon() {
        let mut seen = Seen::new(TimeSpan::from_secs(10), 1_000);
        let at = |s: i64| EventTime(s * 1_000_000);
        assert!(seen.is_new(Identity(7), at(0), at(0)));
        assert!(!seen.is_new(Identity(7), at(0), at(9)));
        assert!(seen.is_new(Identity(7), at(0), at(10)), "exactly the horizon away is outside");
    }

    #[test]
    fn past_the_maximum_the_oldest_goes_and_is_counted() {
        let mut seen = Seen::new(TimeSpan::MAX, 100);
        for n in 1..=101 {
            assert!(seen.is_new(Identity(n), EventTime(n as i64), EventTime(0)));
        }
        assert_eq!((seen.len(), seen.evicted), (100, 1));
        assert!(!seen.is_new(Identity(101), EventTime(101), EventTime(0)));
        assert!(seen.is_new(Identity(1), EventTime(1), EventTime(0)), "the oldest was forgotten");
    }
}
