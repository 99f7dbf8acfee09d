//! The bench's traffic: badge swipes, doors, people counted by cameras and alarms of 5 sites, 5,000
//! doors and 50,000 badges (or more), one event every two milliseconds, in its own JSON. The same seed gives
//! the same bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;

use crate::random::Random;

pub(crate) const DOORS: u64 = 5_000;
pub(crate) const ZONES: u64 = 500;
const SITES: u64 = 5;
pub(crate) const BADGES: u64 = 50_000;
const START_MS: u64 = 1_700_000_000_000;

/// Lines of the traffic, one after another, without end.
pub struct Badges {
    random: Random,
    next: u64,
    badges: u64,
    /// Badges that have yet to be seen for the first time.
    unseen: u64,
    inside: Vec<bool>,
    /// Doors that will close: when, and which.
    open: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Badges {
    /// Traffic by a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { unseen: 0, ..Self::of(seed, BADGES) }
    }

    /// Traffic of so many badges, in which each is seen once before any is seen again.
    #[must_use]
    pub fn of(seed: u64, badges: u64) -> Self {
        let inside = vec![false; badges as usize];
        let (random, open) = (Random::new(seed), BinaryHeap::new());
        Self { random, next: 0, badges, unseen: badges, inside, open }
    }

    fn badge(&mut self) -> u64 {
        let any = self.random.below(self.badges);
        match self.unseen.checked_sub(1) {
            Some(badge) => {
                self.unseen = badge;
                badge
            }
            None => any,
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    /// Appends the next line, its end included.
    pub fn line(&mut self, out: &mut String) {
        let id = self.next;
        self.next += 1;
        let ts = START_MS + 2 * id;
        let due = self.open.peek().filter(|Reverse((at, _))| *at <= ts).map(|Reverse((_, d))| *d);
        if let Some(door) = due {
            self.open.pop();
            return gate(out, id, ts, "close", door);
        }
        match self.random.below(100) {
            0..66 => self.swipe(out, id, ts),
            66..81 => {
                if self.chance(2) {
                    return gate(out, id, ts, "forced", self.random.below(100) * 50);
                }
                let door = self.random.below(DOORS);
                let held = if self.chance(98) { (2_000, 15_000) } else { (30_000, 60_000) };
                let closes = ts + held.0 + self.random.below(held.1 - held.0);
                self.open.push(Reverse((closes, door)));
                gate(out, id, ts, "open", door);
            }
            81..97 => {
                let zone = self.random.below(ZONES);
                let crowd = !self.chance(98);
                let heads = if crowd { 25 + self.random.below(20) } else { self.random.below(13) };
                let site = zone / 100;
                let _ = writeln!(
                    out,
                    r#"{{"id":{id},"ts":{ts},"src":"cctv","type":"headcount","site":"S{site}","zone":"Z{zone:03}","cam":"C{zone:03}","heads":{heads}}}"#
                );
            }
            _ => {
                let zone = self.random.below(ZONES);
                let (site, level) = (zone / 100, 1 + self.random.below(5));
                let _ = writeln!(
                    out,
                    r#"{{"id":{id},"ts":{ts},"src":"alarm","type":"panic","site":"S{site}","zone":"Z{zone:03}","sev":{level}}}"#
                );
            }
        }
    }

    fn swipe(&mut self, out: &mut String, id: u64, ts: u64) {
        let badge = self.badge();
        let site = if self.chance(98) { badge % SITES } else { self.random.below(SITES) };
        let mut door = self.random.below(1_000) + 1_000 * site;
        let (dir, result, reason) = if self.chance(5) {
            if self.chance(30) {
                door = self.random.below(100) * 50;
            }
            let reason = match self.random.below(20) {
                0..12 => "unknown",
                12..18 => "schedule",
                18 => "antipassback",
                _ => "revoked",
            };
            ("in", "denied", reason)
        } else {
            let turns = self.chance(97);
            let inside = &mut self.inside[badge as usize];
            *inside ^= turns;
            (if *inside { "in" } else { "out" }, "granted", "ok")
        };
        let (site, zone) = (door / 1_000, door / 10);
        let _ = writeln!(
            out,
            r#"{{"id":{id},"ts":{ts},"src":"badge","type":"swipe","site":"S{site}","zone":"Z{zone:03}","door":"D{door:04}","badge":"B{badge:05}","dir":"{dir}","result":"{result}","reason":"{reason}"}}"#
        );
    }
}

fn gate(out: &mut String, id: u64, ts: u64, kind: &str, door: u64) {
    let (site, zone) = (door / 1_000, door / 10);
    let _ = writeln!(
        out,
        r#"{{"id":{id},"ts":{ts},"src":"gate","type":"{kind}","site":"S{site}","zone":"Z{zone:03}","door":"D{door:04}"}}"#
    );
}
