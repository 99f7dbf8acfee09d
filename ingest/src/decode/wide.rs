//! What is done with thirty-two bytes at a time where the processor can, and else with sixteen or one by one: line
//! ends of a file are found, payloads compared with layouts, and what these say taken from them.
//!
//! Which processor it is, is found out when the program runs: it is built for every x86-64. Both ways say
//! the same, and are tested against each other. What goes over many payloads is a [`Task`], compiled once for each way,
//! so that nothing in it is a call.

#![allow(
    unsafe_code,
    reason = "intrinsics of AVX2, where the processor was asked whether it has them"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;

use event::{ROOM, SHORT_FIELDS, Secret};

use super::scan::number;
use super::sixteen::{Block, Sixteen, Wrong, line_ends};

/// What is done with the vectors of a processor.
pub(super) trait Task {
    type Done;

    /// To be inlined always, as all that it calls and that uses vectors.
    fn run<V: Vectors>(self, vectors: V) -> Self::Done;
}

/// Does a task with the widest vectors that there are.
#[inline(always)]
pub(super) fn perform<T: Task>(task: T) -> T::Done {
    #[cfg(target_arch = "x86_64")]
    if let Some(wide) = avx2::Wide::found() {
        // SAFETY: the processor has what is asked for: there is no `Wide` otherwise.
        return unsafe { avx2::perform(task, wide) };
    }
    task.run(Narrow)
}

/// Bytes put together out of others that stand in several places: which of each stands where, and what is
/// always there. A place is one of sixteen, or [`Woven::NOTHING`].
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct Woven {
    pub strands: [[u8; 32]; Self::STRANDS],
    pub always: [u8; 32],
}

impl Woven {
    pub const STRANDS: usize = 4;
    /// No place: there is a zero.
    pub const NOTHING: u8 = 0x80;
    pub const NONE: Self = Self { strands: [[Self::NOTHING; 32]; Self::STRANDS], always: [0; 32] };
}

/// A number of one to sixteen digits, for those who read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits {
    /// Where each of sixteen comes from, so that the last one is the last; [`Woven::NOTHING`] in front.
    places: [u8; 16],
    count: u32,
}

impl Digits {
    pub const fn of(count: u32) -> Self {
        let mut places = [Woven::NOTHING; 16];
        let first = 16 - count as usize;
        let mut at = first;
        while at < 16 {
            places[at] = (at - first) as u8;
            at += 1;
        }
        Self { places, count }
    }
}

/// The first fields of a row, some of which are names: which one each is, and what else stands there.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct Spread {
    /// Of each half of a field the name; zero, which is none, for all second ones.
    pub names: [[u32; 2]; SHORT_FIELDS],
    pub always: [u64; SHORT_FIELDS],
}

impl Spread {
    pub const NONE: Self = Self { names: [[0; 2]; SHORT_FIELDS], always: [0; SHORT_FIELDS] };
    /// Names that it takes, of which the first is none.
    pub const NAMES: usize = 8;
}

/// Where four names stand in a payload, and which bytes of sixteen are each one's; its length is the last byte.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct FourNames {
    pub masks: [[u64; 2]; 4],
    pub lengths: [[u64; 2]; 4],
    pub from: [u16; 4],
}

impl FourNames {
    pub const NONE: Self = Self { masks: [[0; 2]; 4], lengths: [[0; 2]; 4], from: [0; 4] };

    #[inline(always)]
    fn bytes(&self, at: usize, bytes: &[u8; ROOM]) -> Sixteen {
        Sixteen::within(bytes, self.from[at].into())
    }
}

/// The keys of four names, and where the search for each begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(32))]
pub(super) struct FourKeys {
    pub keys: [[u64; 2]; 4],
    pub homes: [u64; 4],
}

impl FourKeys {
    pub const NONE: Self = Self { keys: [[0; 2]; 4], homes: [0; 4] };
}

/// What a processor can do with many bytes.
pub(super) trait Vectors: Copy {
    /// Whether bytes are as so many blocks say, but at least [`BLOCKS_MIN`] of them: each of those from its
    /// place on.
    fn fits<const N: usize>(
        self,
        bytes: &[u8; ROOM],
        blocks: &[Block; N],
        places: &[u16; N],
        count: usize,
    ) -> bool;

    /// Line ends among sixty-four bytes, a bit for each.
    fn line_ends(self, chunk: &[u8; 64]) -> u64;

