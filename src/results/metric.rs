//! The metrics, one line each. A measurement names one of these; a new metric adds
//! a line here and rows in the tables, never a column.
//!
//! Exactness decides what `check` may do with a metric: what is exact gates without tolerance, what
//! is timed only as a ratio within one run.

/// How repeatable a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// Follows from the trace alone: the same on every machine.
    Trace,
    /// Follows from the trace and a backend that is our own code: the same on every machine.
    Policy,
    /// The same in every run on machines with the same libc, kernel page size and huge-page mode;
    /// not elsewhere.
    Machine,
    /// As [`Exactness::Machine`], and moved by where the heap begins: the same in every run of one
    /// build of heaplay.
    Layout,
    /// A duration: noisy, compared only with another in the same run.
    Timed,
    /// Told, never judged.
    Told,
}

impl Exactness {
    /// Words for tables.
    pub fn describe(self) -> &'static str {
        match self {
            Exactness::Trace => "exact: follows from the trace",
            Exactness::Policy => "exact: follows from trace and policy",
            Exactness::Machine => {
                "exact on machines with the same libc, page size and huge-page mode"
            }
            Exactness::Layout => "exact on such machines within one build of heaplay",
            Exactness::Timed => "timed: as a ratio to a reference backend of the same run",
            Exactness::Told => "told, never judged",
        }
    }
}

/// One metric. Lower is better for all that `check` judges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// The name in `measurements.csv`, unit last.
    pub name: &'static str,
    /// The unit, as on an axis.
    pub unit: &'static str,
    /// How repeatable.
    pub exactness: Exactness,
    /// What it is, in a line.
    pub meaning: &'static str,
}

const fn metric(
    name: &'static str,
    unit: &'static str,
    exactness: Exactness,
    meaning: &'static str,
) -> Metric {
    Metric { name, unit, exactness, meaning }
}

