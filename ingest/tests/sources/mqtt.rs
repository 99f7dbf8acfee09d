//! MQTT: a real broker, cut lines, sessions that last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use event::{RecordBlock, RecordFlags, RecordKind};
use ingest::source::intake::{Ack, Batch, Running, SourceError, Wiring};
use ingest::source::mqtt;
use ingest::source::settings::SourceSettings;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use super::{Seen, deliveries, next, numbers, seen, settings, take, until, wiring};

/// A Mosquitto of our own; `None`, and said so, where there is none to be had.
struct Mosquitto {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Mosquitto {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = dir.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n",
            address.port()
        );
        std::fs::write(&config, text).unwrap();
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
        let child = Command::new("mosquitto")
            .env("PATH", &path)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            super::skipped::skipped("Mosquitto is not there");
            return None;
        };
        let broker = Self { child, address, _dir: dir };
        until("mosquitto listens", || TcpStream::connect(address).is_ok());
        Some(broker)
    }

    /// Publishes at QoS 1; returns when the broker has taken all.
    fn publish(&self, messages: Vec<(String, Vec<u8>, bool)>) {
        let port = self.address.port();
        let mut options = MqttOptions::new(format!("publisher-{port}"), "127.0.0.1", port);
        options.set_max_packet_size(1 << 24, 1 << 24).set_inflight(100);
        let (client, mut connection) = Client::new(options, 100);
        let count = messages.len();
        let feed = std::thread::spawn(move || {
            for (topic, payload, retain) in messages {
                client.publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
            }
            client
        });
        let mut taken = 0;
        for event in connection.iter() {
            if let Event::Incoming(Packet::PubAck(_)) = event.unwrap() {
                taken += 1;
            }
            if taken == count {
                break;
            }
        }
        feed.join().unwrap();
    }

    /// Publishes numbers on eight topics.
    fn count(&self, numbers: std::ops::Range<u64>) {
        let message =
            |n: u64| (format!("site/a/badge/{}", n % 8), n.to_string().into_bytes(), false);
        self.publish(numbers.map(message).collect());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes connections on, and cuts them when told.
struct Line {
    address: SocketAddr,
    ends: Arc<Mutex<Vec<TcpStream>>>,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ends = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new(AtomicBool::new(false));
        let (all, over) = (ends.clone(), closed.clone());
        let thread = std::thread::spawn(move || {
            for near in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    break;
                }
                let (near, far) = (near.unwrap(), TcpStream::connect(target).unwrap());
                far.set_nodelay(true).unwrap();
                near.set_nodelay(true).unwrap();
                let mut all = all.lock().unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                all.extend([near, far]);
            }
        });
        Self { address, ends, closed, thread: Some(thread) }
    }

    fn cut(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        self.cut();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn mqtt_settings(address: SocketAddr) -> SourceSettings {
    settings(&format!(
        "{{id: badge, type: mqtt, url: 'mqtt://{address}', topics: ['site/+/badge/#'], \
         mappings: [canonical], payload_bytes_max: 2000, idle_after: 200ms, keep_alive: 2s, \
         inflight: 50}}"
    ))
}

/// Starts a source and waits until its subscription stands: a retained message tells.
fn subscribed(
    broker: &Mosquitto,
    line: &Line,
    wiring: Wiring,
    batches: &Receiver<Batch>,
) -> Running {
    broker.publish(vec![("site/a/badge/old".to_owned(), b"7000".to_vec(), true)]);
    let source = mqtt::start(&mqtt_settings(line.address), wiring).unwrap();
    let opened = next(batches);
    let all = seen(&opened);
    assert_eq!((all[0].kind, all[0].topic.as_str()), (RecordKind::StreamOpened, "badge"));
    opened.ack.done();
    if all.len() == 1 {
        let retained = next(batches);
        assert_eq!(deliveries(&retained)[0].flags, RecordFlags::RETAINED);
        retained.ack.done();
    }
    source
}

#[test]
fn mqtt_deliveries_are_acknowledged_when_durable_and_come_again_otherwise() {
    let Some(broker) = Mosquitto::start() else { return };
    let line = Line::to(broker.address);
    let (wiring, batches) = wiring(64);
    let source = subscribed(&broker, &line, wiring, &batches);

    broker.count(0..1_000);
    let mut topics = BTreeMap::<String, usize>::new();
    let mut got = BTreeSet::new();
    while got.len() < 500 {
        let batch = next(&batches);
        for one in deliveries(&batch) {
            assert_eq!(one.flags, RecordFlags::default());
            assert!(got.insert(one.number()), "acknowledged and come again");
            *topics.entry(one.topic).or_default() += 1;
        }
        batch.ack.done();
    }
    assert_eq!(topics.len(), 8, "{topics:?}");

    // However much the batches took, more follows. From here on nothing is acknowledged. Our own
    // window fills, and the line is cut twice: acknowledgements of the first connection must do
    // nothing on the second.
    broker.count(1_000..1_500);
    let (before, old) = take(&batches, 1);
    let before = numbers(&before);
    line.cut();
    let mut again = BTreeSet::new();
    let mut unacked = Vec::new();
    while !again.is_superset(&before) {
        let batch = next(&batches);
        again.extend(deliveries(&batch).iter().map(Seen::number));
        unacked.push(batch.ack);
    }
    old.into_iter().for_each(Ack::done);
    until("the reconnection is counted", || source.state().reconnects >= 1);
    line.cut();
    drop(unacked);
    let mut third = BTreeSet::new();
    while !third.is_superset(&before) || !got.is_superset(&(0..1_500).collect()) {
        let batch = next(&batches);
        third.extend(deliveries(&batch).iter().map(Seen::number));
        got.extend(deliveries(&batch).iter().map(Seen::number));
        batch.ack.done();
    }
    let state = source.state();
    assert!(state.connected && state.reason.is_empty() && state.reconnects == 2, "{state:?}");

    // Silent and drained.
    let idle = loop {
        if let Some(idle) =
            seen(&next(&batches)).into_iter().find(|s| s.kind != RecordKind::Delivery)
        {
            break idle;
        }
    };
    assert_eq!((idle.kind, idle.topic.as_str()), (RecordKind::StreamIdle, "badge"));
    source.stop();
}

#[test]
fn mqtt_sessions_outlast_the_source_and_long_messages_keep_their_heads() {
    let Some(broker) = Mosquitto::start() else { return };
    let line = Line::to(broker.address);
    let (wiring, batches) = wiring(64);
    subscribed(&broker, &line, wiring.clone(), &batches).stop();
    while batches.try_recv().is_ok() {}

    // Published while nobody is there.
    let long = |n: usize| ("site/b/badge/x".to_owned(), vec![b'1'; n], false);
    broker.publish(vec![long(2_000), long(2_001), long(300_000), long(3)]);
    let source = mqtt::start(&mqtt_settings(line.address), wiring).unwrap();
    let mut lengths = Vec::new();
    while lengths.len() < 4 {
        let batch = next(&batches);
        let all = deliveries(&batch).into_iter().filter(|s| s.topic == "site/b/badge/x");
        lengths.extend(all.map(|s| (s.payload.len(), s.flags)));
        batch.ack.done();
    }
    let (whole, cut) = (RecordFlags::default(), RecordFlags::OVERSIZE);
    assert_eq!(lengths, [(2_000, whole), (2_000, cut), (2_000, cut), (3, whole)]);
    source.stop();
}

#[test]
fn a_full_intake_holds_mqtt_back_and_the_connection_stands() {
    let Some(broker) = Mosquitto::start() else { return };
    let line = Line::to(broker.address);
    let (wiring, batches) = wiring(1);
    let intake = wiring.intake.clone();
    let source = subscribed(&broker, &line, wiring, &batches);
    // Somebody else's batch fills the intake, for longer than the broker waits for a sign of life
    // (1.5 × 2 s), while there is something to hand over.
    let batch = || Batch { records: RecordBlock::new(), ack: Ack::none() };
    until("the intake is full", || matches!(intake.try_send(batch()), Err(TrySendError::Full(_))));
    let begun = Instant::now();
    let mut produced = 0;
    while begun.elapsed() < Duration::from_secs(8) {
        broker.count(produced..produced + 50);
        produced += 50;
    }
    let mut got = Vec::new();
    while got.len() < produced as usize {
        let batch = next(&batches);
        got.extend(deliveries(&batch).iter().map(Seen::number));
        batch.ack.done();
    }
    assert!(got.iter().copied().eq(0..produced), "each once, in order");
    assert_eq!(source.state().reconnects, 0, "{:?}", source.state());
    source.stop();
}

#[test]
fn a_broker_that_comes_late_is_found() {
    let Some(broker) = Mosquitto::start() else { return };
    let (wiring, batches) = wiring(4);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = mqtt::start(&mqtt_settings(closed), wiring.clone()).unwrap();
    until("the state says why", || {
        let state = source.state();
        !state.connected && !state.reason.starts_with("connecting")
    });
    source.stop();
    assert!(batches.try_recv().is_err(), "no stream before the first connection");
    let source = mqtt::start(&mqtt_settings(broker.address), wiring).unwrap();
    assert_eq!(seen(&next(&batches))[0].kind, RecordKind::StreamOpened);
    source.stop();

    let other = settings("{id: w, type: http, mappings: [m]}");
    let (spare, _) = super::wiring(1);
    assert!(matches!(mqtt::start(&other, spare), Err(SourceError::Kind { .. })));
}
