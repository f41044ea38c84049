//! The summary as tables for the terminal, in Markdown, so that it can be pasted into a discussion.

use super::chart::{placement, scorecard};
use super::choice::{choice, choices};
use super::collector_time::collector_time;
use super::comparison_table::comparisons;
use super::failed_cells::failed_cells;
use super::figures::{
    BackendFigures, ResidentFigure, ThreadMemory, TraceReport, WINDOWS, WINDOWS_NOTE, call_text,
    seen_text, slow_calls, worst_windows,
};
use super::line_answer::line_answer;
use super::machines::machine_sentences;
use super::markdown::markdown;
use super::scorecard_table::means;
use super::text::{caveat, list, pages_written};
use super::thread_table::{THREADS_NOTE, thread_table};
use crate::results::{CellKey, Metric, Run, Scope};
use crate::units::{bytes, count, figure, innermost, nanoseconds, percent, ratio, short_line};

/// The column of the touch pass, where it was measured.
const FIRST_TOUCH: &str = "with first touch";

const HEADER: [&str; 10] = [
    "backend",
    "ns a call",
    "range",
    "ratio",
    FIRST_TOUCH,
    "p99.9 malloc",
    "slowest call",
    "peak",
    AT_END,
    "after trim",
];

/// The column of what is resident at the end, which a trace names by its own moment.
const AT_END: &str = "at the end";

/// The summary of `run`: a table for each trace, then what is missing. Ends with a line break.
pub fn summary(run: &Run) -> String {
    let trace_reports = TraceReport::all(run);
    let mut text = String::new();
    for trace_report in &trace_reports {
        text += &head(trace_report);
        if let Some(note) = caveat(&trace_report.trace.facts) {
            text += &format!("  {note}\n");
        }
        text += &table(trace_report);
        text += "\n";
        for sentence in trace_report.passed_on() {
            text += &format!("{sentence}\n");
        }
        for sentence in trace_report.own_replay() {
            text += &format!("{sentence}\n");
        }
        text += &inseparable_note(trace_report);
        text += &delayed_note(trace_report);
        if trace_report.backends.iter().any(BackendFigures::has_memory) {
            text += &format!("{}.\n", pages_written(trace_report.trace));
        }
        text += &left_by_trim(trace_report);
        let answer = line_answer(trace_report, None);
        for sentence in answer.lines.iter().chain(&answer.notes) {
            text += &format!("{sentence}\n");
        }
        text += &on_huge_pages(trace_report);
        if let Some(chart) = placement(trace_report) {
            text += &format!("{}\n", chart.caption.title);
        }
        if let Some(sentence) = collector_time(trace_report) {
            text += &format!("{sentence}\n");
        }
        text += &threads(trace_report);
        text += &slowest(trace_report);
        if let Some(sentence) = trace_report.instructions() {
            text += &format!("\n{sentence}\n");
        }
        text += "\n";
    }
    if let Some(means) = means(&trace_reports) {
        text += &means;
        text += "\n";
    }
    if let Some(sentence) = trace_reports.iter().find_map(TraceReport::ratio_sentence) {
        text += &format!("{sentence}.\n\n");
    }
    if let Some(comparisons) = comparisons(&trace_reports) {
        text += &comparisons;
        text += "\n";
    }
    text += &answer(&trace_reports);
    for sentence in machine_sentences(run) {
        text += &format!("{sentence}\n");
    }
    text += &troubles(run);
    text
}

/// The answer of the run in a few sentences, as the scorecard and the page have it.
fn answer(trace_reports: &[TraceReport]) -> String {
    let verdict = scorecard(trace_reports).map_or_else(String::new, |chart| {
        format!("{}\n", chart.caption().title.replace(".  ", ". "))
    });
    let chosen = match trace_reports {
        [only] => choice(only).into_iter().collect(),
        several => choices(several),
    };
    verdict + &chosen.iter().map(|sentence| format!("{sentence}\n")).collect::<String>()
}

fn head(trace_report: &TraceReport) -> String {
    let (name, calls) = (&trace_report.trace.name, count(trace_report.trace.calls));
    // Only the footprint and latency passes count bytes.
    if trace_report.requested_bytes == 0.0 {
        return format!("{name}: {calls} calls\n");
    }
    format!(
        "{name}: {calls} calls, {} allocated, live {} at peak and {} {}\n",
        bytes(trace_report.requested_bytes),
        bytes(trace_report.live_peak_bytes),
        bytes(trace_report.live_end_bytes),
        trace_report.end_sentence()
    )
}

/// Whether a backend's time is not separable from that of the reference.
fn is_inseparable(trace_report: &TraceReport, backend: &BackendFigures) -> bool {
    let Some(first) = trace_report.reference().filter(|first| first.spec != backend.spec) else {
        return false;
    };
    let is_timed = backend.cost.is_some() && first.cost.is_some();
    is_timed && !backend.is_floor() && !trace_report.is_time_apart(first, backend)
}

