//! What every live source hands over, and how it is acknowledged: the shape all of them share.
//!
//! A source never acknowledges upstream by itself. It hands over a [`Batch`]; whoever makes the
//! records durable calls [`Ack::done`] (INV-ACK). When the intake is full the source stops reading,
//! so the pressure goes back to the broker or the client, and nothing is discarded (INV-BOUND).

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use event::{
    EventTime, Origin, Position, RecordBlock, RecordFlags, RecordKind, RecordRef, SourceId,
    StreamId,
};

use crate::log::{Held, checksum};

/// Deliveries of one batch: with the bytes below, a few milliseconds of the log's time.
pub const BATCH_DELIVERIES_MAX: usize = 1_000;

/// Bytes after which a batch takes no further delivery; one delivery may go beyond.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Batches handed over by one source and not acknowledged yet: 1,024 × 256 KiB bounds what a
/// stalled log can pile up behind a source.
pub const BATCHES_UNACKED_MAX: usize = 1_024;

/// Blocks kept to be filled again: 32 × 256 KiB.
pub const SPARES_MAX: usize = 32;

/// Tells the time of our own clock: what a delivery is recorded at.
pub type Clock = Arc<dyn Fn() -> EventTime + Send + Sync>;

/// Gives the lasting id of a stream's name.
pub type Streams = Arc<dyn Fn(&str) -> StreamId + Send + Sync>;

/// The bounded way to the log. Full means: stop reading.
pub type Intake = SyncSender<Batch>;

/// Puts a batch into the log on the thread of its source; `false` when the log takes nothing any more. For sources that
/// look at [`Held::is_ahead`] before: who does not may wait here for the disk.
pub type Append = Arc<dyn Fn(Batch) -> bool + Send + Sync>;

/// The promise of a batch, given back to its source once the log holds the range durably.
/// Dropped without [`Ack::done`], the range is never acknowledged, and comes again.
pub struct Ack {
    done: Option<Box<dyn FnOnce() + Send>>,
    hurried: bool,
    _underway: Option<Underway>,
}

/// Bytes that were handed over and have no place in the log yet.
#[derive(Clone, Debug, Default)]
pub struct UnderwayBytes(Arc<AtomicU64>);

/// Some of them, as long as it lives.
#[derive(Debug)]
struct Underway {
    bytes: u64,
    all: UnderwayBytes,
}

impl UnderwayBytes {
    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Ack {
    /// Calls `done` when the range is durable.
    #[must_use]
    pub fn new(done: impl FnOnce() + Send + 'static) -> Self {
        Self { done: Some(Box::new(done)), hurried: true, _underway: None }
    }

    /// The same, for who can wait for some milliseconds: nothing is made durable for its sake alone before.
    #[must_use]
    pub fn unhurried(done: impl FnOnce() + Send + 'static) -> Self {
        Self { hurried: false, ..Self::new(done) }
    }

    /// Nobody waits.
    #[must_use]
    pub fn none() -> Self {
        Self { done: None, hurried: false, _underway: None }
    }

    /// Nobody waits; so many bytes are underway until it is dropped.
    #[must_use]
    pub fn counted(bytes: u64, all: &UnderwayBytes) -> Self {
        all.0.fetch_add(bytes, Ordering::Relaxed);
        let underway = Some(Underway { bytes, all: all.clone() });
        Self { done: None, hurried: false, _underway: underway }
    }

    /// Whether anybody waits.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.done.is_some()
    }

    /// Whether who waits is in a hurry.
    #[must_use]
    pub fn is_hurried(&self) -> bool {
        self.hurried
    }

    /// The log holds the range durably.
    pub fn done(self) {
        if let Some(done) = self.done {
            done();
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.done.is_some() { "Ack(awaited)" } else { "Ack(none)" })
    }
}

/// Records and the acknowledgement of all of them.
#[derive(Debug)]
pub struct Batch {
    /// The records, in the order of their streams.
    pub records: RecordBlock,
    /// To be called once they are durable.
    pub ack: Ack,
}

impl Batch {
    /// Deliveries among the records.
    pub(crate) fn deliveries(&self) -> u64 {
        self.records.iter().filter(|r| r.kind == RecordKind::Delivery).count() as u64
    }
}

