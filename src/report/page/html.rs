//! The page: its head, a part for each trace, and the manifest.

use super::markup::{escape, table};
use super::tables;
use crate::report::chart::{CHARTS, SCORECARD_QUESTION, SCORECARD_READING};
use crate::report::figures::TraceReport;
use crate::report::files::{SUMMARY, SUMMARY_CSV, SUMMARY_MARKDOWN, picture_name};
use crate::report::picture::{HEIGHT, WIDTH};
use crate::report::text::{caveat, list};
use crate::results::{Run, civil_date};
use crate::units::{bytes, count};

/// A picture that was drawn.
pub struct DrawnPicture {
    /// Its file, relative to the page.
    pub file: String,
    /// The verdict above it.
    pub title: String,
}

const STYLE: &str = "\
body{font:16px/1.5 system-ui,'DejaVu Sans',sans-serif;color:#202124;max-width:1600px;margin:0 auto;\
padding:1.5rem 2rem 4rem}h1{font-size:1.6rem}\
h2{margin-top:3rem;border-top:1px solid #dadce0;padding-top:1.5rem}\
h3{margin:2.2rem 0 .2rem}p.read,caption,.soft{color:#5f6368}figure{margin:1rem 0 2.5rem}\
img{width:100%;height:auto;border:1px solid #e6e8ea}\
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}\
caption{text-align:left;padding:.3rem 0}\
th,td{padding:.25rem .8rem;text-align:right;border-bottom:1px solid #e6e8ea}\
th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid #9aa0a6}\
ul.verdicts li{margin:.35rem 0}.bad{color:#a50e0e}.scroll{overflow-x:auto}";

/// The page for `run`, whose pictures are `drawn`.
pub fn html(run: &Run, trace_reports: &[TraceReport], drawn: &[DrawnPicture]) -> String {
    let mut page =
        String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page +=
        "<meta name=\"viewport\" content=\"width=device-width\">\n<title>heaplay report</title>\n";
    page += &format!("<style>{STYLE}</style>\n</head>\n<body>\n");
    page += &heading(run, trace_reports);
    page += &troubles(run);
    page += &verdicts(trace_reports, drawn);
    page += &figure(drawn, SUMMARY, SCORECARD_QUESTION, SCORECARD_READING);
    page += &format!(
        "<p class=\"soft\">As a table: <a href=\"{SUMMARY_CSV}\">CSV</a>, \
         <a href=\"{SUMMARY_MARKDOWN}\">Markdown</a>.</p>\n"
    );
    for trace_report in trace_reports {
        page += &trace(trace_report, drawn);
    }
    page += &manifest(run);
    page += "</body>\n</html>\n";
    page
}

fn heading(run: &Run, trace_reports: &[TraceReport]) -> String {
    // The manifest at the end has the whole specs.
    let names: Vec<String> = match trace_reports.first() {
        Some(first) => first.backends.iter().map(|backend| backend.name().to_owned()).collect(),
        None => run.manifest.backends.iter().map(|entry| entry.name.clone()).collect(),
    };
    format!(
        "<h1>{} trace{} against {}</h1>\n<p class=\"soft\">heaplay {}, {}</p>\n",
        trace_reports.len(),
        if trace_reports.len() == 1 { "" } else { "s" },
        escape(&list(&names)),
        escape(&run.manifest.heaplay),
        date(run.manifest.created_unix_seconds)
    )
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

/// The verdict on the run, and a link to each trace.
fn verdicts(trace_reports: &[TraceReport], drawn: &[DrawnPicture]) -> String {
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

/// The verdicts of the pictures of a trace.
fn trace_verdicts(name: &str, drawn: &[DrawnPicture]) -> String {
    let prefix = format!("{name}--");
    let mut text = String::from("<ul class=\"verdicts\">\n");
    for picture in drawn.iter().filter(|picture| picture.file.starts_with(&prefix)) {
        text += &format!("<li>{}</li>\n", escape(&picture.title));
    }
    text + "</ul>\n"
}

fn figure(drawn: &[DrawnPicture], file: &str, question: &str, reading: &str) -> String {
    let Some(picture) = drawn.iter().find(|picture| picture.file == file) else {
        return String::new();
    };
    format!(
        "<h3>{}</h3>\n<p class=\"read\">{}</p>\n\
         <figure><img src=\"{}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" alt=\"{}\"></figure>\n",
        escape(question),
        escape(reading),
        escape(file),
        escape(&picture.title)
    )
}

fn trace(trace_report: &TraceReport, drawn: &[DrawnPicture]) -> String {
    let name = &trace_report.trace.name;
    let mut text = format!(
        "<h2 id=\"{0}\">{0}</h2>\n<p>{1} calls, {2} allocated, live {3} at peak and {4} at exit.",
        escape(name),
        count(trace_report.trace.calls),
        bytes(trace_report.requested_bytes),
        bytes(trace_report.live_peak_bytes),
        bytes(trace_report.live_end_bytes)
    );
    if let Some(note) = caveat(&trace_report.trace.facts) {
        text += &format!(" <strong>{}</strong>.", escape(&note));
    }
    for sentence in trace_report.own_replay() {
        text += &format!(" {}", escape(&sentence));
    }
    // Facts that are lists, of marks or of arenas, are for programs.
    let facts = trace_report.trace.facts.iter();
    for (fact, value) in facts.filter(|(_, value)| !value.starts_with("[[")) {
        text += &format!(" {}: <code>{}</code>.", escape(fact), escape(value));
    }
    text += "</p>\n";
    text += &trace_verdicts(name, drawn);
    text += &tables::time(trace_report);
    if let Some(sentence) = trace_report.instructions() {
        text += &format!("<p>{}</p>\n", escape(&sentence));
    }
    text += &tables::latency(trace_report);
    text += &tables::size_classes(trace_report);
    text += &tables::slow_calls(trace_report);
    text += &tables::machine_noise(trace_report);
    text += &tables::memory(trace_report);
    text += &tables::fragmentation(trace_report);
    text += &tables::retention(trace_report);
    text += &tables::threads(trace_report);
    for kind in CHARTS {
        let about = &kind.about;
        text += &figure(drawn, &picture_name(name, about.name), about.question, about.reading);
    }
    text
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
