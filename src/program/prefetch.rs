//! A hint to the processor: memory that is needed soon. A program knows its addresses long before
//! it uses them.

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "a hint to the processor")]
pub(crate) fn prefetch<T>(place: *const T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch does not fault, whatever the address.
    unsafe { _mm_prefetch(place.cast(), _MM_HINT_T0) };
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
#[expect(unsafe_code, reason = "a hint to the processor")]
pub(crate) fn prefetch<T>(place: *const T) {
    use std::arch::asm;
    // SAFETY: a prefetch does not fault, whatever the address, and changes nothing that a program
    // can see.
    unsafe {
        asm!(
            "prfm pldl1keep, [{}]", in(reg) place,
            options(nostack, readonly, preserves_flags)
        )
    };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
pub(crate) fn prefetch<T>(_: *const T) {}