/// What the brackets of ratios mean, where there are some.
fn inseparable_note(trace_report: &TraceReport) -> String {
    let is_any = trace_report.backends.iter().any(|backend| is_inseparable(trace_report, backend));
    let Some(first) = trace_report.reference().filter(|_| is_any) else { return String::new() };
    let few = trace_report.too_few_repetitions(first);
    format!(
        "(×…): in these repetitions the time is not separable from that of {}.{}\n",
        first.name(),
        few.map_or(String::new(), |few| format!(" {few}"))
    )
}

/// What the brackets of memory mean, where there are some.
fn delayed_note(trace_report: &TraceReport) -> String {
    let mut text = String::new();
    if trace_report.backends.iter().any(|backend| backend.memory.has_ranges()) {
        text += &format!(
            "(a–b): memory is returned after a delay; the figure is {}, the range from at once to \
             never.\n",
            trace_report.pace()
        );
    }
    if trace_report.backends.iter().any(|backend| backend.memory.is_for_one_pace) {
        text += &format!("≈: memory is returned after a delay; {} only.\n", trace_report.pace());
    }
    text
}

/// The share of memory on huge pages at the end; empty where no allocator has any.
fn on_huge_pages(trace_report: &TraceReport) -> String {
    let parts: Vec<String> = trace_report
        .backends
        .iter()
        .filter_map(|backend| {
            let huge = *backend.values(Scope::All, Metric::HugePagesEndBytes).first()?;
            let resident = backend.memory.end_bytes?;
            // An older record has the huge pages of the whole process.
            let huge = huge.min(resident);
            (huge > 0.0).then(|| {
                let share = percent(huge / resident.max(1.0));
                format!("{} {} ({share} of what is resident)", backend.name(), bytes(huge))
            })
        })
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("On huge pages {}: {}.\n", trace_report.end_name(), parts.join(", "))
}

/// What a trim leaves by cause, of allocators with a prediction: a line for each allocator. Its other
/// settings share one more.
fn left_by_trim(trace_report: &TraceReport) -> String {
    let mut text = String::new();
    let mut families: Vec<(&str, Vec<&BackendFigures>)> = Vec::new();
    for backend in trace_report.backends.iter() {
        if backend.memory.left_by_trim().is_none() {
            continue;
        }
        let family = allocator_of(backend);
        match families.iter_mut().find(|(known, _)| *known == family) {
            Some((_, settings)) => settings.push(backend),
            None => families.push((family, vec![backend])),
        }
    }
    for (family, settings) in families {
        let Some((first, others)) = settings.split_first() else { continue };
        text += &left_line(first);
        let trimmed = others.iter().filter_map(|backend| backend.memory.trimmed_bytes);
        let trimmed: Vec<f64> = trimmed.collect();
        text += &match (others, crate::stats::range(&trimmed)) {
            ([other], _) => left_line(other),
            ([_, ..], Some((low, high))) => format!(
                "{} other settings of {family} after trim: {}\n",
                others.len(),
                if low == high { bytes(low) } else { format!("{} to {}", bytes(low), bytes(high)) }
            ),
            _ => String::new(),
        };
    }
    text
}

/// The allocator of a backend: its spec without settings.
fn allocator_of<'a>(backend: &BackendFigures<'a>) -> &'a str {
    backend.spec.split_once(':').map_or(backend.spec, |(name, _)| name)
}

/// Arenas of glibc's malloc besides the main one, where the thread cache was flushed: `malloc_trim`
/// leaves what is free at their tops (docs/method/footprint.md). `None` without any.
fn further_arenas(backend: &BackendFigures) -> Option<usize> {
    let is_glibc = allocator_of(backend) == "malloc" && backend.memory.flushed_bytes.is_some();
    let arenas = ThreadMemory::of(backend).filter(|_| is_glibc)?.arenas?.arenas;
    arenas.checked_sub(1).filter(|further| *further > 0)
}

/// What a trim leaves of one backend, by cause.
fn left_line(backend: &BackendFigures) -> String {
    let memory = &backend.memory;
    let Some([in_use, beside, cached, rest]) = memory.left_by_trim() else { return String::new() };
    let share = percent(rest / memory.trimmed_bytes.unwrap_or(rest).max(1.0));
    let rest_cause = match further_arenas(backend) {
        Some(1) => format!("({share}) most likely free at the top of a further arena"),
        Some(count) => format!("({share}) most likely free at the tops of {count} further arenas"),
        None if memory.flushed_bytes.is_some() => format!("({share}) not explained"),
        None => "of other causes".to_owned(),
    };
    let causes = [
        (in_use, "on pages of live blocks"),
        (beside, "on pages with heads of its own, which its trim leaves"),
        (cached, "on pages that only the thread cache uses"),
        (rest, &rest_cause),
    ];
    let parts: Vec<String> = causes
        .iter()
        .filter(|(part, _)| *part > 0.0)
        .map(|(part, cause)| format!("{} {cause}", bytes(*part)))
        .collect();
    let left = memory.text(ResidentFigure::Trimmed).unwrap_or_default();
    let mut text = format!("{} after trim: {left}", backend.name());
    if !parts.is_empty() {
        text += &format!(" = {}", parts.join(" + "));
    }
    if rest < 0.0 {
        text += &format!(" − {} that was predicted to stay", bytes(-rest));
    }
    text + "\n"
}

