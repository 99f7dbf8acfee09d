//! What facts and rules cost, counted by holder: events and levels looked at, conditions evaluated.

use super::state::Owner;

/// A look, and the conditions that are evaluated for it, as one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost(u64);

/// Of a cost: one condition. Below stand the looks.
const CONDITION: u64 = 1 << 32;

/// Times that [`Work::settle`] is called until looks may have become too many for their half: each time some
/// events have been looked at by everybody, a few times each at most.
const SETTLE_EVERY: u32 = 1 << 20;

impl Cost {
    /// Of a look for which so many conditions are evaluated.
    #[inline(always)]
    pub const fn of(conditions: u8) -> Self {
        Self(1 + conditions as u64 * CONDITION)
    }
}

/// What each holder has cost since the start.
#[derive(Debug)]
pub struct Work {
    /// What has not been put to the rest yet.
    recent: Vec<u64>,
    rest: Vec<[u64; 2]>,
    /// How often [`Self::settle`] was called.
    settled: u32,
}

impl Work {
    /// Nothing yet, of so many holders.
    pub fn new(holders: usize) -> Self {
        Self { recent: vec![0; holders], rest: vec![[0; 2]; holders], settled: 0 }
    }

    /// A holder has looked.
    #[inline(always)]
    pub fn add(&mut self, Owner(holder): Owner, Cost(cost): Cost) {
        if let Some(recent) = self.recent.get_mut(holder as usize) {
            *recent += cost;
        }
    }

    /// A holder has looked so often, and evaluated any number of conditions.
    #[cold]
    #[inline(never)]
    pub fn add_much(&mut self, Owner(holder): Owner, [looked, evaluated]: [u64; 2]) {
        if let Some(rest) = self.rest.get_mut(holder as usize) {
            *rest = [rest[0] + looked, rest[1] + evaluated];
        }
    }

    /// Looks and conditions of a holder.
    pub fn of(&self, holder: usize) -> [u64; 2] {
        let (recent, [looked, evaluated]) = (self.recent[holder], self.rest[holder]);
        [looked + recent % CONDITION, evaluated + recent / CONDITION]
    }

    /// Some events have been judged.
    #[inline]
    pub fn settle(&mut self) {
        self.settled += 1;
        if self.settled == SETTLE_EVERY {
            self.settle_all();
        }
    }

    #[cold]
    fn settle_all(&mut self) {
        self.settled = 0;
        for holder in 0..self.recent.len() {
            self.rest[holder] = self.of(holder);
            self.recent[holder] = 0;
        }
    }

    /// The same of other holders: where each is now, if anywhere.
    pub fn moved(&self, holders: usize, place: impl Fn(u32) -> Option<u32>) -> Self {
        let mut moved = Self::new(holders);
        for holder in 0..self.recent.len() {
            if let Some(place) = place(holder as u32) {
                moved.add_much(Owner(place), self.of(holder));
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_looks_and_conditions() {
        let mut work = Work::new(2);
        for round in 0..SETTLE_EVERY + 7 {
            work.add(Owner(1), Cost::of((round % 3) as u8));
            work.settle();
        }
        work.add_much(Owner(1), [1, 1_000]);
        // Of nobody nothing is counted.
        work.add(Owner(2), Cost::of(1));
        let looked = u64::from(SETTLE_EVERY) + 8;
        let evaluated = (0..u64::from(SETTLE_EVERY) + 7).map(|round| round % 3).sum::<u64>();
        assert_eq!((work.of(0), work.of(1)), ([0; 2], [looked, evaluated + 1_000]));
        assert_eq!(work.moved(1, |holder| holder.checked_sub(1)).of(0), work.of(1));
    }
}
