//! The conversion of logs of other recorders into traces.
//!
//! A log is read twice, so it must be a file. Both readings end where the file ended at first. A file
//! that changes between them is refused. Nothing is guessed. Facts of the trace count the gaps of a
//! log, and [`Imported::notes`] has a sentence for each.

use std::io::{BufRead, Read};
use std::path::Path;

use super::blocks::{Item, Lifetimes, Tracker};
use super::byte_input::ByteInput;
use super::event::{Columns, Header, Row, SIZE_LIMIT_BYTES, Sites, TraceError};
use super::foreign::{
    ByteFault, ByteParser, Foreign, LineFault, LineParser, Log, LogItem, LogParser, LogTally,
};
use super::formats::Creation;
use super::peek_reader::PeekReader;
use super::process::{PresentBytes, ProcessRecord, ThreadRecord};
use super::stable_file::StableFile;

/// The longest line that is read, in bytes.
const LINE_LIMIT_BYTES: u64 = 1 << 20;

/// Threads whose own ids and names a trace holds, at most.
const THREADS_LIMIT: usize = 100_000;

/// A log of another recorder.
pub struct ForeignLog {
    file: StableFile,
    member: &'static Foreign,
    process: Option<u64>,
}

/// The counts of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows of the trace.
    pub rows: u64,
    /// Calls, frees included.
    pub events: u64,
    /// Frees of blocks whose birth is not in the log. They are left out.
    pub unseen_frees: u64,
    /// Reallocs of blocks whose birth is not in the log. They are mallocs.
    pub unseen_resizes: u64,
    /// Blocks whose end is not in the log, although their address came back.
    pub unseen_ends: u64,
    /// Counts of the log beside its calls.
    pub tally: LogTally,
}

/// What one reading gives to its caller.
type TakeItem<'a> = dyn FnMut(LogItem, &Sites) -> Result<(), TraceError> + 'a;

/// What one reading found.
struct LogReading {
    log: Log,
    /// Of the bytes that were read.
    checksum: u32,
}

/// Where a reading is: at a line or at a byte.
#[derive(Clone, Copy)]
enum LogPlace {
    Line(u64),
    Byte(u64),
}

