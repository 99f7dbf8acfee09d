//! Files in memory that forget, at a crash, what was not synced. For tests of durability: a killed
//! process loses no written page, so only this layer shows what a power cut does.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::files::{Files, LogFile};

#[derive(Clone, Debug, Default)]
struct Content {
    /// What every reader sees.
    bytes: Vec<u8>,
    /// What survives for certain.
    synced: Vec<u8>,
    /// Whether the folder's entry is durable.
    entered: bool,
    /// Bytes from its begin that the system was told to let go of.
    uncached: u64,
}

/// What a crash leaves of bytes that were written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The first so many of them.
    First(usize),
    /// The file's length, with zeros where the bytes should be, but for the last so many.
    ZerosThenLast(usize),
}

/// A folder of such files.
#[derive(Clone, Debug, Default)]
pub struct ForgetfulFiles {
    contents: Arc<Mutex<BTreeMap<PathBuf, Arc<Mutex<Content>>>>>,
}

#[derive(Debug)]
struct Forgetful(Arc<Mutex<Content>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ForgetfulFiles {
    /// The files as they stand after a power cut; `self` is as before it.
    #[must_use]
    pub fn after_crash(&self, left: Left) -> Self {
        let mut contents = BTreeMap::new();
        for (path, content) in lock(&self.contents).iter() {
            let content = lock(content);
            let mut kept = content.synced.clone();
            let common = kept.len().min(content.bytes.len());
            let unsynced = content.bytes.get(common..).unwrap_or_default();
            match left {
                Left::First(bytes) => kept.extend(unsynced.iter().take(bytes)),
                Left::ZerosThenLast(bytes) => {
                    let zeros = unsynced.len().saturating_sub(bytes);
                    kept.extend(std::iter::repeat_n(0, zeros));
                    kept.extend(&unsynced[zeros..]);
                }
            }
            if content.entered || left != Left::First(0) {
                let content =
                    Content { bytes: kept.clone(), synced: kept, entered: true, uncached: 0 };
                contents.insert(path.clone(), Arc::new(Mutex::new(content)));
            }
        }
        Self { contents: Arc::new(Mutex::new(contents)) }
    }

    /// Bytes written and not synced, of all files.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        let contents = lock(&self.contents);
        let of = |c: &Arc<Mutex<Content>>| {
            let c = lock(c);
            c.bytes.len().saturating_sub(c.synced.len())
        };
        contents.values().map(of).sum()
    }

    /// Bytes that the system was told to let go of, of all files.
    #[must_use]
    pub fn uncached(&self) -> u64 {
        lock(&self.contents).values().map(|content| lock(content).uncached).sum()
    }

    /// Turns one byte of a file over, synced or not.
    pub fn flip(&self, path: &Path, offset: usize) {
        if let Some(content) = lock(&self.contents).get(path) {
            let mut content = lock(content);
            content.bytes[offset] ^= 0x10;
            if let Some(byte) = content.synced.get_mut(offset) {
                *byte ^= 0x10;
            }
        }
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl Files for ForgetfulFiles {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let contents = lock(&self.contents);
        let names = contents.keys().filter(|p| p.parent() == Some(dir));
        Ok(names.filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let content = Arc::new(Mutex::new(Content::default()));
        if lock(&self.contents).insert(path.to_owned(), content.clone()).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Arc::new(Forgetful(content)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let content = lock(&self.contents).get(path).cloned().ok_or_else(|| not_found(path))?;
        Ok(Arc::new(Forgetful(content)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        lock(&self.contents).remove(path).map(|_| ()).ok_or_else(|| not_found(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        for (path, content) in lock(&self.contents).iter() {
            if path.parent() == Some(dir) {
                lock(content).entered = true;
            }
        }
        Ok(())
    }
}

impl LogFile for Forgetful {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = lock(&self.0);
        let end = offset as usize + bytes.len();
        if content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        content.bytes[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = lock(&self.0);
        let from = content.bytes.get(offset as usize..).unwrap_or_default();
        let len = from.len().min(bytes.len());
        bytes[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).bytes.len() as u64)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        lock(&self.0).bytes.truncate(len as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut content = lock(&self.0);
        content.synced = content.bytes.clone();
        Ok(())
    }

    fn uncache(&self, bytes: Range<u64>) {
        let mut content = lock(&self.0);
        assert!(bytes.end <= content.synced.len() as u64, "what is let go of is durable");
        // What is left out before it counts as if all were.
        if bytes.start <= content.uncached {
            content.uncached = content.uncached.max(bytes.end);
        }
    }
}
