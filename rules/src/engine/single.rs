//! Rules of one event: what must hold of it, and of what is kept of those before.

use event::EventRef;

use super::cells::{Entry, Key};
use super::facts::{drop_counted, drop_valued, holds_outside};
use super::findings::Findings;
use super::pages::NIL;
use super::prepared::{Asks, By, text_of_key};
use super::scope::{Context, key_of};
use super::site::Site;
use super::steps::{Roles, RuleStep};
use crate::condition::Limit;
use crate::plan::{Emit, FactId, Pattern, Rule, RuleId};
use crate::value::Value;

impl Site {
    /// A rule of one event, which most of a large rulebook are: most events are no concern of it.
    #[inline(always)]
    pub(super) fn step_event(
        &mut self,
        cx: Context<'_>,
        &RuleStep { rule: id, roles, .. }: &RuleStep,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = cx.layout.prepared.event(id);
        self.evaluated.set(0);
        let at_once = match &rule.asks {
            _ if !roles.has(Roles::SURE) => self.meets_on_sight(cx, id, event),
            Asks::Nothing { conditions } => {
                self.evaluated.set(u64::from(*conditions));
                Some(true)
            }
            Asks::Fact(fact, limit) => self.meets_fact(cx, (*fact, limit), event),
            Asks::More => None,
        };
        if at_once != Some(false) || rule.edge {
            self.judge_one(cx, id, at_once, event, out);
        }
        self.account(rule.owner);
    }

    /// Whether an event meets a rule's condition, where its fields and a plain fact decide.
    #[inline(never)]
    fn meets_on_sight(&mut self, cx: Context<'_>, id: RuleId, event: EventRef<'_>) -> Option<bool> {
        let Pattern::Event(on) = &cx.plan.rules[id.0 as usize].pattern else { return Some(false) };
        debug_assert!(on.is_of(event.kind()), "a rule of one event is asked for its kinds alone");
        let at_once = self.meets_at_once(on, Roles::default(), event);
        if at_once.is_some() {
            return at_once;
        }
        self.meets_fact(cx, on.condition.as_ref()?.fact()?, event)
    }

    #[inline(never)]
    fn judge_one(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        at_once: Option<bool>,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = &cx.plan.rules[id.0 as usize];
        let Pattern::Event(on) = &rule.pattern else { return };
        let Some(key) = key_of(cx, event, &rule.by) else { return };
        cx.interner.expect_digest(key[0]);
        self.freshen_for(cx, event, &rule.evidence_of);
        let holds = match at_once {
            Some(holds) => holds,
            None => on.condition.as_ref().is_none_or(|c| self.meets_rest(cx, c, event)),
        };
        if rule.emit == Emit::Edge && !self.rises(cx, id, &key, holds) {
            return;
        }
        if !holds {
            return;
        }
        let mark = out.evidence_mark();
        self.cite_windows(cx, rule, event, out);
        out.push_evidence(Entry::of(event, 0).evidence());
        let conclusion = self.conclusion_of(cx, id, key, event);
        self.conclude(cx, conclusion, mark, out);
    }

    /// Keeps the level of a rule's key; whether it has just turned true.
    fn rises(&mut self, cx: Context<'_>, id: RuleId, key: &Key, holds: bool) -> bool {
        let owner = cx.layout.rule(id);
        match (holds, self.state.find(owner, key)) {
            (true, None) => {
                let cell = self.state.find_or_insert(owner, key, Value::Bool(true));
                self.state.keys.get_mut(cell).time = self.now.0;
                true
            }
            (true, Some(_)) => false,
            (false, Some(cell)) => {
                self.state.remove(cell);
                false
            }
            (false, None) => false,
        }
    }

    /// Cites the windows of the facts that a rule reads bare.
    fn cite_windows(&self, cx: Context<'_>, rule: &Rule, event: EventRef<'_>, out: &mut Findings) {
        for fact in &rule.evidence_of {
            let by = &cx.plan.facts[fact.0 as usize].by;
            let cell =
                key_of(cx, event, by).and_then(|k| self.state.find(cx.layout.fact(*fact), &k));
            if let Some(cell) = cell {
                let entries = self.state.list(self.state.keys.get(cell).head);
                entries.for_each(|entry| out.push_evidence(entry.evidence()));
            }
        }
    }

    /// As [`Self::meets_at_once`], where all that is left is a fact: one that the event has just changed is
    /// exact, and its cell is at hand; one that counts, or is a balance, is looked up and made exact.
    #[inline(always)]
    fn meets_fact(
        &mut self,
        cx: Context<'_>,
        (fact, limit): (FactId, &Limit),
        event: EventRef<'_>,
    ) -> Option<bool> {
        let changed = self.changed.iter().find(|changed| changed.fact == fact);
        let value = match changed {
            Some(changed) if changed.cell != NIL => self.state.keys.get(changed.cell).int()?,
            Some(_) => return None,
            None => self.number_of(cx, fact, event)?,
        };
        limit.holds(Value::Int(value), event).map(|holds| self.evaluates(holds))
    }

    /// The number that a fact is for the key of an event, where it is a plain one.
    #[inline(never)]
    fn number_of(&mut self, cx: Context<'_>, fact: FactId, event: EventRef<'_>) -> Option<i64> {
        let fact = cx.layout.prepared.fact(fact);
        if fact.by == By::Parts || !fact.is_number {
            return None;
        }
        let text = text_of_key(event, fact.key)?;
        let known = self.state.look_text((fact.owner, fact.place), text);
        let Ok(cell) = known else { return Some(0) };
        let held = self.state.keys.get(cell);
        if holds_outside(held, event.occurred(), fact.within) {
            let drop = if fact.of.is_none() { drop_counted } else { drop_valued };
            return Some(drop(&mut self.state, cell, event.occurred(), fact.within));
        }
        held.int()
    }
}
