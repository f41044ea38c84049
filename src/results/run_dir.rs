//! A run folder on disk. Only this file knows where things lie in it.
//!
//! ```text
//! manifest.json           plan, machine, clock, versions
//! *.csv, latencies.hlog   the tables; checksums.csv is their seal
//! cells/00012/            a cell that was committed, as tables; the number is its place in the plan
//! cells/00012.part/       a cell that is being measured
//! cells/00012.part2/      its second half, in a latency pass
//! ```
//!
//! While a run goes on, each finished cell is renamed into place whole. When all cells are there,
//! they are folded into the tables. A reader takes both, so a run that was killed at any moment is
//! still a run folder. A lock on the folder keeps a second run out; it vanishes with its process.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::RecordError;
use super::file::{read_table, replace, write_table};
use super::key::CellKey;
use super::manifest::{FORMAT, FurtherRepetitions, Manifest, OLDEST_FORMAT, TraceEntry};
use super::run::{CHUNKS, OUTCOMES, Run, TABLES};
use super::seal::{CHECKSUMS, Checksum, check_seal, seal};
use super::tables::{Chunk, Outcome};

const MANIFEST: &str = "manifest.json";
/// The folder of the cells of an unfinished run.
const CELLS: &str = "cells";
/// Tables that format 1 had under another name: today's name and the former one.
const FORMER_NAMES: [(&str, &str); 1] = [("attribution.csv", "pins.csv")];

/// A run folder.
#[derive(Debug)]
pub struct RunDir {
    folder: PathBuf,
    manifest: Manifest,
    /// Each planned cell's place in the plan.
    numbers: HashMap<CellKey, usize>,
    lock: Option<File>,
}

/// A folder that was taken for a new run, and is locked. Without [`NewRunDir::create`] the folder
/// is removed again, if nothing is in it.
#[derive(Debug)]
pub struct NewRunDir {
    folder: PathBuf,
    lock: Option<File>,
}

/// The folder of one cell, while it is being measured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CellDir(PathBuf);

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Io { path, source }
}

/// Each planned cell's place in the plan.
fn numbers(manifest: &Manifest) -> HashMap<CellKey, usize> {
    manifest.planned().into_iter().enumerate().map(|(at, cell)| (cell, at)).collect()
}

/// Locks a folder for this process.
fn locked(folder: &Path) -> Result<File, RecordError> {
    let file = File::open(folder).map_err(io_error(folder))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(RecordError::Locked { path: folder.to_owned() }),
        // A file system that has no locks is no reason not to run.
        _ => Ok(file),
    }
}

impl NewRunDir {
    /// Begins the run: writes its manifest.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(mut self, manifest: Manifest) -> Result<RunDir, RecordError> {
        let mut dir = RunDir::of(self.folder.clone(), manifest);
        dir.save_manifest()?;
        dir.lock = self.lock.take();
        Ok(dir)
    }
}

impl Drop for NewRunDir {
    fn drop(&mut self) {
        if self.lock.is_some() {
            let _ = fs::remove_dir(&self.folder); // refused where there is anything in it
        }
    }
}

impl RunDir {
    fn of(folder: PathBuf, manifest: Manifest) -> RunDir {
        let numbers = numbers(&manifest);
        RunDir { folder, manifest, numbers, lock: None }
    }

