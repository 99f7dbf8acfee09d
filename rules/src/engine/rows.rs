//! Cells of one key side by side: a row for each text that is a key, with a seat for the cell of each fact
//! and rule that keeps state by that field.
//!
//! Most facts and rules are kept by one text of the event: its door, zone or credential. One look-up finds
//! the row, the row says of each of them where its cell is, or that there is none.

use event::prefetch::{fetch, prefetch};
use event::{FieldId, Symbol};

use super::index::Index;
use super::pages::NIL;
use super::prepared::By;
use super::state::Owner;

/// Seats of a row at most: with its text, a row is a line of memory then.
const SEATS_MAX: u32 = 15;

/// Fields by which there are rows; whoever is kept by another is looked up alone.
pub const TABLES: usize = 8;

/// Words of a row's text and seats that are allocated together.
const CHUNK: usize = 1 << 14;

/// In the place of a row's text: nobody's. No symbol is as large.
const FREE: u32 = u32::MAX;

/// Where an owner's cells stand: in which table, and where in its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The table; [`Seat::NONE`] has one that is none.
    pub table: u8,
    /// The place in a row.
    pub place: u8,
}

impl Seat {
    /// Of an owner that has none.
    pub const NONE: Self = Self { table: u8::MAX, place: 0 };
}

/// Who has a seat.
#[derive(Debug, Default)]
pub struct Seats {
    of: Vec<Seat>,
    /// Each table's field, and how many seats its rows have.
    tables: Vec<(FieldId, u32)>,
}

impl Seats {
    /// Seats for owners that are kept by these, as long as there are any: the first come first.
    pub fn new(owners: impl Iterator<Item = (Owner, By)>) -> Self {
        let mut seats = Self::default();
        for (owner, by) in owners {
            if let By::Text(field) = by {
                seats.give(owner, field);
            }
        }
        seats
    }

    fn give(&mut self, owner: Owner, field: FieldId) {
        if self.of(owner) != Seat::NONE {
            return;
        }
        let known = self.tables.iter().position(|(of, _)| *of == field);
        let table = match known {
            Some(table) => table,
            None if self.tables.len() == TABLES => return,
            None => {
                self.tables.push((field, 0));
                self.tables.len() - 1
            }
        };
        let (_, many) = &mut self.tables[table];
        if *many < SEATS_MAX {
            let place = *many as u8;
            *many += 1;
            let owner = owner.0 as usize;
            self.of.resize(self.of.len().max(owner + 1), Seat::NONE);
            self.of[owner] = Seat { table: table as u8, place };
        }
    }

    /// An owner's.
    #[inline(always)]
    pub fn of(&self, Owner(owner): Owner) -> Seat {
        self.of.get(owner as usize).copied().unwrap_or(Seat::NONE)
    }

    /// The tables, without a row.
    pub fn tables(&self) -> Vec<Table> {
        self.tables.iter().map(|(_, seats)| Table::new(*seats)).collect()
    }
}

/// The rows of a field's texts.
#[derive(Debug)]
pub struct Table {
    index: Index,
    /// Rows, one after the other: text and seats. Free ones are a list by their first seat.
    chunks: Vec<Box<[u32]>>,
    /// The words of a row are two to the power of this.
    width: u32,
    seats: u32,
    free: u32,
    rows: u32,
}

/// What the index keeps of a text: another number for each.
#[inline(always)]
const fn tag_of(Symbol(text): Symbol) -> u32 {
    text.wrapping_mul(0x9e37_79b1)
}

impl Table {
    fn new(seats: u32) -> Self {
        let width = (seats + 1).next_power_of_two().trailing_zeros();
        Self { index: Index::default(), chunks: Vec::new(), width, seats, free: NIL, rows: 0 }
    }

    #[inline(always)]
    fn word(&self, row: u32) -> (usize, usize) {
        let word = (row as usize) << self.width;
        (word / CHUNK, word % CHUNK)
    }

    /// The row of a text.
    #[inline(always)]
    pub fn find(&self, text: Symbol) -> Option<u32> {
        match self.index.first_of(tag_of(text)) {
            Ok(row) => Some(row),
            Err(true) => None,
            Err(false) => self.index.find(tag_of(text), |_| true),
        }
    }

    /// The cell that has a seat in a row, where the row is that of a text.
    #[inline(always)]
    pub fn cell(&self, row: u32, place: u8, text: Symbol) -> Option<u32> {
        let (chunk, at) = self.word(row);
        let words = self.chunks.get(chunk)?.get(at..=at + usize::from(place) + 1)?;
        (words[0] == text.0).then(|| words[usize::from(place) + 1])
    }

    /// Lets a cell of a text have a seat.
    pub fn enter(&mut self, text: Symbol, place: u8, cell: u32) {
        let row = match self.find(text) {
            Some(row) => row,
            None => self.add(text),
        };
        *self.seat(row, place) = cell;
    }

