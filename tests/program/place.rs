//! Where a test finds the program, the configurations and the recorded data.

use std::path::{Path, PathBuf};
use std::process::Command;

pub use crate::skipped::skipped;

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

/// A folder of the recorded data.
pub fn data(name: &str) -> Option<PathBuf> {
    crate::skipped::recorded(project(), name)
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
