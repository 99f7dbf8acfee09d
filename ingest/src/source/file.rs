//! Files as a source that is its own log: NDJSON and CSV, plain or gzip, and standard input.
//!
//! A delivery's position is its byte offset in the unpacked files laid end to end, so evidence is
//! read again from where it stands. Packed files and standard input are unpacked into a temporary
//! file that has no name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use event::limits::DELIVERY_BYTES_MAX;
use event::{
    Cut, EventTime, Position, RecordBlock, RecordFlags, RecordKind, RecordRef, SourceId, StreamId,
};

use crate::decode::{CHUNKS, Ends, all_line_ends};
use crate::limits::BLOCK_BYTES;

/// Bytes read at once where one delivery is wanted: it is seldom longer.
const ROW_BYTES: usize = 4_096;

/// One file to read.
#[derive(Clone, Debug)]
pub struct FileInput {
    /// Where it is; `-` is standard input.
    pub path: PathBuf,
    /// The source it is counted under.
    pub source: SourceId,
}

struct Input {
    name: String,
    file: File,
    source: SourceId,
    stream: StreamId,
    csv: bool,
    /// Where it begins in the files laid end to end.
    base: u64,
    len: u64,
    at: u64,
    opened: bool,
    ended: bool,
    /// Greatest occurred time so far, as the caller told.
    reached: EventTime,
}

/// Reads files merged: always on from the one whose events are furthest behind.
pub struct FileReader {
    inputs: Vec<Input>,
    delivery_bytes_max: usize,
    block_bytes: usize,
}

impl FileReader {
    /// Opens all files; each is one stream, in the order given. An error names its file.
    pub fn open(files: &[FileInput]) -> io::Result<Self> {
        let mut inputs = Vec::new();
        let mut base = 0;
        for (index, FileInput { path, source }) in files.iter().enumerate() {
            let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
            let file = open(path).map_err(named)?;
            let len = file.metadata().map_err(named)?.len();
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            let csv = name.trim_end_matches(".gz").ends_with(".csv");
            inputs.push(Input {
                name,
                file,
                source: *source,
                stream: StreamId(index as u16),
                csv,
                base,
                len,
                at: 0,
                opened: false,
                ended: false,
                reached: EventTime::MIN,
            });
            base += len;
        }
        Ok(Self { inputs, delivery_bytes_max: DELIVERY_BYTES_MAX, block_bytes: BLOCK_BYTES })
    }

    /// How much is read at once, in bytes: of one file what is found does not depend on it. Several are merged block by
    /// block, and the order in which they are read is the order of the log: where they hold deliveries of one identity, the
    /// one that is read first counts, and the others are its duplicates.
    #[must_use]
    pub fn with_block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes.max(1);
        self
    }

    /// How many files there are.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Bytes of all files, unpacked.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.inputs.iter().map(|i| i.len).sum()
    }

    /// Bytes read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.inputs.iter().map(|i| i.at).sum()
    }

    /// Tells how far a stream's events have come: the merge goes on with the one furthest behind.
    pub fn progress(&mut self, stream: StreamId, occurred: EventTime) {
        if let Some(input) = self.inputs.get_mut(stream.0 as usize) {
            input.reached = input.reached.max(occurred);
        }
    }

    /// Adds the next deliveries of one file; `false` when all files are at their end.
    pub fn read(&mut self, block: &mut RecordBlock) -> io::Result<bool> {
        for input in self.inputs.iter_mut().filter(|i| !i.opened) {
            input.opened = true;
            input.mark(RecordKind::StreamOpened, block);
        }
        let limit = self.delivery_bytes_max;
        let behind = self.inputs.iter_mut().filter(|i| !i.ended).min_by_key(|i| i.reached);
        let Some(input) = behind else { return Ok(!block.is_empty()) };
        input.at += input.read(input.at, block, self.block_bytes, limit)?;
        if input.at >= input.len {
            input.ended = true;
            input.mark(RecordKind::StreamEnded, block);
        }
        Ok(true)
    }

    /// A reader of the same files, to read parts of them again.
    pub fn again(&self) -> io::Result<Self> {
        let inputs = self
            .inputs
            .iter()
            .map(|i| Ok(Input { name: i.name.clone(), file: i.file.try_clone()?, ..*i }));
        let inputs = inputs.collect::<io::Result<_>>()?;
        Ok(Self { inputs, ..*self })
    }

    /// Adds deliveries from the one on that begins at a position, about a block of one file; where
    /// to go on, which is `from` behind the last.
    pub fn read_on(&self, from: Position, block: &mut RecordBlock) -> io::Result<Position> {
        let (bytes, limit) = (self.block_bytes, self.delivery_bytes_max);
        let Some(input) = self.owner(from) else { return Ok(from) };
        let read = input.read(from.0 - input.base, block, bytes, limit)?;
        Ok(Position(from.0 + read))
    }

    /// Adds the delivery that begins at a position; `false` when there is none.
    pub fn at(&self, position: Position, block: &mut RecordBlock) -> io::Result<bool> {
        let Some(input) = self.owner(position) else { return Ok(false) };
        let (at, before) = (position.0 - input.base, block.len());
        let wanted = ROW_BYTES.min((input.len - at) as usize);
        if input.cut(at, block, wanted, self.delivery_bytes_max, true)? == 0 {
            input.row_at(at, block, self.delivery_bytes_max)?;
        }
        Ok(block.len() > before)
    }

    fn owner(&self, position: Position) -> Option<&Input> {
        self.inputs.iter().find(|i| (i.base..i.base + i.len).contains(&position.0))
    }
}

