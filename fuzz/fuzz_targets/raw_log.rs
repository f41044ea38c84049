//! Arbitrary units as a raw log give an error with a position, or a valid trace.
#![no_main]

mod files;

use heaplay::trace::RawLog;

/// Bytes before the first unit, as in `src/recorder/rawlog.rs`.
const HEADER_BYTES: usize = 8192;
/// Bytes of the tail, as in `src/recorder/rawlog.rs`.
const TAIL_BYTES: usize = 256 << 10;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Magic and version of the header are right, its other numbers are arbitrary. Then comes a tail
    // that begins with arbitrary units.
    let numbers = bytes.len().min(17 * 8);
    let mut file = vec![0; HEADER_BYTES + TAIL_BYTES];
    file[..8].copy_from_slice(b"hplayraw");
    file[8..16].copy_from_slice(&5u64.to_ne_bytes());
    file[16..16 + numbers].copy_from_slice(&bytes[..numbers]);
    let words = &bytes[numbers..];
    let words = &words[..words.len().min(TAIL_BYTES)];
    file[HEADER_BYTES..HEADER_BYTES + words.len()].copy_from_slice(words);
    let (path, out) = (files::path("a.raw"), files::path("b.trace"));
    std::fs::write(&path, &file).unwrap();
    let survey = match RawLog::open(&path).and_then(|log| log.convert(&out)) {
        Ok(survey) => survey,
        Err(error) => {
            assert!(error.to_string().contains(&path.display().to_string()), "no path in `{error}`");
            return;
        }
    };
    files::check_counts(&out, survey.rows, survey.events);
});
