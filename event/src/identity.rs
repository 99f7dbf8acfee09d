//! Content hashes: event identities, and the ids that derive from them.

use std::fmt;

use crate::time::EventTime;

/// Who an event is: a 128-bit hash of (feed, device, the payload's own id), or of the content
/// where a device gives none. Ties of event time are ordered by it, so it never depends on
/// arrival, on interned ids or on the connector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub u128);

/// Hashes parts into 128 bits: XXH3 over each part behind its length, so that ("ab", "c") and
/// ("a", "bc") differ. Changing the algorithm or the seed changes every id ever stored.
#[derive(Clone)]
pub struct Digest {
    /// All parts, while they have room: hashed at once they cost a tenth of what a stream does.
    short: [u8; SHORT_BYTES],
    len: usize,
    /// Where they have not.
    long: Option<Box<xxhash_rust::xxh3::Xxh3>>,
}

/// As much as XXH3 takes along its way for short inputs.
const SHORT_BYTES: usize = 240;

/// "PORTCUL1": the first version of all derived ids.
const SEED: u64 = 0x504f_5254_4355_4c31;

impl Default for Digest {
    fn default() -> Self {
        Self { short: [0; SHORT_BYTES], len: 0, long: None }
    }
}

impl Digest {
    /// The digest of one text: what the interner keeps beside each symbol.
    #[must_use]
    pub fn of(text: &[u8]) -> u128 {
        xxhash_rust::xxh3::xxh3_128_with_seed(text, SEED)
    }

    /// Adds one part.
    #[must_use]
    #[inline(always)]
    pub fn part(mut self, bytes: &[u8]) -> Self {
        self.add(&(bytes.len() as u32).to_le_bytes());
        self.add(bytes);
        self
    }

    /// Adds a number, or another digest.
    #[must_use]
    #[inline(always)]
    pub fn number(mut self, value: u128) -> Self {
        self.add(&value.to_le_bytes());
        self
    }

    /// 128 bits over all parts so far.
    #[must_use]
    pub fn finish(&self) -> u128 {
        self.long.as_ref().map_or_else(|| Self::of(&self.short[..self.len]), |l| l.digest128())
    }

    #[inline(always)]
    fn add(&mut self, bytes: &[u8]) {
        match self.short.get_mut(self.len..self.len + bytes.len()) {
            Some(room) if self.long.is_none() => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            _ => self.add_long(bytes),
        }
    }

    #[cold]
    fn add_long(&mut self, bytes: &[u8]) {
        let (short, len) = (&self.short, self.len);
        let long = self.long.get_or_insert_with(|| {
            let mut long = Box::new(xxhash_rust::xxh3::Xxh3::with_seed(SEED));
            long.update(&short[..len]);
            long
        });
        long.update(bytes);
    }
}

impl Identity {
    /// The identity of an event with an id of its own; `occurred` is added where the mapping says
    /// that ids wrap, restart or repeat over a thing's life.
    #[must_use]
    pub fn new(feed: &[u8], device: &[u8], id: &[u8], occurred: Option<EventTime>) -> Self {
        // One-shot over a small buffer: streaming costs several times as much for short parts.
        let mut buffer = [0_u8; 128];
        let needed = feed.len() + device.len() + id.len() + 12 + 8;
        if needed <= buffer.len() {
            let mut at = 0;
            for part in [feed, device, id] {
                at = put(&mut buffer, at, &(part.len() as u32).to_le_bytes());
                at = put(&mut buffer, at, part);
            }
            if let Some(time) = occurred {
                at = put(&mut buffer, at, &time.0.to_le_bytes());
            }
            return Self(Digest::of(&buffer[..at]));
        }
        let mut bytes = Vec::with_capacity(needed);
        for part in [feed, device, id] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        if let Some(time) = occurred {
            bytes.extend_from_slice(&time.0.to_le_bytes());
        }
        Self(Digest::of(&bytes))
    }
}

