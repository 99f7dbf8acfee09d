//! The fast road over a JSON payload: one pass along the keys that payloads of this mapping are
//! known to have, which writes down where each wanted value stands.
//!
//! It accepts nothing that it is not sure of. Escapes, exponents, numbers past 18 digits, an
//! unknown key or order of keys, deep nesting and every fault of the grammar end the scan, and
//! simd-json decides about the delivery. Keys are unique because the shapes are: each came from a
//! payload in which simd-json's road found no key twice.

use super::document::{Document, Raw};
use super::shapes::{Shapes, Step};
use crate::limits::SCAN_DEPTH_MAX;
use crate::mapping::{PathId, PathTree};

/// A value where a path of the mapping led to one.
/// Plain words instead of an enum with contents: it passes in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    kind: Kind,
    /// Where a text begins behind its quote; its end is in `bits`.
    from: u32,
    bits: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Float,
    Bool,
    Null,
    Compound,
}

impl Place {
    const NULL: Self = Self::of(Kind::Null, 0);

    const fn of(kind: Kind, bits: u64) -> Self {
        Self { kind, from: 0, bits }
    }
}

/// A payload that was scanned.
pub(super) struct Scanned<'a> {
    text: &'a str,
    /// By register; stale where `present` has no bit.
    places: &'a [Place],
    present: u64,
}

impl<'a> Scanned<'a> {
    /// Scans a payload; `None` leaves it to simd-json.
    #[inline]
    pub fn read(payload: &'a [u8], shapes: &Shapes, places: &'a mut Vec<Place>) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?;
        if places.len() < shapes.registers() {
            places.resize(shapes.registers(), Place::NULL);
        }
        let mut scan = Scan { len: payload.len(), steps: shapes.steps(), places, present: 0 };
        scan.whole(payload, shapes.first())?;
        let present = scan.present;
        Some(Self { text, places, present })
    }

    /// Registers and values, of those that are there.
    pub fn values(&self) -> impl Iterator<Item = (u16, Raw<'a>)> {
        let mut left = self.present;
        std::iter::from_fn(move || {
            let register = left.trailing_zeros() as u16;
            let place = self.places.get(register as usize).filter(|_| left != 0)?;
            left &= left - 1;
            Some((register, self.raw(*place)))
        })
    }

    #[inline(always)]
    fn raw(&self, place: Place) -> Raw<'a> {
        match place.kind {
            Kind::Text => Raw::Text(&self.text[place.from as usize..place.bits as usize]),
            Kind::Int => Raw::Int(place.bits as i64),
            Kind::Float => Raw::Float(f64::from_bits(place.bits)),
            Kind::Bool => Raw::Bool(place.bits != 0),
            Kind::Null => Raw::Missing,
            Kind::Compound => Raw::Compound,
        }
    }
}

impl Document for Scanned<'_> {
    #[inline(always)]
    fn at(&self, _: &[u32], path: PathId) -> Raw<'_> {
        if self.present >> path.0 & 1 == 0 {
            return Raw::Missing;
        }
        self.raw(self.places[path.0 as usize])
    }

    #[inline(always)]
    fn is_there(&self, _: &[u32], path: PathId) -> bool {
        self.present >> path.0 & 1 == 1
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

/// The first eight bytes, the first in the lowest place; zeros stand behind the end, and a zero is
/// nothing that may stand in JSON.
#[inline(always)]
pub(super) fn eight(rest: &[u8]) -> u64 {
    match rest.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => tail(rest),
    }
}

