//! The state of a site: cells of fixed size in pages with a dirty mark.
//!
//! Incremental snapshots (the dirty pages), bytes per key (cells × size) and eviction (free the
//! cell) are this one mechanism. The free list is threaded through the cells themselves, so that a
//! restored site goes on bit by bit as the one that wrote the snapshot.
//!
//! A snapshot is of one moment and is written little by little: a page that was to be in it, and is
//! about to change, is put aside first.

use bytemuck::Pod;

use crate::limits::PAGE_CELLS;

/// A cell: plain bytes, with room for the free list in a word that tells live from free.
pub trait Cell: Pod {
    /// The word that is 0 when the cell is free.
    fn live(&self) -> u32;
    /// While free: the next free cell.
    fn next_free(&self) -> u32;
    /// Makes the cell a free one that points at the next.
    fn set_free(&mut self, next: u32);
}

/// No cell.
pub const NIL: u32 = u32::MAX;

/// Of a page: it is as in the last snapshot.
const SAVED: u8 = 0;
/// It has changed since.
const CHANGED: u8 = 1;
/// It belongs to the snapshot that is being written, and was not written yet.
const AWAITED: u8 = 2;

/// Memory for pages put aside that is kept for the next snapshot.
const ASIDE_BYTES_MAX: usize = 1 << 20;

/// State that a snapshot holds as it was at one moment, while it goes on changing.
pub trait Store {
    /// Notes what belongs to a snapshot of now (all, or what has changed since the last) and writes
    /// what stands before it.
    fn begin_save(&mut self, out: &mut Vec<u8>, full: bool);

    /// Writes on, about `budget` bytes, which become less; whether that was all.
    fn save_some(&mut self, out: &mut Vec<u8>, budget: &mut usize) -> bool;
}

/// Moves bytes from one place of a buffer on to a snapshot, as many as may be; whether that was all.
pub fn hand_on(from: &[u8], handed: &mut usize, out: &mut Vec<u8>, budget: &mut usize) -> bool {
    let len = (from.len() - *handed).min(*budget);
    out.extend_from_slice(&from[*handed..*handed + len]);
    (*handed, *budget) = (*handed + len, *budget - len);
    *handed == from.len()
}

/// Cells of one type. They stand in one run of memory: a look-up is one step, and memory that was
/// only reserved is never touched.
#[derive(Debug)]
pub struct Pages<T> {
    /// Whole pages; behind the last cell ever used stand zeros.
    cells: Vec<T>,
    /// Of each page: [`SAVED`], [`CHANGED`] or [`AWAITED`].
    marks: Vec<u8>,
    /// How many are not [`CHANGED`]: where all are, as without snapshots, no mark is looked at.
    unchanged: usize,
    free: u32,
    len: u32,
    live: u32,
    saving: Saving,
}

/// The snapshot that is being written.
#[derive(Debug, Default)]
struct Saving {
    /// Pages that are [`AWAITED`], and from which one on they stand.
    awaited: u32,
    from: usize,
    /// Those that have changed meanwhile, as they were, and how far that was handed on.
    aside: Vec<u8>,
    handed: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        let (cells, marks, saving) = (Vec::new(), Vec::new(), Saving::default());
        Self { cells, marks, unchanged: 0, free: NIL, len: 0, live: 0, saving }
    }
}

impl<T: Pod> Pages<T> {
    /// Cells ever used: every index is below.
    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> usize {
        self.cells.len() * size_of::<T>()
    }

    /// One cell, live or free.
    #[inline(always)]
    pub fn get(&self, index: u32) -> &T {
        self.cells.get(index as usize).unwrap_or_else(|| no_cell())
    }

    /// One cell, where there ever was one.
    #[inline]
    pub fn peek(&self, index: u32) -> Option<&T> {
        self.cells.get(index as usize)
    }

    /// All cells, live or free.
    #[inline(always)]
    pub fn cells(&self) -> &[T] {
        &self.cells
    }

    /// One cell, to change it: marks its page.
    #[inline(always)]
    pub fn get_mut(&mut self, index: u32) -> &mut T {
        let page = index as usize / PAGE_CELLS;
        if self.unchanged != 0 && self.marks.get(page) != Some(&CHANGED) {
            self.mark(page);
        }
        self.cells.get_mut(index as usize).unwrap_or_else(|| no_cell())
    }

    /// One cell, where there ever was one, to change it.
    #[inline(always)]
    pub fn peek_mut(&mut self, index: u32) -> Option<&mut T> {
        let page = index as usize / PAGE_CELLS;
        if self.unchanged != 0 && self.marks.get(page).is_some_and(|mark| *mark != CHANGED) {
            self.mark(page);
        }
        self.cells.get_mut(index as usize)
    }

