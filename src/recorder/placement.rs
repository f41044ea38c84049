//! Puts hooks in the place of CPython's allocators, and takes them away again.
//!
//! The file knows where the hooks stand, not what they do: `hooks.rs` and `arenas.rs` hand their
//! function tables over. A hook carries the context of the allocator that it replaces. So a thread
//! that reads the struct while it changes finds a function and a context that fit together.
//!
//! When a recording ends before the program does, the allocators from before are put back. Where
//! another hook stands above, the recorder's hook stays and passes every call on at once.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::native;
use crate::shared::ProcessState;
use crate::system::symbol;

/// `PyMemAllocatorEx`, the same since 3.5.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PyMemAllocatorEx {
    pub context: *mut c_void,
    pub malloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    pub calloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    pub realloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void),
}

/// `PyObjectArenaAllocator`, the same since 3.4.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PyObjectArenaAllocator {
    pub context: *mut c_void,
    pub alloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void, usize),
}

/// One function table for each domain: raw, mem, obj.
pub type DomainHooks = [PyMemAllocatorEx; 3];

type ExchangeAllocator = unsafe extern "C" fn(i32, *mut PyMemAllocatorEx);
type ExchangeArenaAllocator = unsafe extern "C" fn(*mut PyObjectArenaAllocator);

/// How many tables of hooks the recorder has: recording and waiting, each with and without sites.
pub const HOOK_TABLES: usize = 4;

/// How often hooks can be placed anew, above others that replaced them or stand above them. Each
/// generation of hooks calls what it replaced. A hook that others stand above may be called inside
/// a newer one, and then passes its call on.
pub const GENERATIONS: usize = 4;

struct Replaced {
    /// The allocators from before, by generation and domain.
    real: [[MaybeUninit<PyMemAllocatorEx>; 3]; GENERATIONS],
    /// Generations used, by domain.
    used: [usize; 3],
    get_allocator: Option<ExchangeAllocator>,
    set_allocator: Option<ExchangeAllocator>,
    /// Addresses of the recorder's own `malloc` hooks, by table, generation and domain.
    own_mallocs: [[[usize; 3]; GENERATIONS]; HOOK_TABLES],
}

static REPLACED: ProcessState<Replaced> = ProcessState::new(Replaced {
    real: [[MaybeUninit::uninit(); 3]; GENERATIONS],
    used: [0; 3],
    get_allocator: None,
    set_allocator: None,
    own_mallocs: [[[0; 3]; GENERATIONS]; HOOK_TABLES],
});

/// The arena allocator from before; written before the hook is put in place.
static REAL_ARENA: ProcessState<MaybeUninit<PyObjectArenaAllocator>> =
    ProcessState::new(MaybeUninit::uninit());

/// Whether nothing is recorded: not yet, or no longer.
static OFF: AtomicBool = AtomicBool::new(true);
/// Domains (bits) where a hook of the recorder stands, perhaps below another one.
static PLACED: AtomicU32 = AtomicU32::new(0);
/// Whether the arena hook stands in its place, perhaps below another one.
static ARENA_PLACED: AtomicBool = AtomicBool::new(false);
/// Address of the recorder's own `alloc` hook for arenas.
static OWN_ARENA_ALLOC: AtomicUsize = AtomicUsize::new(0);

/// Whether nothing is recorded: not yet, or no longer.
#[inline(always)]
pub fn is_off() -> bool {
    OFF.load(Ordering::Relaxed)
}

/// Lets the hooks record.
pub fn switch_on() {
    OFF.store(false, Ordering::Relaxed);
}

/// Why this process has nothing to hook; `None` when it has.
pub fn missing() -> Option<&'static str> {
    let found =
        !symbol(c"PyMem_GetAllocator").is_null() && !symbol(c"PyMem_SetAllocator").is_null();
    (!found).then_some("it has no PyMem_SetAllocator; use CPython 3.7 or later")
}

