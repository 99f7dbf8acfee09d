//! Asking for memory ahead of its use.

/// Asks for the cache line of an element that will be read soon; no effect where there is none.
#[inline(always)]
pub fn prefetch<T>(of: &[T], index: usize) {
    if let Some(element) = of.get(index) {
        fetch(element);
    }
}

/// Asks for the cache line that a value begins in.
#[inline(always)]
pub fn fetch<T>(value: &T) {
    // SAFETY: a prefetch reads nothing and cannot fault; the address is that of a live reference.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
