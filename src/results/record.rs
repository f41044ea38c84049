//! Reading, writing and merging run folders.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::manifest::{FORMAT, Manifest};
use super::metric::is_confirmed;
use super::tables::{
    Attribution, Cell, Chunk, Fullness, HeapRow, Latency, Measurement, Moment, OTHER_SITES,
    Outcome, Rounding, Sample, SizeClass, Status, WhatIf,
};
use super::tail::{LatencyRow, ServiceTimes, SlowCall};

/// Why a run folder could not be read, written or merged.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Not a run folder.
    #[error("{}: not a run folder (it has no manifest.json); give a folder that `heaplay run` made", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// A table or the manifest is broken.
    #[error("{}: {reason}; restore it from a copy, or measure again with `heaplay run`", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
    /// Another version's layout.
    #[error("{}: layout {found}, and this heaplay reads layout {FORMAT}; use the heaplay that made it ({heaplay})", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// Its layout.
        found: u32,
        /// Its heaplay.
        heaplay: String,
    },
    /// Folders that cannot be one run.
    #[error(
        "cannot merge: {reason}; merge folders of the same traces on machines of the same kind"
    )]
    Apart {
        /// What differs.
        reason: String,
    },
}

/// A run in memory.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was planned, on what.
    pub manifest: Manifest,
    /// Which cells were tried.
    pub outcomes: Vec<Outcome>,
    /// Figures.
    pub measurements: Vec<Measurement>,
    /// Heap samples.
    pub samples: Vec<Sample>,
    /// Page fullness at two moments.
    pub fullness: Vec<Fullness>,
    /// Rounding by size class at the same.
    pub rounding: Vec<Rounding>,
    /// Usable bytes by size of the request.
    pub size_classes: Vec<SizeClass>,
    /// Who pins the pages at the same, and at marks of the program.
    pub attributions: Vec<Attribution>,
    /// Residency over the replay.
    pub heap_map: Vec<HeapRow>,
    /// What the first line of the pins really costs.
    pub what_ifs: Vec<WhatIf>,
    /// Stretches of time passes.
    pub chunks: Vec<Chunk>,
    /// Service times by op and size class.
    pub service_times: Vec<ServiceTimes>,
    /// Calls that were slow.
    pub slow_calls: Vec<SlowCall>,
    /// Service times over the replay.
    pub latency_map: Vec<LatencyRow>,
    /// Histograms of service times.
    pub latencies: Vec<Latency>,
}

const MANIFEST: &str = "manifest.json";
const LATENCIES: &str = "latencies.hlog";
/// The folder of finished cells inside an unfinished run.
pub(super) const CELLS: &str = "cells";

impl Run {
    /// Calls backends by other names, in every table; `name` gives the new one, or `None` for one
    /// that stays.
    pub fn call_backends(&mut self, name: &dyn Fn(&str) -> Option<String>) {
        let call = |backend: &mut String| {
            if let Some(name) = name(backend) {
                *backend = name;
            }
        };
        // A table that is added has to be named here.
        let Run {
            manifest,
            outcomes,
            measurements,
            samples,
            fullness,
            rounding,
            size_classes,
            attributions,
            heap_map,
            what_ifs,
            chunks,
            service_times,
            slow_calls,
            latency_map,
            latencies,
        } = self;
        manifest.backends.iter_mut().for_each(|row| call(&mut row.name));
        outcomes.iter_mut().for_each(|row| call(&mut row.backend));
        measurements.iter_mut().for_each(|row| call(&mut row.backend));
        samples.iter_mut().for_each(|row| call(&mut row.backend));
        fullness.iter_mut().for_each(|row| call(&mut row.backend));
        rounding.iter_mut().for_each(|row| call(&mut row.backend));
        size_classes.iter_mut().for_each(|row| call(&mut row.backend));
        attributions.iter_mut().for_each(|row| call(&mut row.backend));
        heap_map.iter_mut().for_each(|row| call(&mut row.backend));
        what_ifs.iter_mut().for_each(|row| call(&mut row.backend));
        chunks.iter_mut().for_each(|row| call(&mut row.backend));
        service_times.iter_mut().for_each(|row| call(&mut row.backend));
        slow_calls.iter_mut().for_each(|row| call(&mut row.backend));
        latency_map.iter_mut().for_each(|row| call(&mut row.backend));
        latencies.iter_mut().for_each(|row| call(&mut row.backend));
    }

