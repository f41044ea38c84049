//! R: resident private memory of this process, less the baseline.

use crate::replay::memory::Resident;

/// Reads R.
pub(super) struct ResidentReader {
    resident: Resident,
    baseline_bytes: u64,
}

impl ResidentReader {
    /// R with a baseline of 0.
    pub(super) fn new(resident: Resident) -> ResidentReader {
        ResidentReader { resident, baseline_bytes: 0 }
    }

    /// Makes the present resident memory the baseline.
    pub(super) fn set_baseline(&mut self) {
        self.baseline_bytes = self.resident.private_bytes();
    }

    /// R in bytes, where `adopted_bytes` of the baseline count as the program's.
    pub(super) fn bytes(&self, adopted_bytes: u64) -> u64 {
        let baseline_bytes = self.baseline_bytes.saturating_sub(adopted_bytes);
        self.resident.private_bytes().saturating_sub(baseline_bytes)
    }
}
