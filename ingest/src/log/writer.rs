//! Appending, and making durable.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use event::{Position, RecordBlock};

use super::files::Files;
use super::segment::Segment;
use super::unfiled::Tail;
use super::{LogError, Progress, State, frame, offsets};

/// How the log is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment that has reached so many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// So much of what is durable the system may keep in its cache: what is cited soon is kept in memory
    /// ([`super::unfiled`]).
    pub cached_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        // 64 MiB: a file that is deleted at once, some 200,000 deliveries.
        Self { segment_bytes: 64 << 20, cached_bytes: 4 << 20 }
    }
}

/// Bytes that have their place and stand in no file: a disk that is slow for a second of a fast source.
pub(super) const UNFILED_BYTES_MAX: u64 = 32 << 20;

/// Bytes whose place on the disk is found at once: page by page, as they are written, costs as much as writing them.
const RESERVE_BYTES: u64 = 16 << 20;

/// Bytes of which the system is told at once that it need not keep them.
const UNCACHE_BYTES: u64 = 4 << 20;

/// The largest page of the system's cache.
const PAGE_BYTES_MAX: u64 = 2 << 20;

/// The one writer of a log.
#[derive(Debug)]
pub struct LogWriter {
    sequencer: Sequencer,
    filer: Filer,
    /// Bytes that a crash had torn off the end, cut at [`Self::open`].
    pub cut: u64,
}

/// Gives what comes its place in the log, where readers find it. It waits for no disk.
#[derive(Debug)]
pub struct Sequencer {
    progress: Arc<Progress>,
    tail: Tail,
    buffer: Vec<u8>,
    positions: Vec<u64>,
}

/// Writes what has its place into files.
#[derive(Debug)]
pub struct Filer {
    dir: PathBuf,
    files: Arc<dyn Files>,
    options: Options,
    segment: Segment,
    /// Up to which position its file has a place on the disk.
    reserved: u64,
    progress: Arc<Progress>,
    /// Segments before it that the system may keep something of in its cache; and up to where it was told that it
    /// need not.
    cached: VecDeque<Segment>,
    uncached: u64,
}

impl LogWriter {
    /// Opens the log of a folder, or begins one. What a crash tore off the end is cut; everything
    /// that is left is made durable.
    ///
    /// # Errors
    /// The file system refused, or a record that had been durable is damaged.
    pub fn open(dir: &Path, files: Arc<dyn Files>, options: Options) -> Result<Self, LogError> {
        files.create_dir(dir).map_err(LogError::io(dir))?;
        let mut segments = Segment::list(&*files, dir)?;
        let mut cut = 0;
        let segment = match segments.pop() {
            None => Segment::create(&*files, dir, 0)?,
            Some(mut last) => {
                cut = last.cut_torn_tail()?;
                last.file.sync().map_err(LogError::io(&last.path))?;
                last
            }
        };
        let progress = Arc::new(Progress::new(State::of(&segment, segment.end)));
        let (buffer, positions) = (Vec::new(), Vec::new());
        let tail = Tail::new(segment.first, options.segment_bytes);
        let sequencer = Sequencer { progress: progress.clone(), tail, buffer, positions };
        let (cached, uncached) = (VecDeque::new(), segment.end);
        let (dir, reserved) = (dir.to_owned(), segment.end);
        let filer = Filer { dir, files, options, segment, reserved, progress, cached, uncached };
        Ok(Self { sequencer, filer, cut })
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        self.filer.progress.clone()
    }

    /// What makes it durable, for a thread of its own.
    #[must_use]
    pub fn syncer(&self) -> SyncHandle {
        self.filer.syncer()
    }

    /// Both halves, for threads of their own.
    #[must_use]
    pub fn split(self) -> (Sequencer, Filer) {
        (self.sequencer, self.filer)
    }

    /// Appends a block and writes it; see [`Sequencer::take`] and [`Filer::write`].
    ///
    /// # Errors
    /// The file system refused, or an fsync failed before.
    pub fn append(&mut self, block: &mut RecordBlock) -> Result<Position, LogError> {
        let end = self.sequencer.take(block)?;
        self.filer.write()?;
        Ok(end)
    }
}

impl Sequencer {
    /// How far the log has come.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Appends a block and sets its records' positions; the position behind it is returned. A block of which
    /// the log keeps only the places stays in memory: an empty one is left for it. It waits where too much is in no file yet.
    ///
    /// # Errors
    /// An fsync failed before, or nothing is written any more.
    pub fn take(&mut self, block: &mut RecordBlock) -> Result<Position, LogError> {
        let (start, durable) = self.progress.room()?;
        self.buffer.clear();
        self.buffer.reserve(block.bytes() + 2 * frame::HEADER * block.len());
        self.positions.clear();
        let mut topics_fit = true;
        while self.positions.len() < block.len() {
            let index = self.positions.len();
            let position = start + self.buffer.len() as u64;
            let unsynced = u32::try_from(position - durable).unwrap_or(u32::MAX);
            match offsets::run(block, index) {
                0 => {
                    let record = block.get(index);
                    topics_fit &= frame::topic(&record).len() == record.topic.len();
                    frame::encode(&record, position, unsynced, &mut self.buffer);
                    self.positions.push(position);
                }
                count => {
                    let record = block.get(index);
                    topics_fit &= frame::topic(&record).len() == record.topic.len();
                    let (run, place) = ((index, count), (position, unsynced));
                    offsets::encode(block, run, place, &mut self.buffer, &mut self.positions);
                }
            }
        }
        for (index, position) in self.positions.iter().enumerate() {
            block.set_position(index, Position(*position));
        }
        let end = start + self.buffer.len() as u64;
        let Progress { fresh, held, .. } = &*self.progress;
        // Whoever follows must see what a frame holds: not more of a topic than fits.
        match (block.is_whole(), topics_fit) {
            (true, true) => fresh.push(start, end, block),
            (true, false) => {}
            (false, true) => fresh.share(start, end, held.keep(block)),
            (false, false) => drop(held.keep(block)),
        }
        self.progress.unfiled.push(&mut self.tail, start, &self.buffer);
        self.progress.held.appended(end);
        let syncer_idle = {
            let mut state = self.progress.state();
            state.written = end;
            std::mem::take(&mut state.syncer_idle)
        };
        self.progress.written.ring();
        if syncer_idle {
            self.progress.wanted.ring();
        }
        Ok(Position(end))
    }
}

