//! Another rulebook takes over: at one event time, with the state of all that means the same.
//!
//! Everything that is numbered by the plan is renumbered here or in [`super::carry`], and nowhere
//! else. Structs are taken apart without `..`: new state does not compile before it is decided what
//! becomes of it.

use std::sync::Arc;

use event::books::SourceBooks;
use event::{
    EventBlock, EventFlags, EventRef, EventTime, FieldId, KindId, Position, SourceId, Symbol,
    TimeSpan,
};

use super::claims::claims;
use super::findings::Findings;
use super::layout::{Held, Layout};
use super::merge::{AT_SITES, Merge};
use super::reach::Reach;
use super::reorder::{Over, Rows, Waiting};
use super::scope::Setting;
use super::{Admitted, Engine, Options, kinds_of};
use crate::meaning::Meanings;
use crate::plan::{
    Dimension, Fact, FactId, FactKind, Grouping, Mode, Pattern, Plan, Rule, RuleId, Scope,
};

/// The rulebook that takes over.
pub struct Next {
    /// Compiled over the same interner.
    pub plan: Arc<Plan>,
    /// How events are admitted from now on; the number of shards stays.
    pub options: Options,
    /// Where each source goes on, by its old number.
    pub sources: Vec<Option<SourceId>>,
}

/// A source that is no more: its streams hold nothing back, its events count in no books.
pub(super) const GONE: SourceId = SourceId(u16::MAX);

/// Until when rules and facts do not know all that they should, since they began at a take-over;
/// `MIN` knows all, `MAX` cannot be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blind {
    pub facts: Vec<EventTime>,
    pub rules: Vec<EventTime>,
}

impl Blind {
    pub fn new(plan: &Plan) -> Self {
        let (facts, rules) = (plan.facts.len(), plan.rules.len());
        Self { facts: vec![EventTime::MIN; facts], rules: vec![EventTime::MIN; rules] }
    }
}

/// Where each thing of the old plan goes on in the new one.
pub(super) struct Moves {
    /// Facts that mean the same.
    facts: Vec<Option<FactId>>,
    /// Of those, whom each goes on for: the place in the key, and its values.
    whose: Vec<Option<(usize, Arc<[Symbol]>)>>,
    /// Rules that mean the same.
    rules: Vec<Option<RuleId>>,
    /// Rules of the same id, whatever they mean.
    named: Vec<Option<RuleId>>,
    groupings: Vec<Option<usize>>,
    links: Vec<Option<usize>>,
    /// Escalations of the same id.
    escalations: Vec<Option<usize>>,
    kinds: Vec<Option<KindId>>,
    fields: Vec<Option<FieldId>>,
    sources: Vec<Option<SourceId>>,
    /// The tables say something else: what was counted by them is counted anew.
    pub tables_differ: bool,
    new_facts: u32,
    new_rules: u32,
}

