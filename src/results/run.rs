//! A run in memory: its manifest and its tables, which are declared once, at [`tables!`]. Reading,
//! writing, joining and removing follow from that declaration.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::RecordError;
use super::file::{read_table, replace, write_table};
use super::key::{CellKey, Pass, Scope};
use super::latency_log;
use super::manifest::{FORMAT, Manifest, OLDEST_FORMAT};
use super::metric::Metric;
use super::seal::{CHECKSUMS, Checksum, check_seal, seal};
use super::tables::{
    Attribution, Chunk, Fullness, HeapRow, Latency, Measurement, Moment, OTHER_SITES, Outcome,
    Rounding, Sample, SizeClass, Status, WhatIf,
};
use super::tail::{LatencyRow, ServiceTimes, SlowCall};

/// A row of one table, with the cell that it belongs to.
trait RowKey {
    /// The trace's name.
    fn trace(&self) -> &str;
    /// The backend's spec.
    fn backend(&self) -> &str;
    /// Which measurement.
    fn pass(&self) -> Pass;
    /// The repetition; `None` for a row that is made of all repetitions of a latency pass together.
    fn repetition(&self) -> Option<u32>;

    /// Whether the row belongs to one of `cells`, or is made of repetitions one of which is among them.
    fn is_of(&self, cells: &HashSet<CellKey>) -> bool {
        let is_mine = |cell: &CellKey| {
            (cell.trace.as_str(), cell.backend.as_str(), cell.pass)
                == (self.trace(), self.backend(), self.pass())
        };
        match self.repetition() {
            Some(repetition) => cells.contains(&CellKey {
                trace: self.trace().to_owned(),
                backend: self.backend().to_owned(),
                pass: self.pass(),
                repetition,
            }),
            None => cells.iter().any(is_mine),
        }
    }
}

