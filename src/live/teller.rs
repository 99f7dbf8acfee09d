//! The teller's thread: what was found, in words, with its evidence.
//!
//! Finding and telling are apart, so that the engine's thread reads nothing again: what it has
//! judged comes along, and the newest of it is kept here, where most evidence is found.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender};

use event::tables::Tables;
use event::{EventTime, Position, RecordBlock, RecordKind};
use ingest::log::LogReader;
use rules::engine::Findings;
use sinks::DeadLetter;

use super::emitter::Emit;
use super::rulebooks::Rulebooks;
use super::snapshots::Snapshot;
use crate::render::{Evidences, Renderer};
use crate::setup::Setup;

/// Bytes of judged records that are kept for evidence: at 150 B a delivery the last 100,000. What
/// is older is read from the log.
const RECENT_BYTES_MAX: usize = 16 << 20;

/// What the engine's thread hands over, in order.
pub enum Tell {
    /// Records, and what was found in them.
    Judged(Judged),
    /// The state behind all of that.
    Snapshot(Box<Snapshot>),
}

/// Judged records.
pub struct Judged {
    pub block: RecordBlock,
    /// Where they end in the log.
    pub until: Position,
    pub parts: Vec<Part>,
    pub dead: Vec<DeadLetter>,
}

/// What was found under one configuration, and the tables as they were then.
pub struct Part {
    pub setup: Arc<Setup>,
    pub tables: Arc<Tables>,
    pub findings: Findings,
    /// When it was found, by our own clock.
    pub concluded: Option<EventTime>,
}

/// The engine's side of the way: there, and the memory that comes back, to be used again.
pub struct Told {
    pub tell: SyncSender<Tell>,
    pub blocks: Receiver<RecordBlock>,
    pub findings: Receiver<Findings>,
}

/// The way back to the engine's thread, of memory to be used again.
pub struct Spares {
    pub blocks: Sender<RecordBlock>,
    pub findings: Sender<Findings>,
}

/// Evidence out of what was judged last, or out of the log, decoded by what was in force there.
pub struct LogEvidence {
    pub reader: LogReader,
    pub rulebooks: Arc<Rulebooks>,
    recent: VecDeque<RecordBlock>,
    recent_bytes: usize,
}

impl LogEvidence {
    pub fn new(reader: LogReader, rulebooks: Arc<Rulebooks>) -> Self {
        Self { reader, rulebooks, recent: VecDeque::new(), recent_bytes: 0 }
    }

    /// Keeps records that came behind all others; gives back the oldest ones, one block at most.
    fn keep(&mut self, block: RecordBlock) -> Option<RecordBlock> {
        if block.is_empty() {
            return Some(block);
        }
        self.recent_bytes += block.bytes();
        self.recent.push_back(block);
        if self.recent_bytes <= RECENT_BYTES_MAX {
            return None;
        }
        let oldest = self.recent.pop_front();
        self.recent_bytes -= oldest.as_ref().map_or(0, RecordBlock::bytes);
        oldest
    }
}

impl Evidences for LogEvidence {
    fn read(&mut self, position: Position, block: &mut RecordBlock) -> std::io::Result<bool> {
        let behind = self.recent.partition_point(|b| b.get(0).position <= position);
        let held = behind.checked_sub(1).map(|place| &self.recent[place]);
        if let Some((held, place)) = held.and_then(|held| Some((held, held.find(position)?))) {
            block.push(&held.get(place));
            return Ok(true);
        }
        self.reader.at(position, block).map_err(std::io::Error::other)
    }

    fn decoded_by(&self, position: Position) -> std::io::Result<Option<Arc<Setup>>> {
        let hash = self.rulebooks.at(position).config;
        self.rulebooks.setup(&hash).map(Some).map_err(std::io::Error::other)
    }

    fn oldest(&self) -> Position {
        self.reader.oldest()
    }

    fn read_on(&mut self, from: Position, block: &mut RecordBlock) -> std::io::Result<Position> {
        crate::history::log_from(&mut self.reader, from, block)
    }
}

/// Tells.
pub struct Teller {
    pub evidence: LogEvidence,
    /// What is added to the number of each site's outputs.
    pub bases: BTreeMap<String, u64>,
    pub judged: Receiver<Tell>,
    pub spares: Spares,
    pub emit: SyncSender<Emit>,
}

impl Teller {
    /// Runs until the engine's thread has ended.
    pub fn run(mut self, setup: Arc<Setup>) -> anyhow::Result<()> {
        let mut renderer = Renderer::new(setup.clone())?;
        let mut current = setup;
        while let Ok(message) = self.judged.recv() {
            let mut judged = match message {
                Tell::Snapshot(snapshot) => {
                    self.send(Emit::Snapshot(snapshot))?;
                    continue;
                }
                Tell::Judged(judged) => judged,
            };
            // What a tick brings out has been held: that is no latency.
            let deliveries = judged.block.iter().filter(|r| r.kind == RecordKind::Delivery);
            let recorded = deliveries.map(|r| r.recorded).max();
            // Whoever takes it back may have ended.
            let _ = self.evidence.keep(judged.block).map(|block| self.spares.blocks.send(block));
            let mut outputs = Vec::new();
            for mut part in judged.parts.drain(..) {
                // What was found is told in the words of the configuration that found it.
                if !Arc::ptr_eq(&part.setup, &current) {
                    renderer = Renderer::new(part.setup.clone())?;
                    current = part.setup;
                }
                renderer.know(&part.tables);
                for finding in part.findings.iter() {
                    let mut output =
                        renderer.output(&part.findings, finding, &mut self.evidence)?;
                    output.concluded = part.concluded;
                    output.seq += self.bases.get(&output.site).copied().unwrap_or(0);
                    outputs.push(output);
                }
                part.findings.clear();
                let _ = self.spares.findings.send(part.findings);
            }
            if !outputs.is_empty() || !judged.dead.is_empty() {
                let (until, dead) = (judged.until, judged.dead);
                self.send(Emit::Outputs { until, recorded, outputs, dead })?;
            }
        }
        Ok(())
    }

    fn send(&self, message: Emit) -> anyhow::Result<()> {
        self.emit.send(message).map_err(|_| anyhow::anyhow!("the store's thread has ended"))
    }
}
