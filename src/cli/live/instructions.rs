//! The instructions of the program under each backend, counted by valgrind, and those that are
//! predicted. No clock is involved, so the difference of two backends is exact on a machine with noise.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::NamedTempFile;

use super::prediction::Predictions;
use super::signed::signed;
use super::tables::{none, table};
use crate::bench;
use crate::cli::terminal::note;
use crate::live::{Extent, LiveError, LiveProgram, LiveRuns, Tool};
use crate::units;

/// Wall time that a count may take beyond that of a run, and how many times that of a run.
const SPARE: Duration = Duration::from_secs(60);
const TIMES_A_RUN: u32 = 200;

/// Instructions under a backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstructionCount {
    /// Of a whole run.
    pub run: u64,
    /// Of the program's start; `None` where it has none of its own.
    pub start: Option<u64>,
}

/// The counts by the name of the backend; the reason where there is none.
pub type InstructionCounts = BTreeMap<String, Result<InstructionCount, String>>;

/// Counts the instructions of a run under each backend that the program had.
///
/// # Errors
/// Without valgrind, and when a file cannot be written.
pub fn count(program: &LiveProgram, all: &[LiveRuns]) -> anyhow::Result<InstructionCounts> {
    let Some(valgrind) = bench::valgrind() else {
        bail!("--count-instructions: {}", bench::CountError::NoValgrind)
    };
    let measured = all.iter().filter(|runs| !runs.runs.is_empty());
    note("counts instructions by valgrind: some 50 times as long as a run of each backend");
    let mut found = InstructionCounts::new();
    for runs in measured {
        if bench::cancelled() {
            break;
        }
        let longest_ns = runs.runs.iter().map(|run| run.wall_ns).max().unwrap_or_default();
        let limit = SPARE + Duration::from_nanos(longest_ns) * TIMES_A_RUN;
        let log = NamedTempFile::new().context("a file for valgrind's log")?;
        let counter = ValgrindCount { program, valgrind: &valgrind, log: log.path(), limit };
        let count = counter.both(runs).map_err(|error| format!("{error:#}"));
        found.insert(runs.candidate.name.clone(), count);
    }
    Ok(found)
}

/// Counts under one backend.
struct ValgrindCount<'a> {
    program: &'a LiveProgram,
    valgrind: &'a Path,
    log: &'a Path,
    limit: Duration,
}

impl ValgrindCount<'_> {
    fn both(&self, runs: &LiveRuns) -> anyhow::Result<InstructionCount> {
        let Some(run) = self.instructions(runs, Extent::Run)? else { bail!("no run was counted") };
        Ok(InstructionCount { run, start: self.instructions(runs, Extent::Start)? })
    }

    fn instructions(&self, runs: &LiveRuns, extent: Extent) -> anyhow::Result<Option<u64>> {
        let arguments = bench::counting_arguments(self.log);
        let tool = Tool { program: self.valgrind.as_os_str(), arguments: &arguments };
        let deployment = &runs.candidate.deployment;
        let status = self.program.run_by(tool, deployment, extent, self.limit, bench::cancelled);
        let Some(status) = status.map_err(|error| match error {
            LiveError::Io { .. } => anyhow::Error::new(error),
            other => anyhow::anyhow!("the program {other}"),
        })?
        else {
            return Ok(None);
        };
        // The program ends as it does without valgrind.
        let usual = runs.runs.first().and_then(|run| run.status).filter(|_| extent == Extent::Run);
        if usual.is_some_and(|usual| usual != status) {
            bail!("under valgrind the program ends with {status}");
        }
        let text = std::fs::read_to_string(self.log).context("valgrind's log")?;
        match bench::instructions_in(&text) {
            Some(count) => Ok(Some(count)),
            None => bail!("valgrind printed no count: {}", text.lines().last().unwrap_or_default()),
        }
    }
}

/// A difference of instructions against the first backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExtraInstructions {
    /// The program's own.
    pub counted: f64,
    /// The predicted ones: those of the start, and of the calls.
    pub predicted: Option<f64>,
}

/// By how many instructions a backend differs from the first one.
pub fn extra(
    counts: &InstructionCounts,
    predictions: Option<&Predictions>,
    base: &str,
    backend: &str,
) -> Option<ExtraInstructions> {
    let of = |name: &str| counts.get(name)?.as_ref().ok();
    let [before, after] = [of(base)?, of(backend)?];
    let difference = |after: u64, before: u64| after as f64 - before as f64;
    let predicted = predictions.and_then(|predictions| {
        let calls = |name: &str| predictions.of(name)?.instructions;
        let start = after.start.zip(before.start).map_or(0.0, |(own, base)| difference(own, base));
        Some(start + calls(backend)? - calls(base)?)
    });
    Some(ExtraInstructions { counted: difference(after.run, before.run), predicted })
}

/// The table, and the reason for each backend without a count.
pub fn text(
    all: &[LiveRuns],
    counts: &InstructionCounts,
    predictions: Option<&Predictions>,
) -> String {
    let Some(base) = all.first() else { return String::new() };
    let mut header = vec!["backend", "instructions", "in the start", "difference"];
    if predictions.is_some() {
        header.extend(["predicted", "off by"]);
    }
    let mut rows = table(&header);
    let mut failures = String::new();
    let base_count = counts.get(&base.candidate.name).and_then(|count| count.as_ref().ok());
    let base_count = base_count.map_or(1.0, |count| count.run.max(1) as f64);
    let share = |value: f64| format!("{} %", signed(value / base_count * 100.0));
    for runs in all {
        let name = &runs.candidate.name;
        let count = match counts.get(name) {
            Some(Ok(count)) => count,
            Some(Err(why)) => {
                failures += &format!("no instructions of {name}: {why}\n");
                continue;
            }
            None => continue,
        };
        let mut row = vec![
            runs.candidate.label.clone(),
            units::count(count.run),
            count.start.map_or_else(none, units::count),
        ];
        let extra = extra(counts, predictions, &base.candidate.name, name);
        let extra = extra.filter(|_| *name != base.candidate.name);
        row.push(extra.map_or_else(none, |extra| share(extra.counted)));
        if predictions.is_some() {
            let predicted = extra.and_then(|extra| extra.predicted.zip(Some(extra.counted)));
            row.push(predicted.map_or_else(none, |(predicted, _)| share(predicted)));
            row.push(predicted.map_or_else(none, |(predicted, own)| share(predicted - own)));
        }
        rows.add_row(row);
    }
    format!("instructions of the program, counted by valgrind\n{rows}\n\n{failures}")
}

/// The rows of the CSV: backend, the instructions of a run, of the start, and of the replayed calls.
pub fn figures(
    runs: &LiveRuns,
    counts: &InstructionCounts,
    predictions: Option<&Predictions>,
) -> Option<[Option<u64>; 3]> {
    let name = &runs.candidate.name;
    let count = counts.get(name)?.as_ref().ok()?;
    let calls = predictions.and_then(|predictions| predictions.of(name)?.instructions);
    Some([Some(count.run), count.start, calls.map(|count| count as u64)])
}
