//! The fast road over a JSON payload: one pass along the keys that payloads of this mapping are
//! known to have, which writes down where each wanted value stands, and which symbol it is.
//!
//! It accepts nothing that it is not sure of. Escapes, exponents, numbers past 18 digits, an
//! unknown key or order of keys, deep nesting and every fault of the grammar end the scan, and
//! simd-json decides about the delivery. Keys are unique because the shapes are: each came from a
//! payload in which simd-json's road found no key twice.
//!
//! Names are looked up as they are met: the memory that they stand in is waited for while the scan
//! goes on. A look-up keeps nothing, so what is never asked for is never interned.

use event::{Symbol, SymbolCache};

use super::document::{Document, Raw};
use super::shapes::{Shapes, Step};
use crate::limits::{REGISTERS_MAX, SCAN_DEPTH_MAX};
use crate::mapping::{PathId, PathTree};

/// A value where a path of the mapping led to one.
/// Plain words instead of an enum with contents: it passes in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub kind: Kind,
    /// Of a text whose name is wanted, when it is known.
    pub symbol: Symbol,
    /// Where it stands: a text without its quotes, or a number.
    from: u32,
    to: u32,
    /// An integer, a double's bits or a boolean.
    bits: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Float,
    Bool,
    Compound,
}

impl Place {
    const fn of(kind: Kind, bits: u64) -> Self {
        Self { kind, symbol: Symbol::UNKNOWN, from: 0, to: 0, bits }
    }

    /// The value of an integer.
    pub fn int(&self) -> i64 {
        self.bits as i64
    }
}

/// The places of a payload by register, and one for all that is not wanted.
pub(super) type Places = [Place; REGISTERS_MAX + 1];

/// Room for the values of one payload after another.
pub(super) fn room() -> Box<Places> {
    Box::new([Place::of(Kind::Bool, 0); REGISTERS_MAX + 1])
}

/// A payload that was scanned.
#[derive(Clone, Copy)]
pub(super) struct Scanned<'a> {
    /// UTF-8.
    payload: &'a [u8],
    /// By register; stale where `present` has no bit.
    places: &'a Places,
    pub present: u64,
}

impl<'a> Scanned<'a> {
    /// Scans a payload; `None` leaves it to simd-json.
    #[inline]
    pub fn read(
        payload: &'a [u8],
        shapes: &Shapes,
        symbols: &SymbolCache,
        places: &'a mut Places,
    ) -> Option<Self> {
        // Places are 32 bits wide, and reading on behind the end is still counted in them.
        if payload.len() > u32::MAX as usize / 2 {
            return None;
        }
        let mut scan = Scan {
            bytes: payload,
            steps: shapes.steps(),
            symbols,
            places,
            present: 0,
            seen: 0,
            unwanted: 0,
        };
        scan.whole(shapes.first())?;
        let present = scan.present & !(1 << REGISTERS_MAX);
        // Keys are known to be UTF-8, and whatever else is no text is ASCII.
        if scan.seen & HIGHS != 0 {
            std::str::from_utf8(payload).ok()?;
        }
        Some(Self { payload, places, present })
    }

    /// The place of a register, if the payload has one.
    #[inline(always)]
    pub fn place(&self, register: u8) -> Option<&'a Place> {
        let register = register as usize % (REGISTERS_MAX + 1);
        (self.present >> register & 1 == 1).then(|| &self.places[register])
    }

    /// A text or a number as it stands in the payload.
    #[inline(always)]
    pub fn bytes(&self, place: &Place) -> &'a [u8] {
        self.payload.get(place.from as usize..place.to as usize).unwrap_or_default()
    }

    /// A text; all of the payload is UTF-8, and quotes cut no character.
    pub fn text(&self, place: &Place) -> &'a str {
        std::str::from_utf8(self.bytes(place)).unwrap_or_default()
    }

    /// The value at a place.
    pub fn raw(&self, place: &Place) -> Raw<'a> {
        match place.kind {
            Kind::Text => Raw::Text(self.text(place)),
            Kind::Int => Raw::Int(place.bits as i64),
            Kind::Float => Raw::Float(f64::from_bits(place.bits)),
            Kind::Bool => Raw::Bool(place.bits != 0),
            Kind::Compound => Raw::Compound,
        }
    }
}

