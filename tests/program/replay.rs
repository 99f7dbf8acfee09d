//! `replay` against recorded data and the oracle of the benchmark workload.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::place::{bench, data, portcullis, project};

/// What a replay printed and wrote.
struct Replayed {
    summary: Value,
    detections: Vec<Value>,
    incidents: Vec<Value>,
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}"))).collect()
}

fn replay(config: &Path, files: &[PathBuf], further: &[&str]) -> Replayed {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let (detections, incidents) = (dir.path().join("d.ndjson"), dir.path().join("i.ndjson"));
    let mut command = portcullis();
    command.arg("replay").arg("--config").arg(config).arg("--json").args(further);
    command.arg("--detections").arg(&detections).arg("--incidents").arg(&incidents).args(files);
    let output = command.output().unwrap_or_else(|e| panic!("{e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}"));
    let replayed =
        Replayed { summary, detections: lines(&detections), incidents: lines(&incidents) };
    replayed.check_books();
    replayed
}

impl Replayed {
    /// INV-BOOKS: both currencies add up, for every source.
    fn check_books(&self) {
        let books = self.summary["books"].as_object().unwrap_or_else(|| panic!("no books"));
        assert!(!books.is_empty());
        for (source, books) in books {
            let n = |name: &str| books[name].as_u64().unwrap_or_else(|| panic!("{source} {name}"));
            let rejected = books["rejected"].as_object().unwrap_or_else(|| panic!("rejected"));
            let rejected: u64 = rejected.values().filter_map(Value::as_u64).sum();
            let read = n("decoded") + n("ignored") + rejected + n("in_flight");
            assert_eq!(n("deliveries"), read, "deliveries of {source}");
            let judged = ["accepted", "duplicate", "late", "quarantined", "deferred", "waiting"];
            let judged: u64 = judged.iter().map(|name| n(name)).sum();
            assert_eq!(n("events"), judged, "events of {source}");
        }
    }

    fn figure(&self, source: &str, name: &str) -> u64 {
        self.summary["books"][source][name].as_u64().unwrap_or_else(|| panic!("{source} {name}"))
    }

    fn detections_of(&self, rule: &str) -> Vec<&Value> {
        self.detections.iter().filter(|d| d["rule"] == rule).collect()
    }
}

fn example(name: &str) -> PathBuf {
    project().join("config/examples").join(name)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

#[test]
fn many_rules_find_what_each_finds_by_itself() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let mut badges = workload::badges::Badges::new(42);
    let mut traffic = String::new();
    (0..8_000).for_each(|_| badges.line(&mut traffic));
    let file = dir.path().join("traffic.ndjson");
    std::fs::write(&file, &traffic).unwrap_or_else(|e| panic!("{e}"));
    for candidates in [2, 16] {
        let rulebook = workload::written::Rulebook::new(400, candidates);
        let config = dir.path().join(candidates.to_string());
        rulebook.write(&config).unwrap_or_else(|e| panic!("{e}"));
        let replayed = replay(&config, std::slice::from_ref(&file), &[]);
        let told = |detection: &Value| {
            let events = detection["events"].as_array().into_iter().flatten();
            let ids = events.filter_map(|event| text(event).rsplit('/').next()?.parse().ok());
            rulebook.told(text(&detection["rule"]), &ids.collect::<Vec<u64>>())
        };
        let mut found: Vec<String> = replayed.detections.iter().map(told).collect();
        found.sort();
        let expected = rulebook.expected(&traffic).unwrap_or_else(|e| panic!("{e}"));
        assert!(expected.len() > 20, "only {} detections", expected.len());
        assert_eq!(found, expected, "{candidates} rules an event");
    }
}

/// A million badges have 200 MB (docs/PERFORMANCE.md), and so many of them their share; beside them are the
/// identities of ten minutes, here all of them.
#[test]
fn the_state_of_a_badge_has_its_bound() {
    let (badges, events) = (100_000, 200_000);
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let mut traffic = workload::badges::Badges::of(42, badges);
    let mut text = String::new();
    (0..events).for_each(|_| traffic.line(&mut text));
    let file = dir.path().join("traffic.ndjson");
    std::fs::write(&file, &text).unwrap_or_else(|e| panic!("{e}"));
    let summary = replay(&example("ten-rules"), &[file], &[]).summary;
    let state = &summary["state"];
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{summary}"));
    let (bytes, keys) = (number(&summary["state_bytes"]), number(&state["keys"]));
    assert!(keys > badges && number(&state["runs"]) > badges / 2, "{state}");
    assert!(bytes <= badges * 200 + events * 40, "{bytes} bytes of state: {state}");
    assert_eq!(number(&state["bytes_by_keys"]), bytes / keys, "runs and all");
    for own in ["bytes_per_key", "bytes_per_run", "bytes_per_event"] {
        assert!((1..200).contains(&number(&state[own])), "{own}: {state}");
    }
}

