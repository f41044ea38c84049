//! What is said, derived from what was counted. Charts, page and terminal read the
//! same figures, so that no two of them can disagree.
//!
//! A [`TraceReport`] is one trace of a run with all its backends. Whatever the record lacks is `None` or
//! empty here: a run that was killed half way still draws.

use crate::results::{Latency, Metric, Operation, Pass, Run, Sample, Scope, TraceEntry, Variation};
use crate::stats;

use super::canvas::Colour;
use super::chart::backend_colour;
use super::phases::{self, Phase};

/// The ops as they are shown: calloc is a malloc that clears.
pub const OPS: [(&str, &[Operation]); 3] = [
    ("malloc / calloc", &[Operation::Malloc, Operation::Calloc]),
    ("free", &[Operation::Free]),
    ("realloc", &[Operation::Realloc]),
];

/// What a call costs, in nanoseconds, from the time pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Sum over chunks of the median over repetitions, a call.
    pub middle: f64,
    /// Sum over chunks of the fastest repetition, a call: what the machine could do undisturbed.
    pub low: f64,
    /// The slowest whole repetition, a call.
    pub high: f64,
    /// Repetitions behind it.
    pub repetitions: usize,
    /// The first repetitions, each whole, a call; NaN where there is none.
    pub rounds: [f64; ROUNDS],
}

/// Repetitions that are compared with each other.
pub const ROUNDS: usize = 16;
/// Less than this is the layout of the code as much as the allocator: the same source built again
/// moves by up to 2 %.
const LAYOUT: f64 = 0.02;

impl Cost {
    /// Whether the two differ. In each repetition the backends took turns, so they met the same
    /// weather: they differ when every repetition shows it, by over 2 %, and their ratios are not
    /// so far apart that it could be chance. Without repetitions in common, when their ranges lie
    /// apart.
    pub fn apart(&self, other: &Cost) -> bool {
        let pairs = self.rounds.iter().zip(other.rounds);
        let ratios: Vec<f64> = pairs.map(|(own, other)| own / other).collect();
        match stats::longer(&ratios, LAYOUT) {
            Some(found) => found != std::cmp::Ordering::Equal,
            None => self.high < other.low || other.high < self.low,
        }
    }
}

/// Whole repetitions by number, as [`Cost::rounds`] keeps them.
fn rounds(totals: impl Iterator<Item = (u32, f64)>) -> [f64; ROUNDS] {
    let mut rounds = [f64::NAN; ROUNDS];
    for (repetition, time) in totals {
        if let Some(place) = rounds.get_mut(repetition as usize) {
            *place = time;
        }
    }
    rounds
}

/// Service times of one op: values with the number of calls that took no longer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// (nanoseconds, calls up to and with it), rising in both.
    pub steps: Vec<(f64, u64)>,
    /// All calls.
    pub calls: u64,
}

impl Distribution {
    /// Adds histograms up.
    pub fn of<'a>(latencies: impl Iterator<Item = &'a Latency>) -> Distribution {
        let rows = latencies.flat_map(|latency| latency.histogram.iter_recorded());
        Distribution::of_counts(
            rows.map(|row| (row.value_iterated_to() as f64, row.count_at_value())).collect(),
        )
    }

    /// Adds up calls by their nanoseconds, in any order.
    pub fn of_counts(mut counts: Vec<(f64, u64)>) -> Distribution {
        counts.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut whole = Distribution::default();
        for (value, count) in counts {
            whole.calls = whole.calls.saturating_add(count);
            match whole.steps.last_mut() {
                Some(last) if last.0 == value => last.1 = whole.calls,
                _ => whole.steps.push((value, whole.calls)),
            }
        }
        whole
    }

    /// The value that a share of the calls (0 to 1) does not exceed; `None` without calls.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share * self.calls as f64).ceil().max(1.0) as u64;
        let at = self.steps.partition_point(|step| step.1 < rank);
        self.steps.get(at).or(self.steps.last()).map(|step| step.0)
    }

    /// Like [`Distribution::quantile`], but only where at least ten calls lie beyond it.
    pub fn fact(&self, share: f64) -> Option<f64> {
        // The small allowance keeps 1/(1 - 0.999), which no binary number is, from asking for one
        // call more.
        (self.calls as f64 * (1.0 - share) >= 10.0 - 1e-6).then(|| self.quantile(share)).flatten()
    }

    /// The slowest call.
    pub fn max(&self) -> Option<f64> {
        self.steps.last().map(|step| step.0)
    }

    /// Calls slower than `nanoseconds`.
    pub fn slower(&self, nanoseconds: f64) -> u64 {
        let at = self.steps.partition_point(|step| step.0 <= nanoseconds);
        self.calls - at.checked_sub(1).map_or(0, |at| self.steps[at].1)
    }
}

