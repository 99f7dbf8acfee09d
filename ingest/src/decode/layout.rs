//! Payloads whose values are all as long as those of one that came before: all else stands where it
//! stood, so it is compared 32 bytes at a time, and what is wanted is taken from where it was.
//!
//! A layout is made of a payload that was scanned, and of its program. Its texts may be any text of
//! plain ASCII of the same length, its whole numbers any of as many digits; the texts that the plan
//! asks for, and all that is no text and no whole number, must be the same bytes. So what is taken
//! is what the scan would have found; whatever differs is left to it.
//!
//! Doors, badges and times are mostly as long as those before. Where they are not, so that
//! layouts are looked at in vain, they are left alone for a while.
//!
//! How many blocks, names or fields a payload has would be guessed wrong for every other one: few are made as
//! many as most have, and some are looked at twice.

mod steady;

use event::identity::{HashLength, ShortParts};
use event::tables::Tables;
use event::{
    EventBlock, EventFlags, EventTime, FieldId, Header, Identity, KindId, ROOM, RecordRef,
    SHORT_FIELDS, SourceId, Symbol, SymbolCache,
};

use super::program::{From, Made, When, padded};
use super::scan::{FIRST, Scanned, number, value_of};
use super::sixteen::{Block, May, Sixteen};
use super::{Context, Reading, wide};
use crate::limits::{LAYOUT_BYTES_MAX, LAYOUT_VALUES_MAX};
use steady::Trial;

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
struct Spot {
    from: u32,
    len: u32,
}

/// A text of 1 to 15 bytes whose symbol is wanted.
#[derive(Clone, Copy, Debug)]
struct Name {
    /// Which bits of sixteen bytes are the text's.
    mask: [u64; 2],
    /// Its length, where a key has that.
    tail: u64,
    from: u32,
    /// The field that it goes to; [`NO_FIELD`] where it goes to none.
    field: FieldId,
}

/// More than a row has.
const NO_FIELD: FieldId = FieldId(u8::MAX);

/// Eight digits, and their value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Digits {
    text: u64,
    value: u64,
}

impl Digits {
    /// The value of others, which are mostly the same.
    #[inline(always)]
    fn value(&mut self, text: u64) -> u64 {
        if self.text != text {
            *self = Self { text, value: value_of(text, 8) };
        }
        self.value
    }
}

/// Where a time comes from.
#[derive(Clone, Copy, Debug)]
enum Clock {
    Rfc3339(Spot),
    /// An integer in units of so many microseconds.
    Epoch(Int, i64),
    /// When it was recorded.
    Recorded,
}

/// A whole number that is read.
#[derive(Clone, Copy, Debug)]
struct Int {
    spot: Spot,
    /// The least of as many digits: what is less begins with a zero.
    least: u64,
    /// What the digits in front of the last are worth, so many that eight come first.
    power: u64,
    /// The field that it goes to, or none.
    field: FieldId,
}

impl Spot {
    const NONE: Self = Self { from: 0, len: 0 };
}

impl Int {
    const NONE: Self = Self { spot: Spot::NONE, least: 0, power: 1, field: NO_FIELD };

    fn of(spot: Spot, field: FieldId) -> Option<Self> {
        let least = 10_u64.checked_pow(spot.len.checked_sub(1)?)?;
        let power = 10_u64.pow(spot.len.saturating_sub(8));
        Some(Self { spot, least: if spot.len > 1 { least } else { 0 }, power, field })
    }

    /// Its value; the layout says that all are digits.
    #[inline(always)]
    fn read(&self, bytes: &[u8; ROOM]) -> Option<u64> {
        let value = number(Sixteen::within(bytes, self.spot.from), self.spot.len);
        (value >= self.least).then_some(value)
    }

    /// The same of one that mostly begins as the one before.
    #[inline(always)]
    fn read_after(&self, bytes: &[u8; ROOM], before: &mut Digits) -> Option<u64> {
        let count = self.spot.len.checked_sub(8).filter(|count| *count > 0);
        let Some(count) = count else { return self.read(bytes) };
        let [first, last] = Sixteen::within(bytes, self.spot.from).words();
        let value = before.value(first) * self.power + value_of(last, count);
        (value >= self.least).then_some(value)
    }
}