impl Input {
    fn record<'a>(
        &'a self,
        kind: RecordKind,
        flags: RecordFlags,
        position: Position,
        payload: &'a [u8],
    ) -> RecordRef<'a> {
        RecordRef {
            kind,
            flags,
            stream: self.stream,
            source: self.source,
            recorded: EventTime(0),
            position,
            topic: self.name.as_bytes(),
            payload,
            room: payload,
        }
    }

    fn mark(&self, kind: RecordKind, block: &mut RecordBlock) {
        let position = Position(self.base + self.at);
        block.push(&self.record(kind, RecordFlags::default(), position, b""));
    }

    /// Adds about `bytes` bytes of whole rows from an offset on; how many bytes they were.
    fn read(
        &self,
        at: u64,
        block: &mut RecordBlock,
        bytes: usize,
        limit: usize,
    ) -> io::Result<u64> {
        let wanted = bytes.min((self.len - at) as usize);
        let done = self.cut(at, block, wanted, limit, false)?;
        // Or one row that is longer than a block.
        if done > 0 { Ok(done) } else { self.row_at(at, block, limit) }
    }

    /// Reads `wanted` bytes from an offset on and adds the whole rows of them, or `only` the first; how
    /// many bytes they were.
    fn cut(
        &self,
        at: u64,
        block: &mut RecordBlock,
        wanted: usize,
        limit: usize,
        only: bool,
    ) -> io::Result<u64> {
        let (range, result) = block.append_read(wanted, |room| self.file.read_exact_at(room, at));
        result?;
        let last = at + wanted as u64 == self.len;
        let topic = block.append(self.name.as_bytes());
        let like = self.record(RecordKind::Delivery, RecordFlags::default(), Position(0), b"");
        let (bytes, records) = block.cut(&range, &like, topic);
        let mut rows = Rows { bytes, records, base: self.base + at, start: 0, limit };
        let all = if self.csv || only {
            each(&mut rows, self.csv, only)
        } else {
            lines(&mut rows);
            true
        };
        if all && last {
            rows.end(bytes.len());
        }
        Ok(rows.start as u64)
    }

    /// Adds one row, however long; the bytes to the next one.
    fn row_at(&self, at: u64, block: &mut RecordBlock, limit: usize) -> io::Result<u64> {
        let (row, len) = self.row(at, limit)?;
        let head = &row[..row.len().min(limit)];
        if !head.is_empty() {
            let (flags, position) = (flags(row.len(), limit), Position(self.base + at));
            block.push(&self.record(RecordKind::Delivery, flags, position, head));
        }
        Ok(len)
    }

    /// The row at an offset (of one longer than the limit, a byte more than the limit), and the
    /// bytes to the next one.
    fn row(&self, at: u64, limit: usize) -> io::Result<(Vec<u8>, u64)> {
        let mut row = Vec::new();
        let mut scanned = Quotes::default();
        let mut next = at;
        let mut chunk = vec![0_u8; 4_096];
        while next < self.len {
            let wanted = chunk.len().min((self.len - next) as usize);
            self.file.read_exact_at(&mut chunk[..wanted], next)?;
            let end = scanned.end(&chunk[..wanted], self.csv);
            let take = end.unwrap_or(wanted);
            let room = (limit + 3).saturating_sub(row.len());
            row.extend_from_slice(&chunk[..take.min(room)]);
            next += take as u64;
            if end.is_some() {
                break;
            }
        }
        let len = trim(&row).len();
        row.truncate(len.min(limit + 1));
        Ok((row, next - at))
    }
}

