//! Which facts and rules an event can mean anything to: found by what it says in the fields that
//! they compare with constants, so that an event costs what concerns it and not what is written.
//!
//! What is left out could not have done anything: its conditions do not hold. Whoever is asked is
//! asked in the order of the rulebook.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use event::prefetch::{fetch, prefetch};
use event::{EventRef, FieldType, KindId, Symbol};

use super::cells::Key;
use super::groups::{GROUPS_MAX, Group};
use super::scope::{Setting, part_of};
use super::steps::{FactStep, RuleStep};
use crate::lang::expr::Expr;
use crate::lang::syntax::Operator;
use crate::plan::{
    Emit, Entity, Fact, FactId, FieldRef, Guard, Pattern, Rule, RuleId, Sequence, Session, Trigger,
};
use crate::value::Value;

/// Fields that one index looks at: rules that compare others are asked always.
const FIELDS_MAX: usize = 3;
const _: () = assert!(GROUPS_MAX <= FIELDS_MAX);

/// So many are asked always, where there are no more: to look at each costs less than to look for a list.
const FEW: usize = 2;

/// By so much lists may grow to hold what is asked always, too, beside their own length.
const WHOLE_MAX: usize = 1_024;

/// Cells of an index from which on its lists are asked for ahead.
const LARGE: usize = 1_024;

/// What follows from a condition that holds: the field has one of these values.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim<F> {
    /// The field.
    pub field: F,
    values: Vec<Symbol>,
}

impl<F> Claim<F> {
    /// The values.
    pub fn values(&self) -> &[Symbol] {
        &self.values
    }
}

/// One reason to ask a fact or rule: an event of these kinds that meets the claims; where there are
/// none, any.
pub struct Ask {
    /// Kinds of event.
    pub kinds: Vec<KindId>,
    /// Each of them follows from the condition.
    pub claims: Vec<Claim<FieldRef>>,
}

/// A part of an expression that is a field of the current event, or what a table says of one.
fn field_of_event(expr: &Expr) -> Option<FieldRef> {
    match expr {
        Expr::Field(field) => Some(*field),
        Expr::Column(table, column, key) => {
            let of = match **key {
                Expr::Field(FieldRef::Slot(id, FieldType::String)) => Entity::Slot(id),
                Expr::Field(FieldRef::Device) => Entity::Device,
                Expr::Field(FieldRef::Site) => Entity::Site,
                _ => return None,
            };
            Some(FieldRef::Joined { of, table: *table, column: *column })
        }
        _ => None,
    }
}

