//! Room `cli`, verb `check`: all cells of a suite within one time limit. Exact stage first, in
//! parallel; then the timed measures, of which each free processor takes the one that has had the
//! least time, up to its next look. So clear cells end early, and what they leave is for the
//! others.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::race::{Cell, Race, Timed};
use crate::bench::{
    self, ChildLimits, ClockRate, CountError, InstructionCounter, PairError, Settings, processors,
};
use crate::check::{Budget, Finding, Gate, Policy, Repeated, Verdict, compare_exact};
use crate::results::Run;
use crate::stats::Random;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Measure {
    /// Memory, arenas, pools: no noise
    Exact,
    /// Processor time of the replay
    Time,
    /// Mean time of the slowest 1 % of the calls
    Tail,
    /// Instructions, counted by valgrind
    Instructions,
}

/// How a suite is carried out.
pub struct Rules<'a> {
    /// What is measured.
    pub measures: &'a [Measure],
    /// Margins.
    pub policy: &'a Policy,
    /// Children's bounds and how many at once.
    pub settings: &'a Settings,
    /// Wall time for all cells.
    pub time_limit: Duration,
    /// From which all orders come.
    pub seed: u64,
    /// The command that measures a cell again.
    pub reproduce: &'a (dyn Fn(&Cell, &str) -> String + Sync),
}

impl Rules<'_> {
    /// The timed measures among those asked for.
    pub fn timed(&self) -> Vec<Timed> {
        let has = |measure| self.measures.contains(&measure);
        let mut timed = Vec::new();
        timed.extend(has(Measure::Time).then_some(Timed::Time));
        timed.extend(has(Measure::Tail).then_some(Timed::Tail));
        timed
    }

    /// The gate of a measure in a suite of so many cells.
    pub fn gate(&self, timed: Timed, cells: usize) -> Gate {
        let margin = self.policy.margin(timed.name());
        let budget = Budget { fail: self.policy.error_budget(), ..Budget::default() };
        Gate { fail: margin.fail, pass: margin.pass, budget, cells, measures: self.timed().len() }
    }

    /// A child's bounds on a cell.
    pub fn limits(&self, cell: &Cell) -> ChildLimits {
        let calls = cell.loaded.program.instructions().len();
        ChildLimits {
            time: self.settings.time_limit(calls) * 8,
            memory_bytes: self.settings.memory_bytes,
        }
    }
}

/// Measures and judges every cell. `told` hears of each finding as it comes.
pub fn run(cells: &[Cell], rules: &Rules, told: &(dyn Fn(&Finding) + Sync)) -> Vec<Finding> {
    let deadline = Instant::now() + rules.time_limit;
    let mut findings = Vec::new();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(rules.settings.jobs.max(1)).build();
    let exact =
        || -> Vec<Vec<Finding>> { cells.par_iter().map(|cell| untimed(cell, rules)).collect() };
    let found = match &pool {
        Ok(pool) => pool.install(exact),
        Err(_) => cells.iter().map(|cell| untimed(cell, rules)).collect(),
    };
    // A cell whose exact stage could not be done cannot be timed either.
    let mut able = Vec::new();
    for (cell, found) in cells.iter().zip(found) {
        if !found.iter().any(|finding| finding.verdict == Verdict::Missing) {
            able.push(cell.clone());
        }
        found.iter().for_each(told);
        findings.extend(found);
    }
    findings.extend(races(&able, cells.len(), rules, deadline, told));
    findings
}

/// Exact measures and instructions of a cell.
fn untimed(cell: &Cell, rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    if rules.measures.contains(&Measure::Exact) {
        findings.extend(exact(cell, rules));
    }
    if rules.measures.contains(&Measure::Instructions) {
        findings.push(instructions(cell, rules));
    }
    findings
}

/// The exact stage: each side twice; what fails must fail a third time.
pub fn exact(cell: &Cell, rules: &Rules) -> Vec<Finding> {
    let measure = |at: usize| bench::exact(&cell.sides[at], cell.loaded, rules.settings);
    let mut runs: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
    let again = |runs: &mut [Vec<Run>; 2]| -> Result<Vec<Finding>, String> {
        for (at, runs) in runs.iter_mut().enumerate() {
            runs.push(measure(at).map_err(|error| error.about(&cell.sides[at].backend))?);
        }
        let [baseline, candidate] = &*runs;
        let side = |at: usize| cell.sides[at].backend.as_str();
        let builds = [cell.sides[0].executable(), cell.sides[1].executable()];
        let mut found = compare_exact(
            cell.trace,
            &cell.name,
            &Repeated { backend: side(0), runs: baseline, build: &builds[0] },
            &Repeated { backend: side(1), runs: candidate, build: &builds[1] },
            rules.policy,
        );
        for finding in &mut found {
            finding.reproduce = (rules.reproduce)(cell, "exact");
        }
        Ok(found)
    };
    let found = again(&mut runs).and_then(|_| again(&mut runs)).and_then(|found| {
        let failed = found.iter().any(|finding| finding.verdict == Verdict::Fail);
        if failed { again(&mut runs) } else { Ok(found) }
    });
    found.unwrap_or_else(|reason| {
        vec![Finding::bare(cell.trace, &cell.name, "exact", Verdict::Missing, reason)]
    })
}

/// The same for the baseline and the candidate, at once or one after the other.
fn on_both<T: Send>(
    at_once: bool,
    work: impl Fn(usize) -> Result<T, CountError> + Sync,
) -> Result<[T; 2], CountError> {
    let (baseline, candidate) = match at_once {
        true => rayon::join(|| work(0), || work(1)),
        false => (work(0), work(1)),
    };
    Ok([baseline?, candidate?])
}

