//! The measures that are judged beside the exact metrics of a run.

/// A measure with its own rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its name in findings and policies.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// How it is judged.
    pub rule: &'static str,
    /// What it is.
    pub meaning: &'static str,
}

/// Processor time of the replay.
pub const TIME: Measure = Measure {
    name: "time",
    unit: "%",
    rule: "timed in pairs of both sides",
    meaning: "processor time of the replay",
};

/// The slowest calls.
pub const TAIL: Measure = Measure {
    name: "tail",
    unit: "%",
    rule: "timed in pairs of both sides",
    meaning: "mean time of the slowest 1 % of the calls",
};

/// Instructions of all calls.
pub const INSTRUCTIONS: Measure = Measure {
    name: "instructions",
    unit: "instructions",
    rule: "exact to 0.1 %",
    meaning: "instructions of all calls, counted by valgrind",
};

/// Resident over live bytes. It is derived, so it is in no table of a run.
pub const FRAGMENTATION: Measure = Measure {
    name: "fragmentation",
    unit: "ratio",
    rule: "derived from exact metrics",
    meaning: "resident over live bytes at the live peak",
};

/// All calls of a recording.
pub const CALLS_MEASURE: Measure = Measure {
    name: "all_calls",
    unit: "calls",
    rule: "between recordings of a program",
    meaning: "calls of all kinds",
};

/// Requests of the size classes that repeat.
pub const STEADY_SIZES: Measure = Measure {
    name: "steady_requests_by_size",
    unit: "requests",
    rule: "between series of recordings",
    meaning: "requests of the size classes whose counts repeat within both sides",
};

/// Requests of the threads that repeat.
pub const STEADY_THREADS: Measure = Measure {
    name: "steady_requests_by_thread",
    unit: "requests",
    rule: "between series of recordings",
    meaning: "requests of the threads whose counts repeat within both sides",
};

/// Requests of the lines that repeat.
pub const STEADY_LINES: Measure = Measure {
    name: "steady_requests_by_line",
    unit: "requests",
    rule: "between series of recordings",
    meaning: "requests of the lines whose counts repeat within both sides (`record --sites`)",
};

/// Bytes of the size classes that repeat.
pub const STEADY_SIZE_BYTES: Measure = Measure {
    name: "steady_bytes_by_size",
    unit: "bytes",
    rule: "between series of recordings",
    meaning: "bytes requested in the size classes whose sums repeat within both sides",
};

/// Bytes of the threads that repeat.
pub const STEADY_THREAD_BYTES: Measure = Measure {
    name: "steady_bytes_by_thread",
    unit: "bytes",
    rule: "between series of recordings",
    meaning: "bytes requested by the threads whose sums repeat within both sides",
};

/// Bytes of the lines that repeat.
pub const STEADY_LINE_BYTES: Measure = Measure {
    name: "steady_bytes_by_line",
    unit: "bytes",
    rule: "between series of recordings",
    meaning: "bytes requested by the lines whose sums repeat within both sides (`record --sites`)",
};

/// All of them.
pub const MEASURES: [Measure; 11] = [
    TIME,
    TAIL,
    INSTRUCTIONS,
    FRAGMENTATION,
    CALLS_MEASURE,
    STEADY_SIZES,
    STEADY_THREADS,
    STEADY_LINES,
    STEADY_SIZE_BYTES,
    STEADY_THREAD_BYTES,
    STEADY_LINE_BYTES,
];

/// Whether a measure is timed, so that it has two margins.
pub(super) fn is_timed(measure: &str) -> bool {
    measure == TIME.name || measure == TAIL.name
}

/// The default margin of a measure, in percent.
pub(super) fn margin(measure: &str) -> f64 {
    match measure {
        name if is_timed(name) => 2.0,
        name if name == INSTRUCTIONS.name => 0.1,
        _ => 0.0,
    }
}
