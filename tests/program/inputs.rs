//! Bad and odd input through a real broker: what is malformed is counted by reason and kept with
//! its bytes; what is only odd is kept and counted under its name; nothing stops the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::kill::incidents;
use crate::place::data;
use crate::server::Server;
use crate::services::{self, Mqtt};

fn configuration(dir: &Path, port: u16) -> PathBuf {
    let top = format!(
        "sites: [{{name: s, time_zone: UTC}}]\n\
         sources: [{{id: in, type: mqtt, url: 'mqtt://127.0.0.1:{port}', topics: ['site/#'], \
         mappings: [canonical], site: s, slack: 100ms, idle_after: 200ms, payload_bytes_max: 300000}}]\n\
         model: [model.yaml]\n\
         rules: [rules.yaml]\n"
    );
    let model = "tables:\n  devices:\n    entity: device\n    columns: {site: string}\n    \
         rows: {known: {site: s}}\n";
    let rules = "rules: [{id: forced, title: Forced, severity: high, on: DoorForcedOpen}]\n\
         incidents: {by: [door], gap: 1m}\n";
    let config = dir.join("config");
    std::fs::create_dir_all(&config).unwrap_or_else(|e| panic!("{e}"));
    for (name, text) in [("portcullis.yaml", &*top), ("model.yaml", model), ("rules.yaml", rules)] {
        std::fs::write(config.join(name), text).unwrap_or_else(|e| panic!("{e}"));
    }
    config
}

/// Publishes each payload as one message; returns when the broker has all.
fn publish(port: u16, payloads: &[Vec<u8>], retained: bool) {
    let messages = payloads.iter().map(|payload| ("site/s/doors".to_owned(), payload.clone()));
    services::publish(port, messages.collect(), retained);
}

/// An event of a door forced open.
fn forced(id: &str, device: &str, occurred: event::EventTime) -> Value {
    let (occurred, door) = (occurred.to_string(), format!("door-{id}"));
    json!({"kind": "DoorForcedOpen", "id": id, "feed": "doors", "device": device, "door": door,
        "occurred": occurred})
}

fn now() -> event::EventTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    event::EventTime::from_millis(since.map(|d| d.as_millis() as i64).unwrap_or_default())
}

/// The suite's texts that no parser may take.
fn must_reject() -> Option<Vec<Vec<u8>>> {
    let folder = data("jsontestsuite")?.join("test_parsing");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{e}"));
    let files = files.flatten().filter(|f| f.file_name().to_string_lossy().starts_with("n_"));
    let texts: Vec<_> = files.map(|f| std::fs::read(f.path()).unwrap_or_default()).collect();
    assert!(texts.len() > 180, "{} texts", texts.len());
    Some(texts)
}

/// One text for each other reason.
fn faulty() -> Vec<(&'static str, Vec<u8>)> {
    let good = forced("9", "known", now());
    let with = |name: &str, value: Value| {
        let mut event = good.clone();
        event[name] = value;
        event.to_string().into_bytes()
    };
    let nested = "[".repeat(200) + &"]".repeat(200);
    let deep = good.to_string().replace("\"known\"", &nested);
    let mut twice = good.to_string();
    twice.insert_str(1, "\"id\":\"8\",");
    let mut missing = good.clone();
    missing.as_object_mut().map(|event| event.remove("occurred"));
    vec![
        ("oversize", with("id", "x".repeat(400_000).into())),
        ("too_deep", deep.into_bytes()),
        ("duplicate_key", twice.into_bytes()),
        ("wrong_type", with("door", 7.into())),
        ("unknown_kind", with("kind", "DoorSang".into())),
        ("unknown_field", with("colour", "red".into())),
        ("invalid_time", with("occurred", "yesterday".into())),
        ("unknown_site", with("site", "elsewhere".into())),
        ("missing_field", missing.to_string().into_bytes()),
    ]
}

fn books(server: &Server, deliveries: u64) -> Value {
    let done = |books: &Value| {
        let n = |name: &str| books["books"]["in"][name].as_u64().unwrap_or_default();
        n("deliveries") >= deliveries && n("in_flight") == 0 && n("waiting") == 0
    };
    let books = server.wait_for("/api/v1/books", done);
    books.unwrap_or_else(|| panic!("the program ended"))["books"]["in"].clone()
}

fn connected(server: &Server) {
    let up = |sources: &Value| sources["sources"][0]["connected"] == true;
    assert!(server.wait_for("/api/v1/sources", up).is_some());
}

