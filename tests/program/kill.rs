//! `kill -9` at every point of the way: nothing that was acknowledged is lost, nothing stands twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::place::project;
use crate::server::{Receiver, Server};
use crate::traffic;

const EVENTS: u64 = 1_200;
const PER_REQUEST: usize = 20;
/// The points of `src/crash.rs`, and how often each is passed before the kill; those of a reload are
/// passed in `reload.rs`.
const POINTS: [(&str, [u64; 4]); 9] = [
    ("log-written", [1, 2, 13, 29]),
    ("log-synced", [1, 3, 14, 28]),
    ("log-acked", [1, 4, 15, 27]),
    ("engine-stepped", [1, 2, 3, 4]),
    ("store-committing", [1, 2, 3, 4]),
    ("store-committed", [1, 2, 3, 4]),
    ("snapshot-begun", [1, 2, 3, 5]),
    ("snapshot-half", [1, 2, 3, 4]),
    ("snapshot-written", [1, 2, 3, 4]),
];

fn configuration(dir: &Path, webhook: &str) -> PathBuf {
    let rules = project().join("config/examples/ten-rules/rules/ten.yaml");
    let text = format!(
        "time: history\n\
         sources: [{{id: http, type: http, mappings: [canonical], slack: 2s}}]\n\
         sinks: [{{id: soc, type: webhook, url: '{webhook}'}}]\n\
         rules: ['{}']\n",
        rules.display()
    );
    let config = dir.join("config");
    std::fs::create_dir_all(&config).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(config.join("portcullis.yaml"), text).unwrap_or_else(|e| panic!("{e}"));
    config
}

/// Rule, detections and events of each incident.
pub fn incidents(store: &sinks::Reader) -> BTreeMap<String, (String, u64, u64)> {
    let mut incidents = BTreeMap::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = store.incidents(&sinks::Filter::default(), cursor.as_deref(), 500);
        let page = page.unwrap_or_else(|e| panic!("{e}"));
        for item in page.items {
            let item = serde_json::to_value(item).unwrap_or_else(|e| panic!("{e}"));
            let n = |name: &str| item[name].as_u64().unwrap_or_default();
            let rule = item["rule"].as_str().unwrap_or_default().to_owned();
            let told = (rule, n("detections"), n("events"));
            let again = incidents.insert(item["id"].as_str().unwrap_or_default().to_owned(), told);
            assert!(again.is_none(), "an incident stands twice");
        }
        cursor = page.next;
        if cursor.is_none() {
            return incidents;
        }
    }
}

/// What a run has left behind.
#[derive(Debug, PartialEq)]
struct Left {
    incidents: BTreeMap<String, (String, u64, u64)>,
    accepted: u64,
    /// How often the last line was taken beside the first time: it tells the time, and no identity makes it a
    /// duplicate.
    told_again: u64,
    books: Value,
    told: BTreeSet<String>,
    crashes: u32,
}

/// Posts all events, starting the program again whenever it dies; what was not answered 202 is
/// posted again.
fn run(crash: Option<(&str, u64)>) -> Left {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let receiver = Receiver::start();
    let config = configuration(dir.path(), &receiver.url());
    let data = dir.path().join("data");
    let crash = crash.map(|(point, n)| format!("{point}:{n}"));
    let further = ["--snapshot-bytes", "9000"];
    let mut crashes = 0;
    let mut server = Server::start(&config, &data, &further, crash.as_deref());
    let mut lines = traffic::events(7, EVENTS);
    lines.push(traffic::ADVANCE.to_owned());
    for request in lines.chunks(PER_REQUEST) {
        let body = request.iter().fold(String::new(), |mut body, line| {
            let _ = writeln!(body, "{line}");
            body
        });
        while !server.post(&body) {
            crashes += 1;
            assert!(crashes < 5, "the program does not come up again");
            server.join();
            server = Server::start(&config, &data, &further, None);
        }
    }
    // The kill may also fall behind the last answer.
    let wanted = EVENTS + 1;
    let books = loop {
        let done = |books: &Value| {
            let n = |name: &str| books["books"]["http"][name].as_u64().unwrap_or_default();
            n("accepted") >= wanted && n("in_flight") == 0 && n("waiting") == 0
        };
        if let Some(books) = server.wait_for("/api/v1/books", done) {
            break books["books"]["http"].clone();
        }
        crashes += 1;
        assert!(crashes < 5, "the program does not come up again");
        server.join();
        server = Server::start(&config, &data, &further, None);
    };
    let accepted = books["accepted"].as_u64().unwrap_or_default().min(wanted);
    let told_again = books["accepted"].as_u64().unwrap_or_default() - accepted;
    assert!(told_again <= crashes.into(), "{books}");
    if !server.terminate() {
        // Killed at the last snapshot: the next start takes it from there.
        crashes += 1;
        assert!(Server::start(&config, &data, &further, None).terminate(), "not in order");
    }
    let store = sinks::Reader::open(data.join("incidents.db")).unwrap_or_else(|e| panic!("{e}"));
    let incidents = incidents(&store);
    // The outbox delivers at least once: whatever was left goes out at the next start.
    let server = Server::start(&config, &data, &further, None);
    let all: BTreeSet<_> = incidents.keys().cloned().collect();
    let told = receiver.wait_for(|told| told.is_superset(&all));
    assert!(server.terminate());
    Left { incidents, accepted, told_again, books, told, crashes }
}

