//! The contract of probes. A probe observes a replay. Its calls are compiled into the loop, so a
//! probe that does nothing costs nothing.

use std::ffi::c_void;

use crate::program::Action;

/// A call that has just been made.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Index of the call in the trace.
    pub index: usize,
    /// The operation.
    pub action: Action,
    /// The slot of the block.
    pub slot: usize,
    /// Requested bytes; 0 for a free.
    pub size: usize,
    /// The block before the call, for realloc and free. Its memory no longer belongs to the
    /// program.
    pub old: *mut c_void,
    /// The block after the call; meaningless for free.
    pub new: *mut c_void,
}

/// Observes a replay.
pub trait Probe {
    /// What [`Probe::before`] hands to [`Probe::after`].
    type Mark: Copy;
    /// Whether the loop calls [`Probe::ending`]. It costs a branch on the action.
    const LOOKS_INTO_BLOCKS: bool = false;
    /// Just before a call.
    fn before(&mut self) -> Self::Mark;
    /// Just after a call.
    fn after(&mut self, mark: Self::Mark, done: Done);
    /// Just before a realloc or a free, while the old block is still live. Only a probe that reads
    /// or writes blocks needs it.
    #[inline(always)]
    fn ending(&mut self, _index: usize, _slot: usize, _block: *mut c_void) {}
}

/// Observes nothing; for the time pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Probe for Nothing {
    type Mark = ();
    #[inline(always)]
    fn before(&mut self) {}
    #[inline(always)]
    fn after(&mut self, (): (), _: Done) {}
}
