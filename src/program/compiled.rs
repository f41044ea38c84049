//! [`Program`]: a trace, compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::instruction::{Instruction, WIDE};
use super::outline::{Outline, Profile};
use crate::trace::Kind;

/// A trace, compiled: the whole of it, or a part.
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) outline: Arc<Outline>,
    /// Calls in the parts before.
    pub(super) first: u64,
    pub(super) instructions: Vec<Instruction>,
    /// Sizes in bytes that do not fit their instruction, by its index.
    pub(super) wide: BTreeMap<usize, u64>,
    /// The kind of each call; empty when there is no kind at all.
    pub(super) kind_of: Vec<u32>,
}

impl Program {
    /// The outline without calls, of a program that is too large for memory.
    pub fn outlined(outline: Arc<Outline>) -> Program {
        Program { outline, first: 0, instructions: vec![], wide: BTreeMap::new(), kind_of: vec![] }
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
        if instruction.is_wide() { self.wide_size(index) } else { instruction.short_size() }
    }

    /// The size in bytes of a wide instruction.
    #[cold]
    pub fn wide_size(&self, index: usize) -> usize {
        self.wide.get(&index).copied().unwrap_or(WIDE) as usize
    }

    /// Whether any instruction is wide.
    pub fn has_wide_sizes(&self) -> bool {
        !self.wide.is_empty()
    }
}
