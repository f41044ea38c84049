//! The units in which allocators can return unused memory to the system.

use std::ffi::c_void;
use std::ops::Range;

/// A kind of unit in which an allocator returns memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReturnKind {
    /// A page without a live byte.
    Page,
    /// An arena, when no block lives in it: pymalloc's.
    Arena,
    /// A span or slab of blocks of one size, when none of them lives.
    Span,
    /// A heap from its top downwards, to its topmost live block: glibc's.
    Top,
}

/// The memory that can only be returned when certain blocks have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnUnit {
    /// How it is returned.
    pub kind: ReturnKind,
    /// Its addresses. Those of a heap go to its present end.
    pub range: Range<usize>,
}

/// The unit of a live block of the backend; `None` for a block on pages that are returned one by
/// one, and for one whose unit is not known. The units of two blocks are equal or have no address
/// in common.
pub type UnitOfBlock<'a> = Box<dyn Fn(*mut c_void) -> Option<ReturnUnit> + 'a>;