/// Instructions of both sides. Two counts of a side are apart by a seventh of the margin at the
/// most (jemalloc's), and a count is mostly valgrind's start; so what is below half of the margin
/// at the first count of each passes. Anything else is counted again, and the smallest differences
/// of the counts decide.
pub fn instructions(cell: &Cell, rules: &Rules) -> Finding {
    let mut finding = Finding::bare(cell.trace, &cell.name, "instructions", Verdict::Identical, "");
    finding.reproduce = (rules.reproduce)(cell, "instructions");
    finding.unit = "instructions";
    finding.margin = rules.policy.margin("instructions").fail;
    let mut limits = rules.limits(cell);
    limits.time *= 20;
    // Nothing is timed, so the sides may be counted at once.
    let both = rules.settings.jobs > 1;
    let counters =
        on_both(both, |side| InstructionCounter::new(&cell.sides[side], cell.loaded, limits));
    let counts = counters.and_then(|counters| {
        let count = || on_both(both, |side| counters[side].count().map(|count| count as f64));
        let first = count()?;
        if first[1] <= first[0] * (1.0 + finding.margin / 2.0) {
            return Ok(first.map(|count| vec![count]));
        }
        let second = count()?;
        Ok([0, 1].map(|side| vec![first[side], second[side]]))
    });
    let [before, after] = match counts {
        Ok(counts) => counts,
        Err(reason) => {
            // Without valgrind it is a measure that was not to be had, not a broken side.
            let absent = matches!(reason, CountError::NoValgrind);
            finding.verdict = if absent { Verdict::Skipped } else { Verdict::Missing };
            finding.why = reason.to_string();
            return finding;
        }
    };
    let least = |counts: &[f64]| counts.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |counts: &[f64]| counts.iter().copied().fold(0.0, f64::max);
    (finding.baseline, finding.candidate) = (Some(least(&before)), Some(least(&after)));
    let margin = 1.0 + finding.margin;
    finding.verdict = if least(&after) > most(&before) * margin {
        Verdict::Fail
    } else if most(&after) > least(&before) * margin {
        finding.why = format!(
            "the counts of one side differ: {before:?} and {after:?}, on both sides of the margin"
        );
        Verdict::Inconclusive
    } else if least(&after) > most(&before) {
        // A few instructions more are those of hashing and the loader.
        Verdict::Pass
    } else if most(&after) * margin < least(&before) {
        Verdict::Better
    } else if before == after {
        Verdict::Identical
    } else {
        Verdict::Pass
    };
    finding
}

/// Runs all timed measures of the cells within the time that is left.
fn races(
    cells: &[Cell],
    of_suite: usize,
    rules: &Rules,
    deadline: Instant,
    told: &(dyn Fn(&Finding) + Sync),
) -> Vec<Finding> {
    let mut random = Random(rules.seed);
    let mut waiting = Vec::new();
    for timed in rules.timed() {
        for cell in cells {
            let gate = rules.gate(timed, of_suite);
            let bounds: (ChildLimits, ClockRate) = (rules.limits(cell), rules.settings.clock);
            let race = Race::new(cell.clone(), timed, gate, bounds, random.bits());
            waiting.push((cell, timed, race));
        }
    }
    let queue = Mutex::new(waiting);
    // Processors of lanes that have nothing to do any more: whoever goes on brings pairs on them as
    // well.
    let idle: Mutex<Vec<Option<usize>>> = Mutex::default();
    let findings: Mutex<Vec<Finding>> = Mutex::new(Vec::new());
    let places = processors();
    let lanes = rules.settings.jobs.clamp(1, places.len().max(1));
    std::thread::scope(|scope| {
        for lane in 0..lanes {
            let place = places.get(lane).copied();
            let (queue, findings, idle) = (&queue, &findings, &idle);
            scope.spawn(move || {
                loop {
                    let taken = queue.lock().ok().and_then(|mut queue| {
                        let least = queue
                            .iter()
                            .enumerate()
                            .min_by(|(_, a), (_, b)| a.2.seconds().total_cmp(&b.2.seconds()))
                            .map(|(at, _)| at)?;
                        Some(queue.swap_remove(least))
                    });
                    // What another lane holds comes back undecided or not at all; that lane goes on
                    // with it.
                    let Some((cell, timed, mut race)) = taken else {
                        if let Ok(mut idle) = idle.lock() {
                            idle.push(place);
                        }
                        return;
                    };
                    let mut places = vec![place];
                    if let Ok(mut idle) = idle.lock() {
                        places.append(&mut idle);
                    }
                    let advanced = match Instant::now() >= deadline {
                        true => {
                            race.give_up("when the suite's time was over");
                            Ok(())
                        }
                        false => race.advance(&places, deadline),
                    };
                    if let Ok(mut idle) = idle.lock() {
                        idle.extend(places.drain(1..));
                    }
                    let finding = match advanced {
                        Err(PairError::Cancelled) => return,
                        Err(error) => {
                            let why = error.to_string();
                            Finding::bare(
                                cell.trace,
                                &cell.name,
                                timed.name(),
                                Verdict::Missing,
                                why,
                            )
                        }
                        Ok(()) if race.verdict().is_some() => {
                            race.finding((rules.reproduce)(cell, timed.name()))
                        }
                        Ok(()) => {
                            if let Ok(mut queue) = queue.lock() {
                                queue.push((cell, timed, race));
                            }
                            continue;
                        }
                    };
                    told(&finding);
                    if let Ok(mut findings) = findings.lock() {
                        findings.push(finding);
                    }
                }
            });
        }
    });
    findings.into_inner().unwrap_or_default()
}
