//! Room `recorder`, interpreters: which of a process's interpreters makes a call. From 3.12 on each
//! sub-interpreter has a pymalloc of its own, so a replay in one heap is another thing; up to 3.11
//! all share one, and nothing is looked up.
//!
//! The process is asked once a block of the log whether it has more than one; only then is each
//! call's looked up.

use core::ffi::c_void;

use crate::refusal;
use crate::system::symbol;

type Get = unsafe extern "C" fn() -> *const c_void;
type InterpreterOf = unsafe extern "C" fn(*const c_void) -> *const c_void;
type NumberOf = unsafe extern "C" fn(*const c_void) -> i64;

/// How to ask the interpreter; functions of its public C interface.
#[derive(Clone, Copy)]
pub struct Interpreters {
    /// The newest interpreter.
    head: Get,
    main: Get,
    current_state: Get,
    interpreter_of: InterpreterOf,
    number_of: NumberOf,
}

impl Interpreters {
    /// `None` where they share one pymalloc, or cannot be asked.
    pub fn find(version: &[u8]) -> Option<Interpreters> {
        refusal::version(version).filter(|&version| version >= (3, 12))?;
        let find = |name| Some(symbol(name)).filter(|at| !at.is_null());
        let state =
            find(c"PyThreadState_GetUnchecked").or_else(|| find(c"_PyThreadState_UncheckedGet"))?;
        // SAFETY: each function has this signature since 3.9 or earlier.
        unsafe {
            Some(Interpreters {
                head: core::mem::transmute::<*mut c_void, Get>(find(c"PyInterpreterState_Head")?),
                main: core::mem::transmute::<*mut c_void, Get>(find(c"PyInterpreterState_Main")?),
                current_state: core::mem::transmute::<*mut c_void, Get>(state),
                interpreter_of: core::mem::transmute::<*mut c_void, InterpreterOf>(find(
                    c"PyThreadState_GetInterpreter",
                )?),
                number_of: core::mem::transmute::<*mut c_void, NumberOf>(find(
                    c"PyInterpreterState_GetID",
                )?),
            })
        }
    }

    /// Whether there is one besides the main one.
    pub fn are_several(&self) -> bool {
        // SAFETY: both only read a pointer of the runtime's, and may be called at any time.
        let (head, main) = unsafe { ((self.head)(), (self.main)()) };
        !head.is_null() && !main.is_null() && head != main
    }

    /// The number of this thread's interpreter; 0, the main one's, for a thread that has none at
    /// the moment.
    pub fn current(&self) -> u32 {
        // SAFETY: from 3.12 on the state is this thread's own, and lives with its interpreter while
        // it is current.
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
