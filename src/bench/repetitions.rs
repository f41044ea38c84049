//! Further repetitions of the time pass: a run goes on until each pair of backends that it compares
//! is separable or shown equal, or until its budget is spent.
//!
//! Only backends of open pairs go on, up to the next look (`stats/looks.rs`). What is added comes into
//! the run's plan first. So a run that is cut off here is finished by `--resume`, as any other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::error::BenchError;
use super::plan::order;
use super::worker::cancelled;
use crate::results::{
    CellKey, ComparedPair, FurtherRepetitions, Pass, RunDir, TimeBudget, TimeEvidence,
};
use crate::stats::look_after;

/// Measures cells of a run.
pub(super) type MeasureCells<'a> = dyn Fn(&RunDir, &[CellKey]) -> Result<(), BenchError> + 'a;

/// What the time passes of a run show so far, by trace in the order of the manifest.
struct RunEvidence {
    traces: Vec<(String, TimeEvidence)>,
    read: HashSet<CellKey>,
    /// Wall seconds of the latest repetition of each trace.
    seconds: HashMap<String, f64>,
}

impl RunEvidence {
    /// What the folded tables hold.
    fn of_tables(dir: &RunDir) -> Result<RunEvidence, BenchError> {
        let manifest = dir.manifest();
        let traces = manifest.traces.iter();
        let traces = traces.map(|trace| (trace.name.clone(), TimeEvidence::new(manifest)));
        let mut evidence =
            RunEvidence { traces: traces.collect(), read: HashSet::new(), seconds: HashMap::new() };
        for chunk in dir.folded_chunks()? {
            if let Some(own) = evidence.of_trace(&chunk.trace) {
                own.add(&chunk);
            }
        }
        Ok(evidence)
    }

    fn of_trace(&mut self, trace: &str) -> Option<&mut TimeEvidence> {
        self.traces.iter_mut().find(|(name, _)| name == trace).map(|(_, evidence)| evidence)
    }

    /// Adds the time passes that were committed since. Gives all cells that were tried.
    fn read(&mut self, dir: &RunDir) -> Result<HashSet<CellKey>, BenchError> {
        let mut seconds: HashMap<(String, u32), f64> = HashMap::new();
        let mut tried = HashSet::new();
        for outcome in dir.outcomes()? {
            let cell = outcome.cell();
            tried.insert(cell.clone());
            if cell.pass != Pass::Time || !outcome.is_ok() || !self.read.insert(cell.clone()) {
                continue;
            }
            // The children of a repetition are alive together.
            let longest = seconds.entry((cell.trace.clone(), cell.repetition)).or_default();
            *longest = longest.max(outcome.seconds);
            let Some(committed) = dir.committed_cell(&cell) else { continue };
            let chunks = committed.chunks()?;
            if let Some(own) = self.of_trace(&cell.trace) {
                chunks.iter().for_each(|chunk| own.add(chunk));
            }
        }
        let mut latest: Vec<_> = seconds.into_iter().collect();
        latest.sort_by_key(|((_, repetition), _)| *repetition);
        self.seconds.extend(latest.into_iter().map(|((trace, _), seconds)| (trace, seconds)));
        Ok(tried)
    }
}

/// An open trace: what its next look takes.
struct OpenTrace {
    trace: String,
    backends: Vec<String>,
    /// Its next repetition.
    from: u32,
    /// Repetitions up to the next look.
    wanted: u32,
    /// Wall seconds of a repetition.
    seconds: f64,
}

/// The repetitions of time that a trace has in the plan.
fn planned_repetitions(dir: &RunDir, trace: &str) -> u32 {
    let further = dir.manifest().further_time.iter().filter(|further| further.trace == trace);
    further.map(|further| further.to).fold(dir.manifest().repetitions, u32::max)
}

/// The backends of pairs that are open, and the fewest repetitions that such a pair has.
fn open_backends(pairs: &[ComparedPair]) -> (Vec<String>, usize) {
    let open = || pairs.iter().filter(|pair| pair.is_open());
    let backends: BTreeSet<&String> =
        open().flat_map(|pair| [&pair.base, &pair.candidate]).collect();
    let fewest = open().filter_map(|pair| Some(pair.comparison?.pairs)).min().unwrap_or(0);
    (backends.into_iter().cloned().collect(), fewest)
}

fn open_traces(dir: &RunDir, evidence: &RunEvidence, budget: &TimeBudget) -> Vec<OpenTrace> {
    let open = evidence.traces.iter().filter_map(|(trace, own)| {
        let (backends, pairs) = open_backends(&own.pairs(budget.compared));
        let next = look_after(pairs)?;
        let seconds = evidence.seconds.get(trace).copied().unwrap_or(1.0);
        (!backends.is_empty()).then(|| OpenTrace {
            trace: trace.clone(),
            backends,
            from: planned_repetitions(dir, trace),
            wanted: (next - pairs) as u32,
            seconds,
        })
    });
    open.collect()
}

/// The repetitions that fit into `seconds` if so many batches run side by side. All traces go on to
/// their next look where that fits; else each goes as far as its share of the time takes it.
fn fitting(open: Vec<OpenTrace>, seconds: f64, jobs: usize) -> Vec<FurtherRepetitions> {
    let all: f64 = open.iter().map(|trace| trace.seconds * f64::from(trace.wanted)).sum();
    let share = (seconds * jobs as f64 / all.max(1e-9)).min(1.0);
    let further = open.into_iter().map(|trace| FurtherRepetitions {
        from: trace.from,
        to: trace.from + (f64::from(trace.wanted) * share) as u32,
        trace: trace.trace,
        backends: trace.backends,
    });
    further.filter(|further| further.to > further.from).collect()
}

/// Measures further repetitions of the time pass as long as a comparison is open and the budget
/// lasts. `measure` measures cells.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn go_on_until_decided(
    dir: &mut RunDir,
    jobs: usize,
    measure: &MeasureCells<'_>,
) -> Result<(), BenchError> {
    let Some(budget) = dir.manifest().time_budget else { return Ok(()) };
    if !dir.manifest().passes.contains(&Pass::Time) {
        return Ok(());
    }
    let (began, all) = (Instant::now(), Duration::from_secs_f64(budget.seconds));
    let mut evidence = RunEvidence::of_tables(dir)?;
    loop {
        let tried = evidence.read(dir)?;
        let left = all.saturating_sub(began.elapsed()).as_secs_f64();
        let further = fitting(open_traces(dir, &evidence, &budget), left, jobs);
        if cancelled() || further.is_empty() {
            return Ok(());
        }
        dir.extend_plan(further)?;
        let mut cells = order(dir.manifest(), &tried);
        cells.retain(|cell| cell.pass == Pass::Time);
        measure(dir, &cells)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(trace: &str, wanted: u32, seconds: f64) -> OpenTrace {
        let backends = vec!["a".to_owned(), "b".to_owned()];
        OpenTrace { trace: trace.to_owned(), backends, from: 5, wanted, seconds }
    }

    #[test]
    fn repetitions_fit_into_what_is_left() {
        let lengths = |seconds, jobs| {
            let further = fitting(vec![open("a", 10, 1.0), open("b", 4, 5.0)], seconds, jobs);
            further.iter().map(|further| further.to - further.from).collect::<Vec<u32>>()
        };
        assert_eq!(lengths(100.0, 1), [10, 4]);
        assert_eq!(lengths(15.0, 1), [5, 2]);
        assert_eq!(lengths(15.0, 2), [10, 4]);
        assert_eq!(lengths(0.5, 1), [0u32; 0]);
        assert_eq!(fitting(vec![], 10.0, 1), []);
    }
}
