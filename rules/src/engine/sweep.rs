//! What has gone silent is freed a little at each event.

use event::Symbol;
use event::prefetch::{fetch, prefetch};

use super::facts::freshen_cell;
use super::layout::{Held as Owned, Memory};
use super::pages::NIL;
use super::scope::{Context, outside};
use super::site::Site;
use super::state::Owner;
use crate::plan::{FactId, FactKind, Pattern};

/// Events that are swept for together.
const SWEEP_EVERY: u32 = 32;
/// One key, one run and one incident are looked at in so many events, and two more for each that comes: of
/// all that are kept, those that hold nothing stay fewer than the others.
const SWEEP_ONE_IN: u32 = 32;
/// How far in front of the sweep's hand keys and runs are asked for: those that it comes to next time, too.
const SWEPT_AHEAD: usize = 12;

impl Site {
    /// Frees, a few keys, runs and incidents at a time, what no longer holds anything: what has gone silent
    /// costs memory for a while, never for ever. Freed or not, it reads the same. So it is done for several
    /// events at a time.
    #[inline]
    pub(super) fn sweep_some(&mut self, cx: Context<'_>) {
        self.unswept += 1;
        if self.unswept >= SWEEP_EVERY {
            self.unswept = 0;
            self.sweep_next(cx);
        }
    }

    #[inline(never)]
    fn sweep_next(&mut self, cx: Context<'_>) {
        let next = |hand: &mut u32, end: u32, came: &mut u32| {
            let from = *hand;
            let many = SWEEP_EVERY / SWEEP_ONE_IN + std::mem::take(came).saturating_mul(2);
            let to = end.min(from.saturating_add(many));
            *hand = if to == end { 0 } else { to };
            from..to
        };
        let [keys_came, runs_came] = &mut self.state.came;
        let [keys, runs, incidents] = &mut self.sweep;
        let keys = next(keys, self.state.keys.len(), keys_came);
        let runs = next(runs, self.state.runs.len(), runs_came);
        let incidents =
            next(incidents, self.correlation.incidents.len(), &mut self.correlation.came);
        for hand in keys {
            prefetch(self.state.keys.cells(), hand as usize + SWEPT_AHEAD);
            self.expect_lapse(cx, hand + 4);
            self.sweep_key(cx, hand);
        }
        for hand in runs {
            prefetch(self.state.runs.cells(), hand as usize + SWEPT_AHEAD);
            self.expect_sweep(hand + 4);
            self.sweep_run(cx, hand);
        }
        self.state.index.go_on();
        self.work.settle();
        incidents.for_each(|hand| self.correlation.forget(hand, self.now));
    }

    /// Asks for the first event of a window, where the sweep comes to it soon, and for the values that it counts:
    /// nothing has touched them since it came.
    #[inline]
    fn expect_lapse(&self, cx: Context<'_>, hand: u32) {
        let Some(cell) = self.state.keys.peek(hand) else { return };
        if (cell.owner as usize).wrapping_sub(1) < cx.plan.facts.len() {
            self.state.entries.peek(cell.head).into_iter().for_each(fetch);
            let values = cell.values().and_then(|at| self.state.values.peek(at));
            values.into_iter().for_each(fetch);
        }
    }

    #[inline]
    fn sweep_key(&mut self, cx: Context<'_>, hand: u32) {
        let cell = self.state.keys.get(hand);
        if cell.owner == 0 {
            return;
        }
        if cell.is_idle() {
            return self.state.sweep_idle(hand);
        }
        let owner = cell.owner();
        if let Some(fact) = cx.plan.facts.get(owner.0 as usize) {
            let windowed = matches!(fact.kind, FactKind::Count { .. } | FactKind::Distinct { .. });
            if windowed && self.state.key(hand)[3] == Symbol::NONE {
                let id = FactId(owner.0 as u16);
                freshen_cell(cx, &mut self.state, id, hand, self.now);
                if self.state.keys.get(hand).head == NIL {
                    self.state.forget_values(hand);
                    self.state.retire(hand);
                }
            }
        } else if !cx.layout.is_rule(owner) {
            self.sweep_other(cx, owner, hand);
        } else if cell.is_run()
            && let Pattern::Sequence(sequence) =
                &cx.plan.rules[owner.0 as usize - cx.plan.facts.len()].pattern
            && outside(self.now, cell.time, sequence.within)
        {
            self.state.forget_run(hand);
            self.state.remove(hand);
        }
    }

    /// Frees what hangs on rules and policies, where it holds nothing any more.
    fn sweep_other(&mut self, cx: Context<'_>, owner: Owner, hand: u32) {
        if cx.layout.is_dimension(owner) {
            if self.correlation.incident_of(&self.state, hand).is_none() {
                self.state.remove(hand);
            }
            return;
        }
        if let Owned::Escalation(_) = cx.layout.held(owner) {
            self.sweep_escalation(hand);
            return;
        }
        if let Some(memory) = cx.layout.memory(owner) {
            self.sweep_memory(memory, hand);
        }
    }

    fn sweep_memory(&mut self, memory: Memory, hand: u32) {
        match memory {
            Memory::Waiting | Memory::Names => return,
            Memory::History(within) => self.forget_history(hand, within, self.now),
            Memory::Lead(span) => {
                if !outside(self.now, self.state.keys.get(hand).time, span) {
                    return;
                }
            }
        }
        if self.state.keys.get(hand).head == NIL {
            self.state.remove(hand);
        }
    }

    #[inline]
    fn sweep_run(&mut self, cx: Context<'_>, hand: u32) {
        let run = self.state.runs.get(hand);
        if run.owner == 0 {
            return;
        }
        let rule = &cx.plan.rules[run.owner as usize - 1];
        if let Pattern::Sequence(sequence) = &rule.pattern
            && outside(self.now, run.started, sequence.within)
        {
            let cell = run.key_cell;
            self.unlink_run(hand);
            self.drop_if_idle(cell);
        }
    }
}
