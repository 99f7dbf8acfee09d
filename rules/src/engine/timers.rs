//! Deadlines of one site, in an order that no arrival and no interned id can change.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use event::EventTime;
use event::prefetch::fetch;

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

/// Lanes of deadlines that come in order, as those of one rule mostly do.
const LANES: usize = 4;

/// So far behind the first of a lane is asked for.
const SOON: usize = 4;

/// Deadlines, earliest first. What was cancelled stays until it is due; the serial tells. What comes
/// in order costs a push at the end of a lane; the rest goes through a heap.
#[derive(Debug)]
pub struct Timers {
    lanes: [VecDeque<Timer>; LANES],
    rest: BinaryHeap<Reverse<Timer>>,
    /// When the earliest is due; none is where nothing is.
    next: EventTime,
    /// The lane that it is in, and when the first of all others is due.
    first: usize,
    others: EventTime,
    /// Whether anything is.
    some: bool,
    /// When the first of each lane is due, and last of the rest: `MAX` where there is none.
    fronts: [EventTime; LANES + 1],
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            lanes: Default::default(),
            rest: BinaryHeap::new(),
            next: EventTime::MAX,
            first: 0,
            others: EventTime::MAX,
            some: false,
            fronts: [EventTime::MAX; LANES + 1],
        }
    }
}

impl Timers {
    /// Adds a deadline.
    #[inline]
    pub fn push(&mut self, at: EventTime, owner: u32, tie: u128, serial: u64, due: Due) {
        let timer = (at, owner, tie, serial, due);
        // Those of one owner mostly wait for the same time, and come in order.
        let lane = &mut self.lanes[owner as usize % LANES];
        if lane.back().is_some_and(|last| last.0 < at) {
            lane.push_back(timer);
        } else {
            self.push_apart(timer);
        }
    }

    /// The first of its lane, or one that is due before what is in it.
    #[inline(never)]
    fn push_apart(&mut self, timer: Timer) {
        let lane = &mut self.lanes[timer.1 as usize % LANES];
        if lane.back().is_none_or(|last| *last <= timer) {
            lane.push_back(timer);
        } else {
            self.push_elsewhere(timer);
        }
        self.look_at_fronts();
        self.know_next();
    }

    fn look_at_fronts(&mut self) {
        for (at, lane) in self.fronts.iter_mut().zip(&self.lanes) {
            *at = lane.front().map_or(EventTime::MAX, |timer| timer.0);
        }
        self.fronts[LANES] = self.rest.peek().map_or(EventTime::MAX, |timer| timer.0.0);
    }

    fn push_elsewhere(&mut self, timer: Timer) {
        // The fullest-ended lane that it can stand in: the others stay open for earlier ones.
        let fits = self.lanes.iter_mut().filter(|lane| lane.back().is_none_or(|b| *b <= timer));
        match fits.max_by(|a, b| a.back().cmp(&b.back())) {
            Some(lane) => lane.push_back(timer),
            None => self.rest.push(Reverse(timer)),
        }
    }

    /// Takes the earliest deadline at or before `to`.
    pub fn pop(&mut self, to: EventTime) -> Option<(EventTime, u64, Due)> {
        if !self.some || self.next > to {
            return None;
        }
        // Mostly one lane is the first.
        if self.first == LANES || self.next >= self.others {
            return self.pop_of_several(self.next);
        }
        let (at, _, _, serial, due) = self.lanes[self.first].pop_front()?;
        self.know_front();
        Some((at, serial, due))
    }

    /// The first deadlines go, due or not, that nobody awaits, of the lane that is the first; whether any did. What
    /// comes soon is asked for.
    pub fn leave_out(&mut self, awaits: impl Fn(Due, u64) -> bool, expect: impl Fn(Due)) -> bool {
        if self.next >= self.others || self.first == LANES {
            return false;
        }
        let lane = &mut self.lanes[self.first];
        let mut many = 0;
        while let Some(&(at, _, _, serial, due)) = lane.get(many)
            && at < self.others
            && !awaits(due, serial)
        {
            many += 1;
            // Nothing has touched those behind it since they came.
            lane.get(many + 2 * SOON).into_iter().for_each(fetch);
            lane.get(many + SOON).into_iter().for_each(|timer| expect(timer.4));
        }
        lane.drain(..many);
        self.know_front();
        many > 0
    }

    /// The first of the lane that has the first has gone.
    #[inline(always)]
    fn know_front(&mut self) {
        let front = self.lanes[self.first].front().map_or(EventTime::MAX, |timer| timer.0);
        self.fronts[self.first] = front;
        if front < self.others {
            self.next = front;
        } else {
            self.know_next();
        }
    }

    /// Who is the first, from the times at which all begin.
    #[cold]
    #[inline(never)]
    fn know_next(&mut self) {
        (self.next, self.others) = (EventTime::MAX, EventTime::MAX);
        for (number, at) in self.fronts.iter().enumerate() {
            if *at < self.next {
                (self.others, self.next, self.first) = (self.next, *at, number);
            } else {
                self.others = self.others.min(*at);
            }
        }
        self.some = self.next != EventTime::MAX
            || !self.rest.is_empty()
            || self.lanes.iter().any(|lane| !lane.is_empty());
    }

    #[cold]
    #[inline(never)]
    fn pop_of_several(&mut self, next: EventTime) -> Option<(EventTime, u64, Due)> {
        let fronts = self.lanes.iter().enumerate().filter_map(|(n, lane)| Some((lane.front()?, n)));
        let lane = fronts.filter(|(timer, _)| timer.0 == next).min();
        let heap = self.rest.peek().map(|timer| &timer.0).filter(|timer| timer.0 == next);
        let (at, _, _, serial, due) = match (lane, heap) {
            (Some((timer, _)), Some(heap)) if heap < timer => self.rest.pop()?.0,
            (Some((_, lane)), _) => self.lanes[lane].pop_front()?,
            (None, _) => self.rest.pop()?.0,
        };
        self.look_at_fronts();
        self.know_next();
        Some((at, serial, due))
    }

    /// When the earliest is due.
    #[inline]
    pub fn next(&self) -> Option<EventTime> {
        self.some.then_some(self.next)
    }

    /// Whether anything may be due at or before `to`.
    #[inline]
    pub fn is_due(&self, to: EventTime) -> bool {
        self.next <= to
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.lanes.iter_mut().for_each(VecDeque::clear);
        self.rest.clear();
        (self.next, self.others, self.some) = (EventTime::MAX, EventTime::MAX, false);
        self.fronts = [EventTime::MAX; LANES + 1];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_order_they_come_in_the_earliest_goes_first() {
        let (mut timers, mut sorted, mut random) = (Timers::default(), Vec::new(), 7_u64);
        for step in 0..5_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Three that come in order, one that does not; many of one time.
            let span = [20, 300, 5, random >> 40 & 511][step as usize % 4] as i64;
            let (at, tie) = (EventTime(step as i64 / 8 + span), u128::from(random >> 50));
            timers.push(at, step as u32 % 4, tie, step, Due::Run(0));
            sorted.push((at, step as u32 % 4, tie, step));
            if step % 64 == 63 {
                sorted.sort_unstable();
                let to = EventTime(step as i64 / 8);
                let due = sorted.partition_point(|timer| timer.0 <= to);
                for (at, _, _, serial) in sorted.drain(..due) {
                    assert_eq!(timers.pop(to), Some((at, serial, Due::Run(0))));
                }
                assert_eq!(timers.pop(to), None);
                assert_eq!(timers.next(), sorted.first().map(|timer| timer.0));
            }
        }
        assert!(sorted.len() > 100, "some wait at the end");
    }
}
