//! The library that `heaplay live` loads into a program (`LD_PRELOAD`). It reads what the process
//! holds at its marks and at its end, and which allocator serves it. The build script of heaplay
//! compiles it and embeds it in the binary.
//!
//! It exports no function of an allocator, starts no thread, and allocates nothing. So the program
//! runs as it does without. Only a process that it ends at its start makes one block before. The
//! observer writes to a page (`page.rs`) that `heaplay live` reads. The
//! order comes in one variable, whose layout is there, too.
#![allow(
    unsafe_code,
    reason = "loaded into a C program: its end and its memory are behind C calls"
)]
#![deny(unsafe_op_in_unsafe_fn)]

#[path = "../recorder/allocator.rs"]
#[allow(dead_code, reason = "the recorder's file; only the version is read here")]
mod allocator;
mod native;
#[allow(dead_code, reason = "the reader of the page has the other names")]
mod page;
mod process;
#[path = "../recorder/system.rs"]
#[allow(dead_code, reason = "the recorder's file; it needs more of the C library")]
mod system;

use core::ffi::{CStr, c_char, c_int};

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = construct;

#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = destruct;

extern "C" fn construct() {
    process::begin();
}

extern "C" fn destruct() {
    process::end(page::end::EXIT);
}

/// Notes that a phase of the program begins. `python/heaplay/__init__.py` calls this function by name.
///
/// # Safety
/// `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heaplay_mark(name: *const c_char) {
    if !name.is_null() {
        // SAFETY: as the caller guarantees.
        process::mark(unsafe { CStr::from_ptr(name) }.to_bytes());
    }
}

/// Records nothing: `python/heaplay/__init__.py` looks for a recorder under this name.
#[unsafe(no_mangle)]
pub extern "C" fn heaplay_record(
    _base: *const c_char,
    _sites: u32,
    _max_events: u64,
    _max_bytes: u64,
    _duration_ns: u64,
) -> *const c_char {
    c"`heaplay live` runs this program, and records nothing".as_ptr()
}

/// As [`heaplay_record`]: there is nothing to stop.
#[unsafe(no_mangle)]
pub extern "C" fn heaplay_stop() -> *const c_char {
    c"".as_ptr()
}

/// Ends the process without its destructors, as the C library's function does, after a last look.
#[unsafe(no_mangle)]
pub extern "C" fn _exit(code: c_int) -> ! {
    process::end(page::end::SHORT_EXIT);
    native::exit_now(code)
}

/// The same under the name of C99.
#[unsafe(no_mangle)]
pub extern "C" fn _Exit(code: c_int) -> ! {
    _exit(code)
}
