//! What must hold of one field, looked at before anything of a condition is.

use event::{EventRef, FieldId, Symbol};

use super::{Bound, Condition, Form, Test};

/// What must hold of one field, in two words: what does not pass does not meet the condition. Where it is
/// one of several texts, a mask of them is looked at, and of what does not meet it some passes.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    word: u32,
    field: FieldId,
    pub(super) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Open,
    Text,
    /// One of up to four texts: a byte of a hash of each.
    Few,
    /// One of several: a bit of each.
    Texts,
    AtLeast,
    Below,
    /// What the event has been counted to, by the place among those that are counted so.
    Counted,
}

/// What counts have come to that the event which is judged is one of: of those facts that most rules ask
/// for, by their places.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    known: u32,
    counts: [i32; COUNTED_MAX],
}

/// So many facts have a place.
pub const COUNTED_MAX: usize = 32;

impl Counted {
    /// Another event is judged.
    #[inline]
    pub fn clear(&mut self) {
        self.known = 0;
    }

    /// What a count has come to with it.
    #[inline]
    pub fn set(&mut self, place: u8, count: i64) {
        self.known |= 1 << place;
        self.counts[usize::from(place)] = i32::try_from(count).unwrap_or(i32::MAX);
    }
}

impl Gate {
    /// Texts of which there is a byte of each.
    const FEW: usize = 4;

    /// All pass.
    pub const OPEN: Self = Self { word: 0, field: FieldId(0), how: How::Open };

    /// What a test lets pass; and whether that is just what meets it.
    pub(super) fn of(test: &Test) -> (Self, bool) {
        match test {
            Test::Text(field, text) => (Self { word: text.0, field: *field, how: How::Text }, true),
            Test::OneOf(field, texts) => {
                let (field, texts) = (*field, texts.all());
                if let ([_, .., last], true) = (texts, texts.len() <= Self::FEW) {
                    let text = |nth: usize| Self::fingerprint(texts.get(nth).unwrap_or(last).0);
                    let word = u32::from_le_bytes([0, 1, 2, 3].map(text));
                    return (Self { word, field, how: How::Few }, false);
                }
                let word = texts.iter().fold(0, |all, text| all | Self::bit(*text));
                (Self { word, field, how: How::Texts }, false)
            }
            Test::Within(field, Bound { least, is }) => match i32::try_from(*least) {
                Ok(least) => {
                    let how = if *is { How::AtLeast } else { How::Below };
                    (Self { word: least as u32, field: *field, how }, true)
                }
                Err(_) => (Self::OPEN, false),
            },
        }
    }

    /// The field and the text that lets pass, where it is one text.
    pub(crate) fn text(self) -> Option<(FieldId, u32)> {
        (self.how == How::Text).then_some((self.field, self.word))
    }

    /// What a count lets pass that must come to so many.
    pub fn counted(place: u8, least: i64) -> Option<Self> {
        let word = i32::try_from(least).ok()? as u32;
        Some(Self { word, field: FieldId(place), how: How::Counted })
    }

    /// One that lets pass what either does, where they ask the same.
    pub fn either(self, other: Self) -> Option<Self> {
        if self.asks()? != other.asks()? {
            return None;
        }
        let (a, b) = (self.word as i32, other.word as i32);
        let (word, how) = match self.how {
            How::Text if other.how == How::Text && a == b => (self.word, How::Text),
            How::Open | How::Text | How::Few | How::Texts => {
                (self.texts() | other.texts(), How::Texts)
            }
            How::AtLeast | How::Counted => (a.min(b) as u32, self.how),
            How::Below => (a.max(b) as u32, self.how),
        };
        Some(Self { word, how, ..self })
    }

    /// What it asks, whatever it wants to hear; nothing, where it is open.
    pub fn asks(self) -> Option<(u8, u8)> {
        let how = match self.how {
            How::Open => return None,
            How::Text | How::Few | How::Texts => 0,
            How::AtLeast => 1,
            How::Below => 2,
            How::Counted => 3,
        };
        Some((how, self.field.0))
    }

