//! The disk that a run takes while it lasts: a latency cell has a byte for each call until the run is
//! complete. All else is tables.

use std::path::Path;

use super::plan::Batch;
use crate::results::{Manifest, Pass};

/// The disk that the latency cells of some batches take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskNeed {
    /// When all of them are there: their bytes, and those of the medians of one trace and backend.
    pub at_end_bytes: u64,
    /// At most: with both halves of each cell that is being measured, and their joined file.
    pub peak_bytes: u64,
}

impl DiskNeed {
    /// What the batches of a run take, so many at once.
    pub fn of(manifest: &Manifest, batches: &[Batch], jobs: usize) -> DiskNeed {
        let calls = |name: &str| {
            let trace = manifest.traces.iter().find(|trace| trace.name == name);
            trace.map_or(0, |trace| trace.calls)
        };
        let latency = batches.iter().filter(|batch| batch[0].pass == Pass::Latency);
        let of_batch = |batch: &Batch| (calls(&batch[0].trace), batch.len() as u64);
        DiskNeed::of_batches(&latency.map(of_batch).collect::<Vec<_>>(), jobs as u64)
    }

    /// Of batches with so many calls and cells each.
    fn of_batches(batches: &[(u64, u64)], jobs: u64) -> DiskNeed {
        let stored: u64 = batches.iter().map(|(calls, cells)| calls * cells).sum();
        let medians = batches.iter().map(|(calls, _)| *calls).max().unwrap_or(0);
        // Each cell of a batch has a second half meanwhile, and one of them its joined file.
        let mut meanwhile: Vec<u64> =
            batches.iter().map(|(calls, cells)| calls * (cells + 1)).collect();
        meanwhile.sort_unstable_by(|a, b| b.cmp(a));
        let meanwhile: u64 = meanwhile.iter().take(jobs.max(1) as usize).sum();
        DiskNeed { at_end_bytes: stored + medians, peak_bytes: stored + meanwhile.max(medians) }
    }
}

/// Bytes that are free on the disk of a folder; `None` where the system does not say.
pub fn free_disk_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_cell_takes_a_byte_a_call_and_two_while_it_is_measured() {
        let need = |batches: &[(u64, u64)], jobs| {
            let DiskNeed { at_end_bytes, peak_bytes } = DiskNeed::of_batches(batches, jobs);
            (at_end_bytes, peak_bytes)
        };
        assert_eq!(need(&[], 2), (0, 0));
        // Three backends together: three bytes a call stay, three second halves and a joined file come.
        assert_eq!(need(&[(1000, 3)], 1), (4000, 7000));
        // Two cells one after the other. Of two at once each has a second half and a joined file.
        assert_eq!(need(&[(1000, 1), (1000, 1)], 1), (3000, 4000));
        assert_eq!(need(&[(1000, 1), (1000, 1)], 2), (3000, 6000));
        // The largest batches count, with each of two jobs.
        assert_eq!(need(&[(10, 2), (100, 2), (50, 2)], 2), (420, 320 + 300 + 150));
    }
}
