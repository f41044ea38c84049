//! The summary as a table for the terminal, in Markdown, so that it can be pasted
//! where it is talked about.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{Cell, CellAlignment, Table};

use super::figures::{Backend, TraceReport};
use super::tail;
use super::words::{bytes, figure, list, nanoseconds, percent, ratio};
use crate::results::Run;

const HEADER: [&str; 9] = [
    "backend",
    "ns a call",
    "range",
    "ratio",
    "p99.9 malloc",
    "slowest call",
    "peak",
    "at exit",
    "after trim",
];

/// The summary of `run`: a table a trace, then what is missing. Ends with a line break.
pub fn summary(run: &Run) -> String {
    let short = super::labels::labelled(run);
    let trace_reports = TraceReport::all(&short);
    let mut text = String::new();
    for trace_report in &trace_reports {
        text += &head(trace_report);
        if let Some(words) = super::words::synthesised(&trace_report.trace.facts) {
            text += &format!("  {words}\n");
        }
        text += &table(trace_report).to_string();
        text += "\n";
        text += &not_told_apart(trace_report);
        text += &by_the_clock(trace_report);
        text += &left_by_trim(trace_report);
        text += &slowest(trace_report);
        if let Some(words) =
            super::words::instructions(run, &trace_report.trace.name, trace_report.trace.calls)
        {
            text += &format!("\n{words}\n");
        }
        text += "\n";
    }
    if let Some(means) = super::scorecard_table::means(&trace_reports) {
        text += &means;
        text += "\n";
    }
    text += &troubles(run);
    text
}

fn head(trace_report: &TraceReport) -> String {
    let calls = super::words::count(trace_report.trace.calls);
    // Bytes are what the footprint and latency passes tell.
    if trace_report.requested == 0.0 {
        return format!("{}: {calls} calls\n", trace_report.trace.name);
    }
    format!(
        "{}: {calls} calls, {} allocated, live {} at peak and {} at exit\n",
        trace_report.trace.name,
        bytes(trace_report.requested),
        bytes(trace_report.live_peak),
        bytes(trace_report.live_end)
    )
}

/// Whether a backend's time cannot be told apart from that of the one that others are compared
/// with.
fn inseparable(trace_report: &TraceReport, backend: &Backend) -> bool {
    let Some(first) = trace_report.reference().filter(|first| first.name != backend.name) else {
        return false;
    };
    !backend.is_floor()
        && matches!((backend.cost, first.cost), (Some(cost), Some(first)) if !cost.apart(&first))
}

/// What the brackets of ratios mean, where there are some.
fn not_told_apart(trace_report: &TraceReport) -> String {
    match trace_report.reference() {
        Some(first)
            if trace_report.backends.iter().any(|backend| inseparable(trace_report, backend)) =>
        {
            format!(
                "(×…): in these repetitions the time is not separable from that of {}.\n",
                first.name
            )
        }
        _ => String::new(),
    }
}

/// What the brackets of memory mean, where there are some.
fn by_the_clock(trace_report: &TraceReport) -> String {
    let mut text = String::new();
    if trace_report.backends.iter().any(|backend| backend.memory.bands.iter().any(Option::is_some))
    {
        text += "(a–b): memory goes back by the clock; had it gone back at once, and never. `--pace 1` replays at the program's own pace.\n";
    }
    if trace_report.backends.iter().any(|backend| backend.memory.one_pace) {
        text += "≈: by the clock, at the pace of this replay only.\n";
    }
    text
}

/// What stays after a trim, by cause, of allocators that say how they give back.
fn left_by_trim(trace_report: &TraceReport) -> String {
    let mut text = String::new();
    for backend in &trace_report.backends {
        let Some([pinned, beside, cached, rest]) = backend.memory.left_by_trim() else { continue };
        let causes = [
            (pinned, "on pages of live blocks"),
            (beside, "on pages with heads of its own, which its trim leaves"),
            (cached, "that only the thread's cache of free blocks pins"),
            (
                rest,
                if backend.memory.flushed.is_some() { "not explained" } else { "not told apart" },
            ),
        ];
        let told = causes.iter().filter(|(part, _)| *part > 0.0);
        let told: Vec<String> =
            told.map(|(part, cause)| format!("{} {cause}", bytes(*part))).collect();
        let left = backend.memory.words(3).unwrap_or_default();
        text += &format!("{} after trim: {left}", backend.name);
        if !told.is_empty() {
            text += &format!(" = {}", told.join(" + "));
        }
        if rest < 0.0 {
            text += &format!(" − {} that was predicted to stay", bytes(-rest));
        }
        text += "\n";
    }
    text
}

