//! Runs: partial matches, openings and levels that wait, in the lists of their keys.

use event::identity::TimedId;
use event::{EventRef, EventTime, Identity};

use super::cells::{Entry, Key, Run, halves, whole};
use super::findings::Findings;
use super::pages::NIL;
use super::scope::Context;
use super::site::{Conclusion, Site};
use crate::plan::{Pattern, RuleId};
use crate::value::Value;

impl Site {
    /// A run that an event opens; its captures are the caller's.
    pub(super) fn new_run(&mut self, cx: Context<'_>, id: RuleId, event: EventRef<'_>) -> Run {
        self.serial += 1;
        Run {
            owner: u32::from(id.0) + 1,
            next: NIL,
            key_cell: NIL,
            step: 0,
            head: NIL,
            tail: NIL,
            omitted: 0,
            kept: 0,
            started: event.occurred().0,
            entered: event.occurred().0,
            deadline: i64::MAX,
            serial: self.serial,
            counts: 0,
            identity: halves(event.identity().0),
            captures: [0; 8],
            tags: 0,
            subject: cx.layout.subject(cx.tables, event),
            previous: NIL,
            rest: 0,
        }
    }

    /// Keeps a run at the end of its key's list; the opening event is its first evidence.
    pub(super) fn link_run(&mut self, cell: u32, run: &mut Run, event: EventRef<'_>) -> u32 {
        run.key_cell = cell;
        let index = self.state.keep_run(run, Entry::of(event, 0));
        let key = self.state.keys.get_mut(cell);
        match std::mem::replace(&mut key.tail, index) {
            NIL => key.head = index,
            tail => {
                self.state.runs.get_mut(tail).next = index;
                self.state.runs.get_mut(index).previous = tail;
            }
        }
        index
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
            self.state.remove(cell);
        }
    }

    /// The detection of a run whose deadline has come. Returns its incident.
    #[allow(clippy::too_many_arguments, reason = "the pieces are one run's")]
    pub(super) fn conclude_run(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        key: Key,
        run: &Run,
        first: Option<Identity>,
        at: EventTime,
        value: Value,
        out: &mut Findings,
    ) -> Option<TimedId> {
        self.changed.clear();
        let mark = out.evidence_mark();
        self.state.list(run.head).for_each(|entry| out.push_evidence(entry.evidence()));
        let watch = matches!(cx.plan.rules[id.0 as usize].pattern, Pattern::Watch { .. });
        let conclusion = Conclusion {
            rule: id,
            key,
            at,
            event: Identity(whole(run.identity)),
            first,
            omitted: run.omitted,
            session: None,
            run: run.serial,
            subject: run.subject,
            row: None,
            captured: run.kept(),
            value,
            level: if watch { run.key_cell } else { NIL },
        };
        self.conclude(cx, conclusion, mark, out)
    }
}
