//! A replay on several threads: the same findings, books and hash as on one.
//!
//! A block of records goes through four stages: it is read; its pieces are decoded; its events are
//! judged, by each part of the engine for the sites it has; what the sites forwarded is judged for all
//! of them. Several blocks are under way at once, and whoever is free takes what can be done
//! ([`board::Board`]): nobody waits for a thread, but for the one block he needs.

mod board;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use event::books::SourceBooks;
use event::{EventBlock, EventTime, RecordBlock, RecordKind, StreamId, Symbol};
use ingest::decode::{Decoder, Outcome};
use ingest::source::file::FileReader;
use rules::engine::{Dealer, Engine, Findings, Forwarded, Input, Part, Share, Sum};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

use crate::replay::{Figures, Ran, Words};
use crate::setup::Setup;
use board::{Board, Work};

/// Deliveries that are decoded as one piece of work, at most: usually a whole block.
const PIECE: usize = 2_048;
/// The same where nothing is read before all of a block is decoded: its pieces are all that there is for others to do.
const PIECE_IN_TURN: usize = 256;

/// Blocks under way, for each thread: as much as one may be ahead of another.
const SLOTS: usize = 4;

/// How often a thread looks whether there is work before it sleeps: some hundreds of microseconds.
const LOOKS: usize = 20_000;

/// An engine with what it found in this block. Two of them share no line of memory.
#[repr(align(128))]
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
}

/// One thread's decoder, and the deliveries' side of the books of what it decoded.
#[repr(align(128))]
struct Reading {
    /// Its number, and that of the part that it judges, if it can.
    thread: usize,
    decoder: Decoder,
    deliveries: Vec<SourceBooks>,
    /// A delivery has changed a table: every other thread would have to know.
    changes: bool,
    /// How far the streams have come in a piece.
    reached: Vec<(StreamId, EventTime)>,
    /// Where a piece is decoded, before it is dealt out.
    events: EventBlock,
    dealer: Dealer,
}

/// What is decoded as one, a run of deliveries of one stream; and what of it is each part's.
struct Piece {
    records: std::ops::Range<usize>,
    shares: Vec<Share>,
}

/// What happens to the engine in a block, in the order of the log.
enum Step {
    Piece(usize),
    Mark(usize),
    End,
}

/// A place for a block on its way.
struct Slot {
    records: RecordBlock,
    steps: Vec<Step>,
    /// Memory of pieces; so many are of this block.
    pieces: Vec<RwLock<Piece>>,
    many: usize,
    /// What the sites of each part forwarded.
    forwarded: Mutex<Vec<Forwarded>>,
}

impl Slot {
    fn new(setup: &Setup, parts: usize) -> RwLock<Self> {
        let forwarded = |_| Forwarded::new(&setup.vocabulary, setup.interner.clone());
        RwLock::new(Self {
            records: RecordBlock::new(),
            steps: Vec::new(),
            pieces: Vec::new(),
            many: 0,
            forwarded: Mutex::new((0..parts).map(forwarded).collect()),
        })
    }

    /// Reads a block, and lays out its pieces; whether it is the last, of the end of the input.
    fn read(&mut self, files: &mut FileReader, cores: &Cores<'_>) -> anyhow::Result<bool> {
        self.records.clear();
        self.steps.clear();
        self.many = 0;
        if !files.read(&mut self.records)? {
            self.steps.push(Step::End);
            return Ok(true);
        }
        let most = if cores.several { PIECE_IN_TURN } else { PIECE };
        let mut place = 0;
        while place < self.records.len() {
            let stream = self.records.get(place).stream;
            let goes_on = |place| {
                let record = self.records.get(place);
                record.kind == RecordKind::Delivery && record.stream == stream
            };
            let until = self.records.len().min(place + most);
            let end = (place..until).find(|place| !goes_on(*place)).unwrap_or(until);
            if end == place {
                self.steps.push(Step::Mark(place));
                place += 1;
            } else {
                self.steps.push(Step::Piece(self.many));
                self.lay_out(place..end, cores);
                place = end;
            }
        }
        Ok(false)
    }

