//! The engine's thread: reads the log, steps, renders what was found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use event::incident::Output;
use event::{EventFlags, Position, RecordBlock, RecordKind};
use ingest::log::{LogReader, Progress};
use rules::engine::Findings;
use sinks::DeadLetter;

use super::emitter::Emit;
use super::snapshot_of;
use super::status::Live;
use crate::pipeline::Pipeline;
use crate::render::{Evidences, Renderer};
use crate::setup::Setup;

/// Bytes of log read at once.
const STEP_BYTES: usize = 256 * 1024;
/// Time between two snapshots at most, where something has come.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(10);
/// How long one wait lasts before the figures are looked at again.
const WAIT: Duration = Duration::from_millis(200);

/// Evidence out of the log.
pub struct LogEvidence(pub LogReader);

impl Evidences for LogEvidence {
    fn read(&mut self, position: Position, block: &mut RecordBlock) -> std::io::Result<bool> {
        self.0.at(position, block).map_err(std::io::Error::other)
    }
}

/// Follows the log.
pub struct Follower {
    pub setup: Arc<Setup>,
    pub pipeline: Pipeline,
    pub reader: LogReader,
    pub evidence: LogEvidence,
    pub progress: Arc<Progress>,
    pub live: Arc<Live>,
    pub emit: SyncSender<Emit>,
    /// What is added to the number of each site's outputs.
    pub bases: BTreeMap<String, u64>,
    pub full_needed: Arc<AtomicBool>,
    pub snapshot_bytes: u64,
}

impl Follower {
    /// Runs until the log is closed and read to its end.
    pub fn run(mut self) -> anyhow::Result<()> {
        let setup = self.setup.clone();
        let mut renderer = Renderer::new(&setup)?;
        let (mut block, mut findings) = (RecordBlock::new(), Findings::default());
        let (mut snapshot_at, mut snapshot_time) = (self.reader.position(), Instant::now());
        self.live.stepped(&self.pipeline, self.reader.position());
        loop {
            let here = self.reader.position();
            self.live.look_at_usage(&self.pipeline);
            if !self.progress.wait_written(here, Instant::now() + WAIT) {
                let done = self.progress.closed() && here == self.progress.written();
                let due = here > snapshot_at && snapshot_time.elapsed() >= SNAPSHOT_EVERY;
                if done || due {
                    self.snapshot(here)?;
                    (snapshot_at, snapshot_time) = (here, Instant::now());
                }
                if done {
                    return Ok(());
                }
                continue;
            }
            block.clear();
            findings.clear();
            let step = match self.live.recovered_behind(here) {
                0 => STEP_BYTES,
                left => STEP_BYTES.min(usize::try_from(left).unwrap_or(STEP_BYTES)),
            };
            self.reader.read(&mut block, step)?;
            let mut dead = Vec::new();
            let sources = &setup.config.sources;
            self.pipeline.step(
                &block,
                &mut findings,
                |refused| {
                    dead.push(DeadLetter {
                        source: sources[refused.record.source.0 as usize].id.clone(),
                        position: refused.record.position.0,
                        reason: refused.reason.as_str().to_owned(),
                        raw: refused.record.payload.to_vec(),
                        at: refused.record.recorded,
                    });
                },
                |event| {
                    if event.flags().has(EventFlags::UNKNOWN_DEVICE) {
                        let device = setup.interner.text(event.device());
                        let strangers = self.live.strangers();
                        strangers.note(event.source().0 as usize, device, event.occurred());
                    }
                },
            );
            crate::crash::point("engine-stepped");
            let mut outputs: Vec<Output> = Vec::new();
            for finding in findings.iter() {
                let mut output = renderer.output(&findings, finding, &mut self.evidence)?;
                output.seq += self.bases.get(&output.site).copied().unwrap_or(0);
                outputs.push(output);
            }
            let until = self.reader.position();
            if !outputs.is_empty() || !dead.is_empty() {
                // What a tick brings out has been held: that is no latency.
                let deliveries = block.iter().filter(|r| r.kind == RecordKind::Delivery);
                let recorded = deliveries.map(|r| r.recorded).max();
                self.send(Emit::Outputs { until, recorded, outputs, dead })?;
            }
            self.live.stepped(&self.pipeline, until);
            let due = until.0 - snapshot_at.0 >= self.snapshot_bytes
                || snapshot_time.elapsed() >= SNAPSHOT_EVERY;
            if due {
                self.snapshot(until)?;
                (snapshot_at, snapshot_time) = (until, Instant::now());
            }
        }
    }

    /// Hands the state on; the store's thread writes it once all before it stands.
    fn snapshot(&mut self, position: Position) -> anyhow::Result<()> {
        let full = self.full_needed.swap(false, Ordering::AcqRel);
        let resume = self.pipeline.engine.oldest_waiting().unwrap_or(position);
        let snapshot = snapshot_of(&mut self.pipeline, &self.setup.hash, position, resume, full);
        self.send(Emit::Snapshot(Box::new(snapshot)))
    }

    fn send(&self, message: Emit) -> anyhow::Result<()> {
        self.emit.send(message).map_err(|_| anyhow::anyhow!("the store's thread has ended"))
    }
}
