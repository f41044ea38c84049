//! Joins run folders: shards, machines, further backends.

use std::collections::HashSet;

use super::error::RecordError;
use super::key::CellKey;
use super::manifest::{BackendEntry, Manifest, MergedRun, TraceEntry};
use super::run::Run;
use super::tables::Outcome;

impl Run {
    /// Joins runs into one: the same traces by hash, the same settings. Backends, repetitions and
    /// machines may differ; each cell keeps the machine that measured it.
    ///
    /// # Errors
    /// When two of them hold the same cell, the same name for different traces, or other passes.
    pub fn merge(runs: Vec<Run>) -> Result<Run, RecordError> {
        let mut runs = runs.into_iter();
        let Some(mut whole) = runs.next() else {
            return Err(apart("no run folder was given"));
        };
        let mut seen: HashSet<CellKey> = whole.outcomes.iter().map(Outcome::cell).collect();
        for run in runs {
            whole.manifest.join(&run.manifest)?;
            for cell in run.outcomes.iter().map(Outcome::cell) {
                if seen.contains(&cell) {
                    return Err(in_two(&cell));
                }
            }
            whole.manifest.merged.extend(parts(&run));
            seen.extend(run.outcomes.iter().map(Outcome::cell));
            whole.absorb(run);
        }
        Ok(whole)
    }
}

impl Manifest {
    /// Adds traces, backends, passes and repetitions of another run.
    fn join(&mut self, other: &Manifest) -> Result<(), RecordError> {
        for trace in &other.traces {
            self.join_trace(trace)?;
        }
        for backend in &other.backends {
            self.join_backend(backend)?;
        }
        for pass in &other.passes {
            if !self.passes.contains(pass) {
                self.passes.push(*pass);
            }
        }
        self.repetitions = self.repetitions.max(other.repetitions);
        self.further_time.extend(other.further_time.iter().cloned());
        self.time_budget = self.time_budget.or(other.time_budget);
        // Shards that are still to come are cells that are missing.
        self.shard = None;
        Ok(())
    }

    fn join_trace(&mut self, trace: &TraceEntry) -> Result<(), RecordError> {
        match self.traces.iter().find(|known| known.name == trace.name) {
            Some(known) if known.sha256 != trace.sha256 => {
                Err(apart(format!("trace `{}` is not the same file in both", trace.name)))
            }
            Some(_) => Ok(()),
            None => {
                self.traces.push(trace.clone());
                Ok(())
            }
        }
    }

    fn join_backend(&mut self, backend: &BackendEntry) -> Result<(), RecordError> {
        match self.backends.iter().find(|known| known.name == backend.name) {
            Some(known) if known.version != backend.version => Err(apart(format!(
                "backend `{}` is {} in one and {} in the other",
                backend.name, known.version, backend.version
            ))),
            Some(_) => Ok(()),
            None => {
                self.backends.push(backend.clone());
                Ok(())
            }
        }
    }
}

/// A run's own cells with their machine, then those of the runs that had been merged into it.
fn parts(run: &Run) -> Vec<MergedRun> {
    let number_of = run.manifest.runs_of_cells();
    let machines = run.manifest.merged.iter().map(|merged| &merged.machine);
    let mut parts: Vec<MergedRun> = std::iter::once(&run.manifest.machine)
        .chain(machines)
        .map(|machine| MergedRun { machine: machine.clone(), cells: vec![] })
        .collect();
    for cell in run.outcomes.iter().map(Outcome::cell) {
        parts[number_of.get(&cell).copied().unwrap_or(0)].cells.push(cell);
    }
    parts.retain(|part| !part.cells.is_empty());
    parts
}

/// The error for a cell that two runs hold.
fn in_two(cell: &CellKey) -> RecordError {
    apart(format!(
        "{} on {}, pass {}, repetition {}, is in two of them",
        cell.backend,
        cell.trace,
        cell.pass.name(),
        cell.repetition
    ))
}

/// The error for runs that cannot be joined.
fn apart(reason: impl Into<String>) -> RecordError {
    RecordError::Apart { reason: reason.into() }
}
