//! Snapshots of the engine on disk: a full one, then increments, each whole or not there.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use event::Position;
use event::books::SourceBooks;
use ingest::log::{Files as _, LogFile, RealFiles};

use super::epoch::replace;

/// Bytes of a snapshot that are written at once, past the system's cache: it is read by the next start, if ever.
const AT_ONCE: usize = 512 << 10;

const MAGIC: &[u8; 8] = b"PCSNAP01";
/// Increments after which a full snapshot begins a new chain: bounds what a start reads.
const INCREMENTS_MAX: usize = 16;

/// What is said of a snapshot before its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Hash of the configuration it was made under.
    pub config: String,
    /// The log behind this position is not in it yet.
    pub position: Position,
    /// Where the oldest delivery stands of which an event still waits: it is cited yet.
    pub resume: Position,
    /// Whether it begins a chain.
    pub full: bool,
    /// The deliveries' side of the books.
    pub books: Vec<SourceBooks>,
}

/// One part of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub head: Head,
    /// The engine's own bytes.
    pub engine: Vec<u8>,
}

/// A full snapshot and its increments, oldest first.
#[derive(Clone, Debug)]
pub struct Chain {
    /// At least one.
    pub parts: Vec<Snapshot>,
}

impl Chain {
    /// The newest part.
    pub fn last(&self) -> &Head {
        &self.parts[self.parts.len() - 1].head
    }
}

/// A chain under way.
#[derive(Clone, Copy, Debug)]
struct Under {
    /// Number of its full part.
    number: u64,
    parts: usize,
    full_bytes: usize,
    increment_bytes: usize,
}

impl Under {
    /// Whether the next had better be full: a start reads no more than twice the state.
    fn long(&self) -> bool {
        self.parts > INCREMENTS_MAX || self.increment_bytes > self.full_bytes
    }
}

/// A snapshot that is being written, in a file of its own until it may stand.
#[derive(Debug)]
struct Begun {
    head: Head,
    path: PathBuf,
    file: Arc<dyn LogFile>,
    /// What comes next in it, and where.
    gathered: Vec<u8>,
    written: u64,
    /// Of the engine's bytes so far.
    len: usize,
    crc: u32,
}

/// The folder of snapshots.
#[derive(Debug)]
pub struct Snapshots {
    dir: PathBuf,
    newest: Option<Chain>,
    chain: Option<Under>,
    /// In their order; those whose writing failed are gone.
    begun: VecDeque<anyhow::Result<Begun>>,
    /// How many were begun.
    count: u64,
    /// Memory of the one that was written last.
    spare: Vec<u8>,
    full_needed: Arc<AtomicBool>,
}

