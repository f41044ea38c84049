//! The compiled workload: a trace turned into dense instructions over reused slots, ready for the
//! hot loop.
//!
//! `cli` and `bench` compile; `replay` runs. A [`Program`] can come only from [`compile`],
//! [`Program::read`] and [`Parts`], which prove what the loop's unsafe block relies on:
//!
//! 1. every instruction's slot is below [`Program::slots`];
//! 2. a malloc or calloc names a slot that is empty, a realloc or free one that is full: each block
//!    is ended at most once;
//! 3. every index of the trace is exactly one instruction;
//! 4. a block is resized and freed in the domain that gave it (`mem` and `obj` count as one);
//! 5. a block of a kind has the kind's size, is not raw, and is freed as one of that kind.
//!
//! How: a row says when its block ends, so compiling writes the end's instruction at the same time
//! as the birth's, at its place further on. No heap and no map is needed, and a place that is
//! written twice or never is a faulty trace. Ends beyond the stretch being filled wait in a bucket
//! for each later stretch, so memory beyond the instructions is in proportion to the blocks live
//! (`program/compile.rs`; `program/prove.rs` walks what came from elsewhere).
//!
//! A program that is larger than memory comes in parts (`program/parts.rs`): each is a [`Program`]
//! of its own that begins where the one before ended, and all of them have one [`Outline`].

mod allocation_sites;
mod compile;
mod kinds;
mod parts;
mod plain;
mod prefetch;
mod prove;
mod times;
mod what_if;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

pub use allocation_sites::{AllocationSites, MARKS_LOOKED_AT, compile_with_sites, compile_within};
pub use compile::compile;
pub use parts::{Feed, Parts, write_parts};
pub(crate) use prefetch::prefetch;
pub use times::Times;
pub use what_if::{Change, WhatIf, what_if};

use crate::trace::{Domain, Kind, TraceError};
use prove::Prover;

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

    /// The word in the `op` column of every table.
    pub fn name(self) -> &'static str {
        match self {
            Action::Malloc => "malloc",
            Action::Calloc => "calloc",
            Action::Realloc => "realloc",
            Action::Free => "free",
        }
    }
}

/// One call in 8 bytes: action (bits 0–1), domain + 1 (bits 2–3), slot (bits 4–31), size (bits
/// 32–63).
///
/// A size of 2^32 − 1 or more is in a table beside the program. 0 is no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Instruction(u64);

/// Sizes from here on are looked up.
const WIDE: u64 = u32::MAX as u64;
/// Slots that fit an instruction: blocks that may live at once.
pub const SLOT_LIMIT: usize = 1 << 28;
/// The bits of an instruction that are its slot.
const SLOT: u64 = 0xFFFF_FFF0;

impl Instruction {
    pub(crate) const NONE: Instruction = Instruction(0);

    fn new(action: Action, domain: Domain, slot: u32, size: u64) -> Instruction {
        Instruction(
            action as u64 | (domain as u64 + 1) << 2 | u64::from(slot) << 4 | size.min(WIDE) << 32,
        )
    }

    /// Whether it is an instruction at all.
    fn is_one(self) -> bool {
        self.0 >> 2 & 3 != 0
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

    /// In which domain.
    #[inline(always)]
    pub fn domain(self) -> Domain {
        match self.0 >> 2 & 3 {
            1 => Domain::Raw,
            2 => Domain::Mem,
            _ => Domain::Obj,
        }
    }

    /// The same as a number: 1 to 3, in the order of [`Domain`].
    #[inline(always)]
    pub fn domain_number(self) -> usize {
        (self.0 >> 2 & 3) as usize
    }

    /// On which slot.
    #[inline(always)]
    pub fn slot(self) -> usize {
        (self.0 >> 4 & 0x0FFF_FFFF) as usize
    }

    /// The size, or [`Instruction::is_wide`].
    #[inline(always)]
    pub fn short_size(self) -> usize {
        (self.0 >> 32) as usize
    }

    /// Whether the size must be looked up with [`Program::wide_size`].
    #[inline(always)]
    pub fn is_wide(self) -> bool {
        self.0 >> 32 == WIDE
    }
}

/// What a trace asks for, whoever serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Calls by [`Action`].
    pub calls: [u64; 4],
    /// Bytes requested by each action that requests; the last is 0.
    pub requested_bytes: [u64; 4],
    /// Largest sum of requested bytes live at once.
    pub live_peak_bytes: u64,
    /// First call after which it was reached.
    pub live_peak_event: u64,
    /// Requested bytes live at the end.
    pub live_end_bytes: u64,
    /// Blocks live at the end.
    pub live_end_blocks: u64,
    /// Most blocks live at once.
    pub live_peak_blocks: u64,
}

