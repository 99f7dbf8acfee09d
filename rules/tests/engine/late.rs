//! What comes later than the slack: tiers at their edges, what the state takes over, what a side
//! run begins with, and that none of it hangs on batches, shards or restarts.

use event::incident::Tier;
use event::{EventBlock, Interner, TimeSpan};
use rules::engine::{
    Engine, Findings, Input, LateOptions, Options, SourceOptions, restore_symbols,
};

use crate::script::{compile, event};

fn options(shards: usize) -> Options {
    let late = LateOptions {
        live: TimeSpan::from_secs(60),
        recorded: TimeSpan::from_secs(600),
        settle: TimeSpan::from_secs(5),
    };
    let sources = vec![SourceOptions { slack: TimeSpan::ZERO }];
    Options { shards, sources, late, ..Options::default() }
}

/// How it is run: so many events at once, shards, a restart after each so many blocks.
#[derive(Clone, Copy)]
struct Way {
    batch: usize,
    shards: usize,
    restore: bool,
}

const WAYS: [Way; 4] = [
    Way { batch: 1, shards: 1, restore: false },
    Way { batch: 100, shards: 1, restore: false },
    Way { batch: 3, shards: 3, restore: true },
    Way { batch: 1, shards: 8, restore: true },
];

/// What is found of a script in the order of its arrival: `TIME RULE KEY [late tier]`.
fn told(rulebook: &str, script: &str, way: Way) -> Vec<String> {
    let lines: Vec<&str> = script.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let mut interner = Interner::shared();
    let mut plan = compile(rulebook, &interner);
    let mut engine = Engine::new(plan.clone(), interner.clone(), options(way.shards));
    let (mut out, mut told) = (Findings::default(), Vec::new());
    let block = |lines: &[&str], first: usize, plan: &rules::plan::Plan, interner: &Interner| {
        let mut block = EventBlock::new(&plan.vocabulary);
        for (place, line) in lines.iter().enumerate() {
            event(&mut block, &plan.vocabulary, interner, (first + place) as u64, line);
        }
        block
    };
    for (number, chunk) in lines.chunks(way.batch).enumerate() {
        let events = block(chunk, number * way.batch, &plan, &interner);
        let mut next = 0;
        while next < events.len() {
            next = engine.feed_some(&events, next, &mut out);
            if engine.due().is_some() {
                engine.repair(&block(&lines, 0, &plan, &interner), true, &mut out);
            }
        }
        tell(&mut out, &plan, &interner, &mut told);
        if way.restore {
            let mut bytes = Vec::new();
            engine.snapshot(&mut bytes, true);
            interner = Interner::shared();
            restore_symbols(&bytes, &interner).expect("symbols");
            plan = compile(rulebook, &interner);
            let parts: [&[u8]; 1] = [&bytes];
            engine = Engine::restore(plan.clone(), interner.clone(), options(way.shards), &parts)
                .expect("a snapshot is restored");
        }
    }
    engine.feed(Input::EndOfInput, &mut out);
    if engine.due().is_some() {
        engine.repair(&block(&lines, 0, &plan, &interner), true, &mut out);
    }
    tell(&mut out, &plan, &interner, &mut told);
    let books = &engine.books()[0];
    assert_eq!(books.imbalance().1, 0, "INV-BOOKS: {books:?}");
    told
}

fn tell(out: &mut Findings, plan: &rules::plan::Plan, interner: &Interner, told: &mut Vec<String>) {
    for finding in out.iter().filter(|finding| finding.is_detection()) {
        let rule = &plan.rules[finding.rule.0 as usize].id;
        let late = finding.late.map_or(String::new(), |tier| format!(" {}", tier.as_str()));
        let key: Vec<_> =
            finding.key.iter().filter_map(|k| k.some()).map(|k| interner.text(k)).collect();
        told.push(format!("{} {rule} {}{late}", finding.at.0 as f64 / 1e6, key.join("/")));
    }
    out.clear();
}

/// The same in every way.
fn found(rulebook: &str, script: &str) -> Vec<String> {
    let first = told(rulebook, script, WAYS[0]);
    for way in &WAYS[1..] {
        assert_eq!(told(rulebook, script, *way), first, "{script}");
    }
    first
}

#[test]
fn tiers_at_their_edges() {
    let options = LateOptions::default();
    let edge = |span: TimeSpan| [options.tier(span), options.tier(TimeSpan(span.0 + 1))];
    assert_eq!(edge(options.live), [Some(Tier::Live), Some(Tier::Recorded)]);
    assert_eq!(edge(options.recorded), [Some(Tier::Recorded), None]);

    let rules =
        "rules: [{id: r, by: door, within: 5s, sequence: [{a: AccessDenied}, {b: DoorOpened}]}]";
    let late = |at: f64| {
        let opened = at + 1.0;
        let script = format!(
            "1000 Heartbeat\n{at} AccessDenied door=D1\n{opened} DoorOpened door=D1\n1006 Heartbeat"
        );
        found(rules, &script)
    };
    assert_eq!(late(939.0), ["940 r D1 live"], "exactly the tier is inside");
    assert_eq!(late(938.999), ["939.999 r D1 recorded"]);
    assert_eq!(late(400.0), ["401 r D1 recorded"]);
    assert!(late(398.999).is_empty(), "older fires nothing, one of its events being older yet");
}

