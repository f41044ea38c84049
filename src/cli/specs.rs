//! Backend specs as options hold them: read, and validated before anything is measured.

use anyhow::bail;

use super::terminal::note;
use crate::backends;
use crate::spec::BackendSpec;

/// Reads the specs of `--backends` (see [`backends::parse_list`]).
///
/// # Errors
/// A spec that names no backend, one with a setting that its backend does not have, or one that is
/// given twice.
pub fn read_list(lists: &[String]) -> anyhow::Result<Vec<BackendSpec>> {
    let mut specs: Vec<BackendSpec> = Vec::new();
    for list in lists {
        for spec in backends::parse_list(list)? {
            let spec = validated(spec)?;
            if specs.contains(&spec) {
                bail!("--backends: `{spec}` is there twice; name each once");
            }
            specs.push(spec);
        }
    }
    Ok(specs)
}

/// Reads one spec.
///
/// # Errors
/// As [`read_list`].
pub fn read(text: &str) -> anyhow::Result<BackendSpec> {
    validated(backends::parse(text)?)
}

/// Reads one spec of which nothing has to be on this machine.
///
/// # Errors
/// As [`backends::parse`].
pub fn read_known(text: &str) -> anyhow::Result<BackendSpec> {
    with_path(backends::parse(text)?)
}

/// The spec, with the path of the installed library where it names one by its label
/// (`so:libjemalloc`). A backend of which only a child can say that this machine has it not passes: the
/// child reports the reason.
fn validated(spec: BackendSpec) -> anyhow::Result<BackendSpec> {
    validate(&spec)?;
    with_path(spec)
}

/// The spec, with the path of the library that its label names.
fn with_path(spec: BackendSpec) -> anyhow::Result<BackendSpec> {
    let Some(found) = backends::with_installed_library(&spec)? else { return Ok(spec) };
    note(format!("{spec} is {found}"));
    Ok(found)
}

/// Refuses what is known without a child: a version or a setting that a backend does not have, a
/// library or an interpreter that is not there.
fn validate(spec: &BackendSpec) -> anyhow::Result<()> {
    backends::look_at_libraries(spec)?;
    backends::environment(spec)?;
    backends::describe(spec)?;
    Ok(())
}
