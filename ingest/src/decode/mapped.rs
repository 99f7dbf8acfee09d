//! Evaluating a mapping over one payload.

use super::document::{Document, Raw, Registers};
use super::draft::{Draft, Id, Station};
use super::rows;
use crate::mapping::{
    Condition, Each, KindPick, Mapping, Part, Pick, Source, Test, TimeFormat, TimePick, ValueMap,
};
use event::model::Cell;
use event::tables::Tables;
use event::{EventTime, FieldId, FieldType, Interner, KindId, RejectReason, Symbol};

/// A value that may stand in the payload, in the configuration or in the interner.
#[derive(Clone, Copy, Debug)]
pub(super) enum Picked<'a> {
    Raw(Raw<'a>),
    Symbol(Symbol),
    Cell(&'a Cell),
}

/// The payload at hand, and where its paths stand.
pub(super) struct View<'a, D> {
    document: &'a D,
    payload: &'a [u32],
    item: &'a [u32],
    lent: Lent<'a>,
}

/// What every value may be looked up in.
#[derive(Clone, Copy)]
struct Lent<'a> {
    tables: &'a Tables,
    interner: &'a Interner,
    topic: &'a [u8],
}

/// Makes the events of one payload; `false` when the mapping has none for it.
pub(super) fn decode<D: Document>(
    mapping: &Mapping,
    document: &D,
    registers: &mut Registers,
    station: &mut Station<'_, '_>,
) -> Result<bool, RejectReason> {
    let Registers { payload, item, elements, without } = registers;
    let whole = View { payload, ..View::of(document, station) };
    for source in &mapping.require {
        if !whole.is_there(source) {
            return Err(RejectReason::MissingField);
        }
    }
    let mut lists = (item, elements, without);
    let (mut made, mut changed, mut asked) = (0, 0, None);
    for part in &mapping.parts {
        let Some(each) = &part.each else {
            if part.when.iter().all(|c| whole.holds(c, &mut asked)) {
                made += usize::from(one(part, &whole, made, station)?);
            }
            continue;
        };
        elements_of(each, &whole, &mut lists, |view| {
            if part.when.iter().all(|c| view.holds(c, &mut None)) {
                made += usize::from(one(part, view, made, station)?);
            }
            Ok(())
        })?;
    }
    for part in &mapping.rows {
        let mut change = |view: &View<'_, D>| {
            changed += usize::from(rows::change(part, view, station)?);
            Ok(())
        };
        match &part.each {
            None => change(&whole)?,
            Some(each) => elements_of(each, &whole, &mut lists, change)?,
        }
    }
    let any = made + changed > 0;
    if !any && mapping.strict { Err(RejectReason::NoMapping) } else { Ok(any) }
}

/// Paths of an element, the elements, and those that do not count.
type Lists<'a> = (&'a mut Vec<u32>, &'a mut Vec<u32>, &'a mut Vec<u32>);

/// Shows each of the elements that a part goes over.
fn elements_of<D: Document>(
    each: &Each,
    whole: &View<'_, D>,
    (item, elements, without): &mut Lists<'_>,
    mut show: impl FnMut(&View<'_, D>) -> Result<(), RejectReason>,
) -> Result<(), RejectReason> {
    let View { document, payload, lent, .. } = *whole;
    elements.clear();
    without.clear();
    if let Some(at) = Registers::get(payload, each.of) {
        document.elements(at, elements);
    }
    if let Some(at) = each.minus.and_then(|path| Registers::get(payload, path)) {
        document.elements(at, without);
    }
    for at in elements.iter() {
        let value = document.value(*at);
        if value != Raw::Compound && without.iter().any(|w| document.value(*w) == value) {
            continue;
        }
        document.fill(&each.tree, *at, item);
        show(&View { document, payload, item, lent })?;
    }
    Ok(())
}

/// One event of one part, whose conditions hold; `false` when its kind says no.
fn one<'a, D: Document>(
    part: &'a Part,
    view: &View<'a, D>,
    made: usize,
    station: &mut Station<'_, '_>,
) -> Result<bool, RejectReason> {
    let Some(kind) = view.kind(&part.kind, station)? else { return Ok(false) };
    station.check_room(made)?;
    let row = station.out.len();
    station.out.push();
    for field_of in &part.fields {
        field(field_of, view, row, station)?;
    }
    let mut draft = Draft { kind: Some(kind), id_with_time: part.id_with_time, ..Draft::default() };
    draft.feed = view.symbol(part.feed.as_ref(), station)?;
    draft.device = view.symbol(part.device.as_ref(), station)?;
    draft.site = view.symbol(part.site.as_ref(), station)?;
    let site = station.site_of_clock(draft.site);
    draft.occurred = view.time(part.occurred.as_ref(), site, station)?;
    draft.recorded = view.time(part.recorded.as_ref(), site, station)?;
    draft.id = own_id(part.id.as_ref(), view, station)?;
    station.finish(row, made as u16, &draft)?;
    Ok(true)
}

