//! Where messages become records, and batches are made of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use event::{RecordBlock, RecordKind};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::super::intake::{
    Ack, Append, BATCH_BYTES_MAX, BATCH_DELIVERIES_MAX, Batch, Board, Stream, Wiring,
};
use super::super::settings::SourceSettings;
use super::consumer::Message;
use super::ledger::{Ledger, Reached};

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
pub(super) struct Desk {
    pub(super) id: String,
    wiring: Wiring,
    append: Append,
    pub(super) board: Arc<Board>,
    payload_bytes_max: usize,
    /// The log keeps no more of a message than where it stands.
    offsets: bool,
    idle_after: Duration,
    partitions: Vec<Partition>,
    /// Index into `partitions`, by topic and number.
    by_topic: HashMap<String, Vec<Option<usize>>>,
    /// Records not handed over yet.
    open: RecordBlock,
    /// Partitions that have some among them.
    touched: Vec<usize>,
    /// Judging has to come nearer first.
    ahead: bool,
    /// Counts batches.
    sequence: u64,
    /// Whether the board says something that a message would disprove.
    pub(super) complaining: bool,
}

impl Desk {
    pub(super) fn new(
        settings: &SourceSettings,
        offsets: bool,
        (wiring, append): (Wiring, Append),
        board: Arc<Board>,
    ) -> Self {
        Self {
            id: settings.id.clone(),
            wiring,
            append,
            board,
            payload_bytes_max: settings.payload_bytes_max,
            offsets,
            idle_after: settings.idle_after(),
            partitions: Vec::new(),
            by_topic: HashMap::new(),
            open: RecordBlock::new(),
            touched: Vec::new(),
            ahead: false,
            sequence: 0,
            complaining: false,
        }
    }

    /// Takes messages until a batch is full; how many. An error when the consumer is broken.
    pub(super) fn take(&mut self, messages: &[Message]) -> Result<usize, String> {
        // One look at the clocks does for all that has come.
        let (now, recorded) = (Instant::now(), (self.wiring.clock)());
        let (mut taken, mut place, mut index) = (0, None, 0);
        for message in messages {
            if self.open.len() >= BATCH_DELIVERIES_MAX || self.open.bytes() >= BATCH_BYTES_MAX {
                break;
            }
            taken += 1;
            if let Some(error) = message.error() {
                self.fail(error, message)?;
                continue;
            }
            // Messages come in runs of one partition.
            let here = Some((message.topic_handle(), message.partition()));
            if place != here {
                place = here;
                index = self.partition(message.topic(), message.partition());
                let partition = &mut self.partitions[index];
                partition.drained = false;
                partition.speaking = true;
                partition.last = now;
            }
            let partition = &mut self.partitions[index];
            let delivery = (partition.topic.as_bytes(), message.payload());
            let (stream, most) = (partition.stream.id, self.payload_bytes_max);
            let place = self.offsets.then(|| (message.partition(), message.offset()));
            self.wiring.deliver(&mut self.open, (stream, recorded), place, delivery, most);
            if partition.reached.replace(message.offset()).is_none() {
                self.touched.push(index);
            }
        }
        if place.is_some() && self.complaining {
            self.complaining = false;
            self.board.link(true, "");
        }
        Ok(taken)
    }

    /// An error in a message's place.
    fn fail(&mut self, error: RDKafkaErrorCode, message: &Message) -> Result<(), String> {
        match error {
            RDKafkaErrorCode::PartitionEOF => {
                let index = self.partition(message.topic(), message.partition());
                self.partitions[index].drained = true;
            }
            RDKafkaErrorCode::Fatal => return Err(format!("fatal: {}", message.reason())),
            _ => self.complain(&message.reason()),
        }
        Ok(())
    }

    /// Something is wrong, until a message comes.
    pub(super) fn complain(&mut self, reason: &str) {
        tracing::warn!(source = self.id, "librdkafka: {reason}");
        self.board.complain(reason);
        self.complaining = true;
    }

    /// Whether nothing more is taken now: too much waits to be judged or written that stands in memory only, or judging
    /// is so far behind that it would have to read from the disk what the broker keeps anyhow.
    pub(super) fn is_full(&mut self) -> bool {
        let held = &self.wiring.held;
        self.ahead = held.is_ahead(self.ahead, 0);
        self.ahead || self.offsets && !held.has_room()
    }

    /// The partitions that are ours.
    pub(super) fn assigned(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in self.partitions.iter().filter(|p| p.assigned) {
            list.add_partition(&partition.topic, partition.number);
        }
        list
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

    /// Takes over an assignment; an empty one is a revocation.
    pub(super) fn assign(&mut self, list: &[(String, i32)]) {
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
    pub(super) fn abandon(&mut self) {
        if !self.open.is_empty() {
            // A word of idleness may be lost with it: it is said again.
            for partition in &mut self.partitions {
                partition.speaking = true;
            }
        }
        self.open.clear();
        for index in self.touched.drain(..) {
            self.partitions[index].reached = None;
        }
    }

    pub(super) fn mark_idle(&mut self) {
        let connected = self.board.connected();
        for partition in self.partitions.iter_mut().filter(|p| p.speaking) {
            let gone = partition.drained || !partition.assigned;
            if gone && connected && partition.last.elapsed() >= self.idle_after {
                partition.speaking = false;
                self.wiring.mark(&mut self.open, RecordKind::StreamIdle, &partition.stream);
            }
        }
    }

    /// Hands over what was gathered. `false` when nobody takes it any more.
    pub(super) fn hand_over(&mut self, ledger: &mut Ledger, acks: &Sender<(u64, u64)>) -> bool {
        let Some(batch) = self.batch(ledger, acks) else { return true };
        self.board.count(batch.deliveries());
        (self.append)(batch)
    }

    fn batch(&mut self, ledger: &mut Ledger, acks: &Sender<(u64, u64)>) -> Option<Batch> {
        if self.open.is_empty() {
            return None;
        }
        let records = std::mem::replace(&mut self.open, self.wiring.spares.take());
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
        let (sequence, acks) = (self.sequence, acks.clone());
        let generation = ledger.enter(sequence, reached);
        // The group is told once a second.
        let ack = Ack::unhurried(move || {
            // A source that is gone has no offsets to store.
            let _ = acks.send((generation, sequence));
        });
        Some(Batch { records, ack })
    }
}
