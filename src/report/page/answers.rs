//! The answers with which a trace opens: which allocator, when, what a trim gives, which line, and
//! how sure all that is.

use super::drawn::DrawnPicture;
use super::markup::escape;
use crate::report::chart::{checked_by_replay, scorecard};
use crate::report::choice::choice;
use crate::report::collector_time::collector_time;
use crate::report::figures::{BackendFigures, ResidentFigure, TraceReport};
use crate::report::files::picture_name;
use crate::report::line_answer::{LineAnswer, line_answer};
use crate::report::own_line::own_line_note;
use crate::report::text::{all_or_ends, capitalised, list, short_line, some};
use crate::report::thread_table::contention_note;
use crate::report::trim_call::trim_calls;
use crate::results::{Attribution, Metric, Moment, OTHER_SITES, Sample, Scope};
use crate::stats::Decision;
use crate::units::{bytes, count, nanoseconds, percent};

/// Questions with their answers, as a list of terms. A question without an answer is left out.
pub fn answers(trace_report: &TraceReport, drawn: &[DrawnPicture]) -> String {
    let answers = [
        ("Which allocator?", which_allocator(trace_report)),
        ("When is memory highest?", Answer::of(when(trace_report))),
        ("What would a trim return?", Answer::of(trim(trace_report))),
        ("Which line retains pages?", line(trace_report, drawn)),
        ("Is it sure?", sure(trace_report)),
    ];
    let mut text = String::from("<dl class=\"answers\">\n");
    for (question, answer) in answers.into_iter().filter(|(_, answer)| !answer.text.is_empty()) {
        text += &format!("<div><dt>{question}</dt><dd>{}</dd></div>\n", answer.html());
    }
    text + "</dl>\n"
}

/// The title of what an answer is made of.
const FIGURES: &str = "The figures behind it";

/// An answer.
struct Answer {
    /// What a reader wants to know.
    text: String,
    /// What opens on request, with its title; it may be empty.
    more: (&'static str, String),
}

impl Answer {
    /// With nothing more.
    fn of(text: String) -> Answer {
        Answer { text, more: ("", String::new()) }
    }

    fn html(&self) -> String {
        let text = with_code(&self.text);
        let (title, more) = &self.more;
        if more.is_empty() {
            return text;
        }
        format!("{text} <details><summary>{title}</summary>{}</details>", with_code(more))
    }
}

/// An answer as HTML: what stands between backticks is code.
fn with_code(answer: &str) -> String {
    let part = |(at, part): (usize, &str)| match at % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    };
    // An odd backtick is one of a name.
    match answer.matches('`').count() % 2 {
        0 => answer.split('`').enumerate().map(part).collect(),
        _ => escape(answer),
    }
}

fn which_allocator(trace_report: &TraceReport) -> Answer {
    let verdict = scorecard(std::slice::from_ref(trace_report))
        .map_or(String::new(), |chart| chart.caption().title.clone());
    let figures = trace_report.passed_on().into_iter().chain(time_of_calls(trace_report));
    let figures = figures.chain(collector_time(trace_report));
    match choice(trace_report) {
        // The program itself is the proof of a choice.
        Some(choice) => Answer {
            text: format!(
                "{choice} `heaplay live` runs the program itself under each: try it before a change."
            ),
            more: (FIGURES, [verdict].into_iter().chain(figures).collect::<Vec<_>>().join(" ")),
        },
        None => Answer { text: verdict, more: (FIGURES, figures.collect::<Vec<_>>().join(" ")) },
    }
}

/// How long all calls take, without their share of the program's time: a recording takes longer than the
/// program, by its recorder and by what else the machine does.
fn time_of_calls(trace_report: &TraceReport) -> Option<String> {
    let calls = trace_report.trace.calls;
    let total = |backend: &BackendFigures| {
        let total_ns = backend.total_ns(calls)?;
        Some((total_ns, format!("{} under {}", nanoseconds(total_ns), backend.name())))
    };
    let totals: Vec<(f64, String)> =
        trace_report.choosable().into_iter().filter_map(total).collect();
    (!totals.is_empty())
        .then(|| format!("All {} calls take {}.", count(calls), all_or_ends(totals, ", ")))
}

/// Where in the trace a call is: its time, or else its share of the calls, and the phase.
fn place(trace_report: &TraceReport, event: u64) -> String {
    let calls = trace_report.trace.calls.max(1);
    let share = percent(event as f64 / calls as f64);
    let phase = trace_report.trace.marks.iter().rfind(|mark| mark.event <= event);
    let phase = phase.map_or(String::new(), |mark| format!(", in the phase {}", mark.name));
    match time_of(trace_report, event) {
        Some((time, share_of_recording)) => {
            format!(
                "after {time} ({share_of_recording} of the recording{phase}; call {})",
                count(event)
            )
        }
        None => format!("at call {} ({share} of the trace{phase})", count(event)),
    }
}

