//! `sequence`: each run is followed alone, event by event, over the whole history.

use std::fmt::Write;

use super::{Ev, Found, KINDS, Spec, agrees, told};
use crate::script::Random;

#[derive(Clone, Debug)]
struct Part {
    kind: usize,
    level: i64,
    /// At least the level of the first step's event.
    above_first: bool,
    absent: Option<i64>,
}

#[derive(Clone, Debug)]
struct Step {
    parts: Vec<Part>,
    any: bool,
    least: usize,
    most: usize,
    without: Option<Part>,
}

#[derive(Clone, Debug)]
struct Sequence {
    lead: Option<Part>,
    steps: Vec<Step>,
    within: i64,
    without: Option<usize>,
    strict: Vec<usize>,
    runs: &'static str,
    past_last: bool,
}

fn kind(r: &mut Random) -> usize {
    r.below(6) as usize
}

fn part(r: &mut Random) -> Part {
    let level = [0, 0, 1, 2][r.below(4) as usize];
    Part { kind: kind(r), level, above_first: r.below(6) == 0, absent: None }
}

fn absent(r: &mut Random) -> Part {
    Part { absent: Some([20, 50, 100][r.below(3) as usize]), ..part(r) }
}

impl Sequence {
    fn make(r: &mut Random) -> Self {
        let number = 1 + r.below(4) as usize;
        let mut steps: Vec<Step> = Vec::new();
        for place in 0..number {
            let (first, last) = (place == 0, place + 1 == number);
            let without = (!first && r.below(6) == 0).then(|| part(r));
            let mut step = Step { parts: vec![part(r)], any: false, least: 1, most: 1, without };
            match r.below(10) {
                0 | 1 if !first && !last => (step.least, step.most) = (0, 1 + r.below(3) as usize),
                2 | 3 if last => (step.least, step.most) = (2, 2),
                2 | 3 => (step.least, step.most) = (1 + r.below(2) as usize, 3),
                4 | 5 => {
                    step.any = r.below(2) == 0;
                    step.parts.push(part(r));
                    if !first && r.below(2) == 0 {
                        step.parts[0] = absent(r);
                    }
                    if !first && r.below(3) == 0 {
                        step.parts.push(absent(r));
                    }
                }
                6 | 7 if !first => step.parts = vec![absent(r)],
                _ => {}
            }
            steps.push(step);
        }
        // What is timed follows a step that comes a fixed number of times.
        for place in 1..steps.len() {
            if steps[place].parts.iter().any(|p| p.absent.is_some()) {
                let before = &mut steps[place - 1];
                before.least = before.least.max(1);
                before.most = before.least;
            }
        }
        steps[0].parts[0].above_first = false;
        steps[0].parts.iter_mut().for_each(|p| p.above_first = false);
        // A group is no name of one event: nothing refers to its first part.
        if steps[0].parts.len() > 1 {
            let later = steps.iter_mut().flat_map(|s| s.parts.iter_mut().chain(&mut s.without));
            later.for_each(|p| p.above_first = false);
        }
        Self {
            lead: (r.below(6) == 0).then(|| Part { above_first: false, ..absent(r) }),
            steps,
            within: [50, 100, 300, 100_000][r.below(4) as usize],
            without: (r.below(6) == 0).then(|| kind(r)),
            strict: (0..r.below(3) * r.below(2)).map(|_| kind(r)).collect(),
            runs: ["each", "each", "first", "last", "once"][r.below(5) as usize],
            past_last: r.below(4) == 0,
        }
    }
}

fn written(part: &Part, name: &str, first: &str) -> String {
    let (word, own) = match (part.absent, name) {
        (Some(_), _) | (_, "") => ("not", "e"),
        _ => (name, name),
    };
    let mut text = format!("{word}: {}", KINDS[part.kind]);
    if part.above_first {
        write!(text, ", if: '{own}.level >= {first}[0].level'").expect("a String takes all");
    } else if part.level > 0 {
        write!(text, ", if: {own}.level >= {}", part.level).expect("a String takes all");
    }
    if let Some(span) = part.absent {
        write!(text, ", for: {}ms", span * 100).expect("a String takes all");
    }
    format!("{{{text}}}")
}

/// Where a run stands while it is followed.
#[derive(Clone)]
struct Stand {
    step: usize,
    met: Vec<usize>,
    barred: Vec<usize>,
    count: usize,
    entered: i64,
    events: Vec<u64>,
}

/// How a run ended, before the event at a place of the history or by it.
#[derive(Clone, Debug)]
struct End {
    /// Time, and place of the event; a deadline's place is `None` and goes before every event.
    at: i64,
    by: Option<usize>,
    matched: Option<Vec<u64>>,
}

impl Sequence {
    fn fits(&self, part: &Part, e: &Ev, first: &Ev) -> bool {
        let level = if part.above_first { first.level } else { part.level };
        e.kind == part.kind && e.level >= level
    }

