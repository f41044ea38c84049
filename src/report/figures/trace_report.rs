//! One trace of a run with the figures of all its backends. Charts, page and terminal read the same
//! figures, so that no two of them can disagree.
//!
//! Whatever the record lacks is `None` or empty here: a run that was killed half way still draws.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::results::{
    BackendEntry, ComparedPair, Manifest, Metric, Moment, Outcome, Pass, Run, Scope, TimeBudget,
    TimeEvidence, TraceEntry, reference,
};
use crate::spec::{BackendSpec, FLOOR, labels};
use crate::stats::{self, LEAST_PAIRS, TimeComparison};

use super::backend::{BackendFigures, BackendLabel, without_bounds};
use super::cost::CallCost;
use super::memory::mean_over_clock;
use super::phases::{self, ProgramPhase};
use super::recorded_process::{RecordedProcess, own_backend, recorded_process};
use super::rows::BackendRows;
use super::trace_threads::TraceThreads;
use crate::report::palette::backend_colour;
use crate::report::text::{end_name, end_sentence, list, some};

/// Backends that serve calls of CPython's domains, and pass all others on.
const SERVES_CPYTHON: [&str; 3] = ["freelist", "pymalloc", "python"];

/// One trace of a run.
pub struct TraceReport<'a> {
    run: &'a Run,
    /// The trace.
    pub trace: &'a TraceEntry,
    /// Its backends, in the run's order.
    pub backends: Vec<BackendFigures<'a>>,
    /// Smallest step of the clock, where it is known.
    pub clock_step_ns: Option<f64>,
    /// Cost of an empty clock pair, where it is known.
    pub clock_pair_ns: Option<f64>,
    /// Largest sum of requested bytes live at once.
    pub live_peak_bytes: f64,
    /// Requested bytes live at the end.
    pub live_end_bytes: f64,
    /// Live bytes averaged over the allocation clock.
    pub live_mean_bytes: f64,
    /// Bytes requested in all.
    pub requested_bytes: f64,
    /// Where the program set a mark.
    pub phases: Vec<ProgramPhase>,
    /// The recorded process, where the recording read its memory.
    pub process: Option<RecordedProcess>,
    /// The time passes of all allocators.
    pub evidence: Arc<TimeEvidence>,
    /// The pairs that the run compares.
    pub comparisons: Vec<ComparedPair>,
}

