//! Exact measures of two sides, each measured more than once in fresh processes. A measure that
//! differs between the processes of one side is not exact, and is not judged as if it were.

use super::finding::{Finding, Verdict};
use super::policy::Policy;
use super::reasons::{OTHER_FILE, OTHER_LAYOUT, variation};
use crate::results::{CellLabel, Exactness, Metric, RepeatedRuns, Scope};

/// Page faults, counted by the kernel for the whole process. They are judged only here, where
/// addresses are not drawn at random: then they are the same in every process of one build. Another
/// build has other faults on its own file: two copies of one file had 616 and 617.
const FAULTS: Metric = Metric::MinorFaults;

/// The figure of each process.
fn values(side: &RepeatedRuns<'_>, trace: &str, metric: Metric) -> Vec<f64> {
    let first = |run: &crate::results::Run| {
        run.values(trace, side.backend, Scope::All, metric).first().copied()
    };
    side.runs.iter().filter_map(first).collect()
}

/// Why the memory of a side varies between runs, if it does.
fn varies(side: &RepeatedRuns<'_>, trace: &str) -> Option<&'static str> {
    values(side, trace, Metric::VariesBetweenRuns).first().map(|reason| variation(*reason))
}

/// Compares the candidate's exact measures with the baseline's.
///
/// A measure is compared where the processes of each side agree. A failure needs every process of
/// the candidate above every one of the baseline.
pub fn compare_exact(
    cell: CellLabel<'_>,
    baseline: &RepeatedRuns<'_>,
    candidate: &RepeatedRuns<'_>,
    policy: &Policy,
) -> Vec<Finding> {
    let trace = cell.trace;
    let varies = varies(baseline, trace).or_else(|| varies(candidate, trace));
    let judged = |metric: &Metric| {
        matches!(metric.exactness(), Exactness::Policy | Exactness::Machine | Exactness::Layout)
            || *metric == FAULTS
    };
    Metric::ALL
        .iter()
        .copied()
        .filter(judged)
        .filter_map(|metric| {
            let (before, after) =
                (values(baseline, trace, metric), values(candidate, trace, metric));
            // A metric that only one of two allocators has is not comparable.
            let (Some(&first), Some(&second)) = (before.first(), after.first()) else {
                return None;
            };
            let margin = policy.margin(metric.name()).fail;
            let mut finding =
                Finding::bare(trace, cell.backend, metric.name(), Verdict::Identical, "");
            (finding.unit, finding.margin) = (metric.unit(), margin);
            (finding.baseline, finding.candidate) = (Some(first), Some(second));
            let steady = |values: &[f64]| values.iter().all(|value| *value == values[0]);
            let is_moved = baseline.build != candidate.build && first != second;
            let moved = match metric.exactness() {
                Exactness::Layout if is_moved => Some(OTHER_LAYOUT),
                _ if is_moved && metric == FAULTS => Some(OTHER_FILE),
                _ => None,
            };
            if let (Some(reason), Exactness::Machine | Exactness::Layout | Exactness::Reported) =
                (varies.or(moved), metric.exactness())
            {
                finding.verdict = Verdict::Skipped;
                finding.why = format!("not comparable: {reason}");
                return Some(finding);
            }
            if !(steady(&before) && steady(&after)) {
                // The kernel decides about faults. Every other exact metric follows from the calls.
                let is_kernels = metric == FAULTS;
                finding.verdict = if is_kernels { Verdict::Skipped } else { Verdict::Inconclusive };
                finding.why =
                    format!("not the same twice: {} and {}", listed(&before), listed(&after));
                return Some(finding);
            }
            finding.verdict = if second > first * (1.0 + margin) {
                Verdict::Fail
            } else if second > first {
                Verdict::Warn
            } else if second < first {
                Verdict::Better
            } else {
                Verdict::Identical
            };
            Some(finding)
        })
        .collect()
}

fn listed(values: &[f64]) -> String {
    values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::results::{Measurement, Pass, Run};

    fn run(backend: &str, figures: &[(Metric, f64)]) -> Run {
        let mut run = Run::new(Default::default());
        run.measurements.extend(figures.iter().map(|(metric, value)| Measurement {
            trace: "t".into(),
            backend: backend.into(),
            pass: Pass::Footprint,
            repetition: 0,
            op: Scope::All,
            metric: *metric,
            value: *value,
        }));
        run
    }

    fn verdict(before: [f64; 2], after: [f64; 2], metric: Metric, varies: bool) -> Verdict {
        verdict_of_builds(before, after, metric, varies, ["one", "one"])
    }

    fn verdict_of_builds(
        before: [f64; 2],
        after: [f64; 2],
        metric: Metric,
        varies: bool,
        builds: [&str; 2],
    ) -> Verdict {
        let of = |name: &str, values: [f64; 2]| {
            values.map(|value| {
                let mut figures = vec![(metric, value)];
                if varies {
                    figures.push((Metric::VariesBetweenRuns, 1.0));
                }
                run(name, &figures)
            })
        };
        let cell = CellLabel { trace: "t", backend: "b" };
        let (a, b) = (of("a", before), of("b", after));
        let a = RepeatedRuns { backend: "a", runs: &a, build: Path::new(builds[0]) };
        let b = RepeatedRuns { backend: "b", runs: &b, build: Path::new(builds[1]) };
        let found = compare_exact(cell, &a, &b, &Policy::default());
        found.iter().find(|finding| finding.measure == metric.name()).expect("it is judged").verdict
    }

    #[test]
    fn where_a_build_begins_the_heap_is_no_regression() {
        let verdict = |builds| {
            verdict_of_builds([1.0; 2], [2.0; 2], Metric::PagesInUse16kEndBytes, false, builds)
        };
        assert_eq!(verdict(["one", "one"]), Verdict::Fail);
        assert_eq!(verdict(["one", "other"]), Verdict::Skipped);
        let page = |builds| {
            verdict_of_builds([1.0; 2], [2.0; 2], Metric::PagesInUseEndBytes, false, builds)
        };
        assert_eq!(page(["one", "other"]), Verdict::Fail);
    }

    #[test]
    fn one_byte_and_one_arena_are_found() {
        assert_eq!(verdict([100.0; 2], [101.0; 2], Metric::UsableEndBytes, false), Verdict::Fail);
        assert_eq!(verdict([3.0; 2], [4.0; 2], Metric::ArenasPeak, false), Verdict::Fail);
        assert_eq!(
            verdict([100.0; 2], [100.0; 2], Metric::UsableEndBytes, false),
            Verdict::Identical
        );
        assert_eq!(verdict([100.0; 2], [99.0; 2], Metric::UsableEndBytes, false), Verdict::Better);
    }

    #[test]
    fn what_is_not_the_same_twice_is_not_judged() {
        assert_eq!(
            verdict([100.0; 2], [101.0, 102.0], Metric::UsableEndBytes, false),
            Verdict::Inconclusive
        );
        assert_eq!(
            verdict([100.0; 2], [101.0, 102.0], Metric::MinorFaults, false),
            Verdict::Skipped
        );
        assert_eq!(
            verdict([100.0; 2], [200.0; 2], Metric::ResidentEndBytes, true),
            Verdict::Skipped
        );
        assert_eq!(verdict([1.0; 2], [2.0; 2], Metric::ArenasEnd, true), Verdict::Fail);
    }
}
