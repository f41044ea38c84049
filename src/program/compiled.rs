//! [`Program`]: a trace, compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::instruction::{Instruction, WIDE};
use super::outline::{Outline, Profile};
use crate::trace::Kind;

/// A request that does not fit its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WideRequest {
    /// Requested bytes.
    pub size: u64,
    /// Requested alignment in bytes, a power of two; 0 for none.
    pub alignment: u64,
}

/// Calls in a row that one thread makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadRun {
    /// Index in the part, one past the last of these calls.
    pub until: usize,
    /// Index of the thread in [`Outline::threads`].
    pub thread: u32,
}

/// A trace, compiled: the whole of it, or a part.
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) outline: Arc<Outline>,
    /// Calls in the parts before.
    pub(super) first: u64,
    pub(super) instructions: Vec<Instruction>,
    /// Requests that do not fit their instruction, by its index.
    pub(super) wide: BTreeMap<usize, WideRequest>,
    /// The kind of each call; empty when there is no kind at all.
    pub(super) kind_of: Vec<u32>,
    /// Which thread makes the calls, in order; empty where the first thread makes all of them.
    pub(super) thread_runs: Vec<ThreadRun>,
    /// Of a part that was requested with them: the allocation site of each request in order.
    pub(super) request_sites: Vec<u32>,
}

impl Program {
    /// The outline without calls, of a program that is too large for memory.
    pub fn outlined(outline: Arc<Outline>) -> Program {
        Program {
            outline,
            first: 0,
            instructions: vec![],
            wide: BTreeMap::new(),
            kind_of: vec![],
            thread_runs: vec![],
            request_sites: vec![],
        }
    }

    /// Whether all its calls are here.
    pub fn is_whole(&self) -> bool {
        self.instructions.len() as u64 == self.outline.calls
    }

    /// Number of calls of the whole program.
    pub fn calls(&self) -> usize {
        self.outline.calls as usize
    }

    /// The calls of the whole program, or of this part, in order.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Calls in the parts before this one; 0 for a whole program.
    #[inline(always)]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// What is the same for all its parts.
    pub fn outline(&self) -> &Arc<Outline> {
        &self.outline
    }

    /// Number of slots of the whole program.
    pub fn slots(&self) -> usize {
        self.outline.slots
    }

    /// The kinds of its blocks; none where the trace names no types.
    pub fn kinds(&self) -> &[Kind] {
        &self.outline.kinds
    }

    /// Number of the kind, in [`Program::kinds`], of the call at `index`: 0 is none, others count
    /// from 1.
    #[inline(always)]
    pub fn kind(&self, index: usize) -> usize {
        self.kind_of.get(index).copied().unwrap_or(0) as usize
    }

    /// Addresses of the recorded process's arenas, in the order of their births; empty where the
    /// trace has none.
    pub fn arena_bases(&self) -> &[u64] {
        &self.outline.arena_bases
    }

    /// What the whole trace requests.
    pub fn profile(&self) -> &Profile {
        &self.outline.profile
    }

    /// The size in bytes of the instruction at `index`, wide or not.
    #[inline]
    pub fn size(&self, index: usize) -> usize {
        let instruction = self.instructions[index];
        if instruction.is_wide() {
            self.wide_request(index).size as usize
        } else {
            instruction.short_size()
        }
    }

    /// The alignment in bytes that the instruction at `index` requests; 0 for none.
    pub fn alignment(&self, index: usize) -> usize {
        self.wide.get(&index).map_or(0, |request| request.alignment as usize)
    }

    /// Size and alignment of a wide instruction.
    #[cold]
    pub fn wide_request(&self, index: usize) -> WideRequest {
        let unknown = WideRequest { size: WIDE, alignment: 0 };
        self.wide.get(&index).copied().unwrap_or(unknown)
    }

    /// Whether any instruction is wide.
    pub fn has_wide_requests(&self) -> bool {
        !self.wide.is_empty()
    }

    /// Index in [`Outline::threads`] of the thread that makes the call at `index`.
    pub fn thread_of(&self, index: usize) -> u32 {
        let run = self.thread_runs.partition_point(|run| run.until <= index);
        self.thread_runs.get(run).map_or(0, |run| run.thread)
    }

    /// The allocation site of each request of this part, in order. Empty where the sites are beside
    /// the program, or nobody reads them.
    pub fn request_sites(&self) -> &[u32] {
        &self.request_sites
    }

    /// Which thread makes the calls, in order. Empty where the first thread makes all of them.
    pub fn thread_runs(&self) -> &[ThreadRun] {
        &self.thread_runs
    }
}
