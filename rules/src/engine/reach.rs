//! How far the effect of an event reaches: what a repair must run again, and what it can decide.

use event::model::Cell;
use event::{KindId, TimeSpan};

use crate::lang::expr::Expr;
use crate::plan::{Emit, Fact, FactKind, Pattern, Plan, Rule, RuleId, Runs, Skip};
use crate::value::Value;

/// What has no end of its own (a value that was set, a level, whose turn it is among runs that bar
/// one another) is run up to for so long before a late event. A value or a level that is older than
/// that, and unchanged since, is known all the same.
const LASTING: TimeSpan = TimeSpan::from_secs(3_600);

/// What is derived from a plan once, for repairs.
#[derive(Debug)]
pub struct Reach {
    /// By kind, those of detections included: how long before and after an event of it others may
    /// stand that decide with it. `None`: nobody looks at it but rules that look at it alone.
    by_kind: Vec<Option<TimeSpan>>,
    /// By rule: whether it can be decided without all of its past.
    decidable: Vec<bool>,
}

/// The longest span that the site model says: what an expression over it may give.
fn longest(plan: &Plan) -> TimeSpan {
    let rows = plan.model.tables.iter().flat_map(|table| table.rows.values());
    let spans = rows.flatten().filter_map(|cell| match cell {
        Some(Cell::Duration(span)) => Some(*span),
        _ => None,
    });
    spans.max().unwrap_or_default()
}

fn sum(a: TimeSpan, b: TimeSpan) -> TimeSpan {
    TimeSpan(a.0.saturating_add(b.0))
}

/// Facts that a rule stands on, those that they read included.
fn facts_of<'a>(plan: &'a Plan, rule: &Rule) -> Vec<&'a Fact> {
    let mut found = rule.reads.clone();
    found.extend(&rule.evidence_of);
    if let Pattern::Watch { fact, triggers, .. } = &rule.pattern {
        found.push(*fact);
        found.extend(triggers);
    }
    let mut place = 0;
    while place < found.len() {
        let more = plan.facts[found[place].0 as usize].reads.clone();
        found.extend(more.iter().filter(|fact| !found.contains(fact)).collect::<Vec<_>>());
        place += 1;
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|fact| &plan.facts[fact.0 as usize]).collect()
}

/// How long a rule and its facts remember. A session without an end remembers for ever.
fn memory(rule: &Rule, facts: &[&Fact], longest: TimeSpan) -> TimeSpan {
    let given = |expr: &Expr| match expr {
        Expr::Constant(Value::Span(span)) => *span,
        _ => longest,
    };
    let own = match &rule.pattern {
        Pattern::Event(_) => TimeSpan::ZERO,
        Pattern::Sequence(sequence) => {
            let lead = sequence.lead.as_ref().map_or(TimeSpan::ZERO, |lead| lead.span);
            let apart = sequence.runs == Runs::Each && sequence.skip == Skip::None;
            sum(sum(sequence.within, lead), if apart { TimeSpan::ZERO } else { LASTING })
        }
        Pattern::Unless { guards, .. } => {
            let back = guards.iter().map(|guard| guard.from.negated()).max().unwrap_or_default();
            sum(back, guards.iter().map(|guard| guard.to).max().unwrap_or_default())
        }
        Pattern::Watch { hold, .. } => sum(hold.as_ref().map_or(TimeSpan::ZERO, given), LASTING),
        Pattern::Session(session) => {
            let before = session.before.as_ref().map_or(TimeSpan::ZERO, |(_, span)| *span);
            sum(sum(session.max.unwrap_or(TimeSpan::MAX), LASTING), sum(session.grace, before))
        }
        Pattern::Passage { forget, .. } => *forget,
        Pattern::Travel { min_time, .. } => given(min_time),
    };
    let of_fact = |fact: &&Fact| match &fact.kind {
        FactKind::Count { within, .. } | FactKind::Distinct { within, .. } => *within,
        FactKind::Set { ttl, .. } => ttl.unwrap_or(LASTING),
        FactKind::Balance { .. } | FactKind::Tally { .. } => TimeSpan::ZERO,
    };
    let silence = match rule.emit {
        Emit::Once(span) => sum(span, LASTING),
        Emit::Each => TimeSpan::ZERO,
        Emit::Edge => LASTING,
    };
    let facts = facts.iter().map(of_fact).max().unwrap_or_default();
    sum(sum(own, facts), silence)
}

fn counts_for_ever(fact: &Fact) -> bool {
    matches!(fact.kind, FactKind::Balance { .. } | FactKind::Tally { .. })
}

impl Reach {
    /// That of a plan; nothing reaches further than `most`.
    pub fn new(plan: &Plan, most: TimeSpan) -> Self {
        let longest = longest(plan);
        let first = plan.vocabulary.kinds().len();
        let (mut of_rules, mut decidable) = (Vec::new(), Vec::new());
        for rule in &plan.rules {
            let facts = facts_of(plan, rule);
            let mut kinds = rule.kinds();
            let triggers = facts.iter().flat_map(|fact| fact.triggers());
            triggers.for_each(|trigger| kinds.extend(&trigger.kinds));
            of_rules.push((kinds, memory(rule, &facts, longest)));
            decidable.push(!facts.iter().any(|fact| counts_for_ever(fact)));
        }
        let mut by_kind = vec![None; first + plan.rules.len()];
        // What hears detections reaches further than what it hears. The compiler has seen that the
        // chain ends, so as many rounds as there are rules reach its end.
        for _ in 0..plan.rules.len() {
            let before = (by_kind.clone(), decidable.clone());
            for (number, (rule, (kinds, memory))) in plan.rules.iter().zip(&of_rules).enumerate() {
                let heard = by_kind[first + number].unwrap_or_default();
                let reach = sum(*memory, heard);
                let reach = if reach > most { most } else { reach };
                for kind in kinds {
                    if !rule.late || by_kind[first + number].is_some() {
                        let known: &mut Option<TimeSpan> = &mut by_kind[kind.0 as usize];
                        *known = (*known).max(Some(reach));
                    }
                    let of = (kind.0 as usize).checked_sub(first);
                    decidable[number] &= of.is_none_or(|rule| before.1[rule]);
                }
            }
            if before == (by_kind.clone(), decidable.clone()) {
                break;
            }
        }
        for kind in plan.facts.iter().flat_map(Fact::triggers).flat_map(|t| t.kinds.iter()) {
            by_kind[kind.0 as usize].get_or_insert(TimeSpan::ZERO);
        }
        Self { by_kind, decidable }
    }

    /// How long before and after an event of this kind others may decide with it.
    pub fn of(&self, kind: KindId) -> Option<TimeSpan> {
        self.by_kind.get(kind.0 as usize).copied().flatten()
    }

    /// Whether a repair can tell what a rule would have found.
    pub fn decides(&self, rule: RuleId) -> bool {
        self.decidable.get(rule.0 as usize).copied().unwrap_or(false)
    }
}
