//! Sessions: what begins, is counted for a while, and ends; judged as a whole.

use event::{EventRef, EventTime, Identity, Symbol, TimeSpan};

use super::cells::{Course, Entry, Key, whole};
use super::findings::Findings;
use super::pages::NIL;
use super::scope::{Context, SessionView, Sight, key_of, key_part, outside};
use super::site::{Conclusion, Site};
use super::state::pack_into;
use super::timers::Due;
use crate::plan::{Aggregate, Rule, RuleId, Session};
use crate::value::Value;

/// Parts that captures are of: see [`crate::lang`].
const OPEN: u8 = 0;
const CLOSE: u8 = 1;

/// Value of a cited event that came before its session: of one time, the opening comes after it.
const CAME_BEFORE: u64 = 1;

/// One session rule.
#[derive(Clone, Copy)]
struct Line<'a> {
    cx: Context<'a>,
    id: RuleId,
    rule: &'a Rule,
    session: &'a Session,
}

impl Session {
    /// Whether an event of this kind counts for the session that follows it.
    fn comes_before(&self, event: EventRef<'_>) -> bool {
        self.before.as_ref().is_some_and(|(kinds, _)| kinds.contains(&event.kind()))
    }

    /// What events before a session add to, in the order of an entry's captures.
    fn added_before(&self) -> impl Iterator<Item = (usize, &(u8, Aggregate))> {
        let kinds = self.before.as_ref().map_or(&[][..], |(kinds, _)| kinds);
        let adds = |(_, a): &&(u8, Aggregate)| a.on.kinds.iter().any(|k| kinds.contains(k));
        self.aggregates.iter().filter(adds).enumerate()
    }
}

/// The key of a session by one of its names: the others are not known.
fn name_key(place: usize, name: Symbol) -> Key {
    let mut key = [Symbol::NONE; 4];
    key[place] = name;
    key
}

/// Adds what an event, or an earlier one, gives to a place of a run.
fn add(course: &mut Course, place: u8, value: Value) {
    let place = place as usize;
    let sum = match (course.kept().get(place), value) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.saturating_add(b)),
        (Value::Float(a), Value::Float(b)) => Value::Float(a + b),
        (Value::Int(a), Value::Float(b)) => Value::Float(a as f64 + b),
        (Value::Float(a), Value::Int(b)) => Value::Float(a + b as f64),
        (sum, _) => sum,
    };
    pack_into(&mut course.captures, &mut course.tags, place, sum);
}

/// What an event gives to an aggregate; `None` where it does not count.
fn given(aggregate: &Aggregate, sight: &Sight<'_>) -> Option<Value> {
    if !sight.fits(&aggregate.on) {
        return None;
    }
    let value = aggregate.sum.as_ref().map_or(Value::Int(1), |sum| sum.eval(sight));
    matches!(value, Value::Int(_) | Value::Float(_)).then_some(value)
}

impl Site {
    pub(super) fn step_session(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        rule: &Rule,
        session: &Session,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let line = Line { cx, id, rule, session };
        let key = if session.any { self.named(line, event) } else { key_of(cx, event, &rule.by) };
        let Some(key) = key else { return };
        let sight = Sight::of(cx, self, event, &self.changed);
        let (opens, closes) = (sight.fits(&session.open), sight.fits(&session.close));
        let cell = self.state.find(cx.layout.rule(id), &key);
        let mut waiting = cell.map_or(NIL, |cell| self.state.keys.get(cell).head);
        let graced = waiting != NIL && self.course(waiting).step == 1;
        if graced && opens {
            self.judge_session(cx, id, session, waiting, event.occurred(), None, out);
            waiting = NIL;
        } else if graced && session.comes_before(event) {
            self.remember_before(line, key, event);
            return;
        }
        match waiting {
            NIL if opens => self.open_session(line, key, event),
            NIL if closes && session.orphans => self.judge_orphan(line, key, event, out),
            NIL => self.remember_before(line, key, event),
            run => self.count_in(line, run, event, closes && !graced, out),
        }
        if session.any {
            self.note_names(line, key, event);
        }
    }

    /// The key of the session that an event is of: of the names it carries the first, in the order
    /// written, that a session has; else the first it carries.
    fn named(&self, line: Line<'_>, event: EventRef<'_>) -> Option<Key> {
        let Line { cx, id, rule, .. } = line;
        let mut first = None;
        for (place, field) in rule.by.iter().enumerate() {
            let Some(name) = key_part(cx, event, *field) else { continue };
            let key = name_key(place, name);
            if let Some(key) = self.session_of(cx, id, &key) {
                return Some(key);
            }
            first = first.or(Some(key));
        }
        first
    }

