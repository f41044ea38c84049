//! The hot loop, which makes a program's calls, and its data: [`Slots`] and [`Tables`].
//!
//! The loop calls every backend through the four pointers of its table. Two conditional branches on
//! the action select the pointer. Processors predict these branches better, and earlier, than the
//! target of one indirect call for all four. For a backend that does nothing, a call takes 2.1 ns
//! on `service` and 4.4 ns on a random trace; with one indirect call it takes 5.0 and 5.8 ns.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use super::error::ReplayError;
use super::probe::{Done, Probe};
use crate::backends::{Allocator, Backend, Domains};
use crate::program::{Action, Instruction, Outline, Program, prefetch};
use crate::trace::Domain;

/// The live blocks of a replay, by slot, and its progress. They fit the program that they were made
/// for, and its calls in order.
pub struct Slots {
    blocks: Vec<*mut c_void>,
    outline: Arc<Outline>,
    /// Calls made so far. After a refused call it is greater than any program is long.
    made: u64,
}

impl Slots {
    /// Empty slots for `program`. Their memory is touched, so the harness causes no page fault in
    /// the loop.
    pub fn new(program: &Program) -> Slots {
        Slots::of(program.outline())
    }

    /// Empty slots for every part of a program.
    pub fn of(outline: &Arc<Outline>) -> Slots {
        let mut blocks = Vec::with_capacity(outline.slots);
        blocks.resize_with(outline.slots, || std::hint::black_box(ptr::null_mut()));
        Slots { blocks, outline: Arc::clone(outline), made: 0 }
    }

    /// Every live block, with its slot.
    pub fn live(&self) -> impl Iterator<Item = (usize, *mut c_void)> + '_ {
        self.blocks.iter().copied().enumerate().filter(|(_, block)| !block.is_null())
    }

    /// The block in a slot; null in an empty one.
    pub fn block(&self, slot: usize) -> *mut c_void {
        self.blocks[slot]
    }

    /// Empties a slot.
    pub fn clear(&mut self, slot: usize) {
        self.blocks[slot] = ptr::null_mut();
    }

    /// Lets the program begin again.
    ///
    /// # Panics
    /// A slot still holds a block.
    pub fn restart(&mut self) {
        assert!(self.live().next().is_none(), "a block is still held");
        self.made = 0;
    }
}

/// The tables that the loop calls for a program: one for each kind of block where both the program
/// and the backend have kinds.
pub struct Tables {
    domains: Domains,
    /// By kind, blocks without a kind first; empty when `domains` serves all blocks.
    by_kind: Vec<Domains>,
}

impl Tables {
    /// The tables of `backend`, which must live as long as they are used.
    pub fn new(program: &Program, backend: &dyn Backend) -> Tables {
        Tables::of(program.outline(), backend)
    }

    /// The tables of `backend` for every part of a program.
    pub fn of(outline: &Outline, backend: &dyn Backend) -> Tables {
        let kinds = &outline.kinds;
        let by_kind =
            if kinds.is_empty() { None } else { backend.by_kind(kinds) }.unwrap_or_default();
        assert!(by_kind.is_empty() || by_kind.len() == kinds.len() + 1, "a table for each kind");
        Tables { domains: backend.domains(), by_kind }
    }

    /// The table for a block of that kind and domain.
    pub(super) fn get(&self, kind: usize, domain: Domain) -> &Allocator {
        self.by_kind.get(kind).unwrap_or(&self.domains).get(domain)
    }
}