/// Finds the functions that exchange allocators and notes the recorder's own tables. In the
/// constructor or with the GIL held, after [`missing`] returned `None`.
pub fn prepare(own: &[[DomainHooks; GENERATIONS]; HOOK_TABLES]) {
    let (get, set) = (symbol(c"PyMem_GetAllocator"), symbol(c"PyMem_SetAllocator"));
    // SAFETY: nothing is recorded, so no other thread reads the state; both functions have this
    // signature since 3.5.
    unsafe {
        let state = REPLACED.get();
        (*state).get_allocator = Some(core::mem::transmute::<*mut c_void, ExchangeAllocator>(get));
        (*state).set_allocator = Some(core::mem::transmute::<*mut c_void, ExchangeAllocator>(set));
        (*state).own_mallocs =
            own.map(|table| table.map(|hooks| hooks.map(|hook| hook.malloc as usize)));
    }
}

/// The allocator that a domain had before the hook of that generation.
#[inline(always)]
pub fn real(generation: usize, domain: usize) -> &'static PyMemAllocatorEx {
    // SAFETY: filled before the hook is put in place, and never changed while the hook stands there.
    unsafe { (*REPLACED.get()).real[generation][domain].assume_init_ref() }
}

/// The arena allocator from before.
pub fn real_arena() -> &'static PyObjectArenaAllocator {
    // SAFETY: filled before the hook was put in place, and never changed.
    unsafe { (*REAL_ARENA.get()).assume_init_ref() }
}

/// Puts hooks in the place of the domains' allocators, or of older hooks of the recorder. Where
/// another hook replaced the recorder's or stands above them, the next generation is placed above
/// it `if_disturbed`. Returns whether a hook of the recorder is on top of each domain.
///
/// # Safety
/// After [`prepare`]; no other thread places hooks.
pub unsafe fn put(hooks: &[DomainHooks; GENERATIONS], if_disturbed: bool) -> bool {
    let state = REPLACED.get();
    let mut is_on_top = true;
    // SAFETY: `prepare` has filled both functions; they may be called before the interpreter is
    // initialised.
    unsafe {
        let (Some(get), Some(set)) = ((*state).get_allocator, (*state).set_allocator) else {
            return false;
        };
        for domain in [0usize, 1, 2] {
            let mut found = MaybeUninit::uninit();
            get(domain as i32, found.as_mut_ptr());
            let own = own_generation(domain, found.assume_init_ref());
            let is_placed = PLACED.load(Ordering::Relaxed) >> domain & 1 != 0;
            let used = (*state).used[domain];
            let generation = match own {
                // The allocator below is known already.
                Some(generation) => generation,
                None if !is_placed => {
                    (*state).used[domain] = 1;
                    0
                }
                None if if_disturbed && used < GENERATIONS => {
                    (*state).used[domain] = used + 1;
                    used
                }
                // Another hook calls the recorder's. Put below that hook once more, the recorder's
                // would call itself.
                None => {
                    is_on_top = false;
                    continue;
                }
            };
            if own.is_none() {
                (*state).real[generation][domain] = found;
                PLACED.fetch_or(1 << domain, Ordering::Relaxed);
            }
            let mut hook = hooks[generation][domain];
            hook.context = real(generation, domain).context;
            set(domain as i32, &mut hook);
        }
    }
    is_on_top
}

/// Ends recording, and puts back the allocators from before wherever no other hook stands above.
pub fn take_away() {
    OFF.store(true, Ordering::Relaxed);
    native::switch_off();
    let state = REPLACED.get();
    // SAFETY: `prepare` has filled both functions, `put` the allocators. The library stays loaded,
    // so a thread that is still inside a hook, or about to call one, finds it.
    unsafe {
        let (Some(get), Some(set)) = ((*state).get_allocator, (*state).set_allocator) else {
            return;
        };
        for domain in 0..3 {
            let mut found = MaybeUninit::uninit();
            get(domain as i32, found.as_mut_ptr());
            if let Some(generation) = own_generation(domain, found.assume_init_ref()) {
                if generation == 0 {
                    PLACED.fetch_and(!(1 << domain), Ordering::Relaxed);
                }
                set(domain as i32, (*state).real[generation][domain].as_mut_ptr());
            }
        }
    }
    take_away_arena();
}