/// Memory figures of one backend, in bytes, from the footprint pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Largest resident.
    pub peak: Option<f64>,
    /// Averaged over the allocation clock.
    pub mean: Option<f64>,
    /// At the end of the trace.
    pub end: Option<f64>,
    /// After the allocator's own trim.
    pub trimmed: Option<f64>,
    /// The same, had the thread's cache of free blocks been emptied before.
    pub flushed: Option<f64>,
    /// After everything was freed.
    pub freed: Option<f64>,
    /// Pages that live blocks pin, at the end.
    pub pages_in_use_end: Option<f64>,
    /// Usable bytes of live blocks at the end.
    pub usable_end: Option<f64>,
    /// What pointers alone say that a trim leaves.
    pub trim_predicted: Option<f64>,
    /// Of peak, mean, end and after a trim: from what the allocator would hold had it given back at
    /// once what it gives back by the clock, to what it would had it never; `None` where the clock
    /// has no say, or the bounds are not known.
    pub bands: [Option<Band>; 4],
    /// Whether the figures hold for the pace of this replay only, with no bounds known.
    pub one_pace: bool,
}

/// From least to most, in bytes.
pub type Band = (f64, f64);

impl Memory {
    /// What a trim leaves because the thread's cache of free blocks pins its pages; `None` where
    /// that is next to nothing.
    pub fn cached(&self) -> Option<f64> {
        let trimmed = self.trimmed?;
        let cached = trimmed - self.flushed?;
        (cached >= trimmed * 0.02 && cached >= 16_384.0).then_some(cached)
    }

    /// What a trim leaves, by cause, where the allocator says how it gives back: pages of live
    /// blocks; pages that stay beside them by its way of giving back; what the thread's cache pins;
    /// and what is then unexplained, below 0 where less stays than was predicted. They add up to
    /// what was measured.
    pub fn left_by_trim(&self) -> Option<[f64; 4]> {
        let (trimmed, predicted, pinned) =
            (self.trimmed?, self.trim_predicted?, self.pages_in_use_end?);
        let cached = trimmed - self.flushed.unwrap_or(trimmed);
        Some([pinned, predicted - pinned, cached, trimmed - cached - predicted])
    }

    /// `≈` before figures that hold at the pace of this replay only, which have no band beside
    /// them; else nothing.
    pub fn about(&self) -> &'static str {
        if self.one_pace || self.bands.iter().any(Option::is_some) { "≈" } else { "" }
    }

    /// Peak (0), mean (1), end (2) or what a trim leaves (3) in words, with its band: never a bare
    /// number where the clock has a say.
    pub fn words(&self, which: usize) -> Option<String> {
        let value = [self.peak, self.mean, self.end, self.trimmed][which]?;
        let unit = super::words::byte_unit(value);
        let own = super::words::bytes(value);
        Some(match self.bands[which] {
            Some((low, high)) if high > low => {
                let [low, high] = [low, high].map(|bytes| super::words::figure(bytes / unit.bytes));
                format!("{own} ({low}–{high})")
            }
            _ if self.one_pace => format!("≈{own}"),
            _ => own,
        })
    }
}

/// One backend on one trace.
#[derive(Clone, Debug)]
pub struct Backend<'a> {
    /// As written in the run.
    pub name: &'a str,
    /// As the library calls itself.
    pub version: &'a str,
    /// Its colour everywhere.
    pub colour: Colour,
    /// How many backends of the same family stand before it: 0 is drawn filled and solid, others
    /// open and dashed.
    pub variant: usize,
    /// Time a call.
    pub cost: Option<Cost>,
    /// By [`OPS`]: the median over repetitions, call by call.
    pub confirmed: [Distribution; 3],
    /// By [`OPS`]: one raw repetition.
    pub raw: [Distribution; 3],
    /// The heap over the trace, by event.
    pub samples: Vec<&'a Sample>,
    /// Memory; empty for a backend that backs none.
    pub memory: Memory,
}

