//! The engine: admission, sites, the enterprise pseudo-site. Pure: a function of what it is fed.

mod admission;
mod ahead;
mod asked;
mod awaited;
mod buckets;
mod carry;
mod cells;
mod claims;
mod control;
mod correlation;
mod eviction;
mod facts;
pub mod findings;
mod groups;
mod holdings;
mod hours;
mod idle;
mod ids;
mod index;
mod interests;
mod judge;
mod keys;
mod late;
mod layout;
mod lens;
mod look;
mod merge;
mod near;
mod order;
mod pages;
mod pairs;
mod parts;
mod prepared;
mod presence;
mod reach;
mod readers;
mod release;
mod reload;
mod reorder;
mod repair;
mod runs;
mod saving;
mod scope;
mod seats;
mod seen;
mod sequence;
mod session;
mod shares;
mod single;
mod site;
mod snapshot;
mod state;
mod steps;
mod streams;
mod sum;
mod sweep;
mod timers;
mod unless;
mod usage;
mod values;
mod wanted;
mod watch;
mod wide;
mod words;
mod work;

use std::sync::Arc;

use event::books::SourceBooks;
use event::control::Control;
use event::tables::Tables;
use event::{
    EventBlock, EventTime, Interner, KindId, Position, SourceId, StreamId, Symbol, TimeSpan,
};
use hashbrown::HashMap;

pub use reload::Next;

pub use findings::{Effect, EvidenceRef, Finding, Findings, HeldBy};
pub use late::{Due, LateCounts, LateOptions};
pub use merge::Forwarded;
pub use parts::Part;
pub(crate) use runs::run_bytes;
pub use shares::{Dealer, Share};
pub use site::RuleCount;
pub use sum::Sum;
pub use usage::{Evicted, GivenUp, Usage};

/// The part of a delivery, or of a control record, that changes a row of a table.
pub const ROW_PART: u16 = u16::MAX;

/// Bytes of a key.
pub const KEY_BYTES: usize = size_of::<cells::KeyCell>();
/// Bytes of a run, with who it is about.
pub const RUN_BYTES: usize = size_of::<cells::Run>() + size_of::<holdings::Beside>();
/// Bytes of an event that a window, a run or a guard keeps.
pub const ENTRY_BYTES: usize = size_of::<cells::Entry>();
pub use snapshot::{RestoreError, restore_symbols};

use crate::limits::{ENTRIES_MAX, HELD_MAX, INCIDENTS_MAX, KEYS_MAX, RUNS_MAX, WAITING_MAX};
use crate::plan::{Plan, Scope};
use late::Late;
use layout::Layout;
use merge::{AT_SITES, Merge};
use parts::Place;
use reach::Reach;
use reorder::{Over, Reorder, Rows, Waiting};
use seen::Seen;
use site::Site;
use streams::Streams;

/// What the engine needs to know of one source.
#[derive(Clone, Copy, Debug)]
pub struct SourceOptions {
    /// How far behind the greatest occurred time of a stream an event may be and still be in time.
    pub slack: TimeSpan,
}

/// How the engine admits events.
#[derive(Clone, Debug)]
pub struct Options {
    /// Live time: clocks are checked. In history they are not.
    pub live: bool,
    /// Parts the sites are spread over. Findings do not depend on it.
    pub shards: usize,
    /// By `SourceId`.
    pub sources: Vec<SourceOptions>,
    /// How long an identity is remembered, in event time.
    pub duplicates_within: TimeSpan,
    /// How many identities a site remembers.
    pub duplicates_max: usize,
    /// Keys, runs and events that a site may hold.
    pub state_max: [usize; 3],
    /// Incidents of a site that may still take something, and detections that it may hold back.
    pub open_max: [usize; 2],
    /// Events of a site that may wait for the watermark.
    pub waiting_max: usize,
    /// Live: an event whose device time is further than this from our own is quarantined.
    pub clock_skew_max: Option<TimeSpan>,
    /// What becomes of what comes later than the slack.
    pub late: LateOptions,
}

