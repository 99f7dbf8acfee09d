//! Rulebooks run over scripts of events.

use std::sync::Arc;

use event::config::Diagnostic;
use event::model::{Cell, ColumnType, Model, Site, Table};
use event::vocabulary::field;
use event::{
    EventBlock, EventFlags, EventTime, FieldType, Identity, Interner, Position, SourceId, StreamId,
    Symbol, TimeSpan, Vocabulary,
};
use rules::engine::{Effect, Engine, Findings, Input, Options, SourceOptions};
use rules::lang;
use rules::plan::Plan;

/// Runs a rulebook (the text under `facts:` and `rules:`) over a script: one event a line,
/// `TIME KIND field=value …`, times in seconds. What is found, one line each.
pub fn found(rulebook: &str, script: &str) -> Vec<String> {
    found_with(rulebook, script, TimeSpan::ZERO, false)
}

/// As [`found`], with a slack, and without an end of the input if `ends_open`.
pub fn found_with(rulebook: &str, script: &str, slack: TimeSpan, ends_open: bool) -> Vec<String> {
    found_in(rulebook, script, slack, ends_open, 1)
}

/// As [`found`], all events in one block.
pub fn found_at_once(rulebook: &str, script: &str) -> Vec<String> {
    found_in(rulebook, script, TimeSpan::ZERO, false, usize::MAX)
}

fn found_in(
    rulebook: &str,
    script: &str,
    slack: TimeSpan,
    ends_open: bool,
    batch: usize,
) -> Vec<String> {
    let interner = Interner::shared();
    let plan = compile(rulebook, &interner);
    let vocabulary = plan.vocabulary.clone();
    let options = Options { sources: vec![SourceOptions { slack }], ..Options::default() };
    let mut engine = Engine::new(plan.clone(), interner.clone(), options);
    let mut out = Findings::default();
    let mut block = EventBlock::new(&vocabulary);
    for (number, line) in script.lines().map(str::trim).filter(|l| !l.is_empty()).enumerate() {
        event(&mut block, &vocabulary, &interner, number as u64, line);
        if block.len() == batch {
            engine.feed(Input::Events(&block), &mut out);
            block.clear();
        }
    }
    engine.feed(Input::Events(&block), &mut out);
    if !ends_open {
        engine.feed(Input::EndOfInput, &mut out);
    }
    let mut ids = Vec::new();
    let lines = out.iter().map(|finding| {
        let mut incident = |id| {
            let known = ids.iter().position(|i| *i == id);
            known.unwrap_or_else(|| {
                ids.push(id);
                ids.len() - 1
            })
        };
        let at = finding.at.0 as f64 / 1e6;
        let rule = || plan.rules[finding.rule.0 as usize].id.clone();
        let key: Vec<_> =
            finding.key.iter().filter_map(|k| k.some()).map(|k| interner.text(k)).collect();
        let cited: Vec<_> =
            out.evidence(finding).iter().map(|e| e.position.0.to_string()).collect();
        let said = |what: String| {
            format!("{at} {} {} [{}] {what}", rule(), key.join("/"), cited.join(" "))
        };
        match finding.effect {
            Effect::Opened => said(format!("opens {}", incident(finding.id))),
            Effect::Joined(id) => said(format!("joins {}", incident(id))),
            Effect::Shadowed => said("shadow".into()),
            Effect::Linked(a, b) => format!("{at} link {} {}", incident(a), incident(b)),
            Effect::Cleared(id) => format!("{at} clears {}", incident(id)),
            Effect::Suppressed(by, id) => {
                let on = id.map_or(String::new(), |id| format!(" on {}", incident(id)));
                said(format!("suppressed by {}{on}", plan.held_by(by)))
            }
            Effect::Stale(id) => format!("{at} stale {}", incident(id)),
            Effect::Acted(id, _) => format!("{at} acted {}", incident(id)),
            Effect::Unshelved(id) => format!("{at} unshelved {}", incident(id)),
            Effect::Shelf(until, _) => said(format!("shelf until {until:?}")),
            Effect::ShelfEnded => said("shelf ended".into()),
            Effect::Escalated(id, policy) => {
                let policy = &plan.policies.escalate[usize::from(policy)].id;
                let (severity, verified) = (finding.severity.as_str(), finding.verification);
                format!("{at} raises {} by {policy}: {severity}, {verified}", incident(id))
            }
        }
    });
    lines.collect()
}

/// SplitMix64: a generator that fits a line and never changes.
pub struct Random(pub u64);

impl Random {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }
}

