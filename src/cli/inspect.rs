//! Verb `inspect`: shows the contents of a trace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::arenas;
use super::end_choice::{EndArgs, EndChoice};
use super::load::named_threads;
use super::numbers::whole;
use super::tables::{percent, table};
use super::terminal::{note, print};
use crate::cpython::CollectorRecord;
use crate::program::ProgramError;
use crate::report::{self, AgeBar, AgeCurve, LiveSegment, SizeBar, TraceShape, TraceThreads};
use crate::results::EndPoint;
use crate::trace::{
    self, AGE_SIZES, Age, ArenaEvent, CALLED_FROM, Header, LiveAt, Plateau, ProcessRecord,
    SiteCount, ThreadCount, TraceReader, TraceStatistics,
};
use crate::units;
use crate::{bench, program};

/// Characters of a site that a table shows.
const SHOWN_CHARS: usize = 200;

/// Show the contents of a trace: calls, sizes, lifetimes, live bytes over time, threads and lines
#[derive(clap::Args)]
pub struct InspectArgs {
    /// The trace
    trace: PathBuf,
    /// Draw the trace's pictures into this folder
    #[arg(long, value_name = "DIR")]
    png: Option<PathBuf>,
    /// Print all figures as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Replay the trace on a pool allocator and show the arenas instead, at the live peak and at the
    /// end
    #[arg(long)]
    arenas: bool,
    /// The pool allocator for --arenas, such as pymalloc@3.9 or python@3.11
    #[arg(
        short,
        long,
        visible_alias = "backends",
        default_value = "pymalloc",
        requires = "arenas"
    )]
    backend: String,
    #[command(flatten)]
    end: EndArgs,
    /// How many lines of the program to list
    #[arg(
        long,
        default_value_t = 10,
        value_name = "N",
        value_parser = whole::<usize>("a number of lines", 0..=u64::MAX, 10)
    )]
    sites: usize,
}

