//! The few functions of libc that the recorder needs. They are declared by hand, so the recorder has
//! no dependencies. The declarations hold for Linux on 64-bit machines, where file offsets are 64
//! bits wide.

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};

pub const RTLD_DEFAULT: *mut c_void = core::ptr::null_mut();
/// The next library in the order of lookup after the caller's.
pub const RTLD_NEXT: *mut c_void = !0usize as *mut c_void;
pub const O_RDONLY: c_int = 0;
pub const O_RDWR: c_int = 2;
pub const O_CREAT: c_int = 0o100;
pub const O_EXCL: c_int = 0o200;
pub const O_CLOEXEC: c_int = 0o2_000_000;
const EPERM: c_int = 1;
const ENOENT: c_int = 2;
const EACCES: c_int = 13;
pub const EEXIST: c_int = 17;
pub const EFBIG: c_int = 27;
pub const ENOSPC: c_int = 28;
const EROFS: c_int = 30;
const EDQUOT: c_int = 122;
pub const RLIMIT_FSIZE: c_int = 1;
pub const PROT_READ_WRITE: c_int = 1 | 2;
pub const MAP_SHARED: c_int = 1;
pub const MAP_PRIVATE_ANONYMOUS: c_int = 2 | 0x20;
pub const MAP_FAILED: *mut c_void = !0usize as *mut c_void;
pub const CLOCK_MONOTONIC: c_int = 1;
/// Its number in Linux.
const CLOCK_THREAD_CPUTIME_ID: c_int = 3;
pub const MAP_ANONYMOUS: c_int = 0x20;
/// Bytes of a page: the smallest that Linux has on the machines that are recorded.
pub const PAGE_BYTES: usize = 4096;
/// The numbers of `gettid`, `mmap` and `munmap`.
#[cfg(target_arch = "x86_64")]
const SYSTEM_CALLS: [c_long; 3] = [186, 9, 11];
#[cfg(not(target_arch = "x86_64"))]
const SYSTEM_CALLS: [c_long; 3] = [178, 222, 215];
const SYS_GETTID: c_long = SYSTEM_CALLS[0];
const SYS_MMAP: c_long = SYSTEM_CALLS[1];
const SYS_MUNMAP: c_long = SYSTEM_CALLS[2];
const PR_GET_NAME: c_int = 16;

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
    pub fn mincore(address: *mut c_void, length: usize, pages: *mut u8) -> c_int;
    pub fn pthread_key_create(
        key: *mut u32,
        destructor: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> c_int;
    pub fn pthread_setspecific(key: u32, value: *const c_void) -> c_int;
    pub fn readlink(path: *const c_char, buffer: *mut c_char, size: usize) -> isize;
    fn dladdr(address: *const c_void, found: *mut DynamicInfo) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn prctl(option: c_int, ...) -> c_int;
    pub fn _exit(code: c_int) -> !;
    fn __errno_location() -> *mut c_int;
    /// The environment: C strings, and null at the end. Null until the C library is ready.
    pub static environ: *const *const c_char;
}

/// Memory that [`pages`] gave, in bytes.
static OWN_BYTES: AtomicUsize = AtomicUsize::new(0);

/// `Dl_info`.
#[repr(C)]
struct DynamicInfo {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    symbol_address: *mut c_void,
}

/// The file that the code at `address` comes from; `None` where the loader does not know it.
///
/// Takes the loader's lock. A thread in the loader may allocate, so never call this with a lock that
/// an allocation takes.
pub fn file_of(address: *const c_void) -> Option<&'static CStr> {
    let mut found = DynamicInfo {
        file: core::ptr::null(),
        base: core::ptr::null_mut(),
        symbol: core::ptr::null(),
        symbol_address: core::ptr::null_mut(),
    };
    // SAFETY: fills the struct. The name lives as long as the library is loaded.
    unsafe {
        let is_known = dladdr(address, &raw mut found) != 0 && !found.file.is_null();
        is_known.then(|| CStr::from_ptr(found.file))
    }
}

/// The kernel's id of this thread.
pub fn thread_id() -> u64 {
    // SAFETY: a plain call.
    unsafe { syscall(SYS_GETTID) as u64 }
}

/// The name of this thread, with closing zero bytes.
pub fn thread_name() -> [u8; 16] {
    let mut name = [0; 16];
    // SAFETY: the kernel writes at most 16 bytes, with a closing zero.
    unsafe { prctl(PR_GET_NAME, name.as_mut_ptr()) };
    name
}

/// Reads the beginning of a file into `buffer`. Returns the number of bytes, 0 where the file cannot
/// be read.
pub fn read_start(path: &CStr, buffer: &mut [u8]) -> usize {
    // SAFETY: a C string; reads stay inside the buffer.
    unsafe {
        let fd = open(path.as_ptr(), O_RDONLY | O_CLOEXEC, 0);
        if fd < 0 {
            return 0;
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let got = read(fd, buffer.as_mut_ptr().add(filled).cast(), buffer.len() - filled);
            if got <= 0 {
                break;
            }
            filled += got as usize;
        }
        close(fd);
        filled
    }
}

/// Bytes of a file that [`each_line`] reads at a time; a longer line is left out.
const LINES_BYTES: usize = 8192;

