//! Standard input: each line a delivery, as a pipe hands them over.
//!
//! Nobody waits for an acknowledgement: a pipe cannot be asked again. What was read and is not
//! durable when the program dies is lost, so whoever must not lose anything takes MQTT, Kafka or
//! HTTP. A full intake stops the reading, and with that the program at the pipe's other end.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use event::{RecordBlock, RecordKind};

use super::intake::{Ack, Batch, Board, Running, SourceError, Stream, Wiring, flags};
use super::settings::{Kind, SourceSettings};

/// Bytes of one read, at most: what a pipe of the system holds.
const READ_BYTES: usize = 64 * 1024;

/// Reads that wait for the log.
const READS_MAX: usize = 4;

/// How late a stop or a silence is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Reads `input` until its end; `ended` is called when nothing more will be handed over.
///
/// # Errors
/// The settings are of another type, or there is no thread to be had.
pub fn start(
    settings: &SourceSettings,
    wiring: Wiring,
    input: impl Read + Send + 'static,
    ended: impl FnOnce() + Send + 'static,
) -> Result<Running, SourceError> {
    let Kind::File { .. } = &settings.kind else {
        return Err(SourceError::Kind { source_id: settings.id.clone(), wanted: "file" });
    };
    let board = Arc::new(Board::default());
    board.link(true, "");
    let lines = Lines {
        stream: Stream::named(&wiring.streams, settings.id.clone()),
        wiring,
        board: board.clone(),
        payload_bytes_max: settings.payload_bytes_max,
        idle_after: settings.idle_after(),
        begun: Vec::new(),
    };
    let failed = |error| SourceError::Thread { source_id: settings.id.clone(), error };
    let (hand, reads) = sync_channel(READS_MAX);
    // A read of a pipe cannot be woken: this thread is left to itself when the source stops, and
    // holds nothing but the pipe.
    let reading = std::thread::Builder::new().name(format!("read-{}", settings.id));
    reading.spawn(move || read(input, &hand)).map_err(failed)?;
    let thread = std::thread::Builder::new()
        .name(format!("stdin-{}", settings.id))
        .spawn(move || {
            lines.run(&reads);
            ended();
        })
        .map_err(failed)?;
    Ok(Running::new(board, thread, || {}))
}

fn read(mut input: impl Read, hand: &SyncSender<Vec<u8>>) {
    loop {
        let mut bytes = vec![0; READ_BYTES];
        match input.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                bytes.truncate(count);
                if hand.send(bytes).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::error!(%error, "standard input cannot be read on");
                return;
            }
        }
    }
}

/// Cuts what was read into lines.
struct Lines {
    wiring: Wiring,
    stream: Stream,
    board: Arc<Board>,
    payload_bytes_max: usize,
    idle_after: Duration,
    /// The beginning of a line whose end was not read yet.
    begun: Vec<u8>,
}

impl Lines {
    fn run(mut self, reads: &Receiver<Vec<u8>>) {
        let mut opening = RecordBlock::new();
        self.wiring.mark(&mut opening, RecordKind::StreamOpened, &self.stream);
        let mut taken = self.hand_over(opening);
        let (mut last, mut speaking) = (Instant::now(), true);
        while taken && !self.board.stopping() {
            let mut records = RecordBlock::new();
            match reads.recv_timeout(LOOK_EVERY) {
                Ok(bytes) => {
                    self.cut(&mut records, &bytes);
                    (last, speaking) = (Instant::now(), true);
                }
                Err(RecvTimeoutError::Timeout) if speaking && last.elapsed() >= self.idle_after => {
                    self.wiring.mark(&mut records, RecordKind::StreamIdle, &self.stream);
                    speaking = false;
                }
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    // A last line needs no end.
                    self.cut(&mut records, b"\n");
                    self.wiring.mark(&mut records, RecordKind::StreamEnded, &self.stream);
                    self.board.link(false, "standard input has ended");
                    self.hand_over(records);
                    return;
                }
            }
            taken = self.hand_over(records);
        }
    }

    /// Whether anybody takes batches.
    fn hand_over(&self, records: RecordBlock) -> bool {
        if records.is_empty() {
            return true;
        }
        let batch = Batch { records, ack: Ack::none() };
        self.board.count(batch.deliveries());
        self.wiring.intake.send(batch).is_ok()
    }

    /// Adds the lines that have their end; the rest waits for what is read next.
    fn cut(&mut self, records: &mut RecordBlock, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        let Some(end) = memchr::memrchr(b'\n', &self.begun) else {
            // A line without end is kept as far as its refusal needs it.
            self.begun.truncate(self.payload_bytes_max + READ_BYTES);
            return;
        };
        let (topic, ()) = records.append_with(|_| ());
        let (whole, ()) = records.append_with(|b| b.extend_from_slice(&self.begun[..end]));
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &self.begun[..end]).chain([end]) {
            let line = &self.begun[start..end];
            let at = whole.start + (start + line.len() - line.trim_ascii_start().len()) as u32;
            let bytes = line.trim_ascii().len();
            start = end + 1;
            if bytes > 0 {
                let mut record = self.wiring.record(RecordKind::Delivery, self.stream.id, b"", b"");
                record.flags = flags(false, bytes > self.payload_bytes_max);
                let kept = bytes.min(self.payload_bytes_max) as u32;
                records.push_span(&record, topic.clone(), at..at + kept);
            }
        }
        self.begun.drain(..=end);
    }
}
