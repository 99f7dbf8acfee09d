//! Sequences of two events, of which nothing is kept but who the first was: most are of this form.

use event::EventRef;

use super::cells::{Key, Run};
use super::findings::Findings;
use super::layout::Subject;
use super::pages::NIL;
use super::scope::{Context, key_of, outside};
use super::sequence::{Line, Shape, Turn};
use super::site::Site;
use super::state::Vacant;
use super::steps::{Roles, RuleStep};
use crate::plan::{Pattern, Runs, Sequence, Skip};
use crate::value::Value;

impl Site {
    pub(super) fn step_pair(
        &mut self,
        cx: Context<'_>,
        RuleStep { rule: id, roles, .. }: RuleStep,
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let rule = &cx.plan.rules[id.0 as usize];
        let Pattern::Sequence(sequence) = &rule.pattern else { return };
        let Some(key) = key_of(cx, event, &rule.by) else { return };
        let line = Line { cx, id, rule, sequence, shape: cx.layout.shape(id) };
        let found = self.state.look(cx.layout.rule(id), &key);
        if line.shape == Shape::Single {
            self.step_single(line, roles, (key, found), event, out);
        } else {
            self.step_short(line, roles, (key, found), event, out);
        }
    }

    /// A rule of which a key has one run at most, and its cell is that.
    #[inline(always)]
    fn step_single(
        &mut self,
        line: Line<'_>,
        roles: Roles,
        (key, found): (Key, Result<u32, Vacant>),
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
        let Line { cx, id, sequence, .. } = line;
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
            let owner = cx.layout.rule(id);
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
    #[inline(always)]
    fn step_short(
        &mut self,
        line: Line<'_>,
        roles: Roles,
        (key, found): (Key, Result<u32, Vacant>),
        event: EventRef<'_>,
        out: &mut Findings,
    ) {
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
        if roles.has(Roles::COMPLETES) && self.meets(line.cx, &steps[1].parts[0].on, event) {
            return Turn::Matches;
        }
        let mut ends = steps[1].without.iter().chain(without).chain(strict);
        if roles.has(Roles::ENDS) && ends.any(|trigger| self.fits(line.cx, trigger, event)) {
            return Turn::Ends;
        }
        Turn::Waits
    }

    /// Whether an event may start a run.
    #[inline]
    fn pair_starts(&self, line: Line<'_>, roles: Roles, event: EventRef<'_>) -> bool {
        roles.has(Roles::STARTS)
            && self.meets(line.cx, &line.sequence.steps[0].parts[0].on, event)
    }
}
