//! The hooks of CPython's three allocation domains. Each calls the allocator from before and writes
//! the call to the stream.
//!
//! A recording with a delayed start has waiting hooks first. They count calls, read the clock once
//! in [`CALLS_A_CLOCK_READ`] calls, and put the recording hooks in their own place when the delay
//! is over.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::entry::{self, enter};
use crate::placement::{self, DomainHooks, PyMemAllocatorEx};
use crate::rawlog::{start, tag};
use crate::{arenas, sites, stream, system};

/// Whether the recording has sites.
static WITH_SITES: AtomicBool = AtomicBool::new(false);
/// Whether the recording has not begun.
static WAITING: AtomicBool = AtomicBool::new(false);
/// Calls until a waiting hook reads the clock.
static COUNTDOWN: AtomicU32 = AtomicU32::new(0);
/// Calls from one reading of the clock to the next.
const CALLS_A_CLOCK_READ: u32 = 256;

/// Finds what the hooks need. In the constructor or with the GIL held, after
/// [`placement::missing`] returned `None`.
pub fn prepare(with_sites: bool) {
    let own =
        [hooks::<false>(), hooks::<true>(), waiting_hooks::<false>(), waiting_hooks::<true>()];
    let is_first = placement::prepare(&own);
    WITH_SITES.store(with_sites, Ordering::Relaxed);
    entry::prepare();
    if is_first {
        entry::number_first_thread();
        // SAFETY: the three functions stay loaded as long as the process runs.
        unsafe {
            system::pthread_atfork(
                Some(before_fork),
                Some(after_fork_parent),
                Some(after_fork_child),
            );
        }
    }
}

/// Records from now on. In the constructor, or with the GIL held.
///
/// # Safety
/// After [`prepare`] and with an open stream; the lock is held, or there is one thread.
pub unsafe fn install() {
    WAITING.store(false, Ordering::Relaxed);
    placement::switch_on();
    // SAFETY: as the caller guarantees.
    unsafe {
        entry::reset();
        placement::put(if WITH_SITES.load(Ordering::Relaxed) {
            hooks::<true>()
        } else {
            hooks::<false>()
        });
        arenas::install();
    }
}

/// Waits, and records when the recording's delay is over. In the constructor only.
///
/// # Safety
/// As [`install`].
pub unsafe fn install_waiting() {
    WAITING.store(true, Ordering::Relaxed);
    let with_sites = WITH_SITES.load(Ordering::Relaxed);
    // SAFETY: as the caller guarantees.
    unsafe {
        placement::put(if with_sites { waiting_hooks::<true>() } else { waiting_hooks::<false>() });
    }
}

fn hooks<const SITES: bool>() -> DomainHooks {
    [hook::<0, SITES>(), hook::<1, SITES>(), hook::<2, SITES>()]
}

fn hook<const DOMAIN: usize, const SITES: bool>() -> PyMemAllocatorEx {
    PyMemAllocatorEx {
        context: core::ptr::null_mut(),
        malloc: malloc::<DOMAIN, SITES>,
        calloc: calloc::<DOMAIN, SITES>,
        realloc: realloc::<DOMAIN, SITES>,
        free: free::<DOMAIN, SITES>,
    }
}

fn waiting_hooks<const SITES: bool>() -> DomainHooks {
    [waiting_hook::<0, SITES>(), waiting_hook::<1, SITES>(), waiting_hook::<2, SITES>()]
}

fn waiting_hook<const DOMAIN: usize, const SITES: bool>() -> PyMemAllocatorEx {
    PyMemAllocatorEx {
        context: core::ptr::null_mut(),
        malloc: waiting_malloc::<DOMAIN, SITES>,
        calloc: waiting_calloc::<DOMAIN, SITES>,
        realloc: waiting_realloc::<DOMAIN, SITES>,
        free: waiting_free::<DOMAIN, SITES>,
    }
}

/// Whether a waiting hook only passes its call on. The first call that finds the delay over begins
/// the recording.
#[inline(always)]
fn still_waiting() -> bool {
    if !WAITING.load(Ordering::Relaxed) {
        return false;
    }
    let left = COUNTDOWN.load(Ordering::Relaxed);
    COUNTDOWN.store(left.wrapping_sub(1), Ordering::Relaxed);
    if left == 0 {
        read_clock();
    }
    true
}

#[cold]
fn read_clock() {
    COUNTDOWN.store(CALLS_A_CLOCK_READ, Ordering::Relaxed);
    if stream::is_due() {
        begin(start::DELAY);
    }
}

/// Begins the recording, unless another thread has begun it.
fn begin(cause: u64) {
    system::preserving_errno(|| {
        stream::lock();
        if WAITING.load(Ordering::Relaxed) {
            stream::begin(cause);
            // SAFETY: the lock is held; the stream has been open since the constructor.
            unsafe { install() };
        }
        stream::unlock();
    });
}

