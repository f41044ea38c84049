//! Verb `worker`: the child's side of a job, started by `run`, `check` and others.

use std::process::ExitCode;

use crate::bench;

/// Does the job that the parent sends.
pub fn serve() -> ExitCode {
    bench::serve()
}
