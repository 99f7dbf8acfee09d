//! The SMS store: incidents with their evidence, and what has yet to leave, in one SQLite file.

mod acts;
mod cited;
mod column;
mod commit;
mod counter;
mod dead;
mod document;
mod error;
mod figures;
pub(crate) mod file;
mod journal;
mod notify;
mod outputs;
pub(crate) mod queue;
mod read;
mod upgrade;
mod view;
mod writing;

pub(crate) use read::sinks;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use event::incident::Output;
use rusqlite::{Connection, TransactionBehavior};

pub use dead::DeadLetter;
pub(crate) use error::Doing;
pub use error::StoreError;
pub use figures::AlarmFigures;
pub use outputs::{Head, Outputs, Writing};
pub use read::Reader;
pub use view::{
    Counts, DeadLetterView, DetectionView, Filter, IncidentDetail, IncidentSummary, LinkedIncident,
    Opening, Page, ShelfView, SinkCounts, SuppressedView, TimelineEntry,
};

use crate::limits;
use crate::outbox::Wake;

/// How much the store keeps of what has no natural end. [`Default`] is [`crate::limits`].
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Dead letters of each class.
    pub dead_letters_max: u64,
    /// Bytes of the dead letters of each class.
    pub dead_letter_bytes_max: u64,
    /// Notifications that wait for one sink.
    pub outbox_pending_max: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            dead_letters_max: limits::DEAD_LETTERS_MAX,
            dead_letter_bytes_max: limits::DEAD_LETTER_BYTES_MAX,
            outbox_pending_max: limits::OUTBOX_PENDING_MAX,
        }
    }
}

/// The one writer of incidents.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    path: PathBuf,
    limits: StoreLimits,
    wake: Option<Wake>,
}

/// Moves what was committed from the journal into the file: a commit would wait for it otherwise.
#[derive(Debug)]
pub struct Checkpoint {
    db: Connection,
    journal: PathBuf,
}

impl Checkpoint {
    /// Does so where the journal has grown long enough.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn run(&self) -> Result<(), StoreError> {
        let long = |file: std::fs::Metadata| file.len() >= limits::JOURNAL_BYTES;
        if std::fs::metadata(&self.journal).is_ok_and(long) {
            move_journal(&self.db)?;
        }
        Ok(())
    }
}

/// Moves as much of the journal into the file as goes without waiting for anybody.
fn move_journal(db: &Connection) -> Result<(), StoreError> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        .doing("moving the store's journal into its file")
}

impl Store {
    /// Opens the store, creating it or bringing its schema up to date.
    ///
    /// # Errors
    /// The file cannot be opened, belongs to another program, or was written by a newer one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, StoreLimits::default())
    }

    /// Opens the store with limits other than the usual ones.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: StoreLimits) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let db = file::open(&path, file::Durability::Full)?;
        Ok(Self { db, path, limits, wake: None })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Rings `wake` after every commit that left something in the outbox.
    pub fn set_wake(&mut self, wake: Wake) {
        self.wake = Some(wake);
    }

    /// Says which sinks the configuration names: from the next commit on, each of them gets a row
    /// for every changed incident. Rows of a sink that is no longer named wait for its return.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn register_sinks(&mut self, names: &[&str]) -> Result<(), StoreError> {
        queue::register(&mut self.db, names)
    }

    /// Stores outputs and dead letters in one transaction, durable when it returns.
    ///
    /// Outputs at or below their site's `emitted_seq` are skipped, so the same call may be
    /// repeated after any error; within one site, outputs come in ascending order.
    ///
    /// # Errors
    /// SQLite refused (see [`StoreError::may_pass`]), or an output speaks of an incident that is
    /// not there. Nothing of the call is stored then, as far as SQLite can tell.
    pub fn commit(&mut self, outputs: &[Output], dead: &[DeadLetter]) -> Result<(), StoreError> {
        let mut all = Outputs::default();
        all.extend(outputs.iter().cloned());
        self.commit_all(&[all], dead)
    }

    /// As [`Self::commit`], of outputs as they are told.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_all(
        &mut self,
        outputs: &[Outputs],
        dead: &[DeadLetter],
    ) -> Result<(), StoreError> {
        if outputs.iter().all(Outputs::is_empty) && dead.is_empty() {
            return Ok(());
        }
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .doing("beginning a commit")?;
        let sinks = queue::configured(&tx)?;
        let changed = commit::apply(&tx, outputs, !sinks.is_empty())?;
        let notified = notify::enqueue(&tx, &changed, &sinks, &self.limits)?;
        for letter in dead {
            dead::keep(&tx, dead::Class::Delivery, letter)?;
        }
        dead::trim(&tx, dead::Class::Delivery, &self.limits)?;
        dead::trim(&tx, dead::Class::Notification, &self.limits)?;
        tx.commit().doing("committing to the store")?;
        if notified && let Some(wake) = &self.wake {
            wake.ring();
        }
        Ok(())
    }

    /// What moves the journal into the file beside the commits, on a thread of its own.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        let db = file::open(&self.path, file::Durability::Full)?;
        let mut journal = self.path.clone().into_os_string();
        journal.push("-wal");
        Ok(Checkpoint { db, journal: journal.into() })
    }

    /// Moves the journal into the file and empties it, where nobody else is at it: nothing more will be committed.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn move_journal(&self) -> Result<(), StoreError> {
        self.db.busy_timeout(Duration::ZERO).doing("moving the store's journal into its file")?;
        self.db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .doing("moving the store's journal into its file")
    }

    /// For each site, the number of its last output that stands in the store.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn emitted_seq(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        commit::emitted_seq(&self.db)
    }
}
