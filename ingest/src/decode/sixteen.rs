//! Sixteen bytes of a payload at once: where a text ends, how far digits go.
//!
//! One bit for each byte, the first in the lowest place. On x86-64 that is four to eight
//! instructions; the same in words of eight bytes is twenty, for half of the bytes, and a plain loop
//! becomes vector code in some surroundings only.

#![allow(unsafe_code, reason = "intrinsics of SSE2, which every x86-64 processor has")]

use event::ROOM;

#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(super) struct Sixteen([u8; 16]);

/// Bytes of a [`Window`]: a key of two times sixteen, and sixteen of its value wherever it begins.
pub(super) const WINDOW: usize = 80;

/// Bytes around a key, of which all that is asked for is there.
#[derive(Clone, Copy)]
pub(super) struct Window<'a>(&'a [u8; WINDOW]);

impl<'a> Window<'a> {
    /// From a place on; `None` where there are fewer bytes.
    #[inline(always)]
    pub fn at(bytes: &'a [u8], at: u32) -> Option<Self> {
        let at = at as usize;
        bytes.get(at..at + WINDOW)?.first_chunk().map(Self)
    }

    /// Sixteen from a place on that is below 64.
    #[inline(always)]
    pub fn sixteen(self, at: u32) -> Sixteen {
        let at = at as usize & 63;
        Sixteen(self.0[at..at + 16].first_chunk().copied().unwrap_or_default())
    }
}

/// What the byte at some place may be: with some bits turned, at most so much, and no turned backslash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct May {
    turned: u8,
    most: u8,
}

impl May {
    /// This byte.
    pub const fn be(byte: u8) -> Self {
        Self { turned: byte, most: 0 }
    }

    pub const DIGIT: Self = Self { turned: b'0', most: 9 };

    /// ASCII without quotes, backslashes and control characters: so turned, a quote is the least of
    /// what is too much.
    pub const TEXT: Self = Self { turned: 0x7D, most: (b'"' ^ 0x7D) - 1 };
}

/// A backslash in a text, turned: more than a digit may be.
pub(super) const BACKSLASH: u8 = b'\\' ^ May::TEXT.turned;

/// What thirty-two bytes may be.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct Block {
    turned: [u8; Self::BYTES],
    most: [u8; Self::BYTES],
}

/// What was wrong so far with bytes that were compared: zero is nothing.
#[derive(Clone, Copy)]
pub(super) struct Wrong(Sixteen);

impl Wrong {
    pub const NOTHING: Self = Self(Sixteen::ZERO);

    /// Adds what is wrong with these.
    #[inline(always)]
    #[must_use]
    pub fn with(self, bytes: &[u8; Block::BYTES], block: &Block) -> Self {
        let halves = |bytes: &[u8; Block::BYTES]| {
            let (head, tail) = bytes.split_at(16);
            let of = |bytes: &[u8]| Sixteen(bytes.first_chunk().copied().unwrap_or_default());
            [of(head), of(tail)]
        };
        let (bytes, turned, most) = (halves(bytes), halves(&block.turned), halves(&block.most));
        Self(self.0.worse(bytes[0], turned[0], most[0]).worse(bytes[1], turned[1], most[1]))
    }

    #[inline(always)]
    pub fn is_nothing(self) -> bool {
        self.0.same(Sixteen::ZERO) == 0xFFFF
    }
}

impl Block {
    pub const BYTES: usize = 32;

    /// Anything but what is never compared.
    pub const NONE: Self = Self { turned: [0; Self::BYTES], most: [0; Self::BYTES] };

    pub fn of(all: &[May; Self::BYTES]) -> Self {
        Self { turned: all.map(|may| may.turned), most: all.map(|may| may.most) }
    }

    /// With which bits turned, and how much at most.
    #[inline(always)]
    pub fn bytes(&self) -> [&[u8; Self::BYTES]; 2] {
        [&self.turned, &self.most]
    }

    /// From now on the byte at a place, if there is such a place, must be this one.
    pub fn fix(&mut self, at: usize, byte: u8) {
        if let (Some(turned), Some(most)) = (self.turned.get_mut(at), self.most.get_mut(at)) {
            (*turned, *most) = (byte, 0);
        }
    }
}

