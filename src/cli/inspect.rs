//! Room `cli`, verb `inspect`: what a trace says of its program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};

use super::{arenas, note, print};
use crate::report::{self, AgeBar, AgeCurve, LiveSegment, SizeBar, TraceShape};
use crate::trace::{self, AGE_SIZES, Age, ArenaEvent, CALLED_FROM, Header, SiteCount, Statistics};

/// Characters of a site that a table shows.
const SHOWN_CHARS: usize = 200;

/// Show what a trace holds: calls, sizes, lifetimes, live bytes over time, threads and lines
#[derive(clap::Args)]
pub struct InspectArgs {
    /// The trace
    trace: PathBuf,
    /// Draw its pictures into this folder
    #[arg(long, value_name = "DIR")]
    png: Option<PathBuf>,
    /// Print everything as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Replay it on a pool allocator and show its arenas instead, at the live peak and at the end
    #[arg(long)]
    arenas: bool,
    /// The pool allocator for --arenas, such as pymalloc@3.9 or python@3.11
    #[arg(long, default_value = "pymalloc", requires = "arenas")]
    backend: String,
    /// How many lines of the program to list
    #[arg(long, default_value_t = 10, value_name = "N")]
    sites: usize,
}

impl InspectArgs {
    /// Reads the trace once and prints.
    ///
    /// # Errors
    /// A trace that cannot be read, or a folder that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.arenas {
            return arenas::show(&self.trace, &self.backend, self.png.as_deref(), self.json);
        }
        let mut reader = trace::open(&self.trace)?;
        let bar = progress(reader.events_hint());
        let told =
            trace::statistics(reader.as_mut(), &self.trace, |calls| bar.set_position(calls))?;
        bar.finish_and_clear();
        for warning in reader.warnings() {
            note(warning);
        }
        let name = self.trace.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if self.json {
            print(&(serde_json::to_string_pretty(&told)? + "\n"))?;
        } else {
            print(&tables(&name, reader.header(), &told, self.sites))?;
        }
        if let Some(folder) = &self.png {
            draw(&shape(&name, reader.header(), &told), folder, self.json)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn progress(calls: Option<u64>) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {human_pos} of {human_len} calls, {eta} left");
    let bar = calls.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

fn draw(shape: &TraceShape, folder: &Path, quiet: bool) -> anyhow::Result<()> {
    for file in report::render_trace(shape, folder)? {
        // With --json standard output is for the machine.
        if quiet {
            note(file.display().to_string());
        } else {
            print(&format!("{}\n", file.display()))?;
        }
    }
    Ok(())
}

/// The figures that the pictures are drawn from.
fn shape(name: &str, header: &Header, told: &Statistics) -> TraceShape {
    let bars = |ages: &[Age]| -> Vec<AgeBar> {
        ages.iter().map(|a| AgeBar { from: a.from, ended: a.ended, survived: a.survived }).collect()
    };
    let all = AgeCurve { label: "all blocks".into(), bars: bars(&told.ages_bytes) };
    let groups = told.ages_by_size.iter().enumerate().filter(|(_, ages)| !ages.is_empty());
    let by_size = groups.map(|(at, ages)| AgeCurve { label: size_group(at), bars: bars(ages) });
    TraceShape {
        name: name.to_owned(),
        synthesised: report::synthesised(&header.facts),
        marks: told.marks.clone(),
        calls: told.calls,
        requested: told.requested_bytes,
        live_peak: told.live_peak_bytes,
        live_end: told.live_end_bytes,
        sizes: told
            .sizes
            .iter()
            .map(|class| SizeBar {
                up_to: class.up_to,
                requests: class.requests,
                bytes: class.bytes,
            })
            .collect(),
        ages: std::iter::once(all).chain(by_size).collect(),
        weights: told.weight_by_size_and_age.clone(),
        live: told
            .live
            .iter()
            .map(|p| LiveSegment {
                clock: p.clock_bytes,
                bytes: (p.least_bytes, p.most_bytes),
                blocks: (p.least_blocks, p.most_blocks),
            })
            .collect(),
    }
}

/// `up to 64 B`, `65–512 B` …
fn size_group(at: usize) -> String {
    match (at.checked_sub(1).map(|below| AGE_SIZES[below]), AGE_SIZES[at]) {
        (None, limit) => format!("up to {limit} B"),
        (Some(below), u64::MAX) => format!("over {below} B"),
        (Some(below), limit) => format!("{}–{limit} B", below + 1),
    }
}

/// A table whose first column is words and whose others are figures.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n\n")
}