#[test]
fn badge_simulator_gives_the_travels_and_the_attempts() {
    let Some(data) = data("aws-badge-sim") else { return };
    let events = data.join("events.jsonl.gz");
    let replayed = replay(&example("aws-badge-sim"), &[events], &[]);
    assert_eq!(replayed.detections_of("impossible-travel").len(), 4);
    assert_eq!(replayed.detections_of("unauthorised-attempt").len(), 125);
    assert_eq!(replayed.incidents.len(), 129);
    assert_eq!(replayed.figure("badges", "accepted"), 62_976);
    // Each attempt, and none of the other denials, is on a room its user has no right to.
    let rooms = rights(&data.join("user_answer_key.jsonl.gz"));
    for (denied, attempt) in denials(&data.join("events.jsonl.gz"), &rooms) {
        let at = format!("badge/{}/", text(&denied["room_id"]));
        let found = replayed
            .detections_of("unauthorised-attempt")
            .into_iter()
            .any(|d| text(&d["events"][0]).starts_with(&at) && d["at"] == denied["timestamp"]);
        assert_eq!(found, attempt, "{denied}");
    }
}

fn gunzip(path: &Path) -> String {
    let output = Command::new("gzip").arg("-dc").arg(path).output();
    String::from_utf8(output.unwrap_or_else(|e| panic!("{e}")).stdout)
        .unwrap_or_else(|e| panic!("{e}"))
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn rights(path: &Path) -> BTreeMap<String, Vec<Value>> {
    let users = gunzip(path);
    let users = users.lines().map(parse);
    let rights = users.map(|u| {
        let rooms = u["authorized_rooms"].as_array().cloned().unwrap_or_default();
        (text(&u["user_id"]).to_owned(), rooms)
    });
    rights.collect()
}

fn denials(path: &Path, rooms: &BTreeMap<String, Vec<Value>>) -> Vec<(Value, bool)> {
    let events = gunzip(path);
    let denied = events.lines().map(parse).filter(|e| e["success"] == false);
    let judged = denied.map(|e| {
        let allowed = rooms.get(text(&e["user_id"])).is_some_and(|r| r.contains(&e["room_id"]));
        (e, !allowed)
    });
    let judged: Vec<_> = judged.collect();
    assert_eq!(judged.len(), 262);
    judged
}

#[test]
fn superseded_cards_of_the_office_building() {
    let Some(data) = data("vast2016-mc2") else { return };
    let files = ["proxOut-MC2.csv.gz", "proxMobileOut-MC2.csv.gz"].map(|f| data.join(f));
    let replayed = replay(&example("vast2016-mc2"), &files, &[]);
    let found = replayed.detections_of("superseded-card");
    let found: Vec<_> = found.iter().map(|d| (text(&d["key"]), &text(&d["at"])[..10])).collect();
    let days = ["2016-06-02", "2016-06-03", "2016-06-08", "2016-06-10"];
    assert_eq!(found, days.map(|day| ("pyoung", day)));
    assert_eq!(replayed.figure("fixed", "duplicate"), 1);
    assert_eq!(replayed.figure("robot", "duplicate"), 9_042);
    assert_eq!(replayed.figure("robot", "late"), 0);
}

#[test]
fn a_camera_stream_keeps_its_books() {
    let Some(data) = data("meva") else { return };
    let replayed = replay(&example("meva"), &[data.join("meva_activities_flat.csv.gz")], &[]);
    assert_eq!(replayed.figure("cameras", "deliveries"), 66_222);
    assert_eq!(replayed.figure("cameras", "accepted"), 66_221);
    assert_eq!(replayed.figure("cameras", "ignored"), 1, "the header");
    assert_eq!(replayed.detections_of("abandoned-package").len(), 1);
}

/// The alerts of the oracle: rule and the ids of the events.
fn oracle(dir: &Path, file: &Path) -> Vec<String> {
    let output = Command::new("python3").arg(dir.join("oracle.py")).arg("--ids").arg(file).output();
    let output = output.unwrap_or_else(|e| panic!("python3: {e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut alerts: Vec<_> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    alerts.sort();
    alerts
}

/// Our detections in the oracle's words.
fn alerts(replayed: &Replayed) -> Vec<String> {
    let words = replayed.detections.iter().map(|d| {
        let events = d["events"].as_array().unwrap_or_else(|| panic!("no events: {d}"));
        let ids = events.iter().map(|e| text(e).rsplit('/').next().unwrap_or_default());
        let ids: Vec<_> = ids.collect();
        // For these the oracle names the trigger alone.
        let trigger_alone = ["R2", "R3", "R8", "R9"].contains(&text(&d["rule"]));
        let shown = if trigger_alone { &ids[ids.len() - 1..] } else { &ids[..] };
        format!("{} {}", text(&d["rule"]), shown.join(" "))
    });
    let mut words: Vec<_> = words.collect();
    words.sort();
    words
}

/// The lines of a file as they arrive when each is delayed by up to 1.9 s, by a seed.
fn shuffled(from: &Path, to: &Path, seed: u64) {
    let text = std::fs::read_to_string(from).unwrap_or_else(|e| panic!("{e}"));
    let mut state = seed;
    let mut arrivals: Vec<_> = text
        .lines()
        .map(|line| {
            // splitmix64
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            let delay = (z ^ z >> 31) % 1_900;
            let at = line.split("\"ts\":").nth(1).and_then(|t| t.split(',').next());
            let at: u64 = at.and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("{line}"));
            (at + delay, line)
        })
        .collect();
    arrivals.sort_by_key(|(at, _)| *at);
    assert!(arrivals.windows(2).any(|w| w[0].1 > w[1].1), "nothing was shuffled");
    let text: String = arrivals.iter().flat_map(|(_, line)| [*line, "\n"]).collect();
    std::fs::write(to, text).unwrap_or_else(|e| panic!("{e}"));
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var_os(name).and_then(|n| n.to_str()?.parse().ok())
}

/// 300,000 events of seed 42; `PORTCULLIS_EVENTS` and `PORTCULLIS_SEED` say otherwise.
#[test]
fn ten_rules_agree_with_the_oracle_in_order_and_shuffled() {
    let Some(bench) = bench() else { return };
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let file = dir.path().join("first.ndjson");
    let events = number("PORTCULLIS_EVENTS").unwrap_or(300_000);
    let seed = number("PORTCULLIS_SEED").unwrap_or(42);
    let mut made = Command::new("python3");
    made.arg(bench.join("gen.py")).arg(events.to_string()).arg(&file).arg(seed.to_string());
    assert!(made.status().unwrap_or_else(|e| panic!("python3: {e}")).success());
    let wanted = oracle(&bench, &file);
    match (events, seed) {
        (300_000, 42) => assert_eq!(wanted.len(), 15_891),
        (2_000_000, 42) => assert_eq!(wanted.len(), 102_190),
        _ => assert!(wanted.len() as u64 > events / 40, "{} alerts", wanted.len()),
    }

    let config = example("ten-rules");
    let in_order = replay(&config, std::slice::from_ref(&file), &[]);
    // Lines that differ are too many to print.
    assert!(alerts(&in_order) == wanted, "{events} events of seed {seed} in file order");

    let (other, order) = (dir.path().join("shuffled.ndjson"), 20_261_124);
    println!("seed {seed}, shuffled by {order}");
    shuffled(&file, &other, order);
    let disordered = replay(&config, &[other], &["--shards", "3", "--block-bytes", "7777"]);
    assert!(alerts(&disordered) == wanted, "{events} events of seed {seed} shuffled");
    assert_eq!(disordered.summary["hash"], in_order.summary["hash"]);
    assert_eq!(disordered.figure("workload", "late"), 0);
    for (threads, block) in [("2", "262144"), ("3", "7777")] {
        let further = ["--threads", threads, "--pin", "--block-bytes", block];
        let together = replay(&config, std::slice::from_ref(&file), &further);
        assert!(together.detections == in_order.detections, "{threads} threads");
        assert!(together.incidents == in_order.incidents, "{threads} threads");
        for what in ["books", "rules", "facts", "hash", "incidents"] {
            assert_eq!(together.summary[what], in_order.summary[what], "{what}, {threads} threads");
        }
    }
    println!("{} alerts of {events} events agree", wanted.len());
}

#[test]
fn a_reader_that_goes_away_is_no_defect() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let file = dir.path().join("f.ndjson");
    std::fs::write(&file, "").unwrap_or_else(|e| panic!("{e}"));
    let mut command = portcullis();
    command.args(["replay", "--json", "--config"]).arg(example("ten-rules")).arg(&file);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{e}"));
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141), "as other programs end by SIGPIPE");
}

