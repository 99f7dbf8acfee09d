//! Standard input: each line a delivery, as a pipe hands them over. Two threads read in turns ([`super::turns`]).
//!
//! Nobody waits for an acknowledgement: a pipe cannot be asked again. What was read and is not
//! durable when the program dies is lost, so whoever must not lose anything takes MQTT, Kafka or
//! HTTP. A full intake stops the reading, and so does an engine that is 2 MiB of log behind, and with that
//! the program at the pipe's other end.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::{RecordBlock, RecordKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::intake::{
    Ack, Append, Batch, Board, Running, SourceError, Stream, UnderwayBytes, Wiring, flags,
};
use super::settings::{Kind, SourceSettings};
use super::turns::{Next, Turns};
use crate::decode::line_ends;

/// What a pipe of the system holds.
const PIPE_BYTES: usize = 64 * 1024;
/// Bytes of one read, at most, where it is a file or a longer pipe.
const READ_BYTES: usize = 4 * PIPE_BYTES;

/// Between two reads at least, where the pipe brings less than a read takes: each read makes a
/// chain of threads wake, which costs more than judging a dozen events.
const GATHER: Duration = Duration::from_micros(200);
/// That is done where they follow each other as closely as this.
const BUSY: Duration = Duration::from_micros(400);
/// Or where so much came since the last one that it was late, and not they.
const MANY_BYTES: usize = 4 * 1024;

/// How often it is looked whether judging has come nearer: a thousand deliveries or two.
const PACE_EVERY: Duration = Duration::from_millis(1);

/// How late a stop or a silence is noticed; whoever has a turn does not wait.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Reads `input` until its end, and puts it into the log by `append`; `ended` is called when nothing more will be handed over.
///
/// # Errors
/// The settings are of another type, or there is no thread to be had.
pub fn start(
    settings: &SourceSettings,
    (wiring, append): (Wiring, Append),
    input: impl AsFd + Send + 'static,
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
        append,
        board: board.clone(),
        payload_bytes_max: settings.payload_bytes_max,
        idle_after: settings.idle_after(),
        begun: Vec::new(),
        underway: UnderwayBytes::default(),
        last: Instant::now(),
        speaking: true,
        busy: false,
        ahead: false,
    };
    let failed = |error| SourceError::Thread { source_id: settings.id.clone(), error };
    let thread = std::thread::Builder::new()
        .name(format!("stdin-{}", settings.id))
        .spawn(move || {
            lines.run(input.as_fd());
            ended();
        })
        .map_err(failed)?;
    Ok(Running::new(board, thread, || {}))
}

