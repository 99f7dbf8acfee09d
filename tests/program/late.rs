//! What comes later than the slack, in the whole program: a replay and a program that is stopped
//! in between tell the same as if it had come in order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kill::incidents;
use crate::place::{portcullis, project};
use crate::server::Server;
use crate::traffic::{ADVANCE, Random, events};

const EVENTS: u64 = 900;

fn configuration(dir: &Path, source: &str) -> PathBuf {
    let rules = project().join("config/examples/ten-rules/rules/ten.yaml");
    let text = format!(
        "time: history\n\
         sources: [{{id: in, {source}, mappings: [canonical], slack: 2s}}]\n\
         late: {{live: 30s, recorded: 1h, settle: 5s}}\n\
         rules: ['{}']\n",
        rules.display()
    );
    std::fs::create_dir_all(dir).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(dir.join("portcullis.yaml"), text).unwrap_or_else(|e| panic!("{e}"));
    dir.to_owned()
}

/// One in eight comes up to a minute late.
fn delayed(lines: &[String]) -> Vec<String> {
    let mut random = Random(11);
    let mut arrivals: Vec<(u64, &String)> = (0_u64..)
        .zip(lines)
        .map(|(place, line)| {
            let late = if random.below(8) == 0 { random.below(90) } else { 0 };
            (10 * place + 10 * late, line)
        })
        .collect();
    arrivals.sort();
    arrivals.into_iter().map(|(_, line)| line.clone()).chain([ADVANCE.to_owned()]).collect()
}

/// Detections, incidents and the summary of a replay.
fn replay(dir: &Path, lines: &[String], further: &[&str]) -> (Vec<Value>, Vec<Value>, Value) {
    let config = configuration(&dir.join("replayed"), "type: file, files: ['*.ndjson']");
    let (file, found) = (dir.join("events.ndjson"), dir.join("found.ndjson"));
    let told = dir.join("incidents.ndjson");
    std::fs::write(&file, lines.join("\n") + "\n").unwrap_or_else(|e| panic!("{e}"));
    let mut command = portcullis();
    command.args(["replay", "--json", "--config"]).arg(config).args(further);
    command.arg("--detections").arg(&found).arg("--incidents").arg(&told).arg(&file);
    let output = command.output().unwrap_or_else(|e| panic!("{e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{e}"));
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>()
    };
    let summary = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}"));
    (read(&found), read(&told), summary)
}

#[test]
fn a_replay_tells_late_what_it_would_have_told_in_order() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let lines = events(7, EVENTS);
    // What counts since ever is not judged again.
    let judged = |found: &Value| found["rule"] != "R9";
    let ids = |found: &[Value]| -> BTreeSet<String> {
        found.iter().filter(|f| judged(f)).map(|f| f["id"].to_string()).collect()
    };
    let (ordered, ..) = replay(dir.path(), &lines, &[]);
    assert!(ordered.iter().all(|found| found["late"].is_null()));
    let arrivals = delayed(&lines);
    let (found, incidents, summary) = replay(dir.path(), &arrivals, &[]);
    let missed: Vec<_> = ids(&ordered).difference(&ids(&found)).cloned().collect();
    assert!(missed.is_empty(), "{missed:?} of {}", ordered.len());
    for tier in ["live", "recorded"] {
        let told = found.iter().filter(|found| found["late"] == tier).count();
        assert!(told > 10, "{told} are {tier}");
        assert_eq!(summary["late"][tier], told);
    }
    assert_eq!(summary["late"]["incomplete"], 0);
    assert!(summary["books"]["in"]["late"].as_u64() > Some(50), "{}", summary["books"]);
    for further in [&["--block-bytes", "300"][..], &["--shards", "3"], &["--threads", "2"]] {
        let (again, others, _) = replay(dir.path(), &arrivals, further);
        assert!(again == found && others == incidents, "{further:?}");
    }
}

#[test]
fn a_program_that_was_stopped_tells_the_same() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let arrivals = delayed(&events(7, EVENTS));
    let (_, told, _) = replay(dir.path(), &arrivals, &[]);
    let expected: BTreeSet<(String, usize, usize)> = told
        .iter()
        .map(|incident| {
            let count = |name: &str| incident[name].as_array().map_or(0, Vec::len);
            let id = incident["id"].as_str().unwrap_or_default().to_owned();
            (id, count("detections"), count("events"))
        })
        .collect();
    let config = configuration(&dir.path().join("live"), "type: http");
    let data = dir.path().join("data");
    let further = ["--snapshot-bytes", "9000"];
    for (number, part) in arrivals.chunks(200).enumerate() {
        // Every other time it is killed in the middle of a step.
        let crash = (number % 2 == 1).then_some("engine-stepped:2");
        let mut server = Server::start(&config, &data, &further, crash);
        let mut posted = 0;
        for lines in part.chunks(20) {
            while !server.post(&(lines.join("\n") + "\n")) {
                server.join();
                server = Server::start(&config, &data, &further, None);
            }
            posted += lines.len();
        }
        assert_eq!(posted, part.len());
        server.kill();
    }
    let server = Server::start(&config, &data, &further, None);
    let wanted = arrivals.len() as u64;
    let done = |books: &Value| {
        let n = |name: &str| books["books"]["in"][name].as_u64().unwrap_or_default();
        n("accepted") + n("late") == wanted && n("in_flight") == 0 && n("waiting") == 0
    };
    assert!(server.wait_for("/api/v1/books", done).is_some());
    assert!(server.metric("portcullis_late_repairs") >= 1.0);
    assert!(server.terminate());
    let store = sinks::Reader::open(data.join("incidents.db")).unwrap_or_else(|e| panic!("{e}"));
    let found = incidents(&store);
    let found: BTreeSet<_> =
        found.into_iter().map(|(id, (_, d, e))| (id, d as usize, e as usize)).collect();
    assert_eq!(found, expected);
}
