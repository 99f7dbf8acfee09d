//! The same traffic through files, a real Mosquitto and a real Kafka: the same incidents, id for
//! id, out of order within the slack and with repeats.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::kill::incidents;
use crate::place::{portcullis, project};
use crate::server::Server;
use crate::services::{self, Kafka, Mqtt};
use crate::traffic;

const EVENTS: u64 = 12_000;
/// Topics of MQTT, partitions of Kafka.
const WAYS: usize = 8;

type Incidents = BTreeMap<String, (String, u64, u64)>;

fn configuration(dir: &Path, name: &str, source: &str) -> PathBuf {
    let rules = project().join("config/examples/ten-rules/rules/ten.yaml");
    let config = dir.join(name);
    let text = format!(
        "time: history\nsources: [{{id: in, {source}, mappings: [canonical], slack: 2s}}]\n\
         rules: ['{}']\n",
        rules.display()
    );
    std::fs::create_dir_all(&config).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(config.join("portcullis.yaml"), text).unwrap_or_else(|e| panic!("{e}"));
    config
}

/// The incidents of the lines in their order, by `replay`.
fn from_file(dir: &Path, lines: &[String]) -> Incidents {
    let config = configuration(dir, "file", "type: file, files: ['*.ndjson']");
    let (file, out) = (dir.join("in.ndjson"), dir.join("out.ndjson"));
    std::fs::write(&file, lines.join("\n")).unwrap_or_else(|e| panic!("{e}"));
    let mut command = portcullis();
    command.arg("replay").arg("--config").arg(config).arg("--incidents").arg(&out).arg(&file);
    let output = command.output().unwrap_or_else(|e| panic!("{e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&out).unwrap_or_else(|e| panic!("{e}"));
    let lines = text.lines().map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let n = |name: &str| value[name].as_array().map_or(0, Vec::len) as u64;
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        (text("id"), (text("rule"), n("detections"), n("events")))
    });
    lines.collect()
}

/// Runs the program while `send` sends, until `events` are judged; its books and incidents.
fn through(
    dir: &Path,
    config: &Path,
    events: u64,
    send: impl FnOnce(),
) -> (serde_json::Value, Incidents) {
    let data = config.join("data");
    let server = Server::start(config, &data, &[], None);
    let up = |v: &serde_json::Value| v["sources"][0]["connected"] == true;
    assert!(server.wait_for("/api/v1/sources", up).is_some());
    send();
    let judged = |v: &serde_json::Value| {
        let n = |name: &str| v["books"]["in"][name].as_u64().unwrap_or_default();
        n("events") >= events && n("waiting") == 0 && n("in_flight") == 0
    };
    let books = server.wait_for("/api/v1/books", judged).unwrap_or_default();
    assert!(server.terminate(), "in {}", dir.display());
    let store = sinks::Reader::open(data.join("incidents.db")).unwrap_or_else(|e| panic!("{e}"));
    (books["books"]["in"].clone(), incidents(&store))
}

/// Which way a line goes: by its door, so that a device keeps to one.
fn way(line: &str) -> usize {
    let door = line.split("\"door\":\"D").nth(1).and_then(|d| d.bytes().next());
    usize::from(door.unwrap_or(b'7') - b'0') % WAYS
}

fn publish(port: u16, lines: &[String]) {
    let message = |line: &String| (format!("site/{}/events", way(line)), line.clone().into_bytes());
    services::publish(port, lines.iter().map(message).collect(), false);
}

