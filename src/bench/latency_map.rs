//! Service times over the replay, in fixed bins that are filled while the calls stream by: equal
//! segments of calls across, quarters of an octave upwards. Two adjacent buckets are one bin, so
//! that no call moves to another.

use crate::units::bucket_position_nanoseconds;

/// Columns of time, or one for each call where there are fewer.
const COLUMNS: usize = 240;
/// Buckets of a bin.
const BUCKETS: usize = 2;
/// Bins upwards.
const LEVELS: usize = 256 / BUCKETS;

/// Calls by time and service time.
pub struct LatencyMap {
    calls: usize,
    columns: usize,
    counts: Vec<u64>,
}

impl LatencyMap {
    /// For a program of so many calls.
    pub fn new(calls: usize) -> LatencyMap {
        let columns = calls.min(COLUMNS);
        LatencyMap { calls, columns, counts: vec![0; columns * LEVELS] }
    }

    /// One call, by its number and its bucket.
    #[inline]
    pub fn call(&mut self, index: usize, bucket: u8) {
        let column = (index as u128 * self.columns as u128 / self.calls.max(1) as u128) as usize;
        self.counts[usize::from(bucket) / BUCKETS * self.columns + column] += 1;
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The bins that hold calls, from the quickest: nanoseconds from and to, and the calls of each
    /// column.
    pub fn rows(&self) -> impl Iterator<Item = (f64, f64, &[u64])> {
        let rows = self.counts.chunks(self.columns.max(1)).enumerate();
        rows.filter(|(_, calls)| calls.iter().any(|calls| *calls > 0))
            .map(|(level, calls)| (edge(level), edge(level + 1), calls))
    }
}

/// Where a bin begins, in ns to two digits: half a bucket below its first.
fn edge(level: usize) -> f64 {
    let first = (level * BUCKETS) as f64 - 0.5;
    (bucket_position_nanoseconds(first) * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::bucket_nanoseconds;
    use proptest::prelude::*;

    proptest! {
        /// Every call is in the column and the bin where it belongs, so no extreme is lost:
        /// compared with a count of all.
        #[test]
        fn no_call_is_lost(buckets in prop::collection::vec(any::<u8>(), 1..1500)) {
            let mut map = LatencyMap::new(buckets.len());
            for (index, &bucket) in buckets.iter().enumerate() {
                map.call(index, bucket);
            }
            let columns = map.columns();
            prop_assert_eq!(columns, buckets.len().min(240));
            let rows: Vec<(f64, f64, Vec<u64>)> =
                map.rows().map(|(from, to, calls)| (from, to, calls.to_vec())).collect();
            prop_assert!(rows.windows(2).all(|pair| pair[0].1 <= pair[1].0));
            for column in 0..columns {
                // A call is in the column in which its share of the replay lies.
                let mine: Vec<f64> = buckets
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| index * columns / buckets.len() == column)
                    .map(|(_, bucket)| bucket_nanoseconds(*bucket))
                    .collect();
                prop_assert!(!mine.is_empty());
                for (from, to, calls) in &rows {
                    let expected = mine.iter().filter(|time| **time >= *from && **time < *to).count();
                    prop_assert_eq!(calls[column], expected as u64);
                }
                prop_assert_eq!(rows.iter().map(|row| row.2[column]).sum::<u64>(), mine.len() as u64);
            }
        }
    }

    #[test]
    fn a_hundred_million_calls_have_as_many_bins_as_a_thousand() {
        let mut map = LatencyMap::new(100_000_000);
        map.call(0, 40);
        map.call(99_999_999, 255);
        assert_eq!(map.columns(), 240);
        let rows: Vec<(u64, u64)> =
            map.rows().map(|(_, _, calls)| (calls[0], calls[239])).collect();
        assert_eq!(rows, [(1, 0), (0, 1)]);
    }
}
