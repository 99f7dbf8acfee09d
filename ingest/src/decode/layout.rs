//! Payloads whose values are all as long as those of one that came before: all else stands where it
//! stood, so it is compared sixteen bytes at a time, and what is wanted is taken from where it was.
//!
//! A layout is made of a payload that was scanned, and of its program. Its texts may be any text of
//! plain ASCII of the same length, its whole numbers any of as many digits; the texts that the plan
//! asks for, and all that is no text and no whole number, must be the same bytes. So what is taken
//! is what the scan would have found; whatever differs is left to it.
//!
//! Doors, badges and times are mostly as long as those before. Where they are not, so that
//! layouts are looked at in vain, they are left alone for a while.

use event::{RecordRef, Symbol, SymbolCache};

use super::program::Programs;
use super::scan::{FIRST, Places, Scanned, digits};
use super::sixteen::Sixteen;
use crate::limits::{
    LAYOUT_BYTES_MAX, LAYOUT_SETS, LAYOUT_VALUES_MAX, LAYOUTS_ALIKE_MAX, REGISTERS_MAX,
};

/// Registers whose values a program takes, by what it takes of them, and those of texts that say
/// which program it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub names: u64,
    pub ints: u64,
    /// No more than what the value looks like.
    pub plain: u64,
    pub asked: u64,
}

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

/// A text of at most fifteen bytes whose symbol is wanted.
#[derive(Clone, Copy, Debug)]
struct Name {
    /// Which bits of sixteen bytes are the text's.
    mask: [u64; 2],
    value: Value,
}

/// A value.
#[derive(Clone, Copy, Debug)]
struct Value {
    from: u32,
    len: u32,
    register: u8,
}

impl Value {
    const NONE: Self = Self { from: 0, len: 0, register: 0 };
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
struct Layout {
    /// The last of them ends with the payload.
    blocks: [Block; LAYOUT_BYTES_MAX / BLOCK],
    count: usize,
    names: Few<Name>,
    /// Longer texts whose symbols are wanted.
    long: Few<Value>,
    /// Numbers that are wanted.
    ints: Few<Value>,
    /// Those that need be numbers only.
    digits: Few<Value>,
    /// Values of which no more than the place is wanted.
    plain: Few<Value>,
    /// The place of its program.
    program: usize,
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
        Self { sets: Vec::new(), now: 0, worth: WORTH_MAX, rest: 0 }
    }

    /// The program of a payload whose layout is known, its values put in their places.
    #[inline(never)]
    pub fn find(
        &mut self,
        record: &RecordRef<'_>,
        symbols: &SymbolCache,
        places: &mut Places,
    ) -> Option<usize> {
        self.now += 1;
        if self.now < self.rest {
            return None;
        }
        let (len, bytes) = (record.payload.len(), Scanned::beyond(record)?);
        let set = self.sets.get_mut(len % LAYOUT_SETS)?;
        for at in 0..LAYOUTS_ALIKE_MAX {
            if set.lens[at] == len && set.layouts[at].fits(record.payload) {
                let layout = &mut set.layouts[at];
                layout.used = self.now;
                layout.fill(bytes, symbols, places)?;
                self.worth = (self.worth + FOUND).min(WORTH_MAX);
                return Some(layout.program);
            }
        }
        None
    }

    /// Learns of a payload that was scanned, and has a program, but no layout.
    #[inline(never)]
    pub fn learn(
        &mut self,
        payload: &[u8],
        scanned: &Scanned<'_>,
        programs: &Programs,
        program: usize,
    ) {
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
        let layout = &mut set.layouts[oldest];
        *layout = Layout { program, used: self.now, ..Layout::NONE };
        let made = layout.lay_out(payload, scanned, programs.wanted(program));
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
        names: Few::none(Name { mask: [0; 2], value: Value::NONE }),
        long: Few::none(Value::NONE),
        ints: Few::none(Value::NONE),
        digits: Few::none(Value::NONE),
        plain: Few::none(Value::NONE),
        program: 0,
        used: 0,
    };

