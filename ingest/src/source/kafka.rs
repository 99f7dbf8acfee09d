//! Apache Kafka: a member of a consumer group whose offsets move on only when the log holds what
//! is before them.
//!
//! The consumer is polled on a thread of its own: rebalances are answered there and nowhere else.
//! Offsets are stored in the order of the batches: one that is never acknowledged holds back all
//! that come after it, and they come again.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, TrySendError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event::{RecordBlock, RecordKind};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::statistics::Statistics;

use super::backoff::Backoff;
use super::intake::{
    Ack, BATCH_BYTES_MAX, BATCH_DELIVERIES_MAX, BATCHES_UNACKED_MAX, Batch, Board, Running,
    SourceError, Stream, Wiring,
};
use super::settings::{Kind, SourceSettings};

/// One turn without a message: how late an acknowledgement, a silence or a stop is noticed.
const POLL: Duration = Duration::from_millis(50);

/// How long a full intake is simply waited for. Then the partitions are paused, which throws away
/// what was fetched ahead, and polling goes on: a consumer that does not poll is thrown out of its
/// group after five minutes, and holds up everybody's rebalance before.
const FULL_WAIT_MAX: Duration = Duration::from_millis(500);

/// Between looks at a full intake: its receiver cannot wake us.
const FULL_WAIT: Duration = Duration::from_millis(2);

/// The same, once the partitions are paused.
const FULL_POLL: Duration = Duration::from_millis(10);

