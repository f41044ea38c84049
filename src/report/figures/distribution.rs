//! Service times of calls as a cumulative distribution.

use crate::results::{Latency, Operation};

/// The operations as they are shown: calloc is a malloc that clears.
pub const OPS: [(&str, &[Operation]); 3] = [
    ("malloc / calloc", &[Operation::Malloc, Operation::Calloc]),
    ("free", &[Operation::Free]),
    ("realloc", &[Operation::Realloc]),
];

/// Service times of one operation: values with the number of calls that took no longer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencyDistribution {
    /// (nanoseconds, calls up to and with it), rising in both.
    pub steps: Vec<(f64, u64)>,
    /// All calls.
    pub calls: u64,
}

impl LatencyDistribution {
    /// The sum of histograms.
    pub fn of<'a>(latencies: impl Iterator<Item = &'a Latency>) -> LatencyDistribution {
        let rows = latencies.flat_map(|latency| latency.histogram.iter_recorded());
        LatencyDistribution::of_counts(
            rows.map(|row| (row.value_iterated_to() as f64, row.count_at_value())).collect(),
        )
    }

    /// The sum of calls by their nanoseconds, in any order.
    pub fn of_counts(mut counts: Vec<(f64, u64)>) -> LatencyDistribution {
        counts.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut whole = LatencyDistribution::default();
        for (value, count) in counts {
            whole.calls = whole.calls.saturating_add(count);
            match whole.steps.last_mut() {
                Some(last) if last.0 == value => last.1 = whole.calls,
                _ => whole.steps.push((value, whole.calls)),
            }
        }
        whole
    }

    /// The nanoseconds that a share of the calls (0 to 1) does not exceed; `None` without calls.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share * self.calls as f64).ceil().max(1.0) as u64;
        let at = self.steps.partition_point(|step| step.1 < rank);
        self.steps.get(at).or(self.steps.last()).map(|step| step.0)
    }

    /// Like [`LatencyDistribution::quantile`], but only where at least ten calls are slower.
    pub fn fact(&self, share: f64) -> Option<f64> {
        // 1/(1 - 0.999) is no binary number: without the small allowance it would need one call
        // more.
        (self.calls as f64 * (1.0 - share) >= 10.0 - 1e-6).then(|| self.quantile(share)).flatten()
    }

    /// Nanoseconds of the slowest call.
    pub fn max(&self) -> Option<f64> {
        self.steps.last().map(|step| step.0)
    }

    /// Gives the slowest call its exact time, where that is known: a histogram has its values in steps
    /// of a thousandth. Another time than that of the last step is none of it.
    pub(super) fn set_slowest(&mut self, exact_ns: f64) {
        const STEP: f64 = 0.002;
        if let Some((last, _)) = self.steps.last_mut()
            && (exact_ns / *last - 1.0).abs() <= STEP
        {
            *last = exact_ns;
        }
    }

    /// Calls slower than `nanoseconds`.
    pub fn slower(&self, nanoseconds: f64) -> u64 {
        let at = self.steps.partition_point(|step| step.0 <= nanoseconds);
        self.calls - at.checked_sub(1).map_or(0, |at| self.steps[at].1)
    }

    /// The share of the calls (0 to 1) that took more than `from` and at most `to` nanoseconds.
    pub fn share_between(&self, from: f64, to: f64) -> f64 {
        if self.calls == 0 {
            return 0.0;
        }
        (self.slower(from) - self.slower(to)) as f64 / self.calls as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_fact_only_with_ten_calls_beyond_it() {
        let counts = vec![(10.0, 9_000), (20.0, 900), (100.0, 90), (1000.0, 10)];
        let d = LatencyDistribution::of_counts(counts);
        assert_eq!(d.fact(0.5), Some(10.0));
        assert_eq!(d.fact(0.99), Some(20.0));
        assert_eq!(d.fact(0.999), Some(100.0));
        assert_eq!(d.fact(0.9999), None);
        assert_eq!(d.quantile(0.9999), Some(1000.0));
        assert_eq!(d.slower(20.0), 100);
        assert_eq!(d.slower(5.0), 10_000);
        assert_eq!(d.slower(5000.0), 0);
        assert_eq!(d.share_between(10.0, 100.0), 0.099);
        assert_eq!(LatencyDistribution::default().quantile(0.5), None);
    }

    /// The histogram has 524 287 ns for a call of 524 600 ns, which another table has as 525 µs.
    #[test]
    fn the_slowest_call_has_its_exact_time() {
        let slowest = |exact_ns: f64| {
            let mut d = LatencyDistribution::of_counts(vec![(10.0, 9), (524_287.0, 1)]);
            d.set_slowest(exact_ns);
            d.max()
        };
        assert_eq!(slowest(524_600.0), Some(524_600.0));
        assert_eq!(slowest(600_000.0), Some(524_287.0));
        let mut none = LatencyDistribution::default();
        none.set_slowest(1.0);
        assert_eq!(none.max(), None);
    }
}
