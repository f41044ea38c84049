//! The few functions of libc that the recorder needs. They are declared by hand, so the recorder has
//! no dependencies. The declarations hold for Linux on 64-bit machines, where file offsets are 64
//! bits wide.

use core::ffi::{c_char, c_int, c_long, c_void};

pub const RTLD_DEFAULT: *mut c_void = core::ptr::null_mut();
pub const O_RDONLY: c_int = 0;
pub const O_RDWR: c_int = 2;
pub const O_CREAT: c_int = 0o100;
pub const O_EXCL: c_int = 0o200;
pub const O_CLOEXEC: c_int = 0o2_000_000;
pub const EEXIST: c_int = 17;
pub const ENOSPC: c_int = 28;
pub const EFBIG: c_int = 27;
pub const RLIMIT_FSIZE: c_int = 1;
pub const PROT_READ_WRITE: c_int = 1 | 2;
pub const MAP_SHARED: c_int = 1;
pub const MAP_PRIVATE_ANONYMOUS: c_int = 2 | 0x20;
pub const MAP_FAILED: *mut c_void = !0usize as *mut c_void;
pub const CLOCK_MONOTONIC: c_int = 1;

#[repr(C)]
pub struct Timespec {
    pub seconds: i64,
    pub nanoseconds: c_long,
}

unsafe extern "C" {
    pub fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    pub fn open(path: *const c_char, flags: c_int, mode: u32) -> c_int;
    pub fn close(fd: c_int) -> c_int;
    pub fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
    pub fn posix_fallocate(fd: c_int, offset: i64, length: i64) -> c_int;
    pub fn mmap(
        a: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> *mut c_void;
    pub fn munmap(address: *mut c_void, length: usize) -> c_int;
    pub fn pwrite(fd: c_int, buffer: *const c_void, count: usize, offset: i64) -> isize;
    pub fn write(fd: c_int, buffer: *const c_void, count: usize) -> isize;
    pub fn getrlimit(resource: c_int, limit: *mut [u64; 2]) -> c_int;
    pub fn unlink(path: *const c_char) -> c_int;
    pub fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    pub fn getcwd(buffer: *mut c_char, size: usize) -> *mut c_char;
    pub fn getpid() -> c_int;
    pub fn getppid() -> c_int;
    pub fn getenv(name: *const c_char) -> *const c_char;
    pub fn sched_yield() -> c_int;
    pub fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> c_int;
    pub fn _exit(code: c_int) -> !;
    fn __errno_location() -> *mut c_int;
}

/// Whether this process may write a file of so many bytes. Trying it out would raise SIGXFSZ.
pub fn may_write(bytes: i64) -> bool {
    let mut limit = [u64::MAX; 2];
    // SAFETY: the array has the layout of the struct: two 64-bit numbers. The first is the limit in
    // force.
    unsafe { getrlimit(RLIMIT_FSIZE, &raw mut limit) };
    bytes as u64 <= limit[0]
}

/// This thread's `errno`.
pub fn errno() -> c_int {
    // SAFETY: libc gives every thread a valid address.
    unsafe { *__errno_location() }
}

/// Runs `work` and leaves `errno` as it was. The program must not see the errors of the recorder's
/// own calls.
pub fn preserving_errno<T>(work: impl FnOnce() -> T) -> T {
    let before = errno();
    let result = work();
    // SAFETY: as above.
    unsafe { *__errno_location() = before };
    result
}

/// The monotonic clock, nanoseconds.
pub fn monotonic_ns() -> u64 {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `time` is a valid timespec; this clock always exists.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &raw mut time) };
    (time.seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(time.nanoseconds as u64)
}

/// The address of a function or variable of the process; null where the name is unknown.
pub fn symbol(name: &core::ffi::CStr) -> *mut c_void {
    // SAFETY: the name is a C string.
    unsafe { dlsym(RTLD_DEFAULT, name.as_ptr()) }
}

/// An environment variable's bytes; `None` where the variable is not set.
///
/// # Safety
/// Only while no thread changes the environment: in the constructor.
pub unsafe fn environment(name: &core::ffi::CStr) -> Option<&'static [u8]> {
    // SAFETY: the name is a C string; the caller guarantees that the environment does not change.
    let value = unsafe { getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: getenv returns a C string.
    Some(unsafe { core::ffi::CStr::from_ptr(value) }.to_bytes())
}

/// Fresh zeroed memory from the kernel, null where the kernel has none. Only [`munmap`] frees it.
pub fn pages(bytes: usize) -> *mut c_void {
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no other mapping.
    let at = unsafe {
        mmap(core::ptr::null_mut(), bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
    };
    if at == MAP_FAILED { core::ptr::null_mut() } else { at }
}
