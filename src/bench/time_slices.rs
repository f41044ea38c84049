//! Interleaved children. The children of an interleaved batch are alive together on one processor,
//! and run in time slices of about a millisecond, in an order drawn anew for each round. So all of
//! them meet the same drift of the machine.
//!
//! A shared machine's speed drifts by tens of per cent within seconds. Two backends timed one after
//! the other differ by that drift. Interleaved backends share it, and the spread of their ratio is
//! several times smaller (`docs/method/time.md`).

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::machine::available_bytes;
use super::worker::Worker;
use crate::backends::pages;
use crate::program::Profile;
use crate::stats::Random;

/// The memory that a batch of so many children takes, as far as the program says. At most a quarter
/// of what is available and an eighth of the limit: several batches may take it at once, beside
/// what decodes parts, and all of them stay below.
pub fn memory_of(profile: &Profile, children: usize, limit_bytes: u64) -> u64 {
    const FIRST_BYTES: u64 = 8 << 20; // what allocators take before much is requested of them
    let each = profile.total_requested_bytes().min(profile.live_peak_bytes.saturating_mul(4));
    let all = each.saturating_add(FIRST_BYTES).saturating_mul(children as u64);
    all.min(available_bytes() / 4).min(limit_bytes / 8)
}

/// Gives time slices until no child wants more. This thread moves to `processor`, where the
/// children run, so that giving them costs the other processors nothing. Before the first time
/// slice, so many bytes of memory are touched.
pub fn run_time_slices(workers: &mut [Worker], processor: Option<usize>, seed: u64, memory: u64) {
    let _here = stay_on(processor);
    let mut running: Vec<&mut Worker> =
        workers.iter_mut().filter_map(|worker| worker.is_ready().then_some(worker)).collect();
    if memory > 0 {
        let _ = pages::warm(memory as usize); // where it is refused, the children touch it first
    }
    let mut random = Random(seed);
    while !running.is_empty() {
        random.shuffle(&mut running);
        running.retain_mut(|worker| worker.run_time_slice());
    }
}

/// Where this thread was allowed to run before it moved.
pub(super) struct Stay(Option<CpuSet>);

/// Moves this thread to a processor until the result is dropped.
pub(super) fn stay_on(processor: Option<usize>) -> Stay {
    let Some(processor) = processor else { return Stay(None) };
    let before = sched_getaffinity(None).ok();
    let mut set = CpuSet::new();
    set.set(processor);
    let _ = sched_setaffinity(None, &set);
    Stay(before)
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = sched_setaffinity(None, before);
        }
    }
}
