//! One sample of the heap.

use super::site_sums::{LARGEST_SITES, SampleSite};

/// The heap at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapSample {
    /// Calls done.
    pub event: u64,
    /// Bytes requested so far.
    pub clock_bytes: u64,
    /// L: requested bytes that are live, and that the program touches.
    pub live_bytes: u64,
    /// Requested bytes that are live, and that the program never touches. They are in no other figure.
    pub untouched_bytes: u64,
    /// U: usable bytes of the live blocks.
    pub usable_bytes: u64,
    /// P: pages in use.
    pub pages_in_use_bytes: u64,
    /// R: resident memory, less the baseline.
    pub resident_bytes: u64,
    /// Of R, what lies on huge pages. Read at the live peak and at the end only.
    pub huge_page_bytes: u64,
    /// The sites with most live bytes, the largest first; all zero for a trace without sites.
    pub largest_sites: [SampleSite; LARGEST_SITES],
}
