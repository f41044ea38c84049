//! The C library's allocation functions, under their own names. A preloaded library that exports
//! these names is called by every dynamically linked caller.
//!
//! Each function calls the next library's function of that name and writes the call to the stream,
//! unless the call is part of another recorded call: CPython's raw domain calls `malloc` inside a
//! hook. Where nothing is recorded, a function only passes its call on.
//!
//! The functions are entered through a few instructions that take the caller's stack along: it names
//! the caller where the recording has sites.

use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::entry::{self, CallEntry, enter};
use crate::rawlog::{SIZE_BITS, request, tag};
use crate::shared::ProcessState;
use crate::system::{self, next_symbol};
use crate::unwind::CallerStack;
use crate::{hooks, memory, stream};

const ENOMEM: c_int = 12;
const EINVAL: c_int = 22;

type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
type Calloc = unsafe extern "C" fn(usize, usize) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type Aligned = unsafe extern "C" fn(usize, usize) -> *mut c_void;
type PosixMemalign = unsafe extern "C" fn(*mut *mut c_void, usize, usize) -> c_int;
type FreeSized = unsafe extern "C" fn(*mut c_void, usize);
type FreeAlignedSized = unsafe extern "C" fn(*mut c_void, usize, usize);
type Trim = unsafe extern "C" fn(usize) -> c_int;
type Option2 = unsafe extern "C" fn(c_int, c_int) -> c_int;
type Map = unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, c_int, i64) -> *mut c_void;
type Unmap = unsafe extern "C" fn(*mut c_void, usize) -> c_int;
type Remap = unsafe extern "C" fn(*mut c_void, usize, usize, c_int, *mut c_void) -> *mut c_void;

/// The functions of the allocator that serves the process.
struct RealCalls {
    malloc: Malloc,
    calloc: Calloc,
    realloc: Realloc,
    free: Free,
    aligned: Aligned,
    posix_memalign: Option<PosixMemalign>,
    free_sized: Option<FreeSized>,
    free_aligned_sized: Option<FreeAlignedSized>,
    trim: Option<Trim>,
    option: Option<Option2>,
    map: Option<Map>,
    unmap: Option<Unmap>,
    remap: Option<Remap>,
}

static REAL: ProcessState<RealCalls> = ProcessState::new(RealCalls {
    malloc: until_found::malloc,
    calloc: until_found::calloc,
    realloc: until_found::realloc,
    free: until_found::free,
    aligned: until_found::memalign,
    posix_memalign: None,
    free_sized: None,
    free_aligned_sized: None,
    trim: None,
    option: None,
    map: None,
    unmap: None,
    remap: None,
});
/// What serves the calls until the real functions are found: the C library's own functions, under
/// names that nobody replaces.
#[cfg(target_env = "gnu")]
mod until_found {
    use core::ffi::c_void;

    unsafe extern "C" {
        #[link_name = "__libc_malloc"]
        pub fn malloc(size: usize) -> *mut c_void;
        #[link_name = "__libc_calloc"]
        pub fn calloc(count: usize, size: usize) -> *mut c_void;
        #[link_name = "__libc_realloc"]
        pub fn realloc(block: *mut c_void, size: usize) -> *mut c_void;
        #[link_name = "__libc_free"]
        pub fn free(block: *mut c_void);
        #[link_name = "__libc_memalign"]
        pub fn memalign(alignment: usize, size: usize) -> *mut c_void;
    }
}

/// What serves the calls until the real functions are found: other C libraries have no such names,
/// so there is no memory.
#[cfg(not(target_env = "gnu"))]
mod until_found {
    use core::ffi::c_void;
    use core::ptr::null_mut;

    pub unsafe extern "C" fn malloc(_: usize) -> *mut c_void {
        null_mut()
    }
    pub unsafe extern "C" fn calloc(_: usize, _: usize) -> *mut c_void {
        null_mut()
    }
    pub unsafe extern "C" fn realloc(_: *mut c_void, _: usize) -> *mut c_void {
        null_mut()
    }
    pub unsafe extern "C" fn free(_: *mut c_void) {}
    pub unsafe extern "C" fn memalign(_: usize, _: usize) -> *mut c_void {
        null_mut()
    }
}

