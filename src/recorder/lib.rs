//! The library that is loaded into a recorded program (`LD_PRELOAD`) and records every allocation.
//! The build script of heaplay compiles it, without dependencies, and embeds it in the binary.
//!
//! The constructor runs before `main`. Where it cannot record rightly, it writes a raw log with the
//! reason and without events. It then stops the process, if that is the process to record. Otherwise
//! it puts hooks (`hooks.rs`) in the place of CPython's three allocation domains (`placement.rs`),
//! and records the C library's functions, which this library exports (`native.rs`). Both write to the
//! raw log (`stream.rs`; the layout is in `rawlog.rs`), and on request the allocating line or module
//! (`sites.rs`, through `python.rs`, `modules.rs` and `unwind.rs`). `memory.rs` adds what the process
//! holds, `collector.rs` what the garbage collector visits, and `ending.rs` the moment at which the
//! process begins to end.
//!
//! The order comes in one variable, `HEAPLAY_RECORD` (`order.rs`). This variable and `LD_PRELOAD`
//! stay set, so Python programs that the program starts are recorded, too.
//!
//! A program that runs already can load the library late. Then the library does nothing until the
//! program calls `heaplay_record` (`python/heaplay/__init__.py`).
#![allow(
    unsafe_code,
    reason = "loaded into a C program: its hooks, its threads and its memory are all behind C calls"
)]
#![deny(unsafe_op_in_unsafe_fn)]

mod allocator;
mod arenas;
mod collector;
mod ending;
mod entry;
mod hooks;
mod interpreters;
mod memory;
mod modules;
mod native;
mod order;
mod placement;
mod python;
mod rawlog;
mod refusal;
mod shared;
mod sites;
mod stream;
mod system;
mod table;
mod unwind;

use core::ffi::{CStr, c_char};

use crate::order::{Order, RecordingLimits};
use crate::shared::ProcessState;

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = construct;

#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = stop;

extern "C" fn construct() {
    native::start_once();
}

/// Reads the order and begins to record. In the constructor, or at an earlier call of the C library.
fn start() {
    // SAFETY: the constructors run before main, so no other thread changes the environment.
    let Some(line) = (unsafe { system::environment(order::VARIABLE_C) }) else { return };
    if python::is_running() {
        return; // loaded late, by the program itself
    }
    let version = python::version();
    let Some(order) = order::read(line) else {
        if version.is_some() {
            print_error(
                b"heaplay: nothing is recorded: HEAPLAY_RECORD is not understood; \
                  `heaplay recorder` prints it\n",
            );
        }
        return;
    };
    native::want(order.libc);
    match version {
        Some(version) => start_python(&order, version),
        None if order.libc && (order.any_program || is_root(&order)) => start_other(&order),
        None => {}
    }
}

/// Records a Python from before its interpreter starts.
fn start_python(order: &Order<'_>, version: &[u8]) {
    // SAFETY: the constructor runs before main, so no other thread changes the environment.
    let environment = unsafe {
        refusal::PythonVariables {
            malloc: system::environment(c"PYTHONMALLOC"),
            dev_mode: system::environment(c"PYTHONDEVMODE"),
            tracemalloc: system::environment(c"PYTHONTRACEMALLOC"),
        }
    };
    stream::prepare(order, version);
    let options = refusal::options(stream::arguments().skip(1));
    let refused = refusal::interpreter(version, false)
        .or_else(|| refusal::settings(options, environment, order.libc))
        .or_else(|| sites::prepare(version, order.sites))
        .or_else(placement::missing);
    if let Some(reason) = refused {
        stream::refuse(reason);
        return stop_root(order);
    }
    if !open(order) {
        return;
    }
    hooks::prepare(order.sites > 0);
    begin_or_wait(order);
}

/// Records a process that is no Python.
fn start_other(order: &Order<'_>) {
    stream::prepare(order, b"");
    if !open(order) {
        return;
    }
    hooks::prepare_process(order.sites > 0);
    begin_or_wait(order);
}

/// Opens the log; `false` where that is impossible.
fn open(order: &Order<'_>) -> bool {
    let Err(errno) = stream::open() else { return true };
    print_error(b"heaplay: ");
    print_error(stream::path());
    print_error(b": the raw log cannot be created: ");
    print_error(system::reason(errno));
    print_error(b"\n");
    stop_root(order);
    false
}

