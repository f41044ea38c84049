//! How often a check raises a false alarm, and how often it finds a known effect. Each trial is a
//! check of one cell, judged as in a suite of many cells. Trials share nothing but the machine.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::check_cell::CheckCell;
use super::injection::{ExactInjection, InjectedEffect, Injection, Injector};
use super::machine::processors;
use super::pairs::load;
use super::race::{Race, RaceBounds};
use super::suite::Suite;
use super::worker::{Limits, cancelled};
use super::{Loaded, Settings};
use crate::results::{Judge, TimedMeasure, TrialRun};
use crate::spec::BackendSpec;
use crate::stats::Random;

/// Wall time for a child that is timed or counted.
const CHILD_TIME: Duration = Duration::from_secs(600);
/// Trials between two notes on the progress.
const TRIALS_A_NOTE: usize = 50;

/// What the trials of a series inject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Experiment {
    /// Nothing: the backend against itself, by a timed measure.
    Nothing(TimedMeasure),
    /// A slow-down of a timed measure, in percent.
    SlowDown(TimedMeasure, f64),
    /// A change of the exact measures.
    Exact(ExactInjection),
    /// Instructions, in percent.
    Instructions(f64),
}

impl Experiment {
    /// Its name in tables. The seeds of its trials follow from the name.
    pub fn name(self) -> String {
        match self {
            Experiment::Nothing(measure) => format!("{} A/A", measure.name()),
            Experiment::SlowDown(measure, percent) => format!("{} +{percent} %", measure.name()),
            Experiment::Exact(injection) => format!("exact: {}", injection.name()),
            Experiment::Instructions(percent) => format!("instructions +{percent} %"),
        }
    }
}

/// One trial.
#[derive(Clone, Debug)]
pub struct Trial<F> {
    /// The trace, the time and the seed.
    pub run: TrialRun,
    /// What the check found: one finding of a timed measure or of instructions, many of exact
    /// measures.
    pub findings: Vec<F>,
}

/// The trials of one experiment.
#[derive(Clone, Debug)]
pub struct TrialSeries<F> {
    /// The experiment.
    pub experiment: Experiment,
    /// The measured effect of the injection, on each trace.
    pub effects: Vec<InjectedEffect>,
    /// The trials, in the order in which they ended.
    pub trials: Vec<Trial<F>>,
}

/// What all trials share.
pub struct PowerStudy<'a, J: Judge> {
    /// The judge of the check.
    pub judge: &'a J,
    /// The bounds of children, and how many there are at once.
    pub settings: &'a Settings,
    /// The traces. Trials use them in rotation.
    pub programs: Vec<(String, &'a Loaded)>,
    /// The backend that is compared with itself.
    pub backend: &'a BackendSpec,
    /// Trials of each experiment.
    pub trials: u64,
    /// Cells of the suite that each trial stands for. They share the allowed error.
    pub cells: usize,
    /// Wall time of a trial.
    pub trial_limit: Duration,
    /// Whether one trial has all processors, instead of one trial on each.
    pub is_together: bool,
    /// The seed of everything.
    pub seed: u64,
    /// Gets notes on the progress.
    pub report: &'a (dyn Fn(String) + Sync),
}

