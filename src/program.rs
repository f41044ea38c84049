//! The compiled workload: a trace turned into dense instructions over reused slots, ready for the hot loop.
//!
//! `cli` and `bench` compile; `replay` runs. A [`Program`] can come only from [`compile`] and [`Program::read`], which
//! prove what the loop's unsafe block relies on:
//!
//! 1. every instruction's slot is below [`Program::slots`];
//! 2. a malloc or calloc names a slot that is empty, a realloc or free one that is full: each block is ended at most once;
//! 3. every index of the trace is exactly one instruction;
//! 4. a block is resized and freed in the domain that gave it (`mem` and `obj` count as one);
//! 5. a block of a kind has the kind's size, is not raw, and is freed as one of that kind.
//!
//! How: a row says when its block ends, so compiling writes the end's instruction at the same time as the birth's, at
//! its place further on. No heap and no map is needed, and a place that is written twice or never is a faulty trace.
//! Ends beyond the stretch being filled wait in a bucket for each later stretch, so memory beyond the instructions is in
//! proportion to the blocks live.

mod births;
mod kinds;
mod times;
mod what_if;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

pub use births::{Births, MARKS_LOOKED_AT, compile_with_births};
pub use times::Times;
pub use what_if::{Change, WhatIf, what_if};

use crate::trace::{Domain, Kind, Op, Row, Sites, TraceError, TraceReader};
use kinds::{Kinds, KindsCompiler};

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

/// One call in 8 bytes: action (bits 0–1), domain + 1 (bits 2–3), slot (bits 4–31), size (bits 32–63).
///
/// A size of 2^32 − 1 or more is in a table beside the program. 0 is no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Instruction(u64);

/// Sizes from here on are looked up.
const WIDE: u64 = u32::MAX as u64;
/// Slots that fit an instruction: blocks that may live at once.
pub const SLOT_LIMIT: usize = 1 << 28;

impl Instruction {
    const NONE: Instruction = Instruction(0);

    fn new(action: Action, domain: Domain, slot: u32, size: u64) -> Instruction {
        Instruction(action as u64 | (domain as u64 + 1) << 2 | u64::from(slot) << 4 | size.min(WIDE) << 32)
    }

    /// How many different [`Instruction::code`]s there are.
    pub const CODES: usize = 16;

    /// Action and domain in one small number.
    #[inline(always)]
    pub fn code(self) -> usize {
        (self.0 & 15) as usize
    }

