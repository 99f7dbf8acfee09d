//! `bench`: load that comes at its own rate, through a real way in, into the store, as in
//! production: the program under load is a process of its own that runs `portcullis run`.
//!
//! Load is open-loop. Each event has a time at which it is due, whether the one before was taken or
//! not, and latency counts from that time: what waits because we could not send is waited for, too
//! (corrected for coordinated omission). It is net of slack and holds: it counts from when the event
//! was due that brought the site beyond the incident's own time (that of its completing event, or
//! its deadline) by more than the slack. Before that nobody could know.

mod child;
mod compare;
mod figures;
mod lanes;
mod machine;
mod page;
mod plot;
mod run;
mod table;
mod traffic;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::setup::Setup;
use figures::{Figures, Step, Told};
use lanes::Lane;
use machine::{Disk, Machine};
use run::Bench;
use traffic::Traffic;

/// What the search for the greatest rate begins with, and where it ends: a run would be over in a moment, and who
/// sends would be the measure.
const STEP_FROM: f64 = 4_000.0;
const STEP_UNTIL: f64 = STEP_FROM * 256.0;
/// Halvings between the last rate that was kept up with and the first that was not.
const HALVINGS: usize = 3;
/// Lines of traffic, at most: 140 B each in memory.
const LINES_MAX: usize = 1_500_000;

/// How to measure.
#[derive(Debug, Args)]
#[command(after_help = "\
Latency counts from when an event was due, not from when it could be sent; and for an incident from
when the event was due that brought the site past the incident's own time (its completing event's, or
its deadline) by more than the source's slack. `detection` ends when the engine had concluded it,
`visible` when another process sees it in the store. Both clocks are this machine's.

The built-in traffic is that of the ten rules' benchmark: its own time goes on by 2 ms an event
whatever the rate, so that every rate meets the same site. Same seed: same bytes, same incidents.

  portcullis bench                                  the greatest rate, then latencies at half of it
  portcullis bench --rate 5000 --html bench.html    latencies at a rate, as a page with plots
  portcullis bench --source mqtt --rate 5000        through a Mosquitto of its own
  portcullis bench --source kafka --broker 127.0.0.1:9092
  portcullis bench --rate 5000 --compare ./old ./new   two programs, or two configurations, in turns

It ends with an error when a delivery is not accounted for, or when the incidents are not those that
`replay` finds in the same bytes.")]
pub struct BenchArgs {
    /// The way in.
    #[arg(long, value_enum, default_value = "stdin")]
    source: Lane,
    /// A running broker: of MQTT instead of a Mosquitto of our own, or of Kafka.
    #[arg(long, value_name = "HOST:PORT")]
    broker: Option<String>,
    /// Events a second; else half of the greatest rate that is kept up with.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// How long the load lasts.
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// How long each step of the search for the greatest rate lasts.
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    step_seconds: f64,
    /// The dice of the built-in traffic.
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Folder of a configuration whose first source reads the traffic; else the ten rules.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// NDJSON to send instead of the built-in traffic.
    #[arg(long, value_name = "FILE")]
    traffic: Option<PathBuf>,
    /// Where log and store of the runs lie: the disk that is measured.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// Write all figures as JSON.
    #[arg(long, value_name = "OUT.json")]
    json: Option<PathBuf>,
    /// Write a page with plots.
    #[arg(long, value_name = "OUT.html")]
    html: Option<PathBuf>,
    /// Two programs, or two folders of configurations, in turns; a verdict with the spread.
    #[arg(long, value_names = ["A", "B"], num_args = 2, requires = "rate")]
    compare: Option<Vec<PathBuf>>,
    /// Turns of a comparison.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Leave one delivery out.
    #[arg(long, value_name = "LINE", hide = true)]
    lose: Option<usize>,
}

/// Runs the command.
pub fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    for (name, value) in [
        ("rate", args.rate.unwrap_or(1.0)),
        ("seconds", args.seconds),
        ("step-seconds", args.step_seconds),
    ] {
        if !(value > 0.0 && value.is_finite()) {
            bail!("--{name} {value}: write a number above 0");
        }
    }
    args.source.check(args.broker.as_deref())?;
    let folder = Folder::make(&args.data)?;
    let disk = Disk::look(&folder.0)?;
    if let Some(sides) = &args.compare {
        return compare::compare(args, sides, &folder.0, disk);
    }
    let bench = args.bench(&std::env::current_exe()?, args.config.as_deref(), &folder.0)?;
    let mut steps = Vec::new();
    let throughput = match args.rate {
        None => Some(greatest(|rate| keeps_up(&bench, rate, args.step_seconds, &mut steps))?),
        Some(_) => None,
    };
    let rate = args.rate.or(throughput.map(|t| t.rate / 2.0)).unwrap_or(STEP_FROM);
    let run = bench.run("run", rate, args.seconds)?;
    let told = Told {
        version: env!("CARGO_PKG_VERSION"),
        source: args.source.name(),
        configuration: args.configuration(),
        seed: args.seed,
        at: crate::now().to_string(),
        machine: Machine::look(),
        disk,
        throughput: throughput.map(|t| t.rate),
        throughput_at_least: throughput.is_some_and(|t| t.at_least),
        steps,
        warnings: warnings(&run, args.broker.as_deref()),
        run,
    };
    print!("{}", table::of(&told));
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&told)? + "\n";
        std::fs::write(path, text).with_context(|| format!("--json {}", path.display()))?;
    }
    if let Some(path) = &args.html {
        let text = page::of(&told);
        std::fs::write(path, text).with_context(|| format!("--html {}", path.display()))?;
    }
    sound(&told.run)
}

