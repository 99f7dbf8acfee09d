//! INV-RELOAD: a rule that means the same finds the same as if nothing had been reloaded; one that
//! was changed begins empty; and it is the same in any batch size, on any number of shards, with a
//! snapshot and a restore anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{EventBlock, EventTime, Interner, SourceId, TimeSpan};
use rules::engine::{
    Effect, Engine, Findings, Input, Next, Options, SourceOptions, restore_symbols,
};
use rules::plan::Plan;

use crate::script::{Random, compile, event};

const SLACK: TimeSpan = TimeSpan::from_secs(2);
const EVENTS: u64 = 900;

/// A part of the rulebook: its name, its text, another text that means something else, and the
/// parts it stands on.
struct Part {
    name: &'static str,
    text: &'static str,
    edited: &'static str,
    on: &'static [&'static str],
}

const FACTS: &[Part] = &[
    Part {
        name: "denials",
        text: "{count: AccessDenied, by: door, within: 40s}",
        edited: "{count: AccessDenied, by: door, within: 41s}",
        on: &[],
    },
    Part {
        name: "cards",
        text: "{distinct: credential, on: AccessDenied, by: door, within: 60s}",
        edited: "{distinct: credential, on: [AccessDenied, Knock], by: door, within: 60s}",
        on: &[],
    },
    Part {
        name: "inside",
        text: "{by: door, up: {on: AccessGranted}, down: {on: DoorClosed}}",
        edited: "{by: door, up: {on: AccessGranted}, down: {on: DoorOpened}}",
        on: &[],
    },
    Part {
        name: "was",
        text: "{by: door, set: {DoorOpened: \"'open'\", DoorClosed: \"'shut'\"}, ttl: 25s}",
        edited: "{by: door, set: {DoorOpened: \"'open'\", DoorClosed: \"'shut'\"}, ttl: 26s}",
        on: &[],
    },
    Part {
        name: "seen",
        text: "{by: credential, set: {AccessGranted: e.time}, ttl: 400d}",
        edited: "{by: credential, set: {AccessGranted: e.time}, ttl: 401d}",
        on: &[],
    },
    Part {
        name: "state",
        text: "{tally: was, by: {door: value}}",
        edited: "{tally: was, by: {door: value}, if: value == 'open'}",
        on: &["was"],
    },
    Part {
        name: "busy",
        text: "{count: Knock, if: denials >= 2, by: door, within: 50s}",
        edited: "{count: Knock, if: denials >= 1, by: door, within: 50s}",
        on: &["denials"],
    },
];

