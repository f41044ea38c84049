//! `index.html`, the pictures and the tables in one page that needs no network. What
//! comes from the record is escaped.

use super::figures::{Backend, Distribution, OPS, TraceReport, why_absent};
use super::fragmentation::fragmentation;
use super::words::{bytes, count, figure, figure3, nanoseconds, percent, ratio};
use super::{
    CHARTS, PERCENTILES, SUMMARY, SUMMARY_CSV, SUMMARY_MARKDOWN, file_name,
    page_retention_at_marks, summary, tail,
};
use crate::results::{Pass, Run, civil_date};

/// A picture that was drawn: its file name and its title.
pub struct Drawn {
    /// Relative to the page.
    pub file: String,
    /// The verdict above it.
    pub title: String,
}

const STYLE: &str = "body{font:16px/1.5 system-ui,'DejaVu Sans',sans-serif;color:#202124;max-width:1600px;margin:0 auto;\
padding:1.5rem 2rem 4rem}h1{font-size:1.6rem}h2{margin-top:3rem;border-top:1px solid #dadce0;padding-top:1.5rem}\
h3{margin:2.2rem 0 .2rem}p.read,caption,.soft{color:#5f6368}figure{margin:1rem 0 2.5rem}\
img{width:100%;height:auto;border:1px solid #e6e8ea}table{border-collapse:collapse;margin:1rem 0;\
font-variant-numeric:tabular-nums}caption{text-align:left;padding:.3rem 0}th,td{padding:.25rem .8rem;\
text-align:right;border-bottom:1px solid #e6e8ea}th:first-child,td:first-child{text-align:left}thead th{border-bottom:\
2px solid #9aa0a6}ul.verdicts li{margin:.35rem 0}.bad{color:#a50e0e}.scroll{overflow-x:auto}";

/// The page for `run`, whose pictures are `drawn`.
pub fn html(run: &Run, trace_reports: &[TraceReport], drawn: &[Drawn]) -> String {
    let mut page =
        String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page +=
        "<meta name=\"viewport\" content=\"width=device-width\">\n<title>heaplay report</title>\n";
    page += &format!("<style>{STYLE}</style>\n</head>\n<body>\n");
    // The trace_reports call backends by their labels; the manifest at the end has the words as they were
    // given.
    let shown = trace_reports.first().map_or(run, |trace_report| trace_report.run);
    let names: Vec<String> = shown.manifest.backends.iter().map(|b| b.name.clone()).collect();
    page += &format!(
        "<h1>{} trace{} against {}</h1>\n<p class=\"soft\">heaplay {}, {}</p>\n",
        trace_reports.len(),
        if trace_reports.len() == 1 { "" } else { "s" },
        escape(&super::words::list(&names)),
        escape(&run.manifest.heaplay),
        date(run.manifest.created_unix_seconds)
    );
    page += &troubles(run);
    page += &verdicts(trace_reports, drawn);
    page += &figure_of(drawn, SUMMARY, "Which allocator, and which setting?", summary::READING);
    page += &format!(
        "<p class=\"soft\">As a table: <a href=\"{SUMMARY_CSV}\">CSV</a>, <a href=\"{SUMMARY_MARKDOWN}\">Markdown</a>.</p>\n"
    );
    for trace_report in trace_reports {
        page += &trace(trace_report, drawn);
    }
    page += &manifest(run);
    page += "</body>\n</html>\n";
    page
}

/// Text that cannot be taken for markup.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// The day in UTC.
fn date(unix_seconds: u64) -> String {
    let (year, month, day) = civil_date(unix_seconds);
    format!("{year}-{month:02}-{day:02}")
}

fn troubles(run: &Run) -> String {
    let (failed, missing) = (run.failed(), run.missing());
    if failed.is_empty() && missing.is_empty() {
        return String::new();
    }
    let mut text = String::from("<h2>Failed and missing</h2>\n<ul class=\"bad\">\n");
    for outcome in failed {
        text += &format!(
            "<li>{} on {}, pass {}, repetition {}: {}</li>\n",
            escape(&outcome.backend),
            escape(&outcome.trace),
            outcome.pass.name(),
            outcome.repetition,
            escape(&outcome.reason)
        );
    }
    for cell in missing {
        text += &format!(
            "<li>{} on {}, pass {}, repetition {}: not measured</li>\n",
            escape(&cell.backend),
            escape(&cell.trace),
            cell.pass.name(),
            cell.repetition
        );
    }
    text + "</ul>\n"
}

