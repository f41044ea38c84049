//! Arbitrary bytes as a CSV trace give an error with a position, or rows that the binary format can
//! hold.
#![no_main]

mod files;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| files::check(bytes, "a.csv", "b.trace"));
