//! The program's own pace, for allocators that return memory after a delay in wall time.

use std::time::{Duration, Instant};

use crate::program::Times;

/// The pace of a replay that waits as the program did.
#[derive(Clone, Debug)]
pub struct ProgramPace {
    /// The times of the program's calls.
    pub times: Times,
    /// Seconds of the replay for a second of the program.
    pub factor: f64,
}

/// Waits where the program waited.
pub(super) struct Pacer<'a> {
    began: Instant,
    marks: std::iter::Peekable<std::slice::Iter<'a, (u64, u64)>>,
    factor: f64,
}

impl<'a> Pacer<'a> {
    /// The program begins now.
    pub(super) fn begin(pace: &'a ProgramPace) -> Pacer<'a> {
        Pacer {
            began: Instant::now(),
            marks: pace.times.marks().iter().peekable(),
            factor: pace.factor,
        }
    }

    /// Sleeps until the program had made so many calls, to a millisecond. The delays of allocators
    /// are no shorter.
    pub(super) fn wait_until(&mut self, calls: u64) {
        while let Some((_, time_ns)) = self.marks.next_if(|mark| mark.0 <= calls) {
            let due = Duration::try_from_secs_f64(*time_ns as f64 / 1e9 * self.factor)
                .unwrap_or_default();
            let early = due.saturating_sub(self.began.elapsed());
            if early >= Duration::from_millis(1) {
                std::thread::sleep(early);
            }
        }
    }
}
