//! `cargo bench -p workload --bench shard`: what admission, rules and correlation cost an event of
//! the ten rules, decoded before. Fixed input, so that instructions can be counted:
//!
//! ```sh
//! valgrind --tool=callgrind --toggle-collect='*measured*' BINARY 20000
//! ```
//!
//! divided by the number of events. What came before has made the state as large as it is after
//! some minutes. The hash is over findings and their evidence: another hash is another meaning.

#[path = "../way/rig.rs"]
mod rig;

use std::time::Instant;

use event::EventBlock;
use rig::{Rig, records};
use workload::badges::Badges;

const SEED: u64 = 42;
/// Events of one block.
const BLOCK: usize = 1_000;
/// Events that come before those that are counted.
const BEFORE: usize = 60_000;

/// What is counted: the engine and nothing else.
#[inline(never)]
fn measured(rig: &mut Rig, events: &EventBlock) {
    rig.feed(events);
}

fn main() {
    let args = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let counted: usize = args.unwrap_or(200_000);
    let mut badges = Badges::new(SEED);
    let mut rig = Rig::new();
    let (mut found, mut spent) = (0, 0);
    let mut text = String::new();
    let mut base = 0;
    for block in 0..(BEFORE + counted) / BLOCK {
        text.clear();
        (0..BLOCK).for_each(|_| badges.line(&mut text));
        rig.decode(&records(&text, base));
        base += text.len() as u64;
        let events = rig.events.clone();
        if block * BLOCK < BEFORE {
            rig.feed(&events);
            continue;
        }
        let begun = Instant::now();
        measured(&mut rig, &events);
        spent += begun.elapsed().as_nanos();
        found += rig.findings.len();
        rig.sum();
    }
    println!(
        "shard: {counted} events, {found} findings, {:.0} ns an event, hash {:032x}",
        spent as f64 / counted as f64,
        rig.sum.hash()
    );
}
