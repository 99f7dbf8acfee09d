//! The outbox: what changed in the store, carried to every sink at least once and in order.
//!
//! Each sink has a thread and a connection of its own, so that one that hangs holds up nobody.
//! The rows in the store are the only state: a kill at any point repeats at most the notification
//! that was under way, under the same id.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use event::EventTime;
use rusqlite::Connection;
use serde::Serialize;

use crate::limits;
use crate::sink::{Disposition, Sink};
use crate::store::queue::{self, Waiting};
use crate::store::{Doing, SinkCounts, StoreError, file};

/// Wakes the outbox's threads: the store rings it after a commit.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<(Mutex<Bell>, Condvar)>);

#[derive(Debug, Default)]
struct Bell {
    rung: u64,
    stopping: bool,
}

impl Wake {
    /// There is something to do.
    pub fn ring(&self) {
        self.bell().rung += 1;
        self.0.1.notify_all();
    }

    /// Whether the outbox is about to stop: a wait that sees it ends.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.bell().stopping
    }

    /// Waits until `span` has passed or the outbox stops.
    pub fn pause(&self, span: Duration) {
        self.wait(span, |_| false);
    }

    fn stop(&self) {
        self.bell().stopping = true;
        self.0.1.notify_all();
    }

    fn rung(&self) -> u64 {
        self.bell().rung
    }

    fn wait(&self, span: Duration, done: impl Fn(&Bell) -> bool) {
        let end = Instant::now() + span;
        let mut bell = self.bell();
        while !bell.stopping && !done(&bell) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            bell = self.0.1.wait_timeout(bell, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Two numbers: no panic can leave them half changed.
    fn bell(&self) -> MutexGuard<'_, Bell> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outbox's time, so that a test need not wait.
pub trait Pace: Send + Sync {
    /// Now, for the dates of dead letters.
    fn now(&self) -> EventTime;

    /// Waits `span`, or until `wake` says that the outbox stops.
    fn pause(&self, span: Duration, wake: &Wake);
}

/// Real time.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallPace;

impl Pace for WallPace {
    fn now(&self) -> EventTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EventTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn pause(&self, span: Duration, wake: &Wake) {
        wake.pause(span);
    }
}

/// How one sink is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkStatus {
    /// The sink's id.
    pub name: String,
    /// Notifications that wait.
    pub pending: u64,
    /// Notifications that it has.
    pub delivered: u64,
    /// Notifications that were given up.
    pub dead: u64,
    /// Why the last delivery failed; `None` when it did not.
    pub last_error: Option<String>,
    /// Nothing more is tried until a restart: the sink called its fault fatal, or its thread ended.
    pub stopped: bool,
}

/// What a sink's thread tells of itself.
#[derive(Debug, Default)]
struct Health {
    last_error: Option<String>,
    stopped: bool,
}

/// The running outbox. Dropping it stops it.
#[derive(Debug)]
pub struct Outbox {
    db: Mutex<Connection>,
    wake: Wake,
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    name: String,
    health: Arc<Mutex<Health>>,
    thread: Option<JoinHandle<()>>,
}

impl Outbox {
    /// Registers the sinks in the store at `path` and starts a thread for each. Give
    /// [`Self::wake`] to [`crate::Store::set_wake`] before the first commit.
    ///
    /// # Errors
    /// The store cannot be opened, or a thread cannot be started.
    pub fn start(path: impl AsRef<Path>, sinks: Vec<Box<dyn Sink>>) -> Result<Self, StoreError> {
        Self::start_with(path, sinks, Arc::new(WallPace))
    }

    /// Starts with a time of the caller's.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        path: impl AsRef<Path>,
        sinks: Vec<Box<dyn Sink>>,
        pace: Arc<dyn Pace>,
    ) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let mut db = file::open(path, file::Durability::Relaxed)?;
        let names: Vec<_> = sinks.iter().map(|s| s.name()).collect();
        queue::register(&mut db, &names)?;
        let rows = queue::configured(&db)?;
        let mut outbox = Self { db: Mutex::new(db), wake: Wake::default(), lanes: Vec::new() };
        for sink in sinks {
            let name = sink.name().to_owned();
            let row = rows.iter().find(|(_, n)| *n == name).map(|(row, _)| *row);
            let row = row.ok_or(rusqlite::Error::QueryReturnedNoRows).doing("finding a sink")?;
            let health = Arc::new(Mutex::new(Health::default()));
            let worker = Worker {
                db: file::open(path, file::Durability::Relaxed)?,
                row,
                name: name.clone(),
                sink,
                wake: outbox.wake.clone(),
                pace: pace.clone(),
                health: health.clone(),
                failures: 0,
            };
            let thread = std::thread::Builder::new()
                .name(format!("sink {name}"))
                .spawn(move || worker.run())
                .map_err(|source| StoreError::Thread { sink: name.clone(), source })?;
            outbox.lanes.push(Lane { name, health, thread: Some(thread) });
        }
        Ok(outbox)
    }

    /// What the store rings after a commit.
    #[must_use]
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// How each sink is doing, in the order of the configuration.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn status(&self) -> Result<Vec<SinkStatus>, StoreError> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = crate::store::sinks(&db)?;
        Ok(self.lanes.iter().map(|lane| lane.status(&counts)).collect())
    }

    /// Lets each thread finish the delivery it is in, and waits for all of them: as long as the
    /// longest time-out of a sink.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.wake.stop();
        for lane in &mut self.lanes {
            if lane.thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!(sink = lane.name, "the sink's thread had panicked");
            }
        }
    }
}

