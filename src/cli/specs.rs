//! Backend specs as options hold them: read, and validated before anything is measured.

use std::path::Path;

use anyhow::bail;

use super::terminal::note;
use crate::backends::{self, BackendError};
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

/// The spec, with the path of the installed library where it names one by its label
/// (`so:libjemalloc`). Refuses a setting that a backend does not have, and a library that is not there.
/// Any other backend that cannot be had on this machine passes: its child reports the reason.
fn validated(spec: BackendSpec) -> anyhow::Result<BackendSpec> {
    validate(&spec)?;
    let Some(found) = backends::with_installed_library(&spec)? else { return Ok(spec) };
    note(format!("{spec} is {found}"));
    Ok(found)
}

fn validate(spec: &BackendSpec) -> anyhow::Result<()> {
    for layer in spec.layers().filter(|layer| layer.is_library()) {
        // The loader looks up a name without a folder.
        let Some(path) = layer.path().filter(|path| path.contains('/')) else { continue };
        let found = match Path::new(path) {
            path if path.is_file() => continue,
            path if path.is_dir() => "a folder",
            path if path.exists() => "no regular file",
            // Its child reports why it cannot be read.
            path if path.try_exists().is_err() => continue,
            _ => "no such file",
        };
        bail!(
            "backend `{spec}`: expected a shared library at {path}, found {found}; check the path, or \
             choose one of `heaplay backends`"
        );
    }
    for error in [backends::environment(spec).err(), backends::describe(spec).err()] {
        match error {
            None | Some(BackendError::Unavailable { .. }) => {}
            Some(error) => return Err(error.into()),
        }
    }
    Ok(())
}
