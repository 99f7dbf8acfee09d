//! What a plan makes of payloads that look alike: where the registers that have a value are known,
//! and the texts that its conditions ask for, nothing is left of it but a list of what goes where.
//!
//! A program is made when such a payload comes for the first time, and kept. Where there is no room
//! for another, or where a plan asks for more than can be known beforehand, the plan itself is gone
//! through. A program takes names, whole numbers and times; a name that nobody knows yet, an
//! empty one, and whatever may be refused it leaves to the plan, before anything is done.

use event::identity::ShortParts;
use event::incident::{Cited, Said};
use event::{EventMut, EventTime, FieldId, FieldType, Header, Interner, KindId, NewFields, Symbol};

use super::draft::Station;
use super::plan::{IdPlan, KindPlan, Name, PartPlan, Plan, Question, TimePlan};
use super::scan::{Place, Present, Scanned};
use crate::limits::{PROGRAM_ASKED_MAX, PROGRAMS_MAX, REGISTERS_MAX};

/// What of a payload decides what is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    present: Present,
    /// The texts that are asked for, two symbols in a word; [`Symbol::UNKNOWN`] of one that is none
    /// of those that the plan knows, and where there is no text.
    asked: [u64; 2],
}

/// Where a name comes from.
#[derive(Clone, Debug)]
pub(super) enum From {
    Register(u8),
    /// The same for all, with its text.
    Always(Symbol, [u8; ShortParts::PART_MAX], usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Rfc3339(u8),
    /// An integer in units of so many microseconds.
    Epoch(u8, i64),
    /// When it was recorded.
    Recorded,
}

/// One event, as far as it is known beforehand.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub kind: KindId,
    pub control: bool,
    /// An empty id is none.
    pub strict: bool,
    /// `None` where the source says it.
    pub feed: Option<From>,
    pub device: From,
    /// `None` where the payload has no say in it.
    pub site: Option<From>,
    pub occurred: When,
    /// `None` where it is the occurred time.
    pub recorded: Option<When>,
    pub id: u8,
    pub id_with_time: bool,
    pub texts: Vec<(u8, FieldId)>,
    /// Whether there are fields beside texts.
    pub others: bool,
    pub ints: Vec<(u8, FieldId)>,
    pub constants: Vec<(FieldId, Symbol)>,
}

#[derive(Clone, Debug)]
enum Program {
    /// There is no event in it.
    Nothing,
    One(Box<Made>),
    /// It takes the plan.
    Plan,
}

/// What a program did.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ran {
    /// There is no event.
    Nothing,
    /// It made one; the program's place.
    Made(usize),
}

/// Programs of one plan, by form.
pub(super) struct Programs {
    /// Registers of the texts that are asked for; the last of all, which no payload has, where
    /// there are fewer.
    asked: [u8; PROGRAM_ASKED_MAX],
    /// The same as bits.
    registers: u64,
    /// Greater than every symbol that the plan knows: a text past it is any other text.
    until: u32,
    /// A power of two of places, searched from the form's hash on; half of them stay free. Empty of
    /// a plan that asks for more.
    places: Vec<Option<(Form, Program)>>,
    taken: usize,
}

impl Programs {
    /// None yet.
    pub fn of(plan: &Plan) -> Self {
        let (registers, until) = asked(plan);
        let mut asked = [REGISTERS_MAX as u8; PROGRAM_ASKED_MAX];
        let mut all = (0..REGISTERS_MAX as u8).filter(|at| registers >> at & 1 == 1);
        asked.iter_mut().zip(&mut all).for_each(|(to, at)| *to = at);
        let places = if all.next().is_none() { vec![None; 2 * PROGRAMS_MAX] } else { Vec::new() };
        Self { asked, registers, until, places, taken: 0 }
    }