impl Profile {
    /// All calls.
    pub fn total_calls(&self) -> u64 {
        self.calls.iter().sum()
    }

    /// The allocation clock at the end: all bytes requested.
    pub fn total_requested_bytes(&self) -> u64 {
        self.requested_bytes.iter().sum()
    }
}

/// What is known of a program before its first call; the same for all its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Its calls.
    pub calls: u64,
    /// How many slots they use.
    pub slots: usize,
    /// The kinds of its blocks; none where the trace names no types.
    pub kinds: Vec<Kind>,
    /// Where the recorded process had its arenas, in the order of their births; empty where the
    /// trace does not say.
    pub arena_bases: Vec<u64>,
    /// What it asks for.
    pub profile: Profile,
}

/// A trace, compiled: the whole of it, or a part.
#[derive(Clone, Debug)]
pub struct Program {
    outline: Arc<Outline>,
    /// Calls in the parts before.
    first: u64,
    instructions: Vec<Instruction>,
    /// By place among the instructions.
    wide: BTreeMap<usize, u64>,
    /// The kind of each call; empty when there is no kind at all.
    kind_of: Vec<u32>,
}

fn word(input: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Why a trace could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The trace is faulty.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The rows are no trace. A reader that checks says so first, with the line.
    #[error(
        "event {event}: {found}; the trace is damaged: record it again, or convert it with --salvage"
    )]
    Unsound {
        /// The call.
        event: u64,
        /// What is wrong with it.
        found: String,
    },
    /// More live blocks than an instruction can name.
    #[error(
        "event {event}: more than {SLOT_LIMIT} blocks live at once; replay a shorter part of the trace"
    )]
    Slots {
        /// The call.
        event: u64,
    },
    /// Whoever was to have the program cannot take it.
    #[error("the compiled program cannot be handed on: {0}")]
    Handing(io::Error),
    /// There is nothing to replay.
    #[error("the trace holds no call; record a program that allocates")]
    Empty,
}

impl ProgramError {
    /// Nothing is known of a call.
    #[cold]
    fn gap(event: u64) -> ProgramError {
        ProgramError::Unsound { event, found: "no row has it and no block ends there".into() }
    }
}

impl Program {
    /// The outline alone, of a program that is too large to be held.
    pub fn outlined(outline: Arc<Outline>) -> Program {
        Program { outline, first: 0, instructions: vec![], wide: BTreeMap::new(), kind_of: vec![] }
    }

    /// Whether all its calls are here.
    pub fn is_whole(&self) -> bool {
        self.instructions.len() as u64 == self.outline.calls
    }

    /// How many calls the whole program has.
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

    /// How many slots the whole program uses.
    pub fn slots(&self) -> usize {
        self.outline.slots
    }

    /// The kinds of its blocks; none where the trace names no types.
    pub fn kinds(&self) -> &[Kind] {
        &self.outline.kinds
    }

    /// Which of the [`Program::kinds`] the call at `index` is about: 0 is none, others count from
    /// 1.
    #[inline(always)]
    pub fn kind(&self, index: usize) -> usize {
        self.kind_of.get(index).copied().unwrap_or(0) as usize
    }

    /// Where the recorded process had its arenas, in the order of their births; empty where the
    /// trace does not say.
    pub fn arena_bases(&self) -> &[u64] {
        &self.outline.arena_bases
    }

    /// What the whole trace asks for.
    pub fn profile(&self) -> &Profile {
        &self.outline.profile
    }

    /// The size of the instruction at `index`, whatever its width.
    #[inline]
    pub fn size(&self, index: usize) -> usize {
        let instruction = self.instructions[index];
        if instruction.is_wide() { self.wide_size(index) } else { instruction.short_size() }
    }

    /// The size of a wide instruction.
    #[cold]
    pub fn wide_size(&self, index: usize) -> usize {
        self.wide.get(&index).copied().unwrap_or(WIDE) as usize
    }

    /// Whether any instruction is wide.
    pub fn has_wide_sizes(&self) -> bool {
        !self.wide.is_empty()
    }

