//! Reading: from a position on, following the writer; or one record again.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use event::{Position, RecordBlock};

use super::expected::Expected;
use super::files::{Files, ReadOnlyFiles};
use super::frame::Frame;
use super::offsets::{self, Payloads};
use super::piece::Piece;
use super::segment::Segment;
use super::{LogError, Progress, frame};

/// Bytes read for one record at first: few are longer.
const RECORD_BYTES: usize = 256;

/// Reads a log that is being written.
#[derive(Clone, Debug)]
pub struct LogReader {
    dir: PathBuf,
    files: Arc<dyn Files>,
    progress: Arc<Progress>,
    segments: Vec<Segment>,
    position: u64,
    /// Records before it are passed over: a position may stand within a frame.
    skip: u64,
    /// Up to where the log was written when that was last asked.
    seen: Position,
    bytes: Vec<u8>,
    /// Records that will be read soon: those that are held, and frames in memory.
    held: Expected<RecordBlock>,
    expected: Expected<Piece>,
    /// What is expected, not held, or in a file only; empty between two calls.
    unheld: Vec<Position>,
    away: Vec<Position>,
    /// What reads payloads again that the log does not keep.
    payloads: Option<Arc<dyn Payloads>>,
    /// Deliveries that the log keeps only the place of are passed over.
    whole_only: bool,
    /// Those that cannot be had are passed over.
    lenient: bool,
    /// One of them was.
    lacked: bool,
}

impl LogReader {
    /// A reader that begins at a position.
    ///
    /// # Errors
    /// The file system refused, or the position is no longer in the log.
    pub fn open(
        dir: &Path,
        files: Arc<dyn Files>,
        progress: Arc<Progress>,
        from: Position,
    ) -> Result<Self, LogError> {
        let segments = Segment::list(&*files, dir)?;
        let mut reader = Self {
            dir: dir.to_owned(),
            files,
            progress,
            segments,
            position: from.0,
            skip: 0,
            seen: Position(0),
            bytes: Vec::new(),
            held: Expected::default(),
            expected: Expected::default(),
            unheld: Vec::new(),
            away: Vec::new(),
            payloads: None,
            whole_only: false,
            lenient: false,
            lacked: false,
        };
        let first = reader.segments.first().map_or(0, |s| s.first);
        if from.0 < first || from > reader.progress.written() {
            return Err(LogError::Pruned(from.0));
        }
        reader.seek(from)?;
        Ok(reader)
    }

    /// Reads payloads that the log does not keep there.
    #[must_use]
    pub fn with_payloads(mut self, payloads: Arc<dyn Payloads>) -> Self {
        self.payloads = Some(payloads);
        self
    }

    /// Passes over deliveries that the log keeps only the place of.
    #[must_use]
    pub fn whole_only(mut self) -> Self {
        self.whole_only = true;
        self
    }

    /// Passes over deliveries that their source has deleted or cannot give now; [`Self::lacked`] tells
    /// of it.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Whether a delivery was passed over since this was last asked.
    pub fn lacked(&mut self) -> bool {
        std::mem::take(&mut self.lacked)
    }

