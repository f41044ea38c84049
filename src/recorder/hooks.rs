//! Room `recorder`, the hooks: what stands in the place of CPython's three allocation domains. Each
//! calls what stood there before, and tells the stream.
//!
//! Only the outermost call is the program's: mem and obj pass large requests on to raw, and
//! pymalloc keeps books there. So a depth tells whether a hook of this thread is already at work;
//! while the process has one thread it is a plain variable, later one of each thread. The depth
//! also covers what the site's look-up might allocate.
//!
//! A recording that is to begin after a delay has other hooks first, which count calls, look at the
//! clock now and then, and put the recording ones in their place. When it ends before the program
//! does, what stood there before is put back; where another hook stands above, ours stay, and pass
//! every call on at once. The hooks carry the context of what they replace: a thread that reads the
//! struct while it is changed finds a pair that fits.

use core::cell::Cell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::rawlog::{start, tag};
use crate::system::{self, symbol};
use crate::{Shared, arenas, sites, stream};

/// `PyMemAllocatorEx`, the same since 3.5.
#[repr(C)]
#[derive(Clone, Copy)]
struct Allocator {
    context: *mut c_void,
    malloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    calloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void, *mut c_void),
}

type Exchange = unsafe extern "C" fn(i32, *mut Allocator);

struct State {
    /// What stood there before, by domain.
    real: [MaybeUninit<Allocator>; 3],
    get_allocator: Option<Exchange>,
    set_allocator: Option<Exchange>,
    /// Whether the recording has sites.
    with_sites: bool,
    /// libc's own word on whether the process has one thread; a zero byte where libc is too old to
    /// say.
    single: *const u8,
    /// The depth while there is one thread.
    busy: bool,
    next_thread: u32,
}

static ZERO: u8 = 0;
static STATE: Shared<State> = Shared::new(State {
    real: [MaybeUninit::uninit(); 3],
    get_allocator: None,
    set_allocator: None,
    with_sites: false,
    single: &raw const ZERO,
    busy: false,
    next_thread: 2,
});

/// Whether there is nothing to record any more, or not yet again.
static OFF: AtomicBool = AtomicBool::new(true);
/// Whether the recording has not begun.
static WAITING: AtomicBool = AtomicBool::new(false);
/// Calls until a waiting hook looks at the clock.
static COUNTDOWN: AtomicU32 = AtomicU32::new(0);
/// Calls between two looks at the clock.
const CALLS_A_LOOK: u32 = 256;

/// A thread's own depth and number (0 until its first call).
struct Thread {
    busy: Cell<bool>,
    number: Cell<u32>,
}

thread_local! {
    static THREAD: Thread = const { Thread { busy: Cell::new(false), number: Cell::new(0) } };
}

/// Why there is nothing to hook; `None` when there is.
pub fn missing() -> Option<&'static str> {
    let found =
        !symbol(c"PyMem_GetAllocator").is_null() && !symbol(c"PyMem_SetAllocator").is_null();
    (!found).then_some("it has no PyMem_SetAllocator; use CPython 3.7 or later")
}

