//! Every limit of the way out, with its arithmetic.

use std::time::Duration;

/// Dead letters kept of each class (came in, went out): at 300 B a typical one, 30 MB.
pub const DEAD_LETTERS_MAX: u64 = 100_000;

/// Bytes of the dead letters kept of each class: 256 MiB, so that oversize deliveries of 1 MiB
/// each leave room for 256 of them and cannot fill the disk.
pub const DEAD_LETTER_BYTES_MAX: u64 = 256 << 20;

/// Bytes of one dead letter that a listing shows.
pub const DEAD_LETTER_SHOWN_BYTES_MAX: usize = 16 * 1024;

/// Notifications that wait for one sink: at 2 KB each 2 GB of disk, weeks of a sink's absence.
/// Past it the oldest becomes a dead letter, counted under its sink.
pub const OUTBOX_PENDING_MAX: u64 = 1_000_000;

/// Incidents of one page.
pub const PAGE_ITEMS_MAX: usize = 1_000;

/// Incidents that one call of `changed_since` returns; the next call goes on from there.
pub const CHANGES_MAX: usize = 1_000;

/// Detections, events, timeline rows and links shown of one incident, each; its counts tell how
/// many there are.
pub const DETAIL_ROWS_MAX: usize = 2_000;

/// Detections that one notification names; the incident's count tells how many there are.
pub const NOTIFIED_DETECTIONS_MAX: usize = 20;

/// Time a connection waits for another one's write: a commit with fsync takes 5 ms at p99.
pub const BUSY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Times a notification is tried before it becomes a dead letter: with waits of 0.5, 1, 2, …
/// 60, 60 s about 45 minutes for the first; the ones behind it wait meanwhile.
pub const ATTEMPTS_MAX: u32 = 50;

/// The first wait after a failure; it doubles with each failure of the sink in a row.
pub const BACK_OFF_FIRST: Duration = Duration::from_millis(500);

/// The longest wait of the back-off.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// The longest wait that a receiver may ask for (`Retry-After`).
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Time a delivery may take when the configuration does not say.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time that a configuration may give a delivery: a stop waits for it.
pub const DELIVERY_TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// Rows that a sink's thread reads from the outbox at once: at 2 KB each 128 KiB.
pub const OUTBOX_READ_MAX: usize = 64;

/// Time after which a sink's thread looks into the outbox although nobody woke it: only a write
/// by another process makes that necessary.
pub const OUTBOX_LOOK_EVERY: Duration = Duration::from_secs(5);

/// Bytes of an error's text that are kept.
pub const REASON_BYTES_MAX: usize = 512;

/// Bytes of a page of a new store: each page of a commit is two system calls, and two more when it is
/// moved out of the journal. An incident is 1 KB, so that little of a page stays free.
pub const STORE_PAGE_BYTES: u32 = 16_384;

/// Memory of a connection's pages, in KiB: the ends of all indexes and what the last commits brought
/// stay in it, and in the processor's cache.
pub const STORE_CACHE_KIB: i64 = 8_192;

/// The store's journal is moved into its file from this length on, beside the commits.
pub const JOURNAL_BYTES: u64 = 4 << 20;

/// Pages of the journal at which a commit moves what is left by itself, so that the next one begins the journal
/// anew: 8 MiB. While incidents come thick there is no other moment for that, and a page that is new in a file costs
/// more than one that is written over.
pub const JOURNAL_PAGES_MAX: u32 = 512;