#[test]
fn nothing_is_lost_and_nothing_stands_twice() {
    let undisturbed = run(None);
    assert_eq!(undisturbed.crashes, 0);
    assert_eq!(undisturbed.books["duplicate"], 0);
    assert!(undisturbed.incidents.len() > 100, "{}", undisturbed.incidents.len());
    let rules: BTreeSet<_> = undisturbed.incidents.values().map(|(rule, ..)| rule).collect();
    assert!(rules.len() >= 7, "{rules:?}");
    for (point, times) in POINTS {
        for n in times {
            let disturbed = run(Some((point, n)));
            assert_eq!(disturbed.crashes, 1, "{point}:{n} was never passed");
            assert_eq!(disturbed.accepted, undisturbed.accepted, "{point}:{n}");
            assert_eq!(disturbed.incidents, undisturbed.incidents, "{point}:{n}");
            assert_eq!(disturbed.told, undisturbed.told, "{point}:{n}");
            let figure = |left: &Left, name: &str| left.books[name].as_u64().unwrap_or_default();
            let again = figure(&disturbed, "duplicate") + disturbed.told_again;
            for higher in ["deliveries", "decoded", "events"] {
                let difference = figure(&disturbed, higher) - figure(&undisturbed, higher);
                assert_eq!(difference, again, "{higher} at {point}:{n}");
            }
            for equal in ["ignored", "late", "quarantined", "deferred", "waiting"] {
                assert_eq!(disturbed.books[equal], undisturbed.books[equal], "{equal} {point}:{n}");
            }
        }
    }
}

/// Makes the snapshots of a folder those of a program with another format; how many there were.
fn of_another_format(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{e}"));
    let paths: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    for path in &paths {
        let mut bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{e}"));
        let at = bytes.windows(8).position(|eight| eight == b"PCENGINE");
        let version = at.unwrap_or_else(|| panic!("{} holds no engine", path.display())) + 8;
        bytes[version] ^= 0x55;
        let whole = bytes.len() - 4;
        let crc = crc32c::crc32c(&bytes[..whole]).to_le_bytes();
        bytes[whole..].copy_from_slice(&crc);
        std::fs::write(path, bytes).unwrap_or_else(|e| panic!("{e}"));
    }
    paths.len()
}

#[test]
fn a_program_with_another_format_makes_the_state_again_from_the_log() {
    let [undisturbed, replaced] = [false, true].map(|replace| {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let receiver = Receiver::start();
        let config = configuration(dir.path(), &receiver.url());
        let data = dir.path().join("data");
        let further = ["--snapshot-bytes", "9000"];
        let mut lines = traffic::events(7, 600);
        lines.push(traffic::ADVANCE.to_owned());
        // What the first half leaves in windows and sequences the second half completes.
        for (half, lines) in lines.chunks(301).enumerate() {
            let mut server = Server::start(&config, &data, &further, None);
            assert!(server.post(&(lines.join("\n") + "\n")));
            let wanted = lines.len() + half * 301;
            let done = |books: &Value| books["books"]["http"]["events"] == wanted;
            assert!(server.wait_for("/api/v1/books", done).is_some());
            assert!(server.terminate());
            if replace && half == 0 {
                assert!(of_another_format(&data.join("snapshots")) > 0, "a stop leaves a snapshot");
            }
        }
        let store = sinks::Reader::open(data.join("incidents.db"));
        incidents(&store.unwrap_or_else(|e| panic!("{e}")))
    });
    assert!(undisturbed.len() > 40, "{}", undisturbed.len());
    assert_eq!(replaced, undisturbed);
}
