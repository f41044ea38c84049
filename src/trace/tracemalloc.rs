//! Reads files of `tracemalloc.Snapshot.dump`, and makes a trace of a series of them.
//!
//! A snapshot lists the blocks that are live at one moment: size, domain of tracemalloc, and
//! traceback. It has no addresses, times, threads or frees. Blocks of the same size, domain and
//! whole traceback are a *group*. If a group grows from one snapshot to the next, blocks were born in
//! between. If it shrinks, blocks ended. So a series becomes a trace whose lifetimes have the
//! resolution of the series. The trace is a model, as its fact `synthesised` reports:
//!
//! - Blocks that lived and died between two snapshots are missing. So are blocks that another of the
//!   same group replaced.
//! - Between two snapshots all ends come before all births. So live memory never exceeds that of the
//!   snapshots.
//! - A snapshot does not show which blocks of a group ended. The model ends the youngest, because
//!   most blocks die young.
//! - A realloc looks like an end and a birth. Each row is a `malloc`.
//! - Blocks of tracemalloc's domain 0 are Python's own (`obj`). Other domains are those of extensions
//!   with an allocator of their own, such as NumPy's 389047 (`raw`).
//!
//! The trace *vouches for* blocks whose birth and end (or survival) each lie in one known interval
//! between two snapshots. It does not vouch for blocks of the first snapshot, which are older than
//! it. Nor does it vouch for a group whose live blocks had different ages when only some ended: the
//! model chose their ages. `vouched_bytes_share` is the share of vouched bytes in all bytes of the
//! trace.
//!
//! `pickle.rs` reads the pickle and cannot run code. A block of the trace costs 24 bytes until it is
//! written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::event::{
    Columns, Domain, Header, Op, Row, SIZE_LIMIT_BYTES, SiteId, Sites, TraceError, TraceReader,
    site_name,
};
use super::pickle::{self, Pickled, SnapshotFrame};
use super::pickle_summary::summary;
use super::stable_file::StableFile;

/// The contents of one snapshot.
#[derive(Debug)]
pub struct Snapshot {
    /// The file.
    pub path: PathBuf,
    tables: Pickled,
}

/// Live blocks of one site or size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// `file:line`, or the text of the size class.
    pub name: String,
    /// Blocks.
    pub blocks: u64,
    /// Bytes. They may be over 2^64.
    pub bytes: u128,
}

impl Snapshot {
    /// Reads a file of `tracemalloc.Snapshot.dump`, compressed or plain.
    ///
    /// # Errors
    /// When the file cannot be read, or is no such file from its first byte to its last.
    pub fn open(path: &Path) -> Result<Snapshot, TraceError> {
        let file = StableFile::new(path)?;
        let tables = pickle::read(file.open()?.stream).map_err(|fault| match fault.source {
            Some(source) => TraceError::io(path, source),
            None => {
                let held = file.open().ok().and_then(|unpacked| summary(unpacked.stream));
                let found = match held.filter(|held| !held.contains("tracemalloc.Snapshot")) {
                    Some(held) => format!("a pickle of {held} ({})", fault.found),
                    None => fault.found,
                };
                let expected = fault.expected.to_owned();
                TraceError::Byte { path: path.to_owned(), offset: fault.offset, found, expected }
            }
        })?;
        let too_large = tables.listed.iter().find(|trace| trace.size > SIZE_LIMIT_BYTES);
        match too_large {
            Some(trace) => Err(TraceError::Byte {
                path: path.to_owned(),
                offset: 0,
                found: format!("a block of {} bytes", trace.size),
                expected: "sizes of at most 2^47 bytes: is the file damaged?".into(),
            }),
            None => Ok(Snapshot { path: path.to_owned(), tables }),
        }
    }

    /// The number of live blocks.
    pub fn blocks(&self) -> u64 {
        self.tables.listed.len() as u64
    }

    /// The bytes of all live blocks. They may be over 2^64.
    pub fn bytes(&self) -> u128 {
        self.tables.listed.iter().map(|trace| u128::from(trace.size)).sum()
    }

    /// Frames that tracemalloc stores of each call; 1 where the file does not state it.
    pub fn traceback_limit(&self) -> u64 {
        self.tables.traceback_limit.unwrap_or(1)
    }

    /// Size in bytes, tracemalloc's domain, and frames (file and line, newest first) of each block, in
    /// the order of the file.
    #[cfg(feature = "internals")]
    pub fn each(&self) -> impl Iterator<Item = (u64, u32, Vec<(&str, u32)>)> {
        self.tables.listed.iter().map(|trace| {
            let frames = self.tables.traceback(trace.frames).iter();
            (
                trace.size,
                trace.domain,
                frames.map(|frame| (self.file(*frame), frame.line)).collect(),
            )
        })
    }