    /// Whether a folder holds a run.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(MANIFEST).is_file()
    }

    /// Takes a folder for a new run, and locks it. The folder is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made, is in use, or has anything in it.
    pub fn claim(folder: &Path) -> Result<NewRunDir, RecordError> {
        fs::create_dir_all(folder).map_err(io_error(folder))?;
        let lock = locked(folder)?;
        let path = folder.to_owned();
        if RunDir::is_at(folder) {
            return Err(RecordError::HoldsRun { path });
        }
        if fs::read_dir(folder).is_ok_and(|mut inside| inside.next().is_some()) {
            return Err(RecordError::NotEmpty { path });
        }
        Ok(NewRunDir { folder: path, lock: Some(lock) })
    }

    /// Opens a folder that holds a run, finished or not.
    ///
    /// # Errors
    /// When it is no run folder, or of another layout.
    pub fn open(folder: &Path) -> Result<RunDir, RecordError> {
        Ok(RunDir::of(folder.to_owned(), read_manifest(&folder.join(MANIFEST))?))
    }

    /// Locks the folder for as long as this lives.
    ///
    /// # Errors
    /// When another process works in it.
    pub fn lock(&mut self) -> Result<(), RecordError> {
        if self.lock.is_none() {
            self.lock = Some(locked(&self.folder)?);
        }
        Ok(())
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was planned, on what.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Changes the manifest, but not the plan in it, and saves it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn update_manifest(
        &mut self,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<(), RecordError> {
        change(&mut self.manifest);
        self.save_manifest()
    }

    /// Puts further repetitions of the time pass into the plan, and saves it.
    ///
    /// # Errors
    /// When the manifest cannot be written.
    pub fn extend_plan(&mut self, further: Vec<FurtherRepetitions>) -> Result<(), RecordError> {
        self.manifest.further_time.extend(further);
        self.numbers = numbers(&self.manifest);
        self.save_manifest()
    }

    fn save_manifest(&self) -> Result<(), RecordError> {
        let text = serde_json::to_string_pretty(&self.manifest).unwrap_or_default() + "\n";
        replace(&self.folder.join(MANIFEST), |file| file.write_all(text.as_bytes()))
    }

    /// The place of a cell in the plan; cells that were not planned have the one behind the last.
    pub fn number(&self, cell: &CellKey) -> usize {
        self.numbers.get(cell).copied().unwrap_or(self.numbers.len())
    }

    fn cells(&self) -> PathBuf {
        self.folder.join(CELLS)
    }

    fn cell(&self, cell: &CellKey) -> PathBuf {
        self.cells().join(format!("{:05}", self.number(cell)))
    }

    /// The folders of the cells that were committed, in the order of the plan.
    fn committed(&self) -> Result<Vec<PathBuf>, RecordError> {
        let cells = self.cells();
        let inside = match fs::read_dir(&cells) {
            Ok(inside) => inside,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(io_error(&cells)(error)),
        };
        let mut folders: Vec<PathBuf> = inside
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.is_dir() && path.extension().is_none())
            .collect();
        folders.sort();
        Ok(folders)
    }

    /// A fresh folder for a cell. Whatever there was of the cell is gone.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn begin_cell(&self, cell: &CellKey) -> Result<CellDir, RecordError> {
        let folder = self.cell(cell);
        let _ = fs::remove_dir_all(&folder);
        CellDir::fresh(folder.with_extension("part"))
    }

    /// A fresh folder for the second half of a cell.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn begin_second_half(&self, cell: &CellKey) -> Result<CellDir, RecordError> {
        CellDir::fresh(self.cell(cell).with_extension("part2"))
    }

    /// Commits a cell with its outcome: from here on it is part of the run. Of a cell that failed
    /// only the outcome is stored.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn commit(&self, measured: CellDir, outcome: &Outcome) -> Result<(), RecordError> {
        let measured = match outcome.is_ok() {
            true => measured,
            false => CellDir::fresh(measured.0)?,
        };
        write_table(&measured.0.join(OUTCOMES), std::slice::from_ref(outcome))?;
        let folder = self.cell(&outcome.cell());
        fs::rename(&measured.0, &folder).map_err(io_error(&folder))
    }

    /// The folder of a cell that was committed and not folded yet.
    pub fn committed_cell(&self, cell: &CellKey) -> Option<CellDir> {
        Some(self.cell(cell)).filter(|folder| folder.is_dir()).map(CellDir)
    }

    /// A file beside the cells, for what is needed until they are folded.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.cells().join(name)
    }

    /// Which cells were tried, and how they ended. No other table is read.
    ///
    /// # Errors
    /// When a table is broken.
    pub fn outcomes(&self) -> Result<Vec<Outcome>, RecordError> {
        let mut outcomes: Vec<Outcome> = read_table(&self.folder.join(OUTCOMES))?;
        let mut seen: HashSet<CellKey> = outcomes.iter().map(Outcome::cell).collect();
        for folder in self.committed()? {
            let of_cell: Vec<Outcome> = read_table(&folder.join(OUTCOMES))?;
            outcomes.extend(of_cell.into_iter().filter(|outcome| seen.insert(outcome.cell())));
        }
        Ok(outcomes)
    }

    /// The segments of the time passes that were folded into the run's tables.
    ///
    /// # Errors
    /// When the table is broken.
    pub fn folded_chunks(&self) -> Result<Vec<Chunk>, RecordError> {
        read_table(&self.folder.join(CHUNKS))
    }

    /// Planned cells that nobody tried.
    ///
    /// # Errors
    /// When a table is broken.
    pub fn missing(&self) -> Result<Vec<CellKey>, RecordError> {
        let tried: HashSet<CellKey> = self.outcomes()?.iter().map(Outcome::cell).collect();
        let planned = self.manifest.planned();
        Ok(planned.into_iter().filter(|cell| !tried.contains(cell)).collect())
    }

    /// Reads the whole run.
    ///
    /// # Errors
    /// When a table is broken, or has changed since it was saved.
    pub fn load(&self) -> Result<Run, RecordError> {
        let sealed: Vec<&str> =
            TABLES.iter().copied().chain(FORMER_NAMES.map(|(_, former)| former)).collect();
        check_seal(&self.folder, &sealed)?;
        let mut run = Run::new(self.manifest.clone());
        run.read_tables(&|table| table_in(&self.folder, table))?;
        let mut seen: HashSet<CellKey> = run.outcomes.iter().map(Outcome::cell).collect();
        if self.cells().is_dir() {
            // A crash while cells were folded leaves rows of cells that no outcome names yet.
            run.retain(&seen);
        }
        for folder in self.committed()? {
            let cell = CellDir(folder).load()?;
            // A crash between folding and removing leaves a cell in both places: count it once.
            if cell.outcomes.iter().all(|outcome| seen.insert(outcome.cell())) {
                run.absorb(cell);
            }
        }
        Ok(run)
    }

    /// Takes cells out of the run, whose rows are in `run`, so that they are missing again.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn forget(&self, run: &mut Run, gone: &HashSet<CellKey>) -> Result<(), RecordError> {
        if gone.is_empty() {
            return Ok(());
        }
        for cell in gone {
            let _ = fs::remove_dir_all(self.cell(cell));
        }
        run.remove(gone);
        if self.cells().is_dir() { Ok(()) } else { self.save(run) }
    }

    /// Writes the tables of the whole run. Each file is written under another name first, so that a
    /// crash leaves the old file or the new one.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, run: &Run) -> Result<(), RecordError> {
        // Between two seals there is none: a crash in between leaves tables without checksums, not
        // a false alarm.
        write_table::<Checksum>(&self.folder.join(CHECKSUMS), &[])?;
        run.write_tables(&|table| self.folder.join(table))?;
        for (_, former) in FORMER_NAMES {
            write_table::<Checksum>(&self.folder.join(former), &[])?; // without rows: no file
        }
        seal(&self.folder, TABLES)?;
        self.save_manifest()
    }

    /// Writes the tables of the whole run, in which all cells are, and removes the cells' folders.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn fold(&self, run: &Run) -> Result<(), RecordError> {
        self.save(run)?;
        let cells = self.cells();
        match fs::remove_dir_all(&cells) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&cells)(error)),
            _ => Ok(()),
        }
    }
}

