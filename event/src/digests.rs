//! Digests of texts by symbol: in lines of their own, so that one is asked for without a look at its text.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::prefetch::prefetch;
use crate::symbol::Symbol;

/// Digests of the first part; each is as long as all before it.
const FIRST: usize = 1 << 12;
/// Enough for every symbol that there can be.
const PARTS: usize = 13;
const _: () = assert!(FIRST << (PARTS - 1) >= crate::limits::SYMBOLS_MAX);

/// Low half first.
type Words = [AtomicU64; 2];

/// Digests by symbol. One that was never put is 0.
#[derive(Debug, Default)]
pub struct Digests([OnceLock<Box<[Words]>>; PARTS]);

/// In which part a symbol's stands, how long that is, and where in it.
#[inline(always)]
fn place(Symbol(symbol): Symbol) -> (usize, usize, usize) {
    let symbol = symbol as usize;
    let part = (usize::BITS - (symbol / FIRST).leading_zeros()) as usize;
    let len = FIRST << part.saturating_sub(1);
    (part, len, symbol & (len - 1))
}

impl Digests {
    /// Keeps a digest, before anybody is told of the symbol.
    pub fn put(&self, symbol: Symbol, digest: u128) {
        let (part, len, at) = place(symbol);
        let empty = || (0..len).map(|_| Words::default()).collect();
        let words = &self.0[part].get_or_init(empty)[at];
        words[0].store(digest as u64, Ordering::Relaxed);
        words[1].store((digest >> 64) as u64, Ordering::Relaxed);
    }

    #[inline(always)]
    fn part(&self, part: usize) -> &[Words] {
        self.0.get(part).and_then(OnceLock::get).map_or(&[], |words| words)
    }

    /// The digest of a symbol.
    #[inline]
    pub fn get(&self, symbol: Symbol) -> u128 {
        let (part, _, at) = place(symbol);
        // Whoever has a symbol has it from whoever put its digest there.
        let word = |word: &AtomicU64| u128::from(word.load(Ordering::Relaxed));
        self.part(part).get(at).map_or(0, |[low, high]| word(high) << 64 | word(low))
    }

    /// Asks for its memory.
    #[inline]
    pub fn expect(&self, symbol: Symbol) {
        let (part, _, at) = place(symbol);
        prefetch(self.part(part), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_symbol_has_a_place_of_its_own() {
        let digests = Digests::default();
        let symbols = (0..40_000).chain([99_999]).map(Symbol);
        symbols.clone().for_each(|symbol| digests.put(symbol, u128::from(symbol.0) << 60 | 7));
        for symbol in symbols {
            digests.expect(symbol);
            assert_eq!(digests.get(symbol), u128::from(symbol.0) << 60 | 7, "{symbol:?}");
        }
        assert_eq!(digests.get(Symbol(3_000_000)), 0);
        assert_eq!(digests.get(Symbol::UNKNOWN), 0);
    }
}
