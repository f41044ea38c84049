//! Writes to each new block as the program's first write does, for the touch pass.

use super::footprint::touch_each;
use super::probe::{Done, Probe};
use super::touched::TouchedBytes;
use crate::program::{Action, Outline};
use std::sync::Arc;

/// Bytes between two writes: a cache line. A write to each line fetches the line, and a write to the
/// first line of a page makes the page present, as when the program fills the block.
const LINE_BYTES: usize = 64;

/// The probe of the touch pass.
pub(super) struct FirstTouch {
    touched: TouchedBytes,
    /// Touched bytes of the block in each slot.
    bytes: Vec<u64>,
}

impl FirstTouch {
    /// For the program of an outline.
    pub(super) fn new(outline: &Arc<Outline>) -> FirstTouch {
        // Written, so that the harness causes no page fault in the loop.
        let mut bytes = vec![1; outline.slots];
        bytes.fill(0);
        FirstTouch { touched: TouchedBytes::new(outline), bytes }
    }
}

impl Probe for FirstTouch {
    type Mark = ();

    #[inline(always)]
    fn before(&mut self) {}

    #[inline(always)]
    fn after(&mut self, (): (), done: Done) {
        if done.action == Action::Free {
            return;
        }
        let touched = self.touched.of(done.index, done.size);
        let before = &mut self.bytes[done.slot];
        // Realloc itself copied the bytes that both blocks have.
        let from = if done.action == Action::Realloc { *before as usize } else { 0 };
        *before = touched as u64;
        touch_each::<LINE_BYTES>(done.new, from, touched);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_the_part_is_written_once() {
        for (start, from, to) in [(0, 0, 0), (0, 0, 1), (60, 0, 8), (16, 100, 700), (63, 5, 66)] {
            let mut memory = vec![0_u8; 2048];
            let first = memory.as_ptr().align_offset(LINE_BYTES) + start;
            touch_each::<LINE_BYTES>(memory[first..].as_mut_ptr().cast(), from, to);
            let line = |at: usize| (memory.as_ptr() as usize + at) / LINE_BYTES;
            let mut wanted: Vec<usize> = (first + from..first + to).map(line).collect();
            wanted.dedup();
            let written: Vec<usize> = (0..memory.len()).filter(|at| memory[*at] != 0).collect();
            assert!(written.iter().all(|at| (first + from..first + to).contains(at)));
            assert_eq!(written.into_iter().map(line).collect::<Vec<_>>(), wanted);
        }
    }
}