/// Whether the order asks for the C library's calls.
static IS_WANTED: AtomicBool = AtomicBool::new(false);
/// How far the process has come, one of [`progress`].
static PROGRESS: AtomicU8 = AtomicU8::new(progress::NOTHING);

/// Steps at the start of the process.
mod progress {
    /// The real functions are not looked for.
    pub const NOTHING: u8 = 0;
    /// The real functions are being looked for.
    pub const FINDING: u8 = 1;
    /// They are found. The recorder has not started: the C library is not ready.
    pub const FOUND: u8 = 2;
    /// The recorder has started, or is starting.
    pub const STARTED: u8 = 3;
}
/// Whether calls are recorded.
static IS_ON: AtomicBool = AtomicBool::new(false);
/// Whether calls of the only thread take the short path: the process is no Python, has had one
/// thread only, and is recorded without sites. Then a call is one word of the log.
static IS_SHORT: AtomicBool = AtomicBool::new(false);
/// Whether calls wait for the end of a delay.
static IS_WAITING: AtomicBool = AtomicBool::new(false);

/// Notes whether the order asks for the C library's calls. In the constructor only.
pub fn want(is_wanted: bool) {
    IS_WANTED.store(is_wanted, Ordering::Relaxed);
}

/// Whether the order asks for the C library's calls.
pub fn is_wanted() -> bool {
    IS_WANTED.load(Ordering::Relaxed)
}

/// Records the C library's calls no longer.
pub fn switch_off() {
    IS_SHORT.store(false, Ordering::Relaxed);
    IS_ON.store(false, Ordering::Relaxed);
}

/// Lets no call take the short path any more. A second thread has made a call.
pub fn end_short_path() {
    IS_SHORT.store(false, Ordering::Relaxed);
}

/// Lets the C library's calls wait for the end of a delay, if the order asks for them.
pub fn wait() {
    IS_WAITING.store(is_wanted(), Ordering::Relaxed);
}

/// Records the C library's calls from now on, if the order asks for them. `may_be_short` allows the
/// short path.
pub fn switch_on(may_be_short: bool) {
    IS_WAITING.store(false, Ordering::Relaxed);
    IS_ON.store(is_wanted(), Ordering::Relaxed);
    IS_SHORT.store(may_be_short && is_wanted(), Ordering::Relaxed);
}

/// The real functions. The first calls of the process find them and start the recorder: libraries
/// allocate in their constructors, which may run before the recorder's.
#[inline(always)]
fn real() -> &'static RealCalls {
    if PROGRESS.load(Ordering::Relaxed) != progress::STARTED {
        go_on();
    }
    // SAFETY: written once, by the first call of the process, when it has one thread.
    unsafe { &*REAL.get() }
}

/// Takes the next step at the start of the process.
#[cold]
#[inline(never)]
fn go_on() {
    match PROGRESS.load(Ordering::Relaxed) {
        progress::NOTHING => {
            PROGRESS.store(progress::FINDING, Ordering::Relaxed);
            find_real();
            PROGRESS.store(progress::FOUND, Ordering::Relaxed);
            go_on();
        }
        progress::FOUND if system::has_environment() => start_once(),
        _ => {}
    }
}

/// Starts the recorder, unless that was done. In the constructor, or at an earlier call.
pub fn start_once() {
    if PROGRESS.load(Ordering::Relaxed) == progress::NOTHING {
        PROGRESS.store(progress::FINDING, Ordering::Relaxed);
        find_real();
    }
    if PROGRESS.swap(progress::STARTED, Ordering::Relaxed) != progress::STARTED {
        system::preserving_errno(crate::start);
    }
}