impl<'a> TraceReport<'a> {
    /// Every trace of the run. The rows of the run are read once.
    pub fn all(run: &'a Run) -> Vec<TraceReport<'a>> {
        let mut rows = BackendRows::of_run(run);
        let labels = backend_labels(&run.manifest.backends);
        let traces = run.manifest.traces.iter();
        traces.map(|trace| TraceReport::of(run, trace, &labels, &mut rows)).collect()
    }

    fn of(
        run: &'a Run,
        trace: &'a TraceEntry,
        labels: &[BackendLabel],
        rows: &mut HashMap<(&'a str, &'a str), BackendRows<'a>>,
    ) -> TraceReport<'a> {
        let entries = run.manifest.backends.iter();
        let own: Vec<BackendRows> = entries
            .map(|entry| rows.remove(&(trace.name.as_str(), entry.name.as_str())))
            .map(Option::unwrap_or_default)
            .collect();
        let evidence = evidence(&run.manifest, &own);
        // These figures are the same for every backend.
        let shared = |metric: Metric| own.iter().find_map(|rows| rows.first_value(metric));
        // What the program never touched is in no figure of pages, so it is in none of live bytes.
        let untouched = [Metric::UntouchedAtLivePeakBytes, Metric::UntouchedEndBytes];
        let untouched = untouched.map(|metric| shared(metric).unwrap_or(0.0));
        let [peak, end, mean, requested] = [
            Metric::LivePeakBytes,
            Metric::LiveEndBytes,
            Metric::LiveMeanBytes,
            Metric::RequestedBytes,
        ]
        .map(shared);
        let (peak, end) = (peak.map(|peak| peak - untouched[0]), end.map(|end| end - untouched[1]));
        let calls = shared(Metric::Calls)
            .filter(|calls| *calls > 0.0)
            .or((trace.calls > 0).then_some(trace.calls as f64));
        let is_paced = run.manifest.settings.contains_key("pace");
        let backends: Vec<BackendFigures> = run
            .manifest
            .backends
            .iter()
            .zip(labels)
            .zip(own)
            .map(|((entry, label), rows)| {
                BackendFigures::of(&entry.name, label.clone(), rows, calls, is_paced)
            })
            .collect();
        let samples = || backends.iter().flat_map(|backend| backend.samples.iter());
        let last = || backends.iter().find_map(|backend| backend.samples.last());
        TraceReport {
            run,
            trace,
            clock_step_ns: clock_fact(&run.manifest, "step_nanoseconds"),
            clock_pair_ns: clock_fact(&run.manifest, "pair_nanoseconds"),
            live_peak_bytes: peak.unwrap_or_else(|| {
                samples().map(|sample| sample.live_bytes).max().unwrap_or(0) as f64
            }),
            live_end_bytes: end
                .unwrap_or_else(|| last().map_or(0.0, |sample| sample.live_bytes as f64)),
            live_mean_bytes: mean
                .or_else(|| {
                    let live = |backend: &BackendFigures| {
                        mean_over_clock(&backend.samples, |sample| sample.live_bytes)
                    };
                    backends.iter().find_map(live)
                })
                .unwrap_or(0.0),
            requested_bytes: requested.unwrap_or_else(|| {
                samples().map(|sample| sample.clock_bytes).max().unwrap_or(0) as f64
            }),
            phases: backends
                .iter()
                .find(|backend| !backend.samples.is_empty())
                .map_or_else(Vec::new, |backend| phases::phases(trace, &backend.samples)),
            process: recorded_process(trace, &backends),
            comparisons: evidence
                .pairs(run.manifest.time_budget.map(|budget| budget.compared).unwrap_or_default()),
            evidence: Arc::new(evidence),
            backends,
        }
    }

