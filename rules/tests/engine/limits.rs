//! INV-BOUND: what a fact, a rule and a site may hold; which goes, how it is counted and told.

use std::fmt::Write;
use std::sync::Arc;

use event::{EventBlock, Interner, TimeSpan};
use rules::engine::{
    Effect, Engine, Evicted, Findings, Input, Next, Options, SourceOptions, Usage, restore_symbols,
};
use rules::plan::Plan;

use crate::script::{Random, compile, event};

struct Bench<'a> {
    rulebook: &'a str,
    interner: Arc<Interner>,
    plan: Arc<Plan>,
    options: Options,
    engine: Engine,
    found: Vec<String>,
    events: u64,
}

fn options() -> Options {
    let slack = TimeSpan::ZERO;
    Options { sources: vec![SourceOptions { slack }], ..Options::default() }
}

impl<'a> Bench<'a> {
    fn new(rulebook: &'a str, options: Options) -> Self {
        let interner = Interner::shared();
        let plan = compile(rulebook, &interner);
        let engine = Engine::new(plan.clone(), interner.clone(), options.clone());
        Self { rulebook, interner, plan, options, engine, found: Vec::new(), events: 0 }
    }

    fn feed(&mut self, lines: &[String]) {
        let mut block = EventBlock::new(&self.plan.vocabulary);
        for line in lines {
            self.events += 1;
            event(&mut block, &self.plan.vocabulary, &self.interner, self.events, line);
        }
        let mut findings = Findings::default();
        self.engine.feed(Input::Events(&block), &mut findings);
        self.take(&findings);
    }

    fn end(&mut self) {
        let mut findings = Findings::default();
        self.engine.feed(Input::EndOfInput, &mut findings);
        self.take(&findings);
    }

    fn take(&mut self, findings: &Findings) {
        for f in findings.iter() {
            let key: Vec<_> =
                f.key.iter().filter_map(|k| k.some()).map(|k| self.interner.text(k)).collect();
            let (at, site) = (f.at.0 as f64 / 1e6, self.interner.text(f.site));
            let line = match f.effect {
                Effect::Cleared(_) => format!("{at} clears"),
                Effect::Linked(..) => continue,
                _ => {
                    let rule = &self.plan.rules[f.rule.0 as usize].id;
                    format!("{at} {rule} {}", key.join("/"))
                }
            };
            self.found.push(if site == "S" { line } else { format!("{site} {line}") });
        }
    }

    /// Saves the state, and goes on with what was saved.
    fn restart(&mut self) {
        let mut bytes = Vec::new();
        self.engine.snapshot(&mut bytes, true);
        self.interner = Interner::shared();
        restore_symbols(&bytes, &self.interner).expect("symbols");
        self.plan = compile(self.rulebook, &self.interner);
        let (plan, interner) = (self.plan.clone(), self.interner.clone());
        self.engine =
            Engine::restore(plan, interner, self.options.clone(), &[&bytes]).expect("restore");
    }

    fn usage(&self, name: &str) -> Usage {
        let facts = self.plan.facts.iter().map(|f| &f.name);
        let names = facts.chain(self.plan.rules.iter().map(|r| &r.id));
        let place = names.into_iter().position(|n| n == name);
        self.engine.usage()[place.unwrap_or_else(|| panic!("{name}"))]
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

fn run<'a>(rulebook: &'a str, script: &str) -> Bench<'a> {
    let mut bench = Bench::new(rulebook, options());
    for line in lines(script) {
        bench.feed(&[line]);
    }
    bench.end();
    bench
}

