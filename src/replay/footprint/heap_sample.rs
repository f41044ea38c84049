//! One sample of the heap.

/// The heap at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapSample {
    /// Calls done.
    pub event: u64,
    /// Bytes requested so far.
    pub clock_bytes: u64,
    /// L: requested bytes that are live.
    pub live_bytes: u64,
    /// U: usable bytes of the live blocks.
    pub usable_bytes: u64,
    /// P: pages in use.
    pub pages_in_use_bytes: u64,
    /// R: resident memory, less the baseline.
    pub resident_bytes: u64,
}
