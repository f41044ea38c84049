//! The clock of single calls, with its resolution and its cost on this machine.
//!
//! It is the processor's time-stamp counter where that ticks at a constant rate (x86-64 with
//! `nonstop_tsc`; aarch64's virtual counter), else `CLOCK_MONOTONIC`.
//!
//! The processor may move a call past an unfenced read. So a pair of reads has fences on its inner
//! sides: the call begins after the first read, and ends before the second. Fences on the outer
//! sides would change no figure and cost as much again: a pair would take 49 ns instead of 33, with
//! the same means.
//!
//! Each run measures the clock's step, the reading of an empty pair and the cost of a pair. Every
//! record has the three figures, and the pictures draw them as a band.
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(unsafe_code, reason = "the counter is read by an instruction")
)]

use std::time::{Duration, Instant};

/// The source of a [`Clock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// The processor's counter.
    Counter,
    /// The kernel's `CLOCK_MONOTONIC`, through the vDSO; ticks are nanoseconds.
    Monotonic,
}

/// A clock with its rate.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    source: ClockSource,
    start: Instant,
    ticks_per_second: f64,
}

/// The resolution of a clock and the cost of its reads, as measured on this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// The smallest step between two reads that differ, in ns.
    pub step_ns: f64,
    /// The mean reading of an empty pair, in ns. Each service time of the latency pass includes it.
    pub pair_ns: f64,
    /// The time that a pair takes, in ns. A call of the latency pass costs so much more than one of
    /// the time pass; calls that overlap in the time pass add to the difference.
    pub cost_ns: f64,
}

impl Clock {
    /// The best clock of this machine. Its rate is measured against `CLOCK_MONOTONIC` for 20 ms.
    pub fn calibrate() -> Clock {
        let start = Instant::now();
        if !counter_is_constant() {
            return Clock { source: ClockSource::Monotonic, start, ticks_per_second: 1e9 };
        }
        let (first, began) = both_clocks();
        std::thread::sleep(Duration::from_millis(20));
        let (last, ended) = both_clocks();
        let ticks_per_second = last.wrapping_sub(first) as f64 / (ended - began).as_secs_f64();
        Clock { source: ClockSource::Counter, start, ticks_per_second }
    }

    /// A clock whose rate was measured before, on the same machine.
    pub fn with_rate(source: ClockSource, ticks_per_second: f64) -> Clock {
        Clock { source, start: Instant::now(), ticks_per_second }
    }

    /// Its source.
    pub fn source(&self) -> ClockSource {
        self.source
    }

    /// Its rate, in ticks a second.
    pub fn ticks_per_second(&self) -> f64 {
        self.ticks_per_second
    }

    /// Ticks before a call: no part of the call has begun.
    #[inline(always)]
    pub fn before(&self) -> u64 {
        match self.source {
            ClockSource::Counter => counter_then_fence(),
            ClockSource::Monotonic => self.start.elapsed().as_nanos() as u64,
        }
    }

    /// Ticks after a call: every part of the call is done.
    #[inline(always)]
    pub fn after(&self) -> u64 {
        match self.source {
            ClockSource::Counter => fence_then_counter(),
            ClockSource::Monotonic => self.start.elapsed().as_nanos() as u64,
        }
    }

    /// Ticks now, without a fence.
    pub(super) fn ticks(&self) -> u64 {
        match self.source {
            ClockSource::Counter => counter(),
            ClockSource::Monotonic => self.start.elapsed().as_nanos() as u64,
        }
    }

    /// Ticks in nanoseconds.
    pub fn nanoseconds(&self, ticks: u64) -> f64 {
        ticks as f64 * 1e9 / self.ticks_per_second
    }