/// `12.3 %`.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "–".into() } else { format!("{:.1} %", part as f64 / whole as f64 * 100.0) }
}

fn tables(name: &str, header: &Header, told: &Statistics, sites: usize) -> String {
    let mut text = format!("{name}\n");
    let marks = header.marks();
    let arenas = header.arenas();
    for (fact, value) in &header.facts {
        // Readable marks and interpreters stand in tables below, and arenas are summed up.
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
        "  {} calls, {} allocated in all\n  live: at most {} in {} blocks, {} in {} blocks at the end\n",
        told.calls,
        report::bytes(told.requested_bytes as f64),
        report::bytes(told.live_peak_bytes as f64),
        told.live_peak_blocks,
        report::bytes(told.live_end_bytes as f64),
        told.survivors,
    );
    if told.last_request_nanoseconds > 0 {
        text += &format!("  recorded over {:.3} s\n", told.last_request_nanoseconds as f64 / 1e9);
    }
    text.push('\n');
    if !marks.is_empty() {
        let rows = marks.iter().map(|(event, name)| vec![name.clone(), event.to_string()]);
        text += &table(&["mark", "before call"], rows.collect());
    }
    text += &calls(told);
    text += &sizes(told);
    text += &lifetimes(told);
    text += &threads(told, &header.interpreters());
    text += &types(told);
    text += &lines(told, sites);
    text
}

/// How many arenas the recorded interpreter had, and how many of them lie across a pool's boundary.
fn arenas_line(arenas: &[ArenaEvent]) -> String {
    let births = arenas.iter().filter(|arena| arena.is_birth);
    let (mut live, mut most) = (0usize, 0usize);
    for arena in arenas {
        live = if arena.is_birth { live + 1 } else { live.saturating_sub(1) };
        most = most.max(live);
    }
    let size = arenas.iter().map(|arena| arena.size).max().unwrap_or(0);
    // A pool is 4 KiB in arenas of 256 KiB, where none can lie across, and 16 KiB in those of 1
    // MiB.
    let across = births.clone().filter(|arena| arena.base % (arena.size / 64).max(1) != 0).count();
    format!(
        "{} of {} in all, at most {most} at a time, {live} at the end; {across} lost a pool to their address",
        births.count(),
        report::bytes(size as f64)
    )
}

