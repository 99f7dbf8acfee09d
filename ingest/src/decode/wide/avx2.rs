//! What [`Vectors`] are with AVX2.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_loadu_si128, _mm_madd_epi16,
    _mm_maddubs_epi16, _mm_packus_epi32, _mm_set1_epi8, _mm_set1_epi16, _mm_set1_epi32,
    _mm_shuffle_epi8, _mm_subs_epu8, _mm256_add_epi32, _mm256_add_epi64, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_castsi256_pd, _mm256_castsi256_si128, _mm256_cmpeq_epi8,
    _mm256_cmpeq_epi64, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_movemask_epi8,
    _mm256_movemask_pd, _mm256_mul_epu32, _mm256_or_si256, _mm256_permute4x64_epi64,
    _mm256_permutevar8x32_epi32, _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi64x,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi64, _mm256_storeu_si256,
    _mm256_subs_epu8, _mm256_testz_si256, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
    _mm256_xor_si256,
};

use super::{
    BLOCKS_MIN, Block, Digits, FourKeys, FourNames, ROOM, SHORT_FIELDS, Secret, Sixteen, Spread,
    Task, Vectors, Woven, part,
};
use crate::decode::sixteen::BACKSLASH;

/// There is one only where the processor has AVX2, and the instructions for bits that came with it.
#[derive(Clone, Copy)]
pub struct Wide(());

impl Wide {
    #[inline(always)]
    pub fn found() -> Option<Self> {
        let all = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("bmi1")
            && std::is_x86_feature_detected!("bmi2");
        all.then_some(Self(()))
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2")]
pub fn perform<T: Task>(task: T, wide: Wide) -> T::Done {
    task.run(wide)
}

/// Of whole numbers, as many as are thirty-two bytes.
#[inline(always)]
fn load<T: Copy>(all: &T) -> __m256i {
    const { assert!(size_of::<T>() == 32) };
    // SAFETY: thirty-two bytes are read from thirty-two bytes, aligned or not; who calls has AVX2.
    unsafe { _mm256_loadu_si256((&raw const *all).cast()) }
}

#[inline(always)]
fn store<T: Copy>(all: &mut T, bytes: __m256i) {
    const { assert!(size_of::<T>() == 32) };
    // SAFETY: thirty-two bytes are written to thirty-two bytes of numbers; who calls has AVX2.
    unsafe { _mm256_storeu_si256((&raw mut *all).cast(), bytes) }
}

#[inline(always)]
fn load_half(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: sixteen bytes are read from sixteen bytes, aligned or not.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

// Each of these is inlined into what `perform` calls, and compiled for what it may use. A closure is not, nor are
// iterators that go along with each other.
impl Vectors for Wide {
    #[inline(always)]
    fn fits<const N: usize>(
        self,
        bytes: &[u8; ROOM],
        blocks: &[Block; N],
        places: &[u16; N],
        count: usize,
    ) -> bool {
        // SAFETY: there is a `Wide`: the processor has AVX2.
        unsafe {
            let backslash = _mm256_set1_epi8(BACKSLASH as i8);
            let mut all = _mm256_setzero_si256();
            for at in 0..BLOCKS_MIN {
                all = wrong(all, part(bytes, places[at]), &blocks[at], backslash);
            }
            for at in BLOCKS_MIN..count.min(N) {
                all = wrong(all, part(bytes, places[at]), &blocks[at], backslash);
            }
            _mm256_testz_si256(all, all) == 1
        }
    }

    #[inline(always)]
    fn line_ends(self, chunk: &[u8; 64]) -> u64 {
        let halves = chunk.as_chunks::<32>().0;
        // SAFETY: as above.
        let [low, high] = unsafe {
            let end = _mm256_set1_epi8(b'\n' as i8);
            let low = _mm256_movemask_epi8(_mm256_cmpeq_epi8(load(&halves[0]), end));
            [low, _mm256_movemask_epi8(_mm256_cmpeq_epi8(load(&halves[1]), end))]
        };
        u64::from(low as u32) | u64::from(high as u32) << 32
    }

    /// See [`Secret::home`]: of two products the factors are the halves of words.
    #[inline(always)]
    fn four_keys(
        self,
        bytes: &[u8; ROOM],
        names: &FourNames,
        (secret, mask): (Secret, u32),
        keys: &mut FourKeys,
    ) {
        let (first, last) = (two_keys(bytes, names, 0), two_keys(bytes, names, 1));
        let (halves, _) = keys.keys.as_chunks_mut::<2>();
        store(&mut halves[0], first);
        store(&mut halves[1], last);
        // SAFETY: as above.
        unsafe {
            let sums = _mm256_add_epi64(
                product(_mm256_unpacklo_epi64(first, last), secret.low),
                product(_mm256_unpackhi_epi64(first, last), secret.high),
            );
            let homes = _mm256_xor_si256(sums, _mm256_srli_epi64::<32>(sums));
            let homes = _mm256_and_si256(homes, _mm256_set1_epi64x(mask.into()));
            // The second of the first two stands behind the first of the last two.
            store(&mut keys.homes, _mm256_permute4x64_epi64::<0b11_01_10_00>(homes));
        }
    }

    #[inline(always)]
    fn same_keys(self, line: &[u64; 8], [low, high]: [u64; 2]) -> u32 {
        let four = |at: usize| -> &[u64; 4] { line[at..].first_chunk().unwrap_or(&[0; 4]) };
        let (lows, highs) = (four(0), four(3));
        // SAFETY: as above.
        let same = unsafe {
            let lows = _mm256_cmpeq_epi64(load(lows), _mm256_set1_epi64x(low as i64));
            let highs = _mm256_cmpeq_epi64(load(highs), _mm256_set1_epi64x(high as i64));
            _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_and_si256(lows, highs)))
        };
        same as u32 & 7
    }

    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "see above of iterators")]
    fn weave<const N: usize>(self, strands: [Sixteen; N], woven: &Woven) -> [[u64; 2]; 2] {
        // SAFETY: as above.
        unsafe {
            let mut all = load(&woven.always);
            for at in 0..N.min(Woven::STRANDS) {
                let both = _mm256_broadcastsi128_si256(load_half(&strands[at].bytes()));
                all = _mm256_or_si256(all, _mm256_shuffle_epi8(both, load(&woven.strands[at])));
            }
            [words(_mm256_castsi256_si128(all)), words(_mm256_extracti128_si256::<1>(all))]
        }
    }

    /// Pairs, fours, eights: in the last two are the first eight digits and the others.
    #[inline(always)]
    fn value(self, bytes: Sixteen, digits: &Digits) -> u64 {
        // SAFETY: as above.
        let [both, _] = unsafe {
            let all = _mm_shuffle_epi8(load_half(&bytes.bytes()), load_half(&digits.places));
            let ones = _mm_subs_epu8(all, _mm_set1_epi8(b'0' as i8));
            let pairs = _mm_maddubs_epi16(ones, _mm_set1_epi16(10 | 1 << 8));
            let fours = _mm_madd_epi16(pairs, _mm_set1_epi32(100 | 1 << 16));
            let packed = _mm_packus_epi32(fours, fours);
            words(_mm_madd_epi16(packed, _mm_set1_epi32(10_000 | 1 << 16)))
        };
        (both & u64::from(u32::MAX)) * 100_000_000 + (both >> 32)
    }

    #[inline(always)]
    fn spread(self, names: &[u32; Spread::NAMES], spread: &Spread) -> [u64; SHORT_FIELDS] {
        let mut fields = [0; SHORT_FIELDS];
        let (halves, []) = fields.as_chunks_mut::<4>() else { return fields };
        let (always, places) = (spread.always.as_chunks().0, spread.names.as_chunks().0);
        for at in 0..SHORT_FIELDS / 4 {
            // SAFETY: as above.
            unsafe {
                let which: &[[u32; 2]; 4] = &places[at];
                let always: &[u64; 4] = &always[at];
                let names = _mm256_permutevar8x32_epi32(load(names), load(which));
                let all = _mm256_or_si256(names, load(always));
                store(&mut halves[at], all);
            }
        }
        fields
    }
}