impl Name {
    const NONE: Self = Self { mask: [0; 2], tail: 0, from: 0, field: NO_FIELD };
}

/// So many of these.
#[derive(Clone, Copy, Debug)]
struct Few<T> {
    list: [T; LAYOUT_VALUES_MAX],
    len: usize,
}

impl<T: Copy> Few<T> {
    /// None yet; what is not there looks like this one.
    const fn none(like: T) -> Self {
        Self { list: [like; LAYOUT_VALUES_MAX], len: 0 }
    }

    fn push(&mut self, one: T) -> Option<()> {
        *self.list.get_mut(self.len)? = one;
        self.len += 1;
        Some(())
    }

    #[inline(always)]
    fn all(&self) -> &[T] {
        &self.list[..self.len.min(LAYOUT_VALUES_MAX)]
    }
}

/// A name of a payload, where it stands among the symbols, and which one it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought {
    key: [u64; 2],
    home: u32,
    symbol: Symbol,
}

impl Sought {
    pub const NOTHING: Self = Self { key: [0; 2], home: 0, symbol: Symbol::UNKNOWN };

    /// Finds its symbol; whether it has one.
    #[inline(always)]
    pub fn find(&mut self, symbols: &SymbolCache) -> bool {
        match symbols.look_at(self.home, self.key) {
            Some(symbol) => {
                self.symbol = symbol;
                true
            }
            None => self.find_elsewhere(symbols),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_elsewhere(&mut self, symbols: &SymbolCache) -> bool {
        self.symbol = symbols.look_for(self.key);
        self.symbol != Symbol::UNKNOWN
    }
}

/// The names of a payload.
pub(super) type AllSought = [Sought; LAYOUT_VALUES_MAX];

/// Names that are looked up at least.
pub(super) const NAMES_MIN: usize = 4;
const BLOCKS_MAX: usize = LAYOUT_BYTES_MAX / Block::BYTES;
/// All places of a layout are below: a power of two, which saves a check.
const WITHIN: usize = ROOM - 32;

#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Bytes of the payload; more than any has where it is no layout.
    len: u32,
    /// The source may say feed and site.
    source: SourceId,
    /// An event of no device.
    control: bool,
    site_said: bool,
    id_with_time: bool,
    /// Whether there are fields that are the same for all.
    pub constants: bool,
    kind: KindId,
    flags: EventFlags,
    /// When it was last of use, in payloads.
    pub used: u64,
    /// What the payload's bytes may be, so many blocks, and where each begins.
    compared: usize,
    blocks: [Block; BLOCKS_MAX],
    places: [u16; BLOCKS_MAX],
    /// First digits of several that nobody reads: none may be a zero.
    leading: Few<u32>,
    /// The device, then the site, where the payload says it, then the other names of fields.
    names: Few<Name>,
    /// How many are looked up: one of them again where there are fewer.
    sought: usize,
    site_always: Symbol,
    ints: Few<Int>,
    /// The row's fields, as bits.
    present: u64,
    /// Those of the first ones that are the same for all.
    slots: [u64; SHORT_FIELDS],
    occurred: Clock,
    /// `None` where it is the occurred time.
    recorded: Option<Clock>,
    /// Of the identity what is known beforehand, and where the device's name goes behind it.
    head: [u8; ShortParts::HEAD_MAX],
    device_at: usize,
    /// Where that ends.
    device_end: usize,
    /// The payload's own id.
    id: Spot,
    /// Bytes of the whole identity.
    identified: HashLength,
    /// The place of its program.
    pub program: usize,
    /// Where the values stand, as a hash.
    mark: u64,
    pub trial: Trial,
}

impl Layout {
    pub const NONE: Self = Self {
        len: u32::MAX,
        source: SourceId(0),
        control: false,
        site_said: false,
        id_with_time: false,
        constants: false,
        kind: KindId(0),
        flags: EventFlags(0),
        used: 0,
        compared: 0,
        blocks: [Block::NONE; BLOCKS_MAX],
        places: [0; BLOCKS_MAX],
        leading: Few::none(0),
        names: Few::none(Name::NONE),
        sought: 0,
        site_always: Symbol::NONE,
        ints: Few::none(Int::NONE),
        present: 0,
        slots: [0; SHORT_FIELDS],
        occurred: Clock::Recorded,
        recorded: None,
        head: [0; ShortParts::HEAD_MAX],
        device_at: 0,
        device_end: 0,
        id: Spot::NONE,
        identified: HashLength::of(0),
        program: 0,
        mark: 0,
        trial: Trial::NONE,
    };

