//! Arbitrary bytes as a packed file give an error that names the file, or a kind.
#![no_main]

mod files;

use heaplay::trace;

/// How packed files begin.
const MAGICS: [&[u8]; 7] = [
    b"\x1F\x8B\x08",
    b"\x28\xB5\x2F\xFD",
    b"\xFD7zXZ\0",
    b"BZh9\x31\x41\x59\x26\x53\x59",
    b"\x04\x22\x4D\x18",
    b"PK\x03\x04",
    b"",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let path = files::path("a.packed");
    let magic = MAGICS[usize::from(which) % MAGICS.len()];
    std::fs::write(&path, [magic, bytes].concat()).unwrap();
    match trace::identify(&path) {
        Ok(identified) => drop(identified.description()),
        Err(error) => {
            assert!(error.to_string().contains(&path.display().to_string()), "no path in `{error}`");
        }
    }
});