/// Makes a recording wait for a mark of the program. In the constructor only.
pub fn wait_for_mark() {
    WAITING.store(true, Ordering::Relaxed);
}

/// Begins the recording that the program itself requests.
pub fn begin_late() {
    WAITING.store(true, Ordering::Relaxed);
    begin(start::LATE);
}

/// Whether a recording is going on, or waits for its start.
pub fn is_active() -> bool {
    !placement::is_off() || WAITING.load(Ordering::Relaxed)
}

/// Notes that a phase of the program begins. The mark may also begin or end the recording. Does
/// nothing where nothing is recorded, or inside an allocator.
pub fn mark(name: &[u8]) {
    if WAITING.load(Ordering::Relaxed) && stream::begins_at(name) {
        begin(start::MARK);
    }
    if placement::is_off() {
        return;
    }
    if let Some(entry) = enter() {
        entry.write(|stream, _| {
            stream.mark(name);
            stream.finish_at(name);
        });
        entry.leave();
    }
}

/// Closes the log at the end of the process.
pub fn close() {
    if !placement::is_off() {
        stream::close(placement::is_disturbed());
    }
}

unsafe extern "C" fn before_fork() {
    stream::lock();
}

unsafe extern "C" fn after_fork_parent() {
    stream::unlock();
}

unsafe extern "C" fn after_fork_child() {
    entry::after_fork_child();
    stream::forked();
    sites::forget();
    stream::unlock();
}

unsafe extern "C" fn malloc<const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    size: usize,
) -> *mut c_void {
    let real = placement::real(DOMAIN);
    let entry = enter();
    // SAFETY: the caller's own call, passed on.
    let block = unsafe { (real.malloc)(real.context, size) };
    if let Some(entry) = entry {
        if !block.is_null() {
            entry.birth::<DOMAIN, SITES>(tag::MALLOC, size, block);
        }
        entry.leave();
    }
    block
}

unsafe extern "C" fn calloc<const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    let real = placement::real(DOMAIN);
    let entry = enter();
    // SAFETY: the caller's own call, passed on.
    let block = unsafe { (real.calloc)(real.context, count, size) };
    if let Some(entry) = entry {
        if !block.is_null() {
            // A product that overflowed would have failed.
            entry.birth::<DOMAIN, SITES>(tag::CALLOC, count.wrapping_mul(size), block);
        }
        entry.leave();
    }
    block
}

unsafe extern "C" fn realloc<const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    old: *mut c_void,
    size: usize,
) -> *mut c_void {
    let real = placement::real(DOMAIN);
    let entry = enter();
    if let Some(entry) = entry
        && !old.is_null()
    {
        entry.death::<SITES>(tag::REALLOC_BEGIN, old);
    }
    // SAFETY: the caller's own call, passed on.
    let block = unsafe { (real.realloc)(real.context, old, size) };
    if let Some(entry) = entry {
        if !block.is_null() {
            let tag = if old.is_null() { tag::MALLOC } else { tag::REALLOC };
            entry.birth::<DOMAIN, SITES>(tag, size, block);
        } else if !old.is_null() {
            entry.write(|stream, thread| stream.realloc_failed(thread));
        }
        entry.leave();
    }
    block
}

unsafe extern "C" fn free<const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    block: *mut c_void,
) {
    let real = placement::real(DOMAIN);
    let entry = if block.is_null() { None } else { enter() };
    if let Some(entry) = entry {
        entry.death::<SITES>(tag::FREE, block);
    }
    // SAFETY: the caller's own call, passed on.
    unsafe { (real.free)(real.context, block) };
    if let Some(entry) = entry {
        entry.leave();
    }
}

unsafe extern "C" fn waiting_malloc<const DOMAIN: usize, const SITES: bool>(
    context: *mut c_void,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if still_waiting() {
            let real = placement::real(DOMAIN);
            return (real.malloc)(real.context, size);
        }
        malloc::<DOMAIN, SITES>(context, size)
    }
}

unsafe extern "C" fn waiting_calloc<const DOMAIN: usize, const SITES: bool>(
    context: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if still_waiting() {
            let real = placement::real(DOMAIN);
            return (real.calloc)(real.context, count, size);
        }
        calloc::<DOMAIN, SITES>(context, count, size)
    }
}

unsafe extern "C" fn waiting_realloc<const DOMAIN: usize, const SITES: bool>(
    context: *mut c_void,
    old: *mut c_void,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if still_waiting() {
            let real = placement::real(DOMAIN);
            return (real.realloc)(real.context, old, size);
        }
        realloc::<DOMAIN, SITES>(context, old, size)
    }
}

unsafe extern "C" fn waiting_free<const DOMAIN: usize, const SITES: bool>(
    context: *mut c_void,
    block: *mut c_void,
) {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if still_waiting() {
            let real = placement::real(DOMAIN);
            return (real.free)(real.context, block);
        }
        free::<DOMAIN, SITES>(context, block);
    }
}