/// Writes a part, and says where it ends. Those of up to 16 bytes are two words that overlap: a
/// call of `memcpy` costs more than all of it.
#[inline(always)]
fn put(buffer: &mut [u8; 128], at: usize, part: &[u8]) -> usize {
    let end = at + part.len();
    let out = &mut buffer[at..end];
    match part.len() {
        8..=16 => ends::<8>(out, part),
        4..=7 => ends::<4>(out, part),
        len @ 1..=3 => [0, len / 2, len - 1].into_iter().for_each(|at| out[at] = part[at]),
        _ => out.copy_from_slice(part),
    }
    end
}

/// Writes the first and the last bytes of a part.
#[inline(always)]
fn ends<const N: usize>(out: &mut [u8], part: &[u8]) {
    if let (Some(to), Some(from)) = (out.first_chunk_mut::<N>(), part.first_chunk()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (out.last_chunk_mut::<N>(), part.last_chunk()) {
        *to = *from;
    }
}

/// The parts of an [`Identity`] as they are hashed, one written behind the other in a buffer that is
/// used again: what decoding uses for parts that are short, and have readable bytes behind them.
#[derive(Clone, Debug)]
pub struct ShortParts {
    bytes: [u8; SHORT_PARTS_BYTES],
    /// Of what their hash is made, in memory: a constant of eight bytes takes an instruction of its own.
    mixed: Mixed,
}

#[derive(Clone, Debug)]
struct Mixed {
    secret: [u64; 8],
    primes: [u64; 3],
}

/// A number of bytes, and what it does to a hash of so many: known long before there are any.
#[derive(Clone, Copy, Debug)]
pub struct HashLength {
    bytes: usize,
    first: u64,
    last: u64,
}

impl HashLength {
    /// Of this many.
    #[must_use]
    #[inline(always)]
    pub const fn of(bytes: usize) -> Self {
        let len = bytes as u64;
        let last = len.wrapping_sub(SEED).wrapping_mul(PRIME_2);
        Self { bytes, first: len.wrapping_mul(PRIME_1), last }
    }

    /// Whether the hash is made of the first words and the last ones.
    #[must_use]
    #[inline(always)]
    pub const fn is_of_words(&self) -> bool {
        matches!(self.bytes, 17..=64)
    }

    /// Whether it is made of two words on either side, and of no more.
    #[must_use]
    #[inline(always)]
    pub const fn is_of_four(&self) -> bool {
        matches!(self.bytes, 17..=32)
    }
}

const SHORT_PARTS_BYTES: usize = 256;

impl Default for ShortParts {
    fn default() -> Self {
        let mixed = Mixed { secret: SECRET, primes: [PRIME_1, PRIME_4, PRIME_MX] };
        Self { bytes: [0; SHORT_PARTS_BYTES], mixed }
    }
}

impl ShortParts {
    /// Bytes of the longest part that it takes.
    pub const PART_MAX: usize = 32;

    /// Writes a part behind the first `end` bytes, the first `len` of these bytes, at most all of
    /// them, and says where it ends. There is room for feed, device, id and time.
    #[inline(always)]
    pub fn part(&mut self, end: usize, bytes: &[u8; Self::PART_MAX], len: usize) -> usize {
        debug_assert!(len <= bytes.len() && end <= 3 * (4 + Self::PART_MAX));
        let at = end & 127;
        self.put(at, (len as u32).to_le_bytes());
        // What is behind the part is written over by the next one.
        self.put(at + 4, *bytes);
        at + 4 + (len & 63)
    }

    /// Writes the time of an id that repeats.
    #[inline(always)]
    pub fn time(&mut self, end: usize, at: EventTime) -> usize {
        let end = end & 127;
        self.put(end, at.0.to_le_bytes());
        end + 8
    }

    /// Not by `copy_from_slice`, which may become a call.
    #[inline(always)]
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        if let Some(room) = self.bytes[at..at + N].first_chunk_mut() {
            *room = bytes;
        }
    }

    /// As [`Identity::new`] of the parts, which are the first `end` bytes.
    #[must_use]
    #[inline(always)]
    pub fn identity(&self, end: usize) -> Identity {
        let length = HashLength::of(end);
        if !length.is_of_words() {
            return Identity(Digest::of(&self.bytes[..end & 127]));
        }
        let both = |at: usize| [two(&self.bytes, at), two(&self.bytes, end - 16 - at)];
        self.identity_of(&length, both(0), (end > 32).then(|| both(16)))
    }

    /// The same of parts that somebody else has put together: of the first two words and the last two, and of
    /// more than 32 bytes, of those next to them. Only of a length that [`HashLength::is_of_words`].
    #[must_use]
    #[inline(always)]
    pub fn identity_of(
        &self,
        length: &HashLength,
        outer: [[u64; 2]; 2],
        inner: Option<[[u64; 2]; 2]>,
    ) -> Identity {
        Identity(short_hash(length, outer, inner, &self.mixed))
    }
}

