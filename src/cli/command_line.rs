//! The command line: the list of verbs, and which one runs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::error_chain::exit_code;
use super::{
    backends, calibrate, check, completions, convert, diff, export, generate, import, inspect,
    live, manual, merge, plan, record, report, run, scale, selftest, sweep, traces, verify, whatif,
    worker,
};
use crate::replay::SharedHeap;

/// Record every allocation of a Python program, replay it against memory allocators, and see what
/// each costs.
#[derive(Parser)]
#[command(
    name = "heaplay",
    version,
    max_term_width = 100,
    after_help = concat!(
        "Exit status: 0 fine; 1 a regression was found; 2 bad input; ",
        "3 inconclusive; 4 a backend gave no result; 75 the machine cannot do it now; 130 interrupted ",
        "(the cells measured before are in the run folder)."
    )
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
    Plan(plan::PlanArgs),
    Sweep(sweep::SweepArgs),
    Scale(scale::ScaleArgs),
    Live(live::LiveArgs),
    Report(report::ReportArgs),
    Diff(diff::DiffArgs),
    Export(export::ExportArgs),
    Check(check::CheckArgs),
    Selftest(selftest::SelftestArgs),
    Calibrate(calibrate::CalibrateArgs),
    Merge(merge::MergeArgs),
    Verify(verify::VerifyArgs),
    Whatif(whatif::WhatifArgs),
    Convert(convert::ConvertArgs),
    Generate(generate::GenerateArgs),
    Traces(traces::TracesArgs),
    Backends(backends::BackendsArgs),
    Completions(completions::CompletionsArgs),
    Man(manual::ManArgs),
    /// Do one job of a run in a child process; heaplay itself starts it
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

impl Cli {
    /// Runs the verb. An error is printed with its causes, and gives the exit status
    /// [`super::Exit::Failed`].
    pub fn main(self) -> ExitCode {
        exit_code(self.run())
    }

    /// Runs the verb and returns the exit code.
    ///
    /// # Errors
    /// What the verb could not do, with the place and the next step.
    fn run(self) -> anyhow::Result<ExitCode> {
        if !matches!(self.verb, Verb::Worker(_)) {
            SharedHeap::not_measured();
        }
        match self.verb {
            Verb::Record(args) => args.run(),
            Verb::Recorder(args) => args.run(),
            Verb::Import(args) => args.run(),
            Verb::Inspect(args) => args.run(),
            Verb::Run(args) => args.run(),
            Verb::Plan(args) => args.run(),
            Verb::Sweep(args) => args.run(),
            Verb::Scale(args) => args.run(),
            Verb::Live(args) => args.run(),
            Verb::Report(args) => args.run(),
            Verb::Diff(args) => args.run(),
            Verb::Export(args) => args.run(),
            Verb::Check(args) => args.run(),
            Verb::Selftest(args) => args.run(),
            Verb::Calibrate(args) => args.run(),
            Verb::Merge(args) => args.run(),
            Verb::Verify(args) => args.run(),
            Verb::Whatif(args) => args.run(),
            Verb::Convert(args) => args.run(),
            Verb::Generate(args) => args.run(),
            Verb::Traces(args) => args.run(),
            Verb::Backends(args) => args.run(),
            Verb::Completions(args) => args.run::<Cli>(),
            Verb::Man(args) => args.run::<Cli>(),
            Verb::Worker(args) => Ok(args.run()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The option that names backends has one short and both long names in each verb that has it.
    #[test]
    fn the_option_of_backends_has_the_same_names_everywhere() {
        let mut verbs = Vec::new();
        for verb in Cli::command().get_subcommands() {
            let names = ["backend", "backends"];
            let is_own =
                |option: &&clap::Arg| option.get_long().is_some_and(|long| names.contains(&long));
            let Some(option) = verb.get_arguments().find(is_own) else { continue };
            let longs = option.get_long_and_visible_aliases().unwrap_or_default();
            let name = verb.get_name();
            assert!(names.iter().all(|name| longs.contains(name)), "{name}: {longs:?}");
            assert_eq!(option.get_short(), Some('b'), "{name}");
            verbs.push(name.to_owned());
        }
        assert!(verbs.len() >= 9 && verbs.contains(&"plan".to_owned()), "{verbs:?}");
    }
}
