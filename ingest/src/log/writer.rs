//! Appending, and making durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use event::{Position, RecordBlock};

use super::files::Files;
use super::segment::Segment;
use super::{LogError, Progress, State, frame, offsets};

/// How the log is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment that has reached so many bytes is followed by a new one.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        // 64 MiB: a file that is deleted at once, some 200,000 deliveries.
        Self { segment_bytes: 64 << 20 }
    }
}

/// The one writer of a log.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    files: Arc<dyn Files>,
    options: Options,
    segment: Segment,
    progress: Arc<Progress>,
    buffer: Vec<u8>,
    positions: Vec<u64>,
    /// Bytes that a crash had torn off the end, cut at [`Self::open`].
    pub cut: u64,
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
        Ok(Self { dir: dir.to_owned(), files, options, segment, progress, buffer, positions, cut })
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// What makes it durable, for a thread of its own.
    #[must_use]
    pub fn syncer(&self) -> SyncHandle {
        SyncHandle { progress: self.progress.clone(), path: self.dir.clone() }
    }

    /// Appends a block with one write, and sets its records' positions; the position behind it is
    /// returned. After an error nothing of it stands in the log: the same block may come again.
    ///
    /// # Errors
    /// The file system refused, or an fsync failed before.
    pub fn append(&mut self, block: &mut RecordBlock) -> Result<Position, LogError> {
        if self.segment.end - self.segment.first >= self.options.segment_bytes {
            self.rotate()?;
        }
        let (start, durable) = {
            let state = self.progress.state();
            if state.poisoned {
                return Err(LogError::Poisoned);
            }
            (state.written, state.durable)
        };
        self.buffer.clear();
        self.positions.clear();
        while self.positions.len() < block.len() {
            let index = self.positions.len();
            let position = start + self.buffer.len() as u64;
            let unsynced = u32::try_from(position - durable).unwrap_or(u32::MAX);
            match offsets::run(block, index) {
                0 => {
                    frame::encode(&block.get(index), position, unsynced, &mut self.buffer);
                    self.positions.push(position);
                }
                count => {
                    let (run, place) = ((index, count), (position, unsynced));
                    offsets::encode(block, run, place, &mut self.buffer, &mut self.positions);
                }
            }
        }
        let offset = self.segment.offset(start);
        self.segment
            .file
            .write_at(&self.buffer, offset)
            .map_err(LogError::io(&self.segment.path))?;
        for (index, position) in self.positions.iter().enumerate() {
            block.set_position(index, Position(*position));
        }
        if !block.is_whole() {
            self.progress.held.keep(block);
        }
        self.segment.end = start + self.buffer.len() as u64;
        let first = {
            let mut state = self.progress.state();
            let first = state.durable == state.written;
            state.written = self.segment.end;
            first
        };
        self.progress.written.ring();
        if first {
            self.progress.wanted.ring();
        }
        Ok(Position(self.segment.end))
    }

    /// Makes the full segment durable and begins the next.
    fn rotate(&mut self) -> Result<(), LogError> {
        self.syncer().sync()?;
        self.segment = Segment::create(&*self.files, &self.dir, self.segment.end)?;
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
    /// Makes everything durable that is written now; the position up to which it is, is returned.
    ///
    /// # Errors
    /// An fsync failed, now or before: what the file system kept is unknown, and the log takes
    /// nothing more.
    pub fn sync(&self) -> Result<Position, LogError> {
        let (file, written) = {
            let state = self.progress.state();
            if state.poisoned {
                return Err(LogError::Poisoned);
            }
            if state.durable == state.written {
                return Ok(Position(state.durable));
            }
            (state.file.clone(), state.written)
        };
        let result = file.sync();
        let mut state = self.progress.state();
        if let Err(error) = result {
            state.poisoned = true;
            drop(state);
            self.progress.durable.ring();
            self.progress.written.ring();
            return Err(LogError::io(&self.path)(error));
        }
        state.durable = state.durable.max(written);
        let durable = Position(state.durable);
        drop(state);
        self.progress.durable.ring();
        Ok(durable)
    }

    /// How far the log has come.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}
