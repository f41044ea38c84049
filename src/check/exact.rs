//! Exact measures of two sides, each measured more than once in fresh processes. What
//! a side does not do twice alike is not exact, and is not judged as if it were.

use std::path::Path;

use super::stored::LAYOUT;
use super::{Finding, Policy, Verdict};
use crate::results::{Exactness, Metric, Run, Scope, Variation};

/// The measures of one side: the tables of one process each.
pub struct Repeated<'a> {
    /// The name of its cells in the tables.
    pub backend: &'a str,
    /// One for each time that it was measured; at least two.
    pub runs: &'a [Run],
    /// The build of heaplay that measured it.
    pub build: &'a Path,
}

/// Told by the kernel for the whole process, and judged only here: the same without address
/// randomisation.
const FAULTS: Metric = Metric::MinorFaults;

impl Repeated<'_> {
    /// The figure of each process.
    fn values(&self, trace: &str, metric: Metric) -> Vec<f64> {
        self.runs
            .iter()
            .filter_map(|run| run.values(trace, self.backend, Scope::All, metric).first().copied())
            .collect()
    }

    fn varies(&self, trace: &str) -> Option<&'static str> {
        let value = self.values(trace, Metric::VariesBetweenRuns).first().copied()?;
        match Variation::of(value) {
            Some(Variation::AtRandom) => Some("it places blocks at random"),
            _ => Some(
                "it gives memory back by the clock; `heaplay backends NAME` says which settings pin it",
            ),
        }
    }
}

/// Holds the candidate's exact measures against the baseline's. `name` is how the cell is called in
/// the findings.
///
/// What the two sides' processes agree on among themselves is compared; a failure needs every
/// process of the candidate above every one of the baseline.
pub fn compare_exact(
    trace: &str,
    name: &str,
    baseline: &Repeated<'_>,
    candidate: &Repeated<'_>,
    policy: &Policy,
) -> Vec<Finding> {
    let varies = baseline.varies(trace).or_else(|| candidate.varies(trace));
    let judged = |metric: &Metric| {
        matches!(metric.exactness(), Exactness::Policy | Exactness::Machine | Exactness::Layout)
            || *metric == FAULTS
    };
    Metric::ALL
        .iter()
        .copied()
        .filter(judged)
        .filter_map(|metric| {
            let (before, after) = (baseline.values(trace, metric), candidate.values(trace, metric));
            // What only one of two different allocators has says nothing.
            let (Some(&first), Some(&second)) = (before.first(), after.first()) else {
                return None;
            };
            let margin = policy.margin(metric.name()).fail;
            let mut finding = Finding::bare(trace, name, metric.name(), Verdict::Identical, "");
            (finding.unit, finding.margin) = (metric.unit(), margin);
            (finding.baseline, finding.candidate) = (Some(first), Some(second));
            let steady = |values: &[f64]| values.iter().all(|value| *value == values[0]);
            let moved = metric.exactness() == Exactness::Layout
                && baseline.build != candidate.build
                && first != second;
            let apart = varies.or(moved.then_some(LAYOUT));
            if let (Some(reason), Exactness::Machine | Exactness::Layout | Exactness::Reported) =
                (apart, metric.exactness())
            {
                finding.verdict = Verdict::Skipped;
                finding.why = format!("not comparable: {reason}");
                return Some(finding);
            }
            if !(steady(&before) && steady(&after)) {
                // Faults are the kernel's to make; of all else we say that the same call gives the
                // same figure.
                let told = metric == FAULTS;
                finding.verdict = if told { Verdict::Skipped } else { Verdict::Inconclusive };
                finding.why =
                    format!("not the same twice: {} and {}", words(&before), words(&after));
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

fn words(values: &[f64]) -> String {
    values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Measurement, Pass};

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
        let (a, b) = (of("a", before), of("b", after));
        let a = Repeated { backend: "a", runs: &a, build: Path::new(builds[0]) };
        let b = Repeated { backend: "b", runs: &b, build: Path::new(builds[1]) };
        let found = compare_exact("t", "b", &a, &b, &Policy::default());
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
