//! How the fast road evaluates: a mapping's conditions, names and fields by the register that each
//! is read from, its constants by their symbols.
//!
//! What needs more than that, of the mapping or of a value (a slice, a join, a number where a text
//! is usual), goes to the general evaluation ([`mapped`]), value by value. Canonical events have
//! a plan of their own, which is strict: every value has the type of its key.

use event::vocabulary::Family;
use event::{EventTime, FieldId, FieldType, KindId, RejectReason, Symbol, SymbolCache, Vocabulary};

use super::canonical::{Key, Names};
use super::draft::{Draft, Id, Station};
use super::mapped::{self, View};
use super::scan::{Kind, Place, Scanned};
use crate::limits::REGISTERS_MAX;
use crate::mapping::{
    Condition, KindPick, Mapping, Part, Pattern, Pick, Source, Test, TimeFormat, TimePick,
};

/// What one scanned payload becomes.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Of canonical events, nothing is read as what it is not.
    pub strict: bool,
    /// A payload without an event is refused.
    pub refuses: bool,
    /// Registers that must be there.
    pub required: u64,
    pub parts: Vec<PartPlan>,
    /// Registers whose symbols are wanted.
    pub named: u64,
}

#[derive(Clone, Debug)]
pub(super) struct PartPlan {
    pub when: Vec<Question>,
    pub kind: KindPlan,
    /// By kind, whether an event of it needs no device.
    pub controls: Vec<bool>,
    pub feed: Name,
    pub device: Name,
    pub site: Name,
    /// What a constant feed is called.
    pub feed_text: Box<str>,
    pub occurred: TimePlan,
    pub recorded: TimePlan,
    pub id: IdPlan,
    pub id_with_time: bool,
    /// Registers that go into a field each, and those fields by register.
    pub reads: u64,
    pub fields: Box<[(FieldId, FieldType); REGISTERS_MAX + 1]>,
    pub constants: Vec<(FieldId, Symbol)>,
    /// Fields of the mapping's part that are left to the general evaluation.
    pub others: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Question {
    /// The text is one of these, or none of them.
    Among(u8, Vec<Symbol>, bool),
    There(u8, bool),
    Other,
}

#[derive(Clone, Debug)]
pub(super) enum KindPlan {
    Fixed(KindId),
    /// Kinds in the order of symbols.
    Of(u8, Vec<(Symbol, Option<KindId>)>, Option<Option<KindId>>),
    Other,
}

#[derive(Clone, Debug)]
pub(super) enum Name {
    Nothing,
    At(u8),
    Always(Symbol),
    Other,
}

#[derive(Clone, Debug)]
pub(super) enum TimePlan {
    Nothing,
    Rfc3339(u8),
    /// An integer in units of so many microseconds.
    Epoch(u8, i64),
    Other,
}

#[derive(Clone, Debug)]
pub(super) enum IdPlan {
    Nothing,
    At(u8),
    Other,
}

/// The register of a source that is nothing but a path.
fn register(source: &Source) -> Option<u8> {
    match source {
        Source::Path(path) if (path.0 as usize) < REGISTERS_MAX => Some(path.0 as u8),
        _ => None,
    }
}

fn plain(pick: &Pick) -> Option<u8> {
    register(&pick.source).filter(|_| pick.plain)
}

impl Name {
    fn of(pick: Option<&Pick>, symbols: &mut SymbolCache) -> Self {
        let Some(pick) = pick else { return Self::Nothing };
        match &pick.source {
            Source::Constant(text) if pick.plain => {
                symbols.intern(text).map_or(Self::Other, Self::Always)
            }
            _ => plain(pick).map_or(Self::Other, Self::At),
        }
    }

