//! The verbs, one file each. Verbs reach every room but `recorder`.
//!
//! Each verb is a `clap::Args` with a `run` that returns the exit code; an error is printed by
//! `main` with its chain and exits with 2.

mod arenas;
mod backends;
mod calibrate;
mod check;
mod convert;
mod generate;
mod import;
mod inspect;
mod load;
mod merge;
mod record;
mod report;
mod run;
mod selftest;
mod sweep;
mod verify;
mod whatif;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use crate::replay::SharedHeap;

/// Record every allocation of a Python program, replay it against memory allocators, and see what
/// each costs.
#[derive(Parser)]
#[command(
    name = "heaplay",
    version,
    max_term_width = 110,
    after_help = "Exit status: 0 fine; 1 a regression was found; 2 it could not be done; 3 inconclusive; 130 interrupted (what was measured is kept)."
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Record(record::RecordArgs),
    Recorder(record::RecorderArgs),
    Import(import::ImportArgs),
    Inspect(inspect::InspectArgs),
    Run(run::RunArgs),
    Sweep(sweep::SweepArgs),
    Report(report::ReportArgs),
    Check(check::CheckArgs),
    Selftest(selftest::SelftestArgs),
    Calibrate(calibrate::CalibrateArgs),
    Merge(merge::MergeArgs),
    Verify(verify::VerifyArgs),
    Whatif(whatif::WhatifArgs),
    Convert(convert::ConvertArgs),
    Generate(generate::GenerateArgs),
    Backends(backends::BackendsArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// What a child of `run` does; not for people
    #[command(hide = true)]
    Worker,
}

impl Cli {
    /// Does what was asked and returns the exit code.
    ///
    /// # Errors
    /// What could not be done, with the place and the next step.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if !matches!(self.verb, Verb::Worker) {
            SharedHeap::not_measured();
        }
        match self.verb {
            Verb::Record(args) => args.run(),
            Verb::Recorder(args) => args.run(),
            Verb::Import(args) => args.run(),
            Verb::Inspect(args) => args.run(),
            Verb::Run(args) => args.run(),
            Verb::Sweep(args) => args.run(),
            Verb::Report(args) => args.run(),
            Verb::Check(args) => args.run(),
            Verb::Selftest(args) => args.run(),
            Verb::Calibrate(args) => args.run(),
            Verb::Merge(args) => args.run(),
            Verb::Verify(args) => args.run(),
            Verb::Whatif(args) => args.run(),
            Verb::Convert(args) => args.run(),
            Verb::Generate(args) => args.run(),
            Verb::Backends(args) => args.run(),
            Verb::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "heaplay", &mut script);
                print(&String::from_utf8_lossy(&script))?;
                Ok(ExitCode::SUCCESS)
            }
            Verb::Worker => Ok(worker()),
        }
    }
}

/// The child's side of a job: its result on standard output, its reason on standard error.
fn worker() -> ExitCode {
    match crate::bench::serve() {
        Ok(text) => match print(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(2),
        },
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "{reason}");
            ExitCode::from(2)
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`heaplay check … | head`) is no
/// failure, and changes no verdict: what it does not want is dropped.
fn print(text: &str) -> anyhow::Result<()> {
    match anstream::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}

/// A note for the person, on standard error.
fn note(text: impl AsRef<str>) {
    anstream::eprintln!("heaplay: {}", text.as_ref());
}
