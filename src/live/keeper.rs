//! The keeper's thread: writes snapshots, prunes the log, and moves the store's journal into its
//! file, so that none of it holds up a commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use event::Position;
use ingest::log::{LogReader, Progress, RealFiles};
use sinks::store::Checkpoint;

use super::snapshots::{Snapshot, Snapshots};

/// How often it looks at the store's journal.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A snapshot's memory that is kept for the next: fresh pages are cleared by the system first, which
/// takes as long as filling them.
const SPARE_BYTES_MAX: usize = 64 << 20;

/// Keeps.
pub struct Keeper {
    pub snapshots: Snapshots,
    pub checkpoint: Checkpoint,
    pub progress: Arc<Progress>,
    pub log_bytes_max: u64,
    pub log_dir: PathBuf,
    /// The way back to the engine's thread, of memory to be used again.
    pub spare: Sender<Vec<u8>>,
}

impl Keeper {
    /// Runs until the store's thread has ended and every snapshot is written.
    pub fn run(mut self, snapshots: &Receiver<Box<Snapshot>>) -> anyhow::Result<()> {
        loop {
            match snapshots.recv_timeout(LOOK_EVERY) {
                Ok(snapshot) => {
                    self.keep(&snapshot)?;
                    if snapshot.engine.capacity() <= SPARE_BYTES_MAX {
                        // Whoever takes it back may have ended.
                        let _ = self.spare.send(snapshot.engine);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if let Err(error) = self.checkpoint.run() {
                tracing::warn!(%error, "the store's journal grows; it is tried again");
            }
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
        let keep = self.progress.written().0.saturating_sub(self.log_bytes_max);
        let before = Position(keep.min(snapshot.resume.0));
        if before > Position(0) {
            let from = self.progress.written();
            let files = Arc::new(RealFiles);
            let mut reader = LogReader::open(&self.log_dir, files, self.progress.clone(), from)?;
            let segments = reader.prune(before)?;
            if segments > 0 {
                tracing::info!(segments, "pruned the log");
            }
        }
        Ok(())
    }
}