/// Whether a scan stands inside quotes: a quoted CSV value may hold line ends.
#[derive(Default)]
struct Quotes(bool);

impl Quotes {
    /// The offset behind the first line end outside quotes.
    fn end(&mut self, bytes: &[u8], csv: bool) -> Option<usize> {
        if !csv {
            return memchr::memchr(b'\n', bytes).map(|at| at + 1);
        }
        for at in memchr::memchr2_iter(b'\n', b'"', bytes) {
            match bytes[at] {
                b'"' => self.0 = !self.0,
                _ if !self.0 => return Some(at + 1),
                _ => {}
            }
        }
        None
    }
}

/// Bytes that are cut into rows.
struct Rows<'a> {
    bytes: &'a [u8],
    records: Cut<'a>,
    /// Where the bytes begin in the files laid end to end.
    base: u64,
    /// Where the next row begins.
    start: usize,
    limit: usize,
}

impl Rows<'_> {
    /// A row ends here, its line end included.
    #[inline(always)]
    fn end(&mut self, end: usize) {
        let start = std::mem::replace(&mut self.start, end);
        match &self.bytes[start..end] {
            // As most are: no blank in front, which may be all that there is, and one line end.
            [first, .., before, b'\n']
                if *first > b' ' && *before != b'\r' && end - start <= self.limit =>
            {
                let position = Position(self.base + start as u64);
                self.records.push(RecordFlags::default(), position, start..end - 1);
            }
            _ => self.other(start, end),
        }
    }

    /// Rows end behind each of these places behind `before`, their line ends included.
    #[inline(always)]
    fn end_some(&mut self, before: usize, ends: &[u16]) {
        let known = self.records.records();
        let (bytes, base, first) = (self.bytes, self.base, self.start);
        let mut start = first;
        // As most are: no blank in front, which may be all that there is, and one line end. No row but the
        // first of these is longer than all of their bytes.
        let longest = ends.first().map_or(0, |end| before + usize::from(*end) - first);
        let mut odd = longest.max(64 * CHUNKS) > self.limit;
        self.records.extend(ends.iter().map(|end| {
            let end = before + usize::from(*end);
            let blank = bytes.get(start).is_none_or(|first| *first <= b' ');
            odd |= blank | (bytes.get(end.wrapping_sub(2)) == Some(&b'\r'));
            let row = (Position(base + start as u64), start..end - 1);
            start = end;
            row
        }));
        self.start = start;
        if odd {
            self.records.truncate(known);
            self.start = first;
            for end in ends {
                self.end(before + usize::from(*end));
            }
        }
    }

    /// The row that stands there, if it is one.
    #[cold]
    #[inline(never)]
    fn other(&mut self, start: usize, end: usize) {
        let row = trim(&self.bytes[start..end]);
        if !row.is_empty() {
            let position = Position(self.base + start as u64);
            let part = start..start + row.len().min(self.limit);
            self.records.push(flags(row.len(), self.limit), position, part);
        }
    }
}

/// Cuts one row after the other, or `only` the first; whether more are wanted than there are.
fn each(rows: &mut Rows<'_>, csv: bool, only: bool) -> bool {
    while let Some(len) = Quotes::default().end(&rows.bytes[rows.start..], csv) {
        rows.end(rows.start + len);
        if only {
            return false;
        }
    }
    true
}

