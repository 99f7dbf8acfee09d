//! Operators act while the program runs: what they did stands in the timeline, has its effect in
//! the engine, and is the same after a restart.

use serde_json::{Value, json};

use crate::server::Server;

const RULES: &str = "rules:
- {id: fence, title: The fence shakes, severity: low, on: FenceAlarm, by: zone}
- {id: duress, on: Duress}
incidents: {by: [area], gap: 1h, shelve_max: 2h}
";

fn write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|e| panic!("{e}"));
}

/// An event so many seconds after midnight, and one a second later that lets time pass it.
fn events(second: u64, kind: &str) -> String {
    let one = |id: String, second: u64, kind: &str| {
        let at = event::EventTime::from_millis(1_700_000_000_000 + second as i64 * 1_000);
        json!({"id": id, "kind": kind, "occurred": at, "feed": "f", "device": "d", "site": "north",
               "area": "yard", "zone": "F1"})
        .to_string()
    };
    let later = one(format!("{second}b"), second + 1, "Heartbeat");
    one(format!("{second}a"), second, kind) + "\n" + &later + "\n"
}

fn incident(server: &Server, id: &str, done: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/api/v1/incidents/{id}");
    server.wait_for(&path, done).unwrap_or_else(|| panic!("the program has died"))
}

fn ids(server: &Server, wanted: usize) -> Vec<String> {
    let many = |list: &Value| list["items"].as_array().is_some_and(|items| items.len() == wanted);
    let list = server.wait_for("/api/v1/incidents", many).unwrap_or_else(|| panic!("it died"));
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|i| i["id"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn what_operators_do_stands_in_the_timeline_and_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let (config, data) = (dir.path().join("config"), dir.path().join("data"));
    std::fs::create_dir_all(&config).unwrap_or_else(|e| panic!("{e}"));
    write(
        &config.join("portcullis.yaml"),
        "time: history\nsources: [{id: http, type: http, mappings: [canonical], slack: 0s}]\nrules: [r.yaml]\n",
    );
    write(&config.join("r.yaml"), RULES);
    let mut server = Server::start(&config, &data, &[], None);
    assert!(server.post(&events(0, "FenceAlarm")));
    let first = ids(&server, 1).remove(0);
    let act = |server: &Server, path: &str, body: Value| server.send("POST", path, &body);
    let on = |act: &str, query: &str| format!("/api/v1/incidents/{first}/{act}?{query}");

    assert_eq!(act(&server, &on("acknowledge", "by=ann"), json!({})), 202);
    let seen = incident(&server, &first, |i| i["state"] == "acknowledged");
    let told = seen["timeline"].as_array().and_then(|t| t.last().cloned()).unwrap_or_default();
    assert_eq!((&told["what"], &told["by"]), (&json!("acknowledged"), &json!("ann")));

    // Who and why are asked for, an end and a known word, too.
    assert_eq!(act(&server, &on("acknowledge", "reason=x"), json!({})), 400);
    assert_eq!(act(&server, &on("shelve", "by=ann"), json!({"for": "30m"})), 400);
    assert_eq!(act(&server, &on("shelve", "by=ann&reason=wind"), json!({"for": "3h"})), 400);
    assert_eq!(act(&server, &on("close", "by=ann"), json!({"disposition": "boredom"})), 400);
    assert_eq!(act(&server, &on("sleep", "by=ann"), json!({})), 404);
    let shelf = json!({"site": "north", "rule": "fence", "key": "F1", "for": "30m"});
    assert_eq!(act(&server, "/api/v1/shelves?by=ann", shelf.clone()), 400);
    assert_eq!(act(&server, "/api/v1/shelves?by=ann&reason=paint", shelf), 202);
    let shelved = |n: usize| {
        move |list: &Value| list["items"].as_array().is_some_and(|items| items.len() == n)
    };
    let shelves = server.wait_for("/api/v1/shelves", shelved(1)).unwrap_or_default();
    assert_eq!(
        (&shelves["items"][0]["by"], &shelves["items"][0]["reason"]),
        (&json!("ann"), &json!("paint"))
    );

    // What is shelved is counted on the incident, also after a restart; duress passes.
    assert!(server.post(&events(10, "FenceAlarm")));
    incident(&server, &first, |i| i["suppressed"]["shelf"] == 1);
    assert!(server.terminate());
    let mut server = Server::start(&config, &data, &[], None);
    assert!(server.post(&events(20, "FenceAlarm")));
    incident(&server, &first, |i| i["suppressed"]["shelf"] == 2 && i["state"] == "acknowledged");
    assert!(server.post(&events(30, "Duress")));
    ids(&server, 2);
    let path = "/api/v1/shelves?site=north&rule=fence&key=F1&by=bob";
    assert_eq!(server.send("DELETE", path, &json!({})), 202);
    assert!(server.wait_for("/api/v1/shelves", shelved(0)).is_some());

    let closed = json!({"disposition": "false-alarm"});
    assert_eq!(act(&server, &on("close", "by=bob&reason=wind"), closed), 202);
    let seen = incident(&server, &first, |i| i["state"] == "closed");
    assert_eq!(seen["disposition"], "false-alarm");
    assert!(server.post(&events(40, "FenceAlarm")));
    let newest = ids(&server, 3).remove(0);
    let seen = incident(&server, &newest, |i| i["links"].as_array().is_some_and(|l| l.len() == 1));
    assert_eq!(seen["links"][0]["id"], first.as_str(), "a successor is linked");
    let figures = server.get("/api/v1/alarm-figures").unwrap_or_default();
    assert_eq!((&figures["alarms"], &figures["suppressed"]["shelf"]), (&json!(3), &json!(2)));
    assert_eq!(figures["dispositions"]["false-alarm"], 1);
    let held = server.get("/api/v1/suppressed").unwrap_or_default();
    assert_eq!(
        (&held["items"][0]["by"], &held["items"][0]["incident"]),
        (&json!("shelf"), &json!(first))
    );
}
