//! Room `recorder`, the hooks: what stands in the place of CPython's three allocation domains. Each calls what stood
//! there before, and tells the stream.
//!
//! Only the outermost call is the program's: mem and obj pass large requests on to raw, and pymalloc keeps books there.
//! So a depth tells whether a hook of this thread is already at work; while the process has one thread it is a plain
//! variable, later one of each thread. The depth also covers what the site's look-up might allocate.

use core::cell::Cell;
use core::ffi::c_void;
use core::mem::MaybeUninit;

use crate::rawlog::tag;
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
    /// libc's own word on whether the process has one thread; a zero byte where libc is too old to say.
    single: *const u8,
    /// The depth while there is one thread.
    busy: bool,
    next_thread: u32,
}

static ZERO: u8 = 0;
static STATE: Shared<State> = Shared::new(State {
    real: [MaybeUninit::uninit(); 3],
    get_allocator: None,
    single: &raw const ZERO,
    busy: false,
    next_thread: 2,
});

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
    let found = !symbol(c"PyMem_GetAllocator").is_null() && !symbol(c"PyMem_SetAllocator").is_null();
    (!found).then_some("it has no PyMem_SetAllocator; use CPython 3.7 to 3.13")
}

/// Puts the hooks in place. In the constructor only, after [`missing`] found nothing missing.
pub fn install(with_sites: bool) {
    let (get, set) = (symbol(c"PyMem_GetAllocator"), symbol(c"PyMem_SetAllocator"));
    let single = symbol(c"__libc_single_threaded");
    // SAFETY: the constructor is alone; both functions have this signature since 3.5 and may be called before the
    // interpreter is initialised.
    unsafe {
        let get: Exchange = core::mem::transmute(get);
        let set: Exchange = core::mem::transmute(set);
        let state = STATE.get();
        (*state).get_allocator = Some(get);
        if !single.is_null() {
            (*state).single = single.cast();
        }
        THREAD.with(|thread| thread.number.set(1));
        system::pthread_atfork(Some(before_fork), Some(after_fork_parent), Some(after_fork_child));
        for (domain, hook) in hooks(with_sites).iter_mut().enumerate() {
            get(domain as i32, (*state).real[domain].as_mut_ptr());
            set(domain as i32, hook);
        }
        arenas::install();
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

/// Whether something else stands in the place of the hooks of mem or obj, or above them. (raw is put aside by CPython
/// itself for moments while it starts and ends.)
pub fn disturbed() -> bool {
    // SAFETY: written once in the constructor.
    let Some(get) = (unsafe { (*STATE.get()).get_allocator }) else { return false };
    let (plain, sited) = (hooks(false), hooks(true));
    (1..3).any(|domain| {
        let mut found = MaybeUninit::<Allocator>::uninit();
        // SAFETY: fills the struct.
        let found = unsafe {
            get(domain as i32, found.as_mut_ptr());
            found.assume_init()
        };
        let place = found.malloc as usize;
        place != plain[domain].malloc as usize && place != sited[domain].malloc as usize
    })
}

/// The program says that a phase begins. Nothing where nothing is recorded, or from inside an allocator.
pub fn mark(name: &[u8]) {
    // SAFETY: written once in the constructor.
    if unsafe { (*STATE.get()).get_allocator }.is_none() {
        return;
    }
    if let Some(turn) = enter() {
        turn.write(|stream, _| stream.mark(name));
        turn.leave();
    }
}

/// The process ends.
pub fn close() {
    // SAFETY: written once in the constructor.
    if unsafe { (*STATE.get()).get_allocator }.is_some() {
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
enum Turn {
    /// The only thread of the process.
    Alone,
    /// A thread among others, with its number.
    Shared(u32),
}

/// Enters a hook: `None` inside another one of the same thread.
#[inline(always)]
fn enter() -> Option<Turn> {
    let state = STATE.get();
    // SAFETY: `single` is written once in the constructor, and libc keeps its byte; while it says that there is one
    // thread, `busy` is this thread's alone.
    unsafe {
        if (*state).single.read_volatile() != 0 {
            if (*state).busy {
                return None;
            }
            (*state).busy = true;
            return Some(Turn::Alone);
        }
    }
    THREAD.with(|thread| {
        if thread.busy.get() {
            return None;
        }
        thread.busy.set(true);
        if thread.number.get() == 0 {
            thread.number.set(new_number());
        }
        Some(Turn::Shared(thread.number.get()))
    })
}

/// Writes to the stream from a place that is no hook of a domain, and may lie inside one.
pub fn between(work: impl FnOnce(&mut stream::Stream)) {
    // SAFETY: libc keeps the byte; inside a hook the stream is nobody's while the real allocator runs.
    let alone = unsafe { (*STATE.get()).single.read_volatile() != 0 };
    let turn = if alone { Turn::Alone } else { Turn::Shared(0) };
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

impl Turn {
    /// Leaves the hook.
    #[inline(always)]
    fn leave(self) {
        match self {
            // SAFETY: entered as the only thread, and nobody starts a thread inside an allocator.
            Turn::Alone => unsafe { (*STATE.get()).busy = false },
            Turn::Shared(_) => THREAD.with(|thread| thread.busy.set(false)),
        }
    }

    /// Writes to the stream, alone or under the lock.
    #[inline(always)]
    fn write(self, work: impl FnOnce(&mut stream::Stream, u32)) {
        match self {
            // SAFETY: the only thread.
            Turn::Alone => work(unsafe { stream::get() }, 1),
            Turn::Shared(number) => {
                stream::lock();
                // SAFETY: the lock is held.
                work(unsafe { stream::get() }, number);
                stream::unlock();
            }
        }
    }

    /// Writes a new block.
    #[inline(always)]
    fn birth<const DOMAIN: usize, const SITES: bool>(self, tag: u64, size: usize, block: *mut c_void) {
        self.write(|stream, thread| {
            if SITES {
                // SAFETY: alone or under the lock, as `write` sees to; mem and obj are called with the GIL held.
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
    // SAFETY: filled in the constructor before the hook was put in place, and never changed.
    unsafe { (*STATE.get()).real[DOMAIN].assume_init_ref() }
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

unsafe extern "C" fn free<const DOMAIN: usize, const SITES: bool>(_context: *mut c_void, block: *mut c_void) {
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
