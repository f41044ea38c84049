//! The model of a program's processor time under another backend: the start, the calls between warm and
//! cold caches, and the walks of the garbage collector. Each part is measured apart from the program's
//! runs. Nothing in it is fitted to a program.

use std::fmt;

use super::signed::signed;
use crate::live::LiveRuns;
use crate::stats;

/// The least known error of a predicted difference, as a share of the program's processor time
/// (docs/method/life.md).
pub const LEAST_ERROR: f64 = 0.05;

/// The known error of a predicted difference, as a share of what the replayed calls and the walks of the
/// collector take under the slower of the two backends (docs/method/life.md). A program that does little
/// but allocate is predicted less well than one that does other work, too. Chosen on 30 programs, and fixed
/// before those that test it were written.
const ERROR_OF_REPLAY: f64 = 0.2;

/// What the replays of a recording on a backend took, and the program's start under it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedTimes {
    /// Processor time of the program's start, ns; `None` where it was not measured.
    pub start_ns: Option<f64>,
    /// Processor time of all calls with the first and last access to each block, ns, by repetition.
    pub touch_ns: Vec<f64>,
    /// The same with other code between two calls. That code's own time is in it.
    pub cold_ns: Vec<f64>,
    /// Processor time of the garbage collector's walks, ns; `None` where they are no part of the
    /// prediction.
    pub walks_ns: Option<f64>,
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
    /// In the walks of the garbage collector; `None` where they are no part of the prediction.
    pub collector_ns: Option<f64>,
    /// What the calls with warm caches and the walks take under the slower of the two backends, ns.
    pub slower_ns: f64,
}

/// A predicted difference of processor time, as a share of the program's under the base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictedShare {
    /// What is predicted.
    pub share: f64,
    /// How far the program's own difference may be from it: of 168 so far, 163 were nearer
    /// (docs/method/life.md).
    pub error: f64,
}

impl PredictedShare {
    /// Whether it says which of the two is faster. A smaller difference is not predicted.
    pub fn has_sign(self) -> bool {
        self.share.abs() >= self.error
    }
}

/// `−29 % ±8`, or `within ±5 %` where nothing is predicted.
impl fmt::Display for PredictedShare {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error_percent = self.error * 100.0;
        match self.has_sign() {
            true => write!(out, "{} % ±{error_percent:.0}", signed(self.share * 100.0)),
            false => write!(out, "within ±{error_percent:.0} %"),
        }
    }
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
    /// The walks of the collector are no work between two calls: they come all at once.
    pub fn of(base: &LiveRuns, replayed: &ReplayedTimes) -> Option<Coldness> {
        let whole_ns = stats::median(&base.figures(|run| run.processor_ns() as f64))?;
        let start_ns = replayed.start_ns.unwrap_or(0.0);
        let walks_ns = replayed.walks_ns.unwrap_or(0.0);
        let warm_ns = stats::median(&replayed.touch_ns)?;
        let other_code_ns = stats::median(&replayed.cold_ns)? - warm_ns;
        Some(Coldness::of_work(whole_ns - start_ns - walks_ns - warm_ns, other_code_ns))
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
        let replayed_ns = |times: &ReplayedTimes| {
            Some(stats::median(&times.touch_ns)? + times.walks_ns.unwrap_or(0.0))
        };
        Some(PredictedExtra {
            start_ns: own.start_ns.zip(base.start_ns).map(|(own, base)| own - base),
            warm_calls_ns: difference(|times| &times.touch_ns)?,
            cold_calls_ns: difference(|times| &times.cold_ns)?,
            coldness,
            collector_ns: own.walks_ns.zip(base.walks_ns).map(|(own, base)| own - base),
            slower_ns: replayed_ns(base)?.max(replayed_ns(own)?),
        })
    }

    /// All parts, with the calls between the two replays.
    pub fn sum_ns(&self) -> f64 {
        let between_ns = (self.cold_calls_ns - self.warm_calls_ns) * self.coldness.share();
        let beside_calls_ns = self.start_ns.unwrap_or(0.0) + self.collector_ns.unwrap_or(0.0);
        beside_calls_ns + self.warm_calls_ns + between_ns
    }

    /// The sum as a share of the program's processor time under the base, `base_ns`, with its error.
    pub fn share_of(&self, base_ns: f64) -> PredictedShare {
        let base_ns = base_ns.max(1.0);
        let error = (ERROR_OF_REPLAY * self.slower_ns / base_ns).max(LEAST_ERROR);
        PredictedShare { share: self.sum_ns() / base_ns, error }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorded_collector::RecordedCollector;
    use super::*;
    use crate::cpython::{CollectorRecord, GenerationRecord};

    fn extra(start_ns: Option<f64>, warm_calls_ns: f64, cold_calls_ns: f64) -> PredictedExtra {
        let coldness = Coldness(0.5);
        PredictedExtra {
            start_ns,
            warm_calls_ns,
            cold_calls_ns,
            coldness,
            collector_ns: None,
            slower_ns: 200e6,
        }
    }

    #[test]
    fn the_sum_has_the_start_and_the_calls_between_warm_and_cold() {
        let share = |extra: PredictedExtra| extra.share_of(1e9).share;
        assert_eq!(share(extra(None, 40e6, 58e6)), 0.049);
        assert_eq!(share(extra(Some(20e6), 20e6, 40e6)), 0.05);
        assert_eq!(share(extra(Some(50e6), -200e6, -120e6)), -0.11);
    }

    #[test]
    fn the_walks_of_the_collector_cost_what_their_steps_cost() {
        let record = CollectorRecord {
            middle: GenerationRecord { collections: 1, objects: 200_000 },
            ..CollectorRecord::default()
        };
        let collector = RecordedCollector::Walks(record);
        let replayed = |touch_ns, step_ns: &[f64]| ReplayedTimes {
            start_ns: None,
            touch_ns: vec![touch_ns],
            cold_ns: vec![touch_ns],
            walks_ns: collector.walks_ns(step_ns),
        };
        let coldness = Coldness(0.5);
        let of = |base, own| PredictedExtra::of(&base, &own, coldness).unwrap();
        let found = of(replayed(100e6, &[20.0, 22.0, 30.0]), replayed(110e6, &[60.0, 62.0, 64.0]));
        assert_eq!((found.collector_ns, found.sum_ns()), (Some(40e6), 50e6));
        // The error is a fifth of all that is predicted: the calls and the walks of the slower one.
        assert_eq!(found.slower_ns, 172e6);
        let found = of(replayed(100e6, &[]), replayed(110e6, &[]));
        assert_eq!((found.collector_ns, found.sum_ns(), found.slower_ns), (None, 10e6, 110e6));
    }

    #[test]
    fn the_error_is_a_share_of_the_calls_and_bounds_what_has_a_sign() {
        let calls = extra(None, -60e6, -80e6);
        let text = |base_ns| calls.share_of(base_ns).to_string();
        // 200 ms of 1 s are calls: a fifth of them is less than the least error.
        assert_eq!(calls.share_of(1e9), PredictedShare { share: -0.07, error: 0.05 });
        assert_eq!(text(1e9), "−7.0 % ±5");
        // Half of the program is calls, then nine tenths.
        assert_eq!(text(0.4e9), "−18 % ±10");
        assert_eq!(extra(None, -30e6, -30e6).share_of(0.4e9).to_string(), "within ±10 %");
        assert!(!extra(None, -30e6, -30e6).share_of(0.4e9).has_sign());
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
