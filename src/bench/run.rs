//! One run: so many events a second, whether they are taken or not, and what came of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use event::{EventTime, TimeSpan};
use hdrhistogram::Histogram;
use ingest::source::turns::{Next, Turns};
use serde_json::Value;

use super::child::{PATIENCE, Program, expected};
use super::figures::{Books, Figures, Latency, Moment, OfRule, micros};
use super::lanes::{Lane, Sender, Way};
use super::machine::{Listening, cpu_of, memory_of, waited_of};
use super::traffic::Traffic;
use crate::setup::Setup;

/// Between two looks at the store: what an incident's visibility is known to.
const LOOK_EVERY: Duration = Duration::from_micros(250);
/// Between two looks at books and processes.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Events that are due meanwhile are sent together: a system call for each would be the measure.
const SEND_EVERY: Duration = Duration::from_micros(100);
/// Threads that send, in turns.
const SENDERS: u32 = 2;
/// Where nothing is due for longer than that, it is waited for.
const SELDOM: Duration = Duration::from_millis(1);
/// Behind by more than this share of the run at its end, a rate was not kept up with: the program takes
/// that much less than what comes.
const BEHIND_MAX: f64 = 0.02;
/// And by this in a short run, or a single slow `fdatasync` decides.
const BEHIND_MIN: f64 = 0.1;
/// The store may be behind the engine by so much at the end.
const STORE_WAIT: Duration = Duration::from_secs(20);
/// Of the run, at its beginning: not timed, since caches fill and names are new.
const WARM_UP: f64 = 0.2;
/// Incidents in the plot of latencies over time.
const SAMPLED: usize = 1_500;

/// What is put under load, and how.
pub struct Bench {
    pub binary: PathBuf,
    pub setup: Setup,
    pub lane: Lane,
    pub broker: Option<String>,
    /// Where runs have their folders: on the disk that is measured.
    pub dir: PathBuf,
    pub traffic: Traffic,
    /// A delivery that is left out, so that a test sees it told.
    pub lose: Option<usize>,
}

/// When each event is due. Both clocks are read once: the steady one says when to send, and what it
/// says is told in the other's words, which the program under load uses, too.
#[derive(Clone, Copy)]
struct Schedule {
    origin: Instant,
    origin_at: EventTime,
    rate: f64,
}

impl Schedule {
    fn begin(rate: f64) -> Self {
        let lead = Duration::from_millis(50);
        let origin_at = crate::now().plus(TimeSpan(lead.as_micros() as i64));
        Self { origin: Instant::now() + lead, origin_at, rate }
    }

    fn offset(&self, event: usize) -> Duration {
        Duration::from_secs_f64(event as f64 / self.rate)
    }

    /// Microseconds from an event's time to a moment of the program's clock.
    fn since(&self, event: usize, at: EventTime) -> u64 {
        let due = self.offset(event).as_micros() as i64;
        u64::try_from(at.since(self.origin_at).0 - due).unwrap_or(0)
    }

    /// Events that are due by now.
    fn due(&self) -> usize {
        let Some(since) = Instant::now().checked_duration_since(self.origin) else { return 0 };
        (since.as_secs_f64() * self.rate) as usize + 1
    }

    /// How far the two clocks went apart.
    fn drift(&self) -> Duration {
        let steady = self.origin.elapsed().as_micros() as i64;
        let told = crate::now().since(self.origin_at).0;
        Duration::from_micros((steady - told).unsigned_abs())
    }
}

/// What is under way to the program.
struct Sending<'a> {
    sender: &'a mut Sender,
    /// The first event that is not sent.
    next: usize,
    late: Histogram<u64>,
    failed: Option<anyhow::Error>,
}

/// An incident, and when it was seen in the store.
struct Seen {
    opening: sinks::store::Opening,
    at: EventTime,
}

