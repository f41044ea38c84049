//! Verb `import`: reads the files of other recorders, shows them or makes traces of them.
//! `import/series_order.rs` puts snapshots in order.

mod series_order;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{anyhow, bail};

use self::series_order::in_order;
use super::convert::is_same_file;
use super::numbers::whole;
use super::tables::{percent, table};
use super::terminal::{note, print};
use crate::trace::{self, FOREIGN, FileKind, Foreign, ForeignLog, Series, Snapshot, TraceError};
use crate::units;

/// Read the files of other recorders. Snapshots of tracemalloc (one, or a series in its order) are
/// shown or made into a trace. A log is made into a trace: heaptrack, `valgrind --trace-malloc=yes`,
/// glibc's mtrace and binary traces, Firefox logalloc, Android's memory trace, `memray parse`,
/// bytehound, NVIDIA RMM, malloc-lab
#[derive(clap::Args)]
pub struct ImportArgs {
    /// Files of tracemalloc.Snapshot.dump in their order, or one log; recognised by content, also
    /// behind gzip, zstd, xz, bzip2, lz4 and zip
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The trace to write: NAME.csv or NAME.trace. Without this option, snapshots are shown as tables
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// The format of the log, where its beginning does not show it
    #[arg(
        long,
        value_name = "NAME",
        value_parser = clap::builder::PossibleValuesParser::new(names())
    )]
    format: Option<String>,
    /// The process of a log of several to import [default: the first one of the log]
    #[arg(
        long,
        value_name = "PID",
        value_parser = whole::<u64>("the number of a process", 0..=u64::MAX, 4711)
    )]
    process: Option<u64>,
    /// How many lines of the program to list
    #[arg(
        long,
        default_value_t = 10,
        value_name = "N",
        value_parser = whole::<usize>("a number of lines", 0..=u64::MAX, 10)
    )]
    sites: usize,
}

fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(SNAPSHOT).chain(FOREIGN.iter().map(|foreign| foreign.name))
}

