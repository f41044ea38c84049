//! The metrics, declared once. A measurement names one of them; a new metric adds a line here and
//! rows in the tables, never a column.
//!
//! The exactness of a metric decides what `check` may do with it. Exact metrics gate without
//! tolerance. Timed metrics are compared only as a ratio within one run.

use serde::{Deserialize, Serialize};

/// How repeatable a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// Follows from the trace by itself: the same on every machine.
    Trace,
    /// Follows from the trace and a backend that is our own code: the same on every machine.
    Policy,
    /// The same in every run on machines with the same libc, page size and huge-page mode.
    Machine,
    /// As [`Exactness::Machine`], and moved by the address where the heap begins: the same in every
    /// run of one build of heaplay.
    Layout,
    /// A duration: noisy, compared only with another in the same run.
    Timed,
    /// Reported, never judged.
    Reported,
}

impl Exactness {
    /// The description in tables.
    pub fn describe(self) -> &'static str {
        match self {
            Exactness::Trace => "exact: follows from the trace",
            Exactness::Policy => "exact: follows from trace and policy",
            Exactness::Machine => {
                "exact on machines with the same libc, page size and huge-page mode"
            }
            Exactness::Layout => "exact on such machines within one build of heaplay",
            Exactness::Timed => "timed: as a ratio to a reference backend of the same run",
            Exactness::Reported => "reported, never judged",
        }
    }
}

/// Declares [`Metric`]: variant, name in `measurements.csv` (unit last), unit as on an axis,
/// exactness, meaning in a line.
macro_rules! metrics {
    ($($variant:ident: $name:literal, $unit:literal, $exactness:ident, $meaning:literal;)*) => {
        /// One metric. Lower is better for every metric that `check` judges.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "&'static str", try_from = "String")]
        pub enum Metric {
            $(#[doc = $meaning] $variant,)*
        }

        impl Metric {
            /// Every metric that a run record may hold, in the order of the reference.
            pub const ALL: &[Metric] = &[$(Metric::$variant,)*];

            /// The name in `measurements.csv`, unit last.
            pub fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name,)* }
            }

            /// The unit, as on an axis.
            pub fn unit(self) -> &'static str {
                match self { $(Metric::$variant => $unit,)* }
            }

            /// How repeatable the metric is.
            pub fn exactness(self) -> Exactness {
                match self { $(Metric::$variant => Exactness::$exactness,)* }
            }

            /// What the metric is, in a line.
            pub fn meaning(self) -> &'static str {
                match self { $(Metric::$variant => $meaning,)* }
            }

            /// The metric of that name; the names of run format 1 are known, too.
            pub fn find(name: &str) -> Option<Metric> {
                match name {
                    $($name => Some(Metric::$variant),)*
                    _ => renamed_since_format_1(name),
                }
            }
        }
    };
}

