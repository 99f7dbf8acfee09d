//! Steps in order, all of one key: runs are the partial matches that wait.

use event::{EventRef, EventTime, Identity};

use super::cells::{Course, Entry, Key, Run, whole};
use super::findings::Findings;
use super::layout::Subject;
use super::pages::NIL;
use super::scope::{Context, Sight, key_of, outside};
use super::site::Site;
use super::state::Vacant;
use super::timers::Due;
use crate::plan::{Emit, Join, Part, Pattern, Rule, RuleId, Runs, Sequence, Skip, Step, Trigger};
use crate::value::Value;

/// What an event, or a lasting absence, does to a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    Waits,
    /// One way to go on is barred; another is left.
    Bars,
    /// The run goes on, and the event is one of its own.
    Takes,
    /// The run is complete.
    Matches,
    /// The run is over.
    Ends,
}

/// One sequence rule.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub cx: Context<'a>,
    pub id: RuleId,
    pub rule: &'a Rule,
    pub sequence: &'a Sequence,
    pub shape: Shape,
}

/// How the runs of a sequence are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Steps of any form: how far a run has come is kept in its [`Course`].
    Long,
    /// Two events, and nothing is kept of the first but who it was: a run waits for its second event
    /// and has no course.
    Short,
    /// As `Short`, and a key never has two runs: its cell is the run.
    Single,
}

/// How the runs of a rule are kept, where it is a sequence.
pub(super) fn shape_of(rule: &Rule) -> Shape {
    let Pattern::Sequence(Sequence { lead, steps, strict, runs, .. }) = &rule.pattern else {
        return Shape::Long;
    };
    let [first, second] = steps.as_slice() else { return Shape::Long };
    let plain = first.is_plain() && second.is_plain();
    if !plain || first.most != 1 || second.least > 1 || !rule.captures.is_empty() {
        return Shape::Long;
    }
    let single = match (runs, strict) {
        (Runs::First | Runs::Last, _) => true,
        // Whatever starts a run is of the stream that ends or completes the one before it.
        (Runs::Each, Some(Trigger { kinds, condition: None })) => {
            first.parts[0].on.kinds.iter().all(|kind| kinds.contains(kind))
        }
        _ => false,
    };
    // What a rule by `emit: once` has said stands in the key's cell; a lead is another kind of key.
    let full = matches!(rule.emit, Emit::Once(_)) || lead.is_some();
    if single && !full { Shape::Single } else { Shape::Short }
}

/// Bit of a part that can be met no more.
const BARRED: u64 = 1 << 8;

/// Whether a run that waits at a step of so many events may leave it.
pub(super) fn may_leave(step: &Step, counts: u64) -> bool {
    step.is_plain() && counts >= u64::from(step.least)
}

impl Step {
    /// One part, met by events.
    fn is_plain(&self) -> bool {
        matches!(self.parts.as_slice(), [Part { absent: None, .. }])
    }
}

impl Site {
    /// A sequence of steps of any form.
    pub(super) fn step_sequence(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        rule: &Rule,
        sequence: &Sequence,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let Some(key) = key_of(cx, event, &rule.by) else { return };
        let line = Line { cx, id, rule, sequence, shape: Shape::Long };
        let found = self.state.look(cx.layout.rule(id), &key);
        let mut cell = found.ok();
        let used = cell.is_some_and(|cell| self.step_runs(line, key, cell, event, out));
        if !used && self.starts(line, event) {
            cell = self.start_run(line, key, found, event, out);
        }
        if sequence.lead.is_some() {
            self.note_lead(line, key, event);
        }
        if let Some(cell) = cell {
            self.drop_if_idle(cell);
        }
    }

    /// Gives an event to every run of the key, in the order of their starts; whether a match has
    /// used it up.
    fn step_runs(
        &mut self,
        line: Line<'_>,
        key: Key,
        cell: u32,
        event: EventRef<'_>,
        out: &mut Findings,
    ) -> bool {
        let mut at = self.state.keys.get(cell).head;
        while at != NIL {
            let run = self.state.runs.get(at);
            let next = run.next;
            if outside(event.occurred(), run.started, line.sequence.within) {
                self.unlink_run(at);
                at = next;
                continue;
            }
            let mut course = self.course_of(run);
            let turn = self.turn(line, &mut course, event);
            match turn {
                Turn::Waits => {}
                Turn::Bars | Turn::Takes => {
                    self.keep(at, course);
                    if turn == Turn::Takes {
                        let max = usize::from(line.rule.evidence_max) - 1;
                        self.state.cite(at, Entry::of(event, 0), max);
                    }
                }
                Turn::Matches => {
                    let begun = (*self.state.runs.get(at), self.state.subject(at));
                    self.complete(line, key, Some(begun), Some(&course), event, out);
                    if line.sequence.skip == Skip::PastLast {
                        self.drop_runs(cell);
                        return true;
                    }
                    self.unlink_run(at);
                }
                Turn::Ends => self.unlink_run(at),
            }
            at = next;
        }
        false
    }

