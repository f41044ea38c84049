//! Verb `merge`: joins run folders.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use super::terminal::note;
use crate::results::Run;

/// Join run folders of the same traces into one; each cell keeps the machine that measured it
#[derive(clap::Args)]
pub struct MergeArgs {
    /// Run folders to join
    #[arg(required = true, num_args = 2..)]
    runs: Vec<PathBuf>,
    /// The folder to write
    #[arg(short, long, value_name = "RUN")]
    out: PathBuf,
}

impl MergeArgs {
    /// Merges.
    ///
    /// # Errors
    /// Folders that are no runs or do not belong together, or an output that exists.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.out.exists() {
            bail!("{}: exists already; give a new folder", self.out.display());
        }
        let runs =
            self.runs.iter().map(|folder| Run::load(folder)).collect::<Result<Vec<Run>, _>>()?;
        let whole = Run::merge(runs)?;
        whole.save(&self.out)?;
        note(format!(
            "{}: {} cells of {} folders",
            self.out.display(),
            whole.outcomes.len(),
            self.runs.len()
        ));
        Ok(ExitCode::SUCCESS)
    }
}