/// What joins a source to the rest of the program.
#[derive(Clone)]
pub struct Wiring {
    /// The source's number: an index into the configuration's sources.
    pub source: SourceId,
    /// Where its batches go.
    pub intake: Intake,
    /// What its deliveries are recorded at.
    pub clock: Clock,
    /// Names its streams.
    pub streams: Streams,
    /// Where blocks come back to.
    pub spares: Spares,
    /// What holds payloads that the log does not keep.
    pub held: Arc<Held>,
}

/// Blocks whose records are done with, to be filled again: the kernel clears every page of new
/// memory, and what has just been used is still in the cache.
#[derive(Clone, Debug, Default)]
pub struct Spares(Arc<Mutex<Vec<RecordBlock>>>);

impl Spares {
    /// An empty block.
    #[must_use]
    pub fn take(&self) -> RecordBlock {
        self.lock().pop().unwrap_or_default()
    }

    /// Gives a block back; beyond [`SPARES_MAX`] its memory is freed.
    pub fn give(&self, mut block: RecordBlock) {
        block.clear();
        let mut spares = self.lock();
        if spares.len() < SPARES_MAX {
            spares.push(block);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RecordBlock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wiring {
    /// Adds a record that says something of a stream.
    pub(crate) fn mark(&self, records: &mut RecordBlock, kind: RecordKind, stream: &Stream) {
        records.push(&self.record(kind, stream.id, stream.name.as_bytes(), b""));
    }

    /// Adds a delivery that came then; one longer than `payload_bytes_max` keeps its head and says
    /// so. With its partition and offset, the log keeps no more than those.
    pub(crate) fn deliver(
        &self,
        records: &mut RecordBlock,
        (stream, recorded): (StreamId, EventTime),
        place: Option<(i32, i64)>,
        (topic, payload): (&[u8], &[u8]),
        payload_bytes_max: usize,
    ) {
        let head = &payload[..payload.len().min(payload_bytes_max)];
        let record = RecordRef {
            kind: RecordKind::Delivery,
            flags: flags(false, payload.len() > payload_bytes_max),
            stream,
            source: self.source,
            recorded,
            position: Position(0),
            topic,
            payload: head,
            room: head,
        };
        match place {
            None => records.push(&record),
            Some((partition, offset)) => {
                let checksum = checksum::of(head);
                records.push_from(&record, Origin { partition, offset, checksum });
            }
        }
    }

    /// Adds a delivery that was cut to `head`.
    pub(crate) fn deliver_cut(
        &self,
        records: &mut RecordBlock,
        stream: StreamId,
        retained: bool,
        (topic, head): (&[u8], &[u8]),
    ) {
        let mut record = self.record(RecordKind::Delivery, stream, topic, head);
        record.flags = flags(retained, true);
        records.push(&record);
    }

    /// Adds a delivery whose topic and payload stand in the block's buffer already.
    #[inline]
    pub(crate) fn deliver_span(
        &self,
        records: &mut RecordBlock,
        stream: StreamId,
        (retained, oversize): (bool, bool),
        topic: Range<u32>,
        payload: Range<u32>,
    ) {
        let mut record = self.record(RecordKind::Delivery, stream, b"", b"");
        record.flags = flags(retained, oversize);
        records.push_span(&record, topic, payload);
    }

    /// A record without flags, recorded now.
    pub(crate) fn record<'a>(
        &self,
        kind: RecordKind,
        stream: StreamId,
        topic: &'a [u8],
        payload: &'a [u8],
    ) -> RecordRef<'a> {
        RecordRef {
            kind,
            flags: RecordFlags::default(),
            stream,
            source: self.source,
            recorded: (self.clock)(),
            position: Position(0),
            topic,
            payload,
            room: payload,
        }
    }
}

/// The flags of a delivery.
pub(crate) fn flags(retained: bool, oversize: bool) -> RecordFlags {
    let mut bits = 0;
    if retained {
        bits |= RecordFlags::RETAINED.0;
    }
    if oversize {
        bits |= RecordFlags::OVERSIZE.0;
    }
    RecordFlags(bits)
}

/// A stream by id and name.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) name: String,
}

impl Stream {
    pub(crate) fn named(streams: &Streams, name: String) -> Self {
        Self { id: streams(&name), name }
    }
}

