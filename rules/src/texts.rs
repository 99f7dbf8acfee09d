//! Texts that one is looked for among.

use event::Symbol;

/// Texts that one is looked for among.
#[derive(Debug)]
pub struct Texts {
    /// The first one's number.
    first: u32,
    /// By their numbers, to find one: nothing else goes by this order.
    texts: Box<[Symbol]>,
    /// Of many: a bit of each, from the first one's on. Those that a rulebook names have numbers close to
    /// each other.
    bits: Box<[u64]>,
}

impl Texts {
    /// Of so few it is quicker to look at each.
    const FEW: usize = 16;
    /// Bits for each text, at most.
    const SPARSE: usize = 64;

    /// Of some, in any order.
    pub fn new(mut texts: Box<[Symbol]>) -> Self {
        texts.sort_unstable_by_key(|text| text.0);
        let mut bits = Vec::new();
        if let ([first, .., last], true) = (&texts[..], texts.len() > Self::FEW) {
            let span = (last.0 - first.0) as usize + 1;
            if span <= texts.len() * Self::SPARSE {
                bits = vec![0_u64; span.div_ceil(64)];
                for text in &texts {
                    let at = text.0 - first.0;
                    bits[at as usize / 64] |= 1 << (at % 64);
                }
            }
        }
        let first = texts.first().map_or(0, |first| first.0);
        Self { first, texts, bits: bits.into() }
    }

    /// All of them.
    pub fn all(&self) -> &[Symbol] {
        &self.texts
    }

    /// Whether a text is one of them.
    #[inline]
    pub fn has(&self, text: Symbol) -> bool {
        if !self.bits.is_empty() {
            let at = text.0.wrapping_sub(self.first);
            return self.bits.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 != 0);
        }
        if self.texts.len() <= Self::FEW {
            return self.texts.contains(&text);
        }
        self.texts.binary_search_by_key(&text.0, |one| one.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_among_few_many_and_far_apart() {
        for (many, apart) in [(0, 1), (1, 1), (16, 3), (17, 1), (17, 3), (300, 7), (300, 1_000)] {
            let texts: Vec<Symbol> = (0..many).rev().map(|n| Symbol(90 + n * apart)).collect();
            let of = Texts::new(texts.clone().into());
            assert_eq!(of.bits.is_empty(), many <= 16 || apart == 1_000);
            for text in (0..90 + (many + 2) * apart).chain([u32::MAX]).map(Symbol) {
                assert_eq!(
                    of.has(text),
                    texts.contains(&text),
                    "{text:?} of {many}, {apart} apart"
                );
            }
        }
    }
}
