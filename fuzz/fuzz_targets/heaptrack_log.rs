//! Arbitrary text behind a version as a heaptrack data file gives an error with a line, or a valid trace.
#![no_main]

mod files;

use heaplay::trace::{FOREIGN, ForeignLog};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let member = FOREIGN.iter().find(|foreign| foreign.name == "heaptrack").unwrap();
    let log = [b"v 10400 3\nX ./app\n".as_slice(), bytes].concat();
    files::check_log(&log, |path| Some(ForeignLog::open(path, member)));
});
