//! The engine's thread: reads the log, steps, renders what was found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use event::control::{Change, Control};
use event::{EventFlags, Position, RecordBlock, RecordKind, RecordRef};
use ingest::log::{LogReader, Progress};
use rules::engine::Findings;
use sinks::DeadLetter;

use super::emitter::Emit;
use super::epoch::Reign;
use super::rulebooks::Rulebooks;
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

/// Evidence out of the log, decoded by what was in force there.
pub struct LogEvidence {
    pub reader: LogReader,
    pub rulebooks: Arc<Rulebooks>,
}

impl Evidences for LogEvidence {
    fn read(&mut self, position: Position, block: &mut RecordBlock) -> std::io::Result<bool> {
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

/// Follows the log.
pub struct Follower {
    /// What is in force where it has come to.
    pub setup: Arc<Setup>,
    pub rulebooks: Arc<Rulebooks>,
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
        let mut renderer = Renderer::new(self.setup.clone())?;
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
            let (mut outputs, mut dead) = (Vec::new(), Vec::new());
            let mut from = 0;
            loop {
                let other = self.judge(&block, from, &mut findings, &mut dead)?;
                let concluded = (!findings.is_empty()).then(crate::now);
                crate::crash::point("engine-stepped");
                // What was found is told in the words of the configuration that found it.
                renderer.know(self.pipeline.engine.tables());
                for finding in findings.iter() {
                    let mut output = renderer.output(&findings, finding, &mut self.evidence)?;
                    output.seq += self.bases.get(&output.site).copied().unwrap_or(0);
                    output.concluded = concluded;
                    outputs.push(output);
                }
                findings.clear();
                let Some((place, control)) = other else { break };
                if self.take_over(&block.get(place), control, &mut findings)? {
                    renderer = Renderer::new(self.setup.clone())?;
                }
                from = place + 1;
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

    /// Gives records to the engine, up to one by which another configuration takes over.
    fn judge(
        &mut self,
        block: &RecordBlock,
        from: usize,
        findings: &mut Findings,
        dead: &mut Vec<DeadLetter>,
    ) -> anyhow::Result<Option<(usize, Control)>> {
        let Self { setup, pipeline, live, .. } = self;
        let sources = &setup.config.sources;
        pipeline.step(
            block,
            from,
            findings,
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
                    let source = &sources[event.source().0 as usize].id;
                    live.strangers().note(source, device, event.occurred());
                }
            },
        )
    }

    /// Another configuration takes over at a record; whether it is another.
    fn take_over(
        &mut self,
        record: &RecordRef<'_>,
        control: Control,
        findings: &mut Findings,
    ) -> anyhow::Result<bool> {
        let Control { by, reason, change: Change::Reload(hash) } = control else {
            return Ok(false);
        };
        if hash == self.setup.hash {
            return Ok(false);
        }
        // Without it nothing behind this record can be judged as it was.
        let next = self.rulebooks.setup(&hash)?;
        self.pipeline.reload(&self.setup, &next, findings)?;
        self.setup = next;
        self.live.took_over(self.setup.clone(), &self.pipeline);
        let (from, recorded) = (record.position, record.recorded);
        self.rulebooks.begin(Reign { config: hash, from, by, reason, recorded })?;
        // An increment stands on a snapshot of the same configuration only.
        self.full_needed.store(true, Ordering::Release);
        crate::crash::point("rulebook-taken");
        Ok(true)
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
