//! One timed measure of one cell, from its first pair to its verdict. The race brings the pairs, and
//! a [`PairJudge`] decides after each look whether to go on.

use std::time::{Duration, Instant};

use super::check_cell::CheckCell;
use super::pairs::{Chosen, Course, PairError, TAIL_SHARE, load, ratios};
use super::plan::ClockRate;
use super::worker::Limits;
use crate::replay::{IterationTimes, Iterations};
use crate::results::{PairJudge, PairRatio, PairRecord, Step, TimedMeasure};
use crate::stats::Random;

/// How the children of a race are bounded and how they read the time.
#[derive(Clone, Copy)]
pub struct RaceBounds {
    /// The bounds of a child.
    pub limits: Limits,
    /// The clock of calls.
    pub clock: ClockRate,
}

/// The pairs so far, and the stage of the procedure.
pub struct Race<'a, J: PairJudge> {
    cell: CheckCell<'a>,
    measure: TimedMeasure,
    judge: J,
    bounds: RaceBounds,
    seed: u64,
    random: Random,
    iterations: Option<Iterations>,
    chosen: Option<Chosen>,
    is_confirming: bool,
    pairs: Vec<PairTimes>,
    /// The pairs of the confirmation, and the baseline once more beside each.
    fresh: Vec<PairTimes>,
    spent: Duration,
    ending: Option<J::Ending>,
}

/// What the processes of a pair measured, in the order of the sides.
enum PairTimes {
    /// The times of all segments.
    Iterations(Vec<IterationTimes>),
    /// The mean time of the slow calls, in ns.
    Tail(Vec<f64>),
}

fn processor(pairs: &[PairRatio]) -> Vec<f64> {
    pairs.iter().map(|pair| pair.processor).collect()
}