/// The sentence of the run, and the way to each trace.
fn verdicts(trace_reports: &[TraceReport], drawn: &[Drawn]) -> String {
    let mut text = String::new();
    if let Some(picture) = drawn.iter().find(|picture| picture.file == SUMMARY) {
        text += &format!("<p><b>{}</b></p>\n", escape(&picture.title));
    }
    if trace_reports.len() > 1 {
        let links: Vec<String> = trace_reports
            .iter()
            .map(|trace_report| {
                format!("<a href=\"#{0}\">{0}</a>", escape(&trace_report.trace.name))
            })
            .collect();
        text += &format!(
            "<p>Traces: {}. Machine, clock and settings: <a href=\"#run\">below</a>.</p>\n",
            links.join(" · ")
        );
    }
    text
}

/// What the pictures of a trace say, in words.
fn sentences(name: &str, drawn: &[Drawn]) -> String {
    let prefix = format!("{name}--");
    let mut text = String::from("<ul class=\"verdicts\">\n");
    for picture in drawn.iter().filter(|picture| picture.file.starts_with(&prefix)) {
        text += &format!("<li>{}</li>\n", escape(&picture.title));
    }
    text + "</ul>\n"
}

fn figure_of(drawn: &[Drawn], file: &str, question: &str, reading: &str) -> String {
    let Some(picture) = drawn.iter().find(|picture| picture.file == file) else {
        return String::new();
    };
    format!(
        "<h3>{}</h3>\n<p class=\"read\">{}</p>\n<figure><img src=\"{}\" width=\"{}\" height=\"{}\" alt=\"{}\"></figure>\n",
        escape(question),
        escape(reading),
        escape(file),
        super::WIDTH,
        super::HEIGHT,
        escape(&picture.title)
    )
}

fn trace(trace_report: &TraceReport, drawn: &[Drawn]) -> String {
    let name = &trace_report.trace.name;
    let mut text = format!(
        "<h2 id=\"{0}\">{0}</h2>\n<p>{1} calls, {2} allocated, live {3} at peak and {4} at exit.",
        escape(name),
        count(trace_report.trace.calls),
        bytes(trace_report.requested),
        bytes(trace_report.live_peak),
        bytes(trace_report.live_end)
    );
    if let Some(words) = super::words::synthesised(&trace_report.trace.facts) {
        text += &format!(" <strong>{}</strong>.", escape(&words));
    }
    // A list (of marks, of arenas) is for machines.
    for (fact, value) in
        trace_report.trace.facts.iter().filter(|(_, value)| !value.starts_with("[["))
    {
        text += &format!(" {}: <code>{}</code>.", escape(fact), escape(value));
    }
    text += "</p>\n";
    text += &sentences(name, drawn);
    text += &time_table(trace_report);
    if let Some(words) =
        super::words::instructions(trace_report.run, name, trace_report.trace.calls)
    {
        text += &format!("<p>{}</p>\n", escape(&words));
    }
    text += &latency_table(trace_report);
    text += &class_table(trace_report);
    text += &slow_table(trace_report);
    text += &course_table(trace_report);
    text += &memory_table(trace_report);
    text += &fragmentation_table(trace_report);
    text += &attribution_table(trace_report);
    for chart in CHARTS {
        text += &figure_of(drawn, &file_name(name, chart.name), chart.question, chart.reading);
    }
    text
}

