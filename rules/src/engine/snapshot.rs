//! State out and in again: a full snapshot, then increments of the pages that changed. How it is
//! written little by little stands in [`super::saving`].
//!
//! A snapshot holds interned ids, so it begins with the texts behind them: they are put back into
//! the interner before anything else is interned ([`restore_symbols`]).

use std::sync::Arc;

use event::block::HEADER_WORDS;
use event::books::SourceBooks;
use event::{EventRef, EventTime, FieldId, Interner, SourceId, StreamId, Symbol};

use super::eviction::Turn;
use super::merge::{AT_SITES, Merge};
use super::pages::{Bytes, Store};
use super::reorder::{Over, Reorder, Rows, Waiting};
use super::saving::{Part, Saving, Stores};
use super::scope::{Context, Setting};
use super::site::{RuleCount, Site};
use super::streams::Stream;
use super::{Admitted, Engine, Options};
use crate::plan::Plan;

/// Version of the format. A reader takes its own alone.
pub const VERSION: u32 = 17;
const MAGIC: &[u8; 8] = b"PCENGINE";

/// Stores of a site that are written little by little.
const SITE_STORES: usize = 12;

/// Why a snapshot could not be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// Not a snapshot of the engine, or cut short.
    Malformed,
    /// Written by a program with another format.
    Version(u32),
    /// The interner holds other texts already: call [`restore_symbols`] before loading anything.
    Symbols,
    /// Made under another rulebook or vocabulary.
    OtherPlan,
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed => f.write_str("not a snapshot of the engine, or cut short"),
            Self::Version(version) => {
                write!(f, "snapshot format {version}; this program reads {VERSION}")
            }
            Self::Symbols => f.write_str("the interner holds other texts than the snapshot"),
            Self::OtherPlan => f.write_str("made under another rulebook or vocabulary"),
        }
    }
}

impl std::error::Error for RestoreError {}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn begin<'a>(bytes: &'a [u8]) -> Result<(Bytes<'a>, bool), RestoreError> {
    let mut input = Bytes::new(bytes);
    if input.take(8).ok_or(RestoreError::Malformed)? != MAGIC {
        return Err(RestoreError::Malformed);
    }
    let version = input.u32().ok_or(RestoreError::Malformed)?;
    if version != VERSION {
        return Err(RestoreError::Version(version));
    }
    let full = input.u32().ok_or(RestoreError::Malformed)? == 1;
    Ok((input, full))
}

/// Reads the texts of a snapshot: `each` gets index and text.
fn texts(input: &mut Bytes<'_>, mut each: impl FnMut(u32, &str) -> bool) -> Option<bool> {
    let (from, count) = (input.u32()?, input.u32()?);
    let mut same = true;
    for index in from..from.checked_add(count)? {
        let len = input.u32()? as usize;
        same &= each(index, std::str::from_utf8(input.take(len)?).ok()?);
    }
    Some(same)
}

/// Puts the texts of a snapshot, and of its increments in order, into an interner that holds
/// nothing yet, so that every interned id means what it meant.
pub fn restore_symbols(bytes: &[u8], interner: &Interner) -> Result<(), RestoreError> {
    let (mut input, _) = begin(bytes)?;
    let put = |index, text: &str| interner.intern(text) == Some(Symbol(index));
    match texts(&mut input, put) {
        None => Err(RestoreError::Malformed),
        Some(false) => Err(RestoreError::Symbols),
        Some(true) => Ok(()),
    }
}

fn save_books(books: &SourceBooks, out: &mut Vec<u8>) {
    for number in [
        books.events,
        books.accepted,
        books.duplicate,
        books.late,
        books.quarantined,
        books.deferred,
        books.waiting,
        books.unknown_device,
        books.retained,
    ] {
        put(out, number);
    }
}

fn load_books(input: &mut Bytes<'_>) -> Option<SourceBooks> {
    Some(SourceBooks {
        events: input.u64()?,
        accepted: input.u64()?,
        duplicate: input.u64()?,
        late: input.u64()?,
        quarantined: input.u64()?,
        deferred: input.u64()?,
        waiting: input.u64()?,
        unknown_device: input.u64()?,
        retained: input.u64()?,
        ..SourceBooks::default()
    })
}

