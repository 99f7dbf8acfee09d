//! `backtest`: history under two rulebooks, and the incidents that appear, vanish or change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use event::identity::TimedId;
use event::{EventTime, Position, TimeSpan};
use rules::engine::Findings;
use serde_json::{Value, json};

use crate::history::{self, History, HistoryArgs};
use crate::pipeline::Pipeline;
use crate::render::Renderer;
use crate::report::{Report, Told};
use crate::setup::Setup;

/// What the program ends with where `--exit-code` asks, and something differs.
const DIFFERS: i32 = 3;

/// What to compare, and over what.
#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// Folder of the configuration; may be left out where --rules and --against are such folders.
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// The new rules: a configuration's folder, or a rulebook (a folder or a file of it) that is
    /// laid over --config.
    #[arg(long, value_name = "NEW")]
    pub rules: PathBuf,
    /// The old rules, named in the same way; --config as it is, where nothing is said; without it
    /// those that are in force by --data.
    #[arg(long, value_name = "OLD")]
    pub against: Option<PathBuf>,
    /// Folder of log and store, of a program that runs or has run; it is only read.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
    /// End with 3 where something differs.
    #[arg(long)]
    pub exit_code: bool,
    /// Whose incidents: each end RFC 3339, a day, or a span back from the end of the history
    /// (`-30d..`). What is before FROM fills the windows.
    #[arg(value_name = "FROM..TO", allow_hyphen_values = true)]
    pub range: Option<String>,
    /// Recorded files instead of --data: NDJSON or CSV, plain or .gz.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// One end of a range.
#[derive(Clone, Copy)]
enum End {
    /// That of the history.
    Open,
    At(EventTime),
    /// So long before the end of the history.
    Back(TimeSpan),
}

impl End {
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Open);
        }
        if let Some(span) = text.strip_prefix('-').and_then(TimeSpan::parse) {
            return Some(Self::Back(span));
        }
        let day = format!("{text}T00:00:00Z");
        EventTime::parse_rfc3339(text.as_bytes())
            .or_else(|| EventTime::parse_rfc3339(day.as_bytes()))
            .map(Self::At)
    }

    fn time(self, open: EventTime, last: EventTime) -> EventTime {
        match self {
            Self::Open => open,
            Self::At(at) => at,
            Self::Back(span) => last.minus(span),
        }
    }
}

/// What one rulebook made of the history.
struct Side {
    name: String,
    hash: String,
    report: Report,
    rules: Vec<String>,
}

/// What was seen of the history itself.
#[derive(Clone, Copy)]
struct Seen {
    events: u64,
    first: EventTime,
    last: EventTime,
}

/// An incident that both found.
struct Change<'a> {
    id: TimedId,
    old: &'a Told,
    new: &'a Told,
    /// Detections that both found, with other evidence or other bound values.
    altered: Vec<String>,
}

/// All that differs.
struct Comparison<'a> {
    old: &'a Side,
    new: &'a Side,
    range: (EventTime, EventTime),
    appear: Vec<TimedId>,
    vanish: Vec<TimedId>,
    change: Vec<Change<'a>>,
}

/// Runs the command.
pub fn backtest(args: &BacktestArgs) -> anyhow::Result<()> {
    let ends = args.range.as_deref().and_then(|text| text.split_once(".."));
    let range = ends.and_then(|(from, to)| Some((End::parse(from)?, End::parse(to)?)));
    // What is no range is a file, and all of the history is looked at.
    let first = args.range.as_ref().filter(|_| range.is_none()).map(PathBuf::from);
    let files = first.into_iter().chain(args.files.iter().cloned()).collect();
    let from = HistoryArgs { data: args.data.clone(), files };
    let new = load(args, Some(&args.rules), &from)?;
    let old = load(args, args.against.as_deref(), &from)?;
    let (old, _) = run(old, name(args, args.against.as_deref()), &from)?;
    let (new, seen) = run(new, name(args, Some(&args.rules)), &from)?;
    let (begin, end) = range.unwrap_or((End::Open, End::Open));
    let range = (begin.time(EventTime::MIN, seen.last), end.time(EventTime::MAX, seen.last));
    if range.0 >= range.1 {
        bail!("{} is not before {}", range.0, range.1);
    }
    let comparison = Comparison::of(&old, &new, range);
    if args.json {
        println!("{:#}", comparison.json(seen));
    } else {
        print!("{}", comparison.text(seen));
    }
    if args.exit_code && comparison.differs() {
        std::process::exit(DIFFERS);
    }
    Ok(())
}

