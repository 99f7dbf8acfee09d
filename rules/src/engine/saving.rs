//! A snapshot that is written little by little, of the moment when it began.
//!
//! What is little is written at once, into memory of its own. Of what is much (pages, identities,
//! texts) it is noted what belongs to it; each of them sees to it that this stays as it was.

use std::ops::Range;

use event::{Interner, Symbol};

use super::pages::{Store, hand_on};

/// The snapshot under way: what was written at its beginning, and what comes in between.
#[derive(Debug, Default)]
pub struct Saving {
    pub fixed: Vec<u8>,
    /// Each behind so many bytes of `fixed`.
    parts: Vec<(usize, Part)>,
    /// How far it has come in both.
    handed: usize,
    next: usize,
    under_way: bool,
}

/// What comes between.
#[derive(Clone, Debug)]
pub enum Part {
    /// Texts of the interner, which only grows.
    Texts(Range<u32>),
    /// The identities seen at a site, by its place.
    Seen(usize),
    /// A store of a site.
    Site(usize, usize),
    /// A store of the enterprise.
    Enterprise(usize),
}

/// What the parts of a snapshot are found in.
pub trait Stores {
    fn store(&mut self, part: &Part) -> &mut dyn Store;
}

impl Saving {
    /// Begins one.
    ///
    /// # Panics
    /// The last one is not over.
    pub fn begin(&mut self) {
        assert!(!self.under_way, "one snapshot after the other");
        self.fixed.clear();
        self.parts.clear();
        (self.handed, self.next, self.under_way) = (0, 0, true);
    }

    /// Here a part comes between.
    pub fn part(&mut self, part: Part) {
        self.parts.push((self.fixed.len(), part));
    }

    /// Writes on, about `budget` bytes; whether that was all.
    pub fn go_on(
        &mut self,
        stores: &mut impl Stores,
        interner: &Interner,
        out: &mut Vec<u8>,
        mut budget: usize,
    ) -> bool {
        while self.under_way {
            let end = self.parts.get(self.next).map_or(self.fixed.len(), |part| part.0);
            if !hand_on(&self.fixed[..end], &mut self.handed, out, &mut budget) {
                return false;
            }
            let done = match self.parts.get_mut(self.next) {
                None => {
                    self.under_way = false;
                    true
                }
                Some((_, Part::Texts(texts))) => put_texts(texts, interner, out, &mut budget),
                Some((_, part)) => stores.store(part).save_some(out, &mut budget),
            };
            if !done {
                return false;
            }
            self.next += 1;
        }
        true
    }
}

fn put_texts(
    texts: &mut Range<u32>,
    interner: &Interner,
    out: &mut Vec<u8>,
    budget: &mut usize,
) -> bool {
    while texts.start < texts.end && *budget > 0 {
        let text = interner.text(Symbol(texts.start)).as_bytes();
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text);
        texts.start += 1;
        *budget = budget.saturating_sub(4 + text.len());
    }
    texts.start == texts.end
}
