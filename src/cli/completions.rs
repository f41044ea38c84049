//! Verb `completions`: the completion script of a shell.

use std::process::ExitCode;

use clap::CommandFactory;

use super::exit::Exit;
use super::terminal::print;

/// Print a completion script for a shell
#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

impl CompletionsArgs {
    /// Prints the script for the command line `C`.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn run<C: CommandFactory>(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut C::command(), "heaplay", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Fine.into())
    }
}
