//! What a key counts of which each value counts once: its values, and how often each stands in its window.
//!
//! The first dozen stand in a line of memory that its cell knows of, and the next in another beside it.
//! Whatever more there are have cells of their own, found by the index, and so does a value that comes
//! very often.

use bytemuck::{Pod, Zeroable};
use event::{EventRef, Symbol};

use super::cells::{Entry, Key};
use super::holdings::Over;
use super::pages::Cell;
use super::state::{Owner, State, Vacant};
use crate::value::Value;

/// Values of a line.
const FEW: usize = 12;

/// A line of them.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Few {
    /// 0 where none stands.
    texts: [u32; FEW],
    counts: [u8; FEW],
    word: u32,
}

impl Few {
    /// Where a value stands.
    #[inline(always)]
    fn place(&self, value: u32) -> Option<usize> {
        // All are looked at: which is the one, nobody could foretell.
        let same = |bits: u32, (n, text): (usize, &u32)| bits | u32::from(*text == value) << n;
        let bits = self.texts.iter().enumerate().fold(0, same);
        (bits != 0).then_some(bits.trailing_zeros() as usize)
    }

    #[inline(always)]
    fn put(&mut self, place: usize, value: u32) {
        (self.texts[place], self.counts[place]) = (value, 1);
    }

    /// One more of a value; whether there is room for it.
    #[inline(always)]
    fn add(&mut self, place: usize) -> bool {
        let more = self.counts[place].checked_add(1);
        self.counts[place] = more.unwrap_or(u8::MAX);
        more.is_some()
    }

    /// One less; whether it was the last.
    #[inline(always)]
    fn take(&mut self, place: usize) -> bool {
        self.counts[place] -= 1;
        let last = self.counts[place] == 0;
        if last {
            self.texts[place] = 0;
        }
        last
    }

    fn many(&self) -> u32 {
        self.texts.iter().filter(|text| **text != 0).count() as u32
    }
}

/// The values of a key. The word of the first line says how many stand elsewhere, and 1 beside that; that of
/// the second how many of these have cells of their own.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Values {
    near: Few,
    far: Few,
}

impl Cell for Values {
    fn live(&self) -> u32 {
        self.near.word
    }
    fn next_free(&self) -> u32 {
        self.near.texts[0]
    }
    fn set_free(&mut self, next: u32) {
        *self = Self::zeroed();
        self.near.texts[0] = next;
    }
}

impl Values {
    fn none() -> Self {
        let mut none = Self::zeroed();
        none.near.word = 1;
        none
    }

    /// How many there are that have no cells of their own.
    pub fn many(&self) -> u32 {
        // Mostly there is nothing in the second line, and nobody has asked for it.
        self.near.many() + if self.near.word > 1 { self.far.many() } else { 0 }
    }
}

fn of_value(key: &Key, value: u32) -> Key {
    [key[0], key[1], key[2], Symbol(value)]
}

impl State {
    /// Counts an event of a value in the window of a key; the key's cell, and whether the value is new there.
    #[inline(always)]
    pub fn count_value(
        &mut self,
        known: Result<u32, Vacant>,
        (owner, key): (Owner, &Key),
        event: EventRef<'_>,
        value: Symbol,
    ) -> (u32, bool) {
        let cell = match known {
            Ok(cell) => cell,
            Err(_) => self.enter_count(known, owner, key),
        };
        let is_new = self.value_came(cell, value);
        // A key to which nothing but new values come is none that is in use.
        let limit = (owner.0, self.bounds.limits(owner.0).events);
        let entry = Entry::of(event, u64::from(value.0));
        self.count_in(cell, limit, entry, i64::from(is_new), !is_new);
        (cell, is_new)
    }

    /// An event of a value has come to the window of a key; whether it is the value's only one.
    #[inline(always)]
    fn value_came(&mut self, cell: u32, Symbol(value): Symbol) -> bool {
        let Some(at) = self.keys.get(cell).values() else {
            return self.first_came(cell, value);
        };
        let values = self.values.get_mut(at);
        match values.near.place(value) {
            Some(place) if values.near.add(place) => return false,
            // Where none stands elsewhere it is a new one.
            None if values.near.word == 1 => {
                if let Some(place) = values.near.place(0) {
                    values.near.put(place, value);
                    self.keeps(cell);
                    return true;
                }
            }
            _ => {}
        }
        self.came_elsewhere(cell, at, value)
    }

    #[cold]
    #[inline(never)]
    fn first_came(&mut self, cell: u32, value: u32) -> bool {
        let mut values = Values::none();
        values.near.put(0, value);
        let at = self.values.insert(values);
        self.keys.get_mut(cell).keep_values(at);
        self.keeps(cell);
        true
    }

    /// A key counts a value more.
    #[inline(always)]
    fn keeps(&mut self, cell: u32) {
        let holder = self.bounds.holder(self.keys.get(cell).owner());
        self.room -= 1;
        self.valued += 1;
        let (holding, limits) = (self.holdings.get_mut(holder), self.bounds.limits(holder));
        holding.keys += 1;
        if holding.keys > limits.keys {
            self.is_over(Over::Keys(holder));
        }
    }

    /// So many less.
    #[inline(always)]
    fn keeps_less(&mut self, cell: u32, less: u32) {
        let holder = self.bounds.holder(self.keys.get(cell).owner());
        self.valued -= less;
        self.holdings.get_mut(holder).keys -= less;
    }

