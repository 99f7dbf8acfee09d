//! Lines of memory, and rows of events as they stand in them.

use bytemuck::{Pod, Zeroable};

use crate::block::{
    EventMut, EventRef, HEADER_WORDS, LINE_WORDS, PRESENT, ROWS_AHEAD, SHORT_FIELDS, SHORT_WORDS,
    ask_for_row, clear,
};
use crate::prefetch::prefetch;
use crate::{FieldId, Symbol};

/// Lines in which most rows have all of their fields.
const SHORT_LINES: usize = SHORT_WORDS / LINE_WORDS;

/// What comes into the caches at once. Rows begin with one, so that a header is one line, and most rows are
/// two.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct MemoryLine(pub(crate) [u64; LINE_WORDS]);

/// A row as it stands in memory.
#[derive(Clone, Copy, Debug)]
pub struct RowLines<'a>(pub(crate) &'a [MemoryLine]);

impl EventRef<'_> {
    /// The row, where it has none but its first fields: it is of a fixed length then, and no field's place is
    /// compared with it.
    #[must_use]
    #[inline(always)]
    pub fn short(&self) -> Option<Self> {
        let row = self.0.first_chunk::<SHORT_WORDS>()?;
        (row[PRESENT] >> SHORT_FIELDS == 0).then_some(Self(row))
    }
}

impl<'a> RowLines<'a> {
    /// The row that stands in these lines. Panics where there is none.
    #[must_use]
    #[inline(always)]
    pub fn of(lines: &'a [MemoryLine]) -> Self {
        assert!(!lines.is_empty(), "a row begins with a line of memory");
        Self(lines)
    }

    /// The row, and what stands behind it in its last line.
    #[must_use]
    #[inline(always)]
    pub fn row(&self) -> EventRef<'a> {
        EventRef(bytemuck::cast_slice(self.0))
    }

    /// The text of a field that has one; of another, whatever stands there.
    #[must_use]
    #[inline(always)]
    pub fn likely_text(&self, field: FieldId) -> Symbol {
        let words: &[u64] = bytemuck::cast_slice(self.0);
        Symbol(words.get(HEADER_WORDS + usize::from(field.0)).map_or(0, |word| *word as u32))
    }

    /// The header alone, as [`EventRef::head`].
    #[must_use]
    #[inline(always)]
    pub fn head(&self) -> EventRef<'a> {
        EventRef(&self.0[0].0)
    }

    /// Asks for the row's memory, as far as most events have fields: it will be read soon.
    #[inline(always)]
    pub fn expect(&self) {
        prefetch(self.0, 0);
        prefetch(self.0, 1);
    }

    /// Asks for what stands behind the header: it will be read soon.
    #[inline(always)]
    pub fn expect_fields(&self) {
        prefetch(self.0, 1);
    }

    /// Asks for what stands behind the first fields, if there is anything: it will be read soon.
    #[inline(always)]
    pub fn expect_rest(&self) {
        let rest = self.head().0[PRESENT] >> SHORT_FIELDS != 0;
        prefetch(self.0, 1 + usize::from(rest));
    }

    /// Asks for the header of the row so many behind this one, if there is one.
    #[inline(always)]
    pub fn expect_behind(&self, rows: usize) {
        prefetch(self.0, self.0.len() * rows);
    }

    /// The lines in which there is anything.
    #[must_use]
    #[inline(always)]
    pub fn told(&self) -> &'a [MemoryLine] {
        let short = self.0.get(..SHORT_LINES);
        short.filter(|_| self.head().0[PRESENT] >> SHORT_FIELDS == 0).unwrap_or(self.0)
    }

    /// Copies the row, as far as there is anything in it, to as many other lines.
    #[inline(always)]
    pub fn copy_to(&self, to: &mut [MemoryLine]) {
        match (self.0.first_chunk::<SHORT_LINES>(), to.first_chunk_mut::<SHORT_LINES>()) {
            // Of a fixed length it is some moves in a row, and no call.
            (Some(from), Some(to)) if self.head().0[PRESENT] >> SHORT_FIELDS == 0 => *to = *from,
            _ => to.copy_from_slice(self.0),
        }
    }
}

/// Memory that a row may be made of: its header is written part by part, then its fields are said.
#[derive(Debug)]
pub struct NewRow<'a>(pub(crate) &'a mut [MemoryLine]);

/// The fields of a row that is being made.
#[derive(Debug)]
pub struct NewFields<'a>(&'a mut [MemoryLine]);

impl<'a> NewRow<'a> {
    /// Its header, and what stands behind it.
    #[must_use]
    #[inline(always)]
    pub fn split(self) -> Option<(EventMut<'a>, NewFields<'a>)> {
        ask_for_row(self.0, ROWS_AHEAD * self.0.len());
        let (head, fields) = self.0.split_first_mut()?;
        Some((EventMut(&mut head.0), NewFields(fields)))
    }
}

impl NewFields<'_> {
    /// Says in the header that the row has these fields, as bits. All of the first ones are said here, zero where there is
    /// none; each of the others is to be [`Self::put`].
    #[inline(always)]
    pub fn set(&mut self, head: &mut EventMut<'_>, fields: u64, first: [u64; SHORT_FIELDS]) {
        let mut stale = std::mem::replace(&mut head.0[PRESENT], fields) & !fields;
        // All of a line at once, and no loop over what the row before had.
        if let Some(line) = self.0.first_mut() {
            line.0 = first;
            stale &= !0 << SHORT_FIELDS;
        }
        clear(bytemuck::cast_slice_mut(self.0), stale);
    }

    /// Sets the raw slot of a field that is said to be there; nothing where a row has none such.
    #[inline(always)]
    pub fn put(&mut self, field: FieldId, bits: u64) {
        let slots: &mut [u64] = bytemuck::cast_slice_mut(self.0);
        if let Some(slot) = slots.get_mut(field.0 as usize) {
            *slot = bits;
        }
    }
}