/// Starts reading. Brokers that are down are no error: see [`Running::state`].
///
/// # Errors
/// The settings are of another type, librdkafka refuses them, or there is no thread to be had.
pub fn start(settings: &SourceSettings, wiring: Wiring) -> Result<Running, SourceError> {
    let Kind::Kafka { brokers, topics, group } = &settings.kind else {
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
    let desk = Desk {
        id: settings.id.clone(),
        wiring,
        board: board.clone(),
        payload_bytes_max: settings.payload_bytes_max,
        idle_after: settings.idle_after(),
        partitions: Vec::new(),
        by_topic: HashMap::new(),
        current: 0,
        open: RecordBlock::new(),
        touched: Vec::new(),
        held: None,
        sequence: 0,
        complaining: false,
    };
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
    consumer: BaseConsumer<Group>,
    acks: Sender<(u64, u64)>,
}

impl Way {
    fn connect(&self) -> Result<Link, KafkaError> {
        let (acks, durable) = channel();
        let ledger = Ledger { durable, generation: 0, under_way: VecDeque::new(), moved: None };
        let group = Group { board: self.board.clone(), ledger: Mutex::new(ledger) };
        let consumer: BaseConsumer<Group> = self.config.create_with_context(group)?;
        let topics: Vec<_> = self.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        Ok(Link { consumer, acks })
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
            Ok(link) => read(&link, &mut desk),
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

/// Reads until the end. Dropped after that, the consumer leaves its group: its partitions are
/// revoked, and with that the stored offsets are committed.
fn read(Link { consumer, acks }: &Link, desk: &mut Desk) -> End {
    let group = consumer.context();
    let mut stalled: Option<Instant> = None;
    let mut paused = false;
    while !desk.board.stopping() {
        let full = desk.held.is_some() || group.ledger().under_way.len() >= BATCHES_UNACKED_MAX;
        if !full {
            stalled = None;
        }
        let since = full.then(|| *stalled.get_or_insert_with(Instant::now));
        let patient = since.is_some_and(|since| since.elapsed() < FULL_WAIT_MAX);
        if !patient {
            let pause = since.is_some();
            if pause != paused {
                paused = pause;
                suspend(consumer, pause);
            }
            match desk.turn(consumer, if pause { FULL_POLL } else { POLL }) {
                // New partitions are not paused.
                Ok(moved) => paused &= !moved,
                Err(reason) => return End::Broken(reason),
            }
        }
        group.ledger().settle(consumer, if patient { FULL_WAIT } else { Duration::ZERO });
        desk.mark_idle();
        if !desk.hand_over(group, acks) {
            desk.board.link(false, "the intake is closed");
            break;
        }
    }
    End::Finished
}

fn suspend(consumer: &BaseConsumer<Group>, pause: bool) {
    let done = consumer
        .assignment()
        .and_then(|all| if pause { consumer.pause(&all) } else { consumer.resume(&all) });
    if let Err(error) = done {
        tracing::warn!(%error, "partitions are not paused or resumed");
    }
}

/// The last offset of a batch in one partition.
#[derive(Clone, Debug)]
struct Reached {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
}

/// A batch that has been handed over.
struct UnderWay {
    sequence: u64,
    durable: bool,
    reached: Vec<Reached>,
}

/// What is handed over and not yet told to the group, in order.
struct Ledger {
    /// Generation and sequence of batches that became durable.
    durable: Receiver<(u64, u64)>,
    /// Counts assignments. Positions of an earlier one mean nothing any more: another member may
    /// have gone on from there.
    generation: u64,
    under_way: VecDeque<UnderWay>,
    /// A new assignment that the desk has yet to take over; empty after a revocation.
    moved: Option<Vec<(String, i32)>>,
}

impl Ledger {
    /// Takes acknowledgements in, and stores the offsets up to the first batch that lacks its own.
    /// Waits at most `wait` for the first.
    fn settle(&mut self, consumer: &BaseConsumer<Group>, wait: Duration) {
        let mut next = self.durable.recv_timeout(wait).ok();
        while let Some((generation, sequence)) = next {
            if generation == self.generation
                && let Ok(at) = self.under_way.binary_search_by_key(&sequence, |b| b.sequence)
            {
                self.under_way[at].durable = true;
            }
            next = self.durable.try_recv().ok();
        }
        while self.under_way.front().is_some_and(|b| b.durable) {
            let reached = self.under_way.pop_front().map(|b| b.reached).unwrap_or_default();
            for Reached { topic, partition, offset } in reached {
                // librdkafka adds the one: it wants the last message done, and commits the next.
                if let Err(error) = consumer.store_offset(&topic, partition, offset) {
                    tracing::debug!(%error, "{topic}/{partition}: offset {offset} is not stored");
                }
            }
        }
    }
}

/// What librdkafka calls, on the thread that polls.
struct Group {
    board: Arc<Board>,
    ledger: Mutex<Ledger>,
}

impl Group {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(fac, "librdkafka: {message}");
            }
            _ => tracing::warn!(fac, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            Some(RDKafkaErrorCode::AllBrokersDown) => self.board.link(false, reason),
            _ => {
                tracing::warn!(%error, "librdkafka: {reason}");
                self.board.complain(reason);
            }
        }
    }

    /// The only place that says a connection is back when there is nothing to read.
    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|b| b.state == "UP" && b.nodeid >= 0);
        let member = statistics.cgrp.is_some_and(|g| g.join_state == "steady");
        match (up, member) {
            (true, true) => self.board.recovered(),
            (true, false) => self.board.link(false, "joining the group"),
            (false, _) => self.board.link(false, "no broker can be reached"),
        }
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut ledger = self.ledger();
        match rebalance {
            Rebalance::Revoke(_) => {
                ledger.settle(consumer, Duration::ZERO);
                let committed = consumer.commit_consumer_state(CommitMode::Sync);
                match committed {
                    Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the last offsets are not committed, deliveries come again");
                    }
                }
                ledger.generation += 1;
                ledger.under_way.clear();
                ledger.moved = Some(Vec::new());
            }
            Rebalance::Assign(list) => {
                let partitions =
                    list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
                ledger.generation += 1;
                ledger.under_way.clear();
                ledger.moved = Some(partitions);
                self.board.recovered();
            }
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance"),
        }
    }
}

