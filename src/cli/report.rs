//! Room `cli`, verb `report`: draws a run's pictures and page again from its record alone.

use std::path::PathBuf;
use std::process::ExitCode;

use super::print;
use crate::report;
use crate::results::Run;

/// Draw the pictures and the page of a run from its record alone, and print the summary
#[derive(clap::Args)]
pub struct ReportArgs {
    /// The run folder
    run: PathBuf,
    /// Where the pictures and the page go [default: the run folder]
    #[arg(short, long)]
    out: Option<PathBuf>,
}

impl ReportArgs {
    /// Draws, and prints the table and the paths of what was drawn.
    ///
    /// # Errors
    /// A folder that is no run, or one that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let run = Run::load(&self.run)?;
        let folder = self.out.as_ref().unwrap_or(&self.run);
        let files = report::render(&run, folder)?;
        let mut text = report::terminal_summary(&run);
        for file in &files {
            text += &format!("{}\n", file.display());
        }
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