/// Declares the tables of a run: field, row type, file, and for a row `row` its pass and repetition.
/// `via` names the module that reads and writes a file that is no CSV table.
macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident: $row:ty, $file:literal, |$it:ident| $pass:expr, $repetition:expr
        $(, via $codec:ident)?;)*) => {
        /// A run in memory.
        #[derive(Clone, Debug)]
        pub struct Run {
            /// What was planned, on what.
            pub manifest: Manifest,
            $($(#[$doc])* pub $field: Vec<$row>,)*
        }

        $(impl RowKey for $row {
            fn trace(&self) -> &str {
                &self.trace
            }
            fn backend(&self) -> &str {
                &self.backend
            }
            fn pass(&self) -> Pass {
                let $it = self;
                let _ = $it;
                $pass
            }
            fn repetition(&self) -> Option<u32> {
                let $it = self;
                let _ = $it;
                $repetition
            }
        })*

        /// The files of the tables.
        const FILES: &[&str] = &[$($file,)*];

        impl Run {
            /// A run in which nothing was measured yet.
            pub fn new(manifest: Manifest) -> Run {
                Run { manifest, $($field: Vec::new(),)* }
            }

            /// Adds all rows of `other`.
            pub fn absorb(&mut self, other: Run) {
                $(self.$field.extend(other.$field);)*
            }

            /// Drops every row for which `is_gone` holds.
            fn drop_rows(&mut self, is_gone: impl Fn(&dyn RowKey) -> bool) {
                $(self.$field.retain(|row| !is_gone(row));)*
            }

            fn read_tables(&mut self, folder: &Path) -> Result<(), RecordError> {
                $(self.$field = tables!(@read file_in(folder, $file) $(, $codec)?)?;)*
                Ok(())
            }

            fn write_tables(&self, folder: &Path) -> Result<(), RecordError> {
                $(tables!(@write folder.join($file), &self.$field $(, $codec)?)?;)*
                Ok(())
            }
        }
    };
    (@read $path:expr) => { read_table(&$path) };
    (@read $path:expr, $codec:ident) => { $codec::read(&$path) };
    (@write $path:expr, $rows:expr) => { write_table(&$path, $rows) };
    (@write $path:expr, $rows:expr, $codec:ident) => { $codec::write(&$path, $rows) };
}

// The outcomes come last: their file marks a cell's folder as whole.
tables! {
    /// Figures.
    measurements: Measurement, "measurements.csv",
        |row| row.pass, (!row.metric.is_confirmed()).then_some(row.repetition);
    /// Heap samples.
    samples: Sample, "samples.csv", |row| Pass::Footprint, Some(row.repetition);
    /// Page fullness at two moments.
    fullness: Fullness, "fullness.csv", |row| Pass::Footprint, Some(row.repetition);
    /// Rounding by size class at the same moments.
    rounding: Rounding, "rounding.csv", |row| Pass::Footprint, Some(row.repetition);
    /// Usable bytes by size of the request.
    size_classes: SizeClass, "size_classes.csv", |row| Pass::Footprint, Some(row.repetition);
    /// Which line retains how much, at the same moments and at marks of the program.
    attributions: Attribution, "attribution.csv", |row| Pass::Footprint, Some(row.repetition);
    /// Residency over the replay.
    heap_map: HeapRow, "heap_map.csv", |row| Pass::Footprint, Some(row.repetition);
    /// What moving the first line of the attribution really saves.
    what_ifs: WhatIf, "what_ifs.csv", |row| Pass::Footprint, Some(0);
    /// Segments of time passes.
    chunks: Chunk, "chunks.csv", |row| Pass::Time, Some(row.repetition);
    /// Service times by operation and size class.
    service_times: ServiceTimes, "service_times.csv", |row| Pass::Latency, None;
    /// Calls that were slow.
    slow_calls: SlowCall, "slow_calls.csv", |row| Pass::Latency, None;
    /// Service times over the replay.
    latency_map: LatencyRow, "latency_map.csv", |row| Pass::Latency, None;
    /// Histograms of service times.
    latencies: Latency, "latencies.hlog", |row| Pass::Latency, row.repetition, via latency_log;
    /// Which cells were tried.
    outcomes: Outcome, "cells.csv", |row| row.pass, Some(row.repetition);
}

/// Tables that format 1 had under another name: today's name and the former one.
const FORMER_FILES: [(&str, &str); 1] = [("attribution.csv", "pins.csv")];

/// Where a table lies in a folder: under its name, or under its former one.
fn file_in(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let former = FORMER_FILES.iter().find(|(now, _)| *now == name);
    match former.map(|(_, former)| folder.join(former)) {
        Some(former) if !path.exists() && former.exists() => former,
        _ => path,
    }
}

/// Every file that a seal may hold.
fn sealed_files() -> Vec<&'static str> {
    FILES.iter().copied().chain(FORMER_FILES.map(|(_, former)| former)).collect()
}

const MANIFEST: &str = "manifest.json";
/// The folder of finished cells inside an unfinished run.
const CELLS: &str = "cells";

impl Run {
    /// Reads a run folder, finished or not.
    ///
    /// # Errors
    /// When it is no run folder, of another layout, or a table in it is broken.
    pub fn load(folder: &Path) -> Result<Run, RecordError> {
        let manifest = load_manifest(folder)?;
        check_seal(folder, &sealed_files())?;
        let mut run = Run::new(manifest);
        run.read_tables(folder)?;
        let cells = folder.join(CELLS);
        if cells.is_dir() {
            let mut folders: Vec<PathBuf> = fs::read_dir(&cells)
                .map_err(|source| RecordError::Io { path: cells.clone(), source })?
                .filter_map(|entry| entry.ok().map(|e| e.path()))
                .filter(|path| path.is_dir() && path.extension().is_none())
                .collect();
            folders.sort();
            let mut seen: HashSet<CellKey> = run.outcomes.iter().map(Outcome::cell).collect();
            for folder in folders {
                let mut cell = Run::new(run.manifest.clone());
                cell.read_tables(&folder)?;
                // A crash between folding and removing leaves a cell in both places: count it once.
                if cell.outcomes.iter().all(|outcome| seen.insert(outcome.cell())) {
                    run.absorb(cell);
                }
            }
        }
        Ok(run)
    }

