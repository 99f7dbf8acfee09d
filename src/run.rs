//! `run`: the program as a service, until SIGTERM or SIGINT.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::RunArgs;
use crate::live::{Program, Reloads, Start};

/// Runs the command.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let start = Start {
        config: args.config.clone(),
        data: args.data.clone(),
        afresh: false,
        snapshot_bytes: args.snapshot_bytes,
    };
    let listen = args.listen;
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let stop = stopped()?;
    let hangup = hangup()?;
    let program = Program::start(&start, |_| {})?;
    runtime.spawn(reload_on(hangup, program.reloads.clone()));
    let address = listen.map_or_else(|| program.setup.config.listen.clone(), |l| l.to_string());
    let (ended, until_end) = (program.stdin_ended.clone(), args.until_end);
    let stop = async move {
        tokio::select! {
            () = stop => {}
            () = ended.notified(), if until_end => {}
        }
    };
    runtime.block_on(serve(program, &address, |at| println!("listening on http://{at}"), stop))
}

/// The threads of the console and the HTTP sources.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

/// Serves until `stop` or a failure, then stops everything in order. Port 0 takes a free port;
/// `ready` is told which.
pub async fn serve(
    program: Program,
    address: &str,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: free the port, or give another with --listen")
    })?;
    let at = listener.local_addr()?;
    let live = program.live.clone();
    let (end, ended) = tokio::sync::watch::channel(false);
    let until = {
        let mut ended = ended.clone();
        async move {
            let _ = ended.wait_for(|e| *e).await;
        }
    };
    let console = crate::console::Console {
        store: program.store.clone(),
        status: live.clone(),
        changed: program.changed.clone(),
        controls: program.controls.clone(),
        rulebooks: program.rulebooks.clone(),
        reloads: program.reloads.clone(),
        extra: program.endpoints.clone(),
    };
    let server = tokio::spawn(crate::console::serve(listener, console, until));
    ready(at);
    tokio::select! {
        () = stop => tracing::info!("stopping"),
        () = live.failed() => {}
    }
    let _ = end.send(true);
    let served = server.await;
    // Joining threads blocks; nothing else runs here any more.
    tokio::task::block_in_place(|| program.stop())?;
    served?
}

/// From now on SIGHUP does not end the program.
fn hangup() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("SIGHUP cannot be waited for")
}

/// Each SIGHUP reads the configuration's folder anew.
async fn reload_on(mut hangup: Signal, reloads: Arc<Reloads>) {
    while hangup.recv().await.is_some() {
        let reloads = reloads.clone();
        // A refusal is in the log and in the interface.
        let attempt = move || drop(reloads.reload("SIGHUP", ""));
        let _ = tokio::task::spawn_blocking(attempt).await;
    }
}

/// From now on SIGTERM and SIGINT end the program in order; what is returned waits for one. Called
/// in the runtime, before anything starts: a signal that comes early is not missed.
pub fn stopped() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be waited for")?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