fn calls(told: &Statistics) -> String {
    let ops = told.ops.iter().map(|op| {
        vec![
            op.op.to_owned(),
            op.calls.to_string(),
            percent(op.calls, told.calls),
            if op.op == "free" { "–".into() } else { report::bytes(op.bytes as f64) },
        ]
    });
    let frees: u64 = told.domains.iter().map(|domain| domain.frees).sum();
    let requests: u64 = told.domains.iter().map(|domain| domain.requests).sum();
    let domains = told.domains.iter().map(|domain| {
        vec![
            domain.domain.to_owned(),
            domain.requests.to_string(),
            percent(domain.requests, requests),
            report::bytes(domain.bytes as f64),
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

/// The classes in the terminal: octaves, which are 11 rows and not 50.
fn sizes(told: &Statistics) -> String {
    let requests: u64 = told.sizes.iter().map(|class| class.requests).sum();
    let mut octaves: Vec<(u64, u64, u64)> = Vec::new();
    for class in &told.sizes {
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
            format!("up to {}", report::bytes(limit as f64)),
            count.to_string(),
            percent(count, requests),
            report::bytes(volume as f64),
            percent(volume, told.requested_bytes),
        ]
    });
    table(&["size", "requests", "share", "bytes", "share of bytes"], rows.collect())
}

fn lifetimes(told: &Statistics) -> String {
    let total: u64 = told.ages_bytes.iter().map(|age| age.ended + age.survived).sum();
    let within = |ages: &[Age], limit: u64| -> u64 {
        ages.iter().filter(|age| age.from < limit).map(|age| age.ended).sum()
    };
    let mut rows = vec![vec![
        "the next call".to_owned(),
        told.ended_by_next_call.to_string(),
        percent(told.ended_by_next_call, total),
    ]];
    for limit in [1 << 10, 1 << 14, 1 << 20, 1 << 24, 1 << 30] {
        let ended = within(&told.ages_bytes, limit);
        let limit = report::bytes(limit as f64);
        rows.push(vec![
            format!("within {limit} allocated"),
            ended.to_string(),
            percent(ended, total),
        ]);
    }
    rows.push(vec![
        "not before the trace ends".into(),
        told.survivors.to_string(),
        percent(told.survivors, total),
    ]);
    table(&["blocks that end", "blocks", "share"], rows)
}

/// Threads, where there is more than one; and which of them is a thread in a sub-interpreter, where
/// there is one.
fn threads(told: &Statistics, interpreters: &[(u32, u32)]) -> String {
    if told.threads.len() < 2 {
        return String::new();
    }
    let interpreter = |thread: u32| {
        interpreters
            .iter()
            .find(|(number, _)| *number == thread)
            .map_or("main".to_owned(), |(_, id)| id.to_string())
    };
    let rows = told.threads.iter().map(|thread| {
        let mut row = vec![
            thread.thread.to_string(),
            thread.requests.to_string(),
            report::bytes(thread.bytes as f64),
            thread.foreign_frees.to_string(),
        ];
        if !interpreters.is_empty() {
            row.push(interpreter(thread.thread));
        }
        row
    });
    let mut header = vec!["thread", "requests", "bytes", "frees of others' blocks"];
    if !interpreters.is_empty() {
        header.push("interpreter");
    }
    table(&header, rows.collect())
}

/// The types that take the most.
const TYPES_SHOWN: usize = 20;

fn types(told: &Statistics) -> String {
    if told.types.is_empty() {
        return String::new();
    }
    let rows = told.types.iter().take(TYPES_SHOWN).map(|count| {
        vec![
            if count.name.is_empty() { "(no type)".to_owned() } else { count.name.clone() },
            count.requests.to_string(),
            report::bytes(count.bytes as f64),
            count.live_blocks.to_string(),
            report::bytes(count.live_bytes as f64),
        ]
    });
    table(
        &["type, most bytes first", "requests", "bytes", "live blocks at end", "live at end"],
        rows.collect(),
    )
}

fn lines(told: &Statistics, most: usize) -> String {
    if told.sites.is_empty() || most == 0 {
        return String::new();
    }
    let mut text =
        lines_of(&by_line(&told.sites), ["line, most bytes first", "line, most live first"], most);
    if told.sites.iter().any(|site| site.site.contains(CALLED_FROM)) {
        let titles =
            ["line < its callers, most bytes first", "line < its callers, most live first"];
        text += &lines_of(&told.sites, titles, most);
    }
    text
}

/// Sites with callers put together by the line that allocated, most bytes first.
fn by_line(sites: &[SiteCount]) -> Vec<SiteCount> {
    let mut lines: BTreeMap<&str, SiteCount> = BTreeMap::new();
    for site in sites {
        let name = trace::innermost(&site.site);
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

/// The first of `sites`, which stand in the order of their bytes, and the first by what lives.
fn lines_of(sites: &[SiteCount], titles: [&'static str; 2], most: usize) -> String {
    let row = |site: &SiteCount| {
        let shown: String = site.site.chars().take(SHOWN_CHARS).collect();
        let more = if shown.len() < site.site.len() { " …" } else { "" };
        vec![
            if site.site.is_empty() { "(no line)".to_owned() } else { shown + more },
            site.requests.to_string(),
            report::bytes(site.bytes as f64),
            site.live_blocks.to_string(),
            report::bytes(site.live_bytes as f64),
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
