//! Interleaved rounds: each runs the program once under each backend, in a random order.
//!
//! Going on until each comparison is decided, or a budget is spent. A backend that the program did
//! not have, or under which it did not end, is left out of further rounds, with the reason.

use std::io;
use std::ops::ControlFlow;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::decision::compare;
use super::deployment::Deployment;
use super::observation::Observation;
use super::outputs::{NAMES, first_difference, last_lines};
use super::program::{LiveError, LiveProgram, Until};
use super::read_back::fault;
use crate::stats::{Decision, Random, has_further_look, is_look};

/// Wall time that a run may take beyond that of the first, and how many times the first.
const SPARE: Duration = Duration::from_secs(60);
const TIMES_THE_FIRST: u32 = 10;
/// Starts under each backend in a round.
const STARTS: usize = 3;
/// Rounds that a range of memory needs at least, whatever the budget is.
const LEAST_ROUNDS: usize = 3;

/// A backend under which the program is to run.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its spec.
    pub name: String,
    /// What tables call it.
    pub label: String,
    /// What gives the program the backend.
    pub deployment: Deployment,
}

/// How many rounds there are.
#[derive(Clone, Copy, Debug)]
pub struct RoundsPlan {
    /// So many; `None` for as many as the decisions need.
    pub rounds: Option<usize>,
    /// Wall time for all rounds. The first three are run whatever it is.
    pub budget: Duration,
    /// The seed of the order.
    pub seed: u64,
    /// Wall time that a run may take; `None` for no limit of the first, and much more than the first
    /// took for the others.
    pub limit: Option<Duration>,
}

/// The runs under one backend.
#[derive(Debug)]
pub struct LiveRuns {
    /// The backend.
    pub candidate: Candidate,
    /// Its runs, by round.
    pub runs: Vec<Observation>,
    /// Processor time of the program's start, ns ([`LiveProgram::start_ns`]), all rounds together.
    pub starts_ns: Vec<f64>,
    /// Why there are no further runs.
    pub failure: Option<String>,
    /// How its output, or its end, differs from that of the first backend; the number of runs.
    pub differences: Vec<(String, usize)>,
}

impl LiveRuns {
    /// A figure of each run.
    pub fn figures(&self, figure: impl Fn(&Observation) -> f64) -> Vec<f64> {
        self.runs.iter().map(figure).collect()
    }

    fn processor_ns(&self) -> Vec<f64> {
        self.figures(|run| run.processor_ns() as f64)
    }

    /// Notes a difference.
    fn differs(&mut self, how: String) {
        match self.differences.iter_mut().find(|(known, _)| *known == how) {
            Some((_, count)) => *count += 1,
            None => self.differences.push((how, 1)),
        }
    }
}

/// Runs the program in rounds. The first candidate is the base of all comparisons, and the output of
/// a first run under it, which is not measured, is what outputs are compared with. `progress` gets
/// the number of finished rounds.
///
/// # Errors
/// When the first run fails, or a file cannot be written. An interruption ends the rounds, and what
/// was measured is returned.
pub fn run_rounds(
    program: &LiveProgram,
    candidates: Vec<Candidate>,
    plan: RoundsPlan,
    is_cancelled: fn() -> bool,
    mut progress: impl FnMut(usize, Duration),
) -> Result<Vec<LiveRuns>, LiveError> {
    let mut all: Vec<LiveRuns> = candidates
        .into_iter()
        .map(|candidate| LiveRuns {
            candidate,
            runs: Vec::new(),
            starts_ns: Vec::new(),
            failure: None,
            differences: Vec::new(),
        })
        .collect();
    let Some(base) = all.first_mut() else { return Ok(all) };
    let began = Instant::now();
    let first = program.run(
        &base.candidate.deployment,
        plan.limit.unwrap_or(Duration::MAX),
        is_cancelled,
    )?;
    base.failure = fault(&base.candidate.deployment, first.allocator.as_ref());
    let limit = plan.limit.unwrap_or_else(|| began.elapsed() * TIMES_THE_FIRST + SPARE);
    let mut random = Random(plan.seed);
    let began = Instant::now();
    for round in 1.. {
        if round_of(program, &mut all, &first, limit, is_cancelled, &mut random).is_break() {
            break;
        }
        progress(round, began.elapsed());
        let is_over = match plan.rounds {
            Some(rounds) => round >= rounds,
            // The figures of a program that fails are not worth the budget.
            None if first.failure().is_some() => round >= LEAST_ROUNDS,
            None => is_decided(&all, round) || is_spent(plan.budget, began, round),
        };
        // Without the first there is nothing to compare with.
        if is_over || all[0].failure.is_some() {
            break;
        }
    }
    Ok(all)
}

