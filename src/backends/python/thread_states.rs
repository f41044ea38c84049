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

/// The functions of an interpreter that has started.
#[derive(Clone, Copy)]
pub(super) struct ThreadStates {
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
            Ok(ThreadStates {
                interpreter: main(),
                new: function(library, "PyThreadState_New")?,
                clear: function(library, "PyThreadState_Clear")?,
                delete: function(library, "PyThreadState_Delete")?,
                delete_current: function(library, "PyThreadState_DeleteCurrent")?,
                save: function(library, "PyEval_SaveThread")?,
                restore: function(library, "PyEval_RestoreThread")?,
            })
        }
    }

    /// Makes as many states as threads may be attached at once, and ends them. A free-threaded build stops
    /// all attached threads when it makes its first further state, and when its table of states is full.
    /// In free order such a thread may be waiting for the one that is about to begin, for ever. Now the
    /// calling thread is the only one.
    pub fn make_space(&self) {
        // SAFETY: the calling thread is attached, and the new states belong to no thread.
        unsafe {
            let states: Vec<State> = (0..AT_ONCE).map(|_| (self.new)(self.interpreter)).collect();
            for state in states {
                (self.clear)(state);
                (self.delete)(state);
            }
        }
    }

    /// Makes a state for the calling thread, not attached.
    pub fn begin(&self) {
        // SAFETY: the function needs no attached state.
        OWN.set(unsafe { (self.new)(self.interpreter) });
    }

    /// Attaches the state of the calling thread; waits for the GIL.
    pub fn attach(&self) {
        let own = OWN.replace(ptr::null_mut());
        if !own.is_null() {
            // SAFETY: a state of this thread, which is not attached.
            unsafe { (self.restore)(own) };
        }
    }

    /// Detaches the state of the calling thread, which is attached, and releases the GIL.
    pub fn detach(&self) {
        // SAFETY: the thread is attached by the caller's promise.
        OWN.set(unsafe { (self.save)() });
    }

    /// Ends the state of the calling thread, which is not attached.
    pub fn end(&self) {
        let own = OWN.replace(ptr::null_mut());
        if !own.is_null() {
            // SAFETY: a state of this thread. It is attached, cleared and deleted, which releases the
            // GIL.
            unsafe {
                (self.restore)(own);
                (self.clear)(own);
                (self.delete_current)();
            }
        }
    }
}
