//! Verb `export`: writes a trace or a run for other viewers.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::output_file;
use super::terminal::note;
use crate::export::{
    ExportError, ExportedProfile, bmf, chrome_trace, firefox, pprof, profile_of_run,
    profile_of_trace, speedscope, stack_table,
};
use crate::results::{Run, TraceEntry};

/// Write a trace or a run for other viewers: bytes by stack, memory over time, figures for dashboards
#[derive(clap::Args)]
pub struct ExportArgs {
    /// The trace, or the run folder
    input: PathBuf,
    /// The format
    #[arg(long = "to", value_enum, value_name = "FORMAT")]
    format: ExportFormat,
    /// The trace of a run that has several
    #[arg(long, value_name = "NAME")]
    trace: Option<String>,
    /// The file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ExportFormat {
    /// Bytes by stack, for https://www.speedscope.app
    Speedscope,
    /// Bytes by stack, for `go tool pprof` and Pyroscope (gzipped protobuf)
    Pprof,
    /// Memory over time, marks and slow calls, for https://ui.perfetto.dev
    ChromeTrace,
    /// Bytes by stack and memory over time, for https://profiler.firefox.com
    Firefox,
    /// The figures of a run, for Bencher's dashboards
    Bmf,
    /// Bytes by stack as a table
    Csv,
}

impl ExportFormat {
    /// Whether it shows nothing but stacks.
    fn needs_stacks(self) -> bool {
        matches!(self, ExportFormat::Speedscope | ExportFormat::Pprof | ExportFormat::Csv)
    }
}

impl ExportArgs {
    /// Reads the input and writes the file.
    ///
    /// # Errors
    /// An input that cannot be read, a format that it has nothing for, or a file that cannot be
    /// written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.format == ExportFormat::Pprof
            && self.out.is_none()
            && std::io::stdout().is_terminal()
        {
            bail!(
                "pprof's files are binary; name one with --out FILE, or redirect standard output"
            );
        }
        let bytes = if self.input.is_dir() { self.of_run()? } else { self.of_trace()? };
        match &self.out {
            Some(path) => {
                output_file::written(std::fs::write(path, &bytes), "-o", path)?;
                note(format!("{}: {} bytes", path.display(), bytes.len()));
            }
            None => {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush()).context("standard output")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn of_trace(&self) -> anyhow::Result<Vec<u8>> {
        let path = self.input.display();
        if self.format == ExportFormat::Bmf {
            bail!(
                "{path}: a trace has no measurements; `heaplay run {path}` makes them, and bmf \
                   takes the run folder"
            );
        }
        if self.trace.is_some() {
            bail!("--trace chooses a trace of a run folder, and {path} is a trace itself");
        }
        write_profile(self.format, &profile_of_trace(&self.input)?, &self.input)
    }

    fn of_run(&self) -> anyhow::Result<Vec<u8>> {
        let run = Run::load(&self.input)?;
        if self.format == ExportFormat::Bmf {
            return Ok(bmf(&run)?);
        }
        let trace = self.chosen(&run)?;
        write_profile(self.format, &profile_of_run(&run, trace), &self.input)
    }

    /// The trace of the run that is exported.
    fn chosen<'a>(&self, run: &'a Run) -> anyhow::Result<&'a TraceEntry> {
        let traces = &run.manifest.traces;
        let names = || {
            let names: Vec<&str> = traces.iter().map(|trace| trace.name.as_str()).collect();
            names.join(", ")
        };
        let folder = self.input.display();
        match (&self.trace, traces.as_slice()) {
            (Some(name), _) => traces
                .iter()
                .find(|trace| trace.name == *name)
                .with_context(|| format!("{folder}: has no trace `{name}`, but {}", names())),
            (None, [only]) => Ok(only),
            (None, _) => {
                bail!("{folder}: has several traces; choose one with --trace: {}", names())
            }
        }
    }
}

fn write_profile(
    format: ExportFormat,
    profile: &ExportedProfile,
    input: &Path,
) -> anyhow::Result<Vec<u8>> {
    if format.needs_stacks() && profile.stacks.is_empty() {
        return Err(ExportError::NoSites { path: input.to_owned() }.into());
    }
    Ok(match format {
        ExportFormat::Speedscope => speedscope(profile),
        ExportFormat::Pprof => pprof(profile),
        ExportFormat::ChromeTrace => chrome_trace(profile),
        ExportFormat::Firefox => firefox(profile),
        ExportFormat::Csv => stack_table(profile),
        ExportFormat::Bmf => bail!("bmf takes a run folder"),
    }?)
}
