//! The CSV of `heaplay live`: a row for each run, and for each mark of it.

use std::fs::File;
use std::path::Path;

use anyhow::Context;

use super::instructions::{self, InstructionCounts};
use super::prediction::Predictions;
use crate::cli::output_file;
use crate::live::LiveRuns;
use crate::results::Metric;
use crate::stats;

/// The columns. A row with an empty mark has the whole run: memory at its end. A row with a mark has
/// the figures until then, and no peak. The rows of the round `predicted` have the memory that is
/// predicted, its least, then its most. Their processor time is that of the replayed calls, with warm
/// caches, then with cold ones and the other code's own time. A row of the round `predicted collector` has
/// the processor time of the garbage collector's walks, where they are predicted. A row of the round
/// `start` has the processor time of a start, user and system together. The rows of the rounds
/// `instructions`, `start instructions` and `predicted instructions` have a count in the last column: of
/// a run, of its start, and of the replayed calls.
fn columns() -> [&'static str; 10] {
    [
        "backend",
        "round",
        "mark",
        "user_nanoseconds",
        "system_nanoseconds",
        Metric::WallNanoseconds.name(),
        "page_faults",
        "anonymous_peak_bytes",
        "anonymous_bytes",
        Metric::Instructions.name(),
    ]
}

/// The CSV, opened before the program runs.
pub struct Rows(csv::Writer<File>);

impl Rows {
    /// Creates the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> anyhow::Result<Rows> {
        let file = output_file::written(File::create(path), "-o", path)?;
        let mut writer = csv::Writer::from_writer(file);
        writer.write_record(columns())?;
        Ok(Rows(writer))
    }

    /// Writes the predictions, as the last rows.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn predictions(
        &mut self,
        all: &[LiveRuns],
        predictions: &Predictions,
    ) -> anyhow::Result<()> {
        for runs in all {
            let Some(predicted) = predictions.of(&runs.candidate.name) else { continue };
            let calls_ns = [&predicted.times.touch_ns, &predicted.times.cold_ns]
                .map(|times| stats::median(times).map(|ns| ns as u64));
            for (which, calls_ns) in calls_ns.into_iter().enumerate() {
                let bytes = |range: [f64; 2]| Some(range[which] as u64);
                let [peak, end] = [bytes(predicted.peak_bytes), bytes(predicted.end_bytes)];
                let figures = [calls_ns, None, None, None, peak, end, None];
                self.row(&runs.candidate.name, "predicted", "", &figures)?;
            }
            if let Some(walks_ns) = predicted.times.walks_ns {
                let mut figures = [None; 7];
                figures[0] = Some(walks_ns as u64);
                self.row(&runs.candidate.name, "predicted collector", "", &figures)?;
            }
        }
        self.0.flush().context("the CSV")
    }

    /// Writes all runs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn runs(&mut self, all: &[LiveRuns]) -> anyhow::Result<()> {
        for runs in all {
            for (round, run) in runs.runs.iter().enumerate() {
                let figures = [
                    Some(run.user_ns),
                    Some(run.system_ns),
                    Some(run.wall_ns),
                    Some(run.faults),
                    Some(run.peak_bytes),
                    Some(run.end_bytes),
                    None,
                ];
                let round = round.to_string();
                self.row(&runs.candidate.name, &round, "", &figures)?;
                for mark in &run.marks {
                    let figures = [
                        Some(mark.user_ns),
                        Some(mark.system_ns),
                        None,
                        Some(mark.faults),
                        None,
                        Some(mark.anonymous_bytes),
                        None,
                    ];
                    self.row(&runs.candidate.name, &round, &mark.name, &figures)?;
                }
            }
            for start_ns in &runs.starts_ns {
                let mut figures = [None; 7];
                figures[0] = Some(*start_ns as u64);
                self.row(&runs.candidate.name, "start", "", &figures)?;
            }
        }
        self.0.flush().context("the CSV")
    }

    /// Writes the counts of instructions.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn instructions(
        &mut self,
        all: &[LiveRuns],
        counts: &InstructionCounts,
        predictions: Option<&Predictions>,
    ) -> anyhow::Result<()> {
        let rounds = ["instructions", "start instructions", "predicted instructions"];
        for runs in all {
            let Some(found) = instructions::figures(runs, counts, predictions) else { continue };
            for (round, count) in rounds.iter().zip(found).filter(|(_, count)| count.is_some()) {
                let mut figures = [None; 7];
                figures[6] = count;
                self.row(&runs.candidate.name, round, "", &figures)?;
            }
        }
        self.0.flush().context("the CSV")
    }

    fn row(
        &mut self,
        backend: &str,
        round: &str,
        mark: &str,
        figures: &[Option<u64>; 7],
    ) -> anyhow::Result<()> {
        let mut row = vec![backend.to_owned(), round.to_owned(), mark.to_owned()];
        let text = |figure: &Option<u64>| figure.map(|figure| figure.to_string());
        row.extend(figures.iter().map(|figure| text(figure).unwrap_or_default()));
        Ok(self.0.write_record(&row)?)
    }
}