/// What the files of an import are.
enum ImportSource {
    /// Snapshots of tracemalloc.
    Snapshots,
    /// One log.
    Log(&'static Foreign),
}

/// `1 snapshot`, `2 snapshots`.
fn snapshots(count: usize) -> String {
    format!("{count} snapshot{}", if count == 1 { "" } else { "s" })
}

/// The error for several files of which one is a log.
fn one_by_one(file: &Path, member: &Foreign, count: usize) -> anyhow::Error {
    let shown = file.display();
    anyhow!(
        "{shown}: is {}, one of {count} files, and only snapshots of tracemalloc come in series; \
         import each log by itself: `heaplay import {shown} -o NAME.trace`",
        member.description
    )
}

/// The name of snapshots in `--format`.
const SNAPSHOT: &str = "tracemalloc";

impl ImportArgs {
    /// Imports.
    ///
    /// # Errors
    /// A file of an unknown or faulty format, or a trace that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(output) = &self.output
            && self.files.iter().any(|file| is_same_file(file, output))
        {
            bail!("{}: input and output are the same file; give another name", output.display());
        }
        let source = self.source()?;
        if let (ImportSource::Snapshots, Some(process)) = (&source, self.process) {
            bail!("snapshots of tracemalloc name no processes; leave out --process {process}");
        }
        match (source, &self.output) {
            (ImportSource::Snapshots, Some(output)) => self.series(output)?,
            (ImportSource::Snapshots, None) => self.show()?,
            (ImportSource::Log(member), Some(output)) => self.log(member, output)?,
            (ImportSource::Log(member), None) => bail!(
                "{}: is {}; give its trace a name with -o NAME.trace, then `heaplay inspect` \
                 shows it",
                self.files[0].display(),
                member.description
            ),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What the files are: as `--format` names it, or as the first file shows.
    fn source(&self) -> anyhow::Result<ImportSource> {
        if let Some(name) = &self.format {
            let member = FOREIGN.iter().find(|foreign| foreign.name == name);
            return Ok(member.map_or(ImportSource::Snapshots, ImportSource::Log));
        }
        let Some(first) = self.files.first() else { return Ok(ImportSource::Snapshots) };
        let identified = trace::identify(first)?;
        if self.files.len() > 1 {
            self.refuse_logs()?;
        }
        match identified.kind {
            FileKind::Pickle => Ok(ImportSource::Snapshots),
            FileKind::Log(member) => Ok(ImportSource::Log(member)),
            _ => {
                let known: Vec<&str> = FOREIGN.iter().map(|foreign| foreign.description).collect();
                let expected = format!(
                    "a tracemalloc snapshot, or {}; --format NAME forces a format",
                    known.join(", ")
                );
                Err(identified.unread(first, &expected).into())
            }
        }
    }

    /// Refuses the first log of several files: only snapshots come in series.
    fn refuse_logs(&self) -> anyhow::Result<()> {
        for file in &self.files {
            if let FileKind::Log(member) = trace::identify(file)?.kind {
                return Err(one_by_one(file, member, self.files.len()));
            }
        }
        Ok(())
    }

    /// The error of a reader, with what the file looks like where `--format` forced another reader.
    fn with_kind(&self, file: &Path, error: TraceError) -> anyhow::Error {
        let (
            Some(forced),
            TraceError::Line { .. } | TraceError::Byte { .. } | TraceError::Unread { .. },
        ) = (&self.format, &error)
        else {
            return error.into();
        };
        let Ok(identified) = trace::identify(file) else { return error.into() };
        let is_forced = match &identified.kind {
            FileKind::Empty | FileKind::Unknown(_) => true,
            FileKind::Log(member) => member.name == forced,
            FileKind::Pickle => forced == SNAPSHOT,
            FileKind::Trace(_) | FileKind::Unread(..) => false,
        };
        if is_forced {
            return error.into();
        }
        let (shown, kind) = (file.display(), identified.description());
        let place = match &error {
            TraceError::Line { line, .. } => format!(", which fails at line {line}"),
            TraceError::Byte { offset, .. } => format!(", which fails at byte {offset}"),
            _ => ", which finds no calls".to_owned(),
        };
        anyhow!(
            "{shown}: --format {forced} forces that format{place}; the file looks like {kind}: leave \
             out --format"
        )
    }

    /// Makes a trace of one log.
    fn log(&self, member: &'static Foreign, output: &Path) -> anyhow::Result<()> {
        let [file] = self.files.as_slice() else {
            return Err(one_by_one(&self.files[0], member, self.files.len()));
        };
        let log = ForeignLog::open(file, member)?.of_process(self.process);
        let imported = log.convert(output).map_err(|error| self.with_kind(file, error))?;
        note(format!(
            "{}: {} calls, {} of them rows, from {}",
            output.display(),
            imported.events,
            imported.rows,
            member.description
        ));
        imported.notes().iter().for_each(note);
        Ok(())
    }

    /// Makes a trace of a series of snapshots.
    fn series(&self, output: &Path) -> anyhow::Result<()> {
        let mut series = Series::new();
        for file in &in_order(&self.files)? {
            let snapshot = Snapshot::open(file).map_err(|error| self.with_kind(file, error))?;
            series.add(&snapshot)?;
        }
        let (all, vouched) = series.vouched_bytes();
        let events = series.events();
        let domains = series.domains();
        let rows = trace::copy(&mut series.into_reader(), output)?;
        note(format!(
            "{}: {rows} blocks in {events} calls, synthesised from {}; {} of {} ({}) are vouched \
             for",
            output.display(),
            snapshots(self.files.len()),
            units::bytes(vouched as f64),
            units::bytes(all as f64),
            percent(vouched, all),
        ));
        let shares: Vec<String> = domains
            .iter()
            .map(|(domain, blocks)| format!("{} {}", domain.name(), percent(*blocks, rows)))
            .collect();
        if domains.iter().any(|(domain, _)| *domain == trace::Domain::Raw) {
            note(format!("blocks by domain: {}", shares.join(", ")));
        }
        if self.files.len() == 1 {
            note(
                "one snapshot has births only: give a series (scripts/tracemalloc-series.py) for \
                 lifetimes",
            );
        }
        Ok(())
    }

    /// Shows live blocks at each snapshot, and at the last snapshot by site and by size.
    fn show(&self) -> anyhow::Result<()> {
        let mut snapshots = Vec::new();
        let mut last = None;
        for file in &in_order(&self.files)? {
            let snapshot = Snapshot::open(file).map_err(|error| self.with_kind(file, error))?;
            snapshots.push(vec![
                file.display().to_string(),
                snapshot.blocks().to_string(),
                units::bytes(snapshot.bytes() as f64),
            ]);
            last = Some(snapshot);
        }
        let Some(last) = last else {
            bail!("no file was given; give files of tracemalloc.Snapshot.dump")
        };
        let all = last.bytes();
        let row = |name: String, blocks: u64, bytes: u128| {
            vec![name, blocks.to_string(), units::bytes(bytes as f64), percent(bytes, all)]
        };
        let sites = last.by_site();
        let more = sites.len().saturating_sub(self.sites);
        let shown = sites
            .iter()
            .take(self.sites)
            .map(|live| row(live.name.clone(), live.blocks, live.bytes));
        let mut text = table(&["snapshot", "live blocks", "live bytes"], snapshots);
        text += &table(&["line, most live first", "blocks", "bytes", "share"], shown.collect());
        if more > 0 {
            text += &format!("and {more} more lines (--sites N)\n\n");
        }
        let sizes = last.by_size().into_iter();
        let sizes = sizes.map(|(limit, blocks, bytes)| {
            row(format!("up to {}", units::bytes(limit as f64)), blocks, bytes)
        });
        text += &table(&["size", "blocks", "bytes", "share"], sizes.collect());
        print(&text)
    }
}
