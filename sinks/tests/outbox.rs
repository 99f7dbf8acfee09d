//! The outbox delivers everything at least once, in order, and one sink never waits for another.

mod receiver;
mod story;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use event::EventTime;
use event::config::Reader as ConfigReader;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaRespErr;
use receiver::{WebServer, answer};
use sinks::outbox::{Pace, Wake};
use sinks::store::StoreLimits;
use sinks::{Disposition, Notification, Outbox, Reader, Sink, SinkSettings, SinkStatus, Store};
use story::{id, joined, opened};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for nothing, and remembers how long it should have.
#[derive(Default)]
struct NoPace(Mutex<Vec<Duration>>);

impl Pace for NoPace {
    fn now(&self) -> EventTime {
        story::at(5_000)
    }

    fn pause(&self, span: Duration, _: &Wake) {
        self.0.lock().expect("a lock").push(span);
    }
}

impl NoPace {
    fn pauses(&self) -> Vec<Duration> {
        self.0.lock().expect("a lock").clone()
    }
}

struct Site {
    dir: TempDir,
    store: Store,
    pace: Arc<NoPace>,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path().join("incidents.db")).expect("a store");
        Self { dir, store, pace: Arc::default() }
    }

    fn start(&mut self, sinks: Vec<Box<dyn Sink>>) -> Outbox {
        let outbox = Outbox::start_with(self.store.path(), sinks, self.pace.clone());
        let outbox = outbox.expect("an outbox");
        self.store.set_wake(outbox.wake());
        outbox
    }

    /// `count` incidents, each in a commit of its own: `seq` is also its minute.
    fn open_incidents(&mut self, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            let output = opened(seq, "fence-climb", seq as i64 * 60);
            self.store.commit(&[output], &[]).expect("a commit");
        }
    }

    fn dead(&self) -> Vec<sinks::store::DeadLetterView> {
        let reader = Reader::open(self.store.path()).expect("a reader");
        reader.dead_letters(100).expect("dead letters")
    }

    fn rows(&self, table: &str) -> i64 {
        let db = rusqlite::Connection::open(self.dir.path().join("incidents.db")).expect("a db");
        let sql = format!("SELECT count(*) FROM {table}");
        db.query_row(&sql, [], |row| row.get(0)).expect("a count")
    }
}

/// Waits until a sink's status is as wanted.
fn until(outbox: &Outbox, name: &str, wanted: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = outbox.status().expect("a status");
        let status = all.into_iter().find(|s| s.name == name).expect("the sink");
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        std::thread::yield_now();
    }
}

fn configured(yaml: &str) -> Box<dyn Sink> {
    let (mut reader, node) = ConfigReader::parse("portcullis.yaml", yaml);
    let settings = SinkSettings::read(&mut reader, &node);
    let settings = settings.unwrap_or_else(|| panic!("{:?}", reader.diagnostics));
    settings.sink().expect("a sink")
}

fn webhook(server: &WebServer) -> Box<dyn Sink> {
    let url = server.url("/hook?key=s3cret");
    configured(&format!("{{id: soc, type: webhook, url: '{url}', timeout: 20s, attempts_max: 4}}"))
}

/// A sink that does as it is told by a closure, and tells of each call.
struct Scripted<F> {
    name: &'static str,
    said: Sender<Notification>,
    script: F,
}

impl<F: FnMut(&Notification) -> Result<(), Disposition> + Send> Sink for Scripted<F> {
    fn name(&self) -> &str {
        self.name
    }

    fn deliver(&mut self, notification: &Notification) -> Result<(), Disposition> {
        self.said.send(notification.clone()).expect("the test listens");
        (self.script)(notification)
    }
}

fn scripted(
    name: &'static str,
    script: impl FnMut(&Notification) -> Result<(), Disposition> + Send + 'static,
) -> (Box<dyn Sink>, Receiver<Notification>) {
    let (said, heard) = channel();
    (Box::new(Scripted { name, said, script }), heard)
}

