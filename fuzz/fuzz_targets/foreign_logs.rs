//! Arbitrary text as a log of another recorder, in every format, gives an error with a position or a
//! valid trace.
#![no_main]

mod files;

use heaplay::trace::{FOREIGN, ForeignLog};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let out = files::path("b.trace");
    let path = files::path("a.log");
    std::fs::write(&path, bytes).unwrap();
    // The first byte chooses the format. One value lets the content decide.
    let format = FOREIGN.get(usize::from(which) % (FOREIGN.len() + 1)).map(|foreign| foreign.name);
    let converted = ForeignLog::open(&path, format).and_then(|log| log.convert(&out));
    let imported = match converted {
        Ok(imported) => imported,
        Err(error) => {
            assert!(error.to_string().contains(&path.display().to_string()), "no path in `{error}`");
            return;
        }
    };
    files::check_counts(&out, imported.rows, imported.events);
});
