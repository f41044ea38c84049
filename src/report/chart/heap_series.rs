//! The heap of one backend over the trace, and its reduction to the columns of a plot.
//!
//! A column keeps the least and the most of every boundary and the values at both of its edges, so
//! that no extreme is lost: averaging would cut off short peaks. This is M4 of Jugel and others,
//! "M4: a visualization-oriented time series data aggregation", VLDB 7 (2014).

use serde::Serialize;

use super::trace_clock::TraceClock;
use crate::report::figures::TraceReport;
use crate::results::Sample;

/// The boundaries between the parts of resident memory, from the bottom: live, usable, pages in
/// use, resident.
pub type Boundaries = [f64; 4];

/// The samples of a heap, column by column, in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HeapSeries {
    /// What the columns of a plot are made over.
    pub clock: TraceClock,
    /// Calls so far.
    pub events: Vec<u64>,
    /// The allocation clock: bytes requested so far.
    pub clock_bytes: Vec<u64>,
    /// Requested bytes live.
    pub live_bytes: Vec<u64>,
    /// Usable bytes of the live blocks.
    pub usable_bytes: Vec<u64>,
    /// Pages in use.
    pub pages_in_use_bytes: Vec<u64>,
    /// Resident memory.
    pub resident_bytes: Vec<u64>,
}

impl HeapSeries {
    /// The series of a backend's samples.
    pub fn of(samples: &[&Sample], clock: TraceClock) -> HeapSeries {
        HeapSeries {
            clock,
            events: samples.iter().map(|sample| sample.event).collect(),
            clock_bytes: samples.iter().map(|sample| sample.clock_bytes).collect(),
            live_bytes: samples.iter().map(|sample| sample.live_bytes).collect(),
            usable_bytes: samples.iter().map(|sample| sample.usable_bytes).collect(),
            pages_in_use_bytes: samples.iter().map(|sample| sample.pages_in_use_bytes).collect(),
            resident_bytes: samples.iter().map(|sample| sample.resident_bytes).collect(),
        }
    }

    /// Samples.
    pub fn sample_count(&self) -> usize {
        self.clock_bytes.len()
    }

    /// The places of the samples on the axis, in bytes or calls.
    pub fn positions(&self) -> &[u64] {
        match self.clock {
            TraceClock::Bytes => &self.clock_bytes,
            TraceClock::Calls => &self.events,
        }
    }

    /// The boundaries at a sample. Each is at least the one below: where the kernel's count lags, a
    /// part is empty, never negative.
    pub fn boundaries(&self, at: usize) -> Boundaries {
        let live = self.live_bytes[at] as f64;
        let usable = live.max(self.usable_bytes[at] as f64);
        let in_use = usable.max(self.pages_in_use_bytes[at] as f64);
        [live, usable, in_use, in_use.max(self.resident_bytes[at] as f64)]
    }

    /// The parts of resident memory at the last sample: live, rounding, free space on pages in use,
    /// retained. `None` without samples.
    pub fn last_parts(&self) -> Option<[f64; 4]> {
        let [live, usable, in_use, resident] = self.boundaries(self.sample_count().checked_sub(1)?);
        Some([live, usable - live, in_use - usable, resident - in_use])
    }

    /// The largest upper boundary of any sample, in bytes.
    pub fn highest(&self) -> f64 {
        (0..self.sample_count()).map(|at| self.boundaries(at)[3]).fold(0.0, f64::max)
    }

    /// The series in `count` columns of the axis from 0 to `end`. Between samples the heap
    /// is taken to change evenly; it starts empty. Columns after the last sample are not given.
    pub fn columns(&self, end: f64, count: usize) -> Vec<HeapColumn> {
        if self.sample_count() == 0 || count == 0 || end <= 0.0 || !end.is_finite() {
            return vec![];
        }
        let points = self.points();
        let width = end / count as f64;
        let mut columns: Vec<HeapColumn> = Vec::with_capacity(count);
        let mut next = 1;
        let mut edge = points[0];
        for at in 0..count {
            let border = if at + 1 == count { end } else { (at + 1) as f64 * width };
            let mut column = HeapColumn::of(&edge);
            let last = at + 1 == count;
            while next < points.len() && (points[next].clock < border || last) {
                column.widen(&points[next]);
                next += 1;
            }
            let done = next == points.len();
            edge = if done {
                points[next - 1]
            } else {
                HeapPoint::between(&points[next - 1], &points[next], border)
            };
            column.widen(&edge);
            columns.push(column);
            if done {
                break;
            }
        }
        columns
    }

    /// The samples after an empty heap, with a clock that never falls.
    fn points(&self) -> Vec<HeapPoint> {
        let mut points = vec![HeapPoint { clock: 0.0, boundaries: [0.0; 4], resident: 0.0 }];
        let mut clock = 0.0_f64;
        for at in 0..self.sample_count() {
            clock = clock.max(self.positions()[at] as f64);
            let resident = self.resident_bytes[at] as f64;
            points.push(HeapPoint { clock, boundaries: self.boundaries(at), resident });
        }
        points
    }
}

