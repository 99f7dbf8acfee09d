//! Interned texts: a `u32` for each name, and a shared, append-only table behind them.
//!
//! An interned id is an accident of arrival. It never enters a hash, an output or an order: what
//! goes there is the text, or its digest, which the table keeps beside it.

use std::hint::select_unpredictable;
use std::sync::{Arc, Mutex};

use hashbrown::HashTable;

use crate::digests::Digests;
use crate::fresh::Fresh;
use crate::identity::Digest;
use crate::limits::{SYMBOL_BYTES_MAX, SYMBOLS_MAX};
use crate::prefetch::prefetch;

/// One interned text. `Symbol::NONE` (0) is "no text", and prints as the empty string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Symbol(pub u32);

impl Symbol {
    /// No text.
    pub const NONE: Self = Self(0);

    /// Of no text: what [`SymbolCache::look`] says of a text that it has not seen. Past
    /// [`SYMBOLS_MAX`].
    pub const UNKNOWN: Self = Self(u32::MAX);

    /// The symbol, or `None` for [`Symbol::NONE`].
    #[must_use]
    #[inline]
    pub fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }

    /// The symbol, or `None` for [`Symbol::UNKNOWN`].
    #[must_use]
    #[inline(always)]
    pub fn known(self) -> Option<Self> {
        (self != Self::UNKNOWN).then_some(self)
    }
}

/// The texts of one process. Reading a symbol takes no lock; making one does, so each decoder puts
/// a [`SymbolCache`] in front.
pub struct Interner {
    texts: boxcar::Vec<Box<str>>,
    digests: Digests,
    /// With half of the hash of each, so that a table that grows need not look at the texts. In parts, by eight
    /// bits of it: whoever needs a symbol waits for a part to grow.
    index: Mutex<Vec<HashTable<(u32, Symbol)>>>,
}

/// Parts of the index.
const PARTS: usize = 256;

/// The part of the index for a hash: by other bits than those that place it there.
fn part_of(half: u32) -> usize {
    (half >> 16) as usize % PARTS
}

/// Half of a hash where a whole one is wanted, whose first and last bits are looked at.
fn whole(half: u32) -> u64 {
    u64::from(half) << 32 | u64::from(half)
}

impl Default for Interner {
    fn default() -> Self {
        let index = Mutex::new(vec![HashTable::new(); PARTS]);
        let interner = Self { texts: boxcar::Vec::new(), digests: Digests::default(), index };
        interner.digests.put(Symbol::NONE, Digest::of(b""));
        interner.texts.push("".into());
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
        let half = table_hash(text.as_bytes()) as u32;
        let mut index = self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let index = &mut index[part_of(half)];
        if let Some((_, symbol)) =
            index.find(whole(half), |(h, s)| *h == half && self.text(*s) == text)
        {
            return Some(*symbol);
        }
        if self.texts.count() >= SYMBOLS_MAX {
            return None;
        }
        // Under the lock: whoever sees the text finds its digest.
        let symbol = Symbol(self.texts.count() as u32);
        self.digests.put(symbol, Digest::of(text.as_bytes()));
        let place = self.texts.push(text.into());
        assert!(place == symbol.0 as usize, "texts come one after the other");
        index.insert_unique(whole(half), (half, symbol), |(h, _)| whole(*h));
        Some(symbol)
    }

    /// The symbol of a text that is known already.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Symbol> {
        if text.is_empty() {
            return Some(Symbol::NONE);
        }
        let index = self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let half = table_hash(text.as_bytes()) as u32;
        let same = |(h, symbol): &(u32, Symbol)| *h == half && self.text(*symbol) == text;
        index[part_of(half)].find(whole(half), same).map(|(_, symbol)| *symbol)
    }

    /// The text of a symbol of this table.
    #[must_use]
    #[inline]
    pub fn text(&self, symbol: Symbol) -> &str {
        &self.texts[symbol.0 as usize]
    }

    /// Asks for the memory of a symbol's text.
    #[inline]
    pub fn expect(&self, symbol: Symbol) {
        prefetch(self.text(symbol).as_bytes(), 0);
    }

    /// Asks for the memory of a symbol's digest.
    #[inline]
    pub fn expect_digest(&self, symbol: Symbol) {
        self.digests.expect(symbol);
    }

    /// The digest of the symbol's text: stands for the text in hashes and orders.
    #[must_use]
    #[inline]
    pub fn digest(&self, symbol: Symbol) -> u128 {
        self.digests.get(symbol)
    }

    /// How many symbols there are, `Symbol::NONE` included: all are below this number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.count()
    }

    /// Whether no text was interned yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }
}

/// Bytes of the longest text that stands in a cell itself: door, badge and zone names do.
const INLINE_BYTES_MAX: usize = 15;