impl Snapshots {
    /// Opens the folder and reads the newest chain that is whole.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let mut names: Vec<(u64, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some((chain, part)) =
                name.strip_suffix(".snapshot").and_then(|n| n.split_once('-'))
            else {
                continue;
            };
            if let (Ok(chain), Ok(part)) = (u64::from_str_radix(chain, 16), part.parse()) {
                names.push((chain, part, path));
            }
        }
        names.sort();
        let mut newest = None;
        let mut chains: Vec<u64> = names.iter().map(|(chain, ..)| *chain).collect();
        chains.dedup();
        for chain in chains.into_iter().rev() {
            let mut parts = Vec::new();
            for (number, (_, part, path)) in names.iter().filter(|n| n.0 == chain).enumerate() {
                match decode(fs::read(path)?) {
                    Some(snapshot)
                        if *part == number as u64 && snapshot.head.full == (number == 0) =>
                    {
                        parts.push(snapshot);
                    }
                    _ => {
                        tracing::warn!(file = %path.display(), "not a whole snapshot: left aside");
                        break;
                    }
                }
            }
            if !parts.is_empty() {
                newest = Some(Chain { parts });
                break;
            }
        }
        let full_needed = Arc::new(AtomicBool::new(true));
        let (dir, begun, spare) = (dir.to_owned(), VecDeque::new(), Vec::new());
        Ok(Self { dir, newest, chain: None, begun, count: 0, spare, full_needed })
    }

    /// The newest whole chain that was found; once, since it may be as large as the state.
    pub fn take_newest(&mut self) -> Option<Chain> {
        self.newest.take()
    }

    /// Set when the next snapshot must be full; whoever makes one takes it back.
    pub fn full_needed(&self) -> Arc<AtomicBool> {
        self.full_needed.clone()
    }

    /// Begins one: what is added from here on is of it.
    pub fn begin(&mut self, head: Head) {
        self.count += 1;
        let path = self.dir.join(format!("{:016x}-{}.new", head.position.0, self.count));
        let spare = std::mem::take(&mut self.spare);
        let begun = Begun::new(head, &path, spare).with_context(|| path.display().to_string());
        self.begun.push_back(begun);
        crate::crash::point("snapshot-begun");
    }

    /// Adds to the one that was begun last. Where that fails, [`Self::stand`] says so.
    pub fn add(&mut self, piece: &[u8]) {
        if let Some(last) = self.begun.back_mut()
            && let Ok(begun) = last
            && let Err(error) = begun.add(piece)
        {
            *last = Err(error).with_context(|| begun.path.display().to_string());
        }
        crate::crash::point("snapshot-half");
    }

    /// The one that was begun first is whole and may stand; it is durable when this returns. After an
    /// error the next must be full.
    pub fn stand(&mut self) -> anyhow::Result<Option<Head>> {
        let result = self.try_stand();
        let long = self.chain.is_some_and(|under| under.long());
        if result.is_err() || long {
            self.full_needed.store(true, Ordering::Release);
        }
        result
    }

    fn try_stand(&mut self) -> anyhow::Result<Option<Head>> {
        let Some(begun) = self.begun.pop_front() else { return Ok(None) };
        let chain = self.chain.take();
        let begun = begun?;
        let len = begun.len;
        let under = match (begun.head.full, chain) {
            (true, _) => {
                let (number, parts) = (begun.head.position.0, 1);
                Under { number, parts, full_bytes: len, increment_bytes: 0 }
            }
            (false, Some(under)) => {
                let (parts, increment_bytes) = (under.parts + 1, under.increment_bytes + len);
                Under { parts, increment_bytes, ..under }
            }
            // The chain broke while this increment was on its way: it stands on nothing.
            (false, None) => {
                fs::remove_file(&begun.path).with_context(|| begun.path.display().to_string())?;
                return Ok(None);
            }
        };
        let (number, part) = (under.number, under.parts - 1);
        let path = self.dir.join(format!("{number:016x}-{part:04}.snapshot"));
        let head;
        (head, self.spare) = begun.end(&path).with_context(|| path.display().to_string())?;
        crate::crash::point("snapshot-written");
        self.chain = Some(under);
        if head.full {
            self.forget_before(number)?;
        }
        Ok(Some(head))
    }

    /// Removes all of them: another life of the engine begins.
    pub fn forget(&mut self) -> anyhow::Result<()> {
        (self.newest, self.chain) = (None, None);
        self.forget_before(u64::MAX)
    }

    /// Removes older chains, and what a crash left half written.
    fn forget_before(&self, chain: u64) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = name.get(..16).and_then(|n| u64::from_str_radix(n, 16).ok());
            let under_way = || self.begun.iter().flatten().any(|begun| begun.path == path);
            let new = name.ends_with(".new");
            if (new && !under_way()) || (!new && number.is_some_and(|n| n != chain)) {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }
}

impl Begun {
    fn new(head: Head, path: &Path, mut gathered: Vec<u8>) -> std::io::Result<Self> {
        // A crash may have left one half written.
        let _ = fs::remove_file(path);
        let file = RealFiles.create(path)?;
        // How long it gets is said at its end.
        gathered.clear();
        gathered.extend_from_slice(&head_of(&head, 0));
        Ok(Self { head, path: path.to_owned(), file, gathered, written: 0, len: 0, crc: 0 })
    }

    fn add(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.len += piece.len();
        self.crc = crc32c::crc32c_append(self.crc, piece);
        self.gathered.extend_from_slice(piece);
        while self.gathered.len() >= AT_ONCE {
            self.file.write_at(&self.gathered[..AT_ONCE], self.written)?;
            self.written += AT_ONCE as u64;
            self.gathered.drain(..AT_ONCE);
        }
        Ok(())
    }

    /// Makes it durable under its name.
    fn end(mut self, path: &Path) -> std::io::Result<(Head, Vec<u8>)> {
        let head = head_of(&self.head, self.len);
        let crc = crc32c::crc32c_combine(crc32c::crc32c(&head), self.crc, self.len);
        self.gathered.extend_from_slice(&crc.to_le_bytes());
        self.file.write_at(&self.gathered, self.written)?;
        self.file.write_at(&head, 0)?;
        self.file.sync()?;
        replace(&self.path, path)?;
        Ok((self.head, self.gathered))
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// All that stands before so many bytes of the engine.
fn head_of(head: &Head, len: usize) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put(&mut out, head.config.as_bytes());
    for number in [head.position.0, head.resume.0, u64::from(head.full)] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&(head.books.len() as u64).to_le_bytes());
    for books in &head.books {
        let figures = [books.deliveries, books.decoded, books.ignored];
        for figure in figures.iter().chain(&books.rejected) {
            out.extend_from_slice(&figure.to_le_bytes());
        }
    }
    out.extend_from_slice(&(len as u64).to_le_bytes());
    out
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len)
    }
}