    /// The keys of four names, and where each stands by a secret and a mask.
    fn four_keys(
        self,
        bytes: &[u8; ROOM],
        names: &FourNames,
        places: (Secret, u32),
        keys: &mut FourKeys,
    );

    /// Which of the three keys of a line is this one, as bits.
    fn same_keys(self, line: &[u64; 8], key: [u64; 2]) -> u32;

    /// Bytes woven of the first strands, as two times two words.
    fn weave<const N: usize>(self, strands: [Sixteen; N], woven: &Woven) -> [[u64; 2]; 2];

    /// The value of a number whose digits are known to be some.
    fn value(self, bytes: Sixteen, digits: &Digits) -> u64;

    /// The first fields of a row.
    fn spread(self, names: &[u32; Spread::NAMES], spread: &Spread) -> [u64; SHORT_FIELDS];
}

/// Sixteen bytes at a time, or one.
#[derive(Clone, Copy)]
struct Narrow;

impl Vectors for Narrow {
    #[inline(always)]
    fn fits<const N: usize>(
        self,
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

    #[inline(always)]
    fn line_ends(self, chunk: &[u8; 64]) -> u64 {
        line_ends(chunk)
    }

    #[inline(always)]
    fn four_keys(
        self,
        bytes: &[u8; ROOM],
        names: &FourNames,
        (secret, mask): (Secret, u32),
        keys: &mut FourKeys,
    ) {
        for at in 0..4 {
            let (words, mine) = (names.bytes(at, bytes).words(), names.masks[at]);
            let length = names.lengths[at];
            let key = [words[0] & mine[0] | length[0], words[1] & mine[1] | length[1]];
            (keys.keys[at], keys.homes[at]) = (key, (secret.home(key) & mask).into());
        }
    }

    #[inline(always)]
    fn same_keys(self, line: &[u64; 8], [low, high]: [u64; 2]) -> u32 {
        let same = |at: usize| u32::from((line[at] ^ low) | (line[3 + at] ^ high) == 0) << at;
        same(0) | same(1) | same(2)
    }

    #[inline(always)]
    fn weave<const N: usize>(self, strands: [Sixteen; N], woven: &Woven) -> [[u64; 2]; 2] {
        let mut all = woven.always;
        for (bytes, places) in strands.iter().zip(&woven.strands) {
            for (byte, place) in all.iter_mut().zip(places) {
                *byte |= bytes.bytes().get(usize::from(*place)).copied().unwrap_or(0);
            }
        }
        let [first, last] = [all.first_chunk(), all.last_chunk()];
        [first, last].map(|half| Sixteen::of(half.copied().unwrap_or_default()).words())
    }

    #[inline(always)]
    fn value(self, bytes: Sixteen, digits: &Digits) -> u64 {
        number(bytes, digits.count)
    }

    #[inline(always)]
    fn spread(self, names: &[u32; Spread::NAMES], spread: &Spread) -> [u64; SHORT_FIELDS] {
        let mut fields = spread.always;
        for (field, [name, _]) in fields.iter_mut().zip(spread.names) {
            *field |= u64::from(names[name as usize % Spread::NAMES]);
        }
        fields
    }
}

/// Chunks of sixty-four bytes whose line ends are found at once.
pub(crate) const CHUNKS: usize = 32;

/// Places behind line ends: one more than there can be, and a power of two, which saves a check.
pub(crate) type Ends = [u16; 128 * CHUNKS];

/// The places behind all line ends of some chunks, at most [`CHUNKS`].
pub(crate) fn all_line_ends<'e>(chunks: &[[u8; 64]], ends: &'e mut Ends) -> &'e [u16] {
    let found = perform(Lines { chunks, ends });
    ends.get(..found).unwrap_or_default()
}

struct Lines<'a> {
    chunks: &'a [[u8; 64]],
    ends: &'a mut Ends,
}

impl Task for Lines<'_> {
    /// How many.
    type Done = usize;

    /// Of each chunk one is written, whether it has any or not: that would be guessed wrong.
    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> usize {
        let (mut found, mut behind) = (0, 1);
        for chunk in self.chunks {
            let mut bits = vectors.line_ends(chunk);
            loop {
                self.ends[found % (128 * CHUNKS)] = behind + bits.trailing_zeros() as u16;
                found += usize::from(bits != 0);
                bits &= bits.wrapping_sub(1);
                if bits == 0 {
                    break;
                }
            }
            behind += 64;
        }
        found
    }
}