    /// Live blocks by the newest frame, most bytes first.
    pub fn by_site(&self) -> Vec<Live> {
        let mut sums: HashMap<SnapshotFrame, (u64, u128)> = HashMap::new();
        for trace in &self.tables.listed {
            if let Some(&frame) = self.tables.traceback(trace.frames).first() {
                let sum = sums.entry(frame).or_default();
                *sum = (sum.0 + 1, sum.1 + u128::from(trace.size));
            }
        }
        let mut live: Vec<Live> = sums
            .into_iter()
            .map(|(frame, (blocks, bytes))| Live { name: self.site(frame), blocks, bytes })
            .collect();
        live.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        live
    }

    /// Live blocks by size: the upper bound of each octave in bytes, blocks, and bytes, ascending.
    pub fn by_size(&self) -> Vec<(u64, u64, u128)> {
        let mut sums = std::collections::BTreeMap::new();
        for trace in &self.tables.listed {
            let sum: &mut (u64, u128) =
                sums.entry(trace.size.max(8).next_power_of_two()).or_default();
            *sum = (sum.0 + 1, sum.1 + u128::from(trace.size));
        }
        sums.into_iter().map(|(limit, (blocks, bytes))| (limit, blocks, bytes)).collect()
    }

    fn file(&self, frame: SnapshotFrame) -> &str {
        self.tables.files.get(frame.file as usize).map_or("", String::as_str)
    }

    fn site(&self, frame: SnapshotFrame) -> String {
        site_name(self.file(frame), frame.line)
    }
}

/// A block of the trace.
#[derive(Clone, Copy, Debug)]
struct SeriesBlock {
    group: u32,
    /// Index of the first snapshot that lists the block.
    first_snapshot: u32,
    /// Event of the birth.
    birth: u64,
    /// Event of the end, or [`NEVER`].
    end: u64,
}

/// The end of a block that outlives the trace.
const NEVER: u64 = u64::MAX;

/// Blocks of one size, domain and traceback.
#[derive(Debug)]
struct BlockGroup {
    size: u64,
    domain: Domain,
    site: String,
    /// Indices of the live blocks, the oldest first.
    live: Vec<u32>,
    /// Blocks of this group in the present snapshot.
    count: u32,
    /// Whether the model chose which blocks ended.
    is_chosen: bool,
}

/// Makes a trace of a series of snapshots. Add the snapshots in their order, then read the trace.
#[derive(Debug, Default)]
pub struct Series {
    /// Numbers of tracebacks by their file names and lines, which are the same in all snapshots.
    tracebacks: HashMap<Vec<(u32, u32)>, u32>,
    files: Sites,
    groups: Vec<BlockGroup>,
    ids: HashMap<(u64, u32, u32), u32>,
    blocks: Vec<SeriesBlock>,
    /// The number of blocks in the first snapshot.
    older: usize,
    snapshots: u64,
    traceback_limit: u64,
    events: u64,
    live_bytes: u128,
    /// Most live bytes of any snapshot.
    peak_bytes: u128,
}

/// Blocks of a series, at most: indices have 32 bits.
const BLOCKS_LIMIT: usize = 1 << 31;

impl Series {
    /// A series without snapshots.
    pub fn new() -> Series {
        Series::default()
    }

    /// Adds the next snapshot.
    ///
    /// # Errors
    /// When the series has too many blocks for a trace.
    pub fn add(&mut self, snapshot: &Snapshot) -> Result<(), TraceError> {
        let listed = self.groups_of(snapshot);
        for group in &mut self.groups {
            group.count = 0;
        }
        for &group in &listed {
            self.groups[group as usize].count += 1;
        }
        self.end_missing();
        // The remaining blocks are live before the first birth. The loop skips as many of each group.
        let mut known: Vec<u32> = self.groups.iter().map(|group| group.live.len() as u32).collect();
        for &group in &listed {
            match &mut known[group as usize] {
                0 => self.begin(group, snapshot)?,
                left => *left -= 1,
            }
        }
        if self.snapshots == 0 {
            self.older = self.blocks.len();
        }
        self.snapshots += 1;
        self.traceback_limit = self.traceback_limit.max(snapshot.traceback_limit());
        self.live_bytes = snapshot.bytes();
        self.peak_bytes = self.peak_bytes.max(self.live_bytes);
        Ok(())
    }

    /// The group of each block of a snapshot.
    fn groups_of(&mut self, snapshot: &Snapshot) -> Vec<u32> {
        let tables = &snapshot.tables;
        let mut here: Vec<Option<u32>> = vec![None; tables.traceback_count()];
        let mut listed = Vec::with_capacity(tables.listed.len());
        for trace in &tables.listed {
            let slot = &mut here[trace.frames as usize];
            let traceback = *slot.get_or_insert_with(|| {
                let frames = tables.traceback(trace.frames).iter();
                let key =
                    frames.map(|frame| (self.files.intern(snapshot.file(*frame)).0, frame.line));
                let next = self.tracebacks.len() as u32;
                *self.tracebacks.entry(key.collect()).or_insert(next)
            });
            let next = self.groups.len() as u32;
            let group = *self.ids.entry((trace.size, trace.domain, traceback)).or_insert(next);
            if group == next {
                let site =
                    tables.traceback(trace.frames).first().map(|frame| snapshot.site(*frame));
                self.groups.push(BlockGroup {
                    size: trace.size,
                    // Other domains are those of extensions, which use an allocator of their own.
                    domain: if trace.domain == 0 { Domain::Obj } else { Domain::Raw },
                    site: site.unwrap_or_default(),
                    live: Vec::new(),
                    count: 0,
                    is_chosen: false,
                });
            }
            listed.push(group);
        }
        listed
    }