/// A partition that we read, or have read.
struct Partition {
    topic: Arc<str>,
    number: i32,
    stream: Stream,
    assigned: bool,
    /// Nothing is left to read, as far as we know.
    drained: bool,
    /// Whether anything came since the stream was last said to be idle.
    speaking: bool,
    last: Instant,
    /// The last offset among the records not handed over yet.
    reached: Option<i64>,
}

/// Where messages become records.
struct Desk {
    id: String,
    wiring: Wiring,
    board: Arc<Board>,
    payload_bytes_max: usize,
    idle_after: Duration,
    partitions: Vec<Partition>,
    /// Index into `partitions`, by topic and number.
    by_topic: HashMap<String, Vec<Option<usize>>>,
    /// That of the last message.
    current: usize,
    /// Records not handed over yet.
    open: RecordBlock,
    /// Partitions that have some among them.
    touched: Vec<usize>,
    /// A batch that the intake had no room for.
    held: Option<Batch>,
    /// Counts batches.
    sequence: u64,
    /// Whether the board says something that a message would disprove.
    complaining: bool,
}

impl Desk {
    /// Waits for the first message, then takes all that have come. Tells whether partitions were
    /// assigned or revoked; an error when the consumer is broken.
    fn turn(&mut self, consumer: &BaseConsumer<Group>, wait: Duration) -> Result<bool, String> {
        let mut wait = wait;
        let mut moved = false;
        let mut now = None;
        while self.open.len() < BATCH_DELIVERIES_MAX && self.open.bytes() < BATCH_BYTES_MAX {
            match consumer.poll(wait) {
                // One look at the clock, after the wait, does for all that has come.
                Some(Ok(message)) => self.take(&message, *now.get_or_insert_with(Instant::now)),
                Some(Err(KafkaError::PartitionEOF(number))) => self.drained(number),
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(format!("fatal: {code}"));
                }
                // What it is stands on the board already.
                Some(Err(_)) => self.complaining = true,
                None => {
                    // A rebalance is always followed by this: no message comes in between.
                    let list = consumer.context().ledger().moved.take();
                    let Some(list) = list else { break };
                    moved = true;
                    self.assign(&list);
                }
            }
            wait = Duration::ZERO;
        }
        Ok(moved)
    }

    fn take(&mut self, message: &BorrowedMessage<'_>, now: Instant) {
        let (topic, number) = (message.topic(), message.partition());
        // Messages come in runs of one partition: the last one is looked at first.
        let index = match self.partitions.get(self.current) {
            Some(last) if last.number == number && *last.topic == *topic => self.current,
            _ => self.partition(topic, number),
        };
        self.current = index;
        let payload = message.payload().unwrap_or_default();
        let partition = &mut self.partitions[index];
        self.wiring.deliver(
            &mut self.open,
            partition.stream.id,
            false,
            (topic.as_bytes(), payload),
            self.payload_bytes_max,
        );
        if partition.reached.replace(message.offset()).is_none() {
            self.touched.push(index);
        }
        partition.drained = false;
        partition.speaking = true;
        partition.last = now;
        if self.complaining {
            self.complaining = false;
            self.board.link(true, "");
        }
    }

    /// The index of a partition, which is made when it is new.
    fn partition(&mut self, topic: &str, number: i32) -> usize {
        let slot = usize::try_from(number).unwrap_or(0);
        let known = self.by_topic.get(topic).and_then(|slots| *slots.get(slot)?);
        if let Some(index) = known {
            return index;
        }
        let index = self.partitions.len();
        let name = format!("{}/{topic}/{number}", self.id);
        self.partitions.push(Partition {
            topic: topic.into(),
            number,
            stream: Stream::named(&self.wiring.streams, name),
            assigned: false,
            drained: false,
            speaking: false,
            last: Instant::now(),
            reached: None,
        });
        let slots = self.by_topic.entry(topic.to_owned()).or_default();
        if slots.len() <= slot {
            slots.resize(slot + 1, None);
        }
        slots[slot] = Some(index);
        index
    }

    /// The end of a partition was reached. Which topic's, rdkafka does not say: those of other
    /// topics with the same number are idle a little early at worst, if they are also silent.
    fn drained(&mut self, number: i32) {
        for partition in self.partitions.iter_mut().filter(|p| p.number == number) {
            partition.drained = true;
        }
    }

    /// Takes over an assignment; an empty one is a revocation.
    fn assign(&mut self, list: &[(String, i32)]) {
        self.abandon();
        for partition in &mut self.partitions {
            partition.assigned = false;
        }
        if list.is_empty() {
            // Most often they come back in a moment: they are idle only once they are silent.
            return;
        }
        for (topic, number) in list {
            let index = self.partition(topic, *number);
            let partition = &mut self.partitions[index];
            partition.assigned = true;
            partition.drained = false;
            partition.speaking = true;
            partition.last = Instant::now();
            self.wiring.mark(&mut self.open, RecordKind::StreamOpened, &partition.stream);
        }
        for partition in self.partitions.iter_mut().filter(|p| !p.assigned && p.speaking) {
            partition.speaking = false;
            self.wiring.mark(&mut self.open, RecordKind::StreamIdle, &partition.stream);
        }
    }

    /// Drops what is not handed over: it is not acknowledged, so whoever reads the partitions next
    /// gets it.
    fn abandon(&mut self) {
        if !self.open.is_empty() || self.held.is_some() {
            // A word of idleness may be lost with it: it is said again.
            for partition in &mut self.partitions {
                partition.speaking = true;
            }
        }
        self.open.clear();
        self.held = None;
        for index in self.touched.drain(..) {
            self.partitions[index].reached = None;
        }
    }

    fn mark_idle(&mut self) {
        let connected = self.board.connected();
        for partition in self.partitions.iter_mut().filter(|p| p.speaking) {
            let gone = partition.drained || !partition.assigned;
            if gone && connected && partition.last.elapsed() >= self.idle_after {
                partition.speaking = false;
                self.wiring.mark(&mut self.open, RecordKind::StreamIdle, &partition.stream);
            }
        }
    }

    /// Hands over what is held, else what was gathered. `false` when nobody takes it any more.
    fn hand_over(&mut self, group: &Group, acks: &Sender<(u64, u64)>) -> bool {
        let Some(batch) = self.held.take().or_else(|| self.batch(group, acks)) else {
            return true;
        };
        let deliveries = batch.deliveries();
        match self.wiring.intake.try_send(batch) {
            Ok(()) => self.board.count(deliveries),
            Err(TrySendError::Full(batch)) => self.held = Some(batch),
            Err(TrySendError::Disconnected(_)) => return false,
        }
        true
    }

    fn batch(&mut self, group: &Group, acks: &Sender<(u64, u64)>) -> Option<Batch> {
        if self.open.is_empty() {
            return None;
        }
        let records = std::mem::take(&mut self.open);
        // Most often the next batch is as long as this one: its buffer is made at once.
        self.open.append_with(|buffer| buffer.reserve(records.bytes()));
        let mut reached = Vec::with_capacity(self.touched.len());
        for index in self.touched.drain(..) {
            let partition = &mut self.partitions[index];
            if let Some(offset) = partition.reached.take() {
                let topic = partition.topic.clone();
                reached.push(Reached { topic, partition: partition.number, offset });
            }
        }
        if reached.is_empty() {
            return Some(Batch { records, ack: Ack::none() });
        }
        self.sequence += 1;
        let mut ledger = group.ledger();
        let (generation, sequence, acks) = (ledger.generation, self.sequence, acks.clone());
        ledger.under_way.push_back(UnderWay { sequence, durable: false, reached });
        let ack = Ack::new(move || {
            // A source that is gone has no offsets to store.
            let _ = acks.send((generation, sequence));
        });
        Some(Batch { records, ack })
    }
}
