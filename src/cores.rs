//! A replay on several threads: the same findings, books and hash as on one.
//!
//! A block of records goes through three stages: it is read; its pieces are decoded; its events are
//! judged, by each part of the engine for the sites it has. One round does the next stage of three
//! blocks at once, and what the sites forwarded in the round before is judged for all sites beside
//! them. All of a round's work is independent, so that whoever is free takes what is left; between
//! two rounds everything stands still, and is handed on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use event::books::SourceBooks;
use event::{EventBlock, EventTime, RecordBlock, RecordKind, StreamId};
use ingest::decode::{Decoder, Outcome};
use ingest::source::file::FileReader;
use rules::engine::{Engine, Findings, Input, Part, Sum};
use rustix::thread::CpuSet;

use crate::replay::{Figures, Ran, Words};
use crate::setup::Setup;

/// Deliveries that are decoded as one piece of work.
const PIECE: usize = 256;

/// Blocks of one thread that are one block here: so much work is in a round (some 10 ms) that waiting
/// for its last piece, and waking who sleeps, are nothing beside it.
pub const BLOCKS_A_ROUND: usize = 16;

/// How often a thread looks whether there is work before it sleeps: some hundreds of microseconds.
const LOOKS: usize = 20_000;

/// A number that only grows, and that threads wait for.
#[derive(Default)]
struct Gate {
    value: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Gate {
    fn step(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
        // Whoever has looked and found too little sleeps by now, or will look again.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn wait_for(&self, value: usize) {
        let reached = || self.value.load(Ordering::SeqCst) >= value;
        for _ in 0..LOOKS {
            if reached() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !reached() {
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Steps a gate when a thread is done, or dies.
struct AtEnd<'a>(&'a Gate);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.step();
    }
}

/// An engine with what it found in this round.
struct Judge {
    engine: Engine,
    findings: Findings,
    sum: Sum,
}

impl Judge {
    fn new(setup: &Setup, part: Part) -> Mutex<Self> {
        let (plan, interner) = (setup.plan.clone(), setup.interner.clone());
        Mutex::new(Self {
            engine: Engine::part(plan, interner, setup.options(1), part),
            findings: Findings::default(),
            sum: Sum::new(setup.plan.clone()),
        })
    }

    fn judge(&mut self, setup: &Setup, act: impl FnOnce(&mut Engine, &mut Findings)) {
        self.findings.clear();
        act(&mut self.engine, &mut self.findings);
        self.sum.take(&self.findings, &setup.interner);
    }
}

/// One thread's decoder, and the deliveries' side of the books of what it decoded.
struct Reading {
    decoder: Decoder,
    deliveries: Vec<SourceBooks>,
    /// A delivery has changed a table: every other thread would have to know.
    changes: bool,
}

/// What is decoded as one: a run of deliveries.
struct Piece {
    records: std::ops::Range<usize>,
    events: EventBlock,
    /// How far the streams have come in it.
    reached: Vec<(StreamId, EventTime)>,
}

/// What happens to the engine in a block, in the order of the log.
enum Step {
    Piece(usize),
    Mark(usize),
    End,
}

/// A block on its way.
#[derive(Default)]
struct Stage {
    records: RecordBlock,
    steps: Vec<Step>,
    /// Memory of pieces; so many are of this block.
    pieces: Vec<RwLock<Piece>>,
    many: usize,
}

impl Stage {
    fn clear(&mut self) {
        self.records.clear();
        self.steps.clear();
        self.many = 0;
    }

    /// Reads a block, and lays out its pieces; the end of the input is one without records.
    fn read(&mut self, files: &mut FileReader, setup: &Setup) -> anyhow::Result<bool> {
        self.clear();
        if !files.read(&mut self.records)? {
            self.steps.push(Step::End);
            return Ok(false);
        }
        let mut place = 0;
        while place < self.records.len() {
            let delivery = |place| self.records.get(place).kind == RecordKind::Delivery;
            let until = self.records.len().min(place + PIECE);
            let end = (place..until).find(|place| !delivery(*place)).unwrap_or(until);
            if end == place {
                self.steps.push(Step::Mark(place));
                place += 1;
            } else {
                self.steps.push(Step::Piece(self.many));
                self.lay_out(place..end, setup);
                place = end;
            }
        }
        Ok(true)
    }

    fn lay_out(&mut self, records: std::ops::Range<usize>, setup: &Setup) {
        if self.many == self.pieces.len() {
            let events = EventBlock::new(&setup.vocabulary);
            self.pieces.push(RwLock::new(Piece { records: 0..0, events, reached: Vec::new() }));
        }
        let piece = self.pieces[self.many].get_mut().unwrap_or_else(PoisonError::into_inner);
        piece.records = records;
        piece.events.clear();
        piece.reached.clear();
        self.many += 1;
    }

    fn has_end(&self) -> bool {
        matches!(self.steps.last(), Some(Step::End))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread has died at it")
}

fn shared<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().expect("no thread has died at it")
}

/// Everything that the threads share.
struct Cores<'a> {
    setup: &'a Setup,
    sites: Vec<Mutex<Judge>>,
    enterprise: Mutex<Judge>,
    /// By thread.
    readings: Vec<Mutex<Reading>>,
    stages: [RwLock<Stage>; 3],
    begun: Gate,
    done: Gate,
    over: AtomicBool,
    /// Work of this round that somebody has taken: the sites', the enterprise's, so many pieces.
    sites_taken: Vec<AtomicBool>,
    enterprise_taken: AtomicBool,
    pieces_taken: AtomicUsize,
}

impl<'a> Cores<'a> {
    fn new(setup: &'a Setup, threads: usize) -> anyhow::Result<Self> {
        let reading = |_| {
            let deliveries = vec![SourceBooks::default(); setup.config.sources.len()];
            let decoder = setup.decoder()?;
            Ok(Mutex::new(Reading { decoder, deliveries, changes: false }))
        };
        let sites = |number| Judge::new(setup, Part::Sites { number, of: threads });
        Ok(Self {
            setup,
            sites: (0..threads).map(sites).collect(),
            enterprise: Judge::new(setup, Part::Enterprise),
            readings: (0..threads).map(reading).collect::<anyhow::Result<_>>()?,
            stages: Default::default(),
            begun: Gate::default(),
            done: Gate::default(),
            over: AtomicBool::new(false),
            sites_taken: (0..threads).map(|_| AtomicBool::new(true)).collect(),
            enterprise_taken: AtomicBool::new(true),
            pieces_taken: AtomicUsize::new(0),
        })
    }