#[test]
fn a_webhook_gets_every_change_in_order_under_its_id() {
    let server = WebServer::start(|_| answer(200, ""));
    let mut site = Site::new();
    let outbox = site.start(vec![webhook(&server)]);
    site.open_incidents(1..=20);
    let first = id(60, "fence-climb");
    site.store.commit(&[joined(21, "person-on-camera", 1_300, first)], &[]).expect("a commit");
    let mut keys = std::collections::BTreeSet::new();
    for n in 1..=21 {
        let request = server.next();
        let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
        assert_eq!(request.header("idempotency-key"), body["id"].as_str());
        assert_eq!(request.header("content-type"), Some("application/json"));
        let incident = if n == 21 { first } else { id(n * 60, "fence-climb") };
        assert_eq!(body["incident"]["id"], incident.to_string());
        assert_eq!(body["changes"][0], if n == 21 { "joined" } else { "opened" });
        assert_eq!(body["detections"][0]["events"].as_array().map(Vec::len), Some(2));
        keys.insert(body["id"].to_string());
    }
    assert_eq!(keys.len(), 21);
    let status = until(&outbox, "soc", |s| s.pending == 0);
    assert_eq!((status.delivered, status.dead, status.last_error), (21, 0, None));
    outbox.stop();
    assert_eq!((site.rows("outbox"), site.rows("notification")), (0, 0));
}

#[test]
fn a_busy_webhook_is_tried_again_when_it_asks_for_it() {
    let mut left = vec![answer(200, ""), answer(503, "Retry-After: 7\r\n"), answer(500, "")];
    let server = WebServer::start(move |_| left.pop().unwrap_or_else(|| answer(200, "")));
    let mut site = Site::new();
    let outbox = site.start(vec![webhook(&server)]);
    site.open_incidents(1..=2);
    let keys: Vec<_> =
        (0..4).map(|_| server.next().header("idempotency-key").map(str::to_owned)).collect();
    assert!(keys[0].is_some() && keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3]);
    until(&outbox, "soc", |s| s.delivered == 2);
    assert_eq!(site.pace.pauses(), [Duration::from_millis(500), Duration::from_secs(7)]);
}

#[test]
fn what_a_webhook_refuses_is_a_dead_letter_without_secrets() {
    let server = WebServer::start(|n| answer(if n == 0 { 422 } else { 200 }, ""));
    let mut site = Site::new();
    let outbox = site.start(vec![webhook(&server)]);
    site.open_incidents(1..=2);
    let status = until(&outbox, "soc", |s| s.pending == 0);
    assert_eq!((status.delivered, status.dead), (1, 1));
    let dead = site.dead();
    assert_eq!((dead[0].class.as_str(), dead[0].source.as_str()), ("notification", "soc"));
    assert!(dead[0].reason.ends_with("answered 422"), "{}", dead[0].reason);
    assert!(!format!("{dead:?}{status:?}").contains("s3cret"));
    assert!(dead[0].raw.contains(&id(60, "fence-climb").to_string()));
    assert_eq!(dead[0].at, story::at(5_000));
}

#[test]
fn attempts_end_and_the_next_one_goes_on() {
    let server = WebServer::start(|n| answer(if n < 4 { 500 } else { 200 }, ""));
    let mut site = Site::new();
    let outbox = site.start(vec![webhook(&server)]);
    site.open_incidents(1..=2);
    let status = until(&outbox, "soc", |s| s.pending == 0);
    assert_eq!((status.delivered, status.dead), (1, 1));
    assert!(site.dead()[0].reason.starts_with("gave up after 4: "), "{:?}", site.dead());
}

