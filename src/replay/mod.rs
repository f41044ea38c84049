//! Room `replay`: runs a program against a backend, in one process, and counts.
//!
//! `probe.rs` is the contract of what watches; each probe is a file; the hot loop is here. `memory.rs` keeps the
//! harness out of what is measured, `clock.rs` tells time and what telling it costs.

mod clock;
mod conform;
mod copy;
mod footprint;
mod halt;
mod heap_map;
mod laps;
mod latency;
mod memory;
mod pins;
mod places;
mod probe;
mod time;
mod verify;

use std::ffi::c_void;
use std::ops::Range;
use std::ptr;

pub use clock::{Clock, Floor, Source};
pub use conform::conform;
pub use footprint::{Footprint, HeapSample, Pace, WARM_UP_CALLS, footprint};
pub use halt::waiting;
pub use heap_map::{EMPTY, HeapMap, Level, MapRow, NOWHERE};
pub use laps::{LapTimes, Laps, call_times, calls_of_a_lap, laps, tail};
pub use latency::{LatencyResult, bucket, bucket_nanoseconds, empty_histogram, latency};
pub use memory::{Resident, SharedHeap, self_test};
pub use pins::{ClassRounding, FULLNESS_BINS, GRAINS, LiveBlock, PageView, Pin, class_of, page_view};
pub use places::{Ending, Word, places};
pub use probe::{Done, Nothing, Probe};
pub use time::{TimeResult, time};
pub use verify::verify;

use crate::backends::{Allocator, Backend, Domains};
use crate::program::{Action, Instruction, Program};
use crate::trace::Domain;

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The backend gave no memory.
    #[error("event {event}: {op} of {size} bytes was refused: the backend is out of memory")]
    Refused {
        /// The call.
        event: usize,
        /// What was asked.
        op: &'static str,
        /// Bytes.
        size: usize,
    },
    /// The backend broke a rule of allocators.
    #[error("event {event}: {op} of {size} bytes: {fault}")]
    Rule {
        /// The call.
        event: usize,
        /// What was asked.
        op: &'static str,
        /// Bytes.
        size: usize,
        /// The rule, and how it was broken.
        fault: String,
    },
    /// The backend broke a rule of allocators in a call that no trace made.
    #[error("domain {domain}: {call}: {fault}")]
    Unconforming {
        /// Which domain was asked.
        domain: &'static str,
        /// The call, as in C.
        call: String,
        /// The rule, and how it was broken.
        fault: String,
    },
    /// The backend gave no memory for a modest request that no trace made.
    #[error("{call} was refused: the backend is out of memory")]
    Withheld {
        /// The call, as in C.
        call: String,
    },
    /// Whoever hands out the turns is gone.
    #[error("no further turn was given: the run was interrupted")]
    NoTurn,
    /// The instrument cannot be trusted here.
    #[error("the harness cannot measure here: {0}")]
    Instrument(String),
}

/// The blocks that a replay holds, by slot; null or [`FREED`] where none is.
pub struct Slots(Vec<*mut c_void>);

impl Slots {
    /// Empty slots for `program`, with their memory touched, so that the loop meets no page fault of ours.
    pub fn new(program: &Program) -> Slots {
        let mut slots = Vec::with_capacity(program.slots());
        slots.resize_with(program.slots(), || std::hint::black_box(ptr::null_mut()));
        Slots(slots)
    }

    /// Every block that is live, with its slot.
    pub fn live(&self) -> impl Iterator<Item = (usize, *mut c_void)> + '_ {
        self.0.iter().copied().enumerate().filter(|(_, block)| !block.is_null() && *block != FREED)
    }

    /// Forgets the block in a slot.
    pub fn clear(&mut self, slot: usize) {
        self.0[slot] = ptr::null_mut();
    }
}

/// Makes the calls of `range`, in order, watched by `probe`. Ranges must follow each other from 0.
///
/// # Errors
/// When the backend gives no memory.
pub fn replay<P: Probe>(
    program: &Program,
    tables: &Tables,
    slots: &mut Slots,
    range: Range<usize>,
    probe: &mut P,
) -> Result<(), ReplayError> {
    // Decided before the loop: whether sizes beyond 32 bits must be looked for, and the kinds of blocks.
    match (program.has_wide_sizes(), tables.by_kind.is_empty()) {
        (false, true) => run::<P, false, false>(program, tables, slots, range, probe),
        (true, true) => run::<P, true, false>(program, tables, slots, range, probe),
        (false, false) => run::<P, false, true>(program, tables, slots, range, probe),
        (true, false) => run::<P, true, true>(program, tables, slots, range, probe),
    }
}

/// One call of a backend, whatever it is: the loop has one indirect call, and so one jump to predict, for all actions.
type Step = unsafe extern "C" fn(&Allocator, *mut c_void, usize) -> *mut c_void;

/// What a [`Step`] of free leaves in the slot. It is not null, which means that memory was refused, so that the loop
/// needs no second branch on the action; and it is no block's address.
const FREED: *mut c_void = ptr::without_provenance_mut(1);

#[expect(unsafe_code, reason = "calls through C function pointers")]
mod step {
    //! SAFETY of each: the caller gives a backend's table and, for realloc and free, a live block of its domain.
    use super::{Allocator, FREED, c_void};

    pub(super) unsafe extern "C" fn malloc(table: &Allocator, _: *mut c_void, size: usize) -> *mut c_void {
        unsafe { (table.malloc)(table.ctx, size) }
    }

    pub(super) unsafe extern "C" fn calloc(table: &Allocator, _: *mut c_void, size: usize) -> *mut c_void {
        unsafe { (table.calloc)(table.ctx, 1, size) }
    }