impl ForeignLog {
    /// A log of that format.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(path: &Path, member: &'static Foreign) -> Result<ForeignLog, TraceError> {
        Ok(ForeignLog { file: StableFile::new(path)?, member, process: None })
    }

    /// Chooses a process of the log; without it, the first one is read.
    #[must_use]
    pub fn of_process(self, process: Option<u64>) -> ForeignLog {
        ForeignLog { process, ..self }
    }

    /// Reads the log once and hands each call to `take`.
    fn each(&self, take: &mut TakeItem<'_>) -> Result<LogReading, TraceError> {
        let unpacked = self.file.open()?;
        let mut log = Log::default();
        log.chosen_process = self.process;
        match (self.member.parser)() {
            LogParser::Lines(mut parser) => {
                self.each_line(unpacked.stream, parser.as_mut(), &mut log, take)?;
            }
            LogParser::Bytes(mut parser) => {
                self.each_record(unpacked.stream, parser.as_mut(), &mut log, take)?;
            }
        }
        Ok(LogReading { log, checksum: unpacked.checksum.get() })
    }

    fn each_line(
        &self,
        mut stream: PeekReader,
        parser: &mut dyn LineParser,
        log: &mut Log,
        take: &mut TakeItem<'_>,
    ) -> Result<(), TraceError> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let limited = (&mut stream).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut bytes);
            limited.map_err(|source| TraceError::io(self.file.path(), source))?;
            let is_over = bytes.is_empty();
            let parsed = if is_over {
                parser.end(log)
            } else {
                log.tally.lines += 1;
                one_line(&bytes, parser, log)
            };
            let place = LogPlace::Line(log.tally.lines.max(1));
            match parsed {
                Err(LineFault::Wrong(found, expected)) => {
                    return Err(self.fault(place, found, expected));
                }
                Err(LineFault::Foreign) => {
                    let tally = &mut log.tally;
                    tally.foreign_lines += 1;
                    if tally.foreign_lines == 1 {
                        tally.first_foreign_line = tally.lines;
                    }
                }
                Ok(()) => {}
            }
            self.hand_on(place, log, take)?;
            if is_over {
                return Ok(());
            }
        }
    }

    fn each_record(
        &self,
        stream: PeekReader,
        parser: &mut dyn ByteParser,
        log: &mut Log,
        take: &mut TakeItem<'_>,
    ) -> Result<(), TraceError> {
        let mut input = ByteInput::new(stream);
        loop {
            let place = LogPlace::Byte(input.offset());
            let has_more = match parser.record(&mut input, log) {
                Ok(has_more) => has_more,
                Err(ByteFault::Io(source)) => {
                    return Err(TraceError::io(self.file.path(), source));
                }
                Err(ByteFault::Wrong(found, expected)) => {
                    return Err(self.fault(place, found, expected));
                }
            };
            self.hand_on(place, log, take)?;
            if !has_more {
                return Ok(());
            }
            log.tally.lines += 1;
        }
    }

    /// Hands on the calls so far.
    fn hand_on(
        &self,
        place: LogPlace,
        log: &mut Log,
        take: &mut TakeItem<'_>,
    ) -> Result<(), TraceError> {
        let sites = std::mem::take(&mut log.sites);
        let result = log.take_items().try_for_each(|item| {
            if let LogItem::Call(Item::Birth { size, .. }, _) = item
                && size > SIZE_LIMIT_BYTES
            {
                let found = format!("a size of {size} bytes");
                return Err(self.fault(place, found, "at most 2^47 bytes"));
            }
            take(item, &sites)
        });
        log.sites = sites;
        result
    }

    fn fault(&self, place: LogPlace, found: String, expected: &str) -> TraceError {
        let expected = format!("{expected} ({})", self.member.description);
        let path = self.file.path().to_owned();
        match place {
            LogPlace::Line(line) => TraceError::Line { path, line, found, expected },
            LogPlace::Byte(offset) => TraceError::Byte { path, offset, found, expected },
        }
    }

    /// Writes the log as a trace, in the format that the extension of `out` names.
    ///
    /// # Errors
    /// The first fault, a log without a call, a file that changes while it is read, or one that
    /// cannot be written; `out` is then unchanged.
    pub fn convert(&self, out: &Path) -> Result<Imported, TraceError> {
        let (mut tracker, mut lifetimes) = (Tracker::default(), Lifetimes::default());
        let mut asides = Asides::default();
        let first = self.each(&mut |item, _| {
            match item {
                LogItem::Call(call, _) => {
                    if tracker.follow(&call, &mut |end| lifetimes.note(end)).is_some() {
                        lifetimes.begin();
                    }
                }
                aside => asides.note(aside, &tracker),
            }
            Ok(())
        })?;
        let mut process = asides.into_record(&first.log, tracker.threads());
        let mut imported = Imported {
            rows: tracker.rows,
            events: tracker.events,
            unseen_frees: tracker.unseen_frees - tracker.unseen_resizes,
            unseen_resizes: tracker.unseen_resizes,
            unseen_ends: tracker.unseen_ends,
            tally: first.log.tally.clone(),
        };
        if imported.rows == 0 {
            return Err(self.no_rows(&imported));
        }
        if let (Some(process), None) = (self.process, imported.tally.process) {
            return Err(self.no_processes(process));
        }
        let header = self.header(&first.log, &imported);
        let columns = header.columns;
        let mut creation = Creation::begin(out, &header)?;
        let (mut tracker, mut index) = (Tracker::default(), 0);
        let mut retained = PresentRetained::new(std::mem::take(&mut process.present));
        let second = self.each(&mut |item, sites| {
            let LogItem::Call(call, site) = item else { return Ok(()) };
            let Some(mut row) = tracker.follow(&call, &mut |_| {}) else { return Ok(()) };
            (row.lifetime, row.end_thread) = lifetimes.get(index);
            index += 1;
            retained.see(&row);
            row.site = site;
            creation.write_row(&without_missing_columns(row, columns), sites)
        });
        match second {
            Ok(second) if second.checksum == first.checksum => {
                process.present = retained.of_large_blocks;
                if !process.is_empty() {
                    creation.write_process(&process)?;
                }
                creation.finish()?;
            }
            Ok(_) | Err(TraceError::Line { .. } | TraceError::Byte { .. }) => {
                creation.discard();
                return Err(self.changed());
            }
            Err(error) => {
                creation.discard();
                return Err(error);
            }
        }
        imported.tally.grown_bytes = self.file.grown_bytes();
        Ok(imported)
    }

    fn no_rows(&self, imported: &Imported) -> TraceError {
        let tally = &imported.tally;
        let found = format!(
            "{}, but no allocation in its {} lines or records ({} are no calls, {} are of other \
             processes, {} calls failed)",
            self.member.description,
            tally.lines,
            tally.foreign_lines,
            tally.other_processes.values().sum::<u64>(),
            tally.failed_calls,
        );
        let next_step = match tally.other_processes.keys().next() {
            Some(process) => format!("choose a process of the log, such as --process {process}"),
            None => "record a program that allocates".to_owned(),
        };
        TraceError::Unread { path: self.file.path().to_owned(), kind: found, next_step }
    }

    fn no_processes(&self, process: u64) -> TraceError {
        TraceError::Unread {
            path: self.file.path().to_owned(),
            kind: format!("{}, which names no processes", self.member.description),
            next_step: format!("leave out --process {process}"),
        }
    }

    fn changed(&self) -> TraceError {
        TraceError::Unread {
            path: self.file.path().to_owned(),
            kind: "the file changed while it was read".into(),
            next_step: "import it when the program that writes it has ended, or import a copy"
                .into(),
        }
    }

    fn header(&self, log: &Log, imported: &Imported) -> Header {
        let mut header = log.header.clone();
        let mut fact =
            |name: &str, value: String| drop(header.facts.insert(name.to_owned(), value));
        fact("recorder", self.member.description.into());
        fact("unseen_frees", imported.unseen_frees.to_string());
        fact("unseen_ends", imported.unseen_ends.to_string());
        let tally = &imported.tally;
        for (name, count) in [
            ("unseen_resizes", imported.unseen_resizes),
            ("foreign_lines", tally.foreign_lines),
            ("failed_calls", tally.failed_calls),
            ("clamped_times", tally.clamped_times),
            ("other_processes_lines", tally.other_processes.values().sum()),
            ("cut_line_bytes", tally.cut_line_bytes),
        ] {
            if count > 0 {
                fact(name, count.to_string());
            }
        }
        if tally.left_out > 0 {
            fact(
                "left_out",
                format!("{} lines of kinds that a trace does not hold", tally.left_out),
            );
        }
        if let Some((stated, found)) = tally.stated {
            fact("stated_calls", format!("{stated}, but the log has {found}"));
        }
        header
    }
}