    /// Makes the event of a payload, or says that there is none; `None` where the plan must see to
    /// it, and nothing was done.
    #[inline(never)]
    pub fn run(
        &mut self,
        plan: &Plan,
        scanned: &Scanned<'_>,
        station: &mut Station<'_, '_>,
    ) -> Option<Ran> {
        if station.context.cited.is_some() {
            return None;
        }
        let at = self.place(plan, scanned, station.interner)?;
        match &self.places.get(at)?.as_ref()?.1 {
            Program::Nothing => Some(Ran::Nothing),
            Program::One(made) => made.run(scanned, station).map(|()| Ran::Made(at)),
            Program::Plan => None,
        }
    }

    /// Says what is cited of the event of a payload; `None` where the plan must see to it.
    pub fn cite(
        &mut self,
        plan: &Plan,
        scanned: &Scanned<'_>,
        station: &mut Station<'_, '_>,
        take: &mut dyn FnMut(&Cited<'_>),
    ) -> Option<()> {
        let at = self.place(plan, scanned, station.interner)?;
        self.made(at)?.cite(scanned, station, take)
    }

    /// Where the program for a payload stands; `None` where there is none yet.
    #[inline(always)]
    fn place(&mut self, plan: &Plan, scanned: &Scanned<'_>, interner: &Interner) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let form = self.form(scanned);
        let mut at = form.home();
        loop {
            at &= self.places.len() - 1;
            match &*self.places.get_mut(at)? {
                Some((known, _)) if known.is(&form) => return Some(at),
                Some(_) => at += 1,
                None => {
                    self.add(at, form, plan, interner);
                    return None;
                }
            }
        }
    }

    /// The program at a place that makes an event.
    pub fn made(&self, place: usize) -> Option<&Made> {
        match self.places.get(place)? {
            Some((_, Program::One(made))) => Some(made),
            _ => None,
        }
    }

    /// Puts what is the same for all into a row that a program's layout made.
    #[cold]
    #[inline(never)]
    pub fn put_constants(&self, place: usize, fields: &mut NewFields<'_>) {
        let constants = self.made(place).into_iter().flat_map(|made| &made.constants);
        constants.for_each(|(field, symbol)| fields.put(*field, symbol.0.into()));
    }

    /// Registers of the texts that are asked for.
    pub fn asked(&self) -> u64 {
        self.registers
    }

    #[inline(always)]
    fn form(&self, scanned: &Scanned<'_>) -> Form {
        let (present, until) = (scanned.present, self.until);
        let text = |at: u8| {
            let Symbol(symbol) = scanned.at(at).symbol;
            let known = symbol < until && present.texts >> (at & 63) & 1 == 1;
            u64::from(if known { symbol } else { u32::MAX })
        };
        let [a, b, c, d] = self.asked;
        Form { present, asked: [text(a) | text(b) << 32, text(c) | text(d) << 32] }
    }

    #[cold]
    fn add(&mut self, at: usize, form: Form, plan: &Plan, interner: &Interner) {
        if self.taken < PROGRAMS_MAX {
            self.taken += 1;
            let program = Compiling { asked: self.asked, form, interner }.program(plan);
            self.places[at] = Some((form, program.unwrap_or(Program::Plan)));
        }
    }
}

/// Registers of the texts that a plan asks for, and a number greater than the symbols it knows.
fn asked(plan: &Plan) -> (u64, u32) {
    let (mut registers, mut until) = (0, 0);
    let mut ask = |at: u8, symbol: Symbol| {
        registers |= 1 << at;
        until = until.max(symbol.0.saturating_add(1));
    };
    for part in &plan.parts {
        for question in &part.when {
            if let Question::Among(at, symbols, _) = question {
                symbols.iter().for_each(|symbol| ask(*at, *symbol));
            }
        }
        if let KindPlan::Of(at, kinds, _) = &part.kind {
            kinds.iter().for_each(|(symbol, _)| ask(*at, *symbol));
        }
    }
    (registers, until)
}

impl Form {
    #[inline(always)]
    fn home(&self) -> usize {
        let hash = self.present.texts.rotate_left(29) ^ self.present.ints ^ self.asked[0];
        let hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.asked[1];
        (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
    }

    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        let (a, b) = (&self.present, &other.present);
        let present = (a.texts ^ b.texts) | (a.ints ^ b.ints) | (a.others ^ b.others);
        let asked = (self.asked[0] ^ other.asked[0]) | (self.asked[1] ^ other.asked[1]);
        present | asked == 0
    }
}

impl Made {
    /// Makes the event; `None` where the plan must see to it, and nothing was done yet.
    #[inline(never)]
    pub fn run(&self, scanned: &Scanned<'_>, station: &mut Station<'_, '_>) -> Option<()> {
        let device = self.device.symbol(scanned)?;
        let site = match &self.site {
            None => Symbol::NONE,
            Some(site) => site.symbol(scanned)?,
        };
        let site = station.site(site, device, self.control).ok()?;
        let occurred = self.occurred.read(scanned, station)?;
        let recorded = match self.recorded {
            None => occurred,
            Some(when) => when.read(scanned, station)?,
        };
        let history = station.reading.history;
        let recorded = if history { recorded } else { station.record.recorded };
        let end = match &self.feed {
            Some(feed) => {
                feed.symbol(scanned)?;
                feed.part(scanned, 0, &mut station.context.parts)?
            }
            None => source_feed(station)?,
        };
        if self.strict && scanned.at(self.id).len() == 0 {
            return None;
        }
        let parts = &mut station.context.parts;
        let end = self.device.part(scanned, end, parts)?;
        let mut end = part(scanned, self.id, end, parts)?;
        if self.id_with_time {
            end = parts.time(end, occurred);
        }
        let identity = parts.identity(end);
        let header = Header {
            occurred,
            recorded,
            identity,
            kind: self.kind,
            flags: station.flags(self.kind, device, self.control),
            stream: station.record.stream,
            source: station.record.source,
            site,
            device,
            position: station.record.position,
            part: 0,
        };
        let row = station.out.len();
        let mut event = station.out.push();
        event.header(&header);
        let mut all = true;
        event.fields(self.texts.iter().map(|(at, field)| {
            let place = scanned.at(*at);
            all &= known(place).is_some();
            (*field, place.symbol.0.into())
        }));
        if !all {
            station.out.truncate(row);
            return None;
        }
        if self.others {
            event.fields(self.ints.iter().map(|(at, f)| (*f, scanned.at(*at).int() as u64)));
            self.put_constants(&mut event);
        }
        Some(())
    }

