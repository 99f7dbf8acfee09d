//! Apache Kafka: a member of a consumer group whose offsets move on only when the log holds what
//! is before them.
//!
//! The consumer is polled on a thread of its own: rebalances are answered there and nowhere else.
//! Offsets are stored in the order of the batches: one that is never acknowledged holds back all
//! that come after it, and they come again.

mod again;
mod consumer;
mod desk;
mod ledger;

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::backoff::Backoff;
use super::intake::{
    Append, BATCH_DELIVERIES_MAX, BATCHES_UNACKED_MAX, Board, Running, SourceError, Wiring,
};
use super::settings::{Kind, SourceSettings};
pub use again::Again;
use consumer::{Consumer, Word};
use desk::Desk;
use ledger::Ledger;

/// One turn without a message: how late an acknowledgement, a silence or a stop is noticed.
const POLL: Duration = Duration::from_millis(50);

/// How long it is simply waited for where nothing more is taken. Then the partitions are paused, which throws away
/// what was fetched ahead, and polling goes on: a consumer that does not poll is thrown out of its
/// group after five minutes, and holds up everybody's rebalance before.
const FULL_WAIT_MAX: Duration = Duration::from_millis(500);

/// Between two looks whether more is taken: nobody wakes us.
const FULL_WAIT: Duration = Duration::from_millis(2);

/// The same, once the partitions are paused.
const FULL_POLL: Duration = Duration::from_millis(10);

/// Starts reading, and appends to the log by itself. Brokers that are down are no error: see [`Running::state`].
///
/// # Errors
/// The settings are of another type, librdkafka refuses them, or there is no thread to be had.
pub fn start(settings: &SourceSettings, ways: (Wiring, Append)) -> Result<Running, SourceError> {
    let Kind::Kafka { brokers, topics, group, offsets } = &settings.kind else {
        return Err(SourceError::Kind { source_id: settings.id.clone(), wanted: "kafka" });
    };
    let board = Arc::new(Board::default());
    board.link(false, format!("connecting to {brokers}"));
    let way = Way {
        config: config(&settings.id, brokers, group),
        topics: topics.clone(),
        board: board.clone(),
    };
    let link = way
        .connect()
        .map_err(|error| SourceError::Kafka { source_id: settings.id.clone(), error })?;
    let desk = Desk::new(settings, *offsets, ways, board.clone());
    let thread = std::thread::Builder::new()
        .name(format!("kafka-{}", settings.id))
        .spawn(move || run(&way, link, desk))
        .map_err(|error| SourceError::Thread { source_id: settings.id.clone(), error })?;
    Ok(Running::new(board, thread, || {}))
}

fn config(id: &str, brokers: &str, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("client.id", format!("portcullis-{id}"))
        // How long a crash of ours leaves the partitions unread: the group waits for the dead member
        // even when we are back at once. The default is 45 s.
        .set("session.timeout.ms", "10000")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        .set("enable.auto.offset.store", "false")
        // Drained partitions are told by their end.
        .set("enable.partition.eof", "true")
        // Fetched ahead, for all partitions together: 16 MiB.
        .set("queued.max.messages.kbytes", "16384")
        // And of each partition: three fetches of short messages. Each is an allocation, of which no cache holds 100,000,
        // the default.
        .set("queued.min.messages", "20000")
        // Where there are so many, the next fetch is thought of again after so long: a second would be a gap.
        .set("fetch.queue.backoff.ms", "2")
        // A topic that is made later is found within this.
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("statistics.interval.ms", "2000");
    config
}

/// How to get a consumer.
struct Way {
    config: ClientConfig,
    topics: Vec<String>,
    board: Arc<Board>,
}

/// A consumer and the way back into it.
struct Link {
    consumer: Consumer,
    /// How many of the messages that it lends are taken.
    taken: usize,
    ledger: Ledger,
    acks: Sender<(u64, u64)>,
}

impl Way {
    fn connect(&self) -> Result<Link, KafkaError> {
        let consumer = Consumer::new(&self.config)?;
        consumer.subscribe(&self.topics)?;
        let (acks, durable) = channel();
        Ok(Link { consumer, taken: 0, ledger: Ledger::new(durable), acks })
    }
}

/// Why a consumer ends.
enum End {
    /// We were told to stop, or nobody takes batches any more.
    Finished,
    /// It broke: only a new one helps.
    Broken(String),
}

