//! Sleeping in the kernel until a number changes.

use std::sync::atomic::AtomicU32;

use rustix::thread::futex;

/// Sleeps while the word has that value. It may return at any time, so the caller checks its
/// condition again.
pub(super) fn wait(word: &AtomicU32, value: u32) {
    // It fails where the word has another value, or where a signal came.
    let _ = futex::wait(word, futex::Flags::PRIVATE, value, None);
}

/// Wakes up to `count` threads that sleep at the word.
pub(super) fn wake(word: &AtomicU32, count: u32) {
    // It fails only for an address that is no memory.
    let _ = futex::wake(word, futex::Flags::PRIVATE, count);
}
