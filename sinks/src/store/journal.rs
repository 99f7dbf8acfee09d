//! The store's journal, written in long pieces.
//!
//! SQLite writes each page of a commit with two calls, a header and the page, neither of which begins
//! where a page of the system's memory does. Here they gather, as each follows the one before, and go
//! into the file together, at the latest before it is synced. Nobody misses what has gathered: others
//! look no further than the journal's index says, and a commit is entered there behind its sync
//! (`synchronous` is `FULL`); and nothing but a commit writes into the journal (`cache_spill` is off), so
//! that nothing is left gathered where one has ended, be it with an error. What is lost of it where
//! the program ends was never committed.

#![allow(unsafe_code, reason = "SQLite hands over its files as C does")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use rusqlite::ffi::{self, SQLITE_OK, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

/// What SQLite knows these files by.
const NAME: &CStr = c"portcullis";
/// Bytes that go into the file at once: as many as SQLite's own code hands over in one call.
const PIECE: usize = 0x1_ffff;

/// The system's files as SQLite has them, but for journals.
#[repr(C)]
struct Files {
    /// SQLite's view: the first, so that a pointer to it is one to all.
    vfs: sqlite3_vfs,
    base: *mut sqlite3_vfs,
}

/// A journal that is open.
struct Journal {
    ours: sqlite3_io_methods,
    base: *const sqlite3_io_methods,
    /// Where in the file the first of the bytes belongs that have gathered.
    from: i64,
    gathered: Vec<u8>,
}

/// Where a pointer to its [`Journal`] stands, behind what SQLite's own code keeps of a file; `None` where
/// there is no such code.
fn behind() -> Option<usize> {
    static BEHIND: OnceLock<Option<usize>> = OnceLock::new();
    // SAFETY: what SQLite has of its own stays registered as long as the program runs, and so does
    // ours, which nobody frees and nobody changes once SQLite sees it.
    let register = || unsafe {
        let base = ffi::sqlite3_vfs_find(std::ptr::null());
        let mut vfs = *base.as_ref()?;
        let behind = (vfs.szOsFile as usize).next_multiple_of(align_of::<*mut Journal>());
        vfs.szOsFile = (behind + size_of::<*mut Journal>()) as c_int;
        (vfs.pNext, vfs.zName) = (std::ptr::null_mut(), NAME.as_ptr());
        vfs.xOpen = Some(open);
        let files = Box::leak(Box::new(Files { vfs, base }));
        (ffi::sqlite3_vfs_register(&raw mut files.vfs, 0) == SQLITE_OK).then_some(behind)
    };
    *BEHIND.get_or_init(register)
}

/// The name by which a connection asks for it, all of whose commits are synced.
pub(super) fn name() -> Option<&'static CStr> {
    behind().map(|_| NAME)
}

/// Puts whatever SQLite opens into its hands, a journal into ours.
unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    path: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls what was registered above with what was registered above, and with memory
    // for `szOsFile` bytes; what its own code has opened there has methods.
    unsafe {
        let base = (*vfs.cast::<Files>()).base;
        let Some(open) = (*base).xOpen else { return ffi::SQLITE_CANTOPEN };
        let opened = open(base, path, file, flags, out);
        if opened == SQLITE_OK && flags & ffi::SQLITE_OPEN_WAL != 0 && is_whole(file) {
            let base = (*file).pMethods;
            let ours = sqlite3_io_methods {
                xClose: Some(close),
                xRead: Some(read),
                xWrite: Some(write),
                xTruncate: Some(truncate),
                xSync: Some(sync),
                xFileSize: Some(file_size),
                ..*base
            };
            let journal = Journal { ours, base, from: 0, gathered: Vec::with_capacity(PIECE) };
            let journal = Box::into_raw(Box::new(journal));
            *place(file) = journal;
            (*file).pMethods = &raw const (*journal).ours;
        }
        opened
    }
}

/// Whether a file that was just opened is synced as a whole: where a write may harm what stands beside it,
/// SQLite pads a commit, and writes a part of it behind the sync.
unsafe fn is_whole(file: *mut sqlite3_file) -> bool {
    // SAFETY: it has methods.
    let device = unsafe { (*(*file).pMethods).xDeviceCharacteristics.map(|device| device(file)) };
    device.is_some_and(|device| device & ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE != 0)
}

/// Where the pointer to a file's [`Journal`] stands.
unsafe fn place(file: *mut sqlite3_file) -> *mut *mut Journal {
    // SAFETY: what `open` is given is that long.
    unsafe { file.byte_add(behind().unwrap_or_default()).cast() }
}

