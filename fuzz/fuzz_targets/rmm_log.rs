//! Arbitrary text behind the header of an RMM log gives an error with a line, or a valid trace.
#![no_main]

mod files;

use heaplay::trace::{FOREIGN, ForeignLog};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let member = FOREIGN.iter().find(|foreign| foreign.name == "rmm").unwrap();
    let log = [b"Thread,Time,Action,Pointer,Size,Stream\n".as_slice(), bytes].concat();
    files::check_log(&log, |path| Some(ForeignLog::open(path, member)));
});
