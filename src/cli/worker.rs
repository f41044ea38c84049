//! Verb `worker`: the child's side of a job, started by `run`, `check` and others.

use std::process::ExitCode;

use crate::bench;

/// What the child does.
#[derive(clap::Args)]
pub struct WorkerArgs {
    /// Print the resident private memory of this process, and do nothing else
    #[arg(long)]
    own_memory: bool,
}

impl WorkerArgs {
    /// Does the job that the parent sends.
    pub fn run(&self) -> ExitCode {
        if self.own_memory { bench::print_own_memory() } else { bench::serve() }
    }
}
