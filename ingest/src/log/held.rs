//! Payloads that the log does not keep, in memory until they are judged, and a while after; and how far
//! judging and writing are behind.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event::{Position, RecordBlock};

use super::expected::Expected;
use super::writer::UNFILED_BYTES_MAX;

/// Bytes that wait to be judged before their sources stop reading: they are read soon, so they are
/// still in the cache then.
const AHEAD_BYTES_MAX: usize = 2 << 20;

/// Bytes of memory that judged ones take which are kept for evidence: of 700,000 short messages. What is older is asked
/// for at the source, which takes it milliseconds, and whoever tells waits for them.
const JUDGED_MEMORY_MAX: usize = 128 << 20;

/// Blocks kept to be filled again.
const SPARES_MAX: usize = 64;

/// Bytes of log that a source may be ahead of what is judged, where it is not waited for: they are still in
/// memory then ([`super::unfiled`]), and in the cache.
const PACE_BYTES: u64 = 2 << 20;

/// Bytes of log that may stand in no file yet before such a source stops: half of what there is room for, so that it
/// never waits for that itself.
const UNFILED_BYTES: u64 = UNFILED_BYTES_MAX / 2;

/// Shared by the log's writer, which puts them in, and its readers.
#[derive(Debug, Default)]
pub struct Held {
    state: Mutex<State>,
    /// Where the log ends, up to where it is judged, at the begin of this run at least, and up to where it stands in files.
    written: AtomicU64,
    judged: AtomicU64,
    filed: AtomicU64,
    /// Whether it ever held any.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of the log.
    blocks: VecDeque<Kept>,
    /// Bytes of those that are not judged.
    ahead_bytes: usize,
    /// How many of the blocks are judged, and the memory that they take.
    judged: usize,
    judged_memory: usize,
    spare: Vec<RecordBlock>,
}

/// A block, and what says where in it a record stands without a look at it.
#[derive(Debug)]
struct Kept {
    first: Position,
    last: Position,
    block: Arc<RecordBlock>,
}

impl State {
    /// The block that a position stands in, if it does.
    fn block(&self, position: Position) -> Option<&Kept> {
        let behind = self.blocks.partition_point(|kept| kept.first <= position);
        let kept = &self.blocks[behind.checked_sub(1)?];
        (position <= kept.last).then_some(kept)
    }
}