    #[cold]
    #[inline(never)]
    fn came_elsewhere(&mut self, cell: u32, at: u32, value: u32) -> bool {
        let values = self.values.get_mut(at);
        if let Some(place) = values.near.place(value) {
            values.near.texts[place] = 0;
            values.near.word += 1;
            return self.move_out(cell, at, value);
        }
        if let Some(place) = values.far.place(value) {
            if values.far.add(place) {
                return false;
            }
            values.far.texts[place] = 0;
            return self.move_out(cell, at, value);
        }
        if values.far.word > 0 {
            let owner = self.keys.get(cell).owner();
            let own = self.find(owner, &of_value(&self.key(cell), value));
            if let Some(own) = own {
                self.keys.get_mut(own).use_it(true);
                return self.keys.get_mut(own).add(1) == 1;
            }
        }
        let values = self.values.get_mut(at);
        if let Some(place) = values.near.place(0) {
            values.near.put(place, value);
        } else {
            values.near.word += 1;
            match values.far.place(0) {
                Some(place) => values.far.put(place, value),
                None => {
                    self.keep_apart(cell, at, value, 1);
                    return true;
                }
            }
        }
        self.keeps(cell);
        true
    }

    /// A value has come so often that a line has no room for it.
    fn move_out(&mut self, cell: u32, at: u32, value: u32) -> bool {
        self.keeps_less(cell, 1);
        self.keep_apart(cell, at, value, i64::from(u8::MAX) + 1);
        false
    }

    /// Keeps a value in a cell of its own.
    fn keep_apart(&mut self, cell: u32, at: u32, value: u32, count: i64) {
        self.values.get_mut(at).far.word += 1;
        let owner = self.keys.get(cell).owner();
        let key = of_value(&self.key(cell), value);
        self.find_or_insert(owner, &key, Value::Int(count));
    }

    /// An event of a value has left the window of a key; whether it was the value's last.
    #[inline(always)]
    pub fn value_left(&mut self, cell: u32, value: u32) -> bool {
        let Some(at) = self.keys.get(cell).values() else { return false };
        let near = &mut self.values.get_mut(at).near;
        let Some(place) = near.place(value) else { return self.left_elsewhere(cell, at, value) };
        let last = near.take(place);
        if last {
            self.keeps_less(cell, 1);
        }
        last
    }

    #[cold]
    #[inline(never)]
    fn left_elsewhere(&mut self, cell: u32, at: u32, value: u32) -> bool {
        let values = self.values.get_mut(at);
        if let Some(place) = values.far.place(value) {
            let last = values.far.take(place);
            if last {
                values.near.word -= 1;
                self.keeps_less(cell, 1);
            }
            return last;
        }
        let owner = self.keys.get(cell).owner();
        let Some(own) = self.find(owner, &of_value(&self.key(cell), value)) else { return false };
        if self.keys.get_mut(own).add(-1) > 0 {
            return false;
        }
        self.remove(own);
        let values = self.values.get_mut(at);
        (values.near.word, values.far.word) = (values.near.word - 1, values.far.word - 1);
        true
    }

    /// Forgets what a key counts, before its cell is freed or stands empty. What has cells of its own goes with them.
    #[inline]
    pub(super) fn forget_values(&mut self, cell: u32) {
        if let Some(at) = self.keys.get(cell).values() {
            self.keeps_less(cell, self.values.get(at).many());
            self.values.remove(at);
            self.keys.get_mut(cell).forget_values();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::super::holdings::Bounds;
    use super::*;

    #[test]
    fn values_are_counted_as_a_map_counts_them() {
        let mut state = State::new(Arc::new(Bounds::of_one(crate::plan::Limits::default())));
        let key = [Symbol(7), Symbol::NONE, Symbol::NONE, Symbol::NONE];
        let cell = state.find_or_insert(Owner(0), &key, Value::Int(0));
        let (mut counts, mut window) = (BTreeMap::<u32, u32>::new(), Vec::new());
        let (mut random, mut apart) = (7_u32, [0; 2]);
        for step in 0..60_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // A few values very often, or many: lines run full, and empty again.
            let values = [3, 12, 20, 40][step as usize / 2_500 % 4];
            let grows = step / 10_000 % 2 == 0;
            if window.is_empty() || random >> 8 & 15 < if grows { 12 } else { 6 } {
                let value = 1 + (random >> 16) % values;
                window.push(value);
                let count = counts.entry(value).or_default();
                *count += 1;
                assert_eq!(state.value_came(cell, Symbol(value)), *count == 1, "{step}");
            } else {
                let value = window.swap_remove((random >> 16) as usize % window.len());
                let count = counts.entry(value).or_default();
                *count -= 1;
                let last = *count == 0;
                assert_eq!(state.value_left(cell, value), last, "{step}");
                if last {
                    counts.remove(&value);
                }
            }
            // The key beside them.
            assert_eq!(
                (state.held(), state.holdings.get(0).keys as usize),
                (1 + counts.len(), 1 + counts.len())
            );
            let often = counts.values().any(|count| *count > 300);
            apart[usize::from(often)] += usize::from(state.keys.live() > 1);
        }
        assert!(apart.iter().all(|times| *times > 1_000), "{apart:?} times in cells of their own");
        state.remove(cell);
        assert_eq!(state.values.live(), 0);
        assert_eq!(state.held(), state.keys.live());
    }
}
