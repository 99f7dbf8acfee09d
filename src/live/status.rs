//! How the program is doing: what health, metrics and the console read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use event::books::SourceBooks;
use event::tables::Tables;
use event::{EventTime, Interner, Position, SourceId, TimeSpan};
use hdrhistogram::Histogram;
use ingest::decode::Roads;
use ingest::log::{Held, Progress};
use ingest::source::intake::{Running, SourceState};
use rules::engine::{Evicted, GivenUp, LateCounts, Usage};
use rules::plan::{Plan, RuleId};
use sinks::{Outbox, SinkStatus};

use super::lookout::Judge;
use super::pauses::Histograms;
use super::strangers::Strangers;
use crate::pipeline::Pipeline;
use crate::setup::Setup;

/// Figures of the running program; the threads write, anybody reads.
pub struct Live {
    ids: Vec<String>,
    kinds: Vec<&'static str>,
    interner: Arc<Interner>,
    /// As the engine last had them.
    tables: Mutex<Arc<Tables>>,
    progress: Arc<Progress>,
    outbox: Arc<Outbox>,
    /// Where the log ended when we started: behind it, every record came through our own writer.
    recovered_at: Position,
    judge: Judge,
    /// Deliveries of this run in the log, by source.
    logged: Vec<AtomicU64>,
    strangers: Strangers,
    /// Microseconds from taken to visible.
    visible: Mutex<Histogram<u64>>,
    figures: Mutex<Figures>,
    /// What the engine runs under.
    setup: Mutex<Arc<Setup>>,
    sources: Mutex<Vec<(usize, Running)>>,
    failure: Mutex<Option<String>>,
    failed: tokio::sync::Notify,
    stopping: AtomicBool,
    started: Instant,
}

#[derive(Clone, Debug, Default)]
struct Figures {
    books: Vec<SourceBooks>,
    roads: Vec<Roads>,
    /// The books when the engine had read what stood in the log at the start.
    at_recovery: Option<Vec<SourceBooks>>,
    usage: Vec<Usage>,
    /// Until when rules do not know all that they should.
    blind: Vec<(RuleId, EventTime)>,
    read: Position,
    watermark: i64,
    state_bytes: usize,
    evicted: Evicted,
    looked_at: Option<Instant>,
    /// Of which facts and rules it was logged already that they give up.
    warned: Vec<bool>,
    late: LateCounts,
    pauses: Histograms,
    log_fault: Option<String>,
    store_fault: Option<String>,
}

/// How often it is looked at what facts and rules cost and hold.
const USAGE_EVERY: Duration = Duration::from_millis(200);

/// A fact or a rule, by name.
#[derive(Clone, Copy)]
pub enum Holder<'a> {
    Fact(&'a str),
    Rule(&'a str),
}

/// The facts of a plan, then its rules.
pub fn holders(plan: &Plan) -> impl Iterator<Item = Holder<'_>> {
    let rules = plan.rules.iter().map(|rule| Holder::Rule(rule.id.as_str()));
    plan.facts.iter().map(|fact| Holder::Fact(fact.name.as_str())).chain(rules)
}

impl Figures {
    /// Logs once of a fact or rule that it has begun to give up: it is blind for a part of its
    /// keys from now on.
    fn warn_of_limits(&mut self, plan: &Plan) {
        self.warned.resize(self.usage.len(), false);
        for ((holder, usage), warned) in holders(plan).zip(&self.usage).zip(&mut self.warned) {
            if usage.given_up == GivenUp::default() || std::mem::replace(warned, true) {
                continue;
            }
            let (Holder::Fact(name) | Holder::Rule(name)) = holder;
            let GivenUp { keys, runs, events } = usage.given_up;
            tracing::warn!(
                "`{name}` gives up at its limits ({keys} keys, {runs} runs, {events} events): \
                 raise `limits`, or narrow what it looks at"
            );
        }
    }
}

