//! The start of a program: its files and the backend's library are loaded, the allocator is ready for
//! its first call, and the observer ends the process there. What a library adds to it is no part of a
//! replay, which opens the library before its clock starts.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::deployment::Deployment;
use super::observation::PageReading;
use super::program::{INTERVAL, LiveError, LiveProgram, end_group, io_error, wait_for};
use crate::environment::PYTHONHASHSEED;

/// How long a start may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Which part of a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A whole run.
    Run,
    /// Its start.
    Start,
}

/// How a tool runs the program: its command line, before the program's.
#[derive(Clone, Copy, Debug)]
pub struct Tool<'a> {
    /// The tool's file.
    pub program: &'a OsStr,
    /// Its arguments.
    pub arguments: &'a [OsString],
}

impl LiveProgram {
    /// Processor time of the program's start under a backend, ns. `None` for a launcher, and for a
    /// program that did not end at its start.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start_ns(&self, deployment: &Deployment) -> Result<Option<u64>, LiveError> {
        let Some(order) = self.order_of(Extent::Start) else { return Ok(None) };
        let page = self.page().map_err(io_error("a file for the observer"))?;
        let mut command = self.command(deployment, page.path(), &order);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .map_err(io_error(format!("{}: cannot be started", self.path.display())))?;
        let ended = wait_for(child.id());
        let Ok(found) = ended.recv_timeout(LIMIT) else {
            end_group(Pid::from_child(&child), &ended);
            return Ok(None);
        };
        let usage = found.map_err(io_error("waiting for the program"))?.usage;
        Ok(has_ended_at_start(page.path())?.then_some(usage.user_ns + usage.system_ns))
    }

    /// Lets a tool such as valgrind run a part of the program under a backend. The exit status; `None`
    /// where its start was wanted and it did not end there.
    ///
    /// # Errors
    /// When the tool cannot be run, or does not end within the limit.
    pub fn run_by(
        &self,
        tool: Tool<'_>,
        deployment: &Deployment,
        extent: Extent,
        limit: Duration,
        is_cancelled: fn() -> bool,
    ) -> Result<Option<ExitStatus>, LiveError> {
        let Some(order) = self.order_of(extent) else { return Ok(None) };
        let page = self.page().map_err(io_error("a file for the observer"))?;
        let mut command =
            self.prepared(Command::new(tool.program), deployment, page.path(), &order);
        command.args(tool.arguments).arg(&self.path).args(&self.arguments);
        if std::env::var_os(PYTHONHASHSEED).is_none() {
            command.env(PYTHONHASHSEED, "0");
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .map_err(io_error(format!("{}: cannot be started", tool.program.display())))?;
        let (process, ended) = (Pid::from_child(&child), wait_for(child.id()));
        let started = Instant::now();
        let found = loop {
            match ended.recv_timeout(INTERVAL) {
                Ok(found) => break found.map_err(io_error("waiting for the program"))?,
                Err(_) if is_cancelled() => {
                    end_group(process, &ended);
                    return Err(LiveError::Cancelled);
                }
                Err(_) if started.elapsed() >= limit => {
                    end_group(process, &ended);
                    return Err(LiveError::Timeout { limit });
                }
                Err(_) => {}
            }
        };
        let is_over = extent == Extent::Run || has_ended_at_start(page.path())?;
        Ok(is_over.then_some(found.status))
    }

    /// The part of the observer's order that ends the run; `None` for the start of a launcher, which is
    /// not that of the program.
    fn order_of(&self, extent: Extent) -> Option<String> {
        if extent == Extent::Run {
            return Some(String::new());
        }
        let file = fs::canonicalize(&self.path).ok()?.into_os_string().into_string().ok()?;
        (!self.is_launcher && !file.contains(';')).then(|| format!("start={file};"))
    }
}

fn has_ended_at_start(page: &Path) -> Result<bool, LiveError> {
    let bytes = fs::read(page).map_err(io_error("the observer's file"))?;
    Ok(PageReading::of(bytes).has_ended_at_start())
}
