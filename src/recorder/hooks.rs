//! The hooks of CPython's three allocation domains. Each calls the allocator from before and writes
//! the call to the stream.
//!
//! A recording with a delayed start has waiting hooks first. They count calls, read the clock once
//! in [`CALLS_A_CLOCK_READ`] calls, and put the recording hooks in their own place when the delay
//! is over.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::entry::{self, CallEntry, enter};
use crate::placement::{self, DomainHooks, GENERATIONS, PyMemAllocatorEx};
use crate::rawlog::{start, tag};
use crate::unwind::{self, CallerStack};
use crate::{arenas, ending, memory, native, python, sites, stream, system};

/// The number of the domain obj in the log.
pub const OBJ: u64 = 2;
/// The number of the domain libc in the log.
pub const LIBC: u64 = 3;
/// The alignment that every block has without asking, in bytes.
const PLAIN_ALIGNMENT_BYTES: usize = 16;

/// Whether the process is a Python whose hooks can be placed.
static IS_PYTHON: AtomicBool = AtomicBool::new(false);
/// Whether [`prepare_process`] was called.
static IS_PREPARED: AtomicBool = AtomicBool::new(false);
/// Calls of the C library until the hooks are looked after.
static LOOK_COUNTDOWN: AtomicU32 = AtomicU32::new(0);
/// Calls of the C library from one such look to the next.
const CALLS_A_LOOK: u32 = 256;
/// Whether a thread places hooks.
static IS_PLACING: AtomicBool = AtomicBool::new(false);
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
    placement::prepare(&[
        generations::<false>(),
        generations::<true>(),
        [waiting_hooks::<false>(); GENERATIONS],
        [waiting_hooks::<true>(); GENERATIONS],
    ]);
    IS_PYTHON.store(true, Ordering::Relaxed);
    ending::prepare();
    prepare_process(with_sites);
}

/// Finds what recording any process needs. In the constructor, or while nothing is recorded.
pub fn prepare_process(with_sites: bool) {
    WITH_SITES.store(with_sites, Ordering::Relaxed);
    entry::prepare();
    memory::prepare();
    unwind::prepare();
    if !IS_PREPARED.swap(true, Ordering::Relaxed) {
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
        if IS_PYTHON.load(Ordering::Relaxed) {
            placement::put(&recording_hooks(), native::is_wanted());
            arenas::install();
        }
    }
    let is_plain = !IS_PYTHON.load(Ordering::Relaxed) && !WITH_SITES.load(Ordering::Relaxed);
    native::switch_on(is_plain);
}

fn recording_hooks() -> [DomainHooks; GENERATIONS] {
    if WITH_SITES.load(Ordering::Relaxed) { generations::<true>() } else { generations::<false>() }
}

/// Looks whether the program, or the interpreter at its start, has replaced the hooks, and places
/// them again. Called at calls of the C library, inside a hook.
#[inline(always)]
pub fn look_after_hooks() {
    if IS_PYTHON.load(Ordering::Relaxed) {
        let left = LOOK_COUNTDOWN.load(Ordering::Relaxed);
        if left > 0 {
            LOOK_COUNTDOWN.store(left - 1, Ordering::Relaxed);
        } else {
            place_again();
        }
    }
}

#[cold]
#[inline(never)]
fn place_again() {
    // While the interpreter starts, it may replace the hooks at any call.
    let calls = if python::is_running() { CALLS_A_LOOK } else { 0 };
    LOOK_COUNTDOWN.store(calls, Ordering::Relaxed);
    if placement::is_disturbed() && !IS_PLACING.swap(true, Ordering::Acquire) {
        // SAFETY: `prepare` has filled the functions; no other thread places hooks.
        let is_placed = unsafe { placement::put(&recording_hooks(), true) };
        stream::note_replaced_hooks(is_placed);
        IS_PLACING.store(false, Ordering::Release);
    }
}

/// Waits, and records when the recording's delay is over. In the constructor only.
///
/// # Safety
/// As [`install`].
pub unsafe fn install_waiting() {
    WAITING.store(true, Ordering::Relaxed);
    native::wait();
    if !IS_PYTHON.load(Ordering::Relaxed) {
        return;
    }
    let with_sites = WITH_SITES.load(Ordering::Relaxed);
    // SAFETY: as the caller guarantees.
    unsafe {
        let waiting = if with_sites { waiting_hooks::<true>() } else { waiting_hooks::<false>() };
        placement::put(&[waiting; GENERATIONS], false);
    }
}

/// The recording hooks of a generation.
fn hooks<const GEN: usize, const SITES: bool>() -> DomainHooks {
    [hook::<GEN, 0, SITES>(), hook::<GEN, 1, SITES>(), hook::<GEN, 2, SITES>()]
}

/// The recording hooks of each generation.
fn generations<const SITES: bool>() -> [DomainHooks; GENERATIONS] {
    [hooks::<0, SITES>(), hooks::<1, SITES>(), hooks::<2, SITES>(), hooks::<3, SITES>()]
}

