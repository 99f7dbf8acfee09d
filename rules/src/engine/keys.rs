//! Keys of state, and how cells keep them: in a word, where it has one or two parts as most have.

use bytemuck::{Pod, Zeroable};
use event::Symbol;

use super::pages::Cell;

/// A key of state: up to three parts, and a fourth for the value counted by `distinct`.
pub type Key = [Symbol; 4];

/// Upper half: what spreads the lower half of a word evenly, where those are dense numbers, as
/// symbols are; lower half: the same for its upper half.
const SPREAD: u64 = 0x9e37_79b9_c13f_a9a9;

/// Half of a key's hash. It leaves nowhere.
#[inline(always)]
pub fn half_of(key: &Key) -> u32 {
    Packed::of(key).map_or_else(|| Packed(folded(key)).half(), Packed::half)
}

#[inline(never)]
fn folded(key: &Key) -> u64 {
    let [low, high] = bytemuck::cast::<Key, [u64; 2]>(*key);
    let high = high.wrapping_mul(0x91e1_0da5_c79e_7b1d);
    low ^ high ^ high >> 32
}

/// A key as a cell keeps it: its first part, and over that its second part or the value counted;
/// or, of a key that has more than that, the number of its [`WideKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Packed(u64);

/// Set where the upper half is a value counted.
const COUNTED: u32 = 1 << 31;
/// The upper half where the lower is the number of a wide key.
const WIDE: u32 = u32::MAX;

impl Packed {
    /// A key in a word; none where it does not fit.
    #[inline(always)]
    pub fn of(key: &Key) -> Option<Self> {
        let [Symbol(a), Symbol(b), Symbol(c), Symbol(d)] = *key;
        if c | d == 0 && b < COUNTED {
            return Some(Self::halves(a, b));
        }
        (b | c == 0 && d < COUNTED - 1).then(|| Self::halves(a, d | COUNTED))
    }

    /// Half of the hash of the key that it is.
    #[inline(always)]
    pub fn half(self) -> u32 {
        (self.0.wrapping_mul(SPREAD) >> 32) as u32
    }

    /// The word of a wide key.
    pub fn wide(number: u32) -> Self {
        Self::halves(number, WIDE)
    }

    /// Whether it is the number of a wide key.
    #[inline]
    pub fn is_wide(self) -> bool {
        (self.0 >> 32) as u32 == WIDE
    }

    /// A key of one text.
    #[inline(always)]
    pub fn text(Symbol(text): Symbol) -> Self {
        Self::halves(text, 0)
    }

    /// The text that it is, where it is one.
    #[inline(always)]
    pub fn as_text(self) -> Option<Symbol> {
        (self.0 >> 32 == 0).then_some(Symbol(self.0 as u32))
    }

    #[inline(always)]
    fn halves(low: u32, high: u32) -> Self {
        Self(u64::from(high) << 32 | u64::from(low))
    }

    /// The key; or the number of a wide one.
    #[inline]
    pub fn key(self) -> Result<Key, u32> {
        let (low, high) = (self.0 as u32, (self.0 >> 32) as u32);
        let none = Symbol::NONE;
        match high {
            WIDE => Err(low),
            high if high & COUNTED != 0 => Ok([Symbol(low), none, none, Symbol(high ^ COUNTED)]),
            high => Ok([Symbol(low), Symbol(high), none, none]),
        }
    }
}

/// A key that no word holds.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct WideKey {
    /// 1 when live.
    pub live: u32,
    /// The key.
    pub key: Key,
}

impl Cell for WideKey {
    fn live(&self) -> u32 {
        self.live
    }
    fn next_free(&self) -> u32 {
        self.key[0].0
    }
    fn set_free(&mut self, next: u32) {
        (self.live, self.key[0]) = (0, Symbol(next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_key() {
        let parts = [0, 1, 2, COUNTED - 2, COUNTED - 1, COUNTED, u32::MAX];
        let mut seen = std::collections::BTreeMap::new();
        for number in 0..parts.len().pow(4) {
            let key =
                [0, 1, 2, 3].map(|at| Symbol(parts[number / parts.len().pow(at) % parts.len()]));
            let Some(packed) = Packed::of(&key) else { continue };
            assert_eq!(packed.key(), Ok(key));
            assert_eq!(seen.insert(packed.0, key), None);
        }
        let key = |parts: [u32; 4]| Packed::of(&parts.map(Symbol)).is_some();
        assert!(key([7, 0, 0, 0]) && key([7, 8, 0, 0]) && key([7, 0, 0, 9]));
        assert!(!key([7, 8, 9, 0]) && !key([7, 8, 0, 9]));
        assert_eq!(Packed::wide(7).key(), Err(7));
    }
}
