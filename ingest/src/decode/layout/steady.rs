//! Names that are the same in all payloads laid out alike, `"in"` or `"ok"`: they become bytes that are compared with
//! the rest, and nobody looks them up.
//!
//! Which these are is found out from the first payloads that a layout has. Where another name comes later, the
//! payload has no layout, and is learned like any other: then all names are looked up again, and it takes
//! four times as many payloads until some are believed to be the same.

use event::SymbolCache;

use super::{Few, Layout, Name, Sought};
use crate::limits::{LAYOUT_TRIAL, LAYOUT_TRIALS_MAX, LAYOUT_VALUES_MAX};

/// What was seen of the names of a new layout.
#[derive(Clone, Copy, Debug)]
pub(in crate::decode) struct Trial {
    /// Payloads that are still looked at.
    left: u32,
    /// How often names of such payloads were believed to be the same, this time included.
    times: u32,
    is_over: bool,
    /// Names that were not always the same, as bits.
    varied: u32,
    /// Those of the first payload; zeros before it came.
    first: [[u64; 2]; LAYOUT_VALUES_MAX],
}

impl Trial {
    pub const NONE: Self =
        Self { left: 0, times: 0, is_over: false, varied: 0, first: [[0; 2]; LAYOUT_VALUES_MAX] };

    fn again(times: u32) -> Self {
        let left = if times < LAYOUT_TRIALS_MAX { LAYOUT_TRIAL << (2 * times) } else { 0 };
        Self { left, times, ..Self::NONE }
    }

    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.left > 0
    }

    /// Looks at the names of a payload.
    fn see(&mut self, names: &Sought) {
        if self.first[0] == [0; 2] {
            self.first = std::array::from_fn(|at| names.key(at));
        }
        for (at, first) in self.first.iter().enumerate() {
            self.varied |= u32::from(*first != names.key(at)) << at;
        }
        self.left -= 1;
    }
}

impl Layout {
    /// Looks at the names of a payload that is laid out so; whether some are to be believed the same.
    #[cold]
    #[inline(never)]
    pub fn try_names(&mut self, names: &Sought) -> bool {
        self.trial.see(names);
        let varied = (1..self.names.len).all(|at| self.trial.varied >> at & 1 == 1);
        if varied {
            self.trial.left = 0;
        }
        self.trial.is_over = !varied && self.trial.left == 0;
        self.trial.is_over
    }

    /// Whether it is one of such payloads as well, whose names were believed to be the same.
    pub fn was_of(&self, other: &Self) -> bool {
        let form = |layout: &Self| (layout.len, layout.source, layout.program, layout.mark);
        form(self) == form(other) && other.trial.times > 0
    }

    /// Begins to look at its names, after another layout of such payloads or as the first.
    pub fn try_after(&mut self, other: Option<&Self>) {
        self.trial = Trial::again(other.map_or(0, |other| other.trial.times));
    }

    /// Makes names that were always the same bytes that are compared.
    pub fn settle(&mut self, symbols: &SymbolCache) {
        if !std::mem::take(&mut self.trial.is_over) {
            return;
        }
        self.trial.times += 1;
        let mut left = Few::none(Name::NONE);
        let all = self.names;
        for (at, name) in all.all().iter().copied().enumerate() {
            let key = self.trial.first[at];
            let symbol = symbols.look_for(key).known();
            let steady = symbol.filter(|_| at > 0 && self.trial.varied >> at & 1 == 0);
            let is_site = at == 1 && self.site_said;
            match (steady, self.spread.always.get_mut(name.field.0 as usize)) {
                (Some(symbol), _) if is_site => {
                    (self.site_said, self.site_always) = (false, symbol);
                }
                (Some(symbol), Some(slot)) => *slot = symbol.0.into(),
                _ => {
                    let _ = left.push(name);
                    continue;
                }
            }
            self.fix(&name, key);
        }
        self.names = left;
        self.arrange();
    }

    /// A name must be this one.
    fn fix(&mut self, name: &Name, key: [u64; 2]) {
        let text = key.map(u64::to_le_bytes);
        let text = text.as_flattened().iter().take((name.tail >> 56) as usize);
        for (at, byte) in (name.from as usize..).zip(text) {
            let blocks = self.blocks.iter_mut().zip(self.places).take(self.compared);
            for (block, place) in blocks {
                if let Some(at) = at.checked_sub(place.into()) {
                    block.fix(at, *byte);
                }
            }
        }
    }
}
