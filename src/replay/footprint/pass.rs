//! Runs the footprint pass and collects its results.

use std::sync::Arc;

use super::end_of_life::EndOfLife;
use super::heap_map::HeapMap;
use super::moments::PageViews;
use super::observer::FootprintObserver;
use super::pace::ProgramPace;
use super::samples::HeapSamples;
use super::sizes::RequestSizes;
use super::thread_history::ThreadHistory;
use crate::backends::{Backend, Domains};
use crate::program::{AllocationSites, Feed};
use crate::replay::calls::{Owners, Slots, Tables, replay};
use crate::replay::error::ReplayError;
use crate::replay::memory::{Resident, ResidentMemory, self_test};
use crate::replay::threads::{RecordedOrder, ThreadCounts};
use crate::replay::usage::{minor_faults, process_ns, processor_ns};
use crate::trace::Domain;

/// The result of a footprint pass.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    /// Calls made, by action.
    pub calls: [u64; 4],
    /// The heap over the trace.
    pub samples: HeapSamples,
    /// The heap page by page at chosen moments.
    pub views: PageViews,
    /// All requests by size.
    pub sizes: RequestSizes,
    /// Where the heap was resident and how full it was.
    pub heap_map: HeapMap,
    /// What stays resident at the end.
    pub end_of_life: EndOfLife,
    /// What the pass itself cost.
    pub cost: PassCost,
    /// The threads that made the calls.
    pub threads: ThreadCounts,
    /// What each thread of the trace did and left; empty for a trace of one thread.
    pub history: ThreadHistory,
}

/// The cost of a footprint pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassCost {
    /// Processor time of the replay with all its observers, in ns.
    pub pass_ns: u64,
    /// Of that, the time of reading R for the samples, in ns: their number times the median time.
    pub sampling_ns: u64,
    /// Of that, the processor time of taking the heap map, in ns.
    pub mapping_ns: u64,
    /// Page faults of the replay that needed no disk.
    pub minor_faults: u64,
}

impl PassCost {
    /// Adds the cost of one part of the replay. Reading the part belongs to no figure.
    /// `now_ns` is a clock of processor time.
    fn of_replay<T>(&mut self, now_ns: fn() -> u64, replay: impl FnOnce() -> T) -> T {
        let (began, faults) = (now_ns(), minor_faults());
        let result = replay();
        self.pass_ns += now_ns() - began;
        self.minor_faults += minor_faults() - faults;
        result
    }
}

/// Replays a program once and accounts for its memory; afterwards trims, frees every block and
/// trims again.
///
/// `sites` are the allocation sites of the requests; they may be empty. With a `pace`, the replay
/// makes each call no earlier than the program did. With `before`, resident private memory from
/// before the backend was opened, what the backend took by itself counts, too.
///
/// # Errors
/// The backend gives no memory, a part of the program does not arrive, the accounts are not zero
/// after every block is freed, or this kernel's figures cannot be trusted.
pub fn footprint<'a>(
    feed: impl Into<Feed<'a>>,
    sites: &AllocationSites,
    backend: &mut dyn Backend,
    pace: Option<&ProgramPace>,
    before: Option<ResidentMemory>,
) -> Result<Footprint, ReplayError> {
    let resident = Resident::open().map_err(|error| ReplayError::Instrument(error.to_string()))?;
    self_test(&resident).map_err(ReplayError::Instrument)?;
    let mut feed = feed.into();
    let outline = Arc::clone(feed.outline());
    let tables = Tables::of(&outline, backend);
    let (mut slots, mut owners) = (Slots::of(&outline), Owners::new(&outline));
    warm_up(&backend.domains());
    let backend: &dyn Backend = backend;
    let mut order = RecordedOrder::new(&outline, backend);
    let now_ns = if order.is_one_run() { processor_ns } else { process_ns };
    let mut observer = FootprintObserver::new(&outline, sites, backend, resident, pace);
    observer.begin(before);
    let mut cost = PassCost::default();
    while let Some(part) = feed.next_part()? {
        observer.begin_part(part);
        let calls = 0..part.instructions().len();
        cost.of_replay(now_ns, || {
            order.run(part, calls, |run| replay(part, &tables, &mut slots, run, &mut observer))
        })?;
        owners.see(part);
    }
    let observed = observer.finish(slots.live())?;
    let resident_bytes = || observed.residency.bytes(observed.adopted_bytes);
    let free_all = || owners.free_all(&tables, &mut slots);
    let has_threads = outline.threads.len() > 1;
    let end_of_life = EndOfLife {
        trim_predicted_bytes: observed.trim_predicted_bytes,
        ..EndOfLife::measure(backend, has_threads, resident_bytes, free_all)
    };
    let (sampling_ns, mapping_ns) = (observed.sampling_ns, observed.mapping_ns);
    Ok(Footprint {
        calls: observed.calls,
        samples: observed.samples,
        views: observed.views,
        sizes: observed.sizes,
        heap_map: observed.heap_map,
        end_of_life,
        cost: PassCost { sampling_ns, mapping_ns, ..cost },
        threads: order.counts(),
        history: observed.history,
    })
}

/// Calls that a footprint pass makes before the first call of the program.
pub const WARM_UP_CALLS: u64 = 2 * Domain::CPYTHON.len() as u64;

/// One malloc and one free in each domain, so that the program is not charged with what a backend
/// sets up once.
#[expect(unsafe_code, reason = "calls the backend through its C function pointers")]
fn warm_up(domains: &Domains) {
    for domain in Domain::CPYTHON {
        let table = domains.get(domain);
        // SAFETY: the block returns to the same table, at once.
        unsafe {
            let block = (table.malloc)(table.ctx, 16);
            if !block.is_null() {
                (table.free)(table.ctx, block);
            }
        }
    }
}
