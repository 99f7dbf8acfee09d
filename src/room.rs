//! Memory made ready for a thread before it is wanted.
//!
//! The system's allocator takes memory for a thread in steps of a page, each of them a system call under a lock
//! of the whole process, and the page is cleared when it is touched first: up to a millisecond where other
//! threads do the same. What grows little by little takes it from here.

/// Bytes of a piece: the most that stands among what is small (`src/huge.rs`).
const PIECE: usize = 1 << 20;

/// Makes so many bytes ready for the calling thread: they are free, and were touched. So many in all are asked of
/// the system already; those that nobody touches are not there, and cost nothing.
pub fn make_room(touched: usize, asked: usize) {
    // What is as large as a piece comes with a mapping of its own until one of them was given back.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(PIECE)));
    let piece = |number| {
        if number < touched / PIECE { vec![1; PIECE] } else { Vec::with_capacity(PIECE) }
    };
    let mut pieces: Vec<Vec<u8>> = (0..=touched.max(asked) / PIECE).map(piece).collect();
    // What is last stays, so that the free memory before it is not given back to the system.
    if let Some(last) = std::hint::black_box(&mut pieces).pop() {
        last.leak();
    }
}