    /// Says what is cited of the event of a delivery that was taken: it is not judged again, and no name
    /// need be known. `None` where the plan must see to it.
    fn cite(
        &self,
        scanned: &Scanned<'_>,
        station: &mut Station<'_, '_>,
        take: &mut dyn FnMut(&Cited<'_>),
    ) -> Option<()> {
        // Looked at once for all texts that stand in it.
        let raw = std::str::from_utf8(station.record.payload).ok()?;
        let interner = station.interner;
        let device = self.device.called(scanned, raw, interner)?;
        let occurred = self.occurred.read(scanned, station)?;
        let recorded = match self.recorded {
            None => occurred,
            Some(when) => when.read(scanned, station)?,
        };
        let recorded = if station.reading.history { recorded } else { station.record.recorded };
        let feed = match &self.feed {
            Some(feed) => feed.called(scanned, raw, interner)?,
            None => interner.text(station.reading.feed),
        };
        let id = scanned.within(raw, scanned.at(self.id))?;
        if self.strict && id.is_empty() || id.len() > ShortParts::PART_MAX {
            return None;
        }
        let kind = &station.mappings.vocabulary.kind(self.kind).name;
        let said = Said { feed, kind, device, raw };
        take(&Cited { id: &[feed, "/", device, "/", id], said, occurred, recorded });
        Some(())
    }

    /// Fields that are the same for all.
    fn put_constants(&self, event: &mut EventMut<'_>) {
        event.fields(self.constants.iter().map(|(f, symbol)| (*f, symbol.0.into())));
    }
}

/// The symbol of a text, where it is known and not empty.
#[inline(always)]
fn known(place: &Place) -> Option<Symbol> {
    // Neither zero nor past all others.
    (place.symbol.0.wrapping_add(1) > 1).then_some(place.symbol)
}

/// Adds a text or a number as it stands in the payload; where the parts end then.
#[inline(always)]
fn part(scanned: &Scanned<'_>, at: u8, end: usize, parts: &mut ShortParts) -> Option<usize> {
    let place = scanned.at(at);
    let len = place.len();
    if len > ShortParts::PART_MAX {
        return None;
    }
    Some(parts.part(end, scanned.chunk(place)?, len))
}

/// The feed of a payload that says none.
#[inline(never)]
fn source_feed(station: &mut Station<'_, '_>) -> Option<usize> {
    let (bytes, len) = padded(station.interner.text(station.reading.feed))?;
    Some(station.context.parts.part(0, &bytes, len))
}

/// A text with zeros behind it, and its length.
pub(super) fn padded(text: &str) -> Option<([u8; ShortParts::PART_MAX], usize)> {
    let mut bytes = [0; ShortParts::PART_MAX];
    bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some((bytes, text.len()))
}

impl From {
    /// Its text with zeros behind it, and its length.
    pub fn text(&self, scanned: &Scanned<'_>) -> Option<([u8; ShortParts::PART_MAX], usize)> {
        match self {
            Self::Register(at) => padded(scanned.text(scanned.at(*at))),
            Self::Always(_, bytes, len) => Some((*bytes, *len)),
        }
    }

