//! Where a test finds the program, the configurations and the recorded data.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program.
pub fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.current_dir(project());
    command
}

/// Whether a missing service or missing data is a failure.
pub fn required() -> bool {
    std::env::var_os("PORTCULLIS_REQUIRE_SERVICES").is_some_and(|v| v == "1")
}

/// Says what a test had to leave out: `./test` counts the tests that these lines name, so they go
/// past the test harness, which keeps what a test prints to itself.
pub fn skipped(what: &str) {
    assert!(!required(), "{what}, and PORTCULLIS_REQUIRE_SERVICES=1");
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {}: {what}", thread.name().unwrap_or("?"));
}

/// A folder of the recorded data, from `PORTCULLIS_DATA` or beside the project.
pub fn data(name: &str) -> Option<PathBuf> {
    let beside = project().join("../shared/data");
    let root = std::env::var_os("PORTCULLIS_DATA").map_or(beside, PathBuf::from);
    let dir = root.join(name);
    if !dir.is_dir() {
        skipped(&format!("recorded data `{name}` is not there"));
        return None;
    }
    Some(dir)
}

/// The benchmark workload's folder.
pub fn bench() -> Option<PathBuf> {
    let dir = project().join("../shared/bench");
    if !dir.join("oracle.py").is_file() {
        skipped("the benchmark workload is not there");
        return None;
    }
    Some(dir)
}
