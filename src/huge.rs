//! Large tables on large pages.
//!
//! The engine looks here and there in tables of some megabytes. With pages of 4 KiB the processor
//! forgets where they are, and finding out costs as much as the memory itself, more under a
//! hypervisor. So what is as large as a table begins at a large page, and the system is asked for
//! such pages there. Where it has none, or may not give any, nothing is lost.

#![allow(unsafe_code, reason = "an allocator is unsafe by its interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags};
use rustix::mm::{madvise, mmap_anonymous, mremap_fixed, munmap};

/// Bytes from which on something begins at a large page.
const LARGE: usize = (1 << 20) + 1;
/// Bytes of a large page, as x86-64 and most of arm64 have them.
const PAGE: usize = 2 << 20;

/// The system's allocator, with large pages for what is large.
pub struct Huge;

/// Bytes by which the heap grows at once.
const HEAP: usize = 256 << 20;
/// Bytes of a heap of another thread than the main one, which begins at a multiple of them.
const THREAD_HEAP: usize = 64 << 20;

/// Has the calling thread's heap, for what is not large, on large pages, too, and growing by much at a time.
/// For who works through all of it as fast as it goes: whoever is waited for would wait for a large
/// page in the middle of small ones. Nothing is touched before it is used.
pub fn enlarge_heap() {
    // Other libraries' allocators have other settings.
    #[cfg(target_env = "gnu")]
    // SAFETY: settings of the allocator; and an advice, which changes no contents, for memory that is its own, as far
    // as it is mapped.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE as i32);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, HEAP as i32);
        // What the heap has no room for as it is.
        let probe = libc::malloc(LARGE / 2);
        let (at, main_end) = (probe.addr(), libc::sbrk(0).addr());
        let end = if at < main_end { main_end } else { at.next_multiple_of(THREAD_HEAP) };
        let start = at.next_multiple_of(PAGE);
        if let Some(bytes) = end.checked_sub(start).filter(|_| !probe.is_null()) {
            let _ = madvise(probe.byte_add(start - at), bytes, Advice::LinuxHugepage);
        }
        libc::free(probe);
    }
}

/// Large pages, one behind the other, that were touched and are used by nobody.
#[derive(Clone, Copy)]
struct Reserve {
    start: *mut u8,
    bytes: usize,
}

thread_local! {
    /// The calling thread's.
    static RESERVE: Cell<Reserve> = const { Cell::new(Reserve { start: null_mut(), bytes: 0 }) };
}

/// Makes large pages ready for the calling thread: what is large takes them first. The system clears a page
/// when it is touched, and a host may have to find the memory for it: up to 3 ms, which nobody waits
/// for now.
pub fn make_ready(bytes: usize) {
    let Some(bytes) = bytes.checked_next_multiple_of(PAGE).filter(|bytes| *bytes > 0) else {
        return;
    };
    // SAFETY: the size is not zero, and a multiple of the page. Each write is to a page just mapped.
    unsafe {
        let start = map(bytes);
        if !start.is_null() {
            (0..bytes).step_by(PAGE).for_each(|at| start.byte_add(at).write_volatile(0));
            RESERVE.set(Reserve { start, bytes });
        }
    }
}

/// Puts pages that were made ready to the first ones of a mapping just made, as far as they go.
///
/// # Safety
/// `start` begins a mapping of its own of so many bytes that nobody has seen yet; they are a multiple of
/// [`PAGE`].
unsafe fn fill(start: *mut u8, bytes: usize) {
    // A thread that ends has none.
    let Ok(reserve) = RESERVE.try_with(Cell::get) else { return };
    let moved = bytes.min(reserve.bytes);
    if moved == 0 {
        return;
    }
    // SAFETY: the pages are the reserve's, that nobody uses, and go out of it; where they come to stand
    // nothing stands yet.
    unsafe {
        let rest = Reserve { start: reserve.start.byte_add(moved), bytes: reserve.bytes - moved };
        RESERVE.set(rest);
        shift(reserve.start, start, moved);
    }
}

/// Moves pages to where others are mapped, which go. One by one: some came out of a reserve, and what is mapped
/// at several times is not moved as a whole by every system.
///
/// # Safety
/// Both are mapped for so many bytes, a multiple of [`PAGE`], and nobody uses what they point at.
unsafe fn shift(from: *mut u8, to: *mut u8, bytes: usize) {
    for at in (0..bytes).step_by(PAGE) {
        // SAFETY: the caller's promise. Where a page cannot be moved its place may be gone: it is mapped
        // anew, and the page is copied.
        unsafe {
            let (from, to) = (from.byte_add(at), to.byte_add(at));
            let flags = MremapFlags::MAYMOVE;
            if mremap_fixed(from.cast(), PAGE, PAGE, flags, to.cast()).is_err() {
                let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
                let again = mmap_anonymous(to.cast(), PAGE, prot, flags | MapFlags::FIXED);
                if again.is_err() {
                    // An allocator must not unwind.
                    std::process::abort();
                }
                std::ptr::copy_nonoverlapping(from, to, PAGE);
                let _ = munmap(from.cast(), PAGE);
            }
        }
    }
}

