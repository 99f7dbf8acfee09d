//! Cells of keys that are one text, where the text's own number says.
//!
//! Texts are numbered as they come. So the cells that a few facts and rules have for a door, zone or badge
//! stand side by side in a row of their own, and each of them has its seat there: nothing is hashed, nothing
//! compared, and nobody stands in another's way. Who has no seat, and keys of several parts, are found by the
//! [`super::index`].

use bytemuck::{Pod, Zeroable};
use event::Symbol;
use event::limits::SYMBOLS_MAX;
use event::prefetch::prefetch;

use super::pages::NIL;

/// Seats of a row at most: a line of memory.
pub const SEATS_MAX: usize = 16;

/// Seats of a row at least, so that there are few lengths of them.
pub const SEATS_MIN: usize = 2;

/// Seats of rows that are made together. Where few have a seat, it is badges that have rows, and nearly all;
/// where many have, it is doors and zones, whose numbers stand among those of thousands of badges.
const BLOCK: usize = 64;

/// The seat of one of a row's owners; [`Seat::NONE`] of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(pub u8);

impl Default for Seat {
    fn default() -> Self {
        Self::NONE
    }
}

impl Seat {
    /// No seat.
    pub const NONE: Self = Self(u8::MAX);
}

/// Where a text's row begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row(u32);

/// Rows that are made together. No row is in two lines of memory.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Rows([u32; BLOCK]);

/// Rows of seats. Rebuilt from the cells after a restore; in no snapshot.
#[derive(Debug, Default)]
pub struct Seats {
    /// Of a row, and rows of a block: two to the power of these.
    seats: u32,
    texts: u32,
    /// Where the rows of so many texts begin; the first rows are nobody's, and empty.
    blocks: Vec<u32>,
    /// 1 + the cell; 0 where there is none.
    cells: Vec<Rows>,
    /// How many of a block's seats are taken.
    taken: Vec<u8>,
    /// Blocks of which none is.
    free: Vec<u32>,
}

impl Seats {
    /// Empty rows of so many seats.
    pub fn new(many: usize) -> Self {
        let seats = many.clamp(SEATS_MIN, SEATS_MAX).next_power_of_two().trailing_zeros();
        let texts = BLOCK.trailing_zeros() - seats;
        let cells = if many == 0 { Vec::new() } else { vec![Rows([0; BLOCK])] };
        Self { seats, texts, cells, taken: vec![0], ..Self::default() }
    }

    #[inline(always)]
    fn cells(&self) -> &[u32] {
        bytemuck::cast_slice(&self.cells)
    }

    #[inline]
    fn place(&mut self, Row(row): Row, Seat(seat): Seat) -> &mut u32 {
        &mut bytemuck::cast_slice_mut::<Rows, u32>(&mut self.cells)
            [row as usize + usize::from(seat)]
    }

    /// The row of a text.
    #[inline(always)]
    pub fn row(&self, Symbol(text): Symbol) -> Row {
        let block = self.blocks.get((text >> self.texts) as usize).map_or(0, |block| *block);
        Row(block + (text << self.seats) % BLOCK as u32)
    }

    /// The same, where it is known how many seats a row has.
    #[inline(always)]
    pub fn row_of<const SEATS: usize>(&self, Symbol(text): Symbol) -> Row {
        let block = self.blocks.get(text as usize / (BLOCK / SEATS)).map_or(0, |block| *block);
        Row(block + text.wrapping_mul(SEATS as u32) % BLOCK as u32)
    }

    /// Asks for a row.
    #[inline(always)]
    pub fn expect(&self, Row(row): Row) {
        prefetch(self.cells(), row as usize);
    }

    /// Seats of a row.
    #[inline(always)]
    pub fn each(&self) -> usize {
        1 << self.seats
    }

    /// The cells of so many of two rows of so many seats, each and 1 more: a seat is one of a door or zone, say, and
    /// none of the other.
    #[inline(always)]
    pub fn gather<const MANY: usize, const SEATS: usize>(
        &self,
        rows: &[Row; 2],
        to: &mut [u32; SEATS_MAX],
    ) {
        let (all, _) = self.cells().as_chunks::<SEATS>();
        let of = |Row(row): Row| all.get(row as usize / SEATS).unwrap_or(&[0; SEATS]);
        let one = of(rows[0]);
        let other = if MANY > 1 { of(rows[1]) } else { one };
        for seat in 0..SEATS {
            to[seat] = one[seat] | other[seat];
        }
    }

    /// The cell in a seat of a row; `NIL` where there is none.
    #[inline(always)]
    pub fn cell(&self, Row(row): Row, Seat(seat): Seat) -> u32 {
        self.cells().get(row as usize + usize::from(seat)).map_or(NIL, |cell| cell.wrapping_sub(1))
    }

