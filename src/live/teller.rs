//! The teller's thread: what was found, in words, with its evidence.
//!
//! Finding and telling are apart, so that the engine's thread reads nothing again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::{Duration, Instant};

use event::tables::Tables;
use event::{EventTime, Position, RecordBlock};
use ingest::log::LogReader;
use rules::engine::Findings;
use sinks::{DeadLetter, Outputs};

use super::emitter::{Batch, Emit, OUTPUTS_PER_COMMIT};
use super::queue;
use super::rulebooks::Rulebooks;
use super::status::Live;
use crate::render::{Evidences, Found, Renderer};
use crate::setup::Setup;

/// Between two times at least that something is told: threads wake once for all of it, and pages that two commits would
/// write are written once.
const GATHER: Duration = Duration::from_millis(2);
/// The same where the engine is so far behind the log that nobody sees the difference.
const GATHER_BEHIND: Duration = Duration::from_millis(10);
/// So far: 6,000 deliveries. A source that is waited for nowhere else stays one to two of these ahead.
const BEHIND_BYTES: u64 = 1 << 20;

/// What the engine's thread hands over, in order.
pub enum Tell {
    /// Records, and what was found in them.
    Judged(Judged),
    /// A snapshot of the state behind all of that is made.
    Snapshot(Position),
}

/// What came of judged records.
pub struct Judged {
    /// Where they end in the log.
    pub until: Position,
    /// When the newest delivery among them was taken, where there is one.
    pub recorded: Option<EventTime>,
    pub parts: Vec<Part>,
    pub dead: Vec<DeadLetter>,
}

/// What was found under one configuration, and the tables as they were then.
pub struct Part {
    pub setup: Arc<Setup>,
    pub tables: Arc<Tables>,
    pub findings: Findings,
    /// When it was found, by our own clock.
    pub concluded: EventTime,
}

/// The engine's side of the way: there, and the memory that comes back, to be used again.
pub struct Told {
    pub tell: queue::Sender<Tell>,
    pub spare: Receiver<Findings>,
}

/// Evidence out of the log, decoded by what was in force there.
pub struct LogEvidence {
    reader: LogReader,
    rulebooks: Arc<Rulebooks>,
    /// The configuration that decoded what was read last, nearly always the same: from where on, and as of
    /// how many changes.
    last: Option<(Arc<Setup>, Range<Position>, u64)>,
}

impl LogEvidence {
    pub fn new(reader: LogReader, rulebooks: Arc<Rulebooks>) -> Self {
        Self { reader, rulebooks, last: None }
    }
}

impl Evidences for LogEvidence {
    fn read(&mut self, position: Position, block: &mut RecordBlock) -> std::io::Result<Found> {
        Found::of(self.reader.at(position, block))
    }

    fn expect(&mut self, positions: &[Position]) {
        self.reader.expect(positions);
    }

    fn decoded_by(&mut self, position: Position) -> std::io::Result<Option<Arc<Setup>>> {
        let changes = self.rulebooks.changes();
        if let Some((setup, from, as_of)) = &self.last
            && from.contains(&position)
            && *as_of == changes
        {
            return Ok(Some(setup.clone()));
        }
        let (hash, from) = self.rulebooks.reign(position);
        let setup = self.rulebooks.setup(&hash).map_err(std::io::Error::other)?;
        self.last = Some((setup.clone(), from, changes));
        Ok(Some(setup))
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
    pub judged: queue::Receiver<Tell>,
    /// The way back to the engine's thread, of memory to be used again.
    pub spare: Sender<Findings>,
    pub emit: SyncSender<Emit>,
    /// Memory that the store's thread gives back.
    pub outputs: Receiver<Outputs>,
    pub live: Arc<Live>,
    /// What is told and not handed on yet.
    pub held: Option<Batch>,
    /// When something was told last.
    pub told: Instant,
}

impl Teller {
    /// Runs until the engine's thread has ended.
    pub fn run(mut self, setup: Arc<Setup>) -> anyhow::Result<()> {
        let mut renderer = Renderer::new(setup.clone())?;
        let mut current = setup;
        while let Some(message) = self.next()? {
            let mut judged = match message {
                Tell::Snapshot(position) => {
                    self.flush()?;
                    self.send(Emit::Snapshot(position))?;
                    continue;
                }
                Tell::Judged(judged) => judged,
            };
            let mut outputs = self.outputs.try_recv().unwrap_or_default();
            let base = |site: &str| self.bases.get(site).copied().unwrap_or(0);
            for mut part in judged.parts.drain(..) {
                // What was found is told in the words of the configuration that found it.
                if !Arc::ptr_eq(&part.setup, &current) {
                    renderer = Renderer::new(part.setup.clone())?;
                    current = part.setup;
                }
                renderer.know(&part.tables);
                renderer.expect(&part.findings, &mut self.evidence);
                for finding in part.findings.iter() {
                    let found = (&part.findings, finding);
                    let (evidence, of) = (&mut self.evidence, (part.concluded, base));
                    renderer.tell(found, evidence, of, &mut outputs)?;
                }
                self.evidence.expect(&[]);
                part.findings.clear();
                // Whoever takes it back may have ended.
                let _ = self.spare.send(part.findings);
            }
            let Judged { until, recorded, dead, .. } = judged;
            let new = Batch { until, recorded, outputs: vec![outputs], dead };
            self.held = Some(match self.held.take() {
                Some(held) => held.and(new),
                None => new,
            });
        }
        self.flush()?;
        // Nothing is cited any more: that memory is given back while the store is at work.
        self.evidence.reader.let_go();
        Ok(())
    }

    /// What is to be told next. Before it waits for that, all that was told is handed on, and soon after that it waits a
    /// little for company.
    fn next(&mut self) -> anyhow::Result<Option<Tell>> {
        if let Some(held) = &self.held {
            let (until, enough) = (held.until, held.len() >= OUTPUTS_PER_COMMIT);
            let more = self.judged.try_recv();
            if enough || more.is_none() {
                self.flush()?;
            }
            if more.is_some() {
                return Ok(more);
            }
            std::thread::sleep(self.gather(until).saturating_sub(self.told.elapsed()));
        }
        let message = self.judged.recv();
        self.told = Instant::now();
        // It is durable when all of that is told.
        let log = self.live.log();
        log.want(log.written());
        Ok(message)
    }

    /// How long after something was told it is waited for company.
    fn gather(&self, until: Position) -> Duration {
        let behind = self.live.log().written().0.saturating_sub(until.0);
        if behind < BEHIND_BYTES { GATHER } else { GATHER_BEHIND }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.held.take().map_or(Ok(()), |held| self.send(Emit::Outputs(held)))
    }

    fn ended<T>(&self) -> anyhow::Result<T> {
        anyhow::bail!("the store's thread has ended")
    }

    fn send(&self, message: Emit) -> anyhow::Result<()> {
        self.emit.send(message).or_else(|_| self.ended())
    }
}
