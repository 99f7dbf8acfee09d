//! Memory that is written for another processor, past the caches of this one.
//!
//! A line of memory that another processor has in a cache must be taken from there before it can be written. Where the
//! two have no cache in common that is some 27 ns a line, however early it is asked for: what goes to and fro between
//! threads costs most where it is written. A streaming store leaves the line to memory as a whole: 2.5 ns, and to read it
//! there takes the other no longer (`cargo bench --bench cores`).

#![allow(unsafe_code, reason = "streaming stores are no part of the language")]

use std::mem::MaybeUninit;
use std::ptr;

use crate::MemoryLine;

/// For whom something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// The one that writes it.
    This,
    /// Another.
    Other,
}

/// Bytes of a line of memory.
const LINE: usize = size_of::<MemoryLine>();

/// Copies runs of lines that a thread on another processor will read, and this one will not: they are in none of its
/// caches afterwards. Panics where a run is not as long as its place.
pub fn copy_past_caches<'a>(
    runs: impl IntoIterator<Item = (&'a [MemoryLine], &'a mut [MemoryLine])>,
) {
    for (from, to) in runs {
        assert_eq!(from.len(), to.len(), "as many lines as are copied");
        // SAFETY: both are so many whole lines, of which one is nobody else's.
        unsafe { stream(from.as_ptr().cast(), to.as_mut_ptr().cast(), from.len()) };
    }
    settle();
}

/// Puts copies of all these in the place of what was there, in the same way.
pub fn replace_past_caches<T: Copy>(from: &[T], to: &mut Vec<T>) {
    if to.capacity() < from.len() {
        // What it holds goes: it need not be copied to a longer one. A little longer than asked for, the next few fit, too.
        *to = Vec::with_capacity(from.len() + from.len() / 8);
    }
    to.clear();
    // SAFETY: there is room for as many as are copied, and nobody else has it. Copies of these values are such values.
    unsafe {
        stream_bytes(from.as_ptr().cast(), to.as_mut_ptr().cast(), size_of_val(from));
        to.set_len(from.len());
    }
    settle();
}

/// Copies bytes to where nothing may have been yet, in the same way. Panics where there are more or fewer than fit.
pub fn copy_past_caches_to(from: &[u8], to: &mut [MaybeUninit<u8>]) {
    assert_eq!(from.len(), to.len(), "as many bytes as are copied");
    // SAFETY: both are so many bytes, of which one is nobody else's.
    unsafe { stream_bytes(from.as_ptr(), to.as_mut_ptr().cast(), from.len()) };
    settle();
}

/// Copies so many bytes: lines from the first that begins there on, what is before and behind them as usual.
///
/// # Safety
/// As [`stream`], but that `to` need not begin a line.
#[inline(always)]
unsafe fn stream_bytes(from: *const u8, to: *mut u8, bytes: usize) {
    let before = to.align_offset(LINE).min(bytes);
    let lines = (bytes - before) / LINE;
    let behind = before + lines * LINE;
    // SAFETY: the caller's promise.
    unsafe {
        ptr::copy_nonoverlapping(from, to, before);
        stream(from.add(before), to.add(before), lines);
        ptr::copy_nonoverlapping(from.add(behind), to.add(behind), bytes - behind);
    }
}

/// Copies so many lines; who tells others of them must [`settle`] first.
///
/// # Safety
/// `from` may be read for so many lines, whatever stands there; `to` begins a line, may be written for as many, and
/// nobody looks at any of it meanwhile.
#[inline(always)]
unsafe fn stream(from: *const u8, to: *mut u8, lines: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in (0..lines * LINE).step_by(LINE) {
        // SAFETY: the caller's promise. Every processor of this architecture has these instructions. In assembler, since
        // what is copied may be padding, which is no number.
        unsafe {
            std::arch::asm!(
                "movdqu {a}, [{from}]",
                "movdqu {b}, [{from} + 16]",
                "movdqu {c}, [{from} + 32]",
                "movdqu {d}, [{from} + 48]",
                "movntdq [{to}], {a}",
                "movntdq [{to} + 16], {b}",
                "movntdq [{to} + 32], {c}",
                "movntdq [{to} + 48], {d}",
                from = in(reg) from.add(line),
                to = in(reg) to.add(line),
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: the caller's promise.
    unsafe {
        ptr::copy_nonoverlapping(from, to, lines * LINE);
    }
}

/// Streaming stores keep no order: all of them come before whatever this thread writes next, so that who is told of the
/// lines sees them.
#[inline(always)]
fn settle() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every processor of this architecture has it.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
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
    fn bytes_and_structures_of_any_length_are_replaced() {
        #[derive(Clone, Copy, Debug, PartialEq)]
        struct Padded(u8, u64, u16);
        let (mut bytes, mut padded) = (vec![9; 7], Vec::new());
        for len in (0..300).chain([0, 5]) {
            let wanted: Vec<u8> = (0..len).map(|n| n as u8).collect();
            replace_past_caches(&wanted, &mut bytes);
            assert_eq!(bytes, wanted);
            let wanted: Vec<_> =
                wanted.iter().map(|n| Padded(*n, u64::MAX - u64::from(*n), 7)).collect();
            replace_past_caches(&wanted, &mut padded);
            assert_eq!(padded, wanted);
        }
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
            let rows = [0, 1, 2, 3, 4, 4, 2];
            over.hand_over(&made, &rows[..5], Processor::Other);
            over.hand_over(&made, &rows[5..], Processor::This);
            assert_eq!(over.len(), 7);
            for (row, event) in rows.iter().zip(over.iter()) {
                let made = made.get(*row as usize);
                assert_eq!(event.told(), made.told(), "row {row} of round {round}");
            }
        }
    }
}