const PRIME_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME_4: u64 = 0x85eb_ca77_c2b2_ae63;
const PRIME_MX: u64 = 0x1656_6791_9e37_79f9;

/// The first eight words of XXH3's secret, as [`SEED`] changes them.
const SECRET: [u64; 8] = {
    // Bytes 0 to 63 of `kSecret`, little endian.
    let plain: [u64; 8] = [
        0xbe4b_a423_396c_feb8,
        0x1cad_21f7_2c81_017c,
        0xdb97_9083_e96d_d4de,
        0x1f67_b3b7_a4a4_4072,
        0x78e5_c0cc_4ee6_79cb,
        0x2172_ffcc_7dd0_5a82,
        0x8e24_43f7_7446_08b8,
        0x4c26_3a81_e690_35e0,
    ];
    let mut secret = plain;
    let mut at = 0;
    while at < secret.len() {
        secret[at] = plain[at].wrapping_add(SEED);
        secret[at + 1] = plain[at + 1].wrapping_sub(SEED);
        at += 2;
    }
    secret
};

/// Two words from a place on that is below 64.
#[inline(always)]
fn two(bytes: &[u8; SHORT_PARTS_BYTES], at: usize) -> [u64; 2] {
    let at = at & 63;
    let both = bytes[at..at + 16].first_chunk().copied().map_or(0, u128::from_le_bytes);
    [both as u64, (both >> 64) as u64]
}

/// XXH3's `mix32B`.
#[inline(always)]
fn mix_two(low: u64, high: u64, [head, tail]: [[u64; 2]; 2], [a, b, c, d]: [u64; 4]) -> (u64, u64) {
    let folded = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let of_head = folded(head[0] ^ a, head[1] ^ b);
    let of_tail = folded(tail[0] ^ c, tail[1] ^ d);
    (
        low.wrapping_add(of_head) ^ tail[0].wrapping_add(tail[1]),
        high.wrapping_add(of_tail) ^ head[0].wrapping_add(head[1]),
    )
}

/// XXH3's 128 bits of 17 to 64 bytes with [`SEED`], in line: a call of the general function costs
/// as much again.
#[inline(always)]
fn short_hash(
    length: &HashLength,
    outer: [[u64; 2]; 2],
    inner: Option<[[u64; 2]; 2]>,
    mixed: &Mixed,
) -> u128 {
    let [a, b, c, d, e, f, g, h] = mixed.secret;
    let [prime_1, prime_4, prime_mx] = mixed.primes;
    let (mut low, mut high) = (length.first, 0);
    if let Some(inner) = inner {
        (low, high) = mix_two(low, high, inner, [e, f, g, h]);
    }
    (low, high) = mix_two(low, high, outer, [a, b, c, d]);
    let avalanche = |hash: u64| {
        let hash = (hash ^ hash >> 37).wrapping_mul(prime_mx);
        hash ^ hash >> 32
    };
    let sum = low.wrapping_add(high);
    let other = (low.wrapping_mul(prime_1))
        .wrapping_add(high.wrapping_mul(prime_4))
        .wrapping_add(length.last);
    u128::from(avalanche(sum)) | u128::from(avalanche(other).wrapping_neg()) << 64
}

