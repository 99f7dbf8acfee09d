//! Pieces of the log's files that were read lately. What is cited is scattered over the last minutes, several
//! events in each piece: reading a piece once is one system call in the place of one for each of them.

/// Bytes of a piece: of events of 165 B each one in nine is cited.
const CHUNK_BYTES: usize = 8 << 10;
/// Pieces kept: 16 MiB, as soon as so much was read.
const CHUNKS: usize = 2_048;

/// Where a piece is of: a segment, by its first position, and which of its pieces it is.
type Place = (u64, u64);

/// Pieces of files, by their places.
#[derive(Clone, Debug)]
pub struct Chunks(Vec<(Place, Vec<u8>)>);

impl Default for Chunks {
    fn default() -> Self {
        Self(vec![((u64::MAX, u64::MAX), Vec::new()); CHUNKS])
    }
}

impl Chunks {
    /// Copies what stands from an offset of a segment on, as far as there is room and the file goes; how
    /// many bytes. `read` reads the file at an offset.
    pub fn copy<E>(
        &mut self,
        (segment, offset): (u64, u64),
        room: &mut [u8],
        mut read: impl FnMut(&mut [u8], u64) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut copied = 0;
        while copied < room.len() {
            let at = offset + copied as u64;
            let (number, within) = (at / CHUNK_BYTES as u64, at as usize % CHUNK_BYTES);
            let place = (segment, number);
            let hash = (segment ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let (known, chunk) = &mut self.0[hash as usize % CHUNKS];
            let wanted = CHUNK_BYTES.min(within + room.len() - copied);
            // The end of the file may have gone on since.
            if *known != place || chunk.len() < wanted {
                *known = (u64::MAX, u64::MAX);
                chunk.resize(CHUNK_BYTES, 0);
                let len = read(chunk, number * CHUNK_BYTES as u64)?;
                chunk.truncate(len);
                *known = place;
            }
            let there = chunk.get(within..).unwrap_or_default();
            let len = there.len().min(room.len() - copied);
            room[copied..copied + len].copy_from_slice(&there[..len]);
            copied += len;
            if len == 0 || chunk.len() < CHUNK_BYTES {
                break;
            }
        }
        Ok(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_is_the_file_as_it_is_now() {
        let mut file: Vec<u8> = (0..50_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        let (mut chunks, mut reads) = (Chunks::default(), 0);
        for round in 0_u64..2_000 {
            let offset = round * 7_919 % (file.len() as u64 + 100);
            let mut room = vec![0; 1 + round as usize * 31 % 20_000];
            let len = chunks.copy((0, offset), &mut room, |into, at| {
                reads += 1;
                let there = file.get(at as usize..).unwrap_or_default();
                let len = there.len().min(into.len());
                into[..len].copy_from_slice(&there[..len]);
                Ok::<_, ()>(len)
            });
            let wanted = file.get(offset as usize..).unwrap_or_default();
            let wanted = &wanted[..wanted.len().min(room.len())];
            assert_eq!(&room[..len.expect("a file")], wanted, "{offset}");
            file.push(round as u8);
        }
        assert!(reads < 3_000, "{reads} reads");
    }
}
