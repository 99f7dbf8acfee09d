//! `count` and `distinct`.

use std::collections::BTreeSet;

use super::{Ev, Found, KINDS, Spec, agrees, told};
use crate::script::Random;

struct Window {
    distinct: bool,
    kind: usize,
    level: i64,
    within: i64,
    least: usize,
    edge: bool,
}

impl Window {
    fn make(r: &mut Random, distinct: bool) -> Self {
        Self {
            distinct,
            kind: r.below(6) as usize,
            level: r.below(3) as i64,
            within: [20, 50, 100, 300][r.below(4) as usize],
            least: 1 + r.below(3) as usize,
            edge: r.below(2) == 0,
        }
    }

    fn counts(&self, e: &Ev) -> bool {
        e.kind == self.kind && e.level >= self.level
    }
}

impl Spec for Window {
    fn rulebook(&self) -> String {
        let Self { kind, level, within, least, .. } = self;
        let (word, of) =
            if self.distinct { ("distinct", "of: credential, ") } else { ("count", "") };
        let emit = if self.edge { "edge" } else { "each" };
        format!(
            "\nrules: [{{id: r, on: {}, if: e.level >= {level}, emit: {emit}, {word}: {{{of}by: door, within: {}ms, at_least: {least}}}}}]\n",
            KINDS[*kind],
            within * 100
        )
    }

    fn expected(&self, history: &[Ev]) -> Vec<Found> {
        let mut found = Vec::new();
        // An edge is judged at each event of the rule's kind, whether it counts or not.
        let mut above: BTreeSet<u64> = BTreeSet::new();
        for (place, e) in history.iter().enumerate().filter(|(_, e)| e.kind == self.kind) {
            let window: Vec<&Ev> = history[..=place]
                .iter()
                .filter(|o| self.counts(o) && o.door == e.door && e.at - o.at < self.within)
                .collect();
            let badges: BTreeSet<u64> = window.iter().map(|o| o.badge).collect();
            let n = if self.distinct { badges.len() } else { window.len() };
            let holds = self.counts(e) && n >= self.least;
            let rises = holds && above.insert(e.door);
            if !holds {
                above.remove(&e.door);
            }
            if rises || holds && !self.edge {
                found.push((e.at, told(history, window.iter().map(|o| o.id), e.id)));
            }
        }
        found
    }
}

#[test]
fn count() {
    agrees("count", |r| Window::make(r, false));
}

#[test]
fn distinct() {
    agrees("distinct", |r| Window::make(r, true));
}
