//! `replay`: recorded files through the rules, as fast as they go.

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use event::RecordBlock;
use event::books::SourceBooks;
use event::tables::Tables;
use indicatif::{ProgressBar, ProgressStyle};
use ingest::source::file::FileReader;
use rules::engine::{
    ENTRY_BYTES, Engine, Evicted, Findings, KEY_BYTES, LateCounts, RUN_BYTES, Sum, Usage,
};
use serde_json::{Map, Value, json};

use crate::cli::ReplayArgs;
use crate::console::figures;
use crate::cores;
use crate::history;
use crate::live::{Holder, holders};
use crate::pipeline::Pipeline;
use crate::render::Renderer;
use crate::report::Report;
use crate::setup::Setup;

/// Runs the command.
pub fn replay(args: &ReplayArgs) -> anyhow::Result<()> {
    crate::huge::enlarge_heap();
    let beside = history::beside(&args.files);
    let setup = Setup::load_with(&args.config, event::Interner::shared(), &beside)?;
    let setup = Arc::new(setup);
    let files = history::files(&setup, &args.files)?.with_block_bytes(args.block_bytes);
    let wanted = args.detections.is_some() || args.incidents.is_some();
    let new_words = || if wanted { Words::new(&setup).map(Some) } else { Ok(None) };
    let mut words = new_words()?;
    let started = Instant::now();
    let mut ran = None;
    if args.threads > 1 {
        let mut files = files.again()?;
        ran = cores::replay(&setup, &mut files, usize::from(args.threads), args.pin, &mut words)?;
        if ran.is_none() {
            tracing::warn!(
                "something came late, or changed a table, and needs all sites in one place: \
                 starting over with one thread"
            );
            words = new_words()?;
        }
    }
    let ran = match ran {
        Some(ran) => ran,
        None => alone(&setup, files, args.shards, &mut words)?,
    };
    let seconds = started.elapsed().as_secs_f64();
    if let Some(words) = &words {
        words.write(args)?;
    }
    let summary = summary(&ran, &setup, seconds);
    if args.json {
        println!("{summary}");
    } else {
        print!("{}", table(&summary));
    }
    std::io::stdout().flush()?;
    // The program ends: the system takes back all at once what would go piece by piece.
    std::mem::forget((setup, ran, words));
    Ok(())
}

/// What a run has found, and what it counted.
pub struct Ran {
    pub sum: Sum,
    pub figures: Figures,
}

/// What a run counted, whoever did the work.
#[derive(Default)]
pub struct Figures {
    books: Vec<SourceBooks>,
    usage: Vec<Usage>,
    evicted: Evicted,
    late: LateCounts,
    state_bytes: usize,
}

impl Figures {
    /// Nothing but the deliveries' side of the books.
    pub fn new(books: Vec<SourceBooks>) -> Self {
        Self { books, ..Self::default() }
    }

    /// Adds the deliveries' side of what one thread decoded.
    pub fn decoded(&mut self, deliveries: &[SourceBooks]) {
        self.books.iter_mut().zip(deliveries).for_each(|(sum, one)| sum.add(one));
    }

    /// Adds what one engine counted.
    pub fn add(&mut self, engine: &Engine) {
        let usage = engine.usage();
        self.usage.resize(usage.len(), Usage::default());
        self.usage.iter_mut().zip(usage).for_each(|(sum, one)| *sum += one);
        self.books.iter_mut().zip(engine.books()).for_each(|(sum, one)| sum.add(one));
        self.evicted += engine.evicted();
        self.late += engine.late_counts();
        self.state_bytes += engine.state_bytes();
    }
}

/// All of it on this thread.
fn alone(
    setup: &Arc<Setup>,
    mut files: FileReader,
    shards: usize,
    words: &mut Option<Words>,
) -> anyhow::Result<Ran> {
    let mut pipeline = Pipeline::new(setup, shards)?;
    pipeline.read_again(setup, files.again()?)?;
    let mut sum = Sum::new(setup.plan.clone());
    let (mut block, mut findings) = (RecordBlock::new(), Findings::default());
    let bar = progress_bar(files.bytes_total());
    let several = files.inputs() > 1;
    loop {
        block.clear();
        findings.clear();
        let more = files.read(&mut block)?;
        if more {
            pipeline.step(
                &block,
                0,
                &mut findings,
                |_| {},
                |events| {
                    // Which of several files is read next hangs on how far each has come.
                    let all = several.then(|| events.iter()).into_iter().flatten();
                    all.for_each(|event| files.progress(event.stream(), event.occurred()));
                },
            )?;
        } else {
            pipeline.finish(&mut findings)?;
        }
        sum.take(&findings, &setup.interner);
        if let Some(words) = words {
            words.take(&findings, pipeline.engine.tables(), &mut files)?;
        }
        bar.set_position(files.bytes_read());
        if !more {
            break;
        }
    }
    bar.finish_and_clear();
    let mut figures = Figures::new(pipeline.deliveries().to_vec());
    figures.add(&pipeline.engine);
    Ok(Ran { sum, figures })
}

