//! An index of identities by buckets, a line of memory each.

use bytemuck::Zeroable;
use event::prefetch::prefetch;

/// Identities of one bucket.
const WAYS: usize = 15;

/// Identities for each bucket at most, on average: of those at random one in twenty has more than it takes
/// then, which stand in the next.
const FILL: usize = 10;

/// And where no more of them are expected: whoever stands in the next keeps his home from being plain for
/// as long as he is remembered. With 7 so is one home of fifty, with 9 one of eight.
const LASTING: usize = 7;

/// Buckets of the smallest index.
const BUCKETS_MIN: usize = 16;

/// Set in every word of an identity: none ever stood where the word is 0.
const SOME: u32 = 1 << 31;

/// In the last word: which is the next to be replaced; that one found no room once; and, as far as there are
/// bits left, the place of the newest that did.
const NEXT: u32 = 15;
const SPILLED: u32 = 1 << 4;
const ROUNDED: u32 = 31;

/// One line of memory: what has its home here, as far as there is room.
///
/// Whoever comes takes the place of the oldest. One that is forgotten already is never looked for, so that
/// to forget touches nothing here.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C, align(64))]
pub struct Bucket {
    /// Some bits of each identity, and below them the low bits of its place in the line.
    words: [u32; WAYS + 1],
}

/// The places that are remembered.
#[derive(Clone, Copy)]
pub struct Living {
    /// The low half of the first.
    pub head: u32,
    /// How many.
    pub len: u32,
}

impl Bucket {
    /// Whether one of these bits may stand here, or stood.
    #[inline(always)]
    fn may_hold(&self, tag: u32, places: u32) -> bool {
        self.words.iter().fold(false, |any, word| any | (word & !places == tag))
    }

    /// Whether one that has its home here, or before, may stand further on.
    #[inline(always)]
    fn spills(&self, living: Living) -> bool {
        let newest = self.words[WAYS];
        newest & SPILLED != 0
            && (newest | ROUNDED).wrapping_sub(living.head) < living.len.wrapping_add(ROUNDED)
    }

    /// One stands further on: the newest that does is noted.
    fn spill(&mut self, place: u32, living: Living) {
        let age = |place: u32| (place | ROUNDED).wrapping_sub(living.head);
        let last = self.words[WAYS];
        if !self.spills(living) || age(last) < age(place) {
            self.words[WAYS] = place & !ROUNDED | SPILLED | last & NEXT;
        }
    }
}

/// Where identities stand in a line.
#[derive(Debug, Default)]
pub struct Index {
    buckets: Box<[Bucket]>,
    /// The bits of a word that are the place's, the lowest: many enough that one that is remembered is never
    /// taken for another, and that what was forgotten is replaced before its bits are those of a new one.
    places: u32,
}

impl Index {
    /// An index of memory that is zero.
    pub fn new(buckets: Box<[Bucket]>) -> Self {
        let ways = buckets.len().next_power_of_two() * (WAYS + 1);
        Self { buckets, places: (2 * ways - 1) as u32 }
    }

    /// An index for so many.
    pub fn holding(many: usize) -> Self {
        let buckets = many / LASTING + BUCKETS_MIN;
        Self::new(bytemuck::zeroed_slice_box(buckets))
    }

    /// Buckets of the next wider one, where so many identities may come to stand in it: a quarter more at
    /// least, and four times as many at most.
    pub fn wider(&self, many: usize) -> usize {
        let len = self.buckets.len();
        BUCKETS_MIN.max((many / LASTING).clamp(len + len / 4, 4 * len))
    }

    /// Identities with which a wider one is begun.
    #[inline]
    pub fn most(&self) -> usize {
        self.buckets.len() * FILL
    }