impl Backend<'_> {
    /// Whether it is the harness alone: no allocator, so that it wins nothing.
    pub fn is_floor(&self) -> bool {
        self.name == "null"
    }

    /// Whether resident memory was seen at all.
    pub fn has_memory(&self) -> bool {
        !self.is_floor() && self.samples.iter().any(|sample| sample.resident_bytes > 0)
    }

    /// The best distribution at hand: confirmed, else raw; and whether it is confirmed.
    pub fn latency(&self, op: usize) -> (&Distribution, bool) {
        let confirmed = &self.confirmed[op];
        if confirmed.calls > 0 { (confirmed, true) } else { (&self.raw[op], false) }
    }

    /// The slowest call of any op; and whether it is confirmed.
    pub fn worst_call(&self) -> Option<(f64, bool)> {
        (0..OPS.len())
            .filter_map(|op| {
                let (distribution, confirmed) = self.latency(op);
                distribution.max().map(|max| (max, confirmed))
            })
            .max_by(|a, b| a.0.total_cmp(&b.0))
    }
}

/// One trace of a run.
pub struct TraceReport<'a> {
    /// The whole record.
    pub run: &'a Run,
    /// The trace.
    pub trace: &'a TraceEntry,
    /// Its backends, in the run's order.
    pub backends: Vec<Backend<'a>>,
    /// Smallest step of the clock in nanoseconds, where it is known.
    pub clock_step: Option<f64>,
    /// Cost of an empty clock pair in nanoseconds, where it is known.
    pub clock_pair: Option<f64>,
    /// Largest sum of requested bytes live at once.
    pub live_peak: f64,
    /// Requested bytes live at the end.
    pub live_end: f64,
    /// Live bytes averaged over the allocation clock.
    pub live_mean: f64,
    /// Bytes requested in all.
    pub requested: f64,
    /// Where the program said that a phase begins.
    pub phases: Vec<Phase>,
}

impl<'a> TraceReport<'a> {
    /// Every trace of the run.
    pub fn all(run: &'a Run) -> Vec<TraceReport<'a>> {
        run.manifest.traces.iter().map(|trace| TraceReport::of(run, trace)).collect()
    }

    fn of(run: &'a Run, trace: &'a TraceEntry) -> TraceReport<'a> {
        let names: Vec<&str> =
            run.manifest.backends.iter().map(|backend| backend.name.as_str()).collect();
        let backends: Vec<Backend<'a>> = run
            .manifest
            .backends
            .iter()
            .enumerate()
            .map(|(at, entry)| {
                let (colour, variant) = backend_colour(&names, at);
                backend(run, &trace.name, &entry.name, &entry.version, colour, variant)
            })
            .collect();
        let samples = || backends.iter().flat_map(|backend| backend.samples.iter());
        let clock = |name: &str| {
            run.manifest.clock.get(name)?.parse::<f64>().ok().filter(|v| v.is_finite() && *v > 0.0)
        };
        let known = |metric: Metric| first_value(run, &trace.name, metric);
        TraceReport {
            run,
            trace,
            clock_step: clock("step_nanoseconds"),
            clock_pair: clock("pair_nanoseconds"),
            live_peak: known(Metric::LivePeakBytes)
                .unwrap_or_else(|| samples().map(|s| s.live_bytes).max().unwrap_or(0) as f64),
            live_end: known(Metric::LiveEndBytes).unwrap_or_else(|| {
                backends.iter().find_map(|b| b.samples.last()).map_or(0.0, |s| s.live_bytes as f64)
            }),
            live_mean: known(Metric::LiveMeanBytes)
                .or_else(|| backends.iter().find_map(|b| mean(&b.samples, |s| s.live_bytes)))
                .unwrap_or(0.0),
            requested: known(Metric::RequestedBytes)
                .unwrap_or_else(|| samples().map(|s| s.clock_bytes).max().unwrap_or(0) as f64),
            phases: backends
                .iter()
                .find(|backend| !backend.samples.is_empty())
                .map_or_else(Vec::new, |backend| phases::phases(trace, &backend.samples)),
            backends,
        }
    }