    /// Writes the program for a worker: magic, outline, and all calls as one part
    /// (`program/parts.rs`).
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        parts::write_outline(&self.outline, out)?;
        parts::write_part(self, out)?;
        parts::write_end(out)
    }

    /// Reads what [`Program::write`] wrote, and proves the invariants again: the file may come from
    /// anywhere.
    ///
    /// # Errors
    /// When `input` ends early or holds no sound program.
    pub fn read(input: &mut impl Read) -> io::Result<Program> {
        let mut parts = Parts::begin(input)?;
        let calls = parts.outline().calls;
        let whole = parts.next_part()?.filter(|part| part.instructions.len() as u64 == calls);
        let whole = whole.ok_or_else(|| unsound("it is in several parts"))?;
        match parts.next_part()? {
            None => Ok(whole),
            Some(_) => Err(unsound("more calls than it says")),
        }
    }

    /// A whole program of these instructions, proved, with the profile that they have.
    fn whole(
        instructions: Vec<Instruction>,
        wide: BTreeMap<usize, u64>,
        kind_of: Vec<u32>,
        outline: Outline,
    ) -> Result<Program, &'static str> {
        let outline = Arc::new(outline);
        let mut program = Program { outline, first: 0, instructions, wide, kind_of };
        let mut prover = Prover::new(&program.outline);
        prover.part(&program)?;
        let profile = prover.finish();
        let calls = program.instructions.len() as u64;
        program.outline = Arc::new(Outline { profile, calls, ..(*program.outline).clone() });
        Ok(program)
    }
}

/// What is wrong with a file that should hold a program.
fn unsound(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a compiled program: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Call, Distribution, Generator, Op, Row, Sequence, TraceReader};

    fn generated(seed: u64, calls: u64) -> Generator {
        Generator::new(seed, calls, Distribution::python_sizes(), Distribution::python_lifetimes())
    }

    /// The oracle: rows through the heap of `Sequence`, blocks named by birth, against the
    /// instructions' slots.
    #[test]
    fn instructions_are_the_calls_of_the_sequence() {
        for (seed, calls) in
            [(1, 1), (2, 2), (3, 1000), (4, 300_000), (5, (1 << 20) + 17), (6, 2 << 20)]
        {
            let program = compile(&mut generated(seed, calls)).unwrap();
            let mut held: Vec<Option<u64>> = vec![None; program.slots()];
            let mut index = 0;
            let mut sequence = Sequence::new();
            let mut check = |call: Call<'_>| {
                let instruction = program.instructions()[index];
                let slot = &mut held[instruction.slot()];
                match call {
                    Call::Free { event, block } => {
                        assert_eq!((event, instruction.action()), (index as u64, Action::Free));
                        assert_eq!(slot.take(), Some(block.event));
                    }
                    Call::Request { row, resized } => {
                        assert_eq!(instruction.action().name(), row.op.name());
                        assert_eq!(instruction.domain(), row.domain);
                        assert_eq!(program.size(index) as u64, row.size);
                        assert_eq!(slot.replace(row.event), resized.map(|block| block.event));
                    }
                }
                index += 1;
            };
            let mut reader = generated(seed, calls);
            while let Some(row) = reader.next_row().unwrap() {
                sequence.accept(&row, &mut check).unwrap();
            }
            sequence.finish(&mut check).unwrap();
            assert_eq!(index, program.instructions().len());
            let mut bytes = Vec::new();
            program.write(&mut bytes).unwrap();
            let back = Program::read(&mut bytes.as_slice()).unwrap();
            assert_eq!(back.instructions(), program.instructions());
            assert_eq!(back.profile(), program.profile(), "derived a second way");
            // Another slot, in the last instruction but what stands behind it: the ends of a part
            // and of the program.
            let last = bytes.len() - 16;
            bytes[last - 7] ^= 0xF0;
            assert!(calls == 1 || Program::read(&mut bytes.as_slice()).is_err());
            assert_eq!(program.profile().total_calls(), calls);
        }
    }

    #[test]
    fn sizes_too_wide_for_an_instruction_are_kept() {
        struct One(Option<Row>, crate::trace::Header, crate::trace::Sites);
        impl TraceReader for One {
            fn header(&self) -> &crate::trace::Header {
                &self.1
            }
            fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
                Ok(self.0.take())
            }
            fn sites(&self) -> &crate::trace::Sites {
                &self.2
            }
        }
        for size in [WIDE - 1, WIDE, WIDE + 1, 1 << 47] {
            let row = Row::new(0, Op::Malloc, size, None);
            let program =
                compile(&mut One(Some(row), Default::default(), Default::default())).unwrap();
            assert_eq!(program.size(0) as u64, size);
            assert_eq!(program.has_wide_sizes(), size >= WIDE);
        }
        assert!(matches!(
            compile(&mut One(None, Default::default(), Default::default())),
            Err(ProgramError::Empty)
        ));
    }
}
