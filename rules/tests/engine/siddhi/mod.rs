//! Cases of another engine (Siddhi's own tests), translated mechanically: every one that has a
//! counterpart gives the same rows, or stands in [`DIFFERENT`] with the difference.

mod app;

use std::collections::BTreeMap;
use std::path::Path;

use event::vocabulary::KIND_ADVANCE;
use event::{
    EventBlock, EventFlags, EventTime, FieldType, Identity, Interner, KindId, Position, SourceId,
    StreamId, Symbol, TimeSpan,
};
use rules::engine::{Engine, Findings, Input, Options, SourceOptions};
use rules::value::Value as Bound;
use serde_json::Value;

use crate::script::{compile, try_compile};
use crate::skipped::recorded;
use app::{Translation, field, kind, translate};

/// Cases that mean something else there, and what.
const DIFFERENT: &[(&str, &str)] = &[
    ("PatternPartitionTestCase.testPatternPartitionQuery9", "it lists one of its two rows"),
    ("LogicalPatternTestCase.testQuery21", "its times are computed"),
    ("LogicalPatternTestCase.testQuery22", "its times are computed"),
    (
        "AbsentPatternTestCase.testQueryAbsent43",
        "what ends a run starts none there; here it starts the next",
    ),
    (
        "AbsentWithEveryPatternTestCase.testQuery8",
        "what ends a run starts none there; here it starts the next",
    ),
    (
        "SequenceTestCase.testQuery31",
        "without `every` a broken strict sequence never starts again there",
    ),
    (
        "AbsentSequenceTestCase.testQueryAbsent6",
        "without `every` a broken strict sequence never starts again there",
    ),
    (
        "AbsentSequenceTestCase.testQueryAbsent18",
        "without `every` a broken strict sequence never starts again there",
    ),
    (
        "EveryAbsentSequenceTestCase.testQueryAbsent11",
        "without `every` a broken strict sequence never starts again there",
    ),
    (
        "AbsentSequenceTestCase.testQueryAbsent10",
        "an event that an absence permits breaks no strict order there; here it does",
    ),
    (
        "AbsentSequenceTestCase.testQueryAbsent13",
        "an event that an absence permits breaks no strict order there; here it does",
    ),
    (
        "LogicalAbsentSequenceTestCase.testQueryAbsent66",
        "it contradicts testQueryAbsent65, whose events are the same but for when they begin",
    ),
];

fn cases() -> Option<Vec<Value>> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = recorded(&project, "cep-semantics")?;
    let text = std::fs::read_to_string(dir.join("siddhi_cases.jsonl")).expect("the cases");
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a case a line")).collect())
}

/// The rows expected, in words; `None` where they are not written out.
fn expected(case: &Value) -> Option<Vec<String>> {
    let rows = case["expected_rows_in_order"].as_array()?;
    let mut out = Vec::new();
    for row in rows {
        if let Some(row) = row.as_array() {
            out.push(row.iter().map(cell).collect::<Option<Vec<_>>>()?.join(" | "));
            continue;
        }
        // `new Object[]{"A", "B"}`, as the extraction left it.
        let text = row["expr"].as_str()?;
        let inner = text.split_once('{')?.1.split_once('}')?.0;
        out.push(
            inner.split(',').map(|c| c.trim().trim_matches('"')).collect::<Vec<_>>().join(" | "),
        );
    }
    let counts = case["expected_counts"].as_array()?;
    let none = counts.iter().any(|count| {
        count["value"] == "0" && count["of"].as_str().is_some_and(|of| !of.contains("emove"))
            || count["value"] == "false"
    });
    // A case without rows proves something only where it says that there are none.
    (none || !out.is_empty()).then(|| if none { Vec::new() } else { out })
}

fn cell(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => "null".into(),
        Value::String(text) => text.clone(),
        Value::Number(n) => format!("{:.3}", n.as_f64()?),
        Value::Bool(b) => b.to_string(),
        _ => return None,
    })
}

/// One engine run over a case's steps.
struct Run<'a> {
    translation: &'a Translation,
    interner: &'a Interner,
    engine: Engine,
    block: EventBlock,
    out: Findings,
    now: i64,
    events: u64,
}