/// Finds the functions of the next library in the order of lookup. What that allocates itself comes
/// from the C library.
fn find_real() {
    system::preserving_errno(|| {
        let find = |name: &CStr| Some(next_symbol(name)).filter(|found| !found.is_null());
        let real = REAL.get();
        // SAFETY: the process has one thread, and each function has the signature of its name.
        unsafe {
            use core::mem::transmute;
            // First those that exist for sure. A name that is not found costs an allocation for its
            // message, and an allocator that is preloaded maps memory at its first call.
            (*real).map = find(c"mmap").map(|at| transmute::<*mut c_void, Map>(at));
            (*real).unmap = find(c"munmap").map(|at| transmute::<*mut c_void, Unmap>(at));
            (*real).remap = find(c"mremap").map(|at| transmute::<*mut c_void, Remap>(at));
            if let (Some(malloc), Some(calloc), Some(realloc), Some(free)) =
                (find(c"malloc"), find(c"calloc"), find(c"realloc"), find(c"free"))
            {
                (*real).malloc = transmute::<*mut c_void, Malloc>(malloc);
                (*real).calloc = transmute::<*mut c_void, Calloc>(calloc);
                (*real).realloc = transmute::<*mut c_void, Realloc>(realloc);
                (*real).free = transmute::<*mut c_void, Free>(free);
            }
            if let Some(aligned) = find(c"memalign").or_else(|| find(c"aligned_alloc")) {
                (*real).aligned = transmute::<*mut c_void, Aligned>(aligned);
            }
            (*real).posix_memalign =
                find(c"posix_memalign").map(|at| transmute::<*mut c_void, PosixMemalign>(at));
            (*real).free_sized =
                find(c"free_sized").map(|at| transmute::<*mut c_void, FreeSized>(at));
            (*real).free_aligned_sized = find(c"free_aligned_sized")
                .map(|at| transmute::<*mut c_void, FreeAlignedSized>(at));
            (*real).trim = find(c"malloc_trim").map(|at| transmute::<*mut c_void, Trim>(at));
            (*real).option = find(c"mallopt").map(|at| transmute::<*mut c_void, Option2>(at));
        }
    });
}

/// The address of the malloc that serves the process.
pub fn real_malloc() -> *const c_void {
    real().malloc as *const c_void
}

/// Whether that is the C library's own.
pub fn is_c_library() -> bool {
    #[cfg(target_env = "gnu")]
    {
        core::ptr::fn_addr_eq(real().malloc, until_found::malloc as Malloc)
    }
    #[cfg(not(target_env = "gnu"))]
    {
        false
    }
}

/// The address that callers of `malloc` reach; another one than this library's where the executable
/// has a malloc of its own.
pub fn is_bypassed() -> Option<*const c_void> {
    let found = system::symbol(c"malloc");
    (found.cast_const() != malloc as *const c_void).then_some(found.cast_const())
}

/// Whether a call is to be recorded at all.
#[inline(always)]
fn is_on() -> bool {
    if IS_ON.load(Ordering::Relaxed) {
        return true;
    }
    if IS_WAITING.load(Ordering::Relaxed) {
        hooks::still_waiting();
    }
    false
}

/// Defines an exported function that passes its arguments on, and the [`CallerStack`] behind them.
macro_rules! exported {
    (
        $name:ident ($($argument:ident: $type:ty),*) $(-> $result:ty)?,
        $register:literal, $arm:literal, $target:path
    ) => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(
                concat!("mov ", $register, ", rsp"),
                "jmp {target}",
                target = sym $target,
            );
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(
                concat!("mov ", $arm, ", x30"),
                "b {target}",
                target = sym $target,
            );
        }
    };
}

