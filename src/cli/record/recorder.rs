//! Room `cli`, verb `recorder`: hands out the recorder for processes that heaplay does not start: a
//! container's start command, which an environment variable is added to, and a program that records
//! a part of itself.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::library;
use super::limits::Limits;

/// The file for programs, as it lies in `scripts/`.
const HELPER: &str = include_str!("../../../scripts/heaplay.py");
const HELPER_NAME: &str = "heaplay.py";

/// Write the recorder into a folder, for a container or for recording from inside a program, and
/// print how to use it
#[derive(clap::Args)]
pub struct RecorderArgs {
    /// The folder: gets heaplay-recorder.so (glibc) and heaplay.py
    folder: PathBuf,
    /// Where the folder will be when the program runs, such as /opt/heaplay in a container
    #[arg(long, value_name = "DIR")]
    at: Option<PathBuf>,
    /// Where the recorded processes put their raw logs: BASE.PID
    #[arg(long, value_name = "BASE", default_value = "/tmp/heaplay-log")]
    logs: PathBuf,
    #[command(flatten)]
    limits: Limits,
}

impl RecorderArgs {
    /// Writes both files and prints.
    ///
    /// # Errors
    /// When the folder cannot be written, or a path cannot stand in an environment variable of the
    /// linker.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let context = || format!("{} cannot be written", self.folder.display());
        fs::create_dir_all(&self.folder).with_context(context)?;
        library::write(&self.folder.join(library::NAME)).with_context(context)?;
        fs::write(self.folder.join(HELPER_NAME), HELPER).with_context(context)?;
        let folder = match &self.at {
            Some(folder) => folder.clone(),
            None => self.folder.canonicalize().with_context(context)?,
        };
        for (path, what) in [(&folder, "--at"), (&self.logs, "--logs")] {
            if !path.is_absolute() {
                bail!(
                    "{}: {what} must be an absolute path: the program may change directory",
                    path.display()
                );
            }
        }
        let preload = folder.join(library::NAME);
        if preload.as_os_str().as_encoded_bytes().iter().any(|byte| b": ".contains(byte)) {
            bail!(
                "{}: the linker cannot load from a path with a blank or a colon",
                preload.display()
            );
        }
        crate::cli::terminal::print(&self.lines(&folder, &preload))?;
        Ok(ExitCode::SUCCESS)
    }

    fn lines(&self, folder: &Path, preload: &Path) -> String {
        let order = self.limits.order(0, self.logs.as_os_str());
        let variables = format!(
            "LD_PRELOAD={} {}={}",
            preload.display(),
            super::order::VARIABLE,
            quoted(&order)
        );
        format!(
            "# A start command (of a container, a service, a shell):\n\
             {variables} python3 app.py\n\n\
             # A Dockerfile:\n\
             COPY {} {}\n\
             ENV {variables}\n\n\
             # Then, wherever heaplay is, a trace of each process:\n\
             heaplay record --recover {}.* -o app.trace\n\n\
             # A part of one program (CPython 3.6 and later), in Python:\n\
             #   sys.path.append({:?}); import heaplay\n\
             #   with heaplay.record(\"part.trace\"): …\n",
            self.folder.display(),
            folder.display(),
            self.logs.display(),
            folder.display().to_string(),
        )
    }
}

/// A value as a shell and a Dockerfile read it back.
fn quoted(value: &OsStr) -> String {
    let text = value.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_=+./,:@%".contains(c);
    if text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
