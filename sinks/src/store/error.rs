//! What can go wrong with the store, and what to change.

use std::path::PathBuf;

use event::identity::TimedId;

/// Why the store refused. Every commit may be tried again: it is idempotent.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file was written by a newer program.
    #[error(
        "the store {} has schema {found}, this program knows schemas up to {known}: run the newer \
         Portcullis again, or restore the copy made before the upgrade", path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: usize,
        /// The newest that this program knows.
        known: usize,
    },
    /// A reader met a file that no store has brought up to date.
    #[error(
        "the store {} has schema {found}, this program reads schema {known}: start \
         `portcullis run` once, it brings the store up to date", path.display()
    )]
    OlderSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: usize,
        /// The one wanted.
        known: usize,
    },
    /// A SQLite file of another program.
    #[error("{} is a database of another program: give the store a path of its own", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// An output speaks of an incident that is not in the store.
    #[error(
        "output {seq} of site {site} speaks of incident {incident}, which is not in the store: the \
         store is older than the log's snapshots; restore it, or remove the snapshots so that the \
         log is read from its beginning"
    )]
    UnknownIncident {
        /// The output's site.
        site: String,
        /// The output's number.
        seq: u64,
        /// The missing incident.
        incident: TimedId,
    },
    /// A page was asked for behind something that is no incident id.
    #[error("`{cursor}` is no cursor of this list: use `next` of the page before, or none")]
    Cursor {
        /// What was given.
        cursor: String,
    },
    /// SQLite refused.
    #[error("{doing}: {source}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// SQLite's word.
        source: rusqlite::Error,
    },
    /// A thread could not be started.
    #[error("starting the thread of sink {sink}: {source}")]
    Thread {
        /// The sink.
        sink: String,
        /// The system's word.
        source: std::io::Error,
    },
}

impl StoreError {
    /// Whether waiting may help (locked, disk full, I/O error): the log holds what is not yet
    /// stored, so the caller tries the same commit again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed,
            OutOfMemory, ReadOnly, SystemIoFailure,
        };
        matches!(self, Self::Sqlite { source: rusqlite::Error::SqliteFailure(error, _), .. }
            if matches!(error.code, CannotOpen | DatabaseBusy | DatabaseLocked | DiskFull
                | FileLockingProtocolFailed | OutOfMemory | ReadOnly | SystemIoFailure))
    }
}

/// Says what was being done when SQLite refused.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for rusqlite::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Sqlite { doing, source })
    }
}
