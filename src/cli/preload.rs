//! Writes an embedded library to a file that the dynamic linker can load.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::StatVfsMountFlags;
use tempfile::TempDir;

/// A library, as the build script compiled it.
#[derive(Clone, Copy)]
pub struct EmbeddedLibrary {
    /// Its file name.
    pub name: &'static str,
    bytes: &'static [u8],
}

/// Records the allocations of the program into which it is loaded.
pub const RECORDER: EmbeddedLibrary = EmbeddedLibrary {
    name: "heaplay-recorder.so",
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/recorder.so")),
};

/// Reads what the program into which it is loaded holds, at its marks and at its end.
pub const OBSERVER: EmbeddedLibrary = EmbeddedLibrary {
    name: "heaplay-observer.so",
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/observer.so")),
};

impl EmbeddedLibrary {
    /// Writes the library to a file. An existing file is replaced by a new one, so a process that
    /// loaded the old file is not affected.
    ///
    /// # Errors
    /// When the file cannot be written, or this build lacks the library.
    pub fn write(self, path: &Path) -> anyhow::Result<()> {
        if self.bytes.is_empty() {
            bail!("this needs 64-bit Linux; this build of heaplay has no {}", self.name);
        }
        let part = path.with_extension("part");
        drop(fs::remove_file(&part));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o755).open(&part)?.write_all(self.bytes)?;
        Ok(fs::rename(&part, path)?)
    }
}

/// A library in a temporary directory, which is removed with this value.
pub struct Library {
    directory: TempDir,
    name: &'static str,
}

impl Library {
    /// Writes the library into a new directory in the temporary directory. Where the mount of that
    /// one forbids execution, the new directory lies beside `output`.
    ///
    /// # Errors
    /// When the file cannot be written, or this build lacks the library.
    pub fn beside(embedded: EmbeddedLibrary, output: &Path) -> anyhow::Result<Library> {
        let mut parent = std::path::absolute(std::env::temp_dir())?;
        if !is_loadable(&parent) {
            let output = std::path::absolute(output)?;
            parent = output.parent().unwrap_or(Path::new("/")).to_owned();
        }
        if has_blank_or_colon(&parent) {
            bail!(
                "{}: the linker cannot load from a path with a blank or a colon; set TMPDIR",
                parent.display()
            );
        }
        let context =
            || format!("{} cannot be written; set TMPDIR to another directory", parent.display());
        // A program that changes its user must be able to load the library, too.
        let directory = tempfile::Builder::new()
            .prefix("heaplay-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(&parent)
            .with_context(context)?;
        let library = Library { directory, name: embedded.name };
        embedded.write(&library.path()).with_context(context)?;
        Ok(library)
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join(self.name)
    }

    /// The value of `LD_PRELOAD`: the library, then the value `before`.
    pub fn preload(&self, before: Option<&OsStr>) -> OsString {
        let mut value = self.path().into_os_string();
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            value.push(":");
            value.push(before);
        }
        value
    }
}

/// Whether libraries may be loaded from a directory.
fn is_loadable(directory: &Path) -> bool {
    let flags = rustix::fs::statvfs(directory).map(|stat| stat.f_flag);
    flags.is_ok_and(|flags| !flags.contains(StatVfsMountFlags::NOEXEC))
        && !has_blank_or_colon(directory)
}

/// Whether a path has a character at which the linker splits `LD_PRELOAD`.
pub fn has_blank_or_colon(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| b": ".contains(byte))
}
