//! Decoding: the bytes of a delivery into rows of interned ids, or a reason why not.
//!
//! JSON goes on two roads. The fast one ([`scan`]) follows the keys that payloads of a mapping are
//! known to have ([`shapes`]); whatever is unusual, and every refusal, is left to the other one,
//! simd-json's tape, which alone decides what is wrong. A plan ([`plan`]) says the same of a scanned
//! payload as the general evaluation of the tape: the roads differ in nothing but time. What a plan
//! makes of payloads that look alike is kept as a program ([`program`]), and where the values of
//! such payloads stand, as a layout ([`layout`], [`layouts`]). Nothing is allocated on either road in steady
//! state.

mod ahead;
mod canonical;
mod document;
mod draft;
mod layout;
mod layouts;
mod mapped;
mod plan;
mod program;
mod rows;
mod scan;
mod shapes;
mod sixteen;
mod wide;

pub(crate) use self::sixteen::line_ends;
pub(crate) use self::wide::{CHUNKS, Ends, all_line_ends};

use std::borrow::Cow;
use std::sync::Arc;

use event::control::RowChange;
use event::identity::ShortParts;
use event::incident::{self, Evidence, Said};
use event::limits::{DEPTH_MAX, EVENTS_PER_DELIVERY_MAX};
use event::tables::Tables;
use event::{
    EventBlock, EventTime, Interner, NewRow, ROOM, RecordFlags, RecordHead, RecordRef,
    RejectReason, SourceId, Symbol, SymbolCache, TimeReader, Vocabulary,
};
use hashbrown::HashMap;
use jiff::tz::TimeZone;
use simd_json::Buffers;

use self::layouts::Expected;
use self::wide::Vectors;
use crate::mapping::{Format, Mapping, Mappings};

/// How the deliveries of one source are read.
#[derive(Clone, Debug, Default)]
pub struct SourceDecoding {
    /// Names of mappings, tried in order: the first whose topics take the delivery reads it.
    pub mappings: Vec<String>,
    /// The feed of events whose payload or mapping names none.
    pub feed: Option<String>,
    /// The site of events whose payload, mapping and device name none.
    pub site: Option<String>,
    /// History: recorded time is what the mapping says, or the occurred time.
    pub history: bool,
}

/// What became of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many events were added.
    Decoded(u16),
    /// The mapping says to skip it.
    Ignored,
    /// Nothing was added.
    Rejected(RejectReason),
}

/// How many JSON deliveries of a source took which road.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roads {
    /// Along the known keys.
    pub scanned: u64,
    /// Of these, laid out like one before.
    pub laid_out: u64,
    /// Through simd-json.
    pub parsed: u64,
}

/// One source's way of reading, resolved.
struct Reading {
    /// Indexes into [`Mappings::list`].
    mappings: Vec<usize>,
    /// The first of them, where it takes all topics.
    only: Option<usize>,
    feed: Symbol,
    site: Symbol,
    history: bool,
}

/// What a citation needs beside the row.
struct Cited {
    feed: Symbol,
    id: String,
}

/// The fast road of a mapping: what is known of its payloads, and what is made of them.
struct Fast {
    shapes: shapes::Shapes,
    plan: plan::Plan,
    programs: program::Programs,
    layouts: layouts::Layouts,
}

impl Fast {
    fn of(
        mapping: &Mapping,
        names: &canonical::Names,
        vocabulary: &Vocabulary,
        symbols: &mut SymbolCache,
    ) -> Option<Self> {
        let (plan, tree) = match mapping.format {
            Format::Canonical => (plan::Plan::canonical(names, vocabulary, symbols)?, &names.paths),
            // Rows are changed by the other road: there are few of them.
            Format::Json if mapping.rows.is_empty() && !mapping.has_elements() => {
                (plan::Plan::of(mapping, symbols)?, &mapping.tree)
            }
            _ => return None,
        };
        let programs = program::Programs::of(&plan);
        let layouts = layouts::Layouts::none();
        Some(Self { shapes: shapes::Shapes::of(tree, plan.named)?, plan, programs, layouts })
    }
}

