//! Parses the command line, dispatches to a verb, prints the error chain and chooses the exit code.

use std::process::ExitCode;

use clap::Parser;
use heaplay::cli::Cli;
use heaplay::replay::SharedHeap;

/// The harness's memory is neither libc's heap nor private: both belong to the backend alone.
#[global_allocator]
static HEAP: SharedHeap = SharedHeap::new();

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("heaplay: {}", chain(&error));
            ExitCode::from(2)
        }
    }
}

/// The error and its causes, outermost first. Many of ours quote their cause in their own sentence:
/// it is said once.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        said if said.contains(&cause) => said.to_owned(),
        said => format!("{said}: {cause}"),
    })
}

/// Whoever reads our output has seen enough (`heaplay inspect … | head`): that is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