    /// Writes the whole run as a folder. Each file is written under another name first, so that a
    /// crash leaves the old file or the new one.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), RecordError> {
        fs::create_dir_all(folder)
            .map_err(|source| RecordError::Io { path: folder.to_owned(), source })?;
        // Between two seals there is none: a crash in between leaves tables without checksums, not
        // a false alarm.
        write_table::<Checksum>(&folder.join(CHECKSUMS), &[])?;
        self.save_tables(folder)?;
        for (_, former) in FORMER_FILES {
            write_table::<Checksum>(&folder.join(former), &[])?; // a table without rows has no file
        }
        seal(folder, FILES)?;
        self.save_manifest(folder)
    }

    /// Writes only the manifest.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_manifest(&self, folder: &Path) -> Result<(), RecordError> {
        let text = serde_json::to_string_pretty(&self.manifest).unwrap_or_default() + "\n";
        replace(&folder.join(MANIFEST), |file| file.write_all(text.as_bytes()))
    }

    /// Writes only the tables: what a worker leaves for its cell.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_tables(&self, folder: &Path) -> Result<(), RecordError> {
        self.write_tables(folder)
    }

    /// Writes only which cells were tried: what marks a cell's folder as whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_outcomes(&self, folder: &Path) -> Result<(), RecordError> {
        write_table(&folder.join("cells.csv"), &self.outcomes)
    }

    /// Reads only the tables, as [`Run::save_tables`] left them; the manifest is empty.
    ///
    /// # Errors
    /// When a table is broken.
    pub fn load_tables(folder: &Path) -> Result<Run, RecordError> {
        let mut run = Run::new(Manifest::default());
        run.read_tables(folder)?;
        Ok(run)
    }

    /// Drops every row of the cells in `gone`, and rows that are made of several repetitions when one
    /// of theirs is gone.
    pub fn remove(&mut self, gone: &HashSet<CellKey>) {
        self.drop_rows(|row| row.is_of(gone));
    }

    /// Drops the rows that are made of all repetitions of a latency pass together.
    pub fn remove_confirmed(&mut self, trace: &str, backend: &str) {
        self.drop_rows(|row| {
            row.repetition().is_none() && row.trace() == trace && row.backend() == backend
        });
    }

    /// Planned cells that nobody tried.
    pub fn missing(&self) -> Vec<CellKey> {
        let done: HashSet<CellKey> = self.outcomes.iter().map(Outcome::cell).collect();
        self.manifest.planned().into_iter().filter(|cell| !done.contains(cell)).collect()
    }

    /// Cells that ended with an error.
    pub fn failed(&self) -> Vec<&Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.status == Status::Error).collect()
    }

    /// The values of one metric, over the repetitions, in their order.
    pub fn values(&self, trace: &str, backend: &str, op: Scope, metric: Metric) -> Vec<f64> {
        let mut rows: Vec<(u32, f64)> = self
            .measurements
            .iter()
            .filter(|m| {
                m.trace == trace && m.backend == backend && m.op == op && m.metric == metric
            })
            .map(|m| (m.repetition, m.value))
            .collect();
        rows.sort_by_key(|(repetition, _)| *repetition);
        rows.into_iter().map(|(_, value)| value).collect()
    }

    /// The lines that pin pages of a trace at a moment, by their share of what each backend
    /// strands, added up over the backends: so that one which strands much does not decide alone.
    /// Lines without a row of their own are left out.
    pub fn retaining_lines(&self, trace: &str, moment: Moment) -> Vec<(&str, f64)> {
        let mine = || {
            self.attributions
                .iter()
                .filter(|attribution| attribution.trace == trace && attribution.moment == moment)
        };
        let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
        for attribution in mine() {
            *totals.entry(&attribution.backend).or_default() +=
                attribution.external_fragmentation_bytes as f64;
        }
        let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
        for attribution in mine().filter(|attribution| attribution.site != OTHER_SITES) {
            let total = totals.get(attribution.backend.as_str()).copied().unwrap_or(0.0);
            *shares.entry(&attribution.site).or_default() += if total > 0.0 {
                attribution.external_fragmentation_bytes as f64 / total
            } else {
                0.0
            };
        }
        let mut lines: Vec<(&str, f64)> = shares.into_iter().collect();
        lines.sort_by(|a, b| b.1.total_cmp(&a.1));
        lines
    }
}

