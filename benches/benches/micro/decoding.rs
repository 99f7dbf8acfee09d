//! Decoding by format and road: the same badge readings in each of the forms they come in.

use std::sync::Arc;

use criterion::{Criterion, Throughput};
use event::{EventBlock, EventTime, Interner, RecordBlock, RecordKind, Vocabulary};
use ingest::decode::{Decoder, Outcome, SourceDecoding};
use serde_json::{Value, json};

use super::rig::records;
use super::{BLOCK, SEED, lines};
use workload::badges::Badges;

const ROWS: &str = "
mappings:
- name: rows
  format: csv
  columns: [id, ts, site, zone, door, badge, dir, result]
  feed: badge
  events:
  - kind: {path: $.result, map: {granted: AccessGranted, denied: AccessDenied}}
    occurred: {path: $.ts, format: epoch_ms}
    device: $.door
    site: $.site
    id: $.id
    fields: {zone: $.zone, door: $.door, credential: $.badge, dir: $.dir}
";

/// A reading as a canonical event.
fn canonical(reading: &Value) -> Value {
    let granted = reading["result"] == "granted";
    let at = EventTime::from_millis(reading["ts"].as_i64().unwrap_or(0)).to_string();
    json!({
        "kind": if granted { "AccessGranted" } else { "AccessDenied" },
        "occurred": at,
        "feed": "badge",
        "device": reading["door"],
        "id": reading["id"].to_string(),
        "site": reading["site"],
        "zone": reading["zone"],
        "door": reading["door"],
        "credential": reading["badge"],
        "dir": reading["dir"],
    })
}

fn cloud_event(reading: &Value) -> Value {
    json!({
        "specversion": "1.0",
        "type": "portcullis.event",
        "source": "/gate",
        "id": reading["id"].to_string(),
        "datacontenttype": "application/json",
        "data": canonical(reading),
    })
}

fn row(reading: &Value) -> String {
    let cells = ["id", "ts", "site", "zone", "door", "badge", "dir", "result"];
    let cell = |name: &&str| reading[*name].to_string().replace('"', "");
    cells.iter().map(cell).collect::<Vec<_>>().join(",")
}

fn decoder(mapping: &str) -> (Decoder, EventBlock) {
    let path = "../config/examples/ten-rules/mappings/workload.yaml";
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&root).unwrap_or_else(|e| panic!("{path}: {e}"));
    let files = [(path.to_owned(), text), ("rows.yaml".to_owned(), ROWS.to_owned())];
    let (interner, mut vocabulary) = (Interner::shared(), Vocabulary::default());
    let faults = ingest::mapping::declare(&files, &mut vocabulary);
    assert!(faults.is_empty(), "{faults:?}");
    let vocabulary = Arc::new(vocabulary);
    let model = ingest::model::load(&[], Default::default(), &[], &vocabulary, &interner);
    let model = model.unwrap_or_else(|e| panic!("{e:?}"));
    let mappings = ingest::mapping::compile(&files, vocabulary.clone(), model.into());
    let mappings = mappings.unwrap_or_else(|e| panic!("{e:?}"));
    let source = SourceDecoding {
        mappings: vec![mapping.to_owned()],
        history: true,
        ..SourceDecoding::default()
    };
    let decoder = Decoder::new(mappings.into(), &[source], interner);
    (decoder.unwrap_or_else(|e| panic!("{e}")), EventBlock::new(&vocabulary))
}

fn decode(decoder: &mut Decoder, block: &RecordBlock, events: &mut EventBlock) {
    events.clear();
    for record in block.iter().filter(|r| r.kind == RecordKind::Delivery) {
        let outcome = decoder.decode(&record, events);
        assert!(matches!(outcome, Outcome::Decoded(1)), "{outcome:?}");
    }
}

/// The same on the road that the program takes: the block as a whole, each delivery looked at before its turn.
fn decode_on(decoder: &mut Decoder, block: &RecordBlock, events: &mut EventBlock) {
    events.clear();
    let end = decoder.decode_on(block, 0..block.len(), events, |_, outcome, _| {
        assert!(matches!(outcome, Outcome::Decoded(1)), "{outcome:?}");
    });
    assert_eq!(end, block.len(), "all are deliveries");
}

pub fn decoding(criterion: &mut Criterion) {
    let text = lines(&mut Badges::new(SEED), 2 * BLOCK);
    let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let readings: Vec<_> = all.filter(|v| v["src"] == "badge").take(BLOCK).collect();
    assert_eq!(readings.len(), BLOCK);
    let each = |form: &dyn Fn(&Value) -> String| {
        let text = readings.iter().fold(String::new(), |text, r| text + &form(r) + "\n");
        records(&text, 0)
    };
    let forms = [
        ("mapped", "workload", each(&|r| r.to_string())),
        ("canonical", "canonical", each(&|r| canonical(r).to_string())),
        ("cloudevents", "cloudevents", each(&|r| cloud_event(r).to_string())),
        ("csv", "rows", each(&row)),
    ];
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(BLOCK as u64));
    for (name, mapping, block) in &forms {
        let (mut fast, mut events) = decoder(mapping);
        // Every name and every shape is known.
        (0..3).for_each(|_| decode(&mut fast, block, &mut events));
        let before = fast.roads().first().copied().unwrap_or_default();
        decode(&mut fast, block, &mut events);
        let after = fast.roads().first().copied().unwrap_or_default();
        let scanned = after.scanned - before.scanned;
        println!("{name}: {scanned} of {BLOCK} on the fast road");
        group.bench_function(*name, |b| b.iter(|| decode(&mut fast, block, &mut events)));
        let whole = format!("{name}-block");
        group.bench_function(whole, |b| b.iter(|| decode_on(&mut fast, block, &mut events)));
        if scanned > 0 {
            let (parsing, mut events) = decoder(mapping);
            let mut parsing = parsing.parsing_only();
            let name = format!("{name}-parsed");
            group.bench_function(name, |b| b.iter(|| decode(&mut parsing, block, &mut events)));
        }
    }
    group.finish();
}
