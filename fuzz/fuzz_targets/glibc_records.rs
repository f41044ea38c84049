//! Arbitrary records as a binary trace of glibc's malloc give an error with a byte, or a valid trace.
#![no_main]

mod files;

use heaplay::trace::{FOREIGN, ForeignLog};

const RECORD_BYTES: usize = 64;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let member = FOREIGN.iter().find(|foreign| foreign.name == "glibc").unwrap();
    let mut log = vec![0; RECORD_BYTES];
    (log[4], log[8], log[9], log[24]) = (255, 0x34, 0x12, 8);
    // Short records: a thread, a type, flags, and three small numbers.
    for short in bytes.chunks(6) {
        let mut record = [0; RECORD_BYTES];
        for (byte, at) in short.iter().zip([0, 4, 5, 8, 16, 24]) {
            record[at] = *byte;
        }
        record[4] %= 9;
        log.extend(record);
    }
    files::check_log(&log, |path| Some(ForeignLog::open(path, member)));
});