/// Records from now on, or from the delay or the mark on that the order names.
fn begin_or_wait(order: &Order<'_>) {
    if order.limits.start_at.is_some() {
        stream::wait_for_start();
        hooks::wait_for_mark();
    } else if order.limits.start_after_ns > 0 {
        stream::wait_for_start();
        // SAFETY: the constructor runs before other threads exist, and the stream is open.
        unsafe { hooks::install_waiting() };
    } else {
        // SAFETY: as above.
        unsafe { hooks::install() };
    }
}

/// Whether this is the process that must be recorded.
fn is_root(order: &Order<'_>) -> bool {
    // SAFETY: a plain call.
    order.root > 0 && i64::from(unsafe { system::getppid() }) == order.root
}

/// Prints a line, or a part of one, on stderr.
fn print_error(text: &[u8]) {
    // SAFETY: a plain call; a failed write is ignored.
    unsafe { system::write(2, text.as_ptr().cast(), text.len()) };
}

/// Ends the process if it is the one to record; another process goes on unrecorded.
fn stop_root(order: &Order<'_>) {
    // SAFETY: plain calls; no code of the program has run yet, so nothing is left undone.
    unsafe {
        if is_root(order) {
            system::_exit(order::NOT_STARTED);
        }
    }
}

/// Notes that a phase of the program begins. `python/heaplay/__init__.py` calls this function by name.
///
/// # Safety
/// `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heaplay_mark(name: *const c_char) {
    if !name.is_null() {
        // SAFETY: as the caller guarantees.
        hooks::mark(unsafe { CStr::from_ptr(name) }.to_bytes());
    }
}

/// Begins to record a program that runs already. The raw log is `base.pid`; `sites` is the frames of
/// each site. The other parameters are limits, 0 for none: calls, bytes of the raw log, nanoseconds.
///
/// Returns null, or a C string that says why nothing is recorded.
///
/// # Safety
/// With the GIL held; `base` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heaplay_record(
    base: *const c_char,
    sites: u32,
    max_events: u64,
    max_bytes: u64,
    duration_ns: u64,
) -> *const c_char {
    // SAFETY: as the caller guarantees.
    let base = unsafe { CStr::from_ptr(base) }.to_bytes();
    let limits = RecordingLimits { max_events, max_bytes, duration_ns, ..RecordingLimits::NONE };
    // A library that is loaded late is called by nobody under the C library's names.
    let (root, libc, any_program) = (0, false, false);
    match begin(&Order { root, sites, libc, any_program, limits, base }) {
        None => core::ptr::null(),
        Some(reason) => reason_as_c(reason),
    }
}

fn begin(order: &Order<'_>) -> Option<&'static str> {
    if hooks::is_active() {
        return Some("this process is being recorded already");
    }
    if u64::from(order.sites) > order::SITES_LIMIT || order.base.is_empty() {
        return Some("a recording needs a path, and sites are 0 to 32");
    }
    let Some(version) = python::version() else { return Some("this process is no Python") };
    let refused = refusal::interpreter(version, true)
        .or_else(|| sites::prepare(version, order.sites))
        .or_else(placement::missing);
    if refused.is_some() {
        return refused;
    }
    stream::lock();
    sites::forget();
    stream::prepare(order, version);
    let is_open = stream::open();
    stream::unlock();
    if is_open.is_err() {
        return Some("the raw log cannot be created beside the output: no space, or no permission");
    }
    hooks::prepare(order.sites > 0);
    hooks::begin_late();
    None
}

/// Ends the recording that [`heaplay_record`] began. Returns the path of the raw log, a C string
/// that is valid until the next start.
///
/// # Safety
/// With the GIL held.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heaplay_stop() -> *const c_char {
    let is_disturbed = placement::is_disturbed();
    stream::lock();
    let path = stream::stop(is_disturbed);
    stream::unlock();
    path
}

/// A reason with a closing zero byte. The text stays valid until the next reason.
fn reason_as_c(reason: &'static str) -> *const c_char {
    static TEXT: ProcessState<[u8; 256]> = ProcessState::new([0; 256]);
    // SAFETY: the GIL is held, so no other thread is here.
    let text = unsafe { &mut *TEXT.get() };
    let length = reason.len().min(text.len() - 1);
    text[..length].copy_from_slice(&reason.as_bytes()[..length]);
    text[length] = 0;
    text.as_ptr().cast()
}

extern "C" fn stop() {
    hooks::close();
}