/// The generation of an allocator found in a domain's place, if it is one of the recorder's hooks.
fn own_generation(domain: usize, found: &PyMemAllocatorEx) -> Option<usize> {
    // SAFETY: written while nothing is recorded.
    let own = unsafe { &(*REPLACED.get()).own_mallocs };
    let is_it = |mallocs: &[usize; 3]| mallocs[domain] == found.malloc as usize;
    own.iter().find_map(|table| table.iter().position(is_it))
}

/// Whether something else stands in the place of the hooks of mem or obj, or above them. CPython
/// itself puts raw aside for moments while it starts and ends, so raw does not count.
pub fn is_disturbed() -> bool {
    // SAFETY: written while nothing is recorded.
    let Some(get) = (unsafe { (*REPLACED.get()).get_allocator }) else { return false };
    (1..3).any(|domain| {
        let mut found = MaybeUninit::<PyMemAllocatorEx>::uninit();
        // SAFETY: fills the struct.
        let found = unsafe {
            get(domain as i32, found.as_mut_ptr());
            found.assume_init()
        };
        own_generation(domain, &found).is_none()
    })
}

/// The two functions that exchange the arena allocator, where the interpreter has them.
fn arena_exchange() -> Option<(ExchangeArenaAllocator, ExchangeArenaAllocator)> {
    let (get, set) = (symbol(c"PyObject_GetArenaAllocator"), symbol(c"PyObject_SetArenaAllocator"));
    if get.is_null() || set.is_null() {
        return None;
    }
    // SAFETY: both functions have this signature since 3.4.
    unsafe {
        Some((
            core::mem::transmute::<*mut c_void, ExchangeArenaAllocator>(get),
            core::mem::transmute::<*mut c_void, ExchangeArenaAllocator>(set),
        ))
    }
}

/// The present arena allocator.
fn present_arena(get: ExchangeArenaAllocator) -> PyObjectArenaAllocator {
    let mut found = MaybeUninit::uninit();
    // SAFETY: fills the struct; may be called before the interpreter is initialised.
    unsafe {
        get(found.as_mut_ptr());
        found.assume_init()
    }
}

/// Puts the arena hook in place, where the interpreter has such an allocator.
///
/// # Safety
/// Before the first arena, or with the GIL held.
pub unsafe fn put_arena(mut hook: PyObjectArenaAllocator) {
    let Some((get, set)) = arena_exchange() else { return };
    let found = present_arena(get);
    // A hook that stands there already may be below another one, which the recorder's must not
    // call.
    if ARENA_PLACED.swap(true, Ordering::Relaxed) {
        return;
    }
    OWN_ARENA_ALLOC.store(hook.alloc as usize, Ordering::Relaxed);
    // SAFETY: the hook is not in place, so no thread reads what it calls. The context is that of
    // the allocator below: a thread that reads the struct while it changes finds a pair that fits.
    unsafe {
        (*REAL_ARENA.get()).write(found);
        hook.context = found.context;
        set(&mut hook);
    }
}

/// Puts back the arena allocator from before, if no other hook stands above.
fn take_away_arena() {
    let Some((get, set)) = arena_exchange() else { return };
    if present_arena(get).alloc as usize == OWN_ARENA_ALLOC.load(Ordering::Relaxed) {
        ARENA_PLACED.store(false, Ordering::Relaxed);
        // SAFETY: filled before the hook was put in place.
        unsafe { set(&mut real_arena().clone()) };
    }
}