impl Progress {
    /// Where the next record will stand, once there is room for it, and up to where all is durable.
    fn room(&self) -> Result<(u64, u64), LogError> {
        let mut state = self.state();
        loop {
            if state.poisoned || state.closed {
                return Err(LogError::Poisoned);
            }
            if state.written - state.filed < UNFILED_BYTES_MAX {
                return Ok((state.written, state.durable));
            }
            state = self.filed.wait(state, super::IDLE);
        }
    }
}

impl Filer {
    /// What makes durable what is written.
    #[must_use]
    pub fn syncer(&self) -> SyncHandle {
        SyncHandle { progress: self.progress.clone(), path: self.dir.clone() }
    }

    /// Writes all that has its place and stands in no file. After an error the next call goes on where
    /// it came to.
    ///
    /// # Errors
    /// The file system refused, or an fsync failed before.
    pub fn write(&mut self) -> Result<(), LogError> {
        while let Some((part, from)) = self.progress.unfiled.unwritten() {
            if self.progress.state().poisoned {
                return Err(LogError::Poisoned);
            }
            if part.segment != self.segment.first {
                self.rotate()?;
            }
            // More may be added meanwhile.
            let until = part.piece.len();
            let (first, end) = (part.first + from as u64, part.first + until as u64);
            assert_eq!(
                (part.segment, first),
                (self.segment.first, self.segment.end),
                "what is taken is written in its order, and all of it"
            );
            self.reserve(end);
            let bytes = &part.piece[from..until];
            let written = self.segment.file.write_at(bytes, self.segment.offset(first));
            written.map_err(LogError::io(&self.segment.path))?;
            self.segment.end = end;
            self.progress.state().filed = end;
            self.progress.held.filed(end);
            // From now on it is found in its file.
            self.progress.unfiled.filed(until);
            self.progress.filed.ring();
        }
        self.uncache();
        Ok(())
    }

    /// Has what is written up to a position find its place on the disk, and what comes next with it, as far as the
    /// segment is meant to go.
    fn reserve(&mut self, until: u64) {
        let most = self.segment.first + self.options.segment_bytes;
        if until > self.reserved && self.reserved < most {
            let from = self.segment.offset(self.reserved);
            self.reserved = (until + RESERVE_BYTES).min(most);
            self.segment.file.reserve(from..self.segment.offset(self.reserved));
        }
    }

    /// Has the system let go of what it need not keep. The pages serve again, for what is written next: a page that
    /// served nobody lately costs several times as much, under a hypervisor most of all.
    fn uncache(&mut self) {
        let until = self.progress.state().durable.saturating_sub(self.options.cached_bytes);
        if until < self.uncached + UNCACHE_BYTES.min(self.options.cached_bytes) {
            return;
        }
        // One of which only a part was meant the time before is still there.
        let from = self.uncached.saturating_sub(PAGE_BYTES_MAX);
        for segment in self.cached.iter().chain([&self.segment]) {
            let [from, to] = [from, until].map(|at| at.clamp(segment.first, segment.end));
            if from < to {
                let start = if from == segment.first { 0 } else { segment.offset(from) };
                segment.file.uncache(start..segment.offset(to));
            }
        }
        self.uncached = until;
        while self.cached.front().is_some_and(|segment| segment.end + PAGE_BYTES_MAX <= until) {
            self.cached.pop_front();
        }
    }

    /// Makes the full segment durable and begins the next.
    fn rotate(&mut self) -> Result<(), LogError> {
        self.syncer().sync()?;
        let next = Segment::create(&*self.files, &self.dir, self.segment.end)?;
        self.reserved = next.end;
        self.cached.push_back(std::mem::replace(&mut self.segment, next));
        let mut state = self.progress.state();
        (state.file, state.segment) = (self.segment.file.clone(), self.segment.first);
        Ok(())
    }
}

/// Makes the log durable.
#[derive(Clone, Debug)]
pub struct SyncHandle {
    progress: Arc<Progress>,
    path: PathBuf,
}

impl SyncHandle {
    /// Makes everything durable that stands in a file now; the position up to which it is, is returned.
    ///
    /// # Errors
    /// An fsync failed, now or before: what the file system kept is unknown, and the log takes
    /// nothing more.
    pub fn sync(&self) -> Result<Position, LogError> {
        let (file, filed) = {
            let state = self.progress.state();
            if state.poisoned {
                return Err(LogError::Poisoned);
            }
            if state.durable == state.filed {
                return Ok(Position(state.durable));
            }
            (state.file.clone(), state.filed)
        };
        let result = file.sync();
        let mut state = self.progress.state();
        if let Err(error) = result {
            state.poisoned = true;
            drop(state);
            self.progress.durable.ring();
            self.progress.written.ring();
            self.progress.filed.ring();
            return Err(LogError::io(&self.path)(error));
        }
        state.durable = state.durable.max(filed);
        let durable = Position(state.durable);
        drop(state);
        self.progress.durable.ring();
        Ok(durable)
    }

    /// How far the log has come.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}