/// What a log knows of its process besides its calls.
#[derive(Default)]
struct Asides {
    /// Thread, by the log's order, and the index of the next call.
    births: Vec<(u32, u64)>,
    deaths: Vec<(u32, u64)>,
    present: Vec<PresentBytes>,
}

impl Asides {
    fn note(&mut self, item: LogItem, tracker: &Tracker) {
        match item {
            LogItem::Call(..) => {}
            LogItem::ThreadBirth(thread) => self.births.push((thread, tracker.events)),
            LogItem::ThreadDeath(thread) => self.deaths.push((thread, tracker.events)),
            LogItem::Present { address, bytes } => {
                let event = tracker.event_of(address);
                self.present.extend(event.map(|event| PresentBytes { event, bytes }));
            }
        }
    }

    /// The record of a log whose threads made calls in the order of `threads`. Threads without a call
    /// follow.
    fn into_record(mut self, log: &Log, threads: &[u32]) -> ProcessRecord {
        self.present.sort_unstable_by_key(|present| present.event);
        let mut record = ProcessRecord { present: self.present, ..ProcessRecord::NONE };
        if !log.header.columns.thread {
            return record;
        }
        let known = log.threads.records();
        let mut records: Vec<ThreadRecord> = known
            .iter()
            .map(|thread| ThreadRecord { birth: None, death: None, ..thread.clone() })
            .collect();
        for (thread, event) in self.births {
            if let Some(record) = records.get_mut((thread as usize).wrapping_sub(1)) {
                record.birth = Some(event);
            }
        }
        for (thread, event) in self.deaths {
            if let Some(record) = records.get_mut((thread as usize).wrapping_sub(1)) {
                record.death = Some(event);
            }
        }
        let mut order: Vec<usize> =
            threads.iter().map(|thread| (*thread as usize).wrapping_sub(1)).collect();
        let mut has_calls = vec![false; records.len()];
        for index in &order {
            if let Some(called) = has_calls.get_mut(*index) {
                *called = true;
            }
        }
        order.extend((0..records.len()).filter(|index| !has_calls[*index]));
        order.truncate(THREADS_LIMIT);
        record.threads =
            order.iter().map(|index| records.get(*index).cloned().unwrap_or_default()).collect();
        record
    }
}

/// Chooses the present bytes of large blocks that were not wholly in memory.
struct PresentRetained {
    /// In descending order of events.
    left: Vec<PresentBytes>,
    of_large_blocks: Vec<PresentBytes>,
}

impl PresentRetained {
    /// Bytes of the smallest large block.
    const LARGE_BYTES: u64 = 64 << 10;
    /// Blocks that a trace holds, at most.
    const BLOCKS_LIMIT: usize = 100_000;

    fn new(mut present: Vec<PresentBytes>) -> PresentRetained {
        present.reverse();
        PresentRetained { left: present, of_large_blocks: Vec::new() }
    }

    fn see(&mut self, row: &Row) {
        while let Some(present) = self.left.pop_if(|present| present.event <= row.event) {
            if present.event == row.event
                && row.size >= Self::LARGE_BYTES
                && present.bytes < row.size
                && self.of_large_blocks.len() < Self::BLOCKS_LIMIT
            {
                self.of_large_blocks.push(present);
            }
        }
    }
}

