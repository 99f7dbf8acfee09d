//! Sequences of two events, of which nothing is kept but who the first was: most are of this form.

use event::EventRef;

use super::cells::{Key, Run};
use super::findings::Findings;
use super::layout::Subject;
use super::pages::NIL;
use super::scope::{Context, key_of, outside};
use super::sequence::{Line, Shape, Turn};
use super::site::Site;
use super::steps::{Roles, RuleStep};
use crate::plan::{Pattern, Runs, Sequence, Skip};

impl Site {
    /// A rule of which a key has one run at most, and its cell is that.
    pub(super) fn step_single(
        &mut self,
        cx: Context<'_>,
        RuleStep { rule: id, roles, .. }: RuleStep,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = &cx.plan.rules[id.0 as usize];
        let Pattern::Sequence(sequence) = &rule.pattern else { return };
        let Some(key) = key_of(cx, event, &rule.by) else { return };
        let line = Line { cx, id, rule, sequence, shape: Shape::Single };
        let owner = cx.layout.rule(id);
        let found = self.state.look(owner, &key);
        let mut may_start = true;
        if let Ok(cell) = found {
            let started = self.state.keys.get(cell).time;
            let ended = outside(event.occurred(), started, sequence.within);
            let turn = if ended { Turn::Ends } else { self.pair_turn(line, roles, event) };
            if turn == Turn::Matches {
                self.complete(line, key, self.begun(cell), None, event, out);
            }
            may_start = match turn {
                Turn::Matches => sequence.skip != Skip::PastLast,
                Turn::Waits => sequence.runs == Runs::Last,
                _ => true,
            };
            if turn == Turn::Waits && !(may_start && self.pair_starts(line, roles, event)) {
                return;
            }
        }
        if may_start && self.pair_starts(line, roles, event) {
            self.serial += 1;
            let subject = cx.layout.subject(cx.tables, event);
            self.state.begin_run(found, (owner, &key), event, self.serial, subject);
        } else if let Ok(cell) = found {
            self.state.end_run(cell);
        }
    }

    /// The run that a key's cell is.
    fn begun(&self, cell: u32) -> Option<(Run, Subject)> {
        let run = self.state.noted_run(cell)?;
        Some((run, self.state.noted.get(self.state.keys.get(cell).value as u32).0))
    }

    /// A rule of which a key has a list of runs.
    pub(super) fn step_short(
        &mut self,
        cx: Context<'_>,
        RuleStep { rule: id, roles, .. }: RuleStep,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = &cx.plan.rules[id.0 as usize];
        let Pattern::Sequence(sequence) = &rule.pattern else { return };
        let Some(key) = key_of(cx, event, &rule.by) else { return };
        let line = Line { cx, id, rule, sequence, shape: Shape::Short };
        let found = self.state.look(cx.layout.rule(id), &key);
        let mut cell = found.ok();
        let used = cell.is_some_and(|cell| self.turn_runs(line, roles, (key, cell), event, out));
        if !used && self.pair_starts(line, roles, event) {
            cell = self.start_run(line, key, found, event, out);
        }
        if line.sequence.lead.is_some() {
            self.note_lead(line, key, event);
        }
        if let Some(cell) = cell {
            self.drop_if_idle(cell);
        }
    }

    /// Ends the runs of a key whose time is over, and gives the event to the others, which all take the
    /// same turn, in the order of their starts; whether a match has used it up.
    fn turn_runs(
        &mut self,
        line: Line<'_>,
        roles: Roles,
        (key, cell): (Key, u32),
        event: EventRef<'_>,
        out: &mut Findings,
    ) -> bool {
        let mut at = self.state.keys.get(cell).head;
        while at != NIL {
            let Run { started, next, .. } = *self.state.runs.get(at);
            // Those behind it began later.
            if !outside(event.occurred(), started, line.sequence.within) {
                break;
            }
            self.unlink_run(at);
            at = next;
        }
        if at == NIL {
            return false;
        }
        match self.pair_turn(line, roles, event) {
            Turn::Matches => self.match_runs(line, (key, cell), event, out),
            Turn::Ends => {
                self.drop_runs(cell);
                false
            }
            _ => false,
        }
    }

    /// An event completes every run of a key; whether it is used up by that.
    fn match_runs(
        &mut self,
        line: Line<'_>,
        (key, cell): (Key, u32),
        event: EventRef<'_>,
        out: &mut Findings,
    ) -> bool {
        let mut at = self.state.keys.get(cell).head;
        while at != NIL {
            let run = *self.state.runs.get(at);
            let subject = *self.state.subjects.get(at);
            self.complete(line, key, Some((run, subject)), None, event, out);
            if line.sequence.skip == Skip::PastLast {
                self.drop_runs(cell);
                return true;
            }
            self.unlink_run(at);
            at = run.next;
        }
        false
    }

    /// What an event does to a run that waits.
    #[inline]
    fn pair_turn(&self, line: Line<'_>, roles: Roles, event: EventRef<'_>) -> Turn {
        let Sequence { steps, without, strict, .. } = line.sequence;
        let fits = |trigger| self.fits(line.cx, trigger, event);
        if roles.has(Roles::COMPLETES) && self.meets(line.cx, &steps[1].parts[0].on, event) {
            return Turn::Matches;
        }
        let ends = roles.has(Roles::ENDS)
            || roles.has(Roles::MAY_END)
                && (steps[1].without.iter().any(fits)
                    || without.as_ref().is_some_and(fits)
                    || strict.as_ref().is_some_and(fits));
        if ends { Turn::Ends } else { Turn::Waits }
    }

    /// Whether an event may start a run.
    #[inline]
    fn pair_starts(&self, line: Line<'_>, roles: Roles, event: EventRef<'_>) -> bool {
        roles.has(Roles::STARTS) && self.meets(line.cx, &line.sequence.steps[0].parts[0].on, event)
    }
}
