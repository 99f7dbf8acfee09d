//! Recorded history, read again: files, or the log of a data folder whose program runs or not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use event::{
    EventBlock, EventRef, EventTime, Position, RecordBlock, RecordRef, SourceId, StreamId,
};
use ingest::log::LogReader;
use ingest::source::file::{FileInput, FileReader};
use ingest::source::kafka::Again;
use ingest::source::settings::SourceSettings;
use rules::engine::Findings;

use crate::config::{Config, matches};
use crate::pipeline::Pipeline;
use crate::render::{Evidences, Found};
use crate::setup::Setup;

/// Bytes of log read at once.
const STEP_BYTES: usize = 256 * 1024;

/// Where history is read from.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// Folder of log and store, of a program that runs or has run; it is only read.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Recorded files instead: NDJSON or CSV, plain or .gz.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// History that is being read.
pub enum History {
    /// Files: at their end time moves past the last deadline.
    Files(FileReader),
    /// A log, as far as it stood when it was opened: what waits then is not decided yet.
    Log(Box<LogReader>),
}

impl Evidences for FileReader {
    fn read(&mut self, position: Position, block: &mut RecordBlock) -> std::io::Result<Found> {
        Ok(if self.at(position, block)? { Found::There } else { Found::Pruned })
    }

    fn oldest(&self) -> Position {
        Position(0)
    }

    fn read_on(&mut self, from: Position, block: &mut RecordBlock) -> std::io::Result<Position> {
        FileReader::read_on(self, from, block)
    }
}

impl Evidences for History {
    fn read(&mut self, position: Position, block: &mut RecordBlock) -> std::io::Result<Found> {
        match self {
            Self::Files(files) => Evidences::read(files, position, block),
            Self::Log(log) => Found::of(log.at(position, block)),
        }
    }

    fn lacked(&mut self) -> bool {
        match self {
            Self::Files(_) => false,
            Self::Log(log) => log.lacked(),
        }
    }

    fn oldest(&self) -> Position {
        match self {
            Self::Files(_) => Position(0),
            Self::Log(log) => log.oldest(),
        }
    }

    fn read_on(&mut self, from: Position, block: &mut RecordBlock) -> std::io::Result<Position> {
        match self {
            Self::Files(files) => files.read_on(from, block),
            Self::Log(log) => log_from(log, from, block),
        }
    }
}

/// Reads about a block of a log from a position on; where to go on.
pub fn log_from(
    log: &mut LogReader,
    from: Position,
    block: &mut RecordBlock,
) -> std::io::Result<Position> {
    log.seek(from).map_err(std::io::Error::other)?;
    log.read(block, STEP_BYTES).map_err(std::io::Error::other)?;
    Ok(log.position())
}

impl History {
    /// Opens what was named.
    pub fn open(setup: &Setup, args: &HistoryArgs) -> anyhow::Result<Self> {
        match (&args.data, args.files.is_empty()) {
            (Some(_), false) => bail!("history is read from --data or from files, not from both"),
            (None, true) => bail!("name the history: --data DIR, or recorded files"),
            (None, false) => files(setup, &args.files).map(Self::Files),
            (Some(data), true) => {
                let log = LogReader::beside(&data.join("log"))
                    .with_context(|| format!("the log in {}", data.display()))?;
                let payloads = Arc::new(Again::new(&setup.config.sources));
                log.map(|log| Self::Log(Box::new(log.with_payloads(payloads))))
                    .with_context(|| format!("no log in {}", data.display()))
            }
        }
    }

    /// The same history, to read parts of it again while it is read.
    pub fn again(&self) -> anyhow::Result<Self> {
        Ok(match self {
            Self::Files(files) => Self::Files(files.again()?),
            Self::Log(log) => Self::Log(log.clone()),
        })
    }

    fn read_some(&mut self, block: &mut RecordBlock) -> anyhow::Result<bool> {
        Ok(match self {
            Self::Files(files) => files.read(block)?,
            Self::Log(log) => log.read(block, STEP_BYTES)? > 0,
        })
    }

    fn progress(&mut self, stream: StreamId, occurred: EventTime) {
        if let Self::Files(files) = self {
            files.progress(stream, occurred);
        }
    }

    /// Shows every record from where it is to its end.
    pub fn records(&mut self, mut see: impl FnMut(RecordRef<'_>)) -> anyhow::Result<()> {
        let mut block = RecordBlock::new();
        while self.read_some(&mut block)? {
            block.iter().for_each(&mut see);
            block.clear();
        }
        Ok(())
    }

    /// Goes to where a configuration's engine began, where the log still reaches so far back.
    /// Whether it does.
    pub fn seek(&mut self, to: Position) -> anyhow::Result<bool> {
        let Self::Log(log) = self else { return Ok(true) };
        let reaches = to >= log.oldest();
        if reaches {
            log.seek(to)?;
        }
        Ok(reaches)
    }

    /// Reads it from where it is to its end through a pipeline. `saw` is shown every event as it is
    /// decoded; `found` takes the findings of each step, and says whether to go on.
    pub fn walk(
        &mut self,
        pipeline: &mut Pipeline,
        findings: &mut Findings,
        mut saw: impl FnMut(EventRef<'_>),
        mut found: impl FnMut(&mut Findings, &mut Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let mut block = RecordBlock::new();
        loop {
            block.clear();
            findings.clear();
            let more = self.read_some(&mut block)?;
            if more {
                let mut seen = |events: &EventBlock| {
                    for event in events.iter() {
                        self.progress(event.stream(), event.occurred());
                        saw(event);
                    }
                };
                let mut from = 0;
                // Whatever took over then, here it is all judged by one.
                while let Some((place, _)) =
                    pipeline.step(&block, from, findings, |_| {}, &mut seen)?
                {
                    from = place + 1;
                }
            } else if matches!(self, Self::Files(_)) {
                pipeline.finish(findings)?;
            }
            if !found(findings, self)? || !more {
                return Ok(());
            }
        }
    }
}

/// A table's data file may stand beside the recorded files.
pub fn beside(files: &[PathBuf]) -> Vec<PathBuf> {
    files.iter().filter_map(|f| f.parent()).map(Path::to_owned).collect()
}

/// A reader of recorded files, each under the source that takes it.
pub fn files(setup: &Setup, files: &[PathBuf]) -> anyhow::Result<FileReader> {
    let inputs = files
        .iter()
        .map(|path| Ok(FileInput { path: path.clone(), source: source_of(setup, path)? }));
    let inputs: Vec<_> = inputs.collect::<anyhow::Result<_>>()?;
    Ok(FileReader::open(&inputs)?)
}

/// The source that reads a file: the first whose patterns fit the file's name.
fn source_of(setup: &Setup, path: &Path) -> anyhow::Result<SourceId> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let sources = &setup.config.sources;
    let fits = |s: &SourceSettings| Config::files_of(s).iter().any(|p| matches(p, &name));
    let found = sources.iter().position(fits).or_else(|| {
        // With one source, or for standard input, there is nothing to choose.
        let any = name == "-" || sources.iter().all(|s| Config::files_of(s).is_empty());
        (any && !sources.is_empty()).then_some(0)
    });
    let Some(index) = found else {
        bail!(
            "no source takes {}: add `files: [\"{name}\"]` to a source in portcullis.yaml",
            path.display()
        );
    };
    Ok(SourceId(index as u16))
}
