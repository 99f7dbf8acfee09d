//! The end of the log in memory: what stands in no file yet, so that whoever follows the log does not wait
//! for the file system, and what was written lately, which is read again for evidence.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event::Position;
use event::prefetch::prefetch;

use super::expected::Expected;
use super::files::ALIGN;
use super::piece::{Adder, Memory, Piece, memory};
use super::segment;

/// Pieces of memory kept for what comes: one for each that goes.
const SPARES_MAX: usize = 4;

/// How long is long.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Bytes of a piece of memory. Not those of a large page: a host that took it back finds it anew for milliseconds, for
    /// which a commit would wait.
    piece: usize,
    /// Bytes kept of what stands in its file: all but few of what is cited. The rest is read from the disk.
    filed: u64,
    /// An append from which on it is copied past the caches: it was made in memory that this processor has, and others
    /// will read it.
    long: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { piece: 1 << 20, filed: 48 << 20, long: 32 << 10 }
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
    /// Whole frames, in the order of the log.
    parts: VecDeque<Part>,
    /// So many of them, from the first on, are written, and of the next one so many bytes.
    filed: usize,
    filed_bytes: usize,
    /// Memory for the next.
    spare: Vec<Memory>,
}

/// What stands in one piece of memory.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where its first frame stands.
    pub first: u64,
    /// Where the segment begins that it belongs to.
    pub segment: u64,
    pub piece: Arc<Piece>,
}

impl Part {
    fn end(&self) -> u64 {
        self.first + self.piece.len() as u64
    }
}

impl State {
    /// The part that a position stands in, and where in it; none where it is not at hand.
    fn part(&self, position: u64) -> Option<(&Arc<Piece>, usize)> {
        let behind = self.parts.partition_point(|part| part.first <= position);
        let Part { first, piece, .. } = &self.parts[behind.checked_sub(1)?];
        Some((piece, (position - first) as usize))
    }

    /// Keeps the memory of a part for the next.
    fn keep(&mut self, Part { piece, .. }: Part, sizes: Sizes) {
        if let Ok(piece) = Arc::try_unwrap(piece)
            && self.spare.len() < SPARES_MAX
        {
            self.spare.extend(Some(piece.into_memory()).filter(|m| m.len() == sizes.piece));
        }
    }
}

/// The end to which is appended.
#[derive(Debug)]
pub struct Tail {
    /// Where the last segment begins, and after how many bytes the next one does.
    segment: u64,
    segment_bytes: u64,
    adder: Option<Adder>,
}

impl Tail {
    /// Of a log whose last segment begins at a position, and is followed by a new one when it has reached so many bytes.
    pub fn new(segment: u64, segment_bytes: u64) -> Self {
        Self { segment, segment_bytes, adder: None }
    }
}

impl Unfiled {
    /// Adds whole frames, the first of which stands at a position: behind the last, or in memory that is placed as it will
    /// be in its file, so that it can be written from where it is.
    pub fn push(&self, tail: &mut Tail, position: u64, frames: &[u8]) {
        let Tail { segment, segment_bytes, adder } = tail;
        let full = position - *segment >= *segment_bytes;
        let past_caches = frames.len() >= self.sizes.long;
        if let Some(adder) = adder
            && !full
            && adder.room() >= frames.len()
        {
            return adder.push(frames, past_caches);
        }
        if full {
            *segment = position;
        }
        let spare = self.state().spare.pop();
        let wanted = frames.len() + ALIGN;
        let room = spare.filter(|memory| memory.len() >= wanted);
        let room = room.unwrap_or_else(|| memory(wanted.max(self.sizes.piece)));
        let adder = adder.insert(Adder::new(room, ALIGN, segment::offset(*segment, position)));
        adder.push(frames, past_caches);
        let (segment, piece) = (*segment, adder.piece().clone());
        self.state().parts.push_back(Part { first: position, segment, piece });
    }

    /// What is written next, and from which of its bytes on.
    pub fn unwritten(&self) -> Option<(Part, usize)> {
        let mut state = self.state();
        // Nothing is added to one behind which another begins.
        while let Some(part) = state.parts.get(state.filed)
            && state.filed_bytes == part.piece.len()
            && state.filed + 1 < state.parts.len()
        {
            state.filed += 1;
            state.filed_bytes = 0;
        }
        let part = state.parts.get(state.filed)?;
        (state.filed_bytes < part.piece.len()).then(|| (part.clone(), state.filed_bytes))
    }

    /// What is written next is, up to so many bytes of it. It is kept for a while, and after that read from its file.
    pub fn filed(&self, bytes: usize) {
        let mut state = self.state();
        state.filed_bytes = bytes;
        let Some(part) = state.parts.get(state.filed) else { return };
        let written = part.first + bytes as u64;
        while state.filed > 0
            && state.parts.front().is_some_and(|part| part.end() + self.sizes.filed < written)
            && let Some(oldest) = state.parts.pop_front()
        {
            state.filed -= 1;
            state.keep(oldest, self.sizes);
        }
    }