fn run(way: &Way, first: Link, mut desk: Desk) {
    let mut backoff = Backoff::random();
    let mut link = Some(first);
    loop {
        let begun = Instant::now();
        let end = match link.take().map_or_else(|| way.connect(), Ok) {
            Ok(mut link) => {
                let end = read(&mut link, &mut desk);
                link.ledger.settle(&link.consumer, Duration::ZERO);
                link.ledger.commit(&link.consumer);
                end
            }
            Err(error) => End::Broken(error.to_string()),
        };
        let End::Broken(reason) = end else { return };
        tracing::warn!(source = desk.id, "{reason}");
        way.board.link(false, reason);
        desk.abandon();
        backoff.stood(begun.elapsed());
        let until = Instant::now() + backoff.wait();
        while Instant::now() < until {
            if way.board.stopping() {
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Reads until the end.
fn read(link: &mut Link, desk: &mut Desk) -> End {
    let mut stalled: Option<Instant> = None;
    let mut paused = false;
    while !desk.board.stopping() {
        let full = desk.is_full() || link.ledger.len() >= BATCHES_UNACKED_MAX;
        if !full {
            stalled = None;
        }
        let since = full.then(|| *stalled.get_or_insert_with(Instant::now));
        let patient = since.is_some_and(|since| since.elapsed() < FULL_WAIT_MAX);
        if !patient {
            let pause = since.is_some();
            if pause != paused {
                paused = pause;
                if let Err(error) = link.consumer.pause(&desk.assigned(), pause) {
                    tracing::warn!(%error, "partitions are not paused or resumed");
                }
            }
            match turn(link, desk, if pause { FULL_POLL } else { POLL }) {
                // New partitions are not paused.
                Ok(moved) => paused &= !moved,
                Err(reason) => return End::Broken(reason),
            }
        }
        link.ledger.settle(&link.consumer, if patient { FULL_WAIT } else { Duration::ZERO });
        desk.mark_idle();
        if !desk.hand_over(&mut link.ledger, &link.acks) {
            desk.board.link(false, "the log is closed");
            break;
        }
    }
    End::Finished
}

/// Takes what has come, or waits for it. Tells whether partitions were assigned or revoked; an error
/// when the consumer is broken.
fn turn(link: &mut Link, desk: &mut Desk, wait: Duration) -> Result<bool, String> {
    let Link { consumer, taken, ledger, .. } = link;
    let mut moved = false;
    if *taken == consumer.lent().len() {
        consumer.poll(BATCH_DELIVERIES_MAX, wait);
        *taken = 0;
        for word in consumer.words() {
            moved |= hear(word, consumer, ledger, desk);
        }
        if moved {
            // Of before: whoever reads the partitions next gets them.
            *taken = consumer.lent().len();
        }
    }
    *taken += desk.take(&consumer.lent()[*taken..])?;
    Ok(moved)
}

/// Answers a rebalance, which is told by `true`; passes anything else on to the board.
fn hear(word: Word, consumer: &Consumer, ledger: &mut Ledger, desk: &mut Desk) -> bool {
    let board = desk.board.clone();
    let answered = match word {
        Word::Assigned(list) => {
            ledger.begin();
            desk.assign(&list);
            board.recovered();
            let mut wanted = TopicPartitionList::with_capacity(list.len());
            for (topic, number) in &list {
                wanted.add_partition(topic, *number);
            }
            consumer.assign(&wanted)
        }
        Word::Revoked => {
            ledger.settle(consumer, Duration::ZERO);
            ledger.commit(consumer);
            ledger.begin();
            desk.assign(&[]);
            consumer.unassign()
        }
        Word::Statistics(statistics) => {
            // The only place that says a connection is back when there is nothing to read.
            let up = statistics.brokers.values().any(|b| b.state == "UP" && b.nodeid >= 0);
            let member = statistics.cgrp.is_some_and(|g| g.join_state == "steady");
            match (up, member) {
                (true, true) => board.recovered(),
                (true, false) => board.link(false, "joining the group"),
                (false, _) => board.link(false, "no broker can be reached"),
            }
            return false;
        }
        Word::Down(reason) => {
            board.link(false, reason);
            desk.complaining = true;
            return false;
        }
        Word::Error(reason) => {
            desk.complain(&reason);
            return false;
        }
    };
    if let Err(error) = answered {
        tracing::warn!(%error, "a rebalance could not be answered");
    }
    true
}