#[cold]
#[inline(never)]
fn tail(rest: &[u8]) -> u64 {
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The first sixteen bytes.
#[inline(always)]
pub(super) fn sixteen(rest: &[u8]) -> [u64; 2] {
    match rest.first_chunk::<16>() {
        Some(chunk) => {
            let both = u128::from_le_bytes(*chunk);
            [both as u64, (both >> 64) as u64]
        }
        None => [eight(rest), eight(rest.get(8..).unwrap_or_default())],
    }
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

struct Scan<'a> {
    len: usize,
    steps: &'a [Step],
    places: &'a mut [Place],
    present: u64,
}

/// What is left of a payload behind what was read.
type Rest<'a> = &'a [u8];

#[inline(always)]
fn first(rest: Rest<'_>) -> u8 {
    rest.first().copied().unwrap_or(0)
}

#[inline(always)]
fn behind(rest: Rest<'_>, count: usize) -> Rest<'_> {
    rest.get(count..).unwrap_or_default()
}

/// From the next byte on that is no blank.
#[inline(always)]
fn solid(rest: Rest<'_>) -> Rest<'_> {
    if first(rest) > b' ' { rest } else { skip_blanks(rest) }
}

#[inline(never)]
fn skip_blanks(rest: Rest<'_>) -> Rest<'_> {
    let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
    behind(rest, blanks.count())
}

impl<'a> Scan<'a> {
    /// One object, and nothing behind it.
    fn whole(&mut self, payload: Rest<'_>, keys: u32) -> Option<()> {
        let rest = solid(payload);
        if first(rest) != b'{' {
            return None;
        }
        let rest = self.object(behind(rest, 1), keys, 1, true)?;
        skip_blanks(rest).is_empty().then_some(())
    }

    /// An object behind its brace, with `keys` the first of the keys it may begin with.
    fn object<'p>(
        &mut self,
        rest: Rest<'p>,
        keys: u32,
        depth: usize,
        wanted: bool,
    ) -> Option<Rest<'p>> {
        if depth > SCAN_DEPTH_MAX {
            return None;
        }
        let (mut rest, mut keys, steps) = (rest, keys, self.steps);
        if first(solid(rest)) == b'}' {
            return Some(behind(solid(rest), 1));
        }
        let mut opened = true;
        loop {
            let (step, at) = match tight_key(steps, rest, keys) {
                Some(found) => found,
                None => loose_key(steps, rest, keys, opened)?,
            };
            opened = false;
            let (place, after) = self.value(at, step, depth, wanted)?;
            if step.register < Step::UNWANTED && wanted && place.kind != Kind::Null {
                self.present |= 1 << step.register;
                *self.places.get_mut(step.register as usize)? = place;
            }
            rest = after;
            if first(rest) == b'}' {
                return Some(behind(rest, 1));
            }
            keys = step.after;
            if first(rest) != b',' {
                rest = solid(rest);
                if first(rest) == b'}' {
                    return Some(behind(rest, 1));
                }
            }
        }
    }

    #[inline(always)]
    fn value<'p>(
        &mut self,
        rest: Rest<'p>,
        step: &Step,
        depth: usize,
        wanted: bool,
    ) -> Option<(Place, Rest<'p>)> {
        match first(rest) {
            b'"' => text(rest, self.len),
            b'-' | b'0'..=b'9' => number(rest),
            _ => self.rare_value(rest, step, depth, wanted),
        }
    }

    /// Any value, with blanks in front or without.
    #[inline(never)]
    fn rare_value<'p>(
        &mut self,
        rest: Rest<'p>,
        step: &Step,
        depth: usize,
        wanted: bool,
    ) -> Option<(Place, Rest<'p>)> {
        let rest = solid(rest);
        match first(rest) {
            b'"' => text(rest, self.len),
            b'-' | b'0'..=b'9' => number(rest),
            b't' => Some((Place::of(Kind::Bool, 1), rest.strip_prefix(b"true")?)),
            b'f' => Some((Place::of(Kind::Bool, 0), rest.strip_prefix(b"false")?)),
            b'n' => Some((Place::NULL, rest.strip_prefix(b"null")?)),
            b'{' => {
                let rest = self.object(behind(rest, 1), step.inside, depth + 1, wanted)?;
                Some((Place::of(Kind::Compound, 0), rest))
            }
            b'[' => {
                let rest = self.array(behind(rest, 1), step, depth + 1)?;
                Some((Place::of(Kind::Compound, 0), rest))
            }
            _ => None,
        }
    }

    /// An array behind its bracket: no path leads into it.
    fn array<'p>(&mut self, rest: Rest<'p>, step: &Step, depth: usize) -> Option<Rest<'p>> {
        if depth > SCAN_DEPTH_MAX {
            return None;
        }
        let mut rest = solid(rest);
        if first(rest) == b']' {
            return Some(behind(rest, 1));
        }
        loop {
            let (_, after) = self.value(rest, step, depth, false)?;
            rest = solid(after);
            match first(rest) {
                b',' => rest = solid(behind(rest, 1)),
                b']' => return Some(behind(rest, 1)),
                _ => return None,
            }
        }
    }
}

