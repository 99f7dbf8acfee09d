//! Rules of a list that ask the same of an event, behind one gate.

use std::cmp::Reverse;

use event::{EventRef, Symbol};

use super::asked::Index;
use crate::condition::{Counted, Gate};
use crate::plan::RuleId;

/// Groups of one list.
pub const GROUPS_MAX: usize = 3;

/// Different things that the rules of a list ask, of which the groups are chosen.
const ASKS_MAX: usize = 16;

/// Those of a list that ask the same, and none of whom is meant where what all of them let pass is not.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    gate: Gate,
    /// Of a gate of several texts, a bit of each: of a few rules it lets pass more than is meant.
    bits: u64,
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Group {
    /// Whether it lets an event pass.
    #[inline(always)]
    pub fn passes(&self, event: EventRef<'_>, counted: &Counted) -> bool {
        self.gate.passes(event, counted) && self.gate.is_among(event, self.bits)
    }
}

impl<F> Index<F, RuleId> {
    /// The same, where rules of a value's list that ask the same of an event stand apart from it behind one
    /// gate: what none of them wants to hear costs one look. Of each rule, its gate and the bits of that.
    pub fn grouped(mut self, gate: impl Fn(RuleId) -> Gate, bits: impl Fn(RuleId) -> u64) -> Self {
        let [(_, values)] = &mut self.by_field[..] else { return self };
        if !self.whole_lists {
            return self;
        }
        let all = std::mem::take(&mut self.listed);
        self.listed.reserve_exact(all.len());
        // Of those of a list: the gate of each, what that asks, and 1 + the number of its group.
        let (mut gates, mut asks, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for list in values.cells.iter_mut().filter(|list| list.value != Symbol::NONE) {
            let asked = &all[list.from as usize..list.to as usize];
            gates.clear();
            gates.extend(asked.iter().map(|rule| gate(*rule)));
            asks.clear();
            asks.extend(gates.iter().map(|gate| gate.asks()));
            let (chosen, many) = chosen_of(&asks);
            let chosen = &chosen[..many];
            list.groups = (self.groups.len() as u32) << 2 | many as u32;
            list.from = self.listed.len() as u32;
            let place = |asks: &Option<(u8, u8)>| {
                chosen.iter().position(|one| Some(*one) == *asks).map_or(0, |group| group + 1)
            };
            places.clear();
            places.extend(asks.iter().map(place));
            let put = |listed: &mut Vec<RuleId>, place: usize| {
                let of = asked.iter().zip(&places).filter(|(_, of)| **of == place);
                of.for_each(|(rule, _)| listed.push(*rule));
            };
            put(&mut self.listed, 0);
            list.to = self.listed.len() as u32;
            for place in 1..=many {
                let from = self.listed.len();
                put(&mut self.listed, place);
                let of_group = gates.iter().zip(&places).filter(|(_, of)| **of == place);
                let all = of_group.map(|(gate, _)| *gate);
                let all = all.reduce(|a, b| a.either(b).unwrap_or(Gate::OPEN));
                let gate = all.unwrap_or(Gate::OPEN);
                let group = &self.listed[from..];
                let of_texts = if gate.is_of_texts() { group } else { &[] };
                let bits = of_texts.iter().fold(0, |all, rule| all | bits(*rule));
                let (from, to) = (from as u32, self.listed.len() as u32);
                self.groups.push(Group { gate, bits, from, to });
            }
        }
        self
    }
}

/// What several of a list ask, those first that most do; and how many these are.
fn chosen_of(asked: &[Option<(u8, u8)>]) -> ([(u8, u8); GROUPS_MAX], usize) {
    let mut many: [((u8, u8), usize); ASKS_MAX] = Default::default();
    let mut kinds = 0;
    for one in asked.iter().flatten() {
        match many[..kinds].iter_mut().find(|(asks, _)| asks == one) {
            Some((_, times)) => *times += 1,
            None if kinds < ASKS_MAX => {
                many[kinds] = (*one, 1);
                kinds += 1;
            }
            None => {}
        }
    }
    many[..kinds].sort_unstable_by_key(|(asks, times)| (Reverse(*times), *asks));
    let chosen = many[..kinds].iter().take_while(|(_, times)| *times > 1).take(GROUPS_MAX);
    let mut out = <[(u8, u8); GROUPS_MAX]>::default();
    let many = out.iter_mut().zip(chosen).map(|(out, (asks, _))| *out = *asks).count();
    (out, many)
}
