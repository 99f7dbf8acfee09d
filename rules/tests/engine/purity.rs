//! INV-PURE, INV-ONCE, INV-BOOKS, INV-SITE: the same events give the same findings in any batch
//! size, on any number of shards, in any order within the slack, delivered twice, and with a
//! snapshot and a restore anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::control::{Act, Change, Control, IncidentAct, RowChange, Shelf};
use event::identity::TimedId;
use event::incident::Disposition;
use event::vocabulary::field;
use event::{
    EventBlock, EventFlags, EventTime, Identity, Interner, KindId, Position, SourceId, StreamId,
    TimeSpan, Vocabulary,
};
use rules::engine::{
    Dealer, Effect, Engine, Findings, Forwarded, Input, Options, Part, Share, SourceOptions, Sum,
    restore_symbols,
};
use rules::plan::Plan;

use crate::script::{Random, compile};

const SLACK: TimeSpan = TimeSpan::from_secs(2);
const SECOND: i64 = 1_000_000;

fn kind(v: &Vocabulary, name: &str) -> KindId {
    v.kind_named(name).unwrap_or_else(|| panic!("kind {name}"))
}

const RULEBOOK: &str = "
schedules:
  shift: {from: '22:20', to: '22:50'}
lists: {known: [badge-1, badge-2, badge-3]}
facts:
  was: {by: door, set: {DoorOpened: \"'open'\", DoorClosed: \"'shut'\"}, ttl: 10m, reset: {on: ScheduleEnded}}
  open: {tally: was, by: {door: value}}
rules:
- {id: at-night, on: DoorForcedOpen, if: schedule.shift}
- {id: begins, on: ScheduleStarted, if: e.schedule == 'shift'}
- {id: left, by: door, watch: was, if: value == 'open' && !schedule.shift, for: 15s, resolve: DoorClosed}
- {id: often, on: {detection: [denied, then-opened]}, count: {by: door, within: 30s, at_least: 4}, emit: edge}
- id: cycle
  session: {open: DoorOpened, close: DoorClosed, by: door, grace: 3s, max: 1m, before: {on: AccessGranted, for: 10s}}
  if: s.count(AccessDenied) > s.count(AccessGranted) || s.orphan
- {id: denied, on: AccessDenied}
- {id: stranger, on: AccessGranted, if: '!(e.credential in known)'}
- {id: held, by: door, watch: was, if: value == 'open' && door.held_limit > duration('20s')}
- {id: told, on: TableChanged, if: e.table == 'doors' && !e.removed, by: door}
- {id: told-all, scope: enterprise, on: TableChanged, if: e.table == 'known', by: row}
- id: was-known
  by: row
  within: 10m
  sequence: [{a: TableChanged, if: a.table == 'known'}, {b: TableChanged, if: b.removed}]
- {id: then-forced, by: door, within: 30s, sequence: [{a: AccessDenied}, {b: DoorForcedOpen}]}
- id: then-opened
  by: door
  within: 30s
  sequence: [{a: AccessDenied}, {b: DoorOpened}]
  without: AccessGranted
- {id: left-open, on: DoorOpened, unless: [{on: DoorClosed, same: door, from: -3s, to: 20s}]}
- id: twice
  scope: enterprise
  by: credential
  within: 30s
  sequence: [{a: AccessGranted}, {b: AccessGranted}]
- id: pattern
  by: door
  within: 2m
  runs: first
  sequence:
  - {not: DoorForcedOpen, for: 5s}
  - {tries: AccessDenied, times: 2}
  - {again: AccessDenied, times: 0..2}
  - {came: DoorOpened}
  - {any: [{went: AccessGranted, if: went.credential != tries.credential}, {not: DoorClosed, for: 7s}]}
  - {all: [{open: DoorOpened}, {not: DoorForcedOpen, for: 3s}]}
incidents:
  by: [door, credential]
  gap: 60s
  span_max: 10m
  links: [{between: [[then-forced], [left-open]], within: 90s}]
";

/// The same with every policy of alarm management over it.
const POLICIES: &str = "
- id: noisy
  on: {detection: [denied, cycle]}
  count: {by: [kind, door], within: 20s, at_least: 3}
  then: {shelve_until_quiet: 40s}
- {id: again, on: {detection: '*'}, if: e.kind == 'denied', by: door}
inhibit:
- {id: shift, while: schedule.shift, targets: [at-night, left]}
- {id: opened, while: \"was == 'open'\", hold: 5s, targets: [left, denied, then-forced, pattern]}
";
const ESCALATE: &str = "
  flood: {at_least: 2, within: 60s, until: 2, passes: high}
  stale: 3m
  escalate:
  - {id: kinds, at_least: 3, within: 40s, severity: high}
  - {id: doors, of: [denied, then-opened], independent: door, at_least: 2, within: 20s, verification: 3}
";

fn plan(interner: &Interner) -> Arc<Plan> {
    let managed = RULEBOOK.replace("incidents:\n", &format!("{POLICIES}incidents:\n")) + ESCALATE;
    compile(&managed, interner)
}

#[derive(Clone)]
struct One {
    at: i64,
    /// A row that is changed before the event comes.
    change: Option<RowChange>,
    /// What an operator does before it, as a number.
    act: Option<u64>,
    site: String,
    kind: &'static str,
    door: String,
    badge: String,
    id: u64,
}

fn history(seed: u64, n: u64) -> Vec<One> {
    let mut r = Random(seed);
    let kinds = ["AccessDenied", "AccessGranted", "DoorOpened", "DoorClosed", "DoorForcedOpen"];
    let mut at = 1_700_000_000 * SECOND;
    (0..n)
        .map(|id| {
            // A third of the events share a second with the one before: ties are the hard part.
            at += r.below(3).min(1) as i64 * r.below(4) as i64 * SECOND;
            let site = r.below(4);
            One {
                at,
                change: (r.below(20) == 0).then(|| change(&mut r)),
                act: None,
                site: format!("site-{site}"),
                kind: kinds[r.below(5) as usize],
                door: format!("door-{site}-{}", r.below(3)),
                badge: format!("badge-{}", r.below(6)),
                id,
            }
        })
        .collect()
}

/// A change of a list or of a table; of some it is said when they were made, out of order.
fn change(r: &mut Random) -> RowChange {
    let at = (r.below(3) == 0).then(|| EventTime((1_700_000_000 + r.below(4_000) as i64) * SECOND));
    let removed = r.below(3) == 0;
    let (table, row, cells) = if r.below(2) == 0 {
        ("known", format!("badge-{}", r.below(6)), BTreeMap::new())
    } else {
        let limit = format!("{}s", 10 * r.below(4));
        let cells = [("held_limit".to_owned(), limit.into())].into_iter().collect();
        ("doors", format!("door-{}-{}", r.below(4), r.below(3)), cells)
    };
    RowChange { table: table.to_owned(), row, cells: (!removed).then_some(cells), at }
}

fn decode(events: &[One], v: &Vocabulary, interner: &Interner, out: &mut EventBlock) {
    let text = |t: &str| interner.intern(t).expect("short text");
    for e in events {
        let mut row = out.push();
        row.times(EventTime(e.at), EventTime(e.at));
        row.identity(Identity::new(b"test", e.door.as_bytes(), &e.id.to_le_bytes(), None));
        row.class(kind(v, e.kind), EventFlags::default(), StreamId(0), SourceId(0));
        row.place(text(&e.site), text(&e.door));
        row.position(Position(e.id), 0);
        row.text(field::DOOR, text(&e.door));
        row.text(field::CREDENTIAL, text(&e.badge));
    }
}

#[derive(Clone, Copy)]
struct Way {
    batch: usize,
    shards: usize,
    restore_every: usize,
    full_every: usize,
}

const PLAIN: Way = Way { batch: usize::MAX, shards: 1, restore_every: usize::MAX, full_every: 1 };

fn options(shards: usize) -> Options {
    Options { shards, sources: vec![SourceOptions { slack: SLACK }], ..Options::default() }
}

/// Findings by site, in words: everything an output is made of. And the number over all of them.
fn run(events: &[One], way: Way) -> (BTreeMap<String, Vec<String>>, u128) {
    let mut interner = Interner::shared();
    let mut p = plan(&interner);
    let mut engine = Engine::new(p.clone(), interner.clone(), options(way.shards));
    let (mut found, mut sum) = (BTreeMap::new(), Sum::new(p.clone()));
    let mut findings = Findings::default();
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut opened = BTreeMap::new();
    for (number, batch) in events.chunks(way.batch.min(events.len())).enumerate() {
        let mut block = EventBlock::new(&p.vocabulary);
        // As the pipeline does: events, then the change, then the events behind it.
        for part in batch.chunk_by(|_, next| next.change.is_none() && next.act.is_none()) {
            if let Some(change) = &part[0].change {
                let change = Change::Row(change.clone());
                let control = Control { by: "t".into(), reason: String::new(), change };
                let place = Position(part[0].id);
                engine.feed(Input::Control(&control, place), &mut findings);
            }
            if let Some(act) = part[0].act {
                opened_of(&findings, &interner, &mut opened);
                if let Some(control) = operator(act, &part[0].site, &opened) {
                    engine.feed(Input::Control(&control, Position::NONE), &mut findings);
                }
            }
            block.clear();
            decode(part, &p.vocabulary, &interner, &mut block);
            engine.feed(Input::Events(&block), &mut findings);
        }
        opened_of(&findings, &interner, &mut opened);
        collect(&findings, &interner, &mut found);
        sum.take(&findings, &interner);
        findings.clear();
        if number % way.restore_every == way.restore_every - 1 {
            let full = parts.len().is_multiple_of(way.full_every);
            if full {
                parts.clear();
            }
            let (mut bytes, mut after) = (Vec::new(), Findings::default());
            engine.begin_snapshot(full);
            // It is written while what follows is judged, which is forgotten with this engine.
            let following = events.chunks(way.batch).nth(number + 1).unwrap_or_default();
            for one in following {
                block.clear();
                decode(std::slice::from_ref(one), &p.vocabulary, &interner, &mut block);
                engine.feed(Input::Events(&block), &mut after);
                engine.save_some(&mut bytes, 400);
            }
            while !engine.save_some(&mut bytes, 4_000) {}
            parts.push(bytes);
            interner = Interner::shared();
            for part in &parts {
                restore_symbols(part, &interner).expect("symbols");
            }
            p = plan(&interner);
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            engine = Engine::restore(p.clone(), interner.clone(), options(way.shards), &slices)
                .expect("restore");
        }
    }
    engine.feed(Input::EndOfInput, &mut findings);
    collect(&findings, &interner, &mut found);
    sum.take(&findings, &interner);
    let books = &engine.books()[0];
    assert_eq!(books.imbalance().1, 0, "INV-BOOKS: {books:?}");
    assert_eq!(books.waiting, 0);
    (found, sum.hash())
}

/// The newest incident of each site.
fn opened_of(findings: &Findings, interner: &Interner, opened: &mut BTreeMap<String, TimedId>) {
    for finding in findings.iter().filter(|finding| finding.effect == Effect::Opened) {
        opened.insert(interner.text(finding.site).to_owned(), finding.id);
    }
}

/// One of the things that operators do.
fn operator(act: u64, site: &str, opened: &BTreeMap<String, TimedId>) -> Option<Control> {
    let (site, span) = (site.to_owned(), TimeSpan::from_secs(20 + act as i64 % 40));
    let on_incident = |act| {
        let incident = *opened.get(&site)?;
        Some(Change::Incident(IncidentAct { site: site.clone(), incident, act }))
    };
    let on_rule = |rule: &str, span| {
        let (site, rule) = (site.clone(), rule.to_owned());
        Some(Change::Shelf(Shelf { site, rule, key: Vec::new(), span }))
    };
    let change = match act % 7 {
        0 => on_incident(Act::Close(Disposition::FalseAlarm)),
        1 => on_incident(Act::Shelve(span)),
        2 => on_incident(Act::Unshelve),
        3 => on_rule("denied", Some(span)),
        4 => on_rule("left", Some(span)),
        5 => on_rule("denied", None),
        _ => on_incident(Act::Acknowledge),
    };
    change.map(|change| Control { by: "ann".into(), reason: "wind".into(), change })
}

fn collect(findings: &Findings, interner: &Interner, found: &mut BTreeMap<String, Vec<String>>) {
    for f in findings.iter() {
        let evidence: Vec<u128> = findings.evidence(f).iter().map(|e| e.identity.0).collect();
        let key: Vec<&str> = f.key.iter().map(|k| interner.text(*k)).collect();
        let effect = match f.effect {
            Effect::Joined(id) => format!("joined {id}"),
            // Which of the block's control records it is depends on the block.
            Effect::Shelf(until, n) => format!("Shelf {until:?} {:?}", findings.control(n)),
            Effect::Acted(id, n) => format!("acted {id} {:?}", findings.control(n)),
            other => format!("{other:?}"),
        };
        let line =
            format!("{} {} {} {key:?} {} {effect} {evidence:?}", f.seq, f.id, f.rule.0, f.at);
        found.entry(interner.text(f.site).to_owned()).or_default().push(line);
    }
}

fn total(found: &BTreeMap<String, Vec<String>>) -> usize {
    found.values().map(Vec::len).sum()
}

#[test]
fn batches_shards_and_restarts_change_nothing() {
    for seed in [1, 2, 3] {
        println!("seed {seed}");
        let mut events = history(seed, 3_000);
        // Some come long after their time, of which a part fires still.
        for late in events.iter_mut().skip(50).step_by(37) {
            late.at -= 20 * SECOND;
        }
        for (number, event) in events.iter_mut().skip(40).step_by(23).enumerate() {
            event.act = Some(number as u64);
        }
        let (expected, sum) = run(&events, PLAIN);
        assert!(total(&expected) > 1_500, "{} findings", total(&expected));
        assert!(expected.contains_key(""), "the enterprise has findings");
        let lines = || expected.values().flatten();
        for (number, rule) in plan(&Interner::default()).rules.iter().enumerate() {
            let number = number.to_string();
            let found = lines().any(|line| line.split(' ').nth(2) == Some(&number));
            assert!(found, "{} finds nothing", rule.id);
        }
        for what in [
            "Inhibition(0)",
            "Inhibition(1)",
            "Chattering",
            "Escalated(",
            "Cleared(",
            "(Shelf",
            "(Flood",
            "ShelfEnded",
            "Unshelved(",
            "Stale(",
        ] {
            let n = expected.values().flatten().filter(|line| line.contains(what)).count();
            assert!(n >= 5, "{n} of {what}");
        }
        for way in [
            Way { batch: 1, ..PLAIN },
            Way { batch: 7, shards: 3, ..PLAIN },
            Way { batch: 64, shards: 8, ..PLAIN },
            Way { batch: 50, restore_every: 1, ..PLAIN },
            Way { batch: 23, shards: 3, restore_every: 2, full_every: 5 },
        ] {
            let (got, number) = run(&events, way);
            assert_eq!(number, sum, "seed {seed}, batch {}", way.batch);
            for (site, lines) in &expected {
                let other = got.get(site).cloned().unwrap_or_default();
                for (a, b) in lines.iter().zip(&other) {
                    assert_eq!(a, b, "seed {seed}, site {site:?}, batch {}", way.batch);
                }
                assert_eq!(lines.len(), other.len());
            }
        }
    }
}

#[test]
fn disorder_within_the_slack_and_redelivery_change_nothing() {
    for seed in [4, 5, 6] {
        println!("seed {seed}");
        let mut events = history(seed, 3_000);
        // What is changed stands at its place in the log: disorder moves it against the events.
        events.iter_mut().for_each(|event| event.change = None);
        let expected = run(&events, PLAIN);
        let mut r = Random(seed + 100);
        let mut delayed: Vec<(i64, One)> =
            events.iter().map(|e| (e.at + r.below(1_900_000) as i64, e.clone())).collect();
        for place in 0..events.len() / 10 {
            let again = events[place * 10].clone();
            delayed.push((again.at + r.below(1_900_000) as i64, again));
        }
        delayed.sort_by_key(|(at, _)| *at);
        let shuffled: Vec<One> = delayed.into_iter().map(|(_, e)| e).collect();
        assert_eq!(run(&shuffled, Way { batch: 11, ..PLAIN }), expected, "seed {seed}");
    }
}

/// The same by several engines: the sites' judge a batch, then the enterprise's what they handed over.
/// `None` where one of them says that it takes one for all.
fn run_in_parts(events: &[One], of: usize, batch: usize) -> Option<(usize, u128)> {
    let interner = Interner::shared();
    let p = plan(&interner);
    let engine = |part| Engine::part(p.clone(), interner.clone(), options(1), part);
    let mut sites: Vec<_> = (0..of).map(|number| engine(Part::Sites { number })).collect();
    let mut dealer = Dealer::new(of, &options(1));
    let mut shares: Vec<_> = (0..of).map(|_| Share::new(&p.vocabulary)).collect();
    let mut owners = BTreeMap::new();
    let mut enterprise = engine(Part::Enterprise);
    let mut forwarded: Vec<_> =
        sites.iter().map(|_| Forwarded::new(&p.vocabulary, interner.clone())).collect();
    let (mut sum, mut findings) = (Sum::new(p.clone()), Findings::default());
    let mut block = EventBlock::new(&p.vocabulary);
    let batches = events.chunks(batch).map(Some).chain([None]);
    for batch in batches {
        block.clear();
        decode(batch.unwrap_or_default(), &p.vocabulary, &interner, &mut block);
        dealer.deal(&block, &mut shares, 0, |site| {
            let next = owners.len() % of;
            *owners.entry(site.0).or_insert(next)
        });
        for (site, share) in sites.iter_mut().zip(&shares) {
            let input = batch.map_or(Input::EndOfInput, |_| Input::Share(share));
            site.feed(input, &mut findings);
        }
        for (site, forwarded) in sites.iter_mut().zip(&mut forwarded) {
            site.forward(forwarded);
        }
        enterprise.settle(&mut forwarded, &mut findings);
        if sites.iter().chain([&enterprise]).any(Engine::needs_whole) {
            return None;
        }
        sum.take(&findings, &interner);
        findings.clear();
    }
    let mut accepted = 0;
    for engine in &sites {
        let books = &engine.books()[0];
        assert_eq!((books.imbalance().1, books.waiting), (0, 0), "INV-BOOKS: {books:?}");
        accepted += books.accepted as usize;
    }
    Some((accepted, sum.hash()))
}

#[test]
fn engines_that_share_the_sites_find_what_one_finds() {
    for seed in [7, 8, 9] {
        println!("seed {seed}");
        let mut events = history(seed, 3_000);
        events.iter_mut().for_each(|event| event.change = None);
        let mut r = Random(seed + 100);
        let mut arrivals: Vec<(i64, One)> =
            events.iter().map(|e| (e.at + r.below(1_900_000) as i64, e.clone())).collect();
        arrivals.sort_by_key(|(at, _)| *at);
        let arrivals: Vec<One> = arrivals.into_iter().map(|(_, e)| e).collect();
        let (found, sum) = run(&arrivals, PLAIN);
        assert!(found.len() > 3 && found.contains_key(""), "several sites, and the enterprise");
        for (of, batch) in [(1, 1), (1, 100), (2, 1), (2, 64), (3, 7), (3, 5_000), (9, 300)] {
            let got = run_in_parts(&arrivals, of, batch);
            assert_eq!(got, Some((arrivals.len(), sum)), "seed {seed}, {of} of {batch}");
        }
        let mut late = arrivals;
        late[2_000].at -= 20 * SECOND;
        assert_eq!(run_in_parts(&late, 2, 64), None, "what is late takes an engine for all");
    }
}

/// Late by the event of a site that another engine judges, at the first look or when others are plain before it.
#[test]
fn an_engine_hears_of_what_another_judges() {
    let all = history(10, 200);
    for plain in [0, 1, 50] {
        let mut events: Vec<One> = all[..plain + 3].to_vec();
        let last = events[plain].at;
        for (place, event) in events.iter_mut().enumerate() {
            let event_of = if place == plain + 1 { "N" } else { "S" };
            (event.site, event.change) = (event_of.into(), None);
        }
        (events[plain + 1].at, events[plain + 2].at) = (last + 10 * SECOND, last + 3 * SECOND);
        for batch in [1, 2, 1_000] {
            assert_eq!(run_in_parts(&events, 2, batch), None, "{plain} before it, {batch}");
        }
        // As far away as it may be.
        events[plain + 1].at = events[plain + 2].at + SLACK.0;
        let (_, sum) = run(&events, PLAIN);
        assert_eq!(run_in_parts(&events, 2, 1_000), Some((plain + 3, sum)));
    }
}

#[test]
fn a_redelivery_is_a_duplicate_even_when_it_is_late() {
    let events = history(9, 500);
    let interner = Interner::shared();
    let p = plan(&interner);
    let mut engine = Engine::new(p.clone(), interner.clone(), options(1));
    let mut block = EventBlock::new(&p.vocabulary);
    decode(&events, &p.vocabulary, &interner, &mut block);
    let mut findings = Findings::default();
    engine.feed(Input::Events(&block), &mut findings);
    engine.feed(Input::Events(&block), &mut findings);
    let books = &engine.books()[0];
    assert_eq!((books.events, books.duplicate, books.late), (1_000, 500, 0));
    let mut late = events[0].clone();
    late.id = 1_000_000;
    block.clear();
    decode(&[late], &p.vocabulary, &interner, &mut block);
    engine.feed(Input::Events(&block), &mut findings);
    assert_eq!(engine.books()[0].late, 1);
    assert_eq!(engine.books()[0].imbalance().1, 0);
}
