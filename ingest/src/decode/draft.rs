//! One event on its way into a row: identity, site and device are settled here, for every format.

use event::control::RowChange;
use event::identity::Digest;
use event::tables::Tables;
use event::{
    EventBlock, EventFlags, EventRef, EventTime, FieldType, Header, Identity, Interner, KindId,
    RecordFlags, RecordRef, RejectReason, Symbol,
};

use super::document::Raw;
use super::{Cited, Context, Reading};
use crate::mapping::Mappings;

/// Where a delivery is being decoded.
pub(super) struct Station<'a, 'r> {
    pub record: &'a RecordRef<'r>,
    pub reading: &'a Reading,
    pub mappings: &'a Mappings,
    pub interner: &'a Interner,
    pub tables: &'a Tables,
    pub context: &'a mut Context,
    pub out: &'a mut EventBlock,
    pub changes: &'a mut Vec<RowChange>,
}

/// The header of an event, as far as the payload gave it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draft<'a> {
    pub kind: Option<KindId>,
    pub occurred: Option<EventTime>,
    pub recorded: Option<EventTime>,
    pub feed: Symbol,
    pub device: Symbol,
    pub site: Symbol,
    /// What feed and device are called, where that needs no look into the table of names.
    pub feed_text: Option<&'a [u8]>,
    pub device_text: Option<&'a [u8]>,
    pub id: Option<Id<'a>>,
    pub id_with_time: bool,
    /// The event has no device by its nature (`Advance`).
    pub control: bool,
}

/// The payload's own id.
#[derive(Clone, Copy, Debug)]
pub(super) enum Id<'a> {
    /// UTF-8.
    Text(&'a [u8]),
    Symbol(Symbol),
    Int(i64),
}

impl Station<'_, '_> {
    /// The symbol of a text.
    #[inline]
    pub fn intern(&mut self, text: &str) -> Result<Symbol, RejectReason> {
        self.context.symbols.intern(text).ok_or(RejectReason::LimitExceeded)
    }

    /// Writes a value into a field of the row being made. Strict: the value has the field's type;
    /// otherwise texts are read as numbers and numbers written as texts.
    #[inline(always)]
    pub fn set_field(
        &mut self,
        row: usize,
        field: event::FieldId,
        ty: FieldType,
        value: Raw<'_>,
        strict: bool,
    ) -> Result<(), RejectReason> {
        if let (FieldType::String, Raw::Text(text)) = (ty, value) {
            let symbol = self.intern(text)?;
            if symbol != Symbol::NONE {
                self.out.get_mut(row).text(field, symbol);
            }
            return Ok(());
        }
        self.set_other(row, field, ty, value, strict)
    }

    /// A value that is no text for a field of texts.
    #[inline(never)]
    fn set_other(
        &mut self,
        row: usize,
        field: event::FieldId,
        ty: FieldType,
        value: Raw<'_>,
        strict: bool,
    ) -> Result<(), RejectReason> {
        let wrong = RejectReason::WrongType;
        match (ty, value) {
            (_, Raw::Missing) => {}
            (FieldType::Int, Raw::Int(n)) => self.out.get_mut(row).int(field, n),
            (FieldType::Float, Raw::Float(n)) if n.is_finite() => {
                self.out.get_mut(row).float(field, n);
            }
            (FieldType::Float, Raw::Int(n)) => self.out.get_mut(row).float(field, n as f64),
            (FieldType::Bool, Raw::Bool(b)) => self.out.get_mut(row).bool(field, b),
            (FieldType::Time, Raw::Text(text)) => {
                let at = self.context.time(text)?;
                self.out.get_mut(row).time(field, at);
            }
            _ if strict => return Err(wrong),
            (FieldType::Int, Raw::Text(text)) => {
                let n = text.parse().map_err(|_| wrong)?;
                self.out.get_mut(row).int(field, n);
            }
            (FieldType::Float, Raw::Text(text)) => {
                let n: f64 = text.parse().map_err(|_| wrong)?;
                if !n.is_finite() {
                    return Err(wrong);
                }
                self.out.get_mut(row).float(field, n);
            }
            (FieldType::Bool, Raw::Text(text)) => {
                let b = match text {
                    "true" | "1" | "on" | "yes" => true,
                    "false" | "0" | "off" | "no" => false,
                    _ => return Err(wrong),
                };
                self.out.get_mut(row).bool(field, b);
            }
            (FieldType::Bool, Raw::Int(n @ (0 | 1))) => {
                self.out.get_mut(row).bool(field, n == 1);
            }
            (FieldType::String, Raw::Int(_) | Raw::Float(_) | Raw::Bool(_)) => {
                let symbol = self.symbol_of(value)?;
                self.out.get_mut(row).text(field, symbol);
            }
            _ => return Err(wrong),
        }
        Ok(())
    }

