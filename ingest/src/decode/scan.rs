//! The fast road over a JSON payload: one pass along the keys that payloads of this mapping are
//! known to have, which writes down where each wanted value stands, and which symbol it is.
//!
//! It accepts nothing that it is not sure of. Escapes, exponents, numbers past 18 digits, an
//! unknown key or order of keys, deep nesting and every fault of the grammar end the scan, and
//! simd-json decides about the delivery. Keys are unique because the shapes are: each came from a
//! payload in which simd-json's road found no key twice.
//!
//! A key is compared together with what is between it and the values on both of its sides, a text's
//! quotes among it: so a text's closing quote is looked at by who compares what comes next. Keys
//! and values written otherwise go to [`Scan::turn`].
//!
//! Names are looked up as they are met: the memory that they stand in is waited for while the scan
//! goes on. A look-up keeps nothing, so what is never asked for is never interned.

use event::{RecordRef, Symbol, SymbolCache};

use super::document::{Document, Raw};
use super::shapes::{Awaited, Shapes, Step, tight};
use super::sixteen::{Sixteen, WINDOW, Window};
use crate::limits::SCAN_DEPTH_MAX;
use crate::mapping::{PathId, PathTree};

/// A value where a path of the mapping led to one.
/// Plain words instead of an enum with contents: it passes in registers.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct Place {
    /// An integer, a double's bits or a boolean.
    bits: u64,
    /// Of a text whose name is wanted, when it is known.
    pub symbol: Symbol,
    /// Where it stands: a text without its quotes, or a number.
    from: u32,
    to: u32,
    pub kind: Kind,
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

    /// Where it begins.
    #[inline(always)]
    pub fn from(&self) -> u32 {
        self.from
    }

    /// Makes it that of a text.
    #[inline(always)]
    pub fn put_text(&mut self, symbol: Symbol, from: u32, to: u32) {
        (self.symbol, self.from, self.to) = (symbol, from, to);
        self.kind = Kind::Text;
    }

    /// Makes it that of a whole number.
    #[inline(always)]
    pub fn put_int(&mut self, bits: u64, from: u32, to: u32) {
        (self.bits, self.from, self.to) = (bits, from, to);
        self.kind = Kind::Int;
    }

    /// Bytes of a text or a number.
    #[inline(always)]
    pub fn len(&self) -> usize {
        (self.to - self.from) as usize
    }
}

/// The places of a payload by register; that of `REGISTERS_MAX` is for all that is not wanted,
/// and those behind it spare a look at whether a register is one.
type Places = [Place; 256];

/// Room for one payload after another.
pub(super) struct Room {
    /// A payload with zeros behind it, where nothing else can be read there.
    padded: Vec<u8>,
    places: Box<Places>,
}

impl Default for Room {
    fn default() -> Self {
        let places = Box::new([Place::of(Kind::Bool, 0); 256]);
        Self { padded: Vec::new(), places }
    }
}

/// Registers that have a value, by what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Present {
    pub texts: u64,
    pub ints: u64,
    pub others: u64,
}

impl Present {
    /// Of any kind.
    #[inline(always)]
    pub fn all(self) -> u64 {
        self.texts | self.ints | self.others
    }
}

/// A payload that was scanned.
#[derive(Clone, Copy)]
pub(super) struct Scanned<'a> {
    /// UTF-8, as far as the payload goes, and bytes behind it.
    bytes: &'a [u8],
    /// By register; stale where `present` has no bit.
    places: &'a Places,
    pub present: Present,
}

impl<'a> Scanned<'a> {
    /// Scans a payload; `None` leaves it to simd-json.
    #[inline(always)]
    pub fn read(
        record: &RecordRef<'a>,
        shapes: &Shapes,
        symbols: &SymbolCache,
        room: &'a mut Room,
    ) -> Option<Self> {
        let Room { padded, places } = room;
        let len = record.payload.len();
        // Places are 32 bits wide, and reading on behind the end is still counted in them.
        if len > u32::MAX as usize / 2 {
            return None;
        }
        let bytes = match Self::beyond(record) {
            Some(bytes) => bytes,
            None => pad(record.payload, padded),
        };
        let mut scan =
            Scan { bytes, shapes, symbols, places, present: Present::default(), high: 0 };
        scan.whole(len)?;
        let present = scan.present;
        // Keys are known to be UTF-8, and whatever else is no text is ASCII.
        if scan.high != 0 {
            std::str::from_utf8(record.payload).ok()?;
        }
        Some(Self { bytes, places, present })
    }