/// How many bytes of whole large pages it takes; `None` where it is small, or asks for more itself.
#[inline]
fn large(layout: Layout) -> Option<usize> {
    if layout.size() < LARGE || layout.align() > PAGE {
        return None;
    }
    layout.size().checked_next_multiple_of(PAGE)
}

/// A whole number of large pages, all zeros; null where there are none.
///
/// # Safety
/// The size is not zero, and a multiple of [`PAGE`].
#[cold]
unsafe fn map(size: usize) -> *mut u8 {
    let Some(around) = size.checked_add(PAGE) else { return null_mut() };
    let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping wherever the system likes: it is nobody else's.
    let Ok(start) = (unsafe { mmap_anonymous(null_mut(), around, prot, flags) }) else {
        return null_mut();
    };
    let before = start.addr().next_multiple_of(PAGE) - start.addr();
    // SAFETY: what is before the first large page and behind the last is given back: both are parts of
    // the mapping, whole small pages, and used by nobody. The advice changes no contents.
    unsafe {
        let first = start.byte_add(before);
        if before > 0 {
            let _ = munmap(start, before);
        }
        let _ = munmap(first.byte_add(size), PAGE - before);
        let _ = madvise(first, size, Advice::LinuxHugepage);
        first.cast()
    }
}

/// The same, of pages that were made ready, as far as there are any.
///
/// # Safety
/// As of [`map`].
#[cold]
unsafe fn new(size: usize) -> *mut u8 {
    // SAFETY: the caller's promise; the mapping was just made.
    unsafe {
        let start = map(size);
        if !start.is_null() {
            fill(start, size);
        }
        start
    }
}

/// The same memory as so many large pages more, or less. Pages are moved and not what is in them: nobody
/// waits for a copy of a table that grows.
///
/// # Safety
/// [`map`] or this gave `start` for `old` bytes; both sizes are not zero, and multiples of [`PAGE`].
#[cold]
unsafe fn remap(start: *mut u8, old: usize, new: usize) -> *mut u8 {
    // SAFETY: the caller's promise; what is cut off is the end of it, and the place that it moves to is
    // a mapping just made, and nobody else's.
    unsafe {
        if new < old {
            let _ = munmap(start.byte_add(new).cast(), old - new);
            return start;
        }
        let moved = map(new);
        if !moved.is_null() {
            shift(start, moved, old);
            fill(moved.byte_add(old), new - old);
        }
        moved
    }
}

// SAFETY: what is small is the system's allocator's, what is large a mapping of its own. Which of both
// depends on nothing but the layout, that the caller repeats for one allocation each time.
unsafe impl GlobalAlloc for Huge {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            match large(layout) {
                Some(size) => new(size),
                None => System.alloc(layout),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            match large(layout) {
                Some(size) => new(size),
                None => System.alloc_zeroed(layout),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise: it was made with this layout, a mapping or not.
        unsafe {
            match large(layout) {
                Some(size) => drop(munmap(start.cast(), size)),
                None => System.dealloc(start, layout),
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: a size that is not zero, and fits its alignment.
        unsafe {
            let new = Layout::from_size_align_unchecked(size, layout.align());
            match (large(layout), large(new)) {
                (None, None) => System.realloc(start, layout, size),
                (Some(old), Some(new)) if old == new => start,
                (Some(old), Some(new)) => remap(start, old, new),
                _ => {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        std::ptr::copy_nonoverlapping(start, moved, layout.size().min(size));
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

    /// What it holds is what was written, over every way from size to size, with pages made ready and
    /// without.
    #[test]
    fn sizes_around_a_large_page_keep_what_they_hold() {
        make_ready(7 * PAGE);
        every_way();
        assert_eq!(RESERVE.get().bytes, 0, "they are taken first");
        every_way();
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn a_heap_that_was_enlarged_asks_for_large_pages() {
        enlarge_heap();
        let pieces: Vec<_> = (0..2 * PAGE / LARGE * 4).map(|_| vec![1_u8; LARGE / 2]).collect();
        let last = pieces.last().map(|piece| piece.as_ptr().addr()).expect("a piece");
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("the process's mappings");
        let (mut here, mut asks) = (false, false);
        for line in maps.lines() {
            let number = |text| usize::from_str_radix(text, 16).ok();
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            if let Some((Some(from), Some(to))) = range.map(|(a, b)| (number(a), number(b))) {
                here = (from..to).contains(&last);
            }
            let flags = line.strip_prefix("VmFlags:").filter(|_| here);
            asks |= flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hg"));
        }
        assert!(asks, "{maps}");
    }

    fn every_way() {
        let sizes = [1, 4_096, LARGE - 1, LARGE, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 5 * PAGE];
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