impl Options {
    /// How far an event's time may be from our own.
    fn skew_max(&self) -> Option<TimeSpan> {
        self.clock_skew_max.filter(|_| self.live)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            live: false,
            shards: 1,
            sources: Vec::new(),
            duplicates_within: TimeSpan::from_secs(86_400),
            duplicates_max: 1_000_000,
            state_max: [KEYS_MAX, RUNS_MAX, ENTRIES_MAX],
            open_max: [INCIDENTS_MAX, HELD_MAX],
            waiting_max: WAITING_MAX,
            clock_skew_max: None,
            late: LateOptions::default(),
        }
    }
}

/// What can happen to the engine: the only door into it.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Decoded events, in the order of the log.
    Events(&'a EventBlock),
    /// What is this engine's of them, where several share the sites.
    Share(&'a Share),
    /// A stream begins.
    StreamOpened(StreamId, SourceId),
    /// A stream is drained and silent.
    StreamIdle(StreamId, SourceId),
    /// A stream has ended.
    StreamEnded(StreamId, SourceId),
    /// Live: all streams silent, for so long since the last record.
    Tick(TimeSpan),
    /// Somebody changes something, by the record at this place: takes effect here, behind all that
    /// time has passed.
    Control(&'a Control, Position),
    /// Nothing will follow: time moves past the last deadline.
    EndOfInput,
}

/// What admission has to know of a kind.
#[derive(Clone, Copy)]
struct OfKind {
    rank: u8,
    /// What the enterprise has of it, where it comes behind all others: that it needs it, or not.
    over: Over,
}

fn kinds_of(plan: &Plan, enterprise: &Layout) -> Vec<OfKind> {
    let kinds = plan.vocabulary.kinds().iter().enumerate();
    kinds
        .map(|(id, kind)| OfKind {
            rank: kind.rank,
            over: if enterprise.needs(KindId(id as u16)) { Over::Queued } else { Over::Nothing },
        })
        .collect()
}

/// One site with its admission.
struct Admitted {
    /// Which of the shards it is of.
    shard: usize,
    site: Site,
    seen: Seen,
    waiting: Reorder,
    /// What was let go early, because too much waited: anything before it is late.
    floor: EventTime,
}

/// The engine. Give it the log's records in order; it gives findings.
pub struct Engine {
    part: Part,
    plan: Arc<Plan>,
    interner: Arc<Interner>,
    options: Options,
    layout: Layout,
    enterprise_layout: Layout,
    /// The site model, with what was changed of it.
    tables: Arc<Tables>,
    reach: Reach,
    late: Late,
    streams: Streams,
    sites: Vec<Admitted>,
    /// When something is due at each, at the earliest: an event that waits, a deadline.
    due: Vec<EventTime>,
    /// Where each stands there.
    places: HashMap<Symbol, Place, foldhash::fast::FixedState>,
    /// Those that were asked for last, by the low bits of the symbol.
    near: admission::Near,
    plain: admission::Looked,
    enterprise: Site,
    /// What waits at sites; behind it, in an engine that does a part of the work, what is handed
    /// over.
    rows: Vec<Rows>,
    merge: Merge,
    /// What the enterprise was given early, because too much waited for it.
    floor: EventTime,
    books: Vec<SourceBooks>,
    kinds: Vec<OfKind>,
    stride: usize,
    scratch: EventBlock,
    saved_symbols: usize,
    saving: saving::Saving,
    blind: reload::Blind,
    /// Changes of tables that stand in snapshots.
    saved_changes: u64,
}

impl Engine {
    /// An engine without state.
    #[must_use]
    pub fn new(plan: Arc<Plan>, interner: Arc<Interner>, options: Options) -> Self {
        let stride = EventBlock::new(&plan.vocabulary).stride();
        let layout = Layout::new(&plan, Scope::Site, &interner);
        let enterprise_layout = Layout::new(&plan, Scope::Enterprise, &interner);
        Self {
            part: Part::Whole,
            streams: Streams::new(options.sources.iter().map(|s| s.slack).collect()),
            enterprise: Site::new(Symbol::NONE, &plan, &enterprise_layout, &options),
            floor: EventTime::MIN,
            rows: vec![Rows::new(stride, interner.clone())],
            merge: Merge::new(AT_SITES),
            books: vec![SourceBooks::default(); options.sources.len().max(1)],
            kinds: kinds_of(&plan, &enterprise_layout),
            places: HashMap::default(),
            near: [admission::NOBODY; admission::NEAR],
            plain: admission::Looked::default(),
            scratch: EventBlock::new(&plan.vocabulary),
            reach: Reach::new(&plan, options.late.recorded),
            late: Late::new(&plan.vocabulary),
            saved_symbols: 1,
            saving: saving::Saving::default(),
            blind: reload::Blind::new(&plan),
            saved_changes: 0,
            tables: Arc::new(Tables::new(plan.model.clone(), &interner)),
            stride,
            layout,
            enterprise_layout,
            sites: Vec::new(),
            due: Vec::new(),
            plan,
            interner,
            options,
        }
    }

    /// Takes one input; findings are added to `out`, in the order of each site.
    pub fn feed(&mut self, input: Input<'_>, out: &mut Findings) {
        match input {
            Input::Events(events) => {
                let mut next = 0;
                while next < events.len() {
                    next = self.feed_some(events, next, out);
                }
                if next > 0 {
                    return;
                }
            }
            Input::Share(share) => return self.feed_share(share, out),
            Input::StreamOpened(stream, source) => self.streams.open(stream, source),
            Input::StreamIdle(stream, source) => self.streams.idle(stream, source),
            Input::StreamEnded(stream, source) => self.streams.end(stream, source),
            Input::Tick(span) => self.streams.tick(span),
            Input::Control(control, position) => self.control(control, position, out),
            Input::EndOfInput => self.streams.finish(),
        }
        self.release(out);
    }

    /// The events' side of the books, by `SourceId`; the deliveries' side is the caller's.
    #[must_use]
    pub fn books(&self) -> &[SourceBooks] {
        &self.books
    }

    /// The rulebook it runs.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Every event before this time has been released.
    #[must_use]
    pub fn watermark(&self) -> EventTime {
        self.streams.watermark()
    }

    /// Where the oldest delivery stands of which an event still waits for the watermark.
    #[must_use]
    pub fn oldest_waiting(&self) -> Option<Position> {
        let sites = self.sites.iter().map(|a| &a.waiting);
        let row = |waiting: Waiting| self.rows[AT_SITES].get(waiting.row());
        let forwarded = self.merge.iter(&self.rows).map(|(_, event)| event);
        sites.flat_map(Reorder::iter).map(row).chain(forwarded).map(|event| event.position()).min()
    }

    /// Detections and incidents of each rule, over all sites.
    #[must_use]
    pub fn rule_counts(&self) -> Vec<RuleCount> {
        let mut total = vec![RuleCount::default(); self.plan.rules.len()];
        let sites = self.sites.iter().map(|a| &a.site);
        for site in sites.chain([&self.enterprise]) {
            for (sum, count) in total.iter_mut().zip(&site.counts) {
                sum.detections += count.detections;
                sum.incidents += count.incidents;
                sum.suppressed += count.suppressed;
            }
        }
        total
    }

    /// What came late, what was found of it, and what could not be.
    #[must_use]
    pub fn late_counts(&self) -> LateCounts {
        self.late.counts
    }

    /// Bytes of state, keys, waiting events and identities seen.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        let of_site = |s: &Site| s.state.bytes() + s.correlation.incidents.bytes() + s.held.bytes();
        self.sites.iter().map(|a| of_site(&a.site) + a.seen.bytes()).sum::<usize>()
            + of_site(&self.enterprise)
    }
}