/// Reads what there is; how many bytes, 0 at the end and `None` where nothing comes for so long.
fn read(input: BorrowedFd<'_>, patience: Timespec, room: &mut [u8]) -> io::Result<Option<usize>> {
    let mut wanted = [PollFd::from_borrowed_fd(input, PollFlags::IN)];
    match poll(&mut wanted, Some(&patience)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
        other => other?,
    };
    match rustix::io::read(input, room) {
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// Where lines end, one after the other.
#[inline(always)]
fn each_line_end(text: &[u8], mut end: impl FnMut(usize)) {
    let (chunks, rest) = text.as_chunks();
    for (number, chunk) in chunks.iter().enumerate() {
        let mut ends = line_ends(chunk);
        while ends != 0 {
            end(64 * number + ends.trailing_zeros() as usize);
            ends &= ends - 1;
        }
    }
    let before = text.len() - rest.len();
    memchr::memchr_iter(b'\n', rest).for_each(|at| end(before + at));
}

/// Cuts what was read into lines.
struct Lines {
    wiring: Wiring,
    append: Append,
    stream: Stream,
    board: Arc<Board>,
    payload_bytes_max: usize,
    idle_after: Duration,
    /// The beginning of a line whose end was not read yet.
    begun: Vec<u8>,
    /// What was handed over and is not appended to the log yet.
    underway: UnderwayBytes,
    /// When something came last, and whether silence was not told since.
    last: Instant,
    speaking: bool,
    /// Whether to gather: a little comes, again and again.
    busy: bool,
    /// Whether judging has to come nearer first.
    ahead: bool,
}

impl Lines {
    /// Reads until the end, in turns of two threads where there are processors for them.
    fn run(self, input: BorrowedFd<'_>) {
        let mut opening = RecordBlock::new();
        self.wiring.mark(&mut opening, RecordKind::StreamOpened, &self.stream);
        if !self.hand_over(opening, 0) {
            return;
        }
        let threads =
            std::thread::available_parallelism().map_or(1, |many| many.get().min(2) as u32);
        let turns = Turns::new(self, threads, GATHER);
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        std::thread::scope(|scope| {
            let turns = &turns;
            let take = move |thread| turns.take(thread, |lines| lines.read(input));
            for thread in 1..threads {
                let builder = std::thread::Builder::new().name(name.clone());
                if let Err(error) = builder.spawn_scoped(scope, move || take(thread)) {
                    tracing::warn!(%error, "one thread less reads standard input");
                }
            }
            take(0);
        });
    }

    /// Reads once; what is to be done next.
    fn read(&mut self, input: BorrowedFd<'_>) -> Next {
        if self.board.stopping() {
            return Next::End;
        }
        self.ahead = self.wiring.held.is_ahead(self.ahead, self.underway.get());
        if self.ahead {
            std::thread::sleep(PACE_EVERY);
            return Next::Again;
        }
        let mut records = self.wiring.spares.take();
        let begun = records.append(&self.begun);
        let patience = if self.busy { AT_ONCE } else { LOOK_EVERY };
        let (new, came) = records.append_read(READ_BYTES, |room| read(input, patience, room));
        let came = came.unwrap_or_else(|error| {
            tracing::error!(%error, "standard input cannot be read on");
            Some(0)
        });
        let all = begun.start..new.start + came.unwrap_or(0) as u32;
        records.shorten(all.end);
        let taken = match came {
            Some(0) => {
                // A last line needs no end.
                let end = records.append(b"\n");
                let lines = self.cut(&mut records, all.start..end.end);
                self.wiring.mark(&mut records, RecordKind::StreamEnded, &self.stream);
                self.board.link(false, "standard input has ended");
                self.hand_over(records, lines);
                return Next::End;
            }
            Some(count) => {
                let lines = self.cut(&mut records, all);
                let now = Instant::now();
                let close = now - self.last < BUSY || count >= MANY_BYTES;
                self.busy = count < PIPE_BYTES && close;
                (self.last, self.speaking) = (now, true);
                self.hand_over(records, lines)
            }
            None => {
                let silent = self.last.elapsed();
                self.busy = self.busy && silent < BUSY;
                if self.speaking && silent >= self.idle_after {
                    self.wiring.mark(&mut records, RecordKind::StreamIdle, &self.stream);
                    self.speaking = false;
                }
                self.hand_over(records, 0)
            }
        };
        match (taken, self.busy) {
            (false, _) => Next::End,
            (true, true) => Next::Turn,
            (true, false) => Next::Again,
        }
    }

    /// Whether anybody takes batches.
    fn hand_over(&self, records: RecordBlock, deliveries: u64) -> bool {
        if records.is_empty() {
            self.wiring.spares.give(records);
            return true;
        }
        self.board.count(deliveries);
        let ack = Ack::counted(records.bytes() as u64, &self.underway);
        (self.append)(Batch { records, ack })
    }

    /// Makes records of the lines that have their end, where they stand; how many. The rest waits
    /// for what is read next.
    fn cut(&mut self, records: &mut RecordBlock, bytes: Range<u32>) -> u64 {
        // One look at the clock serves all that came at once.
        let record = self.wiring.record(RecordKind::Delivery, self.stream.id, b"", b"");
        let before = records.len();
        let (text, mut cut) = records.cut(&bytes, &record, bytes.start..bytes.start);
        let mut start = 0;
        each_line_end(text, |end| {
            let line = &text[start..end];
            let (at, bytes) = match line {
                // What is white is none of these.
                [b'!'..=b'~', .., b'!'..=b'~'] => (start, line.len()),
                _ => (end - line.trim_ascii_start().len(), line.trim_ascii().len()),
            };
            start = end + 1;
            if bytes > 0 {
                let flags = flags(false, bytes > self.payload_bytes_max);
                cut.push(flags, record.position, at..at + bytes.min(self.payload_bytes_max));
            }
        });
        self.begun.clear();
        self.begun.extend_from_slice(&text[start..]);
        // A line without end is kept as far as its refusal needs it.
        self.begun.truncate(self.payload_bytes_max + READ_BYTES);
        (records.len() - before) as u64
    }
}
