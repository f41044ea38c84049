//! Room `recorder`, what it refuses to record: settings under which its hooks would be taken away,
//! or would count the interpreter's own book-keeping as the program's. Pure: command line and
//! environment in, a reason out.

/// The environment variables that matter, as the process has them.
#[derive(Clone, Copy, Default)]
pub struct Environment<'a> {
    /// `PYTHONMALLOC`.
    pub malloc: Option<&'a [u8]>,
    /// `PYTHONDEVMODE`.
    pub dev_mode: Option<&'a [u8]>,
    /// `PYTHONTRACEMALLOC`.
    pub tracemalloc: Option<&'a [u8]>,
}

/// What the interpreter's own options say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-X dev`.
    pub dev: bool,
    /// `-X tracemalloc`.
    pub tracemalloc: bool,
    /// `-E` or `-I`: the environment is not looked at.
    pub ignore_environment: bool,
}

/// Reads the interpreter's options up to the program: `arguments` is the command line without its
/// first word.
pub fn options<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> Options {
    let mut found = Options::default();
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
                b'E' | b'I' => found.ignore_environment = true,
                b'W' | b'X' | b'Q' => {
                    let rest = letters.get(at + 1..).unwrap_or_default();
                    let value =
                        if rest.is_empty() { arguments.next().unwrap_or_default() } else { rest };
                    if *letter == b'X' {
                        found.dev |= named(value, b"dev");
                        found.tracemalloc |= named(value, b"tracemalloc");
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

/// Why a process with these settings cannot be recorded, in words that say what to do; `None` when
/// it can.
pub fn settings(options: Options, environment: Environment<'_>) -> Option<&'static str> {
    let set = |value: Option<&[u8]>| {
        !options.ignore_environment && value.is_some_and(|value| !value.is_empty() && value != b"0")
    };
    if options.dev {
        return Some(
            "-X dev puts CPython's debug allocator in the place of the hooks; run without it",
        );
    }
    if options.tracemalloc {
        return Some(
            "-X tracemalloc would count its own book-keeping as the program's; run without it",
        );
    }
    if !options.ignore_environment && environment.malloc.is_some_and(|value| !value.is_empty()) {
        return Some("PYTHONMALLOC takes the hooks away, whatever its value; unset it");
    }
    if set(environment.dev_mode) {
        return Some(
            "PYTHONDEVMODE puts CPython's debug allocator in the place of the hooks; unset it",
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

/// Why this interpreter cannot be recorded, `None` when it can. `text` is what `Py_GetVersion`
/// returns; `is_late`: it runs already. `is_free_threaded`: it has functions that only such builds
/// have.
///
/// Versions after 3.13 are not known, but the few functions that are hooked have not changed since
/// 3.5; where one of them is missing it is found missing.
pub fn interpreter(text: &[u8], is_late: bool, is_free_threaded: bool) -> Option<&'static str> {
    if is_free_threaded || text.windows(14).any(|part| part == b"free-threading") {
        return Some("a free-threaded build allocates past the hooks; use the build with the GIL");
    }
    match version(text) {
        Some((3, 7..)) => None,
        Some((3, 6)) if is_late => None,
        Some((3, 6)) => Some(
            "this CPython overwrites the hooks when it starts; use 3.7 or later, or record a part of the program from \
             inside it (`heaplay recorder`)",
        ),
        Some(_) => Some("this Python is none that the recorder knows; use CPython 3.7 or later"),
        None => Some("its version cannot be read; use CPython 3.7 or later"),
    }
}
