//! Which interpreter of a process makes a call. From 3.12 on each sub-interpreter has a pymalloc of
//! its own, so a replay in one heap differs from the recording. Up to 3.11 all interpreters share
//! one pymalloc, and nothing is looked up.
//!
//! Once in each block of the log the recorder checks whether the process has several interpreters.
//! Only then does it look up the interpreter of each call.

use core::ffi::c_void;

use crate::refusal;
use crate::system::symbol;

type GetPointer = unsafe extern "C" fn() -> *const c_void;
type InterpreterOf = unsafe extern "C" fn(*const c_void) -> *const c_void;
type NumberOf = unsafe extern "C" fn(*const c_void) -> i64;

/// Functions of CPython's public C interface that identify an interpreter.
#[derive(Clone, Copy)]
pub struct Interpreters {
    /// The newest interpreter.
    head: GetPointer,
    main: GetPointer,
    current_state: GetPointer,
    interpreter_of: InterpreterOf,
    number_of: NumberOf,
}

impl Interpreters {
    /// `None` where the interpreters share one pymalloc, or a function is missing.
    pub fn find(version: &[u8]) -> Option<Interpreters> {
        refusal::version(version).filter(|&version| version >= (3, 12))?;
        let find = |name| Some(symbol(name)).filter(|at| !at.is_null());
        let state =
            find(c"PyThreadState_GetUnchecked").or_else(|| find(c"_PyThreadState_UncheckedGet"))?;
        // SAFETY: each function has this signature since 3.9 or earlier.
        unsafe {
            Some(Interpreters {
                head: core::mem::transmute::<*mut c_void, GetPointer>(find(
                    c"PyInterpreterState_Head",
                )?),
                main: core::mem::transmute::<*mut c_void, GetPointer>(find(
                    c"PyInterpreterState_Main",
                )?),
                current_state: core::mem::transmute::<*mut c_void, GetPointer>(state),
                interpreter_of: core::mem::transmute::<*mut c_void, InterpreterOf>(find(
                    c"PyThreadState_GetInterpreter",
                )?),
                number_of: core::mem::transmute::<*mut c_void, NumberOf>(find(
                    c"PyInterpreterState_GetID",
                )?),
            })
        }
    }

    /// Whether the process has a sub-interpreter.
    pub fn are_several(&self) -> bool {
        // SAFETY: both functions only read a pointer, and may be called at any time.
        let (head, main) = unsafe { ((self.head)(), (self.main)()) };
        !head.is_null() && !main.is_null() && head != main
    }

    /// The number of this thread's interpreter. The main interpreter is 0; so is a thread without
    /// an interpreter.
    pub fn current(&self) -> u32 {
        // SAFETY: from 3.12 on the state belongs to this thread. State and interpreter live while
        // the state is current.
        unsafe {
            let state = (self.current_state)();
            if state.is_null() {
                return 0;
            }
            let interpreter = (self.interpreter_of)(state);
            if interpreter.is_null() {
                0
            } else {
                (self.number_of)(interpreter).try_into().unwrap_or(0)
            }
        }
    }
}