/// When a call was made, and the share of the recording that it is: `358 ms` and `84 %`. `None` where
/// the trace has no times.
fn time_of(trace_report: &TraceReport, event: u64) -> Option<(String, String)> {
    let trace = trace_report.trace;
    let recorded_ns = Some(trace.recorded_ns).filter(|time_ns| *time_ns > 0)? as f64;
    let time_ns = trace.time_ns(event)? as f64;
    Some((nanoseconds(time_ns), percent((time_ns / recorded_ns).min(1.0))))
}

fn when(trace_report: &TraceReport) -> String {
    let highest = |backend: &BackendFigures| -> Option<(f64, String)> {
        // The first of equal ones.
        let sample: &Sample =
            backend.samples.iter().rev().max_by_key(|sample| sample.resident_bytes)?;
        let resident = backend.memory.text(ResidentFigure::Peak)?;
        let (name, event) = (backend.name(), count(sample.event));
        let moment = match time_of(trace_report, sample.event) {
            _ if trace_report.live_peak_event() == Some(sample.event) => "then".to_owned(),
            Some((time, _)) => format!("after {time}"),
            None => format!("at call {event}"),
        };
        Some((sample.event as f64, format!("{name} {resident} {moment}")))
    };
    let with_memory = trace_report.choosable().into_iter().filter(|backend| backend.has_memory());
    let peaks: Vec<(f64, String)> = with_memory.filter_map(highest).collect();
    if peaks.is_empty() {
        return String::new();
    }
    let live = trace_report.live_peak_event().map_or(String::new(), |event| {
        format!(
            "The program holds most {}: {} live. ",
            place(trace_report, event),
            bytes(trace_report.live_peak_bytes)
        )
    });
    let line = most_at_peak(trace_report).unwrap_or_default();
    format!("{live}{line}Resident memory is highest for: {}.", all_or_ends(peaks, ", "))
}

/// The line that holds most when the program holds most. What the start-up allocated counts for none: no
/// change of the program reaches it.
fn most_at_peak(trace_report: &TraceReport) -> Option<String> {
    let rows = trace_report.backends.iter().flat_map(|backend| &backend.rows.attributions);
    let at_peak = rows.filter(|row| {
        row.moment == Moment::Peak && row.site != OTHER_SITES && !row.site.is_empty()
    });
    let own_bytes = |row: &Attribution| own_at_peak(trace_report, row).1;
    let row = at_peak.copied().max_by_key(|row| own_bytes(row))?;
    let line = short_line(&row.site);
    let (blocks, held) = own_at_peak(trace_report, row);
    let own = own_line_note(trace_report, &row.site, Moment::Peak);
    let own = own.map_or(String::new(), |sentence| format!("{sentence} "));
    let holds = format!("{} in {} blocks", bytes(held as f64), count(blocks));
    Some(format!("Of that {line} allocated {holds}. {own}"))
}

/// Blocks and bytes of a line at the peak, without those of the start-up.
fn own_at_peak(trace_report: &TraceReport, row: &Attribution) -> (u64, u64) {
    let entry = trace_report.trace.library_lines.get(&row.site);
    let live = entry.and_then(|entry| entry.at_peak.as_ref());
    live.map_or((row.live_blocks, row.live_bytes), |live| {
        (live.blocks.saturating_sub(live.startup_blocks), live.own_bytes)
    })
}

/// What a trim returned, of how much, and what is left: one form for all.
fn trimmed_text(returned_bytes: f64, end: &str, left: &str) -> String {
    let returned = match returned_bytes {
        none if none <= 0.0 => "nothing".to_owned(),
        some => bytes(some),
    };
    format!("{returned} of {end}, leaving {left}")
}

fn trim(trace_report: &TraceReport) -> String {
    let choosable = trace_report.choosable();
    let with_memory = || choosable.iter().copied().filter(|backend| backend.has_memory());
    let returned = |backend: &BackendFigures| {
        let memory = &backend.memory;
        let returned = (memory.end_bytes? - memory.trimmed_bytes?).max(0.0);
        let (name, end) = (backend.name(), memory.text(ResidentFigure::End)?);
        let left = memory.text(ResidentFigure::Trimmed)?;
        Some((returned, format!("{name} {}", trimmed_text(returned, &end, &left))))
    };
    let figures: Vec<(f64, String)> = with_memory().filter_map(returned).collect();
    let none = with_memory().filter(|backend| returned(backend).is_none());
    let none: Vec<String> = none.map(|backend| backend.name().to_owned()).collect();
    let none = match none.len() {
        0 => String::new(),
        1 => format!(" {} has no trim.", none[0]),
        _ => format!(" {} have no trim.", some(&none)),
    };
    if figures.is_empty() {
        return none.trim_start().to_owned();
    }
    let at_end = capitalised(&trace_report.end_name());
    let calls = trim_calls(trace_report).map_or(String::new(), |sentence| format!(" {sentence}"));
    let range = match with_memory().any(|backend| backend.memory.has_ranges()) {
        true => {
            " (a–b) is the range from memory returned at once to never, of allocators with a delay."
        }
        false => "",
    };
    format!("{at_end} a trim returns: {}.{none}{calls}{range}", all_or_ends(figures, "; "))
}

