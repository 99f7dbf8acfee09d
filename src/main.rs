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

#[cfg(test)]
#[path = "../benches/benches/way/counting.rs"]
mod counting;

#[cfg(all(target_os = "linux", not(test)))]
#[global_allocator]
static MEMORY: huge::Huge = huge::Huge;

/// Time of our own clock: the one place that reads it.
#[must_use]
fn now() -> event::EventTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    event::EventTime(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
}

/// What the system's other programs end with when nobody reads their output any more: 128 and the number of SIGPIPE.
const NOBODY_READS: i32 = 141;

/// A reader that goes away before the end, as `head` does, is no defect: the program ends, and says nothing.
fn end_where_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            std::process::exit(NOBODY_READS);
        }
        usual(panic);
    }));
}

fn main() -> std::process::ExitCode {
    end_where_nobody_reads();
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
