//! The teller's thread: what was found, in words, with its evidence.
//!
//! Finding and telling are apart, so that the engine's thread reads nothing again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError};

use event::tables::Tables;
use event::{EventTime, Position, RecordBlock};
use ingest::log::LogReader;
use rules::engine::Findings;
use sinks::{DeadLetter, Outputs};

use super::emitter::{Batch, Emit, OUTPUTS_PER_COMMIT};
use super::queue;
use super::rulebooks::Rulebooks;
use crate::render::{Evidences, Found, Renderer};
use crate::setup::Setup;

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
    /// What the store had no room for.
    pub held: Option<Batch>,
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
            self.hand_on(Batch { until, recorded, outputs: vec![outputs], dead })?;
        }
        self.flush()?;
        // Nothing is cited any more: that memory is given back while the store is at work.
        self.evidence.reader.let_go();
        Ok(())
    }

    /// What is to be told next; before it waits for that, what was held is handed on.
    fn next(&mut self) -> anyhow::Result<Option<Tell>> {
        if self.held.is_some() {
            match self.judged.try_recv() {
                Some(message) => return Ok(Some(message)),
                None => self.flush()?,
            }
        }
        Ok(self.judged.recv())
    }

    /// Where the store is behind, what comes is added to what waits for it already: the engine must
    /// not wait for a commit.
    fn hand_on(&mut self, mut new: Batch) -> anyhow::Result<()> {
        if let Some(held) = self.held.take() {
            new = held.and(new);
        }
        if new.len() >= OUTPUTS_PER_COMMIT {
            return self.send(Emit::Outputs(new));
        }
        match self.emit.try_send(Emit::Outputs(new)) {
            Err(TrySendError::Full(Emit::Outputs(new))) => self.held = Some(new),
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => return self.ended(),
        }
        Ok(())
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
