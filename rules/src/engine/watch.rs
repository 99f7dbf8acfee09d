//! Levels: a fact's value under a condition, at once or for a time.

use bytemuck::Zeroable;
use event::identity::TimedId;
use event::vocabulary::field;
use event::{EventRef, EventTime, Identity, Symbol, TimeSpan};

use super::cells::{Course, Entry, Key, Run, halves, whole};
use super::facts::key_from;
use super::findings::Findings;
use super::layout::{AREA, CREDENTIAL, DEVICE, DOOR, PERSON, Subject, Watched};
use super::pages::NIL;
use super::prepared::key_of_text;
use super::scope::{Changed, Context, Sight, fact_value, value_in};
use super::site::{Conclusion, Site};
use super::state::{Kept, Owner};
use super::timers::Due;
use super::work::Cost;
use crate::condition::Bound;
use crate::plan::{FactId, FactKind, FieldRef, Pattern, RuleId};
use crate::value::Value;

/// What moved a level: an event, or the end of a value's time to live (its last setting).
#[derive(Clone, Copy)]
struct Cause<'a> {
    row: Option<EventRef<'a>>,
    entry: Entry,
    at: EventTime,
    /// Old state is being replayed, or state was lost: levels follow, nobody is told.
    silent: bool,
    /// State was given up at a limit: what a level stood on is not known any more.
    lost: bool,
}

impl Site {
    /// Judges every level that the event's facts may have moved.
    #[inline(never)]
    pub(super) fn watch_changes(
        &mut self,
        cx: Context<'_>,
        event: EventRef<'_>,
        silent: bool,
        out: &mut Findings,
    ) {
        let cause = Cause {
            row: Some(event),
            entry: Entry::of(event, 0),
            at: event.occurred(),
            silent,
            lost: false,
        };
        self.follow_changes(cx, &cause, out);
    }

    /// Whether what the event has changed moves no level: nothing is watched of it, or what is said of
    /// its value alone was as true before as it is now, and a level where it is true.
    pub(super) fn levels_stay(&mut self, cx: Context<'_>) -> bool {
        for place in 0..self.changed.len() {
            let changed = self.changed[place];
            let levels = match cx.layout.watched(changed.fact) {
                Watched::Not => continue,
                Watched::Levels(levels) if changed.cell != NIL => levels,
                Watched::Levels(_) | Watched::Otherwise => return false,
            };
            let Value::Int(before) = changed.before else { return false };
            let (key, now) = (changed.key, self.state.keys.get(changed.cell).number());
            for (rule, bound) in levels {
                if !self.level_stays(cx.layout.rule(*rule), *bound, || key, (before, now)) {
                    return false;
                }
            }
        }
        true
    }

    /// Whether a level is what it was: the rule has looked then.
    #[inline(always)]
    pub(super) fn level_stays(
        &mut self,
        rule: Owner,
        bound: Bound,
        key: impl Fn() -> Key,
        (before, now): (i64, i64),
    ) -> bool {
        let holds = bound.has(now);
        if bound.has(before) != holds || holds && !self.is_level(rule, &key()) {
            return false;
        }
        self.work.add(rule, Cost::of(1));
        true
    }

    /// The same of a balance that has moved before: where no level has been lost, one is where it holds.
    #[inline(always)]
    pub(super) fn level_stands(
        &mut self,
        rule: Owner,
        bound: Bound,
        text: Symbol,
        (before, now): (i64, i64),
    ) -> bool {
        if !self.state.levels_stand {
            return self.level_stays(rule, bound, || key_of_text(text), (before, now));
        }
        let holds = bound.has(now);
        if bound.has(before) != holds {
            return false;
        }
        debug_assert!(!holds || self.is_level(rule, &key_of_text(text)), "a level is not lost");
        // Were another to rise or fall after it, it would count twice.
        self.work.add(rule, Cost::of(1));
        true
    }

    #[inline(always)]
    fn is_level(&self, rule: Owner, key: &Key) -> bool {
        let level = self.state.look(rule, key);
        level.is_ok_and(|level| self.state.value(level) == Value::Bool(true))
    }