/// Whether another round would not end within the budget.
fn is_spent(budget: Duration, began: Instant, round: usize) -> bool {
    let passed = began.elapsed();
    round >= LEAST_ROUNDS && passed + passed / round as u32 > budget
}

/// One run under each backend; a break where the run is interrupted.
fn round_of(
    program: &LiveProgram,
    all: &mut [LiveRuns],
    first: &Observation,
    limit: Duration,
    is_cancelled: fn() -> bool,
    random: &mut Random,
) -> ControlFlow<()> {
    let mut order: Vec<usize> = (0..all.len()).filter(|at| all[*at].failure.is_none()).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, (random.bits() % (at as u64 + 1)) as usize);
    }
    let mut seen = Vec::new();
    for at in order {
        let runs = &mut all[at];
        let run = program.run(&runs.candidate.deployment, limit, is_cancelled);
        let run = match run {
            Err(LiveError::Cancelled) => return ControlFlow::Break(()),
            Err(error @ LiveError::Io { .. }) => Err(error.with_source()),
            Err(error) => Err(format!("the program {error}")),
            Ok(run) => match fault(&runs.candidate.deployment, run.allocator.as_ref()) {
                Some(fault) => Err(fault),
                None => Ok(run),
            },
        };
        match run {
            Ok(run) => seen.push((at, run)),
            // What was measured before stays.
            Err(reason) => runs.failure = Some(reason),
        }
    }
    // The start of a launcher is not that of the program.
    if !program.is_launcher {
        time_starts(program, all, is_cancelled)?;
    }
    // A round counts for all or for none, so that runs of one number are of one round.
    for (at, run) in seen {
        match differences(first, &run, &program.until) {
            Ok(found) => found.into_iter().for_each(|how| all[at].differs(how)),
            Err(error) => all[at].failure = Some(format!("its output cannot be read: {error}")),
        }
        all[at].runs.push(run);
    }
    ControlFlow::Continue(())
}

/// Starts the program under each backend, interleaved; a break where the run is interrupted.
fn time_starts(
    program: &LiveProgram,
    all: &mut [LiveRuns],
    is_cancelled: fn() -> bool,
) -> ControlFlow<()> {
    for _ in 0..STARTS {
        for runs in all.iter_mut().filter(|runs| runs.failure.is_none()) {
            if is_cancelled() {
                return ControlFlow::Break(());
            }
            match program.start_ns(&runs.candidate.deployment) {
                Ok(Some(ns)) => runs.starts_ns.push(ns as f64),
                // Another round would find the same.
                Ok(None) | Err(_) => return ControlFlow::Continue(()),
            }
        }
    }
    ControlFlow::Continue(())
}

/// Whether each comparison is decided, at a number of rounds at which one looks.
fn is_decided(all: &[LiveRuns], round: usize) -> bool {
    if !is_look(round) {
        return !has_further_look(round);
    }
    let Some((base, others)) = all.split_first() else { return true };
    let base_ns = base.processor_ns();
    let others: Vec<&LiveRuns> = others.iter().filter(|runs| runs.failure.is_none()).collect();
    // One backend only: its ranges need no decision.
    others.iter().all(|runs| {
        let found = compare(&base_ns, &runs.processor_ns(), others.len());
        found.is_some_and(|found| found.decision != Decision::Open)
    })
}

/// Where a run ended otherwise than the first, or printed something else.
///
/// # Errors
/// When an output cannot be read.
fn differences(first: &Observation, run: &Observation, until: &Until) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    if *until != Until::End {
        // What a program has printed when it is ended depends on the moment.
        return Ok(found);
    }
    if run.status != first.status {
        let status = |status: Option<ExitStatus>| {
            status.map_or_else(String::new, |status| status.to_string())
        };
        let mut how = format!("{} instead of {}", status(run.status), status(first.status));
        if let Some(last) = last_lines(&run.outputs[1]).lines().last() {
            how += &format!("; standard error ends: {last}");
        }
        return Ok(vec![how]);
    }
    for (at, name) in NAMES.iter().enumerate() {
        if first_difference(&first.outputs[at], &run.outputs[at])?.is_some() {
            found.push(format!("another {name}"));
        }
    }
    Ok(found)
}