/// Memory by thread and order; empty for a trace of one thread.
fn threads(trace_report: &TraceReport) -> String {
    match thread_table(trace_report) {
        Some(table) => {
            let header: Vec<&str> = table.header.iter().map(String::as_str).collect();
            format!("\n{}\n{THREADS_NOTE}\n", markdown(&header, table.texts()))
        }
        None => String::new(),
    }
}

/// Each allocator's slowest call by its own time, and its worst windows; empty where nothing was
/// slow.
fn slowest(trace_report: &TraceReport) -> String {
    let row = |backend: &BackendFigures| {
        let call = *slow_calls(backend).first()?;
        let share = |window: &Option<(f64, f64)>| {
            window.map_or("–".to_owned(), |(share, _)| percent(share))
        };
        let windows: Vec<String> = worst_windows(backend).iter().map(share).collect();
        let site = match call.site.as_str() {
            "" => "–".to_owned(),
            site => short_line(innermost(site)),
        };
        Some(vec![
            backend.name().to_owned(),
            nanoseconds(call.nanoseconds as f64),
            seen_text(call),
            call_text(trace_report, call),
            call.event.to_string(),
            site,
            windows.join(" · "),
        ])
    };
    let rows: Vec<Vec<String>> = trace_report.allocators().filter_map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let worst = format!("busiest {}", WINDOWS.join(" · "));
    let header = ["backend", "slowest call", "seen in", "call", "event", "line", &worst];
    format!("\n{}\n{worst}: {WINDOWS_NOTE}.\n", markdown(&header, rows))
}

fn table(trace_report: &TraceReport) -> String {
    let is_touched = trace_report.backends.iter().any(|backend| backend.first_touch.is_some());
    let shown = |column: &str| is_touched || column != FIRST_TOUCH;
    let rows = trace_report.backends.iter().map(|backend| {
        let cells = HEADER.into_iter().zip(row(trace_report, backend));
        cells.filter(|(column, _)| shown(column)).map(|(_, cell)| cell).collect()
    });
    let at_end = trace_report.end_name();
    let named = |column| if column == AT_END { at_end.as_str() } else { column };
    let header: Vec<&str> = HEADER.into_iter().filter(|column| shown(column)).map(named).collect();
    markdown(&header, rows.collect()).to_string()
}

fn row(trace_report: &TraceReport, backend: &BackendFigures) -> Vec<String> {
    let none = || "–".to_owned();
    let reference = trace_report.reference();
    let cost = backend.cost;
    let resident = |which: ResidentFigure| backend.memory.text(which).unwrap_or_else(none);
    vec![
        backend.name().to_owned(),
        cost.map_or(none(), |cost| figure(cost.middle_ns)),
        cost.map_or(none(), |cost| format!("{}–{}", figure(cost.low_ns), figure(cost.high_ns))),
        match reference.and_then(|first| trace_report.time_ratio(first, backend)) {
            Some(found) if !backend.is_floor() => {
                let ratio = ratio(found);
                if is_inseparable(trace_report, backend) { format!("({ratio})") } else { ratio }
            }
            _ => none(),
        },
        backend.first_touch.map_or(none(), |cost| figure(cost.middle_ns)),
        backend.latency(0).0.fact(0.999).map_or(none(), nanoseconds),
        match backend.worst_call() {
            Some((worst, true)) => nanoseconds(worst),
            Some((worst, false)) => format!("{} (raw)", nanoseconds(worst)),
            None => none(),
        },
        resident(ResidentFigure::Peak),
        resident(ResidentFigure::End),
        resident(ResidentFigure::Trimmed),
    ]
}

/// What failed and what is missing; empty for a whole run.
fn troubles(run: &Run) -> String {
    let failed = failed_cells(run).into_iter();
    let mut text: String = failed.map(|line| format!("failed: {line}\n")).collect();
    let missing = run.missing();
    if !missing.is_empty() {
        text += &format!(
            "missing: {} of {} planned cells, {}; `heaplay run --resume` finishes them\n",
            missing.len(),
            run.manifest.planned().len(),
            missing_text(&missing)
        );
    }
    text
}

/// The first missing cells by name.
fn missing_text(missing: &[CellKey]) -> String {
    const NAMED_MAX: usize = 6;
    let mut cells: Vec<String> = missing
        .iter()
        .map(|cell| format!("{} on {} ({})", cell.backend, cell.trace, cell.pass.name()))
        .collect();
    cells.dedup();
    let more = cells.len().saturating_sub(NAMED_MAX);
    cells.truncate(NAMED_MAX);
    if more > 0 {
        cells.push(format!("{more} more"));
    }
    list(&cells)
}