    fn bit(&self) -> u64 {
        if let Self::At(register) = self { 1 << register } else { 0 }
    }
}

impl TimePlan {
    fn of(time: Option<&TimePick>) -> Self {
        let Some(TimePick { pick, format }) = time else { return Self::Nothing };
        match (plain(pick), format) {
            (Some(at), TimeFormat::Rfc3339) => Self::Rfc3339(at),
            (Some(at), format) => {
                format.micros_per_unit().map_or(Self::Other, |n| Self::Epoch(at, n))
            }
            _ => Self::Other,
        }
    }
}

impl Question {
    fn of(condition: &Condition, symbols: &mut SymbolCache) -> Self {
        let mut all = |patterns: &[Pattern]| {
            let symbols = patterns.iter().map(|pattern| match pattern {
                Pattern::Plain(text) => symbols.intern(text),
                Pattern::Starred(_) => None,
            });
            symbols.collect::<Option<Vec<_>>>()
        };
        let Some(at) = register(&condition.source) else { return Self::Other };
        let among = match &condition.test {
            Test::Exists(wanted) => return Self::There(at, *wanted),
            Test::OneOf(patterns) => all(patterns).map(|all| Self::Among(at, all, true)),
            Test::NoneOf(patterns) => all(patterns).map(|all| Self::Among(at, all, false)),
            Test::Differs(_) => None,
        };
        among.unwrap_or(Self::Other)
    }
}

impl KindPlan {
    fn of(kind: &KindPick, symbols: &mut SymbolCache) -> Self {
        let (pick, entries, otherwise) = match kind {
            KindPick::Fixed(kind) => return Self::Fixed(*kind),
            KindPick::Mapped(pick, entries, otherwise) => (pick, entries, otherwise),
        };
        let kinds = entries.iter().map(|(text, kind)| Some((symbols.intern(text)?, *kind)));
        match (plain(pick), kinds.collect::<Option<Vec<_>>>()) {
            (Some(at), Some(kinds)) => Self::sorted(at, kinds, *otherwise),
            _ => Self::Other,
        }
    }

    fn sorted(
        at: u8,
        mut kinds: Vec<(Symbol, Option<KindId>)>,
        otherwise: Option<Option<KindId>>,
    ) -> Self {
        // Of two that say the same text the first counts.
        kinds.sort_by_key(|(symbol, _)| symbol.0);
        kinds.dedup_by_key(|(symbol, _)| *symbol);
        Self::Of(at, kinds, otherwise)
    }
}

impl PartPlan {
    fn of(part: &Part, symbols: &mut SymbolCache) -> Self {
        let when: Vec<_> = part.when.iter().map(|c| Question::of(c, symbols)).collect();
        let mut plan = Self {
            when,
            kind: KindPlan::of(&part.kind, symbols),
            controls: Vec::new(),
            feed: Name::of(part.feed.as_ref(), symbols),
            device: Name::of(part.device.as_ref(), symbols),
            site: Name::of(part.site.as_ref(), symbols),
            feed_text: "".into(),
            occurred: TimePlan::of(part.occurred.as_ref()),
            recorded: TimePlan::of(part.recorded.as_ref()),
            id: part
                .id
                .as_ref()
                .map_or(IdPlan::Nothing, |pick| plain(pick).map_or(IdPlan::Other, IdPlan::At)),
            id_with_time: part.id_with_time,
            reads: 0,
            fields: Box::new([(FieldId(0), FieldType::Bool); REGISTERS_MAX + 1]),
            constants: Vec::new(),
            others: Vec::new(),
        };
        if let Name::Always(feed) = plan.feed {
            plan.feed_text = symbols.shared().text(feed).into();
        }
        for (place, (field, ty, pick)) in part.fields.iter().enumerate() {
            match (Name::of(Some(pick), symbols), ty) {
                (Name::At(at), _) if plan.reads >> at & 1 == 0 => plan.read(at, *field, *ty),
                (Name::Always(symbol), FieldType::String) if symbol != Symbol::NONE => {
                    plan.constants.push((*field, symbol));
                }
                _ => plan.others.push(place),
            }
        }
        plan
    }

    fn read(&mut self, at: u8, field: FieldId, ty: FieldType) {
        self.reads |= 1 << at;
        self.fields[at as usize] = (field, ty);
    }

    /// Registers whose symbols are wanted.
    fn named(&self) -> u64 {
        let asked = self.when.iter().map(|question| match question {
            Question::Among(at, ..) => 1 << at,
            _ => 0,
        });
        let kind = if let KindPlan::Of(at, ..) = self.kind { 1 << at } else { 0 };
        let texts = (0..REGISTERS_MAX).filter(|at| self.fields[*at].1 == FieldType::String);
        let texts = texts.fold(0, |all, at| all | 1 << at) & self.reads;
        let names = self.feed.bit() | self.device.bit() | self.site.bit();
        asked.fold(kind | texts | names, |all, one| all | one)
    }
}

impl Plan {
    /// Of a mapping; `None` where something must be there that is not a path.
    pub fn of(mapping: &Mapping, symbols: &mut SymbolCache) -> Option<Self> {
        let required = mapping.require.iter().map(|source| Some(1 << register(source)?));
        let required = required.collect::<Option<Vec<u64>>>()?;
        let parts: Vec<_> = mapping.parts.iter().map(|p| PartPlan::of(p, symbols)).collect();
        let named = parts.iter().fold(0, |all, part| all | part.named());
        let required = required.into_iter().fold(0, |all, one| all | one);
        Some(Self { strict: false, refuses: mapping.strict, required, parts, named })
    }

