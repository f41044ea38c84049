//! Chart: the scorecard of a whole run.
//!
//! With one trace its rows are the backends. With several they are traces × backends, memory is in
//! multiples of the live bytes, and the geometric mean is at the foot. Where those are too many
//! rows to read, only the geometric mean has rows, and the traces are small marks in them.

use serde::Serialize;

use super::axis::Axis;
use super::contract::Caption;
use super::heap_series::shown_peak;
use super::scale::Scale;
use crate::report::figures::{
    BackendFigures, CallCost, MemoryUnit, ResidentFigure, ScorecardGroup, ScorecardRow,
    TraceReport, geometric, group, groups_of_means, mean_time_ratio,
};
use crate::report::text::{capitalised, caveat, list, some, synthesised};
use crate::results::EndKind;
use crate::stats::{self, Decision, TimeComparison};
use crate::units::{byte_unit, bytes, count, figure, times};

/// The question that it answers.
pub const QUESTION: &str = "Which allocator, and which setting?";

/// How to read it, for the page.
pub const READING: &str = "\
Left is better in every column. The dot is the figure, the pale bar the range over repetitions. \
Of memory that is returned after a delay, the bar is the range from at once to never. A \
difference counts when it is over 2 % and more than chance (1 in 1,000). Blue dashes are the live \
bytes: no allocator can hold less.";

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct ScorecardChart {
    /// Its sentences.
    pub caption: Caption,
    /// The columns.
    pub columns: [ScorecardColumn; 5],
    /// Whether there are several traces, so that memory is in multiples of the live bytes.
    pub has_many_traces: bool,
    /// Whether only the geometric means have rows.
    pub is_dense: bool,
    /// The rows.
    pub groups: Vec<ScorecardGroup>,
    /// The traces as marks in the rows, where only the means have rows.
    pub marked: Vec<ScorecardGroup>,
}

/// A column: time, slow calls, and three of memory.
#[derive(Clone, Debug, Serialize)]
pub struct ScorecardColumn {
    /// Its name.
    pub name: String,
    /// Its axis; the label is the line below the name.
    pub axis: Axis,
    /// Whether any row has a figure for it. A run of one pass measures a part of the columns.
    pub is_measured: bool,
}

/// Rows that a picture has space for, with a name beside each.
const ROWS_MAX: usize = 52;

/// Describes the chart; `None` when nothing was measured.
pub fn describe(trace_reports: &[TraceReport]) -> Option<ScorecardChart> {
    let measured: Vec<&TraceReport> = trace_reports
        .iter()
        .filter(|trace_report| trace_report.backends.iter().any(BackendFigures::has_figures))
        .collect();
    let first = *measured.first()?;
    let has_many_traces = measured.len() > 1;
    let peaks: Vec<f64> = measured
        .iter()
        .flat_map(|trace_report| {
            trace_report.allocators().filter_map(|backend| backend.memory.peak_bytes)
        })
        .collect();
    let byte_unit = byte_unit(shown_peak(&peaks).max(first.live_peak_bytes));
    let unit = if has_many_traces { MemoryUnit::Live } else { MemoryUnit::Bytes(byte_unit.bytes) };
    let mut groups: Vec<ScorecardGroup> =
        measured.iter().map(|trace_report| group(trace_report, unit)).collect();
    let mean = has_many_traces.then(|| geometric(&groups_of_means(&groups)));
    let rows = groups.iter().chain(&mean).map(|group| group.rows.len()).sum::<usize>();
    let is_dense = has_many_traces && rows > ROWS_MAX;
    groups.extend(mean);
    let end_column = end_column(&measured);
    let columns = if has_many_traces {
        columns(&groups, (true, end_column), "× live", 1.0)
    } else {
        columns(&groups, (false, end_column), byte_unit.name, byte_unit.bytes)
    };
    let mut marked = Vec::new();
    if is_dense && let Some(mut mean) = groups.pop() {
        by_time(&mut mean);
        marked = std::mem::replace(&mut groups, vec![mean]);
    }
    Some(ScorecardChart {
        caption: caption(trace_reports, &measured, is_dense),
        columns,
        has_many_traces,
        is_dense,
        groups,
        marked,
    })
}