    /// Levels follow a fact that has lost something at a limit.
    pub(super) fn follow_loss(&mut self, cx: Context<'_>, out: &mut Findings) {
        let entry = Entry::zeroed();
        let cause = Cause { row: None, entry, at: self.now, silent: true, lost: true };
        self.follow_changes(cx, &cause, out);
    }

    /// Judges every level over the facts that have changed.
    fn follow_changes(&mut self, cx: Context<'_>, cause: &Cause<'_>, out: &mut Findings) {
        for place in 0..self.changed.len() {
            let changed = self.changed[place];
            let asked = match out.probe() {
                Some(_) => cx.layout.watchers(changed.fact).whole(),
                None => cx.watches_asked(changed.fact, &changed.key),
            };
            for rule in asked {
                let Pattern::Watch { fact, .. } = &cx.plan.rules[rule.0 as usize].pattern else {
                    continue;
                };
                if *fact != changed.fact {
                    if let Some(key) = self.watched_key(cx, *fact, changed.fact, &changed.key) {
                        let value = fact_value(cx, &self.state, *fact, &key, cause.at);
                        self.judge(cx, rule, &key, value, cause, out);
                    }
                    continue;
                }
                // A window may have run empty since the last event: the level fell then.
                if is_windowed(cx, *fact) {
                    self.judge(cx, rule, &changed.key, changed.before, cause, out);
                }
                let value = self.value_now(cx, &changed, cause.at);
                self.judge(cx, rule, &changed.key, value, cause, out);
            }
        }
        let policies = &cx.layout.policies;
        if self.changed.iter().any(|changed| policies.reads(changed.fact)) {
            self.review(cx, cause.at, out);
        }
    }

    /// The value of a fact that has changed.
    fn value_now(&self, cx: Context<'_>, changed: &Changed, now: EventTime) -> Value {
        let Changed { fact, ref key, cell, .. } = *changed;
        if cell == NIL {
            return fact_value(cx, &self.state, fact, key, now);
        }
        value_in(&self.state, &cx.plan.facts[fact.0 as usize].kind, Some(cell), now)
    }

    /// Judges every key of watches that read what has just become another: a schedule, a table. A
    /// key whose fact was never set is not known.
    pub(super) fn watch_all(
        &mut self,
        cx: Context<'_>,
        rules: &[RuleId],
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let (entry, at) = (Entry::of(event, 0), event.occurred());
        for rule in rules {
            self.judge_keys(cx, *rule, Some(event), entry, at, out);
        }
    }

    /// Judges every key of a watch whose fact was ever set.
    pub(super) fn judge_keys(
        &mut self,
        cx: Context<'_>,
        rule: RuleId,
        row: Option<EventRef<'_>>,
        entry: Entry,
        at: EventTime,
        out: &mut Findings,
    ) {
        let Pattern::Watch { fact, .. } = &cx.plan.rules[rule.0 as usize].pattern else { return };
        let cause = Cause { row, entry, at, silent: false, lost: false };
        let owner = cx.layout.fact(*fact).0 + 1;
        for cell in 0..self.state.keys.len() {
            let held = self.state.keys.get(cell);
            // A cell of one counted value is no key of the fact.
            let key = (held.owner == owner).then(|| self.state.key(cell));
            if let Some(key) = key.filter(|key| key[3] == Symbol::NONE) {
                let value = fact_value(cx, &self.state, *fact, &key, at);
                self.judge(cx, rule, &key, value, &cause, out);
            }
        }
    }

    /// The last deadline of all that waits.
    pub(super) fn last_deadline(&self, cx: Context<'_>) -> EventTime {
        let runs = self.state.runs.indexes();
        let runs = runs.map(|run| self.deadline_of(cx, self.state.runs.get(run)));
        let keys = self.state.cells().filter_map(|index| self.expiry(cx, index));
        let held = self.held.indexes().map(|held| self.held.get(held).deadline);
        let all = runs.chain(held).filter(|at| *at != i64::MAX).chain(keys.map(|(at, _)| at.0));
        EventTime(all.max().unwrap_or(i64::MIN))
    }