/// An id that begins with time: 48 bits of milliseconds, 80 bits of hash, printed as 26 characters
/// of Crockford's base 32 (the ULID form), so that text order is time order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimedId(pub u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl TimedId {
    /// From the event time (clamped to 1970 … 10889) and the low 80 bits of a hash.
    #[must_use]
    pub fn new(at: EventTime, hash: u128) -> Self {
        let ms = at.millis().clamp(0, (1 << 48) - 1) as u128;
        Self(ms << 80 | hash & ((1 << 80) - 1))
    }

    /// The 26-character form.
    #[must_use]
    pub fn text(self) -> [u8; 26] {
        let mut text = [0; 26];
        // Words of 60 bits: a shift of all 128 for each character is twice the work.
        let mut put = |from: usize, to: usize, mut word: u64| {
            for byte in text[from..to].iter_mut().rev() {
                *byte = CROCKFORD[(word & 31) as usize];
                word >>= 5;
            }
        };
        put(14, 26, self.0 as u64);
        put(2, 14, (self.0 >> 60) as u64);
        put(0, 2, (self.0 >> 120) as u64);
        text
    }

    /// Parses the 26-character form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 26 {
            return None;
        }
        text.bytes()
            .try_fold(0_u128, |value, byte| {
                let digit = CROCKFORD.iter().position(|c| *c == byte.to_ascii_uppercase())?;
                (value >> 123 == 0).then_some(value << 5 | digit as u128)
            })
            .map(Self)
    }
}

impl fmt::Display for TimedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

impl serde::Serialize for TimedId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TimedId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("not an id: {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let a = Identity::new(b"ab", b"c", b"1", None);
        assert_ne!(a, Identity::new(b"a", b"bc", b"1", None));
        assert_ne!(a, Identity::new(b"ab", b"c", b"1", Some(EventTime(0))));
        let mut short = ShortParts::default();
        // Whatever way a part of a certain length is written, it is the same hash.
        for (f, d, i) in (0..40).flat_map(|f| (0..40).map(move |d| (f, d, (f * 7 + d) % 50))) {
            let text = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
            let parts = [&text[..f], &text[5..5 + d], &text[9..9 + i]];
            for time in [None, Some(EventTime(-3))] {
                let mut whole = Vec::new();
                for part in parts {
                    whole.extend_from_slice(&(part.len() as u32).to_le_bytes());
                    whole.extend_from_slice(part);
                }
                whole.extend(time.iter().flat_map(|t| t.0.to_le_bytes()));
                let [feed, device, id] = parts;
                let identity = Identity::new(feed, device, id, time);
                assert_eq!(identity.0, Digest::of(&whole));
                if parts.iter().all(|part| part.len() <= ShortParts::PART_MAX) {
                    let mut end = 0;
                    for part in parts {
                        let mut bytes = [b'#'; ShortParts::PART_MAX];
                        bytes[..part.len()].copy_from_slice(part);
                        end = short.part(end, &bytes, part.len());
                    }
                    time.iter().for_each(|t| end = short.time(end, *t));
                    assert_eq!(short.identity(end), identity, "{f} {d} {i}");
                }
            }
        }
        let long = [b'x'; 400];
        assert_ne!(
            Identity::new(b"f", b"d", &long, None),
            Identity::new(b"f", b"d", &long[1..], None)
        );
    }

    #[test]
    fn short_and_long_digests_are_of_the_bytes_of_all_parts() {
        let text = b"abcdefghijklmnopqrstuvwxyz".repeat(20);
        for len in [0, 1, 100, 219, 220, 221, 240, 500] {
            let mut bytes = 7_u128.to_le_bytes().to_vec();
            bytes.extend_from_slice(&(len as u32).to_le_bytes());
            bytes.extend_from_slice(&text[..len]);
            let digest = Digest::default().number(7).part(&text[..len]);
            assert_eq!(digest.finish(), Digest::of(&bytes), "{len}");
            bytes.extend_from_slice(&9_u128.to_le_bytes());
            assert_eq!(digest.number(9).finish(), Digest::of(&bytes), "{len}");
        }
    }

    #[test]
    fn derived_ids_are_these_for_ever() {
        // These values are stored in customers' databases: this test may never be rewritten.
        assert_eq!(
            Identity::new(b"badge", b"reader-1", b"42", None),
            Identity(Digest::of(b"\x05\0\0\0badge\x08\0\0\0reader-1\x02\0\0\x0042"))
        );
        let id = TimedId::new(EventTime::from_millis(1_700_000_000_000), 7);
        assert_eq!(id.to_string(), "01HF7YAT000000000000000007");
        assert_eq!(TimedId::parse(&id.to_string()), Some(id));
        assert_eq!(TimedId::parse("not an id"), None);
    }
}