fn produce((brokers, topic): (&str, &str), lines: &[String]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .unwrap_or_else(|e| panic!("{e}"));
    for line in lines {
        // Time moves on in every partition.
        let advance = line.contains("\"Advance\"");
        let ways = if advance { 0..WAYS } else { way(line)..way(line) + 1 };
        for partition in ways {
            let record = BaseRecord::<(), str>::to(topic).partition(partition as i32);
            producer.send(record.payload(line)).unwrap_or_else(|(e, _)| panic!("{e}"));
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn mosquitto_and_kafka_give_the_incidents_of_the_file() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let seed = 20_261_123;
    println!("seed {seed}");
    let mut lines = traffic::events(seed, EVENTS);
    let mut sent = traffic::disturbed(&lines, seed);
    lines.push(traffic::ADVANCE.to_owned());
    sent.push(traffic::ADVANCE.to_owned());
    let repeats = (sent.len() - lines.len()) as u64;
    let wanted = from_file(dir.path(), &lines);
    assert!(wanted.len() > 1_000, "{}", wanted.len());

    let broker = Mqtt::start();
    let source =
        format!("type: mqtt, url: 'mqtt://127.0.0.1:{}', topics: ['site/+/events']", broker.port);
    let config = configuration(dir.path(), "mqtt", &source);
    let count = sent.len() as u64;
    let (books, found) = through(dir.path(), &config, count, || publish(broker.port, &sent));
    assert_eq!(books["late"], 0, "{books}");
    assert!(books["duplicate"].as_u64() >= Some(repeats), "{books}");
    assert_eq!(found, wanted, "through MQTT");

    let kafka = Kafka::start();
    kafka.create_topic("events", WAYS as i32);
    let source = format!("type: kafka, brokers: '{}', topics: [events], group: g", kafka.brokers);
    let config = configuration(dir.path(), "kafka", &source);
    // One time mark for each partition.
    let count = count + WAYS as u64 - 1;
    let (books, found) =
        through(dir.path(), &config, count, || produce((&kafka.brokers, "events"), &sent));
    assert_eq!(books["late"], 0, "{books}");
    assert!(books["duplicate"].as_u64() >= Some(repeats), "{books}");
    assert_eq!(found, wanted, "through Kafka");
}

/// Kills the program twice on its way, and lets time go on behind so many events; its incidents, and
/// how much log it has written.
fn killed_on_the_way(config: &Path, events: u64, advance: impl FnOnce()) -> (Incidents, u64) {
    let data = config.join("data");
    let further = ["--snapshot-bytes", "20000"];
    let books = |v: &serde_json::Value| {
        let n = |name: &str| v["books"]["in"][name].as_u64().unwrap_or_default();
        (n("accepted"), n("waiting"), n("in_flight"))
    };
    let mut server = Server::start(config, &data, &further, Some("engine-stepped:6"));
    assert!(server.wait_for("/api/v1/books", |_| false).is_none(), "it is killed");
    server.join();
    let mut server = Server::start(config, &data, &further, None);
    assert!(server.wait_for("/api/v1/books", |v| books(v).0 > events / 2).is_some());
    server.kill();
    let server = Server::start(config, &data, &further, None);
    let come = |v: &serde_json::Value| books(v).0 + books(v).1 == events;
    assert!(server.wait_for("/api/v1/books", come).is_some());
    advance();
    // One time mark for each partition.
    let all = (events + WAYS as u64, 0, 0);
    assert!(server.wait_for("/api/v1/books", |v| books(v) == all).is_some());
    assert!(server.terminate());
    let store = sinks::Reader::open(data.join("incidents.db")).unwrap_or_else(|e| panic!("{e}"));
    let log = std::fs::read_dir(data.join("log")).unwrap_or_else(|e| panic!("{e}"));
    let len = |entry: std::io::Result<std::fs::DirEntry>| entry.and_then(|e| e.metadata());
    let bytes = log.map(|entry| len(entry).map_or(0, |meta| meta.len())).sum();
    (incidents(&store), bytes)
}

/// The night of a data folder under its own rules again: the code, and what was said of errors.
fn again(config: &Path) -> (Option<i32>, String) {
    let mut command = portcullis();
    command.args(["backtest", "--exit-code", "--config"]).arg(config).arg("--rules").arg(config);
    let output = command.arg("--data").arg(config.join("data")).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn offsets_alone_in_the_log_give_the_same_after_a_kill() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let seed = 20_261_126;
    println!("seed {seed}");
    let mut lines = traffic::events(seed, EVENTS);
    lines.push(traffic::ADVANCE.to_owned());
    let wanted = from_file(dir.path(), &lines);
    let kafka = Kafka::start();
    let (advance, mut written) = (lines.split_off(lines.len() - 1), BTreeMap::new());
    for log in ["payloads", "offsets"] {
        kafka.create_topic(log, WAYS as i32);
        produce((&kafka.brokers, log), &lines);
        let source = format!(
            "type: kafka, brokers: '{}', topics: [{log}], group: {log}, log: {log}",
            kafka.brokers
        );
        let config = configuration(dir.path(), log, &source);
        let advance = || produce((&kafka.brokers, log), &advance);
        let (found, bytes) = killed_on_the_way(&config, EVENTS, advance);
        assert_eq!(found, wanted, "with {log} in the log");
        written.insert(log, bytes);
    }
    assert!(written["offsets"] * 5 < written["payloads"], "{written:?}");

    // The night is read again from the topic, as long as the broker has it.
    let config = dir.path().join("offsets");
    assert_eq!(again(&config), (Some(0), String::new()));
    if kafka.delete_before("offsets", WAYS as i32, 100) {
        let (code, said) = again(&config);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("is no longer retained by the broker"), "{said}");
    }
}
