//! Arbitrary bytes as a log of another recorder, in every format, give an error with a position or a
//! valid trace.
#![no_main]

mod files;

use heaplay::trace::{self, FOREIGN, FileKind, ForeignLog};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    // The first byte chooses the format. Other values let the content decide.
    let member = FOREIGN.get(usize::from(which) % (FOREIGN.len() + 3));
    files::check_log(bytes, |path| match member {
        Some(member) => Some(ForeignLog::open(path, member)),
        None => match trace::identify(path).map(|identified| identified.kind) {
            Ok(FileKind::Log(member)) => Some(ForeignLog::open(path, member)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        },
    });
});
