//! A compiled trace, ready for children: in memory files, or, for one that is larger than the memory
//! for it, as an outline whose parts are decoded for each child.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::handover::Handover;
use super::plan::Pace;
use crate::program::{AllocationSites, Feed, Parts, Program, Times};

/// A compiled program in a memory file that children open by path; or the outline of one that is
/// too large for it, which is decoded for each child.
pub struct Loaded {
    /// The program, or its outline alone.
    pub program: Program,
    /// Who asked for each block; empty where the trace does not say.
    pub births: AllocationSites,
    /// When its calls were made; empty where the trace does not say.
    pub times: Times,
    program_file: ProgramFile,
    sites_file: Option<File>,
    times_file: Option<File>,
}

/// Where a program is.
enum ProgramFile {
    Compiled(File),
    /// The trace itself.
    Trace(PathBuf),
}

/// A memory file that `write` has filled.
pub(super) fn memory_file(
    name: &str,
    write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> std::io::Result<File> {
    let file = File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?);
    let mut writer = BufWriter::new(&file);
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    Ok(file)
}

/// Under which children of this process find `file`, while it is open.
pub(super) fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
}

impl Loaded {
    /// Puts `program`, its sites and its times, where it has any, into memory files.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new(program: Program, births: AllocationSites, times: Times) -> std::io::Result<Loaded> {
        let file = memory_file("heaplay-program", |out| program.write(out))?;
        let sites_file = match births.is_empty() {
            true => None,
            false => Some(memory_file("heaplay-births", |out| births.write(out))?),
        };
        let times_file = match times.is_empty() {
            true => None,
            false => Some(memory_file("heaplay-times", |out| times.write(out))?),
        };
        Ok(Loaded {
            program,
            births,
            times,
            program_file: ProgramFile::Compiled(file),
            sites_file,
            times_file,
        })
    }

    /// The trace at `path`, of which `program` is the outline: children get it in parts.
    ///
    /// # Errors
    /// When there is no memory for the times.
    pub fn in_parts(program: Program, times: Times, path: &Path) -> std::io::Result<Loaded> {
        let times_file = match times.is_empty() {
            true => None,
            false => Some(memory_file("heaplay-times", |out| times.write(out))?),
        };
        let program_file = ProgramFile::Trace(path.to_owned());
        Ok(Loaded {
            program,
            births: AllocationSites::default(),
            times,
            program_file,
            sites_file: None,
            times_file,
        })
    }

    /// A path under which this process's children find the program, while this lives. A program in
    /// parts has none: only [`Loaded::hand`] gives it out.
    pub fn path(&self) -> PathBuf {
        match &self.program_file {
            ProgramFile::Compiled(file) => path_of(file),
            ProgramFile::Trace(_) => PathBuf::new(),
        }
    }

    /// The program for a child that measures on `processor`.
    ///
    /// # Errors
    /// When there is no pipe or thread for a program in parts.
    pub fn hand(&self, processor: Option<usize>) -> std::io::Result<Handover> {
        match &self.program_file {
            ProgramFile::Compiled(file) => Ok(Handover::by_file(path_of(file))),
            ProgramFile::Trace(path) => Handover::by_pipe(path, self.program.outline(), processor),
        }
    }

    /// The program as this process walks it itself; `handover` brings the parts.
    ///
    /// # Errors
    /// When they do not begin.
    pub(super) fn feed(&self, handover: &Handover) -> std::io::Result<Feed<'_>> {
        if self.program.is_whole() {
            return Ok((&self.program).into());
        }
        let input: Box<dyn Read> =
            Box::new(BufReader::with_capacity(1 << 16, File::open(handover.path())?));
        Ok(Parts::begin(input)?.into())
    }

    /// What a footprint pass at `pace` waits by.
    pub(super) fn pace(&self, pace: Option<f64>) -> Option<Pace> {
        Some(Pace { times: path_of(self.times_file.as_ref()?), factor: pace? })
    }

    /// The same for the sites.
    pub fn sites_path(&self) -> Option<PathBuf> {
        self.sites_file.as_ref().map(path_of)
    }
}