    /// What a [`Instruction::code`] stands for.
    pub fn meaning(code: usize) -> (Action, Domain) {
        let instruction = Instruction(code as u64);
        (instruction.action(), instruction.domain())
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

    /// In which domain.
    #[inline(always)]
    pub fn domain(self) -> Domain {
        match self.0 >> 2 & 3 {
            1 => Domain::Raw,
            2 => Domain::Mem,
            _ => Domain::Obj,
        }
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

/// A trace, compiled.
#[derive(Clone, Debug)]
pub struct Program {
    instructions: Vec<Instruction>,
    wide: BTreeMap<usize, u64>,
    slots: usize,
    kinds: Kinds,
    arena_bases: Vec<u64>,
    profile: Profile,
}

const MAGIC: &[u8; 8] = b"HPROGRM2";

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
    #[error("event {event}: {found}; the trace is damaged: record it again, or convert it with --salvage")]
    Unsound {
        /// The call.
        event: u64,
        /// What is wrong with it.
        found: String,
    },
    /// More live blocks than an instruction can name.
    #[error("event {event}: more than {SLOT_LIMIT} blocks live at once; replay a shorter part of the trace")]
    Slots {
        /// The call.
        event: u64,
    },
    /// There is nothing to replay.
    #[error("the trace holds no call; record a program that allocates")]
    Empty,
}

impl Program {
    /// The calls, in order.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// How many slots they use.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The kinds of its blocks; none where the trace names no types.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds.table
    }

    /// Which of the [`Program::kinds`] the call at `index` is about: 0 is none, others count from 1.
    #[inline(always)]
    pub fn kind(&self, index: usize) -> usize {
        self.kinds.of(index) as usize
    }

    /// Where the recorded process had its arenas, in the order of their births; empty where the trace does not say.
    pub fn arena_bases(&self) -> &[u64] {
        &self.arena_bases
    }

    /// What the trace asks for.
    pub fn profile(&self) -> &Profile {
        &self.profile
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

    /// Writes the program for a worker: magic, slots, calls, instructions, wide sizes, arenas (their number, then
    /// bases), kinds; little-endian words of 8 bytes, but the kind of each call, which has 4.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let word = |value: usize| (value as u64).to_le_bytes();
        out.write_all(MAGIC)?;
        out.write_all(&word(self.slots))?;
        out.write_all(&word(self.instructions.len()))?;
        out.write_all(&word(self.wide.len()))?;
        let mut buffer = Vec::with_capacity(1 << 16);
        for stretch in self.instructions.chunks(8192) {
            buffer.clear();
            buffer.extend(stretch.iter().flat_map(|instruction| instruction.0.to_le_bytes()));
            out.write_all(&buffer)?;
        }
        for (&index, &size) in &self.wide {
            out.write_all(&word(index))?;
            out.write_all(&size.to_le_bytes())?;
        }
        out.write_all(&word(self.arena_bases.len()))?;
        for base in &self.arena_bases {
            out.write_all(&base.to_le_bytes())?;
        }
        self.kinds.write(out)
    }

    /// Reads what [`Program::write`] wrote, and proves the invariants again: the file may come from anywhere.
    ///
    /// # Errors
    /// When `input` ends early or holds no sound program.
    pub fn read(input: &mut impl Read) -> io::Result<Program> {
        let unsound = |what: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("not a compiled program: {what}"))
        };
        let mut magic = [0; 8];
        input.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(unsound("another beginning"));
        }
        let (slots, calls, wide_count) =
            (word(input)? as usize, word(input)? as usize, word(input)? as usize);
        if slots > SLOT_LIMIT || slots > calls || wide_count > calls {
            return Err(unsound("more slots than calls"));
        }
        let mut instructions = Vec::new();
        instructions.try_reserve_exact(calls).map_err(|_| unsound("more calls than memory"))?;
        let mut buffer = vec![0; 1 << 16];
        while instructions.len() < calls {
            let bytes = (8 * (calls - instructions.len())).min(buffer.len());
            input.read_exact(&mut buffer[..bytes])?;
            instructions.extend(
                buffer[..bytes].as_chunks().0.iter().map(|bytes| Instruction(u64::from_le_bytes(*bytes))),
            );
        }
        let mut wide = BTreeMap::new();
        for _ in 0..wide_count {
            let index = word(input)? as usize;
            wide.insert(index, word(input)?);
        }
        let arena_bases = (0..word(input)?).map(|_| word(input)).collect::<io::Result<Vec<u64>>>()?;
        let kinds = Kinds::read(input, calls)?;
        let profile = Profile::default();
        let mut program = Program { instructions, wide, slots, kinds, arena_bases, profile };
        program.prove().map_err(unsound)?;
        Ok(program)
    }

    /// Walks the instructions with the size of each slot's block: proves the invariants and derives the profile.
    fn prove(&mut self) -> Result<(), &'static str> {
        let mut held: Vec<Option<(u64, Domain, u32)>> = vec![None; self.slots];
        let mut profile = Profile::default();
        let (mut live_bytes, mut live_blocks) = (0u64, 0u64);
        for (index, instruction) in self.instructions.iter().enumerate() {
            if instruction.0 >> 2 & 3 == 0 {
                return Err("no instruction where one should be");
            }
            let place = held.get_mut(instruction.slot()).ok_or("a slot out of range")?;
            let action = instruction.action();
            profile.calls[action as usize] += 1;
            let ends = matches!(action, Action::Realloc | Action::Free);
            match (ends, place.take()) {
                (true, Some((_, domain, _))) if !domain.shares_blocks_with(instruction.domain()) => {
                    return Err("a block that ends in another domain than its own");
                }
                (true, Some((.., kind))) if action == Action::Free && kind != self.kinds.of(index) => {
                    return Err("a block that ends as another kind than its own");
                }
                (true, Some((size, ..))) => {
                    live_bytes = live_bytes.wrapping_sub(size);
                    live_blocks -= 1;
                }
                (false, None) => {}
                _ => return Err("a slot that is full where it should be empty, or the other way round"),
            }
            if action != Action::Free {
                let size = self.size(index) as u64;
                if size > crate::trace::SIZE_LIMIT_BYTES {
                    return Err("a size over the limit");
                }
                let kind = self.kinds.of(index);
                if !self.kinds.fits(kind, size, instruction.domain()) {
                    return Err("a block whose kind is not its own");
                }
                *place = Some((size, instruction.domain(), kind));
                profile.requested_bytes[action as usize] =
                    profile.requested_bytes[action as usize].saturating_add(size);
                live_bytes = live_bytes.wrapping_add(size);
                live_blocks += 1;
                if live_bytes > profile.live_peak_bytes {
                    profile.live_peak_bytes = live_bytes;
                    profile.live_peak_event = index as u64;
                }
                profile.live_peak_blocks = profile.live_peak_blocks.max(live_blocks);
            }
        }
        profile.live_end_bytes = live_bytes;
        profile.live_end_blocks = live_blocks;
        self.profile = profile;
        Ok(())
    }

    /// Whether any instruction is wide.
    pub fn has_wide_sizes(&self) -> bool {
        !self.wide.is_empty()
    }
}

