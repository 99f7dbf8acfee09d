//! The checksum of a record: CRC-32C of its position and of all that it covers.
//!
//! Each record has one of its own, so that one is found again by itself. An instruction takes eight
//! bytes and three cycles, of which two are waiting: so a record is taken in three parts at once, which
//! are put together by a multiplication without carries (Gopal et al., *Fast CRC Computation for iSCSI
//! Polynomial Using CRC32 Instruction*, Intel 2011).

#![cfg_attr(
    target_arch = "x86_64",
    allow(
        unsafe_code,
        reason = "instructions that not every x86-64 processor has: it is asked first"
    )
)]

/// Of a record at a position, whose bytes stand in several places.
#[inline]
pub fn checksum(position: u64, covered: &[&[u8]]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { parts::checksum(position, covered) };
    }
    let first = crc32c::crc32c(&position.to_le_bytes());
    covered.iter().fold(first, |crc, bytes| crc32c::crc32c_append(crc, bytes))
}

/// CRC-32C of bytes alone.
#[inline]
pub fn of(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { parts::of(bytes) };
    }
    crc32c::crc32c(bytes)
}

#[cfg(target_arch = "x86_64")]
mod parts {
    use std::arch::x86_64::{
        _mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64, _mm_cvtsi64_si128,
        _mm_cvtsi128_si64,
    };

    /// Words of eight bytes in one of three parts, at most.
    const PART_MAX: usize = 32;
    /// Of fewer words it is not worth while.
    const PART_MIN: usize = 2;

    /// What a remainder is multiplied by to stand so many words further on.
    const FURTHER: [u32; 2 * PART_MAX + 1] = further();

    /// `x^(64 n - 33)` modulo the polynomial, bits turned round: the multiplication makes up for one, and the
    /// instruction for 32.
    const fn further() -> [u32; 2 * PART_MAX + 1] {
        let mut all = [0; 2 * PART_MAX + 1];
        let (mut power, mut exponent, mut words) = (1_u32 << 31, 0, 1);
        while words < all.len() {
            while exponent < 64 * words - 33 {
                power = (power >> 1) ^ if power & 1 == 1 { 0x82f6_3b78 } else { 0 };
                exponent += 1;
            }
            all[words] = power;
            words += 1;
        }
        all
    }

    #[target_feature(enable = "sse4.2,pclmulqdq")]
    pub fn checksum(position: u64, covered: &[&[u8]]) -> u32 {
        let mut crc = _mm_crc32_u64(u64::from(u32::MAX), position);
        for bytes in covered {
            crc = over(crc, bytes);
        }
        !(crc as u32)
    }

    #[target_feature(enable = "sse4.2,pclmulqdq")]
    pub fn of(bytes: &[u8]) -> u32 {
        !(over(u64::from(u32::MAX), bytes) as u32)
    }

    /// The remainder with further bytes.
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    fn over(mut crc: u64, bytes: &[u8]) -> u64 {
        let (mut words, rest) = bytes.as_chunks::<8>();
        while words.len() >= 3 * PART_MIN {
            let len = (words.len() / 3).min(PART_MAX);
            let (first, behind) = words.split_at(len);
            let (second, behind) = behind.split_at(len);
            let (third, behind) = behind.split_at(len);
            let [mut a, mut b, mut c] = [crc, 0, 0];
            // No iterators here: such as go along with each other are not inlined into it.
            for at in 0..len {
                a = _mm_crc32_u64(a, u64::from_le_bytes(first[at]));
                b = _mm_crc32_u64(b, u64::from_le_bytes(second[at]));
                c = _mm_crc32_u64(c, u64::from_le_bytes(third[at]));
            }
            crc = on(a, 2 * len) ^ on(b, len) ^ c;
            words = behind;
        }
        for word in words {
            crc = _mm_crc32_u64(crc, u64::from_le_bytes(*word));
        }
        let mut crc = crc as u32;
        let (four, rest) = rest.as_chunks::<4>();
        for part in four {
            crc = _mm_crc32_u32(crc, u32::from_le_bytes(*part));
        }
        for byte in rest {
            crc = _mm_crc32_u8(crc, *byte);
        }
        u64::from(crc)
    }

    /// A remainder that stands so many words further on.
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    fn on(crc: u64, words: usize) -> u64 {
        let by = i64::from(FURTHER[words]);
        let product =
            _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(crc as i64), _mm_cvtsi64_si128(by));
        _mm_crc32_u64(0, _mm_cvtsi128_si64(product) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::{checksum, of};

    #[test]
    fn it_is_that_of_the_position_and_the_bytes() {
        let bytes: Vec<u8> = (0..2_000_u32).map(|n| ((n * n) >> 3) as u8).collect();
        for position in [0, 7, 1 << 47] {
            for len in (0..1_700).chain([2_000]) {
                let covered = &bytes[len % 7..len.max(len % 7)];
                let whole: Vec<u8> =
                    u64::to_le_bytes(position).iter().chain(covered).copied().collect();
                let wanted = crc32c::crc32c(&whole);
                assert_eq!(checksum(position, &[covered]), wanted, "{len} bytes");
                assert_eq!(of(&whole), wanted, "{len} bytes and a position");
                let (head, behind) = covered.split_at(len.min(20).min(covered.len()));
                assert_eq!(checksum(position, &[head, b"", behind]), wanted, "{len} bytes");
            }
        }
    }
}
