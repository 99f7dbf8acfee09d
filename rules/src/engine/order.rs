//! Which of a holder's keys and runs came first: asked only where one must be given up.
//!
//! Whatever comes to hold something has a number, its age: nothing else is done for order while nobody gives
//! anything up. Who does has all that it holds looked for and put in order, and goes along that: of what has gone
//! since, or came anew, the age is another, and whatever came since is younger. A holder that may have
//! few is told of each that comes, for all cells of the site would be looked at too often.

use std::collections::VecDeque;

use super::state::State;

/// Limits up to which a holder is told of what comes.
const FEW: u32 = if cfg!(debug_assertions) { 4 } else { 4_096 };

/// Ages and cells, the oldest first; nothing where that was not asked for yet.
type Elders = Option<VecDeque<(u64, u32)>>;

/// By holder.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The last age.
    last: u64,
    keys: Vec<Elders>,
    runs: Vec<Elders>,
}

impl Order {
    /// Nothing is known of the cells of so many holders but the last age.
    pub fn new(holders: u32, last: u64) -> Self {
        let nothing = || vec![None; holders as usize];
        Self { last, keys: nothing(), runs: nothing() }
    }

    /// The age of what comes now.
    #[inline(always)]
    pub fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// The first of those that a holder still has. Where it has none of the known, all are looked at.
fn first(
    elders: &mut Elders,
    has: impl Fn(&(u64, u32)) -> bool,
    all: impl Iterator<Item = (u64, u32)>,
) -> Option<u32> {
    let elders = elders.get_or_insert_default();
    while elders.front().is_some_and(|one| !has(one)) {
        elders.pop_front();
    }
    if elders.is_empty() {
        let mut found: Vec<_> = all.filter(has).collect();
        found.sort_unstable();
        *elders = found.into();
    }
    elders.front().map(|one| one.1)
}

/// A cell comes, younger than all; where many stand there, those go that do not stay.
fn note(elders: &mut Elders, one: (u64, u32), limit: u32, stays: impl FnMut(&(u64, u32)) -> bool) {
    let Some(elders) = elders else { return };
    if elders.len() > 4 * limit as usize + 64 {
        elders.retain(stays);
    }
    elders.push_back(one);
}

impl State {
    /// Whether a key's cell has been a holder's since that age.
    fn is_key(&self, holder: u32, (age, cell): (u64, u32)) -> bool {
        let cell = self.keys.get(cell);
        cell.owner != 0
            && !cell.is_idle()
            && cell.age == age
            && self.bounds.holder(cell.owner()) == holder
    }

    /// Whether a run has been a holder's since that age.
    fn is_run(&self, holder: u32, (age, run): (u64, u32)) -> bool {
        let run = self.runs.get(run);
        run.owner != 0 && run.serial == age && self.bounds.holder_of_rule(run.owner - 1) == holder
    }

    /// A key has come to a holder that may have few.
    #[cold]
    #[inline(never)]
    pub(super) fn key_came(&mut self, holder: u32, age: u64, cell: u32) {
        let mut elders = self.order.keys[holder as usize].take();
        let limit = self.bounds.limits(holder).keys;
        note(&mut elders, (age, cell), limit, |one| self.is_key(holder, *one));
        self.order.keys[holder as usize] = elders;
    }

    /// A run has come to one.
    #[cold]
    #[inline(never)]
    pub(super) fn run_came(&mut self, holder: u32, age: u64, run: u32) {
        let mut elders = self.order.runs[holder as usize].take();
        let limit = self.bounds.limits(holder).runs;
        note(&mut elders, (age, run), limit, |one| self.is_run(holder, *one));
        self.order.runs[holder as usize] = elders;
    }

    /// The key that came to a holder first.
    pub fn first_key(&mut self, holder: u32) -> Option<u32> {
        let mut elders = self.order.keys[holder as usize].take();
        let all = self.keys.indexes().map(|cell| (self.keys.get(cell).age, cell));
        let first = first(&mut elders, |one| self.is_key(holder, *one), all);
        self.order.keys[holder as usize] = elders;
        first
    }

    /// The run that came to a holder first, of those that have cells of their own.
    pub fn first_run(&mut self, holder: u32) -> Option<u32> {
        let mut elders = self.order.runs[holder as usize].take();
        let all = self.runs.indexes().map(|run| (self.runs.get(run).serial, run));
        let first = first(&mut elders, |one| self.is_run(holder, *one), all);
        self.order.runs[holder as usize] = elders;
        first
    }

    /// The key that a holder gives up next: the oldest, but one that was written to since it came
    /// is spared once for that.
    pub fn oldest_key(&mut self, holder: u32) -> Option<u32> {
        loop {
            let oldest = self.first_key(holder)?;
            if !self.keys.get(oldest).is_used() {
                return Some(oldest);
            }
            self.keys.get_mut(oldest).use_it(false);
            self.grow_young(oldest, holder);
        }
    }

    /// A key of a holder is the youngest from now on.
    pub(super) fn grow_young(&mut self, cell: u32, holder: u32) {
        let age = self.order.next();
        self.keys.get_mut(cell).age = age;
        if has_few(self.bounds.limits(holder).keys) {
            self.key_came(holder, age, cell);
        }
    }

    /// Forgets the order, and goes on from the ages that there are: after a restore, and under other bounds.
    pub(super) fn forget_order(&mut self) {
        let last = self.keys.indexes().map(|cell| self.keys.get(cell).age).max();
        self.order = Order::new(self.bounds.holders(), last.unwrap_or(0).max(self.order.last));
    }
}

/// Whether a holder with this limit is told of each that comes.
#[inline(always)]
pub(super) fn has_few(limit: u32) -> bool {
    limit <= FEW
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use event::Symbol;

    use super::*;
    use crate::engine::holdings::Bounds;
    use crate::engine::prepared::key_of_text;
    use crate::engine::state::Owner;
    use crate::plan::Limits;
    use crate::value::Value;

    #[test]
    fn the_first_is_found_whatever_came_and_went() {
        for keys in [FEW, 1_000] {
            let limits = Limits { keys, ..Limits::default() };
            let mut state = State::new(Arc::new(Bounds::of_one(limits)));
            let (mut line, mut random): (VecDeque<(Symbol, bool)>, u32) = (VecDeque::new(), 1);
            for step in 0..20_000_u32 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let text = Symbol(1 + (random >> 20) % 48);
                let stands = line.iter().position(|one| one.0 == text);
                match (random >> 8) & 3 {
                    0 | 1 => {
                        state.find_or_insert(Owner(0), &key_of_text(text), Value::Int(1));
                        match stands {
                            Some(at) => line[at].1 = true,
                            None => line.push_back((text, false)),
                        }
                    }
                    2 => {
                        if let (Some(at), Some(cell)) =
                            (stands, state.find(Owner(0), &key_of_text(text)))
                        {
                            line.remove(at);
                            if step % 2 == 0 { state.retire(cell) } else { state.remove(cell) }
                        }
                    }
                    _ if step % 8 == 0 => {
                        while line.front().is_some_and(|one| one.1) {
                            let spared = line.pop_front().map(|one| (one.0, false));
                            line.extend(spared);
                        }
                        let oldest = state.oldest_key(0).map(|cell| state.key(cell)[0]);
                        assert_eq!(oldest, line.front().map(|one| one.0), "step {step}");
                    }
                    _ if step % 512 == 7 => state.reindex(),
                    _ => {}
                }
            }
            assert!(line.len() > 4, "{} keys", line.len());
        }
    }
}