    /// Whether a payload is laid out so.
    #[inline(always)]
    pub fn fits(&self, len: usize, bytes: &[u8; ROOM], source: SourceId) -> bool {
        if len != self.len as usize || source != self.source {
            return false;
        }
        wide::fits(bytes, &self.blocks, &self.places, self.compared)
            && !self.leading.all().iter().any(|at| bytes[*at as usize % WITHIN] == b'0')
    }

    /// Asks for the memory of the names that a payload laid out so has; how many these are.
    #[inline(always)]
    pub fn expect(
        &self,
        bytes: &[u8; ROOM],
        symbols: &SymbolCache,
        names: &mut AllSought,
    ) -> usize {
        let mut expect = |at: usize| {
            let key = self.names.list[at].key(bytes);
            (names[at].key, names[at].home) = (key, symbols.expect(key));
        };
        let sought = self.sought.min(LAYOUT_VALUES_MAX);
        for at in 0..NAMES_MIN {
            expect(at);
        }
        for at in NAMES_MIN..sought {
            expect(at);
        }
        sought
    }

    /// Makes the event of a payload that is laid out so; `None` where the scan must see to it, and
    /// nothing was done.
    #[inline(always)]
    pub fn run(
        &self,
        (record, bytes): (&RecordRef<'_>, &[u8; ROOM]),
        names: &AllSought,
        (reading, tables): (&Reading, &Tables),
        context: &mut Context,
        out: &mut EventBlock,
    ) -> Option<()> {
        let occurred = self.occurred.read(bytes, record, context)?;
        let recorded = match self.recorded {
            _ if !reading.history => record.recorded,
            None => occurred,
            Some(clock) => clock.read(bytes, record, context)?,
        };
        let device = names[0].symbol;
        let said = if self.site_said { names[1].symbol } else { self.site_always };
        let site = context.site(said, device, self.control, (reading, tables)).ok()?;
        let header = Header {
            occurred,
            recorded,
            identity: Identity::default(),
            kind: self.kind,
            flags: context.flags(self.flags, record.flags, device, self.control, tables),
            stream: record.stream,
            source: record.source,
            site,
            device,
            position: record.position,
            part: 0,
        };
        let row = out.len();
        let mut event = out.push_header(&header, self.present, &self.slots);
        let mut put = |at: usize| event.put(self.names.list[at].field, names[at].symbol.0.into());
        for at in 0..NAMES_MIN {
            put(at);
        }
        for at in NAMES_MIN..self.sought.min(LAYOUT_VALUES_MAX) {
            put(at);
        }
        let mut unknown = false;
        for int in self.ints.all() {
            match int.read(bytes) {
                Some(value) => event.put(int.field, value),
                None => unknown = true,
            }
        }
        if unknown {
            out.truncate(row);
            return None;
        }
        // The last of all: it takes all registers.
        event.identity(self.identity(bytes, occurred, &mut context.parts));
        Some(())
    }

    #[inline(always)]
    fn identity(&self, bytes: &[u8; ROOM], at: EventTime, parts: &mut ShortParts) -> Identity {
        parts.begin(&self.head);
        parts.short(self.device_at, Sixteen::within(bytes, self.names.list[0].from).bytes());
        let end = parts.part(self.device_end, self.id.part(bytes), self.id.len as usize);
        if self.id_with_time {
            parts.time(end, at);
        }
        parts.identity_of(&self.identified)
    }

    /// The layout of a payload that was scanned, and has a program, but no layout; `None` where it
    /// can have none.
    pub fn of(
        record: &RecordRef<'_>,
        scanned: &Scanned<'_>,
        (made, asked): (&Made, u64),
        (flags, feed): (EventFlags, &str),
        (program, mark): (usize, u64),
    ) -> Option<Self> {
        let mut layout = Self {
            len: record.payload.len() as u32,
            source: record.source,
            control: made.control,
            id_with_time: made.id_with_time,
            kind: made.kind,
            flags,
            program,
            mark,
            ..Self::NONE
        };
        for (field, symbol) in &made.constants {
            match layout.slots.get_mut(field.0 as usize) {
                Some(slot) => *slot = symbol.0.into(),
                None => layout.constants = true,
            }
        }
        layout.lay_out(record.payload, scanned, made, asked)?;
        let (feed, len) = match &made.feed {
            Some(feed) => feed.text(scanned)?,
            None => padded(feed)?,
        };
        let Name { tail, .. } = layout.names.list[0];
        let device = (tail >> 56) as u32;
        layout.device_at = 4 + len + 4;
        layout.device_end = layout.device_at + device as usize;
        layout.head[..4].copy_from_slice(&(len as u32).to_le_bytes());
        layout.head[4..4 + len].copy_from_slice(&feed[..len]);
        layout.head[4 + len..8 + len].copy_from_slice(&device.to_le_bytes());
        let time = if layout.id_with_time { 8 } else { 0 };
        layout.identified = HashLength::of(layout.device_end + 4 + layout.id.len as usize + time);
        layout.even();
        Some(layout)
    }

    /// Makes names as many as most payloads have, by one again that a field has: whether it has is guessed right.
    fn even(&mut self) {
        let Few { list, len } = &mut self.names;
        self.sought = NAMES_MIN.max(*len);
        let all = &list[..*len];
        let Some(last) = all.last() else { return };
        let again = *all.iter().rfind(|name| name.field != NO_FIELD).unwrap_or(last);
        list[*len..self.sought].fill(again);
    }

    fn lay_out(
        &mut self,
        payload: &[u8],
        scanned: &Scanned<'_>,
        made: &Made,
        asked: u64,
    ) -> Option<()> {
        let spot = |register: u8| Spot::of(register, scanned);
        self.occurred = Clock::of(made.occurred, scanned)?;
        self.recorded = match made.recorded {
            Some(when) => Some(Clock::of(when, scanned)?),
            None => None,
        };
        self.id = spot(made.id);
        let From::Register(device) = made.device else { return None };
        self.names.push(Name::of(spot(device))?)?;
        match made.site {
            Some(From::Register(at)) => {
                self.site_said = true;
                self.names.push(Name::of(spot(at))?)?;
            }
            Some(From::Always(site, ..)) => self.site_always = site,
            None => {}
        }
        for (at, field) in &made.texts {
            self.present |= 1 << field.0;
            if *at == device && self.names.list[0].field == NO_FIELD {
                self.names.list[0].field = *field;
            } else {
                self.names.push(Name { field: *field, ..Name::of(spot(*at))? })?;
            }
        }
        for (at, field) in &made.ints {
            self.present |= 1 << field.0;
            self.ints.push(Int::of(spot(*at), *field)?)?;
        }
        made.constants.iter().for_each(|(field, _)| self.present |= 1 << field.0);
        let fixed = match made.feed {
            Some(From::Register(at)) => asked | 1 << at,
            _ => asked,
        };
        let is_fixed = |from: u32| scanned.texts(fixed).any(|place| place.from() == from);
        let mut may = [May::be(0); LAYOUT_BYTES_MAX];
        may.iter_mut().zip(payload).for_each(|(may, byte)| *may = May::be(*byte));
        // Numbers that are read, each of which must be one.
        let clocks = [Some(self.occurred), self.recorded].into_iter().flatten();
        let clocks = clocks.filter_map(|clock| match clock {
            Clock::Epoch(int, _) => Some(int),
            _ => None,
        });
        let ints = self.ints;
        let read = || ints.all().iter().copied().chain(clocks.clone());
        let is_read = |from: usize| read().any(|int| int.spot.from == from as u32);
        let mut numbers = Few::none(u32::MAX);
        for (from, to, is_text) in values(payload) {
            if is_text && is_fixed(from as u32) {
                continue;
            }
            may[from..to].fill(if is_text { May::TEXT } else { May::DIGIT });
            if !is_text {
                numbers.push(from as u32)?;
                if to - from > 1 && !is_read(from) {
                    self.leading.push(from as u32)?;
                }
            }
        }
        if self.id.len == 0
            || self.id.len as usize > ShortParts::PART_MAX
            || !read().all(|int| numbers.all().contains(&int.spot.from))
        {
            return None;
        }
        let may = may.get(..payload.len())?;
        let last = may.len().checked_sub(Block::BYTES)?;
        self.compared = may.len().div_ceil(Block::BYTES).max(wide::BLOCKS_MIN);
        for at in 0..self.compared {
            let place = (at * Block::BYTES).min(last);
            self.blocks[at] = Block::of(may[place..].first_chunk()?);
            self.places[at] = place as u16;
        }
        Some(())
    }
}

impl Name {
    fn of(spot: Spot) -> Option<Self> {
        let mask = FIRST.get(spot.len as usize).filter(|_| spot.len > 0)?;
        let tail = u64::from(spot.len) << 56;
        Some(Self { mask: *mask, tail, from: spot.from, field: NO_FIELD })
    }

