//! The whole page as data.

use serde::Serialize;

use super::trace_model::TraceModel;
use crate::report::figures::{BackendLabel, TraceReport, backend_labels};
use crate::report::palette::{Colour, EXTERNAL_FRAGMENTATION, LIVE, RETAINED, ROUNDING, WORSE};
use crate::results::Run;

/// The version of [`PageModel`]. The script refuses others.
const VERSION: u32 = 1;

/// All that the script of the page reads.
#[derive(Debug, Serialize)]
pub struct PageModel {
    version: u32,
    /// Backends of the run, in its order. Other parts refer to them by number.
    backends: Vec<BackendLabel>,
    /// Repetitions of each timed pass.
    repetitions: u32,
    /// Nanoseconds that an empty clock pair reads.
    clock_pair_ns: Option<f64>,
    colours: PartColours,
    traces: Vec<TraceModel>,
}

/// Colours of the parts of resident memory, and of slow calls: the same as in the pictures.
#[derive(Debug, Serialize)]
struct PartColours {
    live: Colour,
    rounding: Colour,
    free_space: Colour,
    retained: Colour,
    slow: Colour,
}

const COLOURS: PartColours = PartColours {
    live: LIVE,
    rounding: ROUNDING,
    free_space: EXTERNAL_FRAGMENTATION,
    retained: RETAINED,
    slow: WORSE,
};

/// The model of a page without plots.
pub fn model_without_traces() -> PageModel {
    PageModel {
        version: VERSION,
        backends: vec![],
        repetitions: 0,
        clock_pair_ns: None,
        colours: COLOURS,
        traces: vec![],
    }
}

/// The model of a run.
pub fn page_model(run: &Run, trace_reports: &[TraceReport]) -> PageModel {
    let pairs = (trace_reports.len() * run.manifest.backends.len()).max(1);
    PageModel {
        version: VERSION,
        backends: backend_labels(&run.manifest.backends),
        repetitions: run.manifest.repetitions,
        clock_pair_ns: trace_reports.first().and_then(TraceReport::clock_floor_ns),
        colours: COLOURS,
        traces: trace_reports.iter().map(|report| TraceModel::of(report, pairs)).collect(),
    }
}
