//! The instructions of each trace on each backend of a run.

use rayon::prelude::*;

use super::instructions::{instructions, valgrind};
use super::settings::Settings;
use super::side::Side;
use super::worker::ChildLimits;
use super::workload::{Workload, Workloads};
use crate::results::{CellKey, Measurement, Metric, Pass, Run, Scope};

/// A trace on a backend.
struct Countable<'a> {
    workload: &'a Workload,
    backend: &'a str,
}

/// Adds the instructions where the run does not have them. `report` gets the reason for each that
/// cannot be counted.
pub fn add_instructions(
    run: &mut Run,
    workloads: &Workloads,
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
    let to_count = countable(run, workloads);
    let count = |one: Countable<'_>| match one.count(settings) {
        Ok(row) => Some(row),
        Err(reason) => {
            let (backend, trace) = (one.backend, one.workload.name());
            report(format!("instructions: {backend} on {trace} skipped: {reason}"));
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
fn countable<'a>(run: &'a Run, workloads: &'a Workloads) -> Vec<Countable<'a>> {
    let mut found = Vec::new();
    for workload in workloads {
        let trace = workload.name();
        for backend in &run.manifest.backends {
            let has_worked = run.outcomes.iter().any(|outcome| {
                (outcome.trace.as_str(), &outcome.backend) == (trace, &backend.name)
                    && outcome.is_ok()
            });
            let backend = backend.name.as_str();
            let known = run.values(trace, backend, Scope::All, Metric::Instructions);
            if has_worked && known.is_empty() {
                found.push(Countable { workload, backend });
            }
        }
    }
    found
}

impl Countable<'_> {
    fn count(&self, settings: &Settings) -> Result<Measurement, String> {
        let program = &self.workload.program;
        if !program.is_whole() {
            return Err("the trace is replayed in parts".to_owned());
        }
        let limits = ChildLimits {
            time: settings.time_limit(program.calls()) * 20,
            memory_bytes: settings.memory_bytes,
        };
        let counts = instructions(&Side::of(self.backend), self.workload, limits, 1);
        let counts = counts.map_err(|error| error.to_string())?;
        let (trace, backend) = (self.workload.name().to_owned(), self.backend.to_owned());
        let cell = CellKey { trace, backend, pass: Pass::Time, repetition: 0 };
        Ok(cell.measurement(Scope::All, Metric::Instructions, counts[0] as f64))
    }
}