impl<'a, J: PairJudge> Race<'a, J> {
    /// A race that has no pair yet.
    pub fn new(
        cell: CheckCell<'a>,
        measure: TimedMeasure,
        judge: J,
        bounds: RaceBounds,
        seed: u64,
    ) -> Race<'a, J> {
        Race {
            cell,
            measure,
            judge,
            bounds,
            seed,
            random: Random(seed),
            iterations: None,
            chosen: None,
            is_confirming: false,
            pairs: Vec::new(),
            fresh: Vec::new(),
            spent: Duration::ZERO,
            ending: None,
        }
    }

    /// The cell.
    pub fn cell(&self) -> &CheckCell<'a> {
        &self.cell
    }

    /// The measure.
    pub fn measure(&self) -> TimedMeasure {
        self.measure
    }

    /// The judge.
    pub fn judge(&self) -> &J {
        &self.judge
    }

    /// Wall time spent so far.
    pub fn spent(&self) -> Duration {
        self.spent
    }

    /// The ending, once there is one.
    pub fn ending(&self) -> Option<&J::Ending> {
        self.ending.as_ref()
    }

    /// Brings pairs until the next look, one at a time on each of `processors` (at least one; `None`
    /// is any processor), and looks. Ends the race at `deadline`.
    ///
    /// # Errors
    /// A child that ended badly, or an interruption.
    pub fn advance(
        &mut self,
        processors: &[Option<usize>],
        deadline: Instant,
    ) -> Result<(), PairError> {
        let began = Instant::now();
        let advanced = self.advance_to_look(processors, deadline);
        self.spent += began.elapsed();
        advanced
    }

    fn advance_to_look(
        &mut self,
        processors: &[Option<usize>],
        deadline: Instant,
    ) -> Result<(), PairError> {
        let Some(wanted) = self.look() else { return Ok(()) };
        while self.so_far() < wanted {
            if Instant::now() >= deadline {
                self.give_up("when its time was over");
                return Ok(());
            }
            self.bring_pairs(processors, wanted - self.so_far())?;
        }
        self.look();
        Ok(())
    }

    /// Takes the judge's next step. The number of pairs of this stage that the judge wants, if it
    /// wants more.
    fn look(&mut self) -> Option<usize> {
        let step = if self.is_confirming {
            let [fresh, control] = [1, 2].map(|at| processor(&self.figures(&self.fresh, at)));
            self.judge.confirm(&fresh, &control)
        } else {
            self.judge.look(&processor(&self.figures(&self.pairs, 1)))
        };
        match step {
            Step::More(wanted) => return Some(wanted),
            Step::Confirm => self.is_confirming = true,
            Step::Ended(ending) => self.ending = Some(ending),
        }
        None
    }

    /// The figures of pairs: the process number `at` of each against the baseline. Empty where a
    /// segment took no time.
    fn figures(&self, pairs: &[PairTimes], at: usize) -> Vec<PairRatio> {
        let whole = Iterations { iterations: 1, segments: 1, iterations_in_segment: 1 };
        let (mut times, mut tails) = (Vec::new(), Vec::new());
        for pair in pairs {
            match pair {
                PairTimes::Iterations(sides) => times.push([&sides[0], &sides[at]]),
                PairTimes::Tail(sides) => {
                    tails.push(PairRatio { processor: (sides[at] / sides[0]).ln(), wall: None })
                }
            }
        }
        match self.measure {
            TimedMeasure::Tail => tails,
            TimedMeasure::Time => ratios(&times, self.iterations.unwrap_or(whole))
                .unwrap_or_default()
                .into_iter()
                .map(|ratio| PairRatio { processor: ratio.processor, wall: Some(ratio.wall) })
                .collect(),
        }
    }

    fn so_far(&self) -> usize {
        if self.is_confirming { self.fresh.len() } else { self.pairs.len() }
    }

    /// Ends the race with the pairs that there are. `when` completes a sentence.
    pub fn give_up(&mut self, when: &str) {
        self.ending = Some(if self.is_confirming {
            self.judge.give_up_confirmation(when)
        } else {
            self.judge.give_up(&processor(&self.figures(&self.pairs, 1)), when)
        });
    }

    /// Finds out, before the first pair, how an iteration is cut and which calls are the tail.
    fn pilot(&mut self, processor: Option<usize>) -> Result<Iterations, PairError> {
        let RaceBounds { limits, clock } = self.bounds;
        let context = Course { loaded: self.cell.loaded, processor, limits, clock };
        let [baseline, candidate] = &self.cell.sides;
        let iterations = match self.iterations {
            Some(iterations) => iterations,
            None => {
                let seed = self.random.bits();
                *self.iterations.insert(context.pilot(&[baseline, candidate], seed)?)
            }
        };
        if self.measure == TimedMeasure::Tail && self.chosen.is_none() {
            let seed = self.random.bits();
            let sides = [baseline, candidate];
            self.chosen = Some(context.slowest(sides, iterations.segments, TAIL_SHARE, seed)?);
        }
        Ok(iterations)
    }

    /// Brings one more pair on each processor, `wanted` at the most. While confirming, a pair has a
    /// third process: the baseline again.
    fn bring_pairs(
        &mut self,
        processors: &[Option<usize>],
        wanted: usize,
    ) -> Result<(), PairError> {
        let iterations = self.pilot(processors.first().copied().flatten())?;
        let seeded: Vec<(Option<usize>, u64)> = processors
            .iter()
            .take(wanted)
            .map(|processor| (*processor, self.random.bits()))
            .collect();
        for pair in self.measure_pairs(&seeded, iterations) {
            let pair = pair?;
            self.refuse_no_time(&pair)?;
            if self.is_confirming {
                self.fresh.push(pair);
            } else {
                self.pairs.push(pair);
            }
        }
        Ok(())
    }

    /// A pair for each processor and seed, all at once.
    fn measure_pairs(
        &self,
        seeded: &[(Option<usize>, u64)],
        iterations: Iterations,
    ) -> Vec<Result<PairTimes, PairError>> {
        let [baseline, candidate] = &self.cell.sides;
        let mut sides = vec![baseline, candidate];
        if self.is_confirming {
            sides.push(baseline);
        }
        let RaceBounds { limits, clock } = self.bounds;
        let (sides, chosen, loaded) = (&sides, self.chosen.as_ref(), self.cell.loaded);
        let one = |(processor, seed): (Option<usize>, u64)| {
            let context = Course { loaded, processor, limits, clock };
            match chosen {
                None => context.time(sides, iterations, seed).map(PairTimes::Iterations),
                Some(chosen) => {
                    context.tail(sides, iterations.segments, chosen, seed).map(PairTimes::Tail)
                }
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> =
                seeded.iter().skip(1).map(|&seeded| scope.spawn(move || one(seeded))).collect();
            let first = seeded.first().map(|&seeded| one(seeded));
            let joined =
                others.into_iter().map(|other| other.join().unwrap_or(Err(PairError::Cancelled)));
            first.into_iter().chain(joined).collect()
        })
    }

    fn refuse_no_time(&self, pair: &PairTimes) -> Result<(), PairError> {
        let processes = if self.is_confirming { 1..3 } else { 1..2 };
        let pair = std::slice::from_ref(pair);
        if processes.into_iter().all(|at| !self.figures(pair, at).is_empty()) {
            return Ok(());
        }
        Err(PairError::Child {
            backend: self.cell.sides[1].backend.clone(),
            reason: "its segments took no time at all; the trace is too short to be timed"
                .to_owned(),
        })
    }

    /// All figures so far.
    pub fn record(&self) -> PairRecord {
        let [confirmation, control] = [1, 2].map(|at| self.figures(&self.fresh, at));
        PairRecord {
            pairs: self.figures(&self.pairs, 1),
            confirmation,
            control,
            seconds: self.spent.as_secs_f64(),
            load: load(),
            seed: self.seed,
        }
    }
}
