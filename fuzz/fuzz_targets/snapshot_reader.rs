//! Arbitrary bytes as a tracemalloc snapshot give an error with a position, or a valid trace.
#![no_main]

mod files;

use heaplay::trace::{Sequence, Series, Snapshot, TraceReader};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = files::path("a.snapshot");
    std::fs::write(&path, bytes).unwrap();
    let snapshot = match Snapshot::open(&path) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            assert!(error.to_string().contains(&path.display().to_string()), "no path in `{error}`");
            return;
        }
    };
    assert_eq!(snapshot.by_site().iter().map(|live| live.blocks).sum::<u64>(), snapshot.blocks());
    let mut series = Series::new();
    series.add(&snapshot).unwrap();
    series.add(&snapshot).unwrap();
    let (mut reader, mut sequence) = (series.into_reader(), Sequence::new());
    while let Some(row) = reader.next_row().unwrap() {
        sequence.accept(&row, |_| {}).unwrap();
    }
    assert_eq!(sequence.finish(|_| {}).unwrap(), snapshot.blocks());
});
