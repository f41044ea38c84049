//! The Python module: `python -m heaplay` runs the program with this interpreter, the module records
//! a part of a program without any other file, and it refuses where there is no program. The wheel
//! itself is tried by `scripts/wheel-test`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::interpreters;
use crate::support::process::{errors, expect, finish, heaplay, printed, python_module};

/// A folder with the module.
struct ModuleFolder(TempDir);

impl ModuleFolder {
    fn new() -> ModuleFolder {
        let folder = ModuleFolder(TempDir::new().unwrap());
        python_module(folder.0.path());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The interpreter in the folder, with the program under test as `HEAPLAY`.
    fn python(&self, python: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(python);
        command.args(arguments).current_dir(self.0.path());
        command.env("HEAPLAY", env!("CARGO_BIN_EXE_heaplay"));
        command
    }
}

/// Requests of this size in a trace, counted from the CSV form. `bytes(N)` has 33 bytes more than N.
fn requests_of(folder: &ModuleFolder, trace: &str, size: &str) -> usize {
    let csv = folder.path("rows.csv");
    expect(0, heaplay().arg("convert").arg(folder.path(trace)).arg(&csv));
    let mut reader = csv::Reader::from_path(csv).unwrap();
    let column = reader.headers().unwrap().iter().position(|name| name == "size").unwrap();
    reader.records().filter(|record| &record.as_ref().unwrap()[column] == size).count()
}

/// `PYTHON -m heaplay record app.py` records the file with that very interpreter, and names the
/// trace for it.
#[test]
fn a_python_file_is_recorded_by_this_interpreter() {
    for (minor, python) in interpreters::find() {
        let folder = ModuleFolder::new();
        let app = "import sys\nheld = bytes(70090)\n\
                   print(sys.version_info[1], sys.argv[1:])\nsys.exit(3)\n";
        fs::write(folder.path("app.py"), app).unwrap();
        let record = ["-m", "heaplay", "record", "app.py", "-x", "--sites"];
        let output = finish(&mut folder.python(&python, &record));
        let printed = printed(&output);
        assert_eq!(printed, format!("{minor} ['-x', '--sites']\n"), "{}", errors(&output));
        assert_eq!(output.status.code(), Some(3));
        assert!(requests_of(&folder, "app.trace", "70123") >= 1, "3.{minor}");

        let again = finish(&mut folder.python(&python, &record));
        assert_eq!(again.status.code(), Some(2));
        assert!(errors(&again).contains("app.trace: exists already"), "{}", errors(&again));

        let module = ["-m", "heaplay", "record", "--sites=2", "-o", "m.trace", "-m", "app", "-x"];
        let output = finish(&mut folder.python(&python, &module));
        assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
        assert!(requests_of(&folder, "m.trace", "70123") >= 1, "3.{minor}");
    }
}

/// `python -m heaplay live app.py` and verbs that run no program.
#[test]
fn other_verbs_go_through() {
    let Some(python) = interpreters::any() else { return };
    let folder = ModuleFolder::new();
    fs::write(folder.path("app.py"), "print('done')\n").unwrap();
    let live = ["-m", "heaplay", "live", "--rounds", "3", "-b", "pymalloc,malloc", "app.py"];
    let output = finish(&mut folder.python(&python, &live));
    assert!(
        output.status.success() && printed(&output).contains("pymalloc"),
        "{}",
        errors(&output)
    );
    let output = finish(&mut folder.python(&python, &["-m", "heaplay", "--version"]));
    assert!(printed(&output).starts_with("heaplay "), "{}", errors(&output));
    let output = finish(&mut folder.python(&python, &["-m", "heaplay", "no-such-verb"]));
    assert_eq!(output.status.code(), Some(2));
}

/// `with heaplay.record()` needs the program only: it writes the recorder by itself.
#[test]
fn a_part_is_recorded_without_a_recorder_beside() {
    for (minor, python) in interpreters::find_of(6..=15) {
        let folder = ModuleFolder::new();
        let code = "import heaplay\nbefore = bytes(60001)\n\
                    with heaplay.record('part.trace', sites=1):\n    \
                    held = bytes(70090)\n";
        let output = finish(&mut folder.python(&python, &["-c", code]));
        assert!(output.status.success(), "3.{minor}: {}", errors(&output));
        assert!(requests_of(&folder, "part.trace", "70123") >= 1, "3.{minor}");
        assert_eq!(requests_of(&folder, "part.trace", "60034"), 0, "3.{minor}");
        let left = fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let raws = left.filter(|name| name.to_string_lossy().contains(".raw-")).count();
        assert_eq!(raws, 0, "3.{minor}");
    }
}

/// Without the program, marks do nothing, and all else is refused with the next step.
#[test]
fn without_the_program_it_refuses() {
    let Some(python) = interpreters::any() else { return };
    let folder = ModuleFolder::new();
    // A script of that name is not the program: it could be the module's own entry.
    fs::create_dir(folder.path("bin")).unwrap();
    fs::write(folder.path("bin/heaplay"), "#!/bin/sh\nexit 0\n").unwrap();
    // An environment of its own: no program in its folder, and none on the PATH.
    let venv = folder.path("venv");
    let made = finish(Command::new(&python).args(["-m", "venv", "--without-pip"]).arg(&venv));
    assert!(made.status.success(), "{}", errors(&made));
    let without = |arguments: &[&str]| {
        let mut command = folder.python(&venv.join("bin/python"), arguments);
        command.env("PATH", folder.path("bin")).env("HOME", folder.0.path()).env_remove("HEAPLAY");
        finish(&mut command)
    };
    let output = without(&["-m", "heaplay", "record", "app.py"]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["no program `heaplay`", "64-bit Linux", "pip install"] {
        assert!(errors(&output).contains(part), "{}", errors(&output));
    }
    let output = without(&["-c", "import heaplay\nheaplay.mark('x')\nprint('fine')"]);
    assert_eq!(printed(&output), "fine\n", "{}", errors(&output));
    let output = without(&["-c", "import heaplay\nwith heaplay.record('x.trace'): pass"]);
    assert!(errors(&output).contains("RuntimeError"), "{}", errors(&output));
    assert!(errors(&output).contains("heaplay recorder DIR"), "{}", errors(&output));
}
