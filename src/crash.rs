//! Points at which a test kills the program: `PORTCULLIS_CRASH=point:n` kills it with SIGKILL when
//! it passes the point for the n-th time. Without the variable a point costs one load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Crash {
    point: String,
    left: AtomicU64,
}

static CRASH: OnceLock<Option<Crash>> = OnceLock::new();

/// All points, in the order of the way: what a test may name.
pub const POINTS: [&str; 11] = [
    "log-written",
    "log-synced",
    "log-acked",
    "engine-stepped",
    "store-committing",
    "store-committed",
    "snapshot-begun",
    "snapshot-half",
    "snapshot-written",
    "rulebook-kept",
    "rulebook-taken",
];

/// Passes a point.
pub fn point(name: &str) {
    debug_assert!(POINTS.contains(&name), "unlisted crash point {name}");
    let crash = CRASH.get_or_init(|| {
        let text = std::env::var("PORTCULLIS_CRASH").ok()?;
        let (point, n) = text.split_once(':')?;
        Some(Crash { point: point.to_owned(), left: AtomicU64::new(n.parse().ok()?) })
    });
    if let Some(crash) = crash
        && crash.point == name
        && crash.left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        // SIGKILL by ourselves: nothing is flushed, no destructor runs.
        let _ = signal_hook::low_level::raise(9);
        loop {
            std::thread::park();
        }
    }
}
