//! Arbitrary bytes as a CSV trace: an error with a place, or rows that survive the way to binary.
#![no_main]

mod files;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| files::check(bytes, "a.csv", "b.trace"));