/// Finds what the hooks need. In the constructor or with the GIL held, after [`missing`] found
/// nothing missing.
pub fn prepare(with_sites: bool) {
    let (get, set) = (symbol(c"PyMem_GetAllocator"), symbol(c"PyMem_SetAllocator"));
    let single = symbol(c"__libc_single_threaded");
    // SAFETY: nothing is recorded, so nobody reads the state; both functions have this signature
    // since 3.5.
    unsafe {
        let state = STATE.get();
        let is_first = (*state).get_allocator.is_none();
        (*state).get_allocator = Some(core::mem::transmute::<*mut c_void, Exchange>(get));
        (*state).set_allocator = Some(core::mem::transmute::<*mut c_void, Exchange>(set));
        (*state).with_sites = with_sites;
        if !single.is_null() {
            (*state).single = single.cast();
        }
        if is_first {
            THREAD.with(|thread| thread.number.set(1));
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
    OFF.store(false, Ordering::Relaxed);
    // SAFETY: as the caller says.
    unsafe {
        (*STATE.get()).busy = false;
        put(hooks((*STATE.get()).with_sites));
        arenas::install();
    }
}

/// Waits, and records when the recording's delay is over. In the constructor only.
///
/// # Safety
/// As [`install`].
pub unsafe fn install_waiting() {
    WAITING.store(true, Ordering::Relaxed);
    // SAFETY: as the caller says.
    unsafe {
        let with_sites = (*STATE.get()).with_sites;
        put(if with_sites { waiting_hooks::<true>() } else { waiting_hooks::<false>() });
    }
}

/// Puts hooks in the place of what stands there, or of older ones of ours.
///
/// # Safety
/// As [`install`].
unsafe fn put(hooks: [Allocator; 3]) {
    let state = STATE.get();
    // SAFETY: `prepare` has filled both functions; they may be called before the interpreter is
    // initialised.
    unsafe {
        let (Some(get), Some(set)) = ((*state).get_allocator, (*state).set_allocator) else {
            return;
        };
        for (domain, mut hook) in hooks.into_iter().enumerate() {
            let mut found = MaybeUninit::uninit();
            get(domain as i32, found.as_mut_ptr());
            if is_ours(domain, found.assume_init_ref()) {
                // What is below it is known already.
            } else if PLACED.load(Ordering::Relaxed) >> domain & 1 != 0 {
                // Another hook calls ours: it would call itself if it were put below.
                continue;
            } else {
                (*state).real[domain] = found;
                PLACED.fetch_or(1 << domain, Ordering::Relaxed);
            }
            hook.context = real_of(domain).context;
            set(domain as i32, &mut hook);
        }
    }
}

/// Domains (bits) where a hook of ours stands, perhaps below another one that was put there later.
static PLACED: AtomicU32 = AtomicU32::new(0);

/// Puts back what stood there before, wherever nobody stands above.
pub fn take_away() {
    OFF.store(true, Ordering::Relaxed);
    let state = STATE.get();
    // SAFETY: `prepare` has filled both functions, `put` the allocators. The library stays loaded,
    // so a thread that is still inside a hook, or about to call one, finds it.
    unsafe {
        let (Some(get), Some(set)) = ((*state).get_allocator, (*state).set_allocator) else {
            return;
        };
        for domain in 0..3 {
            let mut found = MaybeUninit::uninit();
            get(domain as i32, found.as_mut_ptr());
            if is_ours(domain, found.assume_init_ref()) {
                PLACED.fetch_and(!(1 << domain), Ordering::Relaxed);
                set(domain as i32, (*state).real[domain].as_mut_ptr());
            }
        }
        arenas::take_away();
    }
}

fn hooks(with_sites: bool) -> [Allocator; 3] {
    if with_sites {
        [hook::<0, true>(), hook::<1, true>(), hook::<2, true>()]
    } else {
        [hook::<0, false>(), hook::<1, false>(), hook::<2, false>()]
    }
}

fn hook<const DOMAIN: usize, const SITES: bool>() -> Allocator {
    Allocator {
        context: core::ptr::null_mut(),
        malloc: malloc::<DOMAIN, SITES>,
        calloc: calloc::<DOMAIN, SITES>,
        realloc: realloc::<DOMAIN, SITES>,
        free: free::<DOMAIN, SITES>,
    }
}

fn waiting_hooks<const SITES: bool>() -> [Allocator; 3] {
    [waiting_hook::<0, SITES>(), waiting_hook::<1, SITES>(), waiting_hook::<2, SITES>()]
}

fn waiting_hook<const DOMAIN: usize, const SITES: bool>() -> Allocator {
    Allocator {
        context: core::ptr::null_mut(),
        malloc: waiting_malloc::<DOMAIN, SITES>,
        calloc: waiting_calloc::<DOMAIN, SITES>,
        realloc: waiting_realloc::<DOMAIN, SITES>,
        free: waiting_free::<DOMAIN, SITES>,
    }
}

/// Whether an allocator found in a domain's place is one of the hooks.
fn is_ours(domain: usize, found: &Allocator) -> bool {
    let ours = [hooks(false), hooks(true), waiting_hooks::<false>(), waiting_hooks::<true>()];
    ours.iter().any(|hooks| hooks[domain].malloc as usize == found.malloc as usize)
}

/// Whether something else stands in the place of the hooks of mem or obj, or above them. (raw is
/// put aside by CPython itself for moments while it starts and ends.)
pub fn disturbed() -> bool {
    // SAFETY: written once, before anything is recorded.
    let Some(get) = (unsafe { (*STATE.get()).get_allocator }) else { return false };
    (1..3).any(|domain| {
        let mut found = MaybeUninit::<Allocator>::uninit();
        // SAFETY: fills the struct.
        let found = unsafe {
            get(domain as i32, found.as_mut_ptr());
            found.assume_init()
        };
        !is_ours(domain, &found)
    })
}

/// Whether a call is to be passed on and no more; the first that finds the delay over begins the
/// recording.
#[inline(always)]
fn still_waiting() -> bool {
    if !WAITING.load(Ordering::Relaxed) {
        return false;
    }
    let left = COUNTDOWN.load(Ordering::Relaxed);
    COUNTDOWN.store(left.wrapping_sub(1), Ordering::Relaxed);
    if left == 0 {
        look_at_clock();
    }
    true
}

#[cold]
fn look_at_clock() {
    COUNTDOWN.store(CALLS_A_LOOK, Ordering::Relaxed);
    if stream::is_due() {
        begin(start::DELAY);
    }
}

/// The recording begins, if nobody else has begun it.
fn begin(cause: u64) {
    system::keeping_errno(|| {
        stream::lock();
        if WAITING.load(Ordering::Relaxed) {
            stream::begin(cause);
            // SAFETY: the lock is held; the stream has been open since the constructor.
            unsafe { install() };
        }
        stream::unlock();
    });
}

/// A recording waits for a mark of the program. In the constructor only.
pub fn wait_for_mark() {
    WAITING.store(true, Ordering::Relaxed);
}

/// Begins the recording that the program itself asked for.
pub fn begin_late() {
    WAITING.store(true, Ordering::Relaxed);
    begin(start::LATE);
}

/// Whether a recording is going on, or waits for its start.
pub fn is_active() -> bool {
    !OFF.load(Ordering::Relaxed) || WAITING.load(Ordering::Relaxed)
}

/// The program says that a phase begins, and perhaps the recording with it, or ends. Nothing where
/// nothing is recorded, or from inside an allocator.
pub fn mark(name: &[u8]) {
    if WAITING.load(Ordering::Relaxed) && stream::begins_at(name) {
        begin(start::MARK);
    }
    if OFF.load(Ordering::Relaxed) {
        return;
    }
    if let Some(turn) = enter() {
        turn.write(|stream, _| {
            stream.mark(name);
            stream.finish_at(name);
        });
        turn.leave();
    }
}

/// The process ends.
pub fn close() {
    if !OFF.load(Ordering::Relaxed) {
        stream::close(disturbed());
    }
}

unsafe extern "C" fn before_fork() {
    stream::lock();
}

unsafe extern "C" fn after_fork_parent() {
    stream::unlock();
}

unsafe extern "C" fn after_fork_child() {
    // SAFETY: the child has one thread, and that is this one.
    unsafe { (*STATE.get()).next_thread = 2 };
    THREAD.with(|thread| thread.number.set(1));
    stream::forked();
    stream::unlock();
}

/// Leave to record one outermost call.
#[derive(Clone, Copy)]
enum TimeSlice {
    /// The only thread of the process.
    Isolated,
    /// A thread among others, with its number.
    Shared(u32),
}

/// Enters a hook: `None` inside another one of the same thread.
#[inline(always)]
fn enter() -> Option<TimeSlice> {
    let state = STATE.get();
    // SAFETY: `single` is written before anything is recorded, and libc keeps its byte; while it
    // says that there is one thread, `busy` is this thread's alone.
    unsafe {
        if (*state).single.read_volatile() != 0 {
            if (*state).busy {
                return None;
            }
            (*state).busy = true;
            return Some(TimeSlice::Isolated);
        }
    }
    if OFF.load(Ordering::Relaxed) {
        return None;
    }
    THREAD.with(|thread| {
        if thread.busy.get() {
            return None;
        }
        thread.busy.set(true);
        if thread.number.get() == 0 {
            thread.number.set(new_number());
        }
        Some(TimeSlice::Shared(thread.number.get()))
    })
}

/// Writes to the stream from a place that is no hook of a domain, and may lie inside one.
pub fn between(work: impl FnOnce(&mut stream::Stream)) {
    // SAFETY: libc keeps the byte; inside a hook the stream is nobody's while the real allocator
    // runs.
    let alone = unsafe { (*STATE.get()).single.read_volatile() != 0 };
    let turn = if alone { TimeSlice::Isolated } else { TimeSlice::Shared(0) };
    turn.write(|stream, _| work(stream));
}

#[cold]
fn new_number() -> u32 {
    stream::lock();
    // SAFETY: the lock is held.
    let number = unsafe {
        let next = &raw mut (*STATE.get()).next_thread;
        let number = *next;
        *next = number.wrapping_add(1).max(2);
        number
    };
    stream::unlock();
    number
}

impl TimeSlice {
    /// Leaves the hook.
    #[inline(always)]
    fn leave(self) {
        match self {
            // Once there is nothing to record, the thread stays busy: that is the shortest way past
            // a hook. SAFETY: entered as the only thread, and nobody starts a thread inside an
            // allocator.
            TimeSlice::Isolated => unsafe { (*STATE.get()).busy = OFF.load(Ordering::Relaxed) },
            TimeSlice::Shared(_) => THREAD.with(|thread| thread.busy.set(false)),
        }
    }

    /// Writes to the stream, alone or under the lock.
    #[inline(always)]
    fn write(self, work: impl FnOnce(&mut stream::Stream, u32)) {
        match self {
            // SAFETY: the only thread.
            TimeSlice::Isolated => work(unsafe { stream::get() }, 1),
            TimeSlice::Shared(number) => {
                stream::lock();
                // SAFETY: the lock is held.
                work(unsafe { stream::get() }, number);
                stream::unlock();
            }
        }
    }

    /// Writes a new block.
    #[inline(always)]
    fn birth<const DOMAIN: usize, const SITES: bool>(
        self,
        tag: u64,
        size: usize,
        block: *mut c_void,
    ) {
        self.write(|stream, thread| {
            if SITES {
                // SAFETY: alone or under the lock, as `write` sees to; mem and obj are called with
                // the GIL held.
                let site = unsafe { sites::get().current(DOMAIN != 0, stream) };
                stream.site(site);
            }
            stream.call(thread, tag + DOMAIN as u64, size as u64, block as u64);
        });
    }

    /// Writes that a block is given up.
    #[inline(always)]
    fn death<const SITES: bool>(self, tag: u64, block: *mut c_void) {
        self.write(|stream, thread| {
            if SITES {
                // SAFETY: alone or under the lock.
                unsafe { sites::get() }.freed(block as u64);
            }
            stream.call(thread, tag, 0, block as u64);
        });
    }
}

/// What stood in the domain's place before.
#[inline(always)]
fn real<const DOMAIN: usize>() -> &'static Allocator {
    real_of(DOMAIN)
}

#[inline(always)]
fn real_of(domain: usize) -> &'static Allocator {
    // SAFETY: filled before the hook is put in place, and never changed while it stands there.
    unsafe { (*STATE.get()).real[domain].assume_init_ref() }
}

