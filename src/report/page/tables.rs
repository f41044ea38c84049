//! The tables of a trace. Each is empty where the record has nothing for it.

use super::markup::{escape, folded, or_dash, table};
use crate::report::chart::retention_table;
use crate::report::comparison_table::{HEADER, cells_of_trace};
use crate::report::figures::{
    self, BackendFigures, LatencyDistribution, OPS, PERCENTILES, ResidentFigure, TraceReport,
    WINDOWS, WINDOWS_NOTE, best_by_class, call_text, percentiles, preemptions, seen_text,
    worst_windows,
};
use crate::report::files::PERCENTILES_CSV;
use crate::report::text::{end_moment, pages_written};
use crate::report::text_table::{Cell, TextTable};
use crate::report::thread_table::{THREADS_NOTE, arena_table, left_table, thread_table};
use crate::report::unit_table::{UNITS_NOTE, unit_table};
use crate::results::Pass;
use crate::units::{bytes, count, figure, figure3, nanoseconds, percent, ratio};

/// Time per call.
pub fn time(trace_report: &TraceReport) -> String {
    let reference = trace_report.reference();
    let ratio_name = match reference {
        Some(backend) => format!("ratio to {}", escape(backend.name())),
        None => "ratio".to_owned(),
    };
    let rows: Vec<Vec<Cell>> =
        trace_report.backends.iter().map(|backend| time_row(trace_report, backend)).collect();
    let about_ratio = trace_report.ratio_sentence();
    let about_ratio = about_ratio.map_or(String::new(), |text| format!(". {}", escape(&text)));
    table(
        "time",
        &format!(
            "Time: nanoseconds per call, harness included (null is the harness itself). With first \
             touch: with a write to each cache line of each new block, so page faults are in \
             it{about_ratio}"
        ),
        &[
            "backend",
            "version",
            "median (ns)",
            "fastest (ns)",
            "slowest (ns)",
            &ratio_name,
            "repetitions",
            "with first touch (ns)",
        ],
        &rows,
    )
}

/// The pairs of backends whose times were compared.
pub fn comparisons(trace_report: &TraceReport) -> String {
    table(
        "comparisons",
        "Comparisons of time: the first takes so many times as long as the second. A minute more: for \
         a pair that is not decided, how exact its ratio would be after another minute of measuring",
        &HEADER,
        &cells_of_trace(trace_report),
    )
}

fn time_row(trace_report: &TraceReport, backend: &BackendFigures) -> Vec<Cell> {
    let mut row = text_cells([backend.name().to_owned(), backend.label.version.clone()]);
    let touched = Cell::of(backend.first_touch.map(|cost| cost.middle_ns), figure3);
    let Some(cost) = backend.cost else {
        let why = backend.why_absent(Pass::Time);
        row.push(why.unwrap_or_else(|| "no chunks".to_owned()).into());
        row.extend(text_cells(["–"; 4].map(str::to_owned)));
        row.push(touched);
        return row;
    };
    let reference = trace_report.reference();
    let compared = match reference.and_then(|first| Some((first, first.cost?))) {
        Some((first, first_cost)) if !backend.is_floor() && first_cost.middle_ns > 0.0 => {
            let is_level =
                backend.spec != first.spec && !trace_report.is_time_apart(first, backend);
            let is_short = || trace_report.repetitions_needed(first, backend).is_some();
            let level = match is_level {
                true if is_short() => " (too few repetitions)",
                true => " (not separable)",
                false => "",
            };
            let found = trace_report.time_ratio(first, backend);
            Cell::of(found, |found| format!("{}{level}", ratio(found)))
        }
        _ => Cell::of(None, ratio),
    };
    row.extend([cost.middle_ns, cost.low_ns, cost.high_ns].map(|ns| Cell::of(Some(ns), figure3)));
    row.extend([compared, cost.repetitions.to_string().into(), touched]);
    row
}