exported!(malloc(size: usize) -> *mut c_void, "rsi", "x1", malloc_from);
exported!(calloc(count: usize, size: usize) -> *mut c_void, "rdx", "x2", calloc_from);
exported!(realloc(block: *mut c_void, size: usize) -> *mut c_void, "rdx", "x2", realloc_from);
exported!(
    reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void,
    "rcx", "x3", reallocarray_from
);
exported!(memalign(alignment: usize, size: usize) -> *mut c_void, "rdx", "x2", memalign_from);
exported!(aligned_alloc(alignment: usize, size: usize) -> *mut c_void, "rdx", "x2", memalign_from);
exported!(valloc(size: usize) -> *mut c_void, "rsi", "x1", valloc_from);
exported!(pvalloc(size: usize) -> *mut c_void, "rsi", "x1", pvalloc_from);
exported!(
    posix_memalign(place: *mut *mut c_void, alignment: usize, size: usize) -> c_int,
    "rcx", "x3", posix_memalign_from
);

/// Whether a call takes the short path. If so, it has entered as the only thread.
#[inline(always)]
fn enter_short() -> bool {
    IS_SHORT.load(Ordering::Relaxed) && entry::enter_as_only_thread()
}

/// The real functions, on the short path: they are found.
#[inline(always)]
fn found_real() -> &'static RealCalls {
    // SAFETY: written once, by the first call of the process, when it has one thread.
    unsafe { &*REAL.get() }
}

/// No call of one word has a large block.
const _: () = assert!(memory::LARGE_BYTES >> SIZE_BITS > 0);

/// Writes a new block of the short path, and leaves.
#[inline(always)]
fn leave_short(tag: u64, size: usize, block: *mut c_void) {
    // SAFETY: entered as the only thread.
    let is_written = unsafe { stream::get() }.quick_birth(tag + hooks::LIBC, size, block);
    if is_written {
        entry::leave_as_only_thread();
    } else {
        leave_long(tag, size, block);
    }
}

#[cold]
#[inline(never)]
fn leave_long(tag: u64, size: usize, block: *mut c_void) {
    if !block.is_null() {
        hooks::libc_birth(CallEntry::OnlyThread, tag, size, block, 0, CallerStack(0));
    }
    CallEntry::OnlyThread.leave();
}

unsafe extern "C" fn malloc_from(size: usize, caller: CallerStack) -> *mut c_void {
    if enter_short() {
        // SAFETY: the caller's own call, passed on.
        let block = unsafe { (found_real().malloc)(size) };
        leave_short(tag::MALLOC, size, block);
        return block;
    }
    // SAFETY: the caller's own call, passed on.
    unsafe { malloc_by_long_path(size, caller) }
}

#[inline(never)]
unsafe extern "C" fn malloc_by_long_path(size: usize, caller: CallerStack) -> *mut c_void {
    let real = real();
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if !is_on() {
            return (real.malloc)(size);
        }
        let Some(entry) = enter() else { return (real.malloc)(size) };
        let block = (real.malloc)(size);
        if !block.is_null() {
            hooks::libc_birth(entry, tag::MALLOC, size, block, 0, caller);
        }
        entry.leave();
        block
    }
}

unsafe extern "C" fn calloc_from(count: usize, size: usize, caller: CallerStack) -> *mut c_void {
    if enter_short() {
        // SAFETY: the caller's own call, passed on.
        let block = unsafe { (found_real().calloc)(count, size) };
        // A product that overflowed would have failed.
        leave_short(tag::CALLOC, count.wrapping_mul(size), block);
        return block;
    }
    // SAFETY: the caller's own call, passed on.
    unsafe { calloc_by_long_path(count, size, caller) }
}

#[inline(never)]
unsafe extern "C" fn calloc_by_long_path(
    count: usize,
    size: usize,
    caller: CallerStack,
) -> *mut c_void {
    let real = real();
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if !is_on() {
            return (real.calloc)(count, size);
        }
        let Some(entry) = enter() else { return (real.calloc)(count, size) };
        let block = (real.calloc)(count, size);
        if !block.is_null() {
            // A product that overflowed would have failed.
            hooks::libc_birth(entry, tag::CALLOC, count.wrapping_mul(size), block, 0, caller);
        }
        entry.leave();
        block
    }
}

