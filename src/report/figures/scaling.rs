//! Figures of a trace whose threads, or copies, run at once: throughput, processor time and memory
//! by the number of threads. The caller measures; nothing here is in a run record.

use serde::Serialize;

use super::backend::BackendLabel;

/// A figure over repetitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The least of them.
    pub least: f64,
    /// Their median.
    pub median: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// The spread of some figures; `None` where there is none. What is no number is left out.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = figures.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        Some(Spread { least, median: sorted[sorted.len() / 2], most })
    }
}

/// A number of threads at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalingStep {
    /// As the axis shows it: `2`, or `trace (8)`.
    pub name: String,
    /// Threads.
    pub threads: u32,
}

/// The figures of a backend on one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScalingPoint {
    /// Index in [`ScalingFigures::steps`].
    pub step: usize,
    /// Calls a second of all threads together.
    pub calls_per_second: Spread,
    /// Processor time of a call, in ns.
    pub processor_ns: Spread,
    /// The largest resident private memory, in bytes; `None` for a backend without memory.
    pub resident_peak_bytes: Option<Spread>,
    /// Share of the threads' time (0 to 1) in which they waited for blocks of other threads.
    pub waited_share: f64,
}

/// The figures of a backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalingLine {
    /// The backend.
    pub backend: BackendLabel,
    /// By step, rising. A step that failed has no point.
    pub points: Vec<ScalingPoint>,
}

impl ScalingLine {
    /// How many times the calls a second of the first point the last one has, as a range over
    /// repetitions; `None` with fewer than two points.
    pub fn speed_up(&self) -> Option<Spread> {
        let [first, .., last] = self.points.as_slice() else { return None };
        let (one, many) = (first.calls_per_second, last.calls_per_second);
        (one.least > 0.0).then(|| Spread {
            least: many.least / one.most,
            median: many.median / one.median,
            most: many.most / one.least,
        })
    }
}

/// The scaling of one trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalingFigures {
    /// The trace's name.
    pub trace: String,
    /// Its calls.
    pub calls: u64,
    /// Processors that the replays could use.
    pub processors: u32,
    /// Whether each thread makes all calls of the trace, on blocks of its own. Otherwise the threads
    /// share the calls of the trace.
    pub is_of_copies: bool,
    /// Repetitions of each measurement.
    pub repetitions: u32,
    /// The numbers of threads.
    pub steps: Vec<ScalingStep>,
    /// By backend.
    pub lines: Vec<ScalingLine>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_least_the_median_and_the_most() {
        let spread = Spread::of([5.0, f64::NAN, 1.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { least: 1.0, median: 3.0, most: 5.0 });
        assert_eq!(Spread::of([f64::INFINITY]), None);
    }
}