    /// A run in which nothing was measured yet.
    pub fn new(manifest: Manifest) -> Run {
        Run {
            manifest,
            outcomes: vec![],
            measurements: vec![],
            samples: vec![],
            fullness: vec![],
            rounding: vec![],
            size_classes: vec![],
            attributions: vec![],
            heap_map: vec![],
            what_ifs: vec![],
            chunks: vec![],
            service_times: vec![],
            slow_calls: vec![],
            latency_map: vec![],
            latencies: vec![],
        }
    }

    /// Reads a run folder, finished or not.
    ///
    /// # Errors
    /// When it is no run folder, of another layout, or a table in it is broken.
    pub fn load(folder: &Path) -> Result<Run, RecordError> {
        let path = folder.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RecordError::NotARun { path: folder.to_owned() });
            }
            Err(source) => return Err(RecordError::Io { path, source }),
        };
        let value: serde_json::Value = serde_json::from_str(&text)
            .map_err(|e| RecordError::Broken { path: path.clone(), reason: e.to_string() })?;
        let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if found != u64::from(FORMAT) {
            let heaplay =
                value.get("heaplay").and_then(|v| v.as_str()).unwrap_or("unknown").to_owned();
            return Err(RecordError::Version {
                path,
                found: u32::try_from(found).unwrap_or(u32::MAX),
                heaplay,
            });
        }
        let manifest = serde_json::from_value(value)
            .map_err(|e| RecordError::Broken { path, reason: e.to_string() })?;
        check_seal(folder)?;
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
            let mut seen: HashSet<Cell> = run.outcomes.iter().map(Outcome::cell).collect();
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

    /// Writes the whole run as a folder, each file under another name first, so that a crash leaves
    /// the old or the new.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), RecordError> {
        fs::create_dir_all(folder)
            .map_err(|source| RecordError::Io { path: folder.to_owned(), source })?;
        // Between two seals there is none: a crash in between leaves tables that nobody vouches
        // for, not a false alarm.
        write_table::<Checksum>(&folder.join(CHECKSUMS), &[])?;
        self.save_tables(folder)?;
        seal(folder)?;
        self.save_manifest(folder)
    }

    /// Writes the manifest alone.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_manifest(&self, folder: &Path) -> Result<(), RecordError> {
        let text = serde_json::to_string_pretty(&self.manifest).unwrap_or_default() + "\n";
        replace(&folder.join(MANIFEST), |file| file.write_all(text.as_bytes()))
    }

    /// Writes the tables alone: what a worker leaves for its cell.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_tables(&self, folder: &Path) -> Result<(), RecordError> {
        write_table(&folder.join("measurements.csv"), &self.measurements)?;
        write_table(&folder.join("samples.csv"), &self.samples)?;
        write_table(&folder.join("fullness.csv"), &self.fullness)?;
        write_table(&folder.join("rounding.csv"), &self.rounding)?;
        write_table(&folder.join("size_classes.csv"), &self.size_classes)?;
        write_table(&folder.join("attribution.csv"), &self.attributions)?;
        write_table(&folder.join("heap_map.csv"), &self.heap_map)?;
        write_table(&folder.join("what_ifs.csv"), &self.what_ifs)?;
        write_table(&folder.join("chunks.csv"), &self.chunks)?;
        write_table(&folder.join("service_times.csv"), &self.service_times)?;
        write_table(&folder.join("slow_calls.csv"), &self.slow_calls)?;
        write_table(&folder.join("latency_map.csv"), &self.latency_map)?;
        self.write_latencies(&folder.join(LATENCIES))?;
        write_table(&folder.join("cells.csv"), &self.outcomes)
    }

    /// Writes which cells were tried, alone: what marks a cell's folder as whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_outcomes(&self, folder: &Path) -> Result<(), RecordError> {
        write_table(&folder.join("cells.csv"), &self.outcomes)
    }

    /// Reads the tables alone, as [`Run::save_tables`] left them; the manifest is empty.
    ///
    /// # Errors
    /// When a table is broken.
    pub fn load_tables(folder: &Path) -> Result<Run, RecordError> {
        let mut run = Run::new(Manifest::default());
        run.read_tables(folder)?;
        Ok(run)
    }

    /// Adds all rows of `other`.
    pub fn absorb(&mut self, other: Run) {
        self.outcomes.extend(other.outcomes);
        self.measurements.extend(other.measurements);
        self.samples.extend(other.samples);
        self.fullness.extend(other.fullness);
        self.rounding.extend(other.rounding);
        self.size_classes.extend(other.size_classes);
        self.attributions.extend(other.attributions);
        self.heap_map.extend(other.heap_map);
        self.what_ifs.extend(other.what_ifs);
        self.chunks.extend(other.chunks);
        self.service_times.extend(other.service_times);
        self.slow_calls.extend(other.slow_calls);
        self.latency_map.extend(other.latency_map);
        self.latencies.extend(other.latencies);
    }

    /// Drops every row of the cells that `gone` names; latencies confirmed over repetitions go when
    /// any of theirs does.
    pub fn remove(&mut self, gone: &HashSet<Cell>) {
        let has = |trace: &str, backend: &str, pass, repetition| {
            gone.contains(&Cell {
                trace: trace.to_owned(),
                backend: backend.to_owned(),
                pass,
                repetition,
            })
        };
        use super::tables::Pass;
        self.outcomes.retain(|o| !gone.contains(&o.cell()));
        self.measurements.retain(|m| !has(&m.trace, &m.backend, m.pass, m.repetition));
        self.samples.retain(|s| !has(&s.trace, &s.backend, Pass::Footprint, s.repetition));
        self.fullness.retain(|f| !has(&f.trace, &f.backend, Pass::Footprint, f.repetition));
        self.rounding.retain(|r| !has(&r.trace, &r.backend, Pass::Footprint, r.repetition));
        self.size_classes.retain(|s| !has(&s.trace, &s.backend, Pass::Footprint, s.repetition));
        self.attributions.retain(|p| !has(&p.trace, &p.backend, Pass::Footprint, p.repetition));
        self.heap_map.retain(|h| !has(&h.trace, &h.backend, Pass::Footprint, h.repetition));
        self.what_ifs.retain(|w| !has(&w.trace, &w.backend, Pass::Footprint, 0));
        self.chunks.retain(|c| !has(&c.trace, &c.backend, Pass::Time, c.repetition));
        self.latencies
            .retain(|l| l.repetition.is_none_or(|r| !has(&l.trace, &l.backend, Pass::Latency, r)));
        for cell in gone.iter().filter(|cell| cell.pass == Pass::Latency) {
            self.remove_confirmed(&cell.trace, &cell.backend);
        }
    }

    /// Drops what was made of all repetitions of a latency pass together.
    pub fn remove_confirmed(&mut self, trace: &str, backend: &str) {
        let other = |t: &str, b: &str| t != trace || b != backend;
        self.latencies.retain(|l| l.repetition.is_some() || other(&l.trace, &l.backend));
        self.service_times.retain(|s| other(&s.trace, &s.backend));
        self.slow_calls.retain(|s| other(&s.trace, &s.backend));
        self.latency_map.retain(|m| other(&m.trace, &m.backend));
        self.measurements.retain(|m| other(&m.trace, &m.backend) || !is_confirmed(&m.metric));
    }

    /// Joins runs into one: the same traces by hash, the same settings; backends and repetitions
    /// may differ.
    ///
    /// # Errors
    /// When two of them hold the same cell, the same name for different traces, or other passes.
    pub fn merge(runs: Vec<Run>) -> Result<Run, RecordError> {
        let mut runs = runs.into_iter();
        let Some(mut whole) = runs.next() else {
            return Err(RecordError::Apart { reason: "no run folder was given".into() });
        };
        let mut seen: HashSet<Cell> = whole.outcomes.iter().map(Outcome::cell).collect();
        for run in runs {
            if run.manifest.machine != whole.manifest.machine {
                return Err(RecordError::Apart {
                    reason: "they were measured on different machines".into(),
                });
            }
            for trace in run.manifest.traces.clone() {
                match whole.manifest.traces.iter().find(|known| known.name == trace.name) {
                    Some(known) if known.sha256 != trace.sha256 => {
                        return Err(RecordError::Apart {
                            reason: format!("trace `{}` is not the same file in both", trace.name),
                        });
                    }
                    Some(_) => {}
                    None => whole.manifest.traces.push(trace),
                }
            }
            for backend in run.manifest.backends.clone() {
                match whole.manifest.backends.iter().find(|known| known.name == backend.name) {
                    Some(known) if known.version != backend.version => {
                        return Err(RecordError::Apart {
                            reason: format!(
                                "backend `{}` is {} in one and {} in the other",
                                backend.name, known.version, backend.version
                            ),
                        });
                    }
                    Some(_) => {}
                    None => whole.manifest.backends.push(backend),
                }
            }
            for pass in &run.manifest.passes {
                if !whole.manifest.passes.contains(pass) {
                    whole.manifest.passes.push(*pass);
                }
            }
            whole.manifest.repetitions = whole.manifest.repetitions.max(run.manifest.repetitions);
            if let Some(twice) =
                run.outcomes.iter().map(Outcome::cell).find(|cell| seen.contains(cell))
            {
                return Err(RecordError::Apart {
                    reason: format!(
                        "{} on {}, pass {}, repetition {}, is in two of them",
                        twice.backend,
                        twice.trace,
                        twice.pass.name(),
                        twice.repetition
                    ),
                });
            }
            seen.extend(run.outcomes.iter().map(Outcome::cell));
            whole.absorb(run);
        }
        Ok(whole)
    }

    /// Planned cells that nobody tried.
    pub fn missing(&self) -> Vec<Cell> {
        let done: HashSet<Cell> = self.outcomes.iter().map(Outcome::cell).collect();
        self.manifest.planned().into_iter().filter(|cell| !done.contains(cell)).collect()
    }

    /// Cells that ended with an error.
    pub fn failed(&self) -> Vec<&Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.status == Status::Error).collect()
    }

    /// The values of one metric, over the repetitions, in their order.
    pub fn values(&self, trace: &str, backend: &str, op: &str, metric: &str) -> Vec<f64> {
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

    fn read_tables(&mut self, folder: &Path) -> Result<(), RecordError> {
        self.outcomes = read_table(&folder.join("cells.csv"))?;
        self.measurements = read_table(&folder.join("measurements.csv"))?;
        self.samples = read_table(&folder.join("samples.csv"))?;
        self.fullness = read_table(&folder.join("fullness.csv"))?;
        self.rounding = read_table(&folder.join("rounding.csv"))?;
        self.size_classes = read_table(&folder.join("size_classes.csv"))?;
        self.attributions = read_table(&folder.join("attribution.csv"))?;
        self.heap_map = read_table(&folder.join("heap_map.csv"))?;
        self.what_ifs = read_table(&folder.join("what_ifs.csv"))?;
        self.chunks = read_table(&folder.join("chunks.csv"))?;
        self.service_times = read_table(&folder.join("service_times.csv"))?;
        self.slow_calls = read_table(&folder.join("slow_calls.csv"))?;
        self.latency_map = read_table(&folder.join("latency_map.csv"))?;
        self.latencies = read_latencies(&folder.join(LATENCIES))?;
        Ok(())
    }

    fn write_latencies(&self, path: &Path) -> Result<(), RecordError> {
        replace(path, |file| {
            let mut serializer = V2DeflateSerializer::new();
            let mut writer = IntervalLogWriterBuilder::new()
                .add_comment(
                    "heaplay: service times in nanoseconds; tag = trace|backend|repetition|op",
                )
                .begin_log_with(file, &mut serializer)?;
            for latency in &self.latencies {
                let tag = latency_tag(latency);
                let tag = Tag::new(&tag)
                    .ok_or_else(|| io::Error::other("a tag with a comma or space"))?;
                writer
                    .write_histogram(&latency.histogram, Duration::ZERO, Duration::ZERO, Some(tag))
                    .map_err(|error| io::Error::other(format!("{error:?}")))?;
            }
            Ok(())
        })
    }
}

