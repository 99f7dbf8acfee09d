//! INV-RELOAD in the whole program: another rulebook takes over while it runs, a broken one leaves
//! the old one running and says why, and a kill anywhere around it changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kill;
use crate::server::Server;
use crate::traffic;

/// Three rulebooks: `same` is in each; `denials` is changed by the second, which also has a rule,
/// a kind and a field of its own; the third has `same` alone.
const BOOKS: [&str; 3] = [
    "rules:
- {id: same, by: door, within: 5m, sequence: [{a: AccessDenied}, {b: DoorForcedOpen}]}
- {id: denials, on: AccessDenied, count: {by: door, within: 10m, at_least: 5}, emit: edge}
- {id: opened, severity: low, procedure: look, on: DoorOpened}
",
    "kinds: [Knock]
fields: {lane: string}
rules:
- {id: opened, severity: high, procedure: run, on: DoorOpened}
- {id: denials, on: AccessDenied, count: {by: door, within: 11m, at_least: 3}, emit: edge}
- {id: closed, on: DoorClosed, by: door, if: '!has(e.lane)', emit: {once: 5m}}
- {id: same, by: door, within: 5m, sequence: [{a: AccessDenied}, {b: DoorForcedOpen}]}
tests:
- name: it knocks, and nobody is told
  given: [08:00:00 Knock door=D1]
  expect: []
",
    "rules:
- {id: same, by: door, within: 5m, sequence: [{a: AccessDenied}, {b: DoorForcedOpen}]}
",
];

/// Bytes of log between snapshots: many, or none in a test's time.
const SNAPSHOTS: &str = "9000";
const NO_SNAPSHOTS: &str = "1000000000";

const EVENTS: u64 = 600;
const PER_REQUEST: usize = 20;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(further: &str) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap_or_else(|e| panic!("{e}")) };
        let text = format!(
            "time: history\n\
             sources: [{{id: http, type: http, mappings: [canonical], slack: 2s}}]\n\
             rules: ['rules/*.yaml']\n{further}"
        );
        std::fs::create_dir_all(place.config().join("rules")).unwrap_or_else(|e| panic!("{e}"));
        place.write("portcullis.yaml", &text);
        place.write("rules/book.yaml", BOOKS[0]);
        place
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.config().join(name), text).unwrap_or_else(|e| panic!("{e}"));
    }

    fn start(&self, crash: Option<&str>) -> Server {
        self.start_with(SNAPSHOTS, crash)
    }

    fn start_with(&self, snapshot_bytes: &str, crash: Option<&str>) -> Server {
        let further = ["--snapshot-bytes", snapshot_bytes];
        Server::start(&self.config(), &self.data(), &further, crash)
    }
}

fn asked(server: &Server) -> (u16, Value) {
    server.reload("test").unwrap_or_else(|| panic!("the program has died"))
}

fn in_force(server: &Server) -> Value {
    server.get("/api/v1/rulebook").unwrap_or_else(|| panic!("the program has died"))
}

/// All that stands in the store: incidents with their rulebooks, detections and evidence.
fn stored(data: &Path) -> BTreeMap<String, Value> {
    let store = sinks::Reader::open(data.join("incidents.db")).unwrap_or_else(|e| panic!("{e}"));
    let ids = kill::incidents(&store).into_keys();
    let whole = |id: String| {
        let parsed = event::identity::TimedId::parse(&id).unwrap_or_else(|| panic!("{id}"));
        let detail = store.incident(parsed).unwrap_or_else(|e| panic!("{e}"));
        let detail = detail.unwrap_or_else(|| panic!("{id} is gone"));
        let mut told = serde_json::json!({
            "incident": detail.incident, "detections": detail.detections,
            "events": detail.events, "links": detail.links,
        });
        // Counts changes over all sites: whose came first depends on the batches.
        told["incident"]["revision"] = Value::Null;
        (id, told)
    };
    ids.map(whole).collect()
}

/// Evidence of each detection of the rule that no rulebook changes.
fn of_same(all: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let detections = all.values().filter_map(|told| told["detections"].as_array());
    let same = detections.flatten().filter(|detection| detection["rule"] == "same");
    same.map(|detection| (detection["id"].to_string(), detection["events"].clone())).collect()
}

fn requests() -> Vec<String> {
    let mut lines = traffic::events(11, EVENTS);
    lines.push(traffic::ADVANCE.to_owned());
    lines.chunks(PER_REQUEST).map(|lines| lines.join("\n")).collect()
}

fn drained(server: &Server) -> bool {
    let done = |books: &Value| {
        let n = |name: &str| books["books"]["http"][name].as_u64().unwrap_or_default();
        // What only moves time is no duplicate where a kill made it come twice.
        n("accepted") > EVENTS && n("in_flight") == 0 && n("waiting") == 0
    };
    server.wait_for("/api/v1/books", done).is_some()
}

/// Posts everything; before the requests of `takes` the other rulebooks take over. What is killed
/// is started again.
fn run(takes: [usize; 2], crash: Option<&str>) -> (BTreeMap<String, Value>, Vec<Value>, u32) {
    run_with(SNAPSHOTS, takes, crash)
}

