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
    if let Some(shard) = run.manifest.shard {
        note(format!(
            "{}: shard {shard}, {} cells, {failed} of them failed; `heaplay merge` joins the shards",
            folder.display(),
            run.outcomes.len()
        ));
        return Ok(if without_result(run).is_some() { Exit::NoResult } else { Exit::Fine }.into());
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
    if let Some(backend) = without_result(run) {
        note(format!("backend `{backend}` gave no result"));
        return Ok(Exit::NoResult.into());
    }
    Ok(Exit::Fine.into())
}

/// A backend all of whose cells failed. A shard may have no cell of a backend.
fn without_result(run: &Run) -> Option<&str> {
    let is_shard = run.manifest.shard.is_some();
    let names = run.manifest.backends.iter().map(|backend| backend.name.as_str());
    names.into_iter().find(|name| {
        let mut of_backend = run.outcomes.iter().filter(|o| o.backend == *name).peekable();
        let has_cells = of_backend.peek().is_some();
        (has_cells || !is_shard) && of_backend.all(|outcome| outcome.status == Status::Error)
    })
}