/// What was wrong already, and what is wrong with these: see what a byte may be.
#[inline(always)]
fn wrong(before: __m256i, bytes: &[u8; 32], block: &Block, backslash: __m256i) -> __m256i {
    let [turned, most] = block.bytes();
    // SAFETY: who calls has AVX2.
    unsafe {
        let is = _mm256_xor_si256(load(bytes), load(turned));
        let more = _mm256_subs_epu8(is, load(most));
        let so = _mm256_or_si256(more, _mm256_cmpeq_epi8(is, backslash));
        _mm256_or_si256(before, so)
    }
}

/// The keys of the first two names or of the last two.
#[inline(always)]
fn two_keys(bytes: &[u8; ROOM], names: &FourNames, at: usize) -> __m256i {
    let [first, last] = [names.bytes(2 * at, bytes), names.bytes(2 * at + 1, bytes)];
    let (masks, lengths) = (names.masks.as_chunks::<2>().0, names.lengths.as_chunks::<2>().0);
    // SAFETY: who calls has AVX2.
    unsafe {
        let texts = _mm256_set_m128i(load_half(&last.bytes()), load_half(&first.bytes()));
        _mm256_or_si256(_mm256_and_si256(texts, load(&masks[at])), load(&lengths[at]))
    }
}

/// Of the halves of each word, with a secret added to both.
#[inline(always)]
fn product(words: __m256i, secret: u64) -> __m256i {
    // SAFETY: who calls has AVX2.
    unsafe {
        let sums = _mm256_add_epi32(words, _mm256_set1_epi64x(secret as i64));
        _mm256_mul_epu32(sums, _mm256_srli_epi64::<32>(sums))
    }
}

#[inline(always)]
fn words(half: __m128i) -> [u64; 2] {
    // SAFETY: who calls has AVX2.
    unsafe { [_mm_cvtsi128_si64(half) as u64, _mm_extract_epi64::<1>(half) as u64] }
}