impl Document for Scanned<'_> {
    fn at(&self, _: &[u32], path: PathId) -> Raw<'_> {
        self.place(path.0 as u8).map_or(Raw::Missing, |place| self.raw(place))
    }

    fn is_there(&self, _: &[u32], path: PathId) -> bool {
        self.place(path.0 as u8).is_some()
    }

    // A mapping that goes over elements has no fast road.
    fn value(&self, _: u32) -> Raw<'_> {
        Raw::Missing
    }

    fn elements(&self, _: u32, _: &mut Vec<u32>) {}

    fn fill(&self, _: &PathTree, _: u32, registers: &mut Vec<u32>) {
        registers.clear();
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x80 * ONES;

/// The eight bytes at a place, the first in the lowest; zeros stand behind the end, and a zero is
/// nothing that may stand in JSON. Places of 32 bits cannot overflow here, which saves a check.
#[inline(always)]
pub(super) fn eight(bytes: &[u8], at: u32) -> u64 {
    let from = at as usize;
    match bytes.get(from..from + 8).and_then(|some| some.first_chunk()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => tail(bytes, from),
    }
}

/// The same where fewer than eight are left: once or twice in every payload.
#[inline(never)]
fn tail(bytes: &[u8], at: usize) -> u64 {
    if let Some(last) = bytes.last_chunk() {
        let beyond = at + 8 - bytes.len();
        return u64::from_le_bytes(*last).checked_shr(8 * beyond as u32).unwrap_or(0);
    }
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The sixteen bytes at a place.
#[inline(always)]
pub(super) fn sixteen(bytes: &[u8], at: u32) -> [u64; 2] {
    let from = at as usize;
    match bytes.get(from..from + 16).and_then(|some| some.first_chunk()) {
        Some(chunk) => {
            let both = u128::from_le_bytes(*chunk);
            [both as u64, (both >> 64) as u64]
        }
        None => tails(bytes, at),
    }
}

#[inline(never)]
fn tails(bytes: &[u8], at: u32) -> [u64; 2] {
    [eight(bytes, at), eight(bytes, at + 8)]
}

/// The high bit of each byte that is zero. Above the lowest such byte others may seem so too.
#[inline(always)]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The high bit of each byte at which a text ends or is not plain: quote, backslash, control
/// character. Exact in its lowest bit.
#[inline(always)]
fn stops(word: u64) -> u64 {
    let control = word.wrapping_sub(0x20 * ONES) & !word & HIGHS;
    zeros(word ^ (b'"' as u64 * ONES)) | zeros(word ^ (b'\\' as u64 * ONES)) | control
}

/// Up to eight digits at the beginning of a word: how many, and their value.
#[inline(always)]
fn digits(word: u64) -> (usize, u64) {
    let values = word ^ (b'0' as u64 * ONES);
    // A byte above nine has its high bit after the sum; a carry falls only above the first such.
    let others = (values.wrapping_add(0x76 * ONES) | values) & HIGHS;
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    // The digits go to the top, zeros in front of them: pairs, fours, eight.
    let values = values << (64 - 8 * count);
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(100 + (1_000_000 << 32));
    let high = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(1 + (10_000 << 32));
    (count, low.wrapping_add(high) >> 32)
}

const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Powers of ten that a double holds exactly, as far as digits of a fraction may go.
const TENS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The byte at a place; a zero behind the end.
#[inline(always)]
fn byte(bytes: &[u8], at: u32) -> u8 {
    bytes.get(at as usize).copied().unwrap_or(0)
}

struct Scan<'a> {
    bytes: &'a [u8],
    steps: &'a [Step],
    symbols: &'a SymbolCache,
    places: &'a mut Places,
    present: u64,
    /// All bytes of texts, one over the other: a high bit says that not all are ASCII.
    seen: u64,
    /// [`Step::UNWANTED`] inside an array, where paths do not lead.
    unwanted: u8,
}

impl Scan<'_> {
    /// One object, and nothing behind it.
    fn whole(&mut self, keys: u32) -> Option<()> {
        let at = self.solid(0);
        if byte(self.bytes, at) != b'{' {
            return None;
        }
        let at = self.object(at + 1, keys, 1)?;
        (self.solid(at) as usize == self.bytes.len()).then_some(())
    }

    /// The next place from `at` on that is no blank.
    #[inline(always)]
    fn solid(&self, at: u32) -> u32 {
        if byte(self.bytes, at) > b' ' { at } else { self.skip_blanks(at) }
    }

    #[inline(never)]
    fn skip_blanks(&self, at: u32) -> u32 {
        let rest = self.bytes.get(at as usize..).unwrap_or_default();
        let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
        at + blanks.count() as u32
    }

    /// An object behind its brace, with `keys` the first of the keys it may begin with; the place
    /// behind it.
    fn object(&mut self, at: u32, keys: u32, depth: usize) -> Option<u32> {
        if depth > SCAN_DEPTH_MAX {
            return None;
        }
        let steps = self.steps;
        let (mut at, mut keys, mut opened) = (at, keys, true);
        loop {
            let (step, value) = match self.tight_key(steps, at, keys) {
                Some(found) => found,
                None => {
                    let at = self.solid(at);
                    if byte(self.bytes, at) == b'}' {
                        return Some(at + 1);
                    }
                    self.loose_key(steps, at, keys, opened)?
                }
            };
            (opened, keys) = (false, step.after);
            at = match byte(self.bytes, value) {
                b'"' => self.text(value + 1, step)?,
                b'-' | b'0'..=b'9' => self.number(value, step)?,
                _ => self.rare_value(value, step, depth)?,
            };
        }
    }

    /// The key that stands here without a blank around it, and the place behind its colon.
    #[inline(always)]
    fn tight_key<'s>(&self, steps: &'s [Step], at: u32, keys: u32) -> Option<(&'s Step, u32)> {
        let word = sixteen(self.bytes, at);
        let mut place = keys;
        loop {
            let step = steps.get(place as usize)?;
            if step.begins(word) && step.goes_on(self.bytes, at) {
                return Some((step, at + u32::from(step.len)));
            }
            place = step.beside;
        }
    }

    /// The same with blanks around comma, key and colon.
    #[inline(never)]
    fn loose_key<'s>(
        &self,
        steps: &'s [Step],
        at: u32,
        keys: u32,
        opened: bool,
    ) -> Option<(&'s Step, u32)> {
        let mut at = at;
        if !opened {
            if byte(self.bytes, at) != b',' {
                return None;
            }
            at = self.solid(at + 1);
        }
        let rest = self.bytes.get(at as usize..)?;
        let mut place = keys;
        loop {
            let step = steps.get(place as usize)?;
            if rest.starts_with(step.key()) {
                let colon = self.solid(at + step.key().len() as u32);
                return (byte(self.bytes, colon) == b':').then_some((step, colon + 1));
            }
            place = step.beside;
        }
    }

    /// Writes a value down.
    #[inline(always)]
    fn put(&mut self, step: &Step, place: Place) {
        let register = (step.register | self.unwanted) as usize % (REGISTERS_MAX + 1);
        self.present |= 1 << register;
        self.places[register] = place;
    }

    /// Any value, with blanks in front or without; the place behind it.
    #[inline(never)]
    fn rare_value(&mut self, at: u32, step: &Step, depth: usize) -> Option<u32> {
        let at = self.solid(at);
        let word = |word: &str| {
            let rest = self.bytes.get(at as usize..)?;
            rest.starts_with(word.as_bytes()).then_some(at + word.len() as u32)
        };
        let (place, after) = match byte(self.bytes, at) {
            b'"' => return self.text(at + 1, step),
            b'-' | b'0'..=b'9' => return self.number(at, step),
            b't' => (Place::of(Kind::Bool, 1), word("true")?),
            b'f' => (Place::of(Kind::Bool, 0), word("false")?),
            // As if it were not there.
            b'n' => return word("null"),
            b'{' => (Place::of(Kind::Compound, 0), self.object(at + 1, step.inside, depth + 1)?),
            b'[' => (Place::of(Kind::Compound, 0), self.array(at + 1, step, depth + 1)?),
            _ => return None,
        };
        self.put(step, place);
        Some(after)
    }

    /// An array behind its bracket: no path leads into it.
    fn array(&mut self, at: u32, step: &Step, depth: usize) -> Option<u32> {
        if depth > SCAN_DEPTH_MAX {
            return None;
        }
        let outside = std::mem::replace(&mut self.unwanted, Step::UNWANTED);
        let mut at = self.solid(at);
        if byte(self.bytes, at) != b']' {
            loop {
                at = self.rare_value(at, step, depth)?;
                at = self.solid(at);
                match byte(self.bytes, at) {
                    b',' => at += 1,
                    b']' => break,
                    _ => return None,
                }
            }
        }
        self.unwanted = outside;
        Some(at + 1)
    }

    /// A text without escapes behind its opening quote.
    #[inline(always)]
    fn text(&mut self, from: u32, step: &Step) -> Option<u32> {
        let word = eight(self.bytes, from);
        self.seen |= word;
        let stop = stops(word);
        if stop == 0 {
            return self.long_text(from, step);
        }
        let len = stop.trailing_zeros() / 8;
        let to = from + len;
        if byte(self.bytes, to) != b'"' {
            return None;
        }
        let mut symbol = Symbol::UNKNOWN;
        if step.named {
            // The bits below the lowest of `stop`, less seven: the bytes in front of it.
            symbol = self.symbols.look_word(word & (((stop & stop.wrapping_neg()) >> 7) - 1), len);
        }
        self.put(step, Place { kind: Kind::Text, symbol, from, to, bits: 0 });
        Some(to + 1)
    }

    /// One of eight bytes and more.
    #[inline(never)]
    fn long_text(&mut self, from: u32, step: &Step) -> Option<u32> {
        let mut to = from + 8;
        loop {
            let word = eight(self.bytes, to);
            self.seen |= word;
            let stop = stops(word);
            if stop != 0 {
                to += stop.trailing_zeros() / 8;
                break;
            }
            to += 8;
        }
        if byte(self.bytes, to) != b'"' {
            return None;
        }
        let mut symbol = Symbol::UNKNOWN;
        if step.named {
            symbol = self.symbols.look(self.bytes.get(from as usize..to as usize)?);
        }
        self.put(step, Place { kind: Kind::Text, symbol, from, to, bits: 0 });
        Some(to + 1)
    }

    /// A number of at most 18 digits, or 15 with a fraction: the integer and the double are exact.
    #[inline(always)]
    fn number(&mut self, from: u32, step: &Step) -> Option<u32> {
        let negative = byte(self.bytes, from) == b'-';
        let digits = from + u32::from(negative);
        let (to, whole) = more_digits(self.bytes, digits, digits, 0)?;
        if to == digits || to > digits + 1 && byte(self.bytes, digits) == b'0' {
            return None;
        }
        match byte(self.bytes, to) {
            b'.' => return self.fraction(from, digits, to, whole, step),
            b'e' | b'E' => return None,
            // simd-json's zero has no sign: let it say so.
            _ if negative && whole == 0 => return None,
            _ => {}
        }
        let value = whole as i64;
        let bits = if negative { -value } else { value } as u64;
        self.put(step, Place { kind: Kind::Int, symbol: Symbol::UNKNOWN, from, to, bits });
        Some(to)
    }

    #[inline(never)]
    fn fraction(
        &mut self,
        from: u32,
        digits: u32,
        point: u32,
        whole: u64,
        step: &Step,
    ) -> Option<u32> {
        // The digits in front of the point count, the point does not.
        let (to, value) = more_digits(self.bytes, digits + 1, point + 1, whole)?;
        let (places, count) = (to - point - 1, to - digits - 1);
        if places == 0 || count > 15 || matches!(byte(self.bytes, to), b'e' | b'E') {
            return None;
        }
        let magnitude = value as f64 / TENS[places as usize];
        let value = if digits > from { -magnitude } else { magnitude };
        let bits = value.to_bits();
        self.put(step, Place { kind: Kind::Float, symbol: Symbol::UNKNOWN, from, to, bits });
        Some(to)
    }
}

