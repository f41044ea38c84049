//! Two stored run records. Exact measures gate: without tolerance where both runs are
//! of the same recording, by the policy's tolerance where they are two recordings of one program.
//! Times of a stored run are not judged: the same machine an hour later differs by up to 20 %, so a
//! gate on them needs both sides in one run.

use super::{Finding, Policy, Verdict};
use crate::results::{
    CellKey, Exactness, Machine, Metric, Pass, Run, Scope, TraceEntry, Variation,
};

/// What two records say.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Worst first.
    pub findings: Vec<Finding>,
    /// What was left out, and why.
    pub notes: Vec<String>,
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
pub fn compare(baseline: &Run, candidate: &Run, policy: &Policy) -> Result<Stored, CheckError> {
    let traces: Vec<(&TraceEntry, Option<&TraceEntry>)> = baseline
        .manifest
        .traces
        .iter()
        .map(|trace| {
            (trace, candidate.manifest.traces.iter().find(|other| other.name == trace.name))
        })
        .collect();
    if traces.iter().all(|(_, other)| other.is_none()) {
        let names = |run: &Run| {
            run.manifest.traces.iter().map(|t| t.name.clone()).collect::<Vec<_>>().join(", ")
        };
        return Err(CheckError::NoTrace { baseline: names(baseline), candidate: names(candidate) });
    }
    let names =
        |run: &Run| run.manifest.backends.iter().map(|b| b.name.clone()).collect::<Vec<_>>();
    if names(baseline).iter().all(|name| !names(candidate).contains(name)) {
        return Err(CheckError::NoBackend {
            baseline: names(baseline).join(", "),
            candidate: names(candidate).join(", "),
        });
    }
    let judge = Judge { baseline, candidate, policy };
    let mut findings = Vec::new();
    for (trace, other) in traces {
        match other {
            None => findings.push(judge.missing(
                &trace.name,
                "",
                "trace",
                "the candidate was not run on it",
            )),
            Some(other) => judge.trace(trace, other, &mut findings),
        }
    }
    super::sort(&mut findings);
    let timed = |run: &Run| run.measurements.iter().any(|m| m.metric == Metric::TimeNanoseconds);
    let mut notes = Vec::new();
    if timed(baseline) && timed(candidate) {
        let machines = [&baseline.manifest.machine, &candidate.manifest.machine];
        let differ = fingerprints_apart(machines[0], machines[1]);
        notes.push(if differ.is_empty() {
            "times of a stored run are not judged; `heaplay check TRACE --baseline A --candidate B` times both sides in one run"
                .to_owned()
        } else {
            format!("times are refused: the baseline is another machine's\n{}", differ.join("\n"))
        });
    }
    Ok(Stored { findings, notes })
}

struct Judge<'a> {
    baseline: &'a Run,
    candidate: &'a Run,
    policy: &'a Policy,
}

/// Why a figure that follows from where the heap begins says nothing.
pub(super) const LAYOUT: &str =
    "another build of heaplay begins the heap elsewhere, which moves what lies in one large piece";