impl CellDir {
    /// A cell's folder at `path`, which exists.
    pub fn at(path: &Path) -> CellDir {
        CellDir(path.to_owned())
    }

    /// Makes the folder, empty.
    fn fresh(path: PathBuf) -> Result<CellDir, RecordError> {
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(io_error(&path))?;
        Ok(CellDir(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of a latency cell that holds each call's time as a byte.
    pub fn call_times(&self) -> PathBuf {
        self.0.join("buckets.bin")
    }

    /// A file for what is needed until the cell is committed.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes the tables of the cell: what a child leaves.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, tables: &Run) -> Result<(), RecordError> {
        tables.write_tables(&|table| self.0.join(table))
    }

    /// Reads the tables; the manifest is empty.
    ///
    /// # Errors
    /// When a table is broken.
    pub fn load(&self) -> Result<Run, RecordError> {
        let mut tables = Run::new(Manifest::default());
        tables.read_tables(&|table| table_in(&self.0, table))?;
        Ok(tables)
    }

    /// Reads the segments of a time pass only.
    ///
    /// # Errors
    /// When the table is broken.
    pub fn chunks(&self) -> Result<Vec<Chunk>, RecordError> {
        read_table(&self.0.join(CHUNKS))
    }

    /// Removes the folder and what is in it.
    pub fn remove(self) {
        let _ = fs::remove_dir_all(self.0);
    }
}

impl Run {
    /// Reads a run folder, finished or not.
    ///
    /// # Errors
    /// When it is no run folder, of another layout, or a table in it is broken.
    pub fn load(folder: &Path) -> Result<Run, RecordError> {
        RunDir::open(folder)?.load()
    }

    /// Writes the whole run as a folder, over what is there.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), RecordError> {
        fs::create_dir_all(folder).map_err(io_error(folder))?;
        RunDir::of(folder.to_owned(), self.manifest.clone()).save(self)
    }
}

/// Where a table lies in a folder: under its name, or under its former one.
fn table_in(folder: &Path, table: &str) -> PathBuf {
    let path = folder.join(table);
    let former = FORMER_NAMES.iter().find(|(now, _)| *now == table);
    match former.map(|(_, former)| folder.join(former)) {
        Some(former) if !path.exists() && former.exists() => former,
        _ => path,
    }
}

/// Reads a manifest.
///
/// # Errors
/// When there is none, it is broken, or its layout is not read by this heaplay.
fn read_manifest(path: &Path) -> Result<Manifest, RecordError> {
    use io::ErrorKind::{NotADirectory, NotFound};

    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {
            let path = path.parent().unwrap_or(path).to_owned();
            return Err(match path.exists() {
                true => RecordError::NotARun { path },
                false => RecordError::Missing { path },
            });
        }
        Err(error) => return Err(io_error(path)(error)),
    };
    let broken = |error: serde_json::Error| RecordError::Broken {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(broken)?;
    let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if !(u64::from(OLDEST_FORMAT)..=u64::from(FORMAT)).contains(&found) {
        let heaplay = value.get("heaplay").and_then(|v| v.as_str()).unwrap_or("unknown").to_owned();
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(RecordError::Version { path: path.to_owned(), found, heaplay });
    }
    let mut manifest: Manifest = serde_json::from_value(value).map_err(broken)?;
    manifest.traces.iter_mut().for_each(TraceEntry::read_marks_of_facts);
    manifest.format = FORMAT; // what is read from here on has today's names
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::key::{Pass, Scope};
    use crate::results::manifest::{BackendEntry, ProgramMark};
    use crate::results::metric::Metric;
    use crate::results::tables::Measurement;

    #[test]
    fn marks_are_read_from_the_facts_of_older_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let marks = vec![ProgramMark { event: 5, name: "load \"all\"".into() }];
        let mut trace = TraceEntry { name: "t".into(), marks, ..TraceEntry::default() };
        let mut manifest =
            Manifest { format: FORMAT, traces: vec![trace.clone()], ..Manifest::default() };
        fs::write(&path, serde_json::to_string(&manifest).unwrap()).unwrap();
        assert_eq!(read_manifest(&path).unwrap().traces, [trace.clone()]);
        trace.marks.clear();
        trace.facts.insert("marks".into(), r#"[[5,"load \"all\""]]"#.into());
        let typed = std::mem::replace(&mut manifest.traces, vec![trace]);
        fs::write(&path, serde_json::to_string(&manifest).unwrap()).unwrap();
        assert_eq!(read_manifest(&path).unwrap().traces, typed);
    }

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

    fn manifest() -> Manifest {
        let backend = |name: &str| BackendEntry { name: name.into(), version: "1".into() };
        Manifest {
            format: FORMAT,
            traces: vec![TraceEntry { name: "t".into(), ..TraceEntry::default() }],
            backends: vec![backend("a"), backend("b")],
            passes: vec![Pass::Footprint],
            repetitions: 1,
            ..Manifest::default()
        }
    }

    /// A run folder in which both cells were committed.
    fn committed(folder: &Path) -> RunDir {
        let dir = RunDir::claim(folder).unwrap().create(manifest()).unwrap();
        for (cell, value) in dir.manifest().planned().iter().zip([1.0, 2.0]) {
            let measured = dir.begin_cell(cell).unwrap();
            let mut tables = Run::new(Manifest::default());
            let figure = cell.measurement(Scope::All, Metric::ResidentEndBytes, value);
            tables.measurements.push(figure);
            measured.save(&tables).unwrap();
            dir.commit(measured, &Outcome::of(cell, 0.5, Ok(()))).unwrap();
        }
        dir
    }

    fn values(run: &Run) -> Vec<f64> {
        run.measurements.iter().map(|row| row.value).collect()
    }

    #[test]
    fn a_folder_is_one_run_of_one_process() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("run");
        drop(RunDir::claim(&folder).unwrap());
        assert!(!folder.exists(), "a folder without a run is removed");
        let dir = committed(&folder);
        let second = RunDir::claim(&folder).unwrap_err().to_string();
        assert!(second.contains("another heaplay is at work"), "{second}");
        let mut again = RunDir::open(&folder).unwrap();
        assert!(matches!(again.lock(), Err(RecordError::Locked { .. })));
        drop(dir);
        again.lock().unwrap();
        drop(again);
        assert!(matches!(RunDir::claim(&folder), Err(RecordError::HoldsRun { .. })));
        fs::write(place.path().join("else"), "").unwrap();
        assert!(matches!(RunDir::claim(place.path()), Err(RecordError::NotEmpty { .. })));
    }

