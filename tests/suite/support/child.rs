//! This test program once more, in a process of its own, for one test.

use std::process::Command;

/// Set in such a process.
pub const IS_CHILD: &str = "HEAPLAY_TEST_IS_CHILD";

/// The test `name` of the module that calls this, which gives its `module_path!()`.
pub fn of(module_path: &str, name: &str) -> Command {
    let module = module_path.split_once("::").map_or("", |(_, module)| module);
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--exact", &format!("{module}::{name}"), "--nocapture"]).env(IS_CHILD, "1");
    command
}
