//! The end of the log in memory: what stands in no file yet, so that whoever follows the log does not wait
//! for the file system, and what was written lately, which is read again for evidence.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of one write: small appends come together.
const TOGETHER_BYTES: usize = 256 << 10;
/// Bytes kept of what stands in its file: whoever tells what was found is a few blocks behind, and of what is
/// cited three in ten are the last event of all.
const FILED_BYTES_MAX: u64 = 4 << 20;

/// Shared by who appends, who writes and who reads.
#[derive(Debug, Default)]
pub struct Unfiled(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whole frames, in the order of the log, and where the first of each stands.
    blocks: VecDeque<(u64, Arc<Vec<u8>>)>,
    /// So many of them, from the first on, are written.
    filed: usize,
    /// The one behind these is being written: nothing is added to it any more.
    writing: bool,
    /// The memory of one that went, for the next.
    spare: Vec<u8>,
}

impl State {
    /// Makes one of the last two that are written, where they are small: so that what is kept is not much
    /// more than its bytes.
    fn join(&mut self) {
        let Some(before) = self.filed.checked_sub(2) else { return };
        let last = self.blocks[before + 1].1.clone();
        let (_, joined) = &mut self.blocks[before];
        if joined.len() + last.len() <= TOGETHER_BYTES
            && let Some(joined) = Arc::get_mut(joined)
        {
            joined.extend_from_slice(&last);
            let _ = self.blocks.remove(before + 1);
            self.filed -= 1;
            self.keep(last);
        }
    }

    /// Keeps the memory of a block for the next.
    fn keep(&mut self, block: Arc<Vec<u8>>) {
        if let Ok(mut block) = Arc::try_unwrap(block)
            && block.capacity() <= 2 * TOGETHER_BYTES
        {
            block.clear();
            self.spare = block;
        }
    }
}

impl Unfiled {
    /// Adds whole frames, the first of which stands at a position.
    pub fn push(&self, position: u64, frames: &[u8]) {
        let mut state = self.state();
        let closed = state.filed + usize::from(state.writing);
        if closed < state.blocks.len()
            && let Some((_, last)) = state.blocks.back_mut()
            && last.len() + frames.len() <= TOGETHER_BYTES
            && let Some(last) = Arc::get_mut(last)
        {
            last.extend_from_slice(frames);
            return;
        }
        let mut block = std::mem::take(&mut state.spare);
        block.reserve(frames.len().max(TOGETHER_BYTES));
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
        state.join();
        let end = |(position, block): &(u64, Arc<Vec<u8>>)| position + block.len() as u64;
        let written = state.blocks.get(state.filed - 1).map_or(0, end);
        while state.blocks.front().is_some_and(|b| end(b) + FILED_BYTES_MAX < written)
            && let Some((_, oldest)) = state.blocks.pop_front()
        {
            state.filed -= 1;
            state.keep(oldest);
        }
    }

    /// Copies what stands from a position on, as far as there is room and it is at hand; how many
    /// bytes. 0 where it is in a file only.
    pub fn copy(&self, position: u64, room: &mut [u8]) -> usize {
        let state = self.state();
        let behind = state.blocks.partition_point(|(first, _)| *first <= position);
        let Some((first, block)) = behind.checked_sub(1).and_then(|n| state.blocks.get(n)) else {
            return 0;
        };
        let there = block.get((position - first) as usize..).unwrap_or_default();
        let len = there.len().min(room.len());
        room[..len].copy_from_slice(&there[..len]);
        len
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Unfiled;

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