impl InspectArgs {
    /// Reads the trace once and prints its figures.
    ///
    /// # Errors
    /// A trace that cannot be read, or a folder that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.arenas {
            let (end, folder) = (&self.end.at, self.png.as_deref());
            return arenas::show(&self.trace, &self.backend, end, folder, self.json);
        }
        let mut reader = trace::open(&self.trace)?;
        let bar = progress(reader.events_hint());
        let mut counts =
            trace::statistics(reader.as_mut(), &self.trace, |calls| bar.set_position(calls))?;
        bar.finish_and_clear();
        if counts.calls == 0 {
            note(format!("{}: {}", self.trace.display(), ProgramError::Empty));
        }
        let end = end_point(&self.end.at, &self.trace, reader.as_ref(), &counts)?;
        if let Some(end) = &end {
            let live = LiveAt::read(trace::open(&self.trace)?.as_mut(), end.event)?;
            counts.end_at(&live, reader.process().end.map(|end| end.cause));
        }
        for warning in reader.warnings() {
            note(warning);
        }
        let name = self.trace.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if self.json {
            print(&(serde_json::to_string_pretty(&counts)? + "\n"))?;
        } else {
            print(&tables(&name, reader.as_ref(), &counts, end.as_ref(), self.sites))?;
        }
        if let Some(folder) = &self.png {
            let threads = trace_threads(&self.trace, &name, &counts, end.as_ref())?;
            let shape = TraceShape { threads, end, ..shape(&name, reader.header(), &counts) };
            draw(&shape, folder, self.json)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The moment that counts as the end; `None` for the last call.
fn end_point(
    choice: &EndChoice,
    path: &Path,
    reader: &dyn TraceReader,
    counts: &TraceStatistics,
) -> anyhow::Result<Option<EndPoint>> {
    // The statistics name the number of calls up to the peak.
    let known = (counts.calls, counts.live_peak_event.saturating_sub(1));
    let plateau = || Plateau::longest(&counts.live);
    choice.end_point(path, reader.header(), reader.process(), known, plateau)
}

fn progress(calls: Option<u64>) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {human_pos} of {human_len} calls, {eta} left");
    let bar = calls.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

fn draw(shape: &TraceShape, folder: &Path, quiet: bool) -> anyhow::Result<()> {
    for file in report::render_trace(shape, folder)? {
        // With --json, standard output holds only JSON.
        if quiet {
            note(file.display().to_string());
        } else {
            print(&format!("{}\n", file.display()))?;
        }
    }
    Ok(())
}

/// The figures for the pictures.
fn shape(name: &str, header: &Header, counts: &TraceStatistics) -> TraceShape {
    let bars = |ages: &[Age]| -> Vec<AgeBar> {
        ages.iter().map(|a| AgeBar { from: a.from, ended: a.ended, survived: a.survived }).collect()
    };
    let all = AgeCurve { label: "all blocks".into(), bars: bars(&counts.ages_bytes) };
    let groups = counts.ages_by_size.iter().enumerate().filter(|(_, ages)| !ages.is_empty());
    let by_size = groups.map(|(at, ages)| AgeCurve { label: size_group(at), bars: bars(ages) });
    TraceShape {
        name: name.to_owned(),
        synthesised: report::synthesised(&header.facts),
        marks: counts.marks.clone(),
        calls: counts.calls,
        requested: counts.requested_bytes,
        live_peak: counts.live_peak_bytes,
        live_end: counts.live_at_end().bytes,
        end: None,
        sizes: counts
            .sizes
            .iter()
            .map(|class| SizeBar {
                up_to: class.up_to,
                requests: class.requests,
                bytes: class.bytes,
            })
            .collect(),
        ages: std::iter::once(all).chain(by_size).collect(),
        weights: counts.weight_by_size_and_age.clone(),
        threads: None,
        live: counts
            .live
            .iter()
            .map(|p| LiveSegment {
                event: p.event,
                clock: p.clock_bytes,
                bytes: (p.least_bytes, p.most_bytes),
                blocks: (p.least_blocks, p.most_blocks),
            })
            .collect(),
    }
}

/// The threads over the trace, for their picture; `None` for a trace of one thread. The trace is
/// compiled for it.
fn trace_threads(
    path: &Path,
    name: &str,
    counts: &TraceStatistics,
    end: Option<&EndPoint>,
) -> anyhow::Result<Option<TraceThreads>> {
    if counts.threads.len() < 2 {
        return Ok(None);
    }
    let mut reader = trace::open(path)?;
    let (program, ..) = program::compile_within(reader.as_mut(), u64::MAX)
        .with_context(|| path.display().to_string())?;
    let program = match end {
        Some(end) => program.beginning(end.event)?,
        None => program,
    };
    let run = bench::thread_rows(&program, name);
    Ok(TraceThreads::of(
        counts.calls,
        &named_threads(reader.process()),
        &run.threads,
        &run.thread_activity,
        &run.thread_frees,
    ))
}

/// The text of a row of [`AGE_SIZES`]: `up to 64 B`, `65–512 B` …
fn size_group(at: usize) -> String {
    match (at.checked_sub(1).map(|below| AGE_SIZES[below]), AGE_SIZES[at]) {
        (None, limit) => format!("up to {limit} B"),
        (Some(below), u64::MAX) => format!("over {below} B"),
        (Some(below), limit) => format!("{}–{limit} B", below + 1),
    }
}

fn tables(
    name: &str,
    reader: &dyn TraceReader,
    counts: &TraceStatistics,
    end: Option<&EndPoint>,
    sites: usize,
) -> String {
    let header = reader.header();
    let mut text = format!("{name}\n");
    let marks = header.marks();
    let arenas = header.arenas();
    for (fact, value) in &header.facts {
        // Marks and interpreters have tables below, and arenas have a summary.
        if (fact == "marks" && !marks.is_empty()) || fact == "interpreters" {
            continue;
        }
        if fact == "arenas" && !arenas.is_empty() {
            text += &format!("  arenas: {}\n", arenas_line(&arenas));
            continue;
        }
        // A program given on the command line may be pages long.
        let line: String = value.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown: String = line.chars().take(160).collect();
        let more = if shown.len() < line.len() { " …" } else { "" };
        text += &format!("  {fact}: {shown}{more}\n");
    }
    text += &format!(
        "  {} calls, {} allocated in all\n  live: at most {} in {} blocks, {} in {} blocks {}\n",
        counts.calls,
        units::bytes(counts.requested_bytes as f64),
        units::bytes(counts.live_peak_bytes as f64),
        counts.live_peak_blocks,
        units::bytes(counts.live_at_end().bytes as f64),
        counts.live_at_end().blocks,
        report::end_sentence(end),
    );
    if counts.last_request_nanoseconds > 0 {
        text += &format!("  recorded over {:.3} s\n", counts.last_request_nanoseconds as f64 / 1e9);
    }
    if let Some(collector) = reader.process().collector {
        text += &collector_line(&collector);
    }
    text.push('\n');
    if !marks.is_empty() {
        let rows = marks.iter().map(|(event, name)| vec![name.clone(), event.to_string()]);
        text += &table(&["mark", "before call"], rows.collect());
    }
    text += &calls(counts);
    text += &sizes(counts);
    text += &lifetimes(counts);
    text += &threads(counts, reader.process(), &header.interpreters());
    text += &remote_frees(counts);
    text += &types(counts);
    text += &lines(counts, &reader.process().functions, sites);
    text
}

/// What the garbage collector of the recorded interpreter visited.
fn collector_line(collector: &CollectorRecord) -> String {
    let CollectorRecord { middle, oldest } = *collector;
    format!(
        "  the garbage collector visited {} older objects: {} in {} collections of the middle generation, \
         {} in {} full ones\n",
        collector.objects(),
        middle.objects,
        middle.collections,
        oldest.objects,
        oldest.collections,
    )
}

/// The arenas of the recorded interpreter, and how many of them are not aligned to pools.
fn arenas_line(arenas: &[ArenaEvent]) -> String {
    let births = arenas.iter().filter(|arena| arena.is_birth);
    let (mut live, mut most) = (0usize, 0usize);
    for arena in arenas {
        live = if arena.is_birth { live + 1 } else { live.saturating_sub(1) };
        most = most.max(live);
    }
    let size = arenas.iter().map(|arena| arena.size).max().unwrap_or(0);
    // A pool has 4 KiB in arenas of 256 KiB, where every arena is aligned. It has 16 KiB in arenas
    // of 1 MiB.
    let across = births.clone().filter(|arena| arena.base % (arena.size / 64).max(1) != 0).count();
    format!(
        "{} of {} in all, at most {most} at a time, {live} at the end; {across} lost a pool to their address",
        births.count(),
        units::bytes(size as f64)
    )
}

fn calls(counts: &TraceStatistics) -> String {
    let ops = counts.ops.iter().map(|op| {
        vec![
            op.op.to_owned(),
            op.calls.to_string(),
            percent(op.calls, counts.calls),
            if op.op == "free" { "–".into() } else { units::bytes(op.bytes as f64) },
        ]
    });
    let frees: u64 = counts.domains.iter().map(|domain| domain.frees).sum();
    let requests: u64 = counts.domains.iter().map(|domain| domain.requests).sum();
    let domains = counts.domains.iter().map(|domain| {
        vec![
            domain.domain.to_owned(),
            domain.requests.to_string(),
            percent(domain.requests, requests),
            units::bytes(domain.bytes as f64),
            domain.frees.to_string(),
            percent(domain.frees, frees),
        ]
    });
    table(&["op", "calls", "share", "bytes"], ops.collect())
        + &table(
            &["domain", "requests", "share", "bytes", "frees", "share of frees"],
            domains.collect(),
        )
}

/// Sizes by octave: the terminal gets 11 rows instead of 50 size classes.
fn sizes(counts: &TraceStatistics) -> String {
    let requests: u64 = counts.sizes.iter().map(|class| class.requests).sum();
    let mut octaves: Vec<(u64, u64, u64)> = Vec::new();
    for class in &counts.sizes {
        let limit = class.up_to.next_power_of_two();
        match octaves.last_mut() {
            Some(last) if last.0 == limit => {
                last.1 += class.requests;
                last.2 = last.2.saturating_add(class.bytes);
            }
            _ => octaves.push((limit, class.requests, class.bytes)),
        }
    }
    let rows = octaves.iter().filter(|octave| octave.1 > 0).map(|&(limit, count, volume)| {
        vec![
            format!("up to {}", units::bytes(limit as f64)),
            count.to_string(),
            percent(count, requests),
            units::bytes(volume as f64),
            percent(volume, counts.requested_bytes),
        ]
    });
    table(&["size", "requests", "share", "bytes", "share of bytes"], rows.collect())
}

fn lifetimes(counts: &TraceStatistics) -> String {
    let total: u64 = counts.ages_bytes.iter().map(|age| age.ended + age.survived).sum();
    let within = |ages: &[Age], limit: u64| -> u64 {
        ages.iter().filter(|age| age.from < limit).map(|age| age.ended).sum()
    };
    let mut rows = vec![vec![
        "the next call".to_owned(),
        counts.ended_by_next_call.to_string(),
        percent(counts.ended_by_next_call, total),
    ]];
    // Further limits, up to the first one that is over the bytes of the whole trace.
    let further = (34..=62).step_by(4).map(|octave| 1u64 << octave);
    let further = further.take_while(|limit| limit / 16 < counts.requested_bytes);
    let limits = [1 << 10, 1 << 14, 1 << 20, 1 << 24, 1 << 30].into_iter().chain(further);
    for limit in limits {
        let ended = within(&counts.ages_bytes, limit);
        let limit = units::bytes(limit as f64);
        rows.push(vec![
            format!("within {limit} allocated"),
            ended.to_string(),
            percent(ended, total),
        ]);
    }
    rows.push(vec![
        "not before the trace ends".into(),
        counts.survivors.to_string(),
        percent(counts.survivors, total),
    ]);
    table(&["blocks that end", "blocks", "share"], rows)
}

/// Rows in the tables of threads, at most.
const THREADS_SHOWN: usize = 20;

/// The threads, where a trace has several; those after the first rows in one row. A column has their
/// names, where the trace has names. Another names their interpreters, where a trace has
/// sub-interpreters.
fn threads(
    counts: &TraceStatistics,
    process: &ProcessRecord,
    interpreters: &[(u32, u32)],
) -> String {
    if counts.threads.len() < 2 {
        return String::new();
    }
    let interpreter = |thread: u32| {
        interpreters
            .iter()
            .find(|(number, _)| *number == thread)
            .map_or("main".to_owned(), |(_, id)| id.to_string())
    };
    let name = |thread: u32| process.thread(thread).map_or("", |record| record.name.as_str());
    let has_names = process.threads.iter().any(|record| !record.name.is_empty());
    let figures = |requests: u64, bytes: u64, frees: u64| {
        [requests.to_string(), units::bytes(bytes as f64), frees.to_string()]
    };
    let mut header = vec!["thread", "requests", "bytes", "frees of others' blocks"];
    header.extend(has_names.then_some("name"));
    header.extend((!interpreters.is_empty()).then_some("interpreter"));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for thread in counts.threads.iter().take(THREADS_SHOWN) {
        let mut row = vec![thread.thread.to_string()];
        row.extend(figures(thread.requests, thread.bytes, thread.foreign_frees));
        row.extend(has_names.then(|| name(thread.thread).to_owned()));
        row.extend((!interpreters.is_empty()).then(|| interpreter(thread.thread)));
        rows.push(row);
    }
    let rest = counts.threads.get(THREADS_SHOWN..).unwrap_or_default();
    if !rest.is_empty() {
        let sum = |figure: fn(&ThreadCount) -> u64| rest.iter().map(figure).sum();
        let mut row = vec![format!("{} others", rest.len())];
        row.extend(figures(
            sum(|thread| thread.requests),
            sum(|thread| thread.bytes),
            sum(|thread| thread.foreign_frees),
        ));
        row.resize(header.len(), String::new());
        rows.push(row);
    }
    table(&header, rows)
}

/// Whose blocks are freed by whom, the most first; those after the first rows in one row.
fn remote_frees(counts: &TraceStatistics) -> String {
    if counts.remote_frees.is_empty() {
        return String::new();
    }
    let shown = counts.remote_frees.iter().take(THREADS_SHOWN);
    let mut rows: Vec<Vec<String>> = shown
        .map(|frees| [frees.allocated_by.into(), frees.freed_by.into(), frees.blocks])
        .map(|row: [u64; 3]| row.map(|number| number.to_string()).into())
        .collect();
    let rest = counts.remote_frees.get(THREADS_SHOWN..).unwrap_or_default();
    if !rest.is_empty() {
        let blocks: u64 = rest.iter().map(|frees| frees.blocks).sum();
        rows.push(vec![format!("{} other pairs", rest.len()), String::new(), blocks.to_string()]);
    }
    table(&["blocks of thread", "freed by thread", "blocks"], rows)
}

/// Rows in the table of types, at most.
const TYPES_SHOWN: usize = 20;

fn types(counts: &TraceStatistics) -> String {
    if counts.types.is_empty() {
        return String::new();
    }
    let rows = counts.types.iter().take(TYPES_SHOWN).map(|count| {
        vec![
            if count.name.is_empty() { "(no type)".to_owned() } else { count.name.clone() },
            count.requests.to_string(),
            units::bytes(count.bytes as f64),
            count.live_blocks.to_string(),
            units::bytes(count.live_bytes as f64),
        ]
    });
    table(
        &["type, most bytes first", "requests", "bytes", "live blocks at end", "live at end"],
        rows.collect(),
    )
}

fn lines(counts: &TraceStatistics, functions: &BTreeMap<String, String>, most: usize) -> String {
    if counts.sites.is_empty() || most == 0 {
        return String::new();
    }
    let mut text = lines_of(
        &by_line(&counts.sites),
        ["line, most bytes first", "line, most live first"],
        functions,
        most,
    );
    if counts.sites.iter().any(|site| site.site.contains(CALLED_FROM)) {
        let titles =
            ["line < its callers, most bytes first", "line < its callers, most live first"];
        text += &lines_of(&counts.sites, titles, functions, most);
    }
    text
}

/// Sums the sites with callers by the line that allocated, most bytes first.
fn by_line(sites: &[SiteCount]) -> Vec<SiteCount> {
    let mut lines: BTreeMap<&str, SiteCount> = BTreeMap::new();
    for site in sites {
        let name = units::line_of(&site.site);
        let line = lines
            .entry(name)
            .or_insert_with(|| SiteCount { site: name.to_owned(), ..SiteCount::default() });
        line.requests += site.requests;
        line.bytes = line.bytes.saturating_add(site.bytes);
        line.live_blocks += site.live_blocks;
        line.live_bytes = line.live_bytes.saturating_add(site.live_bytes);
    }
    let mut lines: Vec<SiteCount> = lines.into_values().collect();
    lines.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.site.cmp(&b.site)));
    lines
}