    fn lay_out(&mut self, records: std::ops::Range<usize>, cores: &Cores<'_>) {
        if self.many == self.pieces.len() {
            let shares = cores.sites.iter().map(|_| Share::new(&cores.setup.vocabulary));
            self.pieces.push(RwLock::new(Piece { records: 0..0, shares: shares.collect() }));
        }
        let piece = self.pieces[self.many].get_mut().unwrap_or_else(PoisonError::into_inner);
        piece.records = records;
        self.many += 1;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread has died at it")
}

fn shared<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().expect("no thread has died at it")
}

/// Work that a thread has done.
enum Done {
    /// A block of so many pieces was read; it may be the last.
    Read { slot: usize, pieces: usize, last: bool },
    /// Anything else; one engine may have to do it all.
    Other { work: Work, whole: bool },
}

/// What becomes of it.
#[derive(Default)]
struct Fate {
    /// Nothing more is to be done.
    over: bool,
    /// One engine has to do it all.
    whole: bool,
    /// Threads that sleep until something is done.
    asleep: usize,
    error: Option<anyhow::Error>,
}

/// Everything that the threads share.
struct Cores<'a> {
    setup: &'a Setup,
    sites: Vec<Mutex<Judge>>,
    enterprise: Mutex<Judge>,
    /// The part that each site is of: dealt out in turn, as somebody comes upon them.
    owners: Mutex<HashMap<Symbol, usize>>,
    /// The deliveries' side of the books, of each thread that is done.
    deliveries: Mutex<Vec<Vec<SourceBooks>>>,
    slots: Vec<RwLock<Slot>>,
    files: Mutex<&'a mut FileReader>,
    /// Which of several files is read next hangs on what was decoded before.
    several: bool,
    /// What is found in words, with the files to read again, where it is asked for.
    words: Option<Mutex<(&'a mut Words, FileReader)>>,
    board: Mutex<(Board, Fate)>,
    /// Grows whenever something is done.
    steps: AtomicUsize,
    stepped: Condvar,
}

impl<'a> Cores<'a> {
    fn new(
        setup: &'a Setup,
        threads: usize,
        files: &'a mut FileReader,
        words: &'a mut Option<Words>,
    ) -> anyhow::Result<Self> {
        let sites = |number| Judge::new(setup, Part::Sites { number });
        let words = words.as_mut().map(|words| anyhow::Ok(Mutex::new((words, files.again()?))));
        let (several, slots) = (files.inputs() > 1, SLOTS * threads);
        Ok(Self {
            setup,
            sites: (0..threads).map(sites).collect(),
            enterprise: Judge::new(setup, Part::Enterprise),
            owners: Mutex::default(),
            deliveries: Mutex::default(),
            slots: (0..slots).map(|_| Slot::new(setup, threads)).collect(),
            several,
            files: Mutex::new(files),
            words: words.transpose()?,
            board: Mutex::new((Board::new(threads, slots, several), Fate::default())),
            steps: AtomicUsize::new(0),
            stepped: Condvar::new(),
        })
    }

    /// What every thread does: all it can, until it is over. What it writes for each event is its own,
    /// and made here: made by one thread for all, small pieces of it share lines of memory.
    fn work(&self, thread: usize) {
        let _over = OverIfDead(self);
        let worked = Reading::new(self.setup, self.sites.len(), thread).and_then(|mut reading| {
            let mut done = None;
            while let Some(work) = self.take(thread, done.take()) {
                done = Some(self.act(work, &mut reading)?);
            }
            locked(&self.deliveries).push(reading.deliveries);
            Ok(())
        });
        if let Err(error) = worked {
            self.end(|fate| fate.error = Some(error));
        }
    }

    /// Enters what a thread has done; the next work for it, as soon as there is some; `None` when it is over.
    fn take(&self, thread: usize, done: Option<Done>) -> Option<Work> {
        let mut board = locked(&self.board);
        if let Some(done) = done {
            self.enter(&mut board, done);
        }
        loop {
            if board.1.over || board.0.is_done() {
                return None;
            }
            let work = board.0.take(thread);
            if work.is_some() {
                return work;
            }
            let before = self.steps.load(Ordering::Acquire);
            let waits = || self.steps.load(Ordering::Acquire) == before;
            drop(board);
            (0..LOOKS).take_while(|_| waits()).for_each(|_| std::hint::spin_loop());
            board = locked(&self.board);
            while waits() {
                board.1.asleep += 1;
                board = self.stepped.wait(board).expect("no thread has died at it");
                board.1.asleep -= 1;
            }
        }
    }

