//! Verb `man`: writes the manual pages.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use super::exit::Exit;
use super::terminal::note;

/// Write the manual pages into a folder: heaplay.1, and one for each verb
#[derive(clap::Args)]
pub struct ManArgs {
    /// The folder, such as ~/.local/share/man/man1
    folder: PathBuf,
}

impl ManArgs {
    /// Writes the pages of the command line `C`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn run<C: CommandFactory>(self) -> anyhow::Result<ExitCode> {
        let context =
            || format!("{}: expected a folder that may be written", self.folder.display());
        fs::create_dir_all(&self.folder).with_context(context)?;
        clap_mangen::generate_to(C::command(), &self.folder).with_context(context)?;
        note(format!("{}: see `man -l {0}/heaplay.1`", self.folder.display()));
        Ok(Exit::Fine.into())
    }
}
