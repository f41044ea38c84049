//! Room `check`: judges a candidate run against a baseline run, from the two records alone.
//!
//! Exact measures gate without tolerance: any increase fails. Times gate only as a ratio to a reference backend of the
//! same run, and only when both runs come from the same machine; a difference is worse when it exceeds the threshold
//! *and* the ranges over the repetitions lie apart, since a shared machine alone moves medians.

use crate::results::{Cell, Exactness, METRICS, Machine, Metric, Pass, Run, TraceEntry};
use crate::stats;

/// How to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The backend to whose time the others' are held.
    pub reference: String,
    /// How much a ratio may grow: 0.1 is 10 %.
    pub threshold: f64,
    /// How much an exact measure may grow between two recordings of one program, which are never quite the same. Of the
    /// same recording nothing may grow.
    pub recording_tolerance: f64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { reference: "malloc".into(), threshold: 0.25, recording_tolerance: 0.01 }
    }
}

/// What is said of one measure. In order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Worse than the baseline: fails.
    Worse,
    /// The baseline has it and the candidate does not: it could not be judged.
    Missing,
    /// Over the threshold, but the repetitions' ranges overlap: no failure, and no pass either.
    Unclear,
    /// Not comparable, for the reason beside.
    Skipped,
    /// Better than the baseline.
    Better,
    /// As in the baseline.
    Same,
}

impl Verdict {
    /// The word in the table.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Worse => "WORSE",
            Verdict::Missing => "MISSING",
            Verdict::Unclear => "unclear",
            Verdict::Skipped => "skipped",
            Verdict::Better => "better",
            Verdict::Same => "same",
        }
    }
}

/// One line of the judgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which trace.
    pub trace: String,
    /// Which backend; empty for what follows from the trace alone.
    pub backend: String,
    /// The metric, with its op where that is not `all`.
    pub measure: String,
    /// Its unit; `ratio` for times.
    pub unit: &'static str,
    /// The baseline's figure.
    pub baseline: Option<f64>,
    /// The candidate's.
    pub candidate: Option<f64>,
    /// What is said of it.
    pub verdict: Verdict,
    /// Why, in a few words; empty when the figures say it.
    pub why: String,
}

/// Why two runs cannot be compared at all.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No trace is in both.
    #[error(
        "the runs share no trace (baseline: {baseline}; candidate: {candidate}); compare runs of the same traces"
    )]
    NoTrace {
        /// The baseline's traces.
        baseline: String,
        /// The candidate's.
        candidate: String,
    },
    /// Times have nothing to be held to.
    #[error(
        "times are held to `{reference}`, which is not in both runs (baseline: {baseline}; candidate: {candidate}); name another with --reference"
    )]
    NoReference {
        /// The backend that was named.
        reference: String,
        /// The baseline's backends.
        baseline: String,
        /// The candidate's.
        candidate: String,
    },
    /// A shared trace has no backend in both.
    #[error(
        "the runs share no backend (baseline: {baseline}; candidate: {candidate}); compare runs of the same backends"
    )]
    NoBackend {
        /// The baseline's backends.
        baseline: String,
        /// The candidate's.
        candidate: String,
    },
}

/// Judges `candidate`, worst first.
///
/// # Errors
/// When the runs have nothing in common.
pub fn compare(baseline: &Run, candidate: &Run, policy: &Policy) -> Result<Vec<Finding>, CheckError> {
    let traces: Vec<(&TraceEntry, Option<&TraceEntry>)> = baseline
        .manifest
        .traces
        .iter()
        .map(|trace| (trace, candidate.manifest.traces.iter().find(|other| other.name == trace.name)))
        .collect();
    if traces.iter().all(|(_, other)| other.is_none()) {
        let names =
            |run: &Run| run.manifest.traces.iter().map(|t| t.name.clone()).collect::<Vec<_>>().join(", ");
        return Err(CheckError::NoTrace { baseline: names(baseline), candidate: names(candidate) });
    }
    let names = |run: &Run| run.manifest.backends.iter().map(|b| b.name.clone()).collect::<Vec<_>>();
    if names(baseline).iter().all(|name| !names(candidate).contains(name)) {
        return Err(CheckError::NoBackend {
            baseline: names(baseline).join(", "),
            candidate: names(candidate).join(", "),
        });
    }
    let timed = |run: &Run| run.measurements.iter().any(|m| m.metric == "time_nanoseconds");
    let known = |run: &Run| names(run).contains(&policy.reference);
    if timed(baseline) && timed(candidate) && !(known(baseline) && known(candidate)) {
        return Err(CheckError::NoReference {
            reference: policy.reference.clone(),
            baseline: names(baseline).join(", "),
            candidate: names(candidate).join(", "),
        });
    }
    let judge = Judge { baseline, candidate, policy };
    let mut findings = Vec::new();
    for (trace, other) in traces {
        match other {
            None => findings.push(judge.missing(&trace.name, "", "trace", "the candidate was not run on it")),
            Some(other) => judge.trace(trace, other, &mut findings),
        }
    }
    findings.sort_by(|a, b| (a.verdict, &a.trace, &a.backend).cmp(&(b.verdict, &b.trace, &b.backend)));
    Ok(findings)
}

