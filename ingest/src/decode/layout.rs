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

mod identified;
mod steady;

use event::identity::ShortParts;
use event::tables::Tables;
use event::{
    EventFlags, EventTime, FieldId, KindId, NewFields, NewRow, ROOM, RecordHead, RecordRef,
    SourceId, Symbol, SymbolCache,
};

use super::program::{From, Made, When, padded};
use super::scan::{FIRST, Scanned};
use super::sixteen::{Block, May, Sixteen};
use super::wide::{BLOCKS_MIN, Digits, FourKeys, FourNames, Spread, Vectors};
use super::{Context, Reading};
use crate::limits::{LAYOUT_BYTES_MAX, LAYOUT_VALUES_MAX};
use identified::Identified;
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
    digits: Digits,
    from: u32,
    /// The least of as many digits: what is less begins with a zero.
    least: u64,
    /// The field that it goes to, or none.
    field: FieldId,
}

impl Spot {
    const NONE: Self = Self { from: 0, len: 0 };
}

impl Int {
    const NONE: Self = Self { digits: Digits::of(1), from: 0, least: 0, field: NO_FIELD };

    fn of(Spot { from, len }: Spot, field: FieldId) -> Option<Self> {
        if len > 16 {
            return None;
        }
        let least = 10_u64.checked_pow(len.checked_sub(1)?)?;
        Some(Self { digits: Digits::of(len), from, least: if len > 1 { least } else { 0 }, field })
    }

    /// Its value; the layout says that all are digits.
    #[inline(always)]
    fn read<V: Vectors>(&self, vectors: V, bytes: &[u8; ROOM]) -> Option<u64> {
        let value = vectors.value(Sixteen::within(bytes, self.from), &self.digits);
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

/// The names of a payload, where they stand among the symbols, and which ones they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought {
    /// None, and those of all names.
    symbols: [u32; 1 + LAYOUT_VALUES_MAX],
    fours: [FourKeys; FOURS_MAX],
}

impl Sought {
    pub const NOTHING: Self =
        Self { symbols: [0; 1 + LAYOUT_VALUES_MAX], fours: [FourKeys::NONE; FOURS_MAX] };

    /// Finds the symbols of so many fours; whether all have one.
    #[inline(always)]
    pub fn find<V: Vectors>(&mut self, vectors: V, fours: usize, symbols: &SymbolCache) -> bool {
        let mut known = self.find_four(vectors, 0, symbols);
        for four in 1..fours.min(FOURS_MAX) {
            known &= self.find_four(vectors, four, symbols);
        }
        known
    }

