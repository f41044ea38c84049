//! Commits a cell: what a child left is validated, marked as whole and given its name.

use std::fs;
use std::path::Path;

use super::error::{BenchError, io_error};
use super::validate::validate;
use super::worker::Ended;
use super::workload::Loaded;
use crate::results::{CellKey, Outcome, Run, Status};

/// Holds what a child left against the program, marks the cell's folder as whole and gives it its
/// name.
pub(super) fn commit(
    cell: &CellKey,
    loaded: &Loaded,
    part: &Path,
    seconds: f64,
    ended: Ended,
) -> Result<Outcome, BenchError> {
    let reason = match ended.well() {
        Err(reason) => reason,
        Ok(_) => validate(cell, loaded, part)?.unwrap_or_default(),
    };
    let status = if reason.is_empty() { Status::Ok } else { Status::Error };
    if status == Status::Error {
        // What a broken child left is not to be believed.
        let _ = fs::remove_dir_all(part);
        fs::create_dir_all(part).map_err(io_error(part.display().to_string()))?;
    }
    let outcome = Outcome {
        trace: cell.trace.clone(),
        backend: cell.backend.clone(),
        pass: cell.pass,
        repetition: cell.repetition,
        status,
        seconds,
        reason,
    };
    let mut tables = Run::new(Default::default());
    tables.outcomes.push(outcome.clone());
    tables.save_outcomes(part)?;
    let folder = part.with_extension("");
    fs::rename(part, &folder).map_err(io_error(folder.display().to_string()))?;
    Ok(outcome)
}