/// A waiting row with its rank.
fn save_row(rank: u8, event: EventRef<'_>, out: &mut Vec<u8>) {
    put(out, u64::from(rank));
    out.extend_from_slice(bytemuck::cast_slice(&event.words()[..HEADER_WORDS]));
    for field in (0..(event.words().len() - HEADER_WORDS) as u8).map(FieldId) {
        put(out, event.slot(field).unwrap_or(0));
    }
}

fn load_row(input: &mut Bytes<'_>, words: &mut [u64]) -> Option<u8> {
    let rank = input.u64()? as u8;
    let bytes = input.take(size_of_val(words))?;
    bytemuck::cast_slice_mut::<u64, u8>(words).copy_from_slice(bytes);
    Some(rank)
}

impl Site {
    /// What is much, in the order in which it stands in snapshots.
    fn stores(&mut self) -> [&mut dyn Store; SITE_STORES] {
        let [keys, entries, values, runs, beside, noted, courses, wide, holdings] =
            self.state.stores();
        let (incidents, held) = (&mut self.correlation.incidents, &mut self.held);
        let said: &mut dyn Store = self.said.all();
        [said, keys, entries, values, runs, beside, noted, courses, wide, holdings, incidents, held]
    }

    fn save(&mut self, saving: &mut Saving, full: bool, part: impl Fn(usize) -> Part) {
        let out = &mut saving.fixed;
        for number in [self.seq, self.serial, self.now.0 as u64, self.began.0 as u64, self.early] {
            put(out, number);
        }
        put(out, self.correlation.let_go);
        put(out, self.unheld);
        for turn in self.turns {
            put(out, u64::from(turn.holder) << 32 | u64::from(turn.left));
        }
        let [keys, runs] = self.state.came;
        let came = [keys, runs, self.correlation.came, self.unswept];
        for number in self.sweep.into_iter().chain(came) {
            put(out, u64::from(number));
        }
        for count in &self.counts {
            put(out, count.detections);
            put(out, count.incidents);
            put(out, count.suppressed);
        }
        for (number, store) in self.stores().into_iter().enumerate() {
            store.begin_save(&mut saving.fixed, full);
            saving.part(part(number));
        }
    }

    fn load(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        self.seq = input.u64()?;
        self.serial = input.u64()?;
        self.now = EventTime(input.i64()?);
        self.began = EventTime(input.i64()?);
        self.early = input.u64()?;
        self.correlation.let_go = input.u64()?;
        self.unheld = input.u64()?;
        for turn in &mut self.turns {
            let both = input.u64()?;
            *turn = Turn { holder: (both >> 32) as u32, left: both as u32 };
        }
        let [keys, runs] = &mut self.state.came;
        let came = [keys, runs, &mut self.correlation.came, &mut self.unswept];
        for number in self.sweep.iter_mut().chain(came) {
            *number = input.u64()? as u32;
        }
        for count in &mut self.counts {
            let (detections, incidents) = (input.u64()?, input.u64()?);
            *count = RuleCount { detections, incidents, suppressed: input.u64()? };
        }
        self.said.all().load(input)?;
        self.state.load(input)?;
        self.correlation.incidents.load(input)?;
        self.held.load(input)
    }

    fn finish_load(&mut self, cx: Context<'_>) {
        self.said.all().reindex();
        self.state.reindex();
        self.correlation.reindex();
        self.rearm(cx);
    }
}

/// Where the stores of a snapshot are.
struct Sites<'a> {
    sites: &'a mut [Admitted],
    enterprise: &'a mut Site,
}

impl Stores for Sites<'_> {
    fn store(&mut self, part: &Part) -> &mut dyn Store {
        let (site, number) = match *part {
            Part::Seen(place) => return &mut self.sites[place].seen,
            Part::Site(place, number) => (&mut self.sites[place].site, number),
            Part::Enterprise(number) => (&mut *self.enterprise, number),
            Part::Texts(_) => unreachable!("texts stand in no store"),
        };
        let mut stores = site.stores().into_iter();
        let Some(store) = stores.nth(number) else { unreachable!("a site has {SITE_STORES}") };
        store
    }
}

