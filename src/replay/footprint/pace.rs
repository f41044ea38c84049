//! The program's own pace, for allocators that return memory after a delay in wall time. By default they
//! read the recorded times, and the replay waits for nothing. An allocator with a thread of its own, which
//! sleeps by the system's clock, needs a replay that waits.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::program::Times;
use crate::replay::paused_clock::ProgramClock;

/// The pace of a replay that goes by the program's times.
#[derive(Clone, Debug)]
pub struct ProgramPace {
    /// The times of the program's calls.
    pub times: Times,
    /// How the replay goes by them.
    pub method: PaceMethod,
}

/// How a replay goes by the program's times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaceMethod {
    /// It makes no call before its time. A second of the program takes so many seconds.
    Wait(f64),
    /// It does not wait. The clock that allocators read shows the time of the call in the program.
    ShowTimes,
}

/// Goes by the program's times.
pub(super) struct Pacer<'a> {
    marks: std::iter::Peekable<std::slice::Iter<'a, (u64, u64)>>,
    means: Means,
}

enum Means {
    Wait { began: Instant, factor: f64 },
    ShowTimes(ProgramClock),
}

impl<'a> Pacer<'a> {
    /// The program begins now.
    pub(super) fn begin(pace: &'a ProgramPace) -> Pacer<'a> {
        let means = match pace.method {
            PaceMethod::Wait(factor) => Means::Wait { began: Instant::now(), factor },
            PaceMethod::ShowTimes => Means::ShowTimes(ProgramClock::begin()),
        };
        Pacer { marks: pace.times.marks().iter().peekable(), means }
    }

    /// Waits until the program had made so many calls, or sets the clock to that time. It sleeps to
    /// a millisecond: the delays of allocators are no shorter.
    pub(super) fn reach(&mut self, calls: u64) {
        while let Some((_, time_ns)) = self.marks.next_if(|mark| mark.0 <= calls) {
            match &self.means {
                Means::ShowTimes(clock) => clock.set(*time_ns),
                Means::Wait { began, factor } => {
                    let due = Duration::try_from_secs_f64(*time_ns as f64 / 1e9 * factor);
                    let early = due.unwrap_or_default().saturating_sub(began.elapsed());
                    if early >= Duration::from_millis(1) {
                        std::thread::sleep(early);
                    }
                }
            }
        }
    }
}
