//! `check --init`: writes a CI file that works as it is.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::terminal::note;

/// Whose CI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Ci {
    /// GitHub Actions
    Github,
    /// GitLab CI
    Gitlab,
}

/// Writes the file where that CI looks for it. A file that is there is not replaced.
///
/// # Errors
/// A file that is there, or cannot be written.
pub fn write(ci: Ci) -> anyhow::Result<ExitCode> {
    let (path, text, next) = match ci {
        Ci::Github => (
            ".github/workflows/heaplay.yml",
            include_str!("init/github.yml"),
            "commit it together with a recording of your program in traces/",
        ),
        Ci::Gitlab => (
            ".gitlab/heaplay.yml",
            include_str!("init/gitlab.yml"),
            "include it (`include: { local: .gitlab/heaplay.yml }`) and commit a recording of your \
             program in traces/",
        ),
    };
    let path = Path::new(path);
    if path.exists() {
        bail!("{}: there is one already; move it away, or edit it", path.display());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())?;
    note(format!("wrote {}; {next}", path.display()));
    Ok(ExitCode::SUCCESS)
}
