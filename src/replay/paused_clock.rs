//! The paused clock: the clock that allocators read stands still while a child waits for its time
//! slice.
//!
//! In an interleaved batch each child sleeps most of the time, so wall time passes many times as
//! fast as the child's own work. An allocator with a purge delay of 10 ms would purge after less
//! than 1 ms of its own work, and the purge would be timed.
//!
//! So a program that measures defines a `clock_gettime` that takes precedence over the C library's
//! and calls [`paused_clock_gettime`]; [`crate::isolate_measurement!`] does this. Compiled-in
//! allocators and loaded libraries call it. It subtracts the waiting time from the clocks that
//! count it.
#![expect(unsafe_code, reason = "stands before a function of the C library")]

use std::mem::transmute;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{c_int, clockid_t, timespec};

/// Nanoseconds that this process has waited for its time slices.
static WAITED_NS: AtomicU64 = AtomicU64::new(0);

/// The type of `clock_gettime`.
type ClockGettime = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;

/// A system call, where no library has a quicker way.
unsafe extern "C" fn by_system_call(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's pointer takes a time.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int }
}

/// The C library's own function.
fn library() -> ClockGettime {
    static FOUND: OnceLock<ClockGettime> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: looks a name up in the libraries after this program. A function of this name has
        // this type.
        unsafe {
            let found = libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr());
            if found.is_null() {
                by_system_call
            } else {
                transmute::<*mut libc::c_void, ClockGettime>(found)
            }
        }
    })
}

/// The C library's `clock_gettime`, less the time spent in `waiting` on the clocks that advance
/// while a process sleeps.
///
/// # Safety
/// `time` points to a writable `timespec`.
pub unsafe extern "C" fn paused_clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's own arguments.
    let code = unsafe { library()(clock, time) };
    let waited = WAITED_NS.load(Ordering::Relaxed);
    let advances = matches!(
        clock,
        libc::CLOCK_MONOTONIC
            | libc::CLOCK_MONOTONIC_COARSE
            | libc::CLOCK_MONOTONIC_RAW
            | libc::CLOCK_BOOTTIME
    );
    if code == 0 && advances && waited > 0 {
        // SAFETY: the call succeeded, so `time` points to a time.
        let time = unsafe { &mut *time };
        let now = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        let shown = now.saturating_sub(waited);
        time.tv_sec = (shown / 1_000_000_000) as _;
        time.tv_nsec = (shown % 1_000_000_000) as _;
    }
    code
}

/// Runs `wait` and subtracts its duration from the clocks.
pub fn waiting<T>(wait: impl FnOnce() -> T) -> T {
    let real = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    };
    // The look-up happens here, so it never happens in an allocator's first clock read.
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

    /// The clock of this test program, as [`crate::isolate_measurement!`] defines it.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { paused_clock_gettime(clock, time) }
    }

    #[test]
    fn waiting_time_is_not_on_the_clock_and_other_time_is() {
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
        // The waiting time is not on the clock; a busy machine may make all other times longer.
        assert!(
            passed >= 0.3 && all.as_secs_f64() < slept.as_secs_f64() + passed - 0.2,
            "{all:?}, {passed} s"
        );
    }
}