impl Judge<'_> {
    fn missing(
        &self,
        trace: &str,
        backend: &str,
        measure: &str,
        why: impl Into<String>,
    ) -> Finding {
        Finding::bare(trace, backend, measure, Verdict::Missing, why)
    }

    fn trace(&self, trace: &TraceEntry, other: &TraceEntry, findings: &mut Vec<Finding>) {
        let same = trace.sha256 == other.sha256;
        let allowed = if same { 0.0 } else { self.policy.recording_tolerance() };
        let backends = &self.baseline.manifest.backends;
        let demands =
            Metric::ALL.iter().copied().filter(|metric| metric.exactness() == Exactness::Trace);
        for metric in demands {
            // The demand is the same whichever backend serves it: the first that both measured
            // tells it.
            let told = backends.iter().find(|backend| {
                let has = |run: &Run| {
                    self.operations(run, &trace.name, &backend.name, metric).next().is_some()
                };
                has(self.baseline) && has(self.candidate)
            });
            if let Some(backend) = told {
                for finding in self.exact(&trace.name, &backend.name, metric, allowed) {
                    findings.push(Finding { backend: String::new(), ..finding });
                }
            }
        }
        for backend in backends {
            let Some(theirs) =
                self.candidate.manifest.backends.iter().find(|b| b.name == backend.name)
            else {
                findings.push(self.missing(
                    &trace.name,
                    &backend.name,
                    "backend",
                    "not in the candidate",
                ));
                continue;
            };
            if let Some(finding) = self.broken(&trace.name, &backend.name) {
                findings.push(finding);
            }
            let apart = apart(
                &self.baseline.manifest.machine,
                &self.candidate.manifest.machine,
                &EXACT_FACTS,
            )
            .or_else(|| {
                (backend.version != theirs.version)
                    .then(|| format!("{} and {}", backend.version, theirs.version))
            });
            let varies = [self.baseline, self.candidate]
                .iter()
                .find_map(|run| {
                    run.values(&trace.name, &backend.name, Scope::All, Metric::VariesBetweenRuns)
                        .first()
                        .copied()
                })
                .map(|why| match Variation::of(why) {
                    Some(Variation::AtRandom) => "it places blocks at random".to_owned(),
                    _ => "it goes by the clock; `heaplay backends NAME` says which settings pin it"
                        .to_owned(),
                });
            let skip = varies.clone().or_else(|| apart.clone());
            findings.extend(self.fragmentation(
                &trace.name,
                &backend.name,
                allowed,
                skip.as_deref(),
            ));
            for &metric in Metric::ALL {
                let skip = match metric.exactness() {
                    Exactness::Policy => None,
                    Exactness::Machine | Exactness::Layout => {
                        varies.clone().or_else(|| apart.clone())
                    }
                    _ => continue,
                };
                for mut finding in self.exact(&trace.name, &backend.name, metric, allowed) {
                    // A run does not say which build made it, only which version.
                    let moved = metric.exactness() == Exactness::Layout
                        && finding.verdict != Verdict::Identical;
                    let skip = skip.clone().or_else(|| moved.then(|| LAYOUT.to_owned()));
                    if let Some(reason) = &skip {
                        finding.verdict = Verdict::Skipped;
                        finding.why = format!("not comparable: {reason}");
                    }
                    findings.push(finding);
                }
            }
        }
    }

    /// A cell that the baseline measured and the candidate could not.
    fn broken(&self, trace: &str, backend: &str) -> Option<Finding> {
        let of = |run: &Run, ok: bool| -> Vec<(CellKey, String)> {
            run.outcomes
                .iter()
                .filter(|o| {
                    o.trace == trace
                        && o.backend == backend
                        && (o.status == crate::results::Status::Ok) == ok
                })
                .map(|o| (o.cell(), o.reason.clone()))
                .collect()
        };
        let (measured, void) = (of(self.baseline, true), of(self.baseline, false));
        let (cell, reason) = of(self.candidate, false).into_iter().next()?;
        let of_pass =
            |cells: &[(CellKey, String)]| cells.iter().any(|(known, _)| known.pass == cell.pass);
        let mut finding = self.missing(trace, backend, cell.pass.name(), reason);
        if of_pass(&measured) && !of_pass(&void) {
            finding.verdict = Verdict::Fail;
        }
        Some(finding)
    }

    fn operations(
        &self,
        run: &Run,
        trace: &str,
        backend: &str,
        metric: Metric,
    ) -> impl Iterator<Item = (Scope, f64)> {
        // The footprint pass tells every exact metric; other passes repeat the calls.
        let (trace, backend, name) = (trace.to_owned(), backend.to_owned(), metric);
        run.measurements
            .iter()
            .filter(move |m| {
                m.trace == trace
                    && m.backend == backend
                    && m.metric == name
                    && m.pass == Pass::Footprint
            })
            .map(|m| (m.op, m.value))
    }

    /// What is resident over what is live, at the live peak: derived, so it is in no table.
    fn fragmentation(
        &self,
        trace: &str,
        backend: &str,
        allowed: f64,
        skip: Option<&str>,
    ) -> Option<Finding> {
        let of = |run: &Run| {
            let value =
                |metric: Metric| run.values(trace, backend, Scope::All, metric).first().copied();
            let (resident, live) =
                (value(Metric::ResidentAtLivePeakBytes)?, value(Metric::LivePeakBytes)?);
            (live > 0.0).then_some(resident / live)
        };
        let (before, after) = (of(self.baseline)?, of(self.candidate)?);
        let allowed = allowed.max(self.policy.margin(FRAGMENTATION).fail);
        let verdict = match () {
            () if skip.is_some() => Verdict::Skipped,
            () if after > before * (1.0 + allowed) => Verdict::Fail,
            () if after < before * (1.0 - allowed) => Verdict::Better,
            () if after == before => Verdict::Identical,
            () => Verdict::Pass,
        };
        let why = skip.map_or(String::new(), |reason| format!("not comparable: {reason}"));
        let mut finding = Finding::bare(trace, backend, FRAGMENTATION, verdict, why);
        (finding.unit, finding.margin) = ("ratio", allowed);
        (finding.baseline, finding.candidate) = (Some(before), Some(after));
        Some(finding)
    }

    fn exact(&self, trace: &str, backend: &str, metric: Metric, allowed: f64) -> Vec<Finding> {
        let theirs: Vec<(Scope, f64)> =
            self.operations(self.candidate, trace, backend, metric).collect();
        self.operations(self.baseline, trace, backend, metric)
            .map(|(op, baseline)| {
                let candidate =
                    theirs.iter().find(|(other, _)| *other == op).map(|(_, value)| *value);
                let allowed = allowed.max(self.policy.margin(metric.name()).fail);
                let verdict = match candidate {
                    None => Verdict::Missing,
                    Some(candidate) if candidate > baseline * (1.0 + allowed) => Verdict::Fail,
                    Some(candidate) if candidate < baseline * (1.0 - allowed) => Verdict::Better,
                    Some(candidate) if candidate == baseline => Verdict::Identical,
                    Some(candidate) if candidate.is_finite() && baseline.is_finite() => {
                        Verdict::Pass
                    }
                    Some(_) => Verdict::Missing,
                };
                let measure = match op {
                    Scope::All => metric.name().to_owned(),
                    op => format!("{} of {op}", metric.name()),
                };
                Finding {
                    unit: metric.unit(),
                    baseline: Some(baseline),
                    candidate,
                    margin: allowed,
                    ..Finding::bare(
                        trace,
                        backend,
                        measure,
                        verdict,
                        match allowed {
                            0.0 => String::new(),
                            _ => format!("{:.3} % are allowed", allowed * 100.0),
                        },
                    )
                }
            })
            .collect()
    }
}

