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

/// Prints what the module answers on a machine: its system, its processor, its C library, and the
/// compiler's name of the system where Python was built.
const ON_A_MACHINE: &str = "
import platform, sys, sysconfig
system, machine, libc, built = sys.argv[1:]
platform.system = lambda: system
platform.machine = lambda: machine
platform.libc_ver = lambda: tuple(libc.split())
sys.platform = system.lower()
sysconfig.get_config_var = lambda name: built
from heaplay import _program
print(_program.refusal())
";

/// Where there is no wheel, the refusal names the machine and what runs heaplay. Where there is one,
/// it says how to install it.
#[test]
fn the_refusal_is_that_of_the_machine() {
    let Some(python) = interpreters::any() else { return };
    let folder = ModuleFolder::new();
    let refusal = |machine: [&str; 4]| {
        let mut command = folder.python(&python, &["-c", ON_A_MACHINE]);
        let output = finish(command.args(machine).env_remove("HEAPLAY"));
        assert!(output.status.success(), "{}", errors(&output));
        printed(&output)
    };
    let glibc = "x86_64-pc-linux-gnu";
    for (machine, named) in [
        (["Linux", "x86_64", "", "x86_64-alpine-linux-musl"], "(Linux, x86_64, musl, Python 3."),
        (["Linux", "x86_64", "glibc 2.12", glibc], "(Linux, x86_64, glibc 2.12, Python 3."),
        (["Linux", "riscv64", "glibc 2.39", glibc], "(Linux, riscv64, glibc 2.39, Python 3."),
        (["Darwin", "arm64", "", "arm-apple-darwin"], "(Darwin, arm64, Python 3."),
    ] {
        let text = refusal(machine);
        for part in [named, "glibc 2.17 or later", "marks of the module do nothing", "container"] {
            assert!(text.contains(part), "no `{part}` in: {text}");
        }
        assert!(!text.contains("pip install"), "{text}");
    }
    for machine in ["x86_64", "aarch64"] {
        let text = refusal(["Linux", machine, "glibc 2.17", glibc]);
        assert!(text.contains("-m pip install --force-reinstall heaplay"), "{text}");
    }
}

/// A program that HEAPLAY names wrongly, or that is for another processor, is named. Nothing else
/// runs in its place.
#[test]
fn a_program_that_cannot_run_is_named() {
    let Some(python) = interpreters::any() else { return };
    let folder = ModuleFolder::new();
    let with = |program: &Path| {
        let mut command = folder.python(&python, &["-m", "heaplay", "--version"]);
        let output = finish(command.env("HEAPLAY", program));
        assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
        let text = errors(&output);
        assert!(text.contains(program.to_str().unwrap()) && !text.contains("Traceback"), "{text}");
        text
    };
    assert!(with(&folder.path("missing")).contains("the variable HEAPLAY names"));
    // The start of an ELF file: `e_machine` 22 is s390, and a file of this machine ends too early.
    let mut elf = fs::read(env!("CARGO_BIN_EXE_heaplay")).unwrap();
    elf.truncate(64);
    let broken = folder.path("broken");
    fs::copy(env!("CARGO_BIN_EXE_heaplay"), &broken).unwrap();
    fs::write(&broken, &elf).unwrap();
    let text = with(&broken);
    assert!(text.contains("cannot be started here (") && text.contains("glibc 2.17"), "{text}");
    let other = if cfg!(target_arch = "x86_64") { 183_u16 } else { 62 };
    elf[18..20].copy_from_slice(&other.to_le_bytes());
    fs::write(&broken, &elf).unwrap();
    assert!(with(&broken).contains("not the program `heaplay` for this machine"));
}

/// A place that cannot be written is named by the module, and by `heaplay.late` without a traceback.
#[test]
fn a_recording_names_a_place_that_cannot_be_written() {
    let Some(python) = interpreters::any() else { return };
    let folder = ModuleFolder::new();
    fs::write(folder.path("app.py"), "print('ran')\n").unwrap();
    let code = "import heaplay\nwith heaplay.record('no/x.trace'): print('ran')";
    let part = finish(&mut folder.python(&python, &["-c", code]));
    let late = ["-m", "heaplay.late", "-o", "no/x.trace", "app.py"];
    let late = finish(&mut folder.python(&python, &late));
    for output in [&part, &late] {
        let text = errors(output);
        assert!(text.contains("no/x.trace: nothing is recorded: there is no folder"), "{text}");
        assert_eq!(printed(output), "");
    }
    assert_eq!((part.status.code(), late.status.code()), (Some(1), Some(2)));
    assert!(!errors(&late).contains("Traceback"), "{}", errors(&late));
    let missing = ["-m", "heaplay.late", "-o", "x.trace", "missing.py"];
    let output = finish(&mut folder.python(&python, &missing));
    assert!(errors(&output).contains("missing.py: not found"), "{}", errors(&output));
    assert_eq!(output.status.code(), Some(2));
}