    /// The page is about to change.
    #[cold]
    #[inline(never)]
    fn mark(&mut self, page: usize) {
        if self.marks[page] == AWAITED {
            put_page(&self.cells, page, &mut self.saving.aside);
            self.saving.awaited -= 1;
        }
        self.marks[page] = CHANGED;
        self.unchanged -= 1;
    }

    /// Makes room for a cell of this index.
    #[inline]
    pub fn reach(&mut self, index: u32) {
        self.len = self.len.max(index + 1);
        if index as usize >= self.cells.len() {
            self.grow(index as usize / PAGE_CELLS + 1);
        }
    }

    /// Empty pages up to so many.
    #[cold]
    fn grow(&mut self, pages: usize) {
        if pages * PAGE_CELLS > self.cells.capacity() {
            // Half as many again: a state that moves about its size allocates no further (INV-HOT).
            let more = pages + pages / 2 - self.marks.len();
            self.marks.reserve(more);
            self.cells.reserve_exact(more * PAGE_CELLS);
        }
        self.unchanged += pages - self.marks.len();
        self.cells.resize(pages * PAGE_CELLS, T::zeroed());
        self.marks.resize(pages, SAVED);
    }

    /// Pages with a cell that was ever used.
    fn used(&self) -> usize {
        (self.len as usize).div_ceil(PAGE_CELLS)
    }

    /// Reads what was written over what is here: a full save, then its increments.
    pub fn load(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        self.len = input.u32()?;
        self.free = input.u32()?;
        self.live = input.u32()?;
        let needed = self.used();
        if needed * PAGE_CELLS * size_of::<T>() > input.whole * 64 {
            return None;
        }
        self.grow(self.marks.len().max(needed));
        for _ in 0..input.u32()? {
            let page = input.u32()? as usize;
            let bytes = input.take(PAGE_CELLS * size_of::<T>())?;
            let cells =
                self.cells.get_mut(page.checked_mul(PAGE_CELLS)?..)?.get_mut(..PAGE_CELLS)?;
            bytemuck::cast_slice_mut::<T, u8>(cells).copy_from_slice(bytes);
        }
        Some(())
    }
}

/// Whoever keeps an index has been given it. It is said without the index, which would be put into a register
/// wherever a cell is looked at.
#[cold]
#[inline(never)]
fn no_cell() -> ! {
    unreachable!("an index that is kept is a cell's")
}

/// Writes a page with its number.
fn put_page<T: Pod>(cells: &[T], page: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(page as u32).to_le_bytes());
    let cells = &cells[page * PAGE_CELLS..][..PAGE_CELLS];
    out.extend_from_slice(bytemuck::cast_slice(cells));
}

impl<T: Pod> Store for Pages<T> {
    fn begin_save(&mut self, out: &mut Vec<u8>, full: bool) {
        assert_eq!(self.saving.awaited, 0, "one snapshot after the other");
        let used = self.used();
        let mut awaited = 0;
        for mark in &mut self.marks[..used] {
            let taken = full || *mark == CHANGED;
            *mark = if taken { AWAITED } else { SAVED };
            awaited += u32::from(taken);
        }
        (self.saving.awaited, self.saving.from) = (awaited, 0);
        self.unchanged = self.marks.iter().filter(|mark| **mark != CHANGED).count();
        for number in [self.len, self.free, self.live, awaited] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn save_some(&mut self, out: &mut Vec<u8>, budget: &mut usize) -> bool {
        let Saving { awaited, from, aside, handed } = &mut self.saving;
        if !hand_on(aside, handed, out, budget) {
            return false;
        }
        while *awaited > 0 && *budget > 0 {
            let next = self.marks[*from..].iter().position(|mark| *mark == AWAITED);
            let Some(page) = next.map(|behind| *from + behind) else {
                unreachable!("there are as many as were counted")
            };
            put_page(&self.cells, page, out);
            self.marks[page] = SAVED;
            (*awaited, *from) = (*awaited - 1, page + 1);
            *budget = budget.saturating_sub(PAGE_CELLS * size_of::<T>());
        }
        if *awaited > 0 {
            return false;
        }
        *handed = 0;
        aside.clear();
        aside.shrink_to(ASIDE_BYTES_MAX);
        true
    }
}

impl<T: Cell> Pages<T> {
    /// Live cells.
    #[inline]
    pub fn live(&self) -> usize {
        self.live as usize
    }

