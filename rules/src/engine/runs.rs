//! Runs: partial matches, openings and levels that wait, in the lists of their keys.

use event::identity::TimedId;
use event::{EventRef, EventTime, Identity, Position};

use super::RUN_BYTES;
use super::cells::{Course, Entry, Key, Noted, Run, whole};
use super::findings::{EvidenceRef, Findings};
use super::holdings::Over;
use super::layout::Subject;
use super::order::has_few;
use super::pages::NIL;
use super::scope::Context;
use super::sequence::{Shape, shape_of};
use super::site::{Conclusion, Site};
use super::state::State;
use super::unless::wait_of;
use crate::plan::{Pattern, Rule, RuleId};
use crate::value::Value;

/// Bytes of a waiting run of a rule at most, without its further evidence.
pub fn run_bytes(rule: &Rule) -> usize {
    let course = match rule.pattern {
        Pattern::Sequence(_) => match shape_of(rule) {
            Shape::Single => return size_of::<Noted>(),
            Shape::Short => false,
            Shape::Long => true,
        },
        Pattern::Unless { .. } => !rule.captures.is_empty(),
        _ => true,
    };
    RUN_BYTES + if course { size_of::<Course>() } else { 0 }
}

impl State {
    /// How far a run has come; none where that is plain.
    #[inline]
    pub fn course(&self, run: &Run) -> Option<&Course> {
        (run.course != NIL).then(|| self.courses.get(run.course))
    }

    /// Keeps how far a run has come.
    pub fn keep_course(&mut self, run: u32, course: Course) {
        match self.runs.get(run).course {
            NIL => self.runs.get_mut(run).course = self.courses.insert(course),
            old => *self.courses.get_mut(old) = course,
        }
    }

    /// A run's evidence: the event that opened it is the first.
    pub fn evidence_of(&self, run: &Run) -> impl Iterator<Item = EvidenceRef> + '_ {
        let further = self.course(run).map_or(NIL, |course| course.head);
        std::iter::once(run.opening()).chain(self.list(further).map(Entry::evidence))
    }

    /// Adds an event to the evidence of a run that has a course, at most `max` with the one that
    /// opened it (that and the newest are kept).
    pub fn cite(&mut self, run: u32, entry: Entry, max: usize) {
        let Run { owner, course: at, .. } = *self.runs.get(run);
        let Course { tail, kept, .. } = *self.courses.get(at);
        if kept as usize + 1 >= max.max(2) {
            *self.entries.get_mut(tail) = Entry { next: NIL, ..entry };
            self.courses.get_mut(at).omitted += 1;
            return;
        }
        self.room -= 1;
        let index = self.entries.insert(entry);
        self.holdings.get_mut(self.bounds.holder_of_rule(owner - 1)).events += 1;
        if tail != NIL {
            self.entries.get_mut(tail).next = index;
        }
        let course = self.courses.get_mut(at);
        course.kept += 1;
        course.tail = index;
        if tail == NIL {
            course.head = index;
        }
    }

    /// Keeps a run at the end of its key's list, and who and where its first event was.
    #[inline(always)]
    pub fn keep_run(&mut self, run: Run, subject: impl FnOnce(&mut Subject)) -> u32 {
        self.room -= 1;
        let key = self.keys.get_mut(run.key_cell);
        let index = self.runs.insert(Run { previous: key.tail, ..run });
        match std::mem::replace(&mut key.tail, index) {
            NIL => key.head = index,
            tail => self.runs.get_mut(tail).next = index,
        }
        let holder = self.bounds.holder_of_rule(run.owner - 1);
        let holding = self.holdings.get_mut(holder);
        holding.runs += 1;
        let (runs, limit) = (holding.runs, self.bounds.limits(holder).runs);
        self.beside.reach(index);
        subject(&mut self.beside.get_mut(index).subject);
        if has_few(limit) {
            self.run_came(holder, run.serial, index);
        }
        if runs > limit {
            self.is_over(Over::Runs(holder));
        }
        index
    }

    /// Who and where the first event of a run was.
    #[inline]
    pub fn subject(&self, run: u32) -> Subject {
        self.beside.get(run).subject
    }

    /// Frees a run and its evidence. The caller has unlinked it from its key.
    #[inline]
    pub fn remove_run(&mut self, run: u32) {
        let Run { owner, course, .. } = *self.runs.get(run);
        let events = if course == NIL { 0 } else { self.remove_course(course) };
        let holding = self.holdings.get_mut(self.bounds.holder_of_rule(owner - 1));
        holding.runs -= 1;
        holding.events -= events;
        self.runs.remove(run);
    }

    /// Frees how far a run has come, and its further evidence; how many events that were.
    fn remove_course(&mut self, course: u32) -> u32 {
        let events = self.remove_list(self.courses.get(course).head);
        self.courses.remove(course);
        events
    }
}