/// Texts that one line of memory has room for.
const TEXTS: usize = 3;
/// Lines of a new cache; it doubles when there is more than [`FULL`] in each.
const LINES_MIN: usize = 512;
/// Texts in four lines of a full cache: with so many, one in seventeen stands in another line than it should.
const FULL: usize = 6;
/// Lines that are copied to the larger cache for each text that comes: all are long before that is
/// full.
const COPIED: usize = 4;

/// Short texts and their symbols in one line of memory: a look-up touches no other, but seldom.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct SymbolLine {
    /// The first eight bytes of each.
    low: [u64; TEXTS],
    /// The rest of them, zeros behind and their number in the last: no two texts look alike. Zero
    /// is none, for the empty text is never kept; none is behind one that is.
    high: [u64; TEXTS],
    /// The last one is nobody's.
    symbols: [Symbol; TEXTS + 1],
}

impl SymbolLine {
    /// The keys that stand here: first the first words of three, then their second ones.
    #[must_use]
    #[inline(always)]
    pub fn words(&self) -> &[u64; 8] {
        bytemuck::cast_ref(self)
    }

    /// The symbol of one of the three.
    #[must_use]
    #[inline(always)]
    pub fn symbol(&self, at: u32) -> Symbol {
        self.symbols[at as usize % (TEXTS + 1)]
    }

    /// The symbol of a key, if it stands here.
    #[must_use]
    #[inline(always)]
    pub fn find(&self, [low, high]: [u64; 2]) -> Symbol {
        let mut found = Symbol::UNKNOWN;
        for at in 0..TEXTS {
            let other = (self.low[at] ^ low) | (self.high[at] ^ high);
            found = select_unpredictable(other == 0, self.symbols[at], found);
        }
        found
    }

    /// Where another text has room.
    #[inline]
    fn room(&self) -> Option<usize> {
        self.high.iter().position(|high| *high == 0)
    }
}

/// The key of a text of 1 to [`INLINE_BYTES_MAX`] bytes.
#[inline(always)]
fn inline_key(text: &[u8]) -> [u64; 2] {
    let len = text.len();
    // Two reads that overlap write the same bytes twice.
    let (low, high) = if let (Some(head), Some(end)) = (text.first_chunk(), text.last_chunk()) {
        let high = u64::from_le_bytes(*end).checked_shr(8 * (16 - len as u32));
        (u64::from_le_bytes(*head), high.unwrap_or(0))
    } else if let (Some(head), Some(end)) = (text.first_chunk(), text.last_chunk()) {
        let end = u64::from(u32::from_le_bytes(*end)) << (8 * (len - 4));
        (u64::from(u32::from_le_bytes(*head)) | end, 0)
    } else {
        let one = |at: usize| u64::from(text[at]) << (8 * at);
        (one(0) | one(len / 2) | one(len - 1), 0)
    };
    [low, high | (len as u64) << 56]
}

/// Drawn for each cache, or a sender could choose names that all fall into one place. Where a symbol stands in the
/// cache is in no output.
#[derive(Clone, Copy, Debug)]
pub struct Secret {
    /// What is added to the halves of a key's first word.
    pub low: u64,
    /// And of its second one.
    pub high: u64,
}

impl Secret {
    /// Where the search for a key begins, of as many lines as may be: the halves of both words are added to, without a
    /// carry from one to the other, and multiplied. No wider products, so that four keys can be had at once.
    #[must_use]
    #[inline(always)]
    pub fn home(&self, [low, high]: [u64; 2]) -> u32 {
        let product = |word: u64, secret: u64| {
            let first = (word as u32).wrapping_add(secret as u32);
            let second = ((word >> 32) as u32).wrapping_add((secret >> 32) as u32);
            u64::from(first) * u64::from(second)
        };
        let sum = product(low, self.low).wrapping_add(product(high, self.high));
        (sum ^ sum >> 32) as u32
    }
}

/// One thread's view of the [`Interner`]: a text seen before costs no lock.
pub struct SymbolCache {
    shared: Arc<Interner>,
    /// A power of two of lines, searched from the hash on; never full.
    lines: Vec<SymbolLine>,
    /// One less than their number.
    mask: usize,
    taken: usize,
    /// The lines before there were as many, until all are copied; and how many are.
    old: Vec<SymbolLine>,
    copied: usize,
    /// Those that will be there when there are twice as many.
    next: Fresh<SymbolLine>,
    secret: Secret,
    long: HashTable<(u64, Symbol)>,
    /// Symbols of the table behind it up to which [`Self::catch_up`] has come.
    caught_up: usize,
}

