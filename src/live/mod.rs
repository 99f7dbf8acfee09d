//! The program at work: sources → log → engine → store → sinks, each on threads of its own.
//!
//! ```text
//! sources ─► writer ─► log ─► syncer ─► acknowledgements
//!                       └───► follower (engine) ─► teller ─► emitter (waits for the log) ─► store ─► outbox
//! ```
//!
//! The engine reads what the log holds, at the first start as after a crash: there is one way.

mod controls;
mod emitter;
pub mod epoch;
mod follower;
mod keeper;
mod lookout;
mod pauses;
mod priority;
mod queue;
mod recovery;
mod reloads;
pub mod rulebooks;
mod snapshots;
mod status;
mod strangers;
mod teller;
mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context as _, bail};
use event::{Interner, Position, SourceId};
use ingest::log::{LogReader, LogWriter, Options, Progress, RealFiles};
use ingest::registry::StreamRegistry;
use ingest::source::intake::{Append, Batch, Clock, Spares, Streams, Wiring};
use ingest::source::kafka::Again;
use ingest::source::settings::{Kind, SourceSettings};
use ingest::source::{http, kafka, mqtt, stdin};
use rules::engine::Findings;
use sinks::{Outbox, Outputs, Store};

use crate::history::History;
use crate::setup::Setup;
pub use controls::Controls;
use emitter::Emit;
use epoch::Epoch;
pub use pauses::Cause;
use priority::{step_ahead, step_behind};
use recovery::{Recovered, recover};
pub use reloads::{Outcome, Refusal, Reloads};
use rulebooks::Kept;
pub use rulebooks::Rulebooks;
use snapshots::Snapshots;
pub use status::{Holder, Live, holders};

/// Batches between the sources and the log: a full intake is what stops a source.
const INTAKE_BATCHES_MAX: usize = 64;
/// Messages between teller and store, of up to a transaction each.
const EMIT_MAX: usize = 32;
/// What was found, block by block, between engine and teller: a tenth of a second of small blocks or more, so that the
/// engine does not wait for a slow commit. A block takes a further place for each
/// [`follower::FINDINGS_A_PLACE`] findings: 4 Ki of them. With more, what they cite would no longer be
/// in memory when they are told.
const TELL_MAX: usize = 1_024;

/// Memory made ready for teller and store each.
const TELLING_ROOM_BYTES: usize = 4 << 20;

/// How the program is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// Folder of the configuration.
    pub config: PathBuf,
    /// Folder of log, snapshots and store.
    pub data: PathBuf,
    /// Forget the engine's state of earlier runs; the store stays.
    pub afresh: bool,
    /// Log between two snapshots, so that a start reads back no more than seconds of work.
    pub snapshot_bytes: u64,
}

/// The program at work.
pub struct Program {
    /// What was configured.
    pub setup: Arc<Setup>,
    /// How it is doing.
    pub live: Arc<Live>,
    /// The store's file.
    pub store: PathBuf,
    /// Endpoints of HTTP sources, to be served beside the console.
    pub endpoints: axum::Router,
    /// Told after every commit.
    pub changed: tokio::sync::watch::Receiver<u64>,
    /// Where what somebody changes is handed over.
    pub controls: Arc<Controls>,
    /// Configurations by hash, and which was in force where.
    pub rulebooks: Arc<Rulebooks>,
    /// The way to another configuration.
    pub reloads: Arc<Reloads>,
    /// Told once, when standard input has ended and its last line is handed over.
    pub stdin_ended: Arc<tokio::sync::Notify>,
    watching: Option<SyncSender<()>>,
    intake: Option<SyncSender<Batch>>,
    threads: Vec<JoinHandle<()>>,
    outbox: Arc<Outbox>,
    _lock: File,
}

