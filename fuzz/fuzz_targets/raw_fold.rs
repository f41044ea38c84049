//! Arbitrary units as a fold beside a raw log, and as the log, give an error with a path, or a valid
//! trace. So does a log that is folded once more.
#![no_main]

mod files;

use heaplay::trace::{Fold, RawLog, fold_oldest};

/// Bytes before the first unit, as in `src/recorder/rawlog.rs`.
const HEADER_BYTES: usize = 8192;
/// Bytes of the tail and of a chunk, as in `src/recorder/rawlog.rs`.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of the header's numbers behind magic and version, and of a fold's header behind the magic.
const NUMBERS: [usize; 2] = [17 * 8, 7 * 8];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (header, rest) = bytes.split_at(bytes.len().min(NUMBERS[0]));
    let (fold_header, words) = rest.split_at(rest.len().min(NUMBERS[1]));
    let half = words.len() / 2 / 8 * 8;
    // The header, a tail, and one chunk with the first half of the words.
    let mut log = vec![0; HEADER_BYTES + 2 * CHUNK_BYTES];
    log[..8].copy_from_slice(b"hplayraw");
    log[8..16].copy_from_slice(&5u64.to_ne_bytes());
    log[16..16 + header.len()].copy_from_slice(header);
    let in_log = &words[..half.min(CHUNK_BYTES)];
    let chunk = HEADER_BYTES + CHUNK_BYTES;
    log[chunk..chunk + in_log.len()].copy_from_slice(in_log);
    let mut fold = vec![0; 8 + NUMBERS[1]];
    fold[..8].copy_from_slice(b"hplyfold");
    fold[8..8 + fold_header.len()].copy_from_slice(fold_header);
    fold.extend(&words[half..]);
    let (path, out) = (files::path("f.raw"), files::path("f.trace"));
    std::fs::write(&path, &log).unwrap();
    std::fs::write(Fold::path_of(&path), &fold).unwrap();
    read(&path, &out);
    drop(fold_oldest(&path, 1));
    read(&path, &out);
});

fn read(path: &std::path::Path, out: &std::path::Path) {
    match RawLog::open(path).and_then(|log| log.convert(out)) {
        Ok(survey) => files::check_counts(out, survey.rows, survey.events),
        Err(error) => {
            assert!(error.to_string().contains(&path.display().to_string()), "no path in `{error}`");
        }
    }
}