    /// Moves to a step; whether there is none left.
    fn enter(&self, stand: &mut Stand, step: usize, at: i64) -> bool {
        let events = std::mem::take(&mut stand.events);
        *stand = Stand { step, met: vec![], barred: vec![], count: 0, entered: at, events };
        step == self.steps.len()
    }

    /// The next deadline of a run.
    fn deadline(&self, stand: &Stand) -> Option<i64> {
        let parts = self.steps[stand.step].parts.iter().enumerate();
        let open = parts.filter(|(n, _)| !stand.met.contains(n) && !stand.barred.contains(n));
        open.filter_map(|(_, part)| Some(stand.entered + part.absent?)).min()
    }

    fn done(&self, stand: &Stand) -> bool {
        let step = &self.steps[stand.step];
        let met = stand.met.len();
        if step.any { met > 0 } else { met == step.parts.len() }
    }

    /// Gives an event to a step: `None` where it has no use for it, else how the run goes on.
    fn give(&self, stand: &Stand, number: usize, e: &Ev, first: &Ev) -> Option<Result<Stand, End>> {
        let step = &self.steps[number];
        let mut stand = stand.clone();
        if number != stand.step {
            self.enter(&mut stand, number, e.at);
        }
        let ended = |matched| Some(Err(End { at: e.at, by: None, matched }));
        if let [part] = step.parts.as_slice()
            && part.absent.is_none()
        {
            if !self.fits(part, e, first) {
                return None;
            }
            stand.count += 1;
            stand.events.push(e.id);
            let last = number + 1 == self.steps.len();
            if stand.count >= step.most || last && stand.count >= step.least {
                let events = stand.events.clone();
                if self.enter(&mut stand, number + 1, e.at) {
                    return ended(Some(events));
                }
            }
            return Some(Ok(stand));
        }
        let mut used = false;
        let mut barred = false;
        for (n, part) in step.parts.iter().enumerate() {
            let open = !stand.met.contains(&n) && !stand.barred.contains(&n);
            if !open || !self.fits(part, e, first) {
                continue;
            }
            if part.absent.is_some() {
                stand.barred.push(n);
                barred = true;
            } else if !step.any || !used {
                stand.met.push(n);
                used = true;
            }
        }
        if stand.barred.len() == step.parts.len() || !step.any && barred {
            return ended(None);
        }
        if used {
            stand.events.push(e.id);
            if self.done(&stand) {
                let events = stand.events.clone();
                if self.enter(&mut stand, number + 1, e.at) {
                    return ended(Some(events));
                }
            }
            return Some(Ok(stand));
        }
        // Barred ways are kept, but the event is no part of the run.
        barred.then_some(Ok(stand))
    }

    /// Follows the run that the event at `start` begins. `None`: it begins none.
    fn follow(&self, history: &[Ev], start: usize) -> Option<End> {
        let first = &history[start];
        let begin = Stand {
            step: 0,
            met: vec![],
            barred: vec![],
            count: 0,
            entered: first.at,
            events: vec![],
        };
        let mut stand = match self.give(&begin, 0, first, first)? {
            Err(end) => return Some(End { by: Some(start), ..end }),
            Ok(stand) => stand,
        };
        let end_of_time = i64::MAX;
        let later =
            history.iter().enumerate().skip(start + 1).filter(|(_, e)| e.door == first.door);
        let ends = later.map(|(n, e)| (e.at, Some((n, e)))).chain([(end_of_time, None)]);
        for (now, event) in ends {
            // Absences that have lasted by now.
            while let Some(at) = self.deadline(&stand).filter(|at| *at <= now) {
                if at - first.at >= self.within {
                    return Some(End { at: first.at + self.within, by: None, matched: None });
                }
                for (n, part) in self.steps[stand.step].parts.iter().enumerate() {
                    let open = !stand.met.contains(&n) && !stand.barred.contains(&n);
                    if open && part.absent.is_some_and(|span| stand.entered + span <= at) {
                        stand.met.push(n);
                    }
                }
                if self.done(&stand) {
                    let (events, step) = (stand.events.clone(), stand.step);
                    if self.enter(&mut stand, step + 1, at) {
                        return Some(End { at, by: None, matched: Some(events) });
                    }
                }
            }
            let Some((place, e)) = event else { break };
            if e.at - first.at >= self.within {
                return Some(End { at: first.at + self.within, by: None, matched: None });
            }
            let mut reach = stand.step;
            while reach + 1 < self.steps.len() {
                let step = &self.steps[reach];
                let plain = matches!(step.parts.as_slice(), [Part { absent: None, .. }]);
                let count = if reach == stand.step { stand.count } else { 0 };
                if !plain || count < step.least {
                    break;
                }
                reach += 1;
            }
            let mut used = false;
            for number in (stand.step..=reach).rev() {
                match self.give(&stand, number, e, first) {
                    None => {}
                    Some(Err(end)) => return Some(End { by: Some(place), ..end }),
                    Some(Ok(next)) => {
                        used = next.events.len() > stand.events.len();
                        if used || number == stand.step {
                            stand = next;
                        }
                        if used {
                            break;
                        }
                    }
                }
            }
            let ends = !used
                && (self.steps[stand.step..=reach]
                    .iter()
                    .filter_map(|s| s.without.as_ref())
                    .any(|p| self.fits(p, e, first))
                    || self.without == Some(e.kind)
                    || self.strict.contains(&e.kind));
            if ends {
                return Some(End { at: e.at, by: Some(place), matched: None });
            }
        }
        None.or(Some(End { at: i64::MAX, by: None, matched: None }))
    }