unsafe extern "C" fn malloc<const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    size: usize,
) -> *mut c_void {
    let real = real::<DOMAIN>();
    let turn = enter();
    // SAFETY: the caller's own call, passed on.
    let block = unsafe { (real.malloc)(real.context, size) };
    if let Some(turn) = turn {
        if !block.is_null() {
            turn.birth::<DOMAIN, SITES>(tag::MALLOC, size, block);
        }
        turn.leave();
    }
    block
}

unsafe extern "C" fn calloc<const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    let real = real::<DOMAIN>();
    let turn = enter();
    // SAFETY: the caller's own call, passed on.
    let block = unsafe { (real.calloc)(real.context, count, size) };
    if let Some(turn) = turn {
        if !block.is_null() {
            // A product that overflowed would have failed.
            turn.birth::<DOMAIN, SITES>(tag::CALLOC, count.wrapping_mul(size), block);
        }
        turn.leave();
    }
    block
}

unsafe extern "C" fn realloc<const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    old: *mut c_void,
    size: usize,
) -> *mut c_void {
    let real = real::<DOMAIN>();
    let turn = enter();
    if let Some(turn) = turn
        && !old.is_null()
    {
        turn.death::<SITES>(tag::REALLOC_BEGIN, old);
    }
    // SAFETY: the caller's own call, passed on.
    let block = unsafe { (real.realloc)(real.context, old, size) };
    if let Some(turn) = turn {
        if !block.is_null() {
            let tag = if old.is_null() { tag::MALLOC } else { tag::REALLOC };
            turn.birth::<DOMAIN, SITES>(tag, size, block);
        } else if !old.is_null() {
            turn.write(|stream, thread| stream.realloc_failed(thread));
        }
        turn.leave();
    }
    block
}

unsafe extern "C" fn free<const DOMAIN: usize, const SITES: bool>(
    _context: *mut c_void,
    block: *mut c_void,
) {
    let real = real::<DOMAIN>();
    let turn = if block.is_null() { None } else { enter() };
    if let Some(turn) = turn {
        turn.death::<SITES>(tag::FREE, block);
    }
    // SAFETY: the caller's own call, passed on.
    unsafe { (real.free)(real.context, block) };
    if let Some(turn) = turn {
        turn.leave();
    }
}

unsafe extern "C" fn waiting_malloc<const DOMAIN: usize, const SITES: bool>(
    context: *mut c_void,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller's own call, passed on.
    unsafe {
        if still_waiting() {
            let real = real::<DOMAIN>();
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
            let real = real::<DOMAIN>();
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
            let real = real::<DOMAIN>();
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
            let real = real::<DOMAIN>();
            return (real.free)(real.context, block);
        }
        free::<DOMAIN, SITES>(context, block);
    }
}