impl Bench {
    /// Runs once; `name` names its folder.
    pub fn run(&self, name: &str, rate: f64, seconds: f64) -> anyhow::Result<Figures> {
        let dir = self.dir.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        let count = ((rate * seconds).ceil() as usize).clamp(1, self.traffic.len());
        let wanted = self.expected(&dir, count)?;
        let way = Way::prepare(self.lane, self.broker.as_deref(), &dir, name)?;
        let config = dir.join("config");
        write_config(&self.setup, &config, &way.settings(), true)?;
        let mut program = Program::start(&self.binary, &config, &dir.join("data"))?;
        let mut sender = way.sender(program.stdin.take())?;
        let store = dir.join("data").join(&self.setup.config.store);
        let (watch, stop) = watch(store)?;

        let listening = Listening::begin();
        let ours = || cpu_of(std::process::id()) + cpu_of(program.pid()) + way.cpu();
        let (ours_before, cpu_before) = (ours(), cpu_of(program.pid()));
        let waited_before = waited_of(program.pid());
        let schedule = Schedule::begin(rate);
        let (moments, sent_late, drained) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| self.send(&mut sender, schedule, count));
            let moments = self.follow(&program, schedule, count, || sending.is_finished());
            let sent = sending.join().map_err(|_| anyhow!("the sender has failed"))?;
            let (moments, drained) = moments?;
            anyhow::Ok((moments, sent?, drained))
        })?;
        let cpu = cpu_of(program.pid()) - cpu_before;
        let waited = (waited_of(program.pid()) - waited_before) / cpu.max(0.01);
        sender.finish()?;
        let drift = schedule.drift();
        let noise = listening.end(ours() - ours_before, waited);
        program.post(&self.end(count))?;
        let seen = collect(watch, &stop, wanted.len())?;

        let mut figures = Figures {
            rate,
            seconds,
            events: count as u64,
            detection: Latency::default(),
            visible: Latency::default(),
            by_rule: BTreeMap::new(),
            untimed: 0,
            sent_late: Latency::from(&sent_late),
            behind: drained.as_secs_f64(),
            kept_up: false,
            cpu_ns_per_event: cpu * 1e9 / count as f64,
            cores_used: cpu / (schedule.offset(count) + drained).as_secs_f64(),
            memory_max: memory_of(program.pid()).1,
            books: books(&program.get("/api/v1/books")?, count, &wanted, &seen),
            noise,
            moments,
            sample: Vec::new(),
        };
        self.latencies(&mut figures, schedule, count, &seen);
        if figures.visible.count == 0 {
            bail!(
                "{count} events are over before any incident can be timed (the slack is {}): raise \
                 --rate or --seconds",
                self.setup.config.sources[0].slack
            );
        }
        if drift > Duration::from_millis(1) {
            let said =
                format!("the clock was set by {drift:?} during the run: latencies are wrong");
            figures.books.faults.push(said);
        }
        drop(program);
        drop(way);
        std::fs::remove_dir_all(&dir)?;
        Ok(figures)
    }

    /// What replay finds in the same bytes.
    fn expected(&self, dir: &Path, count: usize) -> anyhow::Result<BTreeSet<String>> {
        let (config, file) = (dir.join("replay"), dir.join("traffic.ndjson"));
        write_config(&self.setup, &config, &Way::Stdin.settings(), false)?;
        std::fs::write(&file, self.traffic.bytes(0..count))?;
        let found = expected(&self.binary, &config, &file)?;
        // Not written to the disk under the run.
        std::fs::remove_file(&file)?;
        Ok(found.into_iter().collect())
    }

    /// Sends what is due, and never waits for what became of it. Two threads take turns, each on processors of its own:
    /// what is due must not wait for what the system does on one.
    fn send(
        &self,
        sender: &mut Sender,
        schedule: Schedule,
        count: usize,
    ) -> anyhow::Result<Histogram<u64>> {
        let sending = Sending { sender, next: 0, late: micros(), failed: None };
        let turns = Turns::new(sending, SENDERS, SEND_EVERY);
        let send = |thread| {
            // By itself the system wakes who sleeps 50 µs late, at its convenience.
            let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
            turns.take(thread, |sending| {
                let after = schedule.origin + schedule.offset(sending.next);
                let left = after.saturating_duration_since(Instant::now());
                if left > SELDOM {
                    std::thread::sleep(left);
                }
                let due = schedule.due().min(count);
                if due > sending.next {
                    let sent = self.send_some(sending.sender, sending.next..due);
                    sending.failed = sent.err();
                    sending.late.saturating_record(after.elapsed().as_micros() as u64);
                    sending.next = due;
                }
                let next = schedule.origin + schedule.offset(due);
                match next.saturating_duration_since(Instant::now()) {
                    _ if due == count || sending.failed.is_some() => Next::End,
                    left if left > SELDOM => Next::Again,
                    _ => Next::Turn,
                }
            });
        };
        std::thread::scope(|scope| {
            let send = &send;
            for thread in 1..SENDERS {
                scope.spawn(move || send(thread));
            }
            send(0);
        });
        let sent = turns.into_work().context("the sender has failed")?;
        sent.failed.map_or(Ok(sent.late), Err)
    }

    fn send_some(&self, sender: &mut Sender, events: Range<usize>) -> anyhow::Result<()> {
        let Some(lost) = self.lose.filter(|lost| events.contains(lost)) else {
            return sender.send(self.traffic.bytes(events));
        };
        sender.send(self.traffic.bytes(events.start..lost))?;
        sender.send(self.traffic.bytes(lost + 1..events.end))
    }

    /// Looks on until the program accounts for all that was sent; how long after the last event's
    /// time that was.
    fn follow(
        &self,
        program: &Program,
        schedule: Schedule,
        count: usize,
        sent: impl Fn() -> bool,
    ) -> anyhow::Result<(Vec<Moment>, Duration)> {
        let (mut moments, mut progress) = (Vec::new(), (0, Instant::now()));
        let wanted = count as u64 - u64::from(self.lose.is_some());
        loop {
            let accounted = account(&program.get("/api/v1/books")?["books"][SOURCE]).0;
            let since = Instant::now().saturating_duration_since(schedule.origin);
            moments.push(Moment {
                at: since.as_secs_f64(),
                due: schedule.due().min(count) as u64,
                accounted,
                cpu: cpu_of(program.pid()),
                memory: memory_of(program.pid()).0,
            });
            if accounted > progress.0 {
                progress = (accounted, Instant::now());
            }
            let stuck = progress.1.elapsed() > PATIENCE;
            if stuck || sent() && accounted >= wanted {
                return Ok((moments, since.saturating_sub(schedule.offset(count))));
            }
            // At the end it matters when that was.
            let draining = since >= schedule.offset(count);
            std::thread::sleep(if draining { SAMPLE_EVERY / 20 } else { SAMPLE_EVERY });
        }
    }

    /// Moves the time of every site past all deadlines.
    fn end(&self, count: usize) -> String {
        let at = self.traffic.until(count).plus(TimeSpan::from_secs(365 * 86_400));
        let sites = self.traffic.sites.iter();
        let lines = sites.map(|site| {
            let event = serde_json::json!({
                "kind": "Advance",
                "occurred": at.to_string(),
                "id": "end",
                "site": site,
            });
            format!("{event}\n")
        });
        lines.collect()
    }

    fn latencies(&self, figures: &mut Figures, schedule: Schedule, count: usize, seen: &[Seen]) {
        let (mut detection, mut visible) = (micros(), micros());
        let mut by_rule: BTreeMap<&str, Histogram<u64>> = BTreeMap::new();
        let mut all = Vec::new();
        for Seen { opening, at } in seen {
            let Some(line) = self.traffic.known_by(opening.opened_at, count) else {
                figures.untimed += 1;
                continue;
            };
            if (line as f64) < count as f64 * WARM_UP {
                continue;
            }
            let after = schedule.since(line, *at);
            visible.saturating_record(after);
            by_rule.entry(&opening.rule).or_insert_with(micros).saturating_record(after);
            if let Some(concluded) = opening.concluded_at {
                detection.saturating_record(schedule.since(line, concluded));
            }
            all.push((schedule.offset(line).as_secs_f64(), after));
        }
        let of_rule = |(rule, h): (&str, Histogram<u64>)| {
            let (p50, p99) = (h.value_at_quantile(0.5), h.value_at_quantile(0.99));
            (rule.to_owned(), OfRule { incidents: h.len(), p50, p99 })
        };
        figures.by_rule = by_rule.into_iter().map(of_rule).collect();
        figures.detection = Latency::from(&detection);
        figures.visible = Latency::from(&visible);
        // The last twentieth, its middle one: the store may be behind the engine.
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut last: Vec<_> =
            all[all.len() - all.len().div_ceil(20)..].iter().map(|l| l.1).collect();
        last.sort_unstable();
        let stored = last.get(last.len() / 2).map_or(0.0, |after| *after as f64 / 1e6);
        figures.behind = figures.behind.max(stored);
        let behind_max = BEHIND_MIN.max(schedule.offset(count).as_secs_f64() * BEHIND_MAX);
        figures.kept_up = figures.behind <= behind_max;
        let step = all.len().div_ceil(SAMPLED).max(1);
        figures.sample = all.into_iter().step_by(step).collect();
    }
}

