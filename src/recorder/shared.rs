//! A cell for the state of the process that C callbacks reach.

use core::cell::UnsafeCell;

/// State of the process that C callbacks reach. Each use says why no other thread touches the
/// state at that moment.
pub struct ProcessState<T>(UnsafeCell<T>);

// SAFETY: every use goes through a raw pointer inside an unsafe block, which says why the access is
// exclusive.
unsafe impl<T> Sync for ProcessState<T> {}

impl<T> ProcessState<T> {
    pub const fn new(value: T) -> ProcessState<T> {
        ProcessState(UnsafeCell::new(value))
    }

    #[inline(always)]
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}
