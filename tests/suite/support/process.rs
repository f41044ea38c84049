//! Starts heaplay and other programs, and reads what they print.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::machine;

/// The program under test. Variables of the surroundings that change what it prints are unset.
pub fn heaplay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaplay"));
    command.env_remove("GITHUB_ACTIONS");
    command
}

/// Runs a program to its end, without standard input.
#[track_caller]
pub fn finish(command: &mut Command) -> Output {
    let _shared = machine::shared();
    command.output().unwrap_or_else(|why| panic!("{command:?} does not start: {why}"))
}

/// Runs a program and expects an exit code. Returns standard output, and standard error after it.
#[track_caller]
pub fn expect(code: i32, command: &mut Command) -> String {
    let output = finish(command);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {}", both(&output));
    both(&output)
}

/// Standard output.
pub fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output, and standard error after it.
pub fn both(output: &Output) -> String {
    printed(output) + &errors(output)
}

/// The first file of that name in the folders of PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Copies the Python module `heaplay` into a folder.
pub fn python_module(folder: &Path) {
    let module = folder.join("heaplay");
    std::fs::create_dir_all(&module).expect("the folder can be written");
    for entry in repository("python/heaplay").read_dir().expect("the module is there") {
        let file = entry.expect("it can be read").path();
        if file.is_file() {
            let copy = module.join(file.file_name().unwrap_or_default());
            std::fs::copy(&file, copy).expect("the folder can be written");
        }
    }
}

/// A path below the top of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file or folder below the target folder that tests may write.
pub fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}