/// The source's id in the configuration.
const SOURCE: &str = "bench";

/// The configuration under load: that of the user, with our source in the place of its first.
fn write_config(setup: &Setup, dir: &Path, source: &str, live: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let config = &setup.config;
    let first = config.sources.first().context("no source is configured")?;
    let list = |paths: &[PathBuf]| {
        let paths = paths.iter().map(std::path::absolute).collect::<Result<Vec<_>, _>>();
        anyhow::Ok(serde_json::to_string(&paths?)?)
    };
    let optional = |key: &str, value: &Option<String>| {
        value.as_ref().map_or_else(String::new, |value| format!(", {key}: '{value}'"))
    };
    let mut text = format!(
        "time: {}\nclock_skew_max: 36500d\nreload: {{watch: false}}\nsources:\n\
         - {{id: {SOURCE}, {source}, mappings: {}, slack: {}{}{}}}\n",
        if live { "live" } else { "history" },
        serde_json::to_string(&first.mappings)?,
        first.slack,
        optional("feed", &first.feed),
        optional("site", &first.site),
    );
    if live {
        text += "- {id: end, type: http, mappings: [canonical], slack: 0s}\n";
    }
    for (key, paths) in
        [("mappings", &config.mappings), ("model", &config.model), ("rules", &config.rules)]
    {
        if !paths.is_empty() {
            text += &format!("{key}: {}\n", list(paths)?);
        }
    }
    let sites =
        config.sites.iter().map(|(n, zone)| format!("{{name: '{n}', time_zone: '{zone}'}}"));
    let sites: Vec<_> = sites.collect();
    if !sites.is_empty() {
        text += &format!("sites: [{}]\n", sites.join(", "));
    }
    let late = config.late;
    text += &format!(
        "duplicates: {{within: {}, max: {}}}\nlate: {{live: {}, recorded: {}, settle: {}}}\n",
        config.duplicates_within, config.duplicates_max, late.live, late.recorded, late.settle,
    );
    Ok(std::fs::write(dir.join("portcullis.yaml"), text)?)
}

