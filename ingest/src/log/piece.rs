//! A piece of memory to which one thread adds and that others read, none of which waits for another: what is added
//! stays as it is, where it is.

#![allow(unsafe_code, reason = "what one thread writes behind what others read is no borrow")]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event::streaming::copy_past_caches_to;

/// Memory of a piece.
pub type Memory = Box<[UnsafeCell<MaybeUninit<u8>>]>;

/// Memory for so many bytes, which nobody has touched.
pub fn memory(bytes: usize) -> Memory {
    let mut memory = Vec::with_capacity(bytes);
    // SAFETY: there is room for as many, and one that is not made is one.
    unsafe { memory.set_len(bytes) };
    memory.into_boxed_slice()
}

/// What was added so far.
pub struct Piece {
    memory: Memory,
    /// What is before it is left out.
    start: usize,
    /// Bytes behind `start` that were added: they are made, and nobody writes them any more.
    len: AtomicUsize,
}

// SAFETY: what stands before `len` is only read, and what stands behind it is written by the only adder there is, before
// it says so by `len`.
unsafe impl Sync for Piece {}

impl Piece {
    /// Its memory, to be used again.
    pub fn into_memory(self) -> Memory {
        self.memory
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let len = self.len.load(Ordering::Acquire);
        // SAFETY: so many bytes were added, and are not changed any more. A cell is as its byte is.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(self.start).cast(), len) }
    }
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Piece").field("start", &self.start).field("len", &self.len).finish()
    }
}

/// The one who adds to a piece.
#[derive(Debug)]
pub struct Adder(Arc<Piece>);

impl Adder {
    /// An empty piece in this memory, whose first byte stands as many bytes behind a multiple of `align` as `behind`
    /// does. `align` is a power of two.
    pub fn new(memory: Memory, align: usize, behind: u64) -> Self {
        let mask = align - 1;
        let start = (behind as usize).wrapping_sub(memory.as_ptr().addr()) & mask;
        Self(Arc::new(Piece { memory, start, len: AtomicUsize::new(0) }))
    }

    /// What others read.
    pub fn piece(&self) -> &Arc<Piece> {
        &self.0
    }

    /// How many bytes there is room for.
    pub fn room(&self) -> usize {
        let Piece { memory, start, len } = &*self.0;
        memory.len().saturating_sub(start + len.load(Ordering::Relaxed))
    }

    /// Adds bytes, past the caches where others will read them and this processor will not. Panics where there is no room.
    pub fn push(&mut self, bytes: &[u8], past_caches: bool) {
        assert!(bytes.len() <= self.room(), "who adds looks for room");
        let Piece { memory, start, len } = &*self.0;
        let end = len.load(Ordering::Relaxed);
        let place = memory[start + end..].as_ptr().cast::<MaybeUninit<u8>>().cast_mut();
        // SAFETY: there is room, behind what was added: nobody reads it, and nobody else adds.
        let place = unsafe { std::slice::from_raw_parts_mut(place, bytes.len()) };
        if past_caches {
            copy_past_caches_to(bytes, place);
        } else {
            for (place, byte) in place.iter_mut().zip(bytes) {
                place.write(*byte);
            }
        }
        len.store(end + bytes.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_read_where_it_was_wanted_to_stand() {
        for behind in [0, 1, 20, 4_095, 4_096 * 3 + 77] {
            let mut adder = Adder::new(memory(10_000), 4_096, behind);
            let mut all = Vec::new();
            for (nth, len) in [0, 1, 63, 64, 500, 1_000].into_iter().enumerate() {
                let before = adder.piece().clone();
                let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + nth) as u8).collect();
                adder.push(&bytes, nth % 2 == 0);
                all.extend_from_slice(&bytes);
                assert_eq!(before[..], all[..]);
            }
            let piece = adder.piece();
            assert_eq!((piece.as_ptr().addr() as u64) % 4_096, behind % 4_096);
            assert_eq!(adder.room() + piece.len() + piece.start, 10_000);
        }
    }

    #[test]
    fn who_reads_sees_all_that_it_says_was_added() {
        const ROUNDS: usize = if cfg!(miri) { 10 } else { 2_000 };
        const BYTES: usize = if cfg!(miri) { 90 } else { 5_000 };
        let mut adder = Adder::new(memory(ROUNDS * BYTES + 64), 64, 3);
        let (piece, begin) = (adder.piece().clone(), &std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                begin.wait();
                let mut seen = 0;
                while seen < ROUNDS * BYTES {
                    let there = &piece[seen..];
                    // From its end on, which was added last.
                    for (at, byte) in there.iter().enumerate().rev() {
                        assert_eq!(*byte, ((seen + at) / BYTES) as u8 | 1, "behind {seen}");
                    }
                    seen += there.len();
                }
            });
            begin.wait();
            for round in 0..ROUNDS {
                adder.push(&[round as u8 | 1; BYTES], round % 3 == 0);
            }
        });
        let memory = Arc::try_unwrap(adder.0).map(Piece::into_memory);
        assert!(memory.is_ok_and(|memory| memory.len() == ROUNDS * BYTES + 64));
    }
}
