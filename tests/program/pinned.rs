//! `replay --pin`: each thread on a processor of its own. Without it each begins there, and may go where it likes.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use workload::badges::Badges;

use crate::place::{portcullis, project};

/// The processors that each thread may use.
fn allowed(child: &Child) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id()));
    let allowed = tasks.into_iter().flatten().flatten().filter_map(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Some(line.trim().to_owned())
    });
    allowed.collect()
}

/// Those of each thread that is bound to a single one.
fn bound(child: &Child) -> Vec<String> {
    allowed(child).into_iter().filter(|allowed| !allowed.contains(['-', ','])).collect()
}

/// A replay of some tenths of a second is started with these arguments; what is looked at comes true before it ends.
fn comes_true(args: &[&str], mut looked: impl FnMut(&Child) -> bool) {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let (mut badges, mut text) = (Badges::new(42), String::new());
    (0..60_000).for_each(|_| badges.line(&mut text));
    let file = dir.path().join("traffic.ndjson");
    std::fs::write(&file, &text).unwrap_or_else(|e| panic!("{e}"));
    let mut command = portcullis();
    command.arg("replay").arg("--config").arg(project().join("config/examples/ten-rules"));
    let child = command.args(args).arg(&file).stdout(Stdio::null()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{e}"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !looked(&child) {
        let over = child.try_wait().is_ok_and(|status| status.is_some());
        assert!(!over && Instant::now() < deadline, "{args:?}: {:?}", allowed(&child));
        std::thread::yield_now();
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn each_thread_is_bound_to_a_processor_of_its_own() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, 2] {
        comes_true(&["--pin", "--threads", &threads.to_string()], |child| {
            let bound = bound(child);
            let apart = bound.iter().collect::<BTreeSet<_>>().len();
            bound.len() == threads && apart == threads.min(processors)
        });
    }
}

#[test]
fn a_thread_that_nobody_pinned_is_bound_to_none() {
    if std::thread::available_parallelism().map_or(1, usize::from) == 1 {
        return;
    }
    let mut in_a_row = 0;
    comes_true(&["--threads", "2"], |child| {
        let free = allowed(child).len() == 2 && bound(child).is_empty();
        in_a_row = if free { in_a_row + 1 } else { 0 };
        in_a_row == 20
    });
}
