//! The moment at which a process begins to end.
//!
//! What a program holds at its end is the answer to most questions, and what is left after its
//! interpreter has freed everything answers none. So the log has the moment before:
//!
//! - of a Python, the first block that ends after the interpreter began to finalise itself: after the
//!   callbacks of `atexit`, before modules are cleared. A free reads the interpreter's own word for
//!   that, so that no code of the recorder runs in the interpreter;
//! - of any process, the return of `main` or the call of `exit`, which this library exports.
//!
//! A process that ends in another way (`_exit`, a signal, `exec`) has no such moment.

use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::rawlog::{Control, request};
use crate::shared::ProcessState;
use crate::stream::Stream;
use crate::system::{self, next_symbol};
use crate::{entry, memory, placement, python};

/// What stands for the interpreter's word where none is known, or the moment was written.
static NEVER: usize = 0;
/// The interpreter's word: not 0 once it finalises itself.
static WORD: AtomicPtr<usize> = AtomicPtr::new(never());
/// Whether the exit was written.
static HAS_EXITED: AtomicBool = AtomicBool::new(false);

const fn never() -> *mut usize {
    (&raw const NEVER).cast_mut()
}

/// Finds the interpreter's word. Before anything is recorded.
pub fn prepare() {
    let word = python::finalising_word().unwrap_or(&raw const NEVER);
    WORD.store(word.cast_mut(), Ordering::Relaxed);
}

/// Whether the interpreter finalises itself, and the log does not say so.
#[inline(always)]
pub fn is_finalising() -> bool {
    // SAFETY: a static of the interpreter, or of this library.
    unsafe { WORD.load(Ordering::Relaxed).cast_const().read_volatile() != 0 }
}

/// Writes a moment, and the memory of the process then. With the stream.
pub fn write(stream: &mut Stream, moment: u64) {
    if stream.is_recording() {
        let write = || {
            memory::sample(stream, stream.now_ns(), true);
            stream.pair(Control::Request, moment, 1);
        };
        system::preserving_errno(write);
    }
}

/// Whether the moment is still to be written; it is then the caller's to write. With the stream.
pub fn take_finalisation() -> bool {
    WORD.swap(never(), Ordering::Relaxed) != never()
}

/// Forgets that the parent has begun to end. In a forked child.
pub fn forget() {
    HAS_EXITED.store(false, Ordering::Relaxed);
}

/// Writes that `main` has returned or that `exit` is called, at the first of the two.
fn note_exit() {
    if !placement::is_off() && !HAS_EXITED.swap(true, Ordering::Relaxed) {
        let write = || {
            entry::outside_of_hooks(|stream| write(stream, request::EXIT));
        };
        system::preserving_errno(write);
    }
}

/// As for C's `exit`.
///
/// # Safety
/// As for C's `exit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn exit(status: c_int) -> ! {
    note_exit();
    let next = next_symbol(c"exit");
    // SAFETY: the C library's function of that name has this signature.
    unsafe {
        if !next.is_null() {
            core::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int) -> !>(next)(status)
        }
        system::_exit(status)
    }
}

type Main = unsafe extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;
type StartMain = unsafe extern "C" fn(
    Option<Main>,
    c_int,
    *mut *mut c_char,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
) -> c_int;

/// The program's `main`.
static MAIN: ProcessState<Option<Main>> = ProcessState::new(None);

/// Calls the program's `main`.
unsafe extern "C" fn main_of_program(
    count: c_int,
    arguments: *mut *mut c_char,
    environment: *mut *mut c_char,
) -> c_int {
    // SAFETY: written once, before the C library calls this function.
    let Some(main) = (unsafe { *MAIN.get() }) else { return 127 };
    // SAFETY: the C library's own call, passed on.
    let status = unsafe { main(count, arguments, environment) };
    note_exit();
    status
}

/// What the start code of a program calls: it runs the constructors and then `main`.
///
/// # Safety
/// As for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __libc_start_main(
    main: Option<Main>,
    count: c_int,
    arguments: *mut *mut c_char,
    begin: *mut c_void,
    end: *mut c_void,
    loader_end: *mut c_void,
    stack_end: *mut c_void,
) -> c_int {
    let next = next_symbol(c"__libc_start_main");
    // SAFETY: the process has one thread. The C library's function of that name has this signature.
    unsafe {
        if next.is_null() {
            system::_exit(127)
        }
        *MAIN.get() = main;
        let start = core::mem::transmute::<*mut c_void, StartMain>(next);
        start(Some(main_of_program), count, arguments, begin, end, loader_end, stack_end)
    }
}
