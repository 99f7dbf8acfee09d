//! The one ordered log: everything that can change an output, durable before it is acknowledged.
//!
//! Segments of records in a folder. A position is a byte offset into all records ever written, so
//! a record is found again by arithmetic. The writer appends blocks; a second thread makes them
//! durable ([`SyncHandle`]); any number of readers follow.

pub mod files;
pub mod forgetful;
mod frame;
mod reader;
mod segment;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use event::Position;

pub use files::{Files, LogFile, ReadOnlyFiles, RealFiles};
pub use reader::LogReader;
use segment::Segment;
pub use writer::{LogWriter, Options, SyncHandle};

/// Why the log cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("the log in {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A record that was durable once cannot be read any more.
    #[error(
        "the log is damaged: segment {segment}, byte {offset}, position {position}. \
         Restore that file from a copy; or, to go on without the records from there, move it and \
         all later segments away"
    )]
    Damaged {
        /// File name of the segment.
        segment: String,
        /// Byte offset in the file.
        offset: u64,
        /// Position of the record.
        position: u64,
    },
    /// A segment between two others is not there.
    #[error("the log has a gap: position {0} is in no segment; restore the missing file")]
    Gap(u64),
    /// The position was pruned, or never written.
    #[error("position {0} is no longer in the log")]
    Pruned(u64),
    /// An earlier fsync failed: what the file system kept of it is unknown.
    #[error("the log could not be made durable earlier; restart to go on from what it kept")]
    Poisoned,
}

impl LogError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Whether trying again may help: a full disk that somebody empties.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// How far the log has come; shared by its writer, its syncer and its readers.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Clone, Debug)]
struct State {
    written: u64,
    durable: u64,
    closed: bool,
    poisoned: bool,
    /// The segment that is being written, and where it begins.
    file: Arc<dyn LogFile>,
    segment: u64,
}

impl Progress {
    /// Of a log that somebody else writes: what stands in it now, and no more.
    fn of_now(segment: &Segment, end: u64) -> Self {
        let (file, segment) = (segment.file.clone(), segment.first);
        let (closed, poisoned) = (true, false);
        let state = State { written: end, durable: end, closed, poisoned, file, segment };
        Self { state: Mutex::new(state), moved: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain numbers: no panic leaves them half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything before this position stands in the file system's cache at least.
    pub fn written(&self) -> Position {
        Position(self.state().written)
    }

    /// Everything before this position survives a power cut.
    pub fn durable(&self) -> Position {
        Position(self.state().durable)
    }

    /// Where the segment begins that is being written.
    fn segment(&self) -> u64 {
        self.state().segment
    }

    /// Nothing more will be written.
    pub fn close(&self) {
        self.state().closed = true;
        self.moved.notify_all();
    }

    /// Whether nothing more will be written.
    pub fn closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until something is written past `position`; `false` at the deadline, or when the log
    /// is closed and was read to its end.
    pub fn wait_written(&self, position: Position, deadline: Instant) -> bool {
        self.wait(deadline, |s| s.written > position.0)
    }

    /// Waits until everything before `position` is durable; `false` at the deadline, when the log
    /// is closed short of it, or when it cannot be made durable any more.
    pub fn wait_durable(&self, position: Position, deadline: Instant) -> bool {
        self.wait(deadline, |s| s.durable >= position.0)
    }

    fn wait(&self, deadline: Instant, reached: impl Fn(&State) -> bool) -> bool {
        let mut state = self.state();
        loop {
            if reached(&state) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || state.poisoned || left.is_zero() {
                return false;
            }
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