/// The plan of a rulebook; a fault in it fails the test.
pub fn compile(rulebook: &str, interner: &Interner) -> Arc<Plan> {
    try_compile(rulebook, interner).unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(ToString::to_string).collect::<String>())
    })
}

/// The plan of a rulebook, or its faults.
pub fn try_compile(rulebook: &str, interner: &Interner) -> Result<Arc<Plan>, Vec<Diagnostic>> {
    let files = [("test.yaml".to_owned(), rulebook.to_owned())];
    let mut vocabulary = Vocabulary::default();
    let mut files = lang::parse(&files);
    let faults = lang::declare(&mut files, &mut vocabulary);
    assert!(faults.is_empty(), "{faults:?}");
    let model = Arc::new(site(interner));
    lang::compile(files, Arc::new(vocabulary), model, interner).map(Arc::new)
}

/// Doors with limits, people with rights.
fn site(interner: &Interner) -> Model {
    let symbol = |text: &str| interner.intern(text).unwrap_or(Symbol::NONE);
    let mut model = Model::default();
    model.sites.push(Site { name: symbol("berlin"), time_zone: "Europe/Berlin".into() });
    let mut doors = Table {
        name: "doors".into(),
        entity: Some(field::DOOR),
        columns: vec![
            ("held_limit".into(), ColumnType::Duration),
            ("interlock".into(), ColumnType::String),
        ],
        ..Table::default()
    };
    let limit = || Some(Cell::Duration(TimeSpan::from_secs(30)));
    let lock = || Some(Cell::String(symbol("lock")));
    doors.rows.insert(symbol("D1"), vec![limit(), lock()]);
    doors.rows.insert(symbol("D2"), vec![None, lock()]);
    model.push(doors);
    let mut persons = Table {
        name: "persons".into(),
        entity: Some(field::PERSON),
        columns: vec![("visitor".into(), ColumnType::Bool), ("hosts".into(), ColumnType::Strings)],
        ..Table::default()
    };
    let host = vec![symbol("host")];
    let row = |visitor, hosts| vec![Some(Cell::Bool(visitor)), Some(Cell::Strings(hosts))];
    persons.rows.insert(symbol("guest"), row(true, host));
    persons.rows.insert(symbol("host"), row(false, Vec::new()));
    model.push(persons);
    let mut devices = Table {
        name: "devices".into(),
        columns: vec![("group".into(), ColumnType::String)],
        ..Table::default()
    };
    for (device, group) in [("fence-1", "fence"), ("fence-2", "fence"), ("camera-1", "camera")] {
        devices.rows.insert(symbol(device), vec![Some(Cell::String(symbol(group)))]);
    }
    model.push(devices);
    model
}

/// Adds the event of a line.
pub fn event(
    block: &mut EventBlock,
    vocabulary: &Vocabulary,
    interner: &Interner,
    number: u64,
    line: &str,
) {
    let symbol = |text: &str| interner.intern(text).unwrap_or(Symbol::NONE);
    let mut words = line.split_whitespace();
    let at = words.next().and_then(|t| t.parse::<f64>().ok()).unwrap_or_else(|| panic!("{line}"));
    let kind = words.next().and_then(|k| vocabulary.kind_named(k));
    let kind = kind.unwrap_or_else(|| panic!("{line}"));
    let mut row = block.push();
    let at = EventTime((at * 1e6) as i64);
    row.times(at, at);
    row.class(kind, EventFlags::default(), StreamId(0), SourceId(0));
    row.position(Position(number + 1), 0);
    row.identity(Identity(u128::from(number) + 1));
    let (mut where_, mut device) = (symbol("S"), symbol("dev"));
    for word in words {
        if word == "retained" {
            row.flag(EventFlags::RETAINED);
            continue;
        }
        let (name, value) = word.split_once('=').unwrap_or_else(|| panic!("{line}"));
        match name {
            "site" => where_ = symbol(value),
            "device" => device = symbol(value),
            _ => {
                let id = vocabulary.field_named(name).unwrap_or_else(|| panic!("{line}"));
                let number = || value.parse().unwrap_or_else(|_| panic!("{line}"));
                match vocabulary.field(id).ty {
                    FieldType::String => row.text(id, symbol(value)),
                    FieldType::Int => row.int(id, number()),
                    FieldType::Float => {
                        row.float(id, value.parse().expect("a number"));
                    }
                    FieldType::Bool => row.bool(id, value == "true"),
                    FieldType::Time => row.time(id, EventTime(number() * 1_000_000)),
                }
            }
        }
    }
    row.place(where_, device);
}
