//! Arbitrary bytes as a binary trace give an error with a position, or rows that CSV can hold.
//!
//! Checksums would refuse nearly all inputs, so most inputs are framed. The first byte chooses the
//! columns, the second the rows of the only part, the third the calls. The rest is the raw bytes of
//! the part. After a first byte of 255, the rest is the file itself.
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

/// A file with correct lengths and checksums.
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
    put_with_checksum(&mut file, json.as_bytes());
    let stored = zstd::bulk::compress(raw, 1).unwrap();
    file.push(b'R');
    put(&mut file, &[rows.into(), raw.len(), stored.len(), crc32fast::hash(&stored) as usize]);
    file.extend(stored);
    file.push(b'E');
    let totals = [u64::from(rows).to_le_bytes(), u64::from(calls).to_le_bytes()].concat();
    put_with_checksum(&mut file, &totals);
    file
}

fn put(file: &mut Vec<u8>, numbers: &[usize]) {
    numbers.iter().for_each(|&number| file.extend((number as u32).to_le_bytes()));
}

fn put_with_checksum(file: &mut Vec<u8>, bytes: &[u8]) {
    file.extend(bytes);
    file.extend(crc32fast::hash(bytes).to_le_bytes());
}
