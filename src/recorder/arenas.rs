//! Room `recorder`, arenas: where the memory of pymalloc lies. A hook over `PyObject_SetArenaAllocator` tells the stream
//! each arena's birth and death; so a replay can put its arenas at the same places.
//!
//! It is called inside a hook of mem or obj. From 3.11 on the interpreter takes the chunks of its frame stacks from the
//! same allocator, outside of any; they are told apart by their size, which the log keeps.

use core::ffi::c_void;
use core::mem::MaybeUninit;

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

type Exchange = unsafe extern "C" fn(*mut ArenaAllocator);

/// What stood there before; written before the hook is put in place.
static REAL: Shared<MaybeUninit<ArenaAllocator>> = Shared::new(MaybeUninit::uninit());

/// Puts the hook in place, where the interpreter has such an allocator.
///
/// # Safety
/// Once in a process, before its first arena or with the GIL held.
pub unsafe fn install() {
    let (get, set) = (symbol(c"PyObject_GetArenaAllocator"), symbol(c"PyObject_SetArenaAllocator"));
    if get.is_null() || set.is_null() {
        return;
    }
    // SAFETY: both functions have this signature since 3.4 and may be called before the interpreter is initialised.
    unsafe {
        let get: Exchange = core::mem::transmute(get);
        let set: Exchange = core::mem::transmute(set);
        get((*REAL.get()).as_mut_ptr());
        // The same context as below it: whoever reads the struct while it changes finds a pair that fits.
        let context = real().context;
        set(&mut ArenaAllocator { context, alloc, free });
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
