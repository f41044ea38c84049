//! The time slice: what a process replays before another process of the batch may run.

/// Calls in a time slice: 0.6 to 2.5 ms at 18 to 75 ns a call, about 2 ms in the latency pass.
///
/// Shorter time slices would begin with cold caches more often. The kernel seldom preempts a
/// process within such a time when it has just waited.
pub(super) const TIME_SLICE_CALLS: usize = 1 << 15;
