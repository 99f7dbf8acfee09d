//! Memory for a table that is about to grow, made ready page by page.
//!
//! The system clears a page when it is touched first, which takes microseconds. A new table is touched
//! everywhere at once, so without this whoever grows one waits for all of its pages.

use bytemuck::Zeroable;

/// Bytes of a page, at least.
const PAGE_BYTES: usize = 4_096;
/// Bytes from which on the pages may be large ones, which another thread makes ready.
const LARGE_BYTES: usize = 1 << 20;
/// What is large is given so many calls for each page of it before it is touched.
const CALLS_A_PAGE: usize = 2;

/// Memory that is zero.
#[derive(Debug)]
pub struct Fresh<T> {
    memory: Vec<T>,
    /// So many of its elements stand in pages that were touched.
    touched: usize,
    /// Calls that still touch nothing.
    wait: usize,
}

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self { memory: Vec::new(), touched: 0, wait: 0 }
    }
}

impl<T: Zeroable> Fresh<T> {
    /// Makes one page more ready for a table of `len` elements; whether all are.
    #[cold]
    #[inline(never)]
    pub fn make_ready(&mut self, len: usize) -> bool {
        if self.memory.len() != len {
            let bytes = len * size_of::<T>();
            let wait = if bytes < LARGE_BYTES { 0 } else { bytes / PAGE_BYTES * CALLS_A_PAGE };
            *self = Self { memory: bytemuck::zeroed_vec(len), touched: 0, wait };
        }
        if self.wait > 0 {
            self.wait -= 1;
            return false;
        }
        if let Some(first) = self.memory.get_mut(self.touched) {
            *first = T::zeroed();
            self.touched += PAGE_BYTES / size_of::<T>();
        }
        self.touched >= len
    }

    /// The table of `len` elements, as far as it was made ready.
    #[must_use]
    pub fn take(&mut self, len: usize) -> Vec<T> {
        match std::mem::take(self).memory {
            ready if ready.len() == len => ready,
            _ => bytemuck::zeroed_vec(len),
        }
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.len() * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_by_page_until_all_is_there() {
        let mut fresh = Fresh::<u64>::default();
        let calls = (1..).find(|_| fresh.make_ready(2_048));
        assert_eq!(calls, Some(4), "16 KiB");
        assert!(fresh.make_ready(2_048) && fresh.bytes() == 16_384);
        let table = fresh.take(2_048);
        assert!(table.len() == 2_048 && table.iter().all(|n| *n == 0) && fresh.bytes() == 0);
        // Of another size than was expected, or not begun.
        assert!(!fresh.make_ready(2_048));
        // What is large waits for whoever makes it ready.
        let mut large = Fresh::<u64>::default();
        assert_eq!((1..).find(|_| large.make_ready(1 << 17)), Some(256 * 3));
        assert_eq!((fresh.take(512).len(), fresh.bytes()), (512, 0));
    }
}