/// Makes the calls of `range` of the program, or of this part of it, observed by `probe`.
///
/// # Errors
/// The backend gives no memory.
///
/// # Panics
/// `slots` belong to another program, or these calls are not the next ones.
pub fn replay<P: Probe>(
    program: &Program,
    tables: &Tables,
    slots: &mut Slots,
    range: Range<usize>,
    probe: &mut P,
) -> Result<(), ReplayError> {
    let calls = program.instructions().len();
    assert!(range.start <= range.end && range.end <= calls, "the range is the program's");
    assert!(Arc::ptr_eq(&slots.outline, program.outline()), "the slots are the program's");
    assert!(slots.made == program.first() + range.start as u64, "calls are made in order");
    slots.made = u64::MAX; // until all calls are made
    // Decided before the loop: whether it must look for sizes beyond 32 bits and for kinds, and
    // whether the slots exceed the nearest cache.
    let plain = !program.has_wide_requests() && tables.by_kind.is_empty();
    let is_far = slots.blocks.len() > NEAR_SLOTS;
    let ahead = if is_far { AHEAD } else { WAITING };
    let cut = calls.saturating_sub(ahead).clamp(range.start, range.end);
    let (most, last) = (range.start..cut, cut..range.end);
    let made = match (plain, is_far) {
        (true, true) => run::<P, true, AHEAD>(program, tables, slots, most, probe),
        (true, false) => run::<P, true, WAITING>(program, tables, slots, most, probe),
        (false, true) => run::<P, false, AHEAD>(program, tables, slots, most, probe),
        (false, false) => run::<P, false, WAITING>(program, tables, slots, most, probe),
    };
    let made = made.and_then(|()| match plain {
        true => run::<P, true, 0>(program, tables, slots, last, probe),
        false => run::<P, false, 0>(program, tables, slots, last, probe),
    });
    made.map_err(|at| refused(program, at))?;
    slots.made = program.first() + range.end as u64;
    Ok(())
}

/// Instructions that wait in registers. When a call returns, the next call is already known, so the
/// processor detects a mispredicted branch earlier. This saves a tenth of the loop's cost on a
/// random trace, and up to 6 % of the time that allocators take.
const WAITING: usize = 2;
/// Distance, in instructions, at which slots are prefetched into the cache: large enough to arrive
/// in time, small enough to stay.
const AHEAD: usize = 12;
/// Slots that fill half of a nearest cache of 32 KiB. Prefetching so few costs more than it gains.
const NEAR_SLOTS: usize = 2048;

/// The error for the call at `at`, which got no memory.
#[cold]
fn refused(program: &Program, at: usize) -> ReplayError {
    let op = program.instructions()[at].action().name();
    ReplayError::Refused { event: program.first() as usize + at, op, size: program.size(at) }
}

/// Makes the calls of `range`. The error is only the index of the refused call in `program`, so the
/// loop has all registers for itself.
///
/// `PLAIN`: no wide requests, no kinds. `AHEAD`: the instructions behind `range` that may be read: 0
/// for none, [`WAITING`] to wait in registers, more to prefetch slots.
#[inline(never)]
#[expect(
    unsafe_code,
    reason = "calls through C function pointers, on slots that `compile` has proved"
)]
fn run<P: Probe, const PLAIN: bool, const AHEAD: usize>(
    program: &Program,
    tables: &Tables,
    slots: &mut Slots,
    range: Range<usize>,
    probe: &mut P,
) -> Result<(), usize> {
    let instructions = program.instructions();
    if range.is_empty() {
        return Ok(());
    }
    assert!(slots.blocks.len() == program.slots() && range.end + AHEAD <= instructions.len());
    // A copy on the stack, which no call can change. Number 0 is the last domain.
    let of_domain = |number: usize| *tables.domains.get(Domain::ALL[(number + 3) % 4]);
    let domains = [of_domain(0), of_domain(1), of_domain(2), of_domain(3)];
    let slots = slots.blocks.as_mut_ptr();
    let first = program.first() as usize;
    // SAFETY: called below with indices below `range.end + AHEAD`, which is at most the length by
    // the assertion above.
    let get = |at: usize| unsafe { *instructions.get_unchecked(at) };
    let mut waiting = if AHEAD >= WAITING {
        [get(range.start), get(range.start + 1)]
    } else {
        [Instruction::NONE; WAITING]
    };
    for at in range {
        let instruction = if AHEAD >= WAITING {
            let next = waiting[0];
            waiting = [waiting[1], get(at + WAITING)];
            next
        } else {
            get(at)
        };
        if AHEAD > WAITING {
            prefetch(slots.wrapping_add(get(at + AHEAD).slot()));
        }
        let slot = instruction.slot();
        let index = first + at;
        let mut size = instruction.short_size();
        let mut alignment = 0;
        let mut table = &domains[instruction.domain_number()];
        if !PLAIN {
            if instruction.is_wide() {
                let request = program.wide_request(at);
                (size, alignment) = (request.size as usize, request.alignment as usize);
            }
            table = tables.get(program.kind(at), instruction.domain());
        }
        /// One call between the two sides of the probe; its result replaces the block in `$place`.
        macro_rules! make {
            ($action:expr, $place:expr, $old:expr, $call:expr) => {{
                let mark = probe.before();
                let new: *mut c_void = $call;
                if new.is_null() && $action != Action::Free {
                    return Err(at);
                }
                *$place = new;
                probe.after(mark, Done { index, action: $action, slot, size, old: $old, new });
            }};
        }
        // SAFETY: a `Program`, whole or a part, comes only from `program`, which proves two things.
        // Slots are below `program.slots()` (invariant 1; the length is asserted above). Realloc
        // and free name a slot that holds a live block, which this loop stored there in the same
        // domain and kind (invariants 2, 4 and 5). The slots are this program's, and no call was
        // left out or made twice: `replay`, the only caller, asserts both. The tables are a
        // backend's, whose contract is that of PyMemAllocatorEx. A null that `Slots::clear` left
        // may be freed and resized.
        unsafe {
            let place = slots.add(slot);
            if instruction.ends_a_block() {
                let old = *place;
                if P::LOOKS_INTO_BLOCKS {
                    probe.ending(index, slot, old);
                }
                if instruction.is_second() {
                    make!(Action::Free, place, old, {
                        (table.free)(table.ctx, old);
                        ptr::null_mut()
                    });
                } else {
                    make!(Action::Realloc, place, old, (table.realloc)(table.ctx, old, size));
                }
            } else if instruction.is_second() {
                make!(Action::Calloc, place, ptr::null_mut(), (table.calloc)(table.ctx, 1, size));
            } else if !PLAIN && alignment > 0 {
                let aligned = tables.domains.aligned(instruction.domain());
                make!(Action::Malloc, place, ptr::null_mut(), aligned.call(alignment, size));
            } else {
                make!(Action::Malloc, place, ptr::null_mut(), (table.malloc)(table.ctx, size));
            }
        }
    }
    Ok(())
}

