//! Verb `report`: draws a run again on any machine, from its record only.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::terminal::{note, print};
use crate::report;
use crate::results::Run;

/// Draw the pictures and the page of a run folder again, and print its summary
#[derive(clap::Args)]
pub struct ReportArgs {
    /// The run folder
    run: PathBuf,
    /// Where the pictures go [default: into the run folder]
    #[arg(short, long)]
    out: Option<PathBuf>,
}

impl ReportArgs {
    /// Draws.
    ///
    /// # Errors
    /// A folder that is no run, or pictures that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let run = Run::load(&self.run)?;
        draw(&run, self.out.as_deref().unwrap_or(&self.run))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Draws `run` into `folder`, prints the summary and the path of the page.
///
/// # Errors
/// When a picture or standard output cannot be written.
pub fn draw(run: &Run, folder: &Path) -> anyhow::Result<()> {
    let files = report::render(run, folder)
        .context("the report could not be written; the record is whole")?;
    print(&report::summary(run))?;
    note(format!(
        "{} pictures; open {}",
        files.len().saturating_sub(1),
        folder.join("index.html").display()
    ));
    Ok(())
}