/// Cells without a value.
fn text_cells<const N: usize>(texts: [String; N]) -> Vec<Cell> {
    texts.map(Cell::from).to_vec()
}

/// The cells of a row of percentiles: calls, each percentile, the slowest.
fn percentile_cells(times: &LatencyDistribution) -> Vec<Cell> {
    let fact = |value: Option<f64>| match value {
        Some(_) => Cell::of(value, nanoseconds),
        None => "n too small".to_owned().into(),
    };
    let mut cells = vec![Cell::count(times.calls)];
    cells.extend(percentiles(times).map(fact));
    cells.push(Cell::of(times.max(), nanoseconds));
    cells
}

fn percentile_header<'a>(first: &[&'a str]) -> Vec<&'a str> {
    let mut header = first.to_vec();
    header.push("calls");
    header.extend(PERCENTILES.map(|(_, name)| name));
    header.push("slowest");
    header
}

/// Percentiles of service times by operation, confirmed and raw.
pub fn latency(trace_report: &TraceReport) -> String {
    let mut rows = Vec::new();
    for (op, (name, _)) in OPS.iter().enumerate() {
        for backend in trace_report.allocators() {
            let kinds =
                [(&backend.confirmed[op], "confirmed"), (&backend.raw[op], "one raw replay")];
            for (times, kind) in kinds.into_iter().filter(|(times, _)| times.calls > 0) {
                let mut row = text_cells([name, backend.name(), kind].map(str::to_owned));
                row.extend(percentile_cells(times));
                rows.push(row);
            }
        }
    }
    let caption = format!(
        "Service time of a call, clock pair included. A percentile p needs at least 10/(1 − p) \
         calls. All of them, by size class too, are in \
         <a href=\"{PERCENTILES_CSV}\">{PERCENTILES_CSV}</a>, a file of the run folder"
    );
    table("percentiles", &caption, &percentile_header(&["op", "backend", "kind"]), &rows)
}

/// The same by size class, confirmed where there is such. It is folded, as it is long.
pub fn size_classes(trace_report: &TraceReport) -> String {
    let mut rows = Vec::new();
    for (name, ops) in OPS {
        for backend in trace_report.allocators() {
            for (class, times) in best_by_class(backend, ops) {
                let mut row = text_cells([name, backend.name()].map(str::to_owned));
                row.push(Cell::of(Some(class as f64), bytes));
                row.extend(percentile_cells(&times));
                rows.push(row);
            }
        }
    }
    let caption = "Service time by size class of the block; for realloc the new size";
    let header = percentile_header(&["op", "backend", "up to"]);
    folded("Service time by size class", table("size-classes", caption, &header, &rows))
}

/// The slowest calls by name.
pub fn slow_calls(trace_report: &TraceReport) -> String {
    const CALLS_MAX: usize = 10;
    let mut rows = Vec::new();
    for backend in trace_report.allocators() {
        for call in figures::slow_calls(backend).into_iter().take(CALLS_MAX) {
            let line = if call.site.is_empty() { "–".to_owned() } else { call.site.clone() };
            rows.push(vec![
                backend.name().to_owned().into(),
                Cell::of(Some(call.nanoseconds as f64), nanoseconds),
                seen_text(call).into(),
                call_text(trace_report, call).into(),
                Cell::count(call.event),
                line.into(),
                Cell::of(Some(call.longest_nanoseconds as f64), nanoseconds),
            ]);
        }
    }
    table(
        "slow-calls",
        "The slowest calls over 10 µs by their own time, the median over the replays: in how many \
         replays each took at least half of it, and the longest that one saw. More of them are in \
         slow_calls.csv, a file of the run folder",
        &["backend", "own time", "seen in", "operation", "event", "line", "longest"],
        &rows,
    )
}