impl Program {
    /// Recovers what the data folder holds and starts everything. `before` may point sources
    /// elsewhere.
    pub fn start(
        start: &Start,
        before: impl FnOnce(&mut Vec<SourceSettings>),
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&start.data)
            .with_context(|| format!("the data folder {}", start.data.display()))?;
        let lock = lock(&start.data)?;
        step_ahead();
        let (engine_thread, begin) = spawn_engine()?;
        let registry = Arc::new(StreamRegistry::open(&start.data.join("streams"))?);
        let log_dir = start.data.join("log");
        let mut writer = LogWriter::open(&log_dir, Arc::new(RealFiles), Options::default())?;
        if writer.cut > 0 {
            tracing::warn!(bytes = writer.cut, "cut what a crash had torn off the log's end");
        }
        let progress = writer.progress();
        let mut snapshots = Snapshots::open(&start.data.join("snapshots"))?;
        let Recovered { setup, engine, mut pipeline, rulebooks, bases, from, refused, mut store } =
            recover(start, &mut snapshots, &mut writer)?;
        let path = start.data.join(&setup.config.store);
        let mut sources = setup.config.sources.clone();
        before(&mut sources);
        let sinks = setup.config.sinks.iter().map(sinks::SinkSettings::sink);
        let outbox = Arc::new(Outbox::start(store.path(), sinks.collect::<Result<_, _>>()?)?);
        store.set_wake(outbox.wake());
        let live = Arc::new(Live::new(&setup, engine.clone(), progress.clone(), outbox.clone()));
        let (changed, receiver) = tokio::sync::watch::channel(0);
        let (intake, batches) = sync_channel(INTAKE_BATCHES_MAX);
        let [reader, again] = readers(&log_dir, (progress.clone(), from), &sources)?;
        pipeline.read_again(&engine, History::Log(Box::new(again.clone().lenient())))?;
        let evidence = teller::LogEvidence::new(again, rulebooks.clone());
        tracing::info!(from = from.0, until = progress.written().0, "reading the log");

        let full_needed = snapshots.full_needed();
        let mut threads = Vec::new();
        let log = keeper::Log { dir: log_dir, bytes_max: setup.config.log_bytes_max };
        let (emit, kept) = spawn_store(&mut threads, &live, (snapshots, log), (store, changed))?;
        let told = spawn_teller(&mut threads, &live, engine.clone(), (evidence, bases), emit)?;
        let follower = follower::Follower {
            setup: engine,
            rulebooks: rulebooks.clone(),
            pipeline,
            reader,
            progress: progress.clone(),
            live: live.clone(),
            told,
            kept,
            findings: Findings::default(),
            full_needed,
            snapshot_bytes: start.snapshot_bytes,
            saving: None,
            snapshot_len: 0,
            looked: None,
            pauses: pauses::Pauses::begin(),
            noted: Default::default(),
        };
        // It waits for nothing else.
        let _ = begin.send((follower, live.clone()));
        threads.push(engine_thread);
        let (writer, acks) = writer::Writer::new(writer, batches, live.clone(), setup.config.live);
        let ways = (writer.spares.clone(), writer.append());
        threads.push(spawn("log sync", live.clone(), move || acks.run())?);
        threads.push(spawn("log", live.clone(), move || writer.run())?);

        let controls = Arc::new(Controls::new(intake.clone()));
        let parts = (rulebooks.clone(), controls.clone(), live.clone());
        let reloads = Arc::new(Reloads::new(start.config.clone(), &setup, parts));
        refused.into_iter().for_each(|refusal| reloads.refuse("start", refusal));
        let (watching, watch) = spawn_watch(reloads.clone(), live.clone())?;
        threads.push(watch);

