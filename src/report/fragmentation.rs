//! Fragmentation, derived from what was counted and never stored. Each figure has
//! its source, and is absent where it would divide by nothing.

use super::figures::{Backend, TraceReport};
use crate::results::{Metric, Scope};

/// Ratios of one backend on one trace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fragmentation {
    /// Johnstone and Wilson's four measures (ISMM 1998), each less one: resident over live averaged
    /// over the allocation clock; at the live peak; at the resident peak (the first sample of it:
    /// it jumps where the curve is flat, so nothing is ranked by it); the two peaks wherever they
    /// are.
    pub johnstone_wilson: [Option<f64>; 4],
    /// (R_end − L_end) / (max R − L_end): 1 when nothing was ever given back.
    pub ratchet: Option<f64>,
    /// (R_end − R_trim) / (R_end − P): the share of what is kept that the allocator's own trim
    /// returns.
    pub given_back: Option<f64>,
    /// (P_2M − L) / (max(R, P_2M) − L) at the end: the share of the overhead that no trimming by
    /// pieces of 2 MiB could return.
    pub unreturnable_2m: Option<f64>,
    /// Memory kept unused for a tenth of the clock, in bytes.
    pub returnable: Option<f64>,
}

fn ratio(over: f64, under: f64) -> Option<f64> {
    let ratio = over / under;
    (under > 0.0 && ratio.is_finite()).then_some(ratio)
}

/// Derives the ratios; `backend` is one of `trace_report`.
pub fn fragmentation(trace_report: &TraceReport, backend: &Backend) -> Fragmentation {
    let known = |metric: Metric| {
        let values =
            trace_report.run.values(&trace_report.trace.name, backend.name, Scope::All, metric);
        values.into_iter().find(|value| value.is_finite() && *value >= 0.0)
    };
    let memory = &backend.memory;
    let samples = &backend.samples;
    let over = |resident: Option<f64>, live: f64| Some(ratio(resident?, live)? - 1.0);
    // The first of equals.
    let highest = samples.iter().rev().max_by_key(|sample| sample.resident_bytes);
    let last = samples.last().map(|sample| sample.live_bytes as f64);
    let pieces = known(Metric::PagesInUse2mEndBytes);
    Fragmentation {
        johnstone_wilson: [
            over(memory.mean, trace_report.live_mean),
            over(known(Metric::ResidentAtLivePeakBytes), trace_report.live_peak),
            highest.and_then(|sample| {
                over(Some(sample.resident_bytes as f64), sample.live_bytes as f64)
            }),
            over(memory.peak, trace_report.live_peak),
        ],
        ratchet: last.and_then(|live| ratio(memory.end? - live, memory.peak? - live)),
        given_back: memory
            .end
            .and_then(|end| ratio(end - memory.trimmed?, end - memory.pages_in_use_end?)),
        unreturnable_2m: last
            .and_then(|live| ratio(pieces? - live, memory.end?.max(pieces?) - live)),
        returnable: known(Metric::ReturnableBytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{BackendEntry, Manifest, Measurement, Pass, Run, Sample, TraceEntry};

    fn run(samples: &[[u64; 5]], metrics: &[(Metric, f64)]) -> Run {
        let trace = TraceEntry {
            name: "t".into(),
            path: String::new(),
            sha256: String::new(),
            calls: 10,
            facts: Default::default(),
        };
        let backends = vec![BackendEntry { name: "malloc".into(), version: String::new() }];
        let mut run = Run::new(Manifest { traces: vec![trace], backends, ..Manifest::default() });
        run.samples = samples
            .iter()
            .enumerate()
            .map(|(at, &[clock, live, usable, pinned, resident])| Sample {
                trace: "t".into(),
                backend: "malloc".into(),
                repetition: 0,
                event: at as u64,
                clock_bytes: clock,
                live_bytes: live,
                usable_bytes: usable,
                pages_in_use_bytes: pinned,
                resident_bytes: resident,
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
        assert_eq!(found.given_back, Some(0.9));
        assert_eq!(found.unreturnable_2m, Some(0.5));
        assert_eq!(found.returnable, Some(70.0));
    }

    #[test]
    fn nothing_live_and_nothing_kept_divides_nothing() {
        let run = run(
            &[[0, 0, 0, 0, 0], [0, 0, 0, 4096, 4096]],
            &[(Metric::ResidentPeakBytes, f64::INFINITY)],
        );
        let trace_report = &TraceReport::all(&run)[0];
        let found = fragmentation(trace_report, &trace_report.backends[0]);
        assert_eq!(found.johnstone_wilson, [None; 4]);
        assert_eq!((found.ratchet, found.given_back), (Some(1.0), None));
    }
}
