//! Room `replay`, the contract: a probe watches a replay. Its calls are compiled into the loop, so
//! a probe that does nothing costs nothing.

use std::ffi::c_void;

use crate::program::Action;

/// A call that has just been made.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Index of the call in the trace.
    pub index: usize,
    /// What it was.
    pub action: Action,
    /// On which slot.
    pub slot: usize,
    /// Bytes asked for; 0 for a free.
    pub size: usize,
    /// The block before, for realloc and free; its memory is no longer the program's.
    pub old: *mut c_void,
    /// The block after; meaningless for free.
    pub new: *mut c_void,
}

/// Watches a replay.
pub trait Probe {
    /// What is kept between the two sides of a call.
    type Mark: Copy;
    /// Whether [`Probe::ending`] is wanted. It costs a branch on the action.
    const LOOKS_INTO_BLOCKS: bool = false;
    /// Just before a call.
    fn before(&mut self) -> Self::Mark;
    /// Just after it.
    fn after(&mut self, mark: Self::Mark, done: Done);
    /// Just before a realloc or a free, while the old block is still live. Only probes that look
    /// into blocks need it.
    #[inline(always)]
    fn ending(&mut self, _index: usize, _slot: usize, _block: *mut c_void) {}
}

/// Watches nothing: the time pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Probe for Nothing {
    type Mark = ();
    #[inline(always)]
    fn before(&mut self) {}
    #[inline(always)]
    fn after(&mut self, (): (), _: Done) {}
}
