//! `cargo bench`: nanoseconds an event for decoding and rules, and the whole way, file bytes to
//! incidents, in events a second on one core with a hash of what was found. A figure without the
//! same hash is a figure of something else.

mod counting;
mod rig;

use std::io::Write as _;
use std::time::{Duration, Instant};

use counting::watch;
use criterion::{Criterion, Throughput};
use event::{RecordBlock, SourceId};
use ingest::source::file::{FileInput, FileReader};
use rig::{Rig, records};
use workload::badges::Badges;

const SEED: u64 = 42;
/// Events of one block.
const BLOCK: usize = 1_000;
/// Events of the whole way.
const EVENTS: usize = 1_000_000;

fn lines(badges: &mut Badges, count: usize) -> String {
    let mut text = String::with_capacity(count * 180);
    (0..count).for_each(|_| badges.line(&mut text));
    text
}

fn stations(criterion: &mut Criterion) {
    let mut badges = Badges::new(SEED);
    let mut rig = Rig::new();
    // Every name is known and the state is as large as it gets, as after an hour.
    let mut base = 0;
    for _ in 0..300 {
        let text = lines(&mut badges, BLOCK);
        rig.decode(&records(&text, base));
        rig.step();
        base += text.len() as u64;
    }
    let mut group = criterion.benchmark_group("stations");
    group.throughput(Throughput::Elements(BLOCK as u64));
    let text = lines(&mut badges, BLOCK);
    let block = records(&text, base);
    group.bench_function("decode", |bencher| bencher.iter(|| rig.decode(&block)));
    group.bench_function("rules", |bencher| {
        bencher.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                // Time goes on: the same block again would be nothing but duplicates.
                let text = lines(&mut badges, BLOCK);
                rig.decode(&records(&text, base));
                base += text.len() as u64;
                let begun = Instant::now();
                rig.step();
                spent += begun.elapsed();
            }
            spent
        });
    });
    group.finish();
}

/// What the whole way over a file took and found.
#[derive(Debug)]
struct Whole {
    seconds: f64,
    /// Of the second half of the file, decoding and rules.
    allocations: u64,
    findings: usize,
    hash: String,
}

/// The whole way over a file, once.
fn whole(path: &std::path::Path) -> Whole {
    let input = FileInput { path: path.to_owned(), source: SourceId(0) };
    let mut files = FileReader::open(&[input]).unwrap_or_else(|e| panic!("{e}"));
    let mut rig = Rig::new();
    let mut block = RecordBlock::new();
    let (mut findings, mut events, mut allocations) = (0, 0, 0);
    let begun = Instant::now();
    loop {
        block.clear();
        let more = files.read(&mut block).unwrap_or_else(|e| panic!("{e}"));
        if more {
            let allocated = watch(|| {
                rig.decode(&block);
                rig.step();
            });
            if events >= EVENTS / 2 {
                allocations += allocated;
            }
            events += rig.events.len();
        } else {
            rig.finish();
        }
        findings += rig.findings.len();
        rig.sum();
        if !more {
            let (seconds, hash) = (begun.elapsed().as_secs_f64(), rig.sum.hash());
            return Whole { seconds, allocations, findings, hash: format!("{hash:032x}") };
        }
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    stations(&mut criterion);
    criterion.final_summary();

    let mut file = tempfile::NamedTempFile::new().unwrap_or_else(|e| panic!("{e}"));
    let text = lines(&mut Badges::new(SEED), EVENTS);
    file.write_all(text.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    let runs: Vec<_> = (0..3).map(|_| whole(file.path())).collect();
    let best = runs.iter().map(|run| run.seconds).fold(f64::INFINITY, f64::min);
    let Whole { allocations, findings, hash, .. } = &runs[0];
    assert!(runs.iter().all(|run| run.hash == *hash), "the runs differ: {runs:?}");
    println!(
        "whole way: {:.0} events/s, {:.0} ns/event, {EVENTS} events of {} B, seed {SEED}, \
         {:.4} allocations/event once warm, {findings} findings, hash {hash}",
        EVENTS as f64 / best,
        best * 1e9 / EVENTS as f64,
        text.len() / EVENTS,
        *allocations as f64 * 2.0 / EVENTS as f64,
    );
}
