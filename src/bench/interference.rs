//! How much work on the other processors disturbs one that is timed. Measured in the
//! run itself, on the machine as it is then, and by it decided how many batches run side by side.
//!
//! One child replays a trace in turns of about a millisecond. In one of two turns over the same
//! calls, drawn at random, children on the other processors replay it too; in the other they wait.
//! So both meet the same weather.

use std::collections::HashMap;

use super::pairs::cut;
use super::plan::{Job, Task};
use super::settings::Settings;
use super::time_slices::stay_on;
use super::worker::{Limits, Worker};
use super::workload::Loaded;
use crate::replay::{IterationTimes, Iterations};
use crate::stats::{self, Random};

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Disturbance {
    /// The trace that was replayed.
    pub trace: String,
    /// Processors that had work beside the one that was timed.
    pub neighbours: usize,
    /// Pairs of turns over the same calls.
    pub pairs: usize,
    /// How many times as long a turn took with them: the median.
    pub ratio: f64,
    /// The quartiles of it.
    pub quartiles: (f64, f64),
}

/// A disturbance beyond this is not accepted: fewer batches then run side by side. All backends of a
/// batch meet it alike, so their ratios hold; the nanoseconds would not.
const MOST: f64 = 1.10;

/// The allocator that is replayed on all of them.
const BACKEND: &str = "malloc";
/// A trace of so many calls is long enough.
const CALLS: usize = 20_000;
/// Nanoseconds a call at which turns are cut.
const CALL_NS: f64 = 30.0;
/// Pairs of turns at least.
const PAIRS: usize = 60;
/// How many times as long as a turn of the one that is timed those of the neighbours are, so that
/// they cover it.
const LONGER: usize = 3;

/// How many batches shall run side by side, on `processors`: as many as the settings allow, halved
/// until the neighbours disturb by no more than [`MOST`] — where nobody has told a number. With it
/// what was measured, the last first; nothing where no two would run.
///
/// # Errors
/// Why it could not be measured.
pub fn side_by_side(
    programs: &HashMap<String, Loaded>,
    settings: &Settings,
    processors: &[usize],
    seed: u64,
) -> Result<(usize, Option<Disturbance>), String> {
    let mut jobs = settings.jobs.max(1);
    if settings.jobs_told {
        let most = jobs.min(processors.len());
        return Ok((jobs, disturbance(programs, settings, &processors[..most], seed)?));
    }
    jobs = jobs.min(processors.len().max(1));
    loop {
        let found = disturbance(programs, settings, &processors[..jobs], seed)?;
        match found {
            Some(ref disturbed) if disturbed.ratio > MOST && jobs > 1 => {
                jobs /= 2;
                if jobs == 1 {
                    return Ok((1, found));
                }
            }
            found => return Ok((jobs, found)),
        }
    }
}

/// Measures the first of `processors` beside the others; `None` when there are no others, or no
/// trace.
fn disturbance(
    programs: &HashMap<String, Loaded>,
    settings: &Settings,
    processors: &[usize],
    seed: u64,
) -> Result<Option<Disturbance>, String> {
    let [own, others @ ..] = processors else { return Ok(None) };
    let calls = |loaded: &Loaded| loaded.program.instructions().len();
    let long = programs.iter().filter(|(_, loaded)| calls(loaded) >= CALLS);
    let shortest = long.min_by_key(|(name, loaded)| (calls(loaded), (*name).clone()));
    let chosen = shortest
        .or_else(|| programs.iter().max_by_key(|(name, loaded)| (calls(loaded), (*name).clone())));
    let Some((trace, loaded)) =
        chosen.filter(|(_, loaded)| calls(loaded) > 0 && !others.is_empty())
    else {
        return Ok(None);
    };
    let plan = rounds(calls(loaded));
    let start = |processor: usize, iterations: Iterations| {
        let task =
            Task::Iterations { backend: BACKEND.to_owned(), program: loaded.path(), iterations };
        let job = Job { task, processor: Some(processor), time_slices: true };
        let limits = Limits {
            time: settings.time_limit(calls(loaded)),
            memory_bytes: settings.memory_bytes,
        };
        Worker::start(&job, limits).map_err(|error| error.to_string())
    };
    let mut subject = start(*own, plan.iterations)?;
    let mut neighbours = Vec::new();
    for processor in others {
        neighbours.push(start(*processor, plan.neighbours)?);
    }
    let _here = stay_on(Some(*own));
    let ready = subject.ready() && neighbours.iter_mut().all(Worker::ready);
    let beside = plan.draw(seed);
    for with in beside.iter().filter(|_| ready) {
        if *with {
            neighbours.iter_mut().for_each(Worker::give);
        }
        let goes_on = subject.turn();
        if *with && !neighbours.iter_mut().all(|neighbour| neighbour.ready()) || !goes_on {
            break;
        }
    }
    let told = subject.end().map_err(|error| error.to_string())?.well();
    // They wait for a turn that does not come, and end by it.
    for neighbour in neighbours {
        let ended = neighbour.end().map_err(|error| error.to_string())?;
        if !ready && let Err(reason) = ended.well() {
            return Err(reason);
        }
    }
    let times: IterationTimes = serde_json::from_str(told?.trim_start_matches('r'))
        .map_err(|error| format!("the child's words are not its times: {error}"))?;
    let ratios = plan.ratios(&beside, &times.processor_ns);
    let quartile = |share| stats::quantile(&ratios, share);
    let (Some(low), Some(ratio), Some(high)) = (quartile(0.25), quartile(0.5), quartile(0.75))
    else {
        return Err("it gave no times".to_owned());
    };
    let (trace, neighbours) = (trace.clone(), others.len());
    Ok(Some(Disturbance { trace, neighbours, pairs: ratios.len(), ratio, quartiles: (low, high) }))
}