    #[inline(always)]
    fn find_four<V: Vectors>(&mut self, vectors: V, four: usize, symbols: &SymbolCache) -> bool {
        let FourKeys { keys, homes } = &self.fours[four];
        let mut found = [0; 4];
        for at in 0..4 {
            let Some(line) = symbols.line(homes[at] as u32) else { return false };
            let same = vectors.same_keys(line.words(), keys[at]);
            if same == 0 {
                return self.find_elsewhere(four, symbols);
            }
            found[at] = line.symbol(same.trailing_zeros()).0;
        }
        if let Some(room) = self.symbols[1 + 4 * four..].first_chunk_mut() {
            *room = found;
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn find_elsewhere(&mut self, four: usize, symbols: &SymbolCache) -> bool {
        let FourKeys { keys, homes } = &self.fours[four];
        let mut known = true;
        for at in 0..4 {
            let there = symbols.line(homes[at] as u32).and_then(|line| line.find(keys[at]).known());
            let symbol = there.unwrap_or_else(|| symbols.look_for(keys[at]));
            self.symbols[1 + 4 * four + at] = symbol.0;
            known &= symbol != Symbol::UNKNOWN;
        }
        known
    }

    /// The key of a name.
    fn key(&self, at: usize) -> [u64; 2] {
        self.fours[at / 4].keys[at % 4]
    }
}

/// Names are looked up by fours.
const FOURS_MAX: usize = LAYOUT_VALUES_MAX / 4;
/// All names are among them.
const _: () = assert!(FOURS_MAX * 4 == LAYOUT_VALUES_MAX);
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
    /// Whether there are fields that are the same for all and none of the first ones.
    pub constants: bool,
    /// Whether there is more than [`Spread`] says: these, others or numbers.
    pub has_more: bool,
    kind: KindId,
    flags: EventFlags,
    /// When it was last of use, in payloads.
    pub used: u64,
    /// What the payload's bytes may be, so many blocks, and where each begins.
    compared: usize,
    blocks: [Block; BLOCKS_MAX],
    places: [u16; BLOCKS_MAX],
    /// First digits of several that nobody reads: none may be a zero. The first byte of all is none.
    leading: Few<u32>,
    /// The device, then the site, where the payload says it, then the other names of fields.
    names: Few<Name>,
    /// How many fours are looked up, and of which names: the last one again where there are fewer.
    fours: usize,
    sought: [FourNames; FOURS_MAX],
    site_always: Symbol,
    ints: Few<Int>,
    /// The row's fields, as bits.
    present: u64,
    /// The first ones, of names and of what is the same for all.
    spread: Spread,
    /// Other names that fields have: the place behind that of each.
    others: Few<(usize, FieldId)>,
    occurred: Clock,
    /// `None` where it is the occurred time.
    recorded: Option<Clock>,
    /// The payload's own id.
    id: Spot,
    identified: Identified,
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
        constants: false,
        has_more: false,
        kind: KindId(0),
        flags: EventFlags(0),
        used: 0,
        compared: 0,
        blocks: [Block::NONE; BLOCKS_MAX],
        places: [0; BLOCKS_MAX],
        leading: Few::none(0),
        names: Few::none(Name::NONE),
        fours: 0,
        sought: [FourNames::NONE; FOURS_MAX],
        site_always: Symbol::NONE,
        ints: Few::none(Int::NONE),
        present: 0,
        spread: Spread::NONE,
        others: Few::none((0, NO_FIELD)),
        occurred: Clock::Recorded,
        recorded: None,
        id: Spot::NONE,
        identified: Identified::NONE,
        program: 0,
        mark: 0,
        trial: Trial::NONE,
    };

    /// Whether a payload is laid out so.
    #[inline(always)]
    pub fn fits<V: Vectors>(
        &self,
        vectors: V,
        len: usize,
        bytes: &[u8; ROOM],
        source: SourceId,
    ) -> bool {
        if len != self.len as usize || source != self.source {
            return false;
        }
        vectors.fits(bytes, &self.blocks, &self.places, self.compared)
            && !self.begins_with_zero(bytes)
    }

    /// Whether one of the numbers that nobody reads does. Most payloads have one of these.
    #[inline(always)]
    fn begins_with_zero(&self, bytes: &[u8; ROOM]) -> bool {
        let is_zero = |at: u32| bytes[at as usize % WITHIN] == b'0';
        is_zero(self.leading.list[0])
            || self.leading.len > 1 && self.leading.all().iter().any(|at| is_zero(*at))
    }

    /// Asks for the memory of the names that a payload laid out so has; how many fours these are.
    #[inline(always)]
    pub fn expect<V: Vectors>(
        &self,
        vectors: V,
        bytes: &[u8; ROOM],
        symbols: &SymbolCache,
        names: &mut Sought,
    ) -> usize {
        let places = symbols.places();
        vectors.four_keys(bytes, &self.sought[0], places, &mut names.fours[0]);
        names.fours[0].homes.iter().for_each(|home| symbols.expect(*home as u32));
        for four in 1..self.fours.min(FOURS_MAX) {
            vectors.four_keys(bytes, &self.sought[four], places, &mut names.fours[four]);
            names.fours[four].homes.iter().for_each(|home| symbols.expect(*home as u32));
        }
        self.fours
    }

