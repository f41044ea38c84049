//! Where the program set marks: each begins a phase.
//!
//! Marks are a fact of the trace (`marks`, JSON: `[[event,"name"],…]`). Samples say where on the
//! allocation clock their calls are.

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

/// The marks of a trace: the calls made before each, and its name.
pub fn marks(trace: &TraceEntry) -> Vec<(u64, String)> {
    trace.facts.get("marks").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The marks of a trace with their places on the allocation clock, by the samples of one backend,
/// which rise by event. Without samples there are none.
pub(super) fn phases(trace: &TraceEntry, samples: &[&Sample]) -> Vec<ProgramPhase> {
    let place = |event: u64| {
        let above = samples.partition_point(|sample| sample.event < event);
        let after = samples.get(above)?;
        let before =
            above.checked_sub(1).map_or((0, 0), |at| (samples[at].event, samples[at].clock_bytes));
        let calls = after.event.saturating_sub(before.0).max(1) as f64;
        let share = event.saturating_sub(before.0) as f64 / calls;
        Some(before.1 as f64 + (after.clock_bytes.saturating_sub(before.1)) as f64 * share)
    };
    let placed = marks(trace).into_iter().filter_map(|(event, name)| {
        Some(ProgramPhase { event: event as f64, clock_bytes: place(event)?, name })
    });
    placed.take(MARKS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        };
        let samples = [sample(100, 1000), sample(200, 5000)];
        let samples: Vec<&Sample> = samples.iter().collect();
        let mut trace = TraceEntry::default();
        assert!(phases(&trace, &samples).is_empty());
        trace.facts.insert("marks".into(), r#"[[50,"a"],[150,"b"],[200,"c"],[900,"late"]]"#.into());
        let found: Vec<f64> =
            phases(&trace, &samples).iter().map(|phase| phase.clock_bytes).collect();
        assert_eq!(found, [500.0, 3000.0, 5000.0]);
    }
}