/// A site whose lines are followed by their functions, where the trace names them.
fn with_functions(site: &str, functions: &BTreeMap<String, String>) -> String {
    let named = |frame: &str| {
        let line = units::without_native(frame);
        functions.get(line).map_or(frame.to_owned(), |function| format!("{frame} ({function})"))
    };
    trace::frames(site).map(named).collect::<Vec<String>>().join(CALLED_FROM)
}

/// Two tables: the first of `sites`, which are in the order of their bytes, and those with most live
/// bytes.
fn lines_of(
    sites: &[SiteCount],
    titles: [&'static str; 2],
    functions: &BTreeMap<String, String>,
    most: usize,
) -> String {
    let row = |site: &SiteCount| {
        let named = with_functions(&site.site, functions);
        let shown: String = named.chars().take(SHOWN_CHARS).collect();
        let more = if shown.len() < named.len() { " …" } else { "" };
        vec![
            if site.site.is_empty() { "(no line)".to_owned() } else { shown + more },
            site.requests.to_string(),
            units::bytes(site.bytes as f64),
            site.live_blocks.to_string(),
            units::bytes(site.live_bytes as f64),
        ]
    };
    let header = ["requests", "bytes", "live blocks at end", "live at end"];
    let with = |first: &'static str| [&[first], &header[..]].concat();
    let mut live: Vec<&SiteCount> = sites.iter().filter(|site| site.live_bytes > 0).collect();
    live.sort_by(|a, b| b.live_bytes.cmp(&a.live_bytes).then_with(|| a.site.cmp(&b.site)));
    let mut text = table(&with(titles[0]), sites.iter().take(most).map(row).collect());
    if !live.is_empty() {
        text += &table(&with(titles[1]), live.into_iter().take(most).map(row).collect());
    }
    text
}