/// Gives each line of a file to `take`, without its end.
pub fn each_line(path: &CStr, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0u8; LINES_BYTES];
    let mut filled = 0;
    // SAFETY: a C string; reads stay inside the buffer; the descriptor is this function's own.
    unsafe {
        let fd = open(path.as_ptr(), O_RDONLY | O_CLOEXEC, 0);
        if fd < 0 {
            return;
        }
        loop {
            let space = &mut buffer[filled..];
            let got = read(fd, space.as_mut_ptr().cast(), space.len());
            if got <= 0 {
                break;
            }
            filled += got as usize;
            let mut start = 0;
            while let Some(length) = buffer[start..filled].iter().position(|&byte| byte == b'\n') {
                take(&buffer[start..start + length]);
                start += length + 1;
            }
            if start == 0 && filled == LINES_BYTES {
                filled = 0; // a line that is too long
            } else {
                buffer.copy_within(start..filled, 0);
                filled -= start;
            }
        }
        close(fd);
    }
}

/// Whether this process may write a file of so many bytes. Trying it out would raise SIGXFSZ.
pub fn may_write(bytes: i64) -> bool {
    let mut limit = [u64::MAX; 2];
    // SAFETY: the array has the layout of the struct: two 64-bit numbers. The first is the limit in
    // force.
    unsafe { getrlimit(RLIMIT_FSIZE, &raw mut limit) };
    bytes as u64 <= limit[0]
}

/// Why a file cannot be created, for a person.
pub fn reason(errno: c_int) -> &'static [u8] {
    match errno {
        EPERM | EACCES | EROFS => b"no permission; give -o a path in a folder that may be written",
        EFBIG => b"it would be over the limit of a file's size; raise it (`ulimit -f`)",
        ENOSPC | EDQUOT => b"no space; free some, or give -o a path on another disk",
        ENOENT => b"its folder is not there; give -o a path in one that is",
        _ => b"the system refuses it; give -o a path on another disk",
    }
}

/// This thread's `errno`.
pub fn errno() -> c_int {
    // SAFETY: libc gives every thread a valid address.
    unsafe { *__errno_location() }
}

/// Maps memory or a file, past the `mmap` that this library exports.
///
/// # Safety
/// As for `mmap`.
pub unsafe fn map(length: usize, flags: c_int, fd: c_int) -> *mut c_void {
    let none: *mut c_void = core::ptr::null_mut();
    // SAFETY: as the caller guarantees.
    unsafe { syscall(SYS_MMAP, none, length, PROT_READ_WRITE, flags, fd, 0i64) as *mut c_void }
}

/// Ends a mapping, past the `munmap` that this library exports.
///
/// # Safety
/// The mapping is the caller's own, and no pointer into it remains.
pub unsafe fn unmap(address: *mut c_void, length: usize) {
    // SAFETY: as the caller guarantees.
    unsafe { syscall(SYS_MUNMAP, address, length) };
}

/// Sets this thread's `errno`.
pub fn set_errno(value: c_int) {
    // SAFETY: libc gives every thread a valid address.
    unsafe { *__errno_location() = value };
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
    clock_ns(CLOCK_MONOTONIC)
}

/// The processor time of this thread, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: c_int) -> u64 {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `time` is a valid timespec; both clocks always exist.
    unsafe { clock_gettime(clock, &raw mut time) };
    (time.seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(time.nanoseconds as u64)
}

/// The address of a function or variable of the process; null where the name is unknown.
pub fn symbol(name: &core::ffi::CStr) -> *mut c_void {
    // SAFETY: the name is a C string.
    unsafe { dlsym(RTLD_DEFAULT, name.as_ptr()) }
}

/// The address of a function of the next library in the order of lookup; null where there is none.
pub fn next_symbol(name: &CStr) -> *mut c_void {
    // SAFETY: the name is a C string.
    unsafe { dlsym(RTLD_NEXT, name.as_ptr()) }
}

/// Lets the processor fetch a line of memory; any address is allowed.
#[inline(always)]
pub fn prefetch(address: *const c_void) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which never faults.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint, which never faults.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, readonly));
    }
}

/// Whether the C library has the process's environment already.
pub fn has_environment() -> bool {
    // SAFETY: the pointer is the C library's own.
    unsafe { !environ.is_null() }
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

/// Fresh zeroed memory from the kernel, null where the kernel has none. Only [`return_pages`] frees it.
pub fn pages(bytes: usize) -> *mut c_void {
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no other mapping.
    let at = unsafe { map(bytes, MAP_PRIVATE_ANONYMOUS, -1) };
    if at == MAP_FAILED {
        return core::ptr::null_mut();
    }
    OWN_BYTES.fetch_add(bytes, Ordering::Relaxed);
    at
}

/// Returns memory that [`pages`] gave.
///
/// # Safety
/// No pointer into it remains.
pub unsafe fn return_pages(address: *mut c_void, bytes: usize) {
    OWN_BYTES.fetch_sub(bytes, Ordering::Relaxed);
    // SAFETY: as the caller guarantees.
    unsafe { unmap(address, bytes) };
}

/// Memory that the recorder itself holds, in bytes.
pub fn own_bytes() -> usize {
    OWN_BYTES.load(Ordering::Relaxed)
}