    /// How far a run has come: one that keeps no course has met its first step.
    pub(super) fn course_of(&self, run: &Run) -> Course {
        let course = self.state.course(run).copied();
        course.unwrap_or_else(|| Course::at(1, run.started))
    }

    fn turn(&self, line: Line<'_>, course: &mut Course, event: EventRef<'_>) -> Turn {
        let Sequence { steps, without, strict, .. } = line.sequence;
        // What the step captures is of the events before this one.
        let before = *course;
        let sight = Sight::of(line.cx, self, event, &self.changed).with(before.kept());
        let here = course.step as usize;
        let mut furthest = here;
        while may_leave(&steps[furthest], if furthest == here { course.counts } else { 0 })
            && furthest + 1 < steps.len()
        {
            furthest += 1;
        }
        let mut barred = false;
        for step in (here..=furthest).rev() {
            match take(line, course, step, &sight) {
                Turn::Waits => {}
                Turn::Bars => barred = true,
                turn => return turn,
            }
        }
        let ends = steps[here..=furthest].iter().flat_map(|step| &step.without);
        if ends.chain(without).chain(strict).any(|trigger| sight.fits(trigger)) {
            return Turn::Ends;
        }
        if barred { Turn::Bars } else { Turn::Waits }
    }

    /// Keeps how far a run has come, and sets its next deadline.
    pub(super) fn keep(&mut self, at: u32, course: Course) {
        let run = self.state.runs.get(at);
        let before = self.state.course(run).map_or(i64::MAX, |course| course.deadline);
        if course.deadline != before && course.deadline != i64::MAX {
            let due = EventTime(course.deadline);
            self.timers.push(due, run.owner, whole(run.identity), run.serial, Due::Run(at));
        }
        self.state.keep_course(at, course);
    }

    /// The detection of a run that an event completes; without a run, of a sequence of that event
    /// alone.
    pub(super) fn complete(
        &mut self,
        line: Line<'_>,
        key: Key,
        begun: Option<(Run, Subject)>,
        course: Option<&Course>,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        line.cx.interner.expect_digest(key[0]);
        let mark = out.evidence_mark();
        let mut conclusion = self.conclusion_of(line.cx, line.id, key, event);
        let mut first = event.identity();
        if let Some((run, subject)) = begun {
            self.state.evidence_of(&run).for_each(|evidence| out.push_evidence(evidence));
            (first, conclusion.run) = (Identity(whole(run.identity)), run.serial);
            for (own, first) in conclusion.subject.iter_mut().zip(subject) {
                *own = own.some().unwrap_or(first);
            }
        }
        out.push_evidence(Entry::of(event, 0).evidence());
        conclusion.first = (line.sequence.runs == Runs::Each).then_some(first);
        if let Some(course) = course {
            (conclusion.captured, conclusion.omitted) = (course.kept(), course.omitted);
        }
        self.conclude(line.cx, conclusion, mark, out);
        self.note_match(line, key);
    }

    /// `runs: once` starts none any more.
    fn note_match(&mut self, line: Line<'_>, key: Key) {
        if line.sequence.runs == Runs::Once {
            let owner = line.cx.layout.rule(line.id);
            let cell = self.state.find_or_insert(owner, &key, Value::Missing);
            self.state.set_value(cell, Value::Bool(true));
        }
    }

    /// Whether an event may start a run.
    #[inline]
    fn starts(&self, line: Line<'_>, event: EventRef<'_>) -> bool {
        match line.sequence.steps[0].parts.as_slice() {
            [part] => self.fits(line.cx, &part.on, event),
            parts => parts.iter().any(|part| self.fits(line.cx, &part.on, event)),
        }
    }

