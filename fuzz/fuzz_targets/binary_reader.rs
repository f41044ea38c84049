//! Arbitrary bytes as a binary trace: an error with a place, or rows that survive the way to CSV.
//!
//! Checksums would stop nearly all bytes at the door, so most inputs are framed: the first byte
//! chooses the columns, the second the rows of the only part, the rest is the part's raw bytes.
//! With a first byte of 255 the rest is the file.
#![no_main]

mod files;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match bytes {
        [255, file @ ..] => files::check(file, "a.trace", "b.csv"),
        [columns, rows, calls, raw @ ..] => {
            files::check(&frame(*columns, *rows, *calls, raw), "a.trace", "b.csv");
        }
        _ => {}
    }
});

/// A file whose lengths and checksums are right.
fn frame(columns: u8, rows: u8, calls: u8, raw: &[u8]) -> Vec<u8> {
    let names = ["thread", "end_thread", "domain", "time_ns", "site"];
    let named: Vec<String> = names
        .iter()
        .enumerate()
        .filter(|(bit, _)| columns >> bit & 1 == 1)
        .map(|(_, name)| format!("\"{name}\""))
        .collect();
    let json = format!("{{\"columns\":[{}],\"facts\":{{}}}}", named.join(","));
    let mut file = b"\x89HPLY\r\n\x1a\x01\x00".to_vec();
    put(&mut file, &[json.len()]);
    checked(&mut file, json.as_bytes());
    let stored = zstd::bulk::compress(raw, 1).unwrap();
    file.push(b'R');
    put(&mut file, &[rows.into(), raw.len(), stored.len(), crc32fast::hash(&stored) as usize]);
    file.extend(stored);
    file.push(b'E');
    let totals = [u64::from(rows).to_le_bytes(), u64::from(calls).to_le_bytes()].concat();
    checked(&mut file, &totals);
    file
}

fn put(file: &mut Vec<u8>, words: &[usize]) {
    words.iter().for_each(|&word| file.extend((word as u32).to_le_bytes()));
}

fn checked(file: &mut Vec<u8>, bytes: &[u8]) {
    file.extend(bytes);
    file.extend(crc32fast::hash(bytes).to_le_bytes());
}
