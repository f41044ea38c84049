//! The page: its head, a part for each trace, and the manifest.

use super::answers::answers;
use super::document::document;
use super::drawn::{DrawnPicture, figure};
use super::markup::{escape, folded, table};
use super::model::page_model;
use super::script::run_script;
use super::tables;
use crate::report::chart::{CHARTS, ChartKind, SCORECARD_QUESTION, SCORECARD_READING};
use crate::report::choice::choices;
use crate::report::failed_cells::{failed_cells, missing_cells};
use crate::report::figures::{BackendFigures, TraceReport};
use crate::report::files::{SUMMARY, SUMMARY_CSV, SUMMARY_MARKDOWN, picture_name};
use crate::report::machines::machine_sentences;
use crate::report::text::{caveat, list, some};
use crate::results::{Run, civil_date};
use crate::units::{bytes, count};

/// The page for `run`, whose pictures are `drawn`.
pub fn html(run: &Run, trace_reports: &[TraceReport], drawn: &[DrawnPicture]) -> String {
    let mut header = heading(run, trace_reports);
    header += &troubles(run);
    header += &verdicts(trace_reports, drawn);
    let mut main = String::new();
    for (number, trace_report) in trace_reports.iter().enumerate() {
        main += &trace(number, trace_report, drawn);
    }
    main += "<section class=\"run\" id=\"run\">\n";
    main += &figure(drawn, SUMMARY, SCORECARD_QUESTION, SCORECARD_READING);
    main += &format!(
        "<p class=\"soft\">As a table: <a href=\"{SUMMARY_CSV}\">CSV</a>, \
         <a href=\"{SUMMARY_MARKDOWN}\">Markdown</a>. Both are files of the run folder.</p>\n"
    );
    main += &manifest(run);
    main += "</section>\n";
    let model = page_model(run, trace_reports);
    document(&title(run, trace_reports), &run_script(), &header, &main, &model)
}

/// What was replayed on what.
fn title(run: &Run, trace_reports: &[TraceReport]) -> String {
    // The manifest at the end has the whole specs.
    let names: Vec<String> = match trace_reports.first() {
        Some(first) => first.backends.iter().map(|backend| backend.name().to_owned()).collect(),
        None => run.manifest.backends.iter().map(|entry| entry.name.clone()).collect(),
    };
    let traces = match trace_reports {
        [one] => one.trace.name.clone(),
        all => {
            let is_measured =
                |one: &&TraceReport| one.backends.iter().any(BackendFigures::has_figures);
            match all.iter().filter(is_measured).count() {
                measured if measured == all.len() => format!("{measured} traces"),
                measured => format!("{measured} of {} traces", all.len()),
            }
        }
    };
    const LISTED_MAX: usize = 6;
    let names = if names.len() > LISTED_MAX { some(&names) } else { list(&names) };
    format!("{traces} on {names}")
}

fn heading(run: &Run, trace_reports: &[TraceReport]) -> String {
    format!(
        "<h1>{}</h1>\n<p class=\"soft\">heaplay {}, {}, {}</p>\n",
        escape(&title(run, trace_reports)),
        escape(&run.manifest.heaplay),
        date(run.manifest.created_unix_seconds),
        repetitions(run, trace_reports)
    )
}

/// The repetitions that were made: open comparisons get more than the manifest plans.
fn repetitions(run: &Run, trace_reports: &[TraceReport]) -> String {
    let backends = trace_reports.iter().flat_map(|trace_report| trace_report.backends.iter());
    let made = backends.filter_map(|backend| Some(backend.cost?.repetitions));
    let made: Vec<usize> = made.collect();
    match (made.iter().min(), made.iter().max()) {
        (Some(least), Some(most)) if least == most => {
            format!("{most} repetitions of timed passes")
        }
        (Some(least), Some(most)) => format!("{least} to {most} repetitions of timed passes"),
        _ => format!("{} repetitions planned", run.manifest.repetitions),
    }
}

/// The day in UTC.
fn date(unix_seconds: u64) -> String {
    let (year, month, day) = civil_date(unix_seconds);
    format!("{year}-{month:02}-{day:02}")
}

fn troubles(run: &Run) -> String {
    let lines = failed_cells(run).into_iter().chain(missing_cells(run));
    let items: String = lines.map(|line| format!("<li>{}</li>\n", escape(&line))).collect();
    match items.as_str() {
        "" => String::new(),
        items => format!("<h2>Failed and missing</h2>\n<ul class=\"bad\">\n{items}</ul>\n"),
    }
}

