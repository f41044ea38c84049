//! The observer of the footprint pass, composed of one observer for each question.

use std::ffi::c_void;
use std::sync::Arc;

use super::blocks::BlockAccounts;
use super::heap_map::{HeapMap, HeapMapObserver};
use super::moments::{MomentObserver, PageViews};
use super::pace::{Pacer, ProgramPace};
use super::resident_reader::ResidentReader;
use super::samples::{HeapSamples, Sampler};
use super::sizes::RequestSizes;
use super::thread_history::{ThreadHistory, ThreadObserver};
use crate::backends::Backend;
use crate::program::{AllocationSites, Outline, Program};
use crate::replay::error::ReplayError;
use crate::replay::memory::{Resident, ResidentMemory};
use crate::replay::probe::{Done, Probe};

/// Observes the whole replay.
pub(super) struct FootprintObserver<'a> {
    calls: [u64; 4],
    blocks: BlockAccounts<'a>,
    sampler: Sampler,
    /// `None` for a backend that backs no memory.
    heap_map: Option<HeapMapObserver>,
    moments: MomentObserver<'a>,
    pacer: Option<Pacer<'a>>,
    /// `None` where one thread makes all calls.
    threads: Option<ThreadObserver>,
}

/// The results of the observers.
pub(super) struct Observed {
    /// Calls made, by action.
    pub(super) calls: [u64; 4],
    pub(super) samples: HeapSamples,
    pub(super) views: PageViews,
    pub(super) sizes: RequestSizes,
    pub(super) heap_map: HeapMap,
    pub(super) history: ThreadHistory,
    /// As pointers predict, before any block was freed; `None` where the backend does not say how
    /// it returns memory.
    pub(super) trim_predicted_bytes: Option<u64>,
    /// Time of reading R for the samples, in ns.
    pub(super) sampling_ns: u64,
    /// Processor time of taking the heap map, in ns.
    pub(super) mapping_ns: u64,
    /// Reads R after the replay.
    pub(super) residency: ResidentReader,
    /// Bytes of the baseline that count as the program's.
    pub(super) adopted_bytes: u64,
}

impl<'a> FootprintObserver<'a> {
    /// An observer for the program of `outline`, whose requests come from `sites`.
    pub(super) fn new(
        outline: &Arc<Outline>,
        sites: &'a AllocationSites,
        backend: &'a dyn Backend,
        resident: Resident,
        pace: Option<&'a ProgramPace>,
    ) -> FootprintObserver<'a> {
        let backs_memory = backend.backs_memory();
        FootprintObserver {
            calls: [0; 4],
            blocks: BlockAccounts::new(outline, sites, backend),
            sampler: Sampler::new(outline, ResidentReader::new(resident), backs_memory),
            heap_map: backs_memory.then(|| HeapMapObserver::new(outline.calls)),
            moments: MomentObserver::new(sites.marks(), outline.profile.live_peak_event),
            pacer: pace.map(Pacer::begin),
            threads: ThreadObserver::new(outline, backs_memory),
        }
    }

    /// Reads the baseline and observes the marks before the first call. Call it last before the
    /// replay: memory that is touched before it is not the backend's.
    ///
    /// `before` is resident private memory from before the backend was opened: then what the
    /// backend took by itself is the backend's, too.
    pub(super) fn begin(&mut self, before: Option<ResidentMemory>) {
        self.sampler.begin(before);
        self.moments.observe_marks(&self.blocks, &mut self.sampler);
    }

    /// The next calls are those of this part of the program.
    pub(super) fn begin_part(&mut self, part: &Program) {
        self.blocks.begin_part(part);
        if let Some(threads) = &mut self.threads {
            threads.begin_part(part);
        }
    }

    /// Observes the heap after the last call, then ends the blocks of `live`, which are slots with
    /// their blocks.
    ///
    /// # Errors
    /// The accounts are not zero then.
    pub(super) fn finish(
        self,
        live: impl Iterator<Item = (usize, *mut c_void)>,
    ) -> Result<Observed, ReplayError> {
        let FootprintObserver {
            calls, blocks, mut sampler, heap_map, mut moments, threads, ..
        } = self;
        let end = sampler.sample_with_huge_pages(&blocks);
        moments.observe_marks(&blocks, &mut sampler); // a mark after the last call
        let adopted_bytes = sampler.adopted_bytes(&blocks);
        let (heap_map, mapping_ns) = heap_map.map(HeapMapObserver::finish).unwrap_or_default();
        let history = threads.map(|threads| threads.finish(&blocks)).unwrap_or_default();
        let (views, at_live_peak) = moments.finish(&blocks);
        let (samples, sampling_ns, residency) = sampler.finish(at_live_peak, end);
        let trim_predicted_bytes = blocks.trim_predicted_bytes();
        let sizes = blocks.finish(live).ok_or_else(|| {
            let reason = "the accounts do not come to zero when all is freed";
            ReplayError::Instrument(reason.into())
        })?;
        Ok(Observed {
            calls,
            samples,
            views,
            sizes,
            heap_map,
            history,
            trim_predicted_bytes,
            sampling_ns,
            mapping_ns,
            residency,
            adopted_bytes,
        })
    }
}

impl Probe for FootprintObserver<'_> {
    type Mark = ();

    fn before(&mut self) {
        if let Some(pacer) = &mut self.pacer {
            pacer.reach(self.blocks.event());
        }
    }

    fn after(&mut self, (): (), done: Done) {
        self.calls[done.action as usize] += 1;
        self.blocks.observe(&done);
        self.sampler.observe(&self.blocks);
        if let Some(heap_map) = &mut self.heap_map {
            heap_map.observe(self.blocks.event(), self.blocks.pages());
        }
        if let Some(threads) = &mut self.threads {
            threads.observe(&done);
        }
        self.moments.observe(done.index as u64, &self.blocks, &mut self.sampler);
    }
}
