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

/// The address that callers of `malloc` reach. The observer comes before all other libraries, and has no
/// `malloc`.
pub fn real_malloc() -> *const c_void {
    let found = system::symbol(c"malloc");
    if leads_on(found) { system::next_symbol(c"malloc") } else { found }
}

/// Whether that is the C library's own: it lies in the file of a function that no allocator has.
pub fn is_c_library() -> bool {
    let file = system::file_of(real_malloc());
    file.is_some() && file == system::file_of(system::symbol(c"gnu_get_libc_version"))
}

/// Whether an address is an entry of the executable that leads on to a library's function. An executable
/// has one where it takes the function's address and is not position-independent, as Debian's Pythons.
/// Its symbol has a value, and is undefined.
#[cfg(target_env = "gnu")]
fn leads_on(address: *const c_void) -> bool {
    const RTLD_DL_SYMENT: c_int = 1;
    unsafe extern "C" {
        fn dladdr1(
            address: *const c_void,
            found: *mut [*mut c_void; 4],
            symbol: *mut *const ElfSymbol,
            flags: c_int,
        ) -> c_int;
    }
    let (mut found, mut symbol) = ([core::ptr::null_mut(); 4], core::ptr::null());
    // SAFETY: fills a `Dl_info`, of four pointers, and a pointer to a symbol of a loaded file, or null.
    unsafe {
        let is_known = dladdr1(address, &raw mut found, &raw mut symbol, RTLD_DL_SYMENT) != 0;
        is_known && !symbol.is_null() && (*symbol).section == 0
    }
}

/// musl's loader does not tell.
#[cfg(not(target_env = "gnu"))]
fn leads_on(_address: *const c_void) -> bool {
    false
}

/// `Elf64_Sym`.
#[cfg(target_env = "gnu")]
#[repr(C)]
struct ElfSymbol {
    _name: u32,
    _info: u8,
    _other: u8,
    /// 0 for an undefined symbol.
    section: u16,
    _value: u64,
    _size: u64,
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