impl Lane {
    fn status(&self, counts: &[SinkCounts]) -> SinkStatus {
        let counts = counts.iter().find(|c| c.name == self.name).cloned().unwrap_or_default();
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        SinkStatus {
            name: self.name.clone(),
            pending: counts.pending,
            delivered: counts.delivered,
            dead: counts.dead,
            last_error: health.last_error.clone(),
            stopped: health.stopped || self.thread.as_ref().is_none_or(JoinHandle::is_finished),
        }
    }
}

/// The thread of one sink.
struct Worker {
    db: Connection,
    row: i64,
    name: String,
    sink: Box<dyn Sink>,
    wake: Wake,
    pace: Arc<dyn Pace>,
    health: Arc<Mutex<Health>>,
    /// In a row: what the back-off goes by, also when one notification is given up.
    failures: u32,
}

impl Worker {
    fn run(mut self) {
        while !self.wake.stopping() {
            // Read before looking: a commit in between rings, and the wait below ends at once.
            let seen = self.wake.rung();
            match self.drain() {
                Ok(true) => {
                    self.wake.wait(limits::OUTBOX_LOOK_EVERY, |bell| bell.rung != seen);
                }
                Ok(false) => {}
                Err(error) => {
                    self.trouble(&error.to_string());
                    self.back_off(None);
                }
            }
        }
    }

    /// Delivers what waits, oldest first. `true` when nothing was there.
    fn drain(&mut self) -> Result<bool, StoreError> {
        let rows = queue::waiting(&self.db, self.row, limits::OUTBOX_READ_MAX)?;
        for row in &rows {
            if self.wake.stopping() || !self.deliver(row)? {
                break;
            }
        }
        Ok(rows.is_empty())
    }

    /// Tries one. `false` where the one after it must not go yet.
    fn deliver(&mut self, row: &Waiting) -> Result<bool, StoreError> {
        let disposition = match self.sink.deliver(&row.notification) {
            Ok(()) => {
                queue::delivered(&mut self.db, self.row, row)?;
                self.failures = 0;
                self.health().last_error = None;
                return Ok(true);
            }
            Err(disposition) => disposition,
        };
        self.trouble(disposition.reason());
        let wait = match &disposition {
            Disposition::Reject(reason) => {
                self.bury(row, reason)?;
                self.failures = 0;
                return Ok(true);
            }
            Disposition::Fatal(_) => {
                self.halt();
                return Ok(false);
            }
            Disposition::RetryAfter(_, wait) => Some(*wait),
            Disposition::Retry(_) => None,
        };
        let attempts = row.attempts + 1;
        if attempts >= self.sink.attempts_max() {
            self.bury(row, &format!("gave up after {attempts}: {}", disposition.reason()))?;
        } else {
            queue::failed(&self.db, self.row, row)?;
        }
        self.back_off(wait);
        Ok(false)
    }

    fn bury(&mut self, row: &Waiting, reason: &str) -> Result<(), StoreError> {
        let reason = shortened(reason);
        tracing::warn!(sink = self.name, notification = row.notification.id, reason, "dead letter");
        queue::bury(&mut self.db, (self.row, &self.name), row, reason, self.pace.now())
    }

    /// Waits longer with every failure in a row, or as long as the receiver asked for.
    fn back_off(&mut self, asked: Option<Duration>) {
        let doubled = limits::BACK_OFF_FIRST * 2_u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let span = doubled.min(limits::BACK_OFF_MAX);
        let asked = asked.unwrap_or_default().min(limits::RETRY_AFTER_MAX);
        self.pace.pause(span.max(asked), &self.wake);
    }

    /// Leaves everything where it is until the outbox stops.
    fn halt(&mut self) {
        tracing::error!(sink = self.name, "the sink needs a change of configuration; all waits");
        self.health().stopped = true;
        while !self.wake.stopping() {
            self.wake.pause(limits::OUTBOX_LOOK_EVERY);
        }
    }

    fn trouble(&self, reason: &str) {
        let reason = shortened(reason);
        tracing::warn!(sink = self.name, reason, "not delivered");
        self.health().last_error = Some(reason.to_owned());
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most [`limits::REASON_BYTES_MAX`] of a text.
fn shortened(text: &str) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    &text[..ends.take_while(|end| *end <= limits::REASON_BYTES_MAX).last().unwrap_or(0)]
}