fn run_with(
    snapshots: &str,
    takes: [usize; 2],
    crash: Option<&str>,
) -> (BTreeMap<String, Value>, Vec<Value>, u32) {
    let place = Place::new("reload: {watch: false}\n");
    let mut server = place.start_with(snapshots, crash);
    let mut crashes = 0;
    for (number, body) in requests().iter().enumerate() {
        if let Some(book) = takes.iter().position(|take| *take == number) {
            place.write("rules/book.yaml", BOOKS[book + 1]);
            match server.reload("test") {
                Some((status, said)) => assert_eq!(status, 200, "{said}"),
                // The start finds the folder changed, or the record in the log.
                None => {
                    crashes += 1;
                    server.join();
                    server = place.start(None);
                }
            }
        }
        while !server.post(body) {
            crashes += 1;
            assert!(crashes < 5, "the program does not come up again");
            server.join();
            server = place.start(None);
        }
    }
    // A snapshot may be written, and the kill fall, when all is judged.
    let rulebook = loop {
        let told = drained(&server).then(|| server.get("/api/v1/rulebook")).flatten();
        if let Some(told) = told {
            break told;
        }
        crashes += 1;
        assert!(crashes < 5, "the program does not come up again");
        server.join();
        server = place.start(None);
    };
    let history = rulebook["history"].as_array().cloned().unwrap_or_default();
    if !server.terminate() {
        crashes += 1;
        assert!(place.start(None).terminate(), "not in order");
    }
    (stored(&place.data()), history, crashes)
}

#[test]
fn two_rulebooks_take_over_and_a_kill_anywhere_changes_nothing() {
    let takes = [9, 19];
    let (undisturbed, history, crashes) = run(takes, None);
    assert_eq!((crashes, history.len()), (0, 3), "{history:?}");
    let hashes: Vec<_> = history.iter().map(|reign| reign["hash"].clone()).collect();
    // Each incident is told under the rulebook that was in force when it was opened.
    let of = |rule: &str| -> BTreeSet<(usize, String)> {
        let told = undisturbed.values().map(|told| &told["incident"]);
        let told = told.filter(|incident| incident["rule"] == rule);
        let told = told.map(|incident| {
            let book = hashes.iter().position(|hash| *hash == incident["config_hash"]);
            let severity = incident["severity"].as_str().unwrap_or_default();
            (book.unwrap_or_else(|| panic!("{incident}")), severity.to_owned())
        });
        told.collect()
    };
    let books = |rule: &str| of(rule).into_iter().map(|(book, _)| book).collect::<Vec<_>>();
    assert!(books("closed") == [1], "{:?}", of("closed"));
    assert!(books("same").contains(&2), "{:?}", of("same"));
    let low = (0, "low".to_owned());
    assert!(of("opened").contains(&low) && !books("opened").contains(&2), "{:?}", of("opened"));

    // The rule that is the same in each finds what it finds with no reload at all.
    let (alone, ..) = run([usize::MAX; 2], None);
    assert!(of_same(&alone).len() > 20, "{}", of_same(&alone).len());
    assert_eq!(of_same(&undisturbed), of_same(&alone));

    // Of a busy machine several requests are one commit: of those there are fewer.
    for (crash, snapshots) in [
        ("rulebook-kept:2", SNAPSHOTS),
        ("rulebook-kept:3", SNAPSHOTS),
        ("rulebook-taken:1", SNAPSHOTS),
        ("rulebook-taken:2", SNAPSHOTS),
        ("log-synced:11", SNAPSHOTS),
        ("log-synced:22", SNAPSHOTS),
        ("snapshot-begun:4", SNAPSHOTS),
        ("snapshot-written:3", SNAPSHOTS),
        ("store-committing:5", SNAPSHOTS),
        ("engine-stepped:14", SNAPSHOTS),
        // From before both, with no snapshot at all.
        ("rulebook-taken:2", NO_SNAPSHOTS),
        ("log-acked:29", NO_SNAPSHOTS),
    ] {
        let (disturbed, history, crashes) = run_with(snapshots, takes, Some(crash));
        assert_eq!(crashes, 1, "{crash} was never passed");
        let again: Vec<_> = history.iter().map(|reign| reign["hash"].clone()).collect();
        assert_eq!(again, hashes, "{crash}");
        for (id, told) in &undisturbed {
            assert_eq!(disturbed.get(id), Some(told), "{crash}");
        }
        assert_eq!(disturbed.len(), undisturbed.len(), "{crash}");
    }
}

