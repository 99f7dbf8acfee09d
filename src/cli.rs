//! The command line. Its words are stable: scripts rely on them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use rules::lang::schema::{Known, rulebook};

use crate::setup::{Faults, Setup};

/// Turns the raw traffic of guarded sites into few, evidence-backed security incidents.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run as a service: sources to incidents, with the console, until SIGTERM.
    Run(RunArgs),
    /// Show it at work: a broker, a simulated site, the pipeline and the console, in one process.
    Demo(DemoArgs),
    /// Read a configuration and tell every fault of it with its place.
    Check(CheckArgs),
    /// Say what a rule compiles to; why an incident is one; why a rule kept silent.
    Explain(crate::explain::ExplainArgs),
    /// Run the tests that the rulebooks carry.
    Test(TestArgs),
    /// Run recorded files through the rules, as fast as they go.
    Replay(ReplayArgs),
    /// Run history under two rulebooks, and say what differs.
    Backtest(crate::backtest::BacktestArgs),
    /// Put it under load, and tell latencies, throughput, CPU, memory, and whether anything is lost.
    Bench(crate::bench::BenchArgs),
    /// Turn rules of another system into a rulebook.
    #[command(subcommand)]
    Import(Import),
    /// Show what the rules of a running program cost, find and hold.
    Top(crate::top::TopArgs),
    /// About rulebooks.
    #[command(subcommand)]
    Rules(Rules),
    /// About events.
    #[command(subcommand)]
    Events(Events),
}

#[derive(Debug, Subcommand)]
enum Rules {
    /// Print the JSON Schema of a rulebook, for editors; with what a configuration declares.
    Schema {
        /// Folder of the configuration.
        #[arg(long, value_name = "DIR")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum Import {
    /// Sigma rules and correlations.
    Sigma {
        /// Files of Sigma rules.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum Events {
    /// Print the JSON Schema of the canonical event, with what the configuration declares.
    Schema {
        /// Folder of the configuration.
        #[arg(long, value_name = "DIR")]
        config: Option<PathBuf>,
    },
}

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Folder of the configuration.
    #[arg(long, value_name = "DIR")]
    pub config: PathBuf,
    /// Print the faults as a JSON array, empty when there is none.
    #[arg(long)]
    pub json: bool,
}

/// How to run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Folder of the configuration.
    #[arg(long, value_name = "DIR")]
    pub config: PathBuf,
    /// Folder of log, snapshots and store.
    #[arg(long, value_name = "DIR", default_value = "portcullis-data")]
    pub data: PathBuf,
    /// Address of the console, instead of the configuration's; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Stop in order once standard input has ended and all of it is stored.
    #[arg(long)]
    pub until_end: bool,
    /// Bytes of log between two snapshots: a second of judging that a start does again at most.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20, hide = true)]
    pub snapshot_bytes: u64,
}

/// How to show it.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder of the configuration, instead of the model site's.
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// The dice of the simulated site: the same seed and start give the same incidents.
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
    /// When the night begins, RFC 3339; now, when nothing is said.
    #[arg(long, value_name = "TIME")]
    pub start: Option<String>,
    /// How many times faster than real time.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub speed: f64,
    /// Stop after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub exit_after: Option<f64>,
    /// Folder of log, snapshots and store.
    #[arg(long, value_name = "DIR", default_value = "portcullis-data")]
    pub data: PathBuf,
    /// Address of the console; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
}

/// What to test.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Folder of the configuration.
    #[arg(long, value_name = "DIR")]
    pub config: PathBuf,
    /// Only tests whose name holds this, or that are of this rule.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Run each also event by event with a restart after every one, and at eight sites at once on
    /// 1, 3 and 8 shards.
    #[arg(long)]
    pub thorough: bool,
    /// Fail where fewer of a hundred branches are reached.
    #[arg(long, value_name = "N")]
    pub coverage_min: Option<f64>,
    /// Write a report in JUnit's form.
    #[arg(long, value_name = "OUT.xml")]
    pub junit: Option<PathBuf>,
    /// Further files of tests, beside the rulebooks.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// What to replay.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Folder of the configuration.
    #[arg(long, value_name = "DIR")]
    pub config: PathBuf,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Write each detection as a line of JSON.
    #[arg(long, value_name = "OUT.ndjson")]
    pub detections: Option<PathBuf>,
    /// Write each incident as a line of JSON.
    #[arg(long, value_name = "OUT.ndjson")]
    pub incidents: Option<PathBuf>,
    /// Threads that share the work; incidents do not depend on it. What comes late is judged by one.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Binds each thread to a processor of its own.
    #[arg(long)]
    pub pin: bool,
    /// Parts that the sites are spread over; incidents do not depend on it.
    #[arg(long, default_value_t = 1, value_name = "N", hide = true)]
    pub shards: usize,
    /// Bytes read at once; of one file incidents do not depend on it. Several are merged block by block: it says which of
    /// two deliveries of one identity comes first.
    #[arg(long, default_value_t = ingest::limits::BLOCK_BYTES, value_name = "BYTES", hide = true)]
    pub block_bytes: usize,
    /// NDJSON or CSV, plain or .gz; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Check(args) => {
                let loaded = Setup::load(&args.config);
                if args.json {
                    let faults = loaded.as_ref().err().and_then(|e| e.downcast_ref::<Faults>());
                    if faults.is_some() || loaded.is_ok() {
                        let json = faults.map_or(serde_json::json!([]), Faults::json);
                        println!("{json:#}");
                    }
                    return loaded.map(drop);
                }
                println!("{}", loaded?.summary());
                Ok(())
            }
            Command::Demo(args) => crate::demo::demo(&args),
            Command::Run(args) => crate::run::run(&args),
            Command::Explain(args) => crate::explain::explain(&args),
            Command::Test(args) => crate::test::test(&args),
            Command::Replay(args) => crate::replay::replay(&args),
            Command::Backtest(args) => crate::backtest::backtest(&args),
            Command::Bench(args) => crate::bench::bench(&args),
            Command::Import(Import::Sigma { files }) => crate::import::sigma(&files),
            Command::Top(args) => crate::top::top(&args),
            Command::Rules(Rules::Schema { config }) => {
                let known = match config {
                    Some(dir) => Known::whole(&Setup::load(&dir)?.plan),
                    None => Known::builtin(),
                };
                println!("{:#}", rulebook(&known));
                Ok(())
            }
            Command::Events(Events::Schema { config }) => {
                let vocabulary = match config {
                    Some(dir) => Setup::load(&dir)?.vocabulary,
                    None => event::Vocabulary::default().into(),
                };
                println!("{:#}", event::schema::canonical(&vocabulary));
                Ok(())
            }
        }
    }
}
