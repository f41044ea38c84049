//! Which backends are worth choosing, by time and by memory. One backend dominates another if it
//! needs less memory and is not separably slower, or needs as much memory and is separably faster.
//! The Pareto set is what no other backend dominates.
//!
//! The times of one repetition were measured in an interleaved batch, so times are compared within
//! a repetition. They are separable if they differ by more than 2 % the same way in every
//! repetition, with high confidence. Builds of the same source differ by up to 2 %.

use std::cmp::Ordering;

use crate::stats;

/// Times that differ by a smaller share in any repetition are not separable.
const TIME_MARGIN: f64 = 0.02;
/// Memory that differs by a smaller share is the same.
const MEMORY_MARGIN: f64 = 0.05;
/// The same where the memory of one of the two varies between runs.
const VARYING_MEMORY_MARGIN: f64 = 0.1;

/// What a backend costs on one trace.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendCost {
    /// The backend's name in the run.
    pub name: String,
    /// The memory that counts.
    pub memory_bytes: f64,
    /// Whether the memory varies between runs.
    pub is_varying: bool,
    /// Nanoseconds a call, repetition by repetition.
    pub times_ns: Vec<f64>,
    /// Nanoseconds a call, as the table of the run has it.
    pub median_ns: f64,
}

impl BackendCost {
    /// By how much the other takes longer, repetition by repetition: 0.1 is 10 %.
    pub fn extra_times(&self, other: &BackendCost) -> Vec<f64> {
        self.times_ns.iter().zip(&other.times_ns).map(|(own, other)| other / own - 1.0).collect()
    }

    /// Whether it is faster than the other with high confidence.
    pub fn is_separably_faster(&self, other: &BackendCost) -> bool {
        let ratios: Vec<f64> = self.extra_times(other).iter().map(|share| share + 1.0).collect();
        match stats::longer(&ratios, TIME_MARGIN) {
            Some(found) => found == Ordering::Greater,
            None => ratios.iter().all(|ratio| *ratio > 1.0 + TIME_MARGIN),
        }
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

    fn cost(name: &str, memory_bytes: f64, least_ns: f64, most_ns: f64) -> BackendCost {
        // The slow repetition of one is the fast one of the next: separable is only what differs in
        // each.
        let is_flipped = name.contains("overlapping");
        let times_ns = if is_flipped { vec![most_ns, least_ns] } else { vec![least_ns, most_ns] };
        let median_ns = f64::midpoint(least_ns, most_ns);
        BackendCost { name: name.to_owned(), memory_bytes, is_varying: false, times_ns, median_ns }
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
