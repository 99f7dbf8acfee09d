//! Decoder and engine of `config/examples/ten-rules`, put together as the program does.

#![allow(dead_code, reason = "each of the benches uses a part of it")]

use std::path::Path;
use std::sync::Arc;

use event::config::Diagnostic;
use event::{
    EventBlock, Interner, Position, RecordBlock, RecordKind, RecordRef, SourceId, StreamId,
    TimeSpan, Vocabulary,
};
use ingest::decode::{Decoder, Outcome, SourceDecoding};
use rules::engine::{Engine, Findings, Input, LateOptions, Options, SourceOptions, Sum};

/// The way from records to findings.
pub struct Rig {
    decoder: Decoder,
    engine: Engine,
    pub events: EventBlock,
    pub findings: Findings,
    pub interner: Arc<Interner>,
    pub vocabulary: Arc<Vocabulary>,
    pub sum: Sum,
}

fn read(name: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/ten-rules");
    let path = root.join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    vec![(name.to_owned(), text)]
}

fn good<T>(result: Result<T, Vec<Diagnostic>>) -> T {
    result.unwrap_or_else(|faults| panic!("{faults:?}"))
}

impl Rig {
    /// Loads the configuration.
    pub fn new() -> Self {
        Self::over(read("rules/ten.yaml"), &[])
    }

    /// The same with another rulebook.
    pub fn of(rulebook: &str) -> Self {
        Self::with(rulebook, "tables: {}")
    }

    /// The same with tables.
    pub fn with(rulebook: &str, tables: &str) -> Self {
        let file = |name: &str, text: &str| vec![(name.to_owned(), text.to_owned())];
        Self::over(file("rules.yaml", rulebook), &file("model.yaml", tables))
    }

    fn over(rulebook: Vec<(String, String)>, tables: &[(String, String)]) -> Self {
        let mappings = read("mappings/workload.yaml");
        let interner = Interner::shared();
        let mut vocabulary = Vocabulary::default();
        let mut faults = ingest::mapping::declare(&mappings, &mut vocabulary);
        let mut rulebook = rules::lang::parse(&rulebook);
        faults.extend(rules::lang::declare(&mut rulebook, &mut vocabulary));
        assert!(faults.is_empty(), "{faults:?}");
        let vocabulary = Arc::new(vocabulary);
        let model = ingest::model::load(tables, Default::default(), &[], &vocabulary, &interner);
        let model = Arc::new(good(model));
        let mappings = ingest::mapping::compile(&mappings, vocabulary.clone(), model.clone());
        let plan = rules::lang::compile(rulebook, vocabulary.clone(), model, &interner);
        let source = SourceDecoding {
            mappings: vec!["workload".to_owned()],
            history: true,
            ..SourceDecoding::default()
        };
        let options = Options {
            sources: vec![SourceOptions { slack: TimeSpan::from_secs(2) }],
            duplicates_within: TimeSpan::from_secs(600),
            duplicates_max: 2_000_000,
            late: LateOptions { recorded: TimeSpan::from_secs(200), ..LateOptions::default() },
            ..Options::default()
        };
        let decoder = Decoder::new(good(mappings).into(), &[source], interner.clone());
        let decoder = decoder.unwrap_or_else(|e| panic!("{e}"));
        let plan = Arc::new(good(plan));
        let mut rig = Self {
            decoder,
            sum: Sum::new(plan.clone()),
            engine: Engine::new(plan, interner.clone(), options),
            events: EventBlock::new(&vocabulary),
            findings: Findings::default(),
            interner,
            vocabulary,
        };
        rig.decoder.know(rig.engine.tables());
        let opened = Input::StreamOpened(StreamId(0), SourceId(0));
        rig.engine.feed(opened, &mut rig.findings);
        rig
    }

    /// Decodes every record into `events`.
    pub fn decode(&mut self, records: &RecordBlock) {
        self.events.clear();
        let end =
            self.decoder.decode_on(records, 0..records.len(), &mut self.events, |_, outcome, _| {
                assert!(matches!(outcome, Outcome::Decoded(1)), "{outcome:?}");
            });
        assert_eq!(end, records.len(), "all are deliveries");
    }

    /// Steps the engine over what was decoded; the findings are of this step.
    pub fn step(&mut self) {
        self.findings.clear();
        self.engine.feed(Input::Events(&self.events), &mut self.findings);
    }

    /// Steps the engine over events decoded elsewhere.
    pub fn feed(&mut self, events: &EventBlock) {
        self.findings.clear();
        self.engine.feed(Input::Events(events), &mut self.findings);
    }

    /// What a rule is called.
    pub fn rule(&self, rule: rules::plan::RuleId) -> &str {
        &self.engine.plan().rules[rule.0 as usize].id
    }

    /// Nothing follows.
    pub fn finish(&mut self) {
        self.findings.clear();
        self.engine.feed(Input::EndOfInput, &mut self.findings);
    }

    /// Adds what the last step found to the sum.
    pub fn sum(&mut self) {
        self.sum.take(&self.findings, &self.interner);
    }
}

/// Lines as the records of one block, at their byte offsets from `base`.
pub fn records(lines: &str, base: u64) -> RecordBlock {
    let mut block = RecordBlock::new();
    let mut at = base;
    for line in lines.split_inclusive('\n') {
        block.push(&RecordRef::plain(
            RecordKind::Delivery,
            Position(at),
            line.trim_end().as_bytes(),
        ));
        at += line.len() as u64;
    }
    block
}