fn table(caption: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    let mut text =
        format!("<div class=\"scroll\"><table>\n<caption>{caption}</caption>\n<thead><tr>");
    for word in header {
        text += &format!("<th>{word}</th>");
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in rows {
        text += "<tr>";
        for cell in row {
            text += &format!("<td>{}</td>", escape(cell));
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table></div>\n"
}

fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "–".to_owned())
}

fn time_table(trace_report: &TraceReport) -> String {
    let reference = trace_report.reference();
    let first = reference.and_then(|backend| backend.cost);
    let ratio_name =
        reference.map_or("ratio".to_owned(), |b| format!("ratio to {}", escape(b.name)));
    let rows: Vec<Vec<String>> = trace_report
        .backends
        .iter()
        .map(|backend| {
            let Some(cost) = backend.cost else {
                let why = why_absent(
                    trace_report.run,
                    &trace_report.trace.name,
                    backend.name,
                    Pass::Time,
                );
                let mut row = vec![backend.name.to_owned(), backend.version.to_owned()];
                row.push(why.unwrap_or_else(|| "no chunks".to_owned()));
                row.extend(["–"; 4].map(str::to_owned));
                return row;
            };
            let told = match first {
                Some(first) if !backend.is_floor() && first.middle > 0.0 => {
                    let level =
                        if cost.apart(&first) || Some(backend.name) == reference.map(|b| b.name) {
                            ""
                        } else {
                            " (not separable)"
                        };
                    format!("{}{level}", ratio(cost.middle / first.middle))
                }
                _ => "–".to_owned(),
            };
            vec![
                backend.name.to_owned(),
                backend.version.to_owned(),
                figure3(cost.middle),
                figure3(cost.low),
                figure3(cost.high),
                told,
                cost.repetitions.to_string(),
            ]
        })
        .collect();
    table(
        "Time: nanoseconds per call, harness included (null is the harness alone)",
        &["backend", "version", "median", "fastest", "slowest", &ratio_name, "repetitions"],
        &rows,
    )
}

/// The cells of a row of percentiles: calls, each percentile, the slowest.
fn percentile_cells(times: &Distribution) -> Vec<String> {
    let fact = |value: Option<f64>| value.map_or("n too small".to_owned(), nanoseconds);
    let mut cells = vec![count(times.calls)];
    cells.extend(tail::percentiles(times).map(fact));
    cells.push(or_dash(times.max().map(nanoseconds)));
    cells
}

fn percentile_header<'a>(first: &[&'a str]) -> Vec<&'a str> {
    let mut header = first.to_vec();
    header.push("calls");
    header.extend(tail::PERCENTILES.map(|(_, name)| name));
    header.push("slowest");
    header
}

