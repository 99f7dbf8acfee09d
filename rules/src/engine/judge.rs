//! What an event does at a site: to facts, to levels, to rules, in this order.

use event::{EventFlags, EventRef};

use super::asked::Index;
use super::findings::Findings;
use super::interests::Interest;
use super::prepared::{PreparedRule, When};
use super::scope::{Context, Sight, fact_of, part_of};
use super::site::Site;
use super::steps::{Roles, RuleForm, RuleStep};
use crate::condition::Condition;
use crate::plan::{FieldRef, Pattern, RuleId, Trigger};

impl Site {
    /// Facts first, then levels, then rules.
    #[inline(never)]
    pub(super) fn judge_event(&mut self, cx: Context<'_>, event: EventRef<'_>, out: &mut Findings) {
        self.judge_any(cx, event, out);
    }

    /// The same of an event of few fields: where all of its kind concern the same facts and rules, it goes
    /// along these.
    #[inline(always)]
    pub(super) fn judge_short(
        &mut self,
        cx: Context<'_>,
        (event, Interest { always, .. }): (EventRef<'_>, &Interest),
        out: &mut Findings,
    ) {
        if always.others | out.probe().is_some() {
            return self.judge_listed(cx, event, out);
        }
        self.changed.clear();
        self.counted.clear();
        let mut looks = false;
        for (step, fact) in &always.facts {
            if step.gate.lets_pass(event, &self.counted) {
                looks |= self.update(cx, step, || fact, Roles::default(), event);
            }
        }
        let silent = event.flags().has(EventFlags::RETAINED);
        if looks {
            self.look_at_levels(cx, event, silent, out);
        }
        if silent {
            return;
        }
        for (step, rule) in &always.rules {
            if step.gate.lets_pass(event, &self.counted) {
                self.step(cx, step, || rule, event, out);
            }
        }
    }

    /// The same, where what it says decides whom it concerns.
    #[inline(never)]
    fn judge_listed(&mut self, cx: Context<'_>, event: EventRef<'_>, out: &mut Findings) {
        match event.short() {
            Some(event) => self.judge_any(cx, event, out),
            None => self.judge_event(cx, event, out),
        }
    }

    #[inline(always)]
    fn judge_any(&mut self, cx: Context<'_>, event: EventRef<'_>, out: &mut Findings) {
        if out.probe().is_some() {
            return self.judge_probed(cx, event, out);
        }
        let silent = event.flags().has(EventFlags::RETAINED);
        let interest = cx.layout.interest(event.kind());
        self.changed.clear();
        self.counted.clear();
        if interest.is_of_facts() && self.update_facts(cx, &interest.facts, Roles::default(), event)
        {
            self.look_at_levels(cx, event, silent, out);
        }
        if silent {
            return;
        }
        let steps = match interest.rules.all_always() {
            Some(steps) => steps,
            None => match self.rules_of_text(cx, &interest.rules, event) {
                Some(steps) => steps,
                None => return self.step_several(cx, &interest.rules, event, out),
            },
        };
        for step in steps {
            self.step_rule(cx, step, event, out);
        }
    }

    /// The rules that an event steps by one text of it, where that is one list.
    #[inline(always)]
    fn rules_of_text<'a>(
        &mut self,
        cx: Context<'_>,
        rules: &'a Index<FieldRef, RuleStep>,
        event: EventRef<'_>,
    ) -> Option<&'a [RuleStep]> {
        let listed = rules.field().and_then(|field| part_of(cx, event, field));
        self.listed = listed.unwrap_or_default();
        let counted = &self.counted;
        rules.asked_of_one(move |_| listed, move |group| group.passes(event, counted))
    }

    #[inline(never)]
    fn look_at_levels(
        &mut self,
        cx: Context<'_>,
        event: EventRef<'_>,
        silent: bool,
        out: &mut Findings,
    ) {
        if !self.levels_stay(cx) {
            self.watch_changes(cx, event, silent, out);
        }
    }

    #[inline(never)]
    fn step_several(
        &mut self,
        cx: Context<'_>,
        rules: &Index<FieldRef, RuleStep>,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let value = |field| part_of(cx, event, field);
        let steps = rules.asked(value, |group| group.passes(event, &self.counted));
        steps.for_each(|step| self.step_rule(cx, &step, event, out));
    }

    /// The same, while a probe looks on.
    #[cold]
    fn judge_probed(&mut self, cx: Context<'_>, event: EventRef<'_>, out: &mut Findings) {
        self.look_facts(cx, event, out);
        let silent = event.flags().has(EventFlags::RETAINED);
        self.changed.clear();
        self.counted.clear();
        let facts = &cx.layout.interest(event.kind()).facts;
        self.update_facts(cx, facts, Roles::READ, event);
        self.watch_changes(cx, event, silent, out);
        if !silent {
            self.look_unasked(cx, event, out);
            for step in cx.rules_listed(event) {
                self.step_probed(cx, step, event, out);
            }
        }
    }

    /// Whether a trigger's kind and condition fit an event: one unit of work where it has any.
    #[inline]
    pub(super) fn fits(&self, cx: Context<'_>, trigger: &Trigger, event: EventRef<'_>) -> bool {
        trigger.is_of(event.kind()) && self.meets(cx, trigger, event)
    }

    /// Whether an event of a trigger's kind meets its condition.
    #[inline(always)]
    pub(super) fn meets(&self, cx: Context<'_>, trigger: &Trigger, event: EventRef<'_>) -> bool {
        match &trigger.condition {
            None => true,
            Some(condition) => self.meets_condition(cx, condition, event),
        }
    }

    #[inline(never)]
    fn meets_condition(&self, cx: Context<'_>, condition: &Condition, event: EventRef<'_>) -> bool {
        match condition.holds_of(event) {
            Some(holds) => self.evaluates(holds),
            None => self.meets_rest(cx, condition, event),
        }
    }

    /// Whether an event of a trigger's kind meets its condition, where the fields alone decide. A list
    /// or a gate may have looked at them already.
    #[inline(always)]
    pub(super) fn meets_at_once(
        &self,
        trigger: &Trigger,
        roles: Roles,
        event: EventRef<'_>,
    ) -> Option<bool> {
        let Some(condition) = &trigger.condition else { return Some(true) };
        let decided = if roles.has(Roles::SURE) {
            condition.holds_by_fields()
        } else {
            condition.holds_of(event)
        };
        decided.map(|holds| self.evaluates(holds))
    }

    /// As [`Self::meets`], where the fields alone have not decided.
    pub(super) fn meets_rest(
        &self,
        cx: Context<'_>,
        condition: &Condition,
        event: EventRef<'_>,
    ) -> bool {
        if let Some((fact, limit)) = condition.fact() {
            let value = fact_of(cx, &self.state, &self.changed, event, fact);
            if let Some(holds) = limit.holds(value, event) {
                return self.evaluates(holds);
            }
        }
        self.evaluates(condition.rest().holds(&Sight::of(cx, self, event, &self.changed)))
    }

    /// As [`Self::meets`], of a trigger that asks for no more than to be let pass. Whoever counts what is
    /// evaluated by itself looks at the gate alone.
    #[inline(always)]
    pub(super) fn passes(&self, when: When, event: EventRef<'_>) -> bool {
        self.evaluated.set(self.evaluated.get() + u64::from(when.conditions));
        when.gate.passes(event, &self.counted)
    }

    /// Counts a condition that has been evaluated without more ado.
    #[inline]
    pub(super) fn evaluates(&self, holds: bool) -> bool {
        self.evaluated.set(self.evaluated.get() + 1);
        holds
    }

    /// A rule that an event may step: those whom it does not concern are nearly all.
    #[inline(always)]
    pub(super) fn step_rule(
        &mut self,
        cx: Context<'_>,
        step: &RuleStep,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        if step.gate.passes(event, &self.counted) && self.may_concern(cx, step) {
            self.step(cx, step, || cx.layout.prepared.rule(step.rule), event, out);
        }
    }

    /// Whether a rule holds something for the key of an event that is no concern of it otherwise.
    #[inline(always)]
    fn may_concern(&self, cx: Context<'_>, step: &RuleStep) -> bool {
        if !step.roles.has(Roles::HELD) {
            return true;
        }
        self.state.may_await(cx.layout.rule(step.rule), self.listed)
    }

    /// The same, while a probe looks on.
    pub(super) fn step_probed(
        &mut self,
        cx: Context<'_>,
        step: RuleStep,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let seen = self.look(cx, step.rule, event, out);
        // It may be asked though no list says so, and no gate was looked at.
        let step = RuleStep { roles: step.roles.without(Roles::SURE), ..step };
        self.step(cx, &step, || cx.layout.prepared.rule(step.rule), event, out);
        self.saw(cx, seen, out);
    }

    #[inline(always)]
    fn step<'a>(
        &mut self,
        cx: Context<'_>,
        step: &RuleStep,
        rule: impl FnOnce() -> &'a PreparedRule,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        match step.form {
            RuleForm::Event => self.step_event(cx, step, event, out),
            RuleForm::Short => self.step_short(cx, (step, rule()), event, out),
            RuleForm::Single => self.step_single(cx, (step, rule()), event, out),
            RuleForm::Travel => self.step_travel(cx, (step.rule, rule()), event, out),
            RuleForm::Unless => self.step_unless(cx, (step, rule()), event, out),
            RuleForm::Pair | RuleForm::Other => self.step_other(cx, step, event, out),
        }
    }

    #[inline(never)]
    pub(super) fn step_other(
        &mut self,
        cx: Context<'_>,
        step: &RuleStep,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        self.on_account_of(cx.layout.rule(step.rule), |site| match step.form {
            RuleForm::Pair | RuleForm::Single => site.step_pair(cx, step, event, out),
            _ => site.step_by_pattern(cx, step.rule, event, out),
        });
    }

    fn step_by_pattern(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = &cx.plan.rules[id.0 as usize];
        match &rule.pattern {
            Pattern::Sequence(sequence) => {
                self.step_sequence(cx, id, rule, sequence, event, out);
            }
            Pattern::Session(session) => self.step_session(cx, id, rule, session, event, out),
            Pattern::Passage { .. } => self.step_passage(cx, id, rule, event, out),
            Pattern::Travel { .. } => self.step_travel_asking(cx, id, event, out),
            // They have a form of their own, or no event steps them.
            Pattern::Event(_) | Pattern::Unless { .. } | Pattern::Watch { .. } => {}
        }
    }
}