impl Sixteen {
    pub const ZERO: Self = Self([0; 16]);

    /// What was wrong already, and of each of these bytes what is more than it may be.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn worse(self, bytes: Self, turned: Self, most: Self) -> Self {
        use std::arch::x86_64::{
            _mm_cmpeq_epi8, _mm_or_si128, _mm_set1_epi8, _mm_subs_epu8, _mm_xor_si128,
        };
        // SAFETY: no more is asked for than SSE2; nothing here touches memory.
        unsafe {
            let is = _mm_xor_si128(bytes.vector(), turned.vector());
            let more = _mm_subs_epu8(is, most.vector());
            let backslash = _mm_cmpeq_epi8(is, _mm_set1_epi8(BACKSLASH as i8));
            Self::from_vector(_mm_or_si128(self.vector(), _mm_or_si128(more, backslash)))
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn worse(self, bytes: Self, turned: Self, most: Self) -> Self {
        self.is_worse(bytes, turned, most)
    }

    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn is_worse(mut self, bytes: Self, turned: Self, most: Self) -> Self {
        for at in 0..16 {
            let is = bytes.0[at] ^ turned.0[at];
            self.0[at] |= is.saturating_sub(most.0[at]) | if is == BACKSLASH { 0xFF } else { 0 };
        }
        self
    }

    /// Those at a place; `None` where there are fewer. Places of 32 bits cannot overflow here, which
    /// saves a check.
    #[inline(always)]
    pub fn at(bytes: &[u8], at: u32) -> Option<Self> {
        let at = at as usize;
        bytes.get(at..at + 16)?.first_chunk().copied().map(Self)
    }

    /// Those at a place below 512.
    #[inline(always)]
    pub fn within(bytes: &[u8; ROOM], at: u32) -> Self {
        let at = at as usize % (ROOM - 32);
        Self(bytes[at..at + 16].first_chunk().copied().unwrap_or_default())
    }

    #[inline(always)]
    pub const fn of(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[inline(always)]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// Two words, the first byte in the lowest place of the first.
    #[inline(always)]
    pub fn words(self) -> [u64; 2] {
        let both = u128::from_le_bytes(self.0);
        [both as u64, (both >> 64) as u64]
    }

    /// Bytes that are the same in both.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn same(self, other: Self) -> u32 {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8};
        // SAFETY: no more is asked for than SSE2; nothing here touches memory.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(self.vector(), other.vector())) as u32 }
    }

    /// Bytes that are not ASCII.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn high(self) -> u32 {
        // SAFETY: as above.
        unsafe { std::arch::x86_64::_mm_movemask_epi8(self.vector()) as u32 }
    }