unsafe extern "C" fn realloc_from(
    old: *mut c_void,
    size: usize,
    caller: CallerStack,
) -> *mut c_void {
    let real = real();
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if !is_on() {
            return (real.realloc)(old, size);
        }
        let Some(entry) = enter() else { return (real.realloc)(old, size) };
        let is_free = size == 0 && !old.is_null();
        if !old.is_null() {
            hooks::libc_death(entry, !is_free, old);
        }
        let block = (real.realloc)(old, size);
        if !block.is_null() {
            let tag = if old.is_null() || is_free { tag::MALLOC } else { tag::REALLOC };
            hooks::libc_birth(entry, tag, size, block, 0, caller);
        } else if !old.is_null() && !is_free {
            entry.write(|stream, thread| stream.realloc_failed(thread));
        }
        entry.leave();
        block
    }
}

unsafe extern "C" fn reallocarray_from(
    old: *mut c_void,
    count: usize,
    size: usize,
    caller: CallerStack,
) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller's own call, passed on.
        Some(bytes) => unsafe { realloc_from(old, bytes, caller) },
        None => {
            system::set_errno(ENOMEM);
            core::ptr::null_mut()
        }
    }
}

/// `free` needs no caller, so it is entered directly.
///
/// # Safety
/// As for C's `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    if enter_short() {
        // SAFETY: entered as the only thread.
        unsafe {
            // The allocator reads the header before the block. It may come into the cache while the
            // end is written.
            system::prefetch(block.cast_const().wrapping_byte_sub(16));
            if memory::may_be_large(block.addr()) || !stream::get().quick_end(block) {
                free_on_long_path(block);
            }
            (found_real().free)(block);
        }
        entry::leave_as_only_thread();
        return;
    }
    // SAFETY: the caller's own call, passed on.
    unsafe { free_by_long_path(block) }
}

#[cold]
#[inline(never)]
fn free_on_long_path(block: *mut c_void) {
    if !block.is_null() {
        hooks::libc_death(CallEntry::OnlyThread, false, block);
    }
}

#[inline(never)]
unsafe extern "C" fn free_by_long_path(block: *mut c_void) {
    let real = real().free;
    // SAFETY: the caller's own call, passed on.
    end(block, || unsafe { real(block) });
}

/// Makes `call`, which frees the block, and records that the block ends.
#[inline(always)]
fn end(block: *mut c_void, call: impl FnOnce()) {
    if block.is_null() || !is_on() {
        return call();
    }
    let Some(entry) = enter() else { return call() };
    // The allocator reads the header before the block. It may come into the cache while the end is
    // written.
    system::prefetch(block.cast_const().wrapping_byte_sub(16));
    hooks::libc_death(entry, false, block);
    call();
    entry.leave();
}

/// C23.
///
/// # Safety
/// As for C's `free_sized`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(block: *mut c_void, size: usize) {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        match real().free_sized {
            Some(real) => end(block, || real(block, size)),
            None => free(block),
        }
    }
}

/// C23.
///
/// # Safety
/// As for C's `free_aligned_sized`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(block: *mut c_void, alignment: usize, size: usize) {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        match real().free_aligned_sized {
            Some(real) => end(block, || real(block, alignment, size)),
            None => free(block),
        }
    }
}

unsafe extern "C" fn memalign_from(
    alignment: usize,
    size: usize,
    caller: CallerStack,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe { aligned_by(alignment, size, caller, || (real().aligned)(alignment, size)) }
}

/// Records what `call` returns as a block of `size` bytes at a multiple of `alignment`.
#[inline(always)]
unsafe fn aligned_by(
    alignment: usize,
    size: usize,
    caller: CallerStack,
    call: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    if !is_on() {
        return call();
    }
    let Some(entry) = enter() else { return call() };
    let block = call();
    if !block.is_null() {
        // The functions round an alignment up to a power of two, or refuse it.
        hooks::libc_birth(entry, tag::MALLOC, size, block, alignment, caller);
    }
    entry.leave();
    block
}

unsafe extern "C" fn valloc_from(size: usize, caller: CallerStack) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe { memalign_from(system::PAGE_BYTES, size, caller) }
}

