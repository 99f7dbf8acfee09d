//! Interned texts: a `u32` for each name, and a shared, append-only table behind them.
//!
//! An interned id is an accident of arrival. It never enters a hash, an output or an order: what
//! goes there is the text, or its digest, which the table keeps beside it.

use std::sync::{Arc, Mutex};

use hashbrown::HashTable;

use crate::identity::Digest;
use crate::limits::{SYMBOL_BYTES_MAX, SYMBOLS_MAX};

/// One interned text. `Symbol::NONE` (0) is "no text", and prints as the empty string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Symbol(pub u32);

impl Symbol {
    /// No text.
    pub const NONE: Self = Self(0);

    /// The symbol, or `None` for [`Symbol::NONE`].
    #[must_use]
    pub fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

struct Entry {
    text: Box<str>,
    digest: u128,
}

/// The texts of one process. Reading a symbol takes no lock; making one does, so each decoder puts
/// a [`SymbolCache`] in front.
pub struct Interner {
    entries: boxcar::Vec<Entry>,
    index: Mutex<HashTable<Symbol>>,
}

impl Default for Interner {
    fn default() -> Self {
        let interner = Self { entries: boxcar::Vec::new(), index: Mutex::default() };
        interner.entries.push(Entry { text: "".into(), digest: Digest::of(b"") });
        interner
    }
}

fn table_hash(text: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text)
}

impl Interner {
    /// An empty table behind an `Arc`, as every user wants it.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// The symbol of a text; `None` when the text is too long or the table is full
    /// ([`SYMBOL_BYTES_MAX`], [`SYMBOLS_MAX`]).
    pub fn intern(&self, text: &str) -> Option<Symbol> {
        if text.is_empty() {
            return Some(Symbol::NONE);
        }
        if text.len() > SYMBOL_BYTES_MAX {
            return None;
        }
        let hash = table_hash(text.as_bytes());
        let mut index = self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(symbol) = index.find(hash, |s| self.text(*s) == text) {
            return Some(*symbol);
        }
        if self.entries.count() >= SYMBOLS_MAX {
            return None;
        }
        let entry = Entry { text: text.into(), digest: Digest::of(text.as_bytes()) };
        let symbol = Symbol(self.entries.push(entry) as u32);
        index.insert_unique(hash, symbol, |s| table_hash(self.text(*s).as_bytes()));
        Some(symbol)
    }

    /// The symbol of a text that is known already.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Symbol> {
        if text.is_empty() {
            return Some(Symbol::NONE);
        }
        let index = self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        index.find(table_hash(text.as_bytes()), |s| self.text(*s) == text).copied()
    }

    /// The text of a symbol of this table.
    #[must_use]
    pub fn text(&self, symbol: Symbol) -> &str {
        &self.entries[symbol.0 as usize].text
    }

    /// The digest of the symbol's text: stands for the text in hashes and orders.
    #[must_use]
    pub fn digest(&self, symbol: Symbol) -> u128 {
        self.entries[symbol.0 as usize].digest
    }

    /// How many symbols there are, `Symbol::NONE` included: all are below this number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.count()
    }

    /// Whether no text was interned yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }
}

/// One thread's view of the [`Interner`]: a text seen before costs no lock.
pub struct SymbolCache {
    shared: Arc<Interner>,
    seen: HashTable<(u64, Symbol)>,
}

impl SymbolCache {
    /// A cache in front of `shared`.
    #[must_use]
    pub fn new(shared: Arc<Interner>) -> Self {
        Self { shared, seen: HashTable::new() }
    }

    /// As [`Interner::intern`].
    pub fn intern(&mut self, text: &str) -> Option<Symbol> {
        if text.is_empty() {
            return Some(Symbol::NONE);
        }
        let hash = table_hash(text.as_bytes());
        let shared = &self.shared;
        let same = |(h, s): &(u64, Symbol)| *h == hash && shared.text(*s) == text;
        if let Some((_, symbol)) = self.seen.find(hash, same) {
            return Some(*symbol);
        }
        let symbol = self.shared.intern(text)?;
        self.seen.insert_unique(hash, (hash, symbol), |(h, _)| *h);
        Some(symbol)
    }

    /// The table behind the cache.
    #[must_use]
    pub fn shared(&self) -> &Arc<Interner> {
        &self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_is_one_symbol_for_every_cache() {
        let shared = Interner::shared();
        let (mut a, mut b) = (SymbolCache::new(shared.clone()), SymbolCache::new(shared.clone()));
        let door = a.intern("D0001");
        assert_eq!(door, b.intern("D0001"));
        assert_eq!(shared.text(door.unwrap_or_default()), "D0001");
        assert_eq!(a.intern(""), Some(Symbol::NONE));
        assert_eq!(shared.intern(&"x".repeat(SYMBOL_BYTES_MAX + 1)), None);
        assert_eq!(shared.find("unknown"), None);
    }
}
