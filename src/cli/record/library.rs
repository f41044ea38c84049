//! Room `cli`, verb `record`: the recorder as a file that the dynamic linker can load.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::StatVfsMountFlags;

/// The recorder, as the build script compiled it.
const RECORDER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/recorder.so"));

/// The library's file name.
pub const NAME: &str = "heaplay-recorder.so";

/// Writes the recorder to a file. One that is there is replaced whole: a process that has it loaded
/// keeps the old one.
///
/// # Errors
/// When it cannot be written, or this build carries none.
pub fn write(path: &Path) -> anyhow::Result<()> {
    if RECORDER.is_empty() {
        bail!("recording needs 64-bit Linux; this build of heaplay carries no recorder");
    }
    let part = path.with_extension("part");
    drop(fs::remove_file(&part));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o755).open(&part)?.write_all(RECORDER)?;
    Ok(fs::rename(&part, path)?)
}

/// The recorder in a directory of its own, which goes with this value.
pub struct Library {
    directory: PathBuf,
}

impl Library {
    /// Writes it where the linker may load it from: the temporary directory, or beside the output
    /// if that one forbids to execute.
    ///
    /// # Errors
    /// When it cannot be written, or this build carries none.
    pub fn beside(output: &Path) -> anyhow::Result<Library> {
        let mut place = std::path::absolute(std::env::temp_dir())?;
        if !is_loadable(&place) {
            let output = std::path::absolute(output)?;
            place = output.parent().unwrap_or(Path::new("/")).to_owned();
        }
        if place.as_os_str().as_encoded_bytes().iter().any(|byte| b": ".contains(byte)) {
            bail!(
                "{}: the linker cannot load from a path with a blank or a colon; set TMPDIR",
                place.display()
            );
        }
        let directory = place.join(format!("heaplay-{}-{:x}", std::process::id(), nanoseconds()));
        let context =
            || format!("{} cannot be written; set TMPDIR to a place that can", directory.display());
        fs::DirBuilder::new().mode(0o755).create(&directory).with_context(context)?;
        let library = Library { directory: directory.clone() };
        write(&library.path()).with_context(context)?;
        Ok(library)
    }

    fn path(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// The value of `LD_PRELOAD`: the recorder, then what stood there before.
    pub fn preload(&self, before: Option<&OsStr>) -> OsString {
        let mut value = self.path().into_os_string();
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            value.push(":");
            value.push(before);
        }
        value
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Whether libraries may be loaded from there. Where that cannot be told, yes.
fn is_loadable(directory: &Path) -> bool {
    let flags = rustix::fs::statvfs(directory).map(|stat| stat.f_flag);
    flags.is_ok_and(|flags| !flags.contains(StatVfsMountFlags::NOEXEC))
        && !directory.as_os_str().as_encoded_bytes().iter().any(|byte| b": ".contains(byte))
}

fn nanoseconds() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos())
}