fn is_configuration(path: &Path) -> bool {
    path.join("portcullis.yaml").is_file()
}

/// A side's rules, or what is in force.
fn load(args: &BacktestArgs, rules: Option<&Path>, from: &HistoryArgs) -> anyhow::Result<Setup> {
    let beside = history::beside(&from.files);
    let interner = event::Interner::shared();
    match (rules, &args.config) {
        (Some(rules), _) if is_configuration(rules) => Setup::load_with(rules, interner, &beside),
        (rules, Some(config)) => Setup::load_over(config, interner, &beside, rules),
        (Some(rules), None) => bail!(
            "{} is a rulebook without a configuration: name that with --config",
            rules.display()
        ),
        (None, None) => match &from.data {
            Some(data) => crate::live::in_force(data, Position(u64::MAX), &interner),
            None => bail!("name the old rules: --against OLD, or --config DIR"),
        },
    }
}

fn name(args: &BacktestArgs, rules: Option<&Path>) -> String {
    let path = rules.or(args.config.as_deref());
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// The whole history under one side. Nothing is written.
fn run(setup: Setup, name: String, from: &HistoryArgs) -> anyhow::Result<(Side, Seen)> {
    let mut history = History::open(&setup, from)?;
    let mut pipeline = Pipeline::new(&setup, 1)?;
    pipeline.read_again(&setup, history.again()?)?;
    let setup = Arc::new(setup);
    let mut renderer = Renderer::new(setup.clone())?;
    let (mut report, mut findings) = (Report::default(), Findings::default());
    let mut seen = Seen { events: 0, first: EventTime::MAX, last: EventTime::MIN };
    let saw = |event: event::EventRef<'_>| {
        seen.events += 1;
        seen.first = seen.first.min(event.occurred());
        seen.last = seen.last.max(event.occurred());
    };
    history.walk(&mut pipeline, &mut findings, saw, |findings, history| {
        for finding in findings.iter() {
            report.take(renderer.output(findings, finding, history)?.change);
        }
        Ok(true)
    })?;
    let rules = setup.plan.rules.iter().map(|rule| rule.id.clone()).collect();
    Ok((Side { name, hash: setup.hash.clone(), report, rules }, seen))
}

impl Side {
    fn incidents(&self, range: (EventTime, EventTime)) -> BTreeMap<TimedId, &Told> {
        let inside = |told: &Told| range.0 <= told.opened_at && told.opened_at < range.1;
        let all = self.report.incidents.iter().filter(|(_, told)| inside(told));
        all.map(|(id, told)| (*id, told)).collect()
    }

    /// A detection's line, by its id.
    fn detection(&self, id: TimedId) -> Option<&Value> {
        let mut of_id = self.report.detections.range((id, String::new())..);
        of_id.next().filter(|((found, _), _)| *found == id).map(|(_, line)| line)
    }

    /// Detections and incidents of a rule in the range.
    fn counts(&self, rule: &str, range: (EventTime, EventTime)) -> [i64; 2] {
        let inside = |line: &&Value| {
            let at = line["at"].as_str().and_then(|at| EventTime::parse_rfc3339(at.as_bytes()));
            line["rule"] == rule && at.is_some_and(|at| range.0 <= at && at < range.1)
        };
        let detections = self.report.detections.values().filter(inside).count();
        let incidents = self.incidents(range).values().filter(|told| told.rule == rule).count();
        [detections as i64, incidents as i64]
    }

