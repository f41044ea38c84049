//! Room `bench`: the median of each call's time over the repetitions of a latency pass.
//!
//! Replay is deterministic: the same call does the same work in each repetition, so its median is its own cost, and what
//! one repetition alone saw was the machine's (the scheduler, an interrupt, a neighbour).

use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;

use crate::program::{Action, Program};
use crate::replay::{bucket_nanoseconds, empty_histogram};
use crate::results::Latency;

/// Fewer repetitions than this confirm nothing.
pub const LEAST_REPETITIONS: usize = 3;

/// The confirmed histograms of one trace and backend, one for each action that occurs, from the byte files of its
/// repetitions. `None` when there are too few of them or they are not of this program.
pub fn confirm(
    trace: &str,
    backend: &str,
    program: &Program,
    files: &[impl AsRef<Path>],
) -> Option<Vec<Latency>> {
    if files.len() < LEAST_REPETITIONS {
        return None;
    }
    let calls = program.instructions().len();
    let repetitions: Vec<Vec<u8>> = files.iter().filter_map(|path| fs::read(path).ok()).collect();
    if repetitions.len() != files.len() || repetitions.iter().any(|bytes| bytes.len() != calls) {
        return None;
    }
    let mut histograms: [Histogram<u64>; 4] = std::array::from_fn(|_| empty_histogram());
    let mut seen = vec![0u8; repetitions.len()];
    for (index, instruction) in program.instructions().iter().enumerate() {
        for (place, bytes) in seen.iter_mut().zip(&repetitions) {
            *place = bytes[index];
        }
        seen.sort_unstable();
        let median = seen[(seen.len() - 1) / 2];
        let nanoseconds = bucket_nanoseconds(median).round().max(1.0) as u64;
        histograms[instruction.action() as usize].saturating_record(nanoseconds);
    }
    let latencies = Action::ALL.into_iter().zip(histograms).filter(|(_, histogram)| !histogram.is_empty());
    Some(
        latencies
            .map(|(action, histogram)| Latency {
                trace: trace.to_owned(),
                backend: backend.to_owned(),
                repetition: None,
                op: action.name().to_owned(),
                histogram,
            })
            .collect(),
    )
}
