//! The checking mode. Proves for any backend that blocks are aligned, never overlap,
//! keep their contents until they end and through realloc, and are zero after calloc.
//!
//! A shadow heap beside the backend holds every live block's range, and each block is filled with
//! bytes that depend on the call that made it and on the place in the block, and are read back when
//! it ends.

use std::collections::BTreeMap;
use std::ffi::c_void;

use super::{Done, Probe, ReplayError, Slots, Tables, replay};
use crate::backends::Backend;
use crate::program::{Action, Program};

struct Shadow {
    /// What the backend owes to blocks of 16 bytes or more.
    alignment: usize,
    /// Start → (end, call that began it) of every live block; an empty block counts as a byte.
    ranges: BTreeMap<usize, (usize, usize)>,
    /// Size and call that filled it, by slot.
    contents: Vec<(usize, usize)>,
    fault: Option<ReplayError>,
    checked: u64,
}

/// The byte that a block made by call `event` holds at `at`.
fn filling(event: usize, at: usize) -> u8 {
    (event.wrapping_mul(0x9E37_79B9).wrapping_add(at.wrapping_mul(31)) >> 3) as u8 | 1
}

impl Shadow {
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
        // the next call to the backend. A backend that lies about that crashes its own child, which
        // is what this mode is for.
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
                "block {start:#x}–{end:#x} overlaps {other:#x}–{other_end:#x}, which the call at event {event} returned and nobody ended"
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

    fn expect_filling(&mut self, done: &Done, event: usize, size: usize, when: &str) {
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

impl Probe for Shadow {
    type Mark = ();
    const LOOKS_INTO_BLOCKS: bool = true;

    fn before(&mut self) {}

    fn ending(&mut self, index: usize, slot: usize, block: *mut c_void) {
        let (size, event) = self.contents[slot];
        let done = Done { index, action: Action::Free, slot, size, old: block, new: block };
        self.expect_filling(&done, event, size, "when the block ends");
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
            return; // the block may not be ours to touch
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
                self.expect_filling(&done, old_event, old_size.min(done.size), "after realloc")
            }
            Action::Malloc | Action::Free => {}
        }
        self.fill(&done);
    }
}

/// Replays `program` once against a shadow heap. Returns how many calls were checked.
///
/// # Errors
/// The first rule that the backend breaks, with the event.
pub fn verify(program: &Program, backend: &dyn Backend) -> Result<u64, ReplayError> {
    if !backend.backs_memory() {
        return Err(ReplayError::Instrument(
            "this backend gives no memory that could be checked".into(),
        ));
    }
    let mut slots = Slots::new(program);
    let contents = vec![(0, 0); program.slots()];
    let mut shadow = Shadow {
        alignment: backend.alignment(),
        ranges: BTreeMap::new(),
        contents,
        fault: None,
        checked: 0,
    };
    let tables = Tables::new(program, backend);
    let calls = program.instructions().len();
    // In stretches, so that a broken backend is stopped soon after its first fault.
    for start in (0..calls).step_by(256) {
        replay(program, &tables, &mut slots, start..(start + 256).min(calls), &mut shadow)?;
        if let Some(fault) = shadow.fault.take() {
            return Err(fault);
        }
    }
    Ok(shadow.checked)
}
