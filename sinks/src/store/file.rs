//! The database file: opening it, and bringing its schema up to date.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::{Doing, StoreError};
use super::{journal, upgrade};
use crate::limits;

/// Those that a file lacks in one transaction; `user_version` counts them. Never edit one that was released.
const MIGRATIONS: [&str; 8] = [
    include_str!("schema/0001_incidents.sql"),
    include_str!("schema/0002_policies.sql"),
    include_str!("schema/0003_late.sql"),
    include_str!("schema/0004_acts.sql"),
    include_str!("schema/0005_concluded.sql"),
    include_str!("schema/0006_fewer_rows.sql"),
    include_str!("schema/0007_documents.sql"),
    include_str!("schema/0008_events_alike.sql"),
];
/// Behind this one rows are moved.
const DOCUMENTS: usize = 7;

/// "PORT": tells our files from those of other programs.
const APPLICATION_ID: i64 = 0x504f_5254;

/// How far a commit must be when it returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// On the disk (INV-ONCE: what the log may forget stands here).
    Full,
    /// Handed over to the system: what a power cut takes is delivered again.
    Relaxed,
}

/// Opens for writing, creating or upgrading the file.
pub(crate) fn open(path: &Path, durability: Durability) -> Result<Connection, StoreError> {
    let pieces = journal::name().filter(|_| durability == Durability::Full);
    let mut db = match pieces {
        Some(name) => Connection::open_with_flags_and_vfs(path, OpenFlags::default(), name),
        None => Connection::open(path),
    }
    .doing("opening the store")?;
    db.busy_timeout(limits::BUSY_WAIT_MAX).doing("opening the store")?;
    db.set_prepared_statement_cache_capacity(64);
    // Before the first write: a newer or foreign file is left untouched, journal mode included.
    check(&db, path)?;
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Relaxed => "NORMAL",
    };
    // A file that has pages already keeps theirs.
    db.pragma_update(None, "page_size", limits::STORE_PAGE_BYTES)
        .doing("setting the store's pages")?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .doing("setting the store's journal")?;
    db.pragma_update(None, "synchronous", synchronous).doing("setting the store's fsync")?;
    // Pages go into the journal with a commit alone: it may be written in long pieces.
    db.pragma_update(None, "cache_spill", false).doing("setting the store's journal")?;
    // A migration may make a table anew. Afterwards, too: each row that refers to another is made
    // with it in one transaction, and looking for it again was a tenth of a commit.
    db.pragma_update(None, "foreign_keys", false).doing("setting the store's foreign keys")?;
    db.pragma_update(None, "cache_size", -limits::STORE_CACHE_KIB)
        .doing("setting the store's cache")?;
    db.pragma_update(None, "wal_autocheckpoint", limits::JOURNAL_PAGES_MAX)
        .doing("setting the store's journal")?;
    migrate(&mut db, path)?;
    Ok(db)
}

/// Opens an up-to-date file for reading only.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).doing("opening the store for reading")?;
    db.busy_timeout(limits::BUSY_WAIT_MAX).doing("opening the store for reading")?;
    db.set_prepared_statement_cache_capacity(64);
    let found = check(&db, path)?;
    if found < MIGRATIONS.len() {
        let path = path.to_owned();
        return Err(StoreError::OlderSchema { path, found, known: MIGRATIONS.len() });
    }
    Ok(db)
}

/// The file's schema; refuses files that are newer than this program, or not ours.
fn check(db: &Connection, path: &Path) -> Result<usize, StoreError> {
    let number = |pragma| {
        db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .doing("reading the store's schema")
    };
    let (version, application) = (number("user_version")?, number("application_id")?);
    let tables: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .doing("reading the store's schema")?;
    let ours = application == APPLICATION_ID || application == 0 && version == 0 && tables == 0;
    if !ours {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let found = usize::try_from(version).unwrap_or(usize::MAX);
    if found > MIGRATIONS.len() {
        let path = path.to_owned();
        return Err(StoreError::NewerSchema { path, found, known: MIGRATIONS.len() });
    }
    Ok(found)
}

fn migrate(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    if check(db, path)? == MIGRATIONS.len() {
        return Ok(());
    }
    // As a whole or not at all; and a new file is synced once, not with each of them.
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .doing("upgrading the store")?;
    // Another opener may have been here first, while this one waited for the lock.
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(check(&tx, path)?) {
        tx.execute_batch(migration).doing("upgrading the store")?;
        if number + 1 == DOCUMENTS {
            upgrade::into_documents(&tx).doing("upgrading the store")?;
        }
    }
    tx.pragma_update(None, "user_version", MIGRATIONS.len() as i64).doing("upgrading the store")?;
    tx.pragma_update(None, "application_id", APPLICATION_ID).doing("upgrading the store")?;
    tx.commit().doing("upgrading the store")
}
