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
use super::sixteen::Sixteen;
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
    #[inline(always)]
    pub fn int(&self) -> i64 {
        self.bits as i64
    }
}

/// The places of a payload by register, and one for all that is not wanted.
type Places = [Place; REGISTERS_MAX + 1];

/// Room for one payload after another.
pub(super) struct Room {
    /// The payload with zeros behind it, so that whole words can be read anywhere in it.
    padded: Vec<u8>,
    places: Box<Places>,
}

impl Default for Room {
    fn default() -> Self {
        let places = Box::new([Place::of(Kind::Bool, 0); REGISTERS_MAX + 1]);
        Self { padded: Vec::new(), places }
    }
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
    #[inline(always)]
    pub fn read(
        payload: &'a [u8],
        shapes: &Shapes,
        symbols: &SymbolCache,
        room: &'a mut Room,
    ) -> Option<Self> {
        // Places are 32 bits wide, and reading on behind the end is still counted in them.
        if payload.len() > u32::MAX as usize / 2 {
            return None;
        }
        let Room { padded, places } = room;
        let len = payload.len();
        if padded.len() < len + 16 {
            padded.resize(len + 16, 0);
        }
        padded[..len].copy_from_slice(payload);
        if let Some(behind) = padded[len..].first_chunk_mut::<16>() {
            *behind = [0; 16];
        }
        let mut scan =
            Scan { bytes: &padded[..len + 16], shapes, symbols, places, present: 0, not_ascii: 0 };
        scan.whole(len)?;
        let present = scan.present;
        // Keys are known to be UTF-8, and whatever else is no text is ASCII.
        if scan.not_ascii != 0 {
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

    /// Those of `registers` that the payload has.
    #[inline(always)]
    pub fn each(&self, registers: u64) -> impl Iterator<Item = (usize, &'a Place)> {
        let (places, mut left) = (self.places, self.present & registers);
        std::iter::from_fn(move || {
            let register = left.trailing_zeros() as usize;
            left &= left.checked_sub(1)?;
            Some((register, &places[register % (REGISTERS_MAX + 1)]))
        })
    }

    /// A text or a number as it stands in the payload.
    #[inline(always)]
    pub fn bytes(&self, place: &Place) -> &'a [u8] {
        &self.payload[place.from as usize..place.to as usize]
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

/// Of so many bytes the bits of each: what a text of that length leaves of sixteen.
const FIRST: [[u64; 2]; 16] = {
    let mut first = [[0; 2]; 16];
    let mut len = 1;
    while len < 16 {
        first[len] = first[len - 1];
        first[len][(len - 1) / 8] |= 0xFF << (8 * ((len - 1) % 8));
        len += 1;
    }
    first
};

/// The value of the first `count` digits of a word, one to eight.
#[inline(always)]
fn value_of(word: u64, count: u32) -> u64 {
    // The digits go to the top, zeros in front of them: pairs, fours, eight.
    let values = (word ^ (b'0' as u64 * ONES)) << (64 - 8 * count);
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(100 + (1_000_000 << 32));
    let high = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(1 + (10_000 << 32));
    low.wrapping_add(high) >> 32
}

/// The digits of a number, at most sixteen: how many, and their value.
#[inline(always)]
fn digits(bytes: Sixteen) -> (u32, u64) {
    let [low, high] = bytes.words();
    let count = (bytes.others() | 1 << 16).trailing_zeros();
    let value = match count {
        0 => 0,
        1..=8 => value_of(low, count),
        _ => value_of(low, 8) * POWERS[(count as usize - 8) & 15] + value_of(high, count - 8),
    };
    (count, value)
}

/// Powers of ten; the last is never read.
const POWERS: [u64; 16] = {
    let mut powers = [1; 16];
    let mut place = 1;
    while place < 16 {
        powers[place] = powers[place - 1] * 10;
        place += 1;
    }
    powers
};

/// Powers of ten that a double holds exactly, as far as digits of a fraction may go.
const TENS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The byte at a place.
#[inline(always)]
fn byte(bytes: &[u8], at: u32) -> u8 {
    bytes.get(at as usize).copied().unwrap_or(0)
}

/// The key that stands here without a blank around it, and the place behind its colon.
#[inline(always)]
fn tight_key<'s>(bytes: &[u8], shapes: &'s Shapes, at: u32, keys: u32) -> Option<(&'s Step, u32)> {
    let head = Sixteen::at(bytes, at)?;
    let mut place = keys;
    loop {
        let step = shapes.step(place)?;
        if step.begins(head) && (step.len <= 16 || goes_on(bytes, shapes, place, at)) {
            return Some((step, at + u32::from(step.len)));
        }
        place = step.beside;
    }
}

/// Whether a key longer than sixteen bytes stands here.
#[inline(never)]
fn goes_on(bytes: &[u8], shapes: &Shapes, place: u32, at: u32) -> bool {
    bytes.get(at as usize..).is_some_and(|rest| rest.starts_with(shapes.tight(place)))
}

struct Scan<'a> {
    /// Padded.
    bytes: &'a [u8],
    shapes: &'a Shapes,
    symbols: &'a SymbolCache,
    places: &'a mut Places,
    present: u64,
    /// Not zero where some text is not ASCII, or what stands near it.
    not_ascii: u32,
}

impl<'a> Scan<'a> {
    /// One object, and nothing behind it.
    fn whole(&mut self, len: usize) -> Option<()> {
        let at = self.solid(0);
        if byte(self.bytes, at) != b'{' {
            return None;
        }
        let at = self.object(at + 1, self.shapes.first(), 1)?;
        (at as usize == len || self.skip_blanks(at) as usize == len).then_some(())
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
        // Kept here, they need not be read again after every value.
        let (bytes, shapes) = (self.bytes, self.shapes);
        let (mut at, mut keys) = (at, keys);
        loop {
            let (step, value) = match tight_key(bytes, shapes, at, keys) {
                Some(found) => found,
                None => {
                    let end = self.solid(at);
                    if byte(self.bytes, end) == b'}' {
                        return Some(end + 1);
                    }
                    // No value ends with a brace that opens.
                    let opened = byte(self.bytes, at - 1) == b'{';
                    self.loose_key(shapes, end, keys, opened)?
                }
            };
            keys = step.after;
            at = match byte(bytes, value) {
                b'"' => self.text(bytes, value + 1, step)?,
                b'0'..=b'9' => self.number(bytes, value, value, step)?,
                _ => self.rare_value(value, step, depth)?,
            };
        }
    }

