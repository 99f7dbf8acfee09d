//! Runs: partial matches, openings and levels that wait, in the lists of their keys.

use event::identity::TimedId;
use event::{EventRef, EventTime, Identity, Position};

use super::RUN_BYTES;
use super::cells::{Course, Key, Noted, Run, whole};
use super::findings::Findings;
use super::pages::NIL;
use super::scope::Context;
use super::sequence::{Shape, shape_of};
use super::site::{Conclusion, Site};
use super::unless::wait_of;
use crate::plan::{Pattern, Rule, RuleId};
use crate::value::Value;

/// Bytes of a waiting run of a rule at most, its place in line included: without its further
/// evidence.
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

impl Site {
    /// Keeps a run that an event opens at the end of its key's list.
    pub(super) fn start(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        cell: u32,
        event: EventRef<'_>,
    ) -> u32 {
        let (occurred, identity, place) = event.cited();
        let run = Run { place, ..self.new_run(id, cell, occurred, identity) };
        self.state.keep_run(run, cx.layout.subject(cx.tables, event))
    }

    /// A run that something opens which has no bytes to show.
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
        match previous {
            NIL => self.state.keys.get_mut(key_cell).head = next,
            previous => self.state.runs.get_mut(previous).next = next,
        }
        match next {
            NIL => self.state.keys.get_mut(key_cell).tail = previous,
            next => self.state.runs.get_mut(next).previous = previous,
        }
        self.state.remove_run(run);
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