#[test]
fn the_oldest_key_goes_and_one_in_use_is_spared() {
    let rulebook = "
facts:
  tries: {count: AccessDenied, by: credential, within: 1h, limits: {keys: 3}}
rules:
- {id: third, on: AccessDenied, if: tries >= 3}
- {id: blind, on: LimitReached, by: rule}
";
    // A has tried twice when D comes as the fourth: B, which tried once, goes, and not A.
    let bench = run(
        rulebook,
        "1 AccessDenied credential=A
         2 AccessDenied credential=B
         3 AccessDenied credential=A
         4 AccessDenied credential=C
         5 AccessDenied credential=D
         6 AccessDenied credential=A
         7 AccessDenied credential=B
         8 AccessDenied credential=B",
    );
    assert_eq!(bench.found, ["5 blind tries", "6 third A"]);
    let usage = bench.usage("tries");
    // B for D, then C, the oldest unused, for B.
    assert_eq!((usage.given_up.keys, usage.given_up.events, usage.keys), (2, 2, 3));
    // Who wants three is asked of the third alone.
    assert_eq!((usage.looked, bench.usage("third").evaluated), (8, 1));
    assert_eq!(bench.engine.evicted(), Evicted { keys: 2, events: 2, ..Evicted::default() });
}

#[test]
fn of_too_many_incidents_the_quietest_is_let_go() {
    let rulebook = "
rules:
- {id: denied, on: AccessDenied, by: door, group: {by: [door], gap: 1h}}
incidents: {stale: never}
";
    let script = "1 AccessDenied door=A
         2 AccessDenied door=B
         3 AccessDenied door=A
         4 AccessDenied door=C
         5 AccessDenied door=A
         6 AccessDenied door=B";
    let opened = |most, events| {
        let mut bench = Bench::new(rulebook, Options { open_max: [most, 9], ..options() });
        for line in lines(script).into_iter().take(events) {
            bench.feed(&[line]);
            bench.restart();
        }
        bench.end();
        (bench.usage("denied").incidents, bench.engine.evicted().incidents)
    };
    assert_eq!(opened(9, 6), (3, 0));
    // B was quiet for longest when C opens: A still takes its own, and B opens again.
    assert_eq!(opened(2, 5), (3, 1));
    assert_eq!(opened(2, 6), (4, 2));
}

#[test]
fn what_finds_no_room_to_be_held_back_is_told_at_once() {
    let rulebook = "
facts:
  fire: {by: site, set: {Fire: true}}
rules:
- {id: forced, on: DoorForcedOpen, by: door}
inhibit:
- {id: fire, while: fire, hold: 5s, targets: [forced]}
";
    let script = "1 DoorForcedOpen door=A
         2 DoorForcedOpen door=B
         3 Fire";
    let told = |most| {
        let mut bench = Bench::new(rulebook, Options { open_max: [9, most], ..options() });
        lines(script).iter().for_each(|line| bench.feed(std::slice::from_ref(line)));
        bench.end();
        let usage = bench.usage("forced");
        (usage.incidents, usage.suppressed, bench.engine.evicted().held)
    };
    // Both wait, and the fire holds both back; with room for one, the other was told before.
    assert_eq!(told(9), (0, 2, 0));
    assert_eq!(told(1), (1, 1, 1));
}

#[test]
fn a_counted_value_goes_with_its_key() {
    let rulebook = "
facts:
  cards: {distinct: credential, on: AccessDenied, by: door, within: 1h, limits: {keys: 4}}
rules:
- {id: three, on: AccessDenied, if: cards >= 3}
";
    // A key and its values are cells: D1 with two values, D2 with one are five.
    let bench = run(
        rulebook,
        "1 AccessDenied door=D1 credential=A
         2 AccessDenied door=D1 credential=B
         3 AccessDenied door=D2 credential=A
         4 AccessDenied door=D2 credential=B
         5 AccessDenied door=D2 credential=C",
    );
    assert_eq!(bench.found, ["5 three D2"], "D1 has gone as a whole");
    let usage = bench.usage("cards");
    assert_eq!((usage.given_up.keys, usage.given_up.events), (3, 2));
    assert_eq!((usage.keys, usage.events), (4, 3));
}