/// One column of a plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeapColumn {
    /// The smallest value of each boundary in it.
    pub least: Boundaries,
    /// The largest.
    pub most: Boundaries,
    /// Resident bytes as sampled, least and most. Unlike the boundary, they may be less than the
    /// pages in use.
    pub resident: (f64, f64),
}

impl HeapColumn {
    fn of(point: &HeapPoint) -> HeapColumn {
        HeapColumn {
            least: point.boundaries,
            most: point.boundaries,
            resident: (point.resident, point.resident),
        }
    }

    fn widen(&mut self, point: &HeapPoint) {
        for k in 0..4 {
            self.least[k] = self.least[k].min(point.boundaries[k]);
            self.most[k] = self.most[k].max(point.boundaries[k]);
        }
        self.resident = (self.resident.0.min(point.resident), self.resident.1.max(point.resident));
    }
}

#[derive(Clone, Copy)]
struct HeapPoint {
    clock: f64,
    boundaries: Boundaries,
    resident: f64,
}

impl HeapPoint {
    fn between(a: &HeapPoint, b: &HeapPoint, clock: f64) -> HeapPoint {
        let length = b.clock - a.clock;
        let share = if length > 0.0 { ((clock - a.clock) / length).clamp(0.0, 1.0) } else { 1.0 };
        let mix = |x: f64, y: f64| x + (y - x) * share;
        HeapPoint {
            clock,
            boundaries: std::array::from_fn(|k| mix(a.boundaries[k], b.boundaries[k])),
            resident: mix(a.resident, b.resident),
        }
    }
}

/// What the axis along the heap of a trace counts. The live bytes are the same for every backend.
pub fn trace_clock(trace_report: &TraceReport) -> TraceClock {
    let mut backends = trace_report.backends.iter();
    let samples = backends.find(|backend| !backend.samples.is_empty());
    let samples = samples.map_or(&[][..], |backend| &backend.samples);
    TraceClock::of(samples.iter().map(|sample| (sample.clock_bytes, sample.live_bytes)))
}

/// The largest value that a plot of these peaks should show. A peak more than three times the next
/// one runs off the picture and is labelled there, so that one allocator that never frees does not
/// flatten all others.
pub fn shown_peak(peaks: &[f64]) -> f64 {
    let mut peaks = crate::stats::sorted(peaks);
    while let [.., below, last] = peaks[..] {
        if below > 0.0 && last > below * 3.0 {
            peaks.pop();
        } else {
            break;
        }
    }
    peaks.last().copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Samples with four curves that have their peaks in different places.
    fn series(rows: &[(u64, u64)]) -> HeapSeries {
        let mut series = HeapSeries::default();
        for &(clock, resident) in rows {
            series.clock_bytes.push(clock);
            series.live_bytes.push(resident.wrapping_mul(0x9E37) % 1000);
            series.usable_bytes.push(1000 + resident.wrapping_mul(0x79B9) % 1000);
            series.pages_in_use_bytes.push(2000 + resident.wrapping_mul(0x7F4A) % 1000);
            series.resident_bytes.push(resident);
        }
        series
    }

    proptest! {
        /// No extreme is lost to binning, however many samples share a column.
        #[test]
        fn no_extreme_is_lost(
            rows in proptest::collection::vec((0_u64..1000, 0_u64..1_000_000), 1..300),
            count in 1_usize..50,
        ) {
            let mut clock = 0;
            let rows: Vec<(u64, u64)> = rows.iter().map(|(step, resident)| {
                clock += step;
                (clock, *resident)
            }).collect();
            let series = series(&rows);
            let columns = series.columns(clock as f64, count);
            if clock == 0 {
                prop_assert!(columns.is_empty());
                return Ok(());
            }
            let near = |sample: usize| {
                let width = clock as f64 / count as f64;
                let at = (series.clock_bytes[sample] as f64 / width) as usize;
                &columns[at.saturating_sub(1)..(at + 2).min(columns.len())]
            };
            let most = rows.iter().map(|row| row.1).max().unwrap_or(0) as f64;
            let found = columns.iter().map(|c| c.resident.1).fold(0.0, f64::max);
            prop_assert_eq!(most, found);
            for part in 0..4 {
                let all: Vec<f64> = (0..rows.len()).map(|at| series.boundaries(at)[part]).collect();
                let most = all.iter().copied().fold(0.0, f64::max);
                prop_assert_eq!(most, columns.iter().map(|c| c.most[part]).fold(0.0, f64::max));
                for (at, value) in all.into_iter().enumerate() {
                    let is_in = |c: &HeapColumn| c.least[part] <= value && value <= c.most[part];
                    prop_assert!(near(at).iter().any(is_in));
                }
            }
            for (at, row) in rows.iter().enumerate() {
                let value = row.1 as f64;
                let is_in = |c: &HeapColumn| c.resident.0 <= value && value <= c.resident.1;
                prop_assert!(near(at).iter().any(is_in));
            }
        }
    }

    #[test]
    fn one_giant_runs_off_the_picture() {
        assert_eq!(shown_peak(&[60.0, 2000.0, 70.0]), 70.0);
        assert_eq!(shown_peak(&[2000.0]), 2000.0);
        assert_eq!(shown_peak(&[60.0, 120.0]), 120.0);
        assert_eq!(shown_peak(&[]), 0.0);
    }
}