const RULES: &[Part] = &[
    Part {
        name: "denied",
        text: "on: AccessDenied, if: denials >= 2",
        edited: "on: AccessDenied, if: denials >= 3",
        on: &["denials"],
    },
    Part {
        name: "rising",
        text: "on: AccessDenied, by: door, if: cards >= 2, emit: edge",
        edited: "on: AccessDenied, by: door, if: cards >= 3, emit: edge",
        on: &["cards"],
    },
    Part {
        name: "seldom",
        text: "on: Knock, by: door, if: busy > 0, emit: {once: 30s}",
        edited: "on: Knock, by: door, if: busy > 0, emit: {once: 31s}",
        on: &["busy"],
    },
    Part {
        name: "full",
        text: "by: door, watch: inside, if: value >= 2, for: 5s, resolve: DoorClosed",
        edited: "by: door, watch: inside, if: value >= 1, for: 5s, resolve: DoorClosed",
        on: &["inside"],
    },
    Part {
        name: "left",
        text: "by: door, watch: was, if: value == 'open', for: 7s",
        edited: "by: door, watch: was, if: value == 'open', for: 8s",
        on: &["was"],
    },
    Part {
        name: "again",
        text: "on: AccessGranted, if: has(prev(seen)) && e.time - prev(seen) < duration('20s')",
        edited: "on: AccessGranted, if: has(prev(seen)) && e.time - prev(seen) < duration('21s')",
        on: &["seen"],
    },
    Part {
        name: "steps",
        text: "by: door, within: 40s, sequence: [{a: AccessDenied}, {b: Knock, if: b.lane == a.lane}, {c: DoorOpened}]",
        edited: "by: door, within: 40s, sequence: [{a: AccessDenied}, {b: Knock, if: b.lane != a.lane}, {c: DoorOpened}]",
        on: &[],
    },
    Part {
        name: "absent",
        text: "by: door, within: 1m, sequence: [{not: Knock, for: 4s}, {a: DoorOpened}, {not: DoorClosed, for: 6s}]",
        edited: "by: door, within: 1m, sequence: [{not: Knock, for: 5s}, {a: DoorOpened}, {not: DoorClosed, for: 6s}]",
        on: &[],
    },
    Part {
        name: "held",
        text: "on: DoorOpened, unless: [{on: DoorClosed, same: door, from: -4s, to: 15s}]",
        edited: "on: DoorOpened, unless: [{on: DoorClosed, same: door, from: -5s, to: 15s}]",
        on: &[],
    },
    Part {
        name: "cycle",
        text: "session: {open: DoorOpened, close: DoorClosed, by: door, grace: 3s, max: 1m, before: {on: AccessGranted, for: 10s}}, if: s.count(Knock) > 0 || s.count(AccessGranted) > 1",
        edited: "session: {open: DoorOpened, close: DoorClosed, by: door, grace: 3s, max: 1m, before: {on: AccessGranted, for: 10s}}, if: s.count(Knock) > 1 || s.count(AccessGranted) > 1",
        on: &[],
    },
    Part {
        name: "far",
        text: "travel: {on: AccessGranted, by: credential, place: door, min_time: 6s}",
        edited: "travel: {on: AccessGranted, by: credential, place: door, min_time: 7s}",
        on: &[],
    },
    Part {
        name: "often",
        text: "on: {detection: [denied, held]}, count: {by: door, within: 90s, at_least: 3}, emit: edge",
        edited: "on: {detection: [denied, held]}, count: {by: door, within: 90s, at_least: 2}, emit: edge",
        on: &["denied", "held"],
    },
    // These share their windows, each for doors of its own.
    Part {
        name: "listed",
        text: "on: AccessDenied, if: \"e.door in ['d0-0', 'd1-0', 'd2-0']\", count: {by: door, within: 30s, at_least: 2}",
        edited: "on: AccessDenied, if: \"e.door in ['d0-0', 'd1-0', 'd2-0']\", count: {by: door, within: 31s, at_least: 2}",
        on: &[],
    },
    Part {
        name: "listed-too",
        text: "on: AccessDenied, if: \"e.door in ['d1-0', 'd1-1', 'd2-1']\", count: {by: door, within: 30s, at_least: 3}, emit: edge",
        edited: "on: AccessDenied, if: \"e.door in ['d0-1', 'd1-1']\", count: {by: door, within: 32s, at_least: 3}, emit: edge",
        on: &[],
    },
    Part {
        name: "listed-cards",
        text: "on: AccessDenied, if: \"e.door == 'd0-0'\", distinct: {of: credential, by: door, within: 40s, at_least: 2}",
        edited: "on: AccessDenied, if: \"e.door == 'd0-0'\", distinct: {of: credential, by: door, within: 41s, at_least: 2}",
        on: &[],
    },
    Part {
        name: "listed-cards-too",
        text: "on: AccessDenied, if: \"e.door in ['d1-1', 'd2-1']\", distinct: {of: credential, by: door, within: 40s, at_least: 2}",
        edited: "on: AccessDenied, if: \"e.door in ['d1-1', 'd2-1']\", distinct: {of: credential, by: door, within: 42s, at_least: 2}",
        on: &[],
    },
    Part {
        name: "twice",
        text: "scope: enterprise, by: credential, within: 30s, sequence: [{a: AccessGranted}, {b: AccessGranted, if: b.lane != a.lane}]",
        edited: "scope: enterprise, by: credential, within: 30s, sequence: [{a: AccessGranted}, {b: AccessGranted, if: b.lane == a.lane}]",
        on: &[],
    },
    Part {
        name: "everywhere",
        text: "scope: enterprise, on: {detection: far}, count: {by: credential, within: 2m, at_least: 2}",
        edited: "scope: enterprise, on: {detection: far}, count: {by: credential, within: 2m, at_least: 3}",
        on: &["far"],
    },
];