/// The journal that a file is.
unsafe fn journal<'j>(file: *mut sqlite3_file) -> &'j mut Journal {
    // SAFETY: these methods are called of files only that `open` has made a journal, until it is closed, and
    // of one file by one thread at a time.
    unsafe { &mut **place(file) }
}

/// Calls SQLite's own method of a file.
macro_rules! base {
    ($file:ident, $method:ident $(, $argument:expr)*) => {{
        match (*journal($file).base).$method {
            Some(method) => method($file $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// Writes what has gathered; it is gone, too, where that fails.
unsafe fn flush(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as SQLite calls it.
    unsafe {
        let mut gathered = std::mem::take(&mut journal(file).gathered);
        let (bytes, len, from) = (gathered.as_ptr().cast(), gathered.len(), journal(file).from);
        let written =
            if len == 0 { SQLITE_OK } else { base!(file, xWrite, bytes, len as c_int, from) };
        gathered.clear();
        journal(file).gathered = gathered;
        written
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    len: c_int,
    at: i64,
) -> c_int {
    // SAFETY: SQLite lends as many bytes as it says.
    unsafe {
        let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), len as usize);
        let Journal { from, gathered, .. } = journal(file);
        let follows = at == *from + gathered.len() as i64;
        if !follows || gathered.len() + bytes.len() > PIECE {
            let written = flush(file);
            if written != SQLITE_OK {
                return written;
            }
            journal(file).from = at;
        }
        journal(file).gathered.extend_from_slice(bytes);
    }
    SQLITE_OK
}

/// The other methods: what has gathered goes into the file before.
macro_rules! flushed {
    ($($name:ident = $method:ident ($($argument:ident: $type:ty),*);)*) => {
        $(unsafe extern "C" fn $name(file: *mut sqlite3_file, $($argument: $type),*) -> c_int {
            // SAFETY: as SQLite calls it, so it is called.
            unsafe {
                match flush(file) {
                    SQLITE_OK => base!(file, $method, $($argument),*),
                    failed => failed,
                }
            }
        })*
    };
}

flushed! {
    read = xRead(into: *mut c_void, len: c_int, at: i64);
    truncate = xTruncate(len: i64);
    sync = xSync(flags: c_int);
    file_size = xFileSize(len: *mut i64);
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: nothing is called of a file behind its end, so that the box goes once.
    unsafe {
        let flushed = flush(file);
        let journal = *place(file);
        let closed = (*(*journal).base).xClose.map_or(ffi::SQLITE_IOERR, |close| close(file));
        drop(Box::from_raw(journal));
        if flushed == SQLITE_OK { closed } else { flushed }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::file::{self, Durability};

    fn rows(db: &Connection) -> (i64, i64) {
        db.query_row("SELECT count(*), coalesce(sum(length(body)), 0) FROM page", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .expect("rows")
    }

    /// Two who write, of whom one gathers, and one who reads: each sees all that was committed, and
    /// nothing that was not.
    #[test]
    fn what_is_committed_is_seen_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("incidents.db");
        let full = file::open(&path, Durability::Full).expect("a store");
        let relaxed = file::open(&path, Durability::Relaxed).expect("the same");
        let reader = Connection::open(&path).expect("the same");
        full.execute_batch("CREATE TABLE page (body BLOB)").expect("a table");
        let add = |db: &Connection, rows: i64, bytes: i64| {
            let all =
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 INSERT INTO page SELECT randomblob(?2) FROM n";
            db.execute(all, [rows, bytes]).expect("rows added");
        };
        let (mut count, mut bytes) = (0, 0);
        // Short, longer than a piece, and longer than the cache.
        for (some, each) in [(1, 10), (100, 9_000), (3, 700_000), (2_000, 9_000), (1, 1)] {
            for db in [&full, &relaxed] {
                db.execute_batch("BEGIN IMMEDIATE").expect("begun");
                add(db, some + 7, each);
                db.execute_batch("ROLLBACK").expect("rolled back");
                for other in [&relaxed, &full] {
                    add(other, some, each);
                    (count, bytes) = (count + some, bytes + some * each);
                    for db in [&full, &relaxed, &reader] {
                        assert_eq!(rows(db), (count, bytes));
                    }
                }
            }
            let whole = "PRAGMA integrity_check";
            let whole: String = reader.query_row(whole, [], |row| row.get(0)).expect("a word");
            assert_eq!(whole, "ok");
            full.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("moved");
        }
        drop((full, relaxed, reader));
        let again = Connection::open(&path).expect("the same");
        assert_eq!(rows(&again), (count, bytes));
    }
}
