//! Verb `worker`: the child's side of a job, started by `run`, `check` and others.

use std::io::Write;
use std::process::ExitCode;

use super::exit::Exit;
use super::terminal::print;
use crate::bench;

/// Does the job on standard input. The result goes to standard output, the reason of a failure to
/// standard error.
pub fn serve() -> ExitCode {
    let exit = match bench::serve().map(|text| print(&text)) {
        Ok(Ok(())) => Exit::Fine,
        Ok(Err(_)) => Exit::Failed,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "{reason}");
            Exit::Failed
        }
    };
    exit.into()
}