/// Deliveries accounted for, and events that were not accepted.
fn account(books: &Value) -> (u64, u64) {
    let n = |name: &str| books[name].as_u64().unwrap_or(0);
    let not = n("duplicate") + n("late") + n("quarantined") + n("deferred");
    (n("deliveries") - n("in_flight"), not)
}

fn books(all: &Value, count: usize, wanted: &BTreeSet<String>, seen: &[Seen]) -> Books {
    let (accounted, not_accepted) = account(&all["books"][SOURCE]);
    let found: BTreeSet<_> = seen.iter().map(|s| s.opening.id.to_string()).collect();
    let mut books = Books {
        sent: count as u64,
        accounted,
        incidents_expected: wanted.len() as u64,
        incidents_found: found.len() as u64,
        missing: wanted.difference(&found).count() as u64,
        further: found.difference(wanted).count() as u64,
        not_accepted,
        faults: Vec::new(),
    };
    if accounted != books.sent {
        let (sent, lost) = (books.sent, books.sent as i64 - accounted as i64);
        books.faults.push(format!("{lost} of {sent} deliveries are not accounted for"));
    }
    if books.missing + books.further > 0 {
        let (missing, further) = (books.missing, books.further);
        books.faults.push(format!(
            "{missing} incidents of replay are not in the store, {further} are there beyond them"
        ));
    }
    if not_accepted > 0 {
        books
            .faults
            .push(format!("{not_accepted} events were not accepted, though all are in order"));
    }
    books
}

type Watch = JoinHandle<anyhow::Result<Vec<Seen>>>;

/// What ends the looking on: how many incidents are waited for, once that is known.
#[derive(Default)]
struct Stop {
    ending: AtomicBool,
    wanted: std::sync::atomic::AtomicU64,
}

/// Looks on which incidents come to stand in the store.
fn watch(store: PathBuf) -> anyhow::Result<(Watch, Arc<Stop>)> {
    let stop = Arc::new(Stop::default());
    let ours = stop.clone();
    let index = File::open(format!("{}-shm", store.display())).ok();
    let reader = sinks::Reader::open(store)?;
    let look = move || {
        let (mut seen, mut last, mut waited) = (Vec::new(), 0, Instant::now());
        let (mut commits, mut none) = (None, false);
        loop {
            let now = index.as_ref().and_then(commits_of);
            // A look takes the program's time, where it is on the same processors.
            let same = none && now.is_some() && now == commits;
            let new = if same { Vec::new() } else { reader.opened_after(last)? };
            let at = crate::now();
            (commits, none) = (now, new.is_empty());
            for opening in new {
                last = opening.n;
                seen.push(Seen { opening, at });
            }
            if !none || !ours.ending.load(Ordering::Acquire) {
                waited = Instant::now();
            }
            let enough = seen.len() as u64 >= ours.wanted.load(Ordering::Acquire);
            let ending = ours.ending.load(Ordering::Acquire);
            if none && ending && (enough || waited.elapsed() > STORE_WAIT) {
                return Ok(seen);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    };
    Ok((std::thread::Builder::new().name("watch".into()).spawn(look)?, stop))
}

/// How many commits a store counts in the index of its journal: the third word,
/// <https://www.sqlite.org/walformat.html#the_wal_index_header>. `None` where it cannot be read.
fn commits_of(index: &File) -> Option<u32> {
    let mut word = [0; 4];
    index.read_exact_at(&mut word, 8).ok()?;
    Some(u32::from_ne_bytes(word))
}

fn collect(watch: Watch, stop: &Stop, wanted: usize) -> anyhow::Result<Vec<Seen>> {
    stop.wanted.store(wanted as u64, Ordering::Release);
    stop.ending.store(true, Ordering::Release);
    watch.join().map_err(|_| anyhow!("the look at the store has failed"))?
}
