//! What is to be done next: the order in which threads take their work.

use std::collections::VecDeque;

/// Something that one thread does. A slot is where a block is, as long as it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// To read the next block.
    Read { slot: usize },
    /// To decode a piece of a block.
    Decode { slot: usize, piece: usize },
    /// To judge a block for the sites of a part.
    Judge { slot: usize, part: usize },
    /// To judge for all sites what they forwarded of a block.
    Settle { slot: usize },
}

/// A block that was read.
#[derive(Debug)]
struct Block {
    slot: usize,
    /// The thread that has read it.
    reader: usize,
    pieces: usize,
    /// Pieces that somebody has taken, and those that are decoded.
    taken: usize,
    decoded: usize,
}

impl Block {
    fn is_decoded(&self) -> bool {
        self.decoded == self.pieces
    }
}

/// All that is under way.
#[derive(Debug)]
pub struct Board {
    /// Slots without a block, with who read into each; what was given back last is near, and is the
    /// next to be used.
    free: Vec<(usize, usize)>,
    /// In the order of the log; all sites' rules have come to the first.
    blocks: VecDeque<Block>,
    /// Blocks that are gone.
    settled: usize,
    settling: bool,
    /// Blocks that the sites of each part are done with, and whether somebody is at the next.
    judged: Vec<usize>,
    judging: Vec<bool>,
    /// The thread that reads.
    reading: Option<usize>,
    /// What is read next hangs on all that was decoded before.
    in_turn: bool,
    /// Nothing is left to read.
    ended: bool,
}

impl Board {
    /// Nothing read yet.
    pub fn new(parts: usize, slots: usize, in_turn: bool) -> Self {
        Self {
            free: (0..slots).map(|slot| (slot, slot % parts)).collect(),
            blocks: VecDeque::with_capacity(slots),
            settled: 0,
            settling: false,
            judged: vec![0; parts],
            judging: vec![false; parts],
            reading: None,
            in_turn,
            ended: false,
        }
    }

    /// Whether all is done.
    pub fn is_done(&self) -> bool {
        self.ended && self.blocks.is_empty()
    }

    /// Takes work for a thread: first what is near to it, the state of its sites and what it has read;
    /// then what another has not come to.
    pub fn take(&mut self, thread: usize) -> Option<Work> {
        let parts = self.judged.len();
        // Sites are dealt out in turn: the last part has the fewest.
        let settles = thread + 1 == parts;
        settles
            .then(|| self.settle())
            .flatten()
            .or_else(|| self.judge(thread))
            .or_else(|| self.decode(|block| block.reader == thread))
            .or_else(|| self.read(thread))
            .or_else(|| self.decode(|_| true))
            .or_else(|| self.settle())
            .or_else(|| (0..parts).find_map(|part| self.judge(part)))
    }

    fn judge(&mut self, part: usize) -> Option<Work> {
        let block = self.blocks.get(self.judged[part] - self.settled)?;
        if self.judging[part] || !block.is_decoded() {
            return None;
        }
        self.judging[part] = true;
        Some(Work::Judge { slot: block.slot, part })
    }

    fn settle(&mut self) -> Option<Work> {
        let block = self.blocks.front()?;
        if self.settling || self.judged.contains(&self.settled) {
            return None;
        }
        self.settling = true;
        Some(Work::Settle { slot: block.slot })
    }

    fn decode(&mut self, which: impl Fn(&Block) -> bool) -> Option<Work> {
        let untaken = |block: &&mut Block| block.taken < block.pieces && which(block);
        let block = self.blocks.iter_mut().find(untaken)?;
        block.taken += 1;
        Some(Work::Decode { slot: block.slot, piece: block.taken - 1 })
    }

    fn read(&mut self, thread: usize) -> Option<Work> {
        let waits = self.in_turn && !self.blocks.iter().all(Block::is_decoded);
        if self.ended || self.reading.is_some() || waits {
            return None;
        }
        let near = self.free.iter().rposition(|(_, reader)| *reader == thread);
        let (slot, _) = self.free.remove(near.or(self.free.len().checked_sub(1))?);
        self.reading = Some(thread);
        Some(Work::Read { slot })
    }

    /// A block of so many pieces was read; it may be the last.
    pub fn has_read(&mut self, slot: usize, pieces: usize, last: bool) {
        let reader = self.reading.take().unwrap_or_default();
        self.blocks.push_back(Block { slot, reader, pieces, taken: 0, decoded: 0 });
        self.ended = last;
    }

    /// Something that was taken is done; of what is read, [`Self::has_read`].
    pub fn done(&mut self, work: Work) {
        match work {
            Work::Read { .. } => {}
            Work::Decode { slot, .. } => {
                let block = self.blocks.iter_mut().find(|block| block.slot == slot);
                block.into_iter().for_each(|block| block.decoded += 1);
            }
            Work::Judge { part, .. } => {
                self.judging[part] = false;
                self.judged[part] += 1;
            }
            Work::Settle { slot } => {
                self.settling = false;
                self.settled += 1;
                let block = self.blocks.pop_front();
                self.free.extend(block.map(|block| (slot, block.reader)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threads of any speed: all is done, once each, in order, and nothing before what it needs.
    #[test]
    fn everything_is_done_once_and_in_order() {
        for seed in 0..200_u64 {
            let mut seed = seed;
            let mut below = move |n: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) % n
            };
            let (threads, in_turn) = (1 + below(4) as usize, below(2) == 0);
            let mut board = Board::new(threads, 2 + below(6) as usize, in_turn);
            let mut at_work = vec![None; threads];
            let mut log: Vec<(usize, usize)> = Vec::new();
            let mut blocks: Vec<usize> = Vec::new();
            let (mut judged, mut settled) = (vec![0; threads], 0);
            while !board.is_done() {
                let thread = below(threads as u64) as usize;
                let Some((work, block)) = at_work[thread].take() else {
                    let Some(work) = board.take(thread) else {
                        let idle = at_work.iter().all(Option::is_none);
                        assert!(!idle, "seed {seed}: nobody has anything to do");
                        continue;
                    };
                    let block = match work {
                        Work::Read { .. } => log.len(),
                        Work::Decode { slot, piece } => {
                            let block = blocks.iter().rposition(|of| *of == slot).unwrap();
                            assert!(piece < log[block].0);
                            block
                        }
                        Work::Judge { slot, part } => {
                            assert_eq!(slot, blocks[judged[part]]);
                            assert_eq!(log[judged[part]].0, log[judged[part]].1, "not decoded");
                            judged[part]
                        }
                        Work::Settle { slot } => {
                            assert_eq!(slot, blocks[settled]);
                            assert!(judged.iter().all(|judged| *judged > settled));
                            settled
                        }
                    };
                    at_work[thread] = Some((work, block));
                    continue;
                };
                match work {
                    Work::Read { slot } => {
                        assert!(!in_turn || log.iter().all(|(pieces, done)| pieces == done));
                        let pieces = below(5) as usize;
                        log.push((pieces, 0));
                        blocks.push(slot);
                        board.has_read(slot, pieces, log.len() == 50);
                    }
                    Work::Decode { .. } => log[block].1 += 1,
                    Work::Judge { part, .. } => judged[part] += 1,
                    Work::Settle { .. } => settled += 1,
                }
                board.done(work);
            }
            assert_eq!((log.len(), settled, judged), (50, 50, vec![50; threads]));
            assert!(log.iter().all(|(pieces, done)| pieces == done));
        }
    }
}
