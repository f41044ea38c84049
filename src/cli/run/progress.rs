//! The progress bar on a terminal, and a line for each failed cell everywhere.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::{Loaded, Progress};
use crate::cli::terminal::note;
use crate::results::{CellKey, Outcome, Run, Status};

/// The progress of a run.
pub struct ProgressLine {
    bar: ProgressBar,
}

impl ProgressLine {
    /// The bar of the cells that are missing, weighted by their calls.
    pub fn new(run: &Run, programs: &HashMap<String, Loaded>) -> ProgressLine {
        let weight = |cell: &CellKey| {
            programs.get(&cell.trace).map_or(0, |loaded| loaded.program.calls() as u64)
        };
        let total = run.missing().iter().map(weight).sum();
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

    fn note(&self, text: String) {
        self.bar.suspend(|| note(text));
    }
}
