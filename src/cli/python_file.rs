//! Programs that are Python files: the interpreter that runs them, and the name of their trace.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::bail;

/// The interpreter of a program that is a Python file.
#[derive(clap::Args, Clone)]
pub struct InterpreterArgs {
    /// The interpreter for a PROGRAM that is a Python file (`NAME.py`), `-m MODULE` or `-c CODE`.
    /// `python -m heaplay` gives its own
    #[arg(long, value_name = "PYTHON", overrides_with = "python")]
    python: Option<PathBuf>,
}

impl InterpreterArgs {
    /// The program and its arguments, with the interpreter in front where one is needed.
    pub fn with_interpreter(&self, program: Vec<OsString>) -> Vec<OsString> {
        let Some(python) = &self.python else { return program };
        let needs_one = program.first().is_some_and(|first| needs_interpreter(first));
        let front = needs_one.then(|| python.clone().into_os_string());
        front.into_iter().chain(program).collect()
    }
}

/// Whether a program that begins so is one of an interpreter.
pub fn needs_interpreter(first: &OsStr) -> bool {
    first == "-m" || first == "-c" || is_python_file(first)
}

/// The trace of a program that was given no name: `app.trace` for `python app.py`, in the current
/// directory.
///
/// # Errors
/// Where that file exists, or no program names it.
pub fn trace_of(program: &[OsString]) -> anyhow::Result<PathBuf> {
    let Some(mut name) = name_of(program) else {
        bail!("the trace has no name; give one by `-o FILE`, such as `-o app.trace`");
    };
    name.push(".trace");
    let trace = PathBuf::from(name);
    if trace.exists() {
        bail!("{}: exists already; name the trace by `-o FILE`", trace.display());
    }
    Ok(trace)
}

/// The name of a program: of the first Python file, else of the module behind `-m`, else of the
/// program itself.
fn name_of(program: &[OsString]) -> Option<OsString> {
    let file = program.iter().find(|argument| is_python_file(argument));
    if file.is_none() {
        let option = program.iter().position(|argument| argument == "-m");
        if let Some(module) = option.and_then(|at| program.get(at + 1)) {
            return Some(module.clone());
        }
    }
    Some(Path::new(file.or(program.first())?).file_stem()?.to_owned())
}

fn is_python_file(argument: &OsStr) -> bool {
    Path::new(argument).extension().is_some_and(|extension| extension == "py")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn python_files_get_the_interpreter() {
        let python = InterpreterArgs { python: Some("/opt/python".into()) };
        let none = InterpreterArgs { python: None };
        for (line, with) in [
            ("app.py -x", "/opt/python app.py -x"),
            ("-m app.main -x", "/opt/python -m app.main -x"),
            ("./server app.py", "./server app.py"),
            ("python3 app.py", "python3 app.py"),
        ] {
            assert_eq!(python.with_interpreter(words(line)), words(with));
            assert_eq!(none.with_interpreter(words(line)), words(line));
        }
    }

    #[test]
    fn a_trace_is_named_for_its_program() {
        for (line, name) in [
            ("python3 -X dev app.py --in other.py", "app"),
            ("/opt/python -m app.main", "app.main"),
            ("./server.bin -m", "server"),
            ("server", "server"),
        ] {
            assert_eq!(name_of(&words(line)).unwrap(), name);
        }
        assert_eq!(name_of(&[]), None);
    }
}
