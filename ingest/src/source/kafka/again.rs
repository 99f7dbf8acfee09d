//! Payloads that the log keeps only the place of, read from Kafka again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use event::SourceId;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::settings::{Kind, SourceSettings};
use super::consumer::{Consumer, Word};
use super::{POLL, config};
use crate::log::{Lack, Payloads};

/// How long one message is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Silence after which the broker is asked what it still has.
const ASK_AFTER: Duration = Duration::from_millis(500);

/// Messages kept together: evidence stands near other evidence.
const CHUNK_MESSAGES_MAX: usize = 1_000;
/// Their bytes; one message may go beyond.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Chunks kept: 16 MiB.
const CHUNKS_MAX: usize = 64;

/// The Kafka sources of a configuration, by their numbers.
#[derive(Debug)]
pub struct Again {
    sources: Vec<SourceSettings>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was read last, the newest behind.
    chunks: VecDeque<Chunk>,
    readers: Vec<Reader>,
}

/// Where messages stand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    source: SourceId,
    topic: String,
    partition: i32,
}

/// Messages that follow each other in a partition.
#[derive(Debug)]
struct Chunk {
    place: Place,
    /// Offsets and where the bytes stand, rising.
    messages: Vec<(i64, Range<usize>)>,
    bytes: Vec<u8>,
}

/// A consumer that is no member of its group.
#[derive(Debug)]
struct Reader {
    consumer: Consumer,
    /// How many of the messages that it lends are passed.
    passed: usize,
    /// Where it is, and the offset that it gives next.
    at: (Place, i64),
}

impl Again {
    /// Nothing is connected to before something is wanted.
    #[must_use]
    pub fn new(sources: &[SourceSettings]) -> Self {
        Self { sources: sources.to_vec(), state: Mutex::default() }
    }

    /// A consumer of its own, which goes to an offset.
    fn reader(&self, place: &Place, offset: i64) -> Result<Reader, Lack> {
        let Some(settings) = self.sources.get(usize::from(place.source.0)) else {
            return Err(Lack::Away("its source is no longer configured".to_owned()));
        };
        let Kind::Kafka { brokers, group, .. } = &settings.kind else {
            return Err(Lack::Away(format!("{} is no source of type kafka", settings.id)));
        };
        let mut config = config(&settings.id, brokers, group);
        config
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            // A fetch that waits for what is to come holds up the next one, which is for elsewhere.
            .set("fetch.wait.max.ms", "5")
            .set("fetch.message.max.bytes", CHUNK_BYTES_MAX.to_string())
            .set("queued.min.messages", "1")
            // And what was fetched is taken at once.
            .set("fetch.queue.backoff.ms", "1");
        let consumer = Consumer::new(&config).map_err(away)?;
        let mut reader = Reader { consumer, passed: 0, at: (place.clone(), offset) };
        reader.go()?;
        Ok(reader)
    }

    /// The messages from an offset on, read by whoever is there already, or is sent there.
    fn chunk(&self, readers: &mut Vec<Reader>, place: &Place, from: i64) -> Result<Chunk, Lack> {
        let there = readers.iter().position(|r| r.at.0 == *place && r.at.1 == from);
        let same = readers.iter().position(|r| r.at.0.source == place.source);
        let mut reader = match there.or(same) {
            Some(found) => readers.swap_remove(found),
            None => self.reader(place, from)?,
        };
        if there.is_none() && reader.at != (place.clone(), from) {
            reader.at = (place.clone(), from);
            reader.go()?;
        }
        let mut read = reader.read(from);
        if there.is_some() && read.as_ref().is_err_and(|lack| *lack == Lack::Gone) {
            // It was told an end that has moved since: only one that is sent is told the truth.
            reader.go()?;
            read = reader.read(from);
        }
        // One that got no answer is not used again.
        if !matches!(read, Err(Lack::Away(_))) {
            readers.push(reader);
        }
        read
    }
}

