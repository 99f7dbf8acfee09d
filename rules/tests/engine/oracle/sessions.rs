//! `session` and `tally`.

use std::collections::BTreeMap;

use super::{Ev, Found, KINDS, Spec, agrees, told};
use crate::script::Random;

fn kind(r: &mut Random) -> usize {
    r.below(6) as usize
}

#[derive(Clone, Copy)]
enum Question {
    /// More of one kind than of another.
    More,
    /// Levels of one kind add up to more than the level.
    Sum,
    /// It did not end in time.
    Overdue,
    /// It ended without a beginning.
    Orphan,
}

struct Session {
    open: usize,
    close: usize,
    counted: usize,
    against: usize,
    level: i64,
    grace: i64,
    max: Option<i64>,
    before: Option<i64>,
    question: Question,
}

impl Session {
    fn make(r: &mut Random) -> Self {
        let open = kind(r);
        let question =
            [Question::More, Question::More, Question::Sum, Question::Overdue, Question::Orphan];
        Self {
            open,
            close: (open + 1 + r.below(5) as usize) % 6,
            counted: kind(r),
            against: kind(r),
            level: r.below(3) as i64,
            grace: [0, 10, 50][r.below(3) as usize],
            max: (r.below(3) > 0).then(|| [30, 100, 300][r.below(3) as usize]),
            before: (r.below(2) == 0).then(|| [20, 100][r.below(2) as usize]),
            question: question[r.below(5) as usize],
        }
    }

    /// One session of a key: its first event, its last, and those that count for it.
    fn judge(
        &self,
        events: &[Ev],
        counted: &[Ev],
        open: Ev,
        close: Option<Ev>,
    ) -> Option<Vec<u64>> {
        let counts = |kind: usize, least: i64| -> Vec<&Ev> {
            counted.iter().filter(|e| e.kind == kind && e.level >= least).collect()
        };
        let mut cited: Vec<Ev> = vec![open];
        let holds = match self.question {
            Question::More => {
                let (a, b) = (counts(self.counted, self.level), counts(self.against, 0));
                cited.extend(a.iter().chain(&b).copied());
                a.len() > b.len()
            }
            Question::Sum => {
                let all = counts(self.counted, 0);
                cited.extend(all.iter().copied());
                all.iter().map(|e| e.level).sum::<i64>() > self.level
            }
            Question::Overdue => close.is_none(),
            Question::Orphan => false,
        };
        cited.extend(close);
        // The trigger is the latest; of one time, the one that came last.
        let place = |e: &Ev| events.iter().position(|o| o.id == e.id);
        let trigger = cited.iter().max_by_key(|e| (e.at, place(e)))?.id;
        holds.then(|| told(events, cited.iter().map(|e| e.id), trigger))
    }

    fn key(&self, events: &[Ev], found: &mut Vec<Found>) {
        let mut at = 0;
        // Events before this place belong to an earlier session.
        let mut free = 0;
        while at < events.len() {
            let e = events[at];
            if e.kind != self.open {
                if e.kind == self.close && matches!(self.question, Question::Orphan) {
                    found.push((e.at, vec![e.id]));
                }
                at += 1;
                continue;
            }
            let due = self.max.map_or(i64::MAX, |max| e.at + max);
            let close = (at + 1..events.len())
                .find(|n| events[*n].kind == self.close)
                .filter(|n| events[*n].at < due);
            let early = |kind: usize| self.before.is_some() && kind == self.against;
            let mut counted: Vec<Ev> = events[free..at]
                .iter()
                .filter(|o| early(o.kind) && e.at - o.at < self.before.unwrap_or(0))
                .copied()
                .collect();
            let Some(close) = close else {
                let end = (at + 1..events.len()).find(|n| events[*n].at >= due);
                let end = end.unwrap_or(events.len());
                counted.extend(&events[at..end]);
                if let (Some(ids), true) = (self.judge(events, &counted, e, None), due < i64::MAX) {
                    found.push((due, ids));
                }
                (at, free) = (end, end);
                continue;
            };
            counted.extend(&events[at..=close]);
            let over = events[close].at + self.grace;
            let mut end = close + 1;
            // What ends the grace: its time, or the next beginning.
            while end < events.len() && events[end].at < over && events[end].kind != self.open {
                if !early(events[end].kind) {
                    counted.push(events[end]);
                }
                end += 1;
            }
            let judged = events.get(end).map_or(over, |next| next.at.min(over));
            if let Some(ids) = self.judge(events, &counted, e, Some(events[close])) {
                found.push((judged, ids));
            }
            (at, free) = (end, close + 1);
        }
    }
}