    fn lead_is_absent(&self, history: &[Ev], start: usize) -> bool {
        let Some(lead) = &self.lead else { return true };
        let (e, span) = (&history[start], lead.absent.unwrap_or_default());
        let seen = history[..start].iter().filter(|o| o.door == e.door && self.fits(lead, o, o));
        e.at - history[0].at >= span && seen.map(|o| e.at - o.at).all(|age| age >= span)
    }
}

impl Spec for Sequence {
    fn rulebook(&self) -> String {
        let mut items = Vec::new();
        if let Some(lead) = &self.lead {
            items.push(written(lead, "", ""));
        }
        for (n, step) in self.steps.iter().enumerate() {
            if let Some(part) = &step.without {
                items.push(written(part, "", "s0"));
            }
            if step.parts.len() > 1 {
                let parts: Vec<String> = step
                    .parts
                    .iter()
                    .enumerate()
                    .map(|(p, part)| written(part, &format!("s{n}{}", ["", "x", "y"][p]), "s0"))
                    .collect();
                let word = if step.any { "any" } else { "all" };
                items.push(format!("{{{word}: [{}]}}", parts.join(", ")));
                continue;
            }
            let mut text = written(&step.parts[0], &format!("s{n}"), "s0");
            if (step.least, step.most) != (1, 1) {
                let times = if step.least == step.most {
                    step.least.to_string()
                } else {
                    format!("{}..{}", step.least, step.most)
                };
                text = text.replace('}', &format!(", times: {times}}}"));
            }
            items.push(text);
        }
        let mut text = format!(
            "\nrules:\n- id: r\n  by: door\n  within: {}ms\n  runs: {}\n  skip: {}\n",
            self.within * 100,
            self.runs,
            if self.past_last { "past-last" } else { "none" }
        );
        if let Some(kind) = self.without {
            writeln!(text, "  without: {}", KINDS[kind]).expect("a String takes all");
        }
        if !self.strict.is_empty() {
            let kinds: Vec<_> = self.strict.iter().map(|k| KINDS[*k]).collect();
            writeln!(text, "  strict: [{}]", kinds.join(", ")).expect("a String takes all");
        }
        text + "  sequence: [" + &items.join(", ") + "]\n"
    }

    fn expected(&self, history: &[Ev]) -> Vec<Found> {
        let mut found = Vec::new();
        for door in 0..2 {
            self.key(history, door, &mut found);
        }
        found
    }
}

impl Sequence {
    /// All runs of one key, in the order of what happens to them.
    fn key(&self, history: &[Ev], door: u64, found: &mut Vec<Found>) {
        // Runs that live, by the place of their first event.
        let mut alive: Vec<(usize, End)> = Vec::new();
        let mut matched = false;
        let places = (0..history.len()).filter(|n| history[*n].door == door);
        for place in places.chain([usize::MAX]) {
            let now = history.get(place).map_or(i64::MAX, |e| e.at);
            // Everything that ends before this event, then what it ends.
            let mut used = false;
            loop {
                let due = |end: &End| match end.by {
                    Some(by) => by <= place,
                    None => end.at <= now && end.at != i64::MAX,
                };
                let order = |(start, end): &(usize, End)| {
                    let timer = end.by.is_none();
                    let id = history[*start].id;
                    (
                        end.by.map_or(end.at, |by| history[by].at),
                        !timer,
                        end.by,
                        if timer { id } else { *start as u64 },
                    )
                };
                let next = alive.iter().filter(|(_, end)| due(end)).min_by_key(|run| order(run));
                let Some((start, end)) = next.cloned() else { break };
                alive.retain(|(other, _)| *other != start);
                if let Some(events) = end.matched {
                    let trigger = match end.by {
                        Some(by) => history[by].id,
                        None => *events.last().expect("a run has events"),
                    };
                    found.push((end.at, told(history, events, trigger)));
                    matched = true;
                    if self.past_last {
                        alive.clear();
                        used |= end.by.is_some();
                    }
                }
            }
            if place == usize::MAX || used || !self.lead_is_absent(history, place) {
                continue;
            }
            let Some(end) = self.follow(history, place) else { continue };
            match self.runs {
                "first" if !alive.is_empty() => continue,
                "once" if matched || !alive.is_empty() => continue,
                "last" => alive.clear(),
                _ => {}
            }
            if end.by == Some(place) {
                if let Some(events) = end.matched {
                    found.push((end.at, told(history, events, history[place].id)));
                    matched = true;
                }
                continue;
            }
            alive.push((place, end));
        }
    }
}

#[test]
fn sequence() {
    agrees("sequence", Sequence::make);
}