fn away(error: impl std::fmt::Display) -> Lack {
    Lack::Away(error.to_string())
}

impl Payloads for Again {
    fn read(
        &self,
        source: SourceId,
        (topic, partition): (&str, i32),
        offsets: &[i64],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Lack> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { chunks, readers } = &mut *state;
        let place = Place { source, topic: topic.to_owned(), partition };
        for offset in offsets {
            let known = chunks.iter().rev().find_map(|chunk| chunk.get(&place, *offset));
            if let Some(payload) = known {
                each(payload);
                continue;
            }
            if chunks.len() >= CHUNKS_MAX {
                chunks.pop_front();
            }
            let chunk = self.chunk(readers, &place, *offset)?;
            each(chunk.get(&place, *offset).ok_or(Lack::Gone)?);
            chunks.push_back(chunk);
        }
        Ok(())
    }
}

impl Chunk {
    fn get(&self, place: &Place, offset: i64) -> Option<&[u8]> {
        let (first, last) = (self.messages.first()?.0, self.messages.last()?.0);
        if !(first..=last).contains(&offset) || self.place != *place {
            return None;
        }
        let found = self.messages.binary_search_by_key(&offset, |message| message.0).ok()?;
        Some(&self.bytes[self.messages[found].1.clone()])
    }
}

impl Reader {
    /// Goes to where it is to be.
    fn go(&mut self) -> Result<(), Lack> {
        let (Place { topic, partition, .. }, offset) = &self.at;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(away)?;
        self.passed = self.consumer.lent().len();
        self.consumer.assign(&list).map_err(away)
    }

    /// The messages that come from an offset on, one at least.
    fn read(&mut self, from: i64) -> Result<Chunk, Lack> {
        let mut chunk = Chunk { place: self.at.0.clone(), messages: Vec::new(), bytes: Vec::new() };
        let deadline = Instant::now() + PATIENCE;
        let mut ask = Some(Instant::now() + ASK_AFTER);
        let mut reason = "no answer from the broker".to_owned();
        loop {
            while let Some(message) = self.consumer.lent().get(self.passed) {
                let full = chunk.messages.len() >= CHUNK_MESSAGES_MAX
                    || chunk.bytes.len() >= CHUNK_BYTES_MAX;
                if full {
                    return Ok(chunk);
                }
                self.passed += 1;
                // What was lent before it was sent here is of elsewhere.
                let here = message.partition() == self.at.0.partition
                    && message.topic() == self.at.0.topic
                    && message.offset() >= self.at.1;
                match message.error() {
                    None if !here => {}
                    None => {
                        let start = chunk.bytes.len();
                        chunk.bytes.extend_from_slice(message.payload());
                        chunk.messages.push((message.offset(), start..chunk.bytes.len()));
                        self.at.1 = message.offset() + 1;
                    }
                    Some(RDKafkaErrorCode::PartitionEOF) if !chunk.messages.is_empty() => {}
                    Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AutoOffsetReset) => {
                        return Err(Lack::Gone);
                    }
                    Some(_) => reason = message.reason(),
                }
            }
            match chunk.messages.first() {
                Some((first, _)) if *first == from => return Ok(chunk),
                // Compacted, or deleted up to there.
                Some(_) => return Err(Lack::Gone),
                None if Instant::now() >= deadline => return Err(Lack::Away(reason)),
                None => {}
            }
            // Where an offset is no longer retained, librdkafka may say nothing.
            if ask.take_if(|at| Instant::now() >= *at).is_some() {
                let place = (self.at.0.topic.as_str(), self.at.0.partition);
                let retained = self.consumer.retained(place, PATIENCE);
                if retained.is_some_and(|retained| !retained.contains(&from)) {
                    return Err(Lack::Gone);
                }
            }
            self.consumer.poll(CHUNK_MESSAGES_MAX, POLL);
            self.passed = 0;
            for word in self.consumer.words() {
                if let Word::Down(why) | Word::Error(why) = word {
                    reason = why;
                }
            }
        }
    }
}