struct Judge<'a> {
    baseline: &'a Run,
    candidate: &'a Run,
    policy: &'a Policy,
}

impl Judge<'_> {
    fn missing(&self, trace: &str, backend: &str, measure: &str, why: impl Into<String>) -> Finding {
        Finding {
            trace: trace.into(),
            backend: backend.into(),
            measure: measure.into(),
            unit: "",
            baseline: None,
            candidate: None,
            verdict: Verdict::Missing,
            why: why.into(),
        }
    }

    fn trace(&self, trace: &TraceEntry, other: &TraceEntry, findings: &mut Vec<Finding>) {
        let same = trace.sha256 == other.sha256;
        let allowed = if same { 0.0 } else { self.policy.recording_tolerance };
        let backends = &self.baseline.manifest.backends;
        let demands = METRICS.iter().filter(|metric| metric.exactness == Exactness::Trace);
        for metric in demands {
            // The demand is the same whichever backend serves it: the first that both measured tells it.
            let told = backends.iter().find(|backend| {
                let has =
                    |run: &Run| self.operations(run, &trace.name, &backend.name, metric).next().is_some();
                has(self.baseline) && has(self.candidate)
            });
            if let Some(backend) = told {
                for finding in self.exact(&trace.name, &backend.name, metric, allowed) {
                    findings.push(Finding { backend: String::new(), ..finding });
                }
            }
        }
        for backend in backends {
            let Some(theirs) = self.candidate.manifest.backends.iter().find(|b| b.name == backend.name)
            else {
                findings.push(self.missing(&trace.name, &backend.name, "backend", "not in the candidate"));
                continue;
            };
            if let Some(finding) = self.broken(&trace.name, &backend.name) {
                findings.push(finding);
            }
            let apart =
                apart(&self.baseline.manifest.machine, &self.candidate.manifest.machine, &EXACT_FACTS)
                    .or_else(|| {
                        (backend.version != theirs.version)
                            .then(|| format!("{} and {}", backend.version, theirs.version))
                    });
            let varies = [self.baseline, self.candidate]
                .iter()
                .find_map(|run| {
                    run.values(&trace.name, &backend.name, "all", "varies_between_runs").first().copied()
                })
                .map(|why| match why {
                    2.0 => "it places blocks at random".to_owned(),
                    _ => {
                        "it goes by the clock; `heaplay backends NAME` says which settings pin it".to_owned()
                    }
                });
            for metric in METRICS {
                let skip = match metric.exactness {
                    Exactness::Policy => None,
                    Exactness::Machine => varies.clone().or_else(|| apart.clone()),
                    _ => continue,
                };
                for mut finding in self.exact(&trace.name, &backend.name, metric, allowed) {
                    if let Some(reason) = &skip {
                        finding.verdict = Verdict::Skipped;
                        finding.why = format!("not comparable: {reason}");
                    }
                    findings.push(finding);
                }
            }
            if backend.name != self.policy.reference && backend.name != "null" {
                findings.extend(self.timed(&trace.name, &backend.name));
            }
        }
    }

    /// A cell that the baseline measured and the candidate could not.
    fn broken(&self, trace: &str, backend: &str) -> Option<Finding> {
        let of = |run: &Run, ok: bool| -> Vec<(Cell, String)> {
            run.outcomes
                .iter()
                .filter(|o| {
                    o.trace == trace && o.backend == backend && (o.status == crate::results::Status::Ok) == ok
                })
                .map(|o| (o.cell(), o.reason.clone()))
                .collect()
        };
        let (measured, void) = (of(self.baseline, true), of(self.baseline, false));
        let (cell, reason) = of(self.candidate, false).into_iter().next()?;
        let of_pass = |cells: &[(Cell, String)]| cells.iter().any(|(known, _)| known.pass == cell.pass);
        let mut finding = self.missing(trace, backend, cell.pass.name(), reason);
        if of_pass(&measured) && !of_pass(&void) {
            finding.verdict = Verdict::Worse;
        }
        Some(finding)
    }

    fn operations<'r>(
        &self,
        run: &'r Run,
        trace: &str,
        backend: &str,
        metric: &Metric,
    ) -> impl Iterator<Item = (&'r str, f64)> {
        // The footprint pass tells every exact metric; other passes repeat the calls.
        let (trace, backend, name) = (trace.to_owned(), backend.to_owned(), metric.name);
        run.measurements
            .iter()
            .filter(move |m| {
                m.trace == trace && m.backend == backend && m.metric == name && m.pass == Pass::Footprint
            })
            .map(|m| (m.op.as_str(), m.value))
    }

    fn exact(&self, trace: &str, backend: &str, metric: &'static Metric, allowed: f64) -> Vec<Finding> {
        let theirs: Vec<(&str, f64)> = self.operations(self.candidate, trace, backend, metric).collect();
        self.operations(self.baseline, trace, backend, metric)
            .map(|(op, baseline)| {
                let candidate = theirs.iter().find(|(other, _)| *other == op).map(|(_, value)| *value);
                let verdict = match candidate {
                    None => Verdict::Missing,
                    Some(candidate) if candidate > baseline * (1.0 + allowed) => Verdict::Worse,
                    Some(candidate) if candidate < baseline * (1.0 - allowed) => Verdict::Better,
                    Some(candidate) if candidate.is_finite() && baseline.is_finite() => Verdict::Same,
                    Some(_) => Verdict::Missing,
                };
                Finding {
                    trace: trace.into(),
                    backend: backend.into(),
                    measure: if op == "all" {
                        metric.name.into()
                    } else {
                        format!("{} of {op}", metric.name)
                    },
                    unit: metric.unit,
                    baseline: Some(baseline),
                    candidate,
                    verdict,
                    why: match allowed {
                        0.0 => String::new(),
                        _ => format!("another recording; {:.3} % are allowed", allowed * 100.0),
                    },
                }
            })
            .collect()
    }

    /// The time as a ratio to the reference, repetition by repetition: those ran beside each other.
    fn timed(&self, trace: &str, backend: &str) -> Option<Finding> {
        let ratios = |run: &Run| -> Vec<f64> {
            let times = |name: &str| run.values(trace, name, "all", "time_nanoseconds");
            times(backend)
                .iter()
                .zip(times(&self.policy.reference))
                .map(|(own, reference)| own / reference)
                .collect()
        };
        let (before, after) = (ratios(self.baseline), ratios(self.candidate));
        let baseline = stats::median(&before)?;
        let mut finding = Finding {
            trace: trace.into(),
            backend: backend.into(),
            measure: format!("time over {}", self.policy.reference),
            unit: "ratio",
            baseline: Some(baseline),
            candidate: stats::median(&after),
            verdict: Verdict::Missing,
            why: String::new(),
        };
        let Some(candidate) = finding.candidate else { return Some(finding) };
        if let Some(reason) =
            apart(&self.baseline.manifest.machine, &self.candidate.manifest.machine, &TIMED_FACTS)
        {
            finding.verdict = Verdict::Skipped;
            finding.why = format!("times of another machine: {reason}");
            return Some(finding);
        }
        let growth = candidate / baseline - 1.0;
        let (least, most) = (stats::range(&after)?.0, stats::range(&before)?.1);
        finding.verdict = match growth {
            growth if growth > self.policy.threshold && least > most => Verdict::Worse,
            growth if growth > self.policy.threshold => Verdict::Unclear,
            growth if growth < -self.policy.threshold => Verdict::Better,
            _ => Verdict::Same,
        };
        finding.why = match finding.verdict {
            Verdict::Unclear => format!("{:+.1} %, but the repetitions' ranges overlap", growth * 100.0),
            _ => format!("{:+.1} %, threshold {:.0} %", growth * 100.0, self.policy.threshold * 100.0),
        };
        Some(finding)
    }
}

/// What resident pages of a black box depend on.
const EXACT_FACTS: [&str; 5] = ["architecture", "libc", "page_bytes", "transparent_huge_pages", "variables"];
/// What times depend on besides.
const TIMED_FACTS: [&str; 8] = [
    "architecture",
    "libc",
    "page_bytes",
    "transparent_huge_pages",
    "processor",
    "cores",
    "hypervisor",
    "kernel",
];

/// The first of these facts in which two machines differ, in words.
fn apart(baseline: &Machine, candidate: &Machine, facts: &[&str]) -> Option<String> {
    facts.iter().find_map(|fact| {
        let of = |machine: &Machine| machine.facts.get(*fact).cloned().unwrap_or_else(|| "unknown".into());
        let (before, after) = (of(baseline), of(candidate));
        (before != after).then(|| format!("{fact} is `{after}`, in the baseline `{before}`"))
    })
}
