//! Room `backends`, the contract: [`Allocator`] is CPython's `PyMemAllocatorEx`, [`Backend`] is one
//! allocator with its settings.
//!
//! Every backend is called through the same four function pointers, with the context first, as
//! CPython itself calls (Include/cpython/pymem.h). None is inlined into the loop, none is told a
//! block's size when it is freed, and each domain has a table of its own: that is what makes
//! backends comparable with each other and with an interpreter.

use std::ffi::{OsString, c_void};
use std::ptr;

use super::arenas::Pools;
use crate::spec::{BackendSpec, SpecError};
use crate::trace::{Domain, Kind};
use crate::units::parse_bytes;

/// The four calls of one domain. Layout and signatures are those of CPython's `PyMemAllocatorEx`,
/// so a table taken from an interpreter is used as it is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Allocator {
    /// Handed to each call as its first argument.
    pub ctx: *mut c_void,
    /// `malloc(ctx, size)`; null when there is no memory. A size of 0 gives a distinct, non-null
    /// block.
    pub malloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    /// `calloc(ctx, elements, element_size)`: as malloc, all zero.
    pub calloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    /// `realloc(ctx, block, new_size)`: keeps min(old, new) bytes; on null the old block is
    /// untouched.
    pub realloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    /// `free(ctx, block)`; null is allowed.
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void),
}

impl Allocator {
    /// A table whose every request is refused: a place for another to be written to.
    pub fn refusing() -> Allocator {
        extern "C" fn malloc(_: *mut c_void, _: usize) -> *mut c_void {
            ptr::null_mut()
        }
        extern "C" fn calloc(_: *mut c_void, _: usize, _: usize) -> *mut c_void {
            ptr::null_mut()
        }
        extern "C" fn realloc(_: *mut c_void, _: *mut c_void, _: usize) -> *mut c_void {
            ptr::null_mut()
        }
        extern "C" fn free(_: *mut c_void, _: *mut c_void) {}
        Allocator { ctx: ptr::null_mut(), malloc, calloc, realloc, free }
    }
}

/// The tables of the three domains, indexed by [`Domain`].
#[derive(Clone, Copy, Debug)]
pub struct Domains([Allocator; 3]);

impl Domains {
    /// One table for each domain.
    pub fn new(raw: Allocator, mem: Allocator, obj: Allocator) -> Domains {
        Domains([raw, mem, obj])
    }

    /// The same table for all three: an allocator that knows no domains.
    pub fn same(allocator: Allocator) -> Domains {
        Domains([allocator; 3])
    }

    /// The table of one domain.
    pub fn get(&self, domain: Domain) -> &Allocator {
        &self.0[domain as usize]
    }
}

/// A figure that an allocator of ours keeps about itself. Exact: the same trace gives the same
/// figure every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The metric's name in the run record, with its unit last (`arenas_peak`,
    /// `pool_header_bytes`); see `results/metric.rs`.
    pub metric: &'static str,
    /// The figure.
    pub value: u64,
}

/// Why an allocator does not do the same twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Varies {
    /// It gives memory back, or tidies up, by the clock (decay, delayed purges).
    ByClock = 1,
    /// It draws places at random, against attackers.
    AtRandom = 2,
}

/// What a request to give memory back did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// The allocator has no such call: an answer, not a fault.
    None,
    /// The call was made.
    Done,
}

/// One allocator with its settings, in a process of its own: state may be global to the process.
///
/// Called by `replay` from one thread.
pub trait Backend {
    /// The tables that the loop calls. They stay valid as long as the backend lives.
    fn domains(&self) -> Domains;

    /// The same for the blocks of each kind, those without one first, for backends that treat types
    /// differently; `None` when [`Backend::domains`] serve all. A block ends through the tables
    /// that it was asked from.
    fn by_kind(&self, _kinds: &[Kind]) -> Option<Vec<Domains>> {
        None
    }

    /// The allocator's true version, as it reports itself (`glibc 2.36`).
    fn version(&self) -> String;

    /// Bytes that the caller may use at `block`, which was requested with `requested` bytes.
    ///
    /// # Safety
    /// `block` is a live block of this backend.
    #[expect(unsafe_code, reason = "black-box allocators read their own headers before the block")]
    unsafe fn usable_size(&self, block: *mut c_void, requested: usize) -> usize;

    /// What every block of 16 bytes or more is aligned to. C's `malloc` owes 16 on 64-bit machines;
    /// CPython up to 3.7.3 gave 8.
    fn alignment(&self) -> usize {
        16
    }

    /// Whether blocks are memory that may be touched. Only `null` says no.
    fn backs_memory(&self) -> bool {
        true
    }

    /// Asks the allocator to give back what it can (`malloc_trim` and the like).
    fn trim(&mut self) -> Trim {
        Trim::None
    }

    /// Empties what the allocator keeps at hand for the calling thread and a trim does not touch
    /// (glibc's `tcache`). Called in a copy of the process that is thrown away afterwards, and
    /// shares the harness's heap with it: it must not use that.
    fn drain(&mut self) -> Trim {
        Trim::None
    }