    /// Nothing of what is written is wanted again.
    pub fn let_go(&self) {
        let mut state = self.state();
        let filed = std::mem::take(&mut state.filed);
        let gone =
            (state.parts.drain(..filed).collect::<Vec<_>>(), std::mem::take(&mut state.spare));
        drop(state);
        drop(gone);
    }

    /// Looks for what stands from each position on, all under one lock, and asks for the memory of so many
    /// bytes of it: what is at hand is expected from then on. `away` is told the others.
    pub fn expect(
        &self,
        (positions, bytes): (&[Position], usize),
        expected: &mut Expected<Piece>,
        mut away: impl FnMut(Position),
    ) {
        expected.clear();
        let state = self.state();
        for position in positions {
            let Some((piece, from)) = state.part(position.0) else {
                away(*position);
                continue;
            };
            (from..from + bytes).step_by(64).for_each(|at| prefetch(piece, at));
            expected.add(*position, piece, from);
        }
    }

    /// Lets `look` see what stands from a position on: to the end of its piece, nothing where it is not at
    /// hand. Nobody waits for it, and it stays as long as that takes.
    pub fn look<R>(&self, position: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        let found = self.state().part(position).map(|(piece, from)| (piece.clone(), from));
        look(found.as_ref().and_then(|(piece, from)| piece.get(*from..)).unwrap_or_default())
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
    use event::Position;

    use super::{ALIGN, Expected, Part, Sizes, Tail, Unfiled};

    /// All that appending, writing and reading can come to in some order.
    struct Case {
        unfiled: Unfiled,
        tail: Tail,
        /// All that was appended.
        log: Vec<u8>,
        /// How much of it is written.
        file: Vec<u8>,
        /// Where segments begin.
        segments: Vec<u64>,
        /// What is being written, as it was when that began.
        writing: Option<(Part, usize, Vec<u8>)>,
    }

    impl Case {
        fn new() -> Self {
            let sizes = Sizes { piece: ALIGN + 11, filed: 9, long: 5 };
            let unfiled = Unfiled { sizes, ..Unfiled::default() };
            let (tail, segments) = (Tail::new(0, 20), vec![0]);
            Self { unfiled, tail, log: Vec::new(), file: Vec::new(), segments, writing: None }
        }

        fn step(&mut self, what: usize) {
            match (what, self.writing.take()) {
                (2, None) => {
                    let next = self.unfiled.unwritten();
                    self.writing = next.map(|(part, from)| {
                        let bytes = part.piece[from..].to_vec();
                        (part, from, bytes)
                    });
                }
                (2, Some((part, from, bytes))) => {
                    let (at, until) = (self.file.len() as u64, from + bytes.len());
                    assert_eq!(part.first + from as u64, at, "in its order, and all of it");
                    assert_eq!(&part.piece[from..until], bytes, "what was added stays");
                    if self.segments.last() != Some(&part.segment) {
                        let last = self.segments.last().copied().unwrap_or_default();
                        assert!((20..20 + 6).contains(&(at - last)), "a full segment ends");
                        assert_eq!(part.segment, at);
                        self.segments.push(at);
                    }
                    let aligned = part.piece[from..].as_ptr().addr() as u64;
                    let offset = super::segment::offset(part.segment, at);
                    assert_eq!(aligned % ALIGN as u64, offset % ALIGN as u64);
                    self.file.extend_from_slice(&bytes);
                    self.unfiled.filed(until);
                }
                (what, writing) => {
                    let (at, len) = (self.log.len() as u64, [3, 6][what]);
                    let frames = (0..len).map(|n| self.log.len() as u8 + n);
                    let frames: Vec<u8> = frames.collect();
                    self.log.extend_from_slice(&frames);
                    self.unfiled.push(&mut self.tail, at, &frames);
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
                let found = expected.next(Position(at)).map(|(piece, from)| &piece[from..]);
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

    /// The lock, and the one word by which what was added is told, make each call one step, so that all orders of them are
    /// all that can happen.
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
    fn of_what_is_written_some_stays_in_memory_until_nobody_wants_it() {
        let sizes = Sizes { filed: 20_000, ..Sizes::default() };
        let (unfiled, mut tail) = (Unfiled { sizes, ..Unfiled::default() }, Tail::new(0, 50_000));
        let mut at = 0;
        for _ in 0..100 {
            unfiled.push(&mut tail, at, &[7; 10_000]);
            at += 10_000;
            while let Some((part, _)) = unfiled.unwritten() {
                unfiled.filed(part.piece.len());
            }
        }
        let there = |position| unfiled.look(position, |bytes| !bytes.is_empty());
        assert!(there(at - 1) && there(at - 20_000) && !there(at - 80_000));
        unfiled.let_go();
        assert!(!there(at - 60_000));
        unfiled.push(&mut tail, at, b"more");
        let (part, from) = unfiled.unwritten().expect("it is not written");
        assert_eq!(&part.piece[from..], b"more");
    }
}
