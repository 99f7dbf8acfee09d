//! Payloads that the log does not keep, in memory until they are judged, and a while after; and how far
//! judging is behind.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use event::{Position, RecordBlock};

/// Bytes that wait to be judged before their sources stop reading: they are read soon, so they are
/// still in the cache then.
const AHEAD_BYTES_MAX: usize = 2 << 20;

/// Bytes of judged ones kept for evidence. What is older is asked for at the source. Who tells what was found
/// is up to 4 Ki findings behind.
const JUDGED_BYTES_MAX: usize = 64 << 20;

/// Bytes of log that a source may be ahead of what is judged, where it is not waited for: they are still in
/// memory then ([`super::unfiled`]), and in the cache.
const PACE_BYTES: u64 = 2 << 20;

/// Shared by the log's writer, which puts them in, and its readers.
#[derive(Debug, Default)]
pub struct Held {
    state: Mutex<State>,
    /// Where the log ends, and up to where it is judged, at the begin of this run at least.
    written: AtomicU64,
    judged: AtomicU64,
    /// Whether it ever held any.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of the log.
    blocks: VecDeque<RecordBlock>,
    bytes: usize,
    /// How many of the blocks are judged, and their bytes.
    judged: usize,
    judged_bytes: usize,
    spare: Vec<RecordBlock>,
}

impl Held {
    /// Whether a source may go on reading.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let state = self.state();
        state.bytes - state.judged_bytes < AHEAD_BYTES_MAX
    }

    /// Whether judging is so far behind the log, and what a source has underway to it, that the source had
    /// better stop reading, which nobody else waits for; one that did stops until judging has come half
    /// as near.
    #[must_use]
    pub fn is_ahead(&self, stopped: bool, underway: u64) -> bool {
        let [written, judged] = [&self.written, &self.judged].map(|at| at.load(Ordering::Relaxed));
        let ahead = written.saturating_sub(judged) + underway;
        ahead >= if stopped { PACE_BYTES / 2 } else { PACE_BYTES }
    }

    /// The log begins, or goes on, at a position: what stands before it is nobody's to wait for.
    pub(super) fn begin(&self, position: u64) {
        self.written.store(position, Ordering::Relaxed);
        self.judged.store(position, Ordering::Relaxed);
    }

    /// The log ends at a position.
    pub(super) fn appended(&self, position: u64) {
        self.written.store(position, Ordering::Relaxed);
    }

    /// Keeps a block that stands in the log behind all others; an empty one is left in its place.
    pub(super) fn keep(&self, block: &mut RecordBlock) {
        self.any.store(true, Ordering::Release);
        let mut state = self.state();
        let next = state.spare.pop().unwrap_or_default();
        let kept = std::mem::replace(block, next);
        state.bytes += kept.bytes();
        state.blocks.push_back(kept);
    }

    /// Everything before a position is judged.
    pub fn judged(&self, until: Position) {
        self.judged.fetch_max(until.0, Ordering::Relaxed);
        let mut state = self.state();
        while let Some(block) = state.blocks.get(state.judged)
            && block.get(block.len() - 1).position < until
        {
            state.judged_bytes += block.bytes();
            state.judged += 1;
        }
        while state.judged_bytes > JUDGED_BYTES_MAX
            && let Some(mut oldest) = state.blocks.pop_front()
        {
            state.judged -= 1;
            state.judged_bytes -= oldest.bytes();
            state.bytes -= oldest.bytes();
            oldest.clear();
            state.spare.push(oldest);
        }
    }

    /// Whether there ever was one.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Adds `count` records from a position on; `false` where they are not held.
    pub(super) fn copy(&self, from: Position, count: usize, out: &mut RecordBlock) -> bool {
        if !self.any() {
            return false;
        }
        let state = self.state();
        let behind = state.blocks.partition_point(|block| block.get(0).position <= from);
        let Some(block) = behind.checked_sub(1).map(|place| &state.blocks[place]) else {
            return false;
        };
        let Some(first) = block.find(from) else { return false };
        for index in first..first + count {
            out.push(&block.get(index));
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, PACE_BYTES, Position};

    #[test]
    fn who_is_ahead_stops_until_judging_has_come_half_as_near() {
        let (held, start) = (Held::default(), 7);
        held.begin(start);
        assert!(!held.is_ahead(false, 0), "what was there before is nobody's to wait for");
        held.judged(Position(start / 2));
        held.appended(start + PACE_BYTES - 1);
        assert!(!held.is_ahead(false, 0) && held.is_ahead(false, 1), "what is underway counts");
        held.appended(start + PACE_BYTES);
        assert!(held.is_ahead(false, 0));
        held.judged(Position(start + PACE_BYTES / 2));
        assert!(held.is_ahead(true, 0) && !held.is_ahead(false, 0));
        held.judged(Position(start + PACE_BYTES / 2 + 1));
        assert!(!held.is_ahead(true, 0));
    }
}