/// Goes on at `at` with a number whose digits began at `from`; `None` past eighteen.
#[inline(always)]
fn more_digits(bytes: &[u8], from: u32, at: u32, value: u64) -> Option<(u32, u64)> {
    let (mut at, mut value) = (at, value);
    loop {
        let (more, part) = digits(eight(bytes, at));
        at += more as u32;
        if at - from > 18 {
            return None;
        }
        value = value * POWERS[more] + part;
        if more < 8 {
            return Some((at, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_eight_are_read_like_bytes() {
        for byte in 0..=255_u8 {
            for place in 0..8 {
                let mut bytes = *b"abcdefgh";
                bytes[place] = byte;
                let stop = stops(eight(&bytes, 0)).trailing_zeros() as usize / 8;
                let wanted = bytes.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
                assert_eq!(stop, wanted.unwrap_or(8), "{bytes:?}");
                let mut bytes = *b"98705612";
                bytes[place] = byte;
                let text: String =
                    bytes.iter().take_while(|b| b.is_ascii_digit()).map(|b| *b as char).collect();
                let wanted = (text.len(), text.parse().unwrap_or(0));
                assert_eq!(digits(eight(&bytes, 0)), wanted, "{bytes:?}");
                let cut = u64::from_le_bytes(bytes) & !(u64::MAX << (8 * place));
                assert_eq!(eight(&bytes[..place], 0), cut);
            }
        }
        let text = b"abcdefghijklmnopqrst";
        for at in 0..text.len() + 20 {
            let mut cut = [0; 16];
            text.iter().skip(at).zip(&mut cut).for_each(|(from, to)| *to = *from);
            assert_eq!(sixteen(text, at as u32), sixteen(&cut, 0), "{at}");
        }
        assert_eq!(eight(b"", 0), 0);
        assert_eq!(sixteen(b"123456789", 0), [eight(b"12345678", 0), u64::from(b'9')]);
    }
}
