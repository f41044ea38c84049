//! Arbitrary bytes as a workload of glibc's malloc trace utilities give an error with a byte, or a valid
//! trace.
#![no_main]

mod files;

use heaplay::trace::{FOREIGN, ForeignLog};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let member = FOREIGN.iter().find(|foreign| foreign.name == "glibc-workload").unwrap();
    let log = [b"".as_slice(), bytes].concat();
    files::check_log(&log, |path| Some(ForeignLog::open(path, member)));
});
