//! The progress bar on a terminal, a line in half a minute elsewhere, and a line for each failed cell
//! everywhere.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::bench::{Progress, Workloads};
use crate::cli::terminal::note;
use crate::results::{CellKey, Outcome, Status};

/// Time between two lines where standard error is no terminal.
pub(in crate::cli) const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// The progress of a run.
pub struct ProgressLine {
    bar: ProgressBar,
    last_line: Mutex<Instant>,
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
        ProgressLine { bar, last_line: Mutex::new(Instant::now()) }
    }

    /// Takes the bar off the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints how far the run is, where no bar shows it and the last line is old.
    fn line(&self) {
        if !self.bar.is_hidden() {
            return;
        }
        let mut last_line = self.last_line.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if last_line.elapsed() < BETWEEN_LINES {
            return;
        }
        *last_line = Instant::now();
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0).max(1));
        let gone = HumanDuration(self.bar.elapsed());
        let left = self.bar.elapsed().mul_f64((all as f64 / done.max(1) as f64 - 1.0).max(0.0));
        note(format!("{} %, {gone} gone, about {} left", 100 * done / all, HumanDuration(left)));
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
        self.line();
    }

    fn more(&self, weight: u64) {
        self.bar.inc_length(weight);
    }

    fn note(&self, text: String) {
        self.bar.suspend(|| note(text));
    }
}
