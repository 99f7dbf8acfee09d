//! What a connection has read: bytes straight into the block that is handed over, cut into records
//! where they stand.

use std::io;
use std::ops::Range;

use event::{RecordBlock, RecordKind, StreamId};
use tokio::net::TcpStream;

use super::super::intake::{BATCH_BYTES_MAX, BATCH_DELIVERIES_MAX, Stream, Wiring};
use super::packet::{self, Malformed, Packet, Publish};

/// Bytes that one read may bring: with those of a batch, what is beyond a batch at most.
const READ_BYTES: usize = 64 * 1024;

/// A message of which only the head is kept, until the rest of it has passed.
struct Long {
    retained: bool,
    id: Option<u16>,
    topic: Vec<u8>,
    head: Vec<u8>,
    /// Bytes that have yet to pass.
    rest: usize,
}

/// Records, and behind them in the same buffer the bytes that are not cut yet.
#[derive(Default)]
pub(super) struct Inbox {
    records: RecordBlock,
    /// Where those bytes begin.
    cut: usize,
    /// The packet that stands there is not whole: nothing can be cut before more is read.
    torn: bool,
    long: Option<Long>,
    /// Deliveries among the records.
    deliveries: u64,
    /// The packet ids of those at QoS 1.
    ids: Vec<u16>,
}

/// Records for a batch.
pub(super) struct Full {
    pub(super) records: RecordBlock,
    pub(super) deliveries: u64,
    pub(super) ids: Vec<u16>,
}

impl Inbox {
    /// Reads what the socket has, once; the bytes that came, 0 at its end.
    pub(super) fn read(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let (_, read) = self.records.append_with(|buffer| {
            buffer.reserve(READ_BYTES);
            stream.try_read_buf(buffer)
        });
        self.torn = false;
        read
    }

    /// Whether it is time to hand over before more is read.
    pub(super) fn full(&self) -> bool {
        self.records.len() >= BATCH_DELIVERIES_MAX
            || !self.records.is_empty() && self.records.bytes() >= BATCH_BYTES_MAX
    }

    /// Whether there are bytes that a packet may be cut from.
    pub(super) fn readable(&self) -> bool {
        !self.torn && self.cut < self.records.bytes()
    }

    fn bytes(&self) -> &[u8] {
        self.records.bytes_of(&(self.cut as u32..self.records.bytes() as u32))
    }

    /// Cuts the next packet off; a message becomes a record on the way. `None` when more must be
    /// read. A long message is told once all of it has passed.
    pub(super) fn next(
        &mut self,
        wiring: &Wiring,
        stream: StreamId,
        payload_bytes_max: usize,
    ) -> Result<Option<Packet>, Malformed> {
        if self.long.is_some() {
            return Ok(self.pass(wiring, stream));
        }
        let found = packet::first(self.bytes(), payload_bytes_max)?;
        let Some((packet, length)) = found else {
            self.torn = true;
            return Ok(None);
        };
        let Packet::Publish(publish) = &packet else {
            self.cut += length;
            return Ok(Some(packet));
        };
        let there = self.records.bytes() - self.cut;
        if length > there {
            let bytes = self.bytes();
            self.long = Some(Long {
                retained: publish.retained,
                id: publish.id,
                topic: bytes[publish.topic.clone()].to_vec(),
                head: bytes[publish.payload.clone()].to_vec(),
                rest: length,
            });
            return Ok(self.pass(wiring, stream));
        }
        let place =
            |range: &Range<usize>| (self.cut + range.start) as u32..(self.cut + range.end) as u32;
        let (topic, payload) = (place(&publish.topic), place(&publish.payload));
        let Publish { retained, id, oversize, .. } = *publish;
        wiring.deliver_span(&mut self.records, stream, (retained, oversize), topic, payload);
        self.cut += length;
        self.count(id);
        Ok(Some(packet))
    }

    /// Lets go of what has come of a long message, and tells it when that was all.
    fn pass(&mut self, wiring: &Wiring, stream: StreamId) -> Option<Packet> {
        let there = self.records.bytes() - self.cut;
        let long = self.long.as_mut()?;
        let passed = there.min(long.rest);
        long.rest -= passed;
        if long.rest > 0 {
            let cut = self.cut;
            self.records.append_with(|buffer| buffer.truncate(cut));
            self.torn = true;
            return None;
        }
        self.cut += passed;
        let Long { retained, id, topic, head, .. } = self.long.take()?;
        self.beside(|records| {
            wiring.deliver_cut(records, stream, retained, (&topic, &head));
        });
        self.count(id);
        let (topic, payload) = (0..topic.len(), topic.len()..topic.len() + head.len());
        Some(Packet::Publish(Publish { retained, id, topic, payload, oversize: true }))
    }

    fn count(&mut self, id: Option<u16>) {
        self.deliveries += 1;
        self.ids.extend(id);
    }

    /// Adds a record that says something of the stream.
    pub(super) fn mark(&mut self, wiring: &Wiring, kind: RecordKind, stream: &Stream) {
        self.beside(|records| wiring.mark(records, kind, stream));
    }

    /// Lets `push` add records with bytes of their own: what is not cut yet moves behind them.
    fn beside(&mut self, push: impl FnOnce(&mut RecordBlock)) {
        let rest = self.bytes().to_vec();
        let cut = self.cut;
        self.records.append_with(|buffer| buffer.truncate(cut));
        push(&mut self.records);
        self.cut = self.records.bytes();
        self.records.append_with(|buffer| buffer.extend_from_slice(&rest));
    }

    /// Takes the records out; `None` when there is none. What is not cut yet stays.
    pub(super) fn take(&mut self) -> Option<Full> {
        if self.records.is_empty() {
            return None;
        }
        let full = self.records.bytes();
        let records = std::mem::take(&mut self.records);
        // Most often the next batch is as long as this one: its buffer is made at once.
        self.records.append_with(|buffer| {
            buffer.reserve(full.min(BATCH_BYTES_MAX) + READ_BYTES);
            buffer.extend_from_slice(records.bytes_of(&(self.cut as u32..full as u32)));
        });
        self.cut = 0;
        let ids = std::mem::take(&mut self.ids);
        Some(Full { records, deliveries: std::mem::take(&mut self.deliveries), ids })
    }

    /// Forgets what is not cut, and every packet id: the connection they belong to is gone.
    pub(super) fn reset(&mut self) {
        let cut = self.cut;
        self.records.append_with(|buffer| buffer.truncate(cut));
        self.torn = false;
        self.long = None;
        self.ids.clear();
    }
}