    /// When the value of a fact's cell is forgotten, where anybody must know; and the fact.
    fn expiry(&self, cx: Context<'_>, index: u32) -> Option<(EventTime, FactId)> {
        let cell = self.state.keys.get(index);
        let fact = cx.plan.facts.get(cell.owner as usize - 1)?;
        let id = FactId((cell.owner - 1) as u16);
        let FactKind::Set { ttl: Some(ttl), .. } = &fact.kind else { return None };
        cx.layout.hears_expiry(id).then(|| (EventTime(cell.time).plus(*ttl), id))
    }

    fn watched_key(
        &self,
        cx: Context<'_>,
        watched: FactId,
        changed: FactId,
        key: &Key,
    ) -> Option<Key> {
        let facts = &cx.plan.facts;
        key_from(&facts[watched.0 as usize].by, &facts[changed.0 as usize].by, key)
    }

    fn judge(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        key: &Key,
        value: Value,
        cause: &Cause<'_>,
        out: &mut Findings,
    ) {
        let rule = &cx.plan.rules[id.0 as usize];
        let Pattern::Watch { condition, hold, clears, .. } = &rule.pattern else { return };
        self.evaluated.set(0);
        let at_once = condition.holds_at(value).filter(|_| hold.is_none() && out.probe().is_none());
        let (holds, span, seen) = match at_once {
            Some(holds) => (self.evaluates(holds), None, None),
            None => {
                let sight = self.sight_of_key(cx, id, *key, value, cause.at);
                let holds = sight.holds(condition);
                let seen = match out.probe() {
                    Some(_) => self.look_level(cx, id, key, &sight, cause.row, out),
                    None => None,
                };
                (holds, hold.as_ref().map(|hold| sight.span(hold)), seen)
            }
        };
        let owner = cx.layout.rule(id);
        let evaluated = self.evaluated.get();
        self.work.add_much(owner, [1, evaluated]);
        let known = self.state.find(owner, key);
        let active = known.is_some_and(|c| self.state.value(c) == Value::Bool(true));
        match (active, holds) {
            (false, true) => {
                let cell = self.state.use_or_insert(known, owner, key, Value::Bool(true));
                self.state.set_value(cell, Value::Bool(true));
                self.state.keys.get_mut(cell).time = cause.at.0;
                match span {
                    _ if cause.silent => {}
                    None => self.level_rose(cx, id, *key, cell, value, cause, out),
                    Some(Some(span)) => self.hold(cx, id, cell, span, cause),
                    // The span is missing (no limit for this door): the level cannot last.
                    Some(None) => {}
                }
            }
            (true, false) => {
                let clears = *clears && !cause.lost;
                if cause.lost {
                    self.let_level_go(cx, id, key);
                }
                self.level_fell(cx, id, key, clears, cause.at, out);
            }
            _ => {}
        }
        if seen.is_some() {
            self.saw(cx, seen, out);
        }
    }

    /// Whether the incident of a level still stands, nobody will know.
    fn let_level_go(&mut self, cx: Context<'_>, id: RuleId, key: &Key) {
        if let Some(cell) = self.state.find(cx.layout.rule(id), key) {
            self.let_incident_go(cx, id, cell);
        }
    }

    /// As [`Self::let_level_go`], where the level's cell is known.
    pub(super) fn let_incident_go(&mut self, cx: Context<'_>, id: RuleId, cell: u32) {
        let held = self.state.keys.get(cell);
        let incident = TimedId(whole([held.aux, held.spare]));
        let ends =
            matches!(cx.plan.rules[id.0 as usize].pattern, Pattern::Watch { clears: true, .. });
        if ends && incident != TimedId::default() {
            self.correlation.never_ends(incident);
        }
    }