/// The verdict on the run, and a link to each trace.
fn verdicts(trace_reports: &[TraceReport], drawn: &[DrawnPicture]) -> String {
    let mut text = String::new();
    if let Some(picture) = drawn.iter().find(|picture| picture.file == SUMMARY) {
        text += &format!("<p class=\"verdict\">{}</p>\n", escape(&picture.title));
    }
    // Of one trace the first answer has it.
    if trace_reports.len() > 1 {
        let chosen = choices(trace_reports);
        text += &chosen.iter().map(|one| format!("<p>{}</p>\n", escape(one))).collect::<String>();
    }
    let link = |(number, trace_report): (usize, &TraceReport)| {
        format!("<a href=\"#{}\">{}</a>", trace_id(number), escape(&trace_report.trace.name))
    };
    let links: Vec<String> = trace_reports.iter().enumerate().map(link).collect();
    if links.len() > 1 {
        text += &format!("<p id=\"trace-links\">Traces: {}</p>\n", links.join(" · "));
    }
    text + "<p class=\"soft\"><a href=\"#run\">Scorecard, machine, clock and settings</a></p>\n"
}

/// The id of the section of a trace. A name may have any letters, so the number stands for it.
fn trace_id(number: usize) -> String {
    format!("trace-{}", number + 1)
}

/// The verdicts of the pictures of a trace.
fn trace_verdicts(name: &str, drawn: &[DrawnPicture]) -> String {
    let mut text = String::from(
        "<details class=\"verdicts\"><summary>All verdicts</summary>\n<ul class=\"verdicts\">\n",
    );
    for picture in CHARTS.iter().filter_map(|kind| drawn_of(drawn, name, kind)) {
        text += &format!("<li>{}</li>\n", escape(&picture.title));
    }
    text + "</ul></details>\n"
}

fn drawn_of<'a>(
    drawn: &'a [DrawnPicture],
    trace: &str,
    kind: &ChartKind,
) -> Option<&'a DrawnPicture> {
    let file = picture_name(trace, kind.about.name);
    drawn.iter().find(|picture| picture.file == file)
}

/// The section of a trace.
fn trace(number: usize, trace_report: &TraceReport, drawn: &[DrawnPicture]) -> String {
    let name = &trace_report.trace.name;
    let mut text = format!(
        "<section class=\"trace\" id=\"{}\" data-trace=\"{number}\">\n<h2>{}</h2>\n",
        trace_id(number),
        escape(name)
    );
    text += &format!(
        "<p>{} calls, {} allocated, live {} at peak and {} {}.",
        count(trace_report.trace.calls),
        bytes(trace_report.requested_bytes),
        bytes(trace_report.live_peak_bytes),
        bytes(trace_report.live_end_bytes),
        escape(&trace_report.end_sentence())
    );
    if let Some(note) = caveat(&trace_report.trace.facts) {
        text += &format!(" <strong>{}</strong>.", escape(&note));
    }
    text += "</p>\n";
    text += &answers(trace_report, drawn);
    text += &trace_verdicts(name, drawn);
    text += "<div class=\"explorer\"></div>\n<div class=\"tables\">\n<h3>Tables</h3>\n\
             <p class=\"soft\">All are of the whole trace.</p>\n";
    text += &tables::time(trace_report);
    text += &tables::comparisons(trace_report);
    if let Some(sentence) = trace_report.instructions() {
        text += &format!("<p>{}</p>\n", escape(&sentence));
    }
    text += &tables::memory(trace_report);
    text += &tables::latency(trace_report);
    text += &tables::slow_calls(trace_report);
    text += &tables::retention(trace_report);
    text += &tables::units(trace_report);
    text += &tables::size_classes(trace_report);
    text += &tables::machine_noise(trace_report);
    text += &tables::fragmentation(trace_report);
    text += &tables::threads(trace_report);
    text += &facts(trace_report);
    text += "</div>\n<details class=\"pictures\" open><summary>Pictures</summary>\n";
    for kind in CHARTS {
        let about = &kind.about;
        text += &figure(drawn, &picture_name(name, about.name), about.question, about.reading);
    }
    text + "</details>\n</section>\n"
}

/// What the trace says of itself. Facts that are lists, of marks or of arenas, are for programs.
fn facts(trace_report: &TraceReport) -> String {
    let facts = trace_report.trace.facts.iter();
    let rows: Vec<Vec<String>> = facts
        .filter(|(_, value)| !value.starts_with("[["))
        .map(|(fact, value)| vec![fact.clone(), value.clone()])
        .collect();
    let table = table("facts", "Facts of the trace", &["fact", "value"], &rows);
    folded("Facts of the trace", table)
}

fn manifest(run: &Run) -> String {
    let manifest = &run.manifest;
    let mut rows = vec![vec!["repetitions planned".to_owned(), manifest.repetitions.to_string()]];
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
    let sentences: Vec<String> = machine_sentences(run)
        .iter()
        .map(|sentence| format!("<p>{}</p>\n", escape(sentence)))
        .collect();
    format!(
        "<h2>How it was measured</h2>\n{}{}",
        sentences.concat(),
        table("manifest", "The run's manifest", &["what", "value"], &rows)
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