    /// Bytes at which a text ends or is not plain: quote, backslash, control character.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn stops(self) -> u32 {
        use std::arch::x86_64::{
            _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        };
        let bytes = self.vector();
        // SAFETY: as above.
        unsafe {
            let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes);
            let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, backslash))) as u32
        }
    }

    /// Bytes that are no digits.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn others(self) -> u32 {
        use std::arch::x86_64::{
            _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi8, _mm_sub_epi8,
        };
        let bytes = self.vector();
        // SAFETY: as above.
        unsafe {
            let values = _mm_sub_epi8(bytes, _mm_set1_epi8(b'0' as i8));
            let digits = _mm_cmpeq_epi8(_mm_min_epu8(values, _mm_set1_epi8(9)), values);
            _mm_movemask_epi8(digits) as u32 ^ 0xFFFF
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn vector(self) -> std::arch::x86_64::__m128i {
        // SAFETY: sixteen bytes are read from sixteen bytes, aligned or not.
        unsafe { std::arch::x86_64::_mm_loadu_si128(self.0.as_ptr().cast()) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn from_vector(vector: std::arch::x86_64::__m128i) -> Self {
        let mut bytes = [0; 16];
        // SAFETY: sixteen bytes are written to sixteen bytes, aligned or not.
        unsafe { std::arch::x86_64::_mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) };
        Self(bytes)
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn same(self, other: Self) -> u32 {
        bits(self.0.into_iter().zip(other.0).map(|(one, other)| one == other))
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn high(self) -> u32 {
        self.each(|byte| !byte.is_ascii())
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn stops(self) -> u32 {
        self.each(is_stop)
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn others(self) -> u32 {
        self.each(|byte| !byte.is_ascii_digit())
    }

    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn each(self, is_so: impl Fn(u8) -> bool) -> u32 {
        bits(self.0.into_iter().map(is_so))
    }
}

/// Line ends among sixty-four bytes, a bit for each.
#[inline(always)]
pub(crate) fn line_ends(bytes: &[u8; 64]) -> u64 {
    let ends = |at: usize| {
        let part = bytes[at..at + 16].first_chunk().copied().unwrap_or_default();
        u64::from(Sixteen(part).same(Sixteen([b'\n'; 16]))) << at
    };
    ends(0) | ends(16) | ends(32) | ends(48)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn bits(each: impl DoubleEndedIterator<Item = bool>) -> u32 {
    each.rev().fold(0, |bits, is_so| bits << 1 | u32::from(is_so))
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn is_stop(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bytes_are_seen_like_one() {
        for byte in 0..=255_u8 {
            for place in 0..16 {
                for mut bytes in [*b"abcdefghijklmnop", *b"9870561234567890"] {
                    bytes[place] = byte;
                    let both = Sixteen(bytes);
                    assert_eq!(both.stops(), both.each(is_stop), "{bytes:?}");
                    assert_eq!(both.high(), both.each(|b| !b.is_ascii()), "{bytes:?}");
                    let other = Sixteen(*b"abcdefghijklmnop");
                    let same = bits(bytes.into_iter().zip(other.0).map(|(a, b)| a == b));
                    assert_eq!(both.same(other), same, "{bytes:?}");
                    assert_eq!(both.others(), both.each(|b| !b.is_ascii_digit()), "{bytes:?}");
                }
            }
        }
        // Any byte in any place, where it may be that of before, a digit or of a text.
        for byte in 0..=255_u8 {
            for place in 0..Block::BYTES {
                let mut bytes = *b"a c\\e!g#ij\"l\x1fn\x80pq st\\v\x7fx0\"2\\\x7f678";
                let mut all = bytes.map(May::be);
                let is_text = byte.is_ascii() && !is_stop(byte);
                for (may, right) in [
                    (all[place], byte == bytes[place]),
                    (May::TEXT, is_text),
                    (May::DIGIT, byte.is_ascii_digit()),
                ] {
                    all[place] = may;
                    bytes[place] = byte;
                    let block = Block::of(&all);
                    let wrong = Wrong::NOTHING.with(&bytes, &block);
                    assert_eq!(wrong.is_nothing(), right, "{may:?} {byte} {place}");
                    let [some, turned, most] = [&bytes, &block.turned, &block.most]
                        .map(|bytes| Sixteen(*bytes.first_chunk().unwrap()));
                    let one = Sixteen::ZERO.worse(some, turned, most);
                    assert_eq!(one.0, Sixteen::ZERO.is_worse(some, turned, most).0);
                    let after = wrong.with(&[0; 32], &Block::NONE);
                    assert_eq!(after.is_nothing(), right, "nothing makes it good");
                }
            }
        }
        let text = b"abcdefghijklmnopqrst";
        for at in 0..40 {
            let read = Sixteen::at(text, at).map(|some| some.0);
            let wanted = text.get(at as usize..at as usize + 16);
            assert_eq!(read.as_ref().map(<[u8; 16]>::as_slice), wanted);
        }
        let mut lines = [b'a'; 64];
        for place in [0, 15, 16, 40, 63] {
            lines[place] = b'\n';
        }
        assert_eq!(line_ends(&lines), 1 | 1 << 15 | 1 << 16 | 1 << 40 | 1 << 63);
        let bytes = *b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x80";
        assert_eq!(Sixteen(bytes).words(), [1, 0x80 << 56 | 2]);
    }
}