#[test]
fn a_broken_rulebook_leaves_the_old_one_running_and_says_why() {
    let place = Place::new("reload: {watch: false}\n");
    let server = place.start(None);
    let first = in_force(&server);
    assert_eq!((&first["by"], &first["refused"]), (&"start".into(), &Value::Null));
    let still = |server: &Server, why: &str| {
        let now = in_force(server);
        assert_eq!(now["hash"], first["hash"], "{why}");
        let reason = now["refused"]["reason"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains(why), "{reason}");
        let health = server.wait_for("/health", |health| health["status"] == "ok");
        let health = health.unwrap_or_default();
        assert_eq!(health["rulebook_refused"], reason);
    };

    let wrong = BOOKS[0].replace("AccessDenied}, {b", "AccesDenied}, {b");
    place.write("rules/book.yaml", &wrong);
    let (status, said) = asked(&server);
    assert_eq!(status, 422, "{said}");
    let fault = &said["diagnostics"][0];
    assert_eq!((&fault["line"], &fault["severity"]), (&2.into(), &"error".into()), "{said}");
    assert!(fault["message"].as_str().unwrap_or_default().contains("AccesDenied"), "{said}");
    still(&server, "AccesDenied");

    let failing = BOOKS[1].replace("expect: []", "expect: [08:00:00 opened D1]");
    place.write("rules/book.yaml", &failing);
    let (status, said) = asked(&server);
    assert_eq!(status, 422, "{said}");
    let fault = said["diagnostics"][0]["message"].as_str().unwrap_or_default();
    assert!(fault.contains("it knocks") && fault.contains("missing"), "{said}");
    still(&server, "it knocks");

    place.write("rules/book.yaml", BOOKS[1]);
    let top = place.config().join("portcullis.yaml");
    let good = std::fs::read_to_string(&top).unwrap_or_else(|e| panic!("{e}"));
    place.write("portcullis.yaml", &good.replace("slack: 2s", "slack: 3s"));
    let (status, said) = asked(&server);
    assert_eq!(status, 422, "{said}");
    still(&server, "`sources` cannot change while it runs");

    place.write("portcullis.yaml", &good);
    let (status, said) = asked(&server);
    assert_eq!((status, &said["outcome"]), (200, &"taken".into()), "{said}");
    let now = in_force(&server);
    assert_eq!((&now["hash"], &now["by"]), (&said["hash"], &"test".into()));
    assert_eq!(now["refused"], Value::Null);
    assert_eq!(asked(&server).1["outcome"], "unchanged");
    for (outcome, count) in [("taken", 1.0), ("refused", 3.0), ("unchanged", 1.0)] {
        let name = format!("portcullis_reloads_total{{outcome=\"{outcome}\"}}");
        assert_eq!(server.metric(&name), count, "{outcome}");
    }

    // A start with a broken folder goes on with what was in force, and says so.
    place.write("rules/book.yaml", &wrong);
    assert!(server.terminate());
    let server = place.start(None);
    assert_eq!(in_force(&server)["hash"], now["hash"]);
    let refused = in_force(&server)["refused"]["reason"].to_string();
    assert!(refused.contains("AccesDenied"), "{refused}");
}

#[test]
fn a_signal_and_a_changed_file_reload_and_a_restart_keeps_the_state() {
    let place = Place::new("");
    let mut server = place.start(None);
    let requests = requests();
    assert!(requests[..10].iter().all(|body| server.post(body)));
    let hash = in_force(&server)["hash"].clone();
    place.write("rules/book.yaml", BOOKS[1]);
    let other = |was: Value| move |now: &Value| now["hash"] != was;
    let now = server.wait_for("/api/v1/rulebook", other(hash)).unwrap_or_default();
    assert_eq!((&now["by"], &now["refused"]), (&"files".into(), &Value::Null));
    let blind: Vec<_> = now["blind"].as_array().into_iter().flatten().collect();
    assert!(blind.iter().any(|one| one["rule"] == "denials" && one["until"].is_string()), "{now}");
    assert!(blind.iter().all(|one| one["rule"] != "same" && one["rule"] != "opened"), "{now}");
    let figure = server.metric("portcullis_rule_blind_until_seconds{rule=\"denials\"}");
    assert!((figure - 1_700_000_000.0).abs() < 3_600.0, "{figure}");

    // What waits in a sequence stays over a change at a restart.
    assert!(server.terminate());
    place.write("portcullis.yaml", "time: history\nsources: [{id: new, type: file, mappings: [canonical], files: ['x.ndjson']}, {id: http, type: http, mappings: [canonical], slack: 2s}]\nrules: ['rules/*.yaml']\nreload: {watch: false}\n");
    let mut server = place.start(None);
    // It takes over where its record stands in the log, which the engine reads while others are served.
    let started = |now: &Value| now["by"] == "start";
    let again = server.wait_for("/api/v1/rulebook", started).unwrap_or_default();
    assert_eq!(again["by"], "start", "{again}");
    let hash = again["hash"].clone();
    place.write("rules/book.yaml", BOOKS[2]);
    server.hang_up();
    let now = server.wait_for("/api/v1/rulebook", other(hash)).unwrap_or_default();
    assert_eq!(now["by"], "SIGHUP");
    assert!(requests[10..].iter().all(|body| server.post(body)));
    assert!(drained(&server));
    let books = server.get("/api/v1/books").unwrap_or_default();
    assert_eq!(books["books"]["http"]["deliveries"], EVENTS + 1, "they go on under its id");
    assert!(server.terminate());

    let (alone, ..) = run([usize::MAX; 2], None);
    assert_eq!(of_same(&stored(&place.data())), of_same(&alone));
}
