//! Whether a rule may hold anything for a key, before anything of the rule is looked at.
//!
//! Most events that could end or complete something find that nothing waits for their key: that is said by
//! a count of such keys, by a few bits of a hash, in a table that stays in a near cache. Where it says that there
//! may be one, whoever asks looks. It is kept for rules that have such events. Of a large rulebook it is asked
//! before anything of the rule is looked at.

use event::Symbol;

use super::keys::Packed;
use super::state::{Owner, State};

/// Counts of a table: at first, and at most.
const SIZE_MIN: usize = 1 << if cfg!(debug_assertions) { 4 } else { 12 };
const SIZE_MAX: usize = 1 << 16;

/// So many counts there are for each key, while they can grow.
const COUNTS: usize = 5;

/// How many keys rules hold something for, by a hash of both.
#[derive(Debug)]
pub struct Awaited {
    /// One at [`u8::MAX`] stays there.
    counts: Box<[u8]>,
    shift: u32,
    keys: usize,
}

impl Awaited {
    fn new(size: usize) -> Self {
        let shift = u32::BITS - size.trailing_zeros();
        Self { counts: vec![0; size].into(), shift, keys: 0 }
    }

    #[inline(always)]
    fn place(&self, Owner(owner): Owner, key: Packed) -> usize {
        ((key.half() ^ owner.wrapping_mul(0x9e37_79b9)) >> self.shift) as usize
    }

    #[inline]
    fn add(&mut self, owner: Owner, key: Packed) {
        let place = self.place(owner, key);
        self.counts[place] = self.counts[place].saturating_add(1);
        self.keys += 1;
    }

    /// Whether an owner may hold something for a key of one text.
    #[inline(always)]
    pub fn may_await(&self, owner: Owner, text: Symbol) -> bool {
        self.counts[self.place(owner, Packed::text(text))] != 0
    }

    fn is_full(&self) -> bool {
        self.keys * COUNTS > self.counts.len() && self.counts.len() < SIZE_MAX
    }
}

impl State {
    /// Whether a rule's owner may hold something for a key of one text: what it says is `true` where nobody
    /// keeps account of that.
    #[inline(always)]
    pub fn may_await(&self, owner: Owner, text: Symbol) -> bool {
        self.awaited.as_ref().is_none_or(|awaited| awaited.may_await(owner, text))
    }

    /// An owner holds something for the key of a cell.
    #[inline(always)]
    pub(super) fn awaits(&mut self, cell: u32, owner: Owner) {
        if self.bounds.keeps_account(owner) {
            self.awaits_more(cell, owner);
        }
    }

    #[inline(never)]
    fn awaits_more(&mut self, cell: u32, owner: Owner) {
        let key = self.keys.get(cell).key;
        let Some(awaited) = &mut self.awaited else { return };
        awaited.add(owner, key);
        if awaited.is_full() {
            let size = 2 * awaited.counts.len();
            self.count_awaited_in(size);
        }
    }

    /// It does no longer.
    #[inline(always)]
    pub(super) fn awaits_less(&mut self, cell: u32, owner: Owner) {
        if !self.bounds.keeps_account(owner) {
            return;
        }
        if let Some(awaited) = &mut self.awaited {
            let place = awaited.place(owner, self.keys.get(cell).key);
            let count = &mut awaited.counts[place];
            *count = if *count == u8::MAX { u8::MAX } else { count.saturating_sub(1) };
            awaited.keys = awaited.keys.saturating_sub(1);
        }
    }

    /// Counts anew what is held: after a restore, and under other owners.
    pub(super) fn count_awaited(&mut self) {
        let size = self.awaited.as_ref().map_or(SIZE_MIN, |awaited| awaited.counts.len());
        self.count_awaited_in(size);
    }

    fn count_awaited_in(&mut self, size: usize) {
        let mut awaited = self.bounds.keeps_accounts().then(|| Awaited::new(size));
        if let Some(awaited) = &mut awaited {
            for cell in self.cells().map(|index| self.keys.get(index)) {
                if self.bounds.keeps_account(cell.owner()) {
                    awaited.add(cell.owner(), cell.key);
                }
            }
        }
        self.awaited = awaited;
    }
}
