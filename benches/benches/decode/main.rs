//! `cargo bench -p workload --bench decode`: what the way from bytes to a row costs, for the ten
//! rules' mapping and for canonical events. Fixed input, so that instructions can be counted:
//!
//! ```sh
//! valgrind --tool=callgrind --toggle-collect='*measured*' BINARY ten-rules 20000 1
//! ```
//!
//! divided by the number of events. Every name is known before the measured passes; the time is
//! that of the best. With `parsed` behind the number of passes the fast road is closed.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use event::identity::Digest;
use event::{EventBlock, Interner, Position, RecordBlock, RecordKind, RecordRef, Vocabulary};
use ingest::decode::{Decoder, Outcome, SourceDecoding};
use workload::badges::Badges;

const SEED: u64 = 42;
/// Records of one block.
const BLOCK: usize = 256;

fn decoder(mapping: &str, interner: &Arc<Interner>) -> (Decoder, Arc<Vocabulary>) {
    let path = "config/examples/ten-rules/mappings/workload.yaml";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let text = std::fs::read_to_string(&root).unwrap_or_else(|e| panic!("{path}: {e}"));
    let files = [(path.to_owned(), text)];
    let mut vocabulary = Vocabulary::default();
    let faults = ingest::mapping::declare(&files, &mut vocabulary);
    assert!(faults.is_empty(), "{faults:?}");
    let vocabulary = Arc::new(vocabulary);
    let model = ingest::model::load(&[], Default::default(), &[], &vocabulary, interner);
    let model = model.unwrap_or_else(|e| panic!("{e:?}"));
    let mappings = ingest::mapping::compile(&files, vocabulary.clone(), model.into());
    let mappings = mappings.unwrap_or_else(|e| panic!("{e:?}"));
    let source = SourceDecoding {
        mappings: vec![mapping.to_owned()],
        history: true,
        ..SourceDecoding::default()
    };
    let decoder = Decoder::new(mappings.into(), &[source], interner.clone());
    (decoder.unwrap_or_else(|e| panic!("{e}")), vocabulary)
}

fn records(lines: &str) -> Vec<RecordBlock> {
    let mut blocks = Vec::new();
    let mut at = 0;
    for line in lines.lines() {
        if at % BLOCK as u64 == 0 {
            blocks.push(RecordBlock::new());
        }
        let Some(block) = blocks.last_mut() else { continue };
        block.push(&RecordRef::plain(RecordKind::Delivery, Position(at), line.as_bytes()));
        at += 1;
    }
    blocks
}

/// The same event as canonical JSON, as `portcullis events` writes it: about 300 B.
fn canonical(row: event::EventRef<'_>, vocabulary: &Vocabulary, interner: &Interner) -> String {
    use std::fmt::Write as _;
    let mut out = format!(
        r#"{{"kind":"{}","occurred":"{}","recorded":"{}","feed":"gate","device":"{}","id":"{:032x}","site":"{}""#,
        vocabulary.kind(row.kind()).name,
        row.occurred(),
        row.recorded(),
        interner.text(row.device()),
        row.identity().0,
        interner.text(row.site())
    );
    for (slot, field) in vocabulary.fields().iter().enumerate() {
        let id = event::FieldId(slot as u8);
        let _ = match field.ty {
            event::FieldType::String => row
                .text(id)
                .map_or(Ok(()), |s| write!(out, r#","{}":"{}""#, field.name, interner.text(s))),
            _ => row.int(id).map_or(Ok(()), |n| write!(out, r#","{}":{n}"#, field.name)),
        };
    }
    out + "}\n"
}

/// What is counted: decoding and nothing else.
#[inline(never)]
fn measured(decoder: &mut Decoder, blocks: &[RecordBlock], events: &mut EventBlock) -> usize {
    let mut made = 0;
    for block in blocks {
        events.clear();
        let end = decoder.decode_on(block, 0..block.len(), events, |_, outcome, _| {
            assert!(matches!(outcome, Outcome::Decoded(1)), "{outcome:?}");
        });
        assert_eq!(end, block.len(), "all are deliveries");
        made += events.len();
    }
    made
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let which = args.first().cloned();
    let count = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let passes = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(9);
    let parsed = args.get(3).is_some_and(|a| a == "parsed");
    let mut badges = Badges::new(SEED);
    let mut lines = String::new();
    (0..count).for_each(|_| badges.line(&mut lines));
    for name in ["ten-rules", "canonical"] {
        if which.as_deref().is_some_and(|w| w != name) {
            continue;
        }
        let interner = Interner::shared();
        let (mut workload, vocabulary) = decoder("workload", &interner);
        let mut events = EventBlock::new(&vocabulary);
        let mut blocks = records(&lines);
        let mut decoder = if name == "canonical" {
            let mut text = String::new();
            for block in &blocks {
                events.clear();
                for record in block.iter() {
                    workload.decode(&record, &mut events);
                }
                events.iter().for_each(|r| text += &canonical(r, &vocabulary, &interner));
            }
            blocks = records(&text);
            decoder("canonical", &interner).0
        } else {
            workload
        };
        if parsed {
            decoder = decoder.parsing_only();
        }
        let mut digest = Digest::default();
        for block in &blocks {
            events.clear();
            for record in block.iter() {
                decoder.decode(&record, &mut events);
            }
            for row in events.iter() {
                digest = digest.number(row.identity().0).number(row.occurred().0 as u128);
            }
        }
        let bytes: usize = blocks.iter().map(RecordBlock::bytes).sum();
        let (mut made, mut best) = (0, f64::INFINITY);
        for _ in 0..passes {
            let begun = Instant::now();
            made = measured(&mut decoder, &blocks, &mut events);
            best = best.min(begun.elapsed().as_nanos() as f64);
        }
        println!(
            "{name}: {made} events of {} B, {:.0} ns an event, hash {:032x}",
            bytes / made.max(1),
            best / made.max(1) as f64,
            digest.finish()
        );
    }
}