fn latency_table(trace_report: &TraceReport) -> String {
    let mut rows = Vec::new();
    for (op, (name, _)) in OPS.iter().enumerate() {
        for backend in trace_report.allocators() {
            for (times, kind) in
                [(&backend.confirmed[op], "confirmed"), (&backend.raw[op], "one raw replay")]
            {
                if times.calls > 0 {
                    let mut row =
                        vec![(*name).to_owned(), backend.name.to_owned(), kind.to_owned()];
                    row.extend(percentile_cells(times));
                    rows.push(row);
                }
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let caption = format!(
        "Service time of a call, clock pair included. A percentile p needs at least 10/(1 − p) calls. All of them, by size \
         class too, are in <a href=\"{PERCENTILES}\">{PERCENTILES}</a>"
    );
    table(&caption, &percentile_header(&["op", "backend", ""]), &rows)
}

/// The same by size class, confirmed where there is such; folded, as it is long.
fn class_table(trace_report: &TraceReport) -> String {
    let mut rows = Vec::new();
    for (name, ops) in OPS {
        for backend in trace_report.allocators() {
            let classes = [true, false].map(|confirmed| {
                tail::by_class(
                    trace_report.run,
                    &trace_report.trace.name,
                    backend.name,
                    ops,
                    confirmed,
                )
            });
            let [confirmed, raw] = classes;
            for (class, times) in if confirmed.is_empty() { raw } else { confirmed } {
                let mut row = vec![name.to_owned(), backend.name.to_owned(), bytes(class as f64)];
                row.extend(percentile_cells(&times));
                rows.push(row);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let caption = "Service time by size class of the block; for realloc the new size";
    let table = table(caption, &percentile_header(&["op", "backend", "up to"]), &rows);
    format!("<details><summary>Service time by size class</summary>\n{table}</details>\n")
}

/// Slow calls of a backend that the page names.
const SLOW_CALLS: usize = 10;

fn slow_table(trace_report: &TraceReport) -> String {
    let mut rows = Vec::new();
    for backend in trace_report.allocators() {
        for call in tail::slow_calls(trace_report.run, &trace_report.trace.name, backend.name)
            .into_iter()
            .take(SLOW_CALLS)
        {
            rows.push(vec![
                backend.name.to_owned(),
                nanoseconds(call.nanoseconds as f64),
                tail::seen_words(call),
                tail::call_words(call),
                count(call.event),
                if call.site.is_empty() { "–".to_owned() } else { call.site.clone() },
                nanoseconds(call.longest_nanoseconds as f64),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    table(
        "The slowest calls over 10 µs by their own time, the median over the replays: in how many replays each took at least half \
         of it, and the longest that one saw. More of them are in slow_calls.csv",
        &["backend", "own time", "seen in", "call", "event", "line", "longest"],
        &rows,
    )
}

/// The machine's doing, and the worst stretches of the program's own time.
fn course_table(trace_report: &TraceReport) -> String {
    let over = |all: &[Distribution; 3]| all.iter().map(|times| times.slower(1e6)).sum::<u64>();
    let mut rows = Vec::new();
    for backend in trace_report
        .backends
        .iter()
        .filter(|backend| backend.raw.iter().any(|times| times.calls > 0))
    {
        let name = &trace_report.trace.name;
        let has_own = backend.confirmed.iter().any(|times| times.calls > 0);
        let mut row = vec![
            backend.name.to_owned(),
            or_dash(tail::preemptions(trace_report.run, name, backend.name).map(figure)),
            over(&backend.raw).to_string(),
            or_dash(has_own.then(|| over(&backend.confirmed).to_string())),
        ];
        row.extend(tail::worst_windows(trace_report.run, name, backend.name).map(|window| {
            match window {
                Some((share, event)) => {
                    format!("{} from event {}", percent(share), count(event as u64))
                }
                None => "–".to_owned(),
            }
        }));
        rows.push(row);
    }
    if rows.is_empty() {
        return String::new();
    }
    let worst = tail::WINDOWS.map(|length| format!("worst {length}"));
    let mut header = vec!["backend", "preemptions", "over 1 ms, one raw replay", "confirmed"];
    header.extend(worst.iter().map(String::as_str));
    table(
        "What the machine did, and how much of the worst stretch of the program's own time the allocator takes (each call's own \
         time, put back where the trace says that it was made; null is what the clock leaves)",
        &header,
        &rows,
    )
}

fn memory_table(trace_report: &TraceReport) -> String {
    let row = |backend: &Backend| {
        let memory = &backend.memory;
        let times = |bytes: Option<f64>, live: f64| {
            let about = memory.about();
            or_dash(bytes.filter(|_| live > 0.0).map(|b| format!("{about}{}", ratio(b / live))))
        };
        let whole = |value: Option<f64>| or_dash(value.map(bytes));
        let last = backend.samples.last();
        let rounding =
            last.filter(|s| s.live_bytes > 0 && s.usable_bytes >= s.live_bytes).map(|s| {
                let share = (s.usable_bytes - s.live_bytes) as f64 / s.live_bytes as f64;
                format!("{} %", figure(share * 100.0))
            });
        vec![
            backend.name.to_owned(),
            or_dash(memory.words(0)),
            or_dash(memory.words(1)),
            or_dash(memory.words(2)),
            or_dash(memory.words(3)),
            whole(memory.trim_predicted),
            whole(memory.flushed),
            whole(memory.freed),
            times(memory.peak, trace_report.live_peak),
            times(memory.mean, trace_report.live_mean),
            times(memory.end, trace_report.live_end),
            or_dash(rounding),
        ]
    };
    let rows: Vec<Vec<String>> =
        trace_report.backends.iter().filter(|b| b.has_memory()).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    table(
        "Resident memory, and its ratio to what the program had live at the same moment (fragmentation). Cache emptied: after \
         a trim, had the thread's cache of free blocks been emptied before. (a–b): memory goes back by the clock; had it gone \
         back at once, and never. ≈: at the pace of this replay",
        &[
            "backend",
            "peak",
            "average",
            "at exit",
            "after trim",
            "predicted",
            "cache emptied",
            "all freed",
            "peak ÷ live",
            "average ÷ live",
            "exit ÷ live",
            "rounding at exit",
        ],
        &rows,
    )
}

fn fragmentation_table(trace_report: &TraceReport) -> String {
    let row = |backend: &Backend| {
        let found = fragmentation(trace_report, backend);
        let about = backend.memory.about();
        let percent = |share: Option<f64>| {
            or_dash(share.map(|share| format!("{about}{} %", figure(share * 100.0))))
        };
        let mut row = vec![backend.name.to_owned()];
        row.extend(found.johnstone_wilson.map(percent));
        let plain = |share: Option<f64>| or_dash(share.map(|share| format!("{about}{share:.2}")));
        row.extend([plain(found.ratchet), percent(found.given_back), plain(found.unreturnable_2m)]);
        row.push(or_dash(found.returnable.map(|idle| format!("{about}{}", bytes(idle)))));
        row
    };
    let rows: Vec<Vec<String>> =
        trace_report.backends.iter().filter(|b| b.has_memory()).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    table(
        "Fragmentation after Johnstone and Wilson, resident over live less one: averaged, at the live peak, at the resident \
         peak, peak against peak. Ratchet: 1 when nothing was ever given back. Trim: the share of what was kept that the \
         allocator's own trim returned. 2 MiB: the share of the overhead that could not be returned in such pieces. Idle: kept \
         unused during a tenth of the allocation clock. ≈: it gives back by the clock, and this is the pace of the replay",
        &["backend", "JW 1", "JW 2", "JW 3", "JW 4", "ratchet", "trim", "2 MiB", "idle"],
        &rows,
    )
}

/// Who pins at each mark, where the program set some.
fn attribution_table(trace_report: &TraceReport) -> String {
    let Some((header, rows)) = page_retention_at_marks::rows(trace_report) else {
        return String::new();
    };
    let header: Vec<String> = header.iter().map(|word| escape(word)).collect();
    table(
        "Who pins the pages at each mark of the program, at its live peak and at its exit: the first three lines, what they \
         have live, and the free space charged to them by allocator. All lines are in attribution.csv",
        &header.iter().map(String::as_str).collect::<Vec<_>>(),
        &rows,
    )
}

fn manifest(run: &Run) -> String {
    let manifest = &run.manifest;
    let mut rows = vec![vec!["repetitions".to_owned(), manifest.repetitions.to_string()]];
    rows.push(vec!["seed".to_owned(), manifest.seed.to_string()]);
    let groups = [
        ("machine", &manifest.machine.facts),
        ("clock", &manifest.clock),
        ("settings", &manifest.settings),
    ];
    for (group, facts) in groups {
        rows.extend(
            facts.iter().map(|(name, value)| vec![format!("{group}: {name}"), value.clone()]),
        );
    }
    for backend in &manifest.backends {
        rows.push(vec![format!("backend: {}", backend.name), backend.version.clone()]);
    }
    for trace in &manifest.traces {
        rows.push(vec![format!("trace: {}", trace.name), format!("sha256 {}", trace.sha256)]);
    }
    format!(
        "<h2 id=\"run\">How it was measured</h2>\n{}",
        table("The run's manifest", &["what", "value"], &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_record_stays_text() {
        assert_eq!(escape("<a href='x'>&"), "&lt;a href=&#39;x&#39;&gt;&amp;");
    }

    /// From `date -u -d @N +%F`.
    #[test]
    fn days_agree_with_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_760_000_000, "2025-10-09"),
            (4_102_444_799, "2099-12-31"),
        ] {
            assert_eq!(date(seconds), day);
        }
    }
}
