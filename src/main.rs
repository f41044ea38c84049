//! Parses the command line, dispatches to a verb, prints the error chain and chooses the exit code.

use std::process::ExitCode;

use clap::Parser;
use heaplay::cli::record::RecordArgs;

/// Records every allocation of a Python program and replays it against allocators.
#[derive(Parser)]
#[command(version)]
enum Verb {
    Record(RecordArgs),
}

fn main() -> ExitCode {
    let Verb::Record(args) = Verb::parse();
    args.run().unwrap_or_else(|error| {
        eprintln!("heaplay: {error:#}");
        ExitCode::from(2)
    })
}
