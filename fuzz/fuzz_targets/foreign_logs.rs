//! Arbitrary text as another recorder's log, in every format: an error with a place, or a trace
//! that is one.
#![no_main]

mod files;

use heaplay::trace::{FOREIGN, ForeignLog};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let out = files::path("b.trace");
    let path = files::path("a.log");
    std::fs::write(&path, bytes).unwrap();
    // One byte chooses the format; past the last one it is told by the content.
    let format = FOREIGN.get(usize::from(which) % (FOREIGN.len() + 1)).map(|foreign| foreign.name);
    let converted = ForeignLog::open(&path, format).and_then(|log| log.convert(&out));
    let told = match converted {
        Ok(told) => told,
        Err(error) => {
            assert!(error.to_string().contains(&path.display().to_string()), "no place in `{error}`");
            return;
        }
    };
    files::check_counts(&out, told.rows, told.events);
});
