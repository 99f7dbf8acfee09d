//! The file layer under the log: the real one, and in tests one that forgets.

use std::fs::{self, File};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};

/// Bytes of one advice to the system that pages of it need not be kept: 0.2 ms, in which nobody else gets the core
/// where the kernel is not preempted.
const UNCACHE_BYTES_MAX: u64 = 2 << 20;

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
        Ok(Arc::new(File::options().read(true).write(true).create_new(true).open(path)?))
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
