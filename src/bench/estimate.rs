//! How long the cells of a run will take, for who hands them out to machines: as an earlier run
//! measured, else by rough rates.

use std::collections::HashMap;

use super::plan::Batch;
use crate::results::{CellKey, Manifest, Pass, Run};
use crate::stats::median;

/// Rough wall nanoseconds of a cell for each call of its trace, where no earlier run says more. They
/// are medians of six recordings of 30,000 to 2,200,000 calls on malloc, pymalloc and jemalloc, on a
/// busy virtual machine of 2 processors in 2026. Only their proportions matter to a scheduler.
const ROUGH_NS_A_CALL: [(Pass, f64); 7] = [
    (Pass::Footprint, 730.0),
    (Pass::Time, 100.0),
    (Pass::Touch, 90.0),
    (Pass::Cold, 210.0),
    (Pass::Traversal, 230.0),
    (Pass::Latency, 450.0),
    (Pass::Free, 730.0),
];

/// What the estimate of a cell comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EstimateBasis {
    /// The same trace, backend and pass in an earlier run.
    SameCell,
    /// Other traces on the same backend and pass in an earlier run, by calls.
    SameBackend,
    /// Rough rates of the pass, by calls.
    Rough,
}

/// Estimated wall seconds of a cell. Cells of one batch run interleaved, so each has its part only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostEstimate {
    /// Wall seconds.
    pub seconds: f64,
    /// What they come from.
    pub basis: EstimateBasis,
}

/// What an earlier run knows about the cost of cells.
#[derive(Debug, Default)]
pub struct KnownCosts {
    /// Seconds by trace, backend and pass.
    cells: HashMap<(String, String, Pass), f64>,
    /// Seconds a call by backend and pass.
    rates: HashMap<(String, Pass), f64>,
}

impl KnownCosts {
    /// The costs of a run's cells that went well.
    pub fn of(run: &Run) -> KnownCosts {
        let calls = |trace: &str| run.manifest.traces.iter().find(|entry| entry.name == trace);
        let ok: Vec<CellKey> =
            run.outcomes.iter().filter(|outcome| outcome.is_ok()).map(|o| o.cell()).collect();
        let mut batches: HashMap<(&str, Pass, u32), f64> = HashMap::new();
        for cell in ok.iter().filter(|cell| cell.pass.is_timed()) {
            *batches.entry((&cell.trace, cell.pass, cell.repetition)).or_default() += 1.0;
        }
        let mut cells: HashMap<(String, String, Pass), Vec<f64>> = HashMap::new();
        let mut rates: HashMap<(String, Pass), Vec<f64>> = HashMap::new();
        for outcome in run.outcomes.iter().filter(|outcome| outcome.is_ok()) {
            let cell = outcome.cell();
            // The child of an interleaved cell waits for the others.
            let batch = batches.get(&(cell.trace.as_str(), cell.pass, cell.repetition));
            let seconds = outcome.seconds / batch.unwrap_or(&1.0);
            if let Some(trace) = calls(&cell.trace).filter(|trace| trace.calls > 0) {
                let rate = seconds / trace.calls as f64;
                rates.entry((cell.backend.clone(), cell.pass)).or_default().push(rate);
            }
            cells.entry((cell.trace, cell.backend, cell.pass)).or_default().push(seconds);
        }
        let middle = |values: Vec<f64>| median(&values).unwrap_or(0.0);
        KnownCosts {
            cells: cells.into_iter().map(|(key, values)| (key, middle(values))).collect(),
            rates: rates.into_iter().map(|(key, values)| (key, middle(values))).collect(),
        }
    }

    /// The estimate for a cell of a trace of so many calls.
    pub fn estimate(&self, cell: &CellKey, calls: u64) -> CostEstimate {
        let same = self.cells.get(&(cell.trace.clone(), cell.backend.clone(), cell.pass));
        let rate = self.rates.get(&(cell.backend.clone(), cell.pass));
        let rough = ROUGH_NS_A_CALL.iter().find(|(pass, _)| *pass == cell.pass);
        let calls = calls as f64;
        match (same, rate) {
            (Some(seconds), _) => {
                CostEstimate { seconds: *seconds, basis: EstimateBasis::SameCell }
            }
            (None, Some(rate)) => {
                CostEstimate { seconds: rate * calls, basis: EstimateBasis::SameBackend }
            }
            (None, None) => CostEstimate {
                seconds: rough.map_or(0.0, |(_, ns)| ns * calls / 1e9),
                basis: EstimateBasis::Rough,
            },
        }
    }
}

/// A cell of a plan, with the number of the batch that it is measured in and its cost.
#[derive(Clone, Debug)]
pub struct PlannedCell {
    /// Which cell.
    pub cell: CellKey,
    /// Cells of one batch are measured together, on one machine. From 0.
    pub batch: usize,
    /// Its cost.
    pub cost: CostEstimate,
}

/// The cells of batches, with their costs, in their order.
pub fn planned_cells(
    manifest: &Manifest,
    batches: &[Batch],
    costs: &KnownCosts,
) -> Vec<PlannedCell> {
    let calls: HashMap<&str, u64> =
        manifest.traces.iter().map(|trace| (trace.name.as_str(), trace.calls)).collect();
    let cells = batches
        .iter()
        .enumerate()
        .flat_map(|(batch, cells)| cells.iter().map(move |cell| (batch, cell)));
    cells
        .map(|(batch, cell)| {
            let calls = calls.get(cell.trace.as_str()).copied().unwrap_or(0);
            PlannedCell { cell: cell.clone(), batch, cost: costs.estimate(cell, calls) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Outcome, TraceEntry};

    fn cell(trace: &str, backend: &str, pass: Pass, repetition: u32) -> CellKey {
        CellKey { trace: trace.to_owned(), backend: backend.to_owned(), pass, repetition }
    }

    #[test]
    fn an_earlier_run_says_what_cells_cost() {
        let trace = |name: &str, calls| TraceEntry {
            name: name.to_owned(),
            calls,
            ..TraceEntry::default()
        };
        let mut run = Run::new(Manifest {
            traces: vec![trace("a", 1000), trace("b", 2000)],
            ..Manifest::default()
        });
        for (backend, repetition, seconds) in
            [("malloc", 0, 2.0), ("bump", 0, 2.0), ("malloc", 1, 4.0), ("bump", 1, 4.0)]
        {
            let key = cell("a", backend, Pass::Time, repetition);
            run.outcomes.push(Outcome::of(&key, seconds, Ok(())));
        }
        let failed = cell("a", "tlsf", Pass::Time, 0);
        run.outcomes.push(Outcome::of(&failed, 9.0, Err("broken".into())));
        let costs = KnownCosts::of(&run);
        let of = |key: &CellKey, calls| {
            let CostEstimate { seconds, basis } = costs.estimate(key, calls);
            (seconds, basis)
        };
        // The mean of 2 s / 2 and 4 s / 2.
        let same = of(&cell("a", "malloc", Pass::Time, 7), 1000);
        assert_eq!(same, (1.5, EstimateBasis::SameCell));
        let other = of(&cell("b", "malloc", Pass::Time, 0), 2000);
        assert_eq!(other, (3.0, EstimateBasis::SameBackend));
        assert_eq!(of(&cell("b", "tlsf", Pass::Time, 0), 2000).1, EstimateBasis::Rough);
    }
}
