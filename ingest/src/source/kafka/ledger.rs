//! What was handed over and is not yet told to the group.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::consumer::Consumer;

/// The last offset of a batch in one partition.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// A batch that has been handed over.
struct UnderWay {
    sequence: u64,
    durable: bool,
    reached: Vec<Reached>,
}

/// What is handed over and not yet told to the group, in order.
pub(super) struct Ledger {
    /// Generation and sequence of batches that became durable.
    durable: Receiver<(u64, u64)>,
    /// Counts assignments. Positions of an earlier one mean nothing any more: another member may
    /// have gone on from there.
    generation: u64,
    under_way: VecDeque<UnderWay>,
}

impl Ledger {
    pub(super) fn new(durable: Receiver<(u64, u64)>) -> Self {
        Self { durable, generation: 0, under_way: VecDeque::new() }
    }

    /// Batches under way.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Forgets what is under way: the assignment has changed.
    pub(super) fn begin(&mut self) {
        self.generation += 1;
        self.under_way.clear();
    }

    /// Enters a batch; the generation it belongs to.
    pub(super) fn enter(&mut self, sequence: u64, reached: Vec<Reached>) -> u64 {
        self.under_way.push_back(UnderWay { sequence, durable: false, reached });
        self.generation
    }

    /// Takes acknowledgements in, and keeps the offsets up to the first batch that lacks its own.
    /// Waits at most `wait` for the first.
    pub(super) fn settle(&mut self, consumer: &Consumer, wait: Duration) {
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
            let mut next = TopicPartitionList::with_capacity(reached.len());
            for Reached { topic, partition, offset } in &reached {
                // A number that does not come from Kafka is not kept, and the message comes again.
                let _ = next.add_partition_offset(topic, *partition, Offset::Offset(offset + 1));
            }
            if let Err(error) = consumer.store(&next) {
                tracing::debug!(%error, "offsets are not kept: {reached:?}");
            }
        }
    }

    /// Tells the group what was kept.
    pub(super) fn commit(&self, consumer: &Consumer) {
        match consumer.commit() {
            Ok(()) | Err(RDKafkaErrorCode::NoOffset) => {}
            Err(error) => {
                tracing::warn!(%error, "the last offsets are not committed, deliveries come again");
            }
        }
    }
}
