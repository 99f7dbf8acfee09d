//! Who is interested in events of each kind.

use std::ptr;

use event::KindId;

use super::asked::Index;
use super::claims::{Ask, Claim, asks_of_fact, asks_of_rule};
use super::layout::rules_of;
use super::prepared::{Prepared, PreparedFact, PreparedRule};
use super::readers::Readers;
use super::steps::{FactStep, Places, RuleStep, listed_by};
use crate::plan::{FactId, FieldRef, Plan, RuleId, Scope};

/// Those that all events of a kind concern, whatever they say.
#[derive(Debug, Default)]
pub struct Always {
    /// Facts to update.
    pub facts: Box<[(FactStep, PreparedFact)]>,
    /// Rules to step.
    pub rules: Box<[(RuleStep, PreparedRule)]>,
    /// There are others, and it is said elsewhere who.
    pub others: bool,
}

/// One kind's interested parties, in the order of the rulebook.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Interest {
    /// All of them, where what an event says makes no difference.
    pub always: Always,
    /// Facts to update.
    pub facts: Index<FieldRef, FactStep>,
    /// Rules to step.
    pub rules: Index<FieldRef, RuleStep>,
}

impl Interest {
    fn new(facts: Index<FieldRef, FactStep>, rules: Index<FieldRef, RuleStep>) -> Self {
        Self { always: Always { others: true, ..Always::default() }, facts, rules }
    }

    /// What is said of facts and rules at load is known: where it is the same ones for all events, it stands beside
    /// them.
    pub fn prepare(&mut self, prepared: &Prepared) {
        if let (Some(facts), Some(rules)) = (self.facts.all_always(), self.rules.all_always()) {
            let facts = facts.iter().map(|step| (*step, prepared.fact(step.fact).clone()));
            let rules = rules.iter().map(|step| (*step, *prepared.rule(step.rule)));
            self.always = Always { facts: facts.collect(), rules: rules.collect(), others: false };
        }
    }

    /// Whether any fact may change.
    #[inline]
    pub fn is_of_facts(&self) -> bool {
        !self.facts.all().is_empty()
    }

    pub fn is_large(&self) -> bool {
        self.facts.is_large() || self.rules.is_large()
    }

    #[inline]
    pub fn is_any(&self) -> bool {
        !self.facts.all().is_empty() || !self.rules.all().is_empty()
    }
}

/// Who asks, and what it claims of the events it wants.
type Asker<'a, T> = (T, &'a [Claim<FieldRef>]);

/// Who asks, by kind of event.
fn by_kind<T: Copy>(asks: &[(T, Ask)], kinds: usize) -> Vec<Vec<Asker<'_, T>>> {
    let mut by_kind = vec![Vec::new(); kinds];
    for (asked, ask) in asks {
        for kind in &ask.kinds {
            by_kind[kind.0 as usize].push((*asked, ask.claims.as_slice()));
        }
    }
    by_kind
}

/// Who is interested in each kind, up to the last one that anybody is interested in.
pub fn interests(plan: &Plan, scope: Scope, watched: impl Fn(FactId) -> bool) -> Vec<Interest> {
    let facts = plan.facts.iter().enumerate().filter(|(_, fact)| fact.scope == scope);
    let facts = facts.map(|(number, fact)| (FactId(number as u16), asks_of_fact(fact)));
    let facts: Vec<_> =
        facts.flat_map(|(id, asks)| asks.into_iter().map(move |a| (id, a))).collect();
    let rules = rules_of(plan, scope).map(|(id, rule)| (id, asks_of_rule(rule)));
    let rules: Vec<_> =
        rules.flat_map(|(id, asks)| asks.into_iter().map(move |a| (id, a))).collect();
    // Detections are kinds, too, and of most rules nobody hears them.
    let heard = facts.iter().map(|(_, ask)| ask).chain(rules.iter().map(|(_, ask)| ask));
    let heard = heard.flat_map(|ask| &ask.kinds).map(|kind| usize::from(kind.0) + 1);
    let kinds = heard.max().unwrap_or_default().max(plan.vocabulary.kinds().len());
    let (facts, rules) = (by_kind(&facts, kinds), by_kind(&rules, kinds));
    let readers = Readers::new(plan, scope);
    let places = Places::of(plan, rules_of(plan, scope).map(|(_, rule)| rule));
    let of_kind = |(number, (facts, found)): (usize, (&Vec<_>, Index<FieldRef, RuleId>))| {
        let kind = KindId(number as u16);
        let facts = Index::new(facts);
        let listed = [listed_by(facts.field()), listed_by(found.field())];
        let fact = |id: FactId| {
            let looks = (watched(id), readers.has(kind, id), places.place(id));
            FactStep::new(&plan.facts[id.0 as usize], id, kind, listed[0], looks)
        };
        let rule =
            |id: RuleId| RuleStep::new(&plan.rules[id.0 as usize], id, kind, listed[1], &places);
        Interest::new(facts.with(fact), found.with(rule))
    };
    let grouped = |found: Index<FieldRef, RuleId>| {
        let listed = listed_by(found.field());
        let of = |id: RuleId| places.gate(&plan.rules[id.0 as usize], id, listed);
        found.grouped(|id| of(id).0, |id| of(id).1)
    };
    let found = indexes(&rules, grouped);
    facts.iter().zip(found).enumerate().map(of_kind).collect()
}

/// Who is found how, by kind of event: of many kinds it is the same.
fn indexes(
    by_kind: &[Vec<Asker<'_, RuleId>>],
    grouped: impl Fn(Index<FieldRef, RuleId>) -> Index<FieldRef, RuleId>,
) -> Vec<Index<FieldRef, RuleId>> {
    let is = |a: &Asker<'_, RuleId>, b: &Asker<'_, RuleId>| a.0 == b.0 && ptr::eq(a.1, b.1);
    let mut found: Vec<Index<FieldRef, RuleId>> = Vec::with_capacity(by_kind.len());
    for (number, asks) in by_kind.iter().enumerate() {
        let same = |other: &Vec<Asker<'_, RuleId>>| {
            other.len() == asks.len() && other.iter().zip(asks).all(|(a, b)| is(a, b))
        };
        // Detections are kinds, too, and nearly none is heard: those are not compared with each other.
        let others = if asks.is_empty() { &[] } else { &by_kind[..number] };
        let known = others.iter().position(same);
        found.push(known.map_or_else(|| grouped(Index::new(asks)), |known| found[known].clone()));
    }
    found
}
