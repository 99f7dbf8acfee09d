//! `replay`: recorded files through the rules, as fast as they go.

use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use event::identity::{Digest, TimedId};
use event::incident::{Change, Detection, Severity};
use event::{EventTime, Position, RecordBlock, SourceId};
use indicatif::{ProgressBar, ProgressStyle};
use ingest::source::file::{FileInput, FileReader};
use ingest::source::settings::SourceSettings;
use rules::engine::Findings;
use serde_json::{Map, Value, json};

use crate::cli::ReplayArgs;
use crate::config::{Config, matches};
use crate::pipeline::Pipeline;
use crate::render::{Evidences, Renderer};
use crate::setup::Setup;

impl Evidences for FileReader {
    fn read(&mut self, position: Position, block: &mut RecordBlock) -> std::io::Result<bool> {
        self.at(position, block)
    }
}

/// An incident as far as it was told.
struct Told {
    rule: String,
    severity: Severity,
    site: String,
    area: Option<String>,
    opened_at: EventTime,
    detections: Vec<TimedId>,
    events: Vec<String>,
    links: Vec<TimedId>,
}

/// What was found, in the order of ids.
#[derive(Default)]
struct Report {
    incidents: BTreeMap<TimedId, Told>,
    detections: BTreeMap<(TimedId, String), Value>,
}

/// Runs the command.
pub fn replay(args: &ReplayArgs) -> anyhow::Result<()> {
    // A table's data file may stand beside the recorded files.
    let beside: Vec<_> = args.files.iter().filter_map(|f| f.parent()).map(Path::to_owned).collect();
    let setup = Setup::load_with(&args.config, event::Interner::shared(), &beside)?;
    let inputs = args
        .files
        .iter()
        .map(|path| Ok(FileInput { path: path.clone(), source: source_of(&setup, path)? }));
    let inputs: Vec<_> = inputs.collect::<anyhow::Result<_>>()?;
    let mut files = FileReader::open(&inputs)?.with_block_bytes(args.block_bytes);
    let mut pipeline = Pipeline::new(&setup, args.shards)?;
    let mut renderer = Renderer::new(&setup)?;
    let mut report = Report::default();
    let (mut block, mut findings) = (RecordBlock::new(), Findings::default());
    let bar = progress_bar(files.bytes_total());
    let started = Instant::now();
    loop {
        block.clear();
        findings.clear();
        let more = files.read(&mut block)?;
        if more {
            pipeline.step(
                &block,
                &mut findings,
                |_| {},
                |event| files.progress(event.stream(), event.occurred()),
            );
        } else {
            pipeline.finish(&mut findings);
        }
        for finding in findings.iter() {
            let output = renderer.output(&findings, finding, &mut files)?;
            report.take(output.change);
        }
        bar.set_position(files.bytes_read());
        if !more {
            break;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    report.write(args)?;
    let summary = report.summary(&setup, &pipeline, seconds);
    if args.json {
        println!("{summary}");
    } else {
        print!("{}", table(&summary));
    }
    Ok(())
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

impl Report {
    fn take(&mut self, change: Change) {
        match change {
            Change::Opened(incident, detection) => {
                let told = Told {
                    rule: incident.rule,
                    severity: incident.severity,
                    site: incident.site,
                    area: incident.area,
                    opened_at: incident.opened_at,
                    detections: Vec::new(),
                    events: Vec::new(),
                    links: Vec::new(),
                };
                self.incidents.insert(incident.id, told);
                self.detected(&detection);
            }
            Change::Joined(detection) | Change::Shadowed(detection) => self.detected(&detection),
            Change::Linked { incident, to, .. } => {
                for (one, other) in [(incident, to), (to, incident)] {
                    if let Some(told) = self.incidents.get_mut(&one) {
                        told.links.push(other);
                    }
                }
            }
            Change::Cleared { .. } => {}
        }
    }

    fn detected(&mut self, detection: &Detection) {
        let events: Vec<_> = detection.events.iter().map(|e| e.id.clone()).collect();
        if let Some(told) = detection.incident.and_then(|id| self.incidents.get_mut(&id)) {
            told.severity = told.severity.max(detection.severity);
            told.detections.push(detection.id);
            for event in &events {
                if !told.events.contains(event) {
                    told.events.push(event.clone());
                }
            }
        }
        let line = json!({
            "id": detection.id,
            "rule": detection.rule,
            "key": detection.key,
            "at": detection.at,
            "events": events,
            "site": detection.site,
            "severity": detection.severity,
            "incident": detection.incident,
            "evidence_omitted": detection.evidence_omitted,
            "why": detection.why.iter().cloned().collect::<BTreeMap<_, _>>(),
        });
        self.detections.insert((detection.id, detection.rule.clone()), line);
    }

    fn incident_lines(&self) -> impl Iterator<Item = Value> {
        self.incidents.iter().map(|(id, told)| {
            json!({
                "id": id,
                "rule": told.rule,
                "severity": told.severity,
                "site": told.site,
                "area": told.area,
                "opened_at": told.opened_at,
                "detections": told.detections,
                "events": told.events,
                "links": told.links,
            })
        })
    }

    fn write(&self, args: &ReplayArgs) -> anyhow::Result<()> {
        if let Some(path) = &args.detections {
            write_lines(path, self.detections.values().cloned())?;
        }
        if let Some(path) = &args.incidents {
            write_lines(path, self.incident_lines())?;
        }
        Ok(())
    }

    fn summary(&self, setup: &Setup, pipeline: &Pipeline, seconds: f64) -> Value {
        let mut books = Map::new();
        let mut events = 0;
        for (source, figures) in setup.config.sources.iter().zip(pipeline.books()) {
            events += figures.events;
            books.insert(source.id.clone(), json!(figures));
        }
        let counts = pipeline.engine.rule_counts();
        let rules: Map<_, _> = setup
            .plan
            .rules
            .iter()
            .zip(counts)
            .map(|(rule, count)| {
                let counts = json!({"detections": count.detections, "incidents": count.incidents});
                (rule.id.clone(), counts)
            })
            .collect();
        let mut digest = Digest::default();
        for line in self.incident_lines() {
            digest = digest.part(line.to_string().as_bytes());
        }
        json!({
            "books": books,
            "rules": rules,
            "incidents": self.incidents.len(),
            "seconds": (seconds * 1e6).round() / 1e6,
            "events_per_second": (events as f64 / seconds.max(1e-9)).round(),
            "hash": format!("{:032x}", digest.finish()),
            "state_bytes": pipeline.engine.state_bytes(),
            "evicted": pipeline.engine.evicted(),
        })
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

/// The summary for people.
fn table(summary: &Value) -> String {
    let mut text = String::new();
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let empty = Map::new();
    let object = |value: &Value| value.as_object().unwrap_or(&empty).clone();
    for (source, books) in object(&summary["books"]) {
        text += &format!("source {source}\n");
        for (name, value) in &object(&books) {
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
    for (rule, counts) in object(&summary["rules"]) {
        let (detections, incidents) = (number(&counts["detections"]), number(&counts["incidents"]));
        text += &format!("{rule:<26} {detections:>12} {incidents:>12}\n");
    }
    text += &format!(
        "\n{} incidents · {:.2} s · {:.0} events/s · {}\n",
        number(&summary["incidents"]),
        summary["seconds"].as_f64().unwrap_or_default(),
        summary["events_per_second"].as_f64().unwrap_or_default(),
        summary["hash"].as_str().unwrap_or_default(),
    );
    text
}
