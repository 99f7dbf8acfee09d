//! Steps in order, all of one key: runs are the partial matches that wait.

use event::{EventRef, EventTime};

use super::cells::{Entry, Key, Run};
use super::findings::Findings;
use super::pages::NIL;
use super::scope::{Context, Sight, key_of, outside};
use super::site::Site;
use super::state::Kept;
use super::timers::Due;
use crate::plan::{Join, Part, Rule, RuleId, Runs, Sequence, Skip, Step};
use crate::value::Value;

/// What an event, or a lasting absence, does to a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
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
struct Line<'a> {
    cx: Context<'a>,
    id: RuleId,
    rule: &'a Rule,
    sequence: &'a Sequence,
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
        let line = Line { cx, id, rule, sequence };
        let mut cell = self.state.find(cx.layout.rule(id), &key);
        let used = cell.is_some_and(|cell| self.step_runs(line, key, cell, event, out));
        if !used && self.starts(line, event) {
            self.start_run(line, key, cell, event, out);
            cell = cell.or_else(|| self.state.find(cx.layout.rule(id), &key));
        }
        self.note_lead(line, key, event);
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
            let waiting = self.state.runs.get(at);
            let next = waiting.next;
            if outside(event.occurred(), waiting.started, line.sequence.within) {
                self.unlink_run(at);
                at = next;
                continue;
            }
            let mut run = *waiting;
            let turn = self.turn(line, &mut run, event);
            match turn {
                Turn::Waits => {}
                Turn::Bars | Turn::Takes => {
                    self.keep(at, run);
                    if turn == Turn::Takes {
                        let max = usize::from(line.rule.evidence_max) - 1;
                        self.state.cite(at, Entry::of(event, 0), max);
                    }
                }
                Turn::Matches => {
                    self.complete(line, key, &run, event, out);
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

    fn turn(&self, line: Line<'_>, run: &mut Run, event: EventRef<'_>) -> Turn {
        let Sequence { steps, without, strict, .. } = line.sequence;
        // What the step captures is of the events before this one.
        let (words, tags) = (run.captures, run.tags);
        let captured = Kept { words: &words, tags };
        let sight = Sight::of(line.cx, self, event, &self.changed).with(captured);
        let here = run.step as usize;
        let mut furthest = here;
        while may_leave(&steps[furthest], if furthest == here { run.counts } else { 0 })
            && furthest + 1 < steps.len()
        {
            furthest += 1;
        }
        let mut barred = false;
        for step in (here..=furthest).rev() {
            match take(line, run, step, &sight) {
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

    /// Puts back a run that has gone on, and sets its next deadline.
    fn keep(&mut self, at: u32, run: Run) {
        let before = self.state.runs.get(at).deadline;
        *self.state.runs.get_mut(at) = run;
        self.watch_deadline(at, &run, before);
    }

    fn watch_deadline(&mut self, at: u32, run: &Run, before: i64) {
        if run.deadline != before && run.deadline != i64::MAX {
            let tie = super::cells::whole(run.identity);
            let due = EventTime(run.deadline);
            self.timers.push(due, run.owner, tie, run.serial, Due::Run(at));
        }
    }

    fn complete(
        &mut self,
        line: Line<'_>,
        key: Key,
        run: &Run,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let mark = out.evidence_mark();
        self.state.list(run.head).for_each(|entry| out.push_evidence(entry.evidence()));
        out.push_evidence(Entry::of(event, 0).evidence());
        let mut conclusion = self.conclusion_of(line.cx, line.id, key, event);
        conclusion.first = first_of(line.sequence, run);
        conclusion.captured = run.kept();
        conclusion.omitted = run.omitted;
        conclusion.run = run.serial;
        for (own, first) in conclusion.subject.iter_mut().zip(run.subject) {
            *own = own.some().unwrap_or(first);
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
    fn starts(&self, line: Line<'_>, event: EventRef<'_>) -> bool {
        line.sequence.steps[0].parts.iter().any(|part| self.fits(line.cx, &part.on, event))
    }

    /// Starts a run, unless the key's own stand against it.
    fn start_run(
        &mut self,
        line: Line<'_>,
        key: Key,
        cell: Option<u32>,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let Line { cx, id, sequence, .. } = line;
        let owner = cx.layout.rule(id);
        let waits = cell.is_some_and(|cell| self.state.keys.get(cell).head != NIL);
        let matched = cell.is_some_and(|cell| self.state.value(cell) == Value::Bool(true));
        let refused = match sequence.runs {
            Runs::Each | Runs::Last => false,
            Runs::First => waits,
            Runs::Once => waits || matched,
        };
        if refused || !self.lead_is_absent(line, key, event.occurred()) {
            return;
        }
        let mut run = self.new_run(cx, id, event);
        let sight = Sight::of(cx, self, event, &self.changed);
        let turn = if sequence.steps[0].is_plain() {
            // It has just been judged.
            meet(line, &mut run, 0, &sight)
        } else {
            take(line, &mut run, 0, &sight)
        };
        if let (Runs::Last, Some(cell)) = (sequence.runs, cell) {
            self.drop_runs(cell);
        }
        if turn == Turn::Matches {
            return self.complete(line, key, &run, event, out);
        }
        let cell = self.state.use_or_insert(cell, owner, &key, Value::Missing);
        let at = self.link_run(cell, &mut run, event);
        self.watch_deadline(at, &run, i64::MAX);
    }

    /// Whether what a sequence must not have seen first has been absent long enough.
    fn lead_is_absent(&self, line: Line<'_>, key: Key, now: EventTime) -> bool {
        let Some(lead) = &line.sequence.lead else { return true };
        let seen = self.state.find(line.cx.layout.memory_of(line.id), &key);
        let since = seen.map_or(self.began.0, |cell| self.state.keys.get(cell).time);
        outside(now, since, lead.span)
    }

    fn note_lead(&mut self, line: Line<'_>, key: Key, event: EventRef<'_>) {
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
        let mut run = *self.state.runs.get(index);
        // It has gone on since, and has another deadline or none.
        if run.deadline != at.0 {
            return;
        }
        let line = Line { cx, id, rule: &cx.plan.rules[id.0 as usize], sequence };
        let cell = run.key_cell;
        let key = self.state.keys.get(cell).key;
        let turn = if outside(at, run.started, sequence.within) {
            Turn::Ends
        } else {
            let (words, tags) = (run.captures, run.tags);
            let captured = Kept { words: &words, tags };
            let sight = Sight::of_key(cx, self, &line.rule.by, key, at).with(captured);
            meet_absences(line, &mut run, &sight)
        };
        match turn {
            Turn::Matches => {
                let first = first_of(sequence, &run);
                self.conclude_run(cx, id, key, &run, first, at, Value::Missing, out);
                self.note_match(line, key);
                match sequence.skip {
                    Skip::PastLast => self.drop_runs(cell),
                    Skip::None => self.unlink_run(index),
                }
            }
            Turn::Ends => self.unlink_run(index),
            _ => self.keep(index, run),
        }
        self.drop_if_idle(cell);
    }
}

/// What goes into the ids of a rule whose every start is a run of its own.
fn first_of(sequence: &Sequence, run: &Run) -> Option<event::Identity> {
    (sequence.runs == Runs::Each).then(|| event::Identity(super::cells::whole(run.identity)))
}

/// Gives an event to one step: the one a run waits at, or a later one that it may go to.
fn take(line: Line<'_>, run: &mut Run, number: usize, sight: &Sight<'_>) -> Turn {
    let step = &line.sequence.steps[number];
    if let ([part], true) = (step.parts.as_slice(), step.is_plain()) {
        return if sight.fits(&part.on) { meet(line, run, number, sight) } else { Turn::Waits };
    }
    let waiting = run.step as usize == number;
    let before = if waiting { run.counts } else { 0 };
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
            sight.capture(line.rule, part.number, 0, run);
        }
    }
    let bars = after >> 8 & 255;
    let all = (1 << step.parts.len()) - 1;
    if bars == all || step.join == Join::All && bars != 0 {
        return Turn::Ends;
    }
    if after & 255 == all || step.join == Join::Any && after & 255 != 0 {
        return reach(line, run, number + 1, sight);
    }
    if after == before {
        return Turn::Waits;
    }
    run.counts = after;
    if after & 255 == before & 255 {
        // Only the step that a run waits at has absences: see `lang::sequence`.
        run.deadline = next_absence(line, run, sight);
        return Turn::Bars;
    }
    if !waiting {
        (run.step, run.entered) = (number as u32, sight.now.0);
    }
    run.deadline = next_absence(line, run, sight);
    Turn::Takes
}

/// Gives a step of one part an event that meets it.
fn meet(line: Line<'_>, run: &mut Run, number: usize, sight: &Sight<'_>) -> Turn {
    let step = &line.sequence.steps[number];
    let waiting = run.step as usize == number;
    let before = if waiting { run.counts } else { 0 };
    if !line.rule.captures.is_empty() {
        sight.capture(line.rule, step.parts[0].number, before.min(255) as u8, run);
    }
    let after = before + 1;
    let last = number + 1 == line.sequence.steps.len();
    if after >= u64::from(step.most) || last && after >= u64::from(step.least) {
        return reach(line, run, number + 1, sight);
    }
    if !waiting {
        (run.step, run.entered) = (number as u32, sight.now.0);
    }
    run.counts = after;
    Turn::Takes
}

/// A run has done with the step before `number`.
fn reach(line: Line<'_>, run: &mut Run, number: usize, sight: &Sight<'_>) -> Turn {
    run.counts = 0;
    run.deadline = i64::MAX;
    if number == line.sequence.steps.len() {
        return Turn::Matches;
    }
    (run.step, run.entered) = (number as u32, sight.now.0);
    run.deadline = next_absence(line, run, sight);
    Turn::Takes
}

/// When the next absence that the run waits for has lasted; `MAX` where there is none.
fn next_absence(line: Line<'_>, run: &Run, sight: &Sight<'_>) -> i64 {
    let step = &line.sequence.steps[run.step as usize];
    if step.is_plain() {
        return i64::MAX;
    }
    let open = |place: usize| run.counts & (1 << place | BARRED << place) == 0;
    let absences = step.parts.iter().enumerate().filter(|(place, _)| open(*place));
    let ends = absences.filter_map(|(_, part)| absence_end(part, run, sight));
    ends.min().unwrap_or(i64::MAX)
}

/// When a part's absence has lasted. A span that is missing never ends.
fn absence_end(part: &Part, run: &Run, sight: &Sight<'_>) -> Option<i64> {
    let absent = part.absent.as_ref()?;
    let span = sight.now_with(run).span(absent)?;
    Some(EventTime(run.entered).plus(span).0)
}

/// Meets every absence of a run's step that has lasted until now.
fn meet_absences(line: Line<'_>, run: &mut Run, sight: &Sight<'_>) -> Turn {
    let step = &line.sequence.steps[run.step as usize];
    for (place, part) in step.parts.iter().enumerate() {
        let open = run.counts & (1 << place | BARRED << place) == 0;
        if open && absence_end(part, run, sight).is_some_and(|end| end <= sight.now.0) {
            run.counts |= 1 << place;
        }
    }
    let met = run.counts & 255;
    if met == (1 << step.parts.len()) - 1 || step.join == Join::Any && met != 0 {
        return reach(line, run, run.step as usize + 1, sight);
    }
    run.deadline = next_absence(line, run, sight);
    Turn::Takes
}
