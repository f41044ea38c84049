//! Room `recorder`: the library that is loaded into the recorded program (`LD_PRELOAD`) and writes down every
//! allocation. The build script compiles it by itself, without dependencies, and the program carries it embedded.
//!
//! Its constructor runs before `main`. In a process that is no Python it does nothing. In one it cannot record rightly
//! it says so in a raw log without events, and stops the process if that is the one that was asked for. Else it puts
//! its hooks (`hooks.rs`) in the place of the three allocation domains, and they write to the raw log (`stream.rs`;
//! its layout is `rawlog.rs`), with the allocating line if asked (`sites.rs`, by way of `python.rs`).
//!
//! It is told what to do by one variable: `HEAPLAY_RECORD=1:PID:OPTIONS:BASE`, the version of this line, the process
//! whose child must be recorded or stopped, `s` for sites, and where the raw logs go (`BASE.pid`). Both this variable
//! and `LD_PRELOAD` stay set, so that Python programs started by the program are recorded too.
#![allow(
    unsafe_code,
    reason = "loaded into a C program: its hooks, its threads and its memory are all behind C calls"
)]
#![deny(unsafe_op_in_unsafe_fn)]

mod arenas;
mod hooks;
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

/// What `HEAPLAY_RECORD` asks for.
struct Order {
    root: i64,
    sites: bool,
    base: &'static [u8],
}

fn order(line: &'static [u8]) -> Option<Order> {
    let mut parts = line.splitn(4, |&byte| byte == b':');
    if parts.next()? != b"1" {
        return None;
    }
    let root = core::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let sites = parts.next()?.contains(&b's');
    Some(Order { root, sites, base: parts.next()? })
}

extern "C" fn start() {
    // SAFETY: a constructor runs alone, before main; nobody changes the environment.
    let Some(order) = unsafe { system::environment(c"HEAPLAY_RECORD") }.and_then(order) else { return };
    let Some(version) = python::version() else { return };
    // SAFETY: as above.
    let environment = unsafe {
        refusal::Environment {
            malloc: system::environment(c"PYTHONMALLOC"),
            dev_mode: system::environment(c"PYTHONDEVMODE"),
            tracemalloc: system::environment(c"PYTHONTRACEMALLOC"),
        }
    };
    stream::prepare(order.base, version, order.sites);
    let options = refusal::options(stream::arguments().skip(1));
    let refused = refusal::interpreter(version)
        .or_else(|| refusal::settings(options, environment))
        .or_else(|| if order.sites { sites::prepare(version) } else { None })
        .or_else(|| hooks::missing());
    if let Some(reason) = refused {
        stream::refuse(reason);
        return stop_root(&order);
    }
    if !stream::open() {
        let message =
            b"heaplay: the raw log cannot be created beside the output: no room, or no permission\n";
        // SAFETY: a plain call.
        unsafe { system::write(2, message.as_ptr().cast(), message.len()) };
        return stop_root(&order);
    }
    hooks::install(order.sites);
}

/// Ends the process if it is the one that was asked for; another one goes on unrecorded.
fn stop_root(order: &Order) {
    // SAFETY: plain calls; nothing of the program has started yet, so nothing is left undone.
    unsafe {
        if i64::from(system::getppid()) == order.root {
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

extern "C" fn stop() {
    hooks::close();
}
