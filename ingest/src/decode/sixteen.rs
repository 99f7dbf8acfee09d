//! Sixteen bytes of a payload at once: where a text ends, how far digits go.
//!
//! One bit for each byte, the first in the lowest place. On x86-64 that is four to eight
//! instructions; the same in words of eight bytes is twenty, for half of the bytes, and a plain loop
//! becomes vector code in some surroundings only.

#![allow(unsafe_code, reason = "intrinsics of SSE2, which every x86-64 processor has")]

#[derive(Clone, Copy, Debug)]
pub(super) struct Sixteen([u8; 16]);

/// What [`Sixteen::like`] says.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Alike(std::arch::x86_64::__m128i);

#[cfg(target_arch = "x86_64")]
impl Alike {
    /// Whether all bytes of both are.
    #[inline(always)]
    pub fn and(self, other: Self) -> bool {
        use std::arch::x86_64::{_mm_and_si128, _mm_movemask_epi8};
        // SAFETY: no more is asked for than SSE2; nothing here touches memory.
        unsafe { _mm_movemask_epi8(_mm_and_si128(self.0, other.0)) == 0xFFFF }
    }
}

/// What [`Sixteen::like`] says.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
pub(super) struct Alike(bool);

#[cfg(not(target_arch = "x86_64"))]
impl Alike {
    /// Whether all bytes of both are.
    pub fn and(self, other: Self) -> bool {
        self.0 && other.0
    }
}

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

/// What makes of a quote a blank, and of a blank more than that.
const FLIP: u8 = b'"' ^ b' ';

impl Sixteen {
    pub const ZERO: Self = Self([0; 16]);

    /// As [`Self::like`] compares them.
    pub fn flipped(mut self) -> Self {
        self.0.iter_mut().for_each(|byte| *byte ^= FLIP);
        self
    }

    /// Of each byte, whether it is that of `same`, or is plain text, where `texts` allows that.
    /// Plain is ASCII without quotes, backslashes and control characters: with one bit turned, all
    /// of it but the backslash is greater than a blank.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn like(self, same: Self, texts: Self) -> Alike {
        use std::arch::x86_64::{
            _mm_and_si128, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_or_si128,
            _mm_set1_epi8, _mm_xor_si128,
        };
        // SAFETY: no more is asked for than SSE2; nothing here touches memory.
        unsafe {
            let bytes = _mm_xor_si128(self.vector(), _mm_set1_epi8(FLIP as i8));
            let equal = _mm_cmpeq_epi8(bytes, same.vector());
            let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8((b'\\' ^ FLIP) as i8));
            let plain = _mm_cmpgt_epi8(bytes, _mm_set1_epi8(b' ' as i8));
            let text = _mm_and_si128(_mm_andnot_si128(backslash, plain), texts.vector());
            Alike(_mm_or_si128(equal, text))
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn like(self, same: Self, texts: Self) -> Alike {
        Alike(self.is_like(same, texts))
    }

    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn is_like(self, same: Self, texts: Self) -> bool {
        (0..16).all(|at| {
            let byte = self.0[at];
            let plain = byte.is_ascii() && !is_stop(byte);
            byte ^ FLIP == same.0[at] || plain && texts.0[at] != 0
        })
    }

    /// Those at a place; `None` where there are fewer. Places of 32 bits cannot overflow here, which
    /// saves a check.
    #[inline(always)]
    pub fn at(bytes: &[u8], at: u32) -> Option<Self> {
        let at = at as usize;
        bytes.get(at..at + 16)?.first_chunk().copied().map(Self)
    }

    #[inline(always)]
    pub const fn of(bytes: [u8; 16]) -> Self {
        Self(bytes)
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
        // Another byte in any place, against both classes.
        for byte in 0..=255_u8 {
            for place in 0..16 {
                let mut bytes = *b"a c\\e!g#ij\"l\x1fn\x80p";
                let same = Sixteen(bytes).flipped();
                bytes[place] = byte;
                let mut one = Sixteen::ZERO;
                one.0[place] = 0xFF;
                for texts in [Sixteen::ZERO, one, Sixteen([0xFF; 16])] {
                    let (both, wanted) = (Sixteen(bytes), Sixteen(bytes).is_like(same, texts));
                    let alike = both.like(same, texts);
                    assert_eq!(alike.and(alike), wanted, "{bytes:?} {texts:?}");
                }
            }
        }
        let text = b"abcdefghijklmnopqrst";
        for at in 0..40 {
            let read = Sixteen::at(text, at).map(|some| some.0);
            let wanted = text.get(at as usize..at as usize + 16);
            assert_eq!(read.as_ref().map(<[u8; 16]>::as_slice), wanted);
        }
        let bytes = *b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x80";
        assert_eq!(Sixteen(bytes).words(), [1, 0x80 << 56 | 2]);
    }
}
