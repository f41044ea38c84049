//! Arbitrary text behind a call as output of `valgrind --trace-malloc=yes` gives an error with a line, or a
//! valid trace.
#![no_main]

mod files;

use heaplay::trace::{FOREIGN, ForeignLog};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let member = FOREIGN.iter().find(|foreign| foreign.name == "valgrind").unwrap();
    let log = [b"--7-- malloc(8) = 0x10\n".as_slice(), bytes].concat();
    files::check_log(&log, |path| Some(ForeignLog::open(path, member)));
});