    /// A scalar as a symbol: numbers and booleans as they are written.
    #[inline(always)]
    pub fn symbol_of(&mut self, value: Raw<'_>) -> Result<Symbol, RejectReason> {
        match value {
            Raw::Text(text) => self.intern(text),
            other => self.symbol_of_other(other),
        }
    }

    #[inline(never)]
    fn symbol_of_other(&mut self, value: Raw<'_>) -> Result<Symbol, RejectReason> {
        use std::fmt::Write as _;
        let mut text = std::mem::take(&mut self.context.text);
        text.clear();
        let written = match value {
            Raw::Missing | Raw::Text(_) => Ok(()),
            Raw::Int(n) => write!(text, "{n}"),
            Raw::Float(n) => write!(text, "{n}"),
            Raw::Bool(b) => write!(text, "{b}"),
            Raw::Compound => Err(std::fmt::Error),
        };
        let symbol = written.map_err(|_| RejectReason::WrongType).and_then(|()| self.intern(&text));
        self.context.text = text;
        symbol
    }

    /// Settles what the draft leaves open and completes the row: times, identity, site, device.
    #[inline(always)]
    pub fn finish(&mut self, row: usize, part: u16, draft: &Draft<'_>) -> Result<(), RejectReason> {
        let missing = RejectReason::MissingField;
        let kind = draft.kind.ok_or(missing)?;
        if draft.device == Symbol::NONE && !draft.control {
            return Err(missing);
        }
        let site = self.site(draft.site, draft.device, draft.control)?;
        let mut flags = self.flags(kind, draft.device, draft.control);
        if draft.occurred.is_none() && draft.id.is_none() {
            flags = flags.with(EventFlags::NO_IDENTITY);
        }
        let recorded = self.record.recorded;
        let occurred = draft.occurred.unwrap_or(recorded);
        let recorded =
            if self.reading.history { draft.recorded.unwrap_or(occurred) } else { recorded };
        let feed = if draft.feed == Symbol::NONE { self.reading.feed } else { draft.feed };
        let own = self.identity(feed, draft, occurred);
        let identity = own.unwrap_or_default();
        self.out.get_mut(row).header(&Header {
            occurred,
            recorded,
            identity,
            kind,
            flags,
            stream: self.record.stream,
            source: self.record.source,
            site,
            device: draft.device,
            position: self.record.position,
            part,
        });
        let identity = match own {
            Some(identity) => identity,
            None => {
                let identity = self.content_identity(feed, draft.device, self.out.get(row));
                self.out.get_mut(row).identity(identity);
                identity
            }
        };
        self.note_citation(feed, draft, identity);
        Ok(())
    }

    /// What is true of an event beside its content, but that it has no identity.
    #[inline(always)]
    pub fn flags(&self, kind: KindId, device: Symbol, control: bool) -> EventFlags {
        let (context, said) = (&self.context, self.record.flags);
        context.flags(context.flags_of_kind(kind), said, device, control, self.tables)
    }

    /// The site whose clock local times are of, of an event that says `site`.
    pub fn site_of_clock(&self, site: Symbol) -> Symbol {
        site.some().or_else(|| self.reading.site.some()).unwrap_or(self.context.only_site)
    }

    /// The site of an event that says `said`.
    #[inline(always)]
    pub fn site(
        &self,
        said: Symbol,
        device: Symbol,
        control: bool,
    ) -> Result<Symbol, RejectReason> {
        self.context.site(said, device, control, (self.reading, self.tables))
    }

    /// From the payload's own id, where it has one.
    #[inline(always)]
    fn identity(&self, feed: Symbol, draft: &Draft<'_>, occurred: EventTime) -> Option<Identity> {
        let text = |symbol| self.interner.text(symbol).as_bytes();
        let feed = draft.feed_text.unwrap_or_else(|| text(feed));
        let device = draft.device_text.unwrap_or_else(|| text(draft.device));
        let mut digits = [0_u8; 20];
        let id = match draft.id? {
            Id::Text(id) => id,
            Id::Symbol(id) => text(id),
            Id::Int(n) => decimal(n, &mut digits),
        };
        Some(Identity::new(feed, device, id, draft.id_with_time.then_some(occurred)))
    }

