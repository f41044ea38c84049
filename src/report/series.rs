//! Heap samples over the allocation clock, reduced to the columns of a plot without
//! losing an extreme.
//!
//! A column keeps the least and the most of every boundary, and the values at both of its edges,
//! after Jugel and others, "M4: a visualization-oriented time series data aggregation", VLDB 7
//! (2014): averaging would cut off short peaks.

use crate::results::Sample;

/// The boundaries between the parts of resident memory, from the bottom: live, usable, pinned,
/// resident.
pub type Heights = [f64; 4];

/// One column of a plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    /// The smallest value of each boundary in it.
    pub least: Heights,
    /// The largest.
    pub most: Heights,
    /// Resident bytes as sampled, least and most: unlike the boundary, it may lie below what is
    /// pinned.
    pub resident: (f64, f64),
}

/// The boundaries of a sample. Each is at least the one below: where the kernel's count lags, a
/// part is empty, never negative.
pub fn heights(sample: &Sample) -> Heights {
    let live = sample.live_bytes as f64;
    let usable = live.max(sample.usable_bytes as f64);
    let pinned = usable.max(sample.pages_in_use_bytes as f64);
    [live, usable, pinned, pinned.max(sample.resident_bytes as f64)]
}

/// The parts that a sample's resident memory has: live, rounding, stranded, kept.
pub fn parts(sample: &Sample) -> Heights {
    let [live, usable, pinned, resident] = heights(sample);
    [live, usable - live, pinned - usable, resident - pinned]
}

#[derive(Clone, Copy)]
struct Point {
    clock: f64,
    heights: Heights,
    resident: f64,
}

fn between(a: &Point, b: &Point, clock: f64) -> Point {
    let length = b.clock - a.clock;
    let share = if length > 0.0 { ((clock - a.clock) / length).clamp(0.0, 1.0) } else { 1.0 };
    let mix = |x: f64, y: f64| x + (y - x) * share;
    Point {
        clock,
        heights: std::array::from_fn(|k| mix(a.heights[k], b.heights[k])),
        resident: mix(a.resident, b.resident),
    }
}

/// Reduces `samples` (in the order of their events) to `count` columns of the clock from 0 to `end`
/// bytes. Between samples the heap is taken to change evenly; it starts empty. Columns after the
/// last sample are not given.
pub fn columns(samples: &[&Sample], end: f64, count: usize) -> Vec<Column> {
    if samples.is_empty() || count == 0 || end <= 0.0 || !end.is_finite() {
        return vec![];
    }
    let mut points = vec![Point { clock: 0.0, heights: [0.0; 4], resident: 0.0 }];
    let mut clock = 0.0_f64;
    for sample in samples {
        clock = clock.max(sample.clock_bytes as f64);
        points.push(Point {
            clock,
            heights: heights(sample),
            resident: sample.resident_bytes as f64,
        });
    }
    let width = end / count as f64;
    let mut columns: Vec<Column> = Vec::with_capacity(count);
    let mut next = 1;
    let mut edge = points[0];
    for at in 0..count {
        let border = if at + 1 == count { end } else { (at + 1) as f64 * width };
        let mut column = Column {
            least: edge.heights,
            most: edge.heights,
            resident: (edge.resident, edge.resident),
        };
        let last = at + 1 == count;
        while next < points.len() && (points[next].clock < border || last) {
            widen(&mut column, &points[next]);
            next += 1;
        }
        let done = next == points.len();
        edge =
            if done { points[next - 1] } else { between(&points[next - 1], &points[next], border) };
        widen(&mut column, &edge);
        columns.push(column);
        if done {
            break;
        }
    }
    columns
}

fn widen(column: &mut Column, point: &Point) {
    for k in 0..4 {
        column.least[k] = column.least[k].min(point.heights[k]);
        column.most[k] = column.most[k].max(point.heights[k]);
    }
    column.resident =
        (column.resident.0.min(point.resident), column.resident.1.max(point.resident));
}

/// The largest value that a plot of these peaks should show: a peak more than three times the next
/// one runs off the picture (and is labelled there), so that one allocator that never frees does
/// not flatten all others.
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

    fn sample(clock_bytes: u64, resident_bytes: u64) -> Sample {
        Sample {
            trace: String::new(),
            backend: String::new(),
            repetition: 0,
            event: clock_bytes,
            clock_bytes,
            // Four curves that have their peaks in different places.
            live_bytes: resident_bytes.wrapping_mul(0x9E37) % 1000,
            usable_bytes: 1000 + resident_bytes.wrapping_mul(0x79B9) % 1000,
            pages_in_use_bytes: 2000 + resident_bytes.wrapping_mul(0x7F4A) % 1000,
            resident_bytes,
        }
    }

    proptest! {
        /// No extreme is lost to binning, however many samples share a column.
        #[test]
        fn no_extreme_is_lost(
            rows in proptest::collection::vec((0_u64..1000, 0_u64..1_000_000), 1..300),
            count in 1_usize..50,
        ) {
            let mut clock = 0;
            let samples: Vec<Sample> = rows.iter().map(|(step, resident)| {
                clock += step;
                sample(clock, *resident)
            }).collect();
            let samples: Vec<&Sample> = samples.iter().collect();
            let columns = columns(&samples, clock as f64, count);
            if clock > 0 {
                let most = samples.iter().map(|s| s.resident_bytes).max().unwrap_or(0) as f64;
                let found = columns.iter().map(|c| c.resident.1).fold(0.0, f64::max);
                prop_assert_eq!(most, found);
                for part in 0..4 {
                    let all = samples.iter().map(|sample| heights(sample)[part]);
                    let most = all.clone().fold(0.0, f64::max);
                    prop_assert_eq!(most, columns.iter().map(|c| c.most[part]).fold(0.0, f64::max));
                    for (sample, value) in samples.iter().zip(all) {
                        let at = (sample.clock_bytes as f64 / (clock as f64 / count as f64)) as usize;
                        let near = &columns[at.saturating_sub(1)..(at + 2).min(columns.len())];
                        prop_assert!(near.iter().any(|c| c.least[part] <= value && value <= c.most[part]));
                    }
                }
                for sample in &samples {
                    let at = (sample.clock_bytes as f64 / (clock as f64 / count as f64)) as usize;
                    let near = &columns[at.saturating_sub(1)..(at + 2).min(columns.len())];
                    let value = sample.resident_bytes as f64;
                    prop_assert!(near.iter().any(|c| c.resident.0 <= value && value <= c.resident.1));
                }
            } else {
                prop_assert!(columns.is_empty());
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
