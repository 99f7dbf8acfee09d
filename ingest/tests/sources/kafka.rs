//! Kafka: offsets, gaps, back-pressure.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::{Position, RecordBlock, RecordKind, RecordRef};
use ingest::log::forgetful::ForgetfulFiles;
use ingest::log::{LogWriter, Options};
use ingest::source::intake::Ack;
use ingest::source::kafka;
use ingest::source::settings::SourceSettings;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::{
    DEADLINE, Seen, appending, deliveries, next, numbers, seen, settings, take, until, wiring,
};

struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Cluster {
    fn new() -> Self {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("events", 2, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", mock.bootstrap_servers());
        let producer = config.create().unwrap();
        Self { mock, producer }
    }

    /// Produces numbers, the even ones to partition 0, the odd ones to 1.
    fn produce(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let text = number.to_string();
            let mut record = BaseRecord::<(), String>::to("events")
                .partition((number % 2) as i32)
                .payload(&text);
            while let Err((_, again)) = self.producer.send(record) {
                self.producer.poll(Duration::from_millis(10));
                record = again;
            }
        }
        self.producer.flush(DEADLINE).unwrap();
    }

    fn settings(&self, group: &str) -> SourceSettings {
        let brokers = self.mock.bootstrap_servers();
        settings(&format!(
            "{{id: k, type: kafka, brokers: \"{brokers}\", topics: events, group: {group}, \
             mappings: [canonical], idle_after: 300ms}}"
        ))
    }
}

#[test]
fn kafka_offsets_follow_the_acknowledgements() {
    let cluster = Cluster::new();
    let settings = cluster.settings("follow");
    cluster.produce(0..1_000);

    // All of the first thousand is acknowledged; of what follows, the first batch is not.
    let (wiring, batches) = wiring(4);
    let source = kafka::start(&settings, appending(wiring.clone())).unwrap();
    let first = next(&batches);
    let opened: BTreeSet<_> = seen(&first)
        .into_iter()
        .filter(|s| s.kind == RecordKind::StreamOpened)
        .map(|s| (s.topic, s.stream))
        .collect();
    let names: Vec<_> = opened.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["k/events/0", "k/events/1"]);
    let mut all = deliveries(&first);
    first.ack.done();
    // Each partition is told to be idle after its last delivery (and before, if it came slowly).
    let mut idle = BTreeSet::new();
    while all.len() < 1_000 || idle.len() < 2 {
        let batch = next(&batches);
        for record in seen(&batch) {
            match record.kind {
                RecordKind::Delivery => idle.remove(&record.stream),
                RecordKind::StreamIdle => idle.insert(record.stream),
                other => panic!("{other:?}"),
            };
        }
        all.extend(deliveries(&batch));
        batch.ack.done();
    }
    assert_eq!(numbers(&all), (0..1_000).collect());
    assert!(all.iter().all(|s| s.topic == "events"));
    for parity in 0..2 {
        let one: Vec<_> = all.iter().filter(|s| s.number() % 2 == parity).collect();
        assert!(one.windows(2).all(|w| w[0].number() < w[1].number()), "in order");
        assert!(one.windows(2).all(|w| w[0].stream == w[1].stream), "one stream");
    }
    cluster.produce(1_000..1_010);
    let (_, lost) = take(&batches, 10);
    cluster.produce(1_010..1_300);
    let (_, kept) = take(&batches, 290);
    drop(lost);
    kept.into_iter().for_each(Ack::done);
    let state = source.state();
    assert!(state.connected && state.reason.is_empty(), "{state:?}");
    until("all are counted", || source.state().deliveries == 1_300);
    source.stop();

    // A gap holds back all that is after it; nothing from before it comes again.
    let source = kafka::start(&settings, appending(wiring.clone())).unwrap();
    let (all, acks) = take(&batches, 300);
    assert_eq!(all.iter().map(Seen::number).min(), Some(1_000), "acknowledged ones came again");
    assert_eq!(numbers(&all), (1_000..1_300).collect());
    // In any order.
    acks.into_iter().rev().for_each(Ack::done);
    source.stop();

    // Tombstones are deliveries too.
    let tombstone = BaseRecord::<str, ()>::to("events").partition(0).key("D1");
    cluster.producer.send(tombstone).unwrap();
    cluster.producer.flush(DEADLINE).unwrap();
    let source = kafka::start(&settings, appending(wiring)).unwrap();
    let (all, acks) = take(&batches, 1);
    assert_eq!((all.len(), all[0].payload.as_slice()), (1, b"".as_slice()));
    acks.into_iter().for_each(Ack::done);
    source.stop();
}

/// Judging is behind the log, as the engine or the disk may be.
#[test]
fn a_log_that_is_ahead_holds_kafka_back_without_a_gap() {
    let cluster = Cluster::new();
    cluster.produce(0..5_000);
    let (mut wiring, batches) = wiring(100_000);
    let files = Arc::new(ForgetfulFiles::default());
    let log = LogWriter::open(Path::new("log"), files, Options::default()).unwrap();
    let held = log.progress().held().clone();
    wiring.held = held.clone();
    let source = kafka::start(&cluster.settings("full"), appending(wiring)).unwrap();
    let mut all = deliveries(&next(&batches));
    let mut long = RecordBlock::new();
    long.push(&RecordRef::plain(RecordKind::Delivery, Position(0), &[b'a'; 3 << 20]));
    let end = log.split().0.take(&mut long).unwrap();
    // Nothing is taken meanwhile, for longer than the source waits before it pauses.
    let mut produced = 5_000;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_500) {
        cluster.produce(produced..produced + 100);
        produced += 100;
    }
    while let Ok(batch) = batches.try_recv() {
        all.extend(deliveries(&batch));
    }
    let rest = produced as usize - all.len();
    assert!(rest >= produced as usize - 5_000, "what came meanwhile is not taken");
    held.judged(end);
    all.extend(take(&batches, rest).0);
    for parity in 0..2 {
        let one: Vec<_> = all.iter().map(Seen::number).filter(|n| n % 2 == parity).collect();
        let wanted: Vec<_> = (0..produced).filter(|n| n % 2 == parity).collect();
        assert_eq!(one, wanted, "each once, in order");
    }
    until("all are counted", || source.state().deliveries == produced);
    source.stop();
}

#[test]
fn a_kafka_that_is_not_there_is_a_state_and_no_error() {
    let (wiring, _batches) = wiring(1);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let yaml =
        format!("{{id: k, type: kafka, brokers: '{closed}', topics: t, group: g, mappings: [m]}}");
    let source = kafka::start(&settings(&yaml), appending(wiring)).unwrap();
    until("the state says why", || {
        let state = source.state();
        !state.connected && !state.reason.starts_with("connecting")
    });
    source.stop();
}
