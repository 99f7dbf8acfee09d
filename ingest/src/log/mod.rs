//! The one ordered log: everything that can change an output, durable before it is acknowledged.
//!
//! Segments of records in a folder. A position is a byte offset into all records ever written, so
//! a record is found again by arithmetic. One thread gives blocks their place ([`Sequencer`]), from
//! when on any number of readers follow; a second writes them into files ([`Filer`]) and makes them
//! durable ([`SyncHandle`]).

pub(crate) mod checksum;
mod expected;
pub mod files;
pub mod forgetful;
mod frame;
mod fresh;
mod held;
mod offsets;
mod piece;
mod reader;
mod segment;
mod unfiled;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event::Position;

pub use files::{Files, LogFile, ReadOnlyFiles, RealFiles};
use fresh::Fresh;
pub use held::Held;
pub use offsets::{Lack, Payloads};
pub use reader::LogReader;
use segment::Segment;
use unfiled::Unfiled;
pub use writer::{Filer, LogWriter, Options, Sequencer, SyncHandle};

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
    /// The source has deleted what the log keeps only the place of.
    #[error(
        "position {position}: {place} is no longer retained by the broker. Lengthen the retention \
         of the topic; to go on without what is lost, begin with empty state: --afresh"
    )]
    Unretained {
        /// Position of the delivery.
        position: u64,
        /// Topic, partition and offset.
        place: String,
    },
    /// The source cannot be asked for what the log keeps only the place of.
    #[error("position {position}: {place} cannot be read again: {reason}")]
    Away {
        /// Position of the delivery.
        position: u64,
        /// Topic, partition and offset.
        place: String,
        /// What is in the way.
        reason: String,
    },
    /// An earlier fsync failed: what the file system kept of it is unknown.
    #[error("the log could not be made durable earlier; restart to go on from what it kept")]
    Poisoned,
}

impl LogError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }

    /// Whether trying again may help: a full disk that somebody empties.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// How long one wait lasts where nothing is to be done: whoever writes ends it.
const IDLE: Duration = Duration::from_secs(1);

/// How far the log has come; shared by its writer, its syncer and its readers.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
    written: Bell,
    durable: Bell,
    wanted: Bell,
    filed: Bell,
    held: Arc<Held>,
    unfiled: Unfiled,
    fresh: Fresh,
}

/// Tells whoever waits that something has come further. Without anybody it costs no system call.
#[derive(Debug, Default)]
struct Bell {
    moved: Condvar,
    /// Counted under the lock of the state.
    waiting: AtomicU32,
}

impl Bell {
    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let woken = self.moved.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        woken
    }

    fn ring(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.moved.notify_all();
        }
    }
}

#[derive(Clone, Debug)]
struct State {
    /// Everything before it has its place, and can be read.
    written: u64,
    /// Everything before it stands in the file system's cache at least.
    filed: u64,
    durable: u64,
    /// Somebody waits until everything before it is durable.
    wanted: u64,
    /// How many acknowledgements wait or have waited, and how many of them the syncer knows of; and whether others do
    /// that can wait for a moment.
    asked: u64,
    answered: u64,
    unhurried: bool,
    /// The syncer waits to be told that something is written.
    syncer_idle: bool,
    /// Nothing more will be written.
    ended: bool,
    /// Nothing more will become durable.
    closed: bool,
    poisoned: bool,
    /// The segment that is being written, and where it begins.
    file: Arc<dyn LogFile>,
    segment: u64,
}

impl State {
    /// Of a log that ends in a segment.
    fn of(segment: &Segment, end: u64) -> Self {
        let (file, segment) = (segment.file.clone(), segment.first);
        let (ended, closed, poisoned) = (false, false, false);
        let (asked, answered, unhurried, syncer_idle) = (0, 0, false, false);
        let [written, filed, durable, wanted] = [end; 4];
        Self {
            written,
            filed,
            durable,
            wanted,
            asked,
            answered,
            unhurried,
            syncer_idle,
            ended,
            closed,
            poisoned,
            file,
            segment,
        }
    }
}

impl Progress {
    fn new(state: State) -> Self {
        let [written, durable, wanted, filed] = std::array::from_fn(|_| Bell::default());
        let (held, unfiled) = (Arc::new(Held::default()), Unfiled::default());
        let fresh = Fresh::default();
        held.begin(state.written);
        Self { state: Mutex::new(state), written, durable, wanted, filed, held, unfiled, fresh }
    }

