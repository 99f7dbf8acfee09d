//! Blocks as their sources handed them over, for the one who follows the log closely: what stands there is not read out
//! of frames again. They are copies, past the caches: a source's own block stays in its core's, and is filled again there.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    blocks: VecDeque<(u64, u64, RecordBlock)>,
    bytes: usize,
    /// Somebody follows.
    followed: bool,
    /// Empty ones.
    spare: Vec<RecordBlock>,
}

impl State {
    fn pop(&mut self) -> Option<(u64, RecordBlock)> {
        let (_, end, block) = self.blocks.pop_front()?;
        self.bytes -= block.bytes();
        Some((end, block))
    }

    fn give(&mut self, mut block: RecordBlock) {
        block.clear();
        if self.spare.len() < SPARES_MAX {
            self.spare.push(block);
        }
    }
}

impl Fresh {
    /// Takes a copy of a block that stands in the log from `start` to `end`, but where it is small, too much waits or
    /// nobody follows. Only the one who appends calls it.
    pub fn push(&self, start: u64, end: u64, block: &RecordBlock) {
        if block.bytes() < BYTES_MIN {
            return;
        }
        let mut state = self.state();
        if !state.followed || state.bytes + block.bytes() > BYTES_MAX {
            return;
        }
        let mut copy = state.spare.pop().unwrap_or_default();
        drop(state);
        copy.hand_over(block);
        let mut state = self.state();
        state.bytes += copy.bytes();
        state.blocks.push_back((start, end, copy));
    }

    /// Exchanges `block`, which is done with, for the one that stands at a position; where that one ends. Else
    /// the error says how many bytes there are up to the next one.
    pub fn take(&self, position: u64, block: &mut RecordBlock) -> Result<u64, u64> {
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
