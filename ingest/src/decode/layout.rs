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

use event::identity::ShortParts;
use event::{EventMut, EventTime, FieldId, Header, RecordRef, SourceId, Symbol, SymbolCache};

use super::draft::Station;
use super::program::{From, Made, Programs, When, padded};
use super::scan::{FIRST, Scanned, digits};
use super::sixteen::Sixteen;
use crate::limits::{LAYOUT_BYTES_MAX, LAYOUT_SETS, LAYOUT_VALUES_MAX, LAYOUTS_ALIKE_MAX};

/// Bytes that are compared at once.
const BLOCK: usize = 32;

/// A part of a layout.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// What must be the same.
    same: [Sixteen; 2],
    /// All bits of the bytes that may be any text's. Digits are among them, and are looked at as they are read.
    texts: [Sixteen; 2],
}

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
    spot: Spot,
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
    Epoch(Spot, i64),
    /// When it was recorded.
    Recorded,
}

impl Spot {
    const NONE: Self = Self { from: 0, len: 0 };
}

impl Name {
    const NONE: Self = Self { mask: [0; 2], spot: Spot::NONE, field: NO_FIELD };
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

#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The last of them ends with the payload.
    blocks: [Block; LAYOUT_BYTES_MAX / BLOCK],
    count: usize,
    /// Whole numbers that nobody wants.
    digits: Few<Spot>,
    device: Name,
    /// `None` where it is `site_always`.
    site: Option<Name>,
    site_always: Symbol,
    /// The other names that fields are made of.
    names: Few<Name>,
    ints: Few<(Spot, FieldId)>,
    /// The row's fields, as bits.
    present: u64,
    occurred: Clock,
    /// `None` where it is the occurred time.
    recorded: Option<Clock>,
    /// What the feed is called, and how long that is.
    feed: ([u8; ShortParts::PART_MAX], usize),
    /// The payload's own id.
    id: Spot,
    /// The place of its program.
    program: usize,
    /// The source may say feed and site.
    source: SourceId,
    /// When it was last of use, in payloads.
    used: u64,
}

/// Layouts of payloads of some lengths.
#[derive(Clone, Debug)]
struct Set {
    /// Bytes of the payload of each; none where there is no layout.
    lens: [usize; LAYOUTS_ALIKE_MAX],
    layouts: [Layout; LAYOUTS_ALIKE_MAX],
    /// Where the values of the payload stood that last had no layout: what comes twice in a row is
    /// worth one.
    mark: u64,
}

/// The layouts of one mapping's payloads.
pub(super) struct Layouts {
    /// By the payload's length; nothing before the first is made.
    sets: Vec<Set>,
    /// Payloads that came.
    now: u64,
    /// Whether it is worth it: more for each that was found, less for each that was not.
    worth: i32,
    /// Nothing is looked at before this one.
    rest: u64,
    /// Layouts made so far: what was found before another one was made may be that one now.
    made: u32,
}

/// The layout that a payload was found to have, or that it has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Layouts made before.
    made: u32,
    /// Its set, and its place there; past all sets where it has none.
    at: (u32, u32),
}

impl Expected {
    /// Of a payload that nobody has looked at.
    pub const NOTHING: Self = Self { made: u32::MAX, at: (u32::MAX, 0) };
}

/// What a payload that is found is worth, in those that are not.
const FOUND: i32 = 4;
const WORTH_MAX: i32 = 4_096;
/// What a layout costs that could not be made.
const FAILED: i32 = 64;
/// Payloads that are not looked at where it is not worth it.
const REST: u64 = 20_000;

impl Layouts {
    pub fn none() -> Self {
        Self { sets: Vec::new(), now: 0, worth: WORTH_MAX, rest: 0, made: 0 }
    }

    /// Looks for the layout of a payload, and asks for the memory of the names that it has.
    #[inline(never)]
    pub fn expect(&mut self, record: &RecordRef<'_>, symbols: &SymbolCache) -> Expected {
        self.now += 1;
        let none = Expected { made: self.made, ..Expected::NOTHING };
        if self.now < self.rest {
            return none;
        }
        let len = record.payload.len();
        let number = len % LAYOUT_SETS;
        let Some(set) = self.sets.get_mut(number) else { return none };
        for at in 0..LAYOUTS_ALIKE_MAX {
            if set.lens[at] == len && set.layouts[at].fits(record) {
                self.worth = (self.worth + FOUND).min(WORTH_MAX);
                let layout = &mut set.layouts[at];
                layout.used = self.now;
                layout.expect(record, symbols);
                return Expected { at: (number as u32, at as u32), ..none };
            }
        }
        none
    }