/// A rulebook of these facts and rules, in this order.
fn book(head: &str, facts: &[(&str, &str)], rules: &[(&str, &str)]) -> String {
    let mut text = format!("{head}\nfacts:\n");
    facts.iter().for_each(|(name, body)| text += &format!("  {name}: {body}\n"));
    text += "rules:\n";
    rules.iter().for_each(|(id, body)| text += &format!("- {{id: {id}, {body}}}\n"));
    text + "incidents: {by: [door, credential], gap: 60s, links: [{between: [[denied], [held]], within: 90s}]}\n"
}

const HEAD: &str = "kinds: [Knock, Other]\nfields: {spare: int, lane: string}";
/// The same names in another order, and new ones before them.
const HEAD_MOVED: &str =
    "kinds: [Fresh, Other, Knock]\nfields: {fresh: float, spare: int, lane: string}";

fn first() -> String {
    let all = |parts: &[Part]| -> Vec<_> { parts.iter().map(|p| (p.name, p.text)).collect() };
    book(HEAD, &all(FACTS), &all(RULES))
}

fn shuffle<T>(r: &mut Random, items: &mut [T]) {
    for place in (1..items.len()).rev() {
        items.swap(place, r.below(place as u64 + 1) as usize);
    }
}

/// The rulebook with some parts edited, some rules gone, one new, in another order; and the rules
/// that nothing they stand on was changed of.
fn edited(r: &mut Random) -> (String, BTreeSet<&'static str>) {
    let mut changed = BTreeSet::new();
    let mut pick = |r: &mut Random, part: &Part| {
        let edit = r.below(5) == 0;
        if edit {
            changed.insert(part.name);
        }
        (part.name, if edit { part.edited } else { part.text })
    };
    let mut facts: Vec<_> = FACTS.iter().map(|part| pick(r, part)).collect();
    let mut rules: Vec<_> = RULES.iter().map(|part| pick(r, part)).collect();
    let gone = rules[r.below(rules.len() as u64) as usize].0;
    // What others hear, or are linked with, cannot go alone.
    if !["denied", "held", "far"].contains(&gone) {
        rules.retain(|(id, _)| *id != gone);
        changed.insert(gone);
    }
    rules.push(("new", "on: Knock, if: denials >= 1"));
    shuffle(r, &mut facts);
    // A tally stands behind its fact.
    facts.sort_by_key(|(name, _)| *name == "state");
    shuffle(r, &mut rules);
    let mut same: BTreeSet<&str> = RULES.iter().map(|p| p.name).collect();
    for _ in 0..3 {
        for part in FACTS.iter().chain(RULES) {
            if part.on.iter().any(|on| changed.contains(on)) {
                changed.insert(part.name);
            }
        }
    }
    same.retain(|name| !changed.contains(name));
    (book(HEAD_MOVED, &facts, &rules), same)
}

fn history(seed: u64) -> Vec<String> {
    let mut r = Random(seed);
    let kinds = ["AccessDenied", "AccessGranted", "DoorOpened", "DoorClosed", "Knock"];
    let mut at = 1_000_000;
    let line = |_| {
        at += [0, 0, 1, 1, 2, 5][r.below(6) as usize];
        let site = r.below(3);
        let early = at as f64 - r.below(19) as f64 / 10.0;
        format!(
            "{early} {} site=s{site} door=d{site}-{} credential=c{} lane=l{}",
            kinds[r.below(5) as usize],
            r.below(2),
            r.below(4),
            r.below(2)
        )
    };
    (0..EVENTS).map(line).collect()
}

#[derive(Clone, Copy)]
struct Way {
    batch: usize,
    shards: usize,
    restore_every: usize,
}

const PLAIN: Way = Way { batch: 30, shards: 1, restore_every: usize::MAX };

/// What one run found: all of it, and the time at which the rulebook took over.
struct Run {
    /// By site, in order, in words.
    lines: BTreeMap<String, Vec<String>>,
    /// By rule: each detection with its key, time and evidence.
    detections: BTreeMap<String, BTreeSet<String>>,
    /// Evidence of each rule's detections after the take-over: the oldest.
    oldest: BTreeMap<String, u64>,
    taken_over: EventTime,
}

