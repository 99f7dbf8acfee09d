//! What comes later than the slack: when all has been repaired, everything has been told that would
//! have been told of the same events in order, once, and nothing was told late that would not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use event::identity::TimedId;
use event::vocabulary::KIND_ADVANCE;
use event::{EventBlock, EventFlags, EventTime, Interner, SourceId, StreamId, TimeSpan};
use rules::engine::{
    Engine, Findings, Input, LateOptions, Options, SourceOptions, restore_symbols,
};

use super::{Ev, SLACK, line};
use crate::script::{Random, compile, event};

/// Forms that count since ever, which a repair cannot run again: they tell nothing late.
const NOT_REPAIRED: [&str; 1] = ["tally"];

fn options() -> Options {
    let late = LateOptions { settle: TimeSpan::from_secs(5), ..LateOptions::default() };
    Options { sources: vec![SourceOptions { slack: SLACK }], late, ..Options::default() }
}

/// Detections by id, and whether they were told late; each is told once.
type Told = BTreeMap<TimedId, bool>;

fn collect(name: &str, seed: u64, out: &mut Findings, told: &mut Told) {
    for finding in out.iter().filter(|finding| finding.is_detection()) {
        assert!(finding.complete, "{name}, seed {seed}: all is at hand");
        let twice = told.insert(finding.id, finding.late.is_some());
        assert_eq!(twice, None, "{name}, PORTCULLIS_SEED={seed}: {} twice", finding.id);
    }
    out.clear();
}

/// Nothing is told late that would not have been told of what has come, had it come in order.
fn right(name: &str, seed: u64, out: &Findings, rulebook: &str, come: &[Ev], until: EventTime) {
    let found: Vec<TimedId> = out.iter().filter(|f| f.is_detection()).map(|f| f.id).collect();
    if found.is_empty() {
        return;
    }
    let known = in_order(rulebook, come, until);
    for id in found {
        assert!(known.contains(&id), "{name}, PORTCULLIS_SEED={seed}: {id} at {until}: {rulebook}");
    }
}

/// What is found of events in order, up to a time.
fn in_order(rulebook: &str, events: &[Ev], until: EventTime) -> BTreeSet<TimedId> {
    let interner = Interner::shared();
    let plan = compile(rulebook, &interner);
    let mut engine = Engine::new(plan.clone(), interner.clone(), options());
    let mut events = events.to_vec();
    events.sort_by_key(|e| (e.at, e.id));
    let mut block = EventBlock::new(&plan.vocabulary);
    for e in &events {
        event(&mut block, &plan.vocabulary, &interner, e.id - 1, &line(e));
    }
    let mut row = block.push();
    row.times(until, until);
    row.class(KIND_ADVANCE, EventFlags::default(), StreamId(0), SourceId(0));
    let mut out = Findings::default();
    engine.feed(Input::Events(&block), &mut out);
    if until == EventTime::MAX {
        engine.feed(Input::EndOfInput, &mut out);
    }
    out.iter().filter(|finding| finding.is_detection()).map(|finding| finding.id).collect()
}

fn run(name: &str, seed: u64, rulebook: &str, arrivals: &[Ev], r: &mut Random) -> Told {
    let mut interner = Interner::shared();
    let mut plan = compile(rulebook, &interner);
    let mut engine = Engine::new(plan.clone(), interner.clone(), options());
    let (mut out, mut told) = (Findings::default(), Told::new());
    let mut heard = 0;
    let block = |events: &[Ev], plan: &rules::plan::Plan, interner: &Interner, from: usize| {
        let mut block = EventBlock::new(&plan.vocabulary);
        for (place, e) in events.iter().enumerate() {
            let mut one = EventBlock::new(&plan.vocabulary);
            event(&mut one, &plan.vocabulary, interner, e.id - 1, &line(e));
            one.get_mut(0).position(event::Position((from + place + 1) as u64), 0);
            block.push_row(one.get(0));
        }
        block
    };
    while heard < arrivals.len() {
        let until = arrivals.len().min(heard + 1 + r.below(8) as usize);
        let events = block(&arrivals[heard..until], &plan, &interner, heard);
        let mut from = 0;
        while from < events.len() {
            from = engine.feed_some(&events, from, &mut out);
            if engine.due().is_some() {
                // More is read again than had come: the engine knows what it has heard.
                let history = block(arrivals, &plan, &interner, 0);
                collect(name, seed, &mut out, &mut told);
                engine.repair(&history, true, &mut out);
                let come = &arrivals[..heard + from];
                right(name, seed, &out, rulebook, come, engine.watermark());
            }
            collect(name, seed, &mut out, &mut told);
        }
        heard = until;
        if r.below(8) == 0 {
            let mut bytes = Vec::new();
            engine.snapshot(&mut bytes, true);
            interner = Interner::shared();
            restore_symbols(&bytes, &interner).expect("symbols");
            plan = compile(rulebook, &interner);
            engine = Engine::restore(plan.clone(), interner.clone(), options(), &[&bytes])
                .expect("a snapshot is restored");
        }
    }
    engine.feed(Input::EndOfInput, &mut out);
    collect(name, seed, &mut out, &mut told);
    if engine.due().is_some() {
        engine.repair(&block(arrivals, &plan, &interner, 0), true, &mut out);
        right(name, seed, &out, rulebook, arrivals, EventTime::MAX);
    }
    collect(name, seed, &mut out, &mut told);
    told
}

/// Runs a history in order, and again with some events up to a minute late.
pub fn repairs(name: &str, seed: u64, rulebook: &str, history: &[Ev]) {
    let mut r = Random(seed ^ 0x1a7e);
    let mut arrivals: Vec<(i64, Ev)> = history
        .iter()
        .map(|e| {
            let late = if r.below(6) == 0 { r.below(600) } else { r.below(30) };
            (e.at + late as i64, *e)
        })
        .collect();
    arrivals.sort_by_key(|(at, e)| (*at, e.id));
    let arrivals: Vec<Ev> = arrivals.into_iter().map(|(_, e)| e).collect();
    let ordered = run(name, seed, rulebook, history, &mut r);
    assert!(ordered.values().all(|late| !late));
    let told = run(name, seed, rulebook, &arrivals, &mut r);
    let missed: Vec<_> = ordered.keys().filter(|id| !told.contains_key(*id)).collect();
    if missed.is_empty() || NOT_REPAIRED.contains(&name) {
        return;
    }
    let mut text = String::new();
    for e in &arrivals {
        writeln!(text, "  {:>3}: {}", e.id, line(e)).expect("a String takes all");
    }
    let times = |ids: Vec<&TimedId>| ids.iter().map(|id| (id.0 >> 80) as i64).collect::<Vec<_>>();
    panic!(
        "{name}, late, PORTCULLIS_SEED={seed}:{rulebook}\n{text}missed {:?}, in order {:?}, told {told:?}",
        times(missed),
        times(ordered.keys().collect())
    );
}
