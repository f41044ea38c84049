//! One call of a compiled program, in 8 bytes.

use crate::trace::Domain;

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// `malloc(size)` into an empty slot.
    Malloc,
    /// `calloc(1, size)` into an empty slot.
    Calloc,
    /// `realloc(slot, size)`.
    Realloc,
    /// `free(slot)`.
    Free,
}

impl Action {
    /// All actions, in the order of their codes.
    pub const ALL: [Action; 4] = [Action::Malloc, Action::Calloc, Action::Realloc, Action::Free];

    /// The name in the `op` column of every table.
    pub fn name(self) -> &'static str {
        match self {
            Action::Malloc => "malloc",
            Action::Calloc => "calloc",
            Action::Realloc => "realloc",
            Action::Free => "free",
        }
    }
}

/// One call in 8 bytes: action (bits 0 to 1), domain (bits 2 to 3; see
/// [`Instruction::domain_number`]), slot (bits 4 to 31), size in bytes (bits 32 to 63).
///
/// A size of 2^32 − 1 or more, and any request with an alignment, is in a table beside the program.
/// No block has slot 0, so 0 is no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Instruction(pub(super) u64);

/// Sizes in bytes from here on are looked up in the table of wide sizes.
pub(super) const WIDE: u64 = u32::MAX as u64;
/// Slots that fit an instruction, the unused slot 0 included.
pub const SLOT_LIMIT: usize = 1 << 28;
/// The bits of an instruction that are its slot.
pub(super) const SLOT: u64 = 0xFFFF_FFF0;

impl Instruction {
    pub(crate) const NONE: Instruction = Instruction(0);

    pub(super) fn new(action: Action, domain: Domain, slot: u32, size: u64) -> Instruction {
        Instruction(
            action as u64
                | ((domain as u64 + 1) & 3) << 2
                | u64::from(slot) << 4
                | size.min(WIDE) << 32,
        )
    }

    /// Whether it is an instruction at all.
    pub(super) fn is_one(self) -> bool {
        self.0 & SLOT != 0
    }

    /// What it does.
    #[inline(always)]
    pub fn action(self) -> Action {
        match self.0 & 3 {
            0 => Action::Malloc,
            1 => Action::Calloc,
            2 => Action::Realloc,
            _ => Action::Free,
        }
    }

    /// Whether a block ends here: realloc and free.
    #[inline(always)]
    pub fn ends_a_block(self) -> bool {
        self.0 & 2 != 0
    }

    /// Of malloc and calloc, whether it is calloc; of realloc and free, whether it is free.
    #[inline(always)]
    pub fn is_second(self) -> bool {
        self.0 & 1 != 0
    }

    /// The domain of the call.
    #[inline(always)]
    pub fn domain(self) -> Domain {
        match self.0 >> 2 & 3 {
            0 => Domain::Libc,
            1 => Domain::Raw,
            2 => Domain::Mem,
            _ => Domain::Obj,
        }
    }

    /// The domain as a number: 0 for libc, then 1 to 3 in the order of [`Domain`].
    #[inline(always)]
    pub fn domain_number(self) -> usize {
        (self.0 >> 2 & 3) as usize
    }

    /// The slot of the call's block.
    #[inline(always)]
    pub fn slot(self) -> usize {
        (self.0 >> 4 & 0x0FFF_FFFF) as usize
    }

    /// The size in bytes, unless [`Instruction::is_wide`].
    #[inline(always)]
    pub fn short_size(self) -> usize {
        (self.0 >> 32) as usize
    }

    /// Whether size and alignment must be looked up with
    /// [`Program::wide_request`](super::Program::wide_request).
    #[inline(always)]
    pub fn is_wide(self) -> bool {
        self.0 >> 32 == WIDE
    }
}
