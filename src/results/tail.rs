//! The rows that a latency pass leaves of single calls and of the service times over the replay.
//! All are made of each call's own time, the median over the repetitions of its bucket on a
//! logarithmic scale (eight steps an octave, ±4.5 %).

use serde::{Deserialize, Serialize};

use super::key::Operation;
use crate::units::bucket_nanoseconds;

/// A row of `service_times.csv`: how often the calls of one op and size class took how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceTimes {
    /// See [`super::CellKey::trace`].
    pub trace: String,
    /// See [`super::CellKey::backend`].
    pub backend: String,
    /// `Some(r)`: one raw repetition. `None`: confirmed, the median over all repetitions of each
    /// call by itself.
    pub repetition: Option<u32>,
    /// Which calls.
    pub op: Operation,
    /// The class: blocks of more than half of it and at most so many bytes; the first, of 16, holds
    /// all smaller ones. For realloc the new size counts, for free that of the block.
    pub up_to_bytes: u64,
    /// `bucket:calls` pairs, rising, separated by spaces; a bucket is 2^(bucket/8) ns, the clock
    /// pair included.
    pub counts: String,
}

impl ServiceTimes {
    /// Writes counts by bucket.
    pub fn encode(counts: &[u64; 256]) -> String {
        let seen = counts.iter().enumerate().filter(|(_, calls)| **calls > 0);
        seen.map(|(bucket, calls)| format!("{bucket}:{calls}")).collect::<Vec<_>>().join(" ")
    }

    /// Nanoseconds in the middle of a bucket with the calls in it, rising; what cannot be read is
    /// left out.
    pub fn pairs(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.counts.split(' ').filter_map(|pair| {
            let (bucket, calls) = pair.split_once(':')?;
            let bucket: u8 = bucket.parse().ok()?;
            Some((bucket_nanoseconds(bucket), calls.parse().ok()?))
        })
    }
}

/// The class of a block of `size` bytes: a power of two, 16 at the least.
pub fn service_class(size: u64) -> u64 {
    size.max(16).checked_next_power_of_two().unwrap_or(u64::MAX)
}

/// A row of `slow_calls.csv`: one call that was slow. At most some thousand for each trace and
/// backend: those that are slow by their own time, the slowest first to be retained, and those that
/// only a part of the repetitions saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowCall {
    /// See [`super::CellKey::trace`].
    pub trace: String,
    /// See [`super::CellKey::backend`].
    pub backend: String,
    /// Its place in the trace, from 0.
    pub event: u64,
    /// Which calls.
    pub op: Operation,
    /// Bytes requested; for free, those of the block.
    pub size_bytes: u64,
    /// The line that allocated the block, `file:line`; empty where the trace does not say.
    pub site: String,
    /// Its own time: the median over the repetitions, clock pair included.
    pub nanoseconds: u64,
    /// The longest that a repetition saw.
    pub longest_nanoseconds: u64,
    /// Repetitions in which it took at least half of its own time; of a call that is not slow by
    /// its own time, half of the longest.
    pub seen: u32,
    /// Repetitions in all.
    pub repetitions: u32,
}

impl SlowCall {
    /// Calls whose own time is at least this are slow by it.
    pub const SLOW_NANOSECONDS: u64 = 10_000;
    /// So long must a repetition have taken over a call that is not slow by its own time, for a
    /// row.
    pub const STRAY_NANOSECONDS: u64 = 100_000;

    /// Whether it is the allocator's own time; else only one or a few repetitions saw it, and it
    /// is the machine's.
    pub fn is_own(&self) -> bool {
        self.nanoseconds >= SlowCall::SLOW_NANOSECONDS
    }
}

/// A row of `latency_map.csv`: the calls of one range of service times over the replay.
///
/// `cells` has a number for each column of time, separated by spaces: the calls in it; `_N` stands
/// for N columns without any. Columns are equal numbers of calls; those after the last number
/// are empty. `_3 12 _2 1` is 0 0 0 12 0 0 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyRow {
    /// See [`super::CellKey::trace`].
    pub trace: String,
    /// See [`super::CellKey::backend`].
    pub backend: String,
    /// Service times from this, clock pair included,
    pub from_nanoseconds: f64,
    /// to this.
    pub to_nanoseconds: f64,
    /// Columns of time.
    pub columns: u32,
    /// The columns.
    pub cells: String,
}

impl LatencyRow {
    /// Writes columns as `cells`.
    pub fn encode(columns: &[u64]) -> String {
        let mut parts: Vec<String> = Vec::new();
        let last = columns.iter().rposition(|calls| *calls > 0).map_or(0, |last| last + 1);
        for run in columns[..last].chunk_by(|a, b| (*a == 0) == (*b == 0)) {
            if run[0] == 0 {
                parts.push(format!("_{}", run.len()));
            } else {
                parts.extend(run.iter().map(u64::to_string));
            }
        }
        parts.join(" ")
    }

    /// The columns that have calls, with their numbers; what cannot be read, and what lies beyond
    /// [`LatencyRow::columns`], is left out.
    pub fn counts(&self) -> Vec<(usize, u64)> {
        let mut at = 0_usize;
        let mut counts = Vec::new();
        for part in self.cells.split(' ') {
            if let Some(empty) = part.strip_prefix('_') {
                at = at.saturating_add(empty.parse().unwrap_or(0));
            } else if let Ok(calls) = part.parse::<u64>() {
                if at < self.columns as usize && calls > 0 {
                    counts.push((at, calls));
                }
                at = at.saturating_add(1);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(cells: &str, columns: u32) -> LatencyRow {
        LatencyRow {
            trace: String::new(),
            backend: String::new(),
            from_nanoseconds: 1.0,
            to_nanoseconds: 2.0,
            columns,
            cells: cells.into(),
        }
    }

    proptest! {
        #[test]
        fn columns_come_back(
            columns in prop::collection::vec(prop_oneof![Just(0), 0..5_u64, 0..u64::MAX], 0..60),
        ) {
            let cells = LatencyRow::encode(&columns);
            let expected: Vec<(usize, u64)> =
                columns.iter().copied().enumerate().filter(|(_, calls)| *calls > 0).collect();
            prop_assert_eq!(row(&cells, columns.len() as u32).counts(), expected);
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(LatencyRow::encode(&[0, 0, 0, 12, 0, 0, 1, 0]), "_3 12 _2 1");
        assert_eq!(row("_3 12 _2 1", 8).counts(), [(3, 12), (6, 1)]);
        assert_eq!(
            row("x 1 _99999999999999999999999 7 _18446744073709551615 5 5", 2).counts(),
            [(0, 1), (1, 7)]
        );
        let times = ServiceTimes {
            trace: String::new(),
            backend: String::new(),
            repetition: None,
            op: Operation::Free,
            up_to_bytes: 16,
            counts: "0:1 x 8:2 999:7 16:".into(),
        };
        assert_eq!(times.pairs().collect::<Vec<_>>(), [(1.0, 1), (2.0, 2)]);
    }

    #[test]
    fn classes_are_powers_of_two() {
        for (size, class) in
            [(0, 16), (1, 16), (16, 16), (17, 32), (512, 512), (513, 1024), (u64::MAX, u64::MAX)]
        {
            assert_eq!(service_class(size), class);
        }
    }
}