/// One field of a row.
pub(super) fn field<'a, D: Document>(
    (field, ty, pick): &'a (FieldId, FieldType, Pick),
    view: &View<'a, D>,
    row: usize,
    station: &mut Station<'_, '_>,
) -> Result<(), RejectReason> {
    let value = if pick.plain {
        view.raw(&pick.source)
    } else {
        match view.pick(pick, station)? {
            Picked::Raw(value) => value,
            Picked::Symbol(symbol) => Raw::Text(view.lent.interner.text(symbol)),
            Picked::Cell(cell) => of_cell(cell)?,
        }
    };
    station.set_field(row, *field, *ty, value, false)
}

/// The payload's own id, where the mapping says which value that is.
pub(super) fn own_id<'a, D: Document>(
    pick: Option<&'a Pick>,
    view: &View<'a, D>,
    station: &mut Station<'_, '_>,
) -> Result<Option<Id<'a>>, RejectReason> {
    let Some(pick) = pick else { return Ok(None) };
    Ok(Some(match view.pick(pick, station)? {
        Picked::Raw(Raw::Missing) => return Err(RejectReason::MissingField),
        Picked::Raw(Raw::Int(n)) => Id::Int(n),
        // Not interned: every event has another.
        Picked::Raw(Raw::Text(text)) => Id::Text(text.as_bytes()),
        Picked::Raw(value) => Id::Symbol(station.symbol_of(value)?),
        Picked::Symbol(symbol) => Id::Symbol(symbol),
        Picked::Cell(_) => return Err(RejectReason::WrongType),
    }))
}

/// A cell that is not a text.
fn of_cell(cell: &Cell) -> Result<Raw<'_>, RejectReason> {
    match cell {
        Cell::Int(n) => Ok(Raw::Int(*n)),
        Cell::Float(n) => Ok(Raw::Float(*n)),
        Cell::Bool(b) => Ok(Raw::Bool(*b)),
        Cell::String(_) | Cell::Duration(_) | Cell::Time(_) | Cell::Strings(_) => {
            Err(RejectReason::WrongType)
        }
    }
}

impl<'a, D: Document> View<'a, D> {
    /// Of a payload whose registers, where it needs them, are yet to come.
    pub(super) fn of(document: &'a D, station: &Station<'a, '_>) -> Self {
        let (tables, interner) = (station.tables, station.interner);
        let lent = Lent { tables, interner, topic: station.record.topic };
        Self { document, payload: &[], item: &[], lent }
    }