fn hook<const GEN: usize, const DOMAIN: usize, const SITES: bool>() -> PyMemAllocatorEx {
    PyMemAllocatorEx {
        context: core::ptr::null_mut(),
        malloc: malloc::<GEN, DOMAIN, SITES>,
        calloc: calloc::<GEN, DOMAIN, SITES>,
        realloc: realloc::<GEN, DOMAIN, SITES>,
        free: free::<GEN, DOMAIN, SITES>,
    }
}

fn waiting_hooks<const SITES: bool>() -> DomainHooks {
    [waiting_hook::<0, 0, SITES>(), waiting_hook::<0, 1, SITES>(), waiting_hook::<0, 2, SITES>()]
}

fn waiting_hook<const GEN: usize, const DOMAIN: usize, const SITES: bool>() -> PyMemAllocatorEx {
    PyMemAllocatorEx {
        context: core::ptr::null_mut(),
        malloc: waiting_malloc::<GEN, DOMAIN, SITES>,
        calloc: waiting_calloc::<GEN, DOMAIN, SITES>,
        realloc: waiting_realloc::<GEN, DOMAIN, SITES>,
        free: waiting_free::<GEN, DOMAIN, SITES>,
    }
}

/// Whether a waiting hook only passes its call on. The first call that finds the delay over begins
/// the recording.
#[inline(always)]
pub fn still_waiting() -> bool {
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

/// Writes a new block of the C library. `alignment` is 0 for none; `caller` is the stack of the call.
#[inline(always)]
pub fn libc_birth(
    entry: CallEntry,
    tag: u64,
    size: usize,
    block: *mut c_void,
    alignment: usize,
    caller: CallerStack,
) {
    look_after_hooks();
    entry.write(|stream, thread| {
        if WITH_SITES.load(Ordering::Relaxed) {
            // SAFETY: `write` gives exclusive access.
            let site = unsafe { sites::get().native(caller, stream) };
            stream.site(site);
        }
        if alignment > PLAIN_ALIGNMENT_BYTES {
            stream.alignment(alignment);
        }
        stream.call(thread, tag + LIBC, size as u64, block as u64);
        if size >= memory::LARGE_BYTES {
            memory::begins(block.addr(), size);
        }
    });
}

/// Writes that a block of the C library ends, or that a realloc gives it up.
#[inline(always)]
pub fn libc_death(entry: CallEntry, gives_up: bool, block: *mut c_void) {
    if WITH_SITES.load(Ordering::Relaxed) {
        entry.death::<true>(gives_up, block);
    } else {
        entry.death::<false>(gives_up, block);
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
    memory::forget();
    ending::forget();
    stream::unlock();
}

unsafe extern "C" fn malloc<const GEN: usize, const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    size: usize,
) -> *mut c_void {
    let real = placement::real(GEN, DOMAIN);
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

unsafe extern "C" fn calloc<const GEN: usize, const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    let real = placement::real(GEN, DOMAIN);
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

unsafe extern "C" fn realloc<const GEN: usize, const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    old: *mut c_void,
    size: usize,
) -> *mut c_void {
    let real = placement::real(GEN, DOMAIN);
    let entry = enter();
    if let Some(entry) = entry
        && !old.is_null()
    {
        entry.death::<SITES>(true, old);
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

unsafe extern "C" fn free<const GEN: usize, const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    block: *mut c_void,
) {
    let real = placement::real(GEN, DOMAIN);
    let entry = if block.is_null() { None } else { enter() };
    if let Some(entry) = entry {
        entry.death::<SITES>(false, block);
    }
    // SAFETY: the caller's own call, passed on.
    unsafe { (real.free)(real.context, block) };
    if let Some(entry) = entry {
        entry.leave();
    }
}

unsafe extern "C" fn waiting_malloc<const GEN: usize, const DOMAIN: usize, const SITES: bool>(
    context: *mut c_void,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if still_waiting() {
            let real = placement::real(GEN, DOMAIN);
            return (real.malloc)(real.context, size);
        }
        malloc::<GEN, DOMAIN, SITES>(context, size)
    }
}

unsafe extern "C" fn waiting_calloc<const GEN: usize, const DOMAIN: usize, const SITES: bool>(
    context: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if still_waiting() {
            let real = placement::real(GEN, DOMAIN);
            return (real.calloc)(real.context, count, size);
        }
        calloc::<GEN, DOMAIN, SITES>(context, count, size)
    }
}

unsafe extern "C" fn waiting_realloc<const GEN: usize, const DOMAIN: usize, const SITES: bool>(
    context: *mut c_void,
    old: *mut c_void,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if still_waiting() {
            let real = placement::real(GEN, DOMAIN);
            return (real.realloc)(real.context, old, size);
        }
        realloc::<GEN, DOMAIN, SITES>(context, old, size)
    }
}

unsafe extern "C" fn waiting_free<const GEN: usize, const DOMAIN: usize, const SITES: bool>(
    context: *mut c_void,
    block: *mut c_void,
) {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if still_waiting() {
            let real = placement::real(GEN, DOMAIN);
            return (real.free)(real.context, block);
        }
        free::<GEN, DOMAIN, SITES>(context, block);
    }
}