    fn enter(&self, (board, fate): &mut (Board, Fate), done: Done) {
        match done {
            Done::Read { slot, pieces, last } => board.has_read(slot, pieces, last),
            Done::Other { work, whole } => {
                board.done(work);
                fate.whole |= whole;
                fate.over |= whole;
            }
        }
        self.tell(fate);
    }

    /// Tells whoever waits that something is done.
    fn tell(&self, fate: &Fate) {
        self.steps.fetch_add(1, Ordering::Release);
        // Where nobody sleeps it would be a system call for nothing, some times a block.
        if fate.asleep > 0 {
            self.stepped.notify_all();
        }
    }

    fn end(&self, why: impl FnOnce(&mut Fate)) {
        // Where a thread has died all end; it cannot have died at the board itself.
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        why(&mut board.1);
        board.1.over = true;
        self.tell(&board.1);
    }

    fn act(&self, work: Work, reading: &mut Reading) -> anyhow::Result<Done> {
        let mut whole = false;
        match work {
            Work::Read { slot } => {
                let mut block = self.slots[slot].write().expect("no thread has died at it");
                let last = block.read(&mut locked(&self.files), self)?;
                return Ok(Done::Read { slot, pieces: block.many, last });
            }
            Work::Decode { slot, piece } => {
                let slot = shared(&self.slots[slot]);
                let mut piece = slot.pieces[piece].write().expect("no thread has died at it");
                reading.decode(&slot.records, &mut piece, self);
                whole = reading.changes;
                if self.several {
                    let mut files = locked(&self.files);
                    reading.reached.drain(..).for_each(|(stream, at)| files.progress(stream, at));
                }
            }
            Work::Judge { slot, part } => {
                let slot = shared(&self.slots[slot]);
                self.judge(&self.sites[part], &mut whole, |engine, out| {
                    slot.feed(part, engine, out);
                    engine.forward(&mut locked(&slot.forwarded)[part]);
                })?;
            }
            Work::Settle { slot } => {
                let slot = shared(&self.slots[slot]);
                let mut forwarded = locked(&slot.forwarded);
                self.judge(&self.enterprise, &mut whole, |engine, out| {
                    engine.settle(&mut forwarded, out);
                })?;
            }
        }
        Ok(Done::Other { work, whole })
    }

    fn judge(
        &self,
        judge: &Mutex<Judge>,
        whole: &mut bool,
        act: impl FnOnce(&mut Engine, &mut Findings),
    ) -> anyhow::Result<()> {
        let Judge { engine, findings, sum } = &mut *locked(judge);
        findings.clear();
        act(engine, findings);
        *whole = engine.needs_whole();
        sum.take(findings, &self.setup.interner);
        if let Some(words) = &self.words {
            let (words, files) = &mut *locked(words);
            words.take(findings, engine.tables(), files)?;
        }
        Ok(())
    }

    fn ran(&self) -> Ran {
        let mut sum = Sum::new(self.setup.plan.clone());
        let sources = self.setup.config.sources.len();
        let mut figures = Figures::new(vec![SourceBooks::default(); sources]);
        for judge in self.sites.iter().chain([&self.enterprise]) {
            let judge = locked(judge);
            figures.add(&judge.engine);
            sum.add(&judge.sum);
        }
        for deliveries in &*locked(&self.deliveries) {
            figures.decoded(deliveries);
        }
        Ran { sum, figures }
    }
}

