//! What the kernel has counted for this thread and this process: processor time, preemptions, page
//! faults.

use std::fs::read_to_string;

/// Processor time of this thread so far, in ns.
pub(super) fn processor_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Involuntary context switches of this thread so far, from `/proc/thread-self/status`; 0 where the
/// kernel does not report them.
pub(super) fn involuntary_switches() -> u64 {
    read_to_string("/proc/thread-self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("nonvoluntary_ctxt_switches"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .unwrap_or(0)
}

/// Page faults of this process so far that needed no disk, from `/proc/self/stat`, field 10.
pub(super) fn minor_faults() -> u64 {
    let text = read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(7).and_then(|field| field.parse().ok()).unwrap_or(0)
}
