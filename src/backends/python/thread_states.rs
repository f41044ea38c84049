//! The thread states of an interpreter: one for each thread of a replay, as in a program.
//!
//! From 3.12 on, CPython finds its pools by the state of the calling thread, and a free-threaded build
//! its heaps. A state is attached while its thread makes calls, with the GIL where there is one. So a
//! hand-over in recorded order releases the GIL on one thread and takes it on the next, as it was in the
//! recorded program. In free order the threads of a free-threaded build are attached at once.
#![expect(unsafe_code, reason = "calls into libpython")]

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use super::interpreter::{Interpreter, function};

type State = *mut c_void;

/// Threads of a free-threaded build that may be attached at once.
const AT_ONCE: usize = 1000;

thread_local! {
    /// The state of this thread while it is not attached.
    static OWN: Cell<State> = const { Cell::new(ptr::null_mut()) };
}

/// The states of an interpreter that has started; none where its allocator knows no threads, so that any
/// thread may call it.
#[derive(Clone, Copy, Default)]
pub(super) struct ThreadStates(Option<Functions>);

/// The functions of the interpreter.
#[derive(Clone, Copy)]
struct Functions {
    interpreter: State,
    new: unsafe extern "C" fn(State) -> State,
    clear: unsafe extern "C" fn(State),
    delete: unsafe extern "C" fn(State),
    delete_current: unsafe extern "C" fn(),
    save: unsafe extern "C" fn() -> State,
    restore: unsafe extern "C" fn(State),
}

impl ThreadStates {
    /// The functions of the library. The calling thread, which started the interpreter, is attached.
    ///
    /// # Errors
    /// The function that the library lacks.
    pub fn of(python: &Interpreter) -> Result<ThreadStates, String> {
        let library = &python.library;
        // SAFETY: documented functions with their signatures; the interpreter has started.
        unsafe {
            let main =
                function::<unsafe extern "C" fn() -> State>(library, "PyInterpreterState_Main")?;
            Ok(ThreadStates(Some(Functions {
                interpreter: main(),
                new: function(library, "PyThreadState_New")?,
                clear: function(library, "PyThreadState_Clear")?,
                delete: function(library, "PyThreadState_Delete")?,
                delete_current: function(library, "PyThreadState_DeleteCurrent")?,
                save: function(library, "PyEval_SaveThread")?,
                restore: function(library, "PyEval_RestoreThread")?,
            })))
        }
    }

    /// Whether threads have states.
    pub fn are_there(&self) -> bool {
        self.0.is_some()
    }

    /// Makes as many states as threads may be attached at once, and ends them. A free-threaded build stops
    /// all attached threads when it makes its first further state, and when its table of states is full.
    /// In free order such a thread may be waiting for the one that is about to begin, for ever. Now the
    /// calling thread is the only one.
    pub fn make_space(&self) {
        let Some(python) = &self.0 else { return };
        // SAFETY: the calling thread is attached, and the new states belong to no thread.
        unsafe {
            let new = || (python.new)(python.interpreter);
            let states: Vec<State> = (0..AT_ONCE).map(|_| new()).collect();
            for state in states {
                (python.clear)(state);
                (python.delete)(state);
            }
        }
    }

    /// Makes a state for the calling thread, not attached.
    pub fn begin(&self) {
        let Some(python) = &self.0 else { return };
        // SAFETY: the function needs no attached state.
        OWN.set(unsafe { (python.new)(python.interpreter) });
    }

    /// Attaches the state of the calling thread; waits for the GIL.
    pub fn attach(&self) {
        let Some(python) = &self.0 else { return };
        let own = OWN.replace(ptr::null_mut());
        if !own.is_null() {
            // SAFETY: a state of this thread, which is not attached.
            unsafe { (python.restore)(own) };
        }
    }

    /// Detaches the state of the calling thread, which is attached, and releases the GIL.
    pub fn detach(&self) {
        let Some(python) = &self.0 else { return };
        // SAFETY: the thread is attached by the caller's promise.
        OWN.set(unsafe { (python.save)() });
    }

    /// Ends the state of the calling thread, which is not attached.
    pub fn end(&self) {
        let Some(python) = &self.0 else { return };
        let own = OWN.replace(ptr::null_mut());
        if !own.is_null() {
            // SAFETY: a state of this thread. It is attached, cleared and deleted, which releases the
            // GIL.
            unsafe {
                (python.restore)(own);
                (python.clear)(own);
                (python.delete_current)();
            }
        }
    }
}
