//! The program: the only place where parts meet.

mod backtest;
mod bench;
mod cli;
mod config;
mod console;
mod cores;
mod crash;
mod demo;
mod explain;
mod files;
mod history;
#[cfg(target_os = "linux")]
mod huge;
mod import;
mod live;
mod pipeline;
mod render;
mod replay;
mod report;
mod room;
mod run;
mod setup;
mod summary;
mod test;
mod top;

use clap::Parser as _;

#[cfg(target_os = "linux")]
#[global_allocator]
static MEMORY: huge::Huge = huge::Huge;

/// Time of our own clock: the one place that reads it.
#[must_use]
fn now() -> event::EventTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    event::EventTime(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
}

fn main() -> std::process::ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PORTCULLIS_LOG")
        .unwrap_or_else(|_| "info,rumqttd=off,rumqttc=warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli::Cli::parse().run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
