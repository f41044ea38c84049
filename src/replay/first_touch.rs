//! Writes to each new block as the program's first write does, and to its first line as its last access
//! does, for the touch pass and the cold pass.

use std::ffi::c_void;
use std::sync::Arc;

use super::footprint::touch_each;
use super::other_code::OtherCode;
use super::probe::{Done, Probe};
use super::touched::TouchedBytes;
use crate::program::{Action, Outline};

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
    const LOOKS_INTO_BLOCKS: bool = true;

    #[inline(always)]
    fn before(&mut self) {}

    /// A destructor reads the block, and CPython has just written the object's count of references.
    /// So the program, and not the allocator, pays for a line that no cache has.
    #[inline(always)]
    fn ending(&mut self, _index: usize, slot: usize, block: *mut c_void) {
        let touched = self.bytes[slot].min(1) as usize;
        touch_each::<LINE_BYTES>(block, 0, touched);
    }

    #[inline(always)]
    fn after(&mut self, (): (), done: Done) {
        if done.action == Action::Free {
            self.bytes[done.slot] = 0;
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

/// The probe of the cold pass.
pub(super) struct ColdTouch {
    /// `None` for a backend that backs no memory.
    touch: Option<FirstTouch>,
    code: OtherCode,
}

impl ColdTouch {
    /// For the program of an outline, on a backend that backs memory or does not.
    pub(super) fn new(outline: &Arc<Outline>, backs_memory: bool) -> ColdTouch {
        let touch = backs_memory.then(|| FirstTouch::new(outline));
        ColdTouch { touch, code: OtherCode::new() }
    }
}

impl Probe for ColdTouch {
    type Mark = ();
    const LOOKS_INTO_BLOCKS: bool = true;

    #[inline(always)]
    fn before(&mut self) {
        self.code.run();
    }

    #[inline(always)]
    fn ending(&mut self, index: usize, slot: usize, block: *mut c_void) {
        if let Some(touch) = &mut self.touch {
            touch.ending(index, slot, block);
        }
    }

    #[inline(always)]
    fn after(&mut self, (): (), done: Done) {
        if let Some(touch) = &mut self.touch {
            touch.after((), done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::PresentBytes;

    /// A block that the program touched is written at its end, one that it did not touch is not, and the
    /// null of an empty slot never is.
    #[test]
    fn the_last_access_is_that_of_a_touched_block() {
        let present = vec![PresentBytes { event: 1, bytes: 0 }];
        let outline = Arc::new(Outline { present, slots: 2, ..Outline::default() });
        let mut memory = [[0_u8; 128]; 2];
        for mut probe in [ColdTouch::new(&outline, true), ColdTouch::new(&outline, false)] {
            for (slot, block) in memory.iter_mut().enumerate() {
                let new = block.as_mut_ptr().cast();
                let (action, old) = (Action::Malloc, std::ptr::null_mut());
                probe.before();
                probe.after((), Done { index: slot, action, slot, size: 128, old, new });
                block.fill(7);
                probe.ending(slot, slot, new);
            }
            let backs_memory = probe.touch.is_some();
            assert_eq!(memory.map(|block| block[0]), if backs_memory { [1, 7] } else { [7, 7] });
            assert!(memory.iter().all(|block| block[1..].iter().all(|byte| *byte == 7)));
            let (action, null) = (Action::Free, std::ptr::null_mut());
            probe.after((), Done { index: 2, action, slot: 0, size: 0, old: null, new: null });
            probe.ending(3, 0, null);
        }
    }

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
