//! The verifying mode. It checks four rules for any backend: blocks are aligned, they never
//! overlap, their contents persist until they end and through realloc, and calloc returns zeroes.
//!
//! A reference heap beside the backend holds the range of every live block. Each block is filled
//! with bytes that depend on its call and on the position in the block. They are read back when the
//! block ends.

use std::collections::BTreeMap;
use std::ffi::c_void;

use super::calls::{Slots, Tables, replay};
use super::error::ReplayError;
use super::filling::filling;
use super::probe::{Done, Probe};
use super::threads::RecordedOrder;
use crate::backends::Backend;
use crate::program::{Action, Program};

/// The reference model of the heap: every live block and its contents.
struct ReferenceHeap {
    /// The alignment of blocks of 16 bytes or more, in bytes.
    alignment: usize,
    /// Start → (end, event of its call) of every live block; an empty block counts as a byte.
    ranges: BTreeMap<usize, (usize, usize)>,
    /// Requested bytes and the event of the call that filled them, by slot.
    contents: Vec<(usize, usize)>,
    fault: Option<ReplayError>,
    checked: u64,
}

impl ReferenceHeap {
    fn broken(&mut self, done: &Done, fault: String) {
        if self.fault.is_none() {
            self.fault = Some(ReplayError::Rule {
                event: done.index,
                op: done.action.name(),
                size: done.size,
                fault,
            });
        }
    }

    #[expect(unsafe_code, reason = "reads and fills blocks of the backend")]
    fn bytes(block: *mut c_void, size: usize) -> &'static mut [u8] {
        // SAFETY: called for live blocks of at least `size` bytes, and the slice is dropped before
        // the next call to the backend. A backend whose blocks are smaller crashes its own child,
        // and the parent reports that.
        unsafe { std::slice::from_raw_parts_mut(block.cast(), size) }
    }

    fn begin(&mut self, done: &Done) {
        let start = done.new as usize;
        let end = start + done.size.max(1);
        let wanted = if done.size >= 16 { self.alignment } else { 8 };
        if !start.is_multiple_of(wanted) {
            self.broken(done, format!("block {start:#x} is not aligned to {wanted} bytes"));
        }
        let before = self.ranges.range(..end).next_back().map(|(&s, &(e, event))| (s, e, event));
        if let Some((other, other_end, event)) = before
            && other_end > start
        {
            let fault = format!(
                "block {start:#x}–{end:#x} overlaps {other:#x}–{other_end:#x}, which the call at \
                 event {event} returned and nobody ended"
            );
            self.broken(done, fault);
            return;
        }
        self.ranges.insert(start, (end, done.index));
        self.contents[done.slot] = (done.size, done.index);
    }

    fn fill(&mut self, done: &Done) {
        for (at, byte) in Self::bytes(done.new, done.size).iter_mut().enumerate() {
            *byte = filling(done.index, at);
        }
    }

    fn expect_contents(&mut self, done: &Done, event: usize, size: usize, when: &str) {
        let wrong = Self::bytes(done.new, size)
            .iter()
            .enumerate()
            .find(|(at, byte)| **byte != filling(event, *at));
        if let Some((at, byte)) = wrong {
            let fault = format!(
                "byte {at} is {byte:#04x} {when}, and {:#04x} was written there",
                filling(event, at)
            );
            self.broken(done, fault);
        }
    }
}

impl Probe for ReferenceHeap {
    type Mark = ();
    const LOOKS_INTO_BLOCKS: bool = true;

    fn before(&mut self) {}

    fn ending(&mut self, index: usize, slot: usize, block: *mut c_void) {
        let (size, event) = self.contents[slot];
        let done = Done { index, action: Action::Free, slot, size, old: block, new: block };
        self.expect_contents(&done, event, size, "when the block ends");
        self.ranges.remove(&(block as usize));
    }

    fn after(&mut self, (): (), done: Done) {
        self.checked += 1;
        if self.fault.is_some() || done.action == Action::Free {
            return;
        }
        let (old_size, old_event) = self.contents[done.slot];
        self.begin(&done);
        if self.fault.is_some() {
            return; // the block may not be safe to touch
        }
        match done.action {
            Action::Calloc => {
                if let Some(at) =
                    Self::bytes(done.new, done.size).iter().position(|byte| *byte != 0)
                {
                    self.broken(&done, format!("byte {at} is not zero after calloc"));
                }
            }
            Action::Realloc => {
                self.expect_contents(&done, old_event, old_size.min(done.size), "after realloc")
            }
            Action::Malloc | Action::Free => {}
        }
        self.fill(&done);
    }
}

/// Replays `program` once and compares it with the reference heap. Returns the number of calls.
///
/// # Errors
/// The first rule that the backend breaks, with the event.
pub fn verify(program: &Program, backend: &dyn Backend) -> Result<u64, ReplayError> {
    if !backend.backs_memory() {
        return Err(ReplayError::backs_no_memory());
    }
    let mut slots = Slots::new(program);
    let contents = vec![(0, 0); program.slots()];
    let mut reference = ReferenceHeap {
        alignment: backend.alignment(),
        ranges: BTreeMap::new(),
        contents,
        fault: None,
        checked: 0,
    };
    let tables = Tables::new(program, backend);
    let mut order = RecordedOrder::new(program.outline(), backend);
    let calls = program.instructions().len();
    // 256 calls at a time, so the replay stops soon after the first fault.
    for start in (0..calls).step_by(256) {
        order.run(program, start..(start + 256).min(calls), |run| {
            replay(program, &tables, &mut slots, run, &mut reference)
        })?;
        if let Some(fault) = reference.fault.take() {
            return Err(fault);
        }
    }
    Ok(reference.checked)
}