/// What is not to be trusted, or not of the program.
fn warnings(run: &Figures, broker: Option<&str>) -> Vec<String> {
    let mut said = run.noise.warnings(broker);
    if !run.kept_up {
        said.push(format!(
            "the rate was not kept up with: at the end the program was {:.1} s behind; latencies are \
             those of a queue that grows",
            run.behind
        ));
    }
    if run.visible.count < 1_000 {
        said.push(format!(
            "only {} incidents were timed: raise --seconds before you quote p99.9",
            run.visible.count
        ));
    }
    said
}

/// The books of a run balance, and its incidents are those of replay.
fn sound(run: &Figures) -> anyhow::Result<()> {
    if !run.books.faults.is_empty() {
        bail!("the books do not balance: {}", run.books.faults.join("; "));
    }
    Ok(())
}

impl BenchArgs {
    /// A program under a configuration, with the traffic.
    fn bench(&self, binary: &Path, config: Option<&Path>, dir: &Path) -> anyhow::Result<Bench> {
        let setup = match config {
            Some(dir) => Setup::load(dir)?,
            None => Setup::load(&ten_rules(dir)?)?,
        };
        let lines = match self.rate {
            Some(rate) => ((rate * self.seconds).ceil() as usize).min(LINES_MAX),
            None => LINES_MAX,
        };
        let traffic = match &self.traffic {
            None => Traffic::badges(&setup, self.seed, lines)?,
            Some(path) => Traffic::file(&setup, path, lines)?,
        };
        Ok(Bench {
            binary: binary.to_owned(),
            setup,
            lane: self.source,
            broker: self.broker.clone(),
            dir: dir.to_owned(),
            traffic,
            lose: self.lose,
        })
    }

    fn configuration(&self) -> String {
        let dir = self.config.as_ref().map(|dir| dir.display().to_string());
        dir.unwrap_or_else(|| "the ten rules".to_owned())
    }
}

/// Whether a rate is kept up with.
fn keeps_up(bench: &Bench, rate: f64, seconds: f64, steps: &mut Vec<Step>) -> anyhow::Result<bool> {
    // Once is no proof: a neighbour of this machine may have had its moment.
    for _ in 0..2 {
        let run = bench.run("step", rate, seconds)?;
        sound(&run)?;
        eprintln!("{}", table::step(&Step::from(&run)));
        steps.push(Step::from(&run));
        if run.kept_up {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the search has found.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Greatest {
    rate: f64,
    /// Nothing above it was tried: the search has ended there.
    at_least: bool,
}

/// The greatest rate that is kept up with: doubled until one is not, then halved in between.
fn greatest(mut keeps_up: impl FnMut(f64) -> anyhow::Result<bool>) -> anyhow::Result<Greatest> {
    let (mut kept, mut rate) = (None, STEP_FROM);
    while keeps_up(rate)? {
        if rate >= STEP_UNTIL {
            return Ok(Greatest { rate, at_least: true });
        }
        kept = Some(rate);
        rate *= 2.0;
    }
    let Some(mut kept) = kept else {
        bail!("not even {STEP_FROM} events/s are kept up with here: give a lower --rate")
    };
    for _ in 0..HALVINGS {
        let between = (kept * rate).sqrt().round();
        if keeps_up(between)? {
            kept = between;
        } else {
            rate = between;
        }
    }
    Ok(Greatest { rate: kept, at_least: false })
}

/// The folder of the runs, which goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn make(data: &Path) -> anyhow::Result<Self> {
        let dir = data.join(format!("portcullis-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| {
            format!("{}: give a folder that can be written to with --data", dir.display())
        })?;
        Ok(Self(dir))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The built-in configuration, written where it can be read.
fn ten_rules(dir: &Path) -> anyhow::Result<PathBuf> {
    let dir = dir.join("ten-rules");
    for (path, text) in [
        ("portcullis.yaml", include_str!("../../config/examples/ten-rules/portcullis.yaml")),
        (
            "mappings/workload.yaml",
            include_str!("../../config/examples/ten-rules/mappings/workload.yaml"),
        ),
        ("rules/ten.yaml", include_str!("../../config/examples/ten-rules/rules/ten.yaml")),
    ] {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&dir))?;
        std::fs::write(path, text)?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(most: f64) -> (anyhow::Result<Greatest>, Vec<f64>) {
        let mut tried = Vec::new();
        let found = greatest(|rate| {
            tried.push(rate);
            Ok(rate <= most)
        });
        (found, tried)
    }

    #[test]
    fn the_search_ends_between_what_is_kept_up_with_and_what_is_not() {
        let (found, tried) = search(100_000.0);
        let found = found.unwrap_or_else(|e| panic!("{e}"));
        assert!(!found.at_least && (85_000.0..=100_000.0).contains(&found.rate), "{found:?}");
        assert!(tried.iter().any(|rate| (100_000.0..115_000.0).contains(rate)), "{tried:?}");
        let (found, tried) = search(f64::INFINITY);
        let found = found.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(found, Greatest { rate: STEP_UNTIL, at_least: true });
        assert_eq!(tried.last(), Some(&STEP_UNTIL), "what is told was tried");
        let (found, tried) = search(100.0);
        assert!(found.is_err() && tried == [STEP_FROM], "{tried:?}");
    }
}