    /// The value of a plain source; joined ones count as there.
    #[inline(always)]
    fn raw(&self, source: &'a Source) -> Raw<'a> {
        match source {
            Source::Path(path) => self.document.at(self.payload, *path),
            other => self.raw_other(other),
        }
    }

    #[inline(never)]
    fn raw_other(&self, source: &'a Source) -> Raw<'a> {
        match source {
            Source::Constant(text) => Raw::Text(text),
            Source::Path(path) => self.document.at(self.payload, *path),
            Source::Item(path) => self.document.at(self.item, *path),
            Source::Topic(level) => self
                .lent
                .topic
                .split(|b| *b == b'/')
                .nth(*level)
                .and_then(|l| std::str::from_utf8(l).ok())
                .map_or(Raw::Missing, Raw::Text),
            Source::Join(..) => Raw::Compound,
        }
    }

    /// Whether a plain source has a value.
    fn is_there(&self, source: &'a Source) -> bool {
        match source {
            Source::Path(path) => self.document.is_there(self.payload, *path),
            other => self.raw(other) != Raw::Missing,
        }
    }

    /// Whether a condition holds. Parts mostly ask for the same value: `asked` keeps the last.
    #[inline(always)]
    pub(super) fn holds(
        &self,
        condition: &'a Condition,
        asked: &mut Option<(&'a Source, Raw<'a>)>,
    ) -> bool {
        let value = match (*asked, &condition.source) {
            (Some((Source::Path(last), value)), Source::Path(path)) if last == path => value,
            (_, source) => {
                let value = self.raw(source);
                *asked = Some((source, value));
                value
            }
        };
        match &condition.test {
            Test::Exists(wanted) => (value != Raw::Missing) == *wanted,
            Test::OneOf(patterns) => with_text(value, |t| patterns.iter().any(|p| p.takes(t))),
            Test::NoneOf(patterns) => !with_text(value, |t| patterns.iter().any(|p| p.takes(t))),
            Test::Differs(other) => value != self.raw(other),
        }
    }

    pub(super) fn kind(
        &self,
        kind: &'a KindPick,
        station: &mut Station<'_, '_>,
    ) -> Result<Option<KindId>, RejectReason> {
        let (pick, entries, otherwise) = match kind {
            KindPick::Fixed(kind) => return Ok(Some(*kind)),
            KindPick::Mapped(pick, entries, otherwise) => (pick, entries, otherwise),
        };
        let value = self.pick(pick, station)?;
        let value = match value {
            Picked::Raw(value) => value,
            Picked::Symbol(symbol) => Raw::Text(self.lent.interner.text(symbol)),
            Picked::Cell(cell) => of_cell(cell)?,
        };
        if value == Raw::Missing {
            return otherwise.ok_or(RejectReason::MissingField);
        }
        let mut found = None;
        with_text(value, |text| {
            found = entries.iter().find(|(from, _)| from == text).map(|(_, to)| *to);
            true
        });
        found.or(*otherwise).ok_or(RejectReason::InvalidValue)
    }

    pub(super) fn pick(
        &self,
        pick: &'a Pick,
        station: &mut Station<'_, '_>,
    ) -> Result<Picked<'a>, RejectReason> {
        let mut picked = match &pick.source {
            Source::Join(parts, with) => Picked::Symbol(self.join(parts, with, station)?),
            source => Picked::Raw(self.raw(source)),
        };
        if let Some((from, to)) = pick.slice {
            picked = match picked {
                Picked::Raw(Raw::Text(text)) => Picked::Raw(Raw::Text(slice(text, from, to))),
                Picked::Raw(Raw::Missing) => picked,
                _ => return Err(RejectReason::WrongType),
            };
        }
        if let Some(map) = &pick.map {
            picked = mapped(map, picked, self.lent.interner)?;
        }
        if let Some((table, column)) = pick.join {
            let key = match picked {
                Picked::Raw(value) => station.symbol_of(value)?,
                Picked::Symbol(symbol) => symbol,
                Picked::Cell(_) => Symbol::NONE,
            };
            picked = match self.lent.tables.cell(table, key, column) {
                Some(Cell::String(symbol)) => Picked::Symbol(*symbol),
                Some(cell) => Picked::Cell(cell),
                None => Picked::Raw(Raw::Missing),
            };
        }
        match (&pick.default, picked) {
            (Some(text), Picked::Raw(Raw::Missing)) => Ok(Picked::Raw(Raw::Text(text))),
            _ => Ok(picked),
        }
    }

    fn join(
        &self,
        parts: &'a [Pick],
        with: &str,
        station: &mut Station<'_, '_>,
    ) -> Result<Symbol, RejectReason> {
        let mut whole = String::new();
        for (place, part) in parts.iter().enumerate() {
            let symbol = self.symbol(Some(part), station)?;
            if symbol == Symbol::NONE {
                return Err(RejectReason::MissingField);
            }
            if place > 0 {
                whole.push_str(with);
            }
            whole.push_str(self.lent.interner.text(symbol));
        }
        station.intern(&whole)
    }

    pub(super) fn symbol(
        &self,
        pick: Option<&'a Pick>,
        station: &mut Station<'_, '_>,
    ) -> Result<Symbol, RejectReason> {
        let Some(pick) = pick else { return Ok(Symbol::NONE) };
        if pick.plain {
            return station.symbol_of(self.raw(&pick.source));
        }
        match self.pick(pick, station)? {
            Picked::Raw(value) => station.symbol_of(value),
            Picked::Symbol(symbol) => Ok(symbol),
            Picked::Cell(cell) => station.symbol_of(of_cell(cell)?),
        }
    }

    pub(super) fn time(
        &self,
        time: Option<&'a TimePick>,
        site: Symbol,
        station: &mut Station<'_, '_>,
    ) -> Result<Option<EventTime>, RejectReason> {
        let Some(TimePick { pick, format }) = time else { return Ok(None) };
        let picked = if pick.plain {
            Picked::Raw(self.raw(&pick.source))
        } else {
            self.pick(pick, station)?
        };
        let zone = || station.context.zones.get(&site);
        match picked {
            Picked::Raw(Raw::Missing) => Ok(None),
            Picked::Raw(Raw::Text(text)) => match format {
                TimeFormat::Rfc3339 => station.context.time(text).map(Some),
                _ => format.text(text, zone()).map(Some),
            },
            Picked::Raw(Raw::Int(n)) => format.integer(n).map(Some),
            Picked::Raw(Raw::Float(n)) => format.number(n).map(Some),
            Picked::Symbol(symbol) => {
                format.text(self.lent.interner.text(symbol), zone()).map(Some)
            }
            _ => Err(RejectReason::WrongType),
        }
    }
}

fn mapped<'s>(
    map: &'s ValueMap,
    picked: Picked<'s>,
    interner: &Interner,
) -> Result<Picked<'s>, RejectReason> {
    let value = match picked {
        Picked::Raw(Raw::Missing) => return Ok(picked),
        Picked::Raw(value) => value,
        Picked::Symbol(symbol) => Raw::Text(interner.text(symbol)),
        Picked::Cell(cell) => of_cell(cell)?,
    };
    let mut found = None;
    with_text(value, |text| {
        found = map.entries.iter().find(|(from, _)| from == text).map(|(_, to)| to);
        true
    });
    match found.or(map.otherwise.as_ref()) {
        Some(Some(text)) => Ok(Picked::Raw(Raw::Text(text))),
        Some(None) => Ok(Picked::Raw(Raw::Missing)),
        None => Err(RejectReason::InvalidValue),
    }
}

/// Calls `f` with a scalar's text; `false` for what has none.
fn with_text(value: Raw<'_>, f: impl FnOnce(&str) -> bool) -> bool {
    match value {
        Raw::Text(text) => f(text),
        Raw::Bool(true) => f("true"),
        Raw::Bool(false) => f("false"),
        Raw::Int(n) => f(&n.to_string()),
        Raw::Float(n) => f(&n.to_string()),
        Raw::Missing | Raw::Compound => false,
    }
}

/// Characters `from` … `to`, negative from the end.
fn slice(text: &str, from: i32, to: i32) -> &str {
    let count = text.chars().count() as i32;
    let place = |n: i32| if n < 0 { (count + n).max(0) } else { n.min(count) } as usize;
    let byte = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    let (from, to) = (place(from), place(to));
    if from >= to { "" } else { &text[byte(from)..byte(to)] }
}
