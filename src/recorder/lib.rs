//! The library that is loaded into the recorded program (`LD_PRELOAD`) and writes
//! down every allocation. The build script compiles it by itself, without dependencies, and the
//! program carries it embedded.
//!
//! Its constructor runs before `main`. In a process that is no Python it does nothing. In one it
//! cannot record rightly it says so in a raw log without events, and stops the process if that is
//! the one that was asked for. Else it puts its hooks (`hooks.rs`) in the place of the three
//! allocation domains, and they write to the raw log (`stream.rs`; its layout is `rawlog.rs`), with
//! the allocating line if asked (`sites.rs`, by way of `python.rs`).
//!
//! It is told what to do by one variable, `HEAPLAY_RECORD` (`order.rs`). Both this variable and
//! `LD_PRELOAD` stay set, so that Python programs started by the program are recorded too.
//!
//! Loaded late, by a program that runs already, it does nothing until that calls `heaplay_start`
//! (`scripts/heaplay.py`).
#![allow(
    unsafe_code,
    reason = "loaded into a C program: its hooks, its threads and its memory are all behind C calls"
)]
#![deny(unsafe_op_in_unsafe_fn)]

mod arenas;
mod hooks;
mod interpreters;
mod order;
mod python;
mod rawlog;
mod refusal;
mod sites;
mod stream;
mod system;

use core::cell::UnsafeCell;

/// State of the process that C callbacks reach. Who may touch it when is told at each of them.
pub(crate) struct Shared<T>(UnsafeCell<T>);

// SAFETY: every use goes through a raw pointer inside an unsafe block that says why it is alone.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) const fn new(value: T) -> Shared<T> {
        Shared(UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) const fn get(&self) -> *mut T {
        self.0.get()
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = start;

#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = stop;

extern "C" fn start() {
    // SAFETY: a constructor runs alone, before main; nobody changes the environment.
    let Some(line) = (unsafe { system::environment(c"HEAPLAY_RECORD") }) else { return };
    let Some(version) = python::version() else { return };
    if python::is_running() {
        return;
    }
    let Some(order) = order::read(line) else {
        return say(
            b"heaplay: nothing is recorded: HEAPLAY_RECORD is not understood; `heaplay recorder` prints it\n",
        );
    };
    // SAFETY: as above.
    let environment = unsafe {
        refusal::Environment {
            malloc: system::environment(c"PYTHONMALLOC"),
            dev_mode: system::environment(c"PYTHONDEVMODE"),
            tracemalloc: system::environment(c"PYTHONTRACEMALLOC"),
        }
    };
    stream::prepare(&order, version);
    let options = refusal::options(stream::arguments().skip(1));
    let refused = refusal::interpreter(version, false, python::is_free_threaded())
        .or_else(|| refusal::settings(options, environment))
        .or_else(|| sites::prepare(version, order.sites))
        .or_else(hooks::missing);
    if let Some(reason) = refused {
        stream::refuse(reason);
        return stop_root(&order);
    }
    if !stream::open() {
        say(b"heaplay: the raw log cannot be created beside the output: no room, or no permission\n");
        return stop_root(&order);
    }
    hooks::prepare(order.sites > 0);
    if order.limits.start_at.is_some() {
        stream::wait_for_start();
        hooks::wait_for_mark();
    } else if order.limits.start_after_ns > 0 {
        stream::wait_for_start();
        // SAFETY: the constructor is alone, and the stream is open.
        unsafe { hooks::install_waiting() };
    } else {
        // SAFETY: as above.
        unsafe { hooks::install() };
    }
}

/// Says a line on stderr.
fn say(line: &[u8]) {
    // SAFETY: a plain call; what cannot be said is not said.
    unsafe { system::write(2, line.as_ptr().cast(), line.len()) };
}

/// Ends the process if it is the one that was asked for; another one goes on unrecorded.
fn stop_root(order: &order::Order<'_>) {
    // SAFETY: plain calls; nothing of the program has started yet, so nothing is left undone.
    unsafe {
        if order.root > 0 && i64::from(system::getppid()) == order.root {
            system::_exit(2);
        }
    }
}

/// For the program, by name: a phase begins. `scripts/heaplay.py` calls it.
///
/// # Safety
/// `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heaplay_mark(name: *const core::ffi::c_char) {
    if !name.is_null() {
        // SAFETY: as the caller says.
        hooks::mark(unsafe { core::ffi::CStr::from_ptr(name) }.to_bytes());
    }
}

/// For a program that runs already: begins to record, as an order (`order.rs`) says. Null, or a C
/// string that tells why nothing is recorded. A start after a delay or at a mark is none of its:
/// the program is where it wants to be.
///
/// # Safety
/// With the GIL held; `line` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heaplay_start(line: *const core::ffi::c_char) -> *const core::ffi::c_char {
    // SAFETY: as the caller says.
    let line = unsafe { core::ffi::CStr::from_ptr(line) }.to_bytes();
    match begin(line) {
        None => core::ptr::null(),
        // Each reason is text of this library's, with room for a zero byte in the copy.
        Some(reason) => reason_as_c(reason),
    }
}

fn begin(line: &[u8]) -> Option<&'static str> {
    if hooks::is_active() {
        return Some("this process is being recorded already");
    }
    let Some(order) = order::read(line) else {
        return Some(
            "the order is not understood (sites are 0 to 32), or of another version of heaplay",
        );
    };
    let Some(version) = python::version() else { return Some("this process is no Python") };
    let refused = refusal::interpreter(version, true, python::is_free_threaded())
        .or_else(|| sites::prepare(version, order.sites))
        .or_else(hooks::missing);
    if refused.is_some() {
        return refused;
    }
    stream::lock();
    sites::forget();
    stream::prepare(&order, version);
    let is_open = stream::open();
    stream::unlock();
    if !is_open {
        return Some("the raw log cannot be created beside the output: no room, or no permission");
    }
    hooks::prepare(order.sites > 0);
    hooks::begin_late();
    None
}

/// Ends what [`heaplay_start`] began. The path of the raw log, a C string that is good until the
/// next start.
///
/// # Safety
/// With the GIL held.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heaplay_stop() -> *const core::ffi::c_char {
    let disturbed = hooks::disturbed();
    stream::lock();
    let path = stream::stop(disturbed);
    stream::unlock();
    path
}

/// A reason with a closing zero byte, in a place that is kept until the next one.
fn reason_as_c(reason: &'static str) -> *const core::ffi::c_char {
    static TEXT: Shared<[u8; 256]> = Shared::new([0; 256]);
    // SAFETY: the GIL is held, so nobody else is here.
    let text = unsafe { &mut *TEXT.get() };
    let length = reason.len().min(text.len() - 1);
    text[..length].copy_from_slice(&reason.as_bytes()[..length]);
    text[length] = 0;
    text.as_ptr().cast()
}

extern "C" fn stop() {
    hooks::close();
}
