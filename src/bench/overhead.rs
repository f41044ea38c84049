//! What the footprint passes of a run spent on their own measuring.

use crate::results::{Metric, Run, Scope};
use crate::spec::FLOOR;

/// Shares of the processor time of the footprint passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FootprintOverhead {
    /// The share of sampling, over all passes.
    pub sampling: f64,
    /// The largest share of sampling of one pass.
    pub most_sampling: f64,
    /// The share of the heap map, over all passes.
    pub mapping: f64,
}

impl FootprintOverhead {
    /// The overhead of a run, without the backend that does nothing; `None` for a run without
    /// footprint passes.
    pub fn of(run: &Run) -> Option<FootprintOverhead> {
        let rows = |metric: Metric| {
            let rows = run.measurements.iter();
            rows.filter(move |row| row.metric == metric && row.backend != FLOOR)
        };
        let sum = |metric: Metric| -> f64 { rows(metric).map(|row| row.value).sum() };
        let whole = sum(Metric::PassNanoseconds);
        if whole <= 0.0 {
            return None;
        }
        let sampling_of = |trace: &str, backend: &str| {
            let values = run.values(trace, backend, Scope::All, Metric::SamplingNanoseconds);
            values.first().copied().unwrap_or(0.0)
        };
        let passes = rows(Metric::PassNanoseconds).filter(|row| row.value > 0.0);
        let most_sampling =
            passes.map(|row| sampling_of(&row.trace, &row.backend) / row.value).fold(0.0, f64::max);
        Some(FootprintOverhead {
            sampling: sum(Metric::SamplingNanoseconds) / whole,
            most_sampling,
            mapping: sum(Metric::MappingNanoseconds) / whole,
        })
    }
}
