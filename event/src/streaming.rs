//! Memory that is written for another processor, past the caches of this one.
//!
//! A line of memory that another processor has in a cache must be taken from there before it can be written. Where the
//! two have no cache in common that is some 27 ns a line, however early it is asked for: what goes to and fro between
//! threads costs most where it is written. A streaming store leaves the line to memory as a whole: 2.5 ns, and to read it
//! there takes the other no longer (`cargo bench --bench cores`).

#![allow(unsafe_code, reason = "streaming stores are no part of the language")]

use crate::MemoryLine;

/// Copies runs of lines that a thread on another processor will read, and this one will not: they are in none of its
/// caches afterwards. Panics where a run is not as long as its place.
pub fn copy_past_caches<'a>(
    runs: impl IntoIterator<Item = (&'a [MemoryLine], &'a mut [MemoryLine])>,
) {
    for (from, to) in runs {
        assert_eq!(from.len(), to.len(), "as many lines as are copied");
        from.iter().zip(to).for_each(|(from, to)| stream(from, to));
    }
    // SAFETY: every processor of this architecture has it. Streaming stores keep no order: now they come before whatever
    // this thread writes next, so that who is told of the lines sees them.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[inline(always)]
fn stream(from: &MemoryLine, to: &mut MemoryLine) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{__m128i, _mm_load_si128, _mm_stream_si128};
        let from = std::ptr::from_ref(from).cast::<__m128i>();
        let to = std::ptr::from_mut(to).cast::<__m128i>();
        for part in 0..4 {
            // SAFETY: a line is 64 bytes that begin at a multiple of 64, so that these four parts lie in theirs; any bytes
            // are a line. Every processor of this architecture has these instructions.
            unsafe { _mm_stream_si128(to.add(part), _mm_load_si128(from.add(part))) };
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    to.clone_from(from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::field;
    use crate::{EventBlock, FieldType, Symbol, Vocabulary};

    #[test]
    fn what_is_copied_is_all_that_is_written() {
        let line = |n: u64| MemoryLine([n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7]);
        let from: Vec<MemoryLine> = (0..9).map(|n| line(n * 10)).collect();
        let mut to = vec![line(7_000); 11];
        copy_past_caches([(&from[..4], &mut to[1..5])]);
        copy_past_caches([(&from[4..], &mut to[5..10])]);
        assert_eq!((to[0].0, to[10].0), (line(7_000).0, line(7_000).0));
        assert!(from.iter().zip(&to[1..]).all(|(from, to)| from.0 == to.0));
    }

    #[test]
    fn another_thread_sees_all_of_it() {
        let (send, receive) = std::sync::mpsc::channel::<Vec<MemoryLine>>();
        let reader = std::thread::spawn(move || {
            let mut sum = 0;
            while let Ok(lines) = receive.recv() {
                sum += lines.iter().flat_map(|line| line.0).sum::<u64>();
            }
            sum
        });
        let rounds: u64 = if cfg!(miri) { 3 } else { 1_000 };
        for round in 0..rounds {
            let mut lines = vec![MemoryLine([u64::MAX; 8]); 20];
            copy_past_caches([(&[MemoryLine([round; 8]); 20][..], &mut lines[..])]);
            send.send(lines).expect("the other thread receives");
        }
        drop(send);
        assert_eq!(reader.join().expect("it ends"), (0..rounds).sum::<u64>() * 8 * 20);
    }

    /// Short rows and long ones, in blocks that serve again: what is handed over is what was there.
    #[test]
    fn rows_that_are_handed_over_are_those_that_were() {
        let mut vocabulary = Vocabulary::default();
        let last = (0..12).map(|n| vocabulary.declare_field(&format!("more{n}"), FieldType::Int));
        let last = last.last().expect("a dozen").expect("there is room");
        let mut made = EventBlock::new(&vocabulary);
        let mut over = EventBlock::new(&vocabulary);
        for (round, long) in [None, Some(2), None].into_iter().enumerate() {
            made.clear();
            over.clear();
            for row in 0..5_u32 {
                let mut event = made.push();
                event.place(Symbol(row), Symbol(round as u32));
                event.text(field::DOOR, Symbol(row + 7));
                if long == Some(row) {
                    event.int(last, -1);
                }
            }
            over.hand_over(&made);
            over.hand_over(&made);
            assert_eq!(over.len(), 10);
            for (row, event) in over.iter().enumerate() {
                assert_eq!(event.words(), made.get(row % 5).words(), "row {row} of round {round}");
            }
        }
    }
}
