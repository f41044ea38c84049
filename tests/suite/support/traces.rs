//! Traces: the committed ones, generated ones, and the plainest reading of a CSV.

use std::fs;
use std::path::{Path, PathBuf};

use super::process::{expect, heaplay, repository};

/// A recording in `traces/`.
pub fn committed(name: &str) -> PathBuf {
    repository("traces").join(name)
}

/// The calls of a recording in `traces/`, as the catalogue there counts them from the CSV form.
pub fn catalogued_calls(name: &str) -> u64 {
    let catalogue = fs::read_to_string(repository("traces/README.md")).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let row = catalogue.lines().map(cells).find(|row| row.get(1).is_some_and(|cell| cell == name));
    row.expect("the catalogue has it")[5].parse().expect("a number of calls")
}

/// A generated trace of so many calls, always with the same calls.
#[track_caller]
pub fn generated(folder: &Path, name: &str, calls: u64) -> PathBuf {
    generated_from(folder, name, calls, 3)
}

/// A generated trace of so many calls; each seed gives other calls.
#[track_caller]
pub fn generated_from(folder: &Path, name: &str, calls: u64, seed: u64) -> PathBuf {
    let path = folder.join(name);
    let (calls, seed) = (calls.to_string(), seed.to_string());
    expect(0, heaplay().arg("generate").arg(&path).args(["--calls", &calls, "--seed", &seed]));
    path
}

/// A row of a CSV trace.
pub struct Request {
    pub event: u64,
    pub op: String,
    pub size_bytes: u64,
    /// The event at which the block ends.
    pub end: Option<u64>,
}

/// The rows of a CSV trace, read without any code of heaplay.
pub fn requests(csv: &Path) -> Vec<Request> {
    let text = fs::read_to_string(csv).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name| header.iter().position(|h| *h == name).unwrap();
    let [event, op, size, lifetime] = ["event", "op", "size", "lifetime"].map(column);
    let request = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let event: u64 = fields[event].parse().unwrap();
        Request {
            event,
            op: fields[op].to_owned(),
            size_bytes: fields[size].parse().unwrap(),
            end: fields[lifetime].parse::<u64>().ok().map(|lifetime| event + lifetime),
        }
    };
    lines.map(request).collect()
}