impl Held {
    /// Whether a source may go on reading.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.state().ahead_bytes < AHEAD_BYTES_MAX
    }

    /// Whether judging is so far behind the log, and what a source has underway to it, that the source had
    /// better stop reading, which nobody else waits for; one that did stops until judging has come half
    /// as near. It is, too, where the disk is far behind.
    #[must_use]
    pub fn is_ahead(&self, stopped: bool, underway: u64) -> bool {
        let all = [&self.written, &self.judged, &self.filed];
        let [written, judged, filed] = all.map(|at| at.load(Ordering::Relaxed));
        let ahead = written.saturating_sub(judged) + underway;
        let unfiled = written.saturating_sub(filed) + underway;
        ahead >= if stopped { PACE_BYTES / 2 } else { PACE_BYTES } || unfiled >= UNFILED_BYTES
    }

    /// Where the log ends, and up to where it is judged.
    #[must_use]
    pub fn reached(&self) -> (u64, u64) {
        let [written, judged] = [&self.written, &self.judged].map(|at| at.load(Ordering::Relaxed));
        (written, judged)
    }

    /// The log begins, or goes on, at a position: what stands before it is nobody's to wait for.
    pub(super) fn begin(&self, position: u64) {
        for at in [&self.written, &self.judged, &self.filed] {
            at.store(position, Ordering::Relaxed);
        }
    }

    /// The log ends at a position.
    pub(super) fn appended(&self, position: u64) {
        self.written.store(position, Ordering::Relaxed);
    }

    /// What stands before a position stands in files.
    pub(super) fn filed(&self, position: u64) {
        self.filed.store(position, Ordering::Relaxed);
    }

    /// Keeps a block that stands in the log behind all others, and gives it to be read; an empty one is left in its place.
    pub(super) fn keep(&self, block: &mut RecordBlock) -> Arc<RecordBlock> {
        self.any.store(true, Ordering::Release);
        let mut state = self.state();
        let mut next = state.spare.pop().unwrap_or_default();
        block.lend_origins(&mut next);
        let block = Arc::new(std::mem::replace(block, next));
        let at = |index: usize| block.get(index).position;
        let (first, last) = (at(0), at(block.len() - 1));
        state.ahead_bytes += block.bytes();
        state.blocks.push_back(Kept { first, last, block: block.clone() });
        block
    }

    /// Everything before a position is judged.
    pub fn judged(&self, until: Position) {
        self.judged.fetch_max(until.0, Ordering::Relaxed);
        let mut state = self.state();
        while let Some(kept) = state.blocks.get(state.judged)
            && kept.last < until
        {
            let (bytes, memory) = (kept.block.bytes(), kept.block.memory());
            state.ahead_bytes -= bytes;
            state.judged_memory += memory;
            state.judged += 1;
        }
        while state.judged_memory > JUDGED_MEMORY_MAX
            && let Some(Kept { block, .. }) = state.blocks.pop_front()
        {
            state.judged -= 1;
            state.judged_memory -= block.memory();
            // Else somebody expects something of it, and it goes with that.
            if state.spare.len() < SPARES_MAX
                && let Ok(mut block) = Arc::try_unwrap(block)
            {
                block.clear();
                state.spare.push(block);
            }
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
        let Some(Kept { first, last, block }) = state.block(from) else { return false };
        let guess = block.guess(from, *first..=*last);
        let Some(first) = block.find_near(from, guess) else { return false };
        for index in first..first + count {
            out.push(&block.get(index));
        }
        true
    }

    /// Looks for the records at these positions, and asks for the memory of so many bytes of each: what is held is
    /// expected from then on. `away` is told the others.
    pub(super) fn expect(
        &self,
        (positions, bytes): (&[Position], usize),
        expected: &mut Expected<RecordBlock>,
        mut away: impl FnMut(Position),
    ) {
        expected.clear();
        if !self.any() {
            return positions.iter().copied().for_each(away);
        }
        let state = self.state();
        for position in positions {
            let Some(Kept { first, last, block }) = state.block(*position) else {
                away(*position);
                continue;
            };
            let guess = block.guess(*position, *first..=*last);
            block.expect(guess);
            expected.add(*position, block, guess);
        }
        drop(state);
        expected.go_over(|block, position, guess| {
            let index = block.find_near(position, guess)?;
            block.expect_payload(index, bytes);
            Some(index)
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use event::{Origin, RecordKind, RecordRef};

    use super::{
        AHEAD_BYTES_MAX, Expected, Held, JUDGED_MEMORY_MAX, PACE_BYTES, Position, RecordBlock,
        UNFILED_BYTES,
    };

    #[test]
    fn what_is_held_is_found_however_far_apart_it_stands() {
        let (held, mut at) = (Held::default(), 100);
        let mut there = Vec::new();
        for records in [1, 2, 300] {
            let mut block = RecordBlock::new();
            for nth in 0..records {
                let (position, payload) = (Position(at), at.to_string());
                block.push(&RecordRef::plain(RecordKind::Delivery, position, payload.as_bytes()));
                there.push(position);
                at += [8, 8, 8, 60, 1][nth % 5];
            }
            held.keep(&mut block);
        }
        let all: Vec<_> = (0..at + 10).map(Position).collect();
        let (mut expected, mut away) = (Expected::default(), Vec::new());
        held.expect((&all, 64), &mut expected, |position| away.push(position));
        for position in all {
            let found = expected.next(position).map(|(block, index)| block.get(index));
            assert_eq!(found.map(|r| r.position), there.contains(&position).then_some(position));
            let mut copy = RecordBlock::new();
            assert_eq!(held.copy(position, 1, &mut copy), found.is_some());
            assert_eq!(
                found.map(|r| r.payload.to_vec()),
                copy.iter().next().map(|r| r.payload.to_vec())
            );
        }
        assert!(away.iter().all(|position| !there.contains(position)));
    }

    #[test]
    fn the_next_block_gets_memory_and_nothing_of_what_was_there() {
        let (held, mut block) = (Held::default(), RecordBlock::new());
        for round in 0..3 {
            let record = RecordRef::plain(RecordKind::Delivery, Position(round), b"bytes");
            if round < 2 {
                block.push_from(&record, Origin { partition: 1, offset: 2, checksum: 3 });
            } else {
                block.push(&record);
            }
            assert_eq!(block.is_whole(), round == 2);
            let kept = held.keep(&mut block);
            assert_eq!((kept.len(), kept.get(0).payload), (1, &b"bytes"[..]));
            assert!(kept.origin(0).is_none(), "the log has it");
            assert!(block.is_empty() && block.is_whole());
        }
    }

    #[test]
    fn what_is_judged_is_kept_as_long_as_there_is_memory_for_it() {
        let held = Held::default();
        let keep = |at: u64, len: usize| {
            let (mut block, payload) = (RecordBlock::new(), vec![b'x'; len]);
            block.push(&RecordRef::plain(RecordKind::Delivery, Position(at), &payload));
            held.keep(&mut block).memory()
        };
        assert!(keep(0, 1) > 500, "a block of a byte takes more than that");
        let is_held = |at: u64| held.copy(Position(at), 1, &mut RecordBlock::new());
        let (mut all, mut last) = (0, 0);
        while all <= JUDGED_MEMORY_MAX {
            last += 1;
            assert!(held.has_room() && is_held(0));
            all += keep(last, AHEAD_BYTES_MAX);
            assert!(!held.has_room(), "nothing of it is judged");
            held.judged(Position(last + 1));
        }
        assert!(!is_held(0) && !is_held(1) && is_held(2) && is_held(last));
        assert!(held.has_room());
    }

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
        let end = start + UNFILED_BYTES + 1;
        held.appended(end);
        held.judged(Position(end));
        assert!(held.is_ahead(false, 0), "the disk is behind");
        held.filed(start + 2);
        assert!(!held.is_ahead(true, 0) && held.is_ahead(true, 1));
    }
}