    /// Its sixteen bytes as a key.
    #[inline(always)]
    fn key(&self, bytes: &[u8; ROOM]) -> [u64; 2] {
        let [low, high] = Sixteen::within(bytes, self.from).words();
        [low & self.mask[0], high & self.mask[1] | self.tail]
    }
}

impl Spot {
    /// Where the value of a register stands.
    fn of(register: u8, scanned: &Scanned<'_>) -> Self {
        let place = scanned.at(register);
        Self { from: place.from(), len: place.len() as u32 }
    }

    /// A part of an identity.
    #[inline(always)]
    fn part(self, bytes: &[u8; ROOM]) -> &[u8; ShortParts::PART_MAX] {
        let from = self.from as usize % (ROOM - ShortParts::PART_MAX);
        bytes[from..].first_chunk().unwrap_or(&[0; ShortParts::PART_MAX])
    }
}

impl Clock {
    fn of(when: When, scanned: &Scanned<'_>) -> Option<Self> {
        Some(match when {
            When::Rfc3339(at) => Self::Rfc3339(Spot::of(at, scanned)),
            When::Epoch(at, unit) => Self::Epoch(Int::of(Spot::of(at, scanned), NO_FIELD)?, unit),
            When::Recorded => Self::Recorded,
        })
    }

    #[inline(always)]
    fn read(
        self,
        bytes: &[u8; ROOM],
        record: &RecordRef<'_>,
        context: &mut Context,
    ) -> Option<EventTime> {
        match self {
            Self::Epoch(int, unit) => {
                let value = int.read_after(bytes, &mut context.digits)? as i64;
                value.checked_mul(unit).map(EventTime)
            }
            Self::Rfc3339(Spot { from, len }) => {
                let text = bytes.get(from as usize..(from + len) as usize)?;
                context.times.parse_rfc3339(text)
            }
            Self::Recorded => Some(record.recorded),
        }
    }
}

/// The texts that are values, and the whole numbers of at most sixteen digits without a sign, of a
/// payload that was scanned: it is JSON without escapes.
fn values(payload: &[u8]) -> impl Iterator<Item = (usize, usize, bool)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = payload.get(at..)?;
            let from = at;
            match rest.first()? {
                b'"' => {
                    let len = rest[1..].iter().position(|byte| *byte == b'"')?;
                    at += len + 2;
                    let next = payload[at..].iter().find(|byte| !byte.is_ascii_whitespace());
                    if next != Some(&b':') {
                        return Some((from + 1, from + 1 + len, true));
                    }
                }
                // A number with all that belongs to it.
                b'-' | b'0'..=b'9' => {
                    let part =
                        |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                    let len = rest.iter().take_while(part).count();
                    at += len;
                    if len <= 16 && rest[..len].iter().all(u8::is_ascii_digit) {
                        return Some((from, at, false));
                    }
                }
                _ => at += 1,
            }
        }
    })
}
