//! The engine's thread: reads the log, steps, hands on what was found.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use event::control::{Change, Control};
use event::{EventFlags, EventRef, Position, RecordBlock, RecordKind, RecordRef};
use ingest::log::{LogError, LogReader, Progress};
use rules::engine::Findings;
use sinks::DeadLetter;

use super::epoch::Reign;
use super::keeper::{self, Keep, PIECE_BYTES};
use super::pauses::{Cause, Pauses};
use super::rulebooks::Rulebooks;
use super::snapshots::Head;
use super::status::Live;
use super::strangers::Noted;
use super::teller::{Judged, Part, Tell, Told};
use crate::pipeline::Pipeline;
use crate::setup::Setup;

/// Bytes of log read at once: what is found in them is told when all are judged, half a millisecond.
const STEP_BYTES: usize = 64 * 1024;
/// The same of a recovery, where nobody waits for a single detection.
const RECOVERY_STEP_BYTES: usize = 256 * 1024;
/// Findings on their way to the teller that take one place.
pub const FINDINGS_A_PLACE: usize = 4;
/// Time between two snapshots at most, where something has come.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(10);
/// A snapshot longer than that waits until the log has grown by half as much: writing state costs
/// about twice as much as writing the log, and a start reads no more than that back.
const SNAPSHOT_SMALL_BYTES: u64 = 16 << 20;
/// How long one wait lasts before the figures are looked at again.
const WAIT: Duration = Duration::from_millis(200);
/// Memory made ready for what grows little by little while the program runs: names and identities, above all.
/// And what is asked of the system at once: what is left of a heap of the allocator's, 64 MiB, is for the rest.
const ROOM_BYTES: usize = 16 << 20;
const ASKED_BYTES: usize = 48 << 20;
/// Large pages made ready for tables that grow: those of the first half a million events of the ten rules.
const TABLES_BYTES: usize = 32 << 20;
/// Between two times that the figures are copied to where others see them: a step may be one event.
const FIGURES_EVERY: Duration = Duration::from_millis(2);

/// Follows the log.
pub struct Follower {
    /// What is in force where it has come to.
    pub setup: Arc<Setup>,
    pub rulebooks: Arc<Rulebooks>,
    pub pipeline: Pipeline,
    pub reader: LogReader,
    pub progress: Arc<Progress>,
    pub live: Arc<Live>,
    pub told: Told,
    /// Where pieces of snapshots go, and memory for them.
    pub kept: keeper::Told,
    /// What was found and not handed on yet.
    pub findings: Findings,
    pub full_needed: Arc<AtomicBool>,
    pub snapshot_bytes: u64,
    /// The snapshot that is being made: of which place further back, and bytes of it so far.
    pub saving: Option<(Position, u64)>,
    /// Bytes of the last one.
    pub snapshot_len: u64,
    /// Up to where the figures that others see are the engine's, and since when.
    pub looked: Option<(Position, Instant)>,
    pub pauses: Pauses,
    /// Devices that the site model does not know and that have spoken.
    pub noted: Noted,
}

/// Makes memory ready for the calling thread, the engine's.
pub fn make_ready() {
    crate::room::make_room(ROOM_BYTES, ASKED_BYTES);
    crate::huge::make_ready(TABLES_BYTES);
}

