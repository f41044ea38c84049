//! How a run ended: what is missing, what failed, the report, the exit status.

use std::path::Path;
use std::process::ExitCode;

use crate::bench::{self, FootprintOverhead};
use crate::cli::exit::Exit;
use crate::cli::report::{PrivateArgs, draw};
use crate::cli::terminal::note;
use crate::results::{Run, Status};

/// Notes what is missing and what failed, draws the report, and chooses the exit status.
///
/// # Errors
/// When the report cannot be written.
pub fn conclude(run: &Run, folder: &Path, private: PrivateArgs) -> anyhow::Result<ExitCode> {
    let (missing, failed) = (run.missing().len(), run.failed().len());
    if bench::cancelled() || missing > 0 {
        note(format!(
            "{0}: {1} of {2} cells are measured, {3} are missing; `heaplay run --resume {0}` \
             finishes it",
            folder.display(),
            run.outcomes.len() - failed,
            run.outcomes.len() + missing,
            missing + failed
        ));
        return Ok(Exit::Interrupted.into());
    }
    draw(run, folder, private)?;
    if let Some(overhead) = FootprintOverhead::of(run) {
        note(format!(
            "of the footprint passes' time {:.2} % went into sampling, at most {:.2} % of one, and \
             {:.0} % into the heap map; of the timed passes', none",
            overhead.sampling * 100.0,
            overhead.most_sampling * 100.0,
            overhead.mapping * 100.0
        ));
    }
    if failed > 0 {
        note(format!(
            "{failed} of {} cells failed; `heaplay run --resume {}` tries them again",
            run.outcomes.len(),
            folder.display()
        ));
    }
    let without_result = run.manifest.backends.iter().find(|backend| {
        run.outcomes.iter().all(|o| o.backend != backend.name || o.status == Status::Error)
    });
    if let Some(backend) = without_result {
        note(format!("backend `{}` gave no result", backend.name));
        return Ok(Exit::Failed.into());
    }
    Ok(Exit::Fine.into())
}
