//! Which facts and rules an event can mean anything to: found by what it says in the fields that
//! they compare with constants, so that an event costs what concerns it and not what is written.
//!
//! What is left out could not have done anything: its conditions do not hold. Whoever is asked is
//! asked in the order of the rulebook.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use event::prefetch::{fetch, prefetch};
use event::{EventRef, Symbol};

use super::cells::Key;
use super::claims::Claim;
use super::groups::{GROUPS_MAX, Group};
use super::scope::{Setting, part_of};
use super::steps::{FactStep, RuleStep};
use crate::plan::{FactId, RuleId};

/// Fields that one index looks at: rules that compare others are asked always.
const FIELDS_MAX: usize = 3;
const _: () = assert!(GROUPS_MAX <= FIELDS_MAX);

/// So many are asked always, where there are no more: to look at each costs less than to look for a list.
const FEW: usize = 2;

/// By so much lists may grow to hold what is asked always, too, beside their own length.
const WHOLE_MAX: usize = 1_024;

/// Cells of an index from which on its lists are asked for ahead.
const LARGE: usize = 1_024;

/// Numbers of facts or rules by the values of fields.
#[derive(Clone, Debug)]
pub struct Index<F, T> {
    /// All of them.
    all: Vec<T>,
    /// Those that are asked whatever the fields say.
    always: Vec<T>,
    pub(super) by_field: Vec<(F, Values)>,
    /// The lists of the values, one behind another.
    pub(super) listed: Vec<T>,
    pub(super) groups: Vec<Group>,
    /// Whether there is one field, and the list of each of its values holds what is asked always, too:
    /// then one list is all there is to go through.
    pub(super) whole_lists: bool,
}

impl<F, T> Default for Index<F, T> {
    fn default() -> Self {
        let (all, always, by_field, listed, groups) = Default::default();
        Self { all, always, by_field, listed, groups, whole_lists: false }
    }
}

/// Where the list of each value stands: a power of two of cells, searched from the hash on.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub(super) cells: Box<[List]>,
    shift: u32,
}

/// The list of a value: a part that is gone through, and groups of which each is behind a gate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    pub(super) value: Symbol,
    pub(super) from: u32,
    pub(super) to: u32,
    /// The first of its groups, and below that in two bits how many they are.
    pub(super) groups: u32,
}

/// Symbols are counted by their numbers where there are so many numbers for each, at most.
const SPARSE: usize = 16;

impl List {
    fn groups(self) -> std::ops::Range<usize> {
        let first = (self.groups >> 2) as usize;
        first..first + (self.groups & 3) as usize
    }
}

impl Values {
    fn new(lists: &[List]) -> Self {
        let size = (2 * lists.len()).next_power_of_two();
        let mut values = Self {
            cells: vec![List::default(); size].into_boxed_slice(),
            shift: u64::BITS - size.trailing_zeros(),
        };
        for list in lists {
            let at = values.place(list.value);
            values.cells[at] = *list;
        }
        values
    }