/// Sorts the fastest first, the floor last: many rows are read from the top.
fn by_time(group: &mut ScorecardGroup) {
    let time = |row: &ScorecardRow| row.cost.map_or(f64::INFINITY, |cost| cost.middle_ns);
    let key = |row: &ScorecardRow| (row.backend.is_floor, time(row));
    group.rows.sort_by(|a, b| key(a).0.cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)));
}

/// One value for each backend, its largest: a giant runs off with any number of traces.
fn largest(groups: &[ScorecardGroup], of: &dyn Fn(&ScorecardRow) -> Option<f64>) -> Vec<f64> {
    let mut most: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
    for row in groups.iter().flat_map(|group| group.rows.iter()) {
        if let Some(value) = of(row) {
            let entry = most.entry(&row.backend.name).or_default();
            *entry = entry.max(value);
        }
    }
    most.into_values().collect()
}

fn columns(
    groups: &[ScorecardGroup],
    (has_many_traces, end_column): (bool, String),
    unit: &str,
    unit_size: f64,
) -> [ScorecardColumn; 5] {
    let high = |row: &ScorecardRow| row.cost.map(|cost| cost.high_ns);
    // The harness itself makes no scale where there are allocators.
    let mut highs = largest(groups, &|row| high(row).filter(|_| !row.backend.is_floor));
    if highs.is_empty() {
        highs = largest(groups, &high);
    }
    let memory_values: [Vec<f64>; 3] =
        std::array::from_fn(|k| largest(groups, &|row| row.memory[k]));
    let memory: [f64; 3] = std::array::from_fn(|k| {
        let values = &memory_values[k];
        let live = groups.iter().map(|group| group.live[k]).fold(0.0, f64::max);
        (shown_peak(values).max(live) * 1.12).max(1e-6)
    });
    // Peak, average and end of one trace share a unit, so they share a scale as well.
    let widest = memory.iter().copied().fold(0.0, f64::max);
    let memory = if has_many_traces { memory } else { [widest; 3] };
    let of =
        |peak: &str, rest: &str| format!("{unit}{}{rest}", if has_many_traces { peak } else { "" });
    let memory_column = |name: &str, label: String, k: usize| ScorecardColumn {
        name: name.to_owned(),
        axis: Axis {
            label,
            unit: unit.to_owned(),
            unit_size,
            scale: Scale::Linear { from: 0.0, to: memory[k] },
        },
        is_measured: !memory_values[k].is_empty(),
    };
    let time = Scale::Linear { from: 0.0, to: (shown_peak(&highs) * 1.1).max(1e-6) };
    let has_slow_calls = !largest(groups, &|row| row.slowest_ns).is_empty();
    let slow = Axis::plain("| 1 in 1000    ● slowest call", "ns", slow_scale(groups));
    [
        ScorecardColumn {
            name: "time per call".to_owned(),
            axis: Axis::plain("ns, whole replay", "ns", time),
            is_measured: !highs.is_empty(),
        },
        ScorecardColumn { name: "slow calls".to_owned(), axis: slow, is_measured: has_slow_calls },
        memory_column("peak resident", of(" peak", ""), 0),
        memory_column("average resident", of(" average", ", over the allocation clock"), 1),
        memory_column(&end_column, of(" peak", ""), 2),
    ]
}

fn slow_scale(groups: &[ScorecardGroup]) -> Scale {
    let rows = || groups.iter().flat_map(|group| group.rows.iter());
    let low = rows()
        .filter_map(|row| row.one_in_1000_ns.or(row.slowest_ns))
        .fold(f64::INFINITY, f64::min);
    let high = rows().filter_map(|row| row.slowest_ns).fold(0.0, f64::max);
    Scale::log(low / 2.0, high * 3.0)
}