    fn key(&self, id: TimedId) -> &str {
        self.detection(id).and_then(|line| line["key"].as_str()).unwrap_or_default()
    }
}

/// What a list has more and less than another.
fn moved<T: Ord>(old: &[T], new: &[T]) -> (usize, usize) {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (old.iter().collect(), new.iter().collect());
    (new.difference(&old).count(), old.difference(&new).count())
}

impl Change<'_> {
    /// In words, what is another way.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.old.severity != self.new.severity {
            let (old, new) = (self.old.severity.as_str(), self.new.severity.as_str());
            words.push(format!("severity {old} → {new}"));
        }
        for (what, (more, less)) in [
            ("detections", moved(&self.old.detections, &self.new.detections)),
            ("evidence", moved(&self.old.events, &self.new.events)),
            ("links", moved(&self.old.links, &self.new.links)),
        ] {
            if more + less > 0 {
                words.push(format!("{what} +{more} −{less}"));
            }
        }
        if !self.altered.is_empty() {
            words.push(format!("otherwise detected: {}", self.altered.join(", ")));
        }
        words
    }
}

impl<'a> Comparison<'a> {
    fn of(old: &'a Side, new: &'a Side, range: (EventTime, EventTime)) -> Self {
        let (before, after) = (old.incidents(range), new.incidents(range));
        let appear = after.keys().filter(|id| !before.contains_key(id)).copied().collect();
        let vanish = before.keys().filter(|id| !after.contains_key(id)).copied().collect();
        let both = before.iter().filter_map(|(id, old)| Some((*id, *old, *after.get(id)?)));
        let change = both.map(|(id, told, now)| {
            let altered = told.detections.iter().filter_map(|detection| {
                let (a, b) = (old.detection(*detection)?, new.detection(*detection)?);
                let told = |line: &Value| [line["events"].clone(), line["why"].clone()];
                (told(a) != told(b)).then(|| a["rule"].as_str().unwrap_or_default().to_owned())
            });
            Change { id, old: told, new: now, altered: altered.collect() }
        });
        let change = change.filter(|change| !change.words().is_empty()).collect();
        Self { old, new, range, appear, vanish, change }
    }

    fn differs(&self) -> bool {
        !(self.appear.is_empty() && self.vanish.is_empty() && self.change.is_empty())
            || self.rules().iter().any(|(_, old, new)| old != new)
    }

