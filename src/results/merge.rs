//! Joins run folders: shards, machines of one kind, further backends.

use std::collections::HashSet;

use super::error::RecordError;
use super::key::CellKey;
use super::run::Run;
use super::tables::Outcome;

impl Run {
    /// Joins runs into one: the same traces by hash, the same settings; backends and repetitions
    /// may differ.
    ///
    /// # Errors
    /// When two of them hold the same cell, the same name for different traces, or other passes.
    pub fn merge(runs: Vec<Run>) -> Result<Run, RecordError> {
        let mut runs = runs.into_iter();
        let Some(mut whole) = runs.next() else {
            return Err(RecordError::Apart { reason: "no run folder was given".into() });
        };
        let mut seen: HashSet<CellKey> = whole.outcomes.iter().map(Outcome::cell).collect();
        for run in runs {
            if run.manifest.machine != whole.manifest.machine {
                return Err(RecordError::Apart {
                    reason: "they were measured on different machines".into(),
                });
            }
            for trace in run.manifest.traces.clone() {
                match whole.manifest.traces.iter().find(|known| known.name == trace.name) {
                    Some(known) if known.sha256 != trace.sha256 => {
                        return Err(RecordError::Apart {
                            reason: format!("trace `{}` is not the same file in both", trace.name),
                        });
                    }
                    Some(_) => {}
                    None => whole.manifest.traces.push(trace),
                }
            }
            for backend in run.manifest.backends.clone() {
                match whole.manifest.backends.iter().find(|known| known.name == backend.name) {
                    Some(known) if known.version != backend.version => {
                        return Err(RecordError::Apart {
                            reason: format!(
                                "backend `{}` is {} in one and {} in the other",
                                backend.name, known.version, backend.version
                            ),
                        });
                    }
                    Some(_) => {}
                    None => whole.manifest.backends.push(backend),
                }
            }
            for pass in &run.manifest.passes {
                if !whole.manifest.passes.contains(pass) {
                    whole.manifest.passes.push(*pass);
                }
            }
            whole.manifest.repetitions = whole.manifest.repetitions.max(run.manifest.repetitions);
            if let Some(twice) =
                run.outcomes.iter().map(Outcome::cell).find(|cell| seen.contains(cell))
            {
                return Err(RecordError::Apart {
                    reason: format!(
                        "{} on {}, pass {}, repetition {}, is in two of them",
                        twice.backend,
                        twice.trace,
                        twice.pass.name(),
                        twice.repetition
                    ),
                });
            }
            seen.extend(run.outcomes.iter().map(Outcome::cell));
            whole.absorb(run);
        }
        Ok(whole)
    }
}