fn decode(mut bytes: Vec<u8>) -> Option<Snapshot> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc32c::crc32c(body).to_le_bytes() != crc {
        return None;
    }
    let mut input = Bytes(body);
    if input.take(8)? != MAGIC {
        return None;
    }
    let config = std::str::from_utf8(input.bytes()?).ok()?.to_owned();
    let (position, resume) = (Position(input.number()?), Position(input.number()?));
    let full = input.number()? == 1;
    let mut books = Vec::new();
    for _ in 0..input.number()? {
        let mut one = SourceBooks {
            deliveries: input.number()?,
            decoded: input.number()?,
            ignored: input.number()?,
            ..SourceBooks::default()
        };
        for count in &mut one.rejected {
            *count = input.number()?;
        }
        books.push(one);
    }
    let len = input.bytes()?.len();
    // In place: it is nearly all of the file, and may be as large as memory allows twice.
    bytes.truncate(bytes.len() - 4);
    bytes.drain(..bytes.len() - len);
    let engine = bytes;
    Some(Snapshot { head: Head { config, position, resume, full, books }, engine })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(position: u64, full: bool) -> Snapshot {
        let books = vec![SourceBooks { deliveries: 7, decoded: 6, ..SourceBooks::default() }];
        let config = "c".to_owned();
        let (position, resume) = (Position(position), Position(position / 2));
        let head = Head { config, position, resume, full, books };
        Snapshot { head, engine: vec![1, 2, 3] }
    }

    fn write(snapshots: &mut Snapshots, snapshot: &Snapshot) -> anyhow::Result<Option<Head>> {
        snapshots.begin(snapshot.head.clone());
        snapshot.engine.chunks(2).for_each(|piece| snapshots.add(piece));
        snapshots.stand()
    }

    /// The next may begin, and even get whole, before the last one may stand.
    #[test]
    fn one_that_is_begun_meanwhile_is_left_alone() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let open = || Snapshots::open(dir.path()).unwrap_or_else(|e| panic!("{e}"));
        let mut snapshots = open();
        let (first, second, third) = (snapshot(10, true), snapshot(10, false), snapshot(30, true));
        snapshots.begin(first.head.clone());
        snapshots.add(&first.engine);
        for next in [&second, &third] {
            snapshots.begin(next.head.clone());
            snapshots.add(&next.engine);
        }
        assert!(open().take_newest().is_none(), "none of them may stand yet");
        let newest = || open().take_newest().map(|chain| chain.parts);
        snapshots.stand().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(newest(), Some(vec![first.clone()]));
        snapshots.stand().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(newest(), Some(vec![first, second]));
        snapshots.stand().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(newest(), Some(vec![third]));
        assert_eq!(fs::read_dir(dir.path()).map(Iterator::count).unwrap_or_default(), 1);
    }

    /// A disk that refuses costs that snapshot and the increments behind it, and no more.
    #[test]
    fn after_one_that_failed_the_next_must_be_full() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let mut snapshots = Snapshots::open(dir.path()).unwrap_or_else(|e| panic!("{e}"));
        write(&mut snapshots, &snapshot(10, true)).unwrap_or_else(|e| panic!("{e}"));
        snapshots.full_needed().store(false, Ordering::Release);
        snapshots.begin(snapshot(20, false).head);
        fs::remove_file(dir.path().join("0000000000000014-2.new"))
            .unwrap_or_else(|e| panic!("{e}"));
        snapshots.begin(snapshot(30, false).head);
        snapshots.stand().expect_err("its file is gone");
        assert!(snapshots.full_needed().load(Ordering::Acquire));
        assert_eq!(
            snapshots.stand().unwrap_or_else(|e| panic!("{e}")),
            None,
            "it stands on nothing"
        );
        assert_eq!(fs::read_dir(dir.path()).map(Iterator::count).unwrap_or_default(), 1);
        write(&mut snapshots, &snapshot(40, true)).unwrap_or_else(|e| panic!("{e}"));
    }

    #[test]
    fn the_newest_whole_chain_is_found() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let open = || Snapshots::open(dir.path()).unwrap_or_else(|e| panic!("{e}"));
        let mut snapshots = open();
        assert!(
            snapshots.take_newest().is_none() && snapshots.full_needed().load(Ordering::Acquire)
        );
        snapshots.full_needed().store(false, Ordering::Release);
        for (position, full) in [(10, true), (20, false), (30, false)] {
            assert!(!snapshots.full_needed().load(Ordering::Acquire));
            write(&mut snapshots, &snapshot(position, full)).unwrap_or_else(|e| panic!("{e}"));
        }
        let found = open().take_newest().unwrap_or_else(|| panic!("no chain"));
        assert_eq!(found.parts, [snapshot(10, true), snapshot(20, false), snapshot(30, false)]);

        // A damaged increment ends the chain before it.
        let path = dir.path().join("000000000000000a-0002.snapshot");
        let mut bytes = fs::read(&path).unwrap_or_else(|e| panic!("{e}"));
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(open().take_newest().map(|c| c.parts.len()), Some(2));

        // A chain that is longer than its state begins anew.
        assert!(snapshots.full_needed().load(Ordering::Acquire));

        // A new full one takes the place of the old chain.
        let mut snapshots = open();
        write(&mut snapshots, &snapshot(40, true)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(open().take_newest().map(|c| c.last().position), Some(Position(40)));
        assert_eq!(fs::read_dir(dir.path()).map(Iterator::count).unwrap_or_default(), 1);
    }
}