    /// Its text, where it is not empty; `raw` is the payload.
    #[inline(always)]
    fn called<'a>(
        &self,
        scanned: &Scanned<'_>,
        raw: &'a str,
        interner: &'a Interner,
    ) -> Option<&'a str> {
        let text = match self {
            Self::Register(at) => scanned.within(raw, scanned.at(*at))?,
            Self::Always(symbol, ..) => interner.text(*symbol),
        };
        (!text.is_empty()).then_some(text)
    }

    #[inline(always)]
    fn symbol(&self, scanned: &Scanned<'_>) -> Option<Symbol> {
        match self {
            Self::Register(at) => known(scanned.at(*at)),
            Self::Always(symbol, ..) => Some(*symbol),
        }
    }

    #[inline(always)]
    fn part(&self, scanned: &Scanned<'_>, end: usize, parts: &mut ShortParts) -> Option<usize> {
        match self {
            Self::Register(at) => part(scanned, *at, end, parts),
            Self::Always(_, bytes, len) => Some(parts.part(end, bytes, *len)),
        }
    }
}

impl When {
    #[inline(always)]
    fn read(self, scanned: &Scanned<'_>, station: &mut Station<'_, '_>) -> Option<EventTime> {
        match self {
            Self::Epoch(at, unit) => scanned.at(at).int().checked_mul(unit).map(EventTime),
            Self::Rfc3339(at) => station.context.times.parse_rfc3339(scanned.bytes(scanned.at(at))),
            Self::Recorded => Some(station.record.recorded),
        }
    }
}

/// A program on its way. Everything is `None` that takes the plan.
struct Compiling<'a> {
    asked: [u8; PROGRAM_ASKED_MAX],
    form: Form,
    interner: &'a Interner,
}