#[test]
fn a_silent_or_absent_webhook_is_retried() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let settings =
        format!("{{id: soc, type: webhook, url: 'http://127.0.0.1:{port}/s3cret', timeout: 50ms}}");
    let mut sink = configured(&settings);
    let notification =
        Notification { id: "n".to_owned(), incident: id(1, "x"), body: "{}".to_owned() };
    let silent = sink.deliver(&notification);
    drop(listener);
    let absent = sink.deliver(&notification);
    let expected = format!("http://127.0.0.1:{port}: no answer within the time-out");
    assert_eq!(silent, Err(Disposition::Retry(expected)));
    assert!(matches!(absent, Err(Disposition::Retry(r)) if !r.contains("s3cret")));
}

#[test]
fn a_commit_wakes_its_sinks() {
    let (sink, heard) = scripted("soc", |_| Ok(()));
    let mut site = Site::new();
    let outbox = site.start(vec![sink]);
    let before = Instant::now();
    for seq in 1..=4 {
        site.open_incidents(seq..=seq);
        heard.recv_timeout(PATIENCE).expect("a delivery");
        until(&outbox, "soc", |s| s.pending == 0);
    }
    // Unwoken, each would wait for the outbox's next look.
    assert!(before.elapsed() < sinks::limits::OUTBOX_LOOK_EVERY, "{:?}", before.elapsed());
}

