//! Room `cli`, verb `verify`: proves a backend on a trace.

use std::path::PathBuf;
use std::process::ExitCode;

use super::load::{ChildArgs, backend_words, find_traces, load_traces};
use super::{note, print};
use crate::bench;

/// Prove that a backend's blocks are aligned, never overlap, keep their contents and are zero after calloc
#[derive(clap::Args)]
pub struct VerifyArgs {
    /// Traces, or folders of traces
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// Backends to prove, separated by commas
    #[arg(short, long = "backends", visible_alias = "backend", default_value = "malloc,pymalloc,bump")]
    backends: Vec<String>,
    #[command(flatten)]
    children: ChildArgs,
}

impl VerifyArgs {
    /// Verifies each backend on each trace, each in a child of its own.
    ///
    /// # Errors
    /// A trace or a backend that cannot be had. A rule that is broken is a line and the exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let backends = backend_words(&self.backends)?;
        let (entries, programs) = load_traces(&find_traces(&self.traces)?)?;
        let settings = self.children.settings();
        let mut broken = 0;
        for entry in &entries {
            for backend in &backends {
                match bench::verify(backend, &programs[&entry.name], &settings) {
                    Ok(calls) => {
                        print(&format!("ok     {}  {backend}: {calls} calls checked\n", entry.name))?
                    }
                    Err(reason) => {
                        broken += 1;
                        print(&format!("BROKEN {}  {backend}: {reason}\n", entry.name))?;
                    }
                }
            }
        }
        if broken > 0 {
            note(format!("{broken} of {} were not proved", entries.len() * backends.len()));
            return Ok(ExitCode::from(1));
        }
        Ok(ExitCode::SUCCESS)
    }
}