/// Percent-encodes what an interval log's tag may not hold, and the separator.
fn encode(word: &str) -> String {
    let mut text = String::new();
    for character in word.chars() {
        match character {
            ',' | '|' | '%' | ' ' | '\t' | '\r' | '\n' => {
                text.push_str(&format!("%{:02X}", character as u32))
            }
            other => text.push(other),
        }
    }
    text
}

fn decode(word: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let code = u8::from_str_radix(rest.get(at + 1..at + 3)?, 16).ok()?;
        text.push(char::from(code));
        rest = &rest[at + 3..];
    }
    text.push_str(rest);
    Some(text)
}

fn latency_tag(latency: &Latency) -> String {
    let repetition = latency.repetition.map_or("confirmed".to_owned(), |r| r.to_string());
    format!("{}|{}|{repetition}|{}", encode(&latency.trace), encode(&latency.backend), latency.op)
}

fn read_latencies(path: &Path) -> Result<Vec<Latency>, RecordError> {
    let broken = |reason: String| RecordError::Broken { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            file.read_to_end(&mut bytes)
                .map_err(|source| RecordError::Io { path: path.to_owned(), source })?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(RecordError::Io { path: path.to_owned(), source }),
    }
    let mut latencies = Vec::new();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(&bytes) {
        let entry = entry.map_err(|error| broken(format!("not an interval log: {error:?}")))?;
        let LogEntry::Interval(interval) = entry else { continue };
        let tag = interval.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
        let parts: Vec<&str> = tag.split('|').collect();
        let [trace, backend, repetition, op] = parts[..] else {
            return Err(broken(format!("interval tag `{tag}` has not four parts")));
        };
        let (Some(trace), Some(backend)) = (decode(trace), decode(backend)) else {
            return Err(broken(format!("interval tag `{tag}` is badly encoded")));
        };
        let repetition = match repetition {
            "confirmed" => None,
            number => Some(
                number
                    .parse()
                    .map_err(|_| broken(format!("interval tag `{tag}`: no repetition")))?,
            ),
        };
        let compressed = BASE64
            .decode(interval.encoded_histogram())
            .map_err(|error| broken(format!("interval `{tag}`: {error}")))?;
        let histogram: Histogram<u64> = deserializer
            .deserialize(&mut compressed.as_slice())
            .map_err(|error| broken(format!("interval `{tag}`: {error:?}")))?;
        latencies.push(Latency { trace, backend, repetition, op: op.to_owned(), histogram });
    }
    Ok(latencies)
}