    /// Of canonical events.
    pub fn canonical(
        names: &Names,
        vocabulary: &Vocabulary,
        symbols: &mut SymbolCache,
    ) -> Option<Self> {
        let mut plan = PartPlan {
            when: Vec::new(),
            kind: KindPlan::Other,
            controls: vocabulary.kinds().iter().map(|k| k.family == Family::Control).collect(),
            feed: Name::Nothing,
            device: Name::Nothing,
            site: Name::Nothing,
            feed_text: "".into(),
            occurred: TimePlan::Nothing,
            recorded: TimePlan::Nothing,
            id: IdPlan::Nothing,
            id_with_time: false,
            reads: 0,
            fields: Box::new([(FieldId(0), FieldType::Bool); REGISTERS_MAX + 1]),
            constants: Vec::new(),
            others: Vec::new(),
        };
        let kinds = vocabulary.kinds().iter().enumerate();
        let kinds = kinds.map(|(id, k)| Some((symbols.intern(&k.name)?, Some(KindId(id as u16)))));
        let kinds: Vec<_> = kinds.collect::<Option<_>>()?;
        for (at, key) in names.by_register.iter().enumerate().take(REGISTERS_MAX) {
            let at = at as u8;
            match *key {
                Key::Kind => plan.kind = KindPlan::sorted(at, kinds.clone(), None),
                Key::Occurred => plan.occurred = TimePlan::Rfc3339(at),
                Key::Recorded => plan.recorded = TimePlan::Rfc3339(at),
                Key::Feed => plan.feed = Name::At(at),
                Key::Device => plan.device = Name::At(at),
                Key::Site => plan.site = Name::At(at),
                Key::Id => plan.id = IdPlan::At(at),
                Key::Field(field, ty) => plan.read(at, field, ty),
            }
        }
        let named = plan.named();
        Some(Self { strict: true, refuses: true, required: 0, parts: vec![plan], named })
    }

    /// Makes the events of one payload; `false` when the mapping has none for it. An error says no
    /// more than that the other road decides.
    #[inline(never)]
    pub fn decode<'a>(
        &'a self,
        mapping: &'a Mapping,
        scanned: &'a Scanned<'a>,
        station: &mut Station<'a, '_>,
    ) -> Result<bool, RejectReason> {
        if scanned.present.all() & self.required != self.required {
            return Err(RejectReason::MissingField);
        }
        let mut made = 0;
        for (place, plan) in self.parts.iter().enumerate() {
            let part = mapping.parts.get(place);
            let one = One { strict: self.strict, plan, part, scanned };
            if one.holds(station)? {
                made += usize::from(one.make(made, station)?);
            }
        }
        if made == 0 && mapping.strict { Err(RejectReason::NoMapping) } else { Ok(made > 0) }
    }
}

/// One part of a mapping over one payload.
struct One<'a> {
    strict: bool,
    plan: &'a PartPlan,
    /// What the plan is of; canonical events have no mapping.
    part: Option<&'a Part>,
    scanned: &'a Scanned<'a>,
}

