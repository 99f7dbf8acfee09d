//! An event unless others stand in windows around it: looks both ways in time.

use event::{EventRef, EventTime, Symbol, TimeSpan};

use super::cells::{Course, Entry, Run};
use super::findings::Findings;
use super::layout::Subject;
use super::pages::NIL;
use super::prepared::{PreparedGuard, PreparedRule, key_of_text, text_of_key};
use super::scope::{Context, Sight, key_of, outside};
use super::site::Site;
use super::state::{Kept, Vacant};
use super::steps::{Roles, RuleStep};
use super::timers::Due;
use crate::plan::{Guard, Pattern, Rule, RuleId, Trigger};
use crate::value::Value;

/// Bits of one guard's count in [`Course::counts`].
const COUNT_BITS: usize = 8;

fn count_of(course: &Course, guard: usize) -> u64 {
    course.counts >> (COUNT_BITS * guard) & ((1 << COUNT_BITS) - 1)
}

/// How long an opening event waits for guards; not above zero where they all come before it.
pub(super) fn wait_of(guards: &[Guard]) -> TimeSpan {
    guards.iter().map(|guard| guard.to).max().unwrap_or_default()
}

impl Site {
    #[inline(never)]
    pub(super) fn step_unless(
        &mut self,
        cx: Context<'_>,
        (&RuleStep { rule: id, roles, .. }, rule): (&RuleStep, &PreparedRule),
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        self.on_account_of(rule.owner, |site| match &rule.guard {
            Some(guard) => site.step_guarded(cx, (id, rule, guard), roles, event),
            None => site.step_unless_asking(cx, id, roles, event, out),
        });
    }

    /// One guard, of which one event after the opening one is enough, whatever it says; it has the rule's key,
    /// a text of the row.
    #[inline(always)]
    fn step_guarded(
        &mut self,
        cx: Context<'_>,
        (id, rule, guard): (RuleId, &PreparedRule, &PreparedGuard),
        roles: Roles,
        event: EventRef<'_>,
    ) {
        let Some(text) = text_of_key(event, guard.by) else { return };
        if roles.has(Roles::EXCUSES)
            && let Ok(cell) = self.state.look_text((rule.owner, rule.place), text)
        {
            self.excuse_all(cell, guard.to, event);
        }
        if roles.has(Roles::OPENS) {
            self.open_guarded(cx, (id, rule, guard.to), (roles, text), event);
        }
    }

    /// Ends all runs of a key; those whose time is over come to their deadline.
    #[inline(never)]
    fn excuse_all(&mut self, cell: u32, to: TimeSpan, event: EventRef<'_>) {
        let mut at = self.state.keys.get(cell).head;
        if at != NIL
            && !outside(event.occurred(), self.state.runs.get(at).started, to)
            && self.state.end_only(cell, at)
        {
            return;
        }
        while at != NIL {
            let Run { started, next, .. } = *self.state.runs.get(at);
            if !outside(event.occurred(), started, to) {
                self.unlink_run(at);
            }
            at = next;
        }
        self.drop_if_idle(cell);
    }

    #[inline(never)]
    fn open_guarded(
        &mut self,
        cx: Context<'_>,
        (id, rule, to): (RuleId, &PreparedRule, TimeSpan),
        (roles, text): (Roles, Symbol),
        event: EventRef<'_>,
    ) {
        let opens = if roles.has(Roles::SURE) {
            self.evaluates(true)
        } else if rule.first.asks {
            self.asks_opening(cx, id, event)
        } else {
            self.passes(rule.first, event)
        };
        if !opens {
            return;
        }
        let (owner, key) = (rule.owner, key_of_text(text));
        let known = self.state.look_text((owner, rule.place), text);
        let run = match known {
            Err(Vacant(idle)) if idle != NIL => {
                let (occurred, identity, place) = event.cited();
                let run = Run { place, ..self.new_run(id, idle, occurred, identity) };
                let subject = |to: &mut Subject| cx.layout.subject_to(cx.tables, event, to);
                self.state.begin_only(idle, owner, run, subject)
            }
            _ => {
                let cell = self.state.use_or_enter(known, owner, &key, Value::Missing);
                self.start(cx, id, cell, event)
            }
        };
        let (due, owner) = (event.occurred().plus(to), u32::from(id.0) + 1);
        self.timers.push(due, owner, event.identity().0, self.serial, Due::Run(run));
    }

    #[inline(never)]
    fn asks_opening(&self, cx: Context<'_>, id: RuleId, event: EventRef<'_>) -> bool {
        match &cx.plan.rules[id.0 as usize].pattern {
            Pattern::Unless { on, .. } => self.meets(cx, on, event),
            _ => false,
        }
    }

