//! Segments: files of records, named by the position of their first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{Files, LogFile};
use super::{LogError, frame};

/// "PCLOG" and the version of the format.
const MAGIC: &[u8; 8] = b"PCLOG001";
/// Bytes before the first record: magic, first position, checksum.
const HEAD: u64 = 20;

/// One segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Position of its first record.
    pub first: u64,
    /// Position behind its last record.
    pub end: u64,
    pub file: Arc<dyn LogFile>,
    pub path: PathBuf,
}

/// The file of a segment.
pub fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:016x}.log"))
}

/// Where a position stands in the file of the segment that begins at `first`.
pub fn offset(first: u64, position: u64) -> u64 {
    position - first + HEAD
}

fn head(first: u64) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&first.to_le_bytes());
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    head
}

impl Segment {
    /// A new segment, its head and its folder's entry durable.
    pub fn create(files: &dyn Files, dir: &Path, first: u64) -> Result<Self, LogError> {
        let path = path(dir, first);
        let file = match files.create(&path) {
            // Left by a crash before its first record was durable, or by a failed creation.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                files.open(&path).inspect(|f| drop(f.cut(0)))
            }
            other => other,
        };
        let file = file.map_err(LogError::io(&path))?;
        let made = file.write_at(&head(first), 0).and_then(|()| file.sync());
        made.and_then(|()| files.sync_dir(dir)).map_err(LogError::io(&path))?;
        Ok(Self { first, end: first, file, path })
    }

    /// All segments of a folder, in order. A last one without a whole head was never used: it is
    /// removed.
    pub fn list(files: &dyn Files, dir: &Path) -> Result<Vec<Self>, LogError> {
        let mut names = files.list(dir).map_err(LogError::io(dir))?;
        names.retain(|n| n.len() == 20 && n.ends_with(".log"));
        names.sort();
        let mut segments: Vec<Self> = Vec::new();
        let count = names.len();
        for (place, name) in names.iter().enumerate() {
            let path = dir.join(name);
            let file = files.open(&path).map_err(LogError::io(&path))?;
            let len = file.len().map_err(LogError::io(&path))?;
            let mut bytes = vec![0; HEAD as usize];
            file.read_at(&mut bytes, 0).map_err(LogError::io(&path))?;
            let first = u64::from_str_radix(&name[..16], 16).unwrap_or(u64::MAX);
            if len < HEAD || bytes != head(first) {
                if place + 1 == count && len <= HEAD {
                    files.remove(&path).map_err(LogError::io(&path))?;
                    continue;
                }
                return Err(LogError::Damaged {
                    segment: name.clone(),
                    offset: 0,
                    position: first,
                });
            }
            if let Some(before) = segments.last()
                && before.end != first
            {
                return Err(LogError::Gap(before.end));
            }
            segments.push(Self { first, end: first + len - HEAD, file, path });
        }
        Ok(segments)
    }

    /// Where a position stands in the file.
    pub fn offset(&self, position: u64) -> u64 {
        offset(self.first, position)
    }

    /// File name, for messages.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn damaged(&self, position: u64) -> LogError {
        LogError::Damaged { segment: self.name(), offset: self.offset(position), position }
    }

    /// Its bytes, and the position behind its last whole record.
    fn whole(&self) -> Result<(Vec<u8>, u64), LogError> {
        let mut bytes = vec![0; (self.end - self.first) as usize];
        let read = self.file.read_at(&mut bytes, HEAD).map_err(LogError::io(&self.path))?;
        bytes.truncate(read);
        let mut at = 0;
        while let Some(frame) = frame::decode(&bytes[at..], self.first + at as u64) {
            at += frame.len;
        }
        Ok((bytes, self.first + at as u64))
    }

    /// The position behind its last whole record: what follows is being written, or torn.
    pub fn whole_end(&self) -> Result<u64, LogError> {
        Ok(self.whole()?.1)
    }

    /// Cuts what a crash tore off: from the first record that is not whole, unless a whole one
    /// behind it says that it had been durable; that is damage.
    pub fn cut_torn_tail(&mut self) -> Result<u64, LogError> {
        let (bytes, torn) = self.whole()?;
        let at = (torn - self.first) as usize;
        for behind in at + 1..bytes.len().saturating_sub(frame::HEADER) {
            let position = self.first + behind as u64;
            if let Some(frame) = frame::decode(&bytes[behind..], position)
                && position - u64::from(frame.unsynced) > torn
            {
                return Err(self.damaged(torn));
            }
        }
        let cut = self.end - torn;
        if cut > 0 {
            let result = self.file.cut(self.offset(torn)).and_then(|()| self.file.sync());
            result.map_err(LogError::io(&self.path))?;
            self.end = torn;
        }
        Ok(cut)
    }
}
