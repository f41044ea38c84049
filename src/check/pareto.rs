//! Which backends are worth choosing, by time and by memory. One backend dominates another if it
//! needs less memory and is not separably slower, or needs as much memory and is separably faster.
//! The Pareto set is what no other backend dominates.
//!
//! Times are compared as a run compares them (`results/time_evidence.rs`).

use crate::results::BackendTimes;
use crate::stats::{Decision, LookPlan, TimeComparison};

/// Memory that differs by a smaller share is the same.
const MEMORY_MARGIN: f64 = 0.05;
/// The same where the memory of one of the two varies between runs.
const VARYING_MEMORY_MARGIN: f64 = 0.1;

/// What a backend costs on one trace.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendCost {
    /// The backend's name in the run.
    pub name: String,
    /// Its version, as it reports itself.
    pub version: String,
    /// The memory that counts.
    pub memory_bytes: f64,
    /// Whether the memory varies between runs.
    pub is_varying: bool,
    /// Its time passes.
    pub times: BackendTimes,
    /// How often they were looked at.
    pub looks: LookPlan,
    /// Nanoseconds a call, as the table of the run has it.
    pub median_ns: f64,
}

impl BackendCost {
    /// The time of the other against this one's; `None` without a repetition in common.
    pub fn compare_time(&self, other: &BackendCost) -> Option<TimeComparison> {
        self.times.compare(&other.times, self.looks)
    }

    /// Whether it is faster than the other with high confidence.
    pub fn is_separably_faster(&self, other: &BackendCost) -> bool {
        let comparison = self.compare_time(other);
        comparison.is_some_and(|comparison| comparison.decision == Decision::Slower)
    }

    /// Whether it needs less memory than the other, beyond the margin.
    pub fn needs_less(&self, other: &BackendCost) -> bool {
        let is_varying = self.is_varying || other.is_varying;
        let margin = if is_varying { VARYING_MEMORY_MARGIN } else { MEMORY_MARGIN };
        self.memory_bytes < other.memory_bytes * (1.0 - margin)
    }

    /// Whether there is no reason to choose the other.
    pub fn dominates(&self, other: &BackendCost) -> bool {
        (self.needs_less(other) && !other.is_separably_faster(self))
            || (!other.needs_less(self) && self.is_separably_faster(other))
    }
}

/// The costs that no other dominates, least memory first.
pub fn pareto_set(costs: &[BackendCost]) -> Vec<&BackendCost> {
    let mut set: Vec<&BackendCost> =
        costs.iter().filter(|own| !costs.iter().any(|other| other.dominates(own))).collect();
    set.sort_by(|a, b| a.memory_bytes.total_cmp(&b.memory_bytes));
    set
}

/// The cost with the least memory; of equal ones the fastest.
pub fn best<'a>(costs: impl Iterator<Item = &'a BackendCost>) -> Option<&'a BackendCost> {
    costs.reduce(|best, cost| {
        let is_faster = !best.needs_less(cost) && cost.median_ns < best.median_ns;
        if cost.needs_less(best) || is_faster { cost } else { best }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::TimeBatch;

    /// The times of 24 repetitions lie from the least to the most, in an order of their own where
    /// the name says so.
    fn cost(name: &str, memory_bytes: f64, least_ns: f64, most_ns: f64) -> BackendCost {
        let is_flipped = name.contains("overlapping");
        let mut times = BackendTimes::default();
        for repetition in 0..24 {
            let is_least = (repetition % 2 == 0) != is_flipped;
            let ns = 1000.0 * if is_least { least_ns } else { most_ns };
            times.add(TimeBatch { run: 0, repetition }, ns as u64);
        }
        let (name, median_ns) = (name.to_owned(), f64::midpoint(least_ns, most_ns));
        let looks = LookPlan::UntilDecided;
        let version = String::new();
        BackendCost { name, version, memory_bytes, is_varying: false, times, looks, median_ns }
    }

    #[test]
    fn what_is_not_separable_is_not_ranked() {
        let costs = [
            cost("small and slow", 10.0, 30.0, 33.0),
            cost("large and fast", 40.0, 10.0, 12.0),
            cost("same memory, overlapping", 10.0, 32.0, 36.0),
            cost("same memory, slower", 10.0, 40.0, 44.0),
            cost("larger, overlapping", 12.0, 29.0, 31.0),
            cost("middle", 20.0, 20.0, 22.0),
        ];
        let names: Vec<&str> = pareto_set(&costs).iter().map(|cost| cost.name.as_str()).collect();
        assert_eq!(
            names,
            ["small and slow", "same memory, overlapping", "middle", "large and fast"]
        );
    }

    #[test]
    fn memory_that_varies_differs_only_by_much() {
        let varying = |memory| BackendCost { is_varying: true, ..cost("a", memory, 10.0, 12.0) };
        assert!(!varying(27.5).needs_less(&varying(30.0)));
        assert!(cost("a", 27.5, 10.0, 12.0).needs_less(&cost("b", 30.0, 10.0, 12.0)));
        assert!(varying(3.0).needs_less(&varying(30.0)));
    }
}