metrics! {
    Calls: "calls", "calls", Trace, "calls replayed, by op";
    RequestedBytes: "requested_bytes", "bytes", Trace,
        "bytes requested by malloc, calloc and realloc: the allocation clock at the end";
    LivePeakBytes: "live_peak_bytes", "bytes", Trace, "largest sum of requested bytes live at once";
    LiveEndBytes: "live_end_bytes", "bytes", Trace, "requested bytes live at the end of the trace";
    UntouchedAtLivePeakBytes: "untouched_at_live_peak_bytes", "bytes", Trace,
        "requested bytes live at the live peak that the program never touched, where the recording \
         knows them; in no figure of pages or resident memory";
    UntouchedEndBytes: "untouched_end_bytes", "bytes", Trace,
        "the same at the end of the trace";
    LivePeakEvent: "live_peak_event", "event", Reported,
        "first event at which the live bytes are largest";
    UsableAtLivePeakBytes: "usable_at_live_peak_bytes", "bytes", Machine,
        "usable bytes of the live blocks at the live peak";
    PagesInUseAtLivePeakBytes: "pages_in_use_at_live_peak_bytes", "bytes", Machine,
        "4 KiB pages that hold a byte of a live block, at the live peak";
    ResidentAtLivePeakBytes: "resident_at_live_peak_bytes", "bytes", Machine,
        "resident private memory at the live peak";
    PagesInUsePeakBytes: "pages_in_use_peak_bytes", "bytes", Machine,
        "largest sampled memory of the pages in use";
    ResidentPeakBytes: "resident_peak_bytes", "bytes", Machine,
        "largest sampled resident private memory, baseline taken off";
    UsableEndBytes: "usable_end_bytes", "bytes", Machine,
        "usable bytes of the blocks live at the end";
    PagesInUseEndBytes: "pages_in_use_end_bytes", "bytes", Machine,
        "4 KiB pages that hold a byte of a live block, at the end of the trace";
    PagesInUse16kAtLivePeakBytes: "pages_in_use_16k_at_live_peak_bytes", "bytes", Layout,
        "pieces of 16 KiB that hold a byte of a live block, at the live peak";
    PagesInUse64kAtLivePeakBytes: "pages_in_use_64k_at_live_peak_bytes", "bytes", Layout,
        "pieces of 64 KiB that hold a byte of a live block, at the live peak";
    PagesInUse256kAtLivePeakBytes: "pages_in_use_256k_at_live_peak_bytes", "bytes", Layout,
        "pieces of 256 KiB that hold a byte of a live block, at the live peak";
    PagesInUse1mAtLivePeakBytes: "pages_in_use_1m_at_live_peak_bytes", "bytes", Layout,
        "pieces of 1 MiB that hold a byte of a live block, at the live peak";
    PagesInUse2mAtLivePeakBytes: "pages_in_use_2m_at_live_peak_bytes", "bytes", Layout,
        "pieces of 2 MiB that hold a byte of a live block, at the live peak";
    PagesInUse16kEndBytes: "pages_in_use_16k_end_bytes", "bytes", Layout,
        "pieces of 16 KiB that hold a byte of a live block, at the end";
    PagesInUse64kEndBytes: "pages_in_use_64k_end_bytes", "bytes", Layout,
        "pieces of 64 KiB that hold a byte of a live block, at the end";
    PagesInUse256kEndBytes: "pages_in_use_256k_end_bytes", "bytes", Layout,
        "pieces of 256 KiB that hold a byte of a live block, at the end";
    PagesInUse1mEndBytes: "pages_in_use_1m_end_bytes", "bytes", Layout,
        "pieces of 1 MiB that hold a byte of a live block, at the end";
    PagesInUse2mEndBytes: "pages_in_use_2m_end_bytes", "bytes", Layout,
        "pieces of 2 MiB that hold a byte of a live block, at the end";
    Threads: "threads", "threads", Reported,
        "threads that made the calls, for a trace of several threads; 1 where the backend can be \
         called from one thread only";
    HandOvers: "hand_overs", "hand-overs", Reported,
        "times that the calls went on on another thread, for a trace of several threads; in no time";
    EndedThreads: "ended_threads", "threads", Reported,
        "threads that had ended at the end of the trace";
    EndedThreadsLiveBytes: "ended_threads_live_bytes", "bytes", Reported,
        "requested bytes live at the end of blocks that threads allocated which had ended";
    EndedThreadsInUseBytes: "ended_threads_in_use_bytes", "bytes", Reported,
        "usable bytes of these blocks, and the free space on pages in use that is charged to them";
    EndedThreadsRetainedBytes: "ended_threads_retained_bytes", "bytes", Reported,
        "resident pages without a live block at the end on which a block of a thread that had ended \
         was the last";
    FreeOrderResidentPeakBytes: "free_order_resident_peak_bytes", "bytes", Reported,
        "largest resident private memory with all threads at once; it varies between repetitions";
    FreeOrderResidentEndBytes: "free_order_resident_end_bytes", "bytes", Reported,
        "resident private memory at the end with all threads at once; it varies between repetitions";
    HugePagesAtLivePeakBytes: "huge_pages_at_live_peak_bytes", "bytes", Reported,
        "of the resident private memory, what lies on huge pages, at the live peak (`AnonHugePages`)";
    HugePagesEndBytes: "huge_pages_end_bytes", "bytes", Reported,
        "of the resident private memory, what lies on huge pages, at the end of the trace";
    ReturnableBytes: "returnable_bytes", "bytes", Machine,
        "most memory retained without a live byte during a whole tenth of the allocation \
         clock: worth giving back";
    ResidentEndBytes: "resident_end_bytes", "bytes", Machine,
        "resident private memory at the end of the trace";
    ResidentTrimmedBytes: "resident_trimmed_bytes", "bytes", Machine,
        "resident after the allocator's own trim call at the end";
    ResidentFlushedBytes: "resident_flushed_bytes", "bytes", Machine,
        "the same, had the thread's cache of free blocks been emptied before";
    TrimPredictedBytes: "trim_predicted_bytes", "bytes", Machine,
        "what a trim leaves by the pointers: pages in use, those of headers and heads of free \
         pieces beside live blocks, and those that were there before";
    ResidentFreedBytes: "resident_freed_bytes", "bytes", Machine,
        "resident after every block was freed and trimmed: the allocator's floor";
    ResidentMeanBytes: "resident_mean_bytes", "bytes", Machine,
        "resident memory averaged over the allocation clock";
    LiveMeanBytes: "live_mean_bytes", "bytes", Trace,
        "live bytes averaged over the allocation clock, over the same samples";
    TrimNanoseconds: "trim_nanoseconds", "ns", Reported, "time of the trim call at the end";
    ArenasPeak: "arenas_peak", "arenas", Policy, "most arenas mapped at once";
    ArenasEnd: "arenas_end", "arenas", Policy, "arenas mapped at the end of the trace";
    ArenasTotal: "arenas_total", "arenas", Policy, "arenas mapped over the whole trace";
    PoolsEnd: "pools_end", "pools", Policy, "pools that hold a live block at the end";
    PoolHeaderBytes: "pool_header_bytes", "bytes", Policy, "bytes in pool headers at the end";
    QuantizationBytes: "quantization_bytes", "bytes", Policy,
        "tails of pools too small for a block, at the end";
    AvailableBytes: "available_bytes", "bytes", Policy, "free blocks in used pools at the end";
    UnusedPoolBytes: "unused_pool_bytes", "bytes", Policy,
        "wholly free pools in mapped arenas at the end";
    AllocatedBytes: "allocated_bytes", "bytes", Policy,
        "blocks in use at the end, by their class size";
    ArenaAlignmentBytes: "arena_alignment_bytes", "bytes", Policy,
        "lost at the end where arenas do not begin at a multiple of a pool";
    PagesInUseOverResidentBytes: "pages_in_use_over_resident_bytes", "bytes", Reported,
        "largest sampled P - R: above a few pages the instrument is wrong";
    PassNanoseconds: "pass_nanoseconds", "ns", Reported,
        "processor time of the footprint pass with all its accounting";
    MappingNanoseconds: "mapping_nanoseconds", "ns", Reported,
        "of that, asking which pages are resident for the heap map";
    SamplingNanoseconds: "sampling_nanoseconds", "ns", Reported,
        "of that, reading resident memory for the samples";
    MinorFaults: "minor_faults", "faults", Reported,
        "page faults of the footprint pass, the harness's included";
    VariesBetweenRuns: "varies_between_runs", "1 or 2", Reported,
        "why memory is not exact: 1 the allocator returns memory after a delay, 2 it places \
         blocks at random";
    ResidentPeakAtOnceBytes: "resident_peak_at_once_bytes", "bytes", Reported,
        "largest resident private memory, had the allocator returned at once what it returns after a delay";
    ResidentPeakNeverBytes: "resident_peak_never_bytes", "bytes", Reported,
        "largest resident private memory, had the allocator never returned \
         what it returns after a delay";
    ResidentMeanAtOnceBytes: "resident_mean_at_once_bytes", "bytes", Reported,
        "resident private memory averaged over the allocation clock, had the allocator returned \
         at once what it returns after a delay";
    ResidentMeanNeverBytes: "resident_mean_never_bytes", "bytes", Reported,
        "resident private memory averaged over the allocation clock, had the allocator never returned \
         what it returns after a delay";
    ResidentEndAtOnceBytes: "resident_end_at_once_bytes", "bytes", Reported,
        "resident private memory after the last call, had the allocator returned at once \
         what it returns after a delay";
    ResidentEndNeverBytes: "resident_end_never_bytes", "bytes", Reported,
        "resident private memory after the last call, had the allocator never returned \
         what it returns after a delay";
    ResidentTrimmedAtOnceBytes: "resident_trimmed_at_once_bytes", "bytes", Reported,
        "resident private memory after the allocator's own trim call, had the allocator returned \
         at once what it returns after a delay";
    ResidentTrimmedNeverBytes: "resident_trimmed_never_bytes", "bytes", Reported,
        "resident private memory after the allocator's own trim call, had the allocator never returned \
         what it returns after a delay";
    Instructions: "instructions", "instructions", Reported,
        "instructions of all calls, the loop's with them, counted by valgrind (`--count-instructions`)";
    TimeNanoseconds: "time_nanoseconds", "ns", Timed,
        "processor time of the whole replay loop, time pass";
    FirstTouchNanoseconds: "first_touch_nanoseconds", "ns", Timed,
        "processor time of the whole replay loop with a write to each cache line of each new block, and \
         an access to its first line before it ends, touch pass: page faults are in it";
    FirstTouchFaults: "first_touch_faults", "faults", Reported,
        "page faults during the same loop";
    ColdNanoseconds: "cold_nanoseconds", "ns", Timed,
        "the same with other code between two calls, cold pass: the other code's own time is in it, so \
         only differences between backends mean something";
    TraversalNanoseconds: "traversal_nanoseconds", "ns", Timed,
        "processor time of a visit, traversal pass: live blocks of one kind chained in the order of \
         their births, first births first";
    TraversalReverseNanoseconds: "traversal_reverse_nanoseconds", "ns", Timed,
        "the same, last births first";
    CollectorStepNanoseconds: "collector_step_nanoseconds", "ns", Reported,
        "processor time of a step to the next object, traversal pass: blocks that may be objects of \
         CPython's collector, in the order of their births, in chains as long as the lists that the recorded \
         collector walked";
    TraversalObjects: "traversal_objects", "objects", Trace,
        "objects in the chains of the traversal pass, over all moments";
    TraversalLines: "traversal_lines", "cache lines", Reported,
        "distinct cache lines of 64 bytes on which the objects of a chain begin, over all chains";
    TraversalPages: "traversal_pages", "pages", Reported,
        "distinct pages of 4 KiB on which they begin";
    TraversalHugePages: "traversal_huge_pages", "huge pages", Reported,
        "distinct huge pages of 2 MiB on which they begin";
    TraversalStepsInLine: "traversal_steps_in_line", "steps", Reported,
        "steps to the next object that lead to the same or an adjacent cache line";
    TraversalStepsInPage: "traversal_steps_in_page", "steps", Reported,
        "other steps within a page of 4 KiB";
    TraversalStepsInHugePage: "traversal_steps_in_huge_page", "steps", Reported,
        "other steps within a huge page of 2 MiB";
    TraversalStepsFarther: "traversal_steps_farther", "steps", Reported,
        "all other steps to the next object";
    WallNanoseconds: "wall_nanoseconds", "ns", Reported,
        "wall time of the same loop, without the pauses between time slices";
    Preemptions: "preemptions", "switches", Reported,
        "involuntary context switches during the loop";
    LatencyBackToBackNanoseconds: "latency_back_to_back_nanoseconds", "ns", Reported,
        "mean service time of a call back to back with others, from segments of calls timed as a \
         whole; by op in the proportions of latency_isolated_nanoseconds";
    LatencyIsolatedNanoseconds: "latency_isolated_nanoseconds", "ns", Reported,
        "mean service time of a call that fences isolate from the calls around it, less the mean \
         of an empty clock pair";
    Window1msNanoseconds: "window_1ms_nanoseconds", "ns", Reported,
        "most time in the allocator in any 1 ms of the program's own time, clock pair taken \
         off";
    Window1msEvent: "window_1ms_event", "event", Reported, "the call with which that window begins";
    Window10msNanoseconds: "window_10ms_nanoseconds", "ns", Reported,
        "most time in the allocator in any 10 ms of the program's own time, clock pair taken \
         off";
    Window10msEvent: "window_10ms_event", "event", Reported,
        "the call with which that window begins";
    Window100msNanoseconds: "window_100ms_nanoseconds", "ns", Reported,
        "most time in the allocator in any 100 ms of the program's own time, clock pair taken \
         off";
    Window100msEvent: "window_100ms_event", "event", Reported,
        "the call with which that window begins";
    SlowCallsLeftOut: "slow_calls_left_out", "calls", Reported,
        "calls over 10 µs by their own time that slow_calls.csv leaves out";
    ClockPairNanoseconds: "clock_pair_nanoseconds", "ns", Reported,
        "what an empty clock pair read in this child, mean";
    ClockCostNanoseconds: "clock_cost_nanoseconds", "ns", Reported,
        "what a clock pair cost each call in this child";
    ClockStepNanoseconds: "clock_step_nanoseconds", "ns", Reported,
        "smallest step of the clock seen in this child";
}