#[test]
fn a_back_dated_revocation_reports_use_before_it() {
    let rules = "
facts: {revoked: {by: credential, set: {LastWill: 'true'}}}
rules: [{id: use, on: AccessGranted, by: credential, if: revoked}]";
    let script = "
        100 AccessGranted credential=C1
        110 AccessGranted credential=C2
        120 AccessGranted credential=C1
        105 LastWill credential=C1
        126 AccessGranted credential=C2
        130 AccessGranted credential=C1
        140 AccessGranted credential=C1";
    // From then on it is known, and nothing is said twice.
    assert_eq!(found(rules, script), ["120 use C1 live", "130 use C1", "140 use C1"]);
}

#[test]
fn an_older_setting_undoes_no_newer_one() {
    let rules = "
facts: {mode: {by: door, set: {DoorModeChanged: e.mode}, init: locked}}
rules: [{id: locked, on: DoorOpened, by: door, if: mode == 'locked'}]";
    let older = "
        100 DoorModeChanged door=D1 mode=unlocked
        90 DoorModeChanged door=D1 mode=locked
        110 DoorOpened door=D1
        130 DoorOpened door=D1";
    assert!(found(rules, older).is_empty());
    let newer = "
        100 DoorModeChanged door=D1 mode=unlocked
        110 DoorOpened door=D1
        105 DoorModeChanged door=D1 mode=locked
        116 Heartbeat
        120 DoorOpened door=D1";
    assert_eq!(found(rules, newer), ["110 locked D1 live", "120 locked D1"]);
}

#[test]
fn a_side_run_begins_with_what_has_stood_since_long_before() {
    let rules = "
facts: {mode: {by: door, set: {DoorModeChanged: e.mode}, init: locked}}
rules:
- {id: forced, on: DoorOpened, by: door, if: mode == 'locked', unless: [{on: AccessGranted, same: door, from: -5s, to: 2s}]}
- {id: apb, passage: {by: person, on: AccessTaken, from: \"'out'\", to: e.area, forget: 5d}}";
    // A day later: the mode of D1, and where P is, are known from before any side run.
    let script = "
        100 DoorModeChanged door=D1 mode=unlocked
        101 AccessTaken person=P area=yard
        86500 Heartbeat
        86480 DoorOpened door=D1
        86481 DoorOpened door=D2
        86482 AccessTaken person=P area=yard
        86510 Heartbeat";
    assert_eq!(found(rules, script), ["86482 apb P live", "86483 forced D2 live"]);
}

#[test]
fn a_run_that_came_late_is_completed_by_what_follows_it() {
    let rules =
        "rules: [{id: r, by: door, within: 60s, sequence: [{a: AccessDenied}, {b: DoorOpened}]}]";
    let script = "
        100 Heartbeat
        90 AccessDenied door=D1
        110 Heartbeat
        140 DoorOpened door=D1
        149 Heartbeat
        149.5 DoorOpened door=D1
        150 DoorOpened door=D1
        155 Heartbeat";
    assert_eq!(found(rules, script), ["140 r D1 live", "149.5 r D1 live"][..1]);
}

#[test]
fn what_a_rulebook_over_all_sites_hears_is_repaired_too() {
    let rules = "
rules: [{id: far, scope: enterprise, travel: {by: credential, on: AccessGranted, place: site, min_time: 60s}}]";
    let script = "
        100 AccessGranted credential=C1 site=north
        130 Heartbeat site=north
        120 AccessGranted credential=C1 site=south
        200 Heartbeat site=north";
    assert_eq!(found(rules, script), ["120 far C1 live"]);
}

#[test]
fn what_counts_since_ever_is_left_alone() {
    let rules = "
facts: {balance: {by: area, up: {on: AccessGranted}, down: {on: AccessDenied}}}
rules: [{id: full, by: area, watch: balance, if: value >= 2}]";
    let script = "
        100 AccessGranted area=A
        110 Heartbeat
        105 AccessGranted area=A
        120 Heartbeat";
    assert!(found(rules, script).is_empty());
}

#[test]
fn what_is_gone_from_the_log_is_said() {
    let rules =
        "rules: [{id: r, by: door, within: 9s, sequence: [{a: AccessDenied}, {b: DoorOpened}]}]";
    let interner = Interner::shared();
    let plan = compile(rules, &interner);
    let mut engine = Engine::new(plan.clone(), interner.clone(), options(1));
    let mut out = Findings::default();
    let mut block = EventBlock::new(&plan.vocabulary);
    let lines = ["100 Heartbeat", "90 AccessDenied door=D1", "91 DoorOpened door=D1"];
    for (number, line) in lines.iter().chain(&["110 Heartbeat"]).enumerate() {
        event(&mut block, &plan.vocabulary, &interner, number as u64, line);
    }
    engine.feed(Input::Events(&block), &mut out);
    let due = engine.due().expect("ten seconds have passed");
    assert_eq!(due.from.0, 81_000_000, "as far back as the rule remembers");
    assert_eq!(due.stretches, [(event::Position(1), event::Position(4))]);
    engine.repair(&EventBlock::new(&plan.vocabulary), false, &mut out);
    let found: Vec<_> = out.iter().map(|f| (f.late, f.complete)).collect();
    assert_eq!(found, [(Some(Tier::Live), false)]);
    let counts = engine.late_counts();
    assert_eq!((counts.live, counts.repairs, counts.incomplete), (1, 1, 1));
}