impl Engine {
    /// Writes the state: all of it, or (`full` false) what changed since the last call. The first
    /// call of an engine must be full. Between two calls of [`Engine::feed`] only.
    pub fn snapshot(&mut self, out: &mut Vec<u8>, full: bool) {
        self.begin_snapshot(full);
        let all = self.save_some(out, usize::MAX);
        assert!(all, "without bounds nothing is left");
    }

    /// Writes on at the snapshot that was begun last, about `budget` bytes; whether that was all. It is
    /// of the moment when it began, whatever was fed since.
    pub fn save_some(&mut self, out: &mut Vec<u8>, budget: usize) -> bool {
        let Self { saving, interner, sites, enterprise, .. } = self;
        saving.go_on(&mut Sites { sites, enterprise }, interner, out, budget)
    }

    /// Begins a snapshot, as [`Self::snapshot`], which [`Self::save_some`] writes. It must be whole
    /// before the next one begins, and before a reload.
    pub fn begin_snapshot(&mut self, full: bool) {
        let mut saving = std::mem::take(&mut self.saving);
        saving.begin();
        let out = &mut saving.fixed;
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::from(full).to_le_bytes());
        let from = if full { 1 } else { self.saved_symbols };
        let until = self.interner.len();
        out.extend_from_slice(&(from as u32).to_le_bytes());
        out.extend_from_slice(&((until - from) as u32).to_le_bytes());
        saving.part(Part::Texts(from as u32..until as u32));
        self.saved_symbols = until;
        let out = &mut saving.fixed;
        out.extend_from_slice(&self.plan.hash.to_le_bytes());
        put(out, self.stride as u64);
        for until in self.blind.facts.iter().chain(&self.blind.rules) {
            put(out, until.0 as u64);
        }
        self.save_streams(out);
        let changes = self.tables.save(if full { 0 } else { self.saved_changes });
        self.saved_changes = self.tables.serial();
        put(out, changes.len() as u64);
        out.extend_from_slice(&changes);
        put(out, self.books.len() as u64);
        self.books.iter().for_each(|books| save_books(books, out));
        put(out, self.sites.len() as u64);
        for (place, admitted) in self.sites.iter_mut().enumerate() {
            let out = &mut saving.fixed;
            put(out, u64::from(admitted.site.name.0));
            put(out, admitted.floor.0 as u64);
            admitted.seen.begin_save(out, full);
            saving.part(Part::Seen(place));
            let out = &mut saving.fixed;
            put(out, admitted.waiting.len() as u64);
            for waiting in admitted.waiting.iter() {
                save_row(waiting.rank(), self.rows[AT_SITES].get(waiting.row()), out);
            }
            admitted.site.save(&mut saving, full, |number| Part::Site(place, number));
        }
        let out = &mut saving.fixed;
        put(out, self.floor.0 as u64);
        put(out, self.merge.len() as u64);
        for (rank, event) in self.merge.iter(&self.rows) {
            save_row(rank, event, out);
        }
        self.late.save(out);
        self.enterprise.save(&mut saving, full, Part::Enterprise);
        self.saving = saving;
    }

    fn save_streams(&self, out: &mut Vec<u8>) {
        put(out, self.streams.watermark().0 as u64);
        put(out, u64::from(self.streams.silent_since().is_some()));
        put(out, self.streams.silent_since().unwrap_or_default().0 as u64);
        put(out, self.streams.iter().count() as u64);
        for (id, stream) in self.streams.iter() {
            put(out, u64::from(id.0));
            put(out, u64::from(stream.source.0));
            put(out, stream.reached.0 as u64);
            let spoke = u64::from(stream.heard.is_some()) << 2;
            put(out, u64::from(stream.idle) | u64::from(stream.ended) << 1 | spoke);
            put(out, stream.heard.unwrap_or_default());
        }
    }

    fn load_streams(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let watermark = EventTime(input.i64()?);
        let silent = input.u64()? == 1;
        let since = EventTime(input.i64()?);
        let mut streams = Vec::new();
        for _ in 0..input.u64()? {
            let id = StreamId(input.u64()? as u16);
            let source = SourceId(input.u64()? as u16);
            let reached = EventTime(input.i64()?);
            let flags = input.u64()?;
            let (idle, ended) = (flags & 1 != 0, flags & 2 != 0);
            let newest = input.u64()?;
            let heard = (flags & 4 != 0).then_some(newest);
            streams.push((id, Stream { source, reached, idle, ended, heard }));
        }
        self.streams.restore(&streams, watermark, silent.then_some(since));
        Some(())
    }

    /// An engine with the state of a full snapshot and its increments, oldest first.
    pub fn restore(
        plan: Arc<Plan>,
        interner: Arc<Interner>,
        options: Options,
        parts: &[&[u8]],
    ) -> Result<Self, RestoreError> {
        let mut engine = Self::new(plan, interner, options);
        for (number, bytes) in parts.iter().enumerate() {
            let (mut input, full) = begin(bytes)?;
            if full != (number == 0) {
                return Err(RestoreError::Malformed);
            }
            let interner = &engine.interner;
            let same = |index: u32, text: &str| {
                (index as usize) < interner.len() && interner.text(Symbol(index)) == text
            };
            match texts(&mut input, same) {
                None => return Err(RestoreError::Malformed),
                Some(false) => return Err(RestoreError::Symbols),
                Some(true) => {}
            }
            let hash = input.take(16).ok_or(RestoreError::Malformed)?;
            let stride = input.u64().ok_or(RestoreError::Malformed)?;
            if hash != engine.plan.hash.to_le_bytes() || stride != engine.stride as u64 {
                return Err(RestoreError::OtherPlan);
            }
            engine.load_part(&mut input).ok_or(RestoreError::Malformed)?;
        }
        engine.saved_symbols = engine.interner.len();
        engine.saved_changes = engine.tables.serial();
        let Self { plan, interner, layout, enterprise_layout, tables, sites, enterprise, .. } =
            &mut engine;
        let cx = &Setting { plan, layout, tables, interner };
        for admitted in &mut *sites {
            admitted.seen.reindex();
            admitted.site.finish_load(cx);
        }
        enterprise.finish_load(&Setting { plan, layout: enterprise_layout, tables, interner });
        Ok(engine)
    }

    fn load_part(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        for until in self.blind.facts.iter_mut().chain(&mut self.blind.rules) {
            *until = EventTime(input.i64()?);
        }
        self.load_streams(input)?;
        let changes = input.u64()? as usize;
        Arc::make_mut(&mut self.tables).load(input.take(changes)?, &self.interner)?;
        let books = input.u64()? as usize;
        self.books.resize(self.books.len().max(books), SourceBooks::default());
        for place in 0..books {
            self.books[place] = load_books(input)?;
        }
        let mut words = vec![0_u64; self.stride];
        self.rows = vec![Rows::new(self.stride, self.interner.clone())];
        for _ in 0..input.u64()? {
            let name = Symbol(input.u64()? as u32);
            if name.0 as usize >= self.interner.len() {
                return None;
            }
            let place = self.place(name);
            let admitted = &mut self.sites[place as usize];
            admitted.floor = EventTime(input.i64()?);
            admitted.seen.load(input)?;
            admitted.waiting = Reorder::default();
            for _ in 0..input.u64()? {
                let rank = load_row(input, &mut words)?;
                let event = EventRef::from_words(&words);
                let (at, row) = (event.occurred(), self.rows[AT_SITES].keep(event));
                let over = Over::Unknown;
                admitted.waiting.push(&self.rows, Waiting::new(at, rank, over, row));
            }
            admitted.site.load(input)?;
        }
        self.floor = EventTime(input.i64()?);
        self.merge = Merge::new(AT_SITES);
        for _ in 0..input.u64()? {
            let rank = load_row(input, &mut words)?;
            self.merge.keep(&mut self.rows, rank, EventRef::from_words(&words));
        }
        self.merge.settle(&self.rows);
        self.late.load(input, self.stride)?;
        self.enterprise.load(input)?;
        input.is_empty().then_some(())
    }
}