    /// The allocator that the program ran on, as recorded; `None` where that is not known, or was not
    /// replayed.
    pub fn own_backend(&self) -> Option<&BackendFigures<'a>> {
        own_backend(self.trace, &self.backends)
    }

    /// How near the replay on the program's own allocator comes to the process, and the warning where
    /// it is far; none where that was not replayed.
    pub fn own_replay(&self) -> Vec<String> {
        let Some(own) = self.process.as_ref().and_then(|process| process.own.as_ref()) else {
            return vec![];
        };
        [own.sentence(self.trace.end.as_ref())].into_iter().chain(own.warning(self.trace)).collect()
    }

    /// The threads of the trace, as the footprint pass of any backend saw them; `None` for a trace of
    /// one thread.
    pub fn threads(&self) -> Option<TraceThreads> {
        let rows = &self.backends.iter().find(|backend| !backend.rows.threads.is_empty())?.rows;
        TraceThreads::of(
            self.observed_calls(),
            &self.trace.threads,
            rows.threads.iter().copied(),
            rows.thread_activity.iter().copied(),
            rows.thread_frees.iter().copied(),
        )
    }

    /// Calls done when the live bytes are largest for the first time.
    pub fn live_peak_event(&self) -> Option<u64> {
        let known = |backend: &BackendFigures| backend.rows.first_value(Metric::LivePeakEvent);
        Some(self.backends.iter().find_map(known)? as u64 + 1)
    }

    /// Calls up to the moment that counts as the end: memory is followed over them.
    pub fn observed_calls(&self) -> u64 {
        self.trace.end.as_ref().map_or(self.trace.calls, |end| end.event)
    }

    /// The moment that counts as the end, in a heading.
    pub fn end_name(&self) -> String {
        end_name(self.trace.end.as_ref())
    }

    /// The same without its preposition: `end`, `peak` or a mark's name.
    pub fn end_noun(&self) -> String {
        let name = self.end_name();
        let rest =
            ["at the ", "on the ", "at "].iter().find_map(|before| name.strip_prefix(before));
        rest.unwrap_or(&name).to_owned()
    }

    /// The moment that counts as the end, in a sentence.
    pub fn end_sentence(&self) -> String {
        end_sentence(self.trace.end.as_ref())
    }

    /// Repetitions of each timed pass.
    pub fn repetitions(&self) -> u32 {
        self.run.manifest.repetitions
    }

    /// How long the time pass may go on beyond these; `None` where their number is fixed.
    pub fn time_budget(&self) -> Option<TimeBudget> {
        self.run.manifest.time_budget
    }

    /// The backends that are allocators: all but the floor.
    pub fn allocators(&self) -> impl Iterator<Item = &BackendFigures<'a>> {
        self.backends.iter().filter(|backend| !backend.is_floor())
    }

    /// The allocators of sentences: see [`without_bounds`].
    pub fn choosable(&self) -> Vec<&BackendFigures<'a>> {
        without_bounds(self.allocators())
    }

    /// The allocator that others are compared with.
    pub fn reference(&self) -> Option<&BackendFigures<'a>> {
        let spec = reference(self.allocators().map(|backend| backend.spec))?;
        self.allocators().find(|backend| backend.spec == spec)
    }

    /// The backend that the answer on lines is about: what the program has today, or else the reference.
    pub fn answered_backend(&self) -> Option<&BackendFigures<'a>> {
        self.own_backend().or_else(|| self.reference())
    }

    /// Compares the time of `candidate` with that of `base`. `None` where they have no repetition in
    /// common.
    pub fn compare_time(
        &self,
        base: &BackendFigures,
        candidate: &BackendFigures,
    ) -> Option<TimeComparison> {
        let known = self
            .comparisons
            .iter()
            .find(|pair| pair.base == base.spec && pair.candidate == candidate.spec);
        match known {
            Some(pair) => pair.comparison,
            None => self.evidence.compare(base.spec, candidate.spec),
        }
    }

    /// The time of `candidate` as a multiple of that of `base`: the mean ratio within the repetitions
    /// that both have, else the ratio of their medians. `None` where one of them has no time.
    pub fn time_ratio(&self, base: &BackendFigures, candidate: &BackendFigures) -> Option<f64> {
        let (base_ns, candidate_ns) = (base.cost?.middle_ns, candidate.cost?.middle_ns);
        if base.spec == candidate.spec {
            return Some(1.0);
        }
        // A pair that the run compared the other way round has the reciprocal.
        let is_reversed =
            |pair: &ComparedPair| pair.base == candidate.spec && pair.candidate == base.spec;
        let paired = match self.comparisons.iter().any(is_reversed) {
            true => self.compare_time(candidate, base).map(|known| 1.0 / (1.0 + known.change)),
            false => self.compare_time(base, candidate).map(|known| 1.0 + known.change),
        };
        let is_usable = |ratio: &f64| ratio.is_finite() && *ratio > 0.0;
        paired.filter(is_usable).or((base_ns > 0.0).then(|| candidate_ns / base_ns))
    }

    /// The same by the specs of the two.
    fn time_ratio_of_specs(&self, base: &str, candidate: &str) -> Option<f64> {
        let find = |spec: &str| self.backends.iter().find(|backend| backend.spec == spec);
        self.time_ratio(find(base)?, find(candidate)?)
    }

    /// What the ratios of time are, as a sentence; `None` where nothing has one.
    pub fn ratio_sentence(&self) -> Option<String> {
        let first = self.reference().filter(|first| first.cost.is_some())?;
        let is_paired = |backend: &BackendFigures| {
            backend.spec != first.spec
                && backend.cost.is_some()
                && self.compare_time(first, backend).is_some()
        };
        self.allocators().any(is_paired).then(|| {
            format!(
                "Ratio: time over that of {} in the same repetition, averaged over the repetitions; \
                 it can differ from the ratio of the medians",
                first.name()
            )
        })
    }

    /// Wall seconds of a repetition of the time pass, in the median. The children of a repetition are
    /// alive together, so the longest counts.
    pub fn repetition_seconds(&self) -> Option<f64> {
        let mut longest: HashMap<u32, f64> = HashMap::new();
        let is_timed = |one: &&Outcome| one.pass == Pass::Time && one.is_ok();
        let own = self.run.outcomes.iter().filter(|one| one.trace == self.trace.name);
        for outcome in own.filter(is_timed) {
            let seconds = longest.entry(outcome.repetition).or_default();
            *seconds = seconds.max(outcome.seconds);
        }
        stats::median(&longest.into_values().collect::<Vec<f64>>())
    }

    /// Whether the times of two allocators differ: by the repetitions that they have in common, or,
    /// where these are too few, because their ranges do not overlap.
    pub fn is_time_apart(&self, base: &BackendFigures, candidate: &BackendFigures) -> bool {
        match (self.compare_time(base, candidate), base.cost, candidate.cost) {
            (Some(comparison), _, _) if comparison.pairs >= LEAST_PAIRS => comparison.is_apart(),
            (_, Some(base), Some(candidate)) => candidate.is_out_of_range_of(&base),
            _ => false,
        }
    }

    /// About how many repetitions would separate the times of two allocators, where their number was
    /// fixed (`-r`) and is too small for it. `None` where the two are apart, or level.
    pub fn repetitions_needed(
        &self,
        base: &BackendFigures,
        candidate: &BackendFigures,
    ) -> Option<usize> {
        self.compare_time(base, candidate)?.pairs_needed
    }

    /// What to do about allocators that too few repetitions leave unseparated from `base`, as a
    /// sentence; `None` where there are none.
    pub fn too_few_repetitions(&self, base: &BackendFigures) -> Option<String> {
        let others = self.allocators().filter(|backend| backend.spec != base.spec);
        let short = others.filter_map(|backend| {
            let comparison = self.compare_time(base, backend)?;
            Some((backend.name().to_owned(), comparison.pairs, comparison.pairs_needed?))
        });
        let short: Vec<(String, usize, usize)> = short.collect();
        let (pairs, needed) = (short.first()?.1, short.iter().map(|one| one.2).max()?);
        let names: Vec<String> = short.into_iter().map(|one| one.0).collect();
        Some(format!(
            "{pairs} repetitions are too few to separate {} from {}: about {needed} are needed. \
             Without -r a run repeats until that is decided.",
            some(&names),
            base.name()
        ))
    }

    /// The backends that serve none of the calls themselves, since these are no calls of CPython's
    /// domains: a sentence for all that pass them on to the same allocator. None where the program is a
    /// Python, or where that is not known.
    pub fn passed_on(&self) -> Vec<String> {
        if self.trace.has_pymalloc_calls != Some(false) {
            return vec![];
        }
        let mut by_below: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for backend in self.allocators() {
            let Ok(spec) = backend.spec.parse::<BackendSpec>() else { continue };
            // Free lists above pymalloc pass the calls on to what is below both.
            let own = spec.layers().take_while(|layer| SERVES_CPYTHON.contains(&layer.name()));
            let Some(lowest) = own.last() else { continue };
            let below = lowest.below().map_or_else(|| "malloc".to_owned(), BackendSpec::label);
            by_below.entry(below).or_default().push(backend.name().to_owned());
        }
        let sentence = |(below, names): (String, Vec<String>)| {
            let [serve, they_are, their] = match names.len() {
                1 => ["serves", "it is", "its"],
                _ => ["serve", "they are", "their"],
            };
            format!(
                "{} {serve} only calls of CPython's domains mem and obj, and this trace has none: here \
                 {they_are} {below}, and {their} figures are those of {below}.",
                some(&names)
            )
        };
        by_below.into_iter().map(sentence).collect()
    }

    /// What the harness itself costs a call.
    pub fn floor(&self) -> Option<CallCost> {
        self.backends.iter().find(|backend| backend.is_floor()).and_then(|backend| backend.cost)
    }

    /// What one call of the clock costs in nanoseconds: a time up to that is the clock's, and not
    /// the allocator's.
    pub fn clock_floor_ns(&self) -> Option<f64> {
        let step = self.clock_step_ns?;
        Some(self.clock_pair_ns.unwrap_or(step).max(step))
    }

    /// Whether the run has service times by size class that are the median over the replays.
    pub fn has_confirmed_classes(&self) -> bool {
        self.run.service_times.iter().any(|row| row.repetition.is_none())
    }

    /// The lines by the page retention that they cause at a moment; see [`Run::retaining_lines`].
    pub fn retaining_lines(&self, moment: Moment) -> Vec<(&'a str, f64)> {
        self.run.retaining_lines(&self.trace.name, moment)
    }

    /// The instructions a call of each backend, where they were counted, as a sentence; those of
    /// the floor are the loop's.
    pub fn instructions(&self) -> Option<String> {
        let calls = self.trace.calls as f64;
        let of = |backend: &BackendFigures| {
            let count = *backend.values(Scope::All, Metric::Instructions).first()?;
            Some(format!("{} {:.1}", backend.name(), count / calls))
        };
        let counts: Vec<String> = self.backends.iter().filter_map(of).collect();
        (!counts.is_empty()).then(|| {
            format!(
                "Instructions a call, the loop's with them, counted by valgrind: {}.",
                list(&counts)
            )
        })
    }

    /// The pace for which figures of allocators hold that return memory after a delay: these read the
    /// times of the recorded program, where the trace has some.
    pub fn pace(&self) -> &'static str {
        if self.trace.recorded_ns > 0 {
            "at the recorded pace"
        } else {
            "at the pace of this replay"
        }
    }

    /// A sentence about allocators that return memory after a delay, for pictures that show them at
    /// one pace; empty where there is none.
    pub fn pace_note(&self) -> String {
        let own = self.allocators().filter(|backend| !backend.memory.about().is_empty());
        let names: Vec<String> = own.map(|backend| backend.name().to_owned()).collect();
        let verb = match names.len() {
            0 => return String::new(),
            1 => "returns",
            _ => "return",
        };
        format!("  {} {verb} memory after a delay: {}.", list(&names), self.pace())
    }
}

