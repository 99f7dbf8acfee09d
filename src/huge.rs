//! Large tables on large pages.
//!
//! The engine looks here and there in tables of some megabytes. With pages of 4 KiB the processor
//! forgets where they are, and finding out costs as much as the memory itself, more under a
//! hypervisor. So what is as large as a table begins at a large page, and the system is asked for
//! such pages there. Where it has none, or may not give any, nothing is lost.

#![allow(unsafe_code, reason = "an allocator is unsafe by its interface")]

use std::alloc::{GlobalAlloc, Layout, System};

use rustix::mm::{Advice, madvise};

/// Bytes from which on something begins at a large page.
const LARGE: usize = 1 << 20;
/// Bytes of a large page, as x86-64 and most of arm64 have them.
const PAGE: usize = 2 << 20;

/// The system's allocator, with large pages for what is large.
pub struct Huge;

/// The same for a whole number of large pages; `None` where it is small, or asks for more itself.
#[inline]
fn large(layout: Layout) -> Option<Layout> {
    if layout.size() < LARGE || layout.align() > PAGE {
        return None;
    }
    Layout::from_size_align(layout.size().checked_next_multiple_of(PAGE)?, PAGE).ok()
}

impl Huge {
    /// # Safety
    /// As [`GlobalAlloc::alloc`]; the layout is one that [`large`] gave.
    #[cold]
    unsafe fn of_pages(layout: Layout, zeroed: bool) -> *mut u8 {
        // SAFETY: the caller's promise: a size that is not zero.
        let start =
            unsafe { if zeroed { System.alloc_zeroed(layout) } else { System.alloc(layout) } };
        if !start.is_null() {
            // SAFETY: these pages are of an allocation just made, and nobody else's: it covers them
            // from the first to the last. The advice changes no contents.
            let _ = unsafe { madvise(start.cast(), layout.size(), Advice::LinuxHugepage) };
        }
        start
    }
}

// SAFETY: all is the system's allocator's, called with the same layout for one allocation each time:
// `large` depends on nothing but the layout that the caller must repeat.
unsafe impl GlobalAlloc for Huge {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            match large(layout) {
                Some(pages) => Self::of_pages(pages, false),
                None => System.alloc(layout),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            match large(layout) {
                Some(pages) => Self::of_pages(pages, true),
                None => System.alloc_zeroed(layout),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the layout is the one that it was made with.
        unsafe { System.dealloc(start, large(layout).unwrap_or(layout)) }
    }

    #[inline]
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: a size that is not zero, and fits its alignment.
        unsafe {
            let new = Layout::from_size_align_unchecked(size, layout.align());
            match (large(layout), large(new)) {
                (None, None) => System.realloc(start, layout, size),
                (Some(old), Some(new)) if old == new => start,
                _ => {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        let kept = layout.size().min(size);
                        std::ptr::copy_nonoverlapping(start, moved, kept);
                        self.dealloc(start, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it holds is what was written, over every way from size to size.
    #[test]
    fn sizes_around_a_large_page_keep_what_they_hold() {
        let sizes = [1, 4_096, LARGE - 1, LARGE, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE];
        for from in sizes {
            for to in sizes {
                let kept = from.min(to);
                let old = Layout::from_size_align(from, 16).expect("a layout");
                let new = Layout::from_size_align(to, 16).expect("a layout");
                // SAFETY: sizes are not zero, each pointer is used within what was asked for.
                unsafe {
                    let start = Huge.alloc_zeroed(old);
                    assert!(std::slice::from_raw_parts(start, from).iter().all(|byte| *byte == 0));
                    std::slice::from_raw_parts_mut(start, from).fill(7);
                    let moved = Huge.realloc(start, old, to);
                    let bytes = std::slice::from_raw_parts_mut(moved, to);
                    assert!(bytes[..kept].iter().all(|byte| *byte == 7), "{from} to {to}");
                    bytes.fill(9);
                    if large(new).is_some() {
                        assert_eq!(moved as usize % PAGE, 0, "{to} bytes begin at a large page");
                    }
                    Huge.dealloc(moved, new);
                }
            }
        }
    }
}
