//! Verb `recorder`: writes the recorder to a folder, for processes that heaplay does not start. The
//! start command of a container sets an environment variable; another program records a part of
//! itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::limits::{LimitArgs, order};
use crate::cli::preload::{RECORDER, has_blank_or_colon};
use crate::cli::{shell, terminal};

/// The Python package for programs that are recorded from inside.
const PACKAGE: &str = "heaplay";
/// Its files.
const PACKAGE_FILES: [(&str, &str); 5] = [
    ("__init__.py", include_str!("../../../python/heaplay/__init__.py")),
    ("__main__.py", include_str!("../../../python/heaplay/__main__.py")),
    ("_program.py", include_str!("../../../python/heaplay/_program.py")),
    ("late.py", include_str!("../../../python/heaplay/late.py")),
    ("py.typed", include_str!("../../../python/heaplay/py.typed")),
];

/// Write the recorder into a folder, for a container or for recording from inside a program, and
/// print how to use it
#[derive(clap::Args)]
pub struct RecorderArgs {
    /// The folder for heaplay-recorder.so (glibc) and the Python package heaplay
    folder: PathBuf,
    /// The folder's path when the program runs, such as /opt/heaplay in a container
    #[arg(long, value_name = "DIR")]
    at: Option<PathBuf>,
    /// The path of the raw logs of the recorded processes: BASE.PID
    #[arg(long, value_name = "BASE", default_value = "/tmp/heaplay-log")]
    logs: PathBuf,
    #[command(flatten)]
    limits: LimitArgs,
}

impl RecorderArgs {
    /// Writes the library and the package, and prints their use.
    ///
    /// # Errors
    /// When the folder cannot be written, or the linker cannot load from its path.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let context = || format!("{} cannot be written", self.folder.display());
        fs::create_dir_all(&self.folder).with_context(context)?;
        RECORDER.write(&self.folder.join(RECORDER.name)).with_context(context)?;
        let package = self.folder.join(PACKAGE);
        fs::create_dir_all(&package).with_context(context)?;
        for (name, content) in PACKAGE_FILES {
            fs::write(package.join(name), content).with_context(context)?;
        }
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
        let preload = folder.join(RECORDER.name);
        if has_blank_or_colon(&preload) {
            bail!(
                "{}: the linker cannot load from a path with a blank or a colon",
                preload.display()
            );
        }
        terminal::print(&self.lines(&folder, &preload))?;
        Ok(ExitCode::SUCCESS)
    }

    fn lines(&self, folder: &Path, preload: &Path) -> String {
        let value = self.limits.order(0, true, self.logs.as_os_str());
        let variables = format!(
            "LD_PRELOAD={} {}={}",
            preload.display(),
            order::VARIABLE,
            shell::line([&*value.to_string_lossy()])
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
