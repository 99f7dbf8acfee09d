//! Lane A of the peers: what a decoded event costs the engine, correlation and evidence included.
//!
//! ```sh
//! cargo run --release -p workload --example objects -- FILE [--strings] [--ids OUT]
//! ```
//!
//! Events are decoded before the clock starts, a tenth of the file at a time, so that they come
//! from memory and not from a cache. With `--strings` they are objects of texts, as other engines
//! get them, and are interned and laid out while the clock runs. The figure is the best tenth's CPU time
//! of this thread, as it is taken of the others: of a run without `--ids`, which writes alerts while the
//! clock runs. Memory is the program's allocator's.

#[allow(dead_code, reason = "the program makes pages ready, too")]
#[path = "../../src/huge.rs"]
mod huge;
#[path = "../benches/way/rig.rs"]
mod rig;

use std::fmt::Write as _;

use event::{
    EventBlock, EventFlags, EventTime, Identity, KindId, Position, RecordBlock, SourceId, StreamId,
    Symbol, SymbolCache,
};
use rig::{Rig, records};

#[global_allocator]
static MEMORY: huge::Huge = huge::Huge;

/// Events that the engine is given at once.
const BLOCK: usize = 1_000;

/// An event as an object of texts: fields by name, `None` where it has none.
struct Object {
    occurred: EventTime,
    id: u64,
    kind: KindId,
    feed: String,
    device: String,
    site: String,
    texts: Vec<(event::FieldId, String)>,
    ints: Vec<(event::FieldId, i64)>,
}

/// Nanoseconds that this thread has been on a CPU, to the nanosecond: in `/proc` they stand as of the last tick.
fn spent() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as u64 * 1_000_000_000 + spent.tv_nsec as u64
}

/// Peak MiB of this process.
fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() / 1_024
}

/// The number behind a key of a line of the traffic.
fn number(line: &str, key: &str) -> Option<u64> {
    let (_, rest) = line.split_once(&format!("\"{key}\":"))?;
    rest[..rest.find([',', '}'])?].parse().ok()
}

impl Object {
    fn of(line: &str, event: event::EventRef<'_>, rig: &Rig) -> Self {
        let text = |symbol| rig.interner.text(symbol).to_owned();
        let fields = rig.vocabulary.fields().iter().enumerate();
        let (mut texts, mut ints) = (Vec::new(), Vec::new());
        for (slot, field) in fields {
            let id = event::FieldId(slot as u8);
            match field.ty {
                event::FieldType::String => texts.extend(event.text(id).map(|s| (id, text(s)))),
                _ => ints.extend(event.int(id).map(|n| (id, n))),
            }
        }
        let feed = line.split_once("\"src\":\"").and_then(|(_, rest)| rest.split_once('"'));
        Self {
            occurred: event.occurred(),
            id: number(line, "id").unwrap_or_default(),
            kind: event.kind(),
            feed: feed.map(|(name, _)| name.to_owned()).unwrap_or_default(),
            device: text(event.device()),
            site: text(event.site()),
            texts,
            ints,
        }
    }

    /// Lays it out as a row.
    fn lay_out(&self, symbols: &mut SymbolCache, position: u64, out: &mut EventBlock) {
        let mut symbol = |text: &str| symbols.intern(text).unwrap_or(Symbol::NONE);
        let mut row = out.push();
        row.times(self.occurred, self.occurred);
        let id = self.id.to_string();
        let (feed, device) = (self.feed.as_bytes(), self.device.as_bytes());
        row.identity(Identity::new(feed, device, id.as_bytes(), None));
        row.class(self.kind, EventFlags::default(), StreamId(0), SourceId(0));
        row.place(symbol(&self.site), symbol(&self.device));
        row.position(Position(position), 0);
        for (field, text) in &self.texts {
            row.text(*field, symbol(text));
        }
        for (field, number) in &self.ints {
            row.int(*field, *number);
        }
    }
}

/// Alerts as the oracle writes them, a line each.
fn alerts(rig: &Rig, ids: &[u64], out: &mut String) {
    for finding in rig.findings.iter() {
        let rule = rig.rule(finding.rule);
        let cited = rig.findings.evidence(finding);
        let cited = match (rule, cited) {
            ("R5", [first, ..]) => std::slice::from_ref(first),
            ("R4" | "R6" | "R7" | "R10", all) => all,
            (_, [.., last]) => std::slice::from_ref(last),
            (_, []) => &[],
        };
        out.push_str(rule);
        for event in cited {
            let _ = write!(out, " {}", ids[event.position.0 as usize]);
        }
        out.push('\n');
    }
}

/// The lines as blocks of records; a position is the number of the line.
fn numbered(lines: &[&str], first: usize) -> impl Iterator<Item = RecordBlock> {
    let block = move |(n, lines): (usize, &[&str])| {
        let mut block = RecordBlock::new();
        for (place, line) in lines.iter().enumerate() {
            for record in records(line, (first + n * BLOCK + place) as u64).iter() {
                block.push(&record);
            }
        }
        block
    };
    lines.chunks(BLOCK).enumerate().map(block)
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let after = |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1));
    let (strings, wanted) = (args.iter().any(|a| a == "--strings"), after("--ids"));
    let Some(path) = args.first() else {
        eprintln!("objects FILE [--strings] [--ids OUT]");
        std::process::exit(2);
    };
    huge::enlarge_heap();
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let lines: Vec<_> = text.lines().collect();
    let ids: Vec<_> = lines.iter().map(|l| number(l, "id").unwrap_or_default()).collect();
    let mut rig = Rig::new();
    let mut symbols = SymbolCache::new(rig.interner.clone());
    let (mut told, mut best, mut all) = (String::new(), f64::INFINITY, 0);
    let mut found = 0;
    let tenth = lines.len().div_ceil(10).max(1);
    for (nth, some) in lines.chunks(tenth).enumerate() {
        let mut blocks = Vec::new();
        let mut objects = Vec::new();
        for records in numbered(some, nth * tenth) {
            rig.decode(&records);
            if strings {
                let first = nth * tenth + objects.len();
                let rows = rig.events.iter().enumerate();
                objects.extend(rows.map(|(n, row)| Object::of(lines[first + n], row, &rig)));
            } else {
                blocks.push(rig.events.clone());
            }
        }
        let begun = spent();
        if strings {
            for (n, some) in objects.chunks(BLOCK).enumerate() {
                rig.events.clear();
                for (place, object) in some.iter().enumerate() {
                    let position = nth * tenth + n * BLOCK + place;
                    object.lay_out(&mut symbols, position as u64, &mut rig.events);
                }
                rig.step();
                found += rig.findings.len();
                if wanted.is_some() {
                    alerts(&rig, &ids, &mut told);
                }
            }
        } else {
            for block in &blocks {
                rig.feed(block);
                found += rig.findings.len();
                if wanted.is_some() {
                    alerts(&rig, &ids, &mut told);
                }
            }
        }
        let took = spent() - begun;
        all += took;
        best = best.min(took as f64 / some.len() as f64);
    }
    rig.finish();
    found += rig.findings.len();
    alerts(&rig, &ids, &mut told);
    if let Some(path) = wanted {
        std::fs::write(path, &told).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    println!(
        r#"{{"engine":"portcullis","lane":"A","events":{},"ns_per_event":{:.1},"ns_per_event_best_chunk":{best:.1},"alerts":{found},"peak_mib":{}}}"#,
        lines.len(),
        all as f64 / lines.len().max(1) as f64,
        peak()
    );
}