impl<'a> One<'a> {
    /// The part for the general evaluation, which is never strict.
    fn part(&self) -> Result<&'a Part, RejectReason> {
        self.part.filter(|_| !self.strict).ok_or(RejectReason::WrongType)
    }

    /// Whether the conditions hold.
    #[inline(always)]
    fn holds(&self, station: &Station<'a, '_>) -> Result<bool, RejectReason> {
        for (place, question) in self.plan.when.iter().enumerate() {
            let holds = match question {
                Question::There(at, wanted) => self.scanned.place(*at).is_some() == *wanted,
                Question::Among(at, symbols, wanted) => match self.scanned.place(*at) {
                    None => !*wanted,
                    Some(Place { kind: Kind::Text, symbol, .. }) => {
                        symbols.iter().any(|one| one == symbol) == *wanted
                    }
                    Some(_) => self.holds_other(place, station)?,
                },
                Question::Other => self.holds_other(place, station)?,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    #[inline(never)]
    fn holds_other(&self, place: usize, station: &Station<'a, '_>) -> Result<bool, RejectReason> {
        let condition = &self.part()?.when[place];
        Ok(View::of(self.scanned, station).holds(condition, &mut None))
    }

    /// One event; `false` when its kind says no.
    #[inline(always)]
    fn make(&self, made: usize, station: &mut Station<'a, '_>) -> Result<bool, RejectReason> {
        let plan = self.plan;
        let Some(kind) = self.kind(station)? else { return Ok(false) };
        station.check_room(made)?;
        let row = station.out.len();
        self.fields(row, station)?;
        let feed = self.name(&plan.feed, |part| part.feed.as_ref(), station)?;
        let feed_text = match plan.feed {
            Name::Always(_) => Some(plan.feed_text.as_bytes()),
            _ => self.text(&plan.feed),
        };
        let device = self.name(&plan.device, |part| part.device.as_ref(), station)?;
        let device_text = self.text(&plan.device);
        let site = self.name(&plan.site, |part| part.site.as_ref(), station)?;
        let mut draft = Draft {
            kind: Some(kind),
            feed,
            feed_text,
            device,
            device_text,
            site,
            id_with_time: plan.id_with_time,
            control: plan.controls.get(kind.0 as usize).is_some_and(|control| *control),
            ..Draft::default()
        };
        draft.occurred =
            self.time(&plan.occurred, |part| part.occurred.as_ref(), &draft, station)?;
        draft.recorded =
            self.time(&plan.recorded, |part| part.recorded.as_ref(), &draft, station)?;
        if self.strict && draft.occurred.is_none() {
            return Err(RejectReason::MissingField);
        }
        draft.id = self.id(station)?;
        station.finish(row, made as u16, &draft)?;
        Ok(true)
    }

    #[inline(always)]
    fn kind(&self, station: &mut Station<'a, '_>) -> Result<Option<KindId>, RejectReason> {
        match &self.plan.kind {
            KindPlan::Fixed(kind) => Ok(Some(*kind)),
            KindPlan::Of(at, kinds, otherwise) => match self.scanned.place(*at) {
                None => otherwise.ok_or(RejectReason::MissingField),
                Some(Place { kind: Kind::Text, symbol, .. }) => {
                    let place = kinds.partition_point(|(known, _)| known.0 < symbol.0);
                    let found = kinds.get(place).filter(|(known, _)| known == symbol);
                    found.map(|(_, kind)| *kind).or(*otherwise).ok_or(RejectReason::InvalidValue)
                }
                Some(_) => self.kind_other(station),
            },
            KindPlan::Other => self.kind_other(station),
        }
    }

    #[inline(never)]
    fn kind_other(&self, station: &mut Station<'a, '_>) -> Result<Option<KindId>, RejectReason> {
        View::of(self.scanned, station).kind(&self.part()?.kind, station)
    }

    /// A new row with its fields.
    #[inline(always)]
    fn fields(&self, row: usize, station: &mut Station<'a, '_>) -> Result<(), RejectReason> {
        let plan = self.plan;
        let Station { context, out, .. } = station;
        let mut event = out.push();
        let mut rare = 0_u64;
        for (register, place) in self.scanned.each(plan.reads) {
            let (field, ty) = &plan.fields[register % (REGISTERS_MAX + 1)];
            match (ty, place.kind) {
                (FieldType::String, Kind::Text) => {
                    let mut symbol = place.symbol;
                    if symbol == Symbol::UNKNOWN {
                        symbol = context
                            .symbols
                            .intern(self.scanned.text(place))
                            .ok_or(RejectReason::LimitExceeded)?;
                    }
                    if symbol != Symbol::NONE {
                        event.text(*field, symbol);
                    }
                }
                (FieldType::Int, Kind::Int) => event.int(*field, place.int()),
                _ => rare |= 1 << register,
            }
        }
        for (field, symbol) in &plan.constants {
            event.text(*field, *symbol);
        }
        if rare != 0 || !plan.others.is_empty() {
            self.other_fields(rare, row, station)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn other_fields(
        &self,
        rare: u64,
        row: usize,
        station: &mut Station<'a, '_>,
    ) -> Result<(), RejectReason> {
        for register in (0..REGISTERS_MAX as u8).filter(|register| rare >> register & 1 == 1) {
            let Some(place) = self.scanned.place(register) else { continue };
            let (field, ty) = self.plan.fields[register as usize];
            station.set_field(row, field, ty, self.scanned.raw(place), self.strict)?;
        }
        for place in &self.plan.others {
            let view = View::of(self.scanned, station);
            mapped::field(&self.part()?.fields[*place], &view, row, station)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn name(
        &self,
        name: &Name,
        pick: impl Fn(&'a Part) -> Option<&'a Pick>,
        station: &mut Station<'a, '_>,
    ) -> Result<Symbol, RejectReason> {
        match name {
            Name::Nothing => Ok(Symbol::NONE),
            Name::Always(symbol) => Ok(*symbol),
            Name::At(at) => match self.scanned.place(*at) {
                None => Ok(Symbol::NONE),
                Some(place) if place.kind != Kind::Text => self.name_other(name, pick, station),
                Some(Place { symbol: Symbol::UNKNOWN, .. }) => self.name_other(name, pick, station),
                Some(place) => Ok(place.symbol),
            },
            Name::Other => self.name_other(name, pick, station),
        }
    }

    /// The text of a name that stands in the payload.
    #[inline(always)]
    fn text(&self, name: &Name) -> Option<&'a [u8]> {
        let Name::At(at) = name else { return None };
        let place = self.scanned.place(*at).filter(|place| place.kind == Kind::Text)?;
        Some(self.scanned.bytes(place))
    }

    #[inline(never)]
    fn name_other(
        &self,
        name: &Name,
        pick: impl Fn(&'a Part) -> Option<&'a Pick>,
        station: &mut Station<'a, '_>,
    ) -> Result<Symbol, RejectReason> {
        if let Some(Ok(text)) = self.text(name).map(std::str::from_utf8) {
            return station.intern(text);
        }
        let pick = pick(self.part()?);
        View::of(self.scanned, station).symbol(pick, station)
    }

    #[inline(always)]
    fn time(
        &self,
        time: &TimePlan,
        pick: impl Fn(&'a Part) -> Option<&'a TimePick>,
        draft: &Draft<'_>,
        station: &mut Station<'a, '_>,
    ) -> Result<Option<EventTime>, RejectReason> {
        let at = match time {
            TimePlan::Nothing => return Ok(None),
            TimePlan::Rfc3339(at) | TimePlan::Epoch(at, _) => self.scanned.place(*at),
            TimePlan::Other => return self.time_other(pick, draft, station),
        };
        let Some(place) = at else { return Ok(None) };
        let invalid = RejectReason::InvalidTime;
        match (time, place.kind) {
            (TimePlan::Rfc3339(_), Kind::Text) => {
                let text = self.scanned.bytes(place);
                station.context.times.parse_rfc3339(text).ok_or(invalid).map(Some)
            }
            (TimePlan::Epoch(_, unit), Kind::Int) => {
                let micros = place.int().checked_mul(*unit);
                micros.map(EventTime).ok_or(invalid).map(Some)
            }
            _ => self.time_other(pick, draft, station),
        }
    }

    #[inline(never)]
    fn time_other(
        &self,
        pick: impl Fn(&'a Part) -> Option<&'a TimePick>,
        draft: &Draft<'_>,
        station: &mut Station<'a, '_>,
    ) -> Result<Option<EventTime>, RejectReason> {
        let pick = pick(self.part()?);
        let site = station.site_of_clock(draft.site);
        View::of(self.scanned, station).time(pick, site, station)
    }

    #[inline(always)]
    fn id(&self, station: &mut Station<'a, '_>) -> Result<Option<Id<'a>>, RejectReason> {
        let at = match self.plan.id {
            IdPlan::Nothing => return Ok(None),
            IdPlan::At(at) => at,
            IdPlan::Other => return self.id_other(station),
        };
        let Some(place) = self.scanned.place(at) else {
            return if self.strict { Ok(None) } else { Err(RejectReason::MissingField) };
        };
        match place.kind {
            Kind::Text | Kind::Int => {
                // A whole number is written in one way only.
                let text = self.scanned.bytes(place);
                Ok(Some(Id::Text(text)).filter(|_| !self.strict || !text.is_empty()))
            }
            _ => self.id_other(station),
        }
    }

    #[inline(never)]
    fn id_other(&self, station: &mut Station<'a, '_>) -> Result<Option<Id<'a>>, RejectReason> {
        let pick = self.part()?.id.as_ref();
        mapped::own_id(pick, &View::of(self.scanned, station), station)
    }
}