    pub(super) unsafe extern "C" fn realloc(table: &Allocator, old: *mut c_void, size: usize) -> *mut c_void {
        unsafe { (table.realloc)(table.ctx, old, size) }
    }

    pub(super) unsafe extern "C" fn free(table: &Allocator, old: *mut c_void, _: usize) -> *mut c_void {
        unsafe { (table.free)(table.ctx, old) };
        FREED
    }
}

/// The step and the table for each code of an instruction.
#[derive(Clone, Copy)]
struct Entry {
    step: Step,
    table: Allocator,
}

/// What the loop calls for a program: a backend's tables, by kind where both the program and the backend have such.
pub struct Tables {
    entries: [Entry; Instruction::CODES],
    /// By kind, those without one first; empty when the entries' own tables serve all.
    by_kind: Vec<Domains>,
}

impl Tables {
    /// The tables of `backend`, which must live as long as they are used.
    pub fn new(program: &Program, backend: &dyn Backend) -> Tables {
        let domains = backend.domains();
        let entries = std::array::from_fn(|code| {
            let (action, domain) = Instruction::meaning(code);
            let step: Step = match action {
                Action::Malloc => step::malloc,
                Action::Calloc => step::calloc,
                Action::Realloc => step::realloc,
                Action::Free => step::free,
            };
            Entry { step, table: *domains.get(domain) }
        });
        let kinds = program.kinds();
        let by_kind = if kinds.is_empty() { None } else { backend.by_kind(kinds) }.unwrap_or_default();
        assert!(by_kind.is_empty() || by_kind.len() == kinds.len() + 1, "a table for each kind");
        Tables { entries, by_kind }
    }

    /// The table for a block of that kind and domain.
    fn get(&self, kind: usize, domain: Domain) -> &Allocator {
        match self.by_kind.get(kind) {
            Some(domains) => domains.get(domain),
            None => {
                let of_domain = |code: &usize| Instruction::meaning(*code).1 == domain;
                &self.entries[(0..Instruction::CODES).find(of_domain).unwrap_or(0)].table
            }
        }
    }
}

/// Instructions ahead whose slots are fetched into the cache: far enough to arrive in time, near enough to stay.
const AHEAD: usize = 12;

#[inline(never)]
#[expect(unsafe_code, reason = "calls through C function pointers, on slots that `compile` has proved")]
fn run<P: Probe, const WIDE: bool, const KINDS: bool>(
    program: &Program,
    tables: &Tables,
    slots: &mut Slots,
    range: Range<usize>,
    probe: &mut P,
) -> Result<(), ReplayError> {
    let instructions = program.instructions();
    assert!(slots.0.len() == program.slots() && range.start <= range.end && range.end <= instructions.len());
    let entries = tables.entries; // a copy on the stack, which no call can have changed
    let slots = slots.0.as_mut_ptr();
    for index in range {
        let instruction = instructions[index];
        let (slot, entry) = (instruction.slot(), &entries[instruction.code()]);
        let mut size = instruction.short_size();
        if WIDE && instruction.is_wide() {
            size = program.wide_size(index);
        }
        let mut table = &entry.table;
        if KINDS {
            table = tables.by_kind[program.kind(index)].get(instruction.domain());
        }
        // SAFETY: a `Program` comes only from `compile` or `Program::read`, which prove that slots are below
        // `program.slots()` (invariant 1; the length is asserted above) and that realloc and free name a slot which holds
        // a block that this loop put there, in the same domain and kind, and nobody ended (invariants 2, 4 and 5). The tables are a
        // backend's, whose contract is that of PyMemAllocatorEx. A prefetch of any address is allowed.
        unsafe {
            let ahead = instructions.get_unchecked((index + AHEAD).min(instructions.len() - 1));
            prefetch(slots.wrapping_add(ahead.slot()));
            let place = slots.add(slot);
            let old = *place;
            if P::LOOKS_INTO_BLOCKS && matches!(instruction.action(), Action::Realloc | Action::Free) {
                probe.ending(index, slot, old);
            }
            let mark = probe.before();
            let new = (entry.step)(table, old, size);
            if new.is_null() {
                return Err(ReplayError::Refused { event: index, op: instruction.action().name(), size });
            }
            *place = new;
            probe.after(mark, Done { index, action: instruction.action(), slot, size, old, new });
        }
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "a hint to the processor")]
unsafe fn prefetch(place: *mut *mut c_void) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch does not fault, whatever the address.
    unsafe { _mm_prefetch(place.cast(), _MM_HINT_T0) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
#[expect(unsafe_code, reason = "the same signature as where it does something")]
unsafe fn prefetch(_: *mut *mut c_void) {}

/// Frees every block that is still live, in the order of slots. The domain and kind of a block are not kept by slot, so the
/// last instruction that named the slot tells them.
#[expect(unsafe_code, reason = "calls free through a C function pointer")]
pub fn free_all(program: &Program, tables: &Tables, slots: &mut Slots) {
    let mut last_of: Vec<(usize, Domain)> = vec![(0, Domain::Obj); program.slots()];
    for (index, instruction) in program.instructions().iter().enumerate() {
        last_of[instruction.slot()] = (program.kind(index), instruction.domain());
    }
    let live: Vec<(usize, *mut c_void)> = slots.live().collect();
    for (slot, block) in live {
        let (kind, domain) = last_of[slot];
        let table = tables.get(kind, domain);
        // SAFETY: the slot holds a live block of this backend, which is forgotten at once.
        unsafe { (table.free)(table.ctx, block) };
        slots.clear(slot);
    }
}
