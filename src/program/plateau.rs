//! The plateau of a program: the longest part in which its live bytes hardly change.

use super::compiled::Program;
use super::instruction::Action;
use crate::trace::{LiveSeries, Plateau};

impl Program {
    /// The longest plateau of the live bytes, as the statistics of the trace find it. `None` where
    /// there is none, and for an outline.
    pub fn plateau(&self) -> Option<Plateau> {
        let mut series = LiveSeries::default();
        let mut sizes = vec![0; self.slots()];
        let (mut live_bytes, mut clock_bytes) = (0u64, 0u64);
        for (index, instruction) in self.instructions().iter().enumerate() {
            let held = sizes.get_mut(instruction.slot())?;
            live_bytes -= *held;
            *held = match instruction.action() {
                Action::Free => 0,
                Action::Malloc | Action::Calloc | Action::Realloc => self.size(index) as u64,
            };
            live_bytes += *held;
            clock_bytes += *held;
            series.add(index as u64 + 1, clock_bytes, live_bytes, 0);
        }
        Plateau::longest(&series.finish())
    }
}
