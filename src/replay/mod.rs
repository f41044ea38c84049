//! Room `replay`: runs a program against a backend, in one process, and counts.
//!
//! `probe.rs` is the contract of what watches; each probe is a file; the hot loop is here. `memory.rs` keeps the
//! harness out of what is measured, `clock.rs` tells time and what telling it costs.

mod clock;
mod footprint;
mod latency;
mod memory;
mod probe;
mod time;
mod verify;

use std::ffi::c_void;
use std::ops::Range;
use std::ptr;

pub use clock::{Clock, Floor, Source};
pub use footprint::{Footprint, HeapSample, footprint};
pub use latency::{LatencyResult, bucket_nanoseconds, empty_histogram, latency};
pub use memory::{Resident, SharedHeap, self_test};
pub use probe::{Done, Nothing, Probe};
pub use time::{TimeResult, time};
pub use verify::verify;

use crate::backends::Domains;
use crate::program::{Action, Program};
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
    /// Whoever hands out the turns is gone.
    #[error("no further turn was given: the run was interrupted")]
    NoTurn,
    /// The instrument cannot be trusted here.
    #[error("the harness cannot measure here: {0}")]
    Instrument(String),
}

/// The blocks that a replay holds, by slot; null where none is.
pub struct Slots(Vec<*mut c_void>);

impl Slots {
    /// Empty slots for `program`, with their memory touched, so that the loop meets no page fault of ours.
    pub fn new(program: &Program) -> Slots {
        let mut slots = Vec::with_capacity(program.slots());
        slots.resize_with(program.slots(), || std::hint::black_box(ptr::null_mut()));
        Slots(slots)
    }

    /// The block in a slot.
    pub fn get(&self, slot: usize) -> *mut c_void {
        self.0[slot]
    }

    /// Every block that is live, with its slot.
    pub fn live(&self) -> impl Iterator<Item = (usize, *mut c_void)> + '_ {
        self.0.iter().copied().enumerate().filter(|(_, block)| !block.is_null())
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
    domains: &Domains,
    slots: &mut Slots,
    range: Range<usize>,
    probe: &mut P,
) -> Result<(), ReplayError> {
    // Decided before the loop: whether sizes beyond 32 bits must be looked for.
    if program.has_wide_sizes() {
        run::<P, true>(program, domains, slots, range, probe)
    } else {
        run::<P, false>(program, domains, slots, range, probe)
    }
}

#[inline(never)]
#[expect(unsafe_code, reason = "calls through C function pointers, on slots that `compile` has proved")]
fn run<P: Probe, const WIDE: bool>(
    program: &Program,
    domains: &Domains,
    slots: &mut Slots,
    range: Range<usize>,
    probe: &mut P,
) -> Result<(), ReplayError> {
    assert!(slots.0.len() == program.slots() && range.end <= program.instructions().len());
    let tables = Domain::ALL.map(|domain| *domains.get(domain));
    let start = range.start;
    for (offset, &instruction) in program.instructions()[range].iter().enumerate() {
        let index = start + offset;
        let slot = instruction.slot();
        let table = &tables[instruction.domain() as usize];
        let mut size = instruction.short_size();
        if WIDE && instruction.is_wide() {
            size = program.wide_size(index);
        }
        let action = instruction.action();
        // SAFETY: a `Program` comes only from `compile` or `Program::read`, which prove that slots are below
        // `program.slots()` (invariant 1; the length is asserted above) and that realloc and free name a slot which holds
        // a block that this loop put there and nobody ended (invariant 2). The tables are a backend's, whose contract is
        // that of PyMemAllocatorEx.
        let (old, new) = unsafe {
            let place = slots.0.get_unchecked_mut(slot);
            let old = *place;
            if matches!(action, Action::Realloc | Action::Free) {
                probe.ending(index, slot, old);
            }
            let mark = probe.before();
            let new = match action {
                Action::Malloc => (table.malloc)(table.ctx, size),
                Action::Calloc => (table.calloc)(table.ctx, 1, size),
                Action::Realloc => (table.realloc)(table.ctx, old, size),
                Action::Free => {
                    (table.free)(table.ctx, old);
                    ptr::null_mut()
                }
            };
            if new.is_null() && action != Action::Free {
                return Err(ReplayError::Refused { event: index, op: action.name(), size });
            }
            *place = new;
            probe.after(mark, Done { index, action, slot, size, old, new });
            (old, new)
        };
        let _ = (old, new);
    }
    Ok(())
}

/// Frees every block that is still live, in the order of slots. The domain of a block is not kept by slot, so the last
/// instruction that named the slot tells it.
#[expect(unsafe_code, reason = "calls free through a C function pointer")]
pub fn free_all(program: &Program, domains: &Domains, slots: &mut Slots) {
    let mut domain_of: Vec<Domain> = vec![Domain::Obj; program.slots()];
    for instruction in program.instructions() {
        domain_of[instruction.slot()] = instruction.domain();
    }
    for (slot, domain) in domain_of.into_iter().enumerate() {
        let block = slots.get(slot);
        if !block.is_null() {
            let table = domains.get(domain);
            // SAFETY: the slot holds a live block of this backend, which is forgotten at once.
            unsafe { (table.free)(table.ctx, block) };
            slots.clear(slot);
        }
    }
}