impl Follower {
    /// Runs until the log is closed and read to its end.
    pub fn run(mut self) -> anyhow::Result<()> {
        let (mut snapshot_at, mut snapshot_time) = (self.reader.position(), Instant::now());
        let mut block = Arc::default();
        self.look(self.reader.position());
        self.pauses = Pauses::begin();
        self.live.judge().is_here();
        loop {
            let here = self.reader.position();
            if self.live.look_at_usage(&self.pipeline) {
                self.pauses.lap(Cause::Figures);
            }
            if let Some(piece) = self.saving.and_then(|_| self.kept.pieces.take()) {
                self.go_on_saving(piece)?;
            }
            let patience = match (&self.saving, self.looked_at() == Some(here)) {
                (Some(_), _) if self.kept.pieces.any() => Duration::ZERO,
                (None, true) => WAIT,
                (Some(_), _) | (None, false) => FIGURES_EVERY,
            };
            let written = self.progress.wait_written(here, Instant::now() + patience);
            self.pauses.idle();
            if !written {
                let done = self.progress.ended() && here == self.progress.written();
                let due = here > snapshot_at && snapshot_time.elapsed() >= SNAPSHOT_EVERY;
                self.look(here);
                if done || due {
                    self.begin_snapshot(here)?;
                    (snapshot_at, snapshot_time) = (here, Instant::now());
                }
                if done {
                    return self.end();
                }
                continue;
            }
            let recovering = self.live.recovered_behind(here);
            let step = match recovering {
                0 => STEP_BYTES,
                left => RECOVERY_STEP_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX)),
            };
            if !self.read(&mut block, step)? {
                continue;
            }
            self.pauses.lap(Cause::Reading);
            let until = self.reader.position();
            self.judge_all(&block, until)?;
            self.progress.held().judged(until);
            if recovering > 0 || self.looked.is_none_or(|l| l.1.elapsed() >= FIGURES_EVERY) {
                self.look(until);
            }
            let apart =
                self.snapshot_bytes.max(self.snapshot_len.saturating_sub(SNAPSHOT_SMALL_BYTES) / 2);
            let due = until.0 - snapshot_at.0 >= apart || snapshot_time.elapsed() >= SNAPSHOT_EVERY;
            if due {
                self.begin_snapshot(until)?;
                (snapshot_at, snapshot_time) = (until, Instant::now());
            }
        }
    }

    /// Lets the figures be seen that stand at a position.
    fn look(&mut self, here: Position) {
        if self.looked_at() != Some(here) {
            let pauses = self.pauses.so_far();
            if !self.live.stepped(&self.pipeline, here, pauses) {
                return;
            }
            self.pauses.lap(Cause::Figures);
        }
        self.looked = Some((here, Instant::now()));
    }

    fn looked_at(&self) -> Option<Position> {
        self.looked.map(|(position, _)| position)
    }

    /// Reads on; `false` while a source is away that holds what the log keeps only the place of.
    fn read(&mut self, block: &mut Arc<RecordBlock>, step: usize) -> anyhow::Result<bool> {
        match self.reader.follow(block, step) {
            Err(error @ LogError::Away { .. }) if !self.live.stopping() => {
                tracing::warn!(%error, "nothing is judged until it can be read");
                std::thread::sleep(WAIT);
                Ok(false)
            }
            other => Ok(other.map(|_| true)?),
        }
    }

    /// Judges a block, each part of it under the configuration in force there, and hands on what is
    /// to be told.
    fn judge_all(&mut self, block: &RecordBlock, until: Position) -> anyhow::Result<()> {
        let mut judged = Judged { until, recorded: None, parts: Vec::new(), dead: Vec::new() };
        let mut from = 0;
        loop {
            let mut findings = std::mem::take(&mut self.findings);
            let other = self.judge(block, from, &mut findings, &mut judged.dead)?;
            crate::crash::point("engine-stepped");
            if findings.is_empty() {
                self.findings = findings;
            } else {
                let concluded = crate::now();
                let (setup, tables) = (self.setup.clone(), self.pipeline.engine.tables().clone());
                self.findings = self.told.spare.try_recv().unwrap_or_default();
                judged.parts.push(Part { setup, tables, findings, concluded });
            }
            let Some((place, control)) = other else { break };
            self.take_over(&block.get(place), control)?;
            from = place + 1;
        }
        self.pauses.lap(Cause::Judging);
        if judged.parts.is_empty() && judged.dead.is_empty() {
            return Ok(());
        }
        // What a tick brings out has been held: that is no latency.
        let newest = (0..block.len()).rev().map(|place| block.get(place));
        judged.recorded =
            newest.filter(|r| r.kind == RecordKind::Delivery).map(|r| r.recorded).next();
        let found: usize = judged.parts.iter().map(|part| part.findings.len()).sum();
        self.send(Tell::Judged(judged), 1 + found / FINDINGS_A_PLACE)?;
        self.pauses.lap(Cause::Telling);
        Ok(())
    }

    /// Gives records to the engine, up to one by which another configuration takes over.
    fn judge(
        &mut self,
        block: &RecordBlock,
        from: usize,
        findings: &mut Findings,
        dead: &mut Vec<DeadLetter>,
    ) -> anyhow::Result<Option<(usize, Control)>> {
        let Self { setup, pipeline, live, noted, .. } = self;
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
            |events| {
                let strange = |event: &EventRef| event.flags().has(EventFlags::UNKNOWN_DEVICE);
                for event in events.iter().filter(strange) {
                    let (source, device) = (event.source(), event.device());
                    noted.note(live.strangers(), (source, device), event.occurred(), || {
                        (&sources[source.0 as usize].id, setup.interner.text(device))
                    });
                }
            },
        )
    }

    /// Another configuration takes over at a record, where it is another.
    fn take_over(&mut self, record: &RecordRef<'_>, control: Control) -> anyhow::Result<()> {
        let Control { by, reason, change: Change::Reload(hash) } = control else {
            return Ok(());
        };
        if hash == self.setup.hash {
            return Ok(());
        }
        // Without it nothing behind this record can be judged as it was.
        let next = self.rulebooks.setup(&hash)?;
        self.end_saving()?;
        self.pipeline.reload(&self.setup, &next, &mut self.findings)?;
        self.setup = next;
        let sources = self.setup.config.sources.iter().map(|source| source.id.as_str());
        self.noted.renumber(self.live.strangers(), sources, &self.setup.interner);
        self.live.took_over(self.setup.clone(), &self.pipeline);
        let (from, recorded) = (record.position, record.recorded);
        self.rulebooks.begin(Reign { config: hash, from, by, reason, recorded })?;
        // An increment stands on a snapshot of the same configuration only.
        self.full_needed.store(true, Ordering::Release);
        crate::crash::point("rulebook-taken");
        Ok(())
    }

    /// Begins a snapshot of the state at a position; see [`Self::go_on_saving`].
    fn begin_snapshot(&mut self, position: Position) -> anyhow::Result<()> {
        self.end_saving()?;
        let full = self.full_needed.swap(false, Ordering::AcqRel);
        let engine = &mut self.pipeline.engine;
        let resume = engine.oldest_waiting().unwrap_or(position);
        engine.begin_snapshot(full);
        let config = self.setup.hash.clone();
        let books = self.pipeline.deliveries().to_vec();
        let head = Head { config, position, resume, full, books };
        self.keep(Keep::Begin(Box::new(head)))?;
        self.saving = Some((position, 0));
        self.pauses.lap(Cause::Snapshot);
        Ok(())
    }

    /// Makes another piece of the snapshot, if there is one under way. A whole one stands once all before
    /// it does.
    fn go_on_saving(&mut self, mut piece: Vec<u8>) -> anyhow::Result<()> {
        let Some((position, before)) = self.saving.take() else { return Ok(()) };
        let whole = self.pipeline.engine.save_some(&mut piece, PIECE_BYTES);
        let len = before + piece.len() as u64;
        self.keep(Keep::Piece(piece))?;
        self.pauses.lap(Cause::Snapshot);
        if whole {
            self.snapshot_len = len;
            return self.send(Tell::Snapshot(position), 1);
        }
        self.saving = Some((position, len));
        Ok(())
    }

    /// Makes all that is left of the snapshot, if there is one under way.
    fn end_saving(&mut self) -> anyhow::Result<()> {
        while self.saving.is_some() {
            let piece = self.kept.pieces.take().unwrap_or_default();
            self.go_on_saving(piece)?;
        }
        Ok(())
    }

    /// Nothing will follow. Whoever waits for that goes on while this thread gives its memory back.
    fn end(mut self) -> anyhow::Result<()> {
        self.end_saving()?;
        let Self { told, kept, pipeline, .. } = self;
        drop((told, kept));
        drop(pipeline);
        Ok(())
    }

    fn keep(&self, message: Keep) -> anyhow::Result<()> {
        self.kept.keep.send(message).map_err(|_| anyhow::anyhow!("the keeper's thread has ended"))
    }

    fn send(&self, message: Tell, places: usize) -> anyhow::Result<()> {
        self.told
            .tell
            .send(message, places)
            .map_err(|_| anyhow::anyhow!("the teller's thread has ended"))
    }
}