    /// The backends that are allocators, the harness's own floor left out.
    pub fn allocators(&self) -> impl Iterator<Item = &Backend<'a>> {
        self.backends.iter().filter(|backend| !backend.is_floor())
    }

    /// The allocator that others are compared with: `malloc`, else the first.
    pub fn reference(&self) -> Option<&Backend<'a>> {
        self.allocators()
            .find(|backend| backend.name == "malloc")
            .or_else(|| self.allocators().next())
    }

    /// That some allocators give memory back by the clock, for pictures which show them at the pace
    /// of the replay; empty where none does.
    pub fn pace_note(&self) -> String {
        let mine = self.allocators().filter(|backend| !backend.memory.about().is_empty());
        let names: Vec<String> = mine.map(|backend| backend.name.to_owned()).collect();
        match names.len() {
            0 => String::new(),
            1 => format!(
                "  {} gives memory back by the clock: at the pace of this replay.",
                names[0]
            ),
            _ => format!(
                "  {} give memory back by the clock: at the pace of this replay.",
                super::words::list(&names)
            ),
        }
    }

    /// The floor: what the harness itself costs a call.
    pub fn floor(&self) -> Option<Cost> {
        self.backends.iter().find(|backend| backend.is_floor()).and_then(|backend| backend.cost)
    }
}

fn backend<'a>(
    run: &'a Run,
    trace: &str,
    name: &'a str,
    version: &'a str,
    colour: Colour,
    variant: usize,
) -> Backend<'a> {
    let mine = || run.latencies.iter().filter(move |l| l.trace == trace && l.backend == name);
    let first = mine().filter_map(|l| l.repetition).min();
    let by_op = |repetition: Option<u32>| {
        OPS.map(|(_, ops)| {
            Distribution::of(mine().filter(|l| l.repetition == repetition && ops.contains(&l.op)))
        })
    };
    let earliest =
        run.samples.iter().filter(|s| s.trace == trace && s.backend == name).map(|s| s.repetition);
    let repetition = earliest.min();
    let mut samples: Vec<&Sample> = run
        .samples
        .iter()
        .filter(|s| s.trace == trace && s.backend == name && Some(s.repetition) == repetition)
        .collect();
    samples.sort_by_key(|sample| sample.event);
    let memory = memory(run, trace, name, &samples);
    Backend {
        name,
        version,
        colour,
        variant,
        cost: cost(run, trace, name),
        confirmed: by_op(None),
        raw: if first.is_some() { by_op(first) } else { Default::default() },
        samples,
        memory,
    }
}

/// The first finite value of a metric that is the same for every backend.
fn first_value(run: &Run, trace: &str, metric: Metric) -> Option<f64> {
    let row = run.measurements.iter().find(|m| {
        m.trace == trace
            && m.metric == metric
            && m.op == Scope::All
            && m.value.is_finite()
            && m.value >= 0.0
    });
    row.map(|m| m.value)
}

/// Peak, mean, end and after trim: the measured figure, and the ends of its range for an allocator
/// that returns memory after a delay.
const BANDS: [[Metric; 3]; 4] = [
    [Metric::ResidentPeakBytes, Metric::ResidentPeakAtOnceBytes, Metric::ResidentPeakNeverBytes],
    [Metric::ResidentMeanBytes, Metric::ResidentMeanAtOnceBytes, Metric::ResidentMeanNeverBytes],
    [Metric::ResidentEndBytes, Metric::ResidentEndAtOnceBytes, Metric::ResidentEndNeverBytes],
    [
        Metric::ResidentTrimmedBytes,
        Metric::ResidentTrimmedAtOnceBytes,
        Metric::ResidentTrimmedNeverBytes,
    ],
];

