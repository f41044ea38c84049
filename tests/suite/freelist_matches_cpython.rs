//! The table of free lists against the interpreters of this machine: names, sizes, and the number
//! of objects that each list retains. `oracle/free_lists.py` finds them by experiment.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use heaplay::cpython::{Listed, listed};

use crate::support::interpreters;
use crate::support::process::{errors, finish, repository};

type Found = BTreeMap<String, (String, u64, i64)>;

fn version(python: &Path) -> (u32, u32) {
    let script = "import sys; print(*sys.version_info[1:3])";
    let output = Command::new(python).args(["-I", "-c", script]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn interpreters_retain_as_many_objects_as_the_table() {
    let script = repository("tests/oracle/free_lists.py");
    for (minor, python) in interpreters::find_of(6..=14) {
        let output = finish(Command::new(&python).arg("-I").arg(&script));
        assert!(output.status.success(), "{}: {}", python.display(), errors(&output));
        let found: Found = serde_json::from_slice(&output.stdout).unwrap();
        let mut version = version(&python);
        // Some builds of 3.6 are patched: objects are aligned to 16 bytes, and the collector's
        // header is that of 3.7.4.
        let collector = found["list"].1 - 40;
        if minor == 6 && collector == 32 {
            version = (6, u32::MAX);
        }
        let patched = version == (6, u32::MAX);
        let table = listed(version);
        let off = if patched { 8 } else { 0 };
        for (label, (name, bytes, retained)) in &found {
            // The patched header makes objects larger.
            let takes = |list: &&Listed| match label.as_str() {
                "frame" => list.name == "frame",
                _ => list.takes(name, *bytes) || patched && list.takes(name, bytes - off),
            };
            let list = table.iter().find(takes);
            let expected = list.map_or(0, |list| i64::from(list.most));
            // One object may be in use. An asend that never ran takes a few objects when it is
            // dropped.
            let slack = if name == "async_generator_asend" { 4 } else { 1 };
            let slack = if expected <= 1 { 0 } else { slack };
            assert!(
                (retained - expected).abs() <= slack,
                "3.{version:?}, {label} ({name} of {bytes} bytes): {retained} retained, \
                 the table has {expected}"
            );
        }
        // The experiment covers every common list of the table.
        for list in table.iter().filter(|list| list.is_common && list.name != "int") {
            assert!(found.contains_key(&list.text()), "{}", list.text());
        }
        println!("CPython 3.{}.{}: {} types agree", version.0, version.1.min(99), found.len());
    }
}