/// Machine noise, and the worst windows of the program's own time.
pub fn machine_noise(trace_report: &TraceReport) -> String {
    let over =
        |all: &[LatencyDistribution; 3]| all.iter().map(|times| times.slower(1e6)).sum::<u64>();
    let has_calls = |all: &[LatencyDistribution; 3]| all.iter().any(|times| times.calls > 0);
    let window =
        |window: Option<(f64, f64)>| {
            or_dash(window.map(|(share, event)| {
                format!("{} from event {}", percent(share), count(event as u64))
            }))
        };
    let row = |backend: &BackendFigures| {
        let confirmed = has_calls(&backend.confirmed).then(|| over(&backend.confirmed).to_string());
        let mut row = vec![
            backend.name().to_owned(),
            or_dash(preemptions(backend).map(figure)),
            over(&backend.raw).to_string(),
            or_dash(confirmed),
        ];
        row.extend(worst_windows(backend).map(window));
        row
    };
    let timed = trace_report.backends.iter().filter(|backend| has_calls(&backend.raw));
    let rows: Vec<Vec<String>> = timed.map(row).collect();
    let worst =
        WINDOWS.map(|length| format!("<abbr title=\"{WINDOWS_NOTE}\">busiest {length}</abbr>"));
    let mut header = vec!["backend", "preemptions", "over 1 ms, one raw replay", "confirmed"];
    header.extend(worst.iter().map(String::as_str));
    let caption = format!(
        "Machine noise, and the busiest 1, 10 and 100 ms: {WINDOWS_NOTE}. Each call has its own time, at \
         the place where the trace has it; null is what the clock leaves"
    );
    let table = table("machine-noise", &caption, &header, &rows);
    folded("Machine noise", table)
}

/// The backends with memory, each as a row.
fn memory_rows<C>(
    trace_report: &TraceReport,
    row: impl Fn(&BackendFigures) -> Vec<C>,
) -> Vec<Vec<C>> {
    trace_report.backends.iter().filter(|backend| backend.has_memory()).map(row).collect()
}

/// Resident memory.
pub fn memory(trace_report: &TraceReport) -> String {
    let row = |backend: &BackendFigures| {
        let memory = &backend.memory;
        let about = memory.about();
        let times = |bytes: Option<f64>, live: f64| {
            let found = bytes.filter(|_| live > 0.0).map(|bytes| bytes / live);
            Cell::of(found, |found| format!("{about}{}", ratio(found)))
        };
        let mut row = text_cells([backend.name().to_owned()]);
        row.extend(
            ResidentFigure::ALL
                .map(|which| Cell::of(memory.resident(which), |_| or_dash(memory.text(which)))),
        );
        row.extend(
            [memory.trim_predicted_bytes, memory.flushed_bytes, memory.freed_bytes]
                .map(|value| Cell::of(value, bytes)),
        );
        row.extend([
            times(memory.peak_bytes, trace_report.live_peak_bytes),
            times(memory.mean_bytes, trace_report.live_mean_bytes),
            times(memory.end_bytes, trace_report.live_end_bytes),
            or_dash(end_rounding(backend)).into(),
        ]);
        row
    };
    let at_end = trace_report.end_name();
    let rounding = format!("rounding {at_end}");
    table(
        "memory",
        &format!(
            "Resident memory, and its ratio to the live bytes at the same moment (fragmentation); the \
             end is {}. {}. Cache flushed: after a trim with the thread cache flushed before. (a–b): \
             memory is returned after a delay; range: at once to never. ≈: {}",
            end_moment(trace_report.trace.end.as_ref()),
            pages_written(trace_report.trace),
            trace_report.pace()
        ),
        &[
            "backend",
            "peak",
            "average",
            &at_end,
            "after trim",
            "predicted",
            "cache flushed",
            "all freed",
            "peak ÷ live",
            "average ÷ live",
            "end ÷ live",
            &rounding,
        ],
        &memory_rows(trace_report, row),
    )
}

/// Usable less requested bytes at the end, in per cent of the requested ones.
fn end_rounding(backend: &BackendFigures) -> Option<String> {
    let last = backend.samples.last()?;
    let lost = last.usable_bytes.checked_sub(last.live_bytes).filter(|_| last.live_bytes > 0)?;
    Some(format!("{} %", figure(lost as f64 / last.live_bytes as f64 * 100.0)))
}

