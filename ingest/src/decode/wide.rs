//! What is looked at thirty-two bytes at a time where the processor can, and else sixteen: line ends of a file,
//! and whether a payload is laid out as another one.
//!
//! Which processor it is, is found out when the program runs: it is built for every x86-64. Both ways say
//! the same, and are tested against each other.

#![allow(
    unsafe_code,
    reason = "intrinsics of AVX2, where the processor was asked whether it has them"
)]

use event::ROOM;

use super::sixteen::{Block, Wrong, line_ends};

/// Line ends among each sixty-four bytes, a bit for each, as far as there is room.
pub(crate) fn all_line_ends<'r>(chunks: &[[u8; 64]], room: &'r mut [u64]) -> &'r [u64] {
    let many = chunks.len().min(room.len());
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has AVX2.
        unsafe { avx2::line_ends(chunks, room) };
        return &room[..many];
    }
    chunks.iter().zip(&mut *room).for_each(|(chunk, ends)| *ends = line_ends(chunk));
    &room[..many]
}

/// Blocks that are compared at least: of a payload of 192 bytes.
pub(super) const BLOCKS_MIN: usize = 6;

/// Whether bytes are as so many blocks say, but at least [`BLOCKS_MIN`] of them: each of those from its place
/// on.
#[inline(always)]
pub(super) fn fits<const N: usize>(
    bytes: &[u8; ROOM],
    blocks: &[Block; N],
    places: &[u16; N],
    count: usize,
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has AVX2.
        return unsafe { avx2::fits(bytes, blocks, places, count) };
    }
    fits_narrow(bytes, blocks, places, count)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn is_wide() -> bool {
    std::is_x86_feature_detected!("avx2")
}

fn fits_narrow<const N: usize>(
    bytes: &[u8; ROOM],
    blocks: &[Block; N],
    places: &[u16; N],
    count: usize,
) -> bool {
    let mut wrong = Wrong::NOTHING;
    for at in 0..count.clamp(BLOCKS_MIN, N) {
        wrong = wrong.with(part(bytes, places[at]), &blocks[at]);
    }
    wrong.is_nothing()
}

/// Thirty-two from a place on that is below 512.
#[inline(always)]
fn part(bytes: &[u8; ROOM], at: u16) -> &[u8; Block::BYTES] {
    let at = usize::from(at) % (ROOM - Block::BYTES);
    bytes[at..at + Block::BYTES].first_chunk().unwrap_or(&[0; Block::BYTES])
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256,
        _mm256_set1_epi8, _mm256_setzero_si256, _mm256_subs_epu8, _mm256_testz_si256,
        _mm256_xor_si256,
    };

    use super::{BLOCKS_MIN, Block, ROOM, part};
    use crate::decode::sixteen::BACKSLASH;

    #[inline(always)]
    fn load(bytes: &[u8; 32]) -> __m256i {
        // SAFETY: thirty-two bytes are read from thirty-two bytes, aligned or not; who calls has AVX2.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    pub fn line_ends(chunks: &[[u8; 64]], ends: &mut [u64]) {
        let end = _mm256_set1_epi8(b'\n' as i8);
        let many = chunks.len().min(ends.len());
        let (chunks, ends) = (&chunks[..many], &mut ends[..many]);
        // Iterators that go along with each other are calls in here.
        for at in 0..many {
            let ([low, high], []) = chunks[at].as_chunks::<32>() else { return };
            let bits = |part: &[u8; 32]| {
                u64::from(_mm256_movemask_epi8(_mm256_cmpeq_epi8(load(part), end)) as u32)
            };
            ends[at] = bits(low) | bits(high) << 32;
        }
    }

    /// See [`super::fits`], and what a byte may be.
    #[target_feature(enable = "avx2")]
    pub fn fits<const N: usize>(
        bytes: &[u8; ROOM],
        blocks: &[Block; N],
        places: &[u16; N],
        count: usize,
    ) -> bool {
        let backslash = _mm256_set1_epi8(BACKSLASH as i8);
        let wrong = |at: usize| {
            let [turned, most] = blocks[at].bytes();
            let is = _mm256_xor_si256(load(part(bytes, places[at])), load(turned));
            let more = _mm256_subs_epu8(is, load(most));
            _mm256_or_si256(more, _mm256_cmpeq_epi8(is, backslash))
        };
        let mut all = _mm256_setzero_si256();
        for at in 0..BLOCKS_MIN {
            all = _mm256_or_si256(all, wrong(at));
        }
        for at in BLOCKS_MIN..count.min(N) {
            all = _mm256_or_si256(all, wrong(at));
        }
        _mm256_testz_si256(all, all) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::sixteen::May;

    /// Any byte in any place of a block, where it may be that of before, a digit or of a text.
    #[test]
    fn wide_and_narrow_see_the_same() {
        let text = b"a c\\e!g#ij\"l\x1fn\x80pq st\\v\x7fx0\"2\\\x7f678";
        let mut right = 0;
        for byte in 0..=255_u8 {
            for place in 0..Block::BYTES {
                let mut bytes = [b'x'; ROOM];
                bytes[20..52].copy_from_slice(text);
                bytes[20 + place] = byte;
                for may in [May::be(byte), May::be(text[place]), May::TEXT, May::DIGIT] {
                    let mut all = text.map(May::be);
                    all[place] = may;
                    let last = place % 7;
                    let mut blocks = [Block::of(&[May::be(b'x'); 32]); 7];
                    blocks[last] = Block::of(&all);
                    let see = |others: u16, one: u16| {
                        let mut places = [others; 7];
                        places[last] = one;
                        let wide = fits(&bytes, &blocks, &places, last + 1);
                        assert_eq!(wide, fits_narrow(&bytes, &blocks, &places, last + 1));
                        wide
                    };
                    assert!(!see(49, 20) && !see(100, 21), "{may:?} {byte} {place}");
                    right += usize::from(see(100, 20));
                }
            }
        }
        // Each byte as itself and as it was, 94 of a text and ten digits.
        assert_eq!(right, 32 * (256 + 1 + 94 + 10));
    }

    #[test]
    fn line_ends_are_seen_in_every_place() {
        for place in 0..64 {
            let mut chunks = [[b'a'; 64]; 3];
            (chunks[1][place], chunks[2][0]) = (b'\n', b'\n');
            assert_eq!(all_line_ends(&chunks, &mut [9; 4]), [0, 1 << place, 1]);
            assert_eq!(chunks.map(|chunk| line_ends(&chunk)), [0, 1 << place, 1]);
            assert_eq!(all_line_ends(&chunks, &mut [9; 2]), [0, 1 << place]);
        }
    }
}