    /// Makes the event of a payload that is laid out so; `None` where the scan must see to it, and
    /// no row is to be kept.
    #[inline(always)]
    pub fn run<'r, V: Vectors>(
        &self,
        vectors: V,
        (record, bytes): (&RecordHead, &[u8; ROOM]),
        names: &Sought,
        (reading, tables): (&Reading, &Tables),
        context: &mut Context,
        row: NewRow<'r>,
    ) -> Option<NewFields<'r>> {
        // What is known is written at once: all of it together has no room in the registers.
        let (mut head, mut fields) = row.split()?;
        let occurred = self.occurred.read(vectors, bytes, record, context)?;
        let recorded = match self.recorded {
            _ if !reading.history => record.recorded,
            None => occurred,
            Some(clock) => clock.read(vectors, bytes, record, context)?,
        };
        head.times(occurred, recorded);
        head.identity(self.identified.read(vectors, bytes, occurred, &context.parts));
        let device = Symbol(names.symbols[1]);
        let said = if self.site_said { Symbol(names.symbols[2]) } else { self.site_always };
        let site = if said != Symbol::NONE && context.knows_site(said) {
            said
        } else {
            context.site(said, device, self.control, (reading, tables)).ok()?
        };
        head.place(site, device);
        let flags = context.flags(self.flags, record.flags, device, self.control, tables);
        head.class(self.kind, flags, record.stream, record.source);
        head.position(record.position, 0);
        let first = vectors.spread(names.symbols.first_chunk()?, &self.spread);
        fields.set(&mut head, self.present, first);
        if self.has_more {
            for (at, field) in self.others.all() {
                fields.put(*field, names.symbols.get(*at).map_or(0, |symbol| u64::from(*symbol)));
            }
            for int in self.ints.all() {
                fields.put(int.field, int.read(vectors, bytes)?);
            }
        }
        Some(fields)
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
            kind: made.kind,
            flags,
            program,
            mark,
            ..Self::NONE
        };
        for (field, symbol) in &made.constants {
            match layout.spread.always.get_mut(field.0 as usize) {
                Some(slot) => *slot = symbol.0.into(),
                None => layout.constants = true,
            }
        }
        layout.lay_out(record.payload, scanned, made, asked)?;
        let feed = match &made.feed {
            Some(feed) => feed.text(scanned)?,
            None => padded(feed)?,
        };
        let Name { from, tail, .. } = layout.names.list[0];
        let device = Spot { from, len: (tail >> 56) as u32 };
        layout.identified = Identified::of(feed, device, layout.id, made.id_with_time);
        layout.arrange();
        Some(layout)
    }

    /// Says which names go to which fields, and which are looked up together.
    fn arrange(&mut self) {
        (self.spread.names, self.others) = (Spread::NONE.names, Few::none((0, NO_FIELD)));
        for (at, name) in (1..).zip(self.names.all()) {
            match self.spread.names.get_mut(usize::from(name.field.0)) {
                Some(place) if at < Spread::NAMES => place[0] = at as u32,
                _ if name.field == NO_FIELD => {}
                _ => self.others.push((at, name.field)).unwrap_or_default(),
            }
        }
        self.has_more = self.constants || self.others.len > 0 || self.ints.len > 0;
        let Some(last) = self.names.all().last().copied() else { return };
        self.fours = self.names.len.div_ceil(4);
        for at in 0..4 * self.fours {
            let name = self.names.all().get(at).unwrap_or(&last);
            let four = &mut self.sought[at / 4];
            four.masks[at % 4] = name.mask;
            four.lengths[at % 4] = [0, name.tail];
            four.from[at % 4] = name.from as u16;
        }
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
        let is_read = |from: usize| read().any(|int| int.from == from as u32);
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
            || !read().all(|int| numbers.all().contains(&int.from))
        {
            return None;
        }
        let may = may.get(..payload.len())?;
        let last = may.len().checked_sub(Block::BYTES)?;
        self.compared = may.len().div_ceil(Block::BYTES).max(BLOCKS_MIN);
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
}

impl Spot {
    /// Where the value of a register stands.
    fn of(register: u8, scanned: &Scanned<'_>) -> Self {
        let place = scanned.at(register);
        Self { from: place.from(), len: place.len() as u32 }
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
    fn read<V: Vectors>(
        self,
        vectors: V,
        bytes: &[u8; ROOM],
        record: &RecordHead,
        context: &mut Context,
    ) -> Option<EventTime> {
        match self {
            Self::Epoch(int, unit) => {
                let value = int.read(vectors, bytes)? as i64;
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