/// The name of the measure that is derived from two others.
pub(super) const FRAGMENTATION: &str = "fragmentation";

/// What resident pages of a black box depend on.
const EXACT_FACTS: [&str; 5] =
    ["architecture", "libc", "page_bytes", "transparent_huge_pages", "variables"];
/// What times depend on.
const TIMED_FACTS: [&str; 11] = [
    "architecture",
    "libc",
    "page_bytes",
    "transparent_huge_pages",
    "processor",
    "cores",
    "hypervisor",
    "kernel",
    "address_randomisation",
    "governor",
    "memory",
];

/// The first of these facts in which two machines differ, in words.
fn apart(baseline: &Machine, candidate: &Machine, facts: &[&str]) -> Option<String> {
    facts.iter().find_map(|fact| {
        let of = |machine: &Machine| {
            machine.facts.get(*fact).cloned().unwrap_or_else(|| "unknown".into())
        };
        let (before, after) = (of(baseline), of(candidate));
        (before != after).then(|| format!("{fact} is `{after}`, in the baseline `{before}`"))
    })
}

/// The facts on which times depend and in which two machines differ, a line each.
pub fn fingerprints_apart(baseline: &Machine, candidate: &Machine) -> Vec<String> {
    let of = |machine: &Machine, fact: &str| {
        machine.facts.get(fact).cloned().unwrap_or_else(|| "unknown".into())
    };
    let told = |fact: &&&str| of(baseline, fact) != of(candidate, fact);
    let line = |fact: &&str| {
        format!("  {fact}: baseline `{}`, here `{}`", of(baseline, fact), of(candidate, fact))
    };
    TIMED_FACTS.iter().filter(told).map(line).collect()
}