fn memory(run: &Run, trace: &str, name: &str, samples: &[&Sample]) -> Memory {
    if !samples.iter().any(|sample| sample.resident_bytes > 0) {
        return Memory::default();
    }
    let known = |metric: Metric| {
        let values = run.values(trace, name, Scope::All, metric);
        values.into_iter().find(|value| value.is_finite() && *value >= 0.0)
    };
    let last = samples.last();
    let most = samples.iter().map(|s| s.resident_bytes).max();
    let bands = BANDS.map(|[own, at_once, never]| {
        let own = known(own)?;
        let bounds = [known(at_once)?, known(never)?];
        Some((own.min(bounds[0]).min(bounds[1]), own.max(bounds[0]).max(bounds[1])))
    });
    let by_the_clock =
        known(Metric::VariesBetweenRuns).and_then(Variation::of) == Some(Variation::ByClock);
    let paced = run.manifest.settings.contains_key("pace");
    Memory {
        one_pace: by_the_clock && !paced && bands.iter().all(Option::is_none),
        bands,
        peak: known(Metric::ResidentPeakBytes).or(most.map(|bytes| bytes as f64)),
        mean: known(Metric::ResidentMeanBytes).or_else(|| mean(samples, |s| s.resident_bytes)),
        end: known(Metric::ResidentEndBytes).or(last.map(|s| s.resident_bytes as f64)),
        trimmed: known(Metric::ResidentTrimmedBytes),
        flushed: known(Metric::ResidentFlushedBytes),
        trim_predicted: known(Metric::TrimPredictedBytes),
        freed: known(Metric::ResidentFreedBytes),
        pages_in_use_end: known(Metric::PagesInUseEndBytes)
            .or(last.map(|s| s.pages_in_use_bytes as f64)),
        usable_end: known(Metric::UsableEndBytes).or(last.map(|s| s.usable_bytes as f64)),
    }
}

/// Average of `of` over the allocation clock, by trapezoids.
fn mean(samples: &[&Sample], of: impl Fn(&Sample) -> u64) -> Option<f64> {
    let mut area = 0.0;
    let mut length = 0.0;
    for pair in samples.windows(2) {
        let step = pair[1].clock_bytes.saturating_sub(pair[0].clock_bytes) as f64;
        area += step * (of(pair[0]) as f64 + of(pair[1]) as f64) / 2.0;
        length += step;
    }
    (length > 0.0).then(|| area / length)
}

/// One repetition's chunks, or `None` where it lacks some that others have.
fn cost(run: &Run, trace: &str, name: &str) -> Option<Cost> {
    let profile = chunk_profile(run, trace, name);
    let calls: f64 = profile.iter().map(|chunk| chunk.calls).sum();
    if calls <= 0.0 {
        return cost_from_totals(run, trace, name);
    }
    let sum = |of: fn(&ChunkCost) -> f64| profile.iter().map(of).sum::<f64>() / calls;
    let (middle, low) = (sum(|c| c.middle), sum(|c| c.low));
    // A repetition that was cut short would look fast: only those with every chunk count.
    let repetitions = profile.iter().map(|chunk| chunk.times.len()).max().unwrap_or(0);
    let mut totals: std::collections::BTreeMap<u32, (usize, f64)> =
        std::collections::BTreeMap::new();
    for (repetition, time) in profile.iter().flat_map(|chunk| chunk.times.iter()) {
        let total = totals.entry(*repetition).or_default();
        total.0 += 1;
        total.1 += time;
    }
    let whole: Vec<(u32, f64)> = totals
        .into_iter()
        .filter(|(_, total)| total.0 == profile.len())
        .map(|(repetition, total)| (repetition, total.1 / calls))
        .collect();
    let high = whole.iter().map(|(_, time)| *time).fold(middle, f64::max);
    Some(Cost { middle, low, high, repetitions, rounds: rounds(whole.into_iter()) })
}

fn cost_from_totals(run: &Run, trace: &str, name: &str) -> Option<Cost> {
    let calls =
        first_value(run, trace, Metric::Calls).filter(|calls| *calls > 0.0).or_else(|| {
            let entry = run.manifest.traces.iter().find(|entry| entry.name == trace)?;
            (entry.calls > 0).then_some(entry.calls as f64)
        })?;
    let times = run.values(trace, name, Scope::All, Metric::TimeNanoseconds);
    let (low, high) = stats::range(&times)?;
    let middle = stats::median(&times)?;
    (low >= 0.0).then(|| Cost {
        middle: middle / calls,
        low: low / calls,
        high: high / calls,
        repetitions: times.len(),
        rounds: rounds((0..).zip(times.iter().map(|time| time / calls))),
    })
}

/// A stretch of the trace over the repetitions.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkCost {
    /// Calls before it.
    pub first_call: f64,
    /// Calls in it.
    pub calls: f64,
    /// Nanoseconds of the whole chunk: median over repetitions.
    pub middle: f64,
    /// The fastest repetition's nanoseconds.
    pub low: f64,
    /// Each repetition's nanoseconds.
    pub times: Vec<(u32, f64)>,
}

