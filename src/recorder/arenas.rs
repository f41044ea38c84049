//! Room `recorder`, arenas: where the memory of pymalloc lies. A hook over
//! `PyObject_SetArenaAllocator` tells the stream each arena's birth and death; so a replay can put
//! its arenas at the same places.
//!
//! It is called inside a hook of mem or obj. From 3.11 on the interpreter takes the chunks of its
//! frame stacks from the same allocator, outside of any; they are told apart by their size, which
//! the log keeps.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::system::symbol;
use crate::{Shared, hooks};

/// `PyObjectArenaAllocator`, the same since 3.4.
#[repr(C)]
#[derive(Clone, Copy)]
struct ArenaAllocator {
    context: *mut c_void,
    alloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void, *mut c_void, usize),
}

/// Whether the hook stands in the place, perhaps below another one.
static PLACED: AtomicBool = AtomicBool::new(false);

type Exchange = unsafe extern "C" fn(*mut ArenaAllocator);

/// What stood there before; written before the hook is put in place.
static REAL: Shared<MaybeUninit<ArenaAllocator>> = Shared::new(MaybeUninit::uninit());

/// The two functions that exchange it, where the interpreter has them.
fn exchange() -> Option<(Exchange, Exchange)> {
    let (get, set) = (symbol(c"PyObject_GetArenaAllocator"), symbol(c"PyObject_SetArenaAllocator"));
    if get.is_null() || set.is_null() {
        return None;
    }
    // SAFETY: both functions have this signature since 3.4.
    unsafe {
        Some((
            core::mem::transmute::<*mut c_void, Exchange>(get),
            core::mem::transmute::<*mut c_void, Exchange>(set),
        ))
    }
}

/// What stands in the place now.
fn present(get: Exchange) -> ArenaAllocator {
    let mut found = MaybeUninit::uninit();
    // SAFETY: fills the struct; may be called before the interpreter is initialised.
    unsafe {
        get(found.as_mut_ptr());
        found.assume_init()
    }
}

fn is_ours(found: &ArenaAllocator) -> bool {
    found.alloc as usize == alloc as *const () as usize
}

/// Puts the hook in place, where the interpreter has such an allocator.
///
/// # Safety
/// Before the first arena, or with the GIL held.
pub unsafe fn install() {
    let Some((get, set)) = exchange() else { return };
    let found = present(get);
    // Where ours stands already, it may be below another one, which it must not call.
    if PLACED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the hook is not in place, so nobody reads what it calls. It has the same context as
    // what is below it: whoever reads the struct while it changes finds a pair that fits.
    unsafe {
        (*REAL.get()).write(found);
        set(&mut ArenaAllocator { context: found.context, alloc, free });
    }
}

/// Puts back what stood there before, if nobody stands above.
pub fn take_away() {
    let Some((get, set)) = exchange() else { return };
    if is_ours(&present(get)) {
        PLACED.store(false, Ordering::Relaxed);
        // SAFETY: it was filled before the hook was put in place.
        unsafe { set(&mut real().clone()) };
    }
}

fn real() -> &'static ArenaAllocator {
    // SAFETY: filled before the hook was put in place, and never changed.
    unsafe { (*REAL.get()).assume_init_ref() }
}

unsafe extern "C" fn alloc(_context: *mut c_void, size: usize) -> *mut c_void {
    let real = real();
    // SAFETY: the caller's own call, passed on.
    let base = unsafe { (real.alloc)(real.context, size) };
    if !base.is_null() {
        hooks::between(|stream| stream.arena(true, base as u64, size as u64));
    }
    base
}

unsafe extern "C" fn free(_context: *mut c_void, base: *mut c_void, size: usize) {
    let real = real();
    if !base.is_null() {
        hooks::between(|stream| stream.arena(false, base as u64, size as u64));
    }
    // SAFETY: the caller's own call, passed on.
    unsafe { (real.free)(real.context, base, size) };
}
