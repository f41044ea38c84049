//! A program that is recorded several times: a series of traces, as `check` compares them.
//!
//! A run that fails is a recording like the others, if it has a trace: a failure may be what the
//! program always does. The series ends early where a trace cannot be made, or at a signal.

use std::process::ExitCode;

use anyhow::{Context, bail};

use super::program::ProgramFile;
use super::{RecordArgs, RecordedRun, check_output, child};
use crate::cli::exit::Exit;
use crate::cli::recording_series::numbered;

impl RecordArgs {
    /// Records the program `count` times. The exit code is that of the first run that failed.
    ///
    /// # Errors
    /// When a recording cannot be made.
    pub(super) fn record_series(
        &self,
        program: &ProgramFile,
        count: u32,
    ) -> anyhow::Result<ExitCode> {
        self.check_series(count)?;
        let mut first_failure = None;
        let mut failures = Vec::new();
        for number in 1..=count {
            let output = numbered(&self.output, number);
            let of_series = || format!("recording {number} of {count}");
            let RecordedRun { exit, fault } =
                self.record_once(program, &output).with_context(of_series)?;
            if child::is_stopped() && number < count {
                print_note!(
                    "heaplay: a signal ended the series after {number} of {count} recordings; \
                     record it again as a whole"
                );
                return Ok(Exit::Interrupted.into());
            }
            if !exit.is_success() {
                let how = exit.signal_or_status().unwrap_or_default();
                failures.push(format!("run {number}: {how}"));
            }
            if let Some(fault) = fault {
                return Err(fault.context(of_series()));
            }
            if !exit.is_success() && first_failure.is_none() {
                first_failure = Some(exit.exit_code());
            }
        }
        let series = self.output.display();
        print_note!("heaplay: {count} recordings; `heaplay check {series} …` takes them all");
        if !failures.is_empty() {
            let failed = failures.len();
            print_note!(
                "heaplay: warning: {failed} of {count} runs failed ({}); their recordings count \
                 like the others",
                failures.join(", ")
            );
        }
        Ok(first_failure.unwrap_or(Exit::Fine.into()))
    }

    /// Checks that all outputs can be written, and that no other file would count as one of them.
    fn check_series(&self, count: u32) -> anyhow::Result<()> {
        let series = self.output.display();
        if self.output.is_file() {
            bail!(
                "{series}: is a trace already, so `check {series}` would take it in place of the \
                 series; move it away, or name the series otherwise"
            );
        }
        let next = numbered(&self.output, count + 1);
        if next.exists() {
            bail!(
                "{}: is left of a longer series, and would count as a recording of this one; remove \
                 it, or name the series otherwise",
                next.display()
            );
        }
        (1..=count).try_for_each(|number| check_output(&numbered(&self.output, number)))
    }
}
