//! Room `cli`, verb `check`: one timed measure of one cell, from its first pair to its verdict.
//! `bench` brings the pairs, `check` says of them whether to go on.

use std::time::Instant;

use crate::bench::{
    ChildLimits, ChosenCalls, ClockRate, PairContext, PairError, Side, TAIL_SHARE, Workload, load,
    ratios,
};
use crate::check::{Ended, Evidence, Finding, Gate, PairOf, Step, Verdict, confirm, give_up, look};
use crate::replay::{IterationTimes, Iterations};
use crate::stats::{Estimate, LOOKS, Random};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Timed {
    /// The whole replay.
    Time,
    /// The slowest calls.
    Tail,
}

impl Timed {
    /// The measure's name in findings and policies.
    pub fn name(self) -> &'static str {
        match self {
            Timed::Time => "time",
            Timed::Tail => "tail",
        }
    }
}

/// A cell: a trace and the two sides.
#[derive(Clone)]
pub struct Cell<'a> {
    /// The trace's name.
    pub trace: &'a str,
    /// The trace.
    pub loaded: &'a Workload,
    /// Baseline and candidate.
    pub sides: [Side; 2],
    /// How the cell is called in findings.
    pub name: String,
}

/// The pairs so far, and where the procedure stands.
pub struct Race<'a> {
    cell: Cell<'a>,
    timed: Timed,
    gate: Gate,
    limits: ChildLimits,
    clock: ClockRate,
    seed: u64,
    random: Random,
    iterations: Option<Iterations>,
    chosen: Option<ChosenCalls>,
    confirming: bool,
    pairs: Vec<Told>,
    /// Of the confirmation: its pairs, and the baseline once more beside each.
    fresh: Vec<Told>,
    seconds: f64,
    ended: Option<Ended>,
}

/// What the processes of a pair told, in the order of the sides.
enum Told {
    /// All segments.
    Iterations(Vec<IterationTimes>),
    /// The mean time of the slow calls.
    Tail(Vec<f64>),
}

fn processor(pairs: &[PairOf]) -> Vec<f64> {
    pairs.iter().map(|pair| pair.processor).collect()
}