impl Fast {
    /// Makes the event of a payload whose layout is known; `None` where it is not, and no row is to be kept.
    #[inline(always)]
    fn event<V: Vectors>(
        &self,
        vectors: V,
        record: (&RecordHead, &[u8; ROOM]),
        expected: &Expected,
        by: (&Reading, &Tables),
        context: &mut Context,
        row: NewRow<'_>,
    ) -> Option<()> {
        let layout = self.layouts.at(expected)?;
        let mut fields = layout.run(vectors, record, &expected.names, by, context, row)?;
        if layout.has_more && layout.constants {
            self.programs.put_constants(layout.program, &mut fields);
        }
        Some(())
    }
}

/// What every delivery shares.
struct Context {
    symbols: SymbolCache,
    /// By symbol, whether it is a site; empty when any is. Their names are among the first symbols.
    sites: Vec<bool>,
    zones: HashMap<Symbol, TimeZone, foldhash::fast::FixedState>,
    only_site: Symbol,
    /// Index of the table `devices`, and of its column `site`.
    devices: Option<(usize, Option<usize>)>,
    life_safety: Vec<bool>,
    /// Collects what citations need: the cold way.
    cited: Option<Vec<Cited>>,
    text: String,
    times: TimeReader,
    parts: ShortParts,
}

impl Context {
    fn time(&mut self, text: &str) -> Result<EventTime, RejectReason> {
        self.times.parse_rfc3339(text.as_bytes()).ok_or(RejectReason::InvalidTime)
    }
}

/// Decodes deliveries of all sources. One for each thread.
pub struct Decoder {
    mappings: Arc<Mappings>,
    /// The site model as it is now.
    tables: Arc<Tables>,
    /// What the last delivery changes of them.
    changes: Vec<RowChange>,
    interner: Arc<Interner>,
    readings: Vec<Reading>,
    context: Context,
    names: canonical::Names,
    input: Vec<u8>,
    buffers: Buffers,
    tape: simd_json::Tape<'static>,
    row: document::Row,
    registers: document::Registers,
    room: scan::Room,
    /// By mapping, where it has one.
    fast: Vec<Option<Fast>>,
    roads: Vec<Roads>,
    /// Rows of a delivery that is read again for evidence.
    again: EventBlock,
}

/// What the making of a delivery's events works with: a macro, for it borrows single fields.
macro_rules! station {
    ($decoder:ident, $record:ident, $out:ident) => {
        draft::Station {
            record: $record,
            reading: &$decoder.readings[$record.source.0 as usize],
            mappings: &$decoder.mappings,
            interner: &$decoder.interner,
            tables: &$decoder.tables,
            context: &mut $decoder.context,
            out: $out,
            changes: &mut $decoder.changes,
        }
    };
}

