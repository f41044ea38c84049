//! The number of glibc's arenas in a child that stays on one processor.
//!
//! glibc makes at most 8 arenas for each processor that the process may use. A timed child is bound
//! to one processor, and the program was not. So a child with threads gets the limit that its
//! parent's processors give, where no setting names another.
#![expect(unsafe_code, reason = "calls the C library's allocator")]

use std::sync::Once;

use rustix::process::{Pid, getppid};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::environment::GLIBC_TUNABLES;

/// `M_ARENA_MAX` of `malloc.h`.
const M_ARENA_MAX: libc::c_int = -8;
/// Arenas for each processor (`NARENAS_FROM_NCORES` in malloc/arena.c).
const ARENAS_FOR_A_PROCESSOR: u32 = if size_of::<usize>() == 4 { 2 } else { 8 };

/// Sets the limit, once in a process. Call it before the first call of a further thread.
pub(super) fn restore() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let is_set = !variable("MALLOC_ARENA_MAX").is_empty()
            || variable(GLIBC_TUNABLES).contains("glibc.malloc.arena_max");
        let (own, parent) = (processors(None), processors(getppid()));
        if !is_set && own < parent {
            let limit = parent.saturating_mul(ARENAS_FOR_A_PROCESSOR);
            // SAFETY: only sets a limit.
            unsafe { libc::mallopt(M_ARENA_MAX, limit.try_into().unwrap_or(libc::c_int::MAX)) };
        }
    });
}

/// The number of processors that a process may use; 0 where that is not known.
fn processors(process: Option<Pid>) -> u32 {
    sched_getaffinity(process).as_ref().map_or(0, CpuSet::count)
}