    /// Of a log that somebody else writes: what stands in it now, and no more.
    fn of_now(segment: &Segment, end: u64) -> Self {
        Self::new(State { closed: true, ..State::of(segment, end) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain numbers: no panic leaves them half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Payloads that stand in memory, and not in the log.
    pub fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// Everything before this position has its place in the log, and can be read.
    pub fn written(&self) -> Position {
        Position(self.state().written)
    }

    /// Everything before this position survives a power cut.
    pub fn durable(&self) -> Position {
        Position(self.state().durable)
    }

    /// Everything before this position stands in the file system's cache at least.
    fn filed(&self) -> u64 {
        self.state().filed
    }

    /// Where the segment begins that is being written.
    fn segment(&self) -> u64 {
        self.state().segment
    }

    /// Everything before a position should be durable soon.
    pub fn want(&self, position: Position) {
        let mut state = self.state();
        if position.0 > state.wanted {
            state.wanted = position.0;
            drop(state);
            self.wanted.ring();
        }
    }

    /// An acknowledgement waits for what is written to be durable; one that is not hurried, until others want that or
    /// the syncer's patience ends. Another's wish may have made it durable before this is said: so the syncer looks in
    /// any case.
    pub fn ask(&self, hurried: bool) {
        let mut state = self.state();
        let known = !hurried && (state.unhurried || state.durable < state.written);
        if hurried {
            state.asked += 1;
        } else {
            state.unhurried = true;
        }
        drop(state);
        if !known {
            self.wanted.ring();
        }
    }

    /// Nothing more will be written: what is has to be durable, and that was all.
    pub fn end(&self) {
        let mut state = self.state();
        (state.ended, state.wanted) = (true, state.wanted.max(state.written));
        drop(state);
        self.wanted.ring();
        self.written.ring();
    }

    /// Waits until an acknowledgement waits, or something that is not durable is wanted so or has been
    /// written for so long; `false` when all is durable and nothing more will be written.
    pub fn wait_wanted(&self, patience: Duration) -> bool {
        let mut patient_until = Instant::now() + patience;
        let mut state = self.state();
        loop {
            let behind = state.durable < state.written || state.unhurried;
            if state.asked != state.answered {
                (state.answered, state.unhurried) = (state.asked, false);
                return true;
            }
            if behind && (state.wanted > state.durable || state.ended) {
                state.unhurried = false;
                return true;
            }
            if state.ended {
                return false;
            }
            let left = patient_until.saturating_duration_since(Instant::now());
            if behind && left.is_zero() {
                state.unhurried = false;
                return true;
            }
            // Where something has come each time, it comes again: only who has waited in vain has to be told.
            state.syncer_idle = left.is_zero();
            let idle = state.syncer_idle;
            state = self.wanted.wait(state, if idle { IDLE } else { left });
            if idle && !std::mem::take(&mut state.syncer_idle) {
                patient_until = Instant::now() + patience;
            }
        }
    }

    /// Nothing more will become durable.
    pub fn close(&self) {
        self.state().closed = true;
        self.written.ring();
        self.filed.ring();
        self.durable.ring();
    }

    /// Whether nothing more will be written.
    pub fn ended(&self) -> bool {
        let state = self.state();
        state.ended || state.closed
    }

    /// Waits until something is written past `position`; `false` at the deadline, or when the log
    /// has ended and was read to its end.
    pub fn wait_written(&self, position: Position, deadline: Instant) -> bool {
        self.wait(&self.written, deadline, |s| s.written > position.0, |s| s.ended)
    }

    /// Waits until everything before `position` is durable; `false` at the deadline, when the log
    /// is closed short of it, or when it cannot be made durable any more.
    pub fn wait_durable(&self, position: Position, deadline: Instant) -> bool {
        self.want(position);
        self.wait(&self.durable, deadline, |s| s.durable >= position.0, |_| false)
    }

    fn wait(
        &self,
        bell: &Bell,
        deadline: Instant,
        reached: impl Fn(&State) -> bool,
        vain: impl Fn(&State) -> bool,
    ) -> bool {
        let mut state = self.state();
        loop {
            if reached(&state) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || state.poisoned || vain(&state) || left.is_zero() {
                return false;
            }
            state = bell.wait(state, left);
        }
    }
}