/// For each of the old ones the first new one that is the same and nobody's yet.
fn matched<T>(old: &[T], new: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<Option<usize>> {
    let mut taken = vec![false; new.len()];
    let mut find = |one: &T| {
        let place = (0..new.len()).find(|place| !taken[*place] && same(one, &new[*place]))?;
        taken[place] = true;
        Some(place)
    };
    old.iter().map(&mut find).collect()
}

impl Moves {
    fn between(
        (old, new): (&Plan, &Plan),
        (meant, means): (&Meanings, &Meanings),
        (from, to): (&[Grouping], &[Grouping]),
        sources: Vec<Option<SourceId>>,
        tables_differ: bool,
    ) -> Self {
        let ids =
            |plan: &Plan| -> Vec<String> { plan.rules.iter().map(|r| r.id.clone()).collect() };
        let (old_ids, new_ids) = (ids(old), ids(new));
        let rule = |place: usize| RuleId(place as u16);
        let named: Vec<_> = matched(&old_ids, &new_ids, |a, b| a == b);
        let rules = named.iter().enumerate().map(|(number, place)| {
            place.filter(|place| meant.rules[number] == means.rules[*place]).map(rule)
        });
        let kinds = old.vocabulary.kinds().iter().map(|k| new.vocabulary.kind_named(&k.name));
        let detections = named.iter().map(|place| Some(new.detection_kind(rule((*place)?))));
        let fields = old.vocabulary.fields().iter().map(|field| {
            let id = new.vocabulary.field_named(&field.name)?;
            (new.vocabulary.field(id).ty == field.ty).then_some(id)
        });
        let sides = |plan: &Plan, ids: &[String]| -> Vec<[Vec<String>; 2]> {
            let named = |side: &[RuleId]| side.iter().map(|r| ids[r.0 as usize].clone()).collect();
            plan.links.iter().map(|l| [named(&l.between.0), named(&l.between.1)]).collect()
        };
        let facts = facts((old, new), (meant, means));
        let whose = facts.iter().map(|to| {
            let fact = &new.facts[to.as_ref()?.0 as usize];
            let whose = fact.whose.as_ref()?;
            let place = fact.by.iter().position(|field| *field == whose.field)?;
            Some((place, whose.values.clone()))
        });
        Self {
            whose: whose.collect(),
            facts,
            rules: rules.collect(),
            groupings: groupings((old, new), (from, to)),
            escalations: matched(&old.policies.escalate, &new.policies.escalate, |a, b| {
                (&a.id, a.within) == (&b.id, b.within)
            }),
            links: matched(&sides(old, &old_ids), &sides(new, &new_ids), |a, b| a == b),
            kinds: kinds.chain(detections).collect(),
            fields: fields.collect(),
            named: named.iter().map(|place| place.map(rule)).collect(),
            sources,
            tables_differ,
            new_facts: new.facts.len() as u32,
            new_rules: new.rules.len() as u32,
        }
    }

    /// A fact that goes on.
    pub fn fact(&self, fact: FactId) -> Option<FactId> {
        self.facts[fact.0 as usize]
    }

    /// A rule that goes on.
    pub fn rule(&self, rule: RuleId) -> Option<RuleId> {
        self.rules[rule.0 as usize]
    }

    /// The rule of the same id.
    pub fn named(&self, rule: RuleId) -> Option<RuleId> {
        self.named[rule.0 as usize]
    }

    /// Where the counts of a holder go on: those of a rule by its id, whatever it means.
    pub fn holder(&self, holder: u32) -> Option<u32> {
        let (number, facts) = (holder as usize, self.facts.len());
        match number.checked_sub(facts) {
            None => self.facts[number].map(|fact| u32::from(fact.0)),
            Some(rule) => match self.named.get(rule) {
                Some(rule) => rule.map(|rule| self.new_facts + u32::from(rule.0)),
                None => Some(self.new_facts + self.new_rules),
            },
        }
    }

    /// Whether a rule of the new plan went on.
    pub fn went_on(&self, rule: RuleId) -> bool {
        self.rules.contains(&Some(rule))
    }

    /// Whether a fact of the new plan went on.
    pub fn fact_went_on(&self, fact: FactId) -> bool {
        self.facts.contains(&Some(fact))
    }

    /// Link policies of the old plan.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// A link policy that goes on.
    pub fn link(&self, policy: usize) -> Option<usize> {
        self.links[policy]
    }

    /// An escalation that goes on.
    pub fn escalation(&self, policy: u16) -> Option<u16> {
        self.escalations[usize::from(policy)].map(|to| to as u16)
    }

    /// Which escalations have spoken, as bits of their new numbers.
    pub fn escalated(&self, bits: u64) -> u64 {
        let spoken = (0..self.escalations.len()).filter(|policy| bits >> policy & 1 != 0);
        spoken.filter_map(|policy| self.escalations[policy]).fold(0, |bits, to| bits | 1 << to)
    }

    /// Where the cells of an owner go on.
    pub fn held(&self, held: Held) -> Option<Held> {
        match held {
            Held::Fact(fact) => self.fact(fact).map(Held::Fact),
            Held::Rule(rule) => self.rule(rule).map(Held::Rule),
            Held::Memory(rule, nth) => self.rule(rule).map(|rule| Held::Memory(rule, nth)),
            Held::Dimension(grouping, dimension) => {
                self.groupings[grouping].map(|to| Held::Dimension(to, dimension))
            }
            Held::Side(policy, side) => self.link(policy).map(|to| Held::Side(to, side)),
            Held::ShelvedIncident | Held::ShelvedRule | Held::Flood => Some(held),
            Held::Hush(rule) => self.rule(rule).map(Held::Hush),
            Held::Escalation(policy) => self.escalation(policy).map(Held::Escalation),
        }
    }

    /// A source that goes on.
    fn source(&self, source: SourceId) -> SourceId {
        self.sources.get(source.0 as usize).copied().flatten().unwrap_or(GONE)
    }

    /// Adds a row of the old vocabulary as one of the new; `false` where its kind is no more.
    fn row(&self, event: EventRef<'_>, out: &mut EventBlock) -> bool {
        let Some(kind) = self.kinds[event.kind().0 as usize] else { return false };
        let mut row = out.push();
        row.times(event.occurred(), event.recorded());
        row.identity(event.identity());
        row.class(kind, event.flags(), event.stream(), self.source(event.source()));
        row.place(event.site(), event.device());
        row.position(event.position(), event.part());
        for (number, to) in self.fields.iter().enumerate() {
            if let (Some(bits), Some(to)) = (event.slot(FieldId(number as u8)), to) {
                row.set(*to, bits);
            }
        }
        true
    }
}

/// Facts that mean the same; of several the one of the same name.
fn facts(
    (old, new): (&Plan, &Plan),
    (meant, means): (&Meanings, &Meanings),
) -> Vec<Option<FactId>> {
    let with_meaning = |plan: &Plan, meanings: &Meanings| -> Vec<(String, u128)> {
        plan.facts.iter().map(|f| f.name.clone()).zip(meanings.facts.iter().copied()).collect()
    };
    let (old, new) = (with_meaning(old, meant), with_meaning(new, means));
    let mut found = matched(&old, &new, |a, b| a == b);
    let left: Vec<_> = new
        .iter()
        .enumerate()
        .map(|(place, fact)| (!found.contains(&Some(place))).then_some(fact.1))
        .collect();
    let wanting: Vec<_> =
        old.iter().zip(&found).map(|(fact, found)| found.is_none().then_some(fact.1)).collect();
    let renamed = matched(&wanting, &left, |a, b| a.is_some() && a == b);
    for (found, renamed) in found.iter_mut().zip(renamed) {
        *found = found.or(renamed);
    }
    found.into_iter().map(|place| place.map(|place| FactId(place as u16))).collect()
}

/// Groupings that are the same; that of the whole rulebook goes on with other spans, too.
fn groupings(
    (old, new): (&Plan, &Plan),
    (from, to): (&[Grouping], &[Grouping]),
) -> Vec<Option<usize>> {
    let mut found = matched(from, to, |a, b| a == b);
    let place = |list: &[Grouping], one: &Grouping| list.iter().position(|g| g == one);
    if let (Some(was), Some(is)) = (place(from, &old.grouping), place(to, &new.grouping))
        && found[was].is_none()
        && !found.contains(&Some(is))
        && old.grouping.by == new.grouping.by
    {
        found[was] = Some(is);
    }
    found
}

/// How far back a fact looks: until then it does not know all; `MAX` for ever.
fn reach_of_fact(fact: &Fact) -> TimeSpan {
    match &fact.kind {
        FactKind::Count { within, .. } | FactKind::Distinct { within, .. } => *within,
        FactKind::Balance { .. } => TimeSpan::MAX,
        FactKind::Set { ttl, .. } => ttl.unwrap_or(TimeSpan::MAX),
        // It is counted from the fact it counts.
        FactKind::Tally { .. } => TimeSpan::ZERO,
    }
}

/// How far back a rule looks beside the facts it reads.
fn reach_of_rule(rule: &Rule) -> TimeSpan {
    let constant = |expr: &crate::lang::expr::Expr| match expr {
        crate::lang::expr::Expr::Constant(crate::value::Value::Span(span)) => *span,
        _ => TimeSpan::MAX,
    };
    match &rule.pattern {
        Pattern::Event(_) => TimeSpan::ZERO,
        Pattern::Sequence(sequence) => {
            sequence.within.max(sequence.lead.as_ref().map_or(TimeSpan::ZERO, |lead| lead.span))
        }
        Pattern::Unless { guards, .. } => {
            let spans = guards.iter().map(|guard| guard.from.negated().max(guard.to));
            spans.max().unwrap_or(TimeSpan::ZERO)
        }
        // Its levels are judged as it begins.
        Pattern::Watch { .. } => TimeSpan::ZERO,
        Pattern::Session(session) => session.max.unwrap_or(TimeSpan::MAX),
        Pattern::Passage { forget, .. } => *forget,
        Pattern::Travel { min_time, .. } => constant(min_time),
    }
}

/// Rounds in which blindness spreads from what is read to those that read it.
const ROUNDS: usize = 8;

impl Moves {
    fn blind(&self, (was, old): (&Plan, &Blind), plan: &Plan, at: EventTime) -> Blind {
        let mut blind = Blind::new(plan);
        if at == EventTime::MIN {
            return blind;
        }
        let kinds = plan.vocabulary.kinds().len();
        let mut kept = (vec![None; plan.facts.len()], vec![None; plan.rules.len()]);
        for (until, to) in old.facts.iter().zip(&self.facts) {
            to.iter().for_each(|to| kept.0[to.0 as usize] = Some(*until));
        }
        for (until, to) in old.rules.iter().zip(&self.rules) {
            to.iter().for_each(|to| kept.1[to.0 as usize] = Some(*until));
        }
        for _ in 0..ROUNDS {
            for (number, fact) in plan.facts.iter().enumerate() {
                let heard = fact.triggers().into_iter().flat_map(|t| t.kinds.clone());
                let since = since(&blind, at, &fact.reads, heard, kinds);
                let until = kept.0[number].unwrap_or_else(|| since.plus(reach_of_fact(fact)));
                blind.facts[number] = until;
            }
            for (number, rule) in plan.rules.iter().enumerate() {
                let mut reads = rule.reads.clone();
                if let Pattern::Watch { fact, .. } = &rule.pattern {
                    reads.push(*fact);
                }
                let since = since(&blind, at, &reads, rule.kinds(), kinds);
                let until = kept.1[number].unwrap_or_else(|| {
                    let windows = self.windows_known((was, old), (plan, rule), at);
                    since.plus(reach_of_rule(rule)).max(windows)
                });
                blind.rules[number] = if rule.mode == Mode::Off { EventTime::MIN } else { until };
            }
        }
        for until in blind.facts.iter_mut().chain(&mut blind.rules).filter(|until| **until <= at) {
            *until = EventTime::MIN;
        }
        blind
    }
}

impl Moves {
    /// Until when a rule that begins does not know the windows that it shares: where it asks for a key
    /// that nobody has asked for before, as if they were its own.
    fn windows_known(
        &self,
        (was, old): (&Plan, &Blind),
        (plan, rule): (&Plan, &Rule),
        at: EventTime,
    ) -> EventTime {
        let Pattern::Event(on) = &rule.pattern else { return EventTime::MIN };
        let of_fact = |id: &FactId| {
            let fact = &plan.facts[id.0 as usize];
            let whose = fact.whose.as_ref()?;
            let before = self.facts.iter().position(|to| to == &Some(*id))?;
            let known = was.facts[before].whose.as_ref()?;
            let asks = claims(on).into_iter().find(|claim| claim.field == whose.field)?;
            if !asks.values.iter().all(|value| known.has(*value)) {
                return Some(at.plus(reach_of_fact(fact)));
            }
            let readers = was.rules.iter().zip(&old.rules);
            let readers = readers.filter(|(rule, _)| rule.reads.contains(&FactId(before as u16)));
            readers.map(|(_, until)| *until).max()
        };
        rule.reads.iter().filter_map(of_fact).max().unwrap_or(EventTime::MIN)
    }
}

/// Since when all that is read and heard can be trusted, `at` the earliest.
fn since(
    blind: &Blind,
    at: EventTime,
    reads: &[FactId],
    heard: impl IntoIterator<Item = KindId>,
    kinds: usize,
) -> EventTime {
    let facts = reads.iter().map(|fact| blind.facts[fact.0 as usize]);
    let heard = heard.into_iter().filter_map(|kind| (kind.0 as usize).checked_sub(kinds));
    facts.chain(heard.map(|rule| blind.rules[rule])).fold(at, EventTime::max)
}

impl Engine {
    /// Lets another rulebook take over here: what time has passed was judged by the old one (every
    /// [`Self::feed`] ends so), all that is still to come is judged by the new. Facts and rules that mean the same keep their
    /// state; incidents, identities seen, streams, books and what waits stay. The next snapshot
    /// must be full.
    pub fn reload(&mut self, next: Next, out: &mut Findings) {
        let Next { plan, options, sources } = next;
        self.decide_held(out);
        let options = Options { shards: self.options.shards, ..options };
        let layout = Layout::new(&plan, Scope::Site, &self.interner);
        let enterprise_layout = Layout::new(&plan, Scope::Enterprise, &self.interner);
        let meant = Meanings::of(&self.plan, &self.interner);
        let means = Meanings::of(&plan, &self.interner);
        let groupings = (self.layout.groupings(), layout.groupings());
        // What was changed at run time stands over the new model, too.
        let tables = Arc::new(self.tables.over(plan.model.clone(), &self.interner));
        let differ = !tables.same_as(&self.tables);
        let plans = (&*self.plan, &*plan);
        let moves = Moves::between(plans, (&meant, &means), groupings, sources, differ);
        self.blind = moves.blind((&self.plan, &self.blind), &plan, self.streams.watermark());
        self.readmit(&moves, &plan, &options);
        let Self { sites, enterprise, interner, .. } = self;
        let scopes = [(&self.layout, &layout), (&self.enterprise_layout, &enterprise_layout)];
        let settings = scopes.map(|(was, is)| {
            let was = Setting { plan: &self.plan, layout: was, tables: &self.tables, interner };
            (was, Setting { plan: &plan, layout: is, tables: &tables, interner })
        });
        let [site, across] = settings.each_ref().map(|(was, is)| (was, is));
        for admitted in &mut *sites {
            admitted.site.carry(&moves, site, options.state_max, out);
        }
        enterprise.carry(&moves, across, options.state_max, out);
        (self.layout, self.enterprise_layout) = (layout, enterprise_layout);
        (self.plan, self.options) = (plan, options);
        let was = std::mem::replace(&mut self.tables, tables);
        let changes = self.tables.differences(&was, &self.interner);
        self.tell_rows(&changes.iter().collect::<Vec<_>>(), Position::NONE, out);
        self.release(out);
    }

    /// What waits for what may inhibit it was detected by the old rulebook, and is decided by it.
    fn decide_held(&mut self, out: &mut Findings) {
        let Self { plan, interner, layout, enterprise_layout, tables, sites, enterprise, .. } =
            self;
        let cx = &Setting { plan, layout, tables, interner };
        for admitted in &mut *sites {
            admitted.site.decide_held(cx, out);
        }
        enterprise.decide_held(&Setting { plan, layout: enterprise_layout, tables, interner }, out);
        self.release(out);
    }

    /// Admission under the new vocabulary and the new sources.
    fn readmit(&mut self, moves: &Moves, plan: &Plan, options: &Options) {
        let Self {
            part: _,
            plan: _,
            interner,
            options: _,
            layout: _,
            enterprise_layout,
            reach,
            late,
            streams,
            sites,
            due: _,
            places: _,
            near: _,
            plain: _,
            enterprise: _,
            rows,
            merge,
            books,
            kinds,
            stride,
            scratch,
            // None is under way.
            saving: _,
            // The next snapshot is full: it holds all of them.
            saved_symbols: _,
            saved_changes: _,
            tables: _,
            blind: _,
            floor: _,
        } = self;
        let slacks = options.sources.iter().map(|source| source.slack).collect();
        streams.take_over(slacks, |source| moves.source(source), GONE);
        *reach = Reach::new(plan, options.late.recorded);
        late.begin(&plan.vocabulary, streams.watermark());
        let mut counts = vec![SourceBooks::default(); options.sources.len().max(1)];
        for (source, old) in books.iter().enumerate() {
            if let Some(new) = counts.get_mut(moves.source(SourceId(source as u16)).0 as usize) {
                *new = old.clone();
            }
        }
        *kinds = kinds_of(plan, enterprise_layout);
        *scratch = EventBlock::new(&plan.vocabulary);
        *stride = scratch.stride();
        let old = std::mem::replace(rows, vec![Rows::new(*stride, interner.clone())]);
        let rank = |event: EventRef<'_>, old| {
            kinds.get(event.kind().0 as usize).map_or(old, |kind| kind.rank)
        };
        for Admitted { shard: _, site: _, seen, waiting, floor: _ } in sites {
            seen.bound(options.duplicates_within, options.duplicates_max);
            // No rule knows its kind any more: it is as good as released.
            let mut gone = |event: EventRef<'_>| {
                let source = moves.source(event.source());
                if let Some(counts) = counts.get_mut(source.0 as usize) {
                    counts.waiting -= 1;
                    if event.flags().has(EventFlags::QUARANTINED) {
                        counts.quarantined += 1;
                    } else {
                        counts.accepted += 1;
                    }
                }
            };
            for waits in std::mem::take(waiting).iter() {
                let event = old[AT_SITES].get(waits.row());
                scratch.clear();
                if moves.row(event, scratch) {
                    let event = scratch.get(0);
                    let (rank, row) = (rank(event, waits.rank()), rows[AT_SITES].keep(event));
                    let over = Over::Unknown;
                    waiting.push(rows, Waiting::new(waits.at, rank, over, row));
                } else {
                    gone(event);
                }
            }
        }
        for (was, event) in std::mem::replace(merge, Merge::new(AT_SITES)).iter(&old) {
            scratch.clear();
            if moves.row(event, scratch) {
                let event = scratch.get(0);
                merge.keep(rows, rank(event, was), event);
            }
        }
        merge.settle(rows);
        *books = counts;
    }

    /// Rules that began at a take-over and do not know yet all that they should, and until when;
    /// `MAX` where that cannot be told.
    pub fn blind(&self) -> impl Iterator<Item = (RuleId, EventTime)> {
        let now = self.streams.watermark();
        let rules = self.blind.rules.iter().enumerate();
        rules.filter(move |(_, until)| **until > now).map(|(n, until)| (RuleId(n as u16), *until))
    }
}

/// Cells found by the rule carry its number in their key.
pub(super) fn carried_key(
    moves: &Moves,
    held: Held,
    mut key: super::cells::Key,
) -> Option<super::cells::Key> {
    if let Held::Fact(fact) = held
        && let Some((place, values)) = &moves.whose[fact.0 as usize]
    {
        // No rule asks for it any more.
        values.binary_search_by_key(&key[*place].0, |value| value.0).ok()?;
    }
    if let Held::Dimension(_, Dimension::Rule) = held {
        let rule = RuleId((key[3].0 - 1) as u16);
        key[3] = event::Symbol(u32::from(moves.named(rule)?.0) + 1);
    }
    if let Held::ShelvedRule = held {
        let rule = RuleId((key[0].0 - 1) as u16);
        key[0] = event::Symbol(u32::from(moves.named(rule)?.0) + 1);
    }
    Some(key)
}
