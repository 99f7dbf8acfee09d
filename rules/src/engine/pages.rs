//! The state of a site: cells of fixed size in pages with a dirty mark.
//!
//! Incremental snapshots (the dirty pages), bytes per key (cells × size) and eviction (free the
//! cell) are this one mechanism. The free list is threaded through the cells themselves, so that a
//! restored site goes on bit by bit as the one that wrote the snapshot.

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

/// Cells of one type.
#[derive(Debug)]
pub struct Pages<T> {
    pages: Vec<Box<[T]>>,
    dirty: Vec<bool>,
    free: u32,
    len: u32,
    live: u32,
}

impl<T: Cell> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), dirty: Vec::new(), free: NIL, len: 0, live: 0 }
    }
}

impl<T: Cell> Pages<T> {
    /// Live cells.
    pub fn live(&self) -> usize {
        self.live as usize
    }

    /// Cells ever used: every index is below.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> usize {
        self.pages.len() * PAGE_CELLS * size_of::<T>()
    }

    /// Keeps `cell` and returns its index.
    pub fn insert(&mut self, cell: T) -> u32 {
        assert!(cell.live() != 0, "a cell must be live to be kept");
        self.live += 1;
        if self.free != NIL {
            let index = self.free;
            self.free = self.get(index).next_free();
            *self.get_mut(index) = cell;
            return index;
        }
        let index = self.len;
        assert!(index < NIL, "pages full");
        if index as usize == self.pages.len() * PAGE_CELLS {
            // Half as many again: a state that moves about its size allocates no further (INV-HOT).
            self.grow(self.pages.len() + (self.pages.len() / 2).max(1));
        }
        self.len += 1;
        *self.get_mut(index) = cell;
        index
    }

    /// Empty pages up to so many.
    fn grow(&mut self, pages: usize) {
        self.pages.resize_with(pages, || vec![T::zeroed(); PAGE_CELLS].into_boxed_slice());
        self.dirty.resize(pages, false);
    }

    /// Pages with a cell that was ever used.
    fn used(&self) -> usize {
        (self.len as usize).div_ceil(PAGE_CELLS)
    }

    /// Frees a cell.
    pub fn remove(&mut self, index: u32) {
        assert!(self.get(index).live() != 0, "a cell is freed once");
        let next = self.free;
        self.get_mut(index).set_free(next);
        self.free = index;
        self.live -= 1;
    }

    /// One cell, live or free.
    pub fn get(&self, index: u32) -> &T {
        &self.pages[index as usize / PAGE_CELLS][index as usize % PAGE_CELLS]
    }

    /// One cell, to change it: marks its page.
    pub fn get_mut(&mut self, index: u32) -> &mut T {
        let page = index as usize / PAGE_CELLS;
        self.dirty[page] = true;
        &mut self.pages[page][index as usize % PAGE_CELLS]
    }

    /// Indexes of the live cells.
    pub fn indexes(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len).filter(|index| self.get(*index).live() != 0)
    }

    /// Writes the pages (all, or those marked since the last call) and clears the marks.
    pub fn save(&mut self, out: &mut Vec<u8>, full: bool) {
        for number in [self.len, self.free, self.live] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let chosen: Vec<usize> =
            (0..self.used()).filter(|page| full || self.dirty[*page]).collect();
        out.extend_from_slice(&(chosen.len() as u32).to_le_bytes());
        for page in chosen {
            out.extend_from_slice(&(page as u32).to_le_bytes());
            out.extend_from_slice(bytemuck::cast_slice(&self.pages[page]));
            self.dirty[page] = false;
        }
    }

    /// Reads what [`Self::save`] wrote over what is here: a full save, then its increments.
    pub fn load(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        self.len = input.u32()?;
        self.free = input.u32()?;
        self.live = input.u32()?;
        let needed = self.used();
        if needed * PAGE_CELLS * size_of::<T>() > input.whole * 64 {
            return None;
        }
        self.grow(self.pages.len().max(needed));
        for _ in 0..input.u32()? {
            let page = input.u32()? as usize;
            let bytes = input.take(PAGE_CELLS * size_of::<T>())?;
            let cells = self.pages.get_mut(page)?;
            bytemuck::cast_slice_mut::<T, u8>(cells).copy_from_slice(bytes);
        }
        Some(())
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

    #[test]
    fn an_increment_holds_only_what_changed_and_restores_all() {
        let mut pages = Pages::default();
        let cells: Vec<u32> =
            (0..1_000).map(|n| pages.insert(Number { live: 1, value: n })).collect();
        let (mut full, mut delta) = (Vec::new(), Vec::new());
        pages.save(&mut full, true);
        pages.get_mut(cells[500]).value = 7;
        pages.remove(cells[3]);
        pages.save(&mut delta, false);
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
