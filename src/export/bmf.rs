//! Bencher's metric format: a benchmark for each trace and backend, a measure for each figure. Source:
//! <https://bencher.dev/docs/reference/bencher-metric-format>.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::ExportError;
use crate::report::TraceReport;
use crate::report::figures::ResidentFigure;
use crate::results::{Metric, Run};

#[derive(Serialize)]
struct BencherMetric {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_value: Option<f64>,
}

/// The figures of a run as Bencher reads them. Times have the range of the repetitions, memory the
/// range of an allocator that returns it after a delay.
///
/// # Errors
/// When JSON cannot be written.
pub fn bmf(run: &Run) -> Result<Vec<u8>, ExportError> {
    let mut benchmarks: BTreeMap<String, BTreeMap<String, BencherMetric>> = BTreeMap::new();
    for report in TraceReport::all(run) {
        for backend in report.allocators() {
            let mut measures = BTreeMap::new();
            if let Some(cost) = backend.cost {
                let (lower, upper) = (Some(cost.low_ns), Some(cost.high_ns));
                let metric =
                    BencherMetric { value: cost.middle_ns, lower_value: lower, upper_value: upper };
                measures.insert("time-ns-a-call".to_owned(), metric);
            }
            for (name, figure) in [
                (Metric::ResidentPeakBytes, ResidentFigure::Peak),
                (Metric::ResidentMeanBytes, ResidentFigure::Mean),
                (Metric::ResidentEndBytes, ResidentFigure::End),
            ] {
                let Some(value) = backend.memory.resident(figure) else { continue };
                let (lower_value, upper_value) = backend.memory.range(figure).unzip();
                let name = name.name().replace('_', "-");
                measures.insert(name, BencherMetric { value, lower_value, upper_value });
            }
            if !measures.is_empty() {
                benchmarks.insert(format!("{}/{}", report.trace.name, backend.spec), measures);
            }
        }
    }
    Ok(serde_json::to_vec_pretty(&benchmarks)?)
}
