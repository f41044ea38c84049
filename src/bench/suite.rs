//! All cells of a check within one time limit. The exact measures come first, in parallel. Then come
//! the timed measures: each free processor takes the race that has had the least time, up to its
//! next look. So clear cells end early and leave their time to the others.

use std::time::{Duration, Instant};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::check_cell::CheckCell;
use super::instructions::{InstructionCounter, valgrind};
use super::lanes::run_races;
use super::pairs::PairError;
use super::race::{Race, RaceBounds};
use super::worker::Limits;
use super::{Settings, exact};
use crate::results::{Judge, RepeatedRuns, Run, TimedMeasure};
use crate::stats::Random;

/// What a suite measures, and how.
pub struct Suite<'a, J: Judge> {
    /// The judge of all measures.
    pub judge: &'a J,
    /// The bounds of children, and how many there are at once.
    pub settings: &'a Settings,
    /// Whether the exact measures are measured.
    pub has_exact: bool,
    /// Whether instructions are counted.
    pub has_instructions: bool,
    /// The timed measures.
    pub timed: Vec<TimedMeasure>,
    /// Wall time for all cells.
    pub time_limit: Duration,
    /// The seed of all orders.
    pub seed: u64,
}

impl<J: Judge> Suite<'_, J> {
    /// Measures every cell. `report` gets each finding when it is there.
    pub fn run(
        &self,
        cells: &[CheckCell<'_>],
        report: &(dyn Fn(&J::Finding) + Sync),
    ) -> Vec<J::Finding> {
        let deadline = Instant::now() + self.time_limit;
        let mut findings = Vec::new();
        // A cell whose exact measures are missing cannot be timed either.
        let mut timeable = Vec::new();
        for (cell, untimed) in cells.iter().zip(self.untimed_of_all(cells)) {
            if !untimed.is_missing {
                timeable.push(cell);
            }
            untimed.findings.iter().for_each(report);
            findings.extend(untimed.findings);
        }
        let races = self.races(&timeable, cells.len());
        let end = |race: &Race<'_, J::Pairs>, result: Result<(), PairError>| {
            let finding = match result {
                Err(PairError::Cancelled) => return None,
                Err(error) => {
                    let name = race.measure().name();
                    self.judge.missing(race.cell().label(), name, error.to_string())
                }
                Ok(()) => self.race_finding(race),
            };
            report(&finding);
            Some(finding)
        };
        findings.extend(run_races(races, self.settings.jobs, deadline, &end));
        findings
    }

    fn untimed_of_all(&self, cells: &[CheckCell<'_>]) -> Vec<Untimed<J::Finding>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.settings.jobs.max(1)).build();
        match pool {
            Ok(pool) => pool.install(|| cells.par_iter().map(|cell| self.untimed(cell)).collect()),
            Err(_) => cells.iter().map(|cell| self.untimed(cell)).collect(),
        }
    }

    /// The exact measures and the instructions of a cell.
    fn untimed(&self, cell: &CheckCell<'_>) -> Untimed<J::Finding> {
        let mut untimed = Untimed { findings: Vec::new(), is_missing: false };
        if self.has_exact {
            match self.exact(cell) {
                Ok(findings) => untimed.findings.extend(findings),
                Err(reason) => {
                    untimed.is_missing = true;
                    untimed.findings.push(self.judge.missing(cell.label(), "exact", reason));
                }
            }
        }
        if self.has_instructions {
            let (finding, is_missing) = self.instructions(cell);
            untimed.is_missing |= is_missing;
            untimed.findings.push(finding);
        }
        untimed
    }

    /// The findings of the exact measures. Each side is measured twice. A failure has to show a third
    /// time.
    ///
    /// # Errors
    /// Why a side could not be measured.
    pub fn exact(&self, cell: &CheckCell<'_>) -> Result<Vec<J::Finding>, String> {
        let mut runs: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
        let measure_both = |runs: &mut [Vec<Run>; 2]| -> Result<(), String> {
            for (side, runs) in cell.sides.iter().zip(runs) {
                let run = exact(side, cell.trace, cell.loaded, self.settings);
                runs.push(run.map_err(|reason| named(&side.backend, reason))?);
            }
            Ok(())
        };
        measure_both(&mut runs)?;
        measure_both(&mut runs)?;
        let findings = self.judge_exact(cell, &runs);
        if !self.judge.is_third_run_needed(&findings) {
            return Ok(findings);
        }
        measure_both(&mut runs)?;
        Ok(self.judge_exact(cell, &runs))
    }

    fn judge_exact(&self, cell: &CheckCell<'_>, runs: &[Vec<Run>; 2]) -> Vec<J::Finding> {
        let builds = cell.sides.each_ref().map(|side| side.executable());
        let side = |at: usize| RepeatedRuns {
            backend: &cell.sides[at].backend,
            runs: &runs[at],
            build: &builds[at],
        };
        self.judge.judge_exact(cell.label(), [side(0), side(1)])
    }

    /// The finding of the instructions, and whether a side could not be counted. A count is mostly
    /// the start of valgrind, so a second one follows only where the judge needs it.
    pub fn instructions(&self, cell: &CheckCell<'_>) -> (J::Finding, bool) {
        let name = "instructions";
        match self.count_instructions(cell) {
            Ok(counts) => (self.judge.judge_instructions(cell.label(), &counts), false),
            Err(reason) if valgrind().is_none() => {
                (self.judge.skipped(cell.label(), name, reason), false)
            }
            Err(reason) => (self.judge.missing(cell.label(), name, reason), true),
        }
    }

    /// The counts of both sides.
    fn count_instructions(&self, cell: &CheckCell<'_>) -> Result<[Vec<f64>; 2], String> {
        let mut limits = self.limits(cell);
        limits.time *= 20;
        // Nothing is timed, so both sides may be counted at once.
        let is_parallel = self.settings.jobs > 1;
        let counters = on_both(is_parallel, |side| {
            InstructionCounter::new(&cell.sides[side], cell.loaded, limits)
        })?;
        let count =
            || on_both(is_parallel, |side| counters[side].count().map(|count| count as f64));
        let first = count()?;
        if !self.judge.is_second_count_needed(first) {
            return Ok(first.map(|count| vec![count]));
        }
        let second = count()?;
        Ok([0, 1].map(|side| vec![first[side], second[side]]))
    }

    /// A child's bounds on a cell.
    fn limits(&self, cell: &CheckCell<'_>) -> Limits {
        let calls = cell.loaded.program.instructions().len();
        Limits {
            time: self.settings.time_limit(calls) * 8,
            memory_bytes: self.settings.memory_bytes,
        }
    }

    /// A race for each timed measure of each cell.
    fn races<'c>(
        &self,
        cells: &[&CheckCell<'c>],
        cells_of_suite: usize,
    ) -> Vec<Race<'c, J::Pairs>> {
        let mut random = Random(self.seed);
        let mut races = Vec::new();
        for &measure in &self.timed {
            for &cell in cells {
                let judge = self.judge.pair_judge(measure, cells_of_suite, self.timed.len());
                let bounds = RaceBounds { limits: self.limits(cell), clock: self.settings.clock };
                races.push(Race::new(cell.clone(), measure, judge, bounds, random.bits()));
            }
        }
        races
    }

    /// The finding of a race.
    pub fn race_finding(&self, race: &Race<'_, J::Pairs>) -> J::Finding {
        self.judge.judge_pairs(
            race.cell().label(),
            race.measure(),
            race.judge(),
            race.ending().cloned(),
            race.record(),
        )
    }
}

/// The findings of what is not timed.
struct Untimed<F> {
    findings: Vec<F>,
    /// Whether a measure of it could not be measured.
    is_missing: bool,
}

/// The reason with the backend's name, where it does not name it.
fn named(backend: &str, reason: String) -> String {
    if reason.contains(backend) { reason } else { format!("{backend}: {reason}") }
}

/// The result of `work` for the baseline and the candidate, both at once or one after the other.
fn on_both<T: Send>(
    is_parallel: bool,
    work: impl Fn(usize) -> Result<T, String> + Sync,
) -> Result<[T; 2], String> {
    let (baseline, candidate) = match is_parallel {
        true => rayon::join(|| work(0), || work(1)),
        false => (work(0), work(1)),
    };
    Ok([baseline?, candidate?])
}
