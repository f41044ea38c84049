//! CPython's own mimalloc, in the library of an interpreter: the allocator of free-threaded builds,
//! and of other builds from 3.13 on with `PYTHONMALLOC=mimalloc`.
//!
//! In a free-threaded build the heaps belong to a thread state. So an interpreter is started, and each
//! thread of a replay gets a state, which is attached while it makes calls. The interpreter's own data
//! lie in the same heaps, as in a running program. A call has only its domain, so all objects go to the
//! heap of objects; a running program also has heaps for what the collector tracks.
#![expect(unsafe_code, reason = "reads the size of a block")]

use std::ffi::c_void;
use std::path::{Path, PathBuf};

use super::find;
use super::interpreter::{Interpreter, MEM, OBJ, RAW};
use super::thread_states::ThreadStates;
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
    /// None in a build with the GIL.
    states: ThreadStates,
}

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
        let states = match interpreter.is_free_threaded() {
            true => ThreadStates::of(&interpreter)?,
            false => ThreadStates::default(),
        };
        states.make_space();
        Ok(CpythonMimalloc { interpreter, path: path.to_owned(), domains, states })
    }
}

impl Backend for CpythonMimalloc {
    fn domains(&self) -> Domains {
        self.domains
    }

    fn thread_use(&self) -> ThreadUse {
        if self.states.are_there() { ThreadUse::Concurrent } else { ThreadUse::OneAtATime }
    }

    fn thread_begins(&self) {
        self.states.begin();
    }

    fn thread_ends(&self) {
        self.states.end();
    }

    fn calls_resumed(&self) {
        self.states.attach();
    }

    fn calls_paused(&self) {
        self.states.detach();
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