impl Site {
    /// Keeps a run that an event opens at the end of its key's list.
    #[inline(never)]
    pub(super) fn start(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        cell: u32,
        event: EventRef<'_>,
    ) -> u32 {
        let (occurred, identity, place) = event.cited();
        let run = Run { place, ..self.new_run(id, cell, occurred, identity) };
        self.state.keep_run(run, |to| cx.layout.subject_to(cx.tables, event, to))
    }

    /// A run that something opens which has no bytes to show.
    #[inline(always)]
    pub(super) fn new_run(
        &mut self,
        id: RuleId,
        cell: u32,
        at: EventTime,
        identity: [u64; 2],
    ) -> Run {
        self.serial += 1;
        Run {
            owner: u32::from(id.0) + 1,
            next: NIL,
            previous: NIL,
            key_cell: cell,
            started: at.0,
            identity,
            place: Position::NONE.0,
            serial: self.serial,
            course: NIL,
            rest: 0,
        }
    }

    /// Takes a run out of its key's list and frees it.
    pub(super) fn unlink_run(&mut self, run: u32) {
        let Run { key_cell, previous, next, .. } = *self.state.runs.get(run);
        // Mostly it is the only one of its key.
        if (previous, next) == (NIL, NIL) {
            let key = self.state.keys.get_mut(key_cell);
            (key.head, key.tail) = (NIL, NIL);
        } else {
            self.unlink_beside(key_cell, (previous, next));
        }
        self.state.remove_run(run);
    }

    #[inline(never)]
    fn unlink_beside(&mut self, key_cell: u32, (previous, next): (u32, u32)) {
        match previous {
            NIL => self.state.keys.get_mut(key_cell).head = next,
            previous => self.state.runs.get_mut(previous).next = next,
        }
        match next {
            NIL => self.state.keys.get_mut(key_cell).tail = previous,
            next => self.state.runs.get_mut(next).previous = previous,
        }
    }

    /// Takes every run out of a key's list.
    pub(super) fn drop_runs(&mut self, cell: u32) {
        while self.state.keys.get(cell).head != NIL {
            self.unlink_run(self.state.keys.get(cell).head);
        }
    }

    /// Frees a rule's key cell that holds nothing any more.
    #[inline]
    pub(super) fn drop_if_idle(&mut self, cell: u32) {
        let key = self.state.keys.get(cell);
        if key.head == NIL && key.spare == 0 && key.aux == 0 && key.tag() == 0 {
            self.state.retire(cell);
        }
    }

    /// When a run is next decided (microseconds); `MAX` where no time decides it.
    pub(super) fn deadline_of(&self, cx: Context<'_>, run: &Run) -> i64 {
        match &cx.plan.rules[run.owner as usize - 1].pattern {
            // The same for all runs of the rule: none has to keep it.
            Pattern::Unless { guards, .. } => EventTime(run.started).plus(wait_of(guards)).0,
            _ => self.state.course(run).map_or(i64::MAX, |course| course.deadline),
        }
    }

    /// The detection of a run whose deadline has come. Returns its incident.
    #[allow(clippy::too_many_arguments, reason = "the pieces are one run's")]
    pub(super) fn conclude_run(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        key: Key,
        index: u32,
        course: &Course,
        first: Option<Identity>,
        at: EventTime,
        value: Value,
        out: &mut Findings,
    ) -> Option<TimedId> {
        cx.interner.expect_digest(key[0]);
        self.changed.clear();
        let mark = out.evidence_mark();
        let run = *self.state.runs.get(index);
        self.state.evidence_of(&run).for_each(|evidence| out.push_evidence(evidence));
        let watch = matches!(cx.plan.rules[id.0 as usize].pattern, Pattern::Watch { .. });
        let conclusion = Conclusion {
            rule: id,
            key,
            at,
            event: Identity(whole(run.identity)),
            first,
            omitted: course.omitted,
            session: None,
            run: run.serial,
            subject: self.state.subject(index),
            row: None,
            captured: course.kept(),
            value,
            level: if watch { run.key_cell } else { NIL },
        };
        self.conclude(cx, conclusion, mark, out)
    }
}
