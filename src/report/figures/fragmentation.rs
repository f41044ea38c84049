//! Fragmentation: ratios that are derived from the record and never stored. A ratio is absent where
//! its divisor is not positive.

use super::backend::BackendFigures;
use super::trace_report::TraceReport;
use crate::results::Metric;

/// Ratios of one backend on one trace. L is live, P pages in use, R resident.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fragmentation {
    /// The four measures of Johnstone and Wilson, "The memory fragmentation problem: solved?", ISMM
    /// (1998), each less one. They are R over L:
    ///
    /// 1. averaged over the allocation clock;
    /// 2. at the live peak;
    /// 3. at the first sample of the resident peak. Where the curve is flat this moment is chance,
    ///    so nothing is ranked by it;
    /// 4. the resident peak over the live peak, at any two moments.
    pub johnstone_wilson: [Option<f64>; 4],
    /// (R_end − L_end) / (max R − L_end): 1 when no memory was ever returned.
    pub ratchet: Option<f64>,
    /// (R_end − R_trim) / (R_end − P): the share of the retained memory that the allocator's own
    /// trim returns.
    pub trim_share: Option<f64>,
    /// (P_2M − L) / (max(R, P_2M) − L) at the end: the share of the overhead that cannot be
    /// returned in pieces of 2 MiB.
    pub unreturnable_2m: Option<f64>,
    /// Memory that was unused for a tenth of the clock, in bytes.
    pub returnable_bytes: Option<f64>,
}

fn ratio(over: f64, under: f64) -> Option<f64> {
    let ratio = over / under;
    (under > 0.0 && ratio.is_finite()).then_some(ratio)
}

/// Derives the ratios; `backend` is one of `trace_report`.
pub fn fragmentation(trace_report: &TraceReport, backend: &BackendFigures) -> Fragmentation {
    let known = |metric: Metric| backend.rows.first_value(metric);
    let memory = &backend.memory;
    let samples = &backend.samples;
    let over = |resident: Option<f64>, live: f64| Some(ratio(resident?, live)? - 1.0);
    // The first of equals.
    let highest = samples.iter().rev().max_by_key(|sample| sample.resident_bytes);
    let last = samples.last().map(|sample| sample.live_bytes as f64);
    let pieces = known(Metric::PagesInUse2mEndBytes);
    let at_live_peak = known(Metric::ResidentAtLivePeakBytes);
    Fragmentation {
        johnstone_wilson: [
            over(memory.mean_bytes, trace_report.live_mean_bytes),
            over(at_live_peak, trace_report.live_peak_bytes),
            highest.and_then(|sample| {
                over(Some(sample.resident_bytes as f64), sample.live_bytes as f64)
            }),
            over(memory.peak_bytes, trace_report.live_peak_bytes),
        ],
        ratchet: last.and_then(|live| ratio(memory.end_bytes? - live, memory.peak_bytes? - live)),
        trim_share: memory.end_bytes.and_then(|end| {
            ratio(end - memory.trimmed_bytes?, end - memory.pages_in_use_end_bytes?)
        }),
        unreturnable_2m: last
            .and_then(|live| ratio(pieces? - live, memory.end_bytes?.max(pieces?) - live)),
        returnable_bytes: known(Metric::ReturnableBytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{
        BackendEntry, Manifest, Measurement, Pass, Run, Sample, Scope, TraceEntry,
    };

    fn run(samples: &[[u64; 5]], metrics: &[(Metric, f64)]) -> Run {
        let trace = TraceEntry { name: "t".into(), calls: 10, ..TraceEntry::default() };
        let backends = vec![BackendEntry { name: "malloc".into(), version: String::new() }];
        let mut run = Run::new(Manifest { traces: vec![trace], backends, ..Manifest::default() });
        run.samples = samples
            .iter()
            .enumerate()
            .map(|(at, &[clock, live, usable, in_use, resident])| Sample {
                trace: "t".into(),
                backend: "malloc".into(),
                repetition: 0,
                event: at as u64,
                clock_bytes: clock,
                live_bytes: live,
                usable_bytes: usable,
                pages_in_use_bytes: in_use,
                resident_bytes: resident,
                lines: String::new(),
            })
            .collect();
        run.measurements = metrics
            .iter()
            .map(|&(metric, value)| Measurement {
                trace: "t".into(),
                backend: "malloc".into(),
                pass: Pass::Footprint,
                repetition: 0,
                op: Scope::All,
                metric,
                value,
            })
            .collect();
        run
    }

    #[test]
    fn the_ratios_follow_their_formulas() {
        let samples = [
            [100, 100, 100, 120, 150],
            [200, 50, 60, 90, 200],
            [300, 40, 40, 80, 200],
            [400, 20, 20, 40, 110],
        ];
        let metrics = [
            (Metric::LiveMeanBytes, 50.0),
            (Metric::ResidentMeanBytes, 150.0),
            (Metric::LivePeakBytes, 100.0),
            (Metric::ResidentAtLivePeakBytes, 150.0),
            (Metric::ResidentPeakBytes, 200.0),
            (Metric::ResidentEndBytes, 110.0),
            (Metric::ResidentTrimmedBytes, 47.0),
            (Metric::PagesInUseEndBytes, 40.0),
            (Metric::PagesInUse2mEndBytes, 65.0),
            (Metric::ReturnableBytes, 70.0),
        ];
        let run = run(&samples, &metrics);
        let trace_report = &TraceReport::all(&run)[0];
        let found = fragmentation(trace_report, &trace_report.backends[0]);
        assert_eq!(found.johnstone_wilson, [Some(2.0), Some(0.5), Some(3.0), Some(1.0)]);
        assert_eq!(found.ratchet, Some(0.5));
        assert_eq!(found.trim_share, Some(0.9));
        assert_eq!(found.unreturnable_2m, Some(0.5));
        assert_eq!(found.returnable_bytes, Some(70.0));
    }

    #[test]
    fn without_live_and_resident_bytes_there_is_no_ratio() {
        let run = run(
            &[[0, 0, 0, 0, 0], [0, 0, 0, 4096, 4096]],
            &[(Metric::ResidentPeakBytes, f64::INFINITY)],
        );
        let trace_report = &TraceReport::all(&run)[0];
        let found = fragmentation(trace_report, &trace_report.backends[0]);
        assert_eq!(found.johnstone_wilson, [None; 4]);
        assert_eq!((found.ratchet, found.trim_share), (Some(1.0), None));
    }
}
