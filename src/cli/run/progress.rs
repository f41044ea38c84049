//! How far a run is, and a line for each failed cell.

use indicatif::{HumanDuration, ProgressBar};

use crate::bench::{Progress, Workloads};
use crate::cli::status_line::StatusLine;
use crate::results::{CellKey, Outcome, Status};

/// The progress of a run.
pub struct ProgressLine(StatusLine);

impl ProgressLine {
    /// The bar of the cells that are missing, weighted by their calls.
    pub fn new(missing: &[CellKey], workloads: &Workloads) -> ProgressLine {
        let weight = |cell: &CellKey| {
            workloads.get(&cell.trace).map_or(0, |workload| workload.calls() as u64)
        };
        let total = missing.iter().map(weight).sum();
        let template = "{bar:30} {percent:>3} %  {elapsed} gone, {eta} left  {msg}";
        ProgressLine(StatusLine::new(ProgressBar::new(total), template))
    }

    /// How far the run is.
    fn text(&self) -> String {
        let bar = &self.0.bar;
        let (done, all) = (bar.position(), bar.length().unwrap_or(0).max(1));
        let gone = HumanDuration(bar.elapsed());
        let left = bar.elapsed().mul_f64((all as f64 / done.max(1) as f64 - 1.0).max(0.0));
        format!("{} %, {gone} gone, about {} left", 100 * done / all, HumanDuration(left))
    }
}

impl Progress for ProgressLine {
    fn done(&self, outcome: &Outcome, weight: u64) {
        let cell = format!(
            "{} on {}, {} {}",
            outcome.backend,
            outcome.trace,
            outcome.pass.name(),
            outcome.repetition + 1
        );
        self.0.bar.inc(weight);
        if outcome.status == Status::Error {
            self.0.note(format!("{cell}: {}", outcome.reason));
        }
        self.0.bar.set_message(cell);
        self.0.print_if_due(|| self.text());
    }

    fn more(&self, weight: u64) {
        self.0.bar.inc_length(weight);
    }

    fn note(&self, text: String) {
        self.0.note(text);
    }
}