    /// A hash of the canonical event without its recorded time: texts, never interned ids.
    #[inline(never)]
    fn content_identity(&self, feed: Symbol, device: Symbol, event: EventRef<'_>) -> Identity {
        let interner = self.interner;
        let text = |symbol| interner.text(symbol).as_bytes();
        let vocabulary = &self.mappings.vocabulary;
        let mut digest = Digest::default()
            .part(text(feed))
            .part(text(device))
            .part(vocabulary.kind(event.kind()).name.as_bytes())
            .number(event.occurred().0 as u128)
            .number(interner.digest(event.site()));
        for (slot, field) in vocabulary.fields().iter().enumerate() {
            let Some(bits) = event.slot(event::FieldId(slot as u8)) else { continue };
            digest = digest.part(field.name.as_bytes()).number(match field.ty {
                FieldType::String => interner.digest(Symbol(bits as u32)),
                _ => u128::from(bits),
            });
        }
        Identity(digest.finish())
    }

    #[inline(always)]
    fn note_citation(&mut self, feed: Symbol, draft: &Draft<'_>, identity: Identity) {
        if self.context.cited.is_some() {
            self.cite(feed, draft, identity);
        }
    }

    #[inline(never)]
    fn cite(&mut self, feed: Symbol, draft: &Draft<'_>, identity: Identity) {
        let id = match draft.id {
            None => format!("{:032x}", identity.0),
            Some(Id::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            Some(Id::Symbol(symbol)) => self.interner.text(symbol).to_owned(),
            Some(Id::Int(n)) => n.to_string(),
        };
        self.context.cited.get_or_insert_default().push(Cited { feed, id });
    }
}

impl Context {
    /// What is true of every event of a kind.
    pub fn flags_of_kind(&self, kind: KindId) -> EventFlags {
        let is_life_safety = self.life_safety[kind.0 as usize];
        if is_life_safety { EventFlags::LIFE_SAFETY } else { EventFlags::default() }
    }

    /// What is true of an event, beside what is true of its kind.
    #[inline(always)]
    pub fn flags(
        &self,
        of_kind: EventFlags,
        said: RecordFlags,
        device: Symbol,
        control: bool,
        tables: &Tables,
    ) -> EventFlags {
        let mut flags = of_kind;
        if said.has(RecordFlags::RETAINED) {
            flags = flags.with(EventFlags::RETAINED);
        }
        if let Some((devices, _)) = self.devices
            && !control
            && !tables.has(devices, device)
        {
            flags = flags.with(EventFlags::UNKNOWN_DEVICE);
        }
        flags
    }

    /// Whether there is such a site.
    #[inline(always)]
    pub fn knows_site(&self, site: Symbol) -> bool {
        self.sites.is_empty() || self.sites.get(site.0 as usize).is_some_and(|known| *known)
    }

    /// See [`Station::site`].
    #[inline(never)]
    pub fn site(
        &self,
        said: Symbol,
        device: Symbol,
        control: bool,
        (reading, tables): (&Reading, &Tables),
    ) -> Result<Symbol, RejectReason> {
        let site = match said.some() {
            Some(site) => site,
            None => match self.site_unsaid(device, reading, tables) {
                Some(site) => site,
                None if control => return Ok(Symbol::NONE),
                None => return Err(RejectReason::MissingField),
            },
        };
        if self.knows_site(site) { Ok(site) } else { Err(RejectReason::UnknownSite) }
    }

    /// The site of an event that says none.
    #[inline(never)]
    fn site_unsaid(&self, device: Symbol, reading: &Reading, tables: &Tables) -> Option<Symbol> {
        let of_device = || {
            let (table, column) = self.devices?;
            match tables.cell(table, device, column?)? {
                event::model::Cell::String(site) => Some(*site),
                _ => None,
            }
        };
        of_device().or_else(|| reading.site.some()).or_else(|| self.only_site.some())
    }
}

/// The decimal digits of a number, without an allocation.
fn decimal(n: i64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    let mut left = n.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if n < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}