/// Compiles a trace in one pass.
///
/// # Errors
/// What the reader finds, and a trace with no call or with too many live blocks.
pub fn compile(reader: &mut dyn TraceReader) -> Result<Program, ProgramError> {
    compile_rows(reader, |_| {})
}

/// Compiles, and shows each row that is a request to `seen`.
fn compile_rows(reader: &mut dyn TraceReader, mut seen: impl FnMut(&Row)) -> Result<Program, ProgramError> {
    let mut compiler = Compiler::new(reader.events_hint(), reader.header().columns.type_name);
    while let Some(row) = reader.next_row()? {
        compiler.row(&row)?;
        seen(&row);
    }
    let births = reader.header().arenas().into_iter().filter(|arena| arena.is_birth);
    let arena_bases = births.map(|arena| arena.base).collect();
    Ok(Program { arena_bases, ..compiler.finish(reader.sites())? })
}

/// Calls in a stretch: 8 MiB of instructions.
const STRETCH: u64 = 1 << 20;

/// An end whose place is in a stretch that is not there yet.
struct Late {
    end: u64,
    birth: u64,
    slot: u32,
    domain: Domain,
    size: u64,
    kind: u32,
}

struct Compiler {
    /// Whole stretches; places beyond `next` hold ends already known.
    instructions: Vec<Instruction>,
    late: BTreeMap<u64, Vec<Late>>,
    wide: BTreeMap<usize, u64>,
    /// Requested bytes by slot.
    sizes: Vec<u64>,
    /// The call that began the block in each slot, for messages.
    births: Vec<u64>,
    /// For a trace with types.
    kinds: Option<KindsCompiler>,
    free_slots: Vec<u32>,
    next: u64,
    live_bytes: u64,
    live_blocks: u64,
    profile: Profile,
}

impl Compiler {
    fn new(hint: Option<u64>, with_types: bool) -> Compiler {
        let mut instructions = Vec::new();
        // A hint comes from a file: reserve for it only what address space surely has.
        let expected = hint.unwrap_or(0).min(1 << 32);
        let _ = instructions.try_reserve_exact(expected.next_multiple_of(STRETCH) as usize);
        Compiler {
            instructions,
            late: BTreeMap::new(),
            wide: BTreeMap::new(),
            sizes: Vec::new(),
            births: Vec::new(),
            kinds: with_types.then(KindsCompiler::default),
            free_slots: Vec::new(),
            next: 0,
            live_bytes: 0,
            live_blocks: 0,
            profile: Profile::default(),
        }
    }

