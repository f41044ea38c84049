//! Parses the command line, dispatches to a verb, prints the error chain and chooses the exit code.

use std::process::ExitCode;

use clap::Parser;
use heaplay::cli::{Cli, Exit};
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
            Exit::Failed.into()
        }
    }
}

/// The error and its causes, outermost first. Where an error quotes its cause in its own sentence,
/// the cause is not repeated.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        text if text.contains(&cause) => text.to_owned(),
        text => format!("{text}: {cause}"),
    })
}

/// Whether the reader of the output closed the pipe early (`heaplay inspect … | head`): no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