/// Writes `path` by way of a `.part` beside it.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), RecordError> {
    let failed = |source| RecordError::Io { path: path.to_owned(), source };
    let part = path.with_extension("part");
    let result = (|| {
        let mut file = BufWriter::new(File::create(&part)?);
        write(&mut file)?;
        file.flush()?;
        fs::rename(&part, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&part);
    }
    result.map_err(failed)
}

/// The file that vouches for the others.
const CHECKSUMS: &str = "checksums.csv";

/// The tables that it vouches for.
const SEALED: [&str; 14] = [
    "cells.csv",
    "measurements.csv",
    "samples.csv",
    "fullness.csv",
    "rounding.csv",
    "size_classes.csv",
    "attribution.csv",
    "heap_map.csv",
    "what_ifs.csv",
    "chunks.csv",
    "service_times.csv",
    "slow_calls.csv",
    "latency_map.csv",
    LATENCIES,
];

/// A table as it was saved: a changed figure parses as well as the right one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Checksum {
    file: String,
    /// CRC-32 (ISO 3309) in hex.
    crc32: String,
}

/// The checksum of a table; `None` when it is not there.
fn checksum(folder: &Path, name: &str) -> Result<Option<Checksum>, RecordError> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(Checksum {
            file: name.to_owned(),
            crc32: format!("{:08x}", crc32fast::hash(&bytes)),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::Io { path, source }),
    }
}