fn progress_bar(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{bar:40} {percent:>3} %  {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta}";
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

/// What is found in words, where a file of it is asked for: only then is evidence read again.
pub struct Words {
    renderer: Renderer,
    report: Report,
}

impl Words {
    fn new(setup: &Arc<Setup>) -> anyhow::Result<Self> {
        Ok(Self { renderer: Renderer::new(setup.clone())?, report: Report::default() })
    }

    /// Takes what a step has found.
    pub fn take(
        &mut self,
        findings: &Findings,
        tables: &Arc<Tables>,
        files: &mut FileReader,
    ) -> anyhow::Result<()> {
        self.renderer.know(tables);
        for finding in findings.iter() {
            self.report.take(self.renderer.output(findings, finding, files)?.change);
        }
        Ok(())
    }

    fn write(&self, args: &ReplayArgs) -> anyhow::Result<()> {
        if let Some(path) = &args.detections {
            write_lines(path, self.report.detections.values().cloned())?;
        }
        if let Some(path) = &args.incidents {
            write_lines(path, self.report.incident_lines())?;
        }
        Ok(())
    }
}

fn summary(ran: &Ran, setup: &Setup, seconds: f64) -> Value {
    let Ran { sum, figures: counted } = ran;
    let mut books = Map::new();
    let mut events = 0;
    for (source, figures) in setup.config.sources.iter().zip(&counted.books) {
        events += figures.events;
        books.insert(source.id.clone(), json!(figures));
    }
    let (mut facts, mut rules) = (Map::new(), Map::new());
    for (holder, usage) in holders(&setup.plan).zip(&counted.usage) {
        let figures = figures(usage).into();
        match holder {
            Holder::Fact(name) => facts.insert(name.to_owned(), figures),
            Holder::Rule(id) => rules.insert(id.to_owned(), figures),
        };
    }
    let given_up: Map<_, _> = counted
        .evicted
        .by_what()
        .map(|(what, n)| (what.to_owned(), n.into()))
        .into_iter()
        .collect();
    let counts = &counted.late;
    let late = json!({
        "live": counts.live,
        "recorded": counts.recorded,
        "older": counts.older,
        "dropped": counts.dropped,
        "repairs": counts.repairs,
        "incomplete": counts.incomplete,
    });
    json!({
        "books": books,
        "rules": rules,
        "facts": facts,
        "incidents": sum.incidents(),
        "seconds": (seconds * 1e6).round() / 1e6,
        "events_per_second": (events as f64 / seconds.max(1e-9)).round(),
        "hash": format!("{:032x}", sum.hash()),
        "state_bytes": counted.state_bytes,
        "state": state(&counted.usage),
        "given_up": given_up,
        "late": late,
    })
}

/// What is held at the end, and how much one of each takes.
fn state(usage: &[Usage]) -> Value {
    let total = |of: fn(&Usage) -> u64| usage.iter().map(of).sum::<u64>();
    json!({
        "keys": total(|usage| usage.keys),
        "bytes_per_key": KEY_BYTES,
        "runs": total(|usage| usage.runs),
        "bytes_per_run": RUN_BYTES,
        "events": total(|usage| usage.events),
        "bytes_per_event": ENTRY_BYTES,
    })
}

fn write_lines(path: &Path, lines: impl Iterator<Item = Value>) -> anyhow::Result<()> {
    let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
    let mut out = BufWriter::new(file);
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush().with_context(|| path.display().to_string())
}

/// Rules of which each has its line in the table, whether it has found anything or not.
const RULES_SHOWN: usize = 100;

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// The summary for people.
fn table(summary: &Value) -> String {
    let mut text = String::new();
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    for (source, books) in entries(&summary["books"]) {
        text += &format!("source {source}\n");
        for (name, value) in entries(books) {
            if let Some(reasons) = value.as_object() {
                for (reason, count) in reasons.iter().filter(|(_, n)| number(n) > 0) {
                    text += &format!("  rejected: {reason:<14} {:>12}\n", number(count));
                }
            } else if number(value) > 0 {
                text += &format!("  {name:<24} {:>12}\n", number(value));
            }
        }
    }
    text += &format!("\n{:<26} {:>12} {:>12}\n", "rule", "detections", "incidents");
    let many = entries(&summary["rules"]).count() > RULES_SHOWN;
    let mut silent = 0;
    for (rule, counts) in entries(&summary["rules"]) {
        let (detections, incidents) = (number(&counts["detections"]), number(&counts["incidents"]));
        if many && detections == 0 {
            silent += 1;
        } else {
            text += &format!("{rule:<26} {detections:>12} {incidents:>12}\n");
        }
    }
    if silent > 0 {
        text += &format!("and {silent} rules that found nothing\n");
    }
    for (what, count) in entries(&summary["given_up"]).filter(|(_, n)| number(n) > 0) {
        text += &format!("given up at a limit: {what:<18} {:>12}\n", number(count));
    }
    for (name, counts) in entries(&summary["facts"]).chain(entries(&summary["rules"])) {
        let given = ["keys_given_up", "runs_given_up", "events_given_up"];
        let given = given.map(|what| number(&counts[what]));
        if given != [0; 3] {
            let [keys, runs, events] = given;
            text += &format!("  by {name}: {keys} keys, {runs} runs, {events} events\n");
        }
    }
    let state = &summary["state"];
    text += &format!(
        "\nstate: {} keys of {} B, {} runs of {} B, {} events of {} B; {:.1} MiB with all that is reserved\n",
        number(&state["keys"]),
        number(&state["bytes_per_key"]),
        number(&state["runs"]),
        number(&state["bytes_per_run"]),
        number(&state["events"]),
        number(&state["bytes_per_event"]),
        number(&summary["state_bytes"]) as f64 / f64::from(1 << 20),
    );
    text += &format!(
        "\n{} incidents · {:.2} s · {:.0} events/s · {}\n",
        number(&summary["incidents"]),
        summary["seconds"].as_f64().unwrap_or_default(),
        summary["events_per_second"].as_f64().unwrap_or_default(),
        summary["hash"].as_str().unwrap_or_default(),
    );
    text
}