    /// Starts a run, unless the key's own stand against it. Returns the key's cell.
    pub(super) fn start_run(
        &mut self,
        line: Line<'_>,
        key: Key,
        found: Result<u32, Vacant>,
        event: EventRef<'_>,
        out: &mut Findings,
    ) -> Option<u32> {
        let Line { cx, id, sequence, .. } = line;
        let cell = found.ok();
        let owner = cx.layout.rule(id);
        let waits = cell.is_some_and(|cell| self.state.keys.get(cell).head != NIL);
        let matched = cell.is_some_and(|cell| self.state.value(cell) == Value::Bool(true));
        let refused = match sequence.runs {
            Runs::Each | Runs::Last => false,
            Runs::First => waits,
            Runs::Once => waits || matched,
        };
        if refused || sequence.lead.is_some() && !self.lead_is_absent(line, key, event.occurred()) {
            return cell;
        }
        let mut course = None;
        if line.shape == Shape::Long {
            let course = course.insert(Course::at(0, event.occurred().0));
            let sight = Sight::of(cx, self, event, &self.changed);
            let turn = if sequence.steps[0].is_plain() {
                // It has just been judged.
                meet(line, course, 0, &sight)
            } else {
                take(line, course, 0, &sight)
            };
            if turn == Turn::Matches {
                self.drop_for(line, cell);
                let course = *course;
                self.complete(line, key, None, Some(&course), event, out);
                // A match may have been noted there.
                return self.state.find(owner, &key);
            }
        }
        self.drop_for(line, cell);
        let cell = self.state.use_or_enter(found, owner, &key, Value::Missing);
        let at = self.start(cx, id, cell, event);
        // Nobody ends it when its time is over. Others end by a deadline.
        self.state.came[1] += 1;
        if let Some(course) = course.filter(|course| !(course.step == 1 && course.is_plain())) {
            self.keep(at, course);
        }
        Some(cell)
    }

    /// `runs: last`: a run starts in place of those that wait.
    fn drop_for(&mut self, line: Line<'_>, cell: Option<u32>) {
        if let (Runs::Last, Some(cell)) = (line.sequence.runs, cell) {
            self.drop_runs(cell);
        }
    }

    /// Whether what a sequence must not have seen first has been absent long enough.
    fn lead_is_absent(&self, line: Line<'_>, key: Key, now: EventTime) -> bool {
        let Some(lead) = &line.sequence.lead else { return true };
        let seen = self.state.find(line.cx.layout.memory_of(line.id), &key);
        let since = seen.map_or(self.began.0, |cell| self.state.keys.get(cell).time);
        outside(now, since, lead.span)
    }

    pub(super) fn note_lead(&mut self, line: Line<'_>, key: Key, event: EventRef<'_>) {
        let Some(lead) = &line.sequence.lead else { return };
        if self.fits(line.cx, &lead.on, event) {
            let owner = line.cx.layout.memory_of(line.id);
            let cell = self.state.find_or_insert(owner, &key, Value::Missing);
            self.state.keys.get_mut(cell).time = event.occurred().0;
        }
    }

    /// A run's deadline has come: what must not come has not come for long enough.
    pub(super) fn absence_lasted(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        sequence: &Sequence,
        index: u32,
        at: EventTime,
        out: &mut Findings,
    ) {
        let run = *self.state.runs.get(index);
        let Some(mut course) = self.state.course(&run).copied() else { return };
        // It has gone on since, and has another deadline or none.
        if course.deadline != at.0 {
            return;
        }
        let rule = &cx.plan.rules[id.0 as usize];
        let line = Line { cx, id, rule, sequence, shape: Shape::Long };
        let cell = run.key_cell;
        let key = self.state.key(cell);
        let turn = if outside(at, run.started, sequence.within) {
            Turn::Ends
        } else {
            let before = course;
            let sight = Sight::of_key(cx, self, &line.rule.by, key, at).with(before.kept());
            meet_absences(line, &mut course, &sight)
        };
        match turn {
            Turn::Matches => {
                let first = Identity(whole(run.identity));
                let first = (sequence.runs == Runs::Each).then_some(first);
                self.conclude_run(cx, id, key, index, &course, first, at, Value::Missing, out);
                self.note_match(line, key);
                match sequence.skip {
                    Skip::PastLast => self.drop_runs(cell),
                    Skip::None => self.unlink_run(index),
                }
            }
            Turn::Ends => self.unlink_run(index),
            _ => self.keep(index, course),
        }
        self.drop_if_idle(cell);
    }
}

