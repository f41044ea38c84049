//! What a call costs, from the time pass.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::results::{Chunk, Metric, Scope};
use crate::stats;

use super::rows::BackendRows;

/// Nanoseconds a call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CallCost {
    /// Sum over chunks of the median over repetitions.
    pub middle_ns: f64,
    /// Sum over chunks of the fastest repetition: the time without any disturbance.
    pub low_ns: f64,
    /// The slowest whole repetition.
    pub high_ns: f64,
    /// Repetitions behind it.
    pub repetitions: usize,
}

/// A time is clearly slower than the best beyond this factor.
const CLEAR: f64 = 1.1;

impl CallCost {
    /// Whether it is slower than the best by more than its range and a tenth.
    pub fn is_clearly_slower_than(&self, best: &CallCost) -> bool {
        self.low_ns > best.high_ns && self.middle_ns > CLEAR * best.middle_ns
    }

    /// Whether the ranges of the two do not overlap.
    pub fn is_out_of_range_of(&self, other: &CallCost) -> bool {
        self.high_ns < other.low_ns || other.high_ns < self.low_ns
    }

    /// The cost of one backend; `trace_calls` are the calls of the trace.
    pub(super) fn of(
        rows: &BackendRows,
        profile: &[ChunkCost],
        trace_calls: Option<f64>,
    ) -> Option<CallCost> {
        let calls: f64 = profile.iter().map(|chunk| chunk.calls).sum();
        if calls <= 0.0 {
            return CallCost::of_totals(rows, Metric::TimeNanoseconds, trace_calls?);
        }
        let sum = |of: fn(&ChunkCost) -> f64| profile.iter().map(of).sum::<f64>() / calls;
        let (middle_ns, low_ns) = (sum(|chunk| chunk.middle_ns), sum(|chunk| chunk.low_ns));
        let repetitions = profile.iter().map(|chunk| chunk.times_ns.len()).max().unwrap_or(0);
        let whole = whole_repetitions(profile, calls);
        let high_ns = whole.into_iter().fold(middle_ns, f64::max);
        Some(CallCost { middle_ns, low_ns, high_ns, repetitions })
    }

    /// The cost with the first write to each block, from the touch pass.
    pub(super) fn with_first_touch(
        rows: &BackendRows,
        trace_calls: Option<f64>,
    ) -> Option<CallCost> {
        CallCost::of_totals(rows, Metric::FirstTouchNanoseconds, trace_calls?)
    }

    /// The cost from the totals of repetitions: for a record without chunks.
    fn of_totals(rows: &BackendRows, metric: Metric, calls: f64) -> Option<CallCost> {
        let times = rows.values(Scope::All, metric);
        let (low, high) = stats::range(times)?;
        let middle = stats::median(times)?;
        (low >= 0.0).then(|| CallCost {
            middle_ns: middle / calls,
            low_ns: low / calls,
            high_ns: high / calls,
            repetitions: times.len(),
        })
    }
}

/// Nanoseconds a call of each repetition that has every chunk: one that was cut short would look
/// fast.
fn whole_repetitions(profile: &[ChunkCost], calls: f64) -> Vec<f64> {
    let mut totals: BTreeMap<u32, (usize, f64)> = BTreeMap::new();
    for (repetition, time) in profile.iter().flat_map(|chunk| chunk.times_ns.iter()) {
        let total = totals.entry(*repetition).or_default();
        total.0 += 1;
        total.1 += time;
    }
    totals
        .into_values()
        .filter(|total| total.0 == profile.len())
        .map(|total| total.1 / calls)
        .collect()
}

/// A segment of the trace over the repetitions.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkCost {
    /// Calls before it.
    pub first_call: f64,
    /// Calls in it.
    pub calls: f64,
    /// Nanoseconds of the whole chunk: median over repetitions.
    pub middle_ns: f64,
    /// The fastest repetition's nanoseconds.
    pub low_ns: f64,
    /// Repetition and nanoseconds, for each repetition.
    pub times_ns: Vec<(u32, f64)>,
}

/// The time pass of one backend, chunk by chunk in order.
pub(super) fn chunk_profile(rows: &[&Chunk]) -> Vec<ChunkCost> {
    let mut chunks: BTreeMap<u32, ChunkCost> = BTreeMap::new();
    for chunk in rows.iter().filter(|chunk| chunk.calls > 0) {
        let entry = chunks.entry(chunk.chunk).or_insert(ChunkCost {
            first_call: 0.0,
            calls: chunk.calls as f64,
            middle_ns: 0.0,
            low_ns: 0.0,
            times_ns: vec![],
        });
        entry.times_ns.push((chunk.repetition, chunk.nanoseconds as f64));
    }
    let mut profile: Vec<ChunkCost> = chunks.into_values().collect();
    let mut before = 0.0;
    for chunk in &mut profile {
        let times: Vec<f64> = chunk.times_ns.iter().map(|(_, time)| *time).collect();
        chunk.first_call = before;
        chunk.middle_ns = stats::median(&times).unwrap_or(0.0);
        chunk.low_ns = stats::range(&times).map_or(0.0, |(low, _)| low);
        before += chunk.calls;
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_are_not_apart() {
        let cost = |low_ns: f64, high_ns: f64| CallCost {
            middle_ns: (low_ns + high_ns) / 2.0,
            low_ns,
            high_ns,
            repetitions: 5,
        };
        assert!(cost(1.0, 2.0).is_out_of_range_of(&cost(2.5, 3.0)));
        assert!(!cost(1.0, 2.6).is_out_of_range_of(&cost(2.5, 3.0)));
        assert!(!cost(1.0, 2.5).is_out_of_range_of(&cost(2.5, 3.0)));
    }
}
