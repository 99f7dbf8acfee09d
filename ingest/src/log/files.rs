//! The file layer under the log: the real one, and in tests one that forgets.

use std::fs::{self, File};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};

/// Bytes of one advice to the system that pages of it need not be kept: 0.2 ms, in which nobody else gets the core
/// where the kernel is not preempted.
const UNCACHE_BYTES_MAX: u64 = 2 << 20;

/// Bytes from which on a write goes past the system's cache: of what comes bit by bit the cache makes larger writes.
const DIRECT_BYTES_MIN: usize = 128 << 10;
/// Bytes that go past it at once.
const DIRECT_BYTES: usize = 512 << 10;
/// What such a write begins at a multiple of, in the file and in memory: no disk asks for more.
pub(super) const ALIGN: usize = 4 << 10;

/// A folder of files.
pub trait Files: Send + Sync + std::fmt::Debug {
    /// Makes the folder and what is above it.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// A new, empty file.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;
    /// A file that is there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations and removals in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// One file.
pub trait LogFile: Send + Sync + std::fmt::Debug {
    /// Writes all bytes at an offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads up to `bytes.len()` bytes; fewer only at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Its length.
    fn len(&self) -> io::Result<u64>;
    /// Whether it is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts it.
    fn cut(&self, len: u64) -> io::Result<()>;
    /// Makes its bytes and length durable.
    fn sync(&self) -> io::Result<()>;
    /// The system need not keep in memory what of it is durable.
    fn uncache(&self, bytes: Range<u64>);
    /// The system may fetch it from the disk: it is read soon.
    fn expect(&self, _bytes: Range<u64>) {}
    /// The system may find its place on the disk: it is written soon. How long the file is stays as it is.
    fn reserve(&self, _bytes: Range<u64>) {}
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir)?.map(|e| e.map(|e| e.file_name().to_string_lossy().into()));
        names.collect()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        let past_cache = PastCache::open(path).map(Mutex::new);
        Ok(Arc::new(Written { file, past_cache }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(File::options().read(true).write(true).open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// The operating system's files, for who may only look: beside a program that writes them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnlyFiles;

fn only_read() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the log is only read here")
}

impl Files for ReadOnlyFiles {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(only_read())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFiles.list(dir)
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn LogFile>> {
        Err(only_read())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(File::open(path)?))
    }

    /// A segment without a whole head is passed over: its writer may be about to fill it.
    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is new: of much that is written at once nearly all goes past the system's cache, from where it would
/// hardly be read. There it is a copy more, pages that are made ready and given back, and milliseconds of the kernel's
/// at a time in which nobody else gets that core where the kernel is not preempted.
#[derive(Debug)]
struct Written {
    file: File,
    /// Where the file system can.
    past_cache: Option<Mutex<PastCache>>,
}

/// Another way into a file, with memory to write from.
#[derive(Debug)]
struct PastCache {
    file: File,
    buffer: Vec<u8>,
}

impl PastCache {
    #[cfg(target_os = "linux")]
    fn open(path: &Path) -> Option<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
        let file = File::options().write(true).custom_flags(direct).open(path).ok()?;
        Some(Self { file, buffer: vec![0; DIRECT_BYTES + ALIGN] })
    }

    #[cfg(not(target_os = "linux"))]
    fn open(_: &Path) -> Option<Self> {
        None
    }

    /// Writes whole pages; how many bytes of them.
    fn write(&mut self, pages: &[u8], offset: u64) -> io::Result<usize> {
        let from = self.buffer.as_ptr().align_offset(ALIGN);
        let mut done = 0;
        for some in pages.chunks(DIRECT_BYTES) {
            let aligned = if some.as_ptr().addr().is_multiple_of(ALIGN) {
                some
            } else {
                let copy = &mut self.buffer[from..from + some.len()];
                copy.copy_from_slice(some);
                copy
            };
            match self.file.write_all_at(aligned, offset + done as u64) {
                // A disk that asks for more than we align to.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
                other => other?,
            }
            done += some.len();
        }
        Ok(done)
    }
}

impl LogFile for Written {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut from = 0;
        if let Some(past_cache) =
            self.past_cache.as_ref().filter(|_| bytes.len() >= DIRECT_BYTES_MIN)
        {
            let end = offset + bytes.len() as u64;
            let before = (offset.next_multiple_of(ALIGN as u64) - offset) as usize;
            let pages = bytes.len() - before - end as usize % ALIGN;
            self.file.write_all_at(&bytes[..before], offset)?;
            let mut past_cache = past_cache.lock().unwrap_or_else(PoisonError::into_inner);
            let pages = &bytes[before..before + pages];
            from = before + past_cache.write(pages, offset + before as u64)?;
        }
        self.file.write_all_at(&bytes[from..], offset + from as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        LogFile::read_at(&self.file, bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        LogFile::len(&self.file)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn uncache(&self, bytes: Range<u64>) {
        self.file.uncache(bytes);
    }

    fn expect(&self, bytes: Range<u64>) {
        self.file.expect(bytes);
    }

    fn reserve(&self, bytes: Range<u64>) {
        self.file.reserve(bytes);
    }
}

impl LogFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match FileExt::read_at(self, &mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn uncache(&self, bytes: Range<u64>) {
        let mut start = bytes.start;
        while start < bytes.end {
            let end = bytes.end.min((start + 1).next_multiple_of(UNCACHE_BYTES_MAX));
            // Advice: where it is not taken, memory is all that is lost. No length would mean all that follows.
            let _ = fadvise(self, start, NonZeroU64::new(end - start), Advice::DontNeed);
            start = end;
        }
    }

    fn expect(&self, bytes: Range<u64>) {
        if let Some(len) = NonZeroU64::new(bytes.end.saturating_sub(bytes.start)) {
            let _ = fadvise(self, bytes.start, Some(len), Advice::WillNeed);
        }
    }

    fn reserve(&self, bytes: Range<u64>) {
        // Where there is no room, or no such call, the write says what there is to say.
        let len = bytes.end.saturating_sub(bytes.start);
        let _ = fallocate(self, FallocateFlags::KEEP_SIZE, bytes.start, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_way_bytes_go_they_stand_where_they_were_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        let file = RealFiles.create(&path).expect("a file");
        let (mut all, mut next) = (Vec::new(), 1_u8);
        let lens =
            [1, 4_095, DIRECT_BYTES_MIN - 1, DIRECT_BYTES_MIN, 3, 3 * DIRECT_BYTES + 77, 4_096];
        for len in lens.into_iter().cycle().take(20) {
            let bytes: Vec<u8> = (0..len).map(|at| next.wrapping_add((at / 5) as u8)).collect();
            next = next.wrapping_mul(5).wrapping_add(1);
            file.write_at(&bytes, all.len() as u64).expect("written");
            all.extend_from_slice(&bytes);
            let mut last = vec![0; len];
            let read = file.read_at(&mut last, (all.len() - len) as u64).expect("read");
            assert!(read == len && last == bytes, "{len} bytes");
        }
        file.sync().expect("synced");
        assert!(file.len().expect("a length") == all.len() as u64);
        assert!(fs::read(&path).expect("read") == all);
    }
}
