//! INV-HOT: once a site has seen its traffic, neither decoding nor the rules allocate, detections
//! and evidence included: the ten rules together, and each operator. A counting allocator watches the
//! last of so many events.

#[path = "../benches/way/counting.rs"]
mod counting;
#[path = "../benches/micro/operators.rs"]
mod operators;
#[path = "../benches/way/rig.rs"]
mod rig;

use counting::watch;
use event::EventFlags;
use operators::OPERATORS;
use rig::{Rig, records};
use workload::badges::Badges;
use workload::random::Random;

const SEED: u64 = 42;
const BLOCK: usize = 1_000;

#[test]
fn the_rules_allocate_nothing_in_steady_state() {
    let (events, watched) = (2_000_000, 1_000_000);
    println!("seed {SEED}");
    let mut badges = Badges::new(SEED);
    let mut rig = Rig::new();
    let mut text = String::new();
    let (mut base, mut found, mut cited, mut blocks) = (0, 0, 0, Vec::new());
    for block in 0..events / BLOCK {
        text.clear();
        (0..BLOCK).for_each(|_| badges.line(&mut text));
        rig.decode(&records(&text, base));
        base += text.len() as u64;
        let allocations = watch(|| rig.step());
        let seen = block * BLOCK >= events - watched;
        if seen && allocations > 0 {
            blocks.push((block, allocations));
        }
        rig.sum();
        if seen {
            found += rig.findings.len();
            cited += rig.findings.iter().map(|f| rig.findings.evidence(f).len()).sum::<usize>();
        }
    }
    rig.finish();
    rig.sum();
    println!("hash {:032x}", rig.sum.hash());
    assert!(found > 40_000 && cited > found, "{found} findings with {cited} events");
    assert_eq!(blocks, [], "block and allocations");
}

/// Names, shapes and lengths are known; the lines are not.
#[test]
fn decoding_allocates_nothing_in_steady_state() {
    let (lines, watched) = (300_000, 100_000);
    let mut badges = Badges::of(SEED, 5_000);
    let mut rig = Rig::new();
    let (mut text, mut base, mut blocks) = (String::new(), 0, Vec::new());
    for block in 0..lines / BLOCK {
        text.clear();
        (0..BLOCK).for_each(|_| badges.line(&mut text));
        let records = records(&text, base);
        base += text.len() as u64;
        let allocations = watch(|| rig.decode(&records));
        if block * BLOCK >= lines - watched && allocations > 0 {
            blocks.push((block, allocations));
        }
        assert_eq!(rig.events.len(), BLOCK);
    }
    assert_eq!(blocks, [], "block and allocations");
}

/// Of this traffic's rounds.
const ROUND: u64 = 10_000;
/// Of which so many come, until so many are watched.
const ROUNDS: u64 = 8;
const WATCHED: u64 = 3;

/// A round of a small site's traffic, an event each 20 ms: the same every time, under other numbers and at other
/// times. What the most of anything is has been seen after the first few.
fn round(number: u64, out: &mut String) {
    let mut random = Random::new(SEED);
    let mut open = std::collections::VecDeque::new();
    for n in 0..ROUND {
        let id = 10_000_000 + number * ROUND + n;
        let ts = 1_700_000_000_000 + 20 * (number * ROUND + n);
        let (door, badge) = (random.below(60), random.below(300));
        let (granted, dir) = (random.below(10) > 0, ["in", "out"][random.below(2) as usize]);
        let due = open.front().is_some_and(|(at, _)| *at <= n) || n + 200 > ROUND;
        let closes = due.then(|| open.pop_front()).flatten();
        let (kind, door) = match (closes, random.below(10)) {
            (Some((_, door)), _) => ("close", door),
            (None, 0) if n + 1_000 < ROUND => {
                open.push_back((n + 50 + random.below(400), door));
                ("open", door)
            }
            (None, 1) => ("forced", door),
            (None, _) => ("", door),
        };
        let head = format!(
            "{{\"id\":{id},\"ts\":{ts},\"site\":\"S{}\",\"zone\":\"Z{}\"",
            door % 2,
            door / 6
        );
        let tail = match kind {
            "" => {
                let (result, reason) =
                    if granted { ("granted", "ok") } else { ("denied", "unknown") };
                format!(
                    "\"src\":\"badge\",\"type\":\"swipe\",\"door\":\"D{door}\",\"badge\":\"B{badge}\",\
                     \"dir\":\"{dir}\",\"result\":\"{result}\",\"reason\":\"{reason}\""
                )
            }
            kind => format!("\"src\":\"gate\",\"type\":\"{kind}\",\"door\":\"D{door}\""),
        };
        *out += &format!("{head},{tail}}}\n");
    }
}

/// Allocations of decoding and the rules in the rounds that are watched, and what was found in them.
fn allocations(rig: &mut Rig) -> (u64, usize) {
    let (mut base, mut text, mut sum, mut found) = (0, String::new(), 0, 0);
    for number in 0..ROUNDS {
        text.clear();
        round(number, &mut text);
        for lines in text.split_inclusive('\n').collect::<Vec<_>>().chunks(BLOCK) {
            let lines = lines.concat();
            let records = records(&lines, base);
            base += lines.len() as u64;
            let allocations = watch(|| {
                rig.decode(&records);
                rig.step();
            });
            if number >= ROUNDS - WATCHED {
                sum += allocations;
                found += rig.findings.len();
            }
        }
    }
    (sum, found)
}

/// Devices of which the table knows a part.
const SOME_KNOWN: &str = "
tables:
  devices: {entity: device, columns: {area: string}, rows: {D0: {area: A}, D1: {area: A}}}
";

#[test]
fn unknown_devices_allocate_nothing() {
    let (_, rulebook) = OPERATORS[0];
    let mut rig = Rig::with(rulebook, SOME_KNOWN);
    assert_eq!(allocations(&mut rig).0, 0);
    let unknown = rig.events.iter().filter(|e| e.flags().has(EventFlags::UNKNOWN_DEVICE)).count();
    assert!((BLOCK / 2..BLOCK).contains(&unknown), "{unknown} of {BLOCK} are unknown");
}

/// Each operator in a rulebook of its own.
#[test]
fn no_operator_allocates_in_steady_state() {
    let mut allocate = Vec::new();
    for (name, rulebook) in OPERATORS {
        let (sum, found) = allocations(&mut Rig::of(rulebook));
        println!("{name}: {sum} allocations, {found} findings in {} events", WATCHED * ROUND);
        if sum > 0 {
            allocate.push((name, sum));
        }
    }
    assert_eq!(allocate, [], "operator and allocations");
}
