//! How a run is carried out: children at once, their limits, the clock.

use std::time::Duration;

use super::huge_pages::HugePages;
use super::job::ClockRate;
use super::workload::Workload;
use crate::replay::PaceMethod;

/// How a run is carried out.
pub struct Settings {
    /// Children at once.
    pub jobs: usize,
    /// Whether the user gave that number. Otherwise fewer timed children run side by side where
    /// they disturb each other.
    pub are_jobs_fixed: bool,
    /// Resident private memory that a child may take.
    pub memory_bytes: u64,
    /// Wall time for a child, `None` for a minute and 20 µs a call.
    pub timeout: Option<Duration>,
    /// Seconds that a footprint pass takes for a second of the program, where it waits for the
    /// program's own times. Only allocators that return memory after a delay wait.
    pub pace: Option<f64>,
    /// Which memory of the children may lie on huge pages; `None` for what the kernel does.
    pub huge_pages: Option<HugePages>,
    /// The clock.
    pub clock: ClockRate,
}

impl Settings {
    /// The time a child gets for a program of so many calls.
    pub fn time_limit(&self, calls: usize) -> Duration {
        self.timeout.unwrap_or(
            Duration::from_secs(60)
                + Duration::from_micros(20) * calls.try_into().unwrap_or(u32::MAX),
        )
    }

    /// How a footprint pass goes by the program's times. Without a pace it shows them to the allocator,
    /// and waits for nothing.
    pub(super) fn pace_method(&self) -> PaceMethod {
        self.pace.map_or(PaceMethod::ShowTimes, PaceMethod::Wait)
    }

    /// How long a pass waits for the program's own times, all in all.
    pub(super) fn waiting(&self, workload: &Workload) -> Duration {
        let seconds = workload.times.last_ns() as f64 / 1e9 * self.pace.unwrap_or(0.0);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
    }
}