#[test]
fn a_shared_window_is_kept_for_whom_a_rule_asks() {
    let rules = "rules:
- {id: a, on: Tamper, if: \"e.door in ['x', 'y']\", count: {by: door, within: 1m, at_least: 2}}
- {id: b, on: Tamper, if: e.door == 'z', count: {by: door, within: 1m, at_least: 3}}
- {id: c, on: Tamper, if: e.door == 'z', count: {by: door, within: 1m, at_least: 2}, mode: shadow}
";
    let bench =
        run(rules, "1 Tamper door=x\n2 Tamper door=w\n3 Tamper door=z\n4 Tamper door=z\n5 Tamper");
    assert_eq!(bench.plan.facts.len(), 1, "they share one");
    let held = bench.engine.usage()[0];
    assert_eq!((held.keys, held.events), (2, 3));
}

#[test]
fn the_oldest_run_goes() {
    let rulebook = "
rules:
- {id: forced, by: door, within: 1h, limits: {runs: 2}, sequence: [{a: AccessDenied}, {b: DoorForcedOpen}]}
- {id: held, on: DoorOpened, limits: {runs: 1}, unless: [{on: DoorClosed, same: door, to: 10s}]}
- {id: blind, on: LimitReached, why: {what: e.limit}, by: rule}
";
    let bench = run(
        rulebook,
        "1 AccessDenied door=D1
         2 AccessDenied door=D2
         3 AccessDenied door=D3
         4 DoorForcedOpen door=D1
         5 DoorForcedOpen door=D2
         6 DoorOpened door=D1
         7 DoorOpened door=D2",
    );
    assert_eq!(bench.found, ["3 blind forced", "5 forced D2", "7 blind held", "17 held D2"]);
    let (forced, held) = (bench.usage("forced"), bench.usage("held"));
    assert_eq!((forced.given_up.runs, forced.runs), (1, 1));
    assert_eq!((held.given_up.runs, held.runs), (1, 0));
}

/// Of a rule by which a key has one run at most the key is the run: it is as old as that.
#[test]
fn a_run_that_is_its_key_is_as_old_as_its_last_beginning() {
    let rulebook = "
rules:
- {id: next, by: door, within: 1h, limits: {runs: 2}, strict: AccessDenied, sequence: [{a: AccessDenied}, {b: DoorForcedOpen}]}
- {id: blind, on: LimitReached, why: {what: e.limit}, by: rule}
";
    let bench = run(
        rulebook,
        "1 AccessDenied door=D1
         2 AccessDenied door=D2
         3 AccessDenied door=D1
         4 AccessDenied door=D3
         5 DoorForcedOpen door=D1
         6 DoorForcedOpen door=D2
         7 AccessDenied door=D2",
    );
    assert_eq!(bench.found, ["4 blind next", "5 next D1"], "D2's run began first");
    let next = bench.usage("next");
    assert_eq!((next.given_up.runs, next.given_up.keys), (1, 1));
    assert_eq!((next.runs, next.keys), (2, 2));
}

#[test]
fn a_window_that_is_full_gives_up_its_own_oldest_event() {
    let rulebook = "
facts:
  tries: {count: AccessDenied, by: door, within: 1h, limits: {events: 4}}
rules:
- {id: three, on: AccessDenied, if: tries == 3}
- {id: five, on: AccessDenied, if: tries >= 6}
";
    let mut script = "1 AccessDenied door=D2\n".to_owned();
    for second in 2..20 {
        writeln!(script, "{second} AccessDenied door=D1").expect("a String takes all");
    }
    script += "20 AccessDenied door=D2\n21 AccessDenied door=D2";
    let bench = run(rulebook, &script);
    // The flood at D1 costs D1 alone: D2 is still counted right.
    assert_eq!(bench.found, ["4 three D1", "21 three D2"], "and a count goes no higher");
    let usage = bench.usage("tries");
    assert_eq!((usage.events, usage.keys), (7, 2));
    assert_eq!((usage.given_up.events, usage.given_up.keys), (14, 0));
}

#[test]
fn a_level_whose_fact_was_given_up_is_never_said_to_have_cleared() {
    let rulebook = "
facts:
  open: {by: door, set: {DoorOpened: 'true', DoorClosed: 'false'}, init: false, limits: {keys: 1}}
  open_doors: {tally: open, by: door.interlock, if: value}
rules:
- {id: ajar, watch: open, if: value, resolve: DoorClosed}
- {id: two, watch: open_doors, if: value >= 2}
";
    let bench = run(
        rulebook,
        "1 DoorOpened door=D1
         2 DoorOpened door=D2
         3 DoorClosed door=D1
         4 DoorClosed door=D2",
    );
    // D1 is not known any more at 2, nor is it when its closing is heard; D2 is given up for that.
    assert_eq!(bench.found, ["1 ajar D1", "2 ajar D2", "2 two lock"]);
    assert_eq!(bench.usage("open").given_up.keys, 3);
    assert_eq!(bench.usage("open_doors").keys, 0, "the tally follows, and does not drift");
}

#[test]
fn an_incident_with_a_lost_level_is_not_cleared_by_the_end_of_another() {
    let rulebook = |keys: u32| {
        format!(
            "facts:\n  open: {{by: door, set: {{DoorOpened: 'true', DoorClosed: 'false'}}, init: false, limits: {{keys: {keys}}}}}\n\
             rules:\n- {{id: ajar, watch: open, if: value, resolve: DoorClosed, group: {{by: [site]}}}}\n"
        )
    };
    let script = "1 DoorOpened door=D1\n2 DoorOpened door=D2\n3 DoorClosed door=D2";
    let (lost, kept) = (rulebook(1), rulebook(2));
    assert_eq!(run(&lost, script).found, ["1 ajar D1", "2 ajar D2"], "D1 may still be open");
    let script = format!("{script}\n4 DoorClosed door=D1");
    assert_eq!(run(&kept, &script).found, ["1 ajar D1", "2 ajar D2", "4 clears"]);
}

#[test]
fn a_full_site_takes_from_whom_holds_the_most() {
    let rulebook = "
facts:
  few: {by: door, set: {AccessGranted: 'true'}}
  seen: {by: credential, set: {AccessGranted: 'true'}}
rules:
- {id: again, on: AccessDenied, if: seen && few}
";
    let max = 100;
    let mut bench = Bench::new(rulebook, Options { state_max: [max, 10, 10], ..options() });
    for n in 0..1_000 {
        bench.feed(&[format!("{n} AccessGranted credential=C{n} door=D{}", n % 3)]);
        let held: u64 = bench.engine.usage().iter().map(|u| u.keys).sum();
        assert!(held <= max as u64, "{held} keys after {n} events");
    }
    let (seen, few) = (bench.usage("seen"), bench.usage("few"));
    assert_eq!((few.keys, few.given_up.keys), (3, 0), "the small one keeps what it has");
    assert_eq!((seen.keys, seen.given_up.keys), (97, 902));
    bench.feed(&lines(
        "2000 AccessDenied credential=C999 door=D1\n2001 AccessDenied credential=C902 door=D1",
    ));
    bench.feed(&lines("2002 AccessDenied credential=C903 door=D1"));
    bench.end();
    assert_eq!(bench.found, ["2000 again C999", "2002 again C903"], "the newest are the ones kept");
}

#[test]
fn another_rulebook_with_lower_limits_gives_up_the_oldest() {
    let rulebook = |facts: &str, limits: &str| {
        format!(
            "facts:\n{facts}  seen: {{by: credential, set: {{AccessGranted: 'true'}}{limits}}}\n\
             rules:\n- {{id: again, on: AccessDenied, if: seen}}\n"
        )
    };
    let before = rulebook("", "");
    let mut bench = Bench::new(&before, options());
    for n in 0..10 {
        bench.feed(&[format!("{n} AccessGranted credential=C{n}")]);
    }
    // Another number in the plan, and less room.
    let other = "  other: {by: door, set: {DoorOpened: 'true'}}\n";
    let next = compile(&rulebook(other, ", limits: {keys: 4}"), &bench.interner);
    let mut findings = Findings::default();
    let (plan, sources) = (next.clone(), vec![Some(event::SourceId(0))]);
    bench.engine.reload(Next { plan, options: options(), sources }, &mut findings);
    bench.plan = next;
    let usage = bench.usage("seen");
    assert_eq!((usage.keys, usage.given_up.keys), (4, 5), "the last event still waits");
    bench.feed(&lines("20 AccessDenied credential=C6\n21 AccessDenied credential=C5"));
    bench.end();
    assert_eq!(bench.found, ["20 again C6"], "kept: 5 to 8, then 9 for 5");
    assert_eq!(bench.usage("seen").given_up.keys, 6);
}

#[test]
fn it_is_told_once_an_hour_for_each_rule() {
    let rulebook = "
facts:
  a: {by: credential, set: {AccessGranted: 'true'}, limits: {keys: 1}}
rules:
- {id: blind, on: LimitReached, by: rule}
";
    let script: String =
        (0..100).map(|n| format!("{} AccessGranted credential=C{n}\n", n * 60)).collect();
    let bench = run(rulebook, &script);
    assert_eq!(bench.found, ["60 blind a", "3660 blind a"]);
}

const EVERY_FORM: &str = "
facts:
  was: {by: door, set: {DoorOpened: \"'open'\", DoorClosed: \"'shut'\"}, ttl: 3m, limits: {keys: 5}}
  open: {tally: was, by: {site: value}}
  tries: {count: AccessDenied, by: credential, within: 2m, limits: {keys: 4, events: 2}}
  cards: {distinct: credential, on: AccessDenied, by: door, within: 2m, limits: {keys: 12, events: 2}}
  inside: {by: door, up: {on: AccessGranted}, down: {on: DoorClosed}, limits: {keys: 3}}
rules:
- {id: blind, on: LimitReached, by: rule}
- {id: ajar, watch: was, if: value == 'open', for: 15s, resolve: DoorClosed, limits: {keys: 3, runs: 2}}
- {id: tried, on: AccessDenied, if: tries >= 3, emit: edge, limits: {keys: 3}}
- {id: carded, on: AccessDenied, if: cards >= 3, emit: {once: 30s}, limits: {keys: 3}}
- {id: full, watch: inside, if: value >= 2}
- {id: often, on: AccessDenied, count: {by: door, within: 30s, at_least: 2}, limits: {events: 2}}
- id: cycle
  session: {open: DoorOpened, close: DoorClosed, by: door, grace: 3s, max: 1m, before: {on: AccessGranted, for: 10s}}
  if: s.count(AccessDenied) > s.count(AccessGranted) || s.orphan
  limits: {keys: 4, runs: 3, events: 3}
- {id: then, by: door, within: 40s, sequence: [{a: AccessDenied}, {not: DoorClosed, for: 5s}], limits: {runs: 4, keys: 4}}
- {id: left, on: DoorOpened, unless: [{on: DoorClosed, same: door, from: -3s, to: 20s}], limits: {runs: 3, keys: 7, events: 2}}
- {id: lead, by: door, within: 1m, sequence: [{not: DoorForcedOpen, for: 5s}, {a: AccessDenied}, {b: DoorOpened}], limits: {keys: 5}}
- {id: fast, travel: {by: credential, on: AccessGranted, place: door, min_time: 20s}, limits: {keys: 4}}
- {id: next, by: door, within: 40s, strict: AccessDenied, sequence: [{a: AccessDenied}, {b: DoorClosed}], limits: {runs: 3}}
- {id: last, by: credential, within: 40s, runs: last, sequence: [{a: AccessGranted}, {b: AccessDenied}], limits: {keys: 4}}
- {id: wide, scope: enterprise, by: credential, within: 30s, sequence: [{a: AccessGranted}, {b: AccessGranted}], limits: {runs: 3}}
";

fn history(seed: u64, n: usize) -> Vec<String> {
    let mut r = Random(seed);
    let kinds = ["AccessDenied", "AccessGranted", "DoorOpened", "DoorClosed", "DoorForcedOpen"];
    let mut at = 1_000;
    let one = |_| {
        at += r.below(3);
        let (kind, door) = (kinds[r.below(5) as usize], r.below(9));
        format!("{at} {kind} site=s{} door=D{door} credential=C{}", door % 2, r.below(9))
    };
    (0..n).map(one).collect()
}

/// Batches, shards, restarts: what is given up is a part of the meaning like anything else.
#[test]
fn what_is_given_up_is_the_same_in_any_batch_and_after_any_restart() {
    for seed in 1..=2 {
        println!("seed {seed}");
        let events = history(seed, 700);
        let small = |shards| Options { state_max: [60, 18, 50], shards, ..options() };
        let run = |batch: usize, shards: usize, restart: bool| {
            let mut bench = Bench::new(EVERY_FORM, small(shards));
            for events in events.chunks(batch) {
                bench.feed(events);
                if restart {
                    bench.restart();
                }
            }
            bench.end();
            let usage = bench.engine.usage();
            let given: Vec<_> =
                usage.iter().map(|u| (u.given_up, u.keys, u.runs, u.events)).collect();
            bench.found.sort();
            (bench.found, given, bench.engine.evicted())
        };
        let expected = run(1, 1, false);
        let Evicted { keys, runs, events, .. } = expected.2;
        assert!(keys > 150 && runs > 50 && events > 150, "{:?}", expected.2);
        assert!(expected.0.iter().any(|f| f.contains("blind cards")), "{:?}", expected.0);
        for (batch, shards, restart) in [(64, 1, false), (7, 3, false), (1, 1, true), (13, 2, true)]
        {
            let got = run(batch, shards, restart);
            for (a, b) in expected.0.iter().zip(&got.0) {
                assert_eq!(a, b, "seed {seed}, batch {batch}, restart {restart}");
            }
            assert_eq!(got, expected, "seed {seed}, batch {batch}, restart {restart}");
        }
    }
}

/// A stream that lags holds the others back: past so many that wait, the oldest go early.
#[test]
fn too_many_that_wait_go_early_whatever_the_batches() {
    let rulebook = "
rules:
- {id: forced, by: door, within: 30s, sequence: [{a: AccessDenied}, {b: DoorForcedOpen}]}
- {id: wide, scope: enterprise, by: door, within: 30s, sequence: [{a: AccessDenied}, {b: DoorForcedOpen}]}
incidents: {stale: never}
";
    let mut r = Random(5);
    let events: Vec<String> = (0..400)
        .map(|n: u64| {
            let at = 1_000 + n / 2 + r.below(9);
            let kind = ["AccessDenied", "DoorForcedOpen"][r.below(2) as usize];
            format!("{at} {kind} site=s{} door=D{}", r.below(2), r.below(5))
        })
        .collect();
    let run = |batch: usize| {
        let slack = TimeSpan::from_secs(60);
        let options =
            Options { waiting_max: 4, sources: vec![SourceOptions { slack }], ..options() };
        let mut bench = Bench::new(rulebook, options);
        events.chunks(batch).for_each(|events| bench.feed(events));
        bench.end();
        let books = bench.engine.books()[0].clone();
        assert_eq!(books.imbalance().1, 0);
        bench.found.sort();
        (bench.found, bench.engine.evicted(), books.late)
    };
    let expected = run(1);
    assert!(expected.1.early > 200 && expected.2 > 0, "{:?} {}", expected.1, expected.2);
    assert!(expected.0.len() > 50);
    for batch in [2, 33, 400] {
        assert_eq!(run(batch), expected, "batch {batch}");
    }
}

/// A level that was given up is not known any more: it rises again with the next event that finds it.
#[test]
fn a_level_that_was_given_up_rises_again() {
    let rulebook = "\
facts:
  inside: {by: zone, up: {on: AccessGranted, if: e.dir == 'in'}, down: {on: AccessGranted, if: e.dir == 'out'}}
rules:
- {id: full, watch: inside, if: value >= 2, limits: {keys: 1}}
";
    let script = "\
0 AccessGranted zone=A dir=in
1 AccessGranted zone=A dir=in
2 AccessGranted zone=B dir=in
3 AccessGranted zone=B dir=in
4 AccessGranted zone=A dir=in
5 AccessGranted zone=A dir=in
";
    let bench = run(rulebook, script);
    assert_eq!(bench.found, ["1 full A", "3 full B", "4 full A"]);
}

/// Where somebody was, and when that was last told, are two keys of one rule: the first alone is a text.
#[test]
fn travel_that_is_told_once_in_a_while_remembers_both() {
    let rulebook = "rules:
- {id: fast, travel: {by: credential, on: AccessGranted, place: door, min_time: 20s}, emit: {once: 10s}}
";
    let script = "\
0 AccessGranted door=A credential=K
1 AccessGranted door=B credential=K
2 AccessGranted door=A credential=K
13 AccessGranted door=B credential=K
14 AccessGranted door=B credential=K
";
    assert_eq!(run(rulebook, script).found, ["1 fast K", "13 fast K"]);
}

#[test]
fn keys_that_have_emptied_count_for_nothing_and_are_few() {
    let rulebook = "
rules:
- {id: twice, by: credential, within: 90h, strict: AccessGranted, runs: each,
   sequence: [{a: AccessGranted, if: a.dir == 'in'}, {b: AccessGranted, if: b.dir == 'in'}]}
- {id: forced, by: door, within: 90h, runs: each, sequence: [{a: AccessDenied}, {b: DoorForcedOpen}]}
incidents: {stale: never}
";
    let few = Options { state_max: [4, 4, 10], duplicates_max: 16, ..options() };
    let mut bench = Bench::new(rulebook, few);
    bench.feed(&lines("0 AccessGranted credential=K dir=in\n0 AccessDenied door=K"));
    let mut bytes = Vec::new();
    for n in 1..6_000 {
        if n == 3_500 {
            bench.restart();
        }
        // Most come back a while later; and find nothing of what was.
        let key = if n % 8 == 0 { n } else { n % 300 };
        let at = n * 10;
        bench.feed(&[
            format!("{at} AccessGranted credential=C{key} dir=in"),
            format!("{} AccessGranted credential=C{key} dir=out", at + 1),
            format!("{} AccessGranted credential=C{key} dir=out", at + 2),
            format!("{} AccessDenied door=D{key}", at + 3),
            format!("{} DoorForcedOpen door=D{key}", at + 4),
            format!("{} DoorForcedOpen door=D{key}", at + 5),
            format!("{} DoorOpened door=D{key}", at + 6),
        ]);
        assert_eq!(bench.found.pop(), Some(format!("{} forced D{key}", at + 4)));
        assert_eq!((bench.usage("twice").keys, bench.usage("forced").keys), (1, 1));
        if n % 1_000 == 999 {
            bytes.push(bench.engine.state_bytes());
        }
    }
    // Of a text that is known there is a byte: where its row would be.
    assert!(bytes[5] - bytes[1] < 2 * 6_000, "what stays away goes: {bytes:?}");
    let evicted = bench.engine.evicted();
    assert_eq!((evicted.keys, evicted.runs), (0, 0), "four keys are never passed");
    bench.feed(&lines(
        "90000 AccessGranted credential=K dir=in\n90001 DoorForcedOpen door=K\n90002 DoorOpened",
    ));
    assert_eq!(
        bench.found,
        ["90000 twice K", "90001 forced K"],
        "the first of all are still there"
    );
}