impl Run<'_> {
    fn symbol(&self, text: &str) -> Symbol {
        self.interner.intern(text).unwrap_or_default()
    }

    fn send(&mut self, id: KindId, stream: &str, data: &[Value]) -> Option<()> {
        let vocabulary = self.engine_vocabulary();
        let at = EventTime(self.now * 1_000);
        let (site, device) = (self.symbol("site"), self.symbol("device"));
        let mut texts = Vec::new();
        let fields = self.translation.streams.get(stream).cloned().unwrap_or_default();
        for ((name, _), value) in fields.iter().zip(data) {
            texts.push((field(name), value.clone()));
            if self.translation.partition.get(stream) == Some(name) {
                texts.push(("key".into(), Value::String(cell(value)?)));
            }
        }
        let texts: Vec<_> = texts
            .into_iter()
            .map(|(name, value)| {
                let symbol = value.as_str().map(|text| self.symbol(text));
                (name, value, symbol)
            })
            .collect();
        self.block.clear();
        let mut row = self.block.push();
        row.times(at, at);
        row.class(id, EventFlags::default(), StreamId(0), SourceId(0));
        self.events += 1;
        row.position(Position(self.events), 0);
        row.identity(Identity(u128::from(self.events)));
        row.place(site, device);
        for (name, value, symbol) in texts {
            let id = vocabulary.field_named(&name)?;
            match vocabulary.field(id).ty {
                FieldType::String => row.text(id, symbol?),
                FieldType::Int => row.int(id, value.as_i64()?),
                FieldType::Float => row.float(id, value.as_f64()?),
                FieldType::Bool => row.bool(id, value.as_bool()?),
                FieldType::Time => return None,
            }
        }
        let block = std::mem::replace(&mut self.block, EventBlock::new(&vocabulary));
        self.engine.feed(Input::Events(&block), &mut self.out);
        self.block = block;
        Some(())
    }

    fn engine_vocabulary(&self) -> std::sync::Arc<event::Vocabulary> {
        self.engine.plan().vocabulary.clone()
    }

    fn rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for finding in self.out.iter() {
            let why = self.out.why(finding);
            if why.len() < self.translation.columns {
                continue;
            }
            let cells = why.iter().map(|value| match value {
                Bound::Missing => "null".into(),
                Bound::Text(symbol) => self.interner.text(*symbol).to_owned(),
                Bound::Int(n) => format!("{:.3}", *n as f64),
                Bound::Float(x) => format!("{x:.3}"),
                Bound::Bool(b) => b.to_string(),
                other => format!("{other:?}"),
            });
            rows.push(cells.collect::<Vec<_>>().join(" | "));
        }
        rows
    }
}

/// The rows that our engine gives for a case's steps.
fn rows(translation: &Translation, case: &Value) -> Option<Vec<String>> {
    let interner = Interner::shared();
    let plan = compile(&translation.rulebook, &interner);
    let vocabulary = plan.vocabulary.clone();
    let options =
        Options { sources: vec![SourceOptions { slack: TimeSpan::ZERO }], ..Options::default() };
    let mut run = Run {
        translation,
        interner: &interner,
        engine: Engine::new(plan, interner.clone(), options),
        block: EventBlock::new(&vocabulary),
        out: Findings::default(),
        now: 1_000_000,
        events: 0,
    };
    let mut started = false;
    for step in case["steps"].as_array()? {
        if !started {
            if let Some(ts) = step["ts"].as_i64() {
                run.now = ts - 1;
            }
            run.send(vocabulary.kind_named("Start")?, "", &[])?;
            started = true;
        }
        if let Some(stream) = step["send"].as_str() {
            run.now = step["ts"].as_i64().unwrap_or(run.now + 1);
            let id = vocabulary.kind_named(&kind(stream))?;
            run.send(id, stream, step["data"].as_array()?)?;
        }
        run.now += step["sleep_ms"].as_i64().unwrap_or(0);
        run.now += step["wait_up_to_ms"].as_i64().unwrap_or(0);
    }
    run.now += 10;
    run.send(KIND_ADVANCE, "", &[])?;
    Some(run.rows())
}

fn known(id: &str) -> Option<&'static (&'static str, &'static str)> {
    DIFFERENT.iter().find(|(known, _)| *known == id)
}

#[test]
fn cases_of_another_engine_agree() {
    let Some(cases) = cases() else { return };
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let (mut with_rows, mut without, mut wrong) = (0, 0, Vec::new());
    for case in &cases {
        let id = case["id"].as_str().expect("an id");
        let Some(mut expected) = expected(case) else {
            *reasons.entry("it states no rows, and not that there are none").or_default() += 1;
            continue;
        };
        let translation = match translate(case["app"].as_str().expect("an app")) {
            Ok(translation) => translation,
            Err(reason) => {
                *reasons.entry(reason).or_default() += 1;
                continue;
            }
        };
        if let Err(faults) = try_compile(&translation.rulebook, &Interner::shared()) {
            *refused.entry(faults[0].message.clone()).or_default() += 1;
            continue;
        }
        let Some(mut got) = rows(&translation, case) else {
            *reasons.entry("its events are computed").or_default() += 1;
            continue;
        };
        expected.sort();
        got.sort();
        if expected == got {
            assert!(known(id).is_none(), "{id} agrees by now");
            *(if expected.is_empty() { &mut without } else { &mut with_rows }) += 1;
        } else if let Some((_, reason)) = known(id) {
            *reasons.entry(reason).or_default() += 1;
        } else {
            wrong.push(format!(
                "{id}\n{}expected {expected:?}\ngot      {got:?}\n",
                translation.rulebook
            ));
        }
    }
    println!(
        "{} cases: {with_rows} agree with rows, {without} agree that there are none",
        cases.len()
    );
    reasons.iter().for_each(|(reason, n)| println!("{n:>4} {reason}"));
    refused.iter().for_each(|(reason, n)| println!("{n:>4} refused: {reason}"));
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(with_rows >= 150, "{with_rows} with rows");
}