impl<'a> Race<'a> {
    /// Nothing done yet.
    pub fn new(
        cell: Cell<'a>,
        timed: Timed,
        gate: Gate,
        (limits, clock): (ChildLimits, ClockRate),
        seed: u64,
    ) -> Race<'a> {
        Race {
            cell,
            timed,
            gate,
            limits,
            clock,
            seed,
            random: Random(seed),
            iterations: None,
            chosen: None,
            confirming: false,
            pairs: Vec::new(),
            fresh: Vec::new(),
            seconds: 0.0,
            ended: None,
        }
    }

    /// Wall time spent so far.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The verdict, once there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        self.ended.as_ref().map(|ended| ended.verdict)
    }

    /// Brings pairs until the next look, one at a time on each of `places` (processors; at least
    /// one), and looks; ends the race when `deadline` has come.
    ///
    /// # Errors
    /// A child that ended badly, or an interruption.
    pub fn advance(
        &mut self,
        places: &[Option<usize>],
        deadline: Instant,
    ) -> Result<(), PairError> {
        let began = Instant::now();
        let advanced = self.until_next_look(places, deadline);
        self.seconds += began.elapsed().as_secs_f64();
        advanced
    }

    fn step(&self) -> Step {
        match self.confirming {
            false => look(&processor(&self.figures(&self.pairs, 1)), &self.gate),
            true => {
                let [fresh, control] = [1, 2].map(|at| processor(&self.figures(&self.fresh, at)));
                confirm(&fresh, &control, &self.gate)
            }
        }
    }

    /// The figures of pairs: of the baseline and what ran as number `at` beside it. None where a
    /// segment took no time.
    fn figures(&self, pairs: &[Told], at: usize) -> Vec<PairOf> {
        let iterations = self.iterations.unwrap_or(Iterations {
            iterations: 1,
            segments: 1,
            iterations_in_segment: 1,
        });
        let (mut times, mut tails) = (Vec::new(), Vec::new());
        for pair in pairs {
            match pair {
                Told::Iterations(told) => times.push([&told[0], &told[at]]),
                Told::Tail(told) => {
                    tails.push(PairOf { processor: (told[at] / told[0]).ln(), wall: None })
                }
            }
        }
        match self.timed {
            Timed::Tail => tails,
            Timed::Time => {
                let found = ratios(&times, iterations).unwrap_or_default().into_iter();
                found
                    .map(|ratio| PairOf { processor: ratio.processor, wall: Some(ratio.wall) })
                    .collect()
            }
        }
    }

    fn until_next_look(
        &mut self,
        places: &[Option<usize>],
        deadline: Instant,
    ) -> Result<(), PairError> {
        match self.step() {
            Step::Confirm => self.confirming = true,
            Step::Ended(ended) => self.ended = Some(ended),
            Step::More(wanted) => {
                while self.so_far() < wanted {
                    if Instant::now() >= deadline {
                        self.give_up("when its time was over");
                        return Ok(());
                    }
                    self.pairs(places, wanted - self.so_far())?;
                }
                // The look that these pairs were for.
                match self.step() {
                    Step::Confirm => self.confirming = true,
                    Step::Ended(ended) => self.ended = Some(ended),
                    Step::More(_) => {}
                }
            }
        }
        Ok(())
    }

    fn so_far(&self) -> usize {
        if self.confirming { self.fresh.len() } else { self.pairs.len() }
    }

    /// Ends the race with what there is.
    pub fn give_up(&mut self, when: &str) {
        self.ended = Some(match self.confirming {
            false => give_up(&processor(&self.figures(&self.pairs, 1)), &self.gate, when),
            true => Ended {
                verdict: Verdict::Inconclusive,
                why: format!("over the margin, and not confirmed yet {when}"),
            },
        });
    }

    /// What is found once, before the first pair: how an iteration is cut, and which calls are the tail.
    fn pilot(&mut self, processor: Option<usize>) -> Result<Iterations, PairError> {
        let course = PairContext {
            workload: self.cell.loaded,
            processor,
            limits: self.limits,
            clock: self.clock,
        };
        let [baseline, candidate] = &self.cell.sides;
        let iterations = match self.iterations {
            Some(iterations) => iterations,
            None => {
                *self.iterations.insert(course.pilot(&[baseline, candidate], self.random.bits())?)
            }
        };
        if self.timed == Timed::Tail && self.chosen.is_none() {
            let seed = self.random.bits();
            let pilot =
                course.slowest([baseline, candidate], iterations.segments, TAIL_SHARE, seed)?;
            self.chosen = Some(pilot);
        }
        Ok(iterations)
    }

    /// One more pair on each processor, `wanted` at the most; while confirming three processes, of
    /// which one is the baseline again.
    fn pairs(&mut self, places: &[Option<usize>], wanted: usize) -> Result<(), PairError> {
        let iterations = self.pilot(places.first().copied().flatten())?;
        let [baseline, candidate] = &self.cell.sides;
        let mut sides = vec![baseline, candidate];
        if self.confirming {
            sides.push(baseline);
        }
        let seeded: Vec<(Option<usize>, u64)> =
            places.iter().take(wanted).map(|place| (*place, self.random.bits())).collect();
        let (limits, clock, loaded) = (self.limits, self.clock, self.cell.loaded);
        let (sides, chosen) = (&sides, self.chosen.as_ref());
        let one = |processor: Option<usize>, seed: u64| {
            let course = PairContext { workload: loaded, processor, limits, clock };
            match chosen {
                None => course.time(sides, iterations, seed).map(Told::Iterations),
                Some(chosen) => {
                    course.tail(sides, iterations.segments, chosen, seed).map(Told::Tail)
                }
            }
        };
        let told: Vec<Result<Told, PairError>> = std::thread::scope(|scope| {
            let others: Vec<_> = seeded
                .iter()
                .skip(1)
                .map(|&(place, seed)| scope.spawn(move || one(place, seed)))
                .collect();
            let first = seeded.first().map(|&(place, seed)| one(place, seed));
            let joined =
                others.into_iter().map(|other| other.join().unwrap_or(Err(PairError::Cancelled)));
            first.into_iter().chain(joined).collect()
        });
        for told in told {
            let told = told?;
            if (1..sides.len()).any(|at| self.figures(std::slice::from_ref(&told), at).is_empty()) {
                return Err(PairError::NoTime { backend: self.cell.sides[1].backend.clone() });
            }
            if self.confirming {
                self.fresh.push(told);
            } else {
                self.pairs.push(told);
            }
        }
        Ok(())
    }

    /// What was found.
    pub fn finding(&self, reproduce: String) -> Finding {
        let ended = self.ended.clone().unwrap_or(Ended {
            verdict: Verdict::Inconclusive,
            why: "it was not carried to its end".to_owned(),
        });
        let share = |log: f64| log.exp_m1();
        let pairs = self.figures(&self.pairs, 1);
        let [fresh, control] = [1, 2].map(|at| self.figures(&self.fresh, at));
        // A failure is told by its fresh pairs: those of the first stage were chosen for being
        // high.
        let shown = if fresh.len() >= LOOKS[0] { &fresh } else { &pairs };
        let level = self.gate.error_of_look(shown.len());
        let mut finding = Finding::bare(
            self.cell.trace,
            &self.cell.name,
            self.timed.name(),
            ended.verdict,
            ended.why,
        );
        finding.unit = "%";
        finding.margin = self.gate.fail;
        finding.reproduce = reproduce;
        let wall: Vec<f64> = shown.iter().filter_map(|pair| pair.wall).collect();
        finding.evidence = Estimate::of(&processor(shown)).map(|estimate| Evidence {
            effect: share(estimate.mean),
            lower: share(estimate.lower(level)),
            upper: share(estimate.upper(self.gate.budget.pass)),
            error_of_a_look: level,
            fail_margin: self.gate.fail,
            pass_margin: self.gate.pass,
            wall_effect: Estimate::of(&wall).map(|estimate| share(estimate.mean)),
            pairs: pairs.clone(),
            confirmation: fresh.clone(),
            control: control.clone(),
            seconds: self.seconds,
            load: load(),
            seed: self.seed,
        });
        finding
    }
}
