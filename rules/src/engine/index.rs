//! Which cell a key has: open addressing over one word a slot.
//!
//! A slot holds half of the hash and the cell's number. So what is not there is not there after one
//! line of memory, without a look at any cell; and rows move and the table grows by what stands in
//! the slots alone.
//!
//! A table that grows stays beside the new one until all of it has been copied, a few slots for each
//! key that comes, and for each event: nobody waits for all of it at once.

use bytemuck::{Pod, Zeroable};
use event::fresh::Fresh;

/// How many slots are looked at where a guess will do.
const PROBES: usize = 4;

/// Slots of a new table.
const SLOTS_MIN: usize = 16;
/// From so many slots on a table grows by less than by itself.
const SLOTS_MANY: usize = 1 << 16;
/// So far aside are tags looked for that differ in their last bits.
const ASIDE: u32 = 8;
/// Slots of the old table that are copied for each key that comes: a table grows again when as many
/// keys have come as two ninths of its slots at least, and five would be enough.
const COPIED: usize = 8;

/// Cells by hash. Rebuilt from the cells after a restore; in no snapshot.
#[derive(Debug)]
pub struct Index {
    slots: Vec<Slot>,
    /// In how many of them, from the front, tags whose last bits are 0 are looked for first.
    homes: u64,
    len: usize,
    /// The table before, while there is something in it that is not in `slots`.
    old: Vec<Slot>,
    /// So many of its slots are copied.
    copied: usize,
    /// The table behind it.
    next: Fresh<Slot>,
}

impl Default for Index {
    fn default() -> Self {
        let (slots, homes) = (vec![Slot::FREE; SLOTS_MIN], homes_of(SLOTS_MIN));
        Self { slots, homes, len: 0, old: Vec::new(), copied: 0, next: Fresh::default() }
    }
}

/// Upper half: tag; lower half: 1 + the cell; 0 where the slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Slot(u64);

impl Slot {
    const FREE: Self = Self(0);
    /// Of an old table: what stood there was taken out.
    const GONE: Self = Self(1 << 32);

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

fn homes_of(slots: usize) -> u64 {
    slots as u64 + 1 - u64::from(ASIDE)
}

/// Where a tag is looked for first. Tags stand about in their order: a table is copied from front to
/// back, and so to the new one. Tags of one key differ in their last bits, and would stand in each
/// other's way.
#[inline]
fn home_in(homes: u64, tag: u32) -> usize {
    ((u64::from(tag) * homes) >> 32) as usize + (tag % ASIDE) as usize
}

impl Index {
    #[inline]
    fn home(&self, tag: u32) -> usize {
        home_in(self.homes, tag)
    }

    /// The slot behind one: the first is behind the last.
    #[inline]
    fn behind(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// How far a slot is behind another.
    #[inline]
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }

    /// The slot where a tag is looked for first.
    #[inline]
    pub fn first(&self, tag: u32) -> &Slot {
        &self.slots[self.home(tag)]
    }

    /// The cell of a tag, most likely: whose it is is not looked at. [`super::pages::NIL`] where
    /// none is seen at once.
    #[inline(always)]
    pub fn likely(&self, tag: u32) -> u32 {
        let row = &self.slots[self.home(tag)..];
        // All of a few slots are looked at: which is the one, nobody could foretell.
        let mut found = 0_u32;
        for slot in row.first_chunk::<PROBES>().unwrap_or(&[Slot::FREE; PROBES]).iter().rev() {
            found = if slot.tag() == tag { slot.0 as u32 } else { found };
        }
        found.wrapping_sub(1)
    }

    /// The first cell of a tag: almost always the one looked for. Or whether it is clear that there is
    /// none.
    #[inline(always)]
    pub fn first_of(&self, tag: u32) -> Result<u32, bool> {
        for slot in &self.slots[self.home(tag)..] {
            let Some(cell) = slot.cell() else { return Err(self.old.is_empty()) };
            if slot.tag() == tag {
                return Ok(cell);
            }
        }
        Err(false)
    }

    /// The cell of a tag that is the one looked for.
    pub fn find(&self, tag: u32, same: impl Fn(u32) -> bool) -> Option<u32> {
        let (before, behind) = self.slots.split_at(self.home(tag));
        for slot in behind.iter().chain(before) {
            let Some(cell) = slot.cell() else { break };
            if slot.tag() == tag && same(cell) {
                return Some(cell);
            }
        }
        if self.old.is_empty() { None } else { self.find_old(tag, same) }
    }

    /// The same in the table before.
    fn find_old(&self, tag: u32, same: impl Fn(u32) -> bool) -> Option<u32> {
        let is = |slot: Slot| slot.tag() == tag && slot.cell().is_some_and(&same);
        self.old_place(tag, is).and_then(|at| self.old[at].cell())
    }

