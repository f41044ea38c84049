//! The verbs, one file each: `command_line.rs` lists them, `exit.rs` has their exit statuses.
//! `terminal.rs`, `tables.rs`, `load.rs` and `children.rs` are what several verbs share. This module imports
//! every other module but `recorder` and `observer`.
//!
//! Each verb is a `clap::Args` with a `run` that returns the exit code. `main` prints an error with
//! its chain of causes, and the exit status is [`Exit::Failed`].

mod arenas;
mod backends;
mod calibrate;
mod check;
mod children;
mod command_line;
mod completions;
mod convert;
mod diff;
mod end_choice;
mod error_chain;
mod exit;
mod export;
mod generate;
mod given_program;
mod import;
mod inspect;
mod interrupt;
mod live;
mod load;
mod manual;
mod measure_args;
mod merge;
mod near_path;
mod numbers;
mod output_file;
mod plan;
mod preload;
mod python_file;
mod record;
mod recorded_process;
mod recording_series;
mod recording_side;
mod report;
mod run;
mod scale;
mod selftest;
mod shard;
mod shell;
mod specs;
mod status_line;
mod sweep;
mod tables;
mod terminal;
mod traces;
mod usage;
mod verify;
mod whatif;
mod worker;

pub use command_line::Cli;
pub use exit::Exit;
pub use usage::parse;
