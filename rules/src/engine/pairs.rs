//! Sequences of two events, of which nothing is kept but who the first was: most are of this form.

use event::{EventRef, Symbol};

use super::cells::{Key, Run};
use super::findings::Findings;
use super::layout::Subject;
use super::pages::NIL;
use super::prepared::{PreparedRule, When, key_of_text, text_of_key};
use super::scope::{Context, key_of, outside};
use super::seats::Seat;
use super::sequence::{Line, Shape, Turn};
use super::site::Site;
use super::state::Vacant;
use super::steps::{Roles, RuleStep};
use super::work::Cost;
use crate::plan::{Pattern, RuleId, Sequence, Skip, Trigger};

/// The rule with all that is said of it, where a run is completed or begins.
fn line_of(cx: Context<'_>, id: RuleId, shape: Shape) -> Option<Line<'_>> {
    let rule = &cx.plan.rules[id.0 as usize];
    match &rule.pattern {
        Pattern::Sequence(sequence) => Some(Line { cx, id, rule, sequence, shape }),
        _ => None,
    }
}

/// What starts a sequence of two events, or completes it.
fn trigger_of(cx: Context<'_>, id: RuleId, step: usize) -> Option<&Trigger> {
    match &cx.plan.rules[id.0 as usize].pattern {
        Pattern::Sequence(sequence) => Some(&sequence.steps[step].parts[0].on),
        _ => None,
    }
}

impl Site {
    /// Whether no run of a rule waits for any key.
    #[inline(always)]
    fn awaits_nothing(&self, rule: RuleId) -> bool {
        let holder = self.state.bounds.holder_of_rule(u32::from(rule.0));
        self.state.holdings.get(holder).runs == 0
    }

    /// Whether an event is no concern of a rule because no run waits for its key.
    #[inline(always)]
    fn is_alone(&self, rule: &PreparedRule, step: &RuleStep, text: Symbol) -> bool {
        // Of some that was asked before.
        if !step.roles.has(Roles::ALONE) || step.roles.has(Roles::HELD) {
            return false;
        }
        if self.state.is_idle_near((rule.owner, rule.place), text) {
            return true;
        }
        if rule.seat == Seat::NONE {
            return !self.state.may_await(rule.owner, text);
        }
        !self.state.is_taken((rule.owner, rule.seat), text)
    }

    /// A rule of which a key has one run at most, and its cell is that, where what is asked of both events are
    /// tests of the row.
    #[inline(always)]
    pub(super) fn step_single(
        &mut self,
        cx: Context<'_>,
        (step, rule): (&RuleStep, &PreparedRule),
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let text = text_of_key(event, rule.key);
        let Some(text) = text.filter(|text| !self.is_alone(rule, step, *text)) else {
            return self.work.add(rule.owner, Cost::of(0));
        };
        let (mut may_start, mut waits, mut conditions) = (true, false, 0);
        let found = self.state.look_text((rule.owner, rule.place), text);
        if let Ok(cell) = found
            && !outside(event.occurred(), self.state.keys.get(cell).time, rule.within)
        {
            if step.roles.has(Roles::COMPLETES) {
                if rule.second.gate.lets_pass(event, &self.counted) {
                    cx.interner.expect_digest(text);
                    return self.step_other(cx, step, event, out);
                }
                conditions = rule.second.conditions;
            }
            if !step.roles.has(Roles::ENDS) {
                (may_start, waits) = (rule.last, true);
            }
        }
        if may_start && step.roles.has(Roles::STARTS) {
            let sure = step.roles.has(Roles::SURE);
            conditions += if sure { 1 } else { rule.first.conditions };
            may_start = sure || rule.first.gate.lets_pass(event, &self.counted);
        } else {
            may_start = false;
        }
        self.work.add(rule.owner, Cost::of(conditions));
        if may_start {
            self.begin_single(cx, rule, (found, text), event);
        } else if let (Ok(cell), false) = (found, waits) {
            self.state.end_run(cell);
        }
    }

    #[inline(always)]
    fn begin_single(
        &mut self,
        cx: Context<'_>,
        rule: &PreparedRule,
        (found, text): (Result<u32, Vacant>, Symbol),
        event: EventRef<'_>,
    ) {
        self.serial += 1;
        let subject = |to: &mut Subject| cx.layout.subject_to(cx.tables, event, to);
        let key = key_of_text(text);
        self.state.begin_run(found, (rule.owner, &key), event, self.serial, subject);
    }

    /// A rule of two events whose key is of several parts, or that asks more of them than tests.
    pub(super) fn step_pair(
        &mut self,
        cx: Context<'_>,
        step: &RuleStep,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        if step.roles.has(Roles::ALONE) && self.awaits_nothing(step.rule) {
            return;
        }
        let Some(key) = key_of(cx, event, &cx.plan.rules[step.rule.0 as usize].by) else { return };
        if cx.layout.shape(step.rule) == Shape::Single {
            self.single(cx, step, key, event, out);
        } else {
            self.short(cx, step, key, event, out);
        }
    }

    fn single(
        &mut self,
        cx: Context<'_>,
        step: &RuleStep,
        key: Key,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = cx.layout.prepared.rule(step.rule);
        let found = self.state.look(rule.owner, &key);
        let (mut may_start, mut waits) = (true, false);
        if let Ok(cell) = found
            && !outside(event.occurred(), self.state.keys.get(cell).time, rule.within)
        {
            match self.pair_turn(cx, rule, step, event) {
                Turn::Matches => {
                    self.complete_single(cx, step.rule, key, cell, event, out);
                    may_start = !rule.past_last;
                }
                Turn::Waits => (may_start, waits) = (rule.last, true),
                _ => {}
            }
        }
        if may_start && self.pair_starts(cx, rule, step, event) {
            self.serial += 1;
            let subject = |to: &mut Subject| cx.layout.subject_to(cx.tables, event, to);
            self.state.begin_run(found, (rule.owner, &key), event, self.serial, subject);
        } else if let (Ok(cell), false) = (found, waits) {
            self.state.end_run(cell);
        }
    }

    #[cold]
    #[inline(never)]
    fn complete_single(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        key: Key,
        cell: u32,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        if let Some(line) = line_of(cx, id, Shape::Single) {
            self.complete(line, key, self.begun(cell), None, event, out);
        }
    }

    /// The run that a key's cell is.
    fn begun(&self, cell: u32) -> Option<(Run, Subject)> {
        let run = self.state.noted_run(cell)?;
        Some((run, self.state.noted.get(self.state.keys.get(cell).value as u32).0))
    }

    /// A rule of which a key has a list of runs.
    #[inline(always)]
    pub(super) fn step_short(
        &mut self,
        cx: Context<'_>,
        (step, rule): (&RuleStep, &PreparedRule),
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let text = text_of_key(event, rule.key);
        let Some(text) = text.filter(|text| !self.is_alone(rule, step, *text)) else {
            return self.work.add(rule.owner, Cost::of(0));
        };
        let found = self.state.look_text((rule.owner, rule.place), text);
        if found.is_err() && !step.roles.has(Roles::STARTS) && !rule.lead {
            return self.work.add(rule.owner, Cost::of(0));
        }
        self.on_account_of(rule.owner, |site| {
            site.short_runs(cx, step, (key_of_text(text), found), event, out);
        });
    }

    /// Where no run waits, an event that starts none is no concern of the key.
    fn short(
        &mut self,
        cx: Context<'_>,
        step: &RuleStep,
        key: Key,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = cx.layout.prepared.rule(step.rule);
        let found = self.state.look(rule.owner, &key);
        if found.is_ok() || step.roles.has(Roles::STARTS) || rule.lead {
            self.short_runs(cx, step, (key, found), event, out);
        }
    }

    #[inline(never)]
    fn short_runs(
        &mut self,
        cx: Context<'_>,
        step: &RuleStep,
        (key, found): (Key, Result<u32, Vacant>),
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = cx.layout.prepared.rule(step.rule);
        let Some(line) = line_of(cx, step.rule, Shape::Short) else { return };
        let mut cell = found.ok();
        let used = match cell {
            Some(cell) if self.drop_ended(cell, event, rule) => {
                match self.pair_turn(cx, rule, step, event) {
                    Turn::Matches => self.match_runs(line, (key, cell), event, out),
                    Turn::Ends => {
                        self.drop_runs(cell);
                        false
                    }
                    _ => false,
                }
            }
            _ => false,
        };
        if !used && self.pair_starts(cx, rule, step, event) {
            cell = self.start_run(line, key, found, event, out);
        }
        if rule.lead {
            self.note_lead(line, key, event);
        }
        if let Some(cell) = cell {
            self.drop_if_idle(cell);
        }
    }

    /// Ends the runs of a key whose time is over; whether others wait. They all take the same turn, in the
    /// order of their starts.
    fn drop_ended(&mut self, cell: u32, event: EventRef<'_>, rule: &PreparedRule) -> bool {
        let mut at = self.state.keys.get(cell).head;
        while at != NIL {
            let Run { started, next, .. } = *self.state.runs.get(at);
            // Those behind it began later.
            if !outside(event.occurred(), started, rule.within) {
                return true;
            }
            self.unlink_run(at);
            at = next;
        }
        false
    }

    /// An event completes every run of a key; whether it is used up by that.
    fn match_runs(
        &mut self,
        line: Line<'_>,
        (key, cell): (Key, u32),
        event: EventRef<'_>,
        out: &mut Findings,
    ) -> bool {
        let mut at = self.state.keys.get(cell).head;
        while at != NIL {
            let run = *self.state.runs.get(at);
            let subject = self.state.subject(at);
            self.complete(line, key, Some((run, subject)), None, event, out);
            if line.sequence.skip == Skip::PastLast {
                self.drop_runs(cell);
                return true;
            }
            self.unlink_run(at);
            at = run.next;
        }
        false
    }

    /// What an event does to a run that waits.
    #[inline(always)]
    fn pair_turn(
        &self,
        cx: Context<'_>,
        rule: &PreparedRule,
        &RuleStep { rule: id, roles, .. }: &RuleStep,
        event: EventRef<'_>,
    ) -> Turn {
        if roles.has(Roles::COMPLETES) && self.meets_step(cx, rule.second, (id, 1), event) {
            return Turn::Matches;
        }
        let ends =
            roles.has(Roles::ENDS) || roles.has(Roles::MAY_END) && self.pair_ends(cx, id, event);
        if ends { Turn::Ends } else { Turn::Waits }
    }

    /// Whether an event ends the runs that wait by what it says.
    #[inline(never)]
    fn pair_ends(&self, cx: Context<'_>, id: RuleId, event: EventRef<'_>) -> bool {
        let Pattern::Sequence(of) = &cx.plan.rules[id.0 as usize].pattern else { return false };
        let Sequence { steps, without, strict, .. } = of;
        let mut ends = steps[1].without.iter().chain(without).chain(strict);
        ends.any(|trigger| self.fits(cx, trigger, event))
    }

    /// Whether an event may start a run.
    #[inline(always)]
    fn pair_starts(
        &self,
        cx: Context<'_>,
        rule: &PreparedRule,
        &RuleStep { rule: id, roles, .. }: &RuleStep,
        event: EventRef<'_>,
    ) -> bool {
        roles.has(Roles::STARTS)
            && (roles.has(Roles::SURE) && self.evaluates(true)
                || self.meets_step(cx, rule.first, (id, 0), event))
    }

    /// Whether an event of its kind meets the condition of a step.
    #[inline(always)]
    fn meets_step(
        &self,
        cx: Context<'_>,
        when: When,
        (id, step): (RuleId, usize),
        event: EventRef<'_>,
    ) -> bool {
        if when.asks { self.asks_step(cx, (id, step), event) } else { self.passes(when, event) }
    }

    #[inline(never)]
    fn asks_step(&self, cx: Context<'_>, (id, step): (RuleId, usize), event: EventRef<'_>) -> bool {
        trigger_of(cx, id, step).is_some_and(|trigger| self.meets(cx, trigger, event))
    }
}
