//! Payloads in, events or a reason out: the shipped mappings, one of everything a mapping can say,
//! and mapping files with faults. Payloads are shaped as the makers publish them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blocks;
mod corpora;
mod faults;
mod foreign;
mod own;
mod roads;
#[path = "../../../tests/program/skipped.rs"]
mod skipped;

use std::sync::Arc;

use event::vocabulary::FieldId;
use event::{
    EventBlock, EventTime, FieldType, Interner, Position, RecordFlags, RecordKind, RecordRef,
    RejectReason, SourceId, StreamId, Vocabulary,
};
use ingest::decode::{Decoder, Outcome, SourceDecoding};
use ingest::mapping::Mappings;

/// When every delivery was recorded: 2026-01-02T03:04:05Z.
const RECORDED: EventTime = EventTime(1_767_323_045_000_000);

/// A mapping file and a model, both YAML or nothing, compiled.
fn compiled(mapping: &str, model: &str) -> (Arc<Mappings>, Arc<Interner>, Arc<Vocabulary>) {
    let file = |name: &str, text: &str| vec![(name.to_owned(), text.to_owned())];
    let files = if mapping.is_empty() { vec![] } else { file("own.yaml", mapping) };
    let interner = Interner::shared();
    let mut vocabulary = Vocabulary::default();
    let faults = ingest::mapping::declare(&files, &mut vocabulary);
    assert!(faults.is_empty(), "{faults:?}");
    let vocabulary = Arc::new(vocabulary);
    let model = if model.is_empty() { vec![] } else { file("model.yaml", model) };
    let model =
        ingest::model::load(&model, Default::default(), &[], &vocabulary, &interner).unwrap();
    let mappings = ingest::mapping::compile(&files, vocabulary.clone(), model.into());
    (mappings.unwrap().into(), interner, vocabulary)
}

/// A delivery, as the log hands it over.
fn delivery<'a>(topic: &'a str, payload: &'a [u8]) -> RecordRef<'a> {
    RecordRef {
        kind: RecordKind::Delivery,
        flags: RecordFlags::default(),
        stream: StreamId(0),
        source: SourceId(0),
        recorded: RECORDED,
        position: Position(7),
        topic: topic.as_bytes(),
        payload,
        room: payload,
    }
}

/// A decoder with what says its events in words.
struct Bench {
    decoder: Decoder,
    vocabulary: Arc<Vocabulary>,
    interner: Arc<Interner>,
}

impl Bench {
    /// A source that reads with these mappings; `mapping` and `model` are YAML.
    fn new(names: &[&str], mapping: &str, model: &str) -> Self {
        let (mappings, interner, vocabulary) = compiled(mapping, model);
        let source = SourceDecoding {
            mappings: names.iter().map(|n| (*n).to_owned()).collect(),
            site: Some("north".to_owned()),
            ..SourceDecoding::default()
        };
        let decoder = Decoder::new(mappings, &[source], interner.clone()).unwrap();
        Self { decoder, vocabulary, interner }
    }

    /// The events of one delivery, a line each, or `ignored`, or the reason.
    fn read(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> String {
        let record = delivery(topic, payload.as_ref());
        let mut block = EventBlock::new(&self.vocabulary);
        let outcome = self.decoder.decode(&record, &mut block);
        let changes = self.decoder.take_changes().into_iter().map(|change| {
            let cells = change.cells.map_or("gone".to_owned(), |c| {
                c.iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            });
            let at = change.at.map_or(String::new(), |at| format!(" at {at}"));
            format!("row {}/{} {cells}{at}", change.table, change.row)
        });
        let changes: Vec<_> = changes.collect();
        match outcome {
            Outcome::Ignored => "ignored".to_owned(),
            Outcome::Rejected(reason) => {
                assert!(
                    block.is_empty() && changes.is_empty(),
                    "nothing of a rejected delivery stays"
                );
                reason.as_str().to_owned()
            }
            Outcome::Decoded(count) => {
                assert_eq!(usize::from(count), block.len());
                let lines = (0..count).map(|i| self.line(&record, &block, i));
                lines.chain(changes).collect::<Vec<_>>().join("\n")
            }
        }
    }

    /// `KIND FEED/DEVICE/ID OCCURRED field=value …`, the site only where it is another.
    fn line(&mut self, record: &RecordRef<'_>, block: &EventBlock, part: u16) -> String {
        let cited = self.decoder.cite(record, part).unwrap();
        let row = block.get(part as usize);
        let mut words =
            vec![cited.kind().to_owned(), cited.id().to_owned(), row.occurred().to_string()];
        let site = self.interner.text(row.site());
        if site != "north" {
            words.push(format!("site={site}"));
        }
        for (slot, field) in self.vocabulary.fields().iter().enumerate() {
            let id = FieldId(slot as u8);
            let value = match field.ty {
                FieldType::String => row.text(id).map(|s| self.interner.text(s).to_owned()),
                FieldType::Int => row.int(id).map(|v| v.to_string()),
                FieldType::Float => row.float(id).map(|v| v.to_string()),
                FieldType::Bool => row.bool(id).map(|v| v.to_string()),
                FieldType::Time => row.time(id).map(|v| v.to_string()),
            };
            words.extend(value.map(|value| format!("{}={value}", field.name)));
        }
        words.join(" ")
    }
}