struct Bench {
    interner: Arc<Interner>,
    plan: Arc<Plan>,
    engine: Engine,
    run: Run,
    reloaded: bool,
}

fn options(shards: usize) -> Options {
    Options { shards, sources: vec![SourceOptions { slack: SLACK }], ..Options::default() }
}

impl Bench {
    fn collect(&mut self, out: &mut Findings) {
        let text = |s| self.interner.text(s).to_owned();
        for f in out.iter() {
            let evidence: Vec<u64> = out.evidence(f).iter().map(|e| e.position.0).collect();
            let key: Vec<String> = f.key.iter().map(|k| text(*k)).collect();
            let rule = self.plan.rules.get(f.rule.0 as usize).map_or("", |r| r.id.as_str());
            let detection = format!("{} {} {key:?} {evidence:?}", f.id, f.at);
            let line = format!("{} {rule} {detection} {:?}", f.seq, f.effect);
            self.run.lines.entry(text(f.site)).or_default().push(line);
            if matches!(f.effect, Effect::Linked(..) | Effect::Cleared(_)) {
                continue;
            }
            self.run.detections.entry(rule.to_owned()).or_default().insert(detection);
            if self.reloaded {
                let oldest = evidence.into_iter().min().unwrap_or(u64::MAX);
                let known = self.run.oldest.entry(rule.to_owned()).or_insert(u64::MAX);
                *known = oldest.min(*known);
            }
        }
        out.clear();
    }

    fn restore(&mut self, book: &str, shards: usize) {
        let mut bytes = Vec::new();
        self.engine.snapshot(&mut bytes, true);
        self.interner = Interner::shared();
        restore_symbols(&bytes, &self.interner).expect("symbols");
        self.plan = compile(book, &self.interner);
        let (plan, interner) = (self.plan.clone(), self.interner.clone());
        self.engine = Engine::restore(plan, interner, options(shards), &[&bytes]).expect("restore");
    }

    fn feed(&mut self, lines: &[String], from: usize, out: &mut Findings) {
        let mut block = EventBlock::new(&self.plan.vocabulary);
        for (number, line) in lines.iter().enumerate() {
            let number = (from + number) as u64;
            event(&mut block, &self.plan.vocabulary, &self.interner, number, line);
        }
        self.engine.feed(Input::Events(&block), out);
        self.collect(out);
    }
}

/// Runs a history; before event `at` another rulebook takes over.
fn run(history: &[String], first: &str, reload: Option<(usize, &str)>, way: Way) -> Run {
    let interner = Interner::shared();
    let plan = compile(first, &interner);
    let engine = Engine::new(plan.clone(), interner.clone(), options(way.shards));
    let run = Run {
        lines: BTreeMap::new(),
        detections: BTreeMap::new(),
        oldest: BTreeMap::new(),
        taken_over: EventTime::MIN,
    };
    let mut bench = Bench { interner, plan, engine, run, reloaded: false };
    let mut out = Findings::default();
    let (at, second) = reload.unwrap_or((history.len(), first));
    let (mut fed, mut number) = (0, 0);
    while fed < history.len() {
        let end = if fed < at { at } else { history.len() };
        let batch = &history[fed..end.min(fed.saturating_add(way.batch))];
        bench.feed(batch, fed, &mut out);
        fed += batch.len();
        number += 1;
        if fed == at && reload.is_some() {
            bench.plan = compile(second, &bench.interner);
            bench.run.taken_over = bench.engine.watermark();
            bench.reloaded = true;
            let next = Next {
                plan: bench.plan.clone(),
                options: options(way.shards),
                sources: vec![Some(SourceId(0))],
            };
            bench.engine.reload(next, &mut out);
            bench.collect(&mut out);
        }
        if number % way.restore_every == 0 {
            bench.restore(if bench.reloaded { second } else { first }, way.shards);
        }
    }
    bench.engine.feed(Input::EndOfInput, &mut out);
    bench.collect(&mut out);
    let books = &bench.engine.books()[0];
    assert_eq!((books.imbalance().1, books.waiting, books.events), (0, 0, EVENTS), "INV-BOOKS");
    bench.run
}

