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
    #[command(flatten)]
    private: PrivateArgs,
}

/// What a report leaves out.
#[derive(clap::Args, Clone, Copy, Default)]
pub struct PrivateArgs {
    /// Leave source lines, command lines, paths of traces and names of threads out of the report. The
    /// tables of the run folder have them all the same: pass on the page and the pictures only
    #[arg(long = "private")]
    is_private: bool,
}

impl PrivateArgs {
    /// Whether names are left out.
    pub fn is_private(self) -> bool {
        self.is_private
    }
}

impl ReportArgs {
    /// Draws.
    ///
    /// # Errors
    /// A folder that is no run, or pictures that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let run = Run::load(&self.run)?;
        draw(&run, self.out.as_deref().unwrap_or(&self.run), self.private)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What follows the path of the page; empty where no picture is to be drawn.
fn pictures_to_follow(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "; its picture follows".to_owned(),
        _ => format!("; its {count} pictures follow"),
    }
}

/// Draws `run` into `folder` without what is private, prints the summary and the path of the page.
///
/// # Errors
/// When a picture or standard output cannot be written.
pub fn draw(run: &Run, folder: &Path, private: PrivateArgs) -> anyhow::Result<()> {
    let shortened = private.is_private.then(|| report::without_private(run.clone()));
    let run = shortened.as_ref().unwrap_or(run);
    const NOT_WRITTEN: &str = "the report could not be written; the record is whole";
    let (page, pictures) = report::render_page(run, folder).context(NOT_WRITTEN)?;
    let printed = print(&report::summary(run));
    note(format!("open {}{}", page.display(), pictures_to_follow(pictures.count())));
    pictures.draw().context(NOT_WRITTEN)?;
    printed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_to_follow_are_counted() {
        let texts = [0, 1, 2].map(pictures_to_follow);
        assert_eq!(texts, ["", "; its picture follows", "; its 2 pictures follow"]);
    }
}