impl<J: Judge> PowerStudy<'_, J> {
    /// Carries out the trials of an experiment.
    ///
    /// # Errors
    /// Why the injection could not be made.
    pub fn run(&self, experiment: Experiment) -> Result<TrialSeries<J::Finding>, String> {
        let injections = self.injections(experiment)?;
        let trials = self.run_trials(experiment, &injections);
        let effects = injections.into_iter().filter_map(|injection| injection.effect).collect();
        Ok(TrialSeries { experiment, effects, trials })
    }

    /// The injection into each trace.
    fn injections(&self, experiment: Experiment) -> Result<Vec<Injection<'_>>, String> {
        let injector = Injector {
            backend: self.backend,
            settings: self.settings,
            limits: self.child_limits(),
            clock: self.settings.clock,
            seed: self.seed,
            report: self.report,
        };
        self.programs.iter().map(|program| inject(&injector, program, experiment)).collect()
    }

    fn child_limits(&self) -> Limits {
        Limits { time: CHILD_TIME, memory_bytes: self.settings.memory_bytes }
    }

    /// The trials, on as many processors as there may be children at once.
    fn run_trials(
        &self,
        experiment: Experiment,
        injections: &[Injection<'_>],
    ) -> Vec<Trial<J::Finding>> {
        let name = experiment.name();
        let salt = name.bytes().fold(0, |sum: u64, b| sum.wrapping_mul(31).wrapping_add(b.into()));
        let mut random = Random(self.seed ^ salt);
        let seeds: Vec<u64> = (0..self.trials).map(|_| random.bits() >> 16).collect();
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<Trial<J::Finding>>> = Mutex::new(Vec::new());
        let serve = |lane: &[Option<usize>]| {
            while !cancelled() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(&seed) = seeds.get(number) else { return };
                let injection = &injections[number % injections.len()];
                match self.trial(experiment, injection, lane, seed) {
                    Ok(trial) => {
                        let Ok(mut done) = done.lock() else { return };
                        done.push(trial);
                        if done.len().is_multiple_of(TRIALS_A_NOTE) {
                            (self.report)(format!("{name}: {} of {}", done.len(), seeds.len()));
                        }
                    }
                    Err(reason) if !cancelled() => (self.report)(format!("{name}: {reason}")),
                    Err(_) => {}
                }
            }
        };
        let processors = self.processors();
        let lanes = if self.is_together { processors.len() } else { 1 };
        std::thread::scope(|scope| {
            for lane in processors.chunks(lanes) {
                let serve = &serve;
                scope.spawn(move || serve(lane));
            }
        });
        done.into_inner().unwrap_or_default()
    }

    /// The processors of the trials; at least one entry.
    fn processors(&self) -> Vec<Option<usize>> {
        let mut processors: Vec<Option<usize>> = processors().into_iter().map(Some).collect();
        processors.truncate(self.settings.jobs.max(1));
        if processors.is_empty() {
            processors.push(None);
        }
        processors
    }

    fn trial(
        &self,
        experiment: Experiment,
        injection: &Injection<'_>,
        lane: &[Option<usize>],
        seed: u64,
    ) -> Result<Trial<J::Finding>, String> {
        let cell = CheckCell {
            trace: injection.trace,
            loaded: injection.loaded,
            sides: injection.sides.clone(),
            name: self.backend.to_string(),
        };
        let suite = self.suite(seed);
        let trace = injection.trace.to_owned();
        let began = Instant::now();
        let findings = match experiment {
            Experiment::Nothing(measure) | Experiment::SlowDown(measure, _) => {
                let race = self.race(cell, measure, lane, seed)?;
                let seconds = (race.spent().as_secs_f64() * 1e3).round() / 1e3;
                let run = TrialRun { trace, seconds, load: load(), seed };
                return Ok(Trial { run, findings: vec![suite.race_finding(&race)] });
            }
            Experiment::Exact(_) => match suite.exact(&cell) {
                Ok(findings) => findings,
                Err(reason) => vec![self.judge.missing(cell.label(), "exact", reason)],
            },
            Experiment::Instructions(_) => vec![suite.instructions(&cell).0],
        };
        let run = TrialRun { trace, seconds: began.elapsed().as_secs_f64(), load: load(), seed };
        Ok(Trial { run, findings })
    }

    /// A race, carried to its end.
    fn race<'c>(
        &self,
        cell: CheckCell<'c>,
        measure: TimedMeasure,
        lane: &[Option<usize>],
        seed: u64,
    ) -> Result<Race<'c, J::Pairs>, String> {
        // The error is shared with the other timed measure, as in a suite of both.
        let judge = self.judge.pair_judge(measure, self.cells, TIMED_MEASURES);
        let bounds = RaceBounds { limits: self.child_limits(), clock: self.settings.clock };
        let mut race = Race::new(cell, measure, judge, bounds, seed);
        let deadline = Instant::now() + self.trial_limit;
        while race.ending().is_none() {
            race.advance(lane, deadline).map_err(|error| error.to_string())?;
        }
        Ok(race)
    }

    /// The suite of one trial.
    fn suite(&self, seed: u64) -> Suite<'_, J> {
        Suite {
            judge: self.judge,
            settings: self.settings,
            has_exact: true,
            has_instructions: false,
            timed: vec![TimedMeasure::Time, TimedMeasure::Tail],
            time_limit: self.trial_limit,
            seed,
        }
    }
}

/// The timed measures of the suite that a trial stands for.
const TIMED_MEASURES: usize = 2;

/// The injection of an experiment into one trace.
fn inject<'p>(
    injector: &Injector<'_>,
    (trace, loaded): &'p (String, &'p Loaded),
    experiment: Experiment,
) -> Result<Injection<'p>, String> {
    match experiment {
        Experiment::Nothing(_) => Ok(Injection::none(trace, loaded, injector.backend)),
        Experiment::SlowDown(measure, percent) => {
            injector.slow_down(trace, loaded, measure, percent / 100.0)
        }
        Experiment::Exact(injection) => injector.exact(trace, loaded, injection),
        Experiment::Instructions(percent) => injector.instructions(trace, loaded, percent),
    }
}