/// Up to an hour, to three digits.
fn latencies() -> Histogram<u64> {
    match Histogram::new_with_max(3_600_000_000, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants: {error}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// At the start, with what the engine begins under.
    pub fn new(
        setup: &Setup,
        engine: Arc<Setup>,
        progress: Arc<Progress>,
        outbox: Arc<Outbox>,
    ) -> Self {
        let sources = &setup.config.sources;
        Self {
            ids: sources.iter().map(|s| s.id.clone()).collect(),
            kinds: sources.iter().map(|s| kind_of(&s.kind)).collect(),
            interner: setup.interner.clone(),
            tables: Mutex::new(Arc::new(Tables::new(setup.plan.model.clone(), &setup.interner))),
            recovered_at: progress.written(),
            judge: Judge::default(),
            progress,
            outbox,
            logged: sources.iter().map(|_| AtomicU64::new(0)).collect(),
            strangers: Strangers::default(),
            visible: Mutex::new(latencies()),
            figures: Mutex::default(),
            setup: Mutex::new(engine),
            sources: Mutex::default(),
            failure: Mutex::default(),
            failed: tokio::sync::Notify::new(),
            stopping: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    /// How much of the log, from a position on, was there before this run: a step of the engine
    /// ends where that ends, so that what it has read of this run's deliveries is known.
    pub fn recovered_behind(&self, here: Position) -> u64 {
        self.recovered_at.0.saturating_sub(here.0)
    }

    /// So many deliveries are about to stand in the log.
    pub fn logged(&self, source: SourceId, deliveries: u64) {
        self.logged[source.0 as usize].fetch_add(deliveries, Ordering::Relaxed);
    }

    /// The thread that judges.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// What holds payloads that the log does not keep.
    pub fn held(&self) -> &Arc<Held> {
        self.progress.held()
    }

    /// The engine has read the log up to a position. `false` where somebody looks at the figures just now: the
    /// engine does not wait for that.
    pub fn stepped(&self, pipeline: &Pipeline, read: Position, pauses: &Histograms) -> bool {
        let mut figures = match self.figures.try_lock() {
            Ok(figures) => figures,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if read > self.recovered_at => return false,
            Err(TryLockError::WouldBlock) => lock(&self.figures),
        };
        let tables = pipeline.engine.tables();
        let mut known = lock(&self.tables);
        if !Arc::ptr_eq(&known, tables) {
            *known = tables.clone();
        }
        drop(known);
        figures.books = pipeline.books();
        figures.roads = pipeline.roads().to_vec();
        figures.blind = pipeline.engine.blind().collect();
        figures.read = read;
        figures.watermark = pipeline.engine.watermark().0;
        figures.state_bytes = pipeline.engine.state_bytes();
        figures.late = pipeline.engine.late_counts();
        figures.pauses = *pauses;
        if read >= self.recovered_at && figures.at_recovery.is_none() {
            debug_assert_eq!(read, self.recovered_at, "INV-BOOKS: read past what was recovered");
            figures.at_recovery = Some(figures.books.clone());
        }
        true
    }

    /// Looks at what facts and rules cost and hold, once in a while, and whether it did: that takes a look
    /// at each of them at every site.
    pub fn look_at_usage(&self, pipeline: &Pipeline) -> bool {
        let mut figures = lock(&self.figures);
        if figures.looked_at.is_some_and(|at| at.elapsed() < USAGE_EVERY) {
            return false;
        }
        figures.looked_at = Some(Instant::now());
        figures.usage = pipeline.engine.usage();
        figures.evicted = pipeline.engine.evicted();
        figures.warn_of_limits(pipeline.engine.plan());
        true
    }

    /// For how long the engine's thread was at one thing, by what that was.
    pub fn pauses(&self) -> Histograms {
        lock(&self.figures).pauses
    }

    /// Another configuration is in force in the engine.
    pub fn took_over(&self, setup: Arc<Setup>, pipeline: &Pipeline) {
        // Readers take both in the same order: numbers go with the rules they are of.
        let mut current = lock(&self.setup);
        let mut figures = lock(&self.figures);
        figures.books = pipeline.books();
        figures.usage = pipeline.engine.usage();
        figures.warned.clear();
        figures.blind = pipeline.engine.blind().collect();
        *current = setup;
    }

    /// What was found has become visible, so long after its newest delivery was taken.
    pub fn visible(&self, after: TimeSpan) {
        lock(&self.visible).saturating_record(u64::try_from(after.0).unwrap_or(0));
    }

    /// Quantiles of taken to visible in seconds, and how many commits they are of.
    pub fn visible_quantiles(&self) -> (Vec<(&'static str, f64)>, u64) {
        let visible = lock(&self.visible);
        let of = [("0.5", 0.5), ("0.99", 0.99), ("0.999", 0.999), ("1", 1.0)];
        let of = of.map(|(name, q)| (name, visible.value_at_quantile(q) as f64 / 1e6));
        (of.into(), visible.len())
    }

    /// The tables as the engine last had them.
    pub fn tables(&self) -> Arc<Tables> {
        lock(&self.tables).clone()
    }

    /// Texts behind symbols.
    pub fn interner(&self) -> &Interner {
        &self.interner
    }

    /// Devices that the site model does not know.
    pub fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    /// Their list, as the API gives it.
    pub fn unknown_devices(&self) -> serde_json::Value {
        self.strangers.list()
    }

    /// The log refuses, or no longer does.
    pub fn log_fault(&self, fault: Option<String>) {
        lock(&self.figures).log_fault = fault;
    }

    /// The store refuses, or no longer does.
    pub fn store_fault(&self, fault: Option<String>) {
        lock(&self.figures).store_fault = fault;
    }

    /// Something cannot go on: the program stops.
    pub fn fail(&self, reason: String) {
        tracing::error!("{reason}");
        lock(&self.failure).get_or_insert(reason);
        self.failed.notify_one();
    }

    /// Why the program must stop.
    pub fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// Waits until the program must stop.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }

    /// Whether the program is about to stop: nothing is waited for any more.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// A source has started.
    pub fn add_source(&self, index: usize, source: Running) {
        lock(&self.sources).push((index, source));
    }

    /// Stops every source; each gives back what is not acknowledged.
    pub fn stop_sources(&self) {
        self.stopping.store(true, Ordering::Release);
        let sources = std::mem::take(&mut *lock(&self.sources));
        sources.into_iter().for_each(|(_, source)| source.stop());
    }

    /// Which roads of decoding the JSON deliveries took since the start, by source.
    pub fn roads(&self) -> Vec<(String, Roads)> {
        self.ids.iter().cloned().zip(lock(&self.figures).roads.iter().copied()).collect()
    }

    /// INV-BOOKS: every source's books with what is logged and not read yet.
    pub fn books(&self) -> Vec<(String, SourceBooks)> {
        let logged: Vec<_> = self.logged.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let figures = lock(&self.figures);
        let known = figures.books.iter().zip(&self.ids).enumerate();
        let books = known.map(|(index, (books, id))| {
            let mut books = books.clone();
            if let Some(start) = &figures.at_recovery {
                let read = books.deliveries - start[index].deliveries;
                books.in_flight = logged[index].saturating_sub(read);
                books.deliveries += books.in_flight;
            }
            (id.clone(), books)
        });
        books.collect()
    }

    /// Id, type and state of each source; HTTP sources are up while the program is.
    pub fn sources(&self) -> Vec<(String, &'static str, SourceState)> {
        let running = lock(&self.sources);
        let state = |index| {
            let found = running.iter().find(|(i, _)| *i == index);
            let up = SourceState { connected: true, ..SourceState::default() };
            found.map_or(up, |(_, source)| source.state())
        };
        let all = self.ids.iter().zip(&self.kinds).enumerate();
        all.map(|(index, (id, kind))| (id.clone(), *kind, state(index))).collect()
    }

    /// How the sinks are doing.
    pub fn sinks(&self) -> Vec<SinkStatus> {
        self.outbox.status().unwrap_or_default()
    }

    /// The rulebook in force, and what each of its facts and rules costs and holds, as [`holders`]
    /// names them.
    pub fn usage(&self) -> (Arc<Plan>, Vec<Usage>) {
        let (setup, figures) = (lock(&self.setup), lock(&self.figures));
        (setup.plan.clone(), figures.usage.clone())
    }

    /// What was given up at a limit, by what it was.
    pub fn evicted(&self) -> Evicted {
        lock(&self.figures).evicted
    }

    /// Rules that do not know yet all that they should, and until when; `MAX` cannot be told.
    pub fn blind(&self) -> Vec<(String, EventTime)> {
        let (setup, figures) = (lock(&self.setup), lock(&self.figures));
        let named = |(rule, until): &(RuleId, EventTime)| {
            (setup.plan.rules[rule.0 as usize].id.clone(), *until)
        };
        figures.blind.iter().map(named).collect()
    }

    /// The longest that anything may be shelved.
    pub fn shelve_max(&self) -> TimeSpan {
        lock(&self.setup).plan.policies.shelve_max
    }

    /// The rule whose incidents are floods.
    pub fn flood_rule(&self) -> Option<String> {
        let plan = lock(&self.setup).plan.clone();
        let flood = plan.policies.flood.as_ref()?;
        Some(plan.rules[flood.rule.0 as usize].id.clone())
    }

    /// Whether the rulebook has a rule.
    pub fn has_rule(&self, id: &str) -> bool {
        lock(&self.setup).plan.rules.iter().any(|rule| rule.id == id)
    }

    /// Whether any event has come: before that there is no time at which anything could be done.
    pub fn has_begun(&self) -> bool {
        lock(&self.figures).watermark != i64::MIN
    }

    /// How far the log has come.
    pub fn log(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Gauges by name, with what they mean.
    pub fn gauges(&self) -> Vec<(&'static str, &'static str, f64)> {
        let figures = lock(&self.figures).clone();
        let tables = self.tables();
        let written = self.progress.written().0;
        let lag = written.saturating_sub(figures.read.0);
        let watermark = if figures.watermark.unsigned_abs() == i64::MAX.unsigned_abs()
            || figures.watermark == i64::MIN
        {
            f64::NAN
        } else {
            figures.watermark as f64 / 1e6
        };
        let late = figures.late;
        vec![
            ("late_live", "Detections told of what came late.", late.live as f64),
            ("late_recorded", "Detections kept of what came late.", late.recorded as f64),
            ("late_older", "Events too late for any rule.", late.older as f64),
            ("late_dropped", "Late events that were not repaired.", late.dropped as f64),
            ("late_repairs", "Repairs of what came late.", late.repairs as f64),
            ("late_incomplete", "Repairs without all of their history.", late.incomplete as f64),
            ("log_written_bytes", "Position behind the newest record of the log.", written as f64),
            (
                "log_durable_bytes",
                "Position up to which the log survives a power cut.",
                self.progress.durable().0 as f64,
            ),
            ("engine_lag_bytes", "Log that the engine has not read yet.", lag as f64),
            (
                "engine_watermark_seconds",
                "Event time up to which events are released, seconds since 1970.",
                watermark,
            ),
            (
                "engine_state_bytes",
                "Memory of facts, runs and identities.",
                figures.state_bytes as f64,
            ),
            (
                "tables_changed",
                "Changes of tables and lists that were made.",
                tables.serial() as f64,
            ),
            (
                "tables_refused",
                "Changes of tables and lists that could not be made.",
                tables.refused() as f64,
            ),
            ("uptime_seconds", "Since the program started.", self.started.elapsed().as_secs_f64()),
        ]
    }

    /// Whether it does its work; the error says what is wrong.
    pub fn ready(&self) -> Result<(), String> {
        if let Some(reason) = self.failure() {
            return Err(reason);
        }
        let figures = lock(&self.figures);
        if let Some(fault) = figures.log_fault.as_ref().or(figures.store_fault.as_ref()) {
            return Err(fault.clone());
        }
        if figures.at_recovery.is_none() {
            return Err(format!(
                "reading the log: {} of {} bytes",
                figures.read.0, self.recovered_at.0
            ));
        }
        Ok(())
    }
}

fn kind_of(kind: &ingest::source::settings::Kind) -> &'static str {
    use ingest::source::settings::Kind;
    match kind {
        Kind::Mqtt { .. } => "mqtt",
        Kind::Kafka { .. } => "kafka",
        Kind::Http { .. } => "http",
        Kind::File { .. } => "file",
    }
}