/// The key that stands here without a blank around it, and what is behind its colon.
#[inline(always)]
fn tight_key<'s, 'p>(steps: &'s [Step], rest: Rest<'p>, keys: u32) -> Option<(&'s Step, Rest<'p>)> {
    let word = sixteen(rest);
    let mut place = keys;
    loop {
        let step = steps.get(place as usize)?;
        if step.begins(word) && step.goes_on(rest) {
            return Some((step, behind(rest, step.tight().len())));
        }
        place = step.beside;
    }
}

/// The same with blanks around comma, key and colon.
#[inline(never)]
fn loose_key<'s, 'p>(
    steps: &'s [Step],
    rest: Rest<'p>,
    keys: u32,
    opened: bool,
) -> Option<(&'s Step, Rest<'p>)> {
    let mut rest = solid(rest);
    if !opened {
        rest = solid(rest.strip_prefix(b",")?);
    }
    let mut place = keys;
    loop {
        let step = steps.get(place as usize)?;
        if let Some(after) = rest.strip_prefix(step.key()) {
            return Some((step, solid(after).strip_prefix(b":")?));
        }
        place = step.beside;
    }
}

/// A text without escapes, its opening quote first.
#[inline(always)]
fn text(rest: Rest<'_>, len: usize) -> Option<(Place, Rest<'_>)> {
    let from = len - rest.len() + 1;
    let mut rest = behind(rest, 1);
    loop {
        let stop = stops(eight(rest));
        if stop == 0 {
            rest = behind(rest, 8);
            continue;
        }
        rest = behind(rest, stop.trailing_zeros() as usize / 8);
        let to = len - rest.len();
        let after = rest.strip_prefix(b"\"")?;
        return Some((Place { kind: Kind::Text, from: from as u32, bits: to as u64 }, after));
    }
}

/// A number of at most 18 digits, or 15 with a fraction: the integer and the double are exact.
#[inline(always)]
fn number(rest: Rest<'_>) -> Option<(Place, Rest<'_>)> {
    let negative = first(rest) == b'-';
    let rest = behind(rest, usize::from(negative));
    let leads_with_zero = first(rest) == b'0';
    let (count, whole, rest) = more_digits(rest, 0, 0)?;
    if count == 0 || count > 1 && leads_with_zero {
        return None;
    }
    match first(rest) {
        b'.' => return fraction(behind(rest, 1), negative, count, whole),
        b'e' | b'E' => return None,
        // simd-json's zero has no sign: let it say so.
        _ if negative && whole == 0 => return None,
        _ => {}
    }
    let value = whole as i64;
    Some((Place::of(Kind::Int, if negative { -value } else { value } as u64), rest))
}

/// Goes on with a number of `count` digits; `None` past eighteen.
#[inline(always)]
fn more_digits(rest: Rest<'_>, count: usize, value: u64) -> Option<(usize, u64, Rest<'_>)> {
    let (mut rest, mut count, mut value) = (rest, count, value);
    loop {
        let (more, part) = digits(eight(rest));
        count += more;
        if count > 18 {
            return None;
        }
        rest = behind(rest, more);
        value = value * POWERS[more] + part;
        if more < 8 {
            return Some((count, value, rest));
        }
    }
}

#[inline(never)]
fn fraction(
    rest: Rest<'_>,
    negative: bool,
    whole_digits: usize,
    whole: u64,
) -> Option<(Place, Rest<'_>)> {
    let (count, value, rest) = more_digits(rest, whole_digits, whole)?;
    let places = count - whole_digits;
    if places == 0 || count > 15 || matches!(first(rest), b'e' | b'E') {
        return None;
    }
    let magnitude = value as f64 / TENS[places];
    let value = if negative { -magnitude } else { magnitude };
    Some((Place::of(Kind::Float, value.to_bits()), rest))
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
                let stop = stops(eight(&bytes)).trailing_zeros() as usize / 8;
                let wanted = bytes.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
                assert_eq!(stop, wanted.unwrap_or(8), "{bytes:?}");
                let mut bytes = *b"98705612";
                bytes[place] = byte;
                let text: String =
                    bytes.iter().take_while(|b| b.is_ascii_digit()).map(|b| *b as char).collect();
                let wanted = (text.len(), text.parse().unwrap_or(0));
                assert_eq!(digits(eight(&bytes)), wanted, "{bytes:?}");
                let cut = u64::from_le_bytes(bytes) & !(u64::MAX << (8 * place));
                assert_eq!(eight(&bytes[..place]), cut);
            }
        }
        assert_eq!(eight(b""), 0);
        assert_eq!(sixteen(b"123456789"), [eight(b"12345678"), u64::from(b'9')]);
    }
}
