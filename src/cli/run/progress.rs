//! The progress bar on a terminal, and a line for each failed cell everywhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::{Progress, Workloads};
use crate::cli::terminal::note;
use crate::results::{CellKey, Outcome, Status};

/// The progress of a run.
pub struct ProgressLine {
    bar: ProgressBar,
}

impl ProgressLine {
    /// The bar of the cells that are missing, weighted by their calls.
    pub fn new(missing: &[CellKey], workloads: &Workloads) -> ProgressLine {
        let weight = |cell: &CellKey| {
            workloads.get(&cell.trace).map_or(0, |workload| workload.calls() as u64)
        };
        let total = missing.iter().map(weight).sum();
        let bar = ProgressBar::new(total); // draws to standard error, and only to a terminal
        let template = "{bar:30} {percent:>3} %  {elapsed} gone, {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        ProgressLine { bar }
    }

    /// Takes the bar off the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
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
        self.bar.inc(weight);
        if outcome.status == Status::Error {
            self.bar.suspend(|| note(format!("{cell}: {}", outcome.reason)));
        }
        self.bar.set_message(cell);
    }

    fn more(&self, weight: u64) {
        self.bar.inc_length(weight);
    }

    fn note(&self, text: String) {
        self.bar.suspend(|| note(text));
    }
}
