//! Arbitrary bytes as a replay export of bytehound give an error with a byte, or a valid trace.
#![no_main]

mod files;

use heaplay::trace::{FOREIGN, ForeignLog};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let member = FOREIGN.iter().find(|foreign| foreign.name == "bytehound").unwrap();
    let log = [b"".as_slice(), bytes].concat();
    files::check_log(&log, |path| Some(ForeignLog::open(path, member)));
});