    /// The payload with a window of bytes behind it, where that can be read.
    #[inline(always)]
    pub fn beyond(record: &RecordRef<'a>) -> Option<&'a [u8]> {
        record.room.get(..record.payload.len() + WINDOW)
    }

    /// The texts of `registers`.
    pub fn texts(&self, registers: u64) -> impl Iterator<Item = &'a Place> {
        self.each(registers & self.present.texts).map(|(_, place)| place)
    }

    /// The place of a register, if the payload has one.
    #[inline(always)]
    pub fn place(&self, register: u8) -> Option<&'a Place> {
        (self.present.all() >> (register & 63) & 1 == 1).then(|| self.at(register))
    }

    /// The place of a register that the payload has.
    #[inline(always)]
    pub fn at(&self, register: u8) -> &'a Place {
        &self.places[register as usize]
    }

    /// Those of `registers` that the payload has.
    #[inline(always)]
    pub fn each(&self, registers: u64) -> impl Iterator<Item = (usize, &'a Place)> {
        let (places, mut left) = (self.places, self.present.all() & registers);
        std::iter::from_fn(move || {
            let register = left.trailing_zeros() as usize;
            left &= left.checked_sub(1)?;
            Some((register, &places[register % places.len()]))
        })
    }

    /// A text or a number as it stands in the payload.
    #[inline(always)]
    pub fn bytes(&self, place: &Place) -> &'a [u8] {
        &self.bytes[place.from as usize..place.to as usize]
    }

    /// The same, and what follows it.
    #[inline(always)]
    pub fn chunk<const N: usize>(&self, place: &Place) -> Option<&'a [u8; N]> {
        let from = place.from as usize;
        self.bytes.get(from..from + N)?.first_chunk()
    }

    /// A text; all of the payload is UTF-8, and quotes cut no character.
    pub fn text(&self, place: &Place) -> &'a str {
        std::str::from_utf8(self.bytes(place)).unwrap_or_default()
    }

    /// What stands at a place of the payload, which `raw` is.
    #[inline(always)]
    pub fn within<'r>(&self, raw: &'r str, place: &Place) -> Option<&'r str> {
        raw.get(place.from as usize..place.to as usize)
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

