//! Backend specs as options hold them: read, and validated before anything is measured.

use std::io::ErrorKind;

use anyhow::bail;

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
            validate(&spec)?;
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
    let spec = backends::parse(text)?;
    validate(&spec)?;
    Ok(spec)
}

/// Refuses a setting that a backend does not have, and the path of a library where no file is. Any
/// other backend that cannot be had on this machine passes: its child reports the reason.
fn validate(spec: &BackendSpec) -> anyhow::Result<()> {
    for layer in spec.layers().filter(|layer| layer.is_library()) {
        // The loader looks up a name without a folder.
        let Some(path) = layer.path().filter(|path| path.contains('/')) else { continue };
        if std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            bail!(
                "backend `{spec}`: expected a shared library at {path}, found no such file; check the \
                 path, or choose one of `heaplay backends`"
            );
        }
    }
    for error in [backends::environment(spec).err(), backends::describe(spec).err()] {
        match error {
            None | Some(BackendError::Unavailable { .. }) => {}
            Some(error) => return Err(error.into()),
        }
    }
    Ok(())
}
