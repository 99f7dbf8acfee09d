//! What every fact and rule holds at a site, and what it has given up.
//!
//! A *holder* is a fact, a rule (with the memory of its guards), or, last, the incidents. Which of its keys and
//! runs came first is said in [`super::order`].

use bytemuck::{Pod, Zeroable};

use super::layout::Subject;
use super::pages::Cell;
use super::seats::{SEATS_MAX, Seat};
use super::state::Owner;
use crate::plan::{FactKind, Limits, Plan};

/// What one holder holds at a site, and what it has given up.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Holding {
    /// 1 when live.
    pub live: u32,
    /// Keys held.
    pub keys: u32,
    /// Runs held.
    pub runs: u32,
    /// Events held.
    pub events: u32,
    /// Nothing: the cell is a line of memory.
    pub rest: [u64; 2],
    /// Keys, runs and events given up at a limit.
    pub gave: [u64; 3],
    /// When that was last told (microseconds).
    pub told: i64,
}

impl Holding {
    /// Nothing held.
    pub const fn none() -> Self {
        Self { live: 1, keys: 0, runs: 0, events: 0, rest: [0; 2], gave: [0; 3], told: i64::MIN }
    }

    /// Keys, runs and events held.
    pub fn held(&self) -> [u32; 3] {
        [self.keys, self.runs, self.events]
    }
}

impl Cell for Holding {
    fn live(&self) -> u32 {
        self.live
    }
    fn next_free(&self) -> u32 {
        self.keys
    }
    fn set_free(&mut self, next: u32) {
        *self = Self::zeroed();
        self.keys = next;
    }
}

/// What stands beside a run that has a cell of its own: who and where its first event was.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(32))]
pub struct Beside {
    /// Who and where.
    pub subject: Subject,
    /// Nothing: no cell is in two lines of memory.
    pub rest: u64,
}

/// Who has grown over a limit.
#[derive(Clone, Copy, Debug)]
pub enum Over {
    /// A holder has a key too many.
    Keys(u32),
    /// It has a run too many.
    Runs(u32),
    /// Its cell has an event too many.
    Events(u32, u32),
}

/// Whether a plan has many rules.
pub fn is_large(plan: &Plan) -> bool {
    plan.rules.len() >= MANY_RULES
}

/// Who answers for what, and how much each may hold.
#[derive(Debug, Default)]
pub struct Bounds {
    /// Whose each memory is.
    holders: Vec<u32>,
    limits: Vec<Limits>,
    first_rule: u32,
    /// Who answers for all that is nobody's else: behind facts and rules, who answer for their own.
    last: u32,
    /// Of which owners it is kept at hand whether they hold anything for a key, by number.
    accounts: Vec<bool>,
    /// Who has a seat in the rows of texts, by number; and how many.
    seats: Vec<Seat>,
    seated: usize,
}

/// Rules from which on whether one holds anything for a key is asked before anything of it is looked at.
const MANY_RULES: usize = if cfg!(debug_assertions) { 4 } else { 256 };

impl Bounds {
    /// The bounds of a plan; `memories` says of each of the rules' memories which rule's it is.
    /// What comes behind them belongs to the incidents.
    pub fn new(plan: &Plan, memories: impl Iterator<Item = u32>) -> Self {
        let facts = plan.facts.iter().map(|fact| match fact.kind {
            // As many as its fact has keys, at most; and one that went would make it drift.
            FactKind::Tally { .. } => Limits { keys: u32::MAX, ..fact.limits },
            _ => fact.limits,
        });
        let limits = facts.chain(plan.rules.iter().map(|rule| rule.limits));
        let limits: Vec<Limits> = limits.chain([Limits::default()]).collect();
        let first_rule = plan.facts.len() as u32;
        let holders = memories.map(|rule| first_rule + rule).collect();
        let last = limits.len() as u32 - 1;
        Self { holders, limits, first_rule, last, ..Self::default() }
    }

    /// For these, by number, it is kept at hand whether they hold anything for a key.
    pub fn keep_accounts(&mut self, accounts: Vec<bool>) {
        self.accounts = accounts;
    }

    /// Gives seats to owners whose keys are one text, to the first of them.
    pub fn seat(&mut self, owners: impl Iterator<Item = Owner>) {
        self.seats = vec![Seat::NONE; self.last as usize + self.holders.len()];
        for Owner(owner) in owners {
            let seat = self.seats.get_mut(owner as usize).filter(|seat| **seat == Seat::NONE);
            if let Some(seat) = seat.filter(|_| self.seated < SEATS_MAX) {
                *seat = Seat(self.seated as u8);
                self.seated += 1;
            }
        }
    }

    /// The seat of an owner.
    #[inline(always)]
    pub fn seat_of(&self, Owner(owner): Owner) -> Seat {
        self.seats.get(owner as usize).map_or(Seat::NONE, |seat| *seat)
    }

    /// Who has one.
    pub fn seats(&self) -> impl Iterator<Item = (Owner, Seat)> {
        let all = self.seats.iter().enumerate().map(|(owner, seat)| (Owner(owner as u32), *seat));
        all.filter(|(_, seat)| *seat != Seat::NONE)
    }

    /// How many owners have one.
    pub fn seated(&self) -> usize {
        self.seated
    }

    /// One fact, without limits.
    #[cfg(test)]
    pub fn of_one(limits: Limits) -> Self {
        let limits = vec![limits; 2];
        Self { limits, first_rule: 1, last: 1, ..Self::default() }
    }

    /// How many holders there are.
    pub fn holders(&self) -> u32 {
        self.limits.len() as u32
    }

    /// Who answers for an owner's cells.
    #[inline(always)]
    pub fn holder(&self, owner: Owner) -> u32 {
        // Facts and rules answer for their own.
        if owner.0 < self.last { owner.0 } else { self.holder_of_memory(owner) }
    }

    #[inline(never)]
    fn holder_of_memory(&self, owner: Owner) -> u32 {
        let memory = (owner.0 - self.last) as usize;
        self.holders.get(memory).copied().unwrap_or(self.last)
    }

    /// Whether it is kept at hand if an owner holds anything for a key.
    #[inline(always)]
    pub fn keeps_account(&self, Owner(owner): Owner) -> bool {
        self.accounts.get(owner as usize).is_some_and(|keeps| *keeps)
    }

    /// Whether that is so of any.
    pub fn keeps_accounts(&self) -> bool {
        self.accounts.contains(&true)
    }

    /// Who answers for a rule's runs.
    #[inline]
    pub fn holder_of_rule(&self, rule: u32) -> u32 {
        self.first_rule + rule
    }

    /// Which rule's own an owner's cells are.
    pub fn rule_of(&self, owner: Owner) -> u32 {
        owner.0 - self.first_rule
    }

    /// How much a holder may hold.
    #[inline]
    pub fn limits(&self, holder: u32) -> &Limits {
        &self.limits[holder as usize]
    }
}
