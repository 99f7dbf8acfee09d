//! The buckets of an index of identities, a line of memory each.

use bytemuck::Zeroable;

/// Identities of one bucket of the index.
const WAYS: usize = 7;

/// One line of memory of the index: what has its home here, as far as there is room.
///
/// Whoever comes takes the place of the oldest. One that is forgotten already is never looked for,
/// so that to forget touches nothing here.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C, align(64))]
pub struct Bucket {
    /// 32 bits of each identity, 0 where none ever stood; the last is none, but which is the next to
    /// be replaced, and [`SPILLED`].
    pub bits: [u32; WAYS + 1],
    /// The low half of each one's place in the line: there are never so many at once that it is not
    /// plain. And of the newest that found no room, and stands further on.
    pub places: [u32; WAYS + 1],
}

/// One found no room once. Below the bits of an identity's that are always set.
const SPILLED: u32 = 1 << 30;

/// The places that are remembered.
#[derive(Clone, Copy)]
pub struct Living {
    /// The first.
    pub head: u32,
    /// How many.
    pub len: u32,
}

impl Living {
    /// Whether one of them has this low half.
    #[inline]
    pub fn has(self, place: u32) -> bool {
        place.wrapping_sub(self.head) < self.len
    }
}

impl Bucket {
    /// Whether one of these bits stands here, or stood.
    #[inline(always)]
    pub fn may_hold(&self, bits: u32) -> bool {
        self.bits.iter().fold(false, |any, own| any | (*own == bits))
    }

    /// Whether one that has its home here, or before, may stand further on.
    #[inline(always)]
    pub fn spills(&self, living: Living) -> bool {
        self.bits[WAYS] & SPILLED != 0 && living.has(self.places[WAYS])
    }

    /// Enters one, if there is room: those of a bucket stand mostly in the order of their places, so
    /// that what is next lives where all do.
    #[inline(always)]
    pub fn enter(&mut self, bits: u32, place: u32, living: Living) -> bool {
        let way = (self.bits[WAYS] & 7) as usize;
        if self.bits[way] != 0 && living.has(self.places[way]) {
            return false;
        }
        (self.bits[way], self.places[way]) = (bits, place);
        let next = if way == WAYS - 1 { 0 } else { way as u32 + 1 };
        self.bits[WAYS] = (self.bits[WAYS] & SPILLED) | next;
        true
    }

    /// Enters those of this bucket that are remembered in a wider index.
    #[inline]
    pub fn enter_all(&self, wider: &mut [Self], living: Living) {
        for (bits, place) in self.bits[..WAYS].iter().zip(&self.places[..WAYS]) {
            if *bits != 0 && living.has(*place) {
                enter(wider, *bits, *place, living);
            }
        }
    }

    /// One stands further on: the newest that does is noted.
    pub fn spill(&mut self, place: u32, living: Living) {
        let age = |place: u32| place.wrapping_sub(living.head);
        if !self.spills(living) || age(self.places[WAYS]) < age(place) {
            self.bits[WAYS] |= SPILLED;
            self.places[WAYS] = place;
        }
    }
}

/// The bits of an identity that the index keeps, never 0. An identity is a hash already: any word
/// of it serves.
#[inline(always)]
pub fn bits_of(identity: [u64; 2]) -> u32 {
    identity[0] as u32 | 1 << 31
}

/// Enters one in its home, or in the next bucket that has room; where.
#[inline(always)]
pub fn enter(index: &mut [Bucket], bits: u32, place: u32, living: Living) -> usize {
    let mask = index.len() - 1;
    let home = bits as usize & mask;
    if index[home].enter(bits, place, living) { home } else { enter_on(index, bits, place, living) }
}

#[cold]
#[inline(never)]
fn enter_on(index: &mut [Bucket], bits: u32, place: u32, living: Living) -> usize {
    let mask = index.len() - 1;
    let mut at = bits as usize & mask;
    for _ in 0..index.len() {
        let bucket = &mut index[at];
        if bucket.enter(bits, place, living) {
            break;
        }
        bucket.spill(place, living);
        at = (at + 1) & mask;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_stands_further_on_is_noted() {
        let (mut bucket, all) = (Bucket::zeroed(), Living { head: 0, len: 100 });
        assert!(!bucket.spills(all));
        // A wider index takes over those of the bucket behind before those of another that spilled.
        bucket.spill(50, all);
        bucket.spill(10, all);
        assert!(bucket.spills(Living { head: 20, len: 80 }));
        assert!(!bucket.spills(Living { head: 51, len: 49 }));
    }
}