impl Decoder {
    /// A decoder for these sources, by `SourceId`; the error names a mapping that does not exist.
    pub fn new(
        mappings: Arc<Mappings>,
        sources: &[SourceDecoding],
        interner: Arc<Interner>,
    ) -> Result<Self, String> {
        let mut readings = Vec::new();
        for source in sources {
            let found = source.mappings.iter().map(|name| {
                let known = || event::config::did_you_mean(name, mappings.names());
                mappings
                    .names()
                    .position(|known| known == name)
                    .ok_or_else(|| format!("no mapping `{name}` {}", known().unwrap_or_default()))
            });
            let symbol = |text: &Option<String>| {
                crate::mapping::symbol(&interner, text.as_deref().unwrap_or_default())
            };
            let found = found.collect::<Result<Vec<_>, _>>()?;
            let only = found.first().copied().filter(|first| mappings.list[*first].takes_all());
            readings.push(Reading {
                mappings: found,
                only,
                feed: symbol(&source.feed),
                site: symbol(&source.site),
                history: source.history,
            });
        }
        let model = &mappings.model;
        let zones = model.sites.iter().filter_map(|site| {
            crate::mapping::zone_named(&site.time_zone).map(|zone| (site.name, zone))
        });
        let devices = model.table("devices").map(|(index, table)| (index, table.column("site")));
        let kinds = mappings.vocabulary.kinds();
        let life_safety = kinds
            .iter()
            .map(|k| matches!(k.name.as_str(), "Duress" | "Panic" | "Fire" | "Tamper"))
            .collect();
        let mut sites = Vec::new();
        for site in &model.sites {
            let at = site.name.0 as usize;
            sites.resize(sites.len().max(at + 1), false);
            sites[at] = true;
        }
        let names = canonical::Names::new(&mappings.vocabulary);
        let mut symbols = SymbolCache::new(interner.clone());
        let vocabulary = &mappings.vocabulary;
        let fast = mappings.list.iter().map(|m| Fast::of(m, &names, vocabulary, &mut symbols));
        let fast = fast.collect();
        Ok(Self {
            roads: vec![Roads::default(); readings.len()],
            again: EventBlock::new(&mappings.vocabulary),
            fast,
            room: scan::Room::default(),
            readings,
            names,
            context: Context {
                sites,
                zones: zones.collect(),
                only_site: match model.sites.as_slice() {
                    [only] => only.name,
                    _ => Symbol::NONE,
                },
                devices,
                life_safety,
                cited: None,
                text: String::new(),
                times: TimeReader::default(),
                parts: ShortParts::default(),
                symbols,
            },
            tables: Arc::new(Tables::new(mappings.model.clone(), &interner)),
            changes: Vec::new(),
            mappings,
            interner,
            input: Vec::new(),
            buffers: Buffers::with_max_depth(4_096, DEPTH_MAX),
            tape: simd_json::Tape(Vec::new()),
            row: document::Row::default(),
            registers: document::Registers::default(),
        })
    }

    /// The same decoder with the fast road closed: what the other one is measured against.
    #[must_use]
    pub fn parsing_only(mut self) -> Self {
        self.fast.iter_mut().for_each(|fast| *fast = None);
        self
    }

    /// The same decoder, to [`cite`](Self::cite) with: of names it looks up those alone that say what kind an
    /// event is, so that it need not know the others.
    #[must_use]
    pub fn for_evidence(mut self) -> Self {
        for Fast { shapes, programs, .. } in self.fast.iter_mut().flatten() {
            shapes.name_only(programs.asked());
        }
        self
    }

    /// Which roads the deliveries took, by [`SourceId`].
    #[must_use]
    pub fn roads(&self) -> &[Roads] {
        &self.roads
    }

    /// The tables have changed: joins and devices go by these from now on. They are of the model of
    /// the mappings, with more behind it perhaps.
    pub fn know(&mut self, tables: &Arc<Tables>) {
        if !Arc::ptr_eq(&self.tables, tables) {
            self.tables = tables.clone();
        }
    }

    /// The tables it goes by.
    #[must_use]
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Takes over the names that other decoders have come upon.
    pub fn catch_up(&mut self) {
        self.context.symbols.catch_up();
    }

    /// Rows of tables that the last delivery changes.
    pub fn take_changes(&mut self) -> Vec<RowChange> {
        std::mem::take(&mut self.changes)
    }

    /// Decodes one delivery. On [`Outcome::Rejected`] nothing stays in `out`.
    pub fn decode(&mut self, record: &RecordRef<'_>, out: &mut EventBlock) -> Outcome {
        self.changes.clear();
        match self.decode_alone(record, out) {
            Some(()) => Outcome::Decoded(1),
            None => self.decode_unexpected(record, out),
        }
    }

    /// Decodes one delivery that has no layout.
    fn decode_unexpected(&mut self, record: &RecordRef<'_>, out: &mut EventBlock) -> Outcome {
        self.changes.clear();
        let before = out.len();
        let reading = self.readings.get(record.source.0 as usize);
        let result = match reading.and_then(|reading| reading.only) {
            Some(first) if !record.flags.has(RecordFlags::OVERSIZE) => Ok(first),
            _ => self.first_mapping(record),
        };
        let result = result.and_then(|first| match self.scan(first, record, out) {
            Some(made) => Ok(made),
            None => self.read(first, record, out),
        });
        match result {
            Err(reason) => {
                out.truncate(before);
                self.changes.clear();
                Outcome::Rejected(reason)
            }
            Ok(false) => Outcome::Ignored,
            Ok(true) => Outcome::Decoded((out.len() - before) as u16),
        }
    }

