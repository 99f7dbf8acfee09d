//! INV-HOT: once a site has seen its traffic, neither decoding nor the rules allocate, detections
//! and evidence included. A counting allocator watches the last of so many events.

#[path = "../benches/way/counting.rs"]
mod counting;
#[path = "../benches/way/rig.rs"]
mod rig;

use counting::watch;
use rig::{Rig, records};
use workload::badges::Badges;

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

#[test]
fn decoding_allocates_nothing_in_steady_state() {
    let mut badges = Badges::new(SEED);
    let mut rig = Rig::new();
    let mut text = String::new();
    (0..100 * BLOCK).for_each(|_| badges.line(&mut text));
    let block = records(&text, 0);
    // Every name and every shape is known, and the rows have their room.
    rig.decode(&block);
    let known = watch(|| rig.decode(&block));
    assert_eq!(known, 0);
    assert_eq!(rig.events.len(), 100 * BLOCK);
}