#[test]
fn back_off_doubles_up_to_its_cap() {
    let mut failures = 10;
    let (sink, _heard) = scripted("bus", move |_| {
        failures -= 1;
        if failures >= 0 { Err(Disposition::Retry("down".to_owned())) } else { Ok(()) }
    });
    let mut site = Site::new();
    let outbox = site.start(vec![sink]);
    site.open_incidents(1..=1);
    until(&outbox, "bus", |s| s.delivered == 1);
    let halves: Vec<_> = site.pace.pauses().iter().map(|p| p.as_millis() / 500).collect();
    assert_eq!(halves, [1, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
}

#[test]
fn a_stuck_sink_holds_up_nobody() {
    let (release, stuck_on) = channel::<()>();
    let (stuck, stuck_heard) = scripted("stuck", move |_| {
        // Until the test lets go of the other end.
        stuck_on.recv().or(Ok(()))
    });
    let (brisk, heard) = scripted("brisk", |_| Ok(()));
    let mut site = Site::new();
    let outbox = site.start(vec![stuck, brisk]);
    // Dropped before the outbox, whose end waits for the stuck one, also when this test fails.
    let release = release;
    site.open_incidents(1..=50);
    stuck_heard.recv_timeout(PATIENCE).expect("the stuck sink was called");
    let order: Vec<_> =
        (0..50).map(|_| heard.recv_timeout(PATIENCE).expect("the brisk one").incident).collect();
    assert!(order.is_sorted() && order.len() == 50);
    until(&outbox, "brisk", |s| s.delivered == 50);
    let status = until(&outbox, "stuck", |_| true);
    assert_eq!((status.pending, status.delivered), (50, 0));
    drop(release);
    until(&outbox, "stuck", |s| s.delivered == 50);
}

#[test]
fn a_stop_ends_the_longest_wait_and_a_panic_is_shown() {
    let hour = Duration::from_secs(3_600);
    let (patient, heard) =
        scripted("patient", move |_| Err(Disposition::RetryAfter("busy".to_owned(), hour)));
    let (broken, _heard) = scripted("broken", |_| panic!("planted"));
    let mut site = Site::new();
    let outbox = Outbox::start(site.store.path(), vec![patient, broken]).expect("an outbox");
    site.store.set_wake(outbox.wake());
    site.open_incidents(1..=1);
    heard.recv_timeout(PATIENCE).expect("a delivery");
    until(&outbox, "patient", |s| s.last_error.as_deref() == Some("busy"));
    until(&outbox, "broken", |s| s.stopped && s.pending == 1);
    let before = Instant::now();
    outbox.stop();
    assert!(before.elapsed() < PATIENCE);
}

#[test]
fn what_was_under_way_is_repeated_under_the_same_id_after_a_restart() {
    let mut site = Site::new();
    let (sink, heard) = scripted("soc", |_| Err(Disposition::Fatal("no such topic".to_owned())));
    let outbox = site.start(vec![sink]);
    site.open_incidents(1..=3);
    let before = heard.recv_timeout(PATIENCE).expect("a delivery");
    let status = until(&outbox, "soc", |s| s.stopped);
    assert_eq!((status.pending, status.last_error.as_deref()), (3, Some("no such topic")));
    outbox.stop();
    // Not running: what is committed meanwhile waits as well.
    site.open_incidents(4..=4);
    let (sink, heard) = scripted("soc", |_| Ok(()));
    let outbox = site.start(vec![sink]);
    let after: Vec<_> = (0..4).map(|_| heard.recv_timeout(PATIENCE).expect("a delivery")).collect();
    assert_eq!(after[0], before);
    assert!(after.is_sorted_by_key(|n| n.incident));
    until(&outbox, "soc", |s| s.pending == 0 && s.delivered == 4 && s.last_error.is_none());
}

#[test]
fn a_sink_that_is_gone_for_weeks_costs_bounded_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = StoreLimits { outbox_pending_max: 3, ..StoreLimits::default() };
    let store = Store::open_with(dir.path().join("incidents.db"), limits).expect("a store");
    let mut site = Site { dir, store, pace: Arc::default() };
    site.store.register_sinks(&["soc"]).expect("a registration");
    site.open_incidents(1..=5);
    assert_eq!((site.rows("outbox"), site.rows("notification")), (3, 3));
    let dead = site.dead();
    assert_eq!(dead.len(), 2);
    assert_eq!(dead[0].reason, "more than 3 notifications wait for this sink");
    let (sink, heard) = scripted("soc", |_| Ok(()));
    let outbox = site.start(vec![sink]);
    until(&outbox, "soc", |s| (s.delivered, s.dead, s.pending) == (3, 2, 0));
    let left: Vec<_> = heard.try_iter().map(|n| n.incident).collect();
    assert_eq!(left, [180, 240, 300].map(|second| id(second, "fence-climb")));
}

#[test]
fn a_kafka_topic_gets_every_change_keyed_by_incident() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("incidents", 4, 1).expect("a topic");
    let brokers = cluster.bootstrap_servers();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.topic_error("incidents", refused).expect("a fault");
    let mut site = Site::new();
    let sink = configured(&format!(
        "{{id: bus, type: kafka, brokers: '{brokers}', topic: incidents, attempts_max: 1000000}}"
    ));
    let outbox = site.start(vec![sink]);
    site.open_incidents(1..=5);
    let first = id(60, "fence-climb");
    site.store.commit(&[joined(6, "person-on-camera", 400, first)], &[]).expect("a commit");
    let status = until(&outbox, "bus", |s| s.last_error.is_some());
    assert_eq!((status.pending, status.delivered), (6, 0));
    cluster
        .topic_error("incidents", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR)
        .expect("the end of the fault");
    until(&outbox, "bus", |s| s.delivered == 6 && s.pending == 0 && s.last_error.is_none());
    outbox.stop();

    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    let mut places = rdkafka::TopicPartitionList::new();
    for partition in 0..4 {
        let offset = rdkafka::Offset::Beginning;
        places.add_partition_offset("incidents", partition, offset).expect("a place");
    }
    consumer.assign(&places).expect("an assignment");
    let mut of_first = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut keys = std::collections::BTreeMap::new();
    while keys.values().sum::<i32>() < 6 {
        assert!(Instant::now() < deadline, "{keys:?}");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.expect("a message");
        let key = String::from_utf8_lossy(message.key().expect("a key")).into_owned();
        let body: serde_json::Value =
            serde_json::from_slice(message.payload().expect("a payload")).expect("JSON");
        assert_eq!(body["incident"]["id"], key);
        if key == first.to_string() {
            of_first.push(body["changes"][0].as_str().map(str::to_owned));
        }
        *keys.entry(key).or_insert(0) += 1;
    }
    assert_eq!(keys.len(), 5);
    assert_eq!(of_first, [Some("opened".to_owned()), Some("joined".to_owned())]);
}
