//! Tables and lists that are changed while the program runs: each change is a record of the log,
//! rules behave differently behind it, and a restart or a replay of the log gives the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::kill::incidents;
use crate::server::Server;
use crate::services::{self, Mqtt};

const RULES: &str = "
lists: {contractors: [C-8]}
rules:
- {id: stopped-card, on: AccessGranted, group: none, if: e.credential.status == 'stopped'}
- {id: contractor, on: AccessGranted, group: none, if: e.credential in contractors}
- id: used-after-stop
  group: none
  by: credential
  within: 1h
  sequence:
  - {use: AccessGranted}
  - {stop: TableChanged, if: stop.credential.status == 'stopped' && stop.credential.since <= use.time}
";

const MODEL: &str = "
tables:
  credentials:
    entity: credential
    columns: {status: string, person: string, since: time}
    rows: {C-1: {status: active, person: P-1}}
";

fn write(path: PathBuf, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|e| panic!("{e}"));
}

/// A configuration in history, so that time goes by the events alone; `more` adds to the source.
fn configuration(dir: &Path, more: &str, model: &str) -> PathBuf {
    let config = dir.join("config");
    std::fs::create_dir_all(&config).unwrap_or_else(|e| panic!("{e}"));
    let top = format!(
        "time: history\nsites: [{{name: s}}]\nmodel: [model.yaml]\nrules: [rules.yaml]\n\
         sources:\n- {{id: in, type: http, mappings: [canonical], slack: 0s}}\n{more}"
    );
    write(config.join("portcullis.yaml"), &top);
    write(config.join("rules.yaml"), RULES);
    write(config.join("model.yaml"), model);
    config
}

/// A badge is let in, so many seconds after eight; time goes on to the next second.
fn used(server: &mut Server, second: u32, badge: &str) {
    let at = |second: u32| format!("2026-03-02T08:{:02}:{:02}Z", second / 60, second % 60);
    let event = json!({"kind": "AccessGranted", "id": second, "device": "reader", "site": "s",
        "credential": badge, "occurred": at(second)});
    let passes = json!({"kind": "Advance", "id": format!("+{second}"), "site": "s",
        "occurred": at(second + 1)});
    assert!(server.post(&format!("{event}\n{passes}\n")), "the program has died");
}

/// Rules of the incidents so far, sorted.
fn found(server: &Server, count: usize) -> Vec<String> {
    let rules = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let mut rules: Vec<_> =
            items.iter().map(|item| item["rule"].as_str().unwrap_or_default().to_owned()).collect();
        rules.sort();
        rules
    };
    let page = server.wait_for("/api/v1/incidents", |page| rules(page).len() >= count);
    rules(&page.unwrap_or_else(|| panic!("the program has died")))
}

fn good(answer: (u16, Value)) {
    assert_eq!(answer.0, 202, "{}", answer.1);
}