    /// The key that stands here with blanks around comma, key and colon.
    #[inline(never)]
    fn loose_key<'s>(
        &self,
        shapes: &'s Shapes,
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
            let (step, key) = (shapes.step(place)?, shapes.key(place));
            if rest.starts_with(key) {
                let colon = self.solid(at + key.len() as u32);
                return (byte(self.bytes, colon) == b':').then_some((step, colon + 1));
            }
            place = step.beside;
        }
    }

    /// Writes a value down.
    #[inline(always)]
    fn put(&mut self, step: &Step) -> &mut Place {
        self.present |= step.bit;
        &mut self.places[step.register as usize % (REGISTERS_MAX + 1)]
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
            b'"' => return self.text(self.bytes, at + 1, step),
            b'0'..=b'9' => return self.number(self.bytes, at, at, step),
            b'-' => return self.number(self.bytes, at, at + 1, step),
            b't' => (Place::of(Kind::Bool, 1), word("true")?),
            b'f' => (Place::of(Kind::Bool, 0), word("false")?),
            // As if it were not there.
            b'n' => return word("null"),
            b'{' => (Place::of(Kind::Compound, 0), self.object(at + 1, step.inside, depth + 1)?),
            b'[' => (Place::of(Kind::Compound, 0), self.array(at + 1, step, depth + 1)?),
            _ => return None,
        };
        *self.put(step) = place;
        Some(after)
    }

    /// An array behind its bracket: no path leads into it.
    fn array(&mut self, at: u32, step: &Step, depth: usize) -> Option<u32> {
        if depth > SCAN_DEPTH_MAX {
            return None;
        }
        let outside = self.present;
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
        self.present = outside;
        Some(at + 1)
    }

    /// A text without escapes behind its opening quote.
    #[inline(always)]
    fn text(&mut self, bytes: &[u8], from: u32, step: &Step) -> Option<u32> {
        let some = Sixteen::at(bytes, from)?;
        let stops = some.stops();
        if stops == 0 {
            return self.long_text(from, step);
        }
        self.not_ascii |= some.high();
        let len = stops.trailing_zeros();
        let to = from + len;
        if byte(bytes, to) != b'"' {
            return None;
        }
        let mut symbol = Symbol::UNKNOWN;
        if step.named {
            let ([low, high], first) = (some.words(), FIRST[len as usize & 15]);
            symbol = self.symbols.look_words([low & first[0], high & first[1]], len);
        }
        self.put_text(step, symbol, from, to);
        Some(to + 1)
    }

    /// One of sixteen bytes and more.
    #[inline(never)]
    fn long_text(&mut self, from: u32, step: &Step) -> Option<u32> {
        let mut to = from;
        loop {
            let some = Sixteen::at(self.bytes, to)?;
            self.not_ascii |= some.high();
            let stops = some.stops();
            if stops != 0 {
                to += stops.trailing_zeros();
                break;
            }
            to += 16;
        }
        if byte(self.bytes, to) != b'"' {
            return None;
        }
        let text = self.bytes.get(from as usize..to as usize)?;
        let symbol = if step.named { self.symbols.look(text) } else { Symbol::UNKNOWN };
        self.put_text(step, symbol, from, to);
        Some(to + 1)
    }

    #[inline(always)]
    fn put_text(&mut self, step: &Step, symbol: Symbol, from: u32, to: u32) {
        // The bits of a text are never looked at.
        let place = self.put(step);
        (place.kind, place.symbol, place.from, place.to) = (Kind::Text, symbol, from, to);
    }

    /// A number whose digits begin at `first`, of at most 15 digits with a fraction and 18 without:
    /// the double and the integer are exact.
    #[inline(always)]
    fn number(&mut self, bytes: &[u8], from: u32, first: u32, step: &Step) -> Option<u32> {
        let (mut count, mut whole) = digits(Sixteen::at(bytes, first)?);
        if count == 16 {
            (count, whole) = self.more_digits(first, whole)?;
        }
        let to = first + count;
        // A sign without a number, a zero in front; and simd-json's zero has no sign: let it say so.
        let leads = count > 1 && byte(bytes, first) == b'0';
        let point = byte(bytes, to) == b'.';
        if count == 0 || leads || first > from && whole == 0 && !point {
            return None;
        }
        if point {
            return self.fraction(from, first, to, whole, step);
        }
        // What follows is looked at as what follows a value: an exponent does not.
        let bits = if first > from { -(whole as i64) as u64 } else { whole };
        *self.put(step) = Place { kind: Kind::Int, symbol: Symbol::UNKNOWN, from, to, bits };
        Some(to)
    }

    /// Goes on behind sixteen digits; `None` past eighteen.
    #[inline(never)]
    fn more_digits(&self, first: u32, whole: u64) -> Option<(u32, u64)> {
        let (count, more) = digits(Sixteen::at(self.bytes, first + 16)?);
        (count <= 2).then(|| (16 + count, whole * POWERS[count as usize & 15] + more))
    }

    #[inline(never)]
    fn fraction(
        &mut self,
        from: u32,
        first: u32,
        point: u32,
        whole: u64,
        step: &Step,
    ) -> Option<u32> {
        let (places, part) = digits(Sixteen::at(self.bytes, point + 1)?);
        let (count, to) = (point - first + places, point + 1 + places);
        if places == 0 || count > 15 || matches!(byte(self.bytes, to), b'e' | b'E') {
            return None;
        }
        let value = whole * POWERS[places as usize & 15] + part;
        let magnitude = value as f64 / TENS[places as usize & 15];
        let value = if first > from { -magnitude } else { magnitude };
        let bits = value.to_bits();
        *self.put(step) = Place { kind: Kind::Float, symbol: Symbol::UNKNOWN, from, to, bits };
        Some(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_like_a_number() {
        for byte in (0..=255_u8).filter(|b| !b.is_ascii_digit()) {
            for place in 0..17 {
                let mut bytes = *b"98705612345678901";
                bytes[place] = byte;
                let text: String = bytes
                    .iter()
                    .take(16)
                    .take_while(|b| b.is_ascii_digit())
                    .map(|b| *b as char)
                    .collect();
                let wanted = (text.len() as u32, text.parse().unwrap_or(0));
                assert_eq!(Sixteen::at(&bytes, 0).map(digits), Some(wanted), "{bytes:?}");
            }
        }
        assert_eq!(FIRST[9], [!0, 0xFF]);
    }
}
