//! The log's two threads: one gives what the sources hand over its place, from where on the engine
//! follows, if they do not do that by themselves; one writes it, makes it durable and acknowledges it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::bail;
use event::{Position, RecordBlock, RecordHead, RecordKind, RecordRef, Span, StreamId};
use ingest::log::{Filer, LogWriter, Progress, Sequencer};
use ingest::source::intake::{Ack, Append, Batch, Spares};

use super::lookout::Lookout;
use super::status::Live;

/// How often silence is looked at, and a refused write tried again.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// What nobody waits for in a hurry (no acknowledgement but Kafka's, no incident) is durable after so long at most: an
/// fsync for each batch of a pipe costs more than judging it.
const PATIENCE: Duration = Duration::from_millis(5);

/// Appends what comes by the intake, and makes ticks of silence.
pub struct Writer {
    log: Arc<Mutex<Appender>>,
    batches: Receiver<Batch>,
    /// Live time: silence makes ticks.
    ticks: bool,
    progress: Arc<Progress>,
    /// Where appended blocks go.
    pub spares: Spares,
}

/// Appends, for whoever's turn it is.
struct Appender {
    log: Sequencer,
    acks: Sender<(Position, Ack)>,
    live: Arc<Live>,
    /// Whether each stream is waited for.
    awaited: BTreeMap<StreamId, bool>,
    last: Instant,
    lookout: Lookout,
    spares: Spares,
}

/// Writes and makes durable, then acknowledges.
pub struct Acks {
    log: Filer,
    live: Arc<Live>,
    waiting: Receiver<(Position, Ack)>,
}

impl Writer {
    /// Both sides of a log: the appending and the writing one.
    pub fn new(
        log: LogWriter,
        batches: Receiver<Batch>,
        live: Arc<Live>,
        ticks: bool,
    ) -> (Self, Acks) {
        let (acks, waiting) = channel();
        let (awaited, last, spares) = (BTreeMap::new(), Instant::now(), Spares::default());
        let (progress, (log, filer)) = (log.progress(), log.split());
        let written = Acks { log: filer, live: live.clone(), waiting };
        let lookout = Lookout::new();
        let log = Appender { log, acks, live, awaited, last, lookout, spares: spares.clone() };
        let log = Arc::new(Mutex::new(log));
        (Self { log, batches, ticks, progress, spares }, written)
    }

    /// The way around the intake, for a source on a thread of its own: what it has just read is in its core's
    /// caches, and nobody has to wake.
    pub fn append(&self) -> Append {
        let log = self.log.clone();
        Arc::new(move |batch| log.lock().is_ok_and(|mut log| log.take(batch).is_ok()))
    }

    /// Runs until every source is gone.
    pub fn run(self) -> anyhow::Result<()> {
        let _ending = Ending(self.progress.clone());
        loop {
            let come = self.batches.recv_timeout(TICK_EVERY);
            let Ok(mut log) = self.log.lock() else { bail!("a source's thread has panicked") };
            match come {
                Ok(batch) => log.take(batch)?,
                Err(RecvTimeoutError::Timeout) if self.ticks => log.tick()?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

impl Appender {
    fn take(&mut self, batch: Batch) -> anyhow::Result<()> {
        let Batch { mut records, ack } = batch;
        let spans = records.spans(0..records.len());
        // Most are of one stream.
        let of = |span: &Span| (span.head().kind, span.head().stream, span.head().source);
        for alike in spans.chunk_by(|one, next| of(one) == of(next)) {
            let RecordHead { kind, stream, source, .. } = *alike[0].head();
            let awaited = match kind {
                RecordKind::StreamIdle | RecordKind::StreamEnded => false,
                RecordKind::StreamOpened | RecordKind::Delivery => true,
                RecordKind::Tick | RecordKind::Control => continue,
            };
            if kind == RecordKind::Delivery {
                self.live.logged(source, alike.len() as u64);
            }
            self.awaited.insert(stream, awaited);
        }
        self.last = Instant::now();
        let appended = records.len();
        let end = self.log.take(&mut records)?;
        self.spares.give(records);
        self.lookout.look(self.live.judge(), self.log.progress().held(), appended);
        if ack.is_awaited() {
            // When the syncer is gone the program is failing: the range stays unacknowledged.
            let hurried = ack.is_hurried();
            let _ = self.acks.send((end, ack));
            self.log.progress().ask(hurried);
        }
        Ok(())
    }

    /// With every stream silent, time goes on by what our clock measured since the last record.
    fn tick(&mut self) -> anyhow::Result<()> {
        if self.awaited.is_empty() || self.awaited.values().any(|awaited| *awaited) {
            return Ok(());
        }
        let silent = i64::try_from(self.last.elapsed().as_micros()).unwrap_or(i64::MAX);
        let mut records = RecordBlock::new();
        records.push(&RecordRef::plain(RecordKind::Tick, Position(0), &silent.to_le_bytes()));
        self.log.take(&mut records)?;
        Ok(())
    }
}

/// However the writer ends, nothing more is written: the syncer must know.
struct Ending(Arc<Progress>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// However the syncer ends, nothing more becomes durable: whoever waits for that must know.
struct Closing(Arc<Progress>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Acks {
    /// Runs until the appending side is gone and everything is durable.
    pub fn run(mut self) -> anyhow::Result<()> {
        let syncer = self.log.syncer();
        let _closing = Closing(syncer.progress().clone());
        let mut group = Vec::new();
        // Group commit: one write and one fsync for all that came while the last ones ran.
        while syncer.progress().wait_wanted(PATIENCE) {
            group.extend(self.waiting.try_iter());
            self.write()?;
            let durable = syncer.sync()?;
            crate::crash::point("log-synced");
            for (end, ack) in group.drain(..) {
                debug_assert!(end <= durable, "INV-ACK: acknowledged before durable");
                ack.done();
            }
            crate::crash::point("log-acked");
        }
        Ok(())
    }

    /// Writes; a full disk is waited for, and meanwhile nothing is acknowledged (INV-ACK).
    fn write(&mut self) -> anyhow::Result<()> {
        while let Err(error) = self.log.write() {
            if !error.may_pass() || self.live.stopping() {
                return Err(error.into());
            }
            tracing::error!(%error, "nothing is acknowledged until the log can be written");
            self.live.log_fault(Some(error.to_string()));
            std::thread::sleep(TICK_EVERY);
        }
        self.live.log_fault(None);
        crate::crash::point("log-written");
        Ok(())
    }
}
