//! The command line of `diff`, and what it does.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::{recordings, text};
use crate::cli::near_path::did_you_mean;
use crate::cli::numbers::whole;
use crate::cli::report::PrivateArgs;
use crate::cli::terminal::{note, print};
use crate::report::{self, ComparedKind, SideBySide};
use crate::results::Run;

/// Show what moved between two recordings, or two runs: by line, size class, domain and cause
#[derive(clap::Args)]
#[command(after_help = concat!(
    "Two recordings are compared by what the program requested. Two run folders are compared by what ",
    "each allocator held, trace by trace. `heaplay check` judges; this verb shows.\n\n",
    "A line that moved in its file is recognised by the lines around it. All figures of memory are ",
    "exact: the rows of a table add up to its total."
))]
pub struct DiffArgs {
    /// The trace or the run folder as it was
    before: PathBuf,
    /// The trace or the run folder as it is
    after: PathBuf,
    /// Write a page, a table of all rows, and a picture of each measure that moved into this folder
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Rows of each printed table
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        value_parser = whole::<usize>("a number of rows", 0..=u64::MAX, 8)
    )]
    rows: usize,
    /// Print everything as JSON instead of tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    private: PrivateArgs,
}

impl DiffArgs {
    /// Compares, prints, and writes the page.
    ///
    /// # Errors
    /// Inputs that cannot be read or have nothing in common, or files that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut sides = self.compared()?;
        if self.private.is_private() {
            sides = sides.without_private();
        }
        let printed = match self.json {
            true => serde_json::to_string_pretty(&sides)? + "\n",
            false => text::text(&sides, self.rows),
        };
        match &self.out {
            Some(folder) => {
                // The page is written first: a closed pipe does not prevent it.
                let (page, pictures) = report::render_sides(&sides, folder)?;
                pictures.draw()?;
                print(&printed)?;
                note(format!("open {}; it has {} pictures", page.display(), pictures.count()));
            }
            None => {
                print(&printed)?;
                if !self.json {
                    note("-o DIR writes a page with all rows, and pictures of what moved");
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn compared(&self) -> anyhow::Result<SideBySide> {
        let (before, after) = (self.before.as_path(), self.after.as_path());
        if let Some(missing) = [before, after].into_iter().find(|path| !path.exists()) {
            bail!(
                "{}: there is no such file or folder; expected a recording, or the folder of a run{}",
                missing.display(),
                did_you_mean(missing)
            );
        }
        let [old, new] = [before, after].map(|path| path.display().to_string());
        match (before.is_dir(), after.is_dir()) {
            (true, true) => {
                let runs = [before, after].map(load_run);
                let [first, second] = runs;
                Ok(report::compare_runs([&old, &new], &first?, &second?)?)
            }
            (false, false) => recordings::compare([before, after]),
            (is_folder, _) => {
                let (folder, file) = if is_folder { (old, new) } else { (new, old) };
                bail!(
                    "{folder} is a folder and {file} is a file, and `diff` compares two of a kind; \
                     give two traces, or make a run folder with `heaplay run {file}` and give two \
                     run folders"
                )
            }
        }
    }
}

fn load_run(folder: &Path) -> anyhow::Result<Run> {
    Run::load(folder)
        .with_context(|| format!("{}: two folders are compared as run folders", folder.display()))
}

/// The word for one side in messages.
pub(super) fn kind_name(kind: ComparedKind) -> &'static str {
    match kind {
        ComparedKind::Recordings => "recordings",
        ComparedKind::Runs => "runs",
    }
}