    /// Keeps `cell` and returns its index.
    #[inline(always)]
    pub fn insert(&mut self, cell: T) -> u32 {
        assert!(cell.live() != 0, "a cell must be live to be kept");
        self.live += 1;
        if self.free == NIL {
            self.free_one_behind();
        }
        let index = self.free;
        let place = self.get_mut(index);
        let next = place.next_free();
        *place = cell;
        self.free = next;
        index
    }

    /// The cell behind all others is a free one. (Handed to a function, the cell to be kept would be written
    /// twice.)
    #[cold]
    #[inline(never)]
    fn free_one_behind(&mut self) {
        let index = self.len;
        assert!(index < NIL, "pages full");
        self.reach(index);
        self.get_mut(index).set_free(NIL);
        self.free = index;
    }

    /// Frees a cell.
    #[inline]
    pub fn remove(&mut self, index: u32) {
        let next = self.free;
        let cell = self.get_mut(index);
        assert!(cell.live() != 0, "a cell is freed once");
        cell.set_free(next);
        self.free = index;
        self.live -= 1;
    }

    /// Indexes of the live cells.
    pub fn indexes(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len).filter(|index| self.get(*index).live() != 0)
    }
}

/// Bytes of a snapshot, read from the front.
#[derive(Debug)]
pub struct Bytes<'a> {
    bytes: &'a [u8],
    whole: usize,
}

impl<'a> Bytes<'a> {
    /// All of them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, whole: bytes.len() }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(len)?;
        self.bytes = tail;
        Some(head)
    }

    /// The next number.
    pub fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// The next number.
    pub fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// The next number.
    pub fn i64(&mut self) -> Option<i64> {
        self.u64().map(|n| n as i64)
    }

    /// What is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    struct Number {
        live: u32,
        value: u32,
    }

    impl Cell for Number {
        fn live(&self) -> u32 {
            self.live
        }
        fn next_free(&self) -> u32 {
            self.value
        }
        fn set_free(&mut self, next: u32) {
            *self = Self { live: 0, value: next };
        }
    }

    fn save(pages: &mut Pages<Number>, out: &mut Vec<u8>, full: bool) {
        pages.begin_save(out, full);
        assert!(pages.save_some(out, &mut usize::MAX.clone()));
    }

    #[test]
    fn what_changes_while_a_snapshot_is_written_is_in_the_next() {
        let mut pages = Pages::default();
        for value in 0..1_000 {
            pages.insert(Number { live: 1, value });
        }
        let (mut restored, mut random) = (Pages::<Number>::default(), 7_u32);
        for round in 0..20 {
            let as_it_was: Vec<Number> = (0..pages.len()).map(|n| *pages.get(n)).collect();
            let mut out = Vec::new();
            pages.begin_save(&mut out, round == 0);
            loop {
                for _ in 0..10 {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let index = random >> 8 & 511;
                    match (random >> 20 & 3, pages.get(index).live) {
                        (0, 1) => pages.remove(index),
                        (1, _) => {
                            pages.insert(Number { live: 1, value: random });
                        }
                        (_, 1) => pages.get_mut(index).value = random,
                        _ => {}
                    }
                }
                if pages.save_some(&mut out, &mut 500) {
                    break;
                }
            }
            assert_eq!(restored.load(&mut Bytes::new(&out)), Some(()));
            let now: Vec<Number> = (0..restored.len()).map(|n| *restored.get(n)).collect();
            assert!(now == as_it_was, "round {round}");
        }
    }

    #[test]
    fn an_increment_holds_only_what_changed_and_restores_all() {
        let mut pages = Pages::default();
        let cells: Vec<u32> =
            (0..1_000).map(|n| pages.insert(Number { live: 1, value: n })).collect();
        let (mut full, mut delta) = (Vec::new(), Vec::new());
        save(&mut pages, &mut full, true);
        pages.get_mut(cells[500]).value = 7;
        pages.remove(cells[3]);
        save(&mut pages, &mut delta, false);
        assert!(delta.len() < full.len() / 4, "{} of {}", delta.len(), full.len());
        let mut restored = Pages::<Number>::default();
        assert_eq!(restored.load(&mut Bytes::new(&full)), Some(()));
        assert_eq!(restored.load(&mut Bytes::new(&delta)), Some(()));
        assert_eq!(restored.get(cells[500]).value, 7);
        assert_eq!(restored.live(), 999);
        // The free cell is taken again, in both: the free list came along.
        assert_eq!(
            restored.insert(Number { live: 1, value: 1 }),
            pages.insert(Number { live: 1, value: 1 })
        );
        let cut = &full[..full.len() - 1];
        assert_eq!(Pages::<Number>::default().load(&mut Bytes::new(cut)), None);
    }
}