    /// A block is read in one round, decoded in the next, and judged in the one after.
    fn to_read(&self, round: usize) -> &RwLock<Stage> {
        &self.stages[round % 3]
    }

    fn to_decode(&self, round: usize) -> &RwLock<Stage> {
        &self.stages[(round + 2) % 3]
    }

    fn to_judge(&self, round: usize) -> &RwLock<Stage> {
        &self.stages[(round + 1) % 3]
    }

    /// What every thread but the first does.
    fn work(&self, thread: usize) {
        for round in 1.. {
            self.begun.wait_for(round);
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let _done = AtEnd(&self.done);
            self.take_part(round, thread);
        }
    }

    fn begin(&self) {
        for taken in &self.sites_taken {
            taken.store(false, Ordering::SeqCst);
        }
        self.enterprise_taken.store(false, Ordering::SeqCst);
        self.pieces_taken.store(0, Ordering::SeqCst);
        self.begun.step();
    }

    /// Takes work of a round until none is left: what takes longest first, and the sites that this
    /// thread had before, whose state is near.
    fn take_part(&self, round: usize, thread: usize) {
        self.judge_sites(round, thread);
        if !self.enterprise_taken.swap(true, Ordering::SeqCst) {
            locked(&self.enterprise).judge(self.setup, Engine::settle);
        }
        let stage = shared(self.to_decode(round));
        let mut reading = locked(&self.readings[thread]);
        loop {
            let piece = self.pieces_taken.fetch_add(1, Ordering::SeqCst);
            if piece >= stage.many {
                break;
            }
            let mut piece = stage.pieces[piece].write().expect("no thread has died at it");
            reading.decode(&stage.records, &mut piece);
        }
        drop(reading);
        (0..self.sites.len()).for_each(|part| self.judge_sites(round, part));
    }

    fn judge_sites(&self, round: usize, part: usize) {
        if self.sites_taken[part].swap(true, Ordering::SeqCst) {
            return;
        }
        let stage = shared(self.to_judge(round));
        locked(&self.sites[part]).judge(self.setup, |engine, out| {
            for step in &stage.steps {
                match step {
                    Step::Piece(piece) => {
                        let piece = shared(&stage.pieces[*piece]);
                        engine.feed(Input::Events(&piece.events), out);
                    }
                    Step::Mark(place) => {
                        let record = stage.records.get(*place);
                        let (stream, source) = (record.stream, record.source);
                        match record.kind {
                            RecordKind::StreamOpened => {
                                engine.feed(Input::StreamOpened(stream, source), out);
                            }
                            RecordKind::StreamEnded => {
                                engine.feed(Input::StreamEnded(stream, source), out);
                            }
                            other => unreachable!("no file holds a {other:?}"),
                        }
                    }
                    Step::End => engine.feed(Input::EndOfInput, out),
                }
            }
        });
    }

    /// Whether one engine has to do it all.
    fn needs_whole(&self) -> bool {
        let judges = self.sites.iter().chain([&self.enterprise]);
        let changes = self.readings.iter().any(|reading| locked(reading).changes);
        changes || judges.into_iter().any(|judge| locked(judge).engine.needs_whole())
    }

