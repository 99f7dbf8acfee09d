//! Asking for memory ahead of its use.

/// Asks for the cache line of an element that will be read soon; no effect where there is none.
#[inline(always)]
pub fn prefetch<T>(of: &[T], index: usize) {
    ask(of.as_ptr().wrapping_add(index));
}

/// Asks for the cache line that a value begins in.
#[inline(always)]
pub fn fetch<T>(value: &T) {
    ask(value);
}

/// Asks for the cache line of an element that will be written soon, out of the cache of whichever core
/// has read it last; no effect where there is none.
#[inline(always)]
pub fn prefetch_to_write<T>(of: &[T], index: usize) {
    let value = of.as_ptr().wrapping_add(index);
    // SAFETY: as of any prefetch; a processor that does not know this one takes it for none.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[allow(unsafe_code)]
    #[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written there")]
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) value, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    ask(value);
}

#[inline(always)]
fn ask<T>(value: *const T) {
    // SAFETY: a prefetch reads nothing and cannot fault, whatever the address.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(value.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
