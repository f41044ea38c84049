//! The heap over the trace: samples of L, U, P and R.

use std::time::Instant;

use super::blocks::BlockAccounts;
use super::heap_sample::HeapSample;
use super::pages::PagesInUse;
use super::resident_reader::ResidentReader;
use crate::program::Outline;
use crate::replay::memory::ResidentMemory;

/// The least rise of R that is a new peak: 16 pages of 4 KiB.
const LEAST_RISE_BYTES: u64 = 64 << 10;

/// The heap over the trace.
#[derive(Clone, Debug, Default)]
pub struct HeapSamples {
    /// The samples in order: the first call, at least each 1/320 of the trace, new live peaks, new
    /// peaks of R, marks, the live peak, the end.
    pub all: Vec<HeapSample>,
    /// The sample at the live peak.
    pub at_live_peak: HeapSample,
    /// The sample after the last call.
    pub end: HeapSample,
    /// The largest P − R of the samples, in bytes. More than a few pages show a fault of the
    /// instrument.
    pub pages_in_use_over_resident_bytes: u64,
}

/// Takes the samples.
pub(super) struct Sampler {
    residency: ResidentReader,
    /// Whether samples read R.
    backs_memory: bool,
    samples: HeapSamples,
    /// Calls between two regular samples.
    interval: u64,
    next_event: u64,
    /// A new live peak is sampled if it exceeds the last sampled peak by so many bytes. They are a
    /// share of the live peak of the trace. Else the many peaks of a growing heap would cost more
    /// than all other samples.
    rise_bytes: u64,
    sampled_peak_bytes: u64,
    resident_peak: ResidentPeak,
    /// The time of each reading of R, in ns.
    reading_ns: Vec<u64>,
}

/// Says when R may have a new peak between two regular samples.
///
/// A large block that lives for a few calls, beside free memory that the allocator has not yet given
/// back, makes a peak that no regular sample sees: 2.5 MiB of 36 in a program that writes JSON.
struct ResidentPeak {
    peak_bytes: u64,
    /// R when it was last read.
    last_bytes: u64,
    /// Bytes of the pages that had come into use when R was last read.
    last_came_into_use_bytes: u64,
    /// A lower rise above the peak is no new peak: each costs a sample.
    rise_bytes: u64,
}

impl ResidentPeak {
    /// For a program with this live peak.
    fn new(live_peak_bytes: u64) -> ResidentPeak {
        let rise_bytes = (live_peak_bytes / 256).max(LEAST_RISE_BYTES);
        ResidentPeak { peak_bytes: 0, last_bytes: 0, last_came_into_use_bytes: 0, rise_bytes }
    }

    /// Whether R can be above its peak by a rise. It has grown by the pages that came into use since it
    /// was read, at most, and by what the allocator itself writes.
    fn may_be_higher(&self, pages: &PagesInUse) -> bool {
        let came_bytes = pages.came_into_use_bytes() - self.last_came_into_use_bytes;
        self.last_bytes + came_bytes > self.peak_bytes + self.rise_bytes
    }

    /// Takes a reading of R; whether it is a new peak by a rise.
    fn see(&mut self, resident_bytes: u64, pages: &PagesInUse) -> bool {
        (self.last_bytes, self.last_came_into_use_bytes) =
            (resident_bytes, pages.came_into_use_bytes());
        let is_new = resident_bytes > self.peak_bytes + self.rise_bytes;
        if is_new {
            self.peak_bytes = resident_bytes;
        }
        is_new
    }
}

impl Sampler {
    /// A sampler for a program, with space for its samples.
    pub(super) fn new(outline: &Outline, residency: ResidentReader, backs_memory: bool) -> Sampler {
        Sampler {
            residency,
            backs_memory,
            samples: HeapSamples { all: Vec::with_capacity(4096), ..HeapSamples::default() },
            interval: (outline.calls / 320).max(2048),
            next_event: 0,
            rise_bytes: outline.profile.live_peak_bytes / 128,
            sampled_peak_bytes: 0,
            resident_peak: ResidentPeak::new(outline.profile.live_peak_bytes),
            reading_ns: Vec::with_capacity(4096),
        }
    }

    /// Makes the present resident memory the baseline.
    pub(super) fn begin(&mut self, before: Option<ResidentMemory>) {
        self.residency.set_baseline(before);
    }

    /// Bytes of the baseline that count as the program's.
    pub(super) fn adopted_bytes(&self, blocks: &BlockAccounts) -> u64 {
        self.residency.adopted_bytes(blocks.pages().adopted_bytes())
    }

    /// Takes a sample if one is due.
    pub(super) fn observe(&mut self, blocks: &BlockAccounts) {
        let (event, live_bytes) = (blocks.event(), blocks.live_bytes());
        let is_new_peak = live_bytes > self.sampled_peak_bytes + self.rise_bytes;
        if event >= self.next_event || is_new_peak {
            self.sampled_peak_bytes = self.sampled_peak_bytes.max(live_bytes);
            self.next_event = event + self.interval;
            self.sample(blocks);
        } else if self.backs_memory && self.resident_peak.may_be_higher(blocks.pages()) {
            let resident_bytes = self.residency.bytes(self.adopted_bytes(blocks));
            if self.resident_peak.see(resident_bytes, blocks.pages()) {
                self.sample(blocks);
            }
        }
    }

    /// Takes a sample. The first sample of an event is stored, each is returned.
    pub(super) fn sample(&mut self, blocks: &BlockAccounts) -> HeapSample {
        let mut now = blocks.sample();
        if self.backs_memory {
            let began = Instant::now();
            now.resident_bytes = self.residency.bytes(self.adopted_bytes(blocks));
            self.reading_ns.push(began.elapsed().as_nanos() as u64);
            self.resident_peak.see(now.resident_bytes, blocks.pages());
            let over_bytes = now.pages_in_use_bytes.saturating_sub(now.resident_bytes);
            let most = &mut self.samples.pages_in_use_over_resident_bytes;
            *most = over_bytes.max(*most);
        }
        if self.samples.all.last().is_none_or(|last| last.event != now.event) {
            self.samples.all.push(now);
        }
        now
    }

    /// Takes a sample that has the memory on huge pages, too. The kernel walks all pages for it.
    pub(super) fn sample_with_huge_pages(&mut self, blocks: &BlockAccounts) -> HeapSample {
        let mut now = self.sample(blocks);
        if self.backs_memory {
            let adopted_bytes = self.adopted_bytes(blocks);
            now.huge_page_bytes = self.residency.huge_page_bytes(adopted_bytes, now.resident_bytes);
        }
        now
    }

    /// The samples, the time of reading R for them in ns, and the reader of R.
    ///
    /// The time is the number of readings times their median. A clock of processor time would cost
    /// more than a reading, and the sum of wall times would include other processes.
    pub(super) fn finish(
        mut self,
        at_live_peak: HeapSample,
        end: HeapSample,
    ) -> (HeapSamples, u64, ResidentReader) {
        self.reading_ns.sort_unstable();
        let count = self.reading_ns.len();
        let sampling_ns = self.reading_ns.get(count / 2).map_or(0, |median| median * count as u64);
        let samples = HeapSamples { at_live_peak, end, ..self.samples };
        (samples, sampling_ns, self.residency)
    }
}