/// How a source is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// Whether it stands in connection with its broker.
    pub connected: bool,
    /// Why not, or what is wrong though it is connected; empty when all is well.
    pub reason: String,
    /// Deliveries handed over, redelivered ones included.
    pub deliveries: u64,
    /// Connections lost and made again.
    pub reconnects: u64,
    /// Connections given up because what came was not the protocol.
    pub malformed: u64,
}

#[derive(Debug, Default)]
struct Link {
    connected: bool,
    reason: String,
    /// Whether it was ever connected: then the next connection is a reconnection.
    ever: bool,
}

/// The state of a source, written by its thread and read by anybody.
#[derive(Debug, Default)]
pub(crate) struct Board {
    link: Mutex<Link>,
    deliveries: AtomicU64,
    reconnects: AtomicU64,
    malformed: AtomicU64,
    stopping: AtomicBool,
}

impl Board {
    /// Connected or not, and what is wrong.
    pub(crate) fn link(&self, connected: bool, reason: impl Into<String>) {
        let mut link = self.lock();
        if connected && !link.connected && link.ever {
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        *link = Link { connected, reason: reason.into(), ever: link.ever || connected };
    }

    /// Connected, unless that is known already: then what is wrong stays.
    pub(crate) fn recovered(&self) {
        if !self.connected() {
            self.link(true, "");
        }
    }

    /// Something is wrong; whether it is connected stays as it is.
    pub(crate) fn complain(&self, reason: &str) {
        reason.clone_into(&mut self.lock().reason);
    }

    pub(crate) fn connected(&self) -> bool {
        self.lock().connected
    }

    pub(crate) fn count(&self, deliveries: u64) {
        self.deliveries.fetch_add(deliveries, Ordering::Relaxed);
    }

    pub(crate) fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> SourceState {
        let link = self.lock();
        SourceState {
            connected: link.connected,
            reason: link.reason.clone(),
            deliveries: self.deliveries.load(Ordering::Relaxed),
            reconnects: self.reconnects.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
        }
    }
}

/// A source at work on its own thread. Dropping it stops it too.
pub struct Running {
    board: Arc<Board>,
    wake: Box<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// `wake` makes the thread look at [`Board::stopping`].
    pub(crate) fn new(
        board: Arc<Board>,
        thread: JoinHandle<()>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self { board, wake: Box::new(wake), thread: Some(thread) }
    }

    /// Stops reading, sends the acknowledgements that have come, disconnects, and waits for the
    /// thread's end. What is not acknowledged by then comes again at the next start.
    pub fn stop(self) {
        drop(self);
    }

    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> SourceState {
        self.board.read()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.board.stopping.store(true, Ordering::Release);
        (self.wake)();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a source's thread has panicked");
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Running").field(&self.state()).finish()
    }
}

/// Why a source cannot start. What can come right by itself (a broker that is down) is no error:
/// it stands in [`SourceState::reason`].
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The settings are of another type.
    #[error("source {source_id}: not a source of type {wanted}")]
    Kind {
        /// The source.
        source_id: String,
        /// The type that was started.
        wanted: &'static str,
    },
    /// A secret is not in the environment.
    #[error(
        "source {source_id}: the environment variable {variable} is not set: put the secret into it"
    )]
    SecretUnset {
        /// The source.
        source_id: String,
        /// The variable.
        variable: String,
    },
    /// librdkafka refused the settings.
    #[error("source {source_id}: {error}")]
    Kafka {
        /// The source.
        source_id: String,
        /// Its word.
        error: rdkafka::error::KafkaError,
    },
    /// No thread or runtime could be made.
    #[error("source {source_id}: {error}")]
    Thread {
        /// The source.
        source_id: String,
        /// The system's word.
        error: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::{Ack, UnderwayBytes};

    #[test]
    fn bytes_are_underway_until_their_batch_is_done_with() {
        let underway = UnderwayBytes::default();
        let (first, second) = (Ack::counted(3, &underway), Ack::counted(4, &underway));
        assert!(!first.is_awaited() && underway.get() == 7);
        drop(first);
        assert_eq!(underway.get(), 4);
        second.done();
        assert_eq!(underway.get(), 0);
    }
}