    /// Where the search for a value begins.
    #[inline]
    fn start(&self, value: Symbol) -> usize {
        // Never one cell: the shift is legal.
        (u64::from(value.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// Where a value stands, or is to stand.
    #[inline]
    fn place(&self, value: Symbol) -> usize {
        // Never as many as there are cells: the search ends.
        let mut at = self.start(value);
        while self.cells[at].value != value && self.cells[at].value != Symbol::NONE {
            at = (at + 1) & (self.cells.len() - 1);
        }
        at
    }
}

impl<F: Copy + Ord, T: Copy + Ord> Index<F, T> {
    /// An index of what is asked, in its order; one may be asked for several reasons.
    pub fn new(asks: &[(T, &[Claim<F>])]) -> Self {
        if asks.is_empty() {
            return Self::default();
        }
        let mut all: Vec<T> = asks.iter().map(|(asked, _)| *asked).collect();
        all.dedup();
        let fields = if all.len() > FEW { fields_of(asks) } else { Vec::new() };
        // The place of the best field that something is claimed of, and what is.
        let best = |claims: &'_ [Claim<F>]| {
            let of = |field: &F| claims.iter().position(|claim| claim.field == *field);
            fields.iter().enumerate().find_map(|(place, field)| Some((place, of(field)?)))
        };
        let mut always = Vec::new();
        // As long as they will be: what grows has been in several places.
        let of_field = |field: &F| {
            let claims = asks.iter().flat_map(|(_, claims)| claims.iter());
            claims.filter(|claim| claim.field == *field).map(|claim| claim.values.len()).sum()
        };
        let mut lists: Vec<Vec<(u32, T)>> =
            fields.iter().map(|field| Vec::with_capacity(of_field(field))).collect();
        for reasons in asks.chunk_by(|a, b| a.0 == b.0) {
            let asked = reasons[0].0;
            let places: Option<Vec<_>> = reasons.iter().map(|(_, claims)| best(claims)).collect();
            let Some(places) = places else {
                always.push(asked);
                continue;
            };
            for ((field, claim), (_, claims)) in places.into_iter().zip(reasons) {
                lists[field].extend(claims[claim].values.iter().map(|value| (value.0, asked)));
            }
        }
        let (mut by_field, mut listed) = (Vec::new(), Vec::new());
        let mut filled: Vec<_> = lists.iter_mut().filter(|list| !list.is_empty()).collect();
        let whole_lists = match filled.as_mut_slice() {
            [list] => ask_always(list, &always),
            _ => false,
        };
        // A field that another one goes before everywhere has no lists.
        let used = fields.into_iter().zip(lists).filter(|(_, list)| !list.is_empty());
        for (field, mut list) in used {
            sort_by_value(&mut list, always.is_empty());
            list.dedup();
            let mut values = Vec::new();
            for of_value in list.chunk_by(|a, b| a.0 == b.0) {
                let from = listed.len() as u32;
                listed.extend(of_value.iter().map(|(_, asked)| *asked));
                let (value, to) = (Symbol(of_value[0].0), listed.len() as u32);
                values.push(List { value, from, to, groups: 0 });
            }
            by_field.push((field, Values::new(&values)));
        }
        Self { all, always, by_field, listed, groups: Vec::new(), whole_lists }
    }

    /// The same, with what `say` says of each.
    pub fn with<U: Copy>(self, say: impl Fn(T) -> U) -> Index<F, U>
    where
        T: Numbered,
    {
        let Self { all, always, by_field, listed, groups, whole_lists } = self;
        if all.is_empty() {
            return Index::default();
        }
        // Once for each of all, who stand in their order: some stand in many lists.
        let said: Vec<U> = all.iter().copied().map(say).collect();
        let mut places = vec![0; all.last().map_or(0, |last| usize::from(last.number()) + 1)];
        all.iter().enumerate().for_each(|(at, one)| places[usize::from(one.number())] = at);
        let of = |one: &T| said[places[usize::from(one.number())]];
        let [always, listed] = [always, listed].map(|list| list.iter().map(of).collect());
        Index { all: said, always, by_field, listed, groups, whole_lists }
    }
}

impl<F: Copy, T> Index<F, T> {
    /// The field that it goes by first: whoever claims something of it, for one reason, stands in the
    /// lists of the values claimed and nowhere else.
    #[inline]
    pub fn field(&self) -> Option<F> {
        self.by_field.first().map(|(field, _)| *field)
    }
}

impl<F: Copy, T: Copy + Numbered> Index<F, T> {
    /// All that may be asked.
    #[inline]
    pub fn all(&self) -> &[T] {
        &self.all
    }

    /// All where they are few; else those that are asked whatever the fields say.
    pub fn often(&self, few: usize) -> &[T] {
        if self.all.len() <= few { &self.all } else { &self.always }
    }

    /// Whether its tables do not stay in the near caches.
    pub fn is_large(&self) -> bool {
        matches!(&self.by_field[..], [(_, values)] if self.whole_lists && values.cells.len() >= LARGE)
    }

    /// Asks for where the list of a value stands.
    #[inline]
    pub fn expect(&self, value: impl Fn(F) -> Option<Symbol>) {
        if let [(field, values)] = &self.by_field[..]
            && let Some(value) = value(*field)
        {
            fetch(&values.cells[values.start(value)]);
        }
    }

    /// Asks for the list of a value.
    #[inline]
    pub fn expect_list(&self, value: impl Fn(F) -> Option<Symbol>) {
        if let [(field, values)] = &self.by_field[..]
            && let Some(value) = value(*field)
        {
            let list = values.cells[values.place(value)];
            // A line of memory holds five.
            let places = (list.from as usize..list.to as usize).step_by(5).take(4);
            places.for_each(|place| prefetch(&self.listed, place));
            let groups = &self.groups[list.groups()];
            groups.first().into_iter().chain(groups.last()).for_each(fetch);
        }
    }

    /// The list of a value, where all are found by one, without its groups; and the value.
    #[inline(always)]
    pub fn listed(&self, value: impl Fn(F) -> Option<Symbol>) -> Option<(Symbol, &[T])> {
        let [(field, values)] = &self.by_field[..] else { return None };
        let value = value(*field)?;
        let list = values.cells[values.place(value)];
        Some((value, &self.listed[list.from as usize..list.to as usize]))
    }

    /// As [`Self::asked`], whatever the fields say.
    pub fn whole(&self) -> Asked<'_, T> {
        Asked::of(&self.all)
    }

    /// Those to be asked, where the fields say this, of the groups whose gates let it pass.
    #[inline(always)]
    pub fn asked(
        &self,
        value: impl Fn(F) -> Option<Symbol>,
        passes: impl Fn(&Group) -> bool,
    ) -> Asked<'_, T> {
        match self.asked_of_one(&value, &passes) {
            Some(list) => Asked::of(list),
            None => self.asked_of_several(value, passes),
        }
    }