impl SymbolCache {
    /// A cache in front of `shared`.
    #[must_use]
    pub fn new(shared: Arc<Interner>) -> Self {
        use std::hash::BuildHasher as _;
        let random = std::hash::RandomState::new();
        let secret = Secret { low: random.hash_one(0), high: random.hash_one(1) };
        let lines = vec![SymbolLine::default(); LINES_MIN];
        let (mask, caught_up) = (lines.len() - 1, shared.len());
        let (old, next, long) = (Vec::new(), Fresh::default(), HashTable::new());
        Self { shared, lines, mask, taken: 0, old, copied: 0, next, secret, long, caught_up }
    }

    /// As [`Interner::intern`].
    #[inline]
    pub fn intern(&mut self, text: &str) -> Option<Symbol> {
        match self.look(text.as_bytes()) {
            Symbol::UNKNOWN => self.add(text),
            known => Some(known),
        }
    }

    /// The symbol of a text that was interned through this cache, [`Symbol::UNKNOWN`] of others.
    #[must_use]
    #[inline]
    pub fn look(&self, text: &[u8]) -> Symbol {
        match text.len() {
            0 => Symbol::NONE,
            1..=INLINE_BYTES_MAX => self.find(inline_key(text)),
            _ => self.look_long(text),
        }
    }

    /// The same of a text of at most fifteen bytes, with zeros behind it.
    #[must_use]
    #[inline(always)]
    pub fn look_words(&self, [low, high]: [u64; 2], len: u32) -> Symbol {
        self.find([low, high | u64::from(len) << 56])
    }

    /// What says where a key stands, among as many lines as a mask says: a key is a text of 1 to fifteen bytes, zeros
    /// behind it and its length in the last byte.
    #[must_use]
    #[inline(always)]
    pub fn places(&self) -> (Secret, u32) {
        (self.secret, self.mask as u32)
    }

    /// Asks for the memory of keys that stand in a place.
    #[inline(always)]
    pub fn expect(&self, home: u32) {
        prefetch(&self.lines, home as usize);
    }

    /// What stands in a place: a key that was expected there, or it must be looked for.
    #[must_use]
    #[inline(always)]
    pub fn line(&self, home: u32) -> Option<&SymbolLine> {
        self.lines.get(home as usize)
    }

