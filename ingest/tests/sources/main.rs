//! The live sources against what they meet: HTTP clients, a Kafka cluster (librdkafka's mock), and
//! a real Mosquitto behind a line that is cut, and a broker that says odd things.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http;
mod kafka;
mod mqtt;
mod scripted;
#[path = "../../../tests/program/skipped.rs"]
mod skipped;
mod stdin;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use event::config::Reader;
use event::{EventTime, RecordFlags, RecordKind, SourceId, StreamId};
use ingest::source::intake::{Ack, Append, Batch, Spares, Wiring};
use ingest::source::settings::SourceSettings;

/// Nothing here takes as long; only a hang does.
const DEADLINE: Duration = Duration::from_secs(60);

fn settings(yaml: &str) -> SourceSettings {
    let (mut reader, node) = Reader::parse("test.yaml", yaml);
    let settings = SourceSettings::read(&mut reader, &node);
    settings.unwrap_or_else(|| panic!("{:?}", reader.diagnostics))
}

fn wiring(capacity: usize) -> (Wiring, Receiver<Batch>) {
    let (intake, batches) = sync_channel(capacity);
    let now = AtomicI64::new(1_000);
    let names = Mutex::new(Vec::<String>::new());
    let wiring = Wiring {
        spares: Spares::default(),
        held: Arc::default(),
        source: SourceId(3),
        intake,
        clock: Arc::new(move || EventTime(now.fetch_add(1, Ordering::Relaxed))),
        streams: Arc::new(move |name| {
            let mut names = names.lock().unwrap();
            let at = names.iter().position(|n| n == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            StreamId(at as u16)
        }),
    };
    (wiring, batches)
}

/// Whoever appends is the channel here.
fn appending(wiring: Wiring) -> (Wiring, Append) {
    let intake = wiring.intake.clone();
    (wiring, Arc::new(move |batch| intake.send(batch).is_ok()))
}

fn next(batches: &Receiver<Batch>) -> Batch {
    batches.recv_timeout(DEADLINE).expect("a batch")
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    kind: RecordKind,
    flags: RecordFlags,
    stream: StreamId,
    topic: String,
    payload: Vec<u8>,
}

impl Seen {
    fn number(&self) -> u64 {
        std::str::from_utf8(&self.payload).unwrap().parse().expect("a number")
    }
}

fn seen(batch: &Batch) -> Vec<Seen> {
    let mut recorded = EventTime::MIN;
    let see = |r: event::RecordRef<'_>| {
        assert_eq!(r.source, SourceId(3));
        assert!(r.recorded >= recorded, "recorded by the clock, in order");
        recorded = r.recorded;
        let topic = String::from_utf8(r.topic.to_vec()).unwrap();
        let payload = r.payload.to_vec();
        Seen { kind: r.kind, flags: r.flags, stream: r.stream, topic, payload }
    };
    batch.records.iter().map(see).collect()
}

fn deliveries(batch: &Batch) -> Vec<Seen> {
    seen(batch).into_iter().filter(|s| s.kind == RecordKind::Delivery).collect()
}

/// Takes batches until so many deliveries have come.
fn take(batches: &Receiver<Batch>, count: usize) -> (Vec<Seen>, Vec<Ack>) {
    let (mut all, mut acks) = (Vec::new(), Vec::new());
    while all.len() < count {
        let batch = next(batches);
        all.extend(deliveries(&batch));
        acks.push(batch.ack);
    }
    (all, acks)
}

fn numbers(all: &[Seen]) -> BTreeSet<u64> {
    all.iter().map(Seen::number).collect()
}