        let mut program = Self {
            setup,
            rulebooks,
            reloads,
            stdin_ended: Arc::default(),
            watching: Some(watching),
            live,
            store: path,
            endpoints: axum::Router::new(),
            changed: receiver,
            controls,
            intake: Some(intake),
            threads,
            outbox,
            _lock: lock,
        };
        program.start_sources(&registry, &sources, &ways)?;
        Ok(program)
    }

    fn start_sources(
        &mut self,
        registry: &Arc<StreamRegistry>,
        sources: &[SourceSettings],
        (spares, append): &(Spares, Append),
    ) -> anyhow::Result<()> {
        let clock: Clock = Arc::new(crate::now);
        let live = self.live.clone();
        let registry = registry.clone();
        let streams: Streams = Arc::new(move |name: &str| {
            registry.id(name).unwrap_or_else(|error| {
                // Without a durable number nothing of the stream may be logged.
                live.fail(format!("the stream {name} cannot be registered: {error}"));
                loop {
                    std::thread::park();
                }
            })
        });
        let held = self.live.held();
        let Some(intake) = &self.intake else { bail!("the intake is closed") };
        for (index, settings) in sources.iter().enumerate() {
            let wiring = Wiring {
                source: SourceId(index as u16),
                intake: intake.clone(),
                clock: clock.clone(),
                streams: streams.clone(),
                spares: spares.clone(),
                held: held.clone(),
            };
            match settings.kind {
                Kind::Mqtt { .. } => self.live.add_source(index, mqtt::start(settings, wiring)?),
                Kind::Kafka { .. } => {
                    let ways = (wiring, append.clone());
                    self.live.add_source(index, kafka::start(settings, ways)?);
                }
                Kind::Http { .. } => {
                    let endpoint = http::router(settings, wiring)?;
                    self.endpoints = std::mem::take(&mut self.endpoints).merge(endpoint);
                }
                Kind::File { ref files } if files.iter().any(|file| file == "-") => {
                    let ended = self.stdin_ended.clone();
                    let told = move || ended.notify_one();
                    let ways = (wiring, append.clone());
                    let started = stdin::start(settings, ways, std::io::stdin(), told)?;
                    self.live.add_source(index, started);
                }
                Kind::File { .. } => {
                    tracing::info!(source = settings.id, "files are read by `replay` only");
                }
            }
        }
        Ok(())
    }

    /// Stops in the order of the way, so that nothing taken is left on it: sources, log, engine,
    /// store, outbox. HTTP endpoints must be gone before.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.live.stop_sources();
        drop(self.watching.take());
        self.endpoints = axum::Router::new();
        self.controls.close();
        drop(self.intake.take());
        for thread in self.threads.drain(..).rev() {
            let _ = thread.join();
        }
        let failure = self.live.failure();
        drop(self.outbox);
        match failure {
            Some(reason) => bail!("{reason}"),
            None => Ok(()),
        }
    }
}

/// Two readers of a log that do not wait for each other where a source is asked again.
fn readers(
    dir: &Path,
    (progress, from): (Arc<Progress>, Position),
    sources: &[SourceSettings],
) -> anyhow::Result<[LogReader; 2]> {
    let log = LogReader::open(dir, Arc::new(RealFiles), progress, from)?;
    Ok(std::array::from_fn(|_| log.clone().with_payloads(Arc::new(Again::new(sources)))))
}

/// Starts a thread whose panic or error stops the program.
fn spawn(
    name: &'static str,
    live: Arc<Live>,
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    let guarded = move || guard(name, &live, work);
    Ok(std::thread::Builder::new().name(name.to_owned()).spawn(guarded)?)
}

/// Does a thread's work; what ends it too early stops the program.
fn guard(name: &str, live: &Live, work: impl FnOnce() -> anyhow::Result<()>) {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => live.fail(format!("{name}: {error:#}")),
        Err(_) => live.fail(format!("{name}: a defect of the program; see the log above")),
    }
}

/// What the engine's thread is given, once all has been recovered.
type Begin = SyncSender<(follower::Follower, Arc<Live>)>;