    fn texts(self) -> u32 {
        match self.how {
            How::Text => Self::bit(Symbol(self.word)),
            // A text's bit is said by the upper bits of its byte.
            How::Few => self.word.to_le_bytes().iter().fold(0, |all, byte| all | 1 << (byte >> 3)),
            _ => self.word,
        }
    }

    #[inline]
    fn bit(text: Symbol) -> u32 {
        1 << (Self::fingerprint(text.0) >> 3)
    }

    #[inline]
    fn fingerprint(text: u32) -> u8 {
        (text.wrapping_mul(0x9e37_79b9) >> 24) as u8
    }

    /// Whether a text is one of several, most likely.
    #[inline]
    pub(super) fn admits(self, text: u32) -> bool {
        let byte = Self::fingerprint(text);
        if self.how == How::Few {
            // Whether one of the bytes is the same: then there is a zero.
            let off = self.word ^ u32::from_le_bytes([byte; Self::FEW]);
            return off.wrapping_sub(0x0101_0101) & !off & 0x8080_8080 != 0;
        }
        self.word & 1 << (byte >> 3) != 0
    }

    /// Of the texts that pass, so many bits that few others have: all where it is not of several texts.
    pub fn bits(self, condition: &Condition) -> u64 {
        let Form::Fields(tests, _) = &condition.form else { return self.own_bits() };
        let texts = tests.iter().find_map(|test| match test {
            Test::OneOf(field, texts) if *field == self.field => Some(texts.all()),
            _ => None,
        });
        match texts {
            Some(texts) if matches!(self.how, How::Few | How::Texts) => {
                texts.iter().fold(0, |all, text| all | Self::fine_bit(*text))
            }
            _ => self.own_bits(),
        }
    }

    /// Whether it lets one of several texts pass: then its bits are looked at.
    pub fn is_of_texts(self) -> bool {
        self.how == How::Texts
    }

    fn own_bits(self) -> u64 {
        if self.how == How::Text { Self::fine_bit(Symbol(self.word)) } else { u64::MAX }
    }

    #[inline]
    fn fine_bit(text: Symbol) -> u64 {
        1 << (text.0.wrapping_mul(0x85eb_ca6b) >> 26)
    }

    /// Whether the text of an event that passes is, most likely, one of those whose bits these are.
    #[inline]
    pub fn is_among(self, event: EventRef<'_>, bits: u64) -> bool {
        let text = |value| bits & Self::fine_bit(Symbol(value as u32)) != 0;
        self.how != How::Texts || event.slot(self.field).is_some_and(text)
    }

    /// Whether an event may meet the condition, where mostly nothing or one text is asked for. (The gate is lent:
    /// what is looked at first is read by itself.)
    #[inline(always)]
    pub fn lets_pass(&self, event: EventRef<'_>, counted: &Counted) -> bool {
        match self.how {
            How::Open => true,
            How::Text => event.text(self.field).is_some_and(|text| text.0 == self.word),
            _ => self.passes_apart(event, counted),
        }
    }

    #[inline(never)]
    fn passes_apart(self, event: EventRef<'_>, counted: &Counted) -> bool {
        self.passes(event, counted)
    }

    /// Whether an event may meet the condition.
    #[inline(always)]
    pub fn passes(self, event: EventRef<'_>, counted: &Counted) -> bool {
        if self.how == How::Open {
            return true;
        }
        if self.how == How::Text {
            return event.slot(self.field).is_some_and(|value| value as u32 == self.word);
        }
        if self.how == How::Counted {
            let place = usize::from(self.field.0) & (COUNTED_MAX - 1);
            // Of one that did not count the event nothing is known.
            return counted.known >> place & 1 == 0 || counted.counts[place] >= self.word as i32;
        }
        let Some(value) = event.slot(self.field) else { return false };
        let least = i64::from(self.word as i32);
        match self.how {
            How::Open | How::Text | How::Counted => true,
            How::Few | How::Texts => self.admits(value as u32),
            How::AtLeast => value as i64 >= least,
            How::Below => (value as i64) < least,
        }
    }
}
