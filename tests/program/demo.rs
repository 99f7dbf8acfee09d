//! `demo`, the newcomer's first command: the night of Harbour North through an MQTT broker into the
//! console, as a browser shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::browser::Browser;
use crate::place::portcullis;
use crate::server::Server;

const START: &str = "2026-11-23T22:00:00Z";
/// Incidents of the whole story.
const RULES: [&str; 7] = [
    "anti-passback",
    "door-held",
    "fence-intrusion",
    "forged-seal",
    "revoked-credential",
    "tailgating",
    "tamper",
];

/// The whole night, sixty times as fast.
fn demo(dir: &Path, config: Option<&Path>, seed: u64) -> Command {
    let mut command = portcullis();
    command.args(["demo", "--start", START, "--speed", "60", "--listen", "127.0.0.1:0"]);
    command.args(["--seed", &seed.to_string(), "--data"]).arg(dir);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command
}

/// The night, played to its end and read.
fn play(dir: &Path, config: Option<&Path>, seed: u64) -> Server {
    let (server, lines) = Server::with_lines(demo(dir, config, seed));
    let told = lines.iter().find(|line| line.starts_with("story played:"));
    assert!(told.is_some(), "the program ended before the story did");
    // Published is not yet read: the last message moves time past every deadline.
    let told: u64 =
        told.iter().flat_map(|t| t.split(' ')).find_map(|w| w.parse().ok()).unwrap_or(0);
    server
        .wait_for("/api/v1/books", |books| {
            let n = |name: &str| books["books"]["site"][name].as_u64().unwrap_or_default();
            n("deliveries") >= told && n("in_flight") == 0 && n("waiting") == 0
        })
        .unwrap_or_else(|| panic!("the program ended"));
    server
}

fn items(server: &Server) -> Vec<Value> {
    let page = server.get("/api/v1/incidents?limit=100").unwrap_or_default();
    page["items"].as_array().cloned().unwrap_or_else(|| panic!("no incidents: {page}"))
}

/// Rule, detections and events by id, once the store has all of them.
fn incidents(server: &Server) -> BTreeMap<String, (String, u64, u64)> {
    let all = |page: &Value| page["items"].as_array().is_some_and(|i| i.len() >= RULES.len());
    server.wait_for("/api/v1/incidents?limit=100", all);
    let told = items(server).into_iter().map(|item| {
        let n = |name: &str| item[name].as_u64().unwrap_or_default();
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        (text("id"), (text("rule"), n("detections"), n("events")))
    });
    told.collect()
}

fn texts<'a>(list: &'a Value, name: &str) -> BTreeSet<&'a str> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|one| one[name].as_str()).collect()
}

#[test]
fn the_story_is_told_and_told_again() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let first = play(&dir.path().join("first"), None, 7);
    let told = incidents(&first);
    let rules: Vec<_> = told.values().map(|(rule, ..)| rule.as_str()).collect();
    let mut sorted = rules.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, RULES);
    let id_of = |rule: &str| {
        let found = told.iter().find(|(_, told)| told.0 == rule);
        found.map_or_else(|| panic!("no {rule}"), |(id, _)| id.clone())
    };

    let fence = first.get(&format!("/api/v1/incidents/{}", id_of("fence-intrusion")));
    let fence = fence.unwrap_or_default();
    let feeds = texts(&fence["events"], "feed");
    assert!(fence["events"].as_array().map_or(0, Vec::len) >= 5, "{fence}");
    assert!(feeds.is_superset(&["badge", "camera", "fence"].into()), "{feeds:?}");
    for event in fence["events"].as_array().into_iter().flatten() {
        for name in ["id", "feed", "kind", "device", "occurred", "recorded", "raw"] {
            assert!(event[name].as_str().is_some_and(|v| !v.is_empty()), "no {name}: {event}");
        }
    }
    let seal = first.get(&format!("/api/v1/incidents/{}", id_of("forged-seal")));
    let seal = seal.unwrap_or_default();
    assert!(texts(&seal["links"], "id").contains(id_of("fence-intrusion").as_str()), "{seal}");
    assert!(texts(&fence["links"], "id").contains(id_of("forged-seal").as_str()), "{fence}");
    assert!(first.metric("portcullis_visible_seconds_count") >= 1.0);
    assert!(first.metric("portcullis_visible_seconds{quantile=\"0.5\"}") < 60.0);
    let output = portcullis().args(["top", "--once", "--url", first.url()]).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    let shown = String::from_utf8_lossy(&output.stdout);
    for word in ["mqtt site: up", "given up: nothing", "\nfence-intrusion ", "\n(door_open) "] {
        assert!(shown.contains(word), "no {word:?}: {shown}");
    }
    assert!(first.terminate());

    let second = play(&dir.path().join("second"), None, 7);
    assert_eq!(incidents(&second), told, "the same seed and start give the same ids");
    assert!(second.terminate());
    let other = play(&dir.path().join("other"), None, 8);
    assert_ne!(incidents(&other), told, "another seed is another night");
    assert!(other.terminate());
}