/// Starts the engine's thread, which makes its memory ready while the data folder is read.
fn spawn_engine() -> anyhow::Result<(JoinHandle<()>, Begin)> {
    let (begin, begun) = sync_channel::<(follower::Follower, Arc<Live>)>(1);
    let work = move || {
        follower::make_ready();
        // Where the start fails there is nothing to be done.
        if let Ok((follower, live)) = begun.recv() {
            guard("engine", &live, || follower.run());
        }
    };
    Ok((std::thread::Builder::new().name("engine".to_owned()).spawn(work)?, begin))
}

/// The way to the store, and that of memory back.
type ToStore = (SyncSender<Emit>, Receiver<Outputs>);

/// The store's thread, and the keeper's behind it; the way there, that of memory back, and the way to
/// the keeper.
fn spawn_store(
    threads: &mut Vec<JoinHandle<()>>,
    live: &Arc<Live>,
    (snapshots, log): (Snapshots, keeper::Log),
    (store, changed): (Store, tokio::sync::watch::Sender<u64>),
) -> anyhow::Result<(ToStore, keeper::Told)> {
    let ((keep, told), (emit, emitted)) = (channel(), sync_channel(EMIT_MAX));
    let (spare, outputs) = channel();
    let (checkpoint, pieces) = (store.checkpoint()?, keeper::Pieces::default());
    let kept = keeper::Told { keep: keep.clone(), pieces: pieces.clone() };
    let keeper = keeper::Keeper { snapshots, checkpoint, log, live: live.clone(), pieces };
    let emitter = emitter::Emitter { store, changed, live: live.clone(), keep, spare };
    threads.push(spawn("keeper", live.clone(), move || {
        step_behind();
        keeper.run(&told)
    })?);
    threads.push(spawn("store", live.clone(), move || {
        step_behind();
        crate::room::make_room(TELLING_ROOM_BYTES, TELLING_ROOM_BYTES);
        emitter.run(&emitted)
    })?);
    Ok(((emit, outputs), kept))
}

/// The teller's thread, which begins under a configuration; the way there.
fn spawn_teller(
    threads: &mut Vec<JoinHandle<()>>,
    live: &Arc<Live>,
    setup: Arc<Setup>,
    (evidence, bases): (teller::LogEvidence, BTreeMap<String, u64>),
    (emit, outputs): ToStore,
) -> anyhow::Result<teller::Told> {
    let (tell, judged) = queue::queue(TELL_MAX);
    let (given_back, spare) = channel();
    let teller = teller::Teller {
        evidence,
        bases,
        judged,
        spare: given_back,
        emit,
        outputs,
        live: live.clone(),
        held: None,
        told: Instant::now(),
    };
    threads.push(spawn("teller", live.clone(), move || {
        step_behind();
        crate::room::make_room(TELLING_ROOM_BYTES, TELLING_ROOM_BYTES);
        teller.run(setup)
    })?);
    Ok(teller::Told { tell, spare })
}

/// The configuration that judged what stands at a position of a data folder's log, of a program that
/// runs or has run.
pub fn in_force(
    data: &Path,
    position: Position,
    interner: &Arc<Interner>,
) -> anyhow::Result<Setup> {
    let epoch = Epoch::load(&data.join("epoch.json"))?;
    let epoch = epoch.with_context(|| format!("no program has run on {}", data.display()))?;
    let kept = Kept { dir: &data.join("rulebooks"), interner };
    kept.load(&epoch.at(position).config)
}

/// Looks at the configuration's files until the sender is dropped.
fn spawn_watch(
    reloads: Arc<Reloads>,
    live: Arc<Live>,
) -> anyhow::Result<(SyncSender<()>, JoinHandle<()>)> {
    let (watching, stop) = sync_channel(0);
    let watch = move || {
        reloads.watch(&stop);
        Ok(())
    };
    Ok((watching, spawn("reload", live, watch)?))
}

/// One program at a time writes a data folder.
fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    if file.try_lock().is_err() {
        bail!(
            "{} is in use by another Portcullis: stop it, or give another folder with --data",
            data.display()
        );
    }
    Ok(file)
}
