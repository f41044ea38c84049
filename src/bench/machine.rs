//! Facts about the machine, for the run record.

use std::collections::BTreeMap;
use std::fs;

use super::child_environment::passed_on;
use crate::results::Machine;

/// The facts on which exact figures of black boxes and all times depend.
pub fn fingerprint() -> Machine {
    let mut facts = BTreeMap::new();
    let mut put = |name: &str, value: String| {
        if !value.is_empty() {
            facts.insert(name.to_owned(), value);
        }
    };
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |key: &str| {
        let line = processor.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    put("processor", line("model name").unwrap_or_default());
    put(
        "hypervisor",
        if line("flags").is_some_and(|f| f.split(' ').any(|f| f == "hypervisor")) {
            "yes"
        } else {
            "no"
        }
        .into(),
    );
    put("cores", std::thread::available_parallelism().map_or(1, usize::from).to_string());
    put("architecture", std::env::consts::ARCH.into());
    put("kernel", file("/proc/sys/kernel/osrelease"));
    put("libc", crate::backends::libc_version());
    put("page_bytes", rustix::param::page_size().to_string());
    put("transparent_huge_pages", chosen(&file("/sys/kernel/mm/transparent_hugepage/enabled")));
    put("address_randomisation", file("/proc/sys/kernel/randomize_va_space"));
    put("overcommit", file("/proc/sys/vm/overcommit_memory"));
    put("governor", file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
    put("variables", variables());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    put(
        "memory",
        memory
            .lines()
            .next()
            .and_then(|l| l.split_once(':'))
            .map(|(_, v)| v.trim().to_owned())
            .unwrap_or_default(),
    );
    Machine { facts }
}

fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The text in brackets, as the kernel marks a choice; the whole text where there are none.
fn chosen(text: &str) -> String {
    bracketed(text).unwrap_or(text).to_owned()
}

/// The text in brackets.
pub(super) fn bracketed(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(choice, _)| choice)
}

/// The variables of this process that reach every child and may change what it measures, as
/// `NAME=VALUE …`.
pub fn variables() -> String {
    let passed = passed_on();
    let passed =
        passed.iter().map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy()));
    passed.collect::<Vec<String>>().join(" ")
}

/// Bytes that the kernel thinks can be had without swapping; an eighth of the machine's at least. A
/// virtual machine that is returning free pages to its host counts them as neither free nor used
/// meanwhile: an idle one of 24 GiB reported 14 MB.
pub fn available_bytes() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| {
        let line = memory.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    let least = bytes("MemTotal:").unwrap_or_default() / 8;
    bytes("MemAvailable:").map_or(4 << 30, |available| available.max(least))
}

/// The processors that this process may run on.
pub fn processors() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return vec![] };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}
