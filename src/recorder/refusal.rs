//! The settings under which the recorder refuses to record. Some of them would take the hooks away;
//! others would count the interpreter's own book-keeping as the program's. The functions are pure:
//! command line and environment in, a reason out.

/// The environment variables that change CPython's allocators.
#[derive(Clone, Copy, Default)]
pub struct PythonVariables<'a> {
    /// `PYTHONMALLOC`.
    pub malloc: Option<&'a [u8]>,
    /// `PYTHONDEVMODE`.
    pub dev_mode: Option<&'a [u8]>,
    /// `PYTHONTRACEMALLOC`.
    pub tracemalloc: Option<&'a [u8]>,
}

/// The interpreter's own options that change its allocators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterpreterOptions {
    /// `-X dev`.
    pub has_dev: bool,
    /// `-X tracemalloc`.
    pub has_tracemalloc: bool,
    /// `-E` or `-I`: the interpreter ignores the environment.
    pub ignores_environment: bool,
}

/// Reads the interpreter's options up to the program. `arguments` is the command line without the
/// name of the interpreter.
pub fn options<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> InterpreterOptions {
    let mut found = InterpreterOptions::default();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        if argument == b"--check-hash-based-pycs" {
            arguments.next();
            continue;
        }
        let Some(letters) = argument.strip_prefix(b"-") else { return found };
        if letters.is_empty() || letters == b"-" {
            return found;
        }
        if letters.starts_with(b"-") {
            continue;
        }
        for (at, letter) in letters.iter().enumerate() {
            match letter {
                b'c' | b'm' => return found,
                b'E' | b'I' => found.ignores_environment = true,
                b'W' | b'X' | b'Q' => {
                    let rest = letters.get(at + 1..).unwrap_or_default();
                    let value =
                        if rest.is_empty() { arguments.next().unwrap_or_default() } else { rest };
                    if *letter == b'X' {
                        found.has_dev |= named(value, b"dev");
                        found.has_tracemalloc |= named(value, b"tracemalloc");
                    }
                    break;
                }
                _ => {}
            }
        }
    }
    found
}

/// Whether an `-X` value is `name` or `name=…`.
fn named(value: &[u8], name: &[u8]) -> bool {
    value.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
}

/// Why a process with these settings cannot be recorded, and what to do; `None` when it can.
///
/// Some settings take the hooks away at the start of the interpreter. A recording that sees the C
/// library's calls notices that, and places the hooks again.
pub fn settings(
    options: InterpreterOptions,
    environment: PythonVariables<'_>,
    sees_libc: bool,
) -> Option<&'static str> {
    let set = |value: Option<&[u8]>| {
        !options.ignores_environment
            && value.is_some_and(|value| !value.is_empty() && value != b"0")
    };
    if options.has_dev && !sees_libc {
        return Some(
            "-X dev puts CPython's debug allocator in the place of the hooks; record with --domains all",
        );
    }
    if options.has_tracemalloc {
        return Some(
            "-X tracemalloc would count its own book-keeping as the program's; run without it",
        );
    }
    let is_set = !options.ignores_environment && !sees_libc;
    if is_set && environment.malloc.is_some_and(|value| !value.is_empty()) {
        return Some(
            "PYTHONMALLOC takes the hooks away, whatever its value; record with --domains all",
        );
    }
    if set(environment.dev_mode) && !sees_libc {
        return Some(
            "PYTHONDEVMODE puts CPython's debug allocator in the place of the hooks; record with \
             --domains all",
        );
    }
    if set(environment.tracemalloc) {
        return Some(
            "PYTHONTRACEMALLOC would count its own book-keeping as the program's; unset it",
        );
    }
    None
}

/// `3.11.2 (main, …)` as (3, 11).
pub fn version(text: &[u8]) -> Option<(u32, u32)> {
    let mut parts = text.split(|byte| !byte.is_ascii_digit());
    let mut number = || core::str::from_utf8(parts.next()?).ok()?.parse::<u32>().ok();
    Some((number()?, number()?))
}

/// Why this interpreter cannot be recorded; `None` when it can.
///
/// `text` is the result of `Py_GetVersion`. `is_late` says that the interpreter runs already.
///
/// Later versions than are known are recorded, because the hooked functions have not changed since
/// 3.5. Free-threaded builds call them, too; hooks of mem and obj then run without the GIL.
pub fn interpreter(text: &[u8], is_late: bool) -> Option<&'static str> {
    match version(text) {
        Some((3, 7..)) => None,
        Some((3, 6)) if is_late => None,
        Some((3, 6)) => Some(
            "this CPython overwrites the hooks when it starts; use 3.7 or later, or record a part of \
             the program from inside it (`heaplay recorder`)",
        ),
        Some(_) => Some("the recorder does not know this Python; use CPython 3.7 or later"),
        None => Some("its version cannot be read; use CPython 3.7 or later"),
    }
}