/// The time pass of one backend, chunk by chunk in order.
pub fn chunk_profile(run: &Run, trace: &str, name: &str) -> Vec<ChunkCost> {
    let mut chunks: std::collections::BTreeMap<u32, ChunkCost> = std::collections::BTreeMap::new();
    for chunk in run.chunks.iter().filter(|c| c.trace == trace && c.backend == name && c.calls > 0)
    {
        let entry = chunks.entry(chunk.chunk).or_insert(ChunkCost {
            first_call: 0.0,
            calls: chunk.calls as f64,
            middle: 0.0,
            low: 0.0,
            times: vec![],
        });
        entry.times.push((chunk.repetition, chunk.nanoseconds as f64));
    }
    let mut profile: Vec<ChunkCost> = chunks.into_values().collect();
    let mut before = 0.0;
    for chunk in &mut profile {
        let times: Vec<f64> = chunk.times.iter().map(|(_, time)| *time).collect();
        chunk.first_call = before;
        chunk.middle = stats::median(&times).unwrap_or(0.0);
        chunk.low = stats::range(&times).map_or(0.0, |(low, _)| low);
        before += chunk.calls;
    }
    profile
}

/// The outcome of one pass in words, for tables: `None` when at least one cell of it went well.
pub fn why_absent(run: &Run, trace: &str, backend: &str, pass: Pass) -> Option<String> {
    use crate::results::Status;
    let mut mine = run
        .outcomes
        .iter()
        .filter(|o| o.trace == trace && o.backend == backend && o.pass == pass)
        .peekable();
    if mine.peek().is_none() {
        return Some("not measured".to_owned());
    }
    let mut reason = String::new();
    for outcome in mine {
        if outcome.status == Status::Ok {
            return None;
        }
        reason.clone_from(&outcome.reason);
    }
    Some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution(counts: &[(f64, u64)]) -> Distribution {
        let mut whole = Distribution::default();
        for &(value, count) in counts {
            whole.calls += count;
            whole.steps.push((value, whole.calls));
        }
        whole
    }

    #[test]
    fn a_percentile_is_a_fact_only_with_ten_calls_beyond_it() {
        let d = distribution(&[(10.0, 9_000), (20.0, 900), (100.0, 90), (1000.0, 10)]);
        assert_eq!(d.fact(0.5), Some(10.0));
        assert_eq!(d.fact(0.99), Some(20.0));
        assert_eq!(d.fact(0.999), Some(100.0));
        assert_eq!(d.fact(0.9999), None);
        assert_eq!(d.quantile(0.9999), Some(1000.0));
        assert_eq!(d.slower(20.0), 100);
        assert_eq!(d.slower(5.0), 10_000);
        assert_eq!(d.slower(5000.0), 0);
        assert_eq!(Distribution::default().quantile(0.5), None);
    }

    #[test]
    fn repetitions_that_do_not_agree_are_no_difference() {
        let cost = |times: &[f64]| Cost {
            middle: 1.0,
            low: 1.0,
            high: 9.0,
            repetitions: times.len(),
            rounds: rounds((0..).zip(times.iter().copied())),
        };
        // The machine slowed down by half in between, for both.
        assert!(cost(&[10.0, 15.0, 10.0]).apart(&cost(&[11.0, 16.5, 11.0])));
        assert!(!cost(&[10.0, 15.0, 12.0]).apart(&cost(&[11.0, 16.5, 11.0])));
        assert!(!cost(&[10.0, 15.0, 10.0]).apart(&cost(&[10.1, 15.1, 10.1])), "within 2 %");
    }

    #[test]
    fn without_repetitions_in_common_ranges_that_overlap_are_no_difference() {
        let cost = |low: f64, high: f64| Cost {
            middle: (low + high) / 2.0,
            low,
            high,
            repetitions: 5,
            rounds: [f64::NAN; ROUNDS],
        };
        assert!(cost(1.0, 2.0).apart(&cost(2.5, 3.0)));
        assert!(!cost(1.0, 2.6).apart(&cost(2.5, 3.0)));
        assert!(!cost(1.0, 2.5).apart(&cost(2.5, 3.0)));
    }
}