    /// Reads event `part` of a delivery that was decoded before, in words: the cold way, for evidence.
    pub fn cite(&mut self, record: &RecordRef<'_>, part: u16) -> Option<Evidence> {
        let mut cited = None;
        self.cite_to(record, part, &mut |event| cited = Some(event.into()));
        cited
    }

    /// The same, lent to `take`; `false` where there is no such event.
    pub fn cite_to(
        &mut self,
        record: &RecordRef<'_>,
        part: u16,
        take: &mut dyn FnMut(&incident::Cited<'_>),
    ) -> bool {
        if part == 0 && self.cite_along(record, take).is_some() {
            return true;
        }
        let mut block = self.again.take();
        self.context.cited = Some(Vec::with_capacity(1));
        let outcome = self.decode_unexpected(record, &mut block);
        let cited = self.context.cited.take().unwrap_or_default();
        let there = match (outcome, cited.get(part as usize)) {
            (Outcome::Decoded(events), Some(cited)) if part < events => {
                let (interner, row) = (&self.interner, block.get(part as usize));
                let (feed, device) = (interner.text(cited.feed), interner.text(row.device()));
                let kind = &self.mappings.vocabulary.kind(row.kind()).name;
                let said = Said { feed, kind, device, raw: &raw_text(record.payload) };
                let id = &[feed, "/", device, "/", &cited.id];
                let (occurred, recorded) = (row.occurred(), row.recorded());
                take(&incident::Cited { id, said, occurred, recorded });
                true
            }
            _ => false,
        };
        block.clear();
        self.again = block;
        there
    }

    /// Reads what is said of the only event of a payload for which there is a program.
    fn cite_along(
        &mut self,
        record: &RecordRef<'_>,
        take: &mut dyn FnMut(&incident::Cited<'_>),
    ) -> Option<()> {
        let index = self.first_mapping(record).ok()?;
        let Fast { shapes, plan, programs, .. } = self.fast[index].as_mut()?;
        let symbols = &self.context.symbols;
        let scanned = scan::Scanned::read(record, shapes, symbols, &mut self.room)?;
        let out = &mut self.again;
        let mut station = station!(self, record, out);
        programs.cite(plan, &scanned, &mut station, take)
    }

    /// The first of the source's mappings that takes the topic.
    #[inline(never)]
    fn first_mapping(&self, record: &RecordRef<'_>) -> Result<usize, RejectReason> {
        if record.flags.has(RecordFlags::OVERSIZE) {
            return Err(RejectReason::Oversize);
        }
        let SourceId(source) = record.source;
        let reading = self.readings.get(source as usize).ok_or(RejectReason::NoMapping)?;
        for index in &reading.mappings {
            if self.mappings.list[*index].takes(record.topic) {
                return Ok(*index);
            }
        }
        Err(RejectReason::NoMapping)
    }

    /// The fast road; `None` leaves the delivery, as if nothing had been, to the other one.
    #[inline(never)]
    fn scan(&mut self, index: usize, record: &RecordRef<'_>, out: &mut EventBlock) -> Option<bool> {
        let Fast { shapes, plan, programs, layouts } = self.fast[index].as_mut()?;
        let symbols = &self.context.symbols;
        let scanned = scan::Scanned::read(record, shapes, symbols, &mut self.room)?;
        let before = out.len();
        let mut station = station!(self, record, out);
        if let Some(ran) = programs.run(plan, &scanned, &mut station) {
            self.roads[record.source.0 as usize].scanned += 1;
            let program::Ran::Made(place) = ran else { return Some(false) };
            let feed = self.interner.text(self.readings[record.source.0 as usize].feed);
            let flags = |kind| self.context.flags_of_kind(kind);
            layouts.learn(record, &scanned, (place, programs), (feed, flags));
            return Some(true);
        }
        let mapping = &self.mappings.list[index];
        let made = plan.decode(mapping, &scanned, &mut station);
        if made.is_err() {
            out.truncate(before);
            self.context.cited.iter_mut().for_each(Vec::clear);
            return None;
        }
        self.roads[record.source.0 as usize].scanned += 1;
        made.ok()
    }

    /// The road that reads anything, and decides what is refused.
    #[inline(never)]
    fn read(
        &mut self,
        first: usize,
        record: &RecordRef<'_>,
        out: &mut EventBlock,
    ) -> Result<bool, RejectReason> {
        let mut station = station!(self, record, out);
        let mapping = &self.mappings.list[first];
        match &mapping.format {
            Format::Csv(columns) => {
                self.row.read(record.payload)?;
                if self.row.is_header(columns) {
                    return Ok(false);
                }
                if self.row.len() != columns.len() {
                    return Err(RejectReason::InvalidCsv);
                }
                self.registers.of_columns(mapping, columns);
                mapped::decode(mapping, &self.row, &mut self.registers, &mut station)
            }
            Format::Text => {
                self.row.whole(record.payload)?;
                self.registers.of_text(mapping);
                mapped::decode(mapping, &self.row, &mut self.registers, &mut station)
            }
            _ => {
                self.roads[record.source.0 as usize].parsed += 1;
                self.input.clear();
                self.input.extend_from_slice(record.payload);
                let mut tape =
                    std::mem::replace(&mut self.tape, simd_json::Tape(Vec::new())).reset();
                let parsed = document::parse(&mut self.input, &mut self.buffers, &mut tape);
                let result = parsed.and_then(|()| {
                    let all = &self.mappings.list;
                    let fits = |m: &Mapping| {
                        !matches!(m.format, Format::Csv(_) | Format::Text)
                            && m.takes(record.topic)
                            && canonical::shape_fits(&m.format, &tape.0)
                    };
                    let mut candidates = station.reading.mappings.iter().copied();
                    let chosen = candidates.find(|i| fits(&all[*i]));
                    let chosen = chosen.ok_or(RejectReason::NoMapping)?;
                    let made = tape_events(
                        &all[chosen],
                        &tape.0,
                        &self.names,
                        &mut self.registers,
                        &mut station,
                    )?;
                    if chosen == first
                        && let Some(fast) = &mut self.fast[chosen]
                    {
                        fast.shapes.learn(&tape.0);
                    }
                    Ok(made)
                });
                self.tape = tape.reset();
                result
            }
        }
    }
}

/// The events of a payload that simd-json has read.
fn tape_events(
    mapping: &Mapping,
    tape: &[simd_json::Node<'_>],
    names: &canonical::Names,
    registers: &mut document::Registers,
    station: &mut draft::Station<'_, '_>,
) -> Result<bool, RejectReason> {
    match mapping.format {
        Format::Canonical => canonical::decode(tape, names, station).map(|()| true),
        Format::CloudEvents => canonical::decode_cloud_event(tape, names, station).map(|()| true),
        _ => {
            registers.of_tape(mapping, tape);
            mapped::decode(mapping, &document::Json(tape), registers, station)
        }
    }
}

impl draft::Station<'_, '_> {
    /// Whether one more event of this delivery is within the limit.
    #[inline(always)]
    fn check_room(&self, made: usize) -> Result<(), RejectReason> {
        if made >= EVENTS_PER_DELIVERY_MAX { Err(RejectReason::LimitExceeded) } else { Ok(()) }
    }
}

/// Bytes as text, or marked as base64 where they are not UTF-8.
#[must_use]
pub fn raw_text(bytes: &[u8]) -> Cow<'_, str> {
    use base64::Engine as _;
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            format!("base64:{}", base64::engine::general_purpose::STANDARD.encode(bytes)).into()
        }
    }
}