/// Kind and domain of the last block in each slot. The slots do not store them, and freeing the
/// blocks that are left needs them.
pub struct Owners(Vec<(usize, Domain)>);

impl Owners {
    /// The owners before the first call.
    pub fn new(outline: &Outline) -> Owners {
        Owners(vec![(0, Domain::Obj); outline.slots])
    }

    /// Notes the blocks of a part that was replayed.
    pub fn see(&mut self, part: &Program) {
        for (index, instruction) in part.instructions().iter().enumerate() {
            self.0[instruction.slot()] = (part.kind(index), instruction.domain());
        }
    }

    /// Frees every live block, in the order of slots.
    #[expect(unsafe_code, reason = "calls free through a C function pointer")]
    pub fn free_all(&self, tables: &Tables, slots: &mut Slots) {
        let live: Vec<(usize, *mut c_void)> = slots.live().collect();
        for (slot, block) in live {
            let (kind, domain) = self.0[slot];
            let table = tables.get(kind, domain);
            // SAFETY: the slot holds a live block of this backend, and is emptied at once.
            unsafe { (table.free)(table.ctx, block) };
            slots.clear(slot);
        }
    }
}

/// Frees every block that a whole program leaves live.
#[cfg(feature = "internals")]
pub fn free_all(program: &Program, tables: &Tables, slots: &mut Slots) {
    let mut owners = Owners::new(program.outline());
    owners.see(program);
    owners.free_all(tables, slots);
}

#[cfg(test)]
mod tests {
    #![expect(unsafe_code, reason = "a backend that records its calls")]

    use std::cell::RefCell;

    use super::*;
    use crate::program::compile;
    use crate::replay::probe::Nothing;
    use crate::trace::{Call, Distribution, Generator, Sequence, TraceReader};

    fn generated() -> Generator {
        Generator::new(9, 30_000, Distribution::python_sizes(), Distribution::python_lifetimes())
    }

    /// A call: domain, action, the block (by the number of its request), size.
    type RecordedCall = (usize, Action, u64, usize);

    /// Blocks are numbers from 1 up, so each identifies the request that it came from.
    #[derive(Default)]
    struct CallLog {
        calls: RefCell<Vec<RecordedCall>>,
        blocks: RefCell<u64>,
    }

