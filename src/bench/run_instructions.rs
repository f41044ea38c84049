//! The instructions of each trace on each backend of a run.

use std::collections::HashMap;

use rayon::prelude::*;

use super::instructions::{instructions, valgrind};
use super::pairs::Side;
use super::settings::Settings;
use super::worker::Limits;
use super::workload::Loaded;
use crate::results::{CellKey, Measurement, Metric, Pass, Run, Scope, Status};

/// A trace on a backend.
struct Countable<'a> {
    trace: &'a str,
    backend: &'a str,
    loaded: &'a Loaded,
}

/// Adds the instructions where the run does not have them. `report` gets the reason for each that
/// cannot be counted.
pub fn add_instructions(
    run: &mut Run,
    programs: &HashMap<String, Loaded>,
    settings: &Settings,
    report: &(dyn Fn(String) + Sync),
) {
    if valgrind().is_none() {
        report(
            "instructions: skipped, valgrind is not on the PATH \
             (Debian: apt-get install valgrind)"
                .to_owned(),
        );
        return;
    }
    let to_count = countable(run, programs);
    let count = |one: Countable<'_>| match one.count(settings) {
        Ok(row) => Some(row),
        Err(reason) => {
            report(format!("instructions: {} on {} skipped: {reason}", one.backend, one.trace));
            None
        }
    };
    // As many at once as the run has children.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(settings.jobs.max(1)).build();
    let rows: Vec<Measurement> = match pool {
        Ok(pool) => pool.install(|| to_count.into_par_iter().filter_map(count).collect()),
        Err(_) => to_count.into_iter().filter_map(count).collect(),
    };
    run.measurements.extend(rows);
}

/// What has no instructions yet, where at least one cell worked.
fn countable<'a>(run: &'a Run, programs: &'a HashMap<String, Loaded>) -> Vec<Countable<'a>> {
    let mut found = Vec::new();
    for trace in &run.manifest.traces {
        let Some(loaded) = programs.get(&trace.name) else { continue };
        for backend in &run.manifest.backends {
            let has_worked = run.outcomes.iter().any(|outcome| {
                (&outcome.trace, &outcome.backend) == (&trace.name, &backend.name)
                    && outcome.status == Status::Ok
            });
            let (trace, backend) = (trace.name.as_str(), backend.name.as_str());
            let known = run.values(trace, backend, Scope::All, Metric::Instructions);
            if has_worked && known.is_empty() {
                found.push(Countable { trace, backend, loaded });
            }
        }
    }
    found
}

impl Countable<'_> {
    fn count(&self, settings: &Settings) -> Result<Measurement, String> {
        let program = &self.loaded.program;
        if !program.is_whole() {
            return Err("the trace is replayed in parts".to_owned());
        }
        let limits = Limits {
            time: settings.time_limit(program.calls()) * 20,
            memory_bytes: settings.memory_bytes,
        };
        let counts = instructions(&Side::of(self.backend), self.loaded, limits, 1)?;
        let (trace, backend) = (self.trace.to_owned(), self.backend.to_owned());
        let cell = CellKey { trace, backend, pass: Pass::Time, repetition: 0 };
        Ok(cell.measurement(Scope::All, Metric::Instructions, counts[0] as f64))
    }
}