    /// Whether it is high time to have a wider one.
    pub fn is_crowded(&self, many: usize) -> bool {
        many > self.buckets.len() * (WAYS - 2)
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// An identity is a hash already: any word of it serves.
    #[inline(always)]
    fn home(&self, identity: [u64; 2]) -> usize {
        let share = u64::from(identity[0] as u32) * self.buckets.len() as u64;
        (share >> 32) as usize
    }

    /// The bits of an identity that are kept.
    #[inline(always)]
    fn tag(&self, identity: [u64; 2]) -> u32 {
        ((identity[0] >> 32) as u32 | SOME) & !self.places
    }

    /// How old a word's place is: at least so many as are remembered where it is none of them.
    #[inline(always)]
    fn age(&self, word: u32, living: Living) -> u32 {
        word.wrapping_sub(living.head) & self.places | !word & SOME
    }

    /// Asks for the memory of an identity.
    #[inline(always)]
    pub fn expect(&self, identity: [u64; 2]) {
        prefetch(&self.buckets, self.home(identity));
    }

    /// Enters one that is new at first sight, and has room in its home; else nothing.
    #[inline(always)]
    pub fn enter_new(&mut self, identity: [u64; 2], place: u32, living: Living) -> bool {
        let (tag, places) = (self.tag(identity), self.places);
        let Some(bucket) = self.buckets.get(self.home(identity)) else { return false };
        !bucket.may_hold(tag, places)
            && !bucket.spills(living)
            && self.enter_at(self.home(identity), tag | place & places, living)
    }

    /// Enters one in a bucket, if there is room: those of one stand in the order of their places, but for
    /// those that had their home before it.
    #[inline(always)]
    fn enter_at(&mut self, at: usize, word: u32, living: Living) -> bool {
        let places = self.places;
        let Some(bucket) = self.buckets.get_mut(at) else { return false };
        let last = bucket.words[WAYS];
        let way = last & NEXT;
        let old = bucket.words[way as usize];
        // As [`Self::age`].
        if old.wrapping_sub(living.head) & places < living.len && old != 0 {
            return false;
        }
        let next = if way == WAYS as u32 - 1 { 0 } else { way + 1 };
        bucket.words[way as usize] = word;
        bucket.words[WAYS] = last & !NEXT | next;
        true
    }

    /// Enters one in its home, or in the next bucket that has room.
    #[inline(always)]
    pub fn enter(&mut self, identity: [u64; 2], place: u32, living: Living) {
        let (home, word) = (self.home(identity), self.tag(identity) | place & self.places);
        if !self.enter_at(home, word, living) {
            self.enter_on(home, word, place, living);
        }
    }

    #[cold]
    #[inline(never)]
    fn enter_on(&mut self, home: usize, word: u32, place: u32, living: Living) {
        let mut at = home;
        for _ in 0..self.buckets.len() {
            if self.enter_at(at, word, living) {
                break;
            }
            self.buckets[at].spill(place, living);
            at = self.next(at);
        }
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    /// The first of those where it may stand that is it: so many places behind the head.
    #[inline]
    pub fn find(
        &self,
        identity: [u64; 2],
        living: Living,
        mut is_it: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let (tag, mut at) = (self.tag(identity), self.home(identity));
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let alike = |word: &&u32| **word & !self.places == tag;
            let all = if bucket.may_hold(tag, self.places) { &bucket.words[..WAYS] } else { &[] };
            for age in all.iter().filter(alike).map(|word| self.age(*word, living)) {
                if age < living.len && is_it(age) {
                    return Some(age);
                }
            }
            if !bucket.spills(living) {
                break;
            }
            at = self.next(at);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_stands_further_on_is_noted() {
        let (mut bucket, all) = (Bucket::zeroed(), Living { head: 0, len: 1_000 });
        assert!(!bucket.spills(all));
        // A wider index takes over those of the bucket behind before those of another that spilled.
        bucket.spill(500, all);
        bucket.spill(100, all);
        assert!(bucket.spills(Living { head: 200, len: 800 }));
        assert!(bucket.spills(Living { head: 500, len: 1 }));
        assert!(!bucket.spills(Living { head: 512, len: 488 }));
    }

    #[test]
    fn a_way_that_is_never_used_is_free_whatever_the_places_are() {
        for from in [0, 1 << 13, u32::MAX - 100] {
            let (mut index, id) = (Index::holding(1), |n: u32| [u64::from(n) << 32, 0]);
            let place = |n: u32| from.wrapping_add(n);
            for n in 0..WAYS as u32 {
                let living = Living { head: from, len: n };
                assert!(index.enter_new(id(n << 16), place(n), living), "{n} from {from}");
            }
            let living = Living { head: from, len: WAYS as u32 };
            assert!(!index.enter_new(id(99 << 16), place(WAYS as u32), living), "it is full");
            index.enter(id(99 << 16), place(WAYS as u32), living);
            let living = Living { len: WAYS as u32 + 1, ..living };
            for (n, number) in (0..WAYS as u32).chain([99]).enumerate() {
                let found = index.find(id(number << 16), living, |age| age == n as u32);
                assert_eq!(found, Some(n as u32), "from {from}");
            }
        }
    }
}