/// The same of many lines: sixty-four bytes are looked at at once, and of lines that are a hundred long
/// each only once. First all ends of some chunks are found and then their rows made: whether there is
/// one in a chunk would be guessed wrong as often as not.
fn lines(rows: &mut Rows<'_>) {
    let (chunks, rest) = rows.bytes.as_chunks();
    let mut ends: Ends = [0; _];
    for (number, some) in chunks.chunks(CHUNKS).enumerate() {
        rows.end_some(64 * CHUNKS * number, all_line_ends(some, &mut ends));
    }
    let before = rows.bytes.len() - rest.len();
    memchr::memchr_iter(b'\n', rest).for_each(|at| rows.end(before + at + 1));
}

fn flags(len: usize, limit: usize) -> RecordFlags {
    if len > limit { RecordFlags::OVERSIZE } else { RecordFlags::default() }
}

#[inline(always)]
fn trim(mut row: &[u8]) -> &[u8] {
    if let [before @ .., b'\n'] = row {
        row = before;
    }
    if let [before @ .., b'\r'] = row {
        row = before;
    }
    // A blank line is no delivery; blanks around JSON do no harm and stay.
    match row {
        [first, ..] if !first.is_ascii_whitespace() => row,
        _ if row.iter().all(u8::is_ascii_whitespace) => &[],
        _ => row,
    }
}

/// Opens a file for reading at any offset.
fn open(path: &Path) -> io::Result<File> {
    if path == Path::new("-") {
        return spool(io::stdin().lock());
    }
    if path.extension().is_some_and(|e| e == "gz") {
        return spool(flate2::read::MultiGzDecoder::new(File::open(path)?));
    }
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return spool(file);
    }
    Ok(file)
}

/// Copies a stream into a temporary file without a name.
fn spool(mut from: impl Read) -> io::Result<File> {
    let dir = std::env::temp_dir();
    let path = dir.join(format!("portcullis-{}-{:p}", std::process::id(), &raw const from));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    io::copy(&mut from, &mut file)?;
    file.flush()?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of every length, many to a chunk and longer than some chunks, blank ones and both line ends; with
    /// a last one that has none.
    #[test]
    fn rows_are_what_a_plain_split_says() {
        let mut text = "\n".repeat(3_000);
        for len in (0..200).chain([0; 70]).chain([1; 200]).chain([5_000, 2, 2_047, 2_048, 63, 64]) {
            text += &"x".repeat(len);
            text += if len % 3 == 0 { "\r\n" } else { "\n" };
        }
        text += "the last";
        let path = std::env::temp_dir().join(format!("portcullis-rows-{}", std::process::id()));
        std::fs::write(&path, &text).expect("a file is written");
        let input = FileInput { path: path.clone(), source: SourceId(0) };
        let mut at = 0;
        let mut told = Vec::new();
        for line in text.split_inclusive('\n') {
            let row = line.trim_end();
            if !row.is_empty() {
                told.push((at as u64, row.as_bytes().to_vec()));
            }
            at += line.len();
        }
        for bytes in [1, 64, 100, 4_096, BLOCK_BYTES] {
            let mut files = FileReader::open(std::slice::from_ref(&input))
                .expect("it is there")
                .with_block_bytes(bytes);
            let (mut block, mut rows) = (RecordBlock::new(), Vec::new());
            loop {
                block.clear();
                let more = files.read(&mut block).expect("it is read");
                let deliveries = block.iter().filter(|r| r.kind == RecordKind::Delivery);
                rows.extend(deliveries.map(|r| (r.position.0, r.payload.to_vec())));
                if !more {
                    break;
                }
            }
            assert!(rows == told, "blocks of {bytes}");
            for (at, row) in told.iter().step_by(7) {
                block.clear();
                assert!(files.at(Position(*at), &mut block).expect("it is read again"));
                assert_eq!(block.get(0).payload, row);
            }
        }
        std::fs::remove_file(&path).expect("it is taken away");
    }
}
