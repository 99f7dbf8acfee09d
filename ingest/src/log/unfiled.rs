//! What has its place in the log and stands in no file yet, in memory: whoever follows the log does not
//! wait for the file system.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of one write: small appends come together.
const TOGETHER_BYTES: usize = 256 << 10;
/// Blocks of memory that are kept for the next bytes.
const SPARE_MAX: usize = 8;

/// Shared by who appends, who writes and who reads.
#[derive(Debug, Default)]
pub struct Unfiled(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whole frames, in the order of the log, and where the first of each stands.
    blocks: VecDeque<(u64, Arc<Vec<u8>>)>,
    spare: Vec<Vec<u8>>,
}

impl Unfiled {
    /// Adds whole frames, the first of which stands at a position.
    pub fn push(&self, position: u64, frames: &[u8]) {
        let mut state = self.state();
        if let Some((_, last)) = state.blocks.back_mut()
            && last.len() + frames.len() <= TOGETHER_BYTES
            // It is not being written.
            && let Some(last) = Arc::get_mut(last)
        {
            last.extend_from_slice(frames);
            return;
        }
        let mut block = state.spare.pop().unwrap_or_default();
        block.extend_from_slice(frames);
        state.blocks.push_back((position, Arc::new(block)));
    }

    /// What is written next, and where it stands.
    pub fn first(&self) -> Option<(u64, Arc<Vec<u8>>)> {
        self.state().blocks.front().cloned()
    }

    /// The first is written, and is read from its file from now on.
    pub fn filed(&self, first: Arc<Vec<u8>>) {
        let mut state = self.state();
        let _ = state.blocks.pop_front();
        if let Ok(mut block) = Arc::try_unwrap(first)
            && state.spare.len() < SPARE_MAX
            && block.capacity() <= 2 * TOGETHER_BYTES
        {
            block.clear();
            state.spare.push(block);
        }
    }

    /// Copies what stands from a position on, as far as there is room and it is at hand; how many
    /// bytes. 0 where it is in a file.
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