#[test]
fn without_rules_there_is_no_incident() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let config = dir.path().join("config");
    std::fs::create_dir_all(&config).unwrap_or_else(|e| panic!("{e}"));
    let text = "time: history\n\
        sources: [{id: site, type: mqtt, url: 'mqtt://127.0.0.1:1883', topics: ['site/#', frigate/events, 'zigbee2mqtt/+', 'axis/#'], \
        mappings: [canonical], slack: 2s}]\n\
        rules: [rules.yaml]\n";
    for (name, text) in [("portcullis.yaml", text), ("rules.yaml", "rules: []\n")] {
        std::fs::write(config.join(name), text).unwrap_or_else(|e| panic!("{e}"));
    }
    let server = play(&dir.path().join("data"), Some(&config), 7);
    assert_eq!(items(&server), Vec::<Value>::new());
    let books = server.get("/api/v1/books").unwrap_or_default();
    assert!(books["books"]["site"]["accepted"].as_u64() > Some(500), "{books}");
    assert!(server.terminate());
}

#[test]
fn a_browser_shows_the_incidents() {
    let Some(browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let (server, lines) = Server::with_lines(demo(dir.path(), None, 7));
    browser.open(server.url());
    browser.wait_for("document.getElementById('link').dataset.state === 'live'");
    // The page was open before the story began: what it shows came by itself.
    assert!(lines.iter().any(|line| line.starts_with("story played:")));
    let shown = format!("document.querySelectorAll('#incidents a').length === {}", RULES.len());
    browser.wait_for(&shown);
    for (id, (rule, ..)) in incidents(&server) {
        let found = browser.value(&format!("!!document.querySelector('[data-id=\"{id}\"]')"));
        assert_eq!(found, true, "{rule} is not shown");
        if rule == "fence-intrusion" {
            browser.value(&format!("document.querySelector('[data-id=\"{id}\"]').click()"));
        }
    }
    browser.wait_for("document.querySelectorAll('#detail pre').length >= 5");
    browser.screenshot("fence-intrusion");
    let detail = browser.value("document.getElementById('detail').innerText");
    let detail = detail.as_str().unwrap_or_default();
    for text in [
        "Somebody is over the fence",
        "The seal is not the one on record",
        "FenceAlarm",
        "fence-ctl-2",
        "Keep gate 2 shut",
    ] {
        assert!(detail.contains(text), "no {text}: {detail}");
    }
    acknowledged_in_the_dialog(&browser);
    assert!(server.terminate());
    browser.wait_for("document.getElementById('link').dataset.state === 'lost'");
}

/// Acknowledges the incident that is shown, as an operator does.
fn acknowledged_in_the_dialog(browser: &Browser) {
    browser.value("document.querySelector('[data-act=acknowledge]').click()");
    browser.wait_for("document.getElementById('act').open");
    browser.value("document.querySelector('#act [name=by]').value = 'ann'");
    browser.screenshot("acknowledge");
    browser.value("document.querySelector('#act button[value=do]').click()");
    browser.wait_for("!document.getElementById('act').open");
    browser.wait_for("document.getElementById('detail').innerText.includes('acknowledged')");
    browser.wait_for("!document.querySelector('[data-act=acknowledge]')");
    let timeline = browser.value("document.getElementById('detail').innerText");
    assert!(timeline.as_str().is_some_and(|text| text.contains("ann")), "{timeline}");
}
