//! Which bytes of a block the program wrote to: all of them, but for large blocks of which the
//! recording found only a part in memory when they ended.

use std::sync::Arc;

use crate::program::Outline;

/// The touched bytes of blocks, looked up in the order of the calls.
pub(super) struct TouchedBytes {
    outline: Arc<Outline>,
    next: usize,
}

impl TouchedBytes {
    /// Those of a program, from its first call on.
    pub(super) fn new(outline: &Arc<Outline>) -> TouchedBytes {
        TouchedBytes { outline: Arc::clone(outline), next: 0 }
    }

    /// How many bytes of the block that the call of index `event` begins are touched, of `size`.
    #[inline(always)]
    pub(super) fn of(&mut self, event: usize, size: usize) -> usize {
        match self.outline.present.get(self.next) {
            None => size,
            Some(next) if next.event > event as u64 => size,
            Some(_) => self.look(event, size),
        }
    }

    #[cold]
    fn look(&mut self, event: usize, size: usize) -> usize {
        while let Some(known) = self.outline.present.get(self.next) {
            if known.event > event as u64 {
                break;
            }
            self.next += 1;
            if known.event == event as u64 {
                return usize::try_from(known.bytes).map_or(size, |bytes| bytes.min(size));
            }
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::PresentBytes;

    #[test]
    fn a_block_that_the_recording_does_not_name_is_touched_wholly() {
        let present = [(3, 10), (3, 20), (5, u64::MAX), (9, 0)];
        let present = present.map(|(event, bytes)| PresentBytes { event, bytes }).into();
        let mut touched = TouchedBytes::new(&Arc::new(Outline { present, ..Outline::default() }));
        let found: Vec<usize> = (0..12).map(|event| touched.of(event, 100)).collect();
        let mut expected = vec![100; 12];
        (expected[3], expected[9]) = (10, 0);
        assert_eq!(found, expected);
    }
}