impl Slot {
    /// Gives its part of a block to an engine.
    fn feed(&self, part: usize, engine: &mut Engine, out: &mut Findings) {
        for step in &self.steps {
            match step {
                Step::Piece(piece) => {
                    let piece = shared(&self.pieces[*piece]);
                    engine.feed(Input::Share(&piece.shares[part]), out);
                }
                Step::Mark(place) => {
                    let record = self.records.get(*place);
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
    }
}

impl Reading {
    fn new(setup: &Setup, parts: usize, thread: usize) -> anyhow::Result<Self> {
        Ok(Self {
            thread,
            decoder: setup.decoder()?,
            deliveries: vec![SourceBooks::default(); setup.config.sources.len()],
            changes: false,
            reached: Vec::new(),
            events: EventBlock::new(&setup.vocabulary),
            dealer: Dealer::new(parts, &setup.options(1)),
        })
    }

    fn decode(&mut self, records: &RecordBlock, piece: &mut Piece, cores: &Cores<'_>) {
        self.decoder.catch_up();
        let Piece { records: places, shares } = piece;
        let Self { thread, decoder, deliveries, changes, reached, events, dealer } = self;
        events.clear();
        let mut next = places.start;
        while next < places.end {
            next = decoder.decode_on(records, next..places.end, events, |places, outcome, all| {
                let books = &mut deliveries[records.source(places.start).0 as usize];
                let many = places.len();
                books.deliveries += many as u64;
                let made = match outcome {
                    Outcome::Decoded(made) => usize::from(made) * many,
                    Outcome::Ignored | Outcome::Rejected(_) => 0,
                };
                match outcome {
                    Outcome::Decoded(_) => books.decoded += many as u64,
                    Outcome::Ignored => books.ignored += many as u64,
                    Outcome::Rejected(reason) => places.for_each(|_| books.reject(reason)),
                }
                let new = if cores.several { all.len() - made..all.len() } else { 0..0 };
                for event in new.map(|place| all.get(place)) {
                    let (stream, at) = (event.stream(), event.occurred());
                    match reached.iter_mut().find(|(known, _)| *known == stream) {
                        Some((_, reached)) => *reached = (*reached).max(at),
                        None => reached.push((stream, at)),
                    }
                }
            });
            *changes |= !decoder.take_changes().is_empty();
        }
        dealer.deal(events, shares, *thread, |site| {
            let mut owners = locked(&cores.owners);
            let next = owners.len() % cores.sites.len();
            *owners.entry(site).or_insert(next)
        });
    }
}

/// Ends it for all threads where one dies.
struct OverIfDead<'a, 'b>(&'a Cores<'b>);

impl Drop for OverIfDead<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(|_| {});
        }
    }
}

/// Binds this thread to one of the processors that the program may use, in turn.
pub fn pin(thread: usize) {
    told(thread, bind(thread, None).map(|_| ()));
}

/// Begins on a processor of its own, in turn behind the one that the first thread is on; where it goes on is the
/// system's affair. Some leave a new thread for milliseconds behind the one that made it, or pack two on one processor
/// while another is idle.
fn begin_apart(thread: usize, first: usize) {
    let begun = bind(thread, Some(first));
    told(thread, begun.and_then(|allowed| sched_setaffinity(None, &allowed)));
}

fn told(thread: usize, bound: rustix::io::Result<()>) {
    if let Err(error) = bound {
        tracing::warn!(thread, %error, "the thread is not bound to a processor");
    }
}

/// Binds this thread to the so-manieth processor behind one, or of all; those to which it was bound before.
fn bind(thread: usize, behind: Option<usize>) -> rustix::io::Result<CpuSet> {
    let allowed = sched_getaffinity(None)?;
    let mut own = CpuSet::new();
    let cpus = || (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let first = cpus().position(|cpu| behind == Some(cpu)).unwrap_or_default();
    if let Some(cpu) = cpus().cycle().nth(first + thread) {
        own.set(cpu);
    }
    sched_setaffinity(None, &own)?;
    Ok(allowed)
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
    let cores = Cores::new(setup, threads, files, words)?;
    let first = sched_getcpu();
    let begin = |thread| {
        if pinned { pin(thread) } else { begin_apart(thread, first) }
    };
    std::thread::scope(|scope| {
        for thread in 1..threads {
            let (begin, cores) = (&begin, &cores);
            scope.spawn(move || {
                begin(thread);
                crate::huge::enlarge_heap();
                cores.work(thread);
            });
        }
        begin(0);
        cores.work(0);
    });
    let fate = std::mem::take(&mut locked(&cores.board).1);
    match fate.error {
        Some(error) => Err(error),
        None if fate.whole => Ok(None),
        None => Ok(Some(cores.ran())),
    }
}