/// Which turns there are.
struct Rounds {
    iterations: Iterations,
    neighbours: Iterations,
    /// TimeSlices over the same calls come in pairs, so many turns apart.
    apart: usize,
    turns: usize,
}

/// TimeSlices for a program of so many calls.
fn rounds(calls: usize) -> Rounds {
    let cut = cut(calls as f64 * CALL_NS);
    if cut.segments > 1 {
        let iterations = 2 * PAIRS.div_ceil(cut.segments);
        let turns = iterations * cut.segments;
        // A neighbour needs half as many turns, each a longer piece of an iteration.
        let segments = (cut.segments / LONGER).max(1);
        let neighbours = Iterations {
            iterations: turns.div_ceil(2 * segments) + 1,
            segments,
            iterations_in_segment: 1,
        };
        return Rounds {
            iterations: Iterations { iterations, ..cut },
            neighbours,
            apart: cut.segments,
            turns,
        };
    }
    let together = cut.iterations_in_segment;
    let iterations = Iterations { iterations: together * 2 * PAIRS, ..cut };
    let longer = Iterations {
        iterations: together * LONGER * (PAIRS + 1),
        segments: 1,
        iterations_in_segment: together * LONGER,
    };
    Rounds { iterations, neighbours: longer, apart: 1, turns: 2 * PAIRS }
}

impl Rounds {
    /// For each turn whether the neighbours work: one of each pair, drawn at random.
    fn draw(&self, seed: u64) -> Vec<bool> {
        let mut random = Random(seed);
        let mut beside = vec![false; self.turns];
        for first in (0..self.turns).filter(|turn| (turn / self.apart).is_multiple_of(2)) {
            let second = (random.bits() % 2) as usize * self.apart;
            beside[first + second] = true;
        }
        beside
    }

    /// With neighbours over alone, pair by pair.
    fn ratios(&self, beside: &[bool], times_ns: &[u64]) -> Vec<f64> {
        let firsts = (0..self.turns).filter(|turn| (turn / self.apart).is_multiple_of(2));
        let ratio = |first: usize| {
            let (a, b) = (*times_ns.get(first)? as f64, *times_ns.get(first + self.apart)? as f64);
            let ratio = if beside[first] { a / b } else { b / a };
            (ratio.is_finite() && ratio > 0.0).then_some(ratio)
        };
        firsts.filter_map(ratio).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_beside_neighbours_stands_against_one_alone_over_the_same_calls() {
        for calls in [1, 900, 74_000, 2_000_000, 100_000_000] {
            let plan = rounds(calls);
            let beside = plan.draw(9);
            assert_eq!(beside.iter().filter(|with| **with).count() * 2, plan.turns, "{calls}");
            assert!(plan.turns >= 2 * PAIRS);
            let iterations = plan.iterations;
            assert_eq!(
                iterations.iterations * iterations.segments / iterations.iterations_in_segment,
                plan.turns
            );
            let others = plan.neighbours;
            assert!(
                others.iterations * others.segments / others.iterations_in_segment > plan.turns / 2,
                "{calls}"
            );
            // Each piece has its own length; with neighbours it takes half as long again.
            let times: Vec<u64> = (0..plan.turns)
                .map(|turn| {
                    (1000 + 10 * (turn % plan.apart) as u64) * if beside[turn] { 3 } else { 2 }
                })
                .collect();
            let ratios = plan.ratios(&beside, &times);
            assert_eq!(ratios.len() * 2, plan.turns);
            assert!(ratios.iter().all(|ratio| (ratio - 1.5).abs() < 1e-9), "{calls}");
        }
    }
}
