//! R: resident private memory of this process, less the baseline.

use crate::replay::memory::Resident;

/// Reads R.
pub(super) struct ResidentReader {
    resident: Resident,
    baseline_bytes: u64,
    /// Whether the baseline is from before the backend was opened, so that it has none of its pages.
    is_before: bool,
}

impl ResidentReader {
    /// R with a baseline of 0.
    pub(super) fn new(resident: Resident) -> ResidentReader {
        ResidentReader { resident, baseline_bytes: 0, is_before: false }
    }

    /// Makes the present resident memory the baseline, or that from before the backend was opened.
    pub(super) fn set_baseline(&mut self, before_bytes: Option<u64>) {
        self.is_before = before_bytes.is_some();
        self.baseline_bytes = before_bytes.unwrap_or_else(|| self.resident.private_bytes());
    }

    /// Bytes of the baseline that count as the program's, if blocks lie on so many of the bytes that
    /// were resident when the replay began.
    pub(super) fn adopted_bytes(&self, bytes: u64) -> u64 {
        if self.is_before { 0 } else { bytes }
    }

    /// R in bytes, where `adopted_bytes` of the baseline count as the program's.
    pub(super) fn bytes(&self, adopted_bytes: u64) -> u64 {
        let baseline_bytes = self.baseline_bytes.saturating_sub(adopted_bytes);
        self.resident.private_bytes().saturating_sub(baseline_bytes)
    }
}
