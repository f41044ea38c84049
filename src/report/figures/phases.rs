//! Where the program set marks: each begins a phase.
//!
//! Samples say where on the allocation clock the calls of marks are.

use serde::Serialize;

use crate::results::{Sample, TraceEntry};

/// Marks shown at most: more lines would hide what is below them.
pub const MARKS_MAX: usize = 24;

/// A mark of the program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProgramPhase {
    /// Calls made before it.
    pub event: f64,
    /// Bytes requested before it.
    pub clock_bytes: f64,
    /// As the program calls it.
    pub name: String,
}

/// The marks of a trace with their places on the allocation clock, by the samples of one backend,
/// which rise by event. Without samples there are none.
pub(super) fn phases(trace: &TraceEntry, samples: &[&Sample]) -> Vec<ProgramPhase> {
    let placed = trace.marks.iter().filter_map(|mark| {
        let (event, name) = (mark.event as f64, mark.name.clone());
        Some(ProgramPhase { event, clock_bytes: clock_at(samples, mark.event)?, name })
    });
    placed.take(MARKS_MAX).collect()
}

/// The allocation clock before the call of index `event`, between the samples around it; `None` after
/// the last.
pub(super) fn clock_at(samples: &[&Sample], event: u64) -> Option<f64> {
    let above = samples.partition_point(|sample| sample.event < event);
    let after = samples.get(above)?;
    let before =
        above.checked_sub(1).map_or((0, 0), |at| (samples[at].event, samples[at].clock_bytes));
    let calls = after.event.saturating_sub(before.0).max(1) as f64;
    let share = event.saturating_sub(before.0) as f64 / calls;
    Some(before.1 as f64 + (after.clock_bytes.saturating_sub(before.1)) as f64 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::ProgramMark;

    #[test]
    fn a_mark_is_placed_between_its_samples() {
        let sample = |event: u64, clock_bytes: u64| Sample {
            trace: String::new(),
            backend: String::new(),
            repetition: 0,
            event,
            clock_bytes,
            live_bytes: 0,
            usable_bytes: 0,
            pages_in_use_bytes: 0,
            resident_bytes: 0,
            lines: String::new(),
        };
        let samples = [sample(100, 1000), sample(200, 5000)];
        let samples: Vec<&Sample> = samples.iter().collect();
        let mut trace = TraceEntry::default();
        assert!(phases(&trace, &samples).is_empty());
        let mark = |(event, name): (u64, &str)| ProgramMark { event, name: name.into() };
        trace.marks = [(50, "a"), (150, "b"), (200, "c"), (900, "late")].map(mark).into();
        let found: Vec<f64> =
            phases(&trace, &samples).iter().map(|phase| phase.clock_bytes).collect();
        assert_eq!(found, [500.0, 3000.0, 5000.0]);
    }
}
