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
use rules::engine::{Engine, Evicted, Findings, LateCounts, Sum, Usage};
use serde_json::Value;

use crate::cli::ReplayArgs;
use crate::cores;
use crate::history;
use crate::pipeline::Pipeline;
use crate::render::Renderer;
use crate::report::Report;
use crate::setup::Setup;
use crate::summary::Summary;

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
    if args.pin && args.threads == 1 {
        cores::pin(0);
    }
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
    let summary = Summary { ran: &ran, setup: &setup, seconds };
    if args.json {
        println!("{}", summary.json());
    } else {
        print!("{}", summary.table());
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
    pub books: Vec<SourceBooks>,
    pub usage: Vec<Usage>,
    pub evicted: Evicted,
    pub late: LateCounts,
    pub state_bytes: usize,
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
        if self.usage.is_empty() {
            self.usage = usage;
        } else {
            self.usage.iter_mut().zip(usage).for_each(|(sum, one)| *sum += one);
        }
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

fn write_lines(path: &Path, lines: impl Iterator<Item = Value>) -> anyhow::Result<()> {
    let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
    let mut out = BufWriter::new(file);
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush().with_context(|| path.display().to_string())
}
