//! Verb `import`: reads the files of other recorders, shows them or makes traces of them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;

use super::convert::is_same_file;
use super::inspect::{percent, table};
use super::terminal::{note, print};
use crate::trace::{self, FOREIGN, ForeignLog, Series, Snapshot};
use crate::units;

/// Read the files of other recorders. Snapshots of tracemalloc (one, or a series in its order) are
/// shown or made into a trace. A log is made into a trace: malloc-lab, glibc's mtrace, Firefox
/// logalloc, Android's memory trace, `memray parse`
#[derive(clap::Args)]
pub struct ImportArgs {
    /// Files of tracemalloc.Snapshot.dump in their order, or one log; recognised by content, gzip is
    /// unpacked
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
    /// How many lines of the program to list
    #[arg(long, default_value_t = 10, value_name = "N")]
    sites: usize,
}

fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(SNAPSHOT).chain(FOREIGN.iter().map(|foreign| foreign.name))
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
        let is_snapshot = match (&self.format, self.files.first()) {
            (Some(format), _) => format == SNAPSHOT,
            (None, Some(first)) => trace::is_snapshot(first)?,
            (None, None) => true,
        };
        match &self.output {
            Some(output) if is_snapshot => self.series(output)?,
            Some(output) => self.log(output)?,
            None if is_snapshot => self.show()?,
            None => {
                let log = ForeignLog::open(&self.files[0], self.format.as_deref())?;
                bail!(
                    "{}: is {}; give its trace a name with -o NAME.trace, then `heaplay inspect` \
                     shows it",
                    self.files[0].display(),
                    log.format().description
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Makes a trace of one log.
    fn log(&self, output: &Path) -> anyhow::Result<()> {
        let [file] = self.files.as_slice() else {
            bail!("{} files: a log is one file; only snapshots come in series", self.files.len());
        };
        let log = ForeignLog::open(file, self.format.as_deref())?;
        let imported = log.convert(output)?;
        note(format!(
            "{}: {} calls, {} of them rows, from {}",
            output.display(),
            imported.events,
            imported.rows,
            log.format().description
        ));
        for (count, what) in [
            (imported.unseen_frees, "frees were of blocks that the log never saw"),
            (imported.unseen_ends, "blocks ended unseen: their addresses came back"),
            (imported.left_out, "lines were left out: a trace does not hold their kind"),
        ] {
            if count > 0 {
                note(format!("{count} {what}"));
            }
        }
        Ok(())
    }

    /// Makes a trace of a series of snapshots.
    fn series(&self, output: &Path) -> anyhow::Result<()> {
        let mut series = Series::new();
        for file in &self.files {
            series.add(&Snapshot::open(file)?)?;
        }
        let (all, vouched) = series.vouched_bytes();
        let events = series.events();
        let rows = trace::copy(&mut series.into_reader(), output)?;
        note(format!(
            "{}: {rows} blocks in {events} calls, synthesised from {} snapshots; {} of {} bytes are \
             vouched for",
            output.display(),
            self.files.len(),
            percent(vouched, all),
            units::bytes(all as f64),
        ));
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
        for file in &self.files {
            let snapshot = Snapshot::open(file)?;
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
        let row = |name: String, blocks: u64, bytes: u64| {
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
