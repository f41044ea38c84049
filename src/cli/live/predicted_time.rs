//! The model of a program's processor time under another backend: the start, and the calls between warm
//! and cold caches. Each part is measured apart from the program's runs. Nothing in it is fitted to a
//! program.

use crate::live::LiveRuns;
use crate::stats;

/// The known error of a predicted difference, as a share of the program's processor time
/// (docs/method/life.md). A smaller difference is not predicted.
pub const MODEL_ERROR: f64 = 0.05;

/// What a difference below [`MODEL_ERROR`] reads.
pub fn no_difference_text() -> String {
    format!("within ±{:.0} %", MODEL_ERROR * 100.0)
}

/// What the replays of a recording on a backend took, and the program's start under it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedTimes {
    /// Processor time of the program's start, ns; `None` where it was not measured.
    pub start_ns: Option<f64>,
    /// Processor time of all calls with the first and last access to each block, ns, by repetition.
    pub touch_ns: Vec<f64>,
    /// The same with other code between two calls. That code's own time is in it.
    pub cold_ns: Vec<f64>,
}

/// By how much more processor time a program is predicted to need than under the base, ns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictedExtra {
    /// In its start; `None` where the start was not measured.
    pub start_ns: Option<f64>,
    /// In its calls, with the first and last access to each block, where nothing runs between two
    /// calls. The caches and branch predictors of a processor know only the allocator then.
    pub warm_calls_ns: f64,
    /// The same where other code runs between two calls, which displaces the allocator's.
    pub cold_calls_ns: f64,
    /// How near the program is to the second.
    pub coldness: Coldness,
}

/// How far the program's own work between two calls displaces the allocator's lines and branches: 0 for
/// a program that does nothing else, 1 for one that works at least as long between two calls as the
/// other code of the cold pass. Between the two it is the square of that share: a cache keeps what was
/// used last, so that a little work displaces next to nothing, and each further piece more. The square
/// was chosen on 24 programs and fixed before those that test it were written (docs/method/life.md).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coldness(f64);

impl Coldness {
    /// Of a program that was measured under `base` and replayed on it; `None` without a run or a replay.
    pub fn of(base: &LiveRuns, replayed: &ReplayedTimes) -> Option<Coldness> {
        let whole_ns = stats::median(&base.figures(|run| run.processor_ns() as f64))?;
        let start_ns = replayed.start_ns.unwrap_or(0.0);
        let warm_ns = stats::median(&replayed.touch_ns)?;
        let other_code_ns = stats::median(&replayed.cold_ns)? - warm_ns;
        Some(Coldness::of_work(whole_ns - start_ns - warm_ns, other_code_ns))
    }

    /// From the program's own work and the other code's, ns over the same number of calls.
    fn of_work(own_ns: f64, other_code_ns: f64) -> Coldness {
        let share = (own_ns.max(0.0) / other_code_ns.max(1.0)).min(1.0);
        Coldness(share * share)
    }

    /// From 0 to 1.
    pub fn share(self) -> f64 {
        self.0
    }
}

impl PredictedExtra {
    /// From the replays on the base and on another backend; `None` without both.
    pub fn of(
        base: &ReplayedTimes,
        own: &ReplayedTimes,
        coldness: Coldness,
    ) -> Option<PredictedExtra> {
        let difference = |calls_ns: fn(&ReplayedTimes) -> &[f64]| {
            Some(stats::median(calls_ns(own))? - stats::median(calls_ns(base))?)
        };
        Some(PredictedExtra {
            start_ns: own.start_ns.zip(base.start_ns).map(|(own, base)| own - base),
            warm_calls_ns: difference(|times| &times.touch_ns)?,
            cold_calls_ns: difference(|times| &times.cold_ns)?,
            coldness,
        })
    }

    /// All parts, with the calls between the two replays.
    pub fn sum_ns(&self) -> f64 {
        let between_ns = (self.cold_calls_ns - self.warm_calls_ns) * self.coldness.share();
        self.start_ns.unwrap_or(0.0) + self.warm_calls_ns + between_ns
    }

    /// The sum as a share of the program's processor time under the base; `None` below the model's
    /// error.
    pub fn share_beyond_error(&self, base_ns: f64) -> Option<f64> {
        let share = self.sum_ns() / base_ns.max(1.0);
        (share.abs() >= MODEL_ERROR).then_some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_below_the_error_is_none() {
        let extra = |start_ns, warm_calls_ns, cold_calls_ns| PredictedExtra {
            start_ns,
            warm_calls_ns,
            cold_calls_ns,
            coldness: Coldness(0.5),
        };
        let base_ns = 1e9;
        assert_eq!(extra(None, 40e6, 58e6).share_beyond_error(base_ns), None);
        assert_eq!(extra(Some(20e6), 20e6, 40e6).share_beyond_error(base_ns), Some(0.05));
        assert_eq!(extra(Some(50e6), -200e6, -120e6).share_beyond_error(base_ns), Some(-0.11));
        assert_eq!(extra(Some(4e6), 0.0, 0.0).share_beyond_error(20e6), Some(0.2));
    }

    #[test]
    fn a_program_with_more_work_between_calls_is_colder() {
        let of = |own_ns, other_code_ns| Coldness::of_work(own_ns, other_code_ns).share();
        assert_eq!(of(-10.0, 80.0), 0.0);
        assert_eq!(of(20.0, 80.0), 0.0625);
        assert_eq!(of(40.0, 80.0), 0.25);
        assert_eq!(of(500.0, 80.0), 1.0);
        // A processor without routines for the cold pass.
        assert_eq!(of(500.0, -3.0), 1.0);
    }
}