    /// A reader of all that stands now in a log which another program may be writing. It changes
    /// nothing; what is written later it does not see. `None` where nothing was ever logged.
    ///
    /// # Errors
    /// The file system refused.
    pub fn beside(dir: &Path) -> Result<Option<Self>, LogError> {
        let files: Arc<dyn Files> = Arc::new(ReadOnlyFiles);
        let segments = Segment::list(&*files, dir)?;
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Ok(None);
        };
        let from = Position(first.first);
        let progress = Arc::new(Progress::of_now(last, last.whole_end()?));
        Self::open(dir, files, progress, from).map(Some)
    }

    /// Goes to a position, from which it reads on.
    ///
    /// # Errors
    /// The file system refused, or the position is no longer in the log.
    pub fn seek(&mut self, to: Position) -> Result<(), LogError> {
        self.skip = to.0;
        self.position = self.frame_of(to.0)?;
        Ok(())
    }

    /// Where the frame begins in which a position stands.
    fn frame_of(&mut self, position: u64) -> Result<u64, LogError> {
        if position < self.oldest().0 || position >= self.progress.written().0 {
            return Ok(position);
        }
        if self.frame(position)?.is_some() {
            return Ok(position);
        }
        let place = self.segment(position)?;
        let first = self.segments[place].first;
        let start = offsets::frame_start(&self.bytes, position).filter(|start| *start >= first);
        let Some(start) = start else { return Ok(position) };
        let frame = self.frame(start)?;
        let within = |frame: &Frame| frame.offsets && start + frame.len as u64 > position;
        Ok(if frame.as_ref().is_some_and(within) { start } else { position })
    }

    /// Reads the frame at a position, where there is a whole one; its bytes come first.
    fn frame(&mut self, position: u64) -> Result<Option<Frame>, LogError> {
        let mut read = self.read_at(position, RECORD_BYTES)?;
        if let Some(len) = frame::claimed_len(&self.bytes[..read])
            && len > read
            && read == RECORD_BYTES
        {
            read = self.read_at(position, len)?;
        }
        // With its checksum wherever it was read: a position may stand within a frame.
        Ok(frame::decode(&self.bytes[..read], position))
    }

    /// Where the next record will be read.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.position.max(self.skip))
    }

    /// The oldest position still in the log.
    #[must_use]
    pub fn oldest(&self) -> Position {
        Position(self.segments.first().map_or(0, |s| s.first))
    }

    /// Adds the next records to `block`, about `bytes_max` bytes of them; how many.
    ///
    /// # Errors
    /// The file system refused, or a record is damaged.
    pub fn read(&mut self, block: &mut RecordBlock, bytes_max: usize) -> Result<usize, LogError> {
        let before = block.len();
        while block.len() == before && self.position < self.progress.written().0 {
            let most = bytes_max.max(frame::HEADER);
            // It stands in a file, and in memory as long as it does not, and a while after.
            let filed = self.progress.filed();
            self.read_memory(most, block)?;
            if block.len() > before || self.position >= filed {
                continue;
            }
            let place = self.segment(self.position)?;
            // The next segment begins where this one ends; the last one ends at what is written.
            let end = self.segments.get(place + 1).map_or(filed, |next| next.first.min(filed));
            let wanted = (end - self.position).min(most as u64) as usize;
            let (whole, needed) = self.read_some(Some(place), wanted, block)?;
            if whole == 0 {
                // One record longer than asked for: read all of it.
                let room = (end - self.position) as usize;
                let needed = needed.filter(|n| *n <= room && *n > wanted);
                let needed = needed.ok_or_else(|| damaged(&self.segments[place], self.position))?;
                if self.read_some(Some(place), needed, block)?.0 == 0 {
                    return Err(damaged(&self.segments[place], self.position));
                }
            }
        }
        Ok(block.len() - before)
    }

    /// The same for the only one who follows the log closely, in the place of `block`: a long block as it was appended,
    /// without a copy, or about `bytes_max` bytes.
    ///
    /// # Errors
    /// The file system refused, or a record is damaged.
    pub fn follow(
        &mut self,
        block: &mut Arc<RecordBlock>,
        bytes_max: usize,
    ) -> Result<usize, LogError> {
        match self.progress.fresh.take(self.position().0, block) {
            Ok(end) => {
                self.position = end;
                Ok(block.len())
            }
            // So that the next one is met where it begins.
            Err(left) => {
                if Arc::get_mut(block).is_none() {
                    *block = Arc::default();
                }
                let Some(own) = Arc::get_mut(block) else { return Ok(0) };
                own.clear();
                self.read(own, bytes_max.min(usize::try_from(left).unwrap_or(usize::MAX)))
            }
        }
    }

    /// Reads about `most` bytes of what is in memory, as far as that goes.
    fn read_memory(&mut self, most: usize, block: &mut RecordBlock) -> Result<(), LogError> {
        let mut left = most;
        while left >= frame::HEADER {
            let (whole, needed) = self.read_some(None, left, block)?;
            left -= whole.min(left);
            if whole == 0
                && left == most
                && let Some(needed) = needed.filter(|n| *n > most)
            {
                // One record longer than asked for: read all of it.
                self.read_some(None, needed, block)?;
            }
            // Only where a block ends another follows.
            if whole == 0 || needed.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Reads `wanted` bytes, of a segment's file or (`None`) of the log's end in memory, and takes the
    /// whole records of them; how many bytes those were, and what the next one claims to need.
    fn read_some(
        &mut self,
        place: Option<usize>,
        wanted: usize,
        block: &mut RecordBlock,
    ) -> Result<(usize, Option<usize>), LogError> {
        // Where they come to stand they stay: records are spans of what was read.
        let (there, read) = block.append_read(wanted, |room| match place {
            None => Ok(self.progress.unfiled.copy(self.position, room)),
            Some(place) => {
                let segment = &self.segments[place];
                let read = segment.file.read_at(room, segment.offset(self.position));
                read.map_err(LogError::io(&segment.path))
            }
        });
        let all = there.start..there.start + read? as u32;
        block.shorten(all.end);
        let (mut left, before, bytes) = (all.clone(), block.len(), block.bytes());
        let decode = if place.is_some() { frame::decode } else { frame::decode_ours };
        while let Some(frame) = decode(block.bytes_of(&left), self.position)
            && block.bytes() <= bytes + wanted
        {
            let topic = left.start + frame.topic.start as u32..left.start + frame.topic.end as u32;
            let whole = left.start..left.start + frame.len as u32;
            if !frame.offsets {
                block.push_span(&frame.head, topic.clone(), topic.end..whole.end);
            } else if let Err(error) = self.resolve(&frame, &whole, block) {
                if block.len() == before {
                    return Err(error);
                }
                // Those before it are read; with it begins the next call.
                self.skip = offsets::next(block.get(block.len() - 1).position.0);
                break;
            }
            left.start = whole.end;
            self.position += frame.len as u64;
        }
        // A part of a frame is something, too.
        let part = usize::from(block.len() > before);
        let taken = ((left.start - all.start) as usize).max(part);
        Ok((taken, frame::claimed_len(block.bytes_of(&left))))
    }

    /// Looks for records that will be wanted in this order, where they stand in memory, and asks for it, and for parts
    /// of files: one by one each would be waited for. That memory is kept until others are expected, or none.
    pub fn expect(&mut self, positions: &[Position]) {
        let Self { progress, unheld, .. } = self;
        let what = (positions, RECORD_BYTES);
        progress.held().expect(what, &mut self.held, |position| unheld.push(position));
        let mut away = std::mem::take(&mut self.away);
        let what = (unheld.as_slice(), RECORD_BYTES);
        progress.unfiled.expect(what, &mut self.expected, |position| away.push(position));
        unheld.clear();
        for position in away.drain(..) {
            // Where it cannot be found, reading it says so.
            if let Ok(place) = self.segment(position.0) {
                let segment = &self.segments[place];
                let from = segment.offset(position.0);
                segment.file.expect(from..from + RECORD_BYTES as u64);
            }
        }
        self.away = away;
    }

    /// Nothing of the log is read again that stands in its files: its memory goes.
    pub fn let_go(&self) {
        self.progress.unfiled.let_go();
    }

    /// Adds the record at a position; `false` when it was pruned.
    ///
    /// # Errors
    /// The file system refused, or the record is damaged.
    pub fn at(&mut self, position: Position, block: &mut RecordBlock) -> Result<bool, LogError> {
        if position >= self.seen {
            self.seen = self.progress.written();
        }
        if position < self.oldest() || position >= self.seen {
            return Ok(false);
        }
        // One of which the log keeps only the place, taken a moment ago: its frame need not be read.
        if let Some((held, index)) = self.held.next(position) {
            block.push(&held.get(index));
            return Ok(true);
        }
        if self.progress.held().copy(position, 1, block) {
            return Ok(true);
        }
        // Nearly all stand in a frame of their own, and in memory. Only where there are frames of several
        // deliveries may a position stand within one.
        let decode = if self.progress.held().any() { frame::decode } else { frame::decode_ours };
        let mut take = |bytes: &[u8]| {
            let frame = decode(bytes, position.0).filter(|frame| !frame.offsets);
            frame.map(|frame| frame.push(bytes, block))
        };
        let there = match self.expected.next(position) {
            Some((bytes, from)) => take(&bytes[from..]),
            None => self.progress.unfiled.look(position.0, take),
        };
        if there.is_some() {
            return Ok(true);
        }
        let mut frame = self.frame(position.0)?;
        if frame.is_none() {
            let start = self.frame_of(position.0)?;
            frame = self.frame(start)?;
        }
        let Some(frame) = frame else {
            let place = self.segment(position.0)?;
            return Err(damaged(&self.segments[place], position.0));
        };
        let bytes = &self.bytes[..frame.len];
        if frame.offsets {
            let (held, payloads) = (self.progress.held(), self.payloads.as_deref());
            let only = position.0..position.0 + 1;
            offsets::resolve((&frame, bytes), &only, held, payloads, block)?;
        } else {
            frame.push(bytes, block);
        }
        Ok(true)
    }

    /// Adds the deliveries of a frame that stands in the block's bytes.
    fn resolve(
        &mut self,
        frame: &Frame,
        whole: &Range<u32>,
        block: &mut RecordBlock,
    ) -> Result<(), LogError> {
        if self.whole_only {
            return Ok(());
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(block.bytes_of(whole));
        let (held, payloads) = (self.progress.held(), self.payloads.as_deref());
        let within = self.skip..u64::MAX;
        match offsets::resolve((frame, &self.bytes), &within, held, payloads, block) {
            Err(_) if self.lenient => {
                self.lacked = true;
                Ok(())
            }
            other => other,
        }
    }

    /// Reads up to `wanted` bytes from a position on; how many.
    fn read_at(&mut self, position: u64, wanted: usize) -> Result<usize, LogError> {
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        match self.progress.unfiled.copy(position, &mut self.bytes[..wanted]) {
            0 => {}
            there => return Ok(there),
        }
        let place = self.segment(position)?;
        let segment = &self.segments[place];
        let offset = segment.offset(position);
        let read = segment.file.read_at(&mut self.bytes[..wanted], offset);
        read.map_err(LogError::io(&segment.path))
    }

    /// Removes whole segments before a position; how many.
    ///
    /// # Errors
    /// The file system refused.
    pub fn prune(&mut self, before: Position) -> Result<usize, LogError> {
        self.segments = Segment::list(&*self.files, &self.dir)?;
        let whole = |s: &&Segment| s.end <= before.0 && s.end > s.first;
        // The last one is being written.
        let last = self.segments.len().saturating_sub(1);
        let old = self.segments[..last].iter().take_while(whole).count();
        for segment in self.segments.drain(..old) {
            self.files.remove(&segment.path).map_err(LogError::io(&segment.path))?;
        }
        if old > 0 {
            self.files.sync_dir(&self.dir).map_err(LogError::io(&self.dir))?;
        }
        Ok(old)
    }

    /// The segment that a position stands in.
    fn segment(&mut self, position: u64) -> Result<usize, LogError> {
        // The writer may have gone on to a new segment.
        if self.segments.last().is_none_or(|last| last.first < self.progress.segment()) {
            self.segments = Segment::list(&*self.files, &self.dir)?;
        }
        let behind = self.segments.partition_point(|s| s.first <= position);
        behind.checked_sub(1).ok_or(LogError::Pruned(position))
    }
}

fn damaged(segment: &Segment, position: u64) -> LogError {
    LogError::Damaged { segment: segment.name(), offset: segment.offset(position), position }
}
