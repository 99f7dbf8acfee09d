//! Standard input of the running program: into log and store, as `replay` would find it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use workload::badges::Badges;

use crate::kill::incidents;
use crate::place::portcullis;

/// Lines of the bench's traffic, and the end of its time.
fn traffic(events: u64) -> String {
    let mut text = String::new();
    let mut badges = Badges::new(42);
    (0..events).for_each(|_| badges.line(&mut text));
    text + "{\"id\":0,\"ts\":1800000000000,\"src\":\"clock\",\"site\":\"S0\"}\n"
}

/// Runs the program on standard input until its end; what stands in its store.
fn run(data: &Path, input: &str) -> BTreeMap<String, (String, u64, u64)> {
    let mut command = portcullis();
    command.args(["run", "--listen", "127.0.0.1:0", "--until-end"]);
    command.args(["--config", "config/examples/ten-rules", "--data"]).arg(data);
    command.env("PORTCULLIS_LOG", "warn").stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{e}"));
    let mut stdin = child.stdin.take().unwrap_or_else(|| panic!("no stdin"));
    stdin.write_all(input.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    drop(stdin);
    assert!(child.wait().is_ok_and(|status| status.success()));
    let store = sinks::Reader::open(data.join("incidents.db")).unwrap_or_else(|e| panic!("{e}"));
    incidents(&store)
}

#[test]
fn standard_input_brings_what_replay_finds() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let text = traffic(30_000);
    let (file, found) = (dir.path().join("events.ndjson"), dir.path().join("found.ndjson"));
    std::fs::write(&file, &text).unwrap_or_else(|e| panic!("{e}"));
    let mut command = portcullis();
    command.args(["replay", "--config", "config/examples/ten-rules", "--incidents"]);
    let status = command.arg(&found).arg(&file).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|s| s.success()));
    let replayed = std::fs::read_to_string(&found).unwrap_or_else(|e| panic!("{e}"));
    let ids = replayed.lines().map(|line| {
        let incident: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}"));
        incident["id"].as_str().unwrap_or_default().to_owned()
    });
    let replayed: BTreeSet<String> = ids.collect();
    assert!(replayed.len() > 1_000, "{}", replayed.len());
    let ran = run(&dir.path().join("data"), &text);
    assert_eq!(ran.into_keys().collect::<BTreeSet<_>>(), replayed);
}