    /// Whether a text has a row, or may have one: what a broken snapshot says is none has not.
    #[inline(always)]
    pub fn has(Symbol(text): Symbol) -> bool {
        (text as usize) < SYMBOLS_MAX
    }

    /// Gives a seat of a text to a cell.
    pub fn enter(&mut self, text: Symbol, seat: Seat, cell: u32) {
        let block = (text.0 >> self.texts) as usize;
        if self.blocks.get(block).is_none_or(|block| *block == 0) {
            self.make(block);
        }
        let row = self.row(text);
        let place = self.place(row, seat);
        assert!(*place == 0, "a seat is one cell's");
        *place = cell + 1;
        self.taken[row.0 as usize / BLOCK] += 1;
    }

    #[cold]
    fn make(&mut self, block: usize) {
        if self.blocks.len() <= block {
            self.blocks.resize(block + 1, 0);
        }
        self.blocks[block] = self.free.pop().unwrap_or_else(|| {
            let behind = self.cells.len() * BLOCK;
            self.cells.push(Rows::zeroed());
            self.taken.push(0);
            behind as u32
        });
    }

    /// Makes a seat free, and its block where that was the last.
    pub fn leave(&mut self, text: Symbol, seat: Seat, cell: u32) {
        let row = self.row(text);
        let place = self.place(row, seat);
        assert!(*place == cell + 1, "a cell that is taken out has its seat");
        *place = 0;
        let taken = &mut self.taken[row.0 as usize / BLOCK];
        *taken -= 1;
        if *taken == 0 {
            self.free.push(std::mem::take(&mut self.blocks[(text.0 >> self.texts) as usize]));
        }
    }

    /// Bytes of the rows, and of where they are.
    pub fn bytes(&self) -> usize {
        (self.blocks.len() + self.cells().len()) * size_of::<u32>() + self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn seats_are_found_as_in_a_map() {
        for many in [1, 2, 3, 16] {
            let (mut seats, mut map) = (Seats::new(many), BTreeMap::new());
            let mut random = 1_u32;
            for _ in 0..20_000 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (text, seat) = (Symbol(random >> 20), Seat((random >> 8) as u8 % many as u8));
                let cell = seats.cell(seats.row(text), seat);
                match map.remove(&(text.0, seat.0)) {
                    Some(held) => {
                        assert_eq!(cell, held);
                        seats.leave(text, seat, cell);
                    }
                    None => {
                        assert_eq!(cell, NIL);
                        seats.enter(text, seat, random >> 4);
                        map.insert((text.0, seat.0), random >> 4);
                    }
                }
            }
            assert!(map.len() > 1_000, "{} seats taken", map.len());
            let places = seats.cells.len();
            for ((text, seat), cell) in std::mem::take(&mut map) {
                seats.leave(Symbol(text), Seat(seat), cell);
            }
            (5_000..6_000).for_each(|text| seats.enter(Symbol(text), Seat(0), text));
            assert_eq!(seats.cells.len(), places, "what was left is taken again");
        }
    }

    fn gather<const MANY: usize>(seats: &Seats, rows: &[Row; 2], to: &mut [u32; SEATS_MAX]) {
        match seats.each() {
            2 => seats.gather::<MANY, 2>(rows, to),
            4 => seats.gather::<MANY, 4>(rows, to),
            8 => seats.gather::<MANY, 8>(rows, to),
            _ => seats.gather::<MANY, SEATS_MAX>(rows, to),
        }
    }

    #[test]
    fn two_rows_are_gathered_by_seats() {
        for many in [1, 2, 3, 8, 16] {
            let mut seats = Seats::new(many);
            for text in 0..1_000 {
                let seat = (text as usize * 7 + text as usize / many) % many;
                seats.enter(Symbol(text), Seat(seat as u8), text);
            }
            for (one, other) in (0..1_000).flat_map(|one| [(one, one), (one, one * 13 % 1_000)]) {
                let rows = [Symbol(one), Symbol(other)].map(|text| seats.row(text));
                let mut gathered = [7; SEATS_MAX];
                gather::<2>(&seats, &rows, &mut gathered);
                for (seat, gathered) in gathered.iter().enumerate().take(many) {
                    let cells = rows.map(|row| seats.cell(row, Seat(seat as u8)).wrapping_add(1));
                    assert_eq!(*gathered, cells[0] | cells[1], "{many} {one} {other} {seat}");
                }
            }
            let mut gathered = [7; SEATS_MAX];
            gather::<1>(&seats, &[seats.row(Symbol(1_000_000)); 2], &mut gathered);
            assert_eq!(gathered[..many], [0; SEATS_MAX][..many], "of nobody there is none");
        }
    }

    #[test]
    fn where_nobody_has_a_seat_there_is_nothing() {
        let seats = Seats::new(0);
        assert_eq!(seats.cell(seats.row(Symbol(7)), Seat(0)), NIL);
        assert_eq!(seats.cells.len(), 0);
    }
}
