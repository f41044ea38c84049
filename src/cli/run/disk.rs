//! What a run takes of the disk, reported before it measures.

use std::collections::HashSet;

use anyhow::Context;

use crate::bench::{DiskNeed, Settings, Workloads, batches, free_disk_bytes, order};
use crate::cli::terminal::note;
use crate::results::{CellKey, Outcome, RunDir};
use crate::units::plain_bytes;

/// A need below this is not worth a line, in bytes.
const WORTH_A_LINE_BYTES: u64 = 16 << 20;

/// Notes what the missing cells take of the disk at most, where that is much.
///
/// # Errors
/// When the disk has less than the cells take in any case.
pub fn note_need(dir: &RunDir, workloads: &Workloads, settings: &Settings) -> anyhow::Result<()> {
    let tried: HashSet<CellKey> = dir.outcomes()?.iter().map(Outcome::cell).collect();
    let batches = batches(&order(dir.manifest(), &tried), |trace| workloads.demand(trace));
    let need = DiskNeed::of(dir.manifest(), &batches, settings.jobs);
    if need.peak_bytes < WORTH_A_LINE_BYTES {
        return Ok(());
    }
    let free_bytes = free_disk_bytes(dir.folder());
    note(sentence(need, free_bytes));
    refuse(need, free_bytes).with_context(|| {
        let folder = dir.folder().display();
        format!(
            "{folder}: nothing was measured yet; free some space and go on with `heaplay run \
             --resume {folder}`, or choose another disk with --out"
        )
    })
}

fn sentence(need: DiskNeed, free_bytes: Option<u64>) -> String {
    let free =
        free_bytes.map_or_else(String::new, |free| format!(", of {} free", plain_bytes(free)));
    format!(
        "latency passes take up to {} of disk while the run lasts{free}: a byte for each call, \
         repetition and backend",
        plain_bytes(need.peak_bytes)
    )
}

/// An error of a full disk, where less is free than the run takes in any case.
fn refuse(need: DiskNeed, free_bytes: Option<u64>) -> std::io::Result<()> {
    match free_bytes {
        Some(free) if free < need.at_end_bytes => {
            Err(std::io::Error::from_raw_os_error(libc::ENOSPC))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_small_in_any_case_is_refused() {
        let need = DiskNeed { at_end_bytes: 3 << 30, peak_bytes: 5 << 30 };
        assert!(refuse(need, Some(3 << 30)).is_ok() && refuse(need, None).is_ok());
        let error = refuse(need, Some((3 << 30) - 1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        let text = sentence(need, Some(1 << 30));
        assert!(
            text.contains("up to 5.0 GiB of disk") && text.contains("of 1.0 GiB free"),
            "{text}"
        );
    }
}
