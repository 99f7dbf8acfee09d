//! The end of the log in memory: what stands in no file yet, so that whoever follows the log does not wait
//! for the file system, and what was written lately, which is read again for evidence.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event::Position;
use event::prefetch::prefetch;
use event::streaming::replace_past_caches;

use super::expected::Expected;

/// Pieces of memory kept for the next blocks: what comes between two writes of a fast source.
const SPARES_MAX: usize = 32;

/// How long is long.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Bytes of one write: small appends come together.
    together: usize,
    /// An append from which on it is written by itself, where it stands: it is long enough.
    alone: usize,
    /// Bytes kept of what stands in its file: all but few of what is cited. The rest is read from the disk.
    filed: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { together: 256 << 10, alone: 32 << 10, filed: 48 << 20 }
    }
}

/// Shared by who appends, who writes and who reads.
#[derive(Debug, Default)]
pub struct Unfiled {
    sizes: Sizes,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whole frames, in the order of the log, and where the first of each stands.
    blocks: VecDeque<(u64, Arc<Vec<u8>>)>,
    /// So many of them, from the first on, are written.
    filed: usize,
    /// The one behind these is being written: nothing is added to it any more.
    writing: bool,
    /// The memory of some that went, for the next.
    spare: Vec<Vec<u8>>,
}

impl State {
    /// Makes one of the last two that are written, where they are small: so that what is kept is not much
    /// more than its bytes.
    fn join(&mut self, sizes: Sizes) {
        let Some(before) = self.filed.checked_sub(2) else { return };
        let last = self.blocks[before + 1].1.clone();
        let (_, joined) = &mut self.blocks[before];
        if last.len() < sizes.alone
            && joined.len() + last.len() <= sizes.together
            && let Some(joined) = Arc::get_mut(joined)
        {
            joined.extend_from_slice(&last);
            let _ = self.blocks.remove(before + 1);
            self.filed -= 1;
            self.keep(last, sizes);
        }
    }

    /// The block that a position stands in, and where in it; none where it is not at hand.
    fn block(&self, position: u64) -> Option<(&Arc<Vec<u8>>, usize)> {
        // They are about as long: from a guess on it is a step or two.
        let ((first, _), (last, _)) = (self.blocks.front()?, self.blocks.back()?);
        let behind = (self.blocks.len() - 1) as u64;
        let apart = position.checked_sub(*first)?.min(last - first);
        let mut at = (apart * behind).checked_div(last - first).unwrap_or(0) as usize;
        while self.blocks.get(at + 1).is_some_and(|(next, _)| *next <= position) {
            at += 1;
        }
        while at > 0 && self.blocks[at].0 > position {
            at -= 1;
        }
        let (first, block) = &self.blocks[at];
        Some((block, (position - first) as usize))
    }

    /// Keeps the memory of a block for the next.
    fn keep(&mut self, block: Arc<Vec<u8>>, sizes: Sizes) {
        if let Ok(mut block) = Arc::try_unwrap(block)
            && block.capacity() <= 4 * sizes.together
            && self.spare.len() < SPARES_MAX
        {
            block.clear();
            self.spare.push(block);
        }
    }
}

impl Unfiled {
    /// Adds whole frames, the first of which stands at a position. Many of them are copied past the caches: they were
    /// made in memory that this processor has, and others will read them.
    pub fn push(&self, position: u64, frames: &[u8]) {
        let mut state = self.state();
        if frames.len() >= self.sizes.alone {
            let mut block = state.spare.pop().unwrap_or_default();
            drop(state);
            replace_past_caches(frames, &mut block);
            self.state().blocks.push_back((position, Arc::new(block)));
            return;
        }
        let closed = state.filed + usize::from(state.writing);
        if closed < state.blocks.len()
            && let Some((_, last)) = state.blocks.back_mut()
            && last.len() + frames.len() <= self.sizes.together
            && let Some(last) = Arc::get_mut(last)
        {
            last.extend_from_slice(frames);
            return;
        }
        let mut block = state.spare.pop().unwrap_or_default();
        block.reserve(frames.len().max(self.sizes.together));
        block.extend_from_slice(frames);
        state.blocks.push_back((position, Arc::new(block)));
    }

    /// What is written next, and where it stands: all of it, for nothing is added to it from here on.
    pub fn first(&self) -> Option<(u64, Arc<Vec<u8>>)> {
        let mut state = self.state();
        let first = state.blocks.get(state.filed).cloned();
        state.writing = first.is_some();
        first
    }

    /// The first is written. It is kept for a while, and after that read from its file.
    pub fn filed(&self, first: Arc<Vec<u8>>) {
        let mut state = self.state();
        // It is nobody's but the list's from here on: its memory may serve again.
        drop(first);
        state.writing = false;
        state.filed += 1;
        state.join(self.sizes);
        let end = |(position, block): &(u64, Arc<Vec<u8>>)| position + block.len() as u64;
        let written = state.blocks.get(state.filed - 1).map_or(0, end);
        while state.blocks.front().is_some_and(|b| end(b) + self.sizes.filed < written)
            && let Some((_, oldest)) = state.blocks.pop_front()
        {
            state.filed -= 1;
            state.keep(oldest, self.sizes);
        }
    }

    /// Nothing of what is written is wanted again.
    pub fn let_go(&self) {
        let mut state = self.state();
        let written = std::mem::take(&mut state.filed);
        let gone =
            (state.blocks.drain(..written).collect::<Vec<_>>(), std::mem::take(&mut state.spare));
        drop(state);
        drop(gone);
    }