    /// Ends the youngest blocks of each group that shrank. All ends come in the order of the births.
    fn end_missing(&mut self) {
        let mut ended = Vec::new();
        for group in &mut self.groups {
            let remaining = group.count as usize;
            if remaining >= group.live.len() {
                continue;
            }
            // Blocks of one interval are alike. The model chooses only where live blocks of several
            // intervals exist.
            let born = |index: Option<&u32>| {
                index.map(|&index| self.blocks[index as usize].first_snapshot)
            };
            group.is_chosen |= remaining > 0 && born(group.live.first()) != born(group.live.last());
            ended.extend(group.live.drain(remaining..));
        }
        ended.sort_unstable();
        for index in ended {
            self.blocks[index as usize].end = self.events;
            self.events += 1;
        }
    }

    fn begin(&mut self, group: u32, snapshot: &Snapshot) -> Result<(), TraceError> {
        if self.blocks.len() == BLOCKS_LIMIT {
            return Err(TraceError::Foreign {
                path: snapshot.path.clone(),
                found: "the series has more than 2^31 blocks".into(),
                expected: "fewer snapshots, or filtered ones (Snapshot.filter_traces)".into(),
            });
        }
        self.groups[group as usize].live.push(self.blocks.len() as u32);
        self.blocks.push(SeriesBlock {
            group,
            first_snapshot: self.snapshots as u32,
            birth: self.events,
            end: NEVER,
        });
        self.events += 1;
        Ok(())
    }

    /// Calls of the trace: births and ends.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Bytes of all blocks of the trace, and of the blocks that it vouches for.
    pub fn vouched_bytes(&self) -> (u128, u128) {
        let (mut all, mut vouched) = (0u128, 0u128);
        for (index, block) in self.blocks.iter().enumerate() {
            let group = &self.groups[block.group as usize];
            all += u128::from(group.size);
            if index >= self.older && !group.is_chosen {
                vouched += u128::from(group.size);
            }
        }
        (all, vouched)
    }

    /// Requests of the trace by domain: `obj` for Python's own blocks, `raw` for those of extensions
    /// that have a domain of tracemalloc's.
    pub fn domains(&self) -> Vec<(Domain, u64)> {
        let of = |domain| {
            let is_of = |block: &&SeriesBlock| self.groups[block.group as usize].domain == domain;
            (domain, self.blocks.iter().filter(is_of).count() as u64)
        };
        [of(Domain::Obj), of(Domain::Raw)].into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// A reader of the trace.
    pub fn into_reader(self) -> SeriesReader {
        let (all, vouched) = self.vouched_bytes();
        let share = if all == 0 { 0.0 } else { vouched as f64 / all as f64 };
        let mut header = Header {
            columns: Columns { site: true, domain: true, ..Columns::default() },
            ..Header::default()
        };
        let mut fact =
            |name: &str, value: String| drop(header.facts.insert(name.to_owned(), value));
        fact(
            "synthesised",
            format!(
                "from {} tracemalloc snapshots: births and ends to the resolution of the series; \
                 blocks that lived and died between two snapshots are missing; {:.1} % of its bytes \
                 are of blocks whose birth and end are each known to one interval",
                self.snapshots,
                share * 100.0
            ),
        );
        fact("vouched_bytes_share", format!("{share:.4}"));
        fact("snapshots", self.snapshots.to_string());
        fact("snapshot_peak_bytes", self.peak_bytes.to_string());
        fact("traceback_limit", self.traceback_limit.to_string());
        fact("recorder", "tracemalloc".into());
        SeriesReader { series: self, header, sites: Sites::default(), next: 0 }
    }
}

/// Reads the trace of a [`Series`].
#[derive(Debug)]
pub struct SeriesReader {
    series: Series,
    header: Header,
    sites: Sites,
    next: usize,
}

impl TraceReader for SeriesReader {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
        let Some(block) = self.series.blocks.get(self.next) else { return Ok(None) };
        self.next += 1;
        let group = &self.series.groups[block.group as usize];
        let lifetime = (block.end != NEVER).then(|| block.end - block.birth);
        let mut row = Row::new(block.birth, Op::Malloc, group.size, lifetime);
        row.domain = group.domain;
        row.site = if group.site.is_empty() { SiteId(0) } else { self.sites.intern(&group.site) };
        Ok(Some(row))
    }

    fn sites(&self) -> &Sites {
        &self.sites
    }

    fn events_hint(&self) -> Option<u64> {
        Some(self.series.events)
    }
}
