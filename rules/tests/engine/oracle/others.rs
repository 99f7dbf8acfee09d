//! `unless`, `watch … for`, `travel` and `passage`, each by looking at the whole history.

use super::{Ev, Found, KINDS, Spec, agrees, told};
use crate::script::Random;

fn kind(r: &mut Random) -> usize {
    r.below(6) as usize
}

struct Guard {
    kind: usize,
    level: i64,
    /// The guard's level must be that of the opening event or more.
    above: bool,
    from: i64,
    to: i64,
    at_least: usize,
}

struct Unless {
    on: usize,
    guards: Vec<Guard>,
}

impl Unless {
    fn make(r: &mut Random) -> Self {
        let guard = |r: &mut Random| {
            let (from, to) = [(0, 20), (0, 100), (50, 0), (30, 30), (100, 5)][r.below(5) as usize];
            let at_least = 1 + r.below(2) as usize;
            Guard {
                kind: kind(r),
                level: r.below(3) as i64,
                above: r.below(3) == 0,
                from,
                to,
                at_least,
            }
        };
        Self { on: kind(r), guards: (0..1 + r.below(2)).map(|_| guard(r)).collect() }
    }
}

impl Spec for Unless {
    fn rulebook(&self) -> String {
        let guards: Vec<String> = self
            .guards
            .iter()
            .map(|g| {
                let condition = if g.above { "x.level >= e.level" } else { "true" };
                format!(
                    "{{on: {}, same: door, if: 'x.level >= {} && {condition}', from: -{}ms, to: {}ms, at_least: {}}}",
                    KINDS[g.kind], g.level, g.from * 100, g.to * 100, g.at_least
                )
            })
            .collect();
        format!("\nrules: [{{id: r, on: {}, unless: [{}]}}]\n", KINDS[self.on], guards.join(", "))
    }

    fn expected(&self, history: &[Ev]) -> Vec<Found> {
        let end = self.guards.iter().map(|g| g.to).max().unwrap_or(0);
        let mut found = Vec::new();
        for (place, e) in history.iter().enumerate().filter(|(_, e)| e.kind == self.on) {
            let excused = self.guards.iter().any(|g| {
                // The guard event is another one: before in the order, or after.
                let near = history.iter().enumerate().filter(|(n, o)| {
                    let window = if *n < place { e.at - o.at < g.from } else { o.at - e.at < g.to };
                    *n != place && window && o.door == e.door && o.kind == g.kind
                });
                let fits =
                    near.filter(|(_, o)| o.level >= g.level && (!g.above || o.level >= e.level));
                fits.count() >= g.at_least
            });
            if !excused {
                found.push((e.at + end, vec![e.id]));
            }
        }
        found
    }
}

struct Watch {
    up: usize,
    down: usize,
    level: i64,
    hold: Option<i64>,
}

impl Watch {
    fn make(r: &mut Random) -> Self {
        let up = kind(r);
        let hold = (r.below(3) > 0).then(|| [10, 50, 100][r.below(3) as usize]);
        Self { up, down: (up + 1 + r.below(5) as usize) % 6, level: r.below(3) as i64, hold }
    }
}

impl Spec for Watch {
    fn rulebook(&self) -> String {
        let hold = self.hold.map_or(String::new(), |span| format!(", for: {}ms", span * 100));
        format!(
            "\nfacts: {{at: {{by: door, set: {{{}: e.level, {}: '-1'}}, init: 0}}}}\nrules: [{{id: r, watch: at, if: value > {}{hold}}}]\n",
            KINDS[self.up], KINDS[self.down], self.level
        )
    }

    fn expected(&self, history: &[Ev]) -> Vec<Found> {
        let mut found = Vec::new();
        for door in 0..2 {
            let sets: Vec<&Ev> = history
                .iter()
                .filter(|e| e.door == door && (e.kind == self.up || e.kind == self.down))
                .collect();
            let high = |e: &Ev| e.kind == self.up && e.level > self.level;
            for (place, e) in sets.iter().enumerate() {
                let rises = high(e) && (place == 0 || !high(sets[place - 1]));
                let ends = sets[place..].iter().find(|o| !high(o)).map_or(i64::MAX, |o| o.at);
                match self.hold {
                    None if rises => found.push((e.at, vec![e.id])),
                    // A level that ends when it is due has lasted: the timer goes first.
                    Some(span) if rises && ends >= e.at + span => {
                        found.push((e.at + span, vec![e.id]));
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

struct Travel {
    on: usize,
    min_time: i64,
}

impl Spec for Travel {
    fn rulebook(&self) -> String {
        format!(
            "\nrules: [{{id: r, travel: {{by: credential, on: {}, place: door, min_time: {}ms}}}}]\n",
            KINDS[self.on],
            self.min_time * 100
        )
    }

    fn expected(&self, history: &[Ev]) -> Vec<Found> {
        let mut found = Vec::new();
        for (place, e) in history.iter().enumerate().filter(|(_, e)| e.kind == self.on) {
            let before = history[..place].iter().rev();
            let last = before.into_iter().find(|o| o.kind == self.on && o.badge == e.badge);
            if let Some(last) = last.filter(|o| o.door != e.door && e.at - o.at < self.min_time) {
                found.push((e.at, vec![last.id, e.id]));
            }
        }
        found
    }
}

struct Passage {
    on: usize,
    forgive: usize,
    forget: i64,
}

impl Spec for Passage {
    fn rulebook(&self) -> String {
        // Levels 0 and 1 go in, the others out.
        format!(
            "\nrules: [{{id: r, passage: {{by: credential, on: {}, from: \"e.level < 2 ? 'out' : 'in'\", to: \"e.level < 2 ? 'in' : 'out'\", forget: {}ms, forgive: {}}}}}]\n",
            KINDS[self.on],
            self.forget * 100,
            KINDS[self.forgive]
        )
    }

    fn expected(&self, history: &[Ev]) -> Vec<Found> {
        let mut found = Vec::new();
        for (place, e) in history.iter().enumerate().filter(|(_, e)| e.kind == self.on) {
            let own = |o: &&Ev| o.badge == e.badge && (o.kind == self.on || o.kind == self.forgive);
            let Some(last) = history[..place].iter().rev().find(own) else { continue };
            let known = last.kind == self.on && e.at - last.at < self.forget;
            if known && (last.level < 2) == (e.level < 2) {
                found.push((e.at, told(history, [last.id], e.id)));
            }
        }
        found
    }
}

#[test]
fn unless() {
    agrees("unless", Unless::make);
}

#[test]
fn watch() {
    agrees("watch", Watch::make);
}

#[test]
fn travel() {
    agrees("travel", |r| Travel { on: kind(r), min_time: [20, 100, 300][r.below(3) as usize] });
}

#[test]
fn passage() {
    agrees("passage", |r| {
        let on = kind(r);
        let forgive = (on + 1 + r.below(5) as usize) % 6;
        Passage { on, forgive, forget: [50, 300, 3_000][r.below(3) as usize] }
    });
}
