//! Files of `tracemalloc.Snapshot.dump`, one or a series, and the trace that a series
//! can be made into.
//!
//! A snapshot says which blocks were live at one moment: size, domain of tracemalloc, and
//! traceback. It has no address, no time, no thread, no free. From one to the next, blocks of the
//! same size, domain and whole traceback (a *kind*) are counted: as many as there are more were
//! born in between, as many as there are fewer have ended. So a series becomes a trace with
//! lifetimes to the resolution of the series. It is a model, and says so (`synthesised`):
//!
//! - what lived and died between two snapshots is not in it, nor is a block that was replaced by
//!   another of its kind;
//! - between two snapshots all ends come before all births, so no more is live than the snapshots
//!   saw;
//! - which blocks of a kind end cannot be known: the youngest are taken, as most blocks die young;
//! - a realloc is what it looks like: an end and a birth; each row is a `malloc`.
//!
//! *Vouched for* are the bytes of blocks whose birth and end (or survival) each lie between two
//! snapshots that follow one another: blocks of the first snapshot are older than it, and where
//! blocks of one kind but different ages were live and only some ended, the ages were chosen.
//! `vouched_bytes_share` is their share of all bytes in the trace.
//!
//! The pickle is read by `pickle.rs`, which can run nothing. A block of the trace costs 24 bytes
//! until it is written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::pickle::{self, Frame, Pickled};
use super::{
    Columns, Header, Op, Row, SITE_LIMIT_BYTES, SIZE_LIMIT_BYTES, SiteId, Sites, TraceError,
    TraceReader, unpack,
};

/// One snapshot, read.
#[derive(Debug)]
pub struct Snapshot {
    /// The file.
    pub path: PathBuf,
    tables: Pickled,
}

/// What is live of one site or size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// `file:line`, or the size class in words.
    pub name: String,
    /// Blocks.
    pub blocks: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Whether a file that begins so may be a snapshot: a pickle of protocol 2 to 5, so that a wrong
/// one is refused with the better message.
pub(super) fn sniff(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..])
}