/// Gives an event to one step: the one a run waits at, or a later one that it may go to.
fn take(line: Line<'_>, course: &mut Course, number: usize, sight: &Sight<'_>) -> Turn {
    let step = &line.sequence.steps[number];
    if let ([part], true) = (step.parts.as_slice(), step.is_plain()) {
        return if sight.fits(&part.on) { meet(line, course, number, sight) } else { Turn::Waits };
    }
    let waiting = course.step as usize == number;
    let before = if waiting { course.counts } else { 0 };
    let mut after = before;
    for (place, part) in step.parts.iter().enumerate() {
        let (bit, bar) = (1 << place, BARRED << place);
        if after & (bit | bar) != 0 || !sight.fits(&part.on) {
            continue;
        }
        if part.absent.is_some() {
            after |= bar;
        } else if step.join == Join::All || after & 255 == 0 {
            after |= bit;
            sight.capture(line.rule, part.number, 0, course);
        }
    }
    let bars = after >> 8 & 255;
    let all = (1 << step.parts.len()) - 1;
    if bars == all || step.join == Join::All && bars != 0 {
        return Turn::Ends;
    }
    if after & 255 == all || step.join == Join::Any && after & 255 != 0 {
        return reach(line, course, number + 1, sight);
    }
    if after == before {
        return Turn::Waits;
    }
    course.counts = after;
    if after & 255 == before & 255 {
        // Only the step that a run waits at has absences: see `lang::sequence`.
        course.deadline = next_absence(line, course, sight);
        return Turn::Bars;
    }
    if !waiting {
        (course.step, course.entered) = (number as u32, sight.now.0);
    }
    course.deadline = next_absence(line, course, sight);
    Turn::Takes
}

/// Gives a step of one part an event that meets it.
fn meet(line: Line<'_>, course: &mut Course, number: usize, sight: &Sight<'_>) -> Turn {
    let step = &line.sequence.steps[number];
    let waiting = course.step as usize == number;
    let before = if waiting { course.counts } else { 0 };
    if !line.rule.captures.is_empty() {
        sight.capture(line.rule, step.parts[0].number, before.min(255) as u8, course);
    }
    let after = before + 1;
    let last = number + 1 == line.sequence.steps.len();
    if after >= u64::from(step.most) || last && after >= u64::from(step.least) {
        return reach(line, course, number + 1, sight);
    }
    if !waiting {
        (course.step, course.entered) = (number as u32, sight.now.0);
    }
    course.counts = after;
    Turn::Takes
}

/// A run has done with the step before `number`.
fn reach(line: Line<'_>, course: &mut Course, number: usize, sight: &Sight<'_>) -> Turn {
    course.counts = 0;
    course.deadline = i64::MAX;
    if number == line.sequence.steps.len() {
        return Turn::Matches;
    }
    (course.step, course.entered) = (number as u32, sight.now.0);
    course.deadline = next_absence(line, course, sight);
    Turn::Takes
}

/// When the next absence that the run waits for has lasted; `MAX` where there is none.
fn next_absence(line: Line<'_>, course: &Course, sight: &Sight<'_>) -> i64 {
    let step = &line.sequence.steps[course.step as usize];
    if step.is_plain() {
        return i64::MAX;
    }
    let open = |place: usize| course.counts & (1 << place | BARRED << place) == 0;
    let absences = step.parts.iter().enumerate().filter(|(place, _)| open(*place));
    let ends = absences.filter_map(|(_, part)| absence_end(part, course, sight));
    ends.min().unwrap_or(i64::MAX)
}

/// When a part's absence has lasted. A span that is missing never ends.
fn absence_end(part: &Part, course: &Course, sight: &Sight<'_>) -> Option<i64> {
    let absent = part.absent.as_ref()?;
    let span = sight.now_with(course).span(absent)?;
    Some(EventTime(course.entered).plus(span).0)
}

/// Meets every absence of a run's step that has lasted until now.
fn meet_absences(line: Line<'_>, course: &mut Course, sight: &Sight<'_>) -> Turn {
    let step = &line.sequence.steps[course.step as usize];
    for (place, part) in step.parts.iter().enumerate() {
        let open = course.counts & (1 << place | BARRED << place) == 0;
        if open && absence_end(part, course, sight).is_some_and(|end| end <= sight.now.0) {
            course.counts |= 1 << place;
        }
    }
    let met = course.counts & 255;
    if met == (1 << step.parts.len()) - 1 || step.join == Join::Any && met != 0 {
        return reach(line, course, course.step as usize + 1, sight);
    }
    course.deadline = next_absence(line, course, sight);
    Turn::Takes
}