/// Metrics of run format 1 that no metric of today stands for, since their meaning is another.
pub(super) const DROPPED_METRICS: [&str; 1] = ["latency_mean_nanoseconds"];

/// The metric that run format 1 called `name`, where its name has changed.
fn renamed_since_format_1(name: &str) -> Option<Metric> {
    let metric = match name {
        "resident_drained_bytes" => Metric::ResidentFlushedBytes,
        "latency_alone_nanoseconds" => Metric::LatencyIsolatedNanoseconds,
        "latency_among_nanoseconds" => Metric::LatencyBackToBackNanoseconds,
        _ => return Metric::find(&format!("pages_in_use_{}", name.strip_prefix("pinned_")?)),
    };
    Some(metric)
}

impl Metric {
    /// Whether the metric is made of all repetitions of a latency pass together.
    pub(super) fn is_confirmed(self) -> bool {
        matches!(
            self,
            Metric::Window1msNanoseconds
                | Metric::Window1msEvent
                | Metric::Window10msNanoseconds
                | Metric::Window10msEvent
                | Metric::Window100msNanoseconds
                | Metric::Window100msEvent
                | Metric::SlowCallsLeftOut
        )
    }
}

impl From<Metric> for &'static str {
    fn from(metric: Metric) -> &'static str {
        metric.name()
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(name: String) -> Result<Metric, String> {
        Metric::find(&name).ok_or_else(|| format!("`{name}` is no metric of this heaplay"))
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Why the memory of a backend is not exact: the values of [`Metric::VariesBetweenRuns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variation {
    /// The allocator returns memory after a delay in wall time.
    ByClock,
    /// The allocator places blocks at random.
    AtRandom,
}

impl Variation {
    /// The value in `measurements.csv`.
    pub fn value(self) -> f64 {
        match self {
            Variation::ByClock => 1.0,
            Variation::AtRandom => 2.0,
        }
    }

    /// The variation with that value; `None` for a value of another version.
    pub fn of(value: f64) -> Option<Variation> {
        [Variation::ByClock, Variation::AtRandom].into_iter().find(|known| known.value() == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_name_and_by_that_of_format_1() {
        for metric in Metric::ALL {
            assert_eq!(Metric::find(metric.name()), Some(*metric));
        }
        assert_eq!(Metric::find("pinned_16k_end_bytes"), Some(Metric::PagesInUse16kEndBytes));
        assert_eq!(
            Metric::find("latency_alone_nanoseconds"),
            Some(Metric::LatencyIsolatedNanoseconds)
        );
        assert_eq!(Metric::find("pinned_"), None);
        assert_eq!(Metric::find("pinned_pinned_end_bytes"), None);
    }
}