    /// The key of the session that has a name. What was given up at a limit leaves names behind
    /// that lead to none.
    fn session_of(&self, cx: Context<'_>, id: RuleId, name: &Key) -> Option<Key> {
        let other = || {
            let cell = self.state.find(cx.layout.memory_of(id), name)?;
            let Value::Text(of) = self.state.value(cell) else { return None };
            Some(name_key(self.state.keys.get(cell).aux as usize, of))
        };
        let keys = [Some(*name), other()];
        keys.into_iter().flatten().find(|key| self.has_session(cx, id, key))
    }

    fn has_session(&self, cx: Context<'_>, id: RuleId, key: &Key) -> bool {
        let cell = self.state.find(cx.layout.rule(id), key);
        cell.is_some_and(|cell| self.state.keys.get(cell).head != NIL)
    }

    /// Keeps the names that an event has shown of its session, unless another session has them.
    fn note_names(&mut self, line: Line<'_>, key: Key, event: EventRef<'_>) {
        let Line { cx, id, rule, .. } = line;
        if !self.has_session(cx, id, &key) {
            return;
        }
        let Some(of) = key.iter().position(|part| part.some().is_some()) else { return };
        let owner = cx.layout.memory_of(id);
        for (place, field) in rule.by.iter().enumerate() {
            let Some(name) = key_part(cx, event, *field) else { continue };
            let other = name_key(place, name);
            if self.session_of(cx, id, &other).is_some() {
                continue;
            }
            let cell = self.state.find_or_insert(owner, &other, Value::Text(key[of]));
            self.state.set_value(cell, Value::Text(key[of]));
            self.state.keys.get_mut(cell).aux = of as u64;
            let names = self.state.find_or_insert(owner, &key, Value::Missing);
            let mut entry = Entry::of(event, u64::from(name.0));
            entry.words[1] = place as u64;
            self.state.append(names, entry);
        }
    }

    /// Forgets the other names of a session that is over.
    fn forget_names(&mut self, cx: Context<'_>, id: RuleId, key: Key) {
        let owner = cx.layout.memory_of(id);
        let Some(names) = self.state.find(owner, &key) else { return };
        while let Some(entry) = self.state.pop_front(names) {
            let other = name_key(entry.words[1] as usize, Symbol(entry.words[0] as u32));
            if let Some(cell) = self.state.find(owner, &other) {
                self.state.remove(cell);
            }
        }
        self.state.remove(names);
    }

    fn open_session(&mut self, line: Line<'_>, key: Key, event: EventRef<'_>) {
        let Line { cx, id, rule, session } = line;
        let mut course = Course::at(0, event.occurred().0);
        let sight = Sight::of(cx, self, event, &self.changed);
        for (place, aggregate) in &session.aggregates {
            let value = given(aggregate, &sight).unwrap_or(Value::Int(0));
            pack_into(&mut course.captures, &mut course.tags, *place as usize, value);
        }
        sight.capture(rule, OPEN, 0, &mut course);
        if let Some(max) = session.max {
            course.deadline = event.occurred().plus(max).0;
        }
        let cell = self.state.find_or_insert(cx.layout.rule(id), &key, Value::Missing);
        let index = self.start(cx, id, cell, event);
        self.keep(index, course);
        self.take_before(line, key, index, event.occurred());
    }

    /// What a session has come to.
    fn course(&self, index: u32) -> Course {
        let run = self.state.runs.get(index);
        let course = self.state.course(run).copied();
        course.unwrap_or_else(|| Course::at(0, run.started))
    }

    /// An event while a session is open, or in its grace.
    fn count_in(
        &mut self,
        line: Line<'_>,
        index: u32,
        event: EventRef<'_>,
        closes: bool,
        out: &mut Findings,
    ) {
        let Line { cx, id, rule, session } = line;
        let mut course = self.course(index);
        let sight = Sight::of(cx, self, event, &self.changed);
        let mut counts = false;
        for (place, aggregate) in &session.aggregates {
            if let Some(value) = given(aggregate, &sight) {
                add(&mut course, *place, value);
                counts = true;
            }
        }
        if closes {
            sight.capture(rule, CLOSE, 0, &mut course);
            let deadline = event.occurred().plus(session.grace);
            (course.step, course.entered, course.deadline) = (1, event.occurred().0, deadline.0);
        }
        self.state.keep_course(index, course);
        if counts || closes {
            self.state.cite(index, Entry::of(event, 0), usize::from(rule.evidence_max));
        }
        if closes && session.grace <= TimeSpan::ZERO {
            self.judge_session(cx, id, session, index, event.occurred(), Some(event), out);
        } else if closes {
            let (run, due) = (self.state.runs.get(index), EventTime(course.deadline));
            self.timers.push(due, run.owner, whole(run.identity), run.serial, Due::Run(index));
        }
    }

