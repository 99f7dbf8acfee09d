//! A site under another rulebook: cells, runs and incidents under their new numbers, and what
//! belongs to nothing any more is freed.

use event::identity::{Digest, TimedId};
use event::{EventBlock, EventTime, Position};

use super::ahead::Ahead;
use super::cells::{Entry, halves, whole};
use super::eviction::Turn;
use super::findings::Findings;
use super::layout::Held;
use super::reload::{Moves, carried_key};
use super::scope::{Context, outside};
use super::site::{RuleCount, Site};
use crate::plan::{FactId, FactKind, Mode, Pattern, Plan, RuleId};

/// What hangs on a cell.
enum List {
    None,
    Runs,
    Entries,
}

/// What hangs on the cells of an owner.
fn list_of(plan: &Plan, held: Held) -> List {
    match held {
        Held::Rule(rule) => match &plan.rules[rule.0 as usize].pattern {
            Pattern::Sequence(_)
            | Pattern::Unless { .. }
            | Pattern::Watch { .. }
            | Pattern::Session(_) => List::Runs,
            Pattern::Event(_) | Pattern::Passage { .. } | Pattern::Travel { .. } => List::None,
        },
        Held::Fact(_)
        | Held::Memory(..)
        | Held::Dimension(..)
        | Held::Side(..)
        | Held::ShelvedIncident
        | Held::ShelvedRule
        | Held::Flood
        | Held::Hush(_)
        | Held::Escalation(_) => List::Entries,
    }
}

impl Site {
    /// Goes on under another rulebook, at the time the site has reached.
    pub(super) fn carry(
        &mut self,
        moves: &Moves,
        (old, new): (Context<'_>, Context<'_>),
        state_max: [usize; 3],
        out: &mut Findings,
    ) {
        let Self {
            name: _,
            state: _,
            timers: _,
            upkeep: _,
            correlation: _,
            held: _,
            shelves: _,
            about,
            seq: _,
            serial: _,
            now: _,
            began: _,
            changed,
            counted: _,
            listed: _,
            counts,
            early: _,
            most,
            held_max: _,
            unheld: _,
            turns,
            evaluated: _,
            work,
            ahead,
            sweep: _,
            unswept: _,
            heard,
            told,
            hours,
            hours_until,
            said: _,
            late: _,
        } = self;
        changed.clear();
        hours.clear();
        *hours_until = EventTime::MIN;
        *ahead = Ahead::default();
        *heard = [EventBlock::new(&new.plan.vocabulary), EventBlock::new(&new.plan.vocabulary)];
        *told = EventBlock::new(&new.plan.vocabulary);
        *about = EventBlock::new(&new.plan.vocabulary);
        let before = std::mem::take(counts);
        counts.resize(new.plan.rules.len(), RuleCount::default());
        for (number, count) in before.into_iter().enumerate() {
            if let Some(rule) = moves.named(RuleId(number as u16)) {
                counts[rule.0 as usize] = count;
            }
        }
        *most = state_max;
        *turns = [Turn::default(); 3];
        let holders = new.plan.facts.len() + new.plan.rules.len();
        *work = work.moved(holders, |holder| moves.holder(holder));
        let ended = self.carry_cells(moves, old, new);
        self.carry_held(|rule| moves.rule(rule));
        self.carry_incidents(moves, new);
        self.state.reindex();
        for (number, fact) in new.plan.facts.iter().enumerate() {
            let id = FactId(number as u16);
            let tally = matches!(fact.kind, FactKind::Tally { .. });
            if tally
                && fact.scope == self.scope()
                && (moves.tables_differ || !moves.fact_went_on(id))
            {
                self.recount(new, id);
            }
        }
        self.settle(new, out);
        self.rearm(new);
        for incident in ended {
            self.clear_incident(incident, self.now, out);
        }
        self.judge_levels(moves, new, out);
        self.changed.clear();
        self.review(new, self.now, out);
        self.hear(new, out);
    }

    /// Puts every cell under its new owner; the incidents that levels held which nobody watches
    /// any more.
    fn carry_cells(&mut self, moves: &Moves, old: Context<'_>, new: Context<'_>) -> Vec<TimedId> {
        self.state.forget_idle();
        let ended = self.free_cells(moves, old);
        let mut heard_else = Vec::new();
        for index in 0..self.state.keys.len() {
            let cell = *self.state.keys.get(index);
            if cell.owner == 0 {
                continue;
            }
            let held = old.layout.held(cell.owner());
            let to = moves.held(held).zip(carried_key(moves, held, self.state.key(index)));
            let Some((to, key)) = to else { unreachable!("it was freed") };
            self.state.hand_over(index, new.layout.owner(to), &key);
            if let (Held::Fact(was), Held::Fact(is)) = (held, to)
                && old.layout.hears_expiry(was) != new.layout.hears_expiry(is)
            {
                heard_else.push((index, is));
            }
        }
        self.carry_runs(moves);
        self.state.rebind(new.layout.bounds.clone(), |holder| moves.holder(holder));
        for (index, fact) in heard_else {
            self.settle_expiry(new, fact, index);
        }
        ended
    }