/// Ratios of fragmentation.
pub fn fragmentation(trace_report: &TraceReport) -> String {
    let row = |backend: &BackendFigures| {
        let found = figures::fragmentation(trace_report, backend);
        let about = backend.memory.about();
        let percent = |share: Option<f64>| {
            or_dash(share.map(|share| format!("{about}{} %", figure(share * 100.0))))
        };
        let plain = |share: Option<f64>| or_dash(share.map(|share| format!("{about}{share:.2}")));
        let mut row = vec![backend.name().to_owned()];
        row.extend(found.johnstone_wilson.map(percent));
        row.extend([plain(found.ratchet), percent(found.trim_share), plain(found.unreturnable_2m)]);
        row.push(or_dash(found.returnable_bytes.map(|idle| format!("{about}{}", bytes(idle)))));
        row
    };
    let table = table(
        "fragmentation",
        &format!(
            "Fragmentation after Johnstone and Wilson, resident over live less one: averaged, at the \
             live peak, at the resident peak, peak against peak. Retained: what of the free memory at \
             the peak is held at the end, 1 when nothing was ever returned. Trim: the share of the \
             retained memory that the allocator's own trim returned. 2 MiB: the share of the overhead \
             that could not be returned in such pieces. Idle: unused during a tenth of the allocation \
             clock. ≈: memory is returned after a delay; {}",
            trace_report.pace()
        ),
        &[
            "backend",
            "average",
            "at the live peak",
            "at the resident peak",
            "peak to peak",
            "retained",
            "trim",
            "2 MiB",
            "idle",
        ],
        &memory_rows(trace_report, row),
    );
    folded("Ratios of fragmentation", table)
}

/// Page retention by line at each mark, where the program set some.
pub fn retention(trace_report: &TraceReport) -> String {
    let Some((header, rows)) = retention_table(trace_report) else {
        return String::new();
    };
    let header: Vec<String> = header.iter().map(|name| escape(name)).collect();
    table(
        "retention-at-marks",
        "Page retention at each mark of the program, at its live peak and at its exit: the first \
         three lines, their live bytes, and the free space charged to them by allocator. All lines \
         are in attribution.csv",
        &header.iter().map(String::as_str).collect::<Vec<_>>(),
        &rows,
    )
}

/// Retention at the end by the unit in which an allocator returns memory.
pub fn units(trace_report: &TraceReport) -> String {
    let Some(found) = unit_table(trace_report) else { return String::new() };
    let header: Vec<&str> = found.header.iter().map(String::as_str).collect();
    let (at_end, note) = (trace_report.end_name(), escape(UNITS_NOTE));
    let caption = format!("Memory {at_end} that lines retain by larger units. {note}");
    table("unit-retention", &caption, &header, &found.rows)
}

/// Memory by thread and order. What each thread left and the reported arenas are folded.
pub fn threads(trace_report: &TraceReport) -> String {
    let shown = |name: &str, caption: &str, found: Option<TextTable>| {
        found.map_or(String::new(), |found| {
            let header: Vec<&str> = found.header.iter().map(String::as_str).collect();
            table(name, caption, &header, &found.rows)
        })
    };
    let caption = format!("Memory by thread and by order. {}", escape(THREADS_NOTE));
    let mut text = shown("threads", &caption, thread_table(trace_report));
    let at_end = trace_report.end_name();
    let caption = format!(
        "What threads hold {at_end}, those that hold most first. All threads are in threads.csv"
    );
    text += &folded(
        &format!("Memory {at_end} by thread"),
        shown("left-by-thread", &caption, left_table(trace_report)),
    );
    let caption =
        format!("Arenas and caches {at_end}, as the allocator itself reports them (arenas.csv)");
    text += &folded("Memory by arena", shown("arenas", &caption, arena_table(trace_report)));
    text
}
