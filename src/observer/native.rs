//! The `malloc` that serves the process, and the system call that ends it.

use core::ffi::{c_int, c_long, c_void};

use crate::system;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn malloc(bytes: usize) -> *mut c_void;
    fn free(block: *mut c_void);
}

/// The number of `exit_group`.
#[cfg(target_arch = "x86_64")]
const SYS_EXIT_GROUP: c_long = 231;
#[cfg(not(target_arch = "x86_64"))]
const SYS_EXIT_GROUP: c_long = 94;

/// The address that callers of `malloc` reach.
pub fn real_malloc() -> *const c_void {
    system::symbol(c"malloc")
}

/// Whether that is the C library's own: it lies in the file of a function that no allocator has.
pub fn is_c_library() -> bool {
    let file = |name| system::file_of(system::symbol(name));
    file(c"malloc").is_some() && file(c"malloc") == file(c"gnu_get_libc_version")
}

/// Makes one block and ends it, so that the process's allocator is ready for its first call. Only a
/// process that is then ended calls this.
pub fn use_malloc() {
    // SAFETY: a block of `malloc` is given to its `free`; a null pointer may be freed.
    unsafe { free(core::hint::black_box(malloc(core::hint::black_box(64)))) };
}

/// Ends the process.
pub fn exit_now(code: c_int) -> ! {
    loop {
        // SAFETY: a system call that takes a number.
        unsafe { syscall(SYS_EXIT_GROUP, c_long::from(code)) };
    }
}