    /// Frees what goes nowhere; the incidents that levels held which nobody watches any more.
    fn free_cells(&mut self, moves: &Moves, old: Context<'_>) -> Vec<TimedId> {
        let mut ended = Vec::new();
        for index in 0..self.state.keys.len() {
            let cell = *self.state.keys.get(index);
            if cell.owner == 0 {
                continue;
            }
            let held = old.layout.held(cell.owner());
            if moves.held(held).zip(carried_key(moves, held, self.state.key(index))).is_some() {
                continue;
            }
            if let Held::Rule(rule) = held
                && let Pattern::Watch { clears: true, .. } = old.plan.rules[rule.0 as usize].pattern
                && [cell.aux, cell.spare] != [0; 2]
            {
                ended.push(TimedId(whole([cell.aux, cell.spare])));
            }
            match list_of(old.plan, held) {
                List::None => {}
                List::Runs if cell.is_run() => self.state.forget_run(index),
                List::Runs => self.drop_runs(index),
                List::Entries => while self.state.pop_front(index).is_some() {},
            }
            // The index is built anew when every cell has its number.
            self.state.free(index);
        }
        ended
    }

    /// A fact's value that is forgotten after a time has a deadline where somebody must know of it.
    fn settle_expiry(&mut self, new: Context<'_>, fact: FactId, index: u32) {
        let FactKind::Set { ttl: Some(ttl), .. } = &new.plan.facts[fact.0 as usize].kind else {
            return;
        };
        let hears = new.layout.hears_expiry(fact);
        while self.state.pop_front(index).is_some() {}
        self.state.keys.get_mut(index).aux = 0;
        if !hears {
            return;
        }
        if outside(self.now, self.state.keys.get(index).time, *ttl) {
            self.state.free(index);
            return;
        }
        // Which event set it is not known any more.
        let entry = self.taken_over(new, EventTime(self.state.keys.get(index).time));
        self.serial += 1;
        self.state.append(index, entry);
        self.state.keys.get_mut(index).aux = self.serial;
    }

    fn carry_runs(&mut self, moves: &Moves) {
        for index in 0..self.state.runs.len() {
            let owner = self.state.runs.get(index).owner;
            if owner != 0 {
                let rule = moves.rule(RuleId((owner - 1) as u16));
                let Some(rule) = rule else { unreachable!("its runs went with the rule's cells") };
                self.state.runs.get_mut(index).owner = u32::from(rule.0) + 1;
            }
        }
    }

    fn carry_incidents(&mut self, moves: &Moves, new: Context<'_>) {
        let links = new.plan.links.iter().map(|link| link.within.0);
        let gaps = new.layout.groupings().iter().map(|grouping| grouping.gap.0);
        let keep = links.chain(gaps).max().unwrap_or(0);
        let policies = 0..32.min(moves.links());
        for index in 0..self.correlation.incidents.len() {
            if self.correlation.incidents.get(index).live == 0 {
                continue;
            }
            let cell = self.correlation.incidents.get_mut(index);
            cell.keep = cell.keep.max(keep);
            let mut sides = 0;
            for policy in policies.clone() {
                let entered = cell.sides >> (2 * policy) & 3;
                if let Some(to) = moves.link(policy).filter(|to| *to < 32) {
                    sides |= entered << (2 * to);
                }
            }
            cell.sides = sides;
            cell.escalated = moves.escalated(cell.escalated);
        }
    }

    /// A level that holds as its rule begins has risen now; where the tables say something else,
    /// any may have moved.
    fn judge_levels(&mut self, moves: &Moves, new: Context<'_>, out: &mut Findings) {
        if self.now == EventTime::MIN || self.now == EventTime::MAX {
            return;
        }
        let entry = self.taken_over(new, self.now);
        for (number, rule) in new.plan.rules.iter().enumerate() {
            let id = RuleId(number as u16);
            let here = rule.scope == self.scope() && rule.mode != Mode::Off;
            let watches = matches!(rule.pattern, Pattern::Watch { .. });
            if here && watches && (moves.tables_differ || !moves.went_on(id)) {
                self.changed.clear();
                self.judge_keys(new, id, None, entry, self.now, out);
                self.hear(new, out);
            }
        }
    }

    /// What stands for the take-over where an event would be cited: it has no bytes to show.
    fn taken_over(&self, new: Context<'_>, at: EventTime) -> Entry {
        let identity = Digest::default()
            .part(b"rulebook")
            .number(new.plan.hash)
            .number(new.interner.digest(self.name))
            .number(at.0 as u128);
        Entry { place: Position::NONE.0, ..Entry::noting(at, halves(identity.finish()), [0; 3]) }
    }
}
