//! Parses the command line and runs the verb. The program's memory and its clock stay out of what is
//! measured.

use std::process::ExitCode;

use clap::Parser;
use heaplay::cli::Cli;

heaplay::isolate_measurement!();

fn main() -> ExitCode {
    Cli::parse().main()
}
