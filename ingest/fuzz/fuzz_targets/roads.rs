//! Any bytes on both roads of decoding: the same rows or the same reason. The first byte chooses
//! the mapping; a payload whose shape is known stands before each, or the fast road would be idle.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use event::{
    EventBlock, EventTime, Interner, Position, RecordFlags, RecordKind, RecordRef, SourceId,
    StreamId, Vocabulary,
};
use ingest::decode::{Decoder, Outcome, SourceDecoding};
use libfuzzer_sys::fuzz_target;

const TEN: &str = include_str!("../../../config/examples/ten-rules/mappings/workload.yaml");
const KNOWN: [&str; 3] = [
    r#"{"kind":"AccessGranted","occurred":"2026-01-01T10:00:00.5+02:00","feed":"badge","device":"R1","id":"9","site":"S1","door":"D1","people":3,"score":0.75,"active":true}"#,
    r#"{"id":7,"ts":1700000000014,"src":"badge","type":"swipe","site":"S1","zone":"Z123","door":"D1234","badge":"B00042","dir":"in","result":"granted","reason":"ok"}"#,
    r#"{"id":1,"ts":2,"src":"cctv","type":"headcount","site":"S1","zone":"Z1","x":{"a":[1,{"b":"c"}],"d":null},"cam":"C1","heads":0}"#,
];

struct Both {
    fast: Decoder,
    slow: Decoder,
    vocabulary: Arc<Vocabulary>,
}

fn both() -> Both {
    let files = [("ten.yaml".to_owned(), TEN.to_owned())];
    let (interner, mut vocabulary) = (Interner::shared(), Vocabulary::default());
    ingest::mapping::declare(&files, &mut vocabulary);
    let vocabulary = Arc::new(vocabulary);
    let model = event::model::Model::default();
    let mappings = ingest::mapping::compile(&files, vocabulary.clone(), model.into());
    let mappings = Arc::new(mappings.expect("the mapping of the example compiles"));
    let source = |name: &str| SourceDecoding {
        mappings: vec![name.to_owned()],
        site: Some("north".to_owned()),
        ..SourceDecoding::default()
    };
    let sources = [source("canonical"), source("workload"), source("workload")];
    let decoder = || {
        let decoder = Decoder::new(mappings.clone(), &sources, interner.clone());
        decoder.expect("the mappings are there")
    };
    let mut both = Both { fast: decoder(), slow: decoder().parsing_only(), vocabulary };
    for (source, payload) in KNOWN.iter().enumerate() {
        both.compare(source as u16, payload.as_bytes());
    }
    both
}

impl Both {
    fn compare(&mut self, source: u16, payload: &[u8]) {
        let record = RecordRef {
            kind: RecordKind::Delivery,
            flags: RecordFlags::default(),
            stream: StreamId(0),
            source: SourceId(source),
            recorded: EventTime(0),
            position: Position(0),
            topic: b"",
            payload,
            room: payload,
        };
        let mut wanted = EventBlock::new(&self.vocabulary);
        let outcome = self.slow.decode(&record, &mut wanted);
        for _ in 0..2 {
            let mut block = EventBlock::new(&self.vocabulary);
            assert_eq!(self.fast.decode(&record, &mut block), outcome);
            assert!(block.iter().map(|e| e.words()).eq(wanted.iter().map(|e| e.words())));
        }
        assert!(matches!(outcome, Outcome::Decoded(_)) || wanted.is_empty());
    }
}

thread_local! {
    static BOTH: RefCell<Both> = RefCell::new(both());
}

fuzz_target!(|input: &[u8]| {
    let Some((first, payload)) = input.split_first() else { return };
    BOTH.with_borrow_mut(|both| both.compare(u16::from(first % 3), payload));
});
