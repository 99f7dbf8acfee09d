//! Blocks as their sources handed them over, for the one who follows the log closely: what stands there is not read out
//! of frames again. They are copies, past the caches: a source's own block stays in its core's, and is filled again there.
//! Those that are held anyhow ([`super::held`]) are judged where they lie.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event::RecordBlock;

/// Bytes that wait to be followed. Who is further behind reads frames.
const BYTES_MAX: usize = 4 << 20;
/// A block of less is read together with others.
const BYTES_MIN: usize = 32 << 10;
/// Blocks kept to be filled again.
const SPARES_MAX: usize = 8;

/// Shared by who appends and by the one who follows.
#[derive(Debug, Default)]
pub struct Fresh {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of the log: where each begins and ends.
    blocks: VecDeque<(u64, u64, Arc<RecordBlock>)>,
    bytes: usize,
    /// Somebody follows.
    followed: bool,
    /// Empty ones.
    spare: Vec<RecordBlock>,
}

impl State {
    fn pop(&mut self) -> Option<(u64, Arc<RecordBlock>)> {
        let (_, end, block) = self.blocks.pop_front()?;
        self.bytes -= block.bytes();
        Some((end, block))
    }

    fn give(&mut self, block: Arc<RecordBlock>) {
        // Else it is held, and stays where it is.
        if self.spare.len() < SPARES_MAX
            && let Ok(mut block) = Arc::try_unwrap(block)
        {
            block.clear();
            self.spare.push(block);
        }
    }

    /// Whether a block of so many bytes is wanted.
    fn wants(&self, bytes: usize) -> bool {
        bytes >= BYTES_MIN && self.followed && self.bytes + bytes <= BYTES_MAX
    }

    fn push(&mut self, start: u64, end: u64, block: Arc<RecordBlock>) {
        self.bytes += block.bytes();
        self.blocks.push_back((start, end, block));
    }
}

impl Fresh {
    /// Takes a copy of a block that stands in the log from `start` to `end`, but where it is small, too much waits or
    /// nobody follows. Only the one who appends calls it.
    pub fn push(&self, start: u64, end: u64, block: &RecordBlock) {
        let mut state = self.state();
        if !state.wants(block.bytes()) {
            return;
        }
        let mut copy = state.spare.pop().unwrap_or_default();
        drop(state);
        copy.hand_over(block);
        self.state().push(start, end, Arc::new(copy));
    }

    /// The same of a block that is held: it is no copy.
    pub fn share(&self, start: u64, end: u64, block: Arc<RecordBlock>) {
        let mut state = self.state();
        if state.wants(block.bytes()) {
            state.push(start, end, block);
        }
    }

    /// Exchanges `block`, which is done with, for the one that stands at a position; where that one ends. Else
    /// the error says how many bytes there are up to the next one.
    pub fn take(&self, position: u64, block: &mut Arc<RecordBlock>) -> Result<u64, u64> {
        let mut state = self.state();
        state.followed = true;
        while state.blocks.front().is_some_and(|(start, ..)| *start < position)
            && let Some((_, passed)) = state.pop()
        {
            state.give(passed);
        }
        match state.blocks.front() {
            Some((start, ..)) if *start > position => Err(start - position),
            None => Err(u64::MAX),
            Some(_) => {
                let (end, next) = state.pop().ok_or(u64::MAX)?;
                state.give(std::mem::replace(block, next));
                Ok(end)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
