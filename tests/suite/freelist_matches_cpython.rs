//! The table of free lists against the interpreters of this machine: names, sizes and how many
//! objects each list keeps, as `oracle/free_lists.py` finds by experiment in each of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use heaplay::backends::freelist::{Listed, listed};

use crate::support::interpreters;

type Found = BTreeMap<String, (String, u64, i64)>;

fn version(python: &Path) -> (u32, u32) {
    let script = "import sys; print(*sys.version_info[1:3])";
    let output = Command::new(python).args(["-I", "-c", script]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn interpreters_keep_what_the_table_says() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/free_lists.py");
    for (minor, python) in interpreters::find_of(6..=14) {
        let output = Command::new(&python).arg("-I").arg(&script).output().unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            python.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        let found: Found = serde_json::from_slice(&output.stdout).unwrap();
        let mut version = version(&python);
        // A 3.6 that aligns objects to 16 bytes was patched so, and has the collector's header of
        // 3.7.4.
        let collector = found["list"].1 - 40;
        if minor == 6 && collector == 32 {
            println!(
                "CPython 3.6 at {} is aligned to 16 bytes: sizes are those of 3.7.4",
                python.display()
            );
            version = (6, u32::MAX);
        }
        let patched = version == (6, u32::MAX);
        let table = listed(version);
        let off = if patched { 8 } else { 0 };
        for (words, (name, bytes, kept)) in &found {
            // Objects with the collector's header are larger by what a patch made of it.
            let takes = |list: &&Listed| match words.as_str() {
                "frame" => list.name == "frame",
                _ => list.takes(name, *bytes) || patched && list.takes(name, bytes - off),
            };
            let list = table.iter().find(takes);
            let expected = list.map_or(0, |list| i64::from(list.most));
            // One may be in use at the moment; dropping an asend that never ran takes a few objects
            // of its own.
            let slack = if name == "async_generator_asend" { 4 } else { 1 };
            let slack = if expected <= 1 { 0 } else { slack };
            assert!(
                (kept - expected).abs() <= slack,
                "3.{version:?}, {words} ({name} of {bytes} bytes): {kept} kept, the table says {expected}"
            );
        }
        // And no common list of the table was left out of the experiment.
        for list in table.iter().filter(|list| list.is_common && list.name != "int") {
            assert!(found.contains_key(&list.words()), "{}", list.words());
        }
        println!("CPython 3.{}.{}: {} types agree", version.0, version.1.min(99), found.len());
    }
}