/// Writes down what the tables are now.
fn seal(folder: &Path) -> Result<(), RecordError> {
    let rows: Result<Vec<Option<Checksum>>, RecordError> =
        SEALED.iter().map(|name| checksum(folder, name)).collect();
    write_table(&folder.join(CHECKSUMS), &rows?.into_iter().flatten().collect::<Vec<_>>())
}

/// Holds the tables against what they were when they were saved; nothing where nobody wrote that
/// down.
fn check_seal(folder: &Path) -> Result<(), RecordError> {
    for saved in read_table::<Checksum>(&folder.join(CHECKSUMS))? {
        if !SEALED.contains(&saved.file.as_str()) {
            continue; // a table of another version
        }
        let found = checksum(folder, &saved.file)?.map_or("gone".to_owned(), |found| found.crc32);
        if found != saved.crc32 {
            return Err(RecordError::Broken {
                path: folder.join(&saved.file),
                reason: format!(
                    "changed since it was saved (its checksum was {}, now {found})",
                    saved.crc32
                ),
            });
        }
    }
    Ok(())
}

fn write_table<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), RecordError> {
    if rows.is_empty() {
        // No file is a table without rows: a cell that took no samples leaves none. A stale one
        // must not stay.
        return match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RecordError::Io { path: path.to_owned(), source })
            }
            _ => Ok(()),
        };
    }
    replace(path, |file| {
        let mut writer = csv::Writer::from_writer(file);
        for row in rows {
            writer.serialize(row).map_err(io::Error::other)?;
        }
        writer.flush()
    })
}

fn read_table<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RecordError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(RecordError::Io { path: path.to_owned(), source }),
    };
    csv::Reader::from_reader(BufReader::new(file))
        .into_deserialize()
        .collect::<Result<Vec<T>, csv::Error>>()
        .map_err(|error| RecordError::Broken { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_changed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::new(Manifest { format: FORMAT, ..Manifest::default() });
        let row = Measurement {
            trace: "t".into(),
            backend: "b".into(),
            pass: super::super::Pass::Footprint,
            repetition: 0,
            op: "all".into(),
            metric: "resident_end_bytes".into(),
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
}
