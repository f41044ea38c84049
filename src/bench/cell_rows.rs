//! What a pass counted, as the rows of its cell.

use super::operations::scope_of;
use super::page_rows;
use crate::backends::{Backend, PoolFigure, Varies};
use crate::program::{Action, AllocationSites, Outline};
use crate::replay::{
    Footprint, HeapSample, LatencyResult, ThreadCounts, TimeResult, TraversalResult,
};
use crate::results::{
    CellKey, Chunk, Latency, LineContents, Manifest, Metric, Run, Sample, Scope, Variation,
};

/// Collects the rows of one cell.
pub(super) struct CellRows<'a> {
    cell: &'a CellKey,
    /// The rows so far.
    pub run: Run,
}

impl<'a> CellRows<'a> {
    /// No rows yet.
    pub fn new(cell: &'a CellKey) -> CellRows<'a> {
        CellRows { cell, run: Run::new(Manifest::default()) }
    }

    /// A figure of the cell.
    pub fn put(&mut self, op: Scope, metric: Metric, value: f64) {
        self.run.measurements.push(self.cell.measurement(op, metric, value));
    }

    fn count(&mut self, metric: Metric, value: u64) {
        self.put(Scope::All, metric, value as f64);
    }

    fn calls(&mut self, calls: [u64; 4]) {
        for action in Action::ALL {
            self.put(scope_of(action), Metric::Calls, calls[action as usize] as f64);
        }
    }

    /// The threads of a replay; no row for a trace of one thread.
    pub fn threads(&mut self, outline: &Outline, threads: ThreadCounts) {
        if !outline.threads.is_empty() {
            self.count(Metric::Threads, threads.threads);
            self.count(Metric::HandOvers, threads.hand_overs);
        }
    }

    /// The rows of a time pass.
    pub fn time(&mut self, found: &TimeResult) {
        self.count(Metric::Calls, found.calls);
        self.count(Metric::TimeNanoseconds, found.processor_ns);
        self.count(Metric::WallNanoseconds, found.wall_ns);
        self.count(Metric::Preemptions, found.preemptions);
        for (number, &nanoseconds) in found.chunks_ns.iter().enumerate() {
            let start = (number * found.chunk_calls) as u64;
            self.run.chunks.push(Chunk {
                trace: self.cell.trace.clone(),
                backend: self.cell.backend.clone(),
                repetition: self.cell.repetition,
                chunk: number as u32,
                calls: (found.chunk_calls as u64).min(found.calls - start),
                nanoseconds,
            });
        }
    }

    /// The rows of a touch pass.
    pub fn touch(&mut self, found: &TimeResult) {
        self.count(Metric::Calls, found.calls);
        self.count(Metric::FirstTouchNanoseconds, found.processor_ns);
        self.count(Metric::FirstTouchFaults, found.faults);
    }

    /// The rows of a cold pass.
    pub fn cold(&mut self, found: &TimeResult) {
        self.count(Metric::Calls, found.calls);
        self.count(Metric::ColdNanoseconds, found.processor_ns);
    }

    /// The rows of a traversal pass.
    pub fn traversal(&mut self, outline: &Outline, found: Option<TraversalResult>) {
        self.count(Metric::Calls, outline.calls);
        let Some(found) = found else { return };
        self.threads(outline, found.threads);
        self.count(Metric::TraversalObjects, found.objects);
        if found.visits == 0 {
            return;
        }
        for (metric, spent_ns) in
            [Metric::TraversalNanoseconds, Metric::TraversalReverseNanoseconds]
                .into_iter()
                .zip(found.walks_ns)
        {
            self.put(Scope::All, metric, spent_ns as f64 / found.visits as f64);
        }
        if let Some(step_ns) = found.collector_step_ns {
            self.put(Scope::All, Metric::CollectorStepNanoseconds, step_ns);
        }
        let metrics = [Metric::TraversalLines, Metric::TraversalPages, Metric::TraversalHugePages];
        for (metric, count) in metrics.into_iter().zip(found.distinct) {
            self.count(metric, count);
        }
        let metrics = [
            Metric::TraversalStepsInLine,
            Metric::TraversalStepsInPage,
            Metric::TraversalStepsInHugePage,
            Metric::TraversalStepsFarther,
        ];
        for (metric, count) in metrics.into_iter().zip(found.steps) {
            self.count(metric, count);
        }
    }

    /// The rows of a latency pass.
    pub fn latency(&mut self, found: LatencyResult) {
        self.calls(found.calls);
        self.count(Metric::Preemptions, found.preemptions);
        self.put(Scope::All, Metric::ClockStepNanoseconds, found.floor.step_ns);
        self.put(Scope::All, Metric::ClockPairNanoseconds, found.floor.pair_ns);
        self.put(Scope::All, Metric::ClockCostNanoseconds, found.floor.cost_ns);
        if found.back_to_back_ns.is_finite() {
            self.put(Scope::All, Metric::LatencyBackToBackNanoseconds, found.back_to_back_ns);
        }
        for (action, histogram) in Action::ALL.into_iter().zip(found.histograms) {
            if histogram.is_empty() {
                continue;
            }
            self.put(
                scope_of(action),
                Metric::LatencyIsolatedNanoseconds,
                found.isolated_ns[action as usize],
            );
            self.run.latencies.push(Latency {
                trace: self.cell.trace.clone(),
                backend: self.cell.backend.clone(),
                repetition: Some(self.cell.repetition),
                op: action.into(),
                histogram,
            });
        }
    }

    /// The rows of a footprint pass.
    pub fn footprint(
        &mut self,
        outline: &Outline,
        sites: &AllocationSites,
        found: &Footprint,
        backend: &dyn Backend,
    ) {
        let profile = &outline.profile;
        self.calls(found.calls);
        self.count(Metric::RequestedBytes, profile.total_requested_bytes());
        let (at_peak, end) = (&found.samples.at_live_peak, &found.samples.end);
        self.count(Metric::LivePeakBytes, at_peak.live_bytes + at_peak.untouched_bytes);
        self.count(Metric::LivePeakEvent, profile.live_peak_event);
        self.count(Metric::LiveEndBytes, end.live_bytes + end.untouched_bytes);
        if !outline.present.is_empty() {
            self.count(Metric::UntouchedAtLivePeakBytes, at_peak.untouched_bytes);
            self.count(Metric::UntouchedEndBytes, end.untouched_bytes);
        }
        self.count(Metric::MinorFaults, found.cost.minor_faults);
        self.count(Metric::PassNanoseconds, found.cost.pass_ns);
        self.count(Metric::SamplingNanoseconds, found.cost.sampling_ns);
        self.count(Metric::MappingNanoseconds, found.cost.mapping_ns);
        let (live_mean, resident_mean) = means(found);
        self.put(Scope::All, Metric::LiveMeanBytes, live_mean);
        if backend.backs_memory() {
            self.memory(found, resident_mean);
        }
        for counter in &found.end_of_life.counters {
            self.count(metric_of(counter.figure), counter.value);
        }
        for sample in &found.samples.all {
            self.run.samples.push(Sample {
                trace: self.cell.trace.clone(),
                backend: self.cell.backend.clone(),
                repetition: self.cell.repetition,
                event: sample.event,
                clock_bytes: sample.clock_bytes,
                live_bytes: sample.live_bytes,
                usable_bytes: sample.usable_bytes,
                pages_in_use_bytes: sample.pages_in_use_bytes,
                resident_bytes: sample.resident_bytes,
                lines: largest_lines(sites, sample),
            });
        }
        if let Some(varies) = backend.varies() {
            let variation = match varies {
                Varies::ByClock => Variation::ByClock,
                Varies::AtRandom => Variation::AtRandom,
            };
            self.put(Scope::All, Metric::VariesBetweenRuns, variation.value());
        }
    }

    fn memory(&mut self, found: &Footprint, resident_mean: f64) {
        let largest = |figure: fn(&HeapSample) -> u64| {
            found.samples.all.iter().map(figure).max().unwrap_or(0)
        };
        self.count(Metric::UsableAtLivePeakBytes, found.samples.at_live_peak.usable_bytes);
        self.count(
            Metric::PagesInUseAtLivePeakBytes,
            found.samples.at_live_peak.pages_in_use_bytes,
        );
        self.count(Metric::ResidentAtLivePeakBytes, found.samples.at_live_peak.resident_bytes);
        self.count(Metric::PagesInUsePeakBytes, largest(|sample| sample.pages_in_use_bytes));
        self.count(Metric::ResidentPeakBytes, largest(|sample| sample.resident_bytes));
        self.count(Metric::UsableEndBytes, found.samples.end.usable_bytes);
        self.count(Metric::PagesInUseEndBytes, found.samples.end.pages_in_use_bytes);
        self.count(Metric::ResidentEndBytes, found.samples.end.resident_bytes);
        let (at_peak, end) = (&found.samples.at_live_peak, &found.samples.end);
        self.count(Metric::HugePagesAtLivePeakBytes, at_peak.huge_page_bytes);
        self.count(Metric::HugePagesEndBytes, end.huge_page_bytes);
        self.put(Scope::All, Metric::ResidentMeanBytes, resident_mean);
        if let Some(bytes) = found.end_of_life.resident_trimmed_bytes {
            self.count(Metric::ResidentTrimmedBytes, bytes);
            self.count(Metric::TrimNanoseconds, found.end_of_life.trim_ns);
        }
        if let Some(bytes) = found.end_of_life.resident_flushed_bytes {
            self.count(Metric::ResidentFlushedBytes, bytes);
        }
        if let Some(bytes) = found.end_of_life.trim_predicted_bytes {
            self.count(Metric::TrimPredictedBytes, bytes);
        }
        self.count(Metric::ResidentFreedBytes, found.end_of_life.resident_freed_bytes);
        self.count(
            Metric::PagesInUseOverResidentBytes,
            found.samples.pages_in_use_over_resident_bytes,
        );
        self.count(Metric::ReturnableBytes, page_rows::returnable(&found.samples.all));
        for (at, names) in page_rows::PAGES_IN_USE_BY_GRAIN.iter().enumerate() {
            self.count(names[0], found.views.at_live_peak.pages_in_use_bytes[at + 1]);
            self.count(names[1], found.views.end.pages_in_use_bytes[at + 1]);
        }
    }
}

/// The lines that hold most at a sample, as a cell of `samples.csv`.
fn largest_lines(sites: &AllocationSites, sample: &HeapSample) -> String {
    let live = sample.largest_sites.iter().filter(|site| site.live_blocks > 0);
    let lines: Vec<LineContents> = live
        .map(|of| LineContents(sites.name(of.site).to_owned(), of.live_blocks, of.live_bytes))
        .collect();
    LineContents::encode(&lines)
}

/// The metric of what a pool allocator counts about itself.
fn metric_of(figure: PoolFigure) -> Metric {
    match figure {
        PoolFigure::ArenasPeak => Metric::ArenasPeak,
        PoolFigure::ArenasEnd => Metric::ArenasEnd,
        PoolFigure::ArenasTotal => Metric::ArenasTotal,
        PoolFigure::PoolsEnd => Metric::PoolsEnd,
        PoolFigure::PoolHeaderBytes => Metric::PoolHeaderBytes,
        PoolFigure::QuantizationBytes => Metric::QuantizationBytes,
        PoolFigure::AvailableBytes => Metric::AvailableBytes,
        PoolFigure::UnusedPoolBytes => Metric::UnusedPoolBytes,
        PoolFigure::AllocatedBytes => Metric::AllocatedBytes,
        PoolFigure::ArenaAlignmentBytes => Metric::ArenaAlignmentBytes,
    }
}

/// Live and resident bytes averaged over the allocation clock: each sample stands for the bytes
/// requested since the one before. A trace that requests nothing has no clock; its last sample
/// stands for it.
fn means(found: &Footprint) -> (f64, f64) {
    let (mut live, mut resident, mut clock) = (0.0, 0.0, 0.0);
    for pair in found.samples.all.windows(2) {
        let weight = (pair[1].clock_bytes - pair[0].clock_bytes) as f64;
        live += weight * pair[1].live_bytes as f64;
        resident += weight * pair[1].resident_bytes as f64;
        clock += weight;
    }
    if clock == 0.0 {
        return (found.samples.end.live_bytes as f64, found.samples.end.resident_bytes as f64);
    }
    ((live / clock).round(), (resident / clock).round())
}
