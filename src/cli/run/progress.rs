//! How far a run is, and a line for each failed cell.

use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{HumanDuration, ProgressBar};

use crate::bench::{Progress, Workloads};
use crate::cli::status_line::StatusLine;
use crate::results::{CellKey, Outcome, Status};

/// What runs after the planned cells.
const FURTHER: &str =
    "further repetitions, until each comparison is decided or the budget is spent";

/// The progress of a run.
pub struct ProgressLine {
    line: StatusLine,
    /// Whether the planned cells are done and further repetitions run: nobody knows how many there will
    /// be, so no share of them is shown. It would fall with each.
    has_further: AtomicBool,
}

impl ProgressLine {
    /// The bar of the cells that are missing, weighted by their calls.
    pub fn new(missing: &[CellKey], workloads: &Workloads) -> ProgressLine {
        let weight = |cell: &CellKey| {
            workloads.get(&cell.trace).map_or(0, |workload| workload.calls() as u64)
        };
        let total = missing.iter().map(weight).sum();
        let template = "{bar:30} {percent:>3} %  {elapsed} gone, {eta} left  {msg}";
        let line = StatusLine::new(ProgressBar::new(total), template);
        ProgressLine { line, has_further: AtomicBool::new(false) }
    }

    /// How far the run is.
    fn text(&self) -> String {
        let bar = &self.line.bar;
        if self.has_further.load(Ordering::Relaxed) {
            let gone = HumanDuration(bar.elapsed());
            return format!("{gone} gone; {FURTHER}");
        }
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
        self.line.bar.inc(weight);
        if outcome.status == Status::Error {
            self.line.note(format!("{cell}: {}", outcome.reason));
        }
        self.line.bar.set_message(cell);
        self.line.print_if_due(|| self.text());
    }

    fn more(&self, weight: u64) {
        self.line.bar.inc_length(weight);
        if !self.has_further.swap(true, Ordering::Relaxed) {
            self.line.set_template(&format!("{{elapsed}} gone; {FURTHER}  {{msg}}"));
        }
    }

    fn note(&self, text: String) {
        self.line.note(text);
    }
}