    #[inline]
    fn seat(&mut self, row: u32, place: u8) -> &mut u32 {
        let (chunk, at) = self.word(row);
        &mut self.chunks[chunk][at + 1 + usize::from(place)]
    }

    /// Takes a seat from the cell of a text. A row without any cell goes.
    pub fn leave(&mut self, text: Symbol, place: u8) {
        let Some(row) = self.find(text) else { unreachable!("a cell that goes has a seat") };
        *self.seat(row, place) = NIL;
        let (chunk, at) = self.word(row);
        let words = &mut self.chunks[chunk][at..=at + self.seats as usize];
        if words[1..].iter().all(|cell| *cell == NIL) {
            (words[0], words[1]) = (FREE, self.free);
            self.free = row;
            self.index.remove(tag_of(text), row);
        }
    }

    fn add(&mut self, text: Symbol) -> u32 {
        let row = match self.free {
            NIL => {
                self.rows += 1;
                self.rows - 1
            }
            free => free,
        };
        let (chunk, at) = self.word(row);
        if chunk == self.chunks.len() {
            self.chunks.push(vec![NIL; CHUNK].into_boxed_slice());
        }
        let words = &mut self.chunks[chunk][at..=at + self.seats as usize];
        if row == self.free {
            self.free = words[1];
        }
        words.fill(NIL);
        words[0] = text.0;
        self.index.insert(tag_of(text), row);
        row
    }

    /// Time goes by.
    #[inline]
    pub fn go_on(&mut self) {
        self.index.go_on();
    }

    /// Bytes of the rows and their index.
    pub fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<u32>() + self.index.bytes()
    }

    /// Asks for where the index begins to look for a text.
    #[inline(always)]
    pub fn expect(&self, text: Symbol) {
        fetch(self.index.first(tag_of(text)));
    }

    /// The row of a text, where it is seen at once, and asks for it.
    #[inline(always)]
    pub fn likely(&self, text: Symbol) -> u32 {
        let row = self.index.glance().likely(tag_of(text));
        let (chunk, at) = self.word(row);
        if let Some(chunk) = self.chunks.get(chunk) {
            prefetch(chunk, at);
        }
        row
    }

    /// What stands in a seat of a row that there may be.
    #[inline(always)]
    pub fn peek(&self, row: u32, place: u8) -> u32 {
        let (chunk, at) = self.word(row);
        let word = at + 1 + usize::from(place);
        self.chunks.get(chunk).and_then(|chunk| chunk.get(word)).copied().unwrap_or(NIL)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_key_has_its_own_cells_whatever_came_and_went() {
        let owners = (0..3).map(|owner| (Owner(owner), By::Text(FieldId(7))));
        let seats = Seats::new(owners.chain([(Owner(9), By::Parts)]));
        assert_eq!(seats.of(Owner(2)), Seat { table: 0, place: 2 });
        assert_eq!([seats.of(Owner(9)), seats.of(Owner(4))], [Seat::NONE; 2]);
        let mut tables = seats.tables();
        let [table] = tables.as_mut_slice() else { panic!("one field, one table") };
        let (mut map, mut random) = (BTreeMap::new(), 1_u32);
        for cell in 0..40_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let many = if cell < 20_000 { 0x1fff } else { 0xf };
            let (text, place) = (Symbol(1 + (random >> 8 & many)), (random >> 28) as u8 % 3);
            match map.remove(&(text, place)) {
                Some(known) => {
                    let row = table.find(text).expect("it has a cell");
                    assert_eq!(table.cell(row, place, text), Some(known));
                    assert_eq!(table.cell(row, place, Symbol(text.0 + 1)), None);
                    table.leave(text, place);
                }
                None => {
                    table.enter(text, place, cell);
                    map.insert((text, place), cell);
                }
            }
        }
        for text in (1..0x2002).map(Symbol) {
            let row = table.find(text);
            for place in 0..3 {
                let cell = row.and_then(|row| table.cell(row, place, text));
                assert_eq!(cell.unwrap_or(NIL), *map.get(&(text, place)).unwrap_or(&NIL));
            }
        }
        assert!(table.rows < 0x2002, "rows are used again: {}", table.rows);
    }

    #[test]
    fn who_comes_too_late_has_no_seat() {
        let of = |n: u32| (Owner(n), By::Text(FieldId((n / 20) as u16)));
        let seats = Seats::new((0..200).map(of));
        let has = |n: &u32| seats.of(Owner(*n)) != Seat::NONE;
        assert_eq!((0..20).filter(has).count(), SEATS_MAX as usize);
        assert_eq!((0..200).filter(has).count(), TABLES * SEATS_MAX as usize);
    }
}