    /// Whether a payload of the same length is laid out so.
    #[inline(always)]
    fn fits(&self, payload: &[u8]) -> bool {
        let Some([first @ .., last]) = self.blocks.get(..self.count) else { return false };
        let mut rest = payload;
        for block in first {
            let Some((bytes, after)) = rest.split_first_chunk() else { return false };
            if !block.is(bytes) {
                return false;
            }
            rest = after;
        }
        payload.last_chunk().is_some_and(|bytes| last.is(bytes))
    }

    /// Puts the values in their places; `None` where a number is none.
    #[inline(never)]
    fn fill(&self, bytes: &[u8], symbols: &SymbolCache, places: &mut Places) -> Option<()> {
        for Value { from, len, register } in self.digits.all() {
            let some = Sixteen::at(bytes, *from)?;
            let zero = some.words()[0] as u8 == b'0' && *len > 1;
            if (some.others() | 1 << 16).trailing_zeros() != *len || zero {
                return None;
            }
            places[*register as usize].put_int(0, *from, from + len);
        }
        for Value { from, len, register } in self.ints.all() {
            let some = Sixteen::at(bytes, *from)?;
            let zero = some.words()[0] as u8 == b'0' && *len > 1;
            let (count, value) = digits(some);
            if count != *len || zero {
                return None;
            }
            places[*register as usize].put_int(value, *from, from + len);
        }
        for Name { mask, value: Value { from, len, register } } in self.names.all() {
            let [low, high] = Sixteen::at(bytes, *from)?.words();
            let symbol = symbols.look_words([low & mask[0], high & mask[1]], *len);
            places[*register as usize].put_text(symbol, *from, from + len);
        }
        for Value { from, len, register } in self.plain.all() {
            places[*register as usize].put_text(Symbol::UNKNOWN, *from, from + len);
        }
        for Value { from, len, register } in self.long.all() {
            let to = from + len;
            let symbol = symbols.look(bytes.get(*from as usize..to as usize)?);
            places[*register as usize].put_text(symbol, *from, to);
        }
        Some(())
    }

    /// Becomes the layout of a payload, from none; `None` where there is none.
    fn lay_out(&mut self, payload: &[u8], scanned: &Scanned<'_>, wanted: Wanted) -> Option<()> {
        let value = |register: u8| {
            let place = scanned.at(register);
            Value { from: place.from(), len: place.len() as u32, register }
        };
        let each = |registers: u64| {
            (0..REGISTERS_MAX as u8).filter(move |at| registers >> at & 1 == 1).map(value)
        };
        let mut texts = [0; LAYOUT_BYTES_MAX];
        let mut ints = 0_u64;
        let mut plain = wanted.plain & !wanted.names & !wanted.ints;
        for (from, to, is_text) in values(payload) {
            let (from, len) = (from as u32, (to - from) as u32);
            if is_text {
                if !each(wanted.asked).any(|asked| asked.from == from) {
                    texts[from as usize..to].fill(0xFF);
                }
                continue;
            }
            texts[from as usize..to].fill(0xFF);
            match each(wanted.ints).find(|int| int.from == from) {
                Some(int) => {
                    ints |= 1 << int.register;
                    self.ints.push(int)?;
                }
                None => {
                    let register = each(wanted.plain).find(|plain| plain.from == from);
                    let register = register.map_or(REGISTERS_MAX as u8, |plain| plain.register);
                    plain &= !(1 << register);
                    self.digits.push(Value { from, len, register })?;
                }
            }
        }
        if ints != wanted.ints {
            return None;
        }
        for value in each(wanted.names) {
            if value.len < 16 {
                self.names.push(Name { mask: FIRST[value.len as usize & 15], value })?;
            } else {
                self.long.push(value)?;
            }
        }
        for value in each(plain) {
            self.plain.push(value)?;
        }
        self.count = payload.len().div_ceil(BLOCK);
        for (at, block) in self.blocks.iter_mut().take(self.count).enumerate() {
            let from = (BLOCK * at).min(payload.len().checked_sub(BLOCK)?);
            for half in 0..2 {
                let from = from + 16 * half;
                let [same, texts] = [payload, &texts].map(|all| all[from..].first_chunk().copied());
                block.same[half] = Sixteen::of(same?).flipped();
                block.texts[half] = Sixteen::of(texts?);
            }
        }
        Some(())
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
