//! The clock that allocators see stands still while a child waits for its turn.
//!
//! In a batch each child sleeps most of the time, so the wall clock runs many times as fast for it
//! as its own work does: an allocator that purges what was free for 10 ms would purge after less
//! than 1 ms of its own, and be timed for that. This program therefore has a `clock_gettime` of its
//! own, before the C library's, for the compiled-in allocators and for libraries that are loaded
//! into it: it takes the time spent waiting off the clocks that count it.
#![expect(unsafe_code, reason = "stands before a function of the C library")]

use std::mem::transmute;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{c_int, clockid_t, timespec};

/// Nanoseconds that this process has waited for turns.
static WAITED_NS: AtomicU64 = AtomicU64::new(0);

/// The type of `clock_gettime`.
type Read = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;

/// Asks the kernel, where no library has a quicker way.
unsafe extern "C" fn by_system_call(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's place takes a time.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int }
}

/// The C library's own function.
fn library() -> Read {
    static FOUND: OnceLock<Read> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: looks a name up behind this program; what it finds has the type of the function
        // of that name.
        unsafe {
            let found = libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr());
            if found.is_null() {
                by_system_call
            } else {
                transmute::<*mut libc::c_void, Read>(found)
            }
        }
    })
}

/// As the C library's, less the time spent in [`waiting`] on the clocks that go on while a process
/// sleeps.
///
/// # Safety
/// `time` is a place for a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's own arguments.
    let code = unsafe { library()(clock, time) };
    let waited = WAITED_NS.load(Ordering::Relaxed);
    let goes_on = matches!(
        clock,
        libc::CLOCK_MONOTONIC
            | libc::CLOCK_MONOTONIC_COARSE
            | libc::CLOCK_MONOTONIC_RAW
            | libc::CLOCK_BOOTTIME
    );
    if code == 0 && goes_on && waited > 0 {
        // SAFETY: the call succeeded, so the place holds a time.
        let time = unsafe { &mut *time };
        let now = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        let shown = now.saturating_sub(waited);
        time.tv_sec = (shown / 1_000_000_000) as _;
        time.tv_nsec = (shown % 1_000_000_000) as _;
    }
    code
}

/// Does `wait`, and takes what it lasted off the clocks.
pub fn waiting<T>(wait: impl FnOnce() -> T) -> T {
    let real = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    };
    // The library's function is looked up before, so that no allocator's first look at the clock
    // does it.
    let _ = library();
    let began = real();
    let result = wait();
    WAITED_NS.fetch_add(real().saturating_sub(began), Ordering::Relaxed);
    result
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn time_spent_waiting_is_not_on_the_clock_and_other_time_is() {
        let began = Instant::now();
        std::thread::sleep(Duration::from_millis(30));
        let slept = began.elapsed();
        assert!(slept >= Duration::from_millis(30), "{slept:?}");
        let real = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        waiting(|| std::thread::sleep(Duration::from_millis(300)));
        let real_after = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let all = began.elapsed();
        let passed = (real_after.tv_sec - real.tv_sec) as f64
            + (real_after.tv_nsec - real.tv_nsec) as f64 / 1e9;
        // Of what passed in between nothing is there; a busy machine may make everything else
        // longer.
        assert!(
            passed >= 0.3 && all.as_secs_f64() < slept.as_secs_f64() + passed - 0.2,
            "{all:?}, {passed} s"
        );
    }
}