    /// What stays resident beside a live block of so many usable bytes when the allocator gives
    /// back all it can, by its own way of giving back: bytes before the block's start, and bytes
    /// from its usable end on (the head of whatever is free there). `None` where that is not known;
    /// then nothing is predicted.
    fn trim_leaves(&self, _usable: usize) -> Option<[usize; 2]> {
        None
    }

    /// Why two replays of one trace may place blocks or leave pages differently; `None` when they
    /// do not. `check` holds the memory of a backend that varies to nothing.
    fn varies(&self) -> Option<Varies> {
        None
    }

    /// The figures that the allocator keeps about itself now; none for a black box.
    fn counters(&self) -> Vec<Counter> {
        Vec::new()
    }

    /// Its arenas and pools, for those that have such.
    fn pools(&self) -> Option<&dyn Pools> {
        None
    }

    /// Walks the allocator's whole state and holds it against its invariants; nothing to walk in a
    /// black box. Slow.
    ///
    /// # Errors
    /// The first invariant that does not hold, in words.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// One setting of a member, for `heaplay backends NAME`.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// As it stands in a backend's word, before `=`.
    pub name: &'static str,
    /// What the allocator does when it is not given.
    pub default: &'static str,
    /// What it does, in a line, with its unit.
    pub meaning: &'static str,
    /// For a setting by which the allocator gives memory back by the clock: its values for "at
    /// once" and for "never". Between those two lies what a real program sees, whatever the pace of
    /// a replay.
    pub bounds: Option<[&'static str; 2]>,
}

/// A line of a member's table of settings.
pub(super) const fn setting(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, default, meaning, bounds: None }
}

/// The same for a delay by the clock, with its values for "at once" and "never".
#[cfg_attr(
    not(any(feature = "jemalloc", feature = "mimalloc")),
    expect(dead_code, reason = "the allocators that go by the clock are in C")
)]
pub(super) const fn delay(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
    bounds: [&'static str; 2],
) -> Setting {
    Setting { name, default, meaning, bounds: Some(bounds) }
}

/// A value as allocators read it: a size with a unit (`64K`, `64KiB`, `2M`) becomes bytes, all else
/// stays as it is.
pub fn plain(value: &str) -> String {
    let has_unit = value.ends_with(|c: char| c.is_ascii_alphabetic());
    match parse_bytes(value) {
        Ok(bytes) if has_unit => bytes.to_string(),
        _ => value.to_owned(),
    }
}

/// Why a backend could not be had. Each message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No member of that name.
    #[error("unknown backend `{name}`{}; `heaplay backends` lists them", nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default())]
    Unknown {
        /// The name as written.
        name: String,
        /// The closest known name, when one is close.
        nearest: Option<String>,
    },
    /// A member that this build has left out.
    #[error("backend `{name}` was left out of this heaplay; build it with `--features {name}`")]
    NotBuilt {
        /// The member's name, which is the feature's too.
        name: String,
    },
    /// The text is not of the form of a backend.
    #[error(transparent)]
    Malformed(#[from] SpecError),
    /// A setting, version or lower layer that this backend does not have.
    #[error("backend `{backend}` {reason}; `heaplay backends {backend}` shows what it takes")]
    Refused {
        /// The member's name.
        backend: String,
        /// What it does not take, and why.
        reason: String,
    },
    /// It exists but cannot be used on this machine.
    #[error("backend `{backend}` cannot be used here: {reason}")]
    Unavailable {
        /// The member's name.
        backend: String,
        /// The reason, and what would provide it.
        reason: String,
    },
}

/// A backend that is ready, or why there is none.
pub type Opened = Result<Box<dyn Backend>, BackendError>;

/// Variables for a child's environment, or why the backend cannot be had.
pub type Environment = Result<Vec<(String, OsString)>, BackendError>;

/// For members that need nothing in the environment.
pub fn no_environment(_spec: &BackendSpec) -> Environment {
    Ok(Vec::new())
}

/// One line of the list of backends.
pub struct Member {
    /// The name in a [`BackendSpec`].
    pub name: &'static str,
    /// One line for `heaplay backends`.
    pub summary: &'static str,
    /// The member that serves as the layer below when a [`BackendSpec`] names none; `None` for members
    /// without a layer below.
    pub below: Option<&'static str>,
    /// What may stand after `:`. Empty for members that describe their settings themselves in
    /// `details`.
    pub settings: &'static [Setting],
    /// What the environment of its child has to hold, found out by the parent, whose memory nobody
    /// measures.
    pub environment: fn(&BackendSpec) -> Environment,
    /// What `heaplay backends NAME` prints of this layer: versions, settings with defaults, rules.
    pub details: fn(&BackendSpec) -> Result<String, BackendError>,
    /// Makes the backend, on the layer below where it takes one. Members do not know each other:
    /// `mod.rs` opens the layers from the lowest up.
    pub open: fn(&BackendSpec, Option<Box<dyn Backend>>) -> Opened,
}