    /// The layout of a payload that was looked for: anew, where others were made since.
    #[inline(always)]
    pub fn expected(
        &mut self,
        record: &RecordRef<'_>,
        expected: Expected,
        symbols: &SymbolCache,
    ) -> Option<&Layout> {
        let stale = expected.made != self.made;
        let Expected { at: (set, at), .. } =
            if stale { self.expect(record, symbols) } else { expected };
        self.sets.get(set as usize)?.layouts.get(at as usize)
    }

    /// Learns of a payload that was scanned, and has a program, but no layout.
    #[inline(never)]
    pub fn learn(
        &mut self,
        record: &RecordRef<'_>,
        scanned: &Scanned<'_>,
        (program, programs): (usize, &Programs),
        feed: &str,
    ) {
        let payload = record.payload;
        if self.now < self.rest || payload.len() > LAYOUT_BYTES_MAX {
            return;
        }
        self.worth -= 1;
        if self.worth < 0 {
            (self.worth, self.rest) = (WORTH_MAX / 4, self.now + REST);
        }
        let mark = scanned.each(u64::MAX).fold(1, |mark: u64, (_, place)| {
            (mark ^ u64::from(place.from())).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        if self.sets.is_empty() {
            let (lens, layouts) = ([0; LAYOUTS_ALIKE_MAX], [Layout::NONE; LAYOUTS_ALIKE_MAX]);
            self.sets = vec![Set { lens, layouts, mark: 0 }; LAYOUT_SETS];
        }
        let set = &mut self.sets[payload.len() % LAYOUT_SETS];
        if std::mem::replace(&mut set.mark, mark) != mark {
            return;
        }
        let oldest = (0..LAYOUTS_ALIKE_MAX).min_by_key(|at| set.layouts[*at].used).unwrap_or(0);
        self.made = self.made.wrapping_add(1) % u32::MAX;
        let layout = &mut set.layouts[oldest];
        *layout = Layout { program, source: record.source, used: self.now, ..Layout::NONE };
        let made = programs.made(program).and_then(|made| {
            layout.lay_out(payload, scanned, made, programs.asked())?;
            layout.feed = match &made.feed {
                Some(feed) => feed.text(scanned)?,
                None => padded(feed)?,
            };
            Some(())
        });
        set.lens[oldest] = if made.is_some() { payload.len() } else { 0 };
        if made.is_none() {
            self.worth -= FAILED;
        }
    }
}

impl Block {
    #[inline(always)]
    fn is(&self, bytes: &[u8; BLOCK]) -> bool {
        let ([same, more], [texts, other]) = (self.same, self.texts);
        let (head, tail) = bytes.split_at(16);
        let of = |bytes: &[u8]| Sixteen::of(bytes.first_chunk().copied().unwrap_or_default());
        of(head).like(same, texts).and(of(tail).like(more, other))
    }
}

impl Layout {
    const NONE: Self = Self {
        blocks: [Block { same: [Sixteen::ZERO; 2], texts: [Sixteen::ZERO; 2] };
            LAYOUT_BYTES_MAX / BLOCK],
        count: 0,
        digits: Few::none(Spot::NONE),
        device: Name::NONE,
        site: None,
        site_always: Symbol::NONE,
        names: Few::none(Name::NONE),
        ints: Few::none((Spot::NONE, NO_FIELD)),
        present: 0,
        occurred: Clock::Recorded,
        recorded: None,
        feed: ([0; ShortParts::PART_MAX], 0),
        id: Spot::NONE,
        program: 0,
        source: SourceId(0),
        used: 0,
    };

    /// Whether a payload of the same length is laid out so.
    #[inline(always)]
    fn fits(&self, record: &RecordRef<'_>) -> bool {
        let payload = record.payload;
        let Some([first @ .., last]) = self.blocks.get(..self.count) else { return false };
        let mut rest = payload;
        for block in first {
            let Some((bytes, after)) = rest.split_first_chunk() else { return false };
            if !block.is(bytes) {
                return false;
            }
            rest = after;
        }
        payload.last_chunk().is_some_and(|bytes| last.is(bytes)) && self.source == record.source
    }

    /// Asks for the memory of the names that a payload laid out so has.
    #[inline(always)]
    fn expect(&self, record: &RecordRef<'_>, symbols: &SymbolCache) {
        let Some(bytes) = Scanned::beyond(record) else { return };
        self.device.expect(bytes, symbols);
        if let Some(site) = &self.site {
            site.expect(bytes, symbols);
        }
        for name in self.names.all() {
            name.expect(bytes, symbols);
        }
    }

    /// The place of the program.
    pub fn program(&self) -> usize {
        self.program
    }

    /// Makes the event of a payload that is laid out so; `None` where the scan must see to it, and
    /// nothing was done.
    #[inline(never)]
    pub fn run(&self, made: &Made, station: &mut Station<'_, '_>) -> Option<()> {
        let record = station.record;
        let bytes = Scanned::beyond(record)?;
        for spot in self.digits.all() {
            let some = Sixteen::at(bytes, spot.from)?;
            let count = (some.others() | 1 << 16).trailing_zeros();
            if count != spot.len || spot.leads(some) {
                return None;
            }
        }
        let occurred = self.occurred.read(bytes, station)?;
        let recorded = match self.recorded {
            None => occurred,
            Some(clock) => clock.read(bytes, station)?,
        };
        let recorded = if station.reading.history { recorded } else { record.recorded };
        let symbols = &station.context.symbols;
        let device = self.device.look(bytes, symbols)?;
        let site = match &self.site {
            None => self.site_always,
            Some(site) => site.look(bytes, symbols)?,
        };
        let site = station.site(site, device, made.control).ok()?;
        let parts = &mut station.context.parts;
        let end = parts.part(0, &self.feed.0, self.feed.1);
        let end = parts.part(end, self.device.spot.bytes(bytes)?, self.device.spot.len as usize);
        let mut end = parts.part(end, self.id.bytes(bytes)?, self.id.len as usize);
        if made.id_with_time {
            end = parts.time(end, occurred);
        }
        let header = Header {
            occurred,
            recorded,
            identity: parts.identity(end),
            kind: made.kind,
            flags: station.flags(made.kind, device, made.control),
            stream: record.stream,
            source: record.source,
            site,
            device,
            position: record.position,
            part: 0,
        };
        let row = station.out.len();
        let mut event = station.out.push_with(self.present);
        event.header(&header);
        event.put(self.device.field, device.0.into());
        let fields = self.fields(bytes, &station.context.symbols, &mut event);
        if fields.is_none() {
            station.out.truncate(row);
        } else if !made.constants.is_empty() {
            made.put_constants(&mut event);
        }
        fields
    }

    #[inline(always)]
    fn fields(&self, bytes: &[u8], symbols: &SymbolCache, event: &mut EventMut<'_>) -> Option<()> {
        for name in self.names.all() {
            event.put(name.field, name.look(bytes, symbols)?.0.into());
        }
        for (spot, field) in self.ints.all() {
            event.put(*field, spot.int(bytes)?);
        }
        Some(())
    }

    /// Becomes the layout of a payload, from none; `None` where there is none.
    fn lay_out(
        &mut self,
        payload: &[u8],
        scanned: &Scanned<'_>,
        made: &Made,
        asked: u64,
    ) -> Option<()> {
        let spot = |register: u8| Spot::of(register, scanned);
        self.occurred = Clock::of(made.occurred, scanned);
        self.recorded = made.recorded.map(|when| Clock::of(when, scanned));
        self.id = spot(made.id);
        let From::Register(device) = made.device else { return None };
        self.device = Name::of(spot(device))?;
        match made.site {
            Some(From::Register(at)) => self.site = Some(Name::of(spot(at))?),
            Some(From::Always(site, ..)) => self.site_always = site,
            None => {}
        }
        for (at, field) in &made.texts {
            self.present |= 1 << field.0;
            if *at == device && self.device.field == NO_FIELD {
                self.device.field = *field;
            } else {
                self.names.push(Name { field: *field, ..Name::of(spot(*at))? })?;
            }
        }
        for (at, field) in &made.ints {
            self.present |= 1 << field.0;
            self.ints.push((spot(*at), *field))?;
        }
        made.constants.iter().for_each(|(field, _)| self.present |= 1 << field.0);
        let fixed = match made.feed {
            Some(From::Register(at)) => asked | 1 << at,
            _ => asked,
        };
        let is_fixed = |from: u32| scanned.texts(fixed).any(|place| place.from() == from);
        // Numbers that are read, each of which must be one.
        let mut read = Few::none(u32::MAX);
        for (spot, _) in self.ints.all() {
            read.push(spot.from)?;
        }
        for clock in [Some(self.occurred), self.recorded].into_iter().flatten() {
            if let Clock::Epoch(spot, _) = clock {
                read.push(spot.from)?;
            }
        }
        let mut texts = [0; LAYOUT_BYTES_MAX];
        let mut numbers = Few::none(u32::MAX);
        for (from, to, is_text) in values(payload) {
            let spot = Spot { from: from as u32, len: (to - from) as u32 };
            if is_text && is_fixed(spot.from) {
                continue;
            }
            texts[from..to].fill(0xFF);
            if !is_text {
                numbers.push(spot.from)?;
                if !read.all().contains(&spot.from) {
                    self.digits.push(spot)?;
                }
            }
        }
        if self.id.len == 0
            || self.id.len as usize > ShortParts::PART_MAX
            || !read.all().iter().all(|from| numbers.all().contains(from))
        {
            return None;
        }
        self.compare(payload, &texts)
    }

    /// Lays down which bytes must be the same.
    fn compare(&mut self, payload: &[u8], texts: &[u8; LAYOUT_BYTES_MAX]) -> Option<()> {
        self.count = payload.len().div_ceil(BLOCK);
        for (at, block) in self.blocks.iter_mut().take(self.count).enumerate() {
            let from = (BLOCK * at).min(payload.len().checked_sub(BLOCK)?);
            for half in 0..2 {
                let from = from + 16 * half;
                block.same[half] = Sixteen::at(payload, from as u32)?.flipped();
                block.texts[half] = Sixteen::at(texts, from as u32)?;
            }
        }
        Some(())
    }
}

impl Name {
    fn of(spot: Spot) -> Option<Self> {
        let mask = FIRST.get(spot.len as usize).filter(|_| spot.len > 0)?;
        Some(Self { mask: *mask, spot, field: NO_FIELD })
    }

    /// Its sixteen bytes, zeros behind it.
    #[inline(always)]
    fn words(&self, bytes: &[u8]) -> Option<[u64; 2]> {
        let [low, high] = Sixteen::at(bytes, self.spot.from)?.words();
        Some([low & self.mask[0], high & self.mask[1]])
    }

    #[inline(always)]
    fn expect(&self, bytes: &[u8], symbols: &SymbolCache) {
        if let Some(words) = self.words(bytes) {
            symbols.expect_words(words, self.spot.len);
        }
    }

    /// Its symbol, where that is known.
    #[inline(always)]
    fn look(&self, bytes: &[u8], symbols: &SymbolCache) -> Option<Symbol> {
        let symbol = symbols.look_words(self.words(bytes)?, self.spot.len);
        (symbol != Symbol::UNKNOWN).then_some(symbol)
    }
}

impl Spot {
    /// Where the value of a register stands.
    fn of(register: u8, scanned: &Scanned<'_>) -> Self {
        let place = scanned.at(register);
        Self { from: place.from(), len: place.len() as u32 }
    }

    /// Whether more than one digit begins with a zero.
    #[inline(always)]
    fn leads(self, some: Sixteen) -> bool {
        some.words()[0] as u8 == b'0' && self.len > 1
    }

    /// A whole number of as many digits.
    #[inline(always)]
    fn int(self, bytes: &[u8]) -> Option<u64> {
        let some = Sixteen::at(bytes, self.from)?;
        let (count, value) = digits(some);
        (count == self.len && !self.leads(some)).then_some(value)
    }

    /// A part of an identity.
    #[inline(always)]
    fn bytes(self, bytes: &[u8]) -> Option<&[u8; ShortParts::PART_MAX]> {
        let from = self.from as usize;
        bytes.get(from..from + ShortParts::PART_MAX)?.first_chunk()
    }
}

impl Clock {
    fn of(when: When, scanned: &Scanned<'_>) -> Self {
        match when {
            When::Rfc3339(at) => Self::Rfc3339(Spot::of(at, scanned)),
            When::Epoch(at, unit) => Self::Epoch(Spot::of(at, scanned), unit),
            When::Recorded => Self::Recorded,
        }
    }

    #[inline(always)]
    fn read(self, bytes: &[u8], station: &mut Station<'_, '_>) -> Option<EventTime> {
        match self {
            Self::Epoch(spot, unit) => (spot.int(bytes)? as i64).checked_mul(unit).map(EventTime),
            Self::Rfc3339(Spot { from, len }) => {
                let text = bytes.get(from as usize..(from + len) as usize)?;
                station.context.times.parse_rfc3339(text)
            }
            Self::Recorded => Some(station.record.recorded),
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
