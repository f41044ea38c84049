//! The range of memory of an allocator that returns it after a delay.
//!
//! Resident memory of such an allocator depends on the pace of the program: the same program returns
//! less on a faster machine, or without the recorder. The allocator reads the times of the recording.
//! Two more footprint passes give the range around that figure: in one the allocator returns memory at
//! once, in the other never. A run that waits for the program's own times needs no range.

use rayon::prelude::*;

use super::error::BenchError;
use super::exact::footprint;
use super::settings::Settings;
use super::what_if::figure;
use super::workload::{Workload, Workloads};
use crate::backends;
use crate::results::{Measurement, Metric, Run, Scope, Variation};

/// The metrics of the two ends, each with the one that the pass itself measures.
const METRICS: [[(Metric, Metric); 4]; 2] = [
    [
        (Metric::ResidentPeakBytes, Metric::ResidentPeakAtOnceBytes),
        (Metric::ResidentMeanBytes, Metric::ResidentMeanAtOnceBytes),
        (Metric::ResidentEndBytes, Metric::ResidentEndAtOnceBytes),
        (Metric::ResidentTrimmedBytes, Metric::ResidentTrimmedAtOnceBytes),
    ],
    [
        (Metric::ResidentPeakBytes, Metric::ResidentPeakNeverBytes),
        (Metric::ResidentMeanBytes, Metric::ResidentMeanNeverBytes),
        (Metric::ResidentEndBytes, Metric::ResidentEndNeverBytes),
        (Metric::ResidentTrimmedBytes, Metric::ResidentTrimmedNeverBytes),
    ],
];

/// The ranges of every footprint in `run` that varies by the clock, as rows beside it; none where
/// they are known already. An end that cannot be measured has no row, and the pictures then say
/// that the figure stands for one pace only.
///
/// # Errors
/// When a file cannot be written.
pub fn check(
    run: &Run,
    workloads: &Workloads,
    settings: &Settings,
) -> Result<Vec<Measurement>, BenchError> {
    let rows: Vec<Result<Vec<Measurement>, BenchError>> =
        wanted(run, workloads).par_iter().map(|end| end.measure(settings)).collect();
    Ok(rows.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// One end of a range that is not known yet.
struct RangeEnd<'a> {
    /// The row that says that the footprint varies.
    row: &'a Measurement,
    workload: &'a Workload,
    /// The backend with the setting of this end.
    spec: String,
    metrics: &'static [(Metric, Metric); 4],
}

fn wanted<'a>(run: &'a Run, workloads: &'a Workloads) -> Vec<RangeEnd<'a>> {
    let varies_by_clock = |row: &&Measurement| {
        row.metric == Metric::VariesBetweenRuns
            && Variation::of(row.value) == Some(Variation::ByClock)
    };
    let mut ends = Vec::new();
    for row in run.measurements.iter().filter(varies_by_clock) {
        let known = run.values(&row.trace, &row.backend, Scope::All, METRICS[0][0].1);
        let bounds = row.backend.parse().ok().and_then(|spec| backends::bounds(&spec));
        let (true, Some(workload), Some(bounds)) =
            (known.is_empty(), workloads.get(&row.trace), bounds)
        else {
            continue;
        };
        for (spec, metrics) in bounds.into_iter().zip(&METRICS) {
            ends.push(RangeEnd { row, workload, spec: spec.to_string(), metrics });
        }
    }
    ends
}

impl RangeEnd<'_> {
    /// The rows of this end; none where the pass fails.
    fn measure(&self, settings: &Settings) -> Result<Vec<Measurement>, BenchError> {
        let Ok(found) = footprint(&self.spec, self.workload, settings)? else {
            return Ok(vec![]);
        };
        let bound = |&(from, to): &(Metric, Metric)| {
            let value = figure(&found, from)? as f64;
            Some(Measurement { metric: to, value, ..self.row.clone() })
        };
        Ok(self.metrics.iter().filter_map(bound).collect())
    }
}
