//! Values as cells keep them: words with tags.

use event::{EventTime, Symbol, TimeSpan};

use crate::value::Value;

/// The tag of an integer.
pub const INT: u32 = 2;
/// The tag of a text.
pub const TEXT: u32 = 4;

/// A value as one word and a tag; `Missing` and lists have tag 0 and are not kept.
#[inline]
pub fn pack(value: Value) -> (u64, u32) {
    match value {
        Value::Missing | Value::List { .. } => (0, 0),
        Value::Bool(b) => (u64::from(b), 1),
        Value::Int(n) => (n as u64, INT),
        Value::Float(x) => (x.to_bits(), 3),
        Value::Text(s) => (u64::from(s.0), TEXT),
        Value::Time(t) => (t.0 as u64, 5),
        Value::Span(s) => (s.0 as u64, 6),
    }
}

/// The value of a word and a tag.
#[inline]
pub fn unpack(bits: u64, tag: u32) -> Value {
    match tag {
        1 => Value::Bool(bits != 0),
        INT => Value::Int(bits as i64),
        3 => Value::Float(f64::from_bits(bits)),
        TEXT => Value::Text(Symbol(bits as u32)),
        5 => Value::Time(EventTime(bits as i64)),
        6 => Value::Span(TimeSpan(bits as i64)),
        _ => Value::Missing,
    }
}

/// Captured values, as a cell keeps them: words with four-bit tags.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The words.
    pub words: &'a [u64],
    /// Their tags.
    pub tags: u64,
}

impl Kept<'_> {
    /// No captured values.
    pub const NOTHING: Self = Self { words: &[], tags: 0 };

    /// One of them.
    pub fn get(self, place: usize) -> Value {
        self.words
            .get(place)
            .map_or(Value::Missing, |w| unpack(*w, (self.tags >> (4 * place) & 15) as u32))
    }
}

/// Packs one value into words with four-bit tags.
pub fn pack_into(words: &mut [u64], tags: &mut u64, place: usize, value: Value) {
    let (bits, tag) = pack(value);
    words[place] = bits;
    *tags = *tags & !(15 << (4 * place)) | u64::from(tag) << (4 * place);
}
