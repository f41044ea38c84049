//! The exit statuses of all verbs. `docs/reference/exit-codes.md` is generated from them.

use std::process::ExitCode;

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The verb did its job, and no judgement is against the candidate.
    Fine,
    /// A judgement is against the candidate.
    Worse,
    /// The verb could not do its job.
    Failed,
    /// The measurements allow no verdict.
    Inconclusive,
    /// A backend gave no result.
    NoResult,
    /// The machine could not do it now, and may later.
    Retry,
    /// A signal ended the run early.
    Interrupted,
}

impl Exit {
    /// Every status, by number.
    pub const ALL: [Exit; 7] = [
        Exit::Fine,
        Exit::Worse,
        Exit::Failed,
        Exit::Inconclusive,
        Exit::NoResult,
        Exit::Retry,
        Exit::Interrupted,
    ];

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Fine => 0,
            Exit::Worse => 1,
            Exit::Failed => 2,
            Exit::Inconclusive => 3,
            Exit::NoResult => 4,
            Exit::Retry => 75,
            Exit::Interrupted => 130,
        }
    }

    /// What it means, for which verbs.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Fine => {
                "The verb did its job. `check` found nothing worse; `verify` proved every backend. \
                 A reader that closes the pipe early is fine, too."
            }
            Exit::Worse => {
                "`check` found a regression. `verify` found a broken rule, or two backends that \
                 differ."
            }
            Exit::Failed => {
                "Bad input: a faulty option, file or trace. The same command fails again. `check` \
                 ends so when a measure is missing, or when every measure was skipped."
            }
            Exit::Inconclusive => {
                "`check` measured, and the measurements allow no verdict. `--inconclusive` makes it \
                 a pass or a failure."
            }
            Exit::NoResult => {
                "A backend gave no result: it is not on this machine, crashed, broke a rule, or exceeded \
                 a limit. The results of the others are there. `run`, `sweep`, `scale`, \
                 `verify`, `whatif` and `live` end so. `live` also ends so where a run of the \
                 program failed: its figures are those of a program that fails."
            }
            Exit::Retry => {
                "The machine could not do it now: the disk is full, or memory, processes or files \
                 ran out. The same command, or `heaplay run --resume`, may do it later or elsewhere."
            }
            Exit::Interrupted => {
                "Ctrl-C or SIGTERM ended the run early. The cells measured before are in the run \
                 folder; `heaplay run --resume` finishes it."
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