/// What a change that cannot be made is told: the status, what is wrong, and what to write.
fn bad(answer: (u16, Value), status: u16, parts: [&str; 2]) {
    let said = answer.1.to_string();
    assert_eq!(answer.0, status, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn what_the_interface_changes_rules_see_and_a_replay_of_the_log_gives_the_same() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let config = configuration(dir.path(), "", MODEL);
    let data = dir.path().join("data");
    let mut server = Server::start(&config, &data, &[], None);
    let row = "/api/v1/tables/credentials/C-1";
    used(&mut server, 10, "C-1");
    let stopped = r#"{"status": "stopped", "since": "2026-03-02T08:00:05Z"}"#;
    good(server.ask("PATCH", &format!("{row}?by=ann&reason=lost"), stopped));
    // Told at once, of the use before; then at each use; the list is one of keys alone.
    used(&mut server, 20, "C-1");
    good(server.ask("PUT", "/api/v1/tables/contractors/C-9?by=ann", "{}"));
    good(server.ask("DELETE", "/api/v1/tables/contractors/C-8?by=ann", ""));
    used(&mut server, 30, "C-8");
    used(&mut server, 31, "C-9");
    assert_eq!(found(&server, 3), ["contractor", "stopped-card", "used-after-stop"]);

    let shown = server.get(row).unwrap_or_default();
    let (cells, by) = (&shown["cells"], &shown["changed"]);
    assert_eq!((&cells["status"], &cells["person"]), (&json!("stopped"), &json!("P-1")), "{shown}");
    assert_eq!((&by["by"], &by["reason"]), (&json!("ann"), &json!("lost")), "{shown}");
    let list = server.get("/api/v1/tables/contractors").unwrap_or_default();
    assert_eq!(list["rows"][0]["cells"], Value::Null, "C-8 was removed: {list}");
    assert_eq!(list["rows"][1]["row"], "C-9", "{list}");
    let tables = server.get("/api/v1/tables").unwrap_or_default();
    assert_eq!(tables["tables"][0]["columns"]["since"], "time", "{tables}");
    assert_eq!((&tables["tables"][1]["rows"], &tables["refused"]), (&json!(1), &json!(0)));

    let put = |path: &str, body: &str| server.ask("PUT", path, body);
    bad(put("/api/v1/tables/credential/C-1?by=ann", "{}"), 422, ["no table", "credentials"]);
    let wrong = put(&format!("{row}?by=ann"), r#"{"stattus": "stopped"}"#);
    bad(wrong, 422, ["no column `stattus`", "did you mean `status`?"]);
    bad(put(&format!("{row}?by=ann"), r#"{"since": 7}"#), 422, ["column `since`", "RFC 3339"]);
    bad(put(row, "{}"), 400, ["by", "?by=ann"]);
    bad(put(&format!("{row}?by=ann"), "[]"), 422, ["invalid type", "JSON object"]);

    // Behind a restart it is still so; a change made before the last one comes too late.
    assert!(server.terminate());
    let mut server = Server::start(&config, &data, &[], None);
    good(server.ask("PUT", &format!("{row}?by=bob&at=2026-03-02T08:00:02Z"), "{}"));
    used(&mut server, 40, "C-1");
    found(&server, 4);
    good(server.ask("DELETE", &format!("{row}?by=bob&reason=returned"), ""));
    used(&mut server, 50, "C-1");
    used(&mut server, 51, "C-9");
    let all = ["contractor", "contractor", "stopped-card", "stopped-card", "used-after-stop"];
    assert_eq!(found(&server, 5), all);
    assert!(server.terminate());
    let told = left(&data);
    assert_eq!(told.len(), 5);

    // The log alone gives the same: neither snapshots nor store are there.
    std::fs::remove_dir_all(data.join("snapshots")).unwrap_or_else(|e| panic!("{e}"));
    for name in ["incidents.db", "incidents.db-wal", "incidents.db-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    let server = Server::start(&config, &data, &[], None);
    assert_eq!(found(&server, 5), all);
    assert!(server.terminate());
    assert_eq!(left(&data), told);
}

const REGISTER: &str = "
mappings:
- name: register
  topics: [site/register/+]
  otherwise: reject
  rows:
  - table: credentials
    row: $topic.2
    cells: {status: $.status, since: $.since}
    at: $.at
    remove: {$.status: gone}
";

#[test]
fn what_a_topic_says_of_rows_is_in_the_books_and_a_retained_row_undoes_nothing_newer() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let broker = Mqtt::start();
    let source = format!(
        "- {{id: reg, type: mqtt, url: 'mqtt://127.0.0.1:{}', topics: ['site/#'], \
         mappings: [register], slack: 0s}}\nmappings: [map.yaml]\n",
        broker.port
    );
    let config = configuration(dir.path(), &source, MODEL);
    write(config.join("map.yaml"), REGISTER);
    let row = |card: &str, status: &str, second: u32| {
        let at = format!("2026-03-02T08:00:{second:02}Z");
        let body = json!({"status": status, "since": at, "at": at}).to_string();
        (format!("site/register/{card}"), body.into_bytes())
    };
    services::publish(broker.port, vec![row("C-1", "stopped", 5)], true);
    let data = dir.path().join("data");
    let mut server = Server::start(&config, &data, &[], None);
    let c1 = "/api/v1/tables/credentials/C-1";
    let status = |server: &Server, status: Value| {
        let is = |row: &Value| row["cells"]["status"] == status;
        server.wait_for(c1, is).unwrap_or_else(|| panic!("the program has died"))
    };
    let shown = status(&server, json!("stopped"));
    assert_eq!(shown["changed"]["by"], "source reg", "{shown}");
    used(&mut server, 10, "C-1");
    assert_eq!(found(&server, 1), ["stopped-card"]);
    let later = vec![row("C-1", "active", 20), row("C-2", "stopped", 9), row("C-2", "gone", 21)];
    services::publish(broker.port, later, false);
    status(&server, json!("active"));
    let heavy = (String::from("site/register/C-3"), br#"{"since": "soon"}"#.to_vec());
    services::publish(broker.port, vec![heavy], false);
    let books = |server: &Server, deliveries: u64| {
        let done = |page: &Value| {
            let books = &page["books"]["reg"];
            books["deliveries"] == deliveries && books["in_flight"] == 0
        };
        let page = server.wait_for("/api/v1/books", done);
        page.unwrap_or_else(|| panic!("the program has died"))["books"]["reg"].clone()
    };
    let told = books(&server, 5);
    let (decoded, events) = (&told["decoded"], &told["events"]);
    assert_eq!((decoded, events), (&json!(4), &json!(0)), "{told}");
    assert_eq!(told["rejected"]["wrong_type"], 1, "{told}");
    let c2 = server.get("/api/v1/tables/credentials/C-2").unwrap_or_default();
    assert_eq!((&c2["cells"], &c2["changed"]["by"]), (&Value::Null, &json!("source reg")));
    // Old state told again undoes nothing newer.
    services::publish(broker.port, vec![row("C-1", "stopped", 5)], true);
    books(&server, 6);
    assert_eq!(status(&server, json!("active"))["changed"]["at"], "2026-03-02T08:00:20.000Z");
    used(&mut server, 40, "C-1");
    used(&mut server, 41, "C-8");
    assert_eq!(found(&server, 2), ["contractor", "stopped-card"]);
    assert!(server.terminate());
}

fn left(data: &Path) -> BTreeMap<String, (String, u64, u64)> {
    let store = sinks::Reader::open(data.join("incidents.db")).unwrap_or_else(|e| panic!("{e}"));
    incidents(&store)
}

#[test]
fn what_a_file_says_anew_is_told_and_a_faulty_one_leaves_the_rows_as_they_were() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let model = "
tables:
  credentials:
    entity: credential
    columns: {status: string, since: time}
    file: cards.csv
    key: card
";
    let config = configuration(dir.path(), "", model);
    // In one move, as OPERATIONS.md says.
    let say = |rows: &str| {
        let beside = config.join("cards.new");
        write(beside.clone(), &format!("card,status,since\n{rows}"));
        std::fs::rename(beside, config.join("cards.csv")).unwrap_or_else(|e| panic!("{e}"));
    };
    let (c1, c2) = ("C-1,active,\n", "C-2,active,\n");
    say(&format!("{c1}{c2}"));
    let mut server = Server::start(&config, &dir.path().join("data"), &[], None);
    let table = "/api/v1/tables/credentials";
    used(&mut server, 10, "C-1");
    good(server.ask("PUT", &format!("{table}/C-2?by=ann"), r#"{"status": "lost"}"#));
    let status = |server: &Server, card: &str, status: Value| {
        let is = |row: &Value| row["cells"]["status"] == status;
        assert!(server.wait_for(&format!("{table}/{card}"), is).is_some());
    };
    status(&server, "C-2", json!("lost"));
    // The use before is told; what the file says no other of than it did stays as it was changed.
    say(&format!("C-1,stopped,2026-03-02T08:00:05Z\n{c2}"));
    status(&server, "C-1", json!("stopped"));
    assert_eq!(found(&server, 1), ["used-after-stop"]);
    status(&server, "C-2", json!("lost"));
    // A faulty file is refused whole; the next good one says of C-2 something else, so it counts.
    say("C-1,active,soon\n");
    let refused = |page: &Value| page["refused"]["reason"].is_string();
    assert!(server.wait_for("/api/v1/rulebook", refused).is_some());
    status(&server, "C-1", json!("stopped"));
    say("C-2,found,\n");
    status(&server, "C-2", json!("found"));
    assert_eq!(server.ask("GET", &format!("{table}/C-1"), "").0, 404, "gone from the file");
    used(&mut server, 20, "C-1");
    used(&mut server, 21, "C-8");
    assert_eq!(found(&server, 2), ["contractor", "used-after-stop"]);
    assert!(server.terminate());
}
