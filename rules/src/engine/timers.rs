//! Deadlines of one site, in an order that no arrival and no interned id can change.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use event::EventTime;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A run of `unless` or `watch … for`.
    Run(u32),
    /// A fact's value whose `ttl` is over: the cell.
    Expiry(u32),
    /// A detection that has waited for what may inhibit it.
    Held(u32),
    /// Something a rule found to chatter, that may be quiet by now: the cell.
    Quiet(u32),
    /// A shelf that ends by itself: the cell.
    Shelf(u32),
    /// A flood that may be over: the cell.
    Flood(u32),
    /// An incident that may be stale: its cell.
    Stale(u32),
}

/// (due, owner's number, hash of key or opening event, serial) orders; the cell comes last.
type Timer = (EventTime, u32, u128, u64, Due);

/// Deadlines, earliest first. What was cancelled stays until it is due; the serial tells.
#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<Timer>>);

impl Timers {
    /// Adds a deadline.
    pub fn push(&mut self, at: EventTime, owner: u32, tie: u128, serial: u64, due: Due) {
        self.0.push(Reverse((at, owner, tie, serial, due)));
    }

    /// Takes the earliest deadline at or before `to`.
    pub fn pop(&mut self, to: EventTime) -> Option<(EventTime, u64, Due)> {
        if self.0.peek()?.0.0 > to {
            return None;
        }
        self.0.pop().map(|Reverse((at, _, _, serial, due))| (at, serial, due))
    }

    /// When the earliest is due.
    pub fn next(&self) -> Option<EventTime> {
        self.0.peek().map(|timer| timer.0.0)
    }

    /// Whether anything is due at or before `to`.
    pub fn is_due(&self, to: EventTime) -> bool {
        self.0.peek().is_some_and(|timer| timer.0.0 <= to)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