    /// Looks for what stands from each position on, all under one lock, and asks for the memory of so many
    /// bytes of it: what is at hand is expected from then on. `away` is told the others.
    pub fn expect(
        &self,
        (positions, bytes): (&[Position], usize),
        expected: &mut Expected<Vec<u8>>,
        mut away: impl FnMut(Position),
    ) {
        expected.clear();
        let state = self.state();
        for position in positions {
            let Some((block, from)) = state.block(position.0) else {
                away(*position);
                continue;
            };
            (from..from + bytes).step_by(64).for_each(|at| prefetch(block, at));
            expected.add(*position, block, from);
        }
    }

    /// Lets `look` see what stands from a position on: to the end of its block, nothing where it is not at
    /// hand. Nobody waits for it: the block is its own, too, as long as that takes, and nobody adds to it.
    pub fn look<R>(&self, position: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        let found = self.state().block(position).map(|(block, from)| (block.clone(), from));
        look(found.as_ref().and_then(|(block, from)| block.get(*from..)).unwrap_or_default())
    }

    /// Copies what stands from a position on, as far as there is room and it is at hand; how many
    /// bytes. 0 where it is in a file only.
    pub fn copy(&self, position: u64, room: &mut [u8]) -> usize {
        self.look(position, |there| {
            let len = there.len().min(room.len());
            room[..len].copy_from_slice(&there[..len]);
            len
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use event::Position;

    use super::{Expected, Sizes, Unfiled};

    /// All that appending, writing and reading can come to in some order.
    struct Case {
        unfiled: Unfiled,
        /// All that was appended.
        log: Vec<u8>,
        /// How much of it is written.
        file: Vec<u8>,
        /// What is being written, as it was when that began.
        writing: Option<(u64, Arc<Vec<u8>>, Vec<u8>)>,
    }

    impl Case {
        fn new() -> Self {
            let sizes = Sizes { together: 8, alone: 5, filed: 9 };
            let unfiled = Unfiled { sizes, ..Unfiled::default() };
            Self { unfiled, log: Vec::new(), file: Vec::new(), writing: None }
        }

        fn step(&mut self, what: usize) {
            match (what, self.writing.take()) {
                (2, None) => {
                    let first = self.unfiled.first();
                    self.writing = first.map(|(at, bytes)| (at, bytes.clone(), bytes.to_vec()));
                }
                (2, Some((at, bytes, then))) => {
                    assert_eq!((at, &*bytes), (self.file.len() as u64, &then), "what is written");
                    self.file.extend_from_slice(&bytes);
                    self.unfiled.filed(bytes);
                }
                (what, writing) => {
                    let (at, len) = (self.log.len() as u64, [3, 6][what]);
                    let frames = (0..len).map(|n| self.log.len() as u8 + n);
                    let frames: Vec<u8> = frames.collect();
                    self.log.extend_from_slice(&frames);
                    self.unfiled.push(at, &frames);
                    self.writing = writing;
                }
            }
        }

        /// Whoever reads finds what was appended, in memory or in the file.
        fn look(&self) {
            assert!(self.log.starts_with(&self.file), "the file is as the log was appended");
            for at in 0..self.log.len() {
                let mut found = [0; 4];
                let len = self.unfiled.copy(at as u64, &mut found);
                assert_eq!(&found[..len], &self.log[at..at + len], "from {at} on");
                assert!(len > 0 || at < self.file.len(), "{at} is nowhere");
            }
            let (mut expected, all) = (Expected::default(), 0..self.log.len() as u64);
            let every_third: Vec<_> = all.clone().step_by(3).map(Position).collect();
            let mut away = Vec::new();
            self.unfiled.expect((&every_third, 1), &mut expected, |position| away.push(position));
            for at in all {
                let found = expected.next(Position(at)).map(|(block, from)| &block[from..]);
                let is_away = away.contains(&Position(at));
                assert_eq!(is_away, at % 3 == 0 && found.is_none(), "{at} is at hand or away");
                assert!(at % 3 == 0 || found.is_none(), "nobody expected {at}");
                let there = &self.log[at as usize..];
                assert!(found.is_none_or(|found| there.starts_with(found)), "expected {at}");
                let in_file = (at as usize) < self.file.len();
                assert!(found.is_some() || in_file || at % 3 > 0, "{at} is nowhere");
            }
        }
    }

    /// The lock makes each call one step, so that all orders of them are all that can happen.
    #[test]
    fn in_whichever_order_what_is_appended_is_read_and_written() {
        const STEPS: u32 = 10;
        for order in 0..3_usize.pow(STEPS) {
            let mut case = Case::new();
            for step in 0..STEPS {
                case.step(order / 3_usize.pow(step) % 3);
            }
            case.look();
            for _ in 0..2 * STEPS {
                case.step(2);
            }
            case.look();
            assert_eq!(case.file, case.log, "all of it is written");
        }
    }

    #[test]
    fn nothing_is_added_to_what_is_being_written() {
        let unfiled = Unfiled::default();
        unfiled.push(0, b"one");
        unfiled.push(3, b"two");
        let (_, taken) = unfiled.first().unwrap_or_default();
        let bytes = taken.to_vec();
        // Whoever writes it has let go of it, and has not said yet that it is written.
        drop(taken);
        unfiled.push(6, b"three");
        let (at, again) = unfiled.first().unwrap_or_default();
        assert_eq!((at, again.as_slice()), (0, bytes.as_slice()));
        unfiled.filed(again);
        let (at, behind) = unfiled.first().unwrap_or_default();
        assert_eq!((at, behind.as_slice()), (6, b"three".as_slice()));
    }
}