    fn row(&mut self, row: &Row) -> Result<(), ProgramError> {
        let event = row.event;
        while self.next < event {
            self.end_here()?;
        }
        if event < self.next {
            return Err(ProgramError::Unsound { event, found: "rows are not in order".into() });
        }
        self.reach(event)?;
        let place = event as usize;
        let ended = self.instructions[place];
        let slot = match (row.op, ended) {
            (Op::Realloc, Instruction::NONE) => {
                return Err(ProgramError::Unsound { event, found: "a realloc of nothing".into() });
            }
            (Op::Realloc, ended) if !ended.domain().shares_blocks_with(row.domain) => {
                return Err(ProgramError::Unsound {
                    event,
                    found: "a realloc in another domain than its block's".into(),
                });
            }
            (Op::Realloc, ended) => {
                self.live_bytes = self.live_bytes.wrapping_sub(self.sizes[ended.slot()]);
                self.live_blocks -= 1;
                ended.slot() as u32
            }
            (_, Instruction::NONE) => self.take_slot(event)?,
            _ => {
                return Err(ProgramError::Unsound {
                    event,
                    found: "a block ends where another begins".into(),
                });
            }
        };
        let action = match row.op {
            Op::Malloc => Action::Malloc,
            Op::Calloc => Action::Calloc,
            Op::Realloc => Action::Realloc,
        };
        self.instructions[place] = Instruction::new(action, row.domain, slot, row.size);
        let kind = self.kinds.as_mut().map_or(0, |kinds| {
            let kind = kinds.of(row);
            kinds.put(event, kind);
            kind
        });
        if row.size >= WIDE {
            self.wide.insert(place, row.size);
        }
        self.count(action, row.size);
        self.sizes[slot as usize] = row.size;
        self.births[slot as usize] = event;
        self.live_bytes = self.live_bytes.wrapping_add(row.size); // 2^17 blocks of 2^47 bytes wrap
        self.live_blocks += 1;
        self.next = event + 1;
        if self.live_bytes > self.profile.live_peak_bytes {
            self.profile.live_peak_bytes = self.live_bytes;
            self.profile.live_peak_event = event;
        }
        self.profile.live_peak_blocks = self.profile.live_peak_blocks.max(self.live_blocks);
        if let Some(end) = row.end() {
            self.place_end(Late { end, birth: event, slot, domain: row.domain, size: row.size, kind })?;
        }
        Ok(())
    }

    fn count(&mut self, action: Action, size: u64) {
        self.profile.calls[action as usize] += 1;
        let requested = &mut self.profile.requested_bytes[action as usize];
        *requested = requested.saturating_add(size);
    }

    fn take_slot(&mut self, event: u64) -> Result<u32, ProgramError> {
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        if self.sizes.len() == SLOT_LIMIT {
            return Err(ProgramError::Slots { event });
        }
        self.sizes.push(0);
        self.births.push(0);
        Ok(self.sizes.len() as u32 - 1)
    }

    /// Makes the stretch that holds `event` real.
    fn reach(&mut self, event: u64) -> Result<(), ProgramError> {
        while self.instructions.len() as u64 <= event {
            let stretch = self.instructions.len() as u64 / STRETCH;
            self.instructions.resize(self.instructions.len() + STRETCH as usize, Instruction::NONE);
            if let Some(kinds) = &mut self.kinds {
                kinds.reach(self.instructions.len());
            }
            for late in self.late.remove(&stretch).unwrap_or_default() {
                self.place_end(late)?;
            }
        }
        Ok(())
    }