    #[inline(never)]
    fn step_unless_asking(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        roles: Roles,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = &cx.plan.rules[id.0 as usize];
        let Pattern::Unless { on, guards } = &rule.pattern else { return };
        let guards_of_kind = || {
            let numbered = guards.iter().enumerate();
            numbered.filter(|(_, guard)| guard.kinds.contains(&event.kind()))
        };
        if roles.has(Roles::EXCUSES) {
            for (number, guard) in guards_of_kind().filter(|(_, g)| g.to > TimeSpan::ZERO) {
                self.satisfy(cx, id, number, guard, event);
            }
        }
        if roles.has(Roles::OPENS) {
            self.open(cx, id, rule, on, guards, event, out);
        }
        if roles.has(Roles::REMEMBERED) {
            for (number, guard) in guards_of_kind().filter(|(_, g)| g.from < TimeSpan::ZERO) {
                self.remember(cx, id, number, guard, event);
            }
        }
    }

    /// A guard event after the opening one: counts for every run that waits for it.
    fn satisfy(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        number: usize,
        guard: &Guard,
        event: EventRef<'_>,
    ) {
        let Some(key) = key_of(cx, event, &guard.same) else { return };
        let Some(cell) = self.state.find(cx.layout.guard_waiting(id, number), &key) else { return };
        let (mut previous, mut at) = (NIL, self.state.keys.get(cell).head);
        while at != NIL {
            let entry = self.state.entries.get(at);
            let (next, time) = (entry.next, entry.time);
            let done = match self.waiting_run(entry) {
                None => true,
                Some(run) => {
                    outside(event.occurred(), time, guard.to)
                        || self.count_guard(cx, run, number, guard, event)
                }
            };
            if done {
                self.state.unlink_entry(cell, previous, at);
            } else {
                previous = at;
            }
            at = next;
        }
        if self.state.keys.get(cell).head == NIL {
            self.state.retire(cell);
        }
    }

    /// The run that an entry of a guard's list stands for, if it still waits.
    pub(super) fn waiting_run(&self, entry: &Entry) -> Option<u32> {
        let index = entry.words[0] as u32;
        let run = self.state.runs.get(index);
        (run.owner != 0 && run.serial == entry.words[1]).then_some(index)
    }

    /// Counts one guard event for one run; ends the run when that satisfies the guard.
    fn count_guard(
        &mut self,
        cx: Context<'_>,
        index: u32,
        number: usize,
        guard: &Guard,
        event: EventRef<'_>,
    ) -> bool {
        let course = self.state.course(self.state.runs.get(index));
        if let Some(condition) = &guard.forward {
            let captured = course.map_or(Kept::NOTHING, Course::kept);
            let sight = Sight::of(cx, self, event, &self.changed).with(captured);
            if !sight.holds(condition) {
                return false;
            }
        }
        let count = course.map_or(0, |course| count_of(course, number)) + 1;
        if count >= u64::from(guard.at_least) {
            self.unlink_run(index);
            return true;
        }
        let mut course = course.copied().unwrap_or_else(|| Course::at(0, 0));
        course.counts += 1 << (COUNT_BITS * number);
        self.state.keep_course(index, course);
        false
    }

    #[allow(clippy::too_many_arguments, reason = "one call site; the pieces are one rule's")]
    fn open(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        rule: &Rule,
        on: &Trigger,
        guards: &[Guard],
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let Some(key) = key_of(cx, event, &rule.by) else { return };
        if !self.meets(cx, on, event) {
            return;
        }
        let mut counts = 0;
        for (number, guard) in guards.iter().enumerate() {
            let count = self.look_back(cx, id, number, guard, event);
            if count >= u64::from(guard.at_least) {
                return;
            }
            counts |= count << (COUNT_BITS * number);
        }
        let end = wait_of(guards);
        if end <= TimeSpan::ZERO {
            let mark = out.evidence_mark();
            out.push_evidence(Entry::of(event, 0).evidence());
            let conclusion = self.conclusion_of(cx, id, key, event);
            self.conclude(cx, conclusion, mark, out);
            return;
        }
        let cell = self.state.find_or_insert(cx.layout.rule(id), &key, Value::Missing);
        let index = self.start(cx, id, cell, event);
        if counts != 0 || !rule.captures.is_empty() {
            let mut course = Course { counts, ..Course::at(0, event.occurred().0) };
            Sight::of(cx, self, event, &self.changed).capture(rule, 0, 0, &mut course);
            self.state.keep_course(index, course);
        }
        let serial = self.serial;
        for (number, guard) in guards.iter().enumerate() {
            if guard.to > TimeSpan::ZERO {
                self.wait_for(cx, id, number, guard, event, (index, serial));
            }
        }
        let (due, owner) = (event.occurred().plus(end), u32::from(id.0) + 1);
        self.timers.push(due, owner, event.identity().0, serial, Due::Run(index));
    }

