//! The keeper's thread: writes snapshots, prunes the log, and moves the store's journal into its
//! file, so that none of it holds up a commit.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event::Position;
use ingest::log::{LogReader, RealFiles};
use sinks::store::Checkpoint;

use super::snapshots::{Snapshot, Snapshots};
use super::status::Live;

/// How often it looks at the store's journal.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A snapshot's memory that is kept for the next, or made ready: fresh pages are cleared by the system
/// as they are filled, and the engine would wait for that.
const SPARE_BYTES_MAX: usize = 64 << 20;

/// Memory for the engine's next snapshot.
#[derive(Clone, Debug, Default)]
pub struct Spare(Arc<Mutex<Vec<u8>>>);

impl Spare {
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps the larger one.
    fn put(&self, memory: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.capacity() > kept.capacity() {
            *kept = memory;
        }
    }
}

/// The log that is pruned.
pub struct Log {
    pub dir: PathBuf,
    pub bytes_max: u64,
}

/// Keeps.
pub struct Keeper {
    snapshots: Snapshots,
    checkpoint: Checkpoint,
    log: Log,
    live: Arc<Live>,
    spare: Spare,
    /// The most that was put there.
    ready: usize,
}

impl Keeper {
    pub fn new(
        snapshots: Snapshots,
        checkpoint: Checkpoint,
        log: Log,
        live: Arc<Live>,
        spare: Spare,
    ) -> Self {
        Self { snapshots, checkpoint, log, live, spare, ready: 0 }
    }

    /// Runs until the store's thread has ended and every snapshot is written.
    pub fn run(mut self, snapshots: &Receiver<Box<Snapshot>>) -> anyhow::Result<()> {
        loop {
            match snapshots.recv_timeout(LOOK_EVERY) {
                Ok(snapshot) => {
                    self.keep(&snapshot)?;
                    if snapshot.engine.capacity() <= SPARE_BYTES_MAX {
                        self.spare.put(snapshot.engine);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.make_ready(),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if let Err(error) = self.checkpoint.run() {
                tracing::warn!(%error, "the store's journal grows; it is tried again");
            }
        }
    }

    /// Makes memory ready for all of the state, each page of it written once.
    fn make_ready(&mut self) {
        let wanted = self.live.state_bytes();
        if wanted > self.ready && wanted <= SPARE_BYTES_MAX {
            let spare = vec![1; SPARE_BYTES_MAX.min(wanted + wanted / 2)];
            self.ready = spare.len();
            self.spare.put(spare);
        }
    }

    /// The log before it is durable and its outputs are stored: the store's thread hands it on
    /// behind them.
    fn keep(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
        if let Err(error) = self.snapshots.write(snapshot) {
            tracing::error!("no snapshot: {error:#}; a start reads further back in the log");
            return Ok(());
        }
        if snapshot.full {
            self.prune(snapshot)?;
        }
        Ok(())
    }

    /// Removes log that neither recovery nor the configured reach needs.
    fn prune(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let progress = self.live.log();
        let keep = progress.written().0.saturating_sub(self.log.bytes_max);
        let before = Position(keep.min(snapshot.resume.0));
        if before > Position(0) {
            let from = progress.written();
            let files = Arc::new(RealFiles);
            let mut reader = LogReader::open(&self.log.dir, files, progress.clone(), from)?;
            let segments = reader.prune(before)?;
            if segments > 0 {
                tracing::info!(segments, "pruned the log");
            }
        }
        Ok(())
    }
}