#[test]
fn malformed_input_is_counted_and_kept_with_its_bytes() {
    let Some(malformed) = must_reject() else { return };
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let broker = Mqtt::start();
    let store = dir.path().join("data");
    let server = Server::start(&configuration(dir.path(), broker.port), &store, &[], None);
    connected(&server);
    let faulty = faulty();
    let mut sent = malformed.clone();
    sent.extend(faulty.iter().map(|(_, text)| text.clone()));
    publish(broker.port, &sent, false);
    // The program goes on: what is good is still taken.
    publish(broker.port, &[forced("1", "known", now()).to_string().into_bytes()], false);
    let books = books(&server, sent.len() as u64 + 1);
    assert_eq!(books["decoded"], 1, "{books}");
    let rejected: BTreeMap<String, u64> =
        serde_json::from_value(books["rejected"].clone()).unwrap_or_default();
    assert_eq!(rejected.values().sum::<u64>(), sent.len() as u64, "{books}");
    for (reason, _) in &faulty {
        assert!(rejected.contains_key(*reason), "nothing is {reason}: {rejected:?}");
    }
    assert!(server.terminate());

    let store = sinks::Reader::open(store.join("incidents.db")).unwrap_or_else(|e| panic!("{e}"));
    let letters = store.dead_letters(1_000).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(letters.len(), sent.len());
    let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
    for letter in &letters {
        *by_reason.entry(letter.reason.clone()).or_default() += 1;
    }
    assert_eq!(by_reason, rejected);
    let mut kept: Vec<_> = letters.iter().map(|l| (l.bytes, l.raw.clone())).collect();
    kept.sort();
    for text in &sent {
        // An oversize message keeps its head.
        let bytes = text.len().min(300_000) as u64;
        let raw = std::str::from_utf8(text).ok();
        let same =
            |raw: &str, shown: &str| raw.starts_with(shown) && shown.len() >= raw.len().min(1_000);
        let found = kept.iter().any(|(n, shown)| {
            *n == bytes && raw.map_or(shown.starts_with("base64:"), |raw| same(raw, shown))
        });
        assert!(
            found,
            "{bytes} bytes are not kept: {}",
            String::from_utf8_lossy(&text[..text.len().min(80)])
        );
    }
}

#[test]
fn odd_input_is_kept_and_counted_under_its_name() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let broker = Mqtt::start();
    let store = dir.path().join("data");
    let bytes = |event: Value| vec![event.to_string().into_bytes()];
    // Before anybody subscribes: the broker hands it out later, as something retained.
    publish(broker.port, &bytes(forced("retained", "known", now())), true);
    let server = Server::start(&configuration(dir.path(), broker.port), &store, &[], None);
    connected(&server);
    publish(broker.port, &bytes(forced("stranger", "nobody-knows-me", now())), false);
    let long_ago = event::EventTime::from_millis(1_000_000_000_000);
    publish(broker.port, &bytes(forced("clock", "known", long_ago)), false);
    publish(broker.port, &bytes(forced("plain", "known", now())), false);
    let books = books(&server, 4);
    for (name, count) in [
        ("decoded", 4),
        ("retained", 1),
        ("unknown_device", 1),
        ("quarantined", 1),
        ("accepted", 3),
        ("late", 0),
        ("duplicate", 0),
    ] {
        assert_eq!(books[name], count, "{name}: {books}");
    }
    assert_eq!(books["rejected"], json!({}));
    let retained = "portcullis_events_noted_total{source=\"in\",what=\"retained\"}";
    assert_eq!(server.metric(retained), 1.0);
    // One shape: the first is parsed, and the others go along its keys.
    let road = |road: &str| {
        server.metric(&format!("portcullis_decoded_by_road_total{{source=\"in\",road=\"{road}\"}}"))
    };
    assert_eq!((road("parsed"), road("scanned")), (1.0, 3.0));
    let strangers = server.get("/api/v1/unknown-devices").unwrap_or_default();
    assert_eq!(strangers["items"].as_array().map(Vec::len), Some(1), "{strangers}");
    assert_eq!(strangers["items"][0]["device"], "nobody-knows-me");
    assert_eq!(strangers["items"][0]["source"], "in");
    assert!(server.terminate());
    let store = sinks::Reader::open(store.join("incidents.db")).unwrap_or_else(|e| panic!("{e}"));
    // The retained one sets state and fires nothing; one with a wrong clock is judged by our own.
    assert_eq!(incidents(&store).len(), 3);
    let filter = sinks::Filter::default();
    let page = store.incidents(&filter, None, 10).unwrap_or_else(|e| panic!("{e}"));
    let recent = now().minus(event::TimeSpan::from_secs(600));
    assert!(page.items.iter().all(|i| i.opened_at > recent), "{:?}", page.items);
}