    fn hand_over(&self) {
        let mut enterprise = locked(&self.enterprise);
        for part in &self.sites {
            locked(part).engine.hand_over(&mut enterprise.engine);
        }
    }

    /// Runs the files through; `false` where one engine has to do it all.
    fn run(&self, files: &mut FileReader, words: &mut Option<Words>) -> anyhow::Result<bool> {
        // Which of several files is read next hangs on what was decoded before.
        let ahead = files.inputs() == 1;
        let mut more = true;
        let mut last = usize::MAX;
        for round in 1.. {
            if !ahead {
                for piece in &shared(self.to_judge(round)).pieces {
                    for (stream, reached) in &shared(piece).reached {
                        files.progress(*stream, *reached);
                    }
                }
                self.read(self.to_decode(round), files, &mut more)?;
            }
            if shared(self.to_judge(round)).has_end() {
                last = round + 1;
            }
            self.begin();
            if ahead {
                self.read(self.to_read(round), files, &mut more)?;
            }
            self.take_part(round, 0);
            self.done.wait_for(round * (self.readings.len() - 1));
            if self.needs_whole() {
                return Ok(false);
            }
            if let Some(words) = words {
                // The rules over all sites lag a round behind.
                for judge in [&self.enterprise].into_iter().chain(&self.sites) {
                    let judge = locked(judge);
                    words.take(&judge.findings, judge.engine.tables(), files)?;
                }
            }
            self.hand_over();
            if round == last {
                break;
            }
        }
        Ok(true)
    }

    fn read(
        &self,
        stage: &RwLock<Stage>,
        files: &mut FileReader,
        more: &mut bool,
    ) -> anyhow::Result<()> {
        let mut stage = stage.write().expect("no thread has died at it");
        stage.clear();
        if *more {
            *more = stage.read(files, self.setup)?;
        }
        Ok(())
    }

    fn figures(&self) -> Figures {
        let sources = self.setup.config.sources.len();
        let mut figures = Figures::new(vec![SourceBooks::default(); sources]);
        for judge in self.sites.iter().chain([&self.enterprise]) {
            figures.add(&locked(judge).engine);
        }
        for reading in &self.readings {
            figures.decoded(&locked(reading).deliveries);
        }
        figures
    }
}

impl Reading {
    fn decode(&mut self, records: &RecordBlock, piece: &mut Piece) {
        for place in piece.records.clone() {
            let record = records.get(place);
            let books = &mut self.deliveries[record.source.0 as usize];
            books.deliveries += 1;
            let before = piece.events.len();
            match self.decoder.decode(&record, &mut piece.events) {
                Outcome::Decoded(_) => books.decoded += 1,
                Outcome::Ignored => books.ignored += 1,
                Outcome::Rejected(reason) => books.reject(reason),
            }
            self.changes |= !self.decoder.take_changes().is_empty();
            for place in before..piece.events.len() {
                let event = piece.events.get(place);
                let (stream, at) = (event.stream(), event.occurred());
                match piece.reached.iter_mut().find(|(known, _)| *known == stream) {
                    Some((_, reached)) => *reached = (*reached).max(at),
                    None => piece.reached.push((stream, at)),
                }
            }
        }
    }
}

/// Stops the threads however the first one ends.
struct Stop<'a, 'b>(&'a Cores<'b>);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.0.begun.step();
    }
}

/// Binds this thread to one of the processors that the program may use, in turn.
fn pin(thread: usize) {
    let bound = rustix::thread::sched_getaffinity(None).and_then(|allowed| {
        let mut own = CpuSet::new();
        let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        if let Some(cpu) = cpus.cycle().nth(thread) {
            own.set(cpu);
        }
        rustix::thread::sched_setaffinity(None, &own)
    });
    if let Err(error) = bound {
        tracing::warn!(thread, %error, "the thread is not bound to a processor");
    }
}

/// Replays files on so many threads. `None` where something came that only one engine for all sites
/// can judge: then it is to be done again on one thread.
pub fn replay(
    setup: &Setup,
    files: &mut FileReader,
    threads: usize,
    pinned: bool,
    words: &mut Option<Words>,
) -> anyhow::Result<Option<Ran>> {
    let cores = Cores::new(setup, threads)?;
    let whole = std::thread::scope(|scope| {
        let _stop = Stop(&cores);
        for thread in 1..threads {
            let cores = &cores;
            scope.spawn(move || {
                if pinned {
                    pin(thread);
                }
                cores.work(thread);
            });
        }
        if pinned {
            pin(0);
        }
        cores.run(files, words)
    })?;
    if !whole {
        return Ok(None);
    }
    let mut sum = Sum::new(setup.plan.clone());
    for judge in cores.sites.iter().chain([&cores.enterprise]) {
        sum.add(&locked(judge).sum);
    }
    Ok(Some(Ran { sum, figures: cores.figures() }))
}
