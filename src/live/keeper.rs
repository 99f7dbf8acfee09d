//! The keeper's thread: writes snapshots, prunes the log, and moves the store's journal into its
//! file, so that none of it holds up a commit.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event::Position;
use ingest::log::{LogReader, RealFiles};
use sinks::store::Checkpoint;

use super::snapshots::{Head, Snapshots};
use super::status::Live;

/// How often it looks at the store's journal.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Bytes of a snapshot that are made, and handed over, between two blocks: some 50 µs.
pub const PIECE_BYTES: usize = 64 << 10;
/// Pieces on their way into a file: 4 MiB. Where the disk is behind, the snapshot waits.
const PIECES_MAX: usize = 64;
/// What a piece may be longer by: it ends behind something whole.
const OVER_BYTES: usize = 64 << 10;

/// What the keeper is told, in order.
pub enum Keep {
    /// The engine has begun a snapshot.
    Begin(Box<Head>),
    /// More of it.
    Piece(Vec<u8>),
    /// All before the oldest one that does not stand yet is durable, and its outputs are stored.
    Stand,
}

/// The engine's side of the way: there, and the memory that comes back, to be used again.
pub struct Told {
    pub keep: Sender<Keep>,
    pub pieces: Pieces,
}

/// Memory for pieces of snapshots: fresh pages are cleared by the system as they are filled, and the engine
/// would wait for that.
#[derive(Clone, Debug, Default)]
pub struct Pieces(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pieces {
    /// Makes all of them, each page of them written once.
    fn make_ready(&self) {
        (0..PIECES_MAX).for_each(|_| self.put(vec![1; PIECE_BYTES + OVER_BYTES]));
    }

    /// One that is empty, where one is free.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.lock().pop()
    }

    /// Whether one is free.
    pub fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    fn put(&self, mut piece: Vec<u8>) {
        piece.clear();
        let mut pieces = self.lock();
        if pieces.len() < PIECES_MAX {
            pieces.push(piece);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log that is pruned.
pub struct Log {
    pub dir: PathBuf,
    pub bytes_max: u64,
}

/// Keeps.
pub struct Keeper {
    pub snapshots: Snapshots,
    pub checkpoint: Checkpoint,
    pub log: Log,
    pub live: Arc<Live>,
    pub pieces: Pieces,
}

impl Keeper {
    /// Runs until the store's thread has ended and every snapshot is written.
    pub fn run(mut self, told: &Receiver<Keep>) -> anyhow::Result<()> {
        self.pieces.make_ready();
        let mut look = Instant::now() + LOOK_EVERY;
        loop {
            match told.recv_timeout(look.saturating_duration_since(Instant::now())) {
                Ok(Keep::Begin(head)) => self.snapshots.begin(*head),
                Ok(Keep::Piece(piece)) => {
                    self.snapshots.add(&piece);
                    self.pieces.put(piece);
                }
                Ok(Keep::Stand) => self.stand()?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if Instant::now() >= look {
                if let Err(error) = self.checkpoint.run() {
                    tracing::warn!(%error, "the store's journal grows; it is tried again");
                }
                look = Instant::now() + LOOK_EVERY;
            }
        }
    }

    fn stand(&mut self) -> anyhow::Result<()> {
        match self.snapshots.stand() {
            Ok(Some(head)) if head.full => self.prune(&head),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!("no snapshot: {error:#}; a start reads further back in the log");
                Ok(())
            }
        }
    }

    /// Removes log that neither recovery nor the configured reach needs.
    fn prune(&self, head: &Head) -> anyhow::Result<()> {
        let progress = self.live.log();
        let keep = progress.written().0.saturating_sub(self.log.bytes_max);
        let before = Position(keep.min(head.resume.0));
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
