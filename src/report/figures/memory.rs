//! Memory of one backend, from the footprint pass.

use serde::Serialize;

use crate::results::{Metric, Sample, Variation};
use crate::units::{byte_unit, bytes, figure};

use super::rows::BackendRows;

/// From least to most, in bytes.
pub type ByteRange = (f64, f64);

/// The figures of resident memory that have a range for an allocator that returns memory after a
/// delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResidentFigure {
    /// The largest.
    Peak,
    /// Averaged over the allocation clock.
    Mean,
    /// At the end of the trace.
    End,
    /// After the allocator's own trim.
    Trimmed,
}

impl ResidentFigure {
    /// All of them, in the order of [`MemoryFigures::ranges_bytes`].
    pub const ALL: [ResidentFigure; 4] =
        [ResidentFigure::Peak, ResidentFigure::Mean, ResidentFigure::End, ResidentFigure::Trimmed];

    /// The measured figure, and the ends of its range: memory returned at once, and never.
    fn metrics(self) -> [Metric; 3] {
        match self {
            ResidentFigure::Peak => [
                Metric::ResidentPeakBytes,
                Metric::ResidentPeakAtOnceBytes,
                Metric::ResidentPeakNeverBytes,
            ],
            ResidentFigure::Mean => [
                Metric::ResidentMeanBytes,
                Metric::ResidentMeanAtOnceBytes,
                Metric::ResidentMeanNeverBytes,
            ],
            ResidentFigure::End => [
                Metric::ResidentEndBytes,
                Metric::ResidentEndAtOnceBytes,
                Metric::ResidentEndNeverBytes,
            ],
            ResidentFigure::Trimmed => [
                Metric::ResidentTrimmedBytes,
                Metric::ResidentTrimmedAtOnceBytes,
                Metric::ResidentTrimmedNeverBytes,
            ],
        }
    }
}

/// Memory of one backend in bytes. All are `None` for a backend without memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct MemoryFigures {
    /// Largest resident.
    pub peak_bytes: Option<f64>,
    /// Resident, averaged over the allocation clock.
    pub mean_bytes: Option<f64>,
    /// Resident at the end of the trace.
    pub end_bytes: Option<f64>,
    /// Resident after the allocator's own trim.
    pub trimmed_bytes: Option<f64>,
    /// The same after the thread cache is flushed.
    pub flushed_bytes: Option<f64>,
    /// Resident after everything was freed.
    pub freed_bytes: Option<f64>,
    /// Pages in use at the end.
    pub pages_in_use_end_bytes: Option<f64>,
    /// What a trim leaves, predicted from pointers.
    pub trim_predicted_bytes: Option<f64>,
    /// The ranges of [`ResidentFigure::ALL`] for an allocator that returns memory after a delay:
    /// from memory returned at once to never. `None` for other allocators, and where a bound is not
    /// known.
    pub ranges_bytes: [Option<ByteRange>; 4],
    /// Whether the figures hold for one pace only, with no bounds known.
    pub is_for_one_pace: bool,
}

impl MemoryFigures {
    /// The figures from a backend's rows; `samples` are those of one repetition, in order.
    pub(super) fn of(rows: &BackendRows, samples: &[&Sample], is_paced: bool) -> MemoryFigures {
        if !samples.iter().any(|sample| sample.resident_bytes > 0) {
            return MemoryFigures::default();
        }
        let known = |metric: Metric| rows.first_value(metric);
        let last = samples.last();
        let most = samples.iter().map(|sample| sample.resident_bytes).max();
        let ranges_bytes = ResidentFigure::ALL.map(|figure| {
            let [own, at_once, never] = figure.metrics();
            let own = known(own)?;
            let bounds = [known(at_once)?, known(never)?];
            Some((own.min(bounds[0]).min(bounds[1]), own.max(bounds[0]).max(bounds[1])))
        });
        let variation = known(Metric::VariesBetweenRuns).and_then(Variation::of);
        let is_delayed = variation == Some(Variation::ByClock);
        MemoryFigures {
            is_for_one_pace: is_delayed && !is_paced && ranges_bytes.iter().all(Option::is_none),
            ranges_bytes,
            peak_bytes: known(Metric::ResidentPeakBytes).or(most.map(|bytes| bytes as f64)),
            mean_bytes: known(Metric::ResidentMeanBytes)
                .or_else(|| mean_over_clock(samples, |sample| sample.resident_bytes)),
            end_bytes: known(Metric::ResidentEndBytes)
                .or(last.map(|sample| sample.resident_bytes as f64)),
            trimmed_bytes: known(Metric::ResidentTrimmedBytes),
            flushed_bytes: known(Metric::ResidentFlushedBytes),
            trim_predicted_bytes: known(Metric::TrimPredictedBytes),
            freed_bytes: known(Metric::ResidentFreedBytes),
            pages_in_use_end_bytes: known(Metric::PagesInUseEndBytes)
                .or(last.map(|sample| sample.pages_in_use_bytes as f64)),
        }
    }

