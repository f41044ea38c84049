//! The reference model of a heap that several threads use at once: every live block and its
//! contents, under a lock.
//!
//! A block enters the model after the call that began it, and leaves before the call that ends it.
//! So two blocks overlap in the model only if both belonged to the program at one moment, in
//! whatever order the threads ran.
#![expect(unsafe_code, reason = "reads and fills blocks of the backend")]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::split::LaneCall;
use crate::program::Action;
use crate::replay::error::ReplayError;
use crate::replay::filling::filling;

/// A live block.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReferenceBlock {
    end: usize,
    size: usize,
    /// The event of the call that filled it.
    event: u64,
}

/// The model.
#[derive(Debug)]
pub(super) struct SharedReference {
    /// The alignment of blocks of 16 bytes or more, in bytes.
    alignment: usize,
    /// By address.
    live: Mutex<BTreeMap<usize, ReferenceBlock>>,
    checked: AtomicU64,
}

impl SharedReference {
    pub fn new(alignment: usize) -> SharedReference {
        SharedReference { alignment, live: Mutex::default(), checked: AtomicU64::new(0) }
    }

    /// Calls whose blocks were checked.
    pub fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    /// The call is about to end the block: its contents must be those that were written.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn ends(&self, call: &LaneCall, block: *mut c_void) -> Result<ReferenceBlock, ReplayError> {
        self.checked.fetch_add(u64::from(call.action == Action::Free), Ordering::Relaxed);
        let found = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let block_found = found.get(&(block as usize)).copied();
        drop(found);
        let filled = block_found.ok_or_else(|| broken(call, "its block is not live".to_owned()))?;
        expect_contents(call, block, filled.event, filled.size, "when the block ends")?;
        self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&(block as usize));
        Ok(filled)
    }

    /// The call has begun a block. `before` is the block that it resized.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn begins(
        &self,
        call: &LaneCall,
        block: *mut c_void,
        before: Option<ReferenceBlock>,
    ) -> Result<(), ReplayError> {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let (start, size) = (block as usize, call.size);
        let wanted = match call.alignment {
            0 if size >= 16 => self.alignment,
            0 => 8,
            alignment => alignment as usize,
        };
        if call.alignment == 0 && !start.is_multiple_of(wanted) {
            return Err(broken(call, format!("block {start:#x} is not aligned to {wanted} bytes")));
        }
        let filled = ReferenceBlock { end: start + size.max(1), size, event: call.event };
        {
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            let below = live.range(..filled.end).next_back();
            if let Some((other, block)) = below
                && block.end > start
            {
                let fault = format!(
                    "block {start:#x}–{:#x} overlaps {other:#x}–{:#x}, which the call at event {} \
                     returned and nobody ended",
                    filled.end, block.end, block.event
                );
                return Err(broken(call, fault));
            }
            live.insert(start, filled);
        }
        match (call.action, before) {
            (Action::Calloc, _) => {
                if let Some(at) = bytes(block, size).iter().position(|byte| *byte != 0) {
                    return Err(broken(call, format!("byte {at} is not zero after calloc")));
                }
            }
            (Action::Realloc, Some(old)) => {
                expect_contents(call, block, old.event, old.size.min(size), "after realloc")?;
            }
            _ => {}
        }
        for (at, byte) in bytes(block, size).iter_mut().enumerate() {
            *byte = filling(call.event as usize, at);
        }
        Ok(())
    }
}

fn bytes(block: *mut c_void, size: usize) -> &'static mut [u8] {
    // SAFETY: called for live blocks of at least `size` bytes by the thread that has the block; the
    // slice is dropped before the next call to the backend. A backend that gives one block to two
    // threads is found by the model, and its own child is the only process that it can damage.
    unsafe { std::slice::from_raw_parts_mut(block.cast(), size) }
}

fn expect_contents(
    call: &LaneCall,
    block: *mut c_void,
    event: u64,
    size: usize,
    when: &str,
) -> Result<(), ReplayError> {
    let event = event as usize;
    let mut written = bytes(block, size).iter().enumerate();
    match written.find(|(at, byte)| **byte != filling(event, *at)) {
        None => Ok(()),
        Some((at, byte)) => Err(broken(
            call,
            format!(
                "byte {at} is {byte:#04x} {when}, and {:#04x} was written there",
                filling(event, at)
            ),
        )),
    }
}

fn broken(call: &LaneCall, fault: String) -> ReplayError {
    ReplayError::Rule { event: call.event as usize, op: call.action.name(), size: call.size, fault }
}
