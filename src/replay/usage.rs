//! What the kernel has counted for this thread and this process: processor time, preemptions, page
//! faults.

use std::fs::read_to_string;
use std::time::Instant;

/// Processor time of this thread so far, in ns.
pub(super) fn processor_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Processor time of all threads of this process so far, in ns.
pub(super) fn process_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The difference of two readings of [`processor_ns`] with nothing between them but two of the wall
/// clock, in ns: the median of many.
pub(super) fn processor_pair_ns() -> u64 {
    let mut pairs: Vec<u64> = Vec::with_capacity(1024);
    for _ in 0..1024 {
        let before = processor_ns();
        let began = Instant::now();
        std::hint::black_box(began.elapsed());
        pairs.push(processor_ns() - before);
    }
    pairs.sort_unstable();
    pairs[pairs.len() / 2]
}

/// Involuntary context switches of this thread so far.
pub(super) fn involuntary_switches() -> u64 {
    context_switches()[1]
}

/// Voluntary and involuntary context switches of this thread so far.
pub(super) fn context_switches() -> [u64; 2] {
    #[expect(unsafe_code, reason = "getrusage has no safe wrapper")]
    // SAFETY: the call fills in the zeroed structure.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        usage
    };
    [usage.ru_nvcsw, usage.ru_nivcsw].map(|switches| u64::try_from(switches).unwrap_or(0))
}

/// Resident anonymous memory of this process on huge pages, bytes: `AnonHugePages` of
/// `/proc/self/smaps_rollup`; 0 where the kernel has none.
pub(super) fn huge_page_bytes() -> u64 {
    let text = read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Page faults of this process so far that needed no disk, from `/proc/self/stat`, field 10.
pub(super) fn minor_faults() -> u64 {
    let text = read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(7).and_then(|field| field.parse().ok()).unwrap_or(0)
}