    /// Those to be asked, where that is all of them whatever the fields say.
    #[inline(always)]
    pub fn all_always(&self) -> Option<&[T]> {
        self.by_field.is_empty().then_some(&self.always)
    }

    /// As [`Self::asked`], where that is one list, as it mostly is.
    #[inline(always)]
    pub fn asked_of_one(
        &self,
        value: impl Fn(F) -> Option<Symbol>,
        passes: impl Fn(&Group) -> bool,
    ) -> Option<&[T]> {
        match &self.by_field[..] {
            [] => Some(&self.always),
            [(field, values)] if self.whole_lists => {
                let Some(value) = value(*field) else { return Some(&self.always) };
                let list = values.cells[values.place(value)];
                if list.value == Symbol::NONE {
                    return Some(&self.always);
                }
                let groups = &self.groups[list.groups()];
                if groups.iter().any(&passes) {
                    return None;
                }
                Some(&self.listed[list.from as usize..list.to as usize])
            }
            _ => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn asked_of_several(
        &self,
        value: impl Fn(F) -> Option<Symbol>,
        passes: impl Fn(&Group) -> bool,
    ) -> Asked<'_, T> {
        let mut lists: [&[T]; FIELDS_MAX + 1] = [&self.always, &[], &[], &[]];
        if let ([(field, values)], true) = (&self.by_field[..], self.whole_lists) {
            let list = value(*field).map_or_else(List::default, |v| values.cells[values.place(v)]);
            if list.value != Symbol::NONE {
                lists[0] = &self.listed[list.from as usize..list.to as usize];
                for (place, group) in lists[1..].iter_mut().zip(&self.groups[list.groups()]) {
                    if passes(group) {
                        *place = &self.listed[group.from as usize..group.to as usize];
                    }
                }
            }
            return Asked::of_several(lists);
        }
        for (list, (field, values)) in lists[1..].iter_mut().zip(&self.by_field) {
            if let Some(value) = value(*field) {
                *list = self.list(values, value);
            }
        }
        Asked::of_several(lists)
    }

    /// The list of a value; empty where it has none.
    #[inline]
    fn list(&self, values: &Values, value: Symbol) -> &[T] {
        let List { from, to, .. } = values.cells[values.place(value)];
        &self.listed[from as usize..to as usize]
    }
}

/// Sorts by the numbers of symbols, and for each in the order of the rulebook, in which they come where that is
/// said. Nothing but the places of the lists goes by this order.
fn sort_by_value<T: Copy + Ord>(list: &mut Vec<(u32, T)>, in_order: bool) {
    let span = span_of(list.iter().map(|(value, _)| *value));
    let Some((first, span)) = span.filter(|(_, span)| in_order && *span <= SPARSE * list.len())
    else {
        return list.sort_unstable();
    };
    let mut ends = vec![0_u32; span + 1];
    list.iter().for_each(|(value, _)| ends[(value - first) as usize + 1] += 1);
    (1..=span).for_each(|at| ends[at] += ends[at - 1]);
    let mut sorted = vec![list[0]; list.len()];
    for one in &*list {
        let at = &mut ends[(one.0 - first) as usize];
        sorted[*at as usize] = *one;
        *at += 1;
    }
    *list = sorted;
}

/// The first of some numbers, and how far the last is behind it.
fn span_of(numbers: impl Iterator<Item = u32> + Clone) -> Option<(u32, usize)> {
    let (first, last) = (numbers.clone().min()?, numbers.max()?);
    Some((first, (last - first) as usize + 1))
}

/// How many numbers there are, each once.
fn distinct(numbers: &mut Vec<u32>) -> usize {
    match span_of(numbers.iter().copied()) {
        Some((first, span)) if span <= SPARSE * numbers.len() => {
            let mut seen = vec![false; span];
            numbers.iter().for_each(|number| seen[(number - first) as usize] = true);
            seen.into_iter().filter(|seen| *seen).count()
        }
        _ => {
            numbers.sort_unstable();
            numbers.dedup();
            numbers.len()
        }
    }
}

/// Enters what is asked always under every value of the only field, where that does not make the
/// lists much longer.
fn ask_always<T: Copy + Ord>(list: &mut Vec<(u32, T)>, always: &[T]) -> bool {
    if always.is_empty() {
        return true;
    }
    let mut values: Vec<u32> = list.iter().map(|(value, _)| *value).collect();
    values.sort_unstable();
    values.dedup();
    let more = values.len() * always.len();
    if more > list.len() + WHOLE_MAX {
        return false;
    }
    list.extend(values.iter().flat_map(|value| always.iter().map(|asked| (*value, *asked))));
    true
}

/// The fields that tell the most apart, those first that do more.
fn fields_of<F: Copy + Ord, T>(asks: &[(T, &[Claim<F>])]) -> Vec<F> {
    let mut many: BTreeMap<F, usize> = BTreeMap::new();
    let claims = || asks.iter().flat_map(|(_, claims)| claims.iter());
    claims().for_each(|claim| *many.entry(claim.field).or_default() += claim.values.len());
    let room = |(field, many): (F, usize)| (field, Vec::with_capacity(many));
    let mut seen: BTreeMap<F, Vec<u32>> = many.into_iter().map(room).collect();
    for claim in claims() {
        seen.entry(claim.field).or_default().extend(claim.values.iter().map(|value| value.0));
    }
    let many = |(field, mut values): (F, Vec<u32>)| (Reverse(distinct(&mut values)), field);
    let mut fields: Vec<(Reverse<usize>, F)> = seen.into_iter().map(many).collect();
    fields.sort_unstable();
    fields.into_iter().take(FIELDS_MAX).map(|(_, field)| field).collect()
}

/// Facts or rules in the order of the rulebook, each once, out of several lists.
#[derive(Clone, Debug)]
pub enum Asked<'a, T> {
    /// One list, which mostly is all.
    One(&'a [T]),
    /// Several.
    Several([&'a [T]; FIELDS_MAX + 1]),
}

impl<'a, T> Asked<'a, T> {
    #[inline]
    fn of(list: &'a [T]) -> Self {
        Self::One(list)
    }

    fn of_several(lists: [&'a [T]; FIELDS_MAX + 1]) -> Self {
        let mut filled = lists.iter().filter(|list| !list.is_empty());
        match (filled.next(), filled.next()) {
            (Some(list), None) => Self::of(list),
            (None, _) => Self::of(&[]),
            _ => Self::Several(lists),
        }
    }
}

/// The number of a fact or rule: who is asked is asked in this order.
pub trait Numbered {
    /// The number.
    fn number(&self) -> u16;
}

fn next_of<T: Copy + Numbered>(lists: &mut [&[T]]) -> Option<T> {
    let least = *lists.iter().filter_map(|list| list.first()).min_by_key(|one| one.number())?;
    for list in lists {
        if list.first().is_some_and(|one| one.number() == least.number()) {
            *list = &list[1..];
        }
    }
    Some(least)
}

impl<T: Copy + Numbered> Iterator for Asked<'_, T> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        match self {
            Self::One(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(*first)
            }
            Self::Several(lists) => next_of(lists),
        }
    }
}

impl<'a> Setting<'a> {
    /// Facts that an event may change.
    #[inline(always)]
    pub fn facts_asked(&self, event: EventRef<'_>) -> Asked<'a, FactStep> {
        let facts = &self.layout.interest(event.kind()).facts;
        facts.asked(|field| part_of(self, event, field), |_| true)
    }

    /// Rules that an event may step, whatever their gates say.
    pub fn rules_listed(&self, event: EventRef<'_>) -> Asked<'a, RuleStep> {
        let rules = &self.layout.interest(event.kind()).rules;
        rules.asked(|field| part_of(self, event, field), |_| true)
    }

    /// Watches whose level may be another, since a fact has changed for a key.
    #[inline]
    pub fn watches_asked(&self, fact: FactId, key: &Key) -> Asked<'a, RuleId> {
        self.layout.watchers(fact).asked(|place| key[place].some(), |_| true)
    }
}