#[test]
fn a_rule_that_means_the_same_finds_the_same() {
    let mut seen = BTreeMap::<&str, usize>::new();
    for seed in 1..=30 {
        let mut r = Random(seed);
        let (second, same) = edited(&mut r);
        let at = 100 + r.below(EVENTS - 200) as usize;
        println!("seed {seed}, before event {at}: {same:?}");
        let history = history(seed);
        let undisturbed = run(&history, &first(), None, PLAIN);
        let reloaded = run(&history, &first(), Some((at, &second)), PLAIN);
        for rule in &same {
            let expected = undisturbed.detections.get(*rule).cloned().unwrap_or_default();
            let found = reloaded.detections.get(*rule).cloned().unwrap_or_default();
            *seen.entry(*rule).or_default() += expected.len();
            assert_eq!(found, expected, "seed {seed}, {rule}");
        }
    }
    for part in RULES {
        assert!(seen[part.name] > 5, "{} found next to nothing: {seen:?}", part.name);
    }
}

#[test]
fn a_rule_that_was_changed_stands_on_nothing_from_before() {
    let mut found = 0;
    for seed in 1..=6 {
        println!("seed {seed}");
        let history = history(seed);
        let at = 450;
        // What hears detections counts from the take-over on; those may cite what was before.
        for part in RULES.iter().filter(|part| !part.text.contains("detection")) {
            let text = |p: &Part| if p.name == part.name { p.edited } else { p.text };
            let facts: Vec<_> = FACTS.iter().map(|p| (p.name, p.edited)).collect();
            let rules: Vec<_> = RULES.iter().map(|p| (p.name, text(p))).collect();
            let second = book(HEAD, &facts, &rules);
            let reloaded = run(&history, &first(), Some((at, &second)), PLAIN);
            let Some(oldest) = reloaded.oldest.get(part.name).filter(|o| **o != u64::MAX) else {
                continue;
            };
            found += 1;
            let line = &history[*oldest as usize - 1];
            let occurred: f64 =
                line.split(' ').next().and_then(|t| t.parse().ok()).expect("a time");
            let occurred = EventTime((occurred * 1e6) as i64);
            assert!(occurred >= reloaded.taken_over, "seed {seed}, {} cites {line}", part.name);
        }
    }
    assert!(found > 50, "{found}");
}

#[test]
fn a_take_over_is_the_same_in_any_way() {
    for seed in [1, 2] {
        println!("seed {seed}");
        let mut r = Random(seed);
        let (second, _) = edited(&mut r);
        let (history, reload) = (history(seed), Some((400, second.as_str())));
        let expected = run(&history, &first(), reload, PLAIN);
        assert!(expected.lines.contains_key(""), "the enterprise has findings");
        for way in [
            Way { batch: 1, ..PLAIN },
            Way { batch: 7, shards: 3, restore_every: 1 },
            Way { batch: usize::MAX, shards: 8, restore_every: 1 },
            Way { batch: 50, restore_every: 3, ..PLAIN },
        ] {
            let got = run(&history, &first(), reload, way);
            for (site, lines) in &expected.lines {
                let other = got.lines.get(site).cloned().unwrap_or_default();
                for (a, b) in lines.iter().zip(&other) {
                    assert_eq!(a, b, "seed {seed}, site {site:?}, batch {}", way.batch);
                }
                assert_eq!(lines.len(), other.len(), "seed {seed}, site {site:?}");
            }
        }
    }
}

#[test]
fn the_same_rules_again_change_nothing_at_all() {
    for seed in [5] {
        println!("seed {seed}");
        let (history, again) = (history(seed), format!("# said again\n{}", first()));
        let expected = run(&history, &first(), None, PLAIN).lines;
        for at in [1, 333, 899] {
            assert_eq!(run(&history, &first(), Some((at, &again)), PLAIN).lines, expected, "{at}");
        }
    }
}

