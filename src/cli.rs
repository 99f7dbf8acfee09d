//! The command line. Its words are stable: scripts rely on them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::setup::Setup;

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
    /// Read a configuration and tell every fault of it with its place.
    Check(ConfigDir),
    /// Run recorded files through the rules, as fast as they go.
    Replay(ReplayArgs),
    /// About events.
    #[command(subcommand)]
    Events(Events),
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

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigDir {
    /// Folder of the configuration.
    #[arg(long, value_name = "DIR")]
    pub config: PathBuf,
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
    /// Bytes of log between two snapshots.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, hide = true)]
    pub snapshot_bytes: u64,
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
    /// Parts that the sites are spread over; incidents do not depend on it.
    #[arg(long, default_value_t = 1, value_name = "N", hide = true)]
    pub shards: usize,
    /// Bytes read at once; incidents do not depend on it.
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
            Command::Check(dir) => {
                let setup = Setup::load(&dir.config)?;
                println!("{}", setup.summary());
                Ok(())
            }
            Command::Run(args) => crate::run::run(&args),
            Command::Replay(args) => crate::replay::replay(&args),
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