/// Blocks that are compared at least: of a payload of 192 bytes.
pub(super) const BLOCKS_MIN: usize = 6;

/// Thirty-two from a place on that is below 512.
#[inline(always)]
fn part(bytes: &[u8; ROOM], at: u16) -> &[u8; Block::BYTES] {
    let at = usize::from(at) % (ROOM - Block::BYTES);
    bytes[at..at + Block::BYTES].first_chunk().unwrap_or(&[0; Block::BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::scan::FIRST;
    use crate::decode::sixteen::May;

    /// What both ways say alike.
    trait Asked: Copy {
        type Said: PartialEq + std::fmt::Debug;
        fn ask<V: Vectors>(self, vectors: V) -> Self::Said;
    }

    struct Once<A>(A);

    impl<A: Asked> Task for Once<A> {
        type Done = A::Said;

        #[inline(always)]
        fn run<V: Vectors>(self, vectors: V) -> A::Said {
            self.0.ask(vectors)
        }
    }

    fn both<A: Asked>(asked: A) -> A::Said {
        let said = perform(Once(asked));
        assert_eq!(said, asked.ask(Narrow));
        said
    }

    #[derive(Clone, Copy)]
    struct Fits<'a>(&'a [u8; ROOM], &'a [Block; 7], &'a [u16; 7], usize);

    impl Asked for Fits<'_> {
        type Said = bool;

        #[inline(always)]
        fn ask<V: Vectors>(self, vectors: V) -> bool {
            vectors.fits(self.0, self.1, self.2, self.3)
        }
    }

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
                        both(Fits(&bytes, &blocks, &places, last + 1))
                    };
                    assert!(!see(49, 20) && !see(100, 21), "{may:?} {byte} {place}");
                    right += usize::from(see(100, 20));
                }
            }
        }
        // Each byte as itself and as it was, 94 of a text and ten digits.
        assert_eq!(right, 32 * (256 + 1 + 94 + 10));
    }

    #[derive(Clone, Copy)]
    struct Value(Sixteen, u32);

    impl Asked for Value {
        type Said = u64;

        #[inline(always)]
        fn ask<V: Vectors>(self, vectors: V) -> u64 {
            vectors.value(self.0, &Digits::of(self.1))
        }
    }

    #[test]
    fn numbers_are_what_is_parsed() {
        for digits in
            ["0000000000000000", "9999999999999999", "1234567890987654", "9081726354019283"]
        {
            let text = Sixteen::at(digits.as_bytes(), 0).expect("there are sixteen");
            for count in 1..=16 {
                let wanted = digits[..count].parse();
                assert_eq!(Ok(both(Value(text, count as u32))), wanted, "{digits} {count}");
            }
        }
    }

    #[derive(Clone, Copy)]
    struct Keys<'a>(&'a [u8; ROOM], &'a FourNames, Secret, u32);

    impl Asked for Keys<'_> {
        type Said = FourKeys;

        #[inline(always)]
        fn ask<V: Vectors>(self, vectors: V) -> FourKeys {
            let mut keys = FourKeys::NONE;
            vectors.four_keys(self.0, self.1, (self.2, self.3), &mut keys);
            keys
        }
    }

    #[test]
    fn four_names_are_four_keys() {
        let bytes = std::array::from_fn(|at| (at * at / 3) as u8 | 1);
        let mut names = FourNames::NONE;
        for (at, (from, len)) in [(0, 1), (37, 8), (400, 9), (511, 15)].into_iter().enumerate() {
            names.from[at] = from;
            names.masks[at] = FIRST[len];
            names.lengths[at][1] = (len as u64) << 56;
        }
        let secret = Secret { low: 0xFEDC_BA98_7654_3210, high: 0x0F1E_2D3C_FFFF_FFFF };
        for mask in [511, u32::MAX] {
            let said = both(Keys(&bytes, &names, secret, mask));
            let mut key = [0; 16];
            key[..9].copy_from_slice(&bytes[400..409]);
            key[15] = 9;
            let [low, high] = Sixteen::of(key).words();
            assert_eq!(said.keys[2], [low, high]);
            assert_eq!(said.homes, said.keys.map(|key| u64::from(secret.home(key) & mask)));
        }
    }

    #[derive(Clone, Copy)]
    struct Same<'a>(&'a [u64; 8], [u64; 2]);

    impl Asked for Same<'_> {
        type Said = u32;

        #[inline(always)]
        fn ask<V: Vectors>(self, vectors: V) -> u32 {
            vectors.same_keys(self.0, self.1)
        }
    }

    #[test]
    fn a_key_is_both_of_its_words() {
        // The second word of the first is the first word of another.
        let line = [7, 8, 7, 8, 9, 10, u64::MAX, 8];
        let said = |low, high| both(Same(&line, [low, high]));
        assert_eq!([said(7, 8), said(8, 9), said(7, 10), said(7, 9), said(8, 8)], [1, 2, 4, 0, 0]);
        assert_eq!([said(8, u64::MAX), said(9, 8)], [0, 0], "what is behind them is no key");
    }

    #[derive(Clone, Copy)]
    struct Weave(Woven);

    impl Asked for Weave {
        type Said = [[[u64; 2]; 2]; 2];

        #[inline(always)]
        fn ask<V: Vectors>(self, vectors: V) -> Self::Said {
            let strand = |first: u8| Sixteen::of(std::array::from_fn(|at| first + at as u8));
            let all = [strand(0x10), strand(0x20), strand(0x30), strand(0x40)];
            [vectors.weave(all, &self.0), vectors.weave([all[0], all[1]], &self.0)]
        }
    }

    #[test]
    fn strands_stand_where_they_are_said_to() {
        let mut woven = Woven::NONE;
        let mut wanted = [[0_u8; 32]; 2];
        for at in 0..32 {
            let (strand, place) = (at % 5, (at * 7 % 16) as u8);
            match woven.strands.get_mut(strand) {
                Some(places) => places[at] = place,
                None => woven.always[at] = 0xA0 | place,
            }
            let byte = 16 * (strand as u8 + 1) + place;
            wanted[0][at] = if strand == 4 { 0xA0 | place } else { byte };
            wanted[1][at] = if matches!(strand, 2 | 3) { 0 } else { wanted[0][at] };
        }
        let said = both(Weave(woven)).map(|halves| halves.map(|half| half.map(u64::to_le_bytes)));
        assert_eq!(said.map(|halves| halves.as_flattened().as_flattened().to_vec()), wanted);
    }

    #[derive(Clone, Copy)]
    struct Spreading<'a>(&'a [u32; Spread::NAMES], &'a Spread);

    impl Asked for Spreading<'_> {
        type Said = [u64; SHORT_FIELDS];

        #[inline(always)]
        fn ask<V: Vectors>(self, vectors: V) -> Self::Said {
            vectors.spread(self.0, self.1)
        }
    }

    #[test]
    fn names_become_fields() {
        let mut spread = Spread::NONE;
        let names = std::array::from_fn(|at| if at == 0 { 0 } else { u32::MAX - at as u32 });
        for (at, name) in [(0, 3), (1, 7), (4, 1), (7, 3)] {
            spread.names[at][0] = name;
        }
        spread.always[2] = 1 << 63 | 5;
        let [one, three, seven] = [1, 3, 7].map(|at| u64::from(u32::MAX) - at);
        let wanted = [three, seven, 1 << 63 | 5, 0, one, 0, 0, three];
        assert_eq!(both(Spreading(&names, &spread)), wanted);
    }

    #[derive(Clone, Copy)]
    struct Ends64<'a>(&'a [u8; 64]);

    impl Asked for Ends64<'_> {
        type Said = u64;

        #[inline(always)]
        fn ask<V: Vectors>(self, vectors: V) -> u64 {
            vectors.line_ends(self.0)
        }
    }

    #[test]
    fn line_ends_are_seen_in_every_place() {
        let mut ends = [9; 128 * CHUNKS];
        for place in 0..64 {
            let mut chunks = [[b'a'; 64]; CHUNKS];
            (chunks[1][place], chunks[2][0]) = (b'\n', b'\n');
            let bits = chunks.map(|chunk| both(Ends64(&chunk)));
            assert_eq!(bits[..4], [0, 1 << place, 1, 0]);
            assert_eq!(all_line_ends(&chunks, &mut ends), [64 + place as u16 + 1, 129]);
        }
        let every: Vec<_> = (1..=64 * CHUNKS as u16).collect();
        assert_eq!(all_line_ends(&[[b'\n'; 64]; CHUNKS], &mut ends), every);
    }
}