/// What follows from an expression that is true.
fn claims_of(expr: &Expr, field: &impl Fn(&Expr) -> Option<FieldRef>) -> Vec<Claim<FieldRef>> {
    let one = |of: &Expr, values: &[Value]| {
        let named = |value: &Value| match value {
            Value::Text(symbol) => symbol.some(),
            _ => None,
        };
        let mut values = values.iter().map(named).collect::<Option<Vec<Symbol>>>()?;
        // By their numbers, to find those that stand twice: nothing goes by this order.
        values.sort_unstable_by_key(|symbol| symbol.0);
        values.dedup();
        Some(Claim { field: field(of)?, values })
    };
    match expr {
        Expr::And(a, b) => [claims_of(a, field), claims_of(b, field)].concat(),
        Expr::Or(a, b) => {
            let others = claims_of(b, field);
            let both = |claim: Claim<FieldRef>| {
                let other = others.iter().find(|other| other.field == claim.field)?;
                let mut values = [claim.values, other.values.clone()].concat();
                values.sort_unstable_by_key(|symbol| symbol.0);
                values.dedup();
                Some(Claim { field: claim.field, values })
            };
            claims_of(a, field).into_iter().filter_map(both).collect()
        }
        Expr::Holds(inner) => claims_of(inner, field),
        Expr::OneOf(item, of) => one(item, of).into_iter().collect(),
        Expr::Compare(Operator::Equal, a, b) => match (&**a, &**b) {
            (of, Expr::Constant(value)) | (Expr::Constant(value), of) => {
                one(of, &[*value]).into_iter().collect()
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// What follows from a trigger's condition, where it holds.
pub fn claims(trigger: &Trigger) -> Vec<Claim<FieldRef>> {
    trigger.condition.as_ref().map_or(Vec::new(), |c| claims_of(c, &field_of_event))
}

fn ask(trigger: &Trigger) -> Ask {
    Ask { kinds: trigger.kinds.clone(), claims: claims(trigger) }
}

/// What all of several triggers claim of the fields of a key: whatever meets one of them has one of
/// these values there, and whatever shares its key with that has, too.
fn anchors<'a>(
    triggers: impl Iterator<Item = &'a Trigger>,
    by: &[FieldRef],
) -> Vec<Claim<FieldRef>> {
    let of_key = |trigger| {
        let mut claims = claims(trigger);
        claims.retain(|claim| by.contains(&claim.field));
        claims
    };
    let all: Vec<_> = triggers.map(of_key).collect();
    let Some((first, others)) = all.split_first() else { return Vec::new() };
    let in_all = |claim: &Claim<FieldRef>| {
        let mut values = claim.values.clone();
        for other in others {
            let same = other.iter().find(|other| other.field == claim.field)?;
            values.extend(&same.values);
        }
        values.sort_unstable_by_key(|symbol| symbol.0);
        values.dedup();
        Some(Claim { field: claim.field, values })
    };
    first.iter().filter_map(in_all).collect()
}

/// When a fact is to be asked.
pub fn asks_of_fact(fact: &Fact) -> Vec<Ask> {
    fact.triggers().into_iter().map(ask).collect()
}

/// When a rule is to be asked.
pub fn asks_of_rule(rule: &Rule) -> Vec<Ask> {
    let always = |claims| vec![Ask { kinds: rule.kinds(), claims }];
    match &rule.pattern {
        Pattern::Event(on) => {
            let mut ask = ask(on);
            if rule.emit == Emit::Edge {
                // An event that does not meet the condition ends the level of its key.
                ask.claims.retain(|claim| rule.by.contains(&claim.field));
            }
            vec![ask]
        }
        Pattern::Travel { on, .. } => vec![ask(on)],
        Pattern::Passage { on, forgive, .. } => [on].into_iter().chain(forgive).map(ask).collect(),
        Pattern::Watch { .. } => Vec::new(),
        Pattern::Session(session) => always(anchors_of_session(rule, session)),
        Pattern::Sequence(sequence) => {
            // All runs are of keys that the first step has seen.
            let starts = sequence.steps[0].parts.iter().map(|part| &part.on);
            let anchors = anchors(starts, &rule.by);
            if anchors.is_empty() {
                triggers_of(sequence).map(ask).collect()
            } else {
                always(anchors)
            }
        }
        Pattern::Unless { on, guards } => {
            let opening = claims(on);
            let guards = guards.iter().map(|guard| Ask {
                kinds: guard.kinds.clone(),
                claims: claims_of_guard(&opening, guard),
            });
            [ask(on)].into_iter().chain(guards).collect()
        }
    }
}

fn triggers_of(sequence: &Sequence) -> impl Iterator<Item = &Trigger> {
    let steps = sequence.steps.iter();
    let steps = steps.flat_map(|s| s.parts.iter().map(|part| &part.on).chain(&s.without));
    let lead = sequence.lead.iter().map(|lead| &lead.on);
    steps.chain(lead).chain(&sequence.without).chain(&sequence.strict)
}

/// Sessions are of keys that an opening has seen, and ends without a beginning are judged alone.
fn anchors_of_session(rule: &Rule, session: &Session) -> Vec<Claim<FieldRef>> {
    if session.any {
        return Vec::new();
    }
    let orphans = session.orphans.then_some(&session.close);
    anchors([&session.open].into_iter().chain(orphans), &rule.by)
}

/// A guard event counts for openings that share its fields `same`; and where its own condition
/// holds, whichever of the two came first.
fn claims_of_guard(opening: &[Claim<FieldRef>], guard: &Guard) -> Vec<Claim<FieldRef>> {
    let shared = opening.iter().filter(|claim| guard.same.contains(&claim.field)).cloned();
    let forward = guard.forward.as_ref().map(|c| claims_of(c, &field_of_event));
    let captured = |expr: &Expr| match expr {
        Expr::Captured(place) => guard.captures.get(usize::from(*place)).copied(),
        _ => None,
    };
    let backward = guard.backward.as_ref().map(|c| claims_of(c, &captured));
    let own = match (forward, backward) {
        (Some(mut forward), Some(backward)) => {
            forward.retain(|claim| backward.contains(claim));
            forward
        }
        (claims, None) | (None, claims) => claims.unwrap_or_default(),
    };
    shared.chain(own).collect()
}

/// What a watch claims of its key, by the places of a changed fact's key.
pub fn claims_of_watch(
    rule: &Rule,
    watched: &[FieldRef],
    changed: &[FieldRef],
) -> Vec<Claim<usize>> {
    let Pattern::Watch { condition, .. } = &rule.pattern else { return Vec::new() };
    let mut claims = claims_of(condition, &field_of_event);
    claims.retain(|claim| watched.contains(&claim.field));
    let placed = |claim: Claim<FieldRef>| {
        let place = changed.iter().position(|field| *field == claim.field)?;
        Some(Claim { field: place, values: claim.values })
    };
    claims.into_iter().filter_map(placed).collect()
}

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
        let mut lists: Vec<Vec<(u32, T)>> = vec![Vec::new(); fields.len()];
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
    let mut seen: BTreeMap<F, Vec<u32>> = BTreeMap::new();
    for claim in asks.iter().flat_map(|(_, claims)| claims.iter()) {
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