impl Spec for Session {
    fn rulebook(&self) -> String {
        let question = match self.question {
            Question::More => format!(
                "s.count({}, e.level >= {}) > s.count({})",
                KINDS[self.counted], self.level, KINDS[self.against]
            ),
            Question::Sum => format!("s.sum({}, e.level) > {}", KINDS[self.counted], self.level),
            Question::Overdue => "!s.closed".to_owned(),
            Question::Orphan => "s.orphan".to_owned(),
        };
        let mut more = String::new();
        if let Some(max) = self.max {
            more += &format!(", max: {}ms", max * 100);
        }
        if let Some(before) = self.before {
            more += &format!(", before: {{on: {}, for: {}ms}}", KINDS[self.against], before * 100);
        }
        format!(
            "\nrules: [{{id: r, if: '{question}', session: {{open: {}, close: {}, by: door, grace: {}ms{more}}}}}]\n",
            KINDS[self.open],
            KINDS[self.close],
            self.grace * 100
        )
    }

    fn expected(&self, history: &[Ev]) -> Vec<Found> {
        let mut found = Vec::new();
        for door in 0..2 {
            let events: Vec<Ev> = history.iter().filter(|e| e.door == door).copied().collect();
            self.key(&events, &mut found);
        }
        found
    }
}

/// How many badges are at a door, by what each was last set to.
struct Tally {
    on: usize,
    off: usize,
    reset: usize,
    ttl: Option<i64>,
    more: i64,
}

impl Spec for Tally {
    fn rulebook(&self) -> String {
        let ttl = self.ttl.map_or(String::new(), |ttl| format!(", ttl: {}ms", ttl * 100));
        format!(
            "
facts:
  where: {{by: credential, set: {{{}: e.door, {}: \"'out'\"}}, reset: {{on: {}, if: e.level >= 3}}{ttl}}}
  inside: {{tally: where, by: {{door: value}}, if: value != 'out'}}
rules: [{{id: r, watch: inside, if: value > {}}}]
",
            KINDS[self.on], KINDS[self.off], KINDS[self.reset], self.more
        )
    }

    fn expected(&self, history: &[Ev]) -> Vec<Found> {
        let mut found = Vec::new();
        let mut above: BTreeMap<u64, bool> = BTreeMap::new();
        // Moments at which a badge's place may change, and the event that is told of.
        let mut moments: Vec<(i64, usize, u64)> = Vec::new();
        for (place, e) in history.iter().enumerate() {
            moments.push((e.at, place + 1, e.id));
            if let Some(ttl) = self.ttl {
                moments.push((e.at + ttl, 0, e.id));
            }
        }
        moments.sort();
        for (at, place, id) in moments {
            let until = |n: usize, e: &Ev| if place == 0 { e.at < at } else { n < place };
            let seen: Vec<&Ev> =
                history.iter().enumerate().filter(|(n, e)| until(*n, e)).map(|(_, e)| e).collect();
            let mut badges: BTreeMap<u64, Option<u64>> = BTreeMap::new();
            for e in seen {
                if e.kind == self.reset && e.level >= 3 {
                    badges.clear();
                }
                if e.kind == self.on || e.kind == self.off {
                    let lives = self.ttl.is_none_or(|ttl| at - e.at < ttl);
                    let door = (e.kind == self.on).then_some(e.door);
                    badges.insert(e.badge, door.filter(|_| lives));
                }
            }
            for door in 0..2 {
                let n = badges.values().filter(|d| **d == Some(door)).count() as i64;
                let was = above.insert(door, n > self.more).unwrap_or(false);
                if n > self.more && !was {
                    found.push((at, vec![id]));
                }
            }
        }
        found
    }
}

#[test]
fn session() {
    agrees("session", Session::make);
}

#[test]
fn tally() {
    agrees("tally", |r| {
        let on = kind(r);
        let off = (on + 1 + r.below(5) as usize) % 6;
        let reset = (0..6).find(|k| *k != on && *k != off).unwrap_or(0);
        let ttl = (r.below(2) == 0).then(|| [50, 200][r.below(2) as usize]);
        Tally { on, off, reset, ttl, more: r.below(2) as i64 }
    });
}
