//! How a test of any part says what it had to leave out, and where recorded data is looked for.

#![allow(dead_code, reason = "each of the tests uses a part of it")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Whether a missing service or missing data is a failure.
fn required() -> bool {
    std::env::var_os("PORTCULLIS_REQUIRE_SERVICES").is_some_and(|v| v == "1")
}

/// Says what a test had to leave out: `./test` counts the tests that these lines name, so they go
/// past the test harness, which keeps what a test prints to itself.
pub fn skipped(what: &str) {
    assert!(!required(), "{what}, and PORTCULLIS_REQUIRE_SERVICES=1");
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {}: {what}", thread.name().unwrap_or("?"));
}

/// A folder of the recorded data, from `PORTCULLIS_DATA` or beside the project, which is at `project`.
pub fn recorded(project: &Path, name: &str) -> Option<PathBuf> {
    let beside = project.join("../shared/data");
    let dir = std::env::var_os("PORTCULLIS_DATA").map_or(beside, PathBuf::from).join(name);
    if !dir.is_dir() {
        skipped(&format!("recorded data `{name}` is not there"));
        return None;
    }
    Some(dir)
}