#[test]
fn a_faulty_configuration_is_told_with_its_places() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let top = "time: histroy\nsources: [{id: a, mappings: [canonicle]}]\nrules: [r.yaml]\n";
    std::fs::write(dir.path().join("portcullis.yaml"), top).unwrap_or_else(|e| panic!("{e}"));
    let rules = "rules: [{id: R1, on: AccesDenied}]\n";
    std::fs::write(dir.path().join("r.yaml"), rules).unwrap_or_else(|e| panic!("{e}"));
    let mut command = portcullis();
    let output = command.arg("check").arg("--config").arg(dir.path()).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    for wanted in [
        "portcullis.yaml:1:7",
        "did you mean `history`?",
        "r.yaml:1:22",
        "did you mean `AccessDenied`?",
    ] {
        assert!(told.contains(wanted), "{wanted} is missing in:\n{told}");
    }
    let output = portcullis().args(["check", "--json", "--config"]).arg(dir.path()).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    let faults: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(faults[0]["line"], 1, "{faults}");
    assert_eq!((&faults[0]["column"], &faults[0]["severity"]), (&7.into(), &"error".into()));
    assert_eq!(faults[0]["suggestion"], "did you mean `history`?");
    assert!(faults.as_array().is_some_and(|all| all.len() >= 3), "{faults}");
}
