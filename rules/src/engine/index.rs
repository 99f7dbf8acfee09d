//! Which cell a key has: open addressing over one word a slot.
//!
//! A slot holds half of the hash and the cell's number. So what is not there is not there after one
//! line of memory, without a look at any cell; and rows move and the table grows by what stands in
//! the slots alone.

/// Slots of a new table.
const SLOTS_MIN: usize = 16;

/// Cells by hash. Rebuilt from the cells after a restore; in no snapshot.
#[derive(Debug)]
pub struct Index {
    /// A power of two of them.
    slots: Vec<Slot>,
    len: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { slots: vec![Slot::FREE; SLOTS_MIN], len: 0 }
    }
}

/// Upper half: tag; lower half: 1 + the cell; 0 where the slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u64);

impl Slot {
    const FREE: Self = Self(0);

    #[inline]
    const fn of(tag: u32, cell: u32) -> Self {
        Self((tag as u64) << 32 | (cell as u64 + 1))
    }

    #[inline]
    const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The cell; none where the slot is free.
    #[inline]
    pub fn cell(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }
}

impl Index {
    #[inline]
    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    /// Where a tag's slot is looked for first.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        tag as usize & self.mask()
    }

    /// The slot where a tag is looked for first.
    #[inline]
    pub fn first(&self, tag: u32) -> &Slot {
        &self.slots[self.home(tag)]
    }

    /// The cell of a tag that is the one looked for; or the free slot where it would stand.
    #[inline]
    pub fn find(&self, tag: u32, same: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let mut at = self.home(tag);
        loop {
            let slot = self.slots[at];
            let Some(cell) = slot.cell() else { return Err(at) };
            if slot.tag() == tag && same(cell) {
                return Ok(cell);
            }
            at = (at + 1) & self.mask();
        }
    }

    /// Enters a cell at the free slot that [`Self::find`] gave.
    #[inline]
    pub fn insert(&mut self, slot: usize, tag: u32, cell: u32) {
        assert!(self.slots[slot] == Slot::FREE, "the slot is free");
        self.slots[slot] = Slot::of(tag, cell);
        self.len += 1;
        // At most half full: a miss ends soon. What was freed leaves no mark behind, so a table
        // whose number of keys stays allocates nothing (INV-HOT).
        if self.len > self.slots.len() / 2 {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let slots = vec![Slot::FREE; 2 * self.slots.len()];
        let old = std::mem::replace(&mut self.slots, slots);
        for slot in old.into_iter().filter(|slot| *slot != Slot::FREE) {
            let free = self.free_slot(slot.tag());
            self.slots[free] = slot;
        }
    }

    fn free_slot(&self, tag: u32) -> usize {
        let mut at = self.home(tag);
        while self.slots[at] != Slot::FREE {
            at = (at + 1) & self.mask();
        }
        at
    }

    /// Takes a cell out; what stood behind it moves up.
    pub fn remove(&mut self, tag: u32, cell: u32) {
        let mask = self.mask();
        let mut free = self.home(tag);
        while self.slots[free] != Slot::of(tag, cell) {
            assert!(self.slots[free] != Slot::FREE, "a cell that is taken out stands in the index");
            free = (free + 1) & mask;
        }
        let mut at = free;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == Slot::FREE {
                break;
            }
            // It may move up as far as its home.
            let home = self.home(slot.tag());
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(free) & mask {
                self.slots[free] = slot;
                free = at;
            }
        }
        self.slots[free] = Slot::FREE;
        self.len -= 1;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.slots.fill(Slot::FREE);
        self.len = 0;
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_finds_what_a_map_finds_through_growth_and_removal() {
        // Few tags, so that rows of them meet and wrap around the end of the table.
        let tag = |key: u32| (key * 7 % 29).wrapping_add(u32::MAX - 20);
        let (mut index, mut map) = (Index::default(), BTreeMap::new());
        let mut random = 1_u32;
        for step in 0..20_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = random >> 16 & if step < 10_000 { 0x3f } else { 0x7 };
            match index.find(tag(key), |cell| cell == key) {
                Ok(cell) => {
                    assert_eq!(map.remove(&key), Some(cell));
                    index.remove(tag(key), cell);
                }
                Err(slot) => {
                    assert_eq!(map.insert(key, key), None);
                    index.insert(slot, tag(key), key);
                }
            }
            assert_eq!(index.len, map.len());
        }
        for key in 0..64 {
            let found = index.find(tag(key), |cell| cell == key).ok();
            assert_eq!(found, map.get(&key).copied(), "{key}");
        }
    }
}