/// Reads one line, without a byte-order mark and its end.
fn one_line(bytes: &[u8], parser: &mut dyn LineParser, log: &mut Log) -> Result<(), LineFault> {
    if bytes.len() as u64 == LINE_LIMIT_BYTES && bytes.last() != Some(&b'\n') {
        return Err(LineFault::Wrong("a line of over 1 MiB".into(), "text, a call a line"));
    }
    let text = String::from_utf8_lossy(bytes);
    let line = if log.tally.lines == 1 { text.trim_start_matches('\u{feff}') } else { &*text };
    let line = line.trim_end_matches(['\n', '\r']);
    if line.trim().is_empty() {
        return Ok(());
    }
    if bytes.last() != Some(&b'\n') && !parser.is_whole_without_end(line) {
        log.tally.cut_line_bytes = bytes.len() as u64;
        return Ok(());
    }
    parser.line(line, log)
}

/// A row without the values of columns that the log lacks.
fn without_missing_columns(mut row: Row, columns: Columns) -> Row {
    if !columns.thread {
        (row.thread, row.end_thread) = (0, None);
    }
    if !columns.time_ns {
        row.time_ns = 0;
    }
    row
}

/// `1 free was`, `2 frees were`.
fn counted(count: u64, one: &str, more: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{count} {more}")),
    }
}

/// A share as `12.3 %`, and `under 0.1 %` instead of `0.0 %`.
fn share(part: u64, whole: u64) -> String {
    let share = part as f64 / whole.max(1) as f64 * 100.0;
    if part > 0 && share < 0.1 { "under 0.1 %".into() } else { format!("{share:.1} %") }
}

impl Imported {
    /// What a person should know of the log and of the trace, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let tally = &self.tally;
        let mut notes: Vec<String> = [
            counted(
                self.unseen_frees,
                "free was of a block that the log has no birth of; it is left out",
                "frees were of blocks that the log has no birth of; they are left out",
            ),
            counted(
                self.unseen_resizes,
                "realloc was of a block that the log has no birth of; it is a malloc in the trace",
                "reallocs were of blocks that the log has no birth of; they are mallocs in the trace",
            ),
            counted(
                self.unseen_ends,
                "block ended unseen: its address came back",
                "blocks ended unseen: their addresses came back",
            ),
            counted(
                tally.failed_calls,
                "call failed in the program; it changes nothing",
                "calls failed in the program; they change nothing",
            ),
            counted(
                tally.left_out,
                "line or record was left out: a trace does not hold its kind",
                "lines or records were left out: a trace does not hold their kind",
            ),
            counted(
                tally.foreign_lines,
                "line was left out: it is no call of this log",
                "lines were left out: they are no calls of this log",
            )
            .map(|note| {
                let first = tally.first_foreign_line;
                let which = if tally.foreign_lines == 1 { "line" } else { "the first is line" };
                format!("{note} ({}; {which} {first})", share(tally.foreign_lines, tally.lines))
            }),
            counted(
                tally.clamped_times,
                "time lies before the first one and counts as that",
                "times lie before the first one and count as that",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        notes.extend(self.processes());
        if tally.cut_line_bytes > 0 {
            notes.push(format!(
                "the last line has no line feed and was left out ({} bytes): was the file cut off?",
                tally.cut_line_bytes
            ));
        }
        if let Some((stated, found)) = tally.stated {
            notes.push(format!("the log states {stated} calls and has {found}; all were read"));
        }
        if tally.grown_bytes > 0 {
            notes.push(format!(
                "the file grew by {} bytes while it was read; they were left out",
                tally.grown_bytes
            ));
        }
        if !tally.domains.is_empty() {
            let all = tally.domains.iter().map(|(_, count)| count).sum();
            let shares: Vec<String> = tally
                .domains
                .iter()
                .map(|(domain, count)| format!("{} {}", domain.name(), share(*count, all)))
                .collect();
            notes.push(format!("requests by domain: {}", shares.join(", ")));
        }
        notes.extend(tally.remarks.iter().cloned());
        notes
    }

    /// A note on each of the other processes with most lines.
    fn processes(&self) -> Vec<String> {
        const SHOWN: usize = 3;
        let tally = &self.tally;
        let mut others: Vec<(u64, u64)> =
            tally.other_processes.iter().map(|(process, lines)| (*process, *lines)).collect();
        others.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
        let more = others.len().saturating_sub(SHOWN);
        let mut notes: Vec<String> = others
            .iter()
            .take(SHOWN)
            .map(|(process, lines)| {
                format!(
                    "{lines} lines ({}) are of process {process} and were left out; --process \
                     {process} imports them instead",
                    share(*lines, tally.lines)
                )
            })
            .collect();
        if more > 0 {
            notes.push(format!("{more} more processes were left out"));
        }
        notes
    }
}
