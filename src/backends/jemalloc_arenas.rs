//! What jemalloc reports of its arenas, by `mallctl`: the one that is compiled in, and one in a
//! shared library.
#![expect(unsafe_code, reason = "calls jemalloc")]

use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write;
use std::os::fd::RawFd;
use std::ptr;

use super::arena_report::{self, StackText};

/// `mallctl` of jemalloc(3).
pub(super) type MallctlFn =
    unsafe extern "C" fn(*const c_char, *mut c_void, *mut usize, *mut c_void, usize) -> c_int;

/// A number of a control: of 8 bytes, or of 4.
fn number(mallctl: MallctlFn, name: std::fmt::Arguments<'_>) -> Option<u64> {
    let mut text = StackText::default();
    text.write_fmt(name).ok()?;
    text.write_str("\0").ok()?;
    for length in [8_usize, 4] {
        let (mut value, mut written) = (0_u64, length);
        // SAFETY: the name ends with a zero, and the place has 8 bytes. A control refuses any length
        // but its own.
        let code = unsafe {
            let place = ptr::from_mut(&mut value).cast();
            mallctl(text.as_ptr().cast(), place, &mut written, ptr::null_mut(), 0)
        };
        if code == 0 && written == length {
            return Some(value);
        }
    }
    None
}

/// Writes a line for each arena that is in use; `false` where this jemalloc counts nothing.
pub(super) fn write(mallctl: MallctlFn, out: RawFd) -> bool {
    let mut epoch = 1_u64;
    // SAFETY: the control takes a number of 8 bytes, at which jemalloc counts anew.
    unsafe {
        let place = ptr::from_mut(&mut epoch).cast();
        mallctl(c"epoch".as_ptr(), ptr::null_mut(), ptr::null_mut(), place, 8);
    }
    let arenas = number(mallctl, format_args!("arenas.narenas")).unwrap_or(0);
    let mut is_written = false;
    for arena in 0..arenas {
        macro_rules! figure {
            ($name:literal) => {
                number(mallctl, format_args!(concat!("stats.arenas.{}.", $name), arena))
            };
        }
        let (small, large) = (figure!("small.allocated"), figure!("large.allocated"));
        let Some(resident) = figure!("resident").filter(|bytes| *bytes > 0) else { continue };
        let allocated = small.zip(large).map(|(small, large)| small + large);
        let figures = [figure!("nthreads"), Some(resident), allocated, figure!("tcache_bytes")];
        is_written |= arena_report::write(out, format_args!("arena {arena}"), figures);
    }
    is_written
}
