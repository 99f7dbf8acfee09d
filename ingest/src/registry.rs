//! Names of streams and the numbers that stand for them in the log and in snapshots.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use event::StreamId;

/// Streams of one data folder. A number is durable before it is given out, and never given twice.
#[derive(Debug)]
pub struct StreamRegistry(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    names: BTreeMap<String, StreamId>,
}

/// A line of the file: number, checksum of the rest, name.
fn line(id: StreamId, name: &str) -> String {
    let body = format!("{} {}", id.0, name.escape_default());
    format!("{:08x} {body}\n", crc32c::crc32c(body.as_bytes()))
}

fn parse(line: &str) -> Option<(String, StreamId)> {
    let (crc, body) = line.split_once(' ')?;
    if u32::from_str_radix(crc, 16) != Ok(crc32c::crc32c(body.as_bytes())) {
        return None;
    }
    let (id, name) = body.split_once(' ')?;
    Some((name.to_owned(), StreamId(id.parse().ok()?)))
}

impl StreamRegistry {
    /// Opens the file, or begins one; a line that a crash tore off the end is cut.
    ///
    /// # Errors
    /// The file cannot be read, or a line before the last is damaged.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut names = BTreeMap::new();
        let mut whole = 0;
        for one in text.split_inclusive('\n') {
            let parsed = one.strip_suffix('\n').and_then(parse);
            let Some((name, id)) = parsed else {
                if whole + one.len() < text.len() {
                    let message =
                        format!("{}: line {} is damaged", path.display(), names.len() + 1);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                file.set_len(whole as u64)?;
                break;
            };
            names.insert(name, id);
            whole += one.len();
        }
        file.sync_all()?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(Self(Mutex::new(Inner { file, names })))
    }

    /// The number of a name; a new one is durable when it is returned.
    ///
    /// # Errors
    /// The file cannot be written, or there are 65,536 streams already.
    pub fn id(&self, name: &str) -> io::Result<StreamId> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = name.escape_default().to_string();
        if let Some(id) = inner.names.get(&key) {
            return Ok(*id);
        }
        let next = u16::try_from(inner.names.len());
        let id = StreamId(next.map_err(|_| io::Error::other("more than 65,536 streams"))?);
        inner.file.write_all(line(id, name).as_bytes())?;
        inner.file.sync_data()?;
        inner.names.insert(key, id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_with_its_name() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let path = dir.path().join("streams");
        let open = || StreamRegistry::open(&path).unwrap_or_else(|e| panic!("{e}"));
        let id = |r: &StreamRegistry, name: &str| r.id(name).unwrap_or_else(|e| panic!("{e}"));
        let registry = open();
        assert_eq!((id(&registry, "a b\n"), id(&registry, "c")), (StreamId(0), StreamId(1)));
        drop(registry);
        let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{e}"));
        for torn in 1..10 {
            std::fs::write(&path, &text[..text.len() - torn]).unwrap_or_else(|e| panic!("{e}"));
            let registry = open();
            assert_eq!(id(&registry, "a b\n"), StreamId(0));
            assert_eq!(id(&registry, "c"), StreamId(1), "given again: it was never whole");
        }
        let mut damaged = text.clone();
        damaged[3] ^= 1;
        std::fs::write(&path, damaged).unwrap_or_else(|e| panic!("{e}"));
        assert!(StreamRegistry::open(&path).is_err());
    }
}
