//! What the garbage collector of a recorded program visited, as far as its time is predicted.

use crate::bench::Workload;
use crate::cpython::CollectorRecord;
use crate::live::LiveRuns;
use crate::{stats, units};

/// A step of the collector's walks that would be expensive, ns. It is more than any that was measured.
const EXPENSIVE_STEP_NS: f64 = 100.0;
/// Where all steps together would be less of the program's time than this, they are not measured.
const SMALL_SHARE: f64 = 0.01;

/// The collector of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedCollector {
    /// The recording does not say what it visited.
    Unknown,
    /// It visited so little that its walks are no part of the prediction.
    Small(CollectorRecord),
    /// Its walks are predicted.
    Walks(CollectorRecord),
}

impl RecordedCollector {
    /// That of a trace, of a program that ran as `base`.
    pub fn of(workload: &Workload, base: Option<&LiveRuns>) -> RecordedCollector {
        let Some(record) = workload.collector() else {
            return RecordedCollector::Unknown;
        };
        let whole_ns =
            base.and_then(|base| stats::median(&base.figures(|run| run.processor_ns() as f64)));
        match record.steps() as f64 * EXPENSIVE_STEP_NS < SMALL_SHARE * whole_ns.unwrap_or(0.0) {
            true => RecordedCollector::Small(record),
            false => RecordedCollector::Walks(record),
        }
    }

    /// Steps from one object to the next that are predicted.
    pub fn steps(self) -> u64 {
        match self {
            RecordedCollector::Walks(record) => record.steps(),
            RecordedCollector::Unknown | RecordedCollector::Small(_) => 0,
        }
    }

    /// What its walks take, ns, by what a step takes in each repetition; `None` where no step was measured.
    pub fn walks_ns(self, step_ns: &[f64]) -> Option<f64> {
        let step_ns = stats::median(step_ns)?;
        match self {
            RecordedCollector::Walks(record) => Some(record.walks_ns(step_ns)),
            RecordedCollector::Unknown | RecordedCollector::Small(_) => Some(0.0),
        }
    }

    /// What a reader of the predictions has to know of it.
    pub fn note(self) -> String {
        match self {
            RecordedCollector::Unknown => {
                "the walks of a garbage collector are not in it: the trace does not have them\n"
                    .into()
            }
            RecordedCollector::Small(record) => format!(
                "the garbage collector visits {} older objects, too few to matter\n",
                units::count(record.objects())
            ),
            RecordedCollector::Walks(record) => format!(
                "the garbage collector visits {} older objects, in {} full collections and {} of the middle \
                 generation; what a step of its walks costs is measured by the traversal pass\n",
                units::count(record.objects()),
                units::count(record.oldest.collections),
                units::count(record.middle.collections),
            ),
        }
    }
}