/// Reads the manifest of a run folder.
///
/// # Errors
/// When there is none, it is broken, or its layout is not read by this heaplay.
fn load_manifest(folder: &Path) -> Result<Manifest, RecordError> {
    let path = folder.join(MANIFEST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RecordError::NotARun { path: folder.to_owned() });
        }
        Err(source) => return Err(RecordError::Io { path, source }),
    };
    let broken = |path: &Path, error: serde_json::Error| RecordError::Broken {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| broken(&path, e))?;
    let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if !(u64::from(OLDEST_FORMAT)..=u64::from(FORMAT)).contains(&found) {
        let heaplay = value.get("heaplay").and_then(|v| v.as_str()).unwrap_or("unknown").to_owned();
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(RecordError::Version { path, found, heaplay });
    }
    let mut manifest: Manifest = serde_json::from_value(value).map_err(|e| broken(&path, e))?;
    manifest.format = FORMAT; // what is read from here on has today's names
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::key::Pass;

    #[test]
    fn a_table_that_was_changed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::new(Manifest { format: FORMAT, ..Manifest::default() });
        let row = Measurement {
            trace: "t".into(),
            backend: "b".into(),
            pass: Pass::Footprint,
            repetition: 0,
            op: Scope::All,
            metric: Metric::ResidentEndBytes,
            value: 4096.0,
        };
        run.measurements.push(row);
        run.save(folder.path()).unwrap();
        assert_eq!(Run::load(folder.path()).unwrap().measurements, run.measurements);
        let table = folder.path().join("measurements.csv");
        let text = fs::read_to_string(&table).unwrap();
        fs::write(&table, text.replace("4096", "4095")).unwrap();
        let error = Run::load(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("measurements.csv") && error.contains("changed since it was saved"),
            "{error}"
        );
        fs::remove_file(&table).unwrap();
        assert!(Run::load(folder.path()).unwrap_err().to_string().contains("now gone"));
        // Saving again vouches for what is there then.
        run.save(folder.path()).unwrap();
        assert!(Run::load(folder.path()).is_ok());
    }

    /// `tests/samples/run-format-1` was written by a heaplay of that format.
    #[test]
    fn a_run_of_format_1_is_read_and_saved_as_today() {
        let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/run-format-1");
        let run = Run::load(&old).unwrap();
        assert!(run.missing().is_empty() && run.failed().is_empty());
        let value = |metric| run.values("churn", "malloc", Scope::All, metric)[0];
        // Read off the files themselves.
        let rows = fs::read_to_string(old.join("measurements.csv")).unwrap();
        let stored = |name: &str| -> f64 {
            let line = format!("churn,malloc,footprint,0,all,{name},");
            rows.lines().find_map(|row| row.strip_prefix(&line)).unwrap().parse().unwrap()
        };
        assert_eq!(value(Metric::PagesInUseEndBytes), stored("pinned_end_bytes"));
        assert_eq!(value(Metric::PagesInUse2mEndBytes), stored("pinned_2m_end_bytes"));
        assert_eq!(value(Metric::ResidentFlushedBytes), stored("resident_drained_bytes"));
        let lines = |name: &str| fs::read_to_string(old.join(name)).unwrap().lines().count() - 1;
        assert_eq!(run.attributions.len(), lines("pins.csv"));
        assert_eq!(run.samples.len(), lines("samples.csv"));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pins.csv"), "left over").unwrap();
        run.save(folder.path()).unwrap();
        assert!(!folder.path().join("pins.csv").exists());
        let again = Run::load(folder.path()).unwrap();
        assert_eq!(again.manifest.format, FORMAT);
        assert_eq!(again.measurements, run.measurements);
        assert_eq!(again.attributions, run.attributions);
    }
}