/// One event after another under a rulebook, then under another; what is found behind the
/// take-over, with the rules that are blind there.
fn over(first: &str, before: &[&str], second: &str, after: &[&str]) -> (Vec<String>, Vec<String>) {
    let interner = Interner::shared();
    let options =
        || Options { sources: vec![SourceOptions { slack: TimeSpan::ZERO }], ..Options::default() };
    let mut plan = compile(first, &interner);
    let mut engine = Engine::new(plan.clone(), interner.clone(), options());
    let mut out = Findings::default();
    let feed = |engine: &mut Engine, plan: &Plan, out: &mut Findings, from, lines: &[&str]| {
        for (number, line) in lines.iter().enumerate() {
            let mut block = EventBlock::new(&plan.vocabulary);
            event(&mut block, &plan.vocabulary, &interner, (from + number) as u64, line);
            engine.feed(Input::Events(&block), out);
        }
    };
    feed(&mut engine, &plan, &mut out, 0, before);
    out.clear();
    plan = compile(second, &interner);
    let next = Next { plan: plan.clone(), options: options(), sources: vec![Some(SourceId(0))] };
    engine.reload(next, &mut out);
    let blind = engine.blind().map(|(rule, until)| {
        let until = if until == EventTime::MAX { -1 } else { until.0 / 1_000_000 };
        format!("{} {until}", plan.rules[rule.0 as usize].id)
    });
    let blind = blind.collect();
    feed(&mut engine, &plan, &mut out, before.len(), after);
    engine.feed(Input::EndOfInput, &mut out);
    let lines = out.iter().map(|f| {
        let rule = plan.rules.get(f.rule.0 as usize).map_or("", |rule| rule.id.as_str());
        let what = match f.effect {
            Effect::Opened => "opens",
            Effect::Joined(_) => "joins",
            Effect::Cleared(_) => "clears",
            Effect::Linked(..) => "links",
            Effect::Shadowed => "shadow",
            Effect::Suppressed(..) => "suppressed",
            Effect::Escalated(..) => "escalated",
            Effect::Stale(_) => "stale",
            Effect::Acted(..) | Effect::Unshelved(_) | Effect::Shelf(..) | Effect::ShelfEnded => {
                "acted"
            }
        };
        let key: Vec<_> = f.key.iter().filter_map(|k| k.some()).map(|k| interner.text(k)).collect();
        let line = format!("{} {rule} {} {what}", f.at.0 as f64 / 1e6, key.join("/"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    });
    (lines.collect(), blind)
}

const OPEN: &str = "facts:\n  open: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false}\nrules:\n";

#[test]
fn a_level_whose_rule_goes_is_cleared_and_one_that_holds_as_its_rule_begins_has_risen() {
    let kept = "- {id: k, by: door, watch: open, if: value, resolve: DoorClosed}\n";
    let goes =
        "- {id: g, by: door, watch: open, if: value, resolve: DoorClosed, group: {by: [rule]}}\n";
    let lasts = "- {id: n, by: door, watch: open, if: value, for: 30s}\n";
    let before = ["10 DoorOpened door=a area=A", "20 Tamper"];
    let after = ["25 DoorClosed door=a area=A"];
    let (found, blind) =
        over(&format!("{OPEN}{kept}{goes}"), &before, &format!("{OPEN}{lasts}{kept}"), &after);
    assert_eq!(found, ["20 clears", "25 clears"], "the one that goes, then the one that fell");
    assert_eq!(blind, Vec::<String>::new(), "a level is known as its rule begins");
    // It lasts from the take-over on, and has no event to cite.
    let (found, _) = over(OPEN, &before, &format!("{OPEN}{lasts}"), &[]);
    assert_eq!(found, ["50 n a opens"]);
}

#[test]
fn a_rule_says_until_when_it_is_blind() {
    let first = "facts:\n  n: {count: AccessDenied, by: door, within: 60s}\nrules:\n- {id: same, on: Tamper, by: door, if: n > 0}\n";
    let second = "facts:\n  n: {count: AccessDenied, by: door, within: 60s}\n  m: {count: Tamper, by: door, within: 5m}\n  last: {by: door, set: {Tamper: e.time}}\nrules:\n- {id: same, on: Tamper, by: door, if: n > 0}\n- {id: window, on: Tamper, by: door, if: m > n}\n- {id: ever, on: Tamper, by: door, if: has(prev(last))}\n- {id: alone, on: Tamper}\n- {id: hears, on: {detection: window}, count: {by: door, within: 60s, at_least: 2}}\n- {id: steps, by: door, within: 90s, sequence: [{a: Tamper}, {b: Tamper}]}\n";
    let (_, blind) = over(first, &["100 AccessDenied door=a", "101 Tamper"], second, &[]);
    assert_eq!(blind, ["window 401", "ever -1", "hears 461", "steps 191"]);
}

#[test]
fn a_shared_window_goes_on_for_whom_it_was_kept() {
    let rule = |id: &str, doors: &str, more: &str| {
        format!(
            "- {{id: {id}, on: Tamper, if: \"e.door in [{doors}]\", count: {{by: door, within: 60s, {more}}}}}\n"
        )
    };
    let two = "at_least: 2";
    let first = format!("rules:\n{}{}", rule("a", "'x'", two), rule("b", "'y', 'z'", two));
    let (a, c) = (rule("a", "'x'", two), rule("c", "'w', 'v'", two));
    // Whom no rule asks for any more, its window is not kept; who was asked for, is known.
    let second = format!("rules:\n{c}{a}{}", rule("d", "'y'", "at_least: 3"));
    let before =
        ["1 Tamper door=x", "2 Tamper door=y", "3 Tamper door=z", "4 Tamper door=w", "5 Tamper"];
    let after = ["6 Tamper door=x", "7 Tamper door=w", "8 Tamper door=y", "9 Tamper door=y"];
    let (found, blind) = over(&first, &before, &second, &after);
    assert_eq!(found, ["6 a x opens", "9 d y opens"]);
    assert_eq!(blind, ["c 65"]);
    let third = format!("rules:\n{}", rule("e", "'z', 'w'", two));
    let after = ["6 Tamper door=z", "7 Tamper door=w", "8 Tamper door=w"];
    let (found, blind) = over(&first, &before, &third, &after);
    assert_eq!(found, ["6 e z opens", "8 e w opens"]);
    assert_eq!(blind, ["e 65"]);
}

#[test]
fn incidents_stay_open_and_rules_keep_their_keys_under_other_numbers() {
    let by_rule = "group: {by: [rule], gap: 1h}";
    let first = format!(
        "rules:\n- {{id: a, on: Loitering, by: door, {by_rule}}}\n- {{id: b, on: Tamper, by: door, {by_rule}}}\n"
    );
    let second = format!(
        "rules:\n- {{id: z, on: Fire}}\n- {{id: b, on: Tamper, by: door, severity: critical, {by_rule}}}\n- {{id: a, on: Loitering, by: door, {by_rule}}}\n"
    );
    let before = ["1 Loitering door=x", "2 Tamper door=x", "3 Heartbeat"];
    let after = ["4 Tamper door=x", "5 Loitering door=x", "6 Loitering door=y"];
    let (found, blind) = over(&first, &before, &second, &after);
    assert_eq!(found, ["4 b x joins", "5 a x joins", "6 a y opens"]);
    assert_eq!(blind, Vec::<String>::new());
}

#[test]
fn what_a_new_tally_counts_was_there_before_it() {
    let fact = "facts:\n  place: {by: person, set: {AccessTaken: e.area}, ttl: 60s}\n";
    let tally = "  inside: {tally: place, by: {area: value}}\nrules:\n- {id: two, on: Panic, if: \"inside['A'] == 2\"}\n";
    let before = [
        "10 AccessTaken person=p area=A",
        "20 AccessTaken person=q area=A",
        "25 AccessTaken person=r area=B",
    ];
    let after = [
        "30 Panic",
        "31 AccessTaken person=r area=A",
        "32 Panic",
        // The first is forgotten a minute after it came, though nobody had to know before.
        "71 Panic",
        "72 AccessTaken person=s area=A",
        "81 Panic",
    ];
    let (found, _) = over(fact, &before, &format!("{fact}{tally}"), &after);
    assert_eq!(found, ["30 two opens", "71 two opens", "81 two opens"]);
}