/// The payload with zeros behind it.
#[inline(never)]
fn pad<'a>(payload: &[u8], padded: &'a mut Vec<u8>) -> &'a [u8] {
    padded.clear();
    padded.extend_from_slice(payload);
    padded.extend_from_slice(&[0; WINDOW]);
    padded
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
pub(super) const FIRST: [[u64; 2]; 16] = {
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
pub(super) fn value_of(word: u64, count: u32) -> u64 {
    // The digits go to the top, zeros in front of them: pairs, fours, eight.
    let values = (word ^ (b'0' as u64 * ONES)) << (64 - 8 * count);
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(100 + (1_000_000 << 32));
    let high = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(1 + (10_000 << 32));
    low.wrapping_add(high) >> 32
}

/// The digits of a number, at most sixteen: how many, and their value.
#[inline(always)]
pub(super) fn digits(bytes: Sixteen) -> (u32, u64) {
    let count = (bytes.others() | 1 << 16).trailing_zeros();
    (count, if count == 0 { 0 } else { number(bytes, count) })
}

/// The value of so many digits, one to sixteen.
#[inline(always)]
pub(super) fn number(bytes: Sixteen, count: u32) -> u64 {
    let [low, high] = bytes.words();
    if count <= 8 {
        return value_of(low, count);
    }
    value_of(low, 8) * POWERS[(count as usize - 8) & 15] + value_of(high, count - 8)
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

/// Where a scan goes on.
#[derive(Clone, Copy)]
struct On {
    /// The closing quote of a text, which nobody has looked at yet, or the place behind another
    /// value, or behind the brace that opens an object.
    at: u32,
    quote: bool,
    /// Whether the value was of the kind that was awaited, as what follows it takes for granted.
    usual: bool,
}

impl On {
    /// Behind a value that is no text.
    fn behind(at: u32, step: &Step) -> Self {
        Self { at, quote: false, usual: step.awaited != Awaited::Text }
    }

    /// At the closing quote of a text.
    fn quote(at: u32, step: &Step) -> Self {
        Self { at, quote: true, usual: step.awaited == Awaited::Text }
    }
}

/// What comes behind something unusual.
enum Next {
    /// The object has ended at a place.
    End(u32),
    /// One of the keys from this one on.
    Key(On, u32),
}

struct Scan<'a> {
    /// A window longer than the payload.
    bytes: &'a [u8],
    shapes: &'a Shapes,
    symbols: &'a SymbolCache,
    places: &'a mut Places,
    present: Present,
    /// Not zero where some text is not ASCII, or what stands near it.
    high: u32,
}

impl<'a> Scan<'a> {
    /// One object, and nothing behind it.
    #[inline(always)]
    fn whole(&mut self, len: usize) -> Option<()> {
        let at = self.solid(0);
        if byte(self.bytes, at) != b'{' {
            return None;
        }
        let at = self.object(at + 1, self.shapes.first(), 1)?;
        // Blanks may go on behind the payload, and so may what seemed to be in it.
        let at = at as usize;
        (at == len || at < len && self.skip_blanks(at as u32) as usize >= len).then_some(())
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
        let (bytes, steps) = (self.bytes, self.shapes.steps());
        let (mut at, mut quote, mut keys) = (at, false, keys);
        loop {
            let window = Window::at(bytes, at)?;
            let on = match tight(steps, window, keys) {
                None => On { at, quote, usual: false },
                Some(step) => {
                    keys = step.after;
                    let behind = u32::from(step.len);
                    let from = at + behind;
                    let value = window.sixteen(behind);
                    let stops = value.stops();
                    if step.awaited == Awaited::Text && stops != 0 {
                        let len = stops.trailing_zeros();
                        self.high |= value.high();
                        let symbol = self.named(step, value, len);
                        self.put(step).put_text(symbol, from, from + len);
                        self.present.texts |= step.bit;
                        (at, quote) = (from + len, true);
                        continue;
                    }
                    self.value(from, step, depth)?
                }
            };
            if on.usual {
                (at, quote) = (on.at, on.quote);
                continue;
            }
            match self.unusual(on, keys, depth)? {
                Next::End(at) => return Some(at),
                Next::Key(on, after) => (at, quote, keys) = (on.at, on.quote, after),
            }
        }
    }

    /// A value that is no short text, behind a key as it mostly stands.
    #[inline(never)]
    fn value(&mut self, at: u32, step: &Step, depth: usize) -> Option<On> {
        match step.awaited {
            Awaited::Text => self.long_text(at, step),
            Awaited::Number if byte(self.bytes, at).is_ascii_digit() => {
                let at = self.number(at, at, step)?;
                Some(On { at, quote: false, usual: true })
            }
            _ => self.rare_value(at, step, depth),
        }
    }

    /// Goes on until all is as usual, or the object ends.
    #[inline(never)]
    fn unusual(&mut self, on: On, keys: u32, depth: usize) -> Option<Next> {
        let (mut on, mut keys) = (on, keys);
        loop {
            let (step, at) = self.turn(on, keys)?;
            let Some(step) = step else { return Some(Next::End(at)) };
            keys = step.after;
            on = self.rare_value(at, step, depth)?;
            if on.usual {
                return Some(Next::Key(on, keys));
            }
        }
    }

    /// The symbol of a text of fewer than sixteen bytes, where it is wanted.
    #[inline(always)]
    fn named(&self, step: &Step, value: Sixteen, len: u32) -> Symbol {
        if !step.named {
            return Symbol::UNKNOWN;
        }
        let ([low, high], first) = (value.words(), FIRST[len as usize & 15]);
        self.symbols.look_words([low & first[0], high & first[1]], len)
    }

    /// Where no key follows as it mostly stands: the object's end, or a key with blanks around
    /// comma, key and colon, or around a value that was not awaited. The key's step, or none at
    /// the end, and the place behind it.
    #[inline(always)]
    fn turn(&self, on: On, keys: u32) -> Option<(Option<&'a Step>, u32)> {
        let mut at = on.at;
        if on.quote {
            if byte(self.bytes, at) != b'"' {
                return None;
            }
            at += 1;
        }
        // No value ends with a brace that opens.
        let opened = byte(self.bytes, at - 1) == b'{';
        at = self.solid(at);
        if byte(self.bytes, at) == b'}' {
            return Some((None, at + 1));
        }
        if !opened {
            if byte(self.bytes, at) != b',' {
                return None;
            }
            at = self.solid(at + 1);
        }
        let rest = self.bytes.get(at as usize..)?;
        let mut place = keys;
        loop {
            let (step, key) = (self.shapes.steps().get(place as usize)?, self.shapes.key(place));
            if rest.starts_with(key) {
                let colon = self.solid(at + key.len() as u32);
                return (byte(self.bytes, colon) == b':').then_some((Some(step), colon + 1));
            }
            place = step.beside;
        }
    }

    /// Writes a value down.
    #[inline(always)]
    fn put(&mut self, step: &Step) -> &mut Place {
        &mut self.places[step.register as usize]
    }

    /// Any value, with blanks in front or without.
    #[inline(never)]
    fn rare_value(&mut self, at: u32, step: &Step, depth: usize) -> Option<On> {
        let at = self.solid(at);
        let word = |word: &str| {
            let rest = self.bytes.get(at as usize..)?;
            rest.starts_with(word.as_bytes()).then_some(at + word.len() as u32)
        };
        let (place, after) = match byte(self.bytes, at) {
            b'"' => return self.long_text(at + 1, step),
            b'0'..=b'9' => return Some(On::behind(self.number(at, at, step)?, step)),
            b'-' => return Some(On::behind(self.number(at, at + 1, step)?, step)),
            b't' => (Place::of(Kind::Bool, 1), word("true")?),
            b'f' => (Place::of(Kind::Bool, 0), word("false")?),
            // As if it were not there.
            b'n' => return Some(On::behind(word("null")?, step)),
            b'{' => (Place::of(Kind::Compound, 0), self.object(at + 1, step.inside, depth + 1)?),
            b'[' => (Place::of(Kind::Compound, 0), self.array(at + 1, step, depth + 1)?),
            _ => return None,
        };
        *self.put(step) = place;
        self.present.others |= step.bit;
        Some(On::behind(after, step))
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
                let on = self.rare_value(at, step, depth)?;
                at = self.solid(on.at + u32::from(on.quote));
                match byte(self.bytes, at) {
                    _ if on.quote && byte(self.bytes, on.at) != b'"' => return None,
                    b',' => at += 1,
                    b']' => break,
                    _ => return None,
                }
            }
        }
        self.present = outside;
        Some(at + 1)
    }

    /// A text of any length behind its opening quote.
    #[inline(never)]
    fn long_text(&mut self, from: u32, step: &Step) -> Option<On> {
        let mut to = from;
        loop {
            let some = Sixteen::at(self.bytes, to)?;
            self.high |= some.high();
            let stops = some.stops();
            if stops != 0 {
                to += stops.trailing_zeros();
                break;
            }
            to += 16;
        }
        let text = self.bytes.get(from as usize..to as usize)?;
        let symbol = if step.named { self.symbols.look(text) } else { Symbol::UNKNOWN };
        self.put(step).put_text(symbol, from, to);
        self.present.texts |= step.bit;
        Some(On::quote(to, step))
    }

    /// A number whose digits begin at `first`, of at most 15 digits with a fraction and 18 without:
    /// the double and the integer are exact.
    #[inline(always)]
    fn number(&mut self, from: u32, first: u32, step: &Step) -> Option<u32> {
        let (mut count, mut whole) = digits(Sixteen::at(self.bytes, first)?);
        if count == 16 {
            (count, whole) = self.more_digits(first, whole)?;
        }
        let to = first + count;
        // A sign without a number, a zero in front; and simd-json's zero has no sign: let it say so.
        let leads = count > 1 && byte(self.bytes, first) == b'0';
        let point = byte(self.bytes, to) == b'.';
        if count == 0 || leads || first > from && whole == 0 && !point {
            return None;
        }
        if point {
            return self.fraction(from, first, to, whole, step);
        }
        // What follows is looked at as what follows a value: an exponent does not.
        let bits = if first > from { -(whole as i64) as u64 } else { whole };
        self.put(step).put_int(bits, from, to);
        self.present.ints |= step.bit;
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
        self.present.others |= step.bit;
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