fn table(trace_report: &TraceReport) -> Table {
    let rows = trace_report.backends.iter().map(|backend| row(trace_report, backend)).collect();
    markdown(&HEADER, rows)
}

fn markdown(header: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Each allocator's slowest call by its own time, and the worst stretches; empty where nothing was
/// slow.
fn slowest(trace_report: &TraceReport) -> String {
    let name = &trace_report.trace.name;
    let mut rows = Vec::new();
    for backend in trace_report.allocators() {
        let slow = tail::slow_calls(trace_report.run, name, backend.name);
        let Some(call) = slow.first() else { continue };
        let windows = tail::worst_windows(trace_report.run, name, backend.name);
        let share = |window: &Option<(f64, f64)>| {
            window.map_or("–".to_owned(), |(share, _)| percent(share))
        };
        let words = vec![
            backend.name.to_owned(),
            nanoseconds(call.nanoseconds as f64),
            tail::seen_words(call),
            tail::call_words(call),
            call.event.to_string(),
            if call.site.is_empty() {
                "–".to_owned()
            } else {
                tail::short_site(&call.site).to_owned()
            },
            windows.iter().map(share).collect::<Vec<_>>().join(" · "),
        ];
        rows.push(words.into_iter().map(Cell::new).collect());
    }
    if rows.is_empty() {
        return String::new();
    }
    let worst = format!("worst {}", tail::WINDOWS.join(" · "));
    let header = ["backend", "slowest call", "seen in", "call", "event", "line", &worst];
    format!("\n{}\n", markdown(&header, rows))
}

fn row(trace_report: &TraceReport, backend: &Backend) -> Vec<Cell> {
    let none = || "–".to_owned();
    let reference = trace_report.reference().and_then(|first| first.cost);
    let cost = backend.cost;
    let memory = &backend.memory;
    let slow = |value: Option<f64>| value.map_or(none(), nanoseconds);
    let resident = |which: usize| memory.words(which).unwrap_or_else(none);
    let words = vec![
        backend.name.to_owned(),
        cost.map_or(none(), |c| figure(c.middle)),
        cost.map_or(none(), |c| format!("{}–{}", figure(c.low), figure(c.high))),
        match (cost, reference) {
            (Some(cost), Some(first)) if !backend.is_floor() => {
                let words = ratio(cost.middle / first.middle);
                if inseparable(trace_report, backend) { format!("({words})") } else { words }
            }
            _ => none(),
        },
        slow(backend.latency(0).0.fact(0.999)),
        match backend.worst_call() {
            Some((worst, true)) => nanoseconds(worst),
            Some((worst, false)) => format!("{} (raw)", nanoseconds(worst)),
            None => none(),
        },
        resident(0),
        resident(2),
        resident(3),
    ];
    words.into_iter().map(Cell::new).collect()
}

/// What failed and what is missing; empty for a whole run.
fn troubles(run: &Run) -> String {
    let mut text = String::new();
    for outcome in run.failed() {
        text += &format!(
            "failed: {} on {}, pass {}, repetition {}: {}\n",
            outcome.backend,
            outcome.trace,
            outcome.pass.name(),
            outcome.repetition,
            outcome.reason
        );
    }
    let missing = run.missing();
    if !missing.is_empty() {
        let mut cells: Vec<String> = missing
            .iter()
            .map(|cell| format!("{} on {} ({})", cell.backend, cell.trace, cell.pass.name()))
            .collect();
        cells.dedup();
        let more = cells.len().saturating_sub(6);
        cells.truncate(6);
        if more > 0 {
            cells.push(format!("{more} more"));
        }
        text += &format!(
            "missing: {} of {} planned cells, {}; `heaplay run --resume` finishes them\n",
            missing.len(),
            run.manifest.planned().len(),
            list(&cells)
        );
    }
    text
}
