//! `cargo bench -p workload --bench micro`: the parts one by one, over the bench's traffic:
//! decoding by format and road, names, each operator and correlation on a rulebook of its own, the
//! log and the store in groups. Of an operator the whole step of the engine is timed; `nothing` is
//! that of a rule that never looks.

mod decoding;
mod operators;
#[path = "../way/rig.rs"]
mod rig;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use event::identity::{Digest, TimedId};
use event::incident::{
    Change, Detection, Evidence, Incident, IncidentState, Output, Said, Severity,
};
use event::{EventTime, Interner, RecordBlock, SymbolCache};
use ingest::log::{LogWriter, Options, RealFiles};
use operators::OPERATORS;
use rig::{Rig, records};
use sinks::Store;
use workload::badges::Badges;

const SEED: u64 = 42;
/// Events of one step.
const BLOCK: usize = 1_000;
/// Steps before it is timed: some two minutes of the traffic's own time, more than any window here.
const WARM_UP: usize = 60;
/// Deliveries, or outputs, of one group.
const GROUPS: [usize; 4] = [1, 10, 100, 1_000];

fn lines(badges: &mut Badges, count: usize) -> String {
    let mut text = String::with_capacity(count * 180);
    (0..count).for_each(|_| badges.line(&mut text));
    text
}

fn operators(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("operator");
    group.throughput(Throughput::Elements(BLOCK as u64));
    for (name, rulebook) in OPERATORS {
        let (mut badges, mut rig, mut base) = (Badges::new(SEED), Rig::of(rulebook), 0);
        let mut next = |rig: &mut Rig| {
            let text = lines(&mut badges, BLOCK);
            rig.decode(&records(&text, base));
            base += text.len() as u64;
        };
        let mut found = 0;
        for _ in 0..WARM_UP {
            next(&mut rig);
            rig.step();
            found += rig.findings.len();
        }
        println!("{name}: {found} findings in {} events", WARM_UP * BLOCK);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    // Time goes on: the same block again would be nothing but duplicates.
                    next(&mut rig);
                    let begun = Instant::now();
                    rig.step();
                    spent += begun.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

fn interning(criterion: &mut Criterion) {
    let names: Vec<_> = (0..50_000).map(|n| format!("B{:05}", n * 7_919 % 50_000)).collect();
    let mut group = criterion.benchmark_group("interning");
    group.throughput(Throughput::Elements(names.len() as u64));
    let mut known = SymbolCache::new(Interner::shared());
    let all = |cache: &mut SymbolCache| {
        names.iter().filter_map(|name| cache.intern(name)).fold(0, |sum, s| sum ^ s.0)
    };
    all(&mut known);
    group.bench_function("known", |bencher| bencher.iter(|| all(&mut known)));
    group.bench_function("new", |bencher| {
        bencher.iter_batched_ref(
            || SymbolCache::new(Interner::shared()),
            all,
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn log(criterion: &mut Criterion) {
    let text = lines(&mut Badges::new(SEED), GROUPS[3]);
    let all = records(&text, 0);
    let mut group = criterion.benchmark_group("log");
    for count in GROUPS {
        group.throughput(Throughput::Elements(count as u64));
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let files = Arc::new(RealFiles);
        let log = LogWriter::open(dir.path(), files, Options::default());
        let mut log = log.unwrap_or_else(|e| panic!("{e}"));
        let syncer = log.syncer();
        let mut block = RecordBlock::new();
        group.bench_function(BenchmarkId::new("durable", count), |bencher| {
            bencher.iter(|| {
                block.clear();
                all.iter().take(count).for_each(|record| block.push(&record));
                log.append(&mut block).unwrap_or_else(|e| panic!("{e}"));
                syncer.sync().unwrap_or_else(|e| panic!("{e}"))
            });
        });
    }
    group.finish();
}

/// An opened incident with two events of evidence, as the engine tells it.
fn opened(seq: u64) -> Output {
    let at = EventTime::from_millis(1_700_000_000_000 + seq as i64 * 40);
    let id = TimedId::new(at, Digest::default().number(u128::from(seq)).finish());
    let evidence = |nth: u64| {
        let (device, raw) = (format!("D{:04}", seq % 5_000), "x".repeat(137));
        let number = (seq * 2 + nth).to_string();
        let said = Said { feed: "badge", kind: "AccessDenied", device: &device, raw: &raw };
        Evidence::new(&["badge/", &device, "/", &number], said, at, at)
    };
    let detection = Detection {
        id,
        rule: "R3".to_owned(),
        title: "Several cards were tried at one door".to_owned(),
        severity: Severity::Medium,
        site: "S1".to_owned(),
        area: None,
        person: None,
        key: format!("D{:04}", seq % 5_000),
        at,
        events: vec![evidence(0), evidence(1)],
        evidence_omitted: 0,
        why: vec![("cards".to_owned(), "4".to_owned())],
        incident: Some(id),
        verification: 0,
        late: None,
    };
    let incident = Incident {
        id,
        rule: detection.rule.clone(),
        title: detection.title.clone(),
        severity: detection.severity,
        site: detection.site.clone(),
        area: None,
        person: None,
        state: IncidentState::Active,
        opened_at: at,
        updated_at: at,
        config_hash: format!("{:032x}", 7),
        links: Vec::new(),
    };
    let change = Change::Opened(Box::new(incident), Box::new(detection));
    Output { site: "S1".to_owned(), seq, late: None, concluded: Some(at), change }
}

fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    for count in GROUPS {
        group.throughput(Throughput::Elements(count as u64));
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let store = Store::open(dir.path().join("incidents.db"));
        let mut store = store.unwrap_or_else(|e| panic!("{e}"));
        let mut seq = 0;
        group.bench_function(BenchmarkId::new("opened", count), |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    let outputs: Vec<_> = (0..count as u64).map(|n| opened(seq + n + 1)).collect();
                    seq += count as u64;
                    let begun = Instant::now();
                    store.commit(&outputs, &[]).unwrap_or_else(|e| panic!("{e}"));
                    spent += begun.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

fn main() {
    // Short, so that all of `cargo bench` is a matter of minutes.
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_200))
        .configure_from_args();
    decoding::decoding(&mut criterion);
    interning(&mut criterion);
    operators(&mut criterion);
    log(&mut criterion);
    store(&mut criterion);
    criterion.final_summary();
}
