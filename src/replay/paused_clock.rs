//! The paused clock: the clock that allocators read stands still while a child waits for its time
//! slice. In a replay it may show the time of the recorded program instead.
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
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use libc::{c_int, clockid_t, timespec};

/// Nanoseconds by which the clock of allocators is ahead of the system's. It is behind by the time
/// that this process has waited for its time slices.
static AHEAD_NS: AtomicI64 = AtomicI64::new(0);

/// Time of the recorded program, in ns, that the clock of allocators shows; [`NO_PROGRAM`] while it
/// advances by itself.
static PROGRAM_NS: AtomicU64 = AtomicU64::new(NO_PROGRAM);
const NO_PROGRAM: u64 = u64::MAX;

/// The clocks that advance while a process sleeps.
const CLOCKS: [clockid_t; 4] = [
    libc::CLOCK_MONOTONIC,
    libc::CLOCK_MONOTONIC_COARSE,
    libc::CLOCK_MONOTONIC_RAW,
    libc::CLOCK_BOOTTIME,
];

/// What each of [`CLOCKS`] showed when the program of [`PROGRAM_NS`] began, in ns.
static BEGAN_NS: [AtomicU64; CLOCKS.len()] = [const { AtomicU64::new(0) }; CLOCKS.len()];

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
/// while a process sleeps. While there is a `ProgramClock`, these show its time.
///
/// # Safety
/// `time` points to a writable `timespec`.
pub unsafe extern "C" fn paused_clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's own arguments.
    let code = unsafe { library()(clock, time) };
    let (ahead, program) = (AHEAD_NS.load(Ordering::Relaxed), PROGRAM_NS.load(Ordering::Acquire));
    let number = CLOCKS.iter().position(|known| *known == clock);
    if let Some(number) = number
        && code == 0
        && (ahead != 0 || program != NO_PROGRAM)
    {
        // SAFETY: the call succeeded, so `time` points to a time.
        let time = unsafe { &mut *time };
        let now = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        let shown = match program {
            NO_PROGRAM => now.saturating_add_signed(ahead),
            program => BEGAN_NS[number].load(Ordering::Relaxed).saturating_add(program),
        };
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
    AHEAD_NS.fetch_sub(real().saturating_sub(began) as i64, Ordering::Relaxed);
    result
}

/// What a clock of allocators shows now, in ns.
fn shown_ns(clock: clockid_t) -> u64 {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place takes a time; a clock that this kernel does not have leaves it as it is.
    unsafe { paused_clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The clock of the recorded program: allocators read it in place of the system's until it is
/// dropped. There is one at a time, in a process that defines `clock_gettime` as above.
///
/// A thread of an allocator that sleeps by itself sleeps by the system's clock all the same.
pub struct ProgramClock(());

impl ProgramClock {
    /// The program begins now. Its clock stands still until it is set.
    pub fn begin() -> ProgramClock {
        for (clock, began) in CLOCKS.iter().zip(&BEGAN_NS) {
            began.store(shown_ns(*clock), Ordering::Relaxed);
        }
        PROGRAM_NS.store(0, Ordering::Release);
        ProgramClock(())
    }

    /// The program has run for so many nanoseconds, no fewer than before.
    pub fn set(&self, program_ns: u64) {
        PROGRAM_NS.store(program_ns.min(NO_PROGRAM - 1), Ordering::Release);
    }
}

impl Drop for ProgramClock {
    /// From now on the clock advances by itself, from where it is.
    fn drop(&mut self) {
        let last = shown_ns(libc::CLOCK_MONOTONIC);
        PROGRAM_NS.store(NO_PROGRAM, Ordering::Release);
        let behind = last as i64 - shown_ns(libc::CLOCK_MONOTONIC) as i64;
        AHEAD_NS.fetch_add(behind, Ordering::Relaxed);
    }
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

    /// The second half would fail where another test reads the clock of the program meanwhile; no other
    /// sets it.
    #[test]
    fn a_program_s_clock_stands_until_it_is_set_and_then_goes_on() {
        let began = Instant::now();
        let clock = ProgramClock::begin();
        let fixed = Instant::now();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(Instant::now(), fixed);
        clock.set(70_000_000);
        assert_eq!(fixed.elapsed(), Duration::from_millis(70));
        drop(clock);
        assert!(fixed.elapsed() >= Duration::from_millis(70) && fixed >= began);
        let later = Instant::now();
        std::thread::sleep(Duration::from_millis(5));
        assert!(later.elapsed() >= Duration::from_millis(5));
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
