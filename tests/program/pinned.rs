//! `replay --pin`: each thread on a processor of its own.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use workload::badges::Badges;

use crate::place::{portcullis, project};

/// The processors of each thread that is bound to a single one.
fn bound(child: &Child) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id()));
    let allowed = tasks.into_iter().flatten().flatten().filter_map(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Some(line.trim().to_owned())
    });
    allowed.filter(|allowed| !allowed.contains(['-', ','])).collect()
}

#[test]
fn each_thread_is_bound_to_a_processor_of_its_own() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let (mut badges, mut text) = (Badges::new(42), String::new());
    (0..60_000).for_each(|_| badges.line(&mut text));
    let file = dir.path().join("traffic.ndjson");
    std::fs::write(&file, &text).unwrap_or_else(|e| panic!("{e}"));
    for threads in [1, 2] {
        let mut command = portcullis();
        command.arg("replay").arg("--config").arg(project().join("config/examples/ten-rules"));
        command.args(["--pin", "--threads", &threads.to_string()]).arg(&file);
        let child = command.stdout(Stdio::null()).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{e}"));
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let bound = bound(&child);
            let apart = bound.iter().collect::<BTreeSet<_>>().len();
            if bound.len() == threads && apart == threads.min(processors) {
                break;
            }
            let over = child.try_wait().is_ok_and(|status| status.is_some());
            assert!(!over && Instant::now() < deadline, "{threads} threads: {bound:?}");
            std::thread::yield_now();
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
