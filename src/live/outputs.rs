//! Compares what two runs of a program printed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};

/// The names of the two outputs.
pub(super) const NAMES: [&str; 2] = ["standard output", "standard error"];

/// The number of the first line that differs, counted from 1; `None` where the files are equal.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn first_difference(first: &File, second: &File) -> io::Result<Option<u64>> {
    let [mut first, mut second] = [rewound(first)?, rewound(second)?];
    let mut line = 1;
    loop {
        let [ours, theirs] = [first.fill_buf()?, second.fill_buf()?];
        let length = ours.len().min(theirs.len());
        if length == 0 {
            return Ok((ours.len() != theirs.len()).then_some(line));
        }
        let equal = ours[..length].iter().zip(theirs).take_while(|(a, b)| a == b).count();
        line += ours[..equal].iter().filter(|byte| **byte == b'\n').count() as u64;
        if equal < length {
            return Ok(Some(line));
        }
        first.consume(length);
        second.consume(length);
    }
}

fn rewound(mut file: &File) -> io::Result<BufReader<&File>> {
    file.rewind()?;
    Ok(BufReader::new(file))
}

/// Bytes of an output that are shown, at most.
const SHOWN_BYTES: i64 = 2000;

/// The last lines of an output.
pub(super) fn last_lines(mut file: &File) -> String {
    let mut bytes = Vec::new();
    let length = file.seek(io::SeekFrom::End(0)).unwrap_or(0) as i64;
    let read = file
        .seek(io::SeekFrom::Start((length - SHOWN_BYTES).max(0) as u64))
        .and_then(|_| file.read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
        Err(_) => String::new(),
    }
}

/// The last line of a program's outputs, with the name of the one that has it. Standard error has the
/// reason of a failure; some programs print it to standard output.
pub(super) fn last_line(outputs: &[File; 2]) -> Option<String> {
    NAMES.iter().zip(outputs).rev().find_map(|(name, output)| {
        let lines = last_lines(output);
        let last = lines.lines().last()?.trim();
        (!last.is_empty()).then(|| format!("{name} ends: {last}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(text: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn the_first_line_that_differs() {
        let long = "line\n".repeat(10_000);
        for (ours, theirs, expected) in [
            ("", "", None),
            ("a\nb\n", "a\nb\n", None),
            ("a\nb\n", "a\nc\n", Some(2)),
            ("a\n", "a\nb\n", Some(2)),
            ("a", "", Some(1)),
            (&*long, &*format!("{long}x"), Some(10_001)),
        ] {
            assert_eq!(first_difference(&file(ours), &file(theirs)).unwrap(), expected);
        }
        assert!(last_lines(&file(&long)).ends_with("line\nline"));
    }
}