    /// One of the figures that have a range, in bytes.
    pub fn resident(&self, which: ResidentFigure) -> Option<f64> {
        match which {
            ResidentFigure::Peak => self.peak_bytes,
            ResidentFigure::Mean => self.mean_bytes,
            ResidentFigure::End => self.end_bytes,
            ResidentFigure::Trimmed => self.trimmed_bytes,
        }
    }

    /// The range of a figure.
    pub fn range(&self, which: ResidentFigure) -> Option<ByteRange> {
        self.ranges_bytes[which as usize]
    }

    /// Whether any figure has a range.
    pub fn has_ranges(&self) -> bool {
        self.ranges_bytes.iter().any(Option::is_some)
    }

    /// Bytes that a trim leaves because the thread's cache of free blocks is on their pages; `None`
    /// where that is next to nothing.
    pub fn cached_bytes(&self) -> Option<f64> {
        let trimmed = self.trimmed_bytes?;
        let cached = trimmed - self.flushed_bytes?;
        (cached >= trimmed * 0.02 && cached >= 16_384.0).then_some(cached)
    }

    /// What a trim leaves by cause, in bytes, for an allocator with a prediction. The causes are:
    /// pages of live blocks; other pages that its trim does not return; the thread cache; the rest,
    /// which is negative where less stays than was predicted. They add up to what was measured.
    pub fn left_by_trim(&self) -> Option<[f64; 4]> {
        let trimmed = self.trimmed_bytes?;
        let (predicted, in_use) = (self.trim_predicted_bytes?, self.pages_in_use_end_bytes?);
        let cached = trimmed - self.flushed_bytes.unwrap_or(trimmed);
        Some([in_use, predicted - in_use, cached, trimmed - cached - predicted])
    }

    /// `≈` before a figure that holds at one pace only, without its range; else nothing.
    pub fn about(&self) -> &'static str {
        if self.is_for_one_pace || self.has_ranges() { "≈" } else { "" }
    }

    /// A figure as text, with its range: an allocator that returns memory after a delay never has a
    /// bare number.
    pub fn text(&self, which: ResidentFigure) -> Option<String> {
        let value = self.resident(which)?;
        Some(match self.range(which) {
            Some(range) if range.1 > range.0 => with_range(value, range),
            _ if self.is_for_one_pace => format!("≈{}", bytes(value)),
            _ => bytes(value),
        })
    }
}

/// A figure in bytes with its range, in its unit where that suits both ends.
fn with_range(value: f64, (least, most): (f64, f64)) -> String {
    let (own, unit) = (bytes(value), byte_unit(value));
    if most / unit.bytes >= 1024.0 {
        return format!("{own} ({} to {})", bytes(least), bytes(most));
    }
    let [low, high, same] = [least, most, value].map(|it| figure(it / unit.bytes));
    // A range within the rounding of its figure says nothing.
    if low == same && high == same { own } else { format!("{own} ({low}–{high})") }
}

/// The average of `of` over the allocation clock, by trapezoids.
pub(super) fn mean_over_clock(samples: &[&Sample], of: impl Fn(&Sample) -> u64) -> Option<f64> {
    let mut area = 0.0;
    let mut length = 0.0;
    for pair in samples.windows(2) {
        let step = pair[1].clock_bytes.saturating_sub(pair[0].clock_bytes) as f64;
        area += step * (of(pair[0]) as f64 + of(pair[1]) as f64) / 2.0;
        length += step;
    }
    (length > 0.0).then(|| area / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_unit_that_suits_both_ends() {
        let text = |value: f64, range| with_range(value, range).replace('\u{a0}', " ");
        const MIB: f64 = 1_048_576.0;
        assert_eq!(text(10.0 * MIB, (5.0 * MIB, 12.0 * MIB)), "10 MiB (5.0–12)");
        assert_eq!(text(0.0, (0.0, 28.0 * MIB)), "0 B (0 B to 28 MiB)");
        assert_eq!(text(10.0 * MIB, (10.0 * MIB, 10.0 * MIB + 9.0)), "10 MiB");
    }
}