    /// A context: the log, and the domain of the table.
    type Context<'a> = (&'a CallLog, usize);

    unsafe fn record(
        ctx: *mut c_void,
        action: Action,
        block: *mut c_void,
        size: usize,
    ) -> *mut c_void {
        // SAFETY: the test hands out contexts that outlive the replay.
        let (log, domain) = unsafe { &*ctx.cast::<Context<'_>>() };
        log.calls.borrow_mut().push((*domain, action, block as u64, size));
        *log.blocks.borrow_mut() += 1;
        ptr::without_provenance_mut(*log.blocks.borrow() as usize)
    }

    unsafe extern "C" fn malloc(ctx: *mut c_void, size: usize) -> *mut c_void {
        unsafe { record(ctx, Action::Malloc, ptr::null_mut(), size) }
    }

    unsafe extern "C" fn calloc(ctx: *mut c_void, elements: usize, size: usize) -> *mut c_void {
        assert_eq!(elements, 1);
        unsafe { record(ctx, Action::Calloc, ptr::null_mut(), size) }
    }

    unsafe extern "C" fn realloc(ctx: *mut c_void, block: *mut c_void, size: usize) -> *mut c_void {
        unsafe { record(ctx, Action::Realloc, block, size) }
    }

    unsafe extern "C" fn free(ctx: *mut c_void, block: *mut c_void) {
        unsafe { record(ctx, Action::Free, block, 0) };
    }

    struct RecordingBackend<'a>([Context<'a>; 3]);

    impl Backend for RecordingBackend<'_> {
        fn domains(&self) -> Domains {
            let table = |at: usize| Allocator {
                ctx: ptr::from_ref(&self.0[at]).cast_mut().cast(),
                malloc,
                calloc,
                realloc,
                free,
            };
            Domains::new(table(0), table(1), table(2))
        }
        fn version(&self) -> String {
            String::new()
        }
        unsafe fn usable_size(&self, _: *mut c_void, requested: usize) -> usize {
            requested
        }
    }

    /// The oracle: rows through `Sequence`, which knows nothing of slots.
    #[test]
    fn a_backend_gets_the_calls_of_the_trace() {
        let program = compile(&mut generated()).unwrap();
        let log = CallLog::default();
        let backend = RecordingBackend([(&log, 0), (&log, 1), (&log, 2)]);
        let tables = Tables::new(&program, &backend);
        let mut slots = Slots::new(&program);
        for range in [0..1, 1..1, 1..17, 17..program.calls()] {
            replay(&program, &tables, &mut slots, range, &mut Nothing).unwrap();
        }
        let mut expected: Vec<RecordedCall> = Vec::new();
        // Every call, a free too, takes the next number.
        let mut sequence = Sequence::new();
        let mut see = |call: Call<'_>| match call {
            Call::Free { block, .. } => {
                expected.push((block.domain as usize, Action::Free, block.event + 1, 0));
            }
            Call::Request { row, resized } => {
                let action =
                    Action::ALL.into_iter().find(|action| action.name() == row.op.name()).unwrap();
                let block = resized.map_or(0, |block| block.event + 1);
                expected.push((row.domain as usize, action, block, row.size as usize));
            }
        };
        let mut reader = generated();
        while let Some(row) = reader.next_row().unwrap() {
            sequence.accept(&row, &mut see).unwrap();
        }
        sequence.finish(&mut see).unwrap();
        assert_eq!(*log.calls.borrow(), expected);
    }

    #[test]
    #[should_panic(expected = "calls are made in order")]
    fn a_call_cannot_be_left_out() {
        let program = compile(&mut generated()).unwrap();
        let log = CallLog::default();
        let backend = RecordingBackend([(&log, 0), (&log, 1), (&log, 2)]);
        let (tables, mut slots) = (Tables::new(&program, &backend), Slots::new(&program));
        let _ = replay(&program, &tables, &mut slots, 1..2, &mut Nothing);
    }

    #[test]
    #[should_panic(expected = "the slots are the program's")]
    fn slots_are_of_one_program() {
        let (one, other) = (compile(&mut generated()).unwrap(), compile(&mut generated()).unwrap());
        let log = CallLog::default();
        let backend = RecordingBackend([(&log, 0), (&log, 1), (&log, 2)]);
        let (tables, mut slots) = (Tables::new(&one, &backend), Slots::new(&other));
        let _ = replay(&one, &tables, &mut slots, 0..1, &mut Nothing);
    }
}