fn caption(trace_reports: &[TraceReport], measured: &[&TraceReport], is_dense: bool) -> Caption {
    let (title, reading) = match measured {
        [one] => (verdict_of_one(one), READING_OF_ONE),
        _ if is_dense => (verdict_of_many(measured), READING_OF_MEANS),
        _ => (verdict_of_many(measured), READING_OF_MANY),
    };
    let caption = Caption::new(title, plotted(measured, is_dense), reading);
    Caption { synthesised: synthesised_traces(trace_reports), ..caption }
}

/// Which of the traces were synthesised, or do not explain their process's memory; `None` for none.
fn synthesised_traces(trace_reports: &[TraceReport]) -> Option<String> {
    let notes = trace_reports.iter().filter_map(|trace_report| {
        Some((trace_report.trace.name.as_str(), synthesised(&trace_report.trace.facts)?))
    });
    let notes: Vec<(&str, String)> = notes.collect();
    if let [trace_report] = trace_reports {
        return caveat(&trace_report.trace.facts);
    }
    let unexplained = trace_reports.iter().map(|trace_report| &trace_report.trace);
    let unexplained: Vec<&str> = unexplained
        .filter(|trace| trace.facts.contains_key("unexplained"))
        .map(|trace| trace.name.as_str())
        .collect();
    let names: Vec<&str> = notes.iter().map(|(name, _)| *name).collect();
    let groups = [
        ("synthesised, not recorded", names),
        ("recordings that do not explain their process's memory", unexplained),
    ];
    let sentences: Vec<String> = groups
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

/// The heading of the memory at the end: a moment that was chosen has its name.
fn end_column(measured: &[&TraceReport]) -> String {
    let end = measured.iter().find_map(|trace_report| trace_report.trace.end.as_ref());
    match (measured, end.map(|end| &end.kind)) {
        (_, None) | ([_], Some(EndKind::Finalisation | EndKind::Exit)) => {
            "resident at end".to_owned()
        }
        ([only], Some(_)) => format!("resident {}", only.end_name()),
        _ => "resident at end".to_owned(),
    }
}

fn plotted(measured: &[&TraceReport], is_dense: bool) -> String {
    if let [trace_report] = measured {
        return format!(
            "Scorecard of `{}` ({} calls, live heap {} at peak, {} {}).  Filled: a backend's \
             first form, open: the same with other settings.  Left is better in every column.",
            trace_report.trace.name,
            count(trace_report.trace.calls),
            bytes(trace_report.live_peak_bytes),
            bytes(trace_report.live_end_bytes),
            trace_report.end_sentence()
        );
    }
    let rows = if is_dense { "Geometric means, with each trace as a thin stroke.  " } else { "" };
    format!(
        "Scorecard of {} traces.  {rows}Memory in multiples of what the program had live at its \
         peak and on average.  Left is better in every column.",
        measured.len()
    )
}

const READING_OF_MEANS: &[&str] = &[
    "Dot: geometric mean over the traces of the sum of per-chunk medians.",
    "Pale bar: the same of minima and of the slowest repetitions.",
    "Blue dashes: live, the floor for any allocator.",
    "Bold: best, or not separable from the best and within 10 %.",
    "▶: off the scale.",
    "Every trace by itself: summary.csv, and its pictures.",
];

const READING_OF_MANY: &[&str] = &[
    "Dot: sum of per-chunk medians over the repetitions.",
    "Pale bar: from the sum of minima to the slowest repetition; a difference counts when it is \
     over 2 % and more than chance.",
    "Blue dashes: live, the floor for any allocator.",
    "Bold: best, or not separable from the best and within 10 %.",
    "▶: off the scale.",
];

const READING_OF_ONE: &[&str] = &[
    "Dot: sum of per-chunk medians over the repetitions.",
    "Pale bar: from the sum of per-chunk minima to the slowest repetition; a difference counts when \
     it is over 2 % and more than chance.",
    "Blue dashes: what the program itself had live, the floor for any allocator.",
    "Bold: best, or not separable from the best and within 10 %.",
    "▶: off the scale.",
];

fn verdict_of_one(trace_report: &TraceReport) -> String {
    let title = format!("{}{}", time_verdict(trace_report), end_verdict(trace_report));
    match title.trim_start() {
        "" => "Nothing to compare in time or in memory.".to_owned(),
        title => title.to_owned(),
    }
}

fn time_verdict(trace_report: &TraceReport) -> String {
    let mut costs: Vec<(&BackendFigures, CallCost)> = trace_report
        .choosable()
        .into_iter()
        .filter_map(|backend| Some((backend, backend.cost?)))
        .collect();
    costs.sort_by(|a, b| a.1.middle_ns.total_cmp(&b.1.middle_ns));
    let Some(best) = costs.first() else { return String::new() };
    let level: Vec<String> = costs
        .iter()
        .filter(|(backend, _)| !trace_report.is_time_apart(best.0, backend))
        .map(|(backend, _)| backend.name().to_owned())
        .collect();
    if costs.len() == 1 {
        format!("{} takes {} ns a call.", best.0.name(), figure(best.1.middle_ns))
    } else if level.len() == costs.len() {
        let mut compared =
            costs.iter().skip(1).filter_map(|(one, _)| trace_report.compare_time(best.0, one));
        let has_few =
            |found: TimeComparison| found.decision == Decision::Open && found.lower.is_infinite();
        match compared.any(has_few) {
            true => "Too few repetitions to tell the allocators apart in time.".to_owned(),
            false => "No allocator is separably faster than another.".to_owned(),
        }
    } else {
        let verb = if level.len() == 1 { "leads" } else { "lead" };
        // One that varies much may be level with the best and have the largest median.
        let slow = costs.iter().rfind(|(backend, _)| trace_report.is_time_apart(best.0, backend));
        let slow = slow.and_then(|(backend, _)| {
            Some((backend.name(), trace_report.time_ratio(best.0, backend)?))
        });
        let rest = slow.map_or(String::new(), |(name, factor)| {
            format!(", and {name} takes {} times as long", times(factor))
        });
        let touched = first_touch_verdict(trace_report, best.0).unwrap_or_default();
        format!("On time {} {verb}{rest}.{touched}", some(&level))
    }
}

/// Who leads with the program's first writes, where that is another allocator than `leader` by more
/// than chance and a tenth. A program pays for its first writes, so this order is nearer to life.
fn first_touch_verdict(trace_report: &TraceReport, leader: &BackendFigures) -> Option<String> {
    let costs = trace_report
        .choosable()
        .into_iter()
        .filter_map(|backend| Some((backend, backend.first_touch?)))
        .min_by(|a, b| a.1.middle_ns.total_cmp(&b.1.middle_ns));
    let (best, best_cost) = costs?;
    let own = leader.first_touch?;
    own.is_clearly_slower_than(&best_cost).then(|| {
        format!(
            " With first writes {} leads at {} ns, and {} takes {} ns.",
            best.name(),
            figure(best_cost.middle_ns),
            leader.name(),
            figure(own.middle_ns)
        )
    })
}

fn end_verdict(trace_report: &TraceReport) -> String {
    let mut ends: Vec<(&BackendFigures, f64)> = trace_report
        .choosable()
        .into_iter()
        .filter_map(|backend| Some((backend, backend.memory.end_bytes?)))
        .collect();
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    let end =
        |backend: &BackendFigures| backend.memory.text(ResidentFigure::End).unwrap_or_default();
    let (Some(least), Some(most)) = (ends.first(), ends.last()) else { return String::new() };
    let live = bytes(trace_report.live_end_bytes);
    let at_end = capitalised(&trace_report.end_name());
    if ends.len() == 1 || most.1 < least.1 * 1.05 {
        format!("  {at_end} {} stay resident for {live} live.", end(most.0))
    } else {
        format!(
            "  {at_end} {} holds {}, {} holds {}, for {live} live.",
            least.0.name(),
            end(least.0),
            most.0.name(),
            end(most.0)
        )
    }
}

/// A ratio in a sentence.
fn part(ratio: f64) -> String {
    match ratio {
        same if (0.95..1.05).contains(&same) => "about the same".to_owned(),
        less if less < 1.0 => format!("{} of the", figure(less)),
        more => format!("{} times the", times(more)),
    }
}

/// On which traces the time of a backend is not separable from that of the reference, in brackets; empty
/// where it is apart, or equal, on each of them.
fn inseparable_traces(measured: &[&TraceReport], reference: &str, spec: &str) -> String {
    let find = |trace_report: &TraceReport, spec: &str| {
        let mut backends = trace_report.backends.iter();
        backends.position(|backend| backend.spec == spec && backend.cost.is_some())
    };
    let (mut all, mut open) = (0, Vec::new());
    for trace_report in measured {
        let both = find(trace_report, reference).zip(find(trace_report, spec));
        let Some((base, own)) = both else { continue };
        all += 1;
        let (base, own) = (&trace_report.backends[base], &trace_report.backends[own]);
        let comparison = trace_report.compare_time(base, own);
        let is_equal = comparison.is_some_and(|found| found.decision == Decision::Equal);
        if !is_equal && !trace_report.is_time_apart(base, own) {
            open.push(trace_report.trace.name.clone());
        }
    }
    match open.len() {
        0 => String::new(),
        count if count == all => " (separable on none of them)".to_owned(),
        1..=3 => format!(" (not separable on {})", list(&open)),
        count => format!(" (separable on {} of {all})", all - count),
    }
}

/// Ratios to the reference, as geometric means over the traces on which both were measured.
fn verdict_of_many(measured: &[&TraceReport]) -> String {
    let nothing = || format!("Scorecard of {} traces", measured.len());
    let Some(reference) = measured[0].reference() else { return nothing() };
    let ratio = |spec: &str, of: &dyn Fn(&BackendFigures) -> Option<f64>| {
        let ratio = |trace_report: &&TraceReport| {
            let find = |spec: &str| {
                trace_report.backends.iter().find(|backend| backend.spec == spec).and_then(of)
            };
            Some(find(spec)? / find(reference.spec)?)
        };
        stats::geometric_mean(&measured.iter().filter_map(ratio).collect::<Vec<f64>>())
    };
    let time_of = |spec: &str| mean_time_ratio(measured.iter().copied(), reference.spec, spec);
    let peak_of = |spec: &str| ratio(spec, &|backend| backend.memory.peak_bytes);
    let others: Vec<&BackendFigures> = measured[0]
        .choosable()
        .into_iter()
        .filter(|backend| backend.spec != reference.spec)
        .collect();
    let least = |of: &dyn Fn(&str) -> Option<f64>| {
        let known = others.iter().filter_map(|backend| Some((*backend, of(backend.spec)?)));
        known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(backend, _)| backend)
    };
    // A sentence has space for two: of many, the fastest and the one with the least memory.
    let mut named = others.clone();
    if others.len() > 2 {
        named = least(&time_of).into_iter().chain(least(&peak_of)).collect();
        named.dedup_by_key(|backend| backend.spec);
    }
    let clauses: Vec<String> = named
        .into_iter()
        .filter_map(|backend| {
            let time = part(time_of(backend.spec)?);
            let open_on = inseparable_traces(measured, reference.spec, backend.spec);
            let peak = peak_of(backend.spec).map(part);
            let peak = peak.map_or(String::new(), |peak| format!(" and {peak} peak memory"));
            Some(format!("{} takes {time} time{open_on}{peak}", backend.name()))
        })
        .collect();
    if clauses.is_empty() {
        return nothing();
    }
    format!(
        "Against {}, over {} traces (geometric mean), {}.",
        reference.name(),
        measured.len(),
        clauses.join("; ")
    )
}