    /// Where one of a tag stands in the table before.
    #[inline]
    fn old_place(&self, tag: u32, is: impl Fn(Slot) -> bool) -> Option<usize> {
        let mut at = home_in(homes_of(self.old.len()), tag);
        loop {
            let slot = self.old[at];
            if slot == Slot::FREE {
                return None;
            }
            if is(slot) {
                return Some(at);
            }
            at = if at + 1 == self.old.len() { 0 } else { at + 1 };
        }
    }

    /// Enters a cell that is not there yet.
    pub fn insert(&mut self, tag: u32, cell: u32) {
        self.put(Slot::of(tag, cell));
        self.len += 1;
        // At most two thirds full: a miss ends soon. What was freed leaves no mark behind, so a table
        // whose number of keys stays allocates nothing (INV-HOT).
        let most = self.slots.len() / 3 * 2;
        if self.len > most - most / 16 {
            self.next.make_ready(self.more_slots());
            if self.len > most {
                self.grow();
            }
        }
        if !self.old.is_empty() {
            self.copy(COPIED);
        }
    }

    /// Fills the first free slot of its row.
    #[inline]
    fn put(&mut self, slot: Slot) {
        let mut at = self.home(slot.tag());
        while self.slots[at] != Slot::FREE {
            at = self.behind(at);
        }
        self.slots[at] = slot;
    }

    /// Slots of the next table.
    fn more_slots(&self) -> usize {
        let len = self.slots.len();
        len + match len {
            0..SLOTS_MANY => len,
            _ if len.is_power_of_two() => len / 2,
            _ => len / 3,
        }
    }

    /// Time goes by: where few keys come the table before would stay for long.
    #[inline]
    pub fn go_on(&mut self) {
        if !self.old.is_empty() {
            self.copy(32 * COPIED);
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.copy(usize::MAX);
        let more = self.more_slots();
        self.homes = homes_of(more);
        self.old = std::mem::replace(&mut self.slots, self.next.take(more));
    }

    /// Copies so many slots of the table before.
    #[cold]
    fn copy(&mut self, count: usize) {
        let until = self.old.len().min(self.copied.saturating_add(count));
        for place in self.copied..until {
            let slot = self.old[place];
            if slot.cell().is_some() {
                self.put(slot);
            }
        }
        self.copied = until;
        if until == self.old.len() {
            (self.old, self.copied) = (Vec::new(), 0);
        }
    }

    /// Takes a cell out; what stood behind it moves up.
    pub fn remove(&mut self, tag: u32, cell: u32) {
        self.len -= 1;
        if !self.old.is_empty() {
            let gone = self.old_place(tag, |slot| slot == Slot::of(tag, cell));
            if let Some(at) = gone {
                self.old[at] = Slot::GONE;
                if at >= self.copied {
                    return;
                }
            }
        }
        let mut free = self.home(tag);
        while self.slots[free] != Slot::of(tag, cell) {
            assert!(self.slots[free] != Slot::FREE, "a cell that is taken out stands in the index");
            free = self.behind(free);
        }
        let mut at = free;
        loop {
            at = self.behind(at);
            let slot = self.slots[at];
            if slot == Slot::FREE {
                break;
            }
            // It may move up as far as its home.
            let home = self.home(slot.tag());
            if self.distance(home, at) >= self.distance(free, at) {
                self.slots[free] = slot;
                free = at;
            }
        }
        self.slots[free] = Slot::FREE;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.slots.fill(Slot::FREE);
        (self.len, self.old, self.copied) = (0, Vec::new(), 0);
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        (self.slots.len() + self.old.len()) * size_of::<Slot>() + self.next.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_finds_what_a_map_finds_through_growth_and_removal() {
        // Few tags, so that rows of them meet and wrap around the end of the table.
        let tag = |key: u32| (key * 7 % 293).wrapping_add(u32::MAX - 20);
        let (mut index, mut map) = (Index::default(), BTreeMap::new());
        let (mut random, mut grown) = (1_u32, 0);
        for step in 0..20_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = random >> 16 & if step < 10_000 { 0x3ff } else { 0x7 };
            let found = index.find(tag(key), |cell| cell == key);
            match index.first_of(tag(key)) {
                Ok(cell) => assert_eq!(tag(cell), tag(key)),
                Err(none) => assert!(!none || found.is_none()),
            }
            match found {
                Some(cell) => {
                    assert_eq!(map.remove(&key), Some(cell));
                    index.remove(tag(key), cell);
                }
                None => {
                    assert_eq!(map.insert(key, key), None);
                    index.insert(tag(key), key);
                }
            }
            assert_eq!(index.len, map.len());
            grown += u32::from(!index.old.is_empty());
        }
        for key in 0..1_024 {
            let found = index.find(tag(key), |cell| cell == key);
            assert_eq!(found, map.get(&key).copied(), "{key}");
        }
        assert!(grown > 100, "{grown} steps with an old table beside");
    }
}
