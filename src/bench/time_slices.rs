//! A batch. For one trace and repetition the children of all backends are alive
//! together on one processor and take turns of about a millisecond, in an order drawn anew for each
//! round, so that all meet the same weather.
//!
//! A shared machine's speed drifts by tens of per cent within seconds. Two backends timed one after
//! the other differ by that drift; timed in turns they share it, and the spread of their ratio
//! falls several times (`docs/method/time.md`).

use super::machine::available_bytes;
use super::worker::Worker;
use crate::backends::pages;
use crate::program::Profile;
use crate::stats::Random;

/// What a batch of so many children takes at most, as far as the program says; no more than a
/// quarter of what there is, nor an eighth of the limit: several batches may take it at once, beside
/// what decodes parts, and together they stay below.
pub fn memory_of(profile: &Profile, children: usize, limit_bytes: u64) -> u64 {
    const FIRST_BYTES: u64 = 8 << 20; // what allocators take before they are asked for much
    let each = profile.total_requested_bytes().min(profile.live_peak_bytes.saturating_mul(4));
    let all = each.saturating_add(FIRST_BYTES).saturating_mul(children as u64);
    all.min(available_bytes() / 4).min(limit_bytes / 8)
}

/// Hands out turns until no child asks for more. `processor` is where they run: this thread moves
/// there too, so that handing out costs the neighbouring processor nothing. Before the first turn,
/// so many bytes of memory are brought near.
pub fn take_time_slices(workers: &mut [Worker], processor: Option<usize>, seed: u64, memory: u64) {
    let _here = stay_on(processor);
    let mut racing: Vec<&mut Worker> =
        workers.iter_mut().filter_map(|worker| worker.ready().then_some(worker)).collect();
    if memory > 0 {
        let _ = pages::warm(memory as usize); // where it is refused, the children meet what they meet
    }
    let mut random = Random(seed);
    while !racing.is_empty() {
        random.shuffle(&mut racing);
        racing.retain_mut(|worker| worker.turn());
    }
}

/// Where this thread was allowed to run before it moved.
pub(super) struct Stay(Option<rustix::thread::CpuSet>);

/// Moves this thread to a processor until what it gives is dropped.
pub(super) fn stay_on(processor: Option<usize>) -> Stay {
    let Some(processor) = processor else { return Stay(None) };
    let before = rustix::thread::sched_getaffinity(None).ok();
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    let _ = rustix::thread::sched_setaffinity(None, &set);
    Stay(before)
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::thread::sched_setaffinity(None, before);
        }
    }
}