unsafe extern "C" fn pvalloc_from(size: usize, caller: CallerStack) -> *mut c_void {
    let Some(whole) = size.checked_next_multiple_of(system::PAGE_BYTES) else {
        system::set_errno(ENOMEM);
        return core::ptr::null_mut();
    };
    // SAFETY: the caller's own call, passed on.
    unsafe { memalign_from(system::PAGE_BYTES, whole, caller) }
}

unsafe extern "C" fn posix_memalign_from(
    place: *mut *mut c_void,
    alignment: usize,
    size: usize,
    caller: CallerStack,
) -> c_int {
    // SAFETY: the caller's own call, passed on; on success it writes the block to `place`.
    unsafe {
        if let Some(real) = real().posix_memalign {
            let mut code = 0;
            let block = aligned_by(alignment, size, caller, || {
                code = real(place, alignment, size);
                if code == 0 { *place } else { core::ptr::null_mut() }
            });
            let _ = block;
            return code;
        }
        if !alignment.is_power_of_two() || alignment < size_of::<usize>() {
            return EINVAL;
        }
        let block = memalign_from(alignment, size, caller);
        if block.is_null() {
            return ENOMEM;
        }
        *place = block;
        0
    }
}

/// Records what the program asks of its allocator besides memory.
fn note_request(kind: u64, value: u64) {
    if is_on()
        && let Some(entry) = enter()
    {
        entry.write(|stream, thread| stream.request(thread, kind, value));
        entry.leave();
    }
}

/// glibc's.
///
/// # Safety
/// As for `malloc_trim`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_trim(pad: usize) -> c_int {
    note_request(request::TRIM, pad as u64);
    // SAFETY: the caller's own call, passed on.
    real().trim.map_or(0, |real| unsafe { real(pad) })
}

/// glibc's.
///
/// # Safety
/// As for `mallopt`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mallopt(parameter: c_int, value: c_int) -> c_int {
    let word = u64::from(parameter as u32) << 32 | u64::from(value as u32);
    note_request(request::OPTION, word);
    // SAFETY: the caller's own call, passed on.
    real().option.map_or(0, |real| unsafe { real(parameter, value) })
}

/// A mapping that the program makes by itself. Those of the C library's malloc do not come here.
///
/// # Safety
/// As for `mmap`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        let Some(real) = real().map else { return system::MAP_FAILED };
        let start = real(address, length, protection, flags, fd, offset);
        if start != system::MAP_FAILED && flags & system::MAP_ANONYMOUS != 0 && is_on() {
            entry::outside_of_hooks(|_| memory::mapped(start as usize, length));
        }
        start
    }
}

/// The same: file offsets have 64 bits.
///
/// # Safety
/// As for `mmap64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe { mmap(address, length, protection, flags, fd, offset) }
}

/// The end of a mapping.
///
/// # Safety
/// As for `munmap`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munmap(address: *mut c_void, length: usize) -> c_int {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        let Some(real) = real().unmap else { return -1 };
        if is_on() {
            entry::outside_of_hooks(|stream| {
                let is_own = memory::unmapped(address as usize, length);
                if is_own && length as u64 >= memory::EXTRA_BYTES {
                    memory::sample_peak(stream);
                }
            });
        }
        real(address, length)
    }
}

/// A mapping that moves or changes its length.
///
/// # Safety
/// As for `mremap`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mremap(
    address: *mut c_void,
    old_length: usize,
    new_length: usize,
    flags: c_int,
    new_address: *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on. The last argument is read only where a flag says so.
    unsafe {
        let Some(real) = real().remap else { return system::MAP_FAILED };
        let start = real(address, old_length, new_length, flags, new_address);
        if start != system::MAP_FAILED && is_on() {
            entry::outside_of_hooks(|_| {
                if memory::unmapped(address as usize, old_length) {
                    memory::mapped(start as usize, new_length);
                }
            });
        }
        start
    }
}