    /// The rules of both sides with their counts, in the order of the new rulebook.
    fn rules(&self) -> Vec<(&'a str, [i64; 2], [i64; 2])> {
        let gone = self.old.rules.iter().filter(|rule| !self.new.rules.contains(rule));
        let all = self.new.rules.iter().chain(gone);
        let counts = |rule: &'a String| {
            (rule.as_str(), self.old.counts(rule, self.range), self.new.counts(rule, self.range))
        };
        all.map(counts).collect()
    }

    /// Where one side's incident went on the other: the incident that its opening detection stands
    /// in there.
    fn regrouped(id: TimedId, other: &Side) -> Option<String> {
        let incident = other.detection(id)?["incident"].as_str()?.to_owned();
        Some(incident)
    }

    fn json(&self, seen: Seen) -> Value {
        let one = |side: &Side, other: &Side, id: &TimedId| {
            let told = &side.report.incidents[id];
            json!({
                "id": id,
                "rule": told.rule,
                "severity": told.severity,
                "site": told.site,
                "area": told.area,
                "key": side.key(*id),
                "opened_at": told.opened_at,
                "detections": told.detections,
                "events": told.events,
                "stands_in": Self::regrouped(*id, other),
            })
        };
        let both = |change: &Change<'_>| {
            let side = |told: &Told| {
                json!({
                    "severity": told.severity,
                    "detections": told.detections,
                    "events": told.events,
                    "links": told.links,
                })
            };
            json!({
                "id": change.id,
                "rule": change.new.rule,
                "site": change.new.site,
                "opened_at": change.new.opened_at,
                "what": change.words(),
                "old": side(change.old),
                "new": side(change.new),
            })
        };
        let rules = self.rules().into_iter().map(|(rule, old, new)| {
            let counts = |c: [i64; 2]| json!({"detections": c[0], "incidents": c[1]});
            (rule.to_owned(), json!({"old": counts(old), "new": counts(new)}))
        });
        let named = |side: &Side| json!({"rules": side.name, "configuration": side.hash});
        let end = |at: EventTime, open| if at == open { Value::Null } else { json!(at) };
        json!({
            "old": named(self.old),
            "new": named(self.new),
            "from": end(self.range.0, EventTime::MIN),
            "to": end(self.range.1, EventTime::MAX),
            "events": seen.events,
            "rules": rules.collect::<serde_json::Map<_, _>>(),
            "appear": self.appear.iter().map(|id| one(self.new, self.old, id)).collect::<Value>(),
            "vanish": self.vanish.iter().map(|id| one(self.old, self.new, id)).collect::<Value>(),
            "change": self.change.iter().map(both).collect::<Value>(),
            "differs": self.differs(),
        })
    }

    fn text(&self, seen: Seen) -> String {
        let mut out = String::new();
        let from = self.range.0.max(seen.first.min(seen.last));
        let to = self.range.1.min(seen.last);
        let _ = writeln!(out, "{from} .. {to}, {} events read", seen.events);
        for (what, side) in [("old", self.old), ("new", self.new)] {
            let _ =
                writeln!(out, "{what}  {}  {}", &side.hash[..12.min(side.hash.len())], side.name);
        }
        let rules = self.rules();
        let width = rules.iter().map(|(rule, ..)| rule.chars().count()).max().unwrap_or(4).max(4);
        let _ = writeln!(out, "\n{:width$}      detections             incidents", "");
        let heads = ["old", "new", "±", "old", "new", "±"].map(|head| format!("{head:>8}"));
        let _ = writeln!(out, "{:width$}{}", "rule", heads.concat());
        for (rule, old, new) in
            rules.iter().filter(|(_, old, new)| *old != [0; 2] || *new != [0; 2])
        {
            let _ = write!(out, "{rule:width$}");
            for place in [0, 1] {
                let by = new[place] - old[place];
                let by = if by == 0 { String::from("·") } else { format!("{by:+}") };
                let _ = write!(out, "{:>8}{:>8}{by:>8}", old[place], new[place]);
            }
            out.push('\n');
        }
        self.lists(&mut out, width);
        let (appear, vanish) = (self.appear.len(), self.vanish.len());
        let _ = writeln!(
            out,
            "\n{appear} incidents appear, {vanish} vanish, {} change",
            self.change.len()
        );
        out
    }

    fn lists(&self, out: &mut String, width: usize) {
        for (what, ids, side, other) in [
            ("appear", &self.appear, self.new, self.old),
            ("vanish", &self.vanish, self.old, self.new),
        ] {
            if !ids.is_empty() {
                let _ = writeln!(out, "\n{what}");
            }
            for id in ids {
                let told = &side.report.incidents[id];
                let stands = Self::regrouped(*id, other);
                let stands = stands.map(|other| format!("; its detection stands in {other}"));
                let _ = writeln!(
                    out,
                    "  {}  {:<8}  {:width$}  {} {}  {id}{}",
                    told.opened_at,
                    told.severity.as_str(),
                    told.rule,
                    told.site,
                    side.key(*id),
                    stands.unwrap_or_default(),
                );
            }
        }
        if !self.change.is_empty() {
            let _ = writeln!(out, "\nchange");
        }
        for change in &self.change {
            let (at, rule) = (change.new.opened_at, &change.new.rule);
            let _ = writeln!(out, "  {at}  {rule:width$}  {}", change.id);
            let _ = writeln!(out, "      {}", change.words().join("; "));
        }
    }
}
