//! Whether two sides of a check are the same, so that there is nothing to measure.

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::{BenchError, io_error};
use super::pairs::Side;
use crate::spec::{BackendSpec, SpecError};

/// Whether both sides have the same backends with the same settings, and the same contents of every
/// file that they load.
///
/// # Errors
/// When a file of a side cannot be read.
pub fn are_identical([baseline, candidate]: &[Side; 2]) -> Result<bool, BenchError> {
    Ok(identity(baseline)? == identity(candidate)?)
}

/// SHA-256 of a file, in hex.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_of_file(path: &Path) -> Result<String, BenchError> {
    let hash = || -> io::Result<String> {
        let mut hash = Sha256::new();
        io::copy(&mut File::open(path)?, &mut hash)?;
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    };
    hash().map_err(io_error(path.display().to_string()))
}

/// A text that two sides share only if they are the same.
fn identity(side: &Side) -> Result<String, BenchError> {
    let not_a_spec = |error: SpecError| io_error(side.backend.clone())(io::Error::other(error));
    let spec: BackendSpec = side.backend.parse().map_err(not_a_spec)?;
    let mut text = String::new();
    for layer in spec.layers() {
        text.push_str(&format!("{}@{:?}:{:?}", layer.name(), layer.version(), layer.prefix()));
        match layer.path() {
            Some(path) if path.contains('/') => text.push_str(&sha256_of_file(path.as_ref())?),
            path => text.push_str(path.unwrap_or_default()),
        }
        for (key, value) in layer.settings() {
            text.push_str(&format!(":{key}={value}"));
        }
        text.push('+');
    }
    text.push_str(&sha256_of_file(&side.executable())?);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_compared_by_their_contents() {
        let folder = tempfile::tempdir().unwrap();
        let side = |name: &str, contents: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, contents).unwrap();
            Side::of(&format!("so:{}", path.display()))
        };
        let (one, same, other) = (side("a.so", "1"), side("b+c:d.so", "1"), side("c.so", "2"));
        assert!(are_identical(&[one.clone(), same]).unwrap());
        assert!(!are_identical(&[one.clone(), other]).unwrap());
        assert!(are_identical(&[Side::of("so:/no/such.so"), one]).is_err());
        let [a, b] = ["pymalloc+malloc", "pymalloc+bump"].map(Side::of);
        assert!(!are_identical(&[a, b]).unwrap());
    }
}