fn line(trace_report: &TraceReport, drawn: &[DrawnPicture]) -> Answer {
    let file = picture_name(&trace_report.trace.name, "page-retention");
    match drawn.iter().find(|picture| picture.file == file) {
        None => {
            Answer::of("The trace has no lines. `heaplay record --sites` records them.".to_owned())
        }
        Some(picture) => {
            let LineAnswer { lines, notes } = line_answer(trace_report, Some(&picture.title));
            Answer { text: lines.join(" "), more: ("Before you change it", notes.join(" ")) }
        }
    }
}

fn sure(trace_report: &TraceReport) -> Answer {
    let mut sentences = Vec::new();
    if let Some(sentence) = separable(trace_report) {
        sentences.push(sentence);
    }
    let varies = |backend: &&BackendFigures| {
        !backend.memory.about().is_empty()
            || !backend.values(Scope::All, Metric::VariesBetweenRuns).is_empty()
    };
    let varying: Vec<String> =
        trace_report.allocators().filter(varies).map(|backend| backend.name().to_owned()).collect();
    if trace_report.allocators().any(BackendFigures::has_memory) {
        sentences.push(if varying.is_empty() {
            "Memory figures repeat: another replay of this recording gives the same. The program itself may \
             differ from run to run, as `heaplay live` shows."
                .to_owned()
        } else {
            format!(
                "Memory figures repeat from run to run, but for {}, where they depend on time or \
                 chance.",
                some(&varying)
            )
        });
    }
    sentences.extend(contention_note(trace_report).map(str::to_owned));
    sentences.extend(trace_report.own_replay());
    let checked = checked_by_replay(trace_report).unwrap_or_default();
    Answer { text: sentences.join(" "), more: (FIGURES, checked) }
}

/// Which allocators are faster or slower than the reference, and which are equal, with the repetitions that
/// show it.
fn separable(trace_report: &TraceReport) -> Option<String> {
    let reference = trace_report.reference()?;
    reference.cost?;
    let others = trace_report.choosable().into_iter();
    let others = others.filter(|backend| backend.spec != reference.spec && backend.cost.is_some());
    let mut by_verdict: [Vec<String>; 4] = Default::default();
    let mut repetitions: Vec<usize> = Vec::new();
    for backend in others {
        let comparison = trace_report.compare_time(reference, backend);
        let is_equal = comparison.is_some_and(|comparison| comparison.decision == Decision::Equal);
        let ratio = trace_report.time_ratio(reference, backend)?;
        let verdict = match trace_report.is_time_apart(reference, backend) {
            true if ratio < 1.0 => 0,
            true => 1,
            false if is_equal => 2,
            false => 3,
        };
        by_verdict[verdict].push(backend.name().to_owned());
        repetitions.extend(comparison.map(|comparison| comparison.pairs));
    }
    let name = reference.name();
    let rests = [
        format!("faster than {name}"),
        format!("slower than {name}"),
        format!("equal to {name} within 2 %"),
        format!("not separable from {name}"),
    ];
    let clause = |(names, rest): (&Vec<String>, &String)| {
        let verb = if names.len() == 1 { "is" } else { "are" };
        let all = if names.len() > 7 { some(names) } else { list(names) };
        (!names.is_empty()).then(|| format!("{all} {verb} {rest}"))
    };
    let clauses: Vec<String> = by_verdict.iter().zip(&rests).filter_map(clause).collect();
    if clauses.is_empty() {
        return None;
    }
    let after = match (repetitions.iter().min(), repetitions.iter().max()) {
        (Some(1), Some(1)) => ", after 1 repetition".to_owned(),
        (Some(least), Some(most)) if least == most => format!(", after {least} repetitions"),
        (Some(least), Some(most)) => format!(", after {least} to {most} repetitions"),
        _ => String::new(),
    };
    let few = trace_report.too_few_repetitions(reference);
    Some(format!(
        "In time, {}{after}.{}",
        clauses.join("; "),
        few.map_or(String::new(), |few| format!(" {few}"))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trim_has_one_form() {
        let text = |returned: f64, end: &str, left: &str| {
            trimmed_text(returned, end, left).replace('\u{a0}', " ")
        };
        assert_eq!(text(0.0, "34 MiB", "34 MiB"), "nothing of 34 MiB, leaving 34 MiB");
        assert_eq!(text(8192.0, "34 MiB", "34 MiB"), "8.0 KiB of 34 MiB, leaving 34 MiB");
        assert_eq!(text(1_048_576.0, "34 MiB", "33 MiB"), "1.0 MiB of 34 MiB, leaving 33 MiB");
    }
}