/// Every metric that a run record may hold.
pub const METRICS: &[Metric] = &[
    metric("calls", "calls", Exactness::Trace, "calls replayed, by op"),
    metric(
        "requested_bytes",
        "bytes",
        Exactness::Trace,
        "bytes asked for by malloc, calloc and realloc: the allocation clock at the end",
    ),
    metric(
        "live_peak_bytes",
        "bytes",
        Exactness::Trace,
        "largest sum of requested bytes live at once",
    ),
    metric(
        "live_end_bytes",
        "bytes",
        Exactness::Trace,
        "requested bytes live at the end of the trace",
    ),
    metric(
        "live_peak_event",
        "event",
        Exactness::Told,
        "first event at which the live bytes are largest",
    ),
    metric(
        "usable_at_live_peak_bytes",
        "bytes",
        Exactness::Machine,
        "usable bytes of the live blocks at the live peak",
    ),
    metric(
        "pages_in_use_at_live_peak_bytes",
        "bytes",
        Exactness::Machine,
        "4 KiB pages that hold a byte of a live block, at the live peak",
    ),
    metric(
        "resident_at_live_peak_bytes",
        "bytes",
        Exactness::Machine,
        "resident private memory at the live peak",
    ),
    metric("pages_in_use_peak_bytes", "bytes", Exactness::Machine, "largest sampled pinned memory"),
    metric(
        "resident_peak_bytes",
        "bytes",
        Exactness::Machine,
        "largest sampled resident private memory, baseline taken off",
    ),
    metric(
        "usable_end_bytes",
        "bytes",
        Exactness::Machine,
        "usable bytes of the blocks live at the end",
    ),
    metric(
        "pages_in_use_end_bytes",
        "bytes",
        Exactness::Machine,
        "pinned memory at the end of the trace",
    ),
    metric(
        "pages_in_use_16k_at_live_peak_bytes",
        "bytes",
        Exactness::Layout,
        "pieces of 16 KiB that hold a byte of a live block, at the live peak",
    ),
    metric(
        "pages_in_use_64k_at_live_peak_bytes",
        "bytes",
        Exactness::Layout,
        "pieces of 64 KiB that hold a byte of a live block, at the live peak",
    ),
    metric(
        "pages_in_use_256k_at_live_peak_bytes",
        "bytes",
        Exactness::Layout,
        "pieces of 256 KiB that hold a byte of a live block, at the live peak",
    ),
    metric(
        "pages_in_use_1m_at_live_peak_bytes",
        "bytes",
        Exactness::Layout,
        "pieces of 1 MiB that hold a byte of a live block, at the live peak",
    ),
    metric(
        "pages_in_use_2m_at_live_peak_bytes",
        "bytes",
        Exactness::Layout,
        "pieces of 2 MiB that hold a byte of a live block, at the live peak",
    ),
    metric(
        "pages_in_use_16k_end_bytes",
        "bytes",
        Exactness::Layout,
        "pieces of 16 KiB that hold a byte of a live block, at the end",
    ),
    metric(
        "pages_in_use_64k_end_bytes",
        "bytes",
        Exactness::Layout,
        "pieces of 64 KiB that hold a byte of a live block, at the end",
    ),
    metric(
        "pages_in_use_256k_end_bytes",
        "bytes",
        Exactness::Layout,
        "pieces of 256 KiB that hold a byte of a live block, at the end",
    ),
    metric(
        "pages_in_use_1m_end_bytes",
        "bytes",
        Exactness::Layout,
        "pieces of 1 MiB that hold a byte of a live block, at the end",
    ),
    metric(
        "pages_in_use_2m_end_bytes",
        "bytes",
        Exactness::Layout,
        "pieces of 2 MiB that hold a byte of a live block, at the end",
    ),
    metric(
        "returnable_bytes",
        "bytes",
        Exactness::Machine,
        "most memory kept without a live byte during a whole tenth of the allocation clock: worth giving back",
    ),
    metric(
        "resident_end_bytes",
        "bytes",
        Exactness::Machine,
        "resident private memory at the end of the trace",
    ),
    metric(
        "resident_trimmed_bytes",
        "bytes",
        Exactness::Machine,
        "resident after the allocator's own trim call at the end",
    ),
    metric(
        "resident_flushed_bytes",
        "bytes",
        Exactness::Machine,
        "the same, had the thread's cache of free blocks been emptied before",
    ),
    metric(
        "trim_predicted_bytes",
        "bytes",
        Exactness::Machine,
        "what pointers alone say that a trim leaves: pinned pages, those of headers and heads of free pieces beside live blocks, and those that were there before",
    ),
    metric(
        "resident_freed_bytes",
        "bytes",
        Exactness::Machine,
        "resident after every block was freed and trimmed: the allocator's floor",
    ),
    metric(
        "resident_mean_bytes",
        "bytes",
        Exactness::Machine,
        "resident memory averaged over the allocation clock",
    ),
    metric(
        "live_mean_bytes",
        "bytes",
        Exactness::Trace,
        "live bytes averaged over the allocation clock, over the same samples",
    ),
    metric("trim_nanoseconds", "ns", Exactness::Told, "time of the trim call at the end"),
    metric("arenas_peak", "arenas", Exactness::Policy, "most arenas mapped at once"),
    metric("arenas_end", "arenas", Exactness::Policy, "arenas mapped at the end of the trace"),
    metric("arenas_total", "arenas", Exactness::Policy, "arenas mapped over the whole trace"),
    metric("pools_end", "pools", Exactness::Policy, "pools that hold a live block at the end"),
    metric("pool_header_bytes", "bytes", Exactness::Policy, "bytes in pool headers at the end"),
    metric(
        "quantization_bytes",
        "bytes",
        Exactness::Policy,
        "tails of pools too small for a block, at the end",
    ),
    metric("available_bytes", "bytes", Exactness::Policy, "free blocks in used pools at the end"),
    metric(
        "unused_pool_bytes",
        "bytes",
        Exactness::Policy,
        "wholly free pools in mapped arenas at the end",
    ),
    metric(
        "allocated_bytes",
        "bytes",
        Exactness::Policy,
        "blocks in use at the end, by their class size",
    ),
    metric(
        "arena_alignment_bytes",
        "bytes",
        Exactness::Policy,
        "lost at the end where arenas do not begin at a multiple of a pool",
    ),
    metric(
        "pages_in_use_over_resident_bytes",
        "bytes",
        Exactness::Told,
        "largest sampled P - R: above a few pages the instrument is wrong",
    ),
    metric(
        "pass_nanoseconds",
        "ns",
        Exactness::Told,
        "processor time of the footprint pass with all its accounting",
    ),
    metric(
        "mapping_nanoseconds",
        "ns",
        Exactness::Told,
        "of that, asking which pages are resident for the heap map",
    ),
    metric(
        "sampling_nanoseconds",
        "ns",
        Exactness::Told,
        "of that, reading resident memory for the samples",
    ),
    metric(
        "minor_faults",
        "faults",
        Exactness::Told,
        "page faults of the footprint pass, the harness's included",
    ),
    metric(
        "varies_between_runs",
        "1 or 2",
        Exactness::Told,
        "why memory is not exact: 1 the allocator gives back by the clock, 2 it places blocks at random",
    ),
    metric(
        "resident_peak_at_once_bytes",
        "bytes",
        Exactness::Told,
        "largest resident private memory, had the allocator given back at once what it gives back by the clock",
    ),
    metric(
        "resident_peak_never_bytes",
        "bytes",
        Exactness::Told,
        "largest resident private memory, had the allocator given back never what it gives back by the clock",
    ),
    metric(
        "resident_mean_at_once_bytes",
        "bytes",
        Exactness::Told,
        "resident private memory averaged over the allocation clock, had the allocator given back at once what it gives back by the clock",
    ),
    metric(
        "resident_mean_never_bytes",
        "bytes",
        Exactness::Told,
        "resident private memory averaged over the allocation clock, had the allocator given back never what it gives back by the clock",
    ),
    metric(
        "resident_end_at_once_bytes",
        "bytes",
        Exactness::Told,
        "resident private memory after the last call, had the allocator given back at once what it gives back by the clock",
    ),
    metric(
        "resident_end_never_bytes",
        "bytes",
        Exactness::Told,
        "resident private memory after the last call, had the allocator given back never what it gives back by the clock",
    ),
    metric(
        "resident_trimmed_at_once_bytes",
        "bytes",
        Exactness::Told,
        "resident private memory after the allocator's own trim call, had the allocator given back at once what it gives back by the clock",
    ),
    metric(
        "resident_trimmed_never_bytes",
        "bytes",
        Exactness::Told,
        "resident private memory after the allocator's own trim call, had the allocator given back never what it gives back by the clock",
    ),
    metric(
        "instructions",
        "instructions",
        Exactness::Told,
        "instructions of all calls, the loop's with them, counted by valgrind (--count-instructions)",
    ),
    metric(
        "time_nanoseconds",
        "ns",
        Exactness::Timed,
        "processor time of the whole replay loop, time pass",
    ),
    metric(
        "wall_nanoseconds",
        "ns",
        Exactness::Told,
        "wall time of the same, pauses between turns left out",
    ),
    metric(
        "preemptions",
        "switches",
        Exactness::Told,
        "involuntary context switches during the loop",
    ),
    metric(
        "latency_back_to_back_nanoseconds",
        "ns",
        Exactness::Told,
        "mean service time of a call among others, from stretches of calls timed as a whole; by op in the proportions of \
         latency_isolated_nanoseconds",
    ),
    metric(
        "latency_isolated_nanoseconds",
        "ns",
        Exactness::Told,
        "mean service time of a call that fences keep from overlapping with others, less the mean of an empty clock pair",
    ),
    metric(
        "window_1ms_nanoseconds",
        "ns",
        Exactness::Told,
        "most time in the allocator in any 1 ms of the program's own time, clock pair taken off",
    ),
    metric("window_1ms_event", "event", Exactness::Told, "the call with which that window begins"),
    metric(
        "window_10ms_nanoseconds",
        "ns",
        Exactness::Told,
        "most time in the allocator in any 10 ms of the program's own time, clock pair taken off",
    ),
    metric("window_10ms_event", "event", Exactness::Told, "the call with which that window begins"),
    metric(
        "window_100ms_nanoseconds",
        "ns",
        Exactness::Told,
        "most time in the allocator in any 100 ms of the program's own time, clock pair taken off",
    ),
    metric(
        "window_100ms_event",
        "event",
        Exactness::Told,
        "the call with which that window begins",
    ),
    metric(
        "slow_calls_left_out",
        "calls",
        Exactness::Told,
        "calls over 10 µs by their own time for which slow_calls.csv had no room",
    ),
    metric(
        "clock_pair_nanoseconds",
        "ns",
        Exactness::Told,
        "what an empty clock pair read in this child, mean",
    ),
    metric(
        "clock_cost_nanoseconds",
        "ns",
        Exactness::Told,
        "what a clock pair cost each call in this child",
    ),
    metric(
        "clock_step_nanoseconds",
        "ns",
        Exactness::Told,
        "smallest step of the clock seen in this child",
    ),
];

/// Whether a metric is made of all repetitions of a latency pass together.
pub(super) fn is_confirmed(name: &str) -> bool {
    name.starts_with("window_") || name == "slow_calls_left_out"
}

/// The metric of that name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}