    /// Whatever a run was doing when it was killed, its folder holds each cell once or not at all.
    #[test]
    fn a_folder_is_readable_at_any_moment() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("run");
        let dir = RunDir::claim(&folder).unwrap().create(manifest()).unwrap();
        assert_eq!(RunDir::open(&folder).unwrap().missing().unwrap().len(), 2);
        let cell = dir.manifest().planned()[0].clone();
        let half = dir.begin_cell(&cell).unwrap();
        let mut tables = Run::new(Manifest::default());
        tables.measurements.push(cell.measurement(Scope::All, Metric::ResidentEndBytes, 9.0));
        half.save(&tables).unwrap();
        let run = Run::load(&folder).unwrap();
        assert_eq!((values(&run), run.missing().len()), (vec![], 2), "measured, not committed");
        drop(dir);
        fs::remove_dir_all(&folder).unwrap();
        let dir = committed(&folder);
        assert_eq!(values(&Run::load(&folder).unwrap()), [1.0, 2.0]);
        // Folded, and the cells are still there.
        let run = dir.load().unwrap();
        dir.save(&run).unwrap();
        assert_eq!(values(&Run::load(&folder).unwrap()), [1.0, 2.0]);
        // Killed before the last table, which names the cells.
        fs::remove_file(folder.join(OUTCOMES)).unwrap();
        fs::remove_file(folder.join(CHECKSUMS)).unwrap();
        assert_eq!(values(&Run::load(&folder).unwrap()), [1.0, 2.0]);
        dir.fold(&run).unwrap();
        assert!(!folder.join(CELLS).exists());
        assert_eq!(values(&Run::load(&folder).unwrap()), [1.0, 2.0]);
    }

    #[test]
    fn a_cell_that_is_forgotten_is_missing_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("run");
        let dir = committed(&folder);
        let planned = dir.manifest().planned();
        for (gone, is_folded) in [(&planned[0], false), (&planned[1], true)] {
            let mut run = dir.load().unwrap();
            if is_folded {
                dir.fold(&run).unwrap();
            }
            dir.forget(&mut run, &HashSet::from([gone.clone()])).unwrap();
            assert!(run.missing().contains(gone));
            assert_eq!(values(&Run::load(&folder).unwrap()), values(&run));
        }
        assert_eq!(Run::load(&folder).unwrap().missing().len(), 2);
        // A cell that failed has an outcome and no figures.
        let cell = &planned[0];
        let measured = dir.begin_cell(cell).unwrap();
        fs::write(measured.scratch("half-written.csv"), "x").unwrap();
        let outcome = Outcome::of(cell, 1.0, Err("it crashed".to_owned()));
        dir.commit(measured, &outcome).unwrap();
        assert_eq!(dir.outcomes().unwrap(), [outcome]);
        assert!(!dir.committed_cell(cell).unwrap().scratch("half-written.csv").exists());
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
