//! How a run is carried out: children at once, their limits, the clock.

use std::time::Duration;

use super::plan::ClockRate;
use super::workload::Loaded;

/// How a run is carried out.
pub struct Settings {
    /// Children at once.
    pub jobs: usize,
    /// Whether somebody told that number. Else fewer timed ones run side by side where neighbours
    /// disturb.
    pub jobs_told: bool,
    /// The bounds of a child; the time grows with the trace by [`Settings::time_limit`].
    pub memory_bytes: u64,
    /// Wall time for a child, `None` for a minute and 20 µs a call.
    pub timeout: Option<Duration>,
    /// Seconds that a footprint pass takes for a second of the program, where it is to wait for the
    /// program's own times; only allocators that go by the clock are made to.
    pub pace: Option<f64>,
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

    /// How long a pass waits for the program's own times, all in all.
    pub(super) fn waiting(&self, loaded: &Loaded) -> Duration {
        let seconds = loaded.times.last_ns() as f64 / 1e9 * self.pace.unwrap_or(0.0);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
    }
}
