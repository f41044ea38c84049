//! Replays recorded programs on the allocator of this crate, beside the C library's.

use std::process::ExitCode;

use binned_allocator::BinnedAllocator;
use heaplay::Harness;

heaplay::isolate_measurement!();

static BINNED: BinnedAllocator = BinnedAllocator::new();

fn main() -> ExitCode {
    Harness::new()
        .allocator("binned", env!("CARGO_PKG_VERSION"), &BINNED)
        .baseline("malloc")
        .traces([Harness::standard_traces()])
        .main()
}
