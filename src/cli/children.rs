//! The options that bound child processes, shared by the verbs that start some.

use std::time::Duration;

use super::numbers::whole;
use super::terminal::note;
use crate::bench::{self, ClockRate, Settings, available_bytes, processors};
use crate::environment::LD_PRELOAD;
use crate::replay::Clock;
use crate::units::parse_bytes;

/// Bounds of the children.
#[derive(clap::Args, Default)]
pub struct ChildArgs {
    /// Children at once [default: one for each processor; fewer timed ones, where other busy
    /// processors slow them down]
    #[arg(long, value_name = "N", value_parser = whole::<u16>("a number of children", 1..=1024, 2))]
    jobs: Option<u16>,
    /// Seconds that a pass, or a run of a program, may take. A backend that does not finish is stopped
    /// and not tried again on that trace [default: 60 and 20 µs a call]
    #[arg(long, value_name = "SECONDS", value_parser = whole::<u64>("whole seconds", 1..=604_800, 60))]
    timeout: Option<u64>,
    /// Resident private memory that a child may take, such as 512MiB or 2G [default: its share of
    /// 3/4 of what is available]
    #[arg(long, value_name = "SIZE", value_parser = memory_limit)]
    memory_limit: Option<u64>,
}

/// Reads `--memory-limit`, in bytes.
fn memory_limit(text: &str) -> Result<u64, String> {
    match parse_bytes(text) {
        Ok(0) => Err("expected more than 0 bytes, such as 512MiB or 2G".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

impl ChildArgs {
    /// Wall time that a child may take, where it was given.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(Duration::from_secs)
    }

    /// The bounds, with the clock calibrated.
    pub fn settings(&self) -> Settings {
        let jobs = self.jobs.map_or_else(|| processors().len().max(1), usize::from);
        let share = available_bytes() / 4 * 3 / jobs as u64;
        note_environment();
        Settings {
            jobs,
            are_jobs_fixed: self.jobs.is_some(),
            memory_bytes: self.memory_limit.unwrap_or(share),
            timeout: self.timeout(),
            pace: None,
            huge_pages: None,
            clock: ClockRate::of(&Clock::calibrate()),
        }
    }
}

/// Prints which of the caller's variables change what the children measure.
fn note_environment() {
    let passed = bench::variables();
    if !passed.is_empty() {
        note(format!("every backend runs with {passed}, as found in the environment"));
    }
    if std::env::var_os(LD_PRELOAD).is_some_and(|preload| !preload.is_empty()) {
        note("LD_PRELOAD does not reach the backends; `preload:PATH` measures a library");
    }
}