    /// Writes a block's end at its place, or keeps it for the stretch that will have it.
    fn place_end(&mut self, late: Late) -> Result<(), ProgramError> {
        if late.end >= self.instructions.len() as u64 {
            self.late.entry(late.end / STRETCH).or_default().push(late);
            return Ok(());
        }
        let place = &mut self.instructions[late.end as usize];
        if *place != Instruction::NONE {
            let found = match place.action() {
                Action::Free => {
                    let other = self.births[place.slot()];
                    format!("the blocks born at events {other} and {} both end there", late.birth)
                }
                _ => format!("the block born at event {} ends there, where another call stands", late.birth),
            };
            return Err(ProgramError::Unsound { event: late.end, found });
        }
        debug_assert!(late.end > late.birth && late.size <= crate::trace::SIZE_LIMIT_BYTES);
        *place = Instruction::new(Action::Free, late.domain, late.slot, 0);
        if let Some(kinds) = &mut self.kinds {
            kinds.put(late.end, late.kind);
        }
        Ok(())
    }

    /// Does the call at `next`, which must be an end.
    fn end_here(&mut self) -> Result<(), ProgramError> {
        let event = self.next;
        self.reach(event)?;
        let instruction = self.instructions[event as usize];
        if instruction == Instruction::NONE {
            return Err(ProgramError::Unsound {
                event,
                found: "no row has it and no block ends there".into(),
            });
        }
        self.live_bytes = self.live_bytes.wrapping_sub(self.sizes[instruction.slot()]);
        self.live_blocks -= 1;
        self.free_slots.push(instruction.slot() as u32);
        self.count(Action::Free, 0);
        self.next += 1;
        Ok(())
    }

    fn finish(mut self, sites: &Sites) -> Result<Program, ProgramError> {
        // Stretches that only ends reach are still to be made.
        while self.live_blocks > 0 && (self.late.keys().next().is_some() || self.end_is_known()) {
            if !self.end_is_known() {
                self.reach(self.next)?;
                if !self.end_is_known() {
                    return Err(ProgramError::Unsound {
                        event: self.next,
                        found: "the trace has a gap before its end".into(),
                    });
                }
            }
            self.end_here()?;
        }
        let written = self.instructions.iter().skip(self.next as usize).any(|i| *i != Instruction::NONE);
        if written {
            return Err(ProgramError::Unsound {
                event: self.next,
                found: "a block ends past the last event".into(),
            });
        }
        if self.next == 0 {
            return Err(ProgramError::Empty);
        }
        self.instructions.truncate(self.next as usize);
        self.profile.live_end_bytes = self.live_bytes;
        self.profile.live_end_blocks = self.live_blocks;
        Ok(Program {
            instructions: self.instructions,
            wide: self.wide,
            slots: self.sizes.len(),
            kinds: self.kinds.map(|kinds| kinds.finish(self.next as usize, sites)).unwrap_or_default(),
            arena_bases: Vec::new(),
            profile: self.profile,
        })
    }

    fn end_is_known(&self) -> bool {
        self.instructions.get(self.next as usize).is_some_and(|i| *i != Instruction::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Call, Distribution, Generator, Sequence};

    fn generated(seed: u64, calls: u64) -> Generator {
        Generator::new(seed, calls, Distribution::python_sizes(), Distribution::python_lifetimes())
    }

    /// The oracle: rows through the heap of `Sequence`, blocks named by birth, against the instructions' slots.
    #[test]
    fn instructions_are_the_calls_of_the_sequence() {
        for (seed, calls) in [(1, 1), (2, 2), (3, 1000), (4, 300_000), (5, (1 << 20) + 17), (6, 2 << 20)] {
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
            bytes[8 * 4 + 1] ^= 0xF0; // another slot
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
            let program = compile(&mut One(Some(row), Default::default(), Default::default())).unwrap();
            assert_eq!(program.size(0) as u64, size);
            assert_eq!(program.has_wide_sizes(), size >= WIDE);
        }
        assert!(matches!(
            compile(&mut One(None, Default::default(), Default::default())),
            Err(ProgramError::Empty)
        ));
    }
}