    /// Keeps an event for the session that may follow it.
    fn remember_before(&mut self, line: Line<'_>, key: Key, event: EventRef<'_>) {
        let Line { cx, id, session, .. } = line;
        let Some((_, span)) = &session.before else { return };
        if !session.comes_before(event) {
            return;
        }
        let sight = Sight::of(cx, self, event, &self.changed);
        let mut entry = Entry::of(event, 0);
        let mut counts = false;
        for (nth, (_, aggregate)) in session.added_before() {
            if let Some(value) = given(aggregate, &sight) {
                entry.capture(nth, value);
                counts = true;
            }
        }
        if counts {
            let owner = cx.layout.memory_of(id);
            let cell = self.state.find_or_insert(owner, &key, Value::Missing);
            self.forget_history(cell, *span, event.occurred());
            self.state.append(cell, entry);
        }
    }

    /// Gives a session what has come before it, and still counts for it.
    fn take_before(&mut self, line: Line<'_>, key: Key, index: u32, now: EventTime) {
        let Some((_, span)) = &line.session.before else { return };
        let owner = line.cx.layout.memory_of(line.id);
        let Some(cell) = self.state.find(owner, &key) else { return };
        while let Some(entry) = self.state.pop_front(cell) {
            if outside(now, entry.time, *span) {
                continue;
            }
            let mut course = self.course(index);
            for (nth, (place, _)) in line.session.added_before() {
                add(&mut course, *place, entry.kept().get(nth));
            }
            self.state.keep_course(index, course);
            let max = usize::from(line.rule.evidence_max);
            self.state.cite(
                index,
                Entry { next: NIL, tags: 0, words: [CAME_BEFORE, 0, 0], ..entry },
                max,
            );
        }
        self.state.remove(cell);
    }

    /// Judges a session as a whole, and forgets it.
    #[allow(clippy::too_many_arguments, reason = "the pieces are one session's")]
    pub(super) fn judge_session(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        session: &Session,
        index: u32,
        at: EventTime,
        row: Option<EventRef<'_>>,
        out: &mut Findings,
    ) {
        let (run, course) = (*self.state.runs.get(index), self.course(index));
        let cell = run.key_cell;
        let key = self.state.key(cell);
        let closed = course.step == 1;
        let end = if closed { EventTime(course.entered) } else { at };
        let duration = Some(end.since(EventTime(run.started)));
        let view = SessionView { closed, orphan: false, duration };
        let mark = out.evidence_mark();
        self.state.evidence_of(&run).for_each(|evidence| out.push_evidence(evidence));
        // What came before was cited after the opening event: the trigger is the latest of all.
        let further = self.state.list(course.head);
        let latest = further.max_by_key(|entry| (entry.time, entry.words[0] != CAME_BEFORE));
        let opened = (run.started, true);
        let later = latest.filter(|e| (e.time, e.words[0] != CAME_BEFORE) >= opened);
        out.push_evidence(later.map_or(run.opening(), Entry::evidence));
        let conclusion = Conclusion {
            rule: id,
            key,
            at,
            event: row.map_or(Identity(whole(run.identity)), |event| event.identity()),
            first: None,
            omitted: course.omitted,
            subject: self.state.subject(index),
            row,
            captured: course.kept(),
            value: Value::Missing,
            session: Some(view),
            level: NIL,
            run: run.serial,
        };
        self.conclude_session(cx, session, conclusion, mark, out);
        if session.any {
            self.forget_names(cx, id, key);
        }
        self.unlink_run(index);
        self.drop_if_idle(cell);
    }

    /// An end without a beginning.
    fn judge_orphan(&mut self, line: Line<'_>, key: Key, event: EventRef<'_>, out: &mut Findings) {
        let Line { cx, id, rule, session } = line;
        let mut course = Course::at(0, event.occurred().0);
        for (place, _) in &session.aggregates {
            pack_into(&mut course.captures, &mut course.tags, *place as usize, Value::Int(0));
        }
        let sight = Sight::of(cx, self, event, &self.changed);
        sight.capture(rule, CLOSE, 0, &mut course);
        let mark = out.evidence_mark();
        out.push_evidence(Entry::of(event, 0).evidence());
        let mut conclusion = self.conclusion_of(cx, id, key, event);
        conclusion.captured = course.kept();
        conclusion.session = Some(SessionView { closed: true, orphan: true, duration: None });
        self.conclude_session(cx, session, conclusion, mark, out);
    }

    fn conclude_session(
        &mut self,
        cx: Context<'_>,
        session: &Session,
        conclusion: Conclusion<'_>,
        mark: u32,
        out: &mut Findings,
    ) {
        let rule = &cx.plan.rules[conclusion.rule.0 as usize];
        let key = Sight::of_key(cx, self, &rule.by, conclusion.key, conclusion.at);
        let sight = Sight { session: conclusion.session, ..key.with(conclusion.captured) };
        if let (true, Some(condition)) = (out.probe().is_some(), &session.condition) {
            self.look_session(cx, conclusion.rule, condition, &sight, out);
        }
        if session.condition.as_ref().is_none_or(|condition| sight.holds(condition)) {
            self.conclude(cx, conclusion, mark, out);
        } else {
            out.forget_evidence(mark);
        }
    }
}