    fn sight_of_key<'a>(
        &'a self,
        cx: Context<'a>,
        id: RuleId,
        key: Key,
        value: Value,
        now: EventTime,
    ) -> Sight<'a> {
        let rule = &cx.plan.rules[id.0 as usize];
        let by: &[FieldRef] = match &rule.pattern {
            Pattern::Watch { fact, .. } => &cx.plan.facts[fact.0 as usize].by,
            _ => &rule.by,
        };
        Sight { value, changed: &self.changed, ..Sight::of_key(cx, self, by, key, now) }
    }

    #[allow(clippy::too_many_arguments, reason = "one call site; the pieces are one level's")]
    fn level_rose(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        key: Key,
        cell: u32,
        value: Value,
        cause: &Cause<'_>,
        out: &mut Findings,
    ) {
        let mark = out.evidence_mark();
        out.push_evidence(cause.entry.evidence());
        let conclusion = Conclusion {
            rule: id,
            key,
            at: cause.at,
            event: Identity(whole(cause.entry.identity)),
            first: None,
            omitted: 0,
            session: None,
            run: 0,
            subject: self.subject(cx, id, &key, cause.row),
            row: cause.row,
            captured: Kept::NOTHING,
            value,
            level: cell,
        };
        let incident = self.conclude(cx, conclusion, mark, out);
        self.note_incident(cell, incident);
    }

    pub(super) fn note_incident(&mut self, cell: u32, incident: Option<TimedId>) {
        let [low, high] = halves(incident.unwrap_or_default().0);
        let cell = self.state.keys.get_mut(cell);
        (cell.aux, cell.spare) = (low, high);
    }

    fn subject(
        &self,
        cx: Context<'_>,
        id: RuleId,
        key: &Key,
        row: Option<EventRef<'_>>,
    ) -> Subject {
        let mut subject = match row {
            Some(event) => cx.layout.subject(cx.tables, event),
            None => [Symbol::NONE; 6],
        };
        // It is the key's own area, door or person, wherever the event was that moved the level.
        for (part, by) in key.iter().zip(&cx.plan.rules[id.0 as usize].by) {
            let place = match by {
                FieldRef::Slot(field::AREA, _) => AREA,
                FieldRef::Slot(field::DOOR, _) => DOOR,
                FieldRef::Slot(field::PERSON, _) => PERSON,
                FieldRef::Slot(field::CREDENTIAL, _) => CREDENTIAL,
                FieldRef::Device => DEVICE,
                _ => continue,
            };
            subject[place] = *part;
        }
        cx.layout.complete(cx.tables, &mut subject);
        subject
    }

    fn hold(&mut self, cx: Context<'_>, id: RuleId, cell: u32, span: TimeSpan, cause: &Cause<'_>) {
        let key = self.state.key(cell);
        let deadline = cause.at.plus(span);
        let Entry { identity, place, time, .. } = cause.entry;
        let run = Run { place, ..self.new_run(id, cell, EventTime(time), identity) };
        let subject = self.subject(cx, id, &key, cause.row);
        let index = self.state.keep_run(run, |to| *to = subject);
        let course = Course { deadline: deadline.0, ..Course::at(0, cause.at.0) };
        self.state.keep_course(index, course);
        self.timers.push(deadline, run.owner, whole(identity), run.serial, Due::Run(index));
    }

    /// A level has lasted as long as it must.
    pub(super) fn level_lasted(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        index: u32,
        at: EventTime,
        out: &mut Findings,
    ) {
        let cell = self.state.runs.get(index).key_cell;
        let key = self.state.key(cell);
        let Pattern::Watch { fact, condition, .. } = &cx.plan.rules[id.0 as usize].pattern else {
            return;
        };
        let value = fact_value(cx, &self.state, *fact, &key, at);
        let lasted = self.sight_of_key(cx, id, key, value, at).holds(condition);
        let course = Course::at(0, at.0);
        let incident = if lasted {
            self.conclude_run(cx, id, key, index, &course, None, at, value, out)
        } else {
            None
        };
        let index = self.state.keys.get(cell).head;
        self.unlink_run(index);
        if lasted {
            self.note_incident(cell, incident);
        } else {
            self.state.set_value(cell, Value::Bool(false));
        }
    }

    fn level_fell(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        key: &Key,
        clears: bool,
        at: EventTime,
        out: &mut Findings,
    ) {
        let Some(cell) = self.state.find(cx.layout.rule(id), key) else { return };
        let waiting = self.state.keys.get(cell).head;
        if waiting != NIL {
            self.unlink_run(waiting);
        }
        let held = *self.state.keys.get(cell);
        let incident = TimedId(whole([held.aux, held.spare]));
        if clears && incident != TimedId::default() {
            self.clear_incident(incident, at, out);
        }
        self.level_ended(cell);
        self.state.remove(cell);
    }

    /// Notes that a watched fact's value lives until `at`.
    pub(super) fn watch_expiry(
        &mut self,
        cx: Context<'_>,
        fact: FactId,
        cell: u32,
        event: EventRef<'_>,
        at: EventTime,
    ) {
        self.serial += 1;
        while self.state.pop_front(cell).is_some() {}
        self.state.append(cell, Entry::of(event, 0));
        self.state.keys.get_mut(cell).aux = self.serial;
        let tie = self.key_tie(cx, cell);
        self.timers.push(at, u32::from(fact.0), tie, self.serial, Due::Expiry(cell));
    }

    /// A number for a cell's key that no interned id enters.
    pub(super) fn key_tie(&self, cx: Context<'_>, cell: u32) -> u128 {
        let key = self.state.key(cell);
        let digest = event::Digest::default();
        key.iter().fold(digest, |d, part| d.number(cx.interner.digest(*part))).finish()
    }

    /// A watched fact's value has outlived its `ttl`.
    pub(super) fn fact_expired(
        &mut self,
        cx: Context<'_>,
        cell: u32,
        serial: u64,
        at: EventTime,
        out: &mut Findings,
    ) {
        let held = *self.state.keys.get(cell);
        if held.owner == 0 || held.owner as usize > cx.plan.facts.len() || held.aux != serial {
            return;
        }
        let fact = FactId((held.owner - 1) as u16);
        let Some(entry) = self.state.pop_front(cell) else { return };
        let (key, before) = (self.state.key(cell), self.state.value(cell));
        self.state.remove(cell);
        self.changed.clear();
        let changed = Changed { fact, key, before, cell: NIL };
        self.note_change(cx, changed, (Some(before), None));
        let cause = Cause { row: None, entry, at, silent: false, lost: false };
        self.follow_changes(cx, &cause, out);
    }

    /// Whether every balance that has a level has it: after a restore, and under other rules.
    fn look_for_levels(&mut self, cx: Context<'_>) {
        let stands = |cell: u32| {
            let held = self.state.keys.get(cell);
            if held.owner().0 as usize >= cx.plan.facts.len() {
                return true;
            }
            match cx.layout.prepared.fact(FactId(held.owner().0 as u16)).level {
                Some((rule, bound)) if bound.has(held.number()) => {
                    self.is_level(rule, &self.state.key(cell))
                }
                _ => true,
            }
        };
        let stand = self.state.cells().all(stands);
        self.state.levels_stand = stand;
    }

    /// Puts every deadline of the state back into the timers: after a restore.
    pub(super) fn rearm(&mut self, cx: Context<'_>) {
        self.look_for_levels(cx);
        self.timers.clear();
        for index in self.state.runs.indexes() {
            let run = self.state.runs.get(index);
            let deadline = self.deadline_of(cx, run);
            if deadline != i64::MAX {
                let (at, tie) = (EventTime(deadline), whole(run.identity));
                self.timers.push(at, run.owner, tie, run.serial, Due::Run(index));
            }
        }
        for index in self.state.cells() {
            if let Some((at, id)) = self.expiry(cx, index) {
                let (tie, serial) = (self.key_tie(cx, index), self.state.keys.get(index).aux);
                self.timers.push(at, u32::from(id.0), tie, serial, Due::Expiry(index));
            }
        }
        self.rearm_policies(cx);
    }
}

fn is_windowed(cx: Context<'_>, fact: FactId) -> bool {
    let kind = &cx.plan.facts[fact.0 as usize].kind;
    matches!(kind, FactKind::Count { .. } | FactKind::Distinct { .. })
}