impl Snapshot {
    /// Reads a file of `tracemalloc.Snapshot.dump`, gzip or plain.
    ///
    /// # Errors
    /// When it cannot be read, or is not such a file from its first byte to its last.
    pub fn open(path: &Path) -> Result<Snapshot, TraceError> {
        let tables = pickle::read(unpack::open(path)?).map_err(|fault| match fault.source {
            Some(source) => TraceError::io(path, source),
            None => TraceError::Byte {
                path: path.to_owned(),
                offset: fault.offset,
                found: fault.found,
                expected: fault.expected.to_owned(),
            },
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

    /// Blocks that were live.
    pub fn blocks(&self) -> u64 {
        self.tables.listed.len() as u64
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.tables.listed.iter().map(|trace| trace.size).sum()
    }

    /// Frames kept of each call, 1 where the file does not say.
    pub fn traceback_limit(&self) -> u64 {
        self.tables.traceback_limit.unwrap_or(1)
    }

    /// Size, tracemalloc's domain and frames (file and line, the newest first) of each block, in
    /// the order of the file.
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

    /// What is live by the newest frame, most bytes first.
    pub fn by_site(&self) -> Vec<Live> {
        let mut sums: HashMap<Frame, (u64, u64)> = HashMap::new();
        for trace in &self.tables.listed {
            if let Some(&frame) = self.tables.traceback(trace.frames).first() {
                let sum = sums.entry(frame).or_default();
                *sum = (sum.0 + 1, sum.1.saturating_add(trace.size));
            }
        }
        let mut live: Vec<Live> = sums
            .into_iter()
            .map(|(frame, (blocks, bytes))| Live { name: self.site(frame), blocks, bytes })
            .collect();
        live.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        live
    }

    /// What is live by size: the upper bound of each octave, the blocks and their bytes, ascending.
    pub fn by_size(&self) -> Vec<(u64, u64, u64)> {
        let mut sums = std::collections::BTreeMap::new();
        for trace in &self.tables.listed {
            let sum: &mut (u64, u64) =
                sums.entry(trace.size.max(8).next_power_of_two()).or_default();
            *sum = (sum.0 + 1, sum.1.saturating_add(trace.size));
        }
        sums.into_iter().map(|(limit, (blocks, bytes))| (limit, blocks, bytes)).collect()
    }

    fn file(&self, frame: Frame) -> &str {
        self.tables.files.get(frame.file as usize).map_or("", String::as_str)
    }

    fn site(&self, frame: Frame) -> String {
        site_name(self.file(frame), frame.line)
    }
}

/// `file:line`; of a path that is too long its end, which says more than its beginning.
pub(super) fn site_name(file: &str, line: u32) -> String {
    let mut name = format!("{file}:{line}");
    let over = name.len().saturating_sub(SITE_LIMIT_BYTES);
    if over > 0 {
        let cut = (over..=name.len()).find(|&at| name.is_char_boundary(at)).unwrap_or(over);
        name.drain(..cut);
    }
    name
}

/// A block of the trace that is being made.
#[derive(Clone, Copy, Debug)]
struct Block {
    kind: u32,
    /// The snapshot that saw it first.
    seen: u32,
    birth: u64,
    end: u64,
}

const NEVER: u64 = u64::MAX;

/// Blocks of one size, domain and traceback.
#[derive(Debug)]
struct Kind {
    size: u64,
    site: String,
    /// Its live blocks by index, the oldest first.
    live: Vec<u32>,
    /// How many of them the present snapshot has.
    count: u32,
    /// Whether it was chosen which of its blocks ended.
    is_chosen: bool,
}

/// Makes a trace of a series of snapshots: give them in their order, then read it.
#[derive(Debug, Default)]
pub struct Series {
    /// Names and lines of a traceback, by which they are the same in all snapshots.
    tracebacks: HashMap<Vec<(u32, u32)>, u32>,
    files: Sites,
    kinds: Vec<Kind>,
    ids: HashMap<(u64, u32, u32), u32>,
    blocks: Vec<Block>,
    /// Blocks of the first snapshot.
    older: usize,
    snapshots: u64,
    traceback_limit: u64,
    events: u64,
    live_bytes: u64,
    /// Most bytes live at any snapshot.
    peak_bytes: u64,
}

/// Blocks of a series at most: their indices are 32 bits wide.
const BLOCKS_LIMIT: usize = 1 << 31;

impl Series {
    /// A series without a snapshot.
    pub fn new() -> Series {
        Series::default()
    }

    /// Adds the next snapshot.
    ///
    /// # Errors
    /// When the series has more blocks than a trace can be made of.
    pub fn add(&mut self, snapshot: &Snapshot) -> Result<(), TraceError> {
        let listed = self.kinds_of(snapshot);
        for kind in &mut self.kinds {
            kind.count = 0;
        }
        for &kind in &listed {
            self.kinds[kind as usize].count += 1;
        }
        self.end_missing();
        // What is left is live before the first birth; as many of each kind are passed over below.
        let mut known: Vec<u32> = self.kinds.iter().map(|kind| kind.live.len() as u32).collect();
        for &kind in &listed {
            match &mut known[kind as usize] {
                0 => self.begin(kind, snapshot)?,
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

    /// The kind of each block of a snapshot.
    fn kinds_of(&mut self, snapshot: &Snapshot) -> Vec<u32> {
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
            let next = self.kinds.len() as u32;
            let kind = *self.ids.entry((trace.size, trace.domain, traceback)).or_insert(next);
            if kind == next {
                let site =
                    tables.traceback(trace.frames).first().map(|frame| snapshot.site(*frame));
                self.kinds.push(Kind {
                    size: trace.size,
                    site: site.unwrap_or_default(),
                    live: Vec::new(),
                    count: 0,
                    is_chosen: false,
                });
            }
            listed.push(kind);
        }
        listed
    }

    /// Ends the youngest of each kind that has become fewer; all ends in the order of their births.
    fn end_missing(&mut self) {
        let mut ended = Vec::new();
        for kind in &mut self.kinds {
            let kept = kind.count as usize;
            if kept >= kind.live.len() {
                continue;
            }
            // AllocationSites of one interval are alike: only where blocks of several are live was one
            // chosen.
            let seen = |index: Option<&u32>| index.map(|&index| self.blocks[index as usize].seen);
            kind.is_chosen |= kept > 0 && seen(kind.live.first()) != seen(kind.live.last());
            ended.extend(kind.live.drain(kept..));
        }
        ended.sort_unstable();
        for index in ended {
            self.blocks[index as usize].end = self.events;
            self.events += 1;
        }
    }

    fn begin(&mut self, kind: u32, snapshot: &Snapshot) -> Result<(), TraceError> {
        if self.blocks.len() == BLOCKS_LIMIT {
            return Err(TraceError::Foreign {
                path: snapshot.path.clone(),
                found: "the series has more than 2^31 blocks".into(),
                expected: "fewer snapshots, or filtered ones (Snapshot.filter_traces)".into(),
            });
        }
        self.kinds[kind as usize].live.push(self.blocks.len() as u32);
        self.blocks.push(Block {
            kind,
            seen: self.snapshots as u32,
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

    /// Bytes of all blocks of the trace, and of those that it can vouch for.
    pub fn vouched_bytes(&self) -> (u64, u64) {
        let (mut all, mut vouched) = (0u64, 0u64);
        for (index, block) in self.blocks.iter().enumerate() {
            let kind = &self.kinds[block.kind as usize];
            all = all.saturating_add(kind.size);
            if index >= self.older && !kind.is_chosen {
                vouched = vouched.saturating_add(kind.size);
            }
        }
        (all, vouched)
    }

    /// The trace.
    pub fn into_reader(self) -> SeriesReader {
        let (all, vouched) = self.vouched_bytes();
        let share = if all == 0 { 0.0 } else { vouched as f64 / all as f64 };
        let mut header =
            Header { columns: Columns { site: true, ..Columns::default() }, ..Header::default() };
        let mut fact =
            |name: &str, value: String| drop(header.facts.insert(name.to_owned(), value));
        fact(
            "synthesised",
            format!(
                "from {} tracemalloc snapshots: births and ends to the resolution of the series; what lived and died \
                 between two snapshots is not in it; {:.1} % of its bytes are of blocks whose birth and end are each \
                 known to one interval",
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
        let kind = &self.series.kinds[block.kind as usize];
        let lifetime = (block.end != NEVER).then(|| block.end - block.birth);
        let mut row = Row::new(block.birth, Op::Malloc, kind.size, lifetime);
        row.site = if kind.site.is_empty() { SiteId(0) } else { self.sites.intern(&kind.site) };
        Ok(Some(row))
    }

    fn sites(&self) -> &Sites {
        &self.sites
    }

    fn events_hint(&self) -> Option<u64> {
        Some(self.series.events)
    }
}
