//! R: resident private memory of this process, less the baseline.

use crate::replay::memory::{Resident, ResidentMemory};
use crate::replay::usage::huge_page_bytes;

/// Reads R.
pub(super) struct ResidentReader {
    resident: Resident,
    baseline: ResidentMemory,
    /// Whether the baseline is from before the backend was opened, so that it has none of its pages.
    is_before: bool,
}

impl ResidentReader {
    /// R with a baseline of 0.
    pub(super) fn new(resident: Resident) -> ResidentReader {
        ResidentReader { resident, baseline: ResidentMemory::default(), is_before: false }
    }

    /// Makes the present resident memory the baseline, or that from before the backend was opened.
    pub(super) fn set_baseline(&mut self, before: Option<ResidentMemory>) {
        self.is_before = before.is_some();
        self.baseline = before.unwrap_or_else(|| self.resident.now());
    }

    /// Bytes of the baseline that count as the program's, if blocks lie on so many of the bytes that
    /// were resident when the replay began.
    pub(super) fn adopted_bytes(&self, bytes: u64) -> u64 {
        if self.is_before { 0 } else { bytes }
    }

    /// R in bytes, where `adopted_bytes` of the baseline count as the program's.
    pub(super) fn bytes(&self, adopted_bytes: u64) -> u64 {
        let baseline_bytes = self.baseline.private_bytes.saturating_sub(adopted_bytes);
        self.resident.private_bytes().saturating_sub(baseline_bytes)
    }

    /// Of R, what lies on huge pages, in bytes. The kernel counts whole huge pages of the process, so
    /// it also counts those of the baseline.
    pub(super) fn huge_page_bytes(&self, adopted_bytes: u64, resident_bytes: u64) -> u64 {
        on_huge_pages(huge_page_bytes(), self.baseline, adopted_bytes, resident_bytes)
    }
}

/// Of `resident_bytes`, what lies on huge pages where the process has `huge_page_bytes`. What is adopted
/// of the baseline lies on its huge pages first: an allocator that has some allocates from them.
fn on_huge_pages(
    huge_page_bytes: u64,
    baseline: ResidentMemory,
    adopted_bytes: u64,
    resident_bytes: u64,
) -> u64 {
    let not_of_program = baseline.huge_page_bytes.saturating_sub(adopted_bytes);
    huge_page_bytes.saturating_sub(not_of_program).min(resident_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// An allocator that had 4 MiB on huge pages before the first call: the process has 20 MiB on huge
    /// pages, of which 17 are the program's.
    #[test]
    fn huge_pages_of_the_baseline_are_none_of_the_program() {
        let baseline = ResidentMemory { private_bytes: 5 * MIB, huge_page_bytes: 4 * MIB };
        assert_eq!(on_huge_pages(20 * MIB, baseline, MIB, 17 * MIB), 17 * MIB);
        assert_eq!(on_huge_pages(20 * MIB, baseline, 0, 17 * MIB), 16 * MIB);
        assert_eq!(on_huge_pages(4 * MIB, baseline, 0, 9 * MIB), 0);
        // Pages of the baseline that the kernel has made huge since then.
        assert_eq!(on_huge_pages(20 * MIB, ResidentMemory::default(), 0, 9 * MIB), 9 * MIB);
    }
}