    /// Enters a run in a guard's list.
    fn wait_for(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        number: usize,
        guard: &Guard,
        event: EventRef<'_>,
        (run, serial): (u32, u64),
    ) {
        let Some(key) = key_of(cx, event, &guard.same) else { return };
        let owner = cx.layout.guard_waiting(id, number);
        let cell = self.state.find_or_insert(owner, &key, Value::Missing);
        // Runs that ended otherwise left their entries; a list may not grow with them.
        while let Some(head) = self.state.front(cell) {
            if self.waiting_run(&head).is_some() {
                break;
            }
            self.state.pop_front(cell);
        }
        let mut entry = Entry::of(event, u64::from(run));
        entry.words[1] = serial;
        self.state.append(cell, entry);
    }

    /// How many guard events before the opening one satisfy a guard.
    fn look_back(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        number: usize,
        guard: &Guard,
        event: EventRef<'_>,
    ) -> u64 {
        if guard.from >= TimeSpan::ZERO {
            return 0;
        }
        let Some(key) = key_of(cx, event, &guard.same) else { return 0 };
        let owner = cx.layout.guard_history(id, number);
        let Some(cell) = self.state.find(owner, &key) else { return 0 };
        self.forget_history(cell, guard.from.negated(), event.occurred());
        let state = &self.state;
        let satisfies = |entry: &&Entry| {
            let sight = Sight::of(cx, self, event, &self.changed).with(entry.kept());
            guard.backward.as_ref().is_none_or(|condition| sight.holds(condition))
        };
        let max = u64::from(guard.at_least).min((1 << COUNT_BITS) - 1);
        let count = state.list(state.keys.get(cell).head).filter(satisfies).take(max as usize);
        count.count() as u64
    }

    fn remember(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        number: usize,
        guard: &Guard,
        event: EventRef<'_>,
    ) {
        let Some(key) = key_of(cx, event, &guard.same) else { return };
        let owner = cx.layout.guard_history(id, number);
        let cell = self.state.find_or_insert(owner, &key, Value::Missing);
        self.forget_history(cell, guard.from.negated(), event.occurred());
        let entry = self.history_entry(cx, event, &guard.captures);
        self.state.append(cell, entry);
    }

    /// Drops what is so far back that no opening event can see it any more.
    pub(super) fn forget_history(&mut self, cell: u32, within: TimeSpan, now: EventTime) {
        while let Some(head) = self.state.front(cell) {
            if !outside(now, head.time, within) {
                return;
            }
            self.state.pop_front(cell);
        }
    }

    /// A run's deadline has come.
    pub(super) fn run_due(
        &mut self,
        cx: Context<'_>,
        index: u32,
        serial: u64,
        at: EventTime,
        out: &mut Findings,
    ) {
        let run = self.state.runs.get(index);
        if run.owner == 0 || run.serial != serial {
            return;
        }
        let id = RuleId((run.owner - 1) as u16);
        let seen = self.look_due(cx, id, run, at, out);
        self.run_decided(cx, id, index, at, out);
        self.saw(cx, seen, out);
    }

    fn run_decided(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        index: u32,
        at: EventTime,
        out: &mut Findings,
    ) {
        let run = self.state.runs.get(index);
        let course = self.state.course(run).copied();
        match &cx.plan.rules[id.0 as usize].pattern {
            Pattern::Watch { .. } => return self.level_lasted(cx, id, index, at, out),
            Pattern::Session(session) if course.is_some_and(|c| c.deadline == at.0) => {
                return self.judge_session(cx, id, session, index, at, None, out);
            }
            Pattern::Session(_) => return,
            Pattern::Sequence(sequence) => {
                return self.absence_lasted(cx, id, sequence, index, at, out);
            }
            _ => {}
        }
        let cell = run.key_cell;
        let key = self.state.key(cell);
        let course = course.unwrap_or_else(|| Course::at(0, 0));
        self.conclude_run(cx, id, key, index, &course, None, at, Value::Missing, out);
        self.unlink_run(index);
        self.drop_if_idle(cell);
    }

    /// Packs what a guard's condition reads of its own event.
    pub(super) fn history_entry(
        &self,
        cx: Context<'_>,
        event: EventRef<'_>,
        fields: &[crate::plan::FieldRef],
    ) -> Entry {
        let mut entry = Entry::of(event, 0);
        for (place, field) in fields.iter().enumerate().take(entry.words.len()) {
            let value = super::scope::field_of(cx, event, *field);
            entry.capture(place, value);
        }
        entry
    }
}
