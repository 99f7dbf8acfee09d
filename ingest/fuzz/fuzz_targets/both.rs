//! Any bytes on both roads of decoding: the same rows or the same reason. The first byte chooses
//! the mapping; the rest, cut at ends of lines, are deliveries of one block. Payloads whose layout
//! is known stand before them, or the fast road would be idle. `ingest/tests/decode/corpora.rs` does it too.

use std::cell::RefCell;
use std::sync::Arc;

use event::{
    EventBlock, EventTime, Interner, Position, RecordBlock, RecordFlags, RecordKind, RecordRef,
    SourceId, StreamId, Vocabulary,
};
use ingest::decode::{Decoder, SourceDecoding};

const TEN: &str = include_str!("../../../config/examples/ten-rules/mappings/workload.yaml");
/// A canonical event, and two readings of the mapping, the one without a fast road's layout.
pub const KNOWN: [&str; 3] = [
    r#"{"kind":"AccessGranted","occurred":"2026-01-01T10:00:00.5+02:00","feed":"badge","device":"R1","id":"9","site":"S1","door":"D1","people":3}"#,
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
        // Its shape, its program, and its layout, which takes two that are alike.
        (0..5).for_each(|_| both.compare(source as u16, &[payload.as_bytes()]));
        let roads = both.fast.roads()[source];
        assert!(source == 2 || roads.laid_out > 0, "the layout of {payload} is known: {roads:?}");
    }
    both
}

impl Both {
    fn compare(&mut self, source: u16, payloads: &[&[u8]]) {
        let mut records = RecordBlock::new();
        let mut wanted = EventBlock::new(&self.vocabulary);
        let mut outcomes = Vec::new();
        for payload in payloads {
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
            records.push(&record);
            outcomes.push(self.slow.decode(&record, &mut wanted));
        }
        let (mut block, mut found, mut next) = (EventBlock::new(&self.vocabulary), vec![], 0);
        while next < records.len() {
            let rest = next..records.len();
            next = self.fast.decode_on(&records, rest, &mut block, |places, outcome, _| {
                found.extend(places.map(|_| outcome));
            });
        }
        assert_eq!(found, outcomes);
        assert!(block.iter().map(|e| e.words()).eq(wanted.iter().map(|e| e.words())));
    }
}

thread_local! {
    static BOTH: RefCell<Both> = RefCell::new(both());
}

/// Panics where they differ.
pub fn any(input: &[u8]) {
    let Some((first, payload)) = input.split_first() else { return };
    BOTH.with_borrow_mut(|both| {
        let source = u16::from(first % 3);
        let known = KNOWN[usize::from(source)].as_bytes();
        let payloads = payload.split(|byte| *byte == b'\n');
        both.compare(source, &[known; 2].into_iter().chain(payloads).collect::<Vec<_>>());
    });
}