    /// Measures the step and the empty pair. This takes about a millisecond.
    pub fn floor(&self) -> Floor {
        // Unfenced reads follow each other most closely. Where the counter is scaled from another
        // one, steps differ by a few ticks, and some are a fraction of a step. So the smallest
        // tenth is left out, and the step is a mean over single steps.
        let mut steps: Vec<u64> = Vec::with_capacity(PAIRS);
        let mut before = self.ticks();
        for _ in 0..PAIRS {
            let now = self.ticks();
            steps.push(now.wrapping_sub(before));
            before = now;
        }
        steps.retain(|step| *step > 0);
        steps.sort_unstable();
        let least = steps.get(steps.len() / 10).copied().unwrap_or(1);
        let single: Vec<u64> =
            steps.into_iter().filter(|step| (least..=least + least / 2).contains(step)).collect();
        let step = (single.iter().sum::<u64>() as f64 / single.len().max(1) as f64).max(1.0);
        let mut inside: Vec<u64> = Vec::with_capacity(PAIRS);
        let mut batches: Vec<u64> = Vec::with_capacity(PAIRS / BATCH);
        for _ in 0..PAIRS / BATCH {
            let began = self.before();
            for _ in 0..BATCH {
                let first = self.before();
                inside.push(self.after().wrapping_sub(first));
            }
            batches.push(self.after().wrapping_sub(began));
        }
        inside.sort_unstable();
        // A pair reads one of two adjacent multiples of the step. A reading further above the
        // median was interrupted.
        let most = inside[PAIRS / 2] + (2.0 * step) as u64;
        let undisturbed = &inside[..inside.partition_point(|ticks| *ticks <= most)];
        let pair = undisturbed.iter().sum::<u64>() as f64 / undisturbed.len() as f64;
        batches.sort_unstable();
        let cost = batches[batches.len() / 2] as f64 / BATCH as f64;
        let per_tick = 1e9 / self.ticks_per_second;
        Floor { step_ns: step * per_tick, pair_ns: pair * per_tick, cost_ns: cost * per_tick }
    }
}

/// Empty pairs that are measured.
const PAIRS: usize = 8192;
/// Pairs that are timed together for their cost.
const BATCH: usize = 64;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_mm_lfence, _rdtsc};

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { _rdtsc() }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter_then_fence() -> u64 {
    let ticks = counter();
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { _mm_lfence() };
    ticks
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fence_then_counter() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { _mm_lfence() };
    counter()
}

/// The counter and the system's clock at one moment.
///
/// A preemption between the two reads would make the counter's rate wrong. So of several readings
/// this is the one with the least time between the two.
fn both_clocks() -> (u64, Instant) {
    let read = || {
        let before = Instant::now();
        let ticks = fence_then_counter();
        (before.elapsed(), ticks, before)
    };
    let mut best = read();
    for _ in 0..15 {
        let next = read();
        if next.0 < best.0 {
            best = next;
        }
    }
    (best.1, best.2)
}

#[cfg(target_arch = "x86_64")]
fn counter_is_constant() -> bool {
    use std::arch::x86_64::__cpuid;
    // Intel SDM and AMD APM: leaf 0x8000_0007, EDX bit 8, "invariant TSC".
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: the virtual counter is readable from user space on Linux.
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nostack)) };
    ticks
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn counter_then_fence() -> u64 {
    let ticks: u64;
    // SAFETY: as above; the barrier only orders.
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", "isb", out(reg) ticks, options(nostack)) };
    ticks
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn fence_then_counter() -> u64 {
    let ticks: u64;
    // SAFETY: as above. `dsb` waits for the call's loads and stores, as `lfence` does for its
    // loads.
    unsafe {
        std::arch::asm!("dsb ish", "isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nostack))
    };
    ticks
}

#[cfg(target_arch = "aarch64")]
fn counter_is_constant() -> bool {
    true // ARM ARM, "the Generic Timer": the system counter runs at a fixed rate
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter() -> u64 {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter_then_fence() -> u64 {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn fence_then_counter() -> u64 {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter_is_constant() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_a_second() {
        let clock = Clock::calibrate();
        let (first, began) = (clock.before(), Instant::now());
        std::thread::sleep(Duration::from_millis(30));
        let (last, elapsed) = (clock.after(), began.elapsed());
        let ratio = clock.nanoseconds(last - first) / elapsed.as_nanos() as f64;
        assert!((0.5..2.0).contains(&ratio), "{ratio}");
        let floor = clock.floor();
        assert!(floor.step_ns > 0.0 && floor.pair_ns > 0.0 && floor.pair_ns < 1e6, "{floor:?}");
        assert!(floor.cost_ns > 0.0 && floor.cost_ns < 1e6, "{floor:?}");
    }

    /// Without a counter, the time is the kernel's.
    #[test]
    fn the_fallback_measures_time_too() {
        let clock = Clock::with_rate(ClockSource::Monotonic, 1e9);
        let (first, began) = (clock.before(), Instant::now());
        std::thread::sleep(Duration::from_millis(5));
        let (last, elapsed) = (clock.after(), began.elapsed());
        assert!((5e6..=elapsed.as_nanos() as f64 + 1e6).contains(&clock.nanoseconds(last - first)));
        let floor = clock.floor();
        assert!(floor.step_ns >= 1.0 && floor.cost_ns > 0.0, "{floor:?}");
    }
}