/// The time passes of the allocators of a trace, whose rows are `own`.
fn evidence(manifest: &Manifest, own: &[BackendRows]) -> TimeEvidence {
    let mut evidence = TimeEvidence::new(manifest);
    for (entry, rows) in manifest.backends.iter().zip(own) {
        rows.chunks.iter().for_each(|chunk| evidence.add(chunk));
        evidence.set_totals(&entry.name, rows.values(Scope::All, Metric::TimeNanoseconds));
    }
    evidence
}

/// The geometric mean of the ratios of time over the traces on which both backends have a time. The
/// backends are named by their specs.
pub fn mean_time_ratio<'a, 'r: 'a>(
    trace_reports: impl IntoIterator<Item = &'a TraceReport<'r>>,
    base: &str,
    candidate: &str,
) -> Option<f64> {
    let ratios = trace_reports.into_iter();
    let ratios = ratios.filter_map(|one| one.time_ratio_of_specs(base, candidate));
    stats::geometric_mean(&ratios.collect::<Vec<f64>>())
}

/// The labels of backends, in their order.
pub fn backend_labels(backends: &[BackendEntry]) -> Vec<BackendLabel> {
    let specs: Vec<Option<BackendSpec>> =
        backends.iter().map(|entry| entry.name.parse().ok()).collect();
    let names: Vec<&str> = backends.iter().map(|entry| entry.name.as_str()).collect();
    // A name that cannot be parsed is its own label.
    let shortened = match specs.iter().cloned().collect::<Option<Vec<BackendSpec>>>() {
        Some(specs) => labels(&specs),
        None => names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let families: Vec<&str> = specs
        .iter()
        .zip(&names)
        .map(|(spec, name)| spec.as_ref().map_or(*name, BackendSpec::family))
        .collect();
    let entries = backends.iter().zip(shortened).enumerate();
    entries
        .map(|(at, (entry, name))| {
            let (colour, variant) = backend_colour(&families, at);
            let is_floor = entry.name == FLOOR;
            let is_bound = specs[at].as_ref().is_some_and(BackendSpec::is_bound);
            BackendLabel {
                name,
                version: entry.version.clone(),
                colour,
                variant,
                is_floor,
                is_bound,
            }
        })
        .collect()
}

/// A figure of the clock in nanoseconds.
fn clock_fact(manifest: &Manifest, name: &str) -> Option<f64> {
    let value = manifest.clock.get(name)?.parse::<f64>().ok()?;
    (value.is_finite() && value > 0.0).then_some(value)
}
