//! Steps in order, all of one key: runs are the partial matches that wait.

use event::EventRef;

use super::cells::{Entry, Key, Run, halves, whole};
use super::findings::Findings;
use super::pages::NIL;
use super::scope::{Context, Sight, key_of, outside};
use super::site::Site;
use super::state::{pack_into, unpack_all};
use crate::limits::RUNS_MAX;
use crate::plan::{Rule, RuleId, Runs, Sequence, StepKind};
use crate::value::Value;

/// What an event does to a waiting run.
enum Turn {
    Waits,
    Advances,
    Completes,
    Ends,
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
        let Some(key) = key_of(event, &rule.by) else { return };
        let owner = cx.layout.rule(id);
        if let Some(cell) = self.state.find(owner, &key) {
            let mut previous = NIL;
            let mut at = self.state.keys.get(cell).head;
            while at != NIL {
                let run = *self.state.runs.get(at);
                match self.turn(cx, sequence, &run, event) {
                    Turn::Waits => previous = at,
                    Turn::Advances => {
                        self.advance_run(cx, rule, at, event);
                        previous = at;
                    }
                    Turn::Completes => {
                        self.complete(cx, id, key, at, event, out);
                        self.unlink_run(cell, previous, at);
                    }
                    Turn::Ends => self.unlink_run(cell, previous, at),
                }
                at = run.next;
            }
        }
        self.start_run(cx, id, rule, sequence, key, event, out);
        if let Some(cell) = self.state.find(owner, &key) {
            self.drop_if_idle(cell);
        }
    }

    fn turn(&self, cx: Context<'_>, sequence: &Sequence, run: &Run, event: EventRef<'_>) -> Turn {
        if outside(event.occurred(), run.started, sequence.within) {
            return Turn::Ends;
        }
        let captured = unpack_all(&run.captures, run.tags);
        let sight = Sight::of(cx, &self.state, event, &self.changed).with(captured);
        let StepKind::One(trigger) = &sequence.steps[run.step as usize].kind;
        if sight.fits(trigger) {
            let last = run.step as usize + 1 == sequence.steps.len();
            return if last { Turn::Completes } else { Turn::Advances };
        }
        let ends = |t: &Option<crate::plan::Trigger>| t.as_ref().is_some_and(|t| sight.fits(t));
        if ends(&sequence.strict) || ends(&sequence.without) { Turn::Ends } else { Turn::Waits }
    }

    fn advance_run(&mut self, cx: Context<'_>, rule: &Rule, at: u32, event: EventRef<'_>) {
        let run = *self.state.runs.get(at);
        let (mut words, mut tags) = (run.captures, run.tags);
        let captured = unpack_all(&run.captures, run.tags);
        let sight = Sight::of(cx, &self.state, event, &self.changed).with(captured);
        sight.capture(rule, run.step as u8, &mut words, &mut tags);
        let cell = self.state.runs.get_mut(at);
        (cell.captures, cell.tags) = (words, tags);
        cell.step += 1;
        let kept = run.step as usize;
        self.state.cite(at, Entry::of(event, 0), kept, usize::from(rule.evidence_max));
    }

    fn complete(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        key: Key,
        at: u32,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let run = *self.state.runs.get(at);
        let mark = out.evidence_mark();
        self.state.list(run.head).for_each(|entry| out.push_evidence(entry.evidence()));
        out.push_evidence(Entry::of(event, 0).evidence());
        let mut conclusion = self.conclusion_of(cx, id, key, event);
        let Some(rule) = cx.plan.rules.get(id.0 as usize) else { return };
        if let crate::plan::Pattern::Sequence(Sequence { runs: Runs::Each, .. }) = &rule.pattern {
            conclusion.first = Some(event::Identity(whole(run.identity)));
        }
        conclusion.captured = unpack_all(&run.captures, run.tags);
        for (own, first) in conclusion.subject.iter_mut().zip(run.subject) {
            *own = own.some().unwrap_or(first);
        }
        self.conclude(cx, conclusion, mark, out);
    }

    #[allow(clippy::too_many_arguments, reason = "one call site; the pieces are one step's")]
    fn start_run(
        &mut self,
        cx: Context<'_>,
        id: RuleId,
        rule: &Rule,
        sequence: &Sequence,
        key: Key,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let StepKind::One(trigger) = &sequence.steps[0].kind;
        let sight = Sight::of(cx, &self.state, event, &self.changed);
        if !sight.fits(trigger) {
            return;
        }
        if sequence.steps.len() == 1 {
            let mark = out.evidence_mark();
            out.push_evidence(Entry::of(event, 0).evidence());
            let conclusion = self.conclusion_of(cx, id, key, event);
            self.conclude(cx, conclusion, mark, out);
            return;
        }
        let mut run = self.new_run(cx, id, event);
        let sight = Sight::of(cx, &self.state, event, &self.changed);
        sight.capture(rule, 0, &mut run.captures, &mut run.tags);
        run.step = 1;
        let cell = self.state.find_or_insert(cx.layout.rule(id), &key, Value::Missing);
        let waiting = self.state.keys.get(cell).head;
        match sequence.runs {
            Runs::First if waiting != NIL => return,
            Runs::Last if waiting != NIL => {
                while self.state.keys.get(cell).head != NIL {
                    let head = self.state.keys.get(cell).head;
                    self.unlink_run(cell, NIL, head);
                }
            }
            _ => {}
        }
        self.link_run(cell, run, event);
    }

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
            spare: 0,
            started: event.occurred().0,
            deadline: i64::MAX,
            serial: self.serial,
            counts: 0,
            identity: halves(event.identity().0),
            captures: [0; 6],
            tags: 0,
            subject: cx.layout.subject(cx.plan, event),
        }
    }

    /// Keeps a run at the end of its key's list; the opening event is its first evidence. Refused,
    /// and counted, when too many wait.
    pub(super) fn link_run(&mut self, cell: u32, run: Run, event: EventRef<'_>) -> Option<u32> {
        if self.state.runs.live() >= RUNS_MAX {
            self.evicted += 1;
            return None;
        }
        let index = self.state.runs.insert(Run { key_cell: cell, ..run });
        let tail = self.state.keys.get(cell).tail;
        if tail == NIL {
            self.state.keys.get_mut(cell).head = index;
        } else {
            self.state.runs.get_mut(tail).next = index;
        }
        self.state.keys.get_mut(cell).tail = index;
        self.state.cite(index, Entry::of(event, 0), 0, 2);
        Some(index)
    }

    /// Takes a run out of its key's list and frees it.
    pub(super) fn unlink_run(&mut self, cell: u32, previous: u32, run: u32) {
        let next = self.state.runs.get(run).next;
        if previous == NIL {
            self.state.keys.get_mut(cell).head = next;
        } else {
            self.state.runs.get_mut(previous).next = next;
        }
        if next == NIL {
            self.state.keys.get_mut(cell).tail = previous;
        }
        self.state.remove_run(run);
    }

    /// As [`Self::unlink_run`], finding the run before it.
    pub(super) fn find_and_unlink(&mut self, run: u32) {
        let cell = self.state.runs.get(run).key_cell;
        let (mut previous, mut at) = (NIL, self.state.keys.get(cell).head);
        while at != run {
            assert!(at != NIL, "a run stands in its key's list");
            (previous, at) = (at, self.state.runs.get(at).next);
        }
        self.unlink_run(cell, previous, run);
    }

    /// Frees a rule's key cell that holds nothing any more.
    pub(super) fn drop_if_idle(&mut self, cell: u32) {
        let key = self.state.keys.get(cell);
        if key.head == NIL && key.spare == 0 && key.aux == 0 && key.tag == 0 {
            self.state.remove(cell);
        }
    }

    /// Packs what a guard's condition reads of its own event.
    pub(super) fn history_entry(
        &self,
        cx: Context<'_>,
        event: EventRef<'_>,
        fields: &[crate::plan::FieldRef],
    ) -> Entry {
        let mut entry = Entry::of(event, 0);
        for (place, field) in fields.iter().enumerate().take(entry.captures.len()) {
            let value = super::scope::field_of(cx, event, *field);
            pack_into(&mut entry.captures, &mut entry.tags, place, value);
        }
        entry
    }
}
