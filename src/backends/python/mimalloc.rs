//! CPython's own mimalloc, in the library of an interpreter: the allocator of free-threaded builds,
//! and of other builds from 3.13 on with `PYTHONMALLOC=mimalloc`.
//!
//! The heaps belong to a thread state, so an interpreter is started. Its own data lie in the same
//! heaps, as in a running program. A call has only its domain, so all objects go to the heap of
//! objects; a running program also has heaps for what the collector tracks.
#![expect(unsafe_code, reason = "calls into libpython")]

use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};

use super::find;
use super::interpreter::{Interpreter, MEM, OBJ, RAW, function};
use crate::backends::allocator::Domains;
use crate::backends::backend::{Backend, ThreadUse, Trim, Varies};
use crate::backends::malloc;

/// The first minor version with a mimalloc.
const FIRST_MINOR: u32 = 13;

/// The mimalloc of an interpreter's library. Its state is global to the process.
pub(super) struct CpythonMimalloc {
    interpreter: Interpreter,
    path: PathBuf,
    domains: Domains,
    /// Gives a thread its state, and takes it away; `None` where the heaps need none, because they
    /// belong to the thread itself.
    states: Option<ThreadStates>,
}

/// `PyGILState_Ensure` and `PyGILState_Release`.
struct ThreadStates {
    ensure: unsafe extern "C" fn() -> c_int,
    release: unsafe extern "C" fn(c_int),
}

/// `PyGILState_UNLOCKED`: the thread had no state before.
const HAD_NO_STATE: c_int = 1;

impl CpythonMimalloc {
    /// Starts the interpreter and reads its tables.
    ///
    /// # Errors
    /// Why it has no mimalloc, or the function that its library lacks.
    pub fn start(interpreter: Interpreter, path: &Path) -> Result<CpythonMimalloc, String> {
        if interpreter.minor < FIRST_MINOR {
            return Err(format!("it has no mimalloc, which 3.{FIRST_MINOR} is the first to have"));
        }
        interpreter.start(path, "mimalloc")?;
        let table = |domain| interpreter.table(domain);
        let domains =
            Domains::new(table(RAW)?, table(MEM)?, table(OBJ)?).with_libc(&malloc::c_library());
        let states = if interpreter.is_free_threaded() {
            // SAFETY: documented functions with their documented signatures.
            unsafe {
                let ensure = function(&interpreter.library, "PyGILState_Ensure")?;
                let release = function(&interpreter.library, "PyGILState_Release")?;
                Some(ThreadStates { ensure, release })
            }
        } else {
            None
        };
        Ok(CpythonMimalloc { interpreter, path: path.to_owned(), domains, states })
    }
}

impl Backend for CpythonMimalloc {
    fn domains(&self) -> Domains {
        self.domains
    }

    fn thread_use(&self) -> ThreadUse {
        // In a build with a GIL, one thread calls at a time.
        if self.states.is_some() { ThreadUse::Concurrent } else { ThreadUse::OneAtATime }
    }

    fn thread_begins(&self) {
        if let Some(states) = &self.states {
            // SAFETY: the interpreter runs until the process ends.
            unsafe { (states.ensure)() };
        }
    }

    fn thread_ends(&self) {
        if let Some(states) = &self.states {
            // SAFETY: this thread got its state in `thread_begins`.
            unsafe { (states.release)(HAD_NO_STATE) };
        }
    }

    fn version(&self) -> String {
        let build = find::build(&self.path, self.interpreter.minor)
            .unwrap_or_else(|| "configured unknown".to_owned());
        let (reported, below) = (&self.interpreter.reported, malloc::version());
        format!("mimalloc of CPython {reported}, {build}, on {below}")
    }

    unsafe fn usable_size(&self, _block: *mut c_void, requested: usize) -> usize {
        requested // the library exports no function for it
    }

    fn trim(&self) -> Trim {
        malloc::trim() // that of its raw domain
    }

    fn flush_thread_cache(&self) -> Trim {
        malloc::flush_thread_cache()
    }

    fn varies(&self) -> Option<Varies> {
        Some(Varies::ByClock) // it purges free pages after a delay
    }
}