    /// The symbol of a key; [`Symbol::UNKNOWN`] of others than were interned through this cache.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn look_for(&self, key: [u64; 2]) -> Symbol {
        self.find(key)
    }

    /// The empty text is found wherever there is none, whose symbol is its own.
    #[inline(always)]
    fn find(&self, key: [u64; 2]) -> Symbol {
        match self.find_in(&self.lines, self.mask, key) {
            Symbol::UNKNOWN if !self.old.is_empty() => self.find_old(key),
            known => known,
        }
    }

    #[cold]
    #[inline(never)]
    fn find_old(&self, key: [u64; 2]) -> Symbol {
        self.find_in(&self.old, self.old.len() - 1, key)
    }

    #[inline(always)]
    fn find_in(&self, lines: &[SymbolLine], mask: usize, key: [u64; 2]) -> Symbol {
        let mut at = self.home(key) & mask;
        while let Some(line) = lines.get(at) {
            let found = line.find(key);
            if found != Symbol::UNKNOWN || line.high[TEXTS - 1] == 0 {
                return found;
            }
            at = (at + 1) & mask;
        }
        Symbol::UNKNOWN
    }

    #[inline(always)]
    fn home(&self, key: [u64; 2]) -> usize {
        self.secret.home(key) as usize
    }

    #[cold]
    fn add(&mut self, text: &str) -> Option<Symbol> {
        let symbol = self.shared.intern(text)?;
        self.remember(text, symbol);
        Some(symbol)
    }

    /// Takes over what other caches have put into the table since it was made, or since the last
    /// time: cheaper by far than to come upon one text after the other.
    pub fn catch_up(&mut self) {
        let shared = self.shared.clone();
        while let Some(text) = shared.texts.get(self.caught_up) {
            if self.look(text.as_bytes()) == Symbol::UNKNOWN {
                self.remember(text, Symbol(self.caught_up as u32));
            }
            self.caught_up += 1;
        }
    }

    /// Goes on copying as if so many texts had come. Where no more come, a half-copied cache would stay
    /// one for ever: a name that is still among the old lines is looked for twice, and nobody has
    /// asked for the memory of those.
    #[inline]
    pub fn settle(&mut self, texts: usize) {
        if !self.old.is_empty() {
            self.copy(COPIED.saturating_mul(texts));
        }
    }

    fn remember(&mut self, text: &str, symbol: Symbol) {
        if text.len() > INLINE_BYTES_MAX {
            let hash = table_hash(text.as_bytes());
            self.long.insert_unique(hash, (hash, symbol), |(h, _)| *h);
            return;
        }
        let (most, twice) = (self.lines.len() / 4 * FULL, 2 * self.lines.len());
        if self.taken >= most - most / 16 {
            self.next.make_ready(twice);
        }
        if self.taken >= most {
            self.copy(usize::MAX);
            let larger = self.next.take(twice);
            self.old = std::mem::replace(&mut self.lines, larger);
            self.mask = self.lines.len() - 1;
        }
        self.copy(COPIED);
        self.put(inline_key(text.as_bytes()), symbol);
        self.taken += 1;
    }

    /// Copies so many of the old lines: nobody waits for all of them.
    fn copy(&mut self, count: usize) {
        let until = self.old.len().min(self.copied.saturating_add(count));
        for place in self.copied..until {
            let line = self.old[place];
            for at in 0..line.room().unwrap_or(TEXTS) {
                self.put([line.low[at], line.high[at]], line.symbols[at]);
            }
        }
        self.copied = until;
        if until == self.old.len() {
            (self.old, self.copied) = (Vec::new(), 0);
        }
    }

    fn put(&mut self, key: [u64; 2], symbol: Symbol) {
        let mut at = self.home(key) & self.mask;
        loop {
            let line = &mut self.lines[at];
            if let Some(room) = line.room() {
                [line.low[room], line.high[room]] = key;
                line.symbols[room] = symbol;
                return;
            }
            at = (at + 1) & self.mask;
        }
    }

    #[inline(never)]
    fn look_long(&self, text: &[u8]) -> Symbol {
        let hash = table_hash(text);
        let shared = &self.shared;
        let same = |(h, s): &(u64, Symbol)| *h == hash && shared.text(*s).as_bytes() == text;
        self.long.find(hash, same).map_or(Symbol::UNKNOWN, |(_, symbol)| *symbol)
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
        let long = a.intern(&"long".repeat(9));
        assert_eq!(b.look("long".repeat(9).as_bytes()), Symbol::UNKNOWN);
        let mut late = SymbolCache::new(shared.clone());
        let after = a.intern("D0002");
        for cache in [&mut a, &mut b, &mut late] {
            cache.catch_up();
            assert_eq!(Some(cache.look(b"D0002")), after);
        }
        assert_eq!(Some(b.look("long".repeat(9).as_bytes())), long);
        assert_eq!(late.look(b"D0001"), Symbol::UNKNOWN, "of before it was made");
        assert_eq!(late.intern("D0001"), door);
    }

    #[test]
    fn a_cache_that_grew_is_copied_without_new_texts() {
        let mut cache = SymbolCache::new(Interner::shared());
        let texts: Vec<_> = (0..LINES_MIN / 4 * FULL + 9).map(|n| format!("B{n}")).collect();
        let symbols: Vec<_> = texts.iter().map(|text| cache.intern(text)).collect();
        assert!(!cache.old.is_empty(), "it grew just now");
        for _ in 0..LINES_MIN / COPIED / 4 {
            cache.settle(4);
            let looked = |(text, symbol): (&String, _)| Some(cache.look(text.as_bytes())) == symbol;
            assert!(texts.iter().zip(symbols.iter().copied()).all(looked));
        }
        assert!(cache.old.is_empty(), "nothing is looked for twice");
    }

    /// Texts of every length, zeros and cut characters included, and enough of them to grow.
    #[test]
    fn the_cache_says_what_the_table_says() {
        let shared = Interner::shared();
        let mut cache = SymbolCache::new(shared.clone());
        let mut texts = Vec::new();
        for n in 0..6_000_u32 {
            let base = format!("{n:x}\0ø{n:010}{n:b}");
            texts.extend((0..=base.len()).filter_map(|len| base.get(..len).map(str::to_owned)));
            texts.push("\0".repeat(n as usize % 40));
        }
        assert!(texts.iter().all(|t| t.is_empty() || cache.look(t.as_bytes()) == Symbol::UNKNOWN));
        let first: Vec<_> = texts.iter().map(|t| cache.intern(t)).collect();
        for (text, symbol) in texts.iter().zip(first) {
            assert_eq!(symbol.map(|s| shared.text(s)), Some(text.as_str()));
            assert_eq!(cache.intern(text), symbol, "{text:?}");
            assert_eq!(shared.find(text), symbol, "{text:?}");
            assert_eq!(Some(cache.look(text.as_bytes())), symbol, "{text:?}");
            if text.len() <= INLINE_BYTES_MAX {
                let mut bytes = [0; 16];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                let both = u128::from_le_bytes(bytes);
                let words = [both as u64, (both >> 64) as u64];
                let seen = cache.look_words(words, text.len() as u32);
                assert_eq!(Some(seen), symbol, "{text:?}");
            }
        }
    }
}