impl Compiling<'_> {
    fn program(&self, plan: &Plan) -> Option<Program> {
        if self.form.present.all() & plan.required != plan.required {
            return None;
        }
        let mut made = None;
        for part in &plan.parts {
            if !self.holds(part)? {
                continue;
            }
            let Some(kind) = self.kind(&part.kind)? else { continue };
            if made.is_some() {
                return None;
            }
            made = Some(self.made(part, kind, plan.strict)?);
        }
        match made {
            Some(made) => Some(Program::One(Box::new(made))),
            None if plan.refuses => None,
            None => Some(Program::Nothing),
        }
    }

    fn has(&self, at: u8) -> bool {
        self.form.present.all() >> at & 1 == 1
    }

    fn is_text(&self, at: u8) -> bool {
        self.form.present.texts >> at & 1 == 1
    }

    fn is_int(&self, at: u8) -> bool {
        self.form.present.ints >> at & 1 == 1
    }

    /// A text that is asked for.
    fn text(&self, at: u8) -> Option<Symbol> {
        let place = self.asked.iter().position(|asked| *asked == at)?;
        let both = self.form.asked[place / 2];
        self.is_text(at).then_some(Symbol((both >> (place % 2 * 32)) as u32))
    }

    fn holds(&self, part: &PartPlan) -> Option<bool> {
        for question in &part.when {
            let holds = match question {
                Question::There(at, wanted) => self.has(*at) == *wanted,
                Question::Among(at, _, wanted) if !self.has(*at) => !*wanted,
                Question::Among(at, symbols, wanted) => {
                    symbols.contains(&self.text(*at)?) == *wanted
                }
                Question::Other => return None,
            };
            if !holds {
                return Some(false);
            }
        }
        Some(true)
    }

    fn kind(&self, kind: &KindPlan) -> Option<Option<KindId>> {
        match kind {
            KindPlan::Fixed(kind) => Some(Some(*kind)),
            KindPlan::Of(at, _, otherwise) if !self.has(*at) => *otherwise,
            KindPlan::Of(at, kinds, otherwise) => {
                let text = self.text(*at)?;
                let found = kinds.iter().find(|(known, _)| *known == text);
                found.map(|(_, kind)| *kind).or(*otherwise)
            }
            KindPlan::Other => None,
        }
    }

    fn made(&self, part: &PartPlan, kind: KindId, strict: bool) -> Option<Made> {
        let IdPlan::At(id) = part.id else { return None };
        if !(self.is_text(id) || self.is_int(id)) || !part.others.is_empty() {
            return None;
        }
        let occurred = self.when(&part.occurred)?;
        if strict && occurred.is_none() {
            return None;
        }
        let mut made = Made {
            kind,
            control: part.controls.get(kind.0 as usize).is_some_and(|control| *control),
            strict,
            feed: self.name(&part.feed)?,
            device: self.name(&part.device)??,
            site: self.name(&part.site)?,
            occurred: occurred.unwrap_or(When::Recorded),
            recorded: self.when(&part.recorded)?,
            id,
            id_with_time: part.id_with_time,
            texts: Vec::new(),
            others: false,
            ints: Vec::new(),
            constants: part.constants.clone(),
        };
        for at in (0..REGISTERS_MAX as u8).filter(|at| part.reads >> at & 1 == 1 && self.has(*at)) {
            let (field, ty) = part.fields[at as usize];
            match ty {
                FieldType::String if self.is_text(at) => made.texts.push((at, field)),
                FieldType::Int if self.is_int(at) => made.ints.push((at, field)),
                _ => return None,
            }
        }
        made.others = !made.ints.is_empty() || !made.constants.is_empty();
        Some(made)
    }

    /// `Some(None)` where nothing says it.
    fn name(&self, name: &Name) -> Option<Option<From>> {
        match name {
            Name::Nothing => Some(None),
            Name::At(at) if !self.has(*at) => Some(None),
            Name::At(at) => self.is_text(*at).then_some(Some(From::Register(*at))),
            Name::Always(Symbol::NONE) | Name::Other => None,
            Name::Always(symbol) => {
                let (bytes, len) = padded(self.interner.text(*symbol))?;
                Some(Some(From::Always(*symbol, bytes, len)))
            }
        }
    }

    /// `Some(None)` where nothing says it.
    fn when(&self, time: &TimePlan) -> Option<Option<When>> {
        let (at, when, fits) = match *time {
            TimePlan::Nothing => return Some(None),
            TimePlan::Rfc3339(at) => (at, When::Rfc3339(at), self.is_text(at)),
            TimePlan::Epoch(at, unit) => (at, When::Epoch(at, unit), self.is_int(at)),
            TimePlan::Other => return None,
        };
        if self.has(at) { fits.then_some(Some(when)) } else { Some(None) }
    }
}
