//! Chart: throughput by the number of threads at once. A single trace has panels of processor time
//! and memory beside it; several traces have a panel each.

use serde::Serialize;

use super::axis::Axis;
use super::contract::Caption;
use super::scale::Scale;
use crate::report::figures::{BackendLabel, ScalingFigures, ScalingLine, ScalingPoint, Spread};
use crate::report::text::list;
use crate::units::{byte_unit, bytes, count, figure3, percent, ratio};

/// Panels of a chart, at most.
pub const SCALING_PANELS_MAX: usize = 6;

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct ScalingChart {
    /// Its sentences.
    pub caption: Caption,
    /// From the left, row by row.
    pub panels: Vec<ScalingPanel>,
    /// Whether the panels are figures of one trace. Only the first names the backends then.
    pub is_of_one_trace: bool,
}

/// A panel: one figure of one trace.
#[derive(Clone, Debug, Serialize)]
pub struct ScalingPanel {
    /// What it shows.
    pub heading: String,
    /// What a reader must know beside it.
    pub aside: String,
    /// Across: one place for each step, from 0.
    pub step_axis: Axis,
    /// The steps, from the left.
    pub steps: Vec<String>,
    /// Upwards.
    pub value_axis: Axis,
    /// By backend.
    pub lines: Vec<ScalingPanelLine>,
}

/// A backend in a panel.
#[derive(Clone, Debug, Serialize)]
pub struct ScalingPanelLine {
    /// The backend.
    pub backend: BackendLabel,
    /// By step, rising.
    pub points: Vec<StepValue>,
    /// The ideal: the first point times the threads, as far as there are processors. By step.
    pub ideal: Vec<(usize, f64)>,
    /// What stands at the end of the line, after the backend's name.
    pub end_text: String,
}

/// A point of a line.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StepValue {
    /// The step.
    pub step: usize,
    /// Over repetitions, in base units.
    pub value: Spread,
    /// Whether waits for blocks of other threads took more than a tenth of the threads' time.
    pub is_mostly_waiting: bool,
}

/// The top of an axis is at most so many times the largest median.
const MOST_OF_MEDIAN: f64 = 2.1;

/// The share of the threads' time from which on waits decide.
const WAITING_SHARE: f64 = 0.1;

const READING: [&str; 5] = [
    "Dot: median of the repetitions; pale bar: all of them.",
    "Dashes: the first point times the threads, up to the number of processors.",
    "Ring: the threads waited for blocks of each other for over a tenth of their time, so the trace \
     sets the limit, not the allocator.",
    "▲: off the scale.",
    "Threads run at once and do nothing but these calls: a program contends less.",
];

/// Describes the charts of some traces: one of a single trace; of several, one for each
/// [`SCALING_PANELS_MAX`] of them. Traces without a point are left out.
pub fn describe(traces: &[ScalingFigures]) -> Vec<ScalingChart> {
    let measured: Vec<&ScalingFigures> =
        traces.iter().filter(|trace| trace.lines.iter().any(|l| !l.points.is_empty())).collect();
    match measured.as_slice() {
        [] => vec![],
        [one] => vec![of_one(one)],
        several => several.chunks(SCALING_PANELS_MAX).map(of_several).collect(),
    }
}

fn of_one(trace: &ScalingFigures) -> ScalingChart {
    let mut panels = vec![throughput(trace, "calls a second".to_owned())];
    panels.push(processor_time(trace));
    panels.extend(memory(trace));
    let plotted = format!(
        "`{}` ({} calls) replayed in free order on {}, {} repetitions in fresh processes on {} \
         processors.",
        trace.trace,
        count(trace.calls),
        if trace.is_of_copies {
            "copies of itself at once, each on a thread of its own"
        } else {
            "more and more threads at once, which share its calls"
        },
        trace.repetitions,
        trace.processors
    );
    ScalingChart {
        caption: Caption::new(verdict(trace), plotted, &READING),
        panels,
        is_of_one_trace: true,
    }
}

fn of_several(traces: &[&ScalingFigures]) -> ScalingChart {
    let plotted = format!(
        "Calls a second of all threads together, in free order, by trace; {} repetitions in fresh \
         processes on {} processors.",
        traces[0].repetitions, traces[0].processors
    );
    let panel = |trace: &&ScalingFigures| throughput(trace, trace.trace.clone());
    ScalingChart {
        caption: Caption::new(verdict_of_several(traces), plotted, &READING),
        panels: traces.iter().map(panel).collect(),
        is_of_one_trace: false,
    }
}

/// The allocators of a trace that have a speed-up, the largest first.
fn by_speed_up(trace: &ScalingFigures) -> Vec<(&ScalingLine, Spread)> {
    let lines = trace.lines.iter().filter(|line| !line.backend.is_floor);
    let mut scaled: Vec<(&ScalingLine, Spread)> =
        lines.filter_map(|line| Some((line, line.speed_up()?))).collect();
    scaled.sort_by(|a, b| b.1.median.total_cmp(&a.1.median));
    scaled
}

/// The last step, as a sentence names it.
fn last_step(trace: &ScalingFigures) -> String {
    let step = trace.steps.last();
    match step.map(|step| (step.threads, step.name.starts_with("trace"))) {
        Some((copies, _)) if trace.is_of_copies => format!("{copies} copies"),
        Some((threads, true)) => format!("the trace's own {threads} threads"),
        Some((threads, false)) => format!("{threads} threads"),
        None => String::new(),
    }
}

fn verdict(trace: &ScalingFigures) -> String {
    let scaled = by_speed_up(trace);
    let Some(&(best, most)) = scaled.first() else { return rates(trace) };
    let (worst, least) = scaled[scaled.len() - 1];
    let first = trace.steps.first().map_or("one", |step| step.name.as_str());
    let than = match (first, trace.is_of_copies) {
        ("1", true) => "one copy".to_owned(),
        ("1", false) => "one thread".to_owned(),
        (first, true) => format!("{first} copies"),
        (first, false) => format!("{first} threads"),
    };
    let on = last_step(trace);
    let best_name = &best.backend.name;
    if scaled.len() == 1 {
        return format!("On {on} {best_name} makes {} the calls of {than}.", ratio(most.median));
    }
    let last = trace.steps.len().saturating_sub(1);
    let waits: Vec<f64> = scaled
        .iter()
        .filter_map(|(line, _)| line.points.last().filter(|point| point.step == last))
        .map(|point| point.waited_share)
        .collect();
    let least_wait = waits.iter().copied().fold(1.0, f64::min);
    if !waits.is_empty() && least_wait > WAITING_SHARE {
        return format!(
            "On {on} the trace sets the limit: threads wait for each other's blocks for at least {} \
             of their time, and make {} to {} the calls of {than}.",
            percent(least_wait),
            ratio(least.median),
            ratio(most.median)
        );
    }
    if most.least <= least.most {
        return format!(
            "On {on} all backends make {} to {} the calls of {than}; the ranges overlap.",
            ratio(least.median),
            ratio(most.median)
        );
    }
    format!(
        "{best_name} scales best: on {on} it makes {} the calls of {than}; {} makes {}.",
        ratio(most.median),
        worst.backend.name,
        ratio(least.median)
    )
}

/// The title where nothing can be compared: calls a second of the one step.
fn rates(trace: &ScalingFigures) -> String {
    let rate = |line: &ScalingLine| {
        let point = line.points.first()?;
        let rate = figure3(point.calls_per_second.median / 1e6);
        Some(format!("{} {rate} million", line.backend.name))
    };
    let rates: Vec<String> = trace.lines.iter().filter_map(rate).collect();
    format!("Calls a second on {}: {}.", last_step(trace), list(&rates))
}

fn verdict_of_several(traces: &[&ScalingFigures]) -> String {
    let mut all: Vec<(&ScalingFigures, &ScalingLine, Spread)> = Vec::new();
    for &trace in traces {
        all.extend(by_speed_up(trace).into_iter().map(|(line, speed)| (trace, line, speed)));
    }
    all.sort_by(|a, b| b.2.median.total_cmp(&a.2.median));
    let text = |(trace, line, speed): &(&ScalingFigures, &ScalingLine, Spread)| {
        format!(
            "{} ({} on {}, {})",
            ratio(speed.median),
            line.backend.name,
            trace.trace,
            last_step(trace)
        )
    };
    match (all.last(), all.first()) {
        (Some(least), Some(most)) if all.len() > 1 => {
            format!(
                "More threads make from {} to {} the calls of the first step.",
                text(least),
                text(most)
            )
        }
        _ => "Calls a second by the number of threads.".to_owned(),
    }
}

/// A panel of one figure. `is_range` says that its extremes are figures in their own right, which
/// nothing may cut off.
fn panel(
    trace: &ScalingFigures,
    (heading, aside): (String, String),
    value_axis: impl Fn(f64) -> Axis,
    figure: impl Fn(&ScalingPoint) -> Option<Spread>,
    end_text: impl Fn(&ScalingLine, Spread) -> String,
    (has_ideal, is_range): (bool, bool),
) -> ScalingPanel {
    let line = |line: &ScalingLine| {
        let points: Vec<StepValue> = line
            .points
            .iter()
            .filter_map(|point| {
                let is_mostly_waiting = point.waited_share > WAITING_SHARE;
                Some(StepValue { step: point.step, value: figure(point)?, is_mostly_waiting })
            })
            .collect();
        let ideal = if has_ideal { ideal(trace, &points) } else { vec![] };
        let end_text = points.last().map_or(String::new(), |last| end_text(line, last.value));
        ScalingPanelLine { backend: line.backend.clone(), points, ideal, end_text }
    };
    let lines: Vec<ScalingPanelLine> = trace.lines.iter().map(line).collect();
    let ends = lines.iter().flat_map(|line| line.points.iter().map(|point| point.value.most));
    let ideals = lines.iter().filter(|line| !line.backend.is_floor);
    let ideals = ideals.flat_map(|line| line.ideal.iter().map(|(_, value)| *value));
    let most = ends.chain(ideals).fold(0.0, f64::max);
    // One disturbed repetition must not press all others to the foot: it runs off.
    let medians = lines.iter().flat_map(|line| line.points.iter().map(|point| point.value.median));
    let usual = medians.fold(0.0, f64::max) * MOST_OF_MEDIAN;
    let most = if usual > 0.0 && !is_range { most.min(usual) } else { most };
    let last = trace.steps.len().saturating_sub(1) as f64;
    let what = if trace.is_of_copies { "copies at once" } else { "threads at once" };
    ScalingPanel {
        heading,
        aside,
        step_axis: Axis::plain(what, "steps", Scale::Linear { from: -0.4, to: last + 0.4 }),
        steps: trace.steps.iter().map(|step| step.name.clone()).collect(),
        value_axis: value_axis(most * 1.06 + 1e-9),
        lines,
    }
}

/// The ideal by step: the first point's calls times the threads, up to the processors.
fn ideal(trace: &ScalingFigures, points: &[StepValue]) -> Vec<(usize, f64)> {
    let Some(first) = points.first() else { return vec![] };
    let at_once = |step: usize| {
        trace
            .steps
            .get(step)
            .map_or(1.0, |step| f64::from(step.threads.clamp(1, trace.processors.max(1))))
    };
    let one = first.value.median / at_once(first.step);
    (first.step..trace.steps.len()).map(|step| (step, one * at_once(step))).collect()
}

fn throughput(trace: &ScalingFigures, heading: String) -> ScalingPanel {
    let axis = |most: f64| Axis {
        label: "million calls a second".to_owned(),
        unit: "million calls a second".to_owned(),
        unit_size: 1e6,
        scale: Scale::Linear { from: 0.0, to: most / 1e6 },
    };
    let end = |line: &ScalingLine, _: Spread| {
        line.speed_up().map_or(String::new(), |speed| ratio(speed.median))
    };
    let rate = |point: &ScalingPoint| Some(point.calls_per_second);
    let aside = "millions, of all threads together".to_owned();
    panel(trace, (heading, aside), axis, rate, end, (true, false))
}

fn processor_time(trace: &ScalingFigures) -> ScalingPanel {
    let axis =
        |most: f64| Axis::plain("processor ns a call", "ns", Scale::Linear { from: 0.0, to: most });
    let names = ("processor time of a call".to_owned(), "ns, spinning included".to_owned());
    let end = |_: &ScalingLine, last: Spread| figure3(last.median);
    panel(trace, names, axis, |point| Some(point.processor_ns), end, (false, false))
}

/// The panel of memory; `None` where no backend has memory.
fn memory(trace: &ScalingFigures) -> Option<ScalingPanel> {
    let points = trace.lines.iter().flat_map(|line| &line.points);
    let peaks = points.filter_map(|point| point.resident_peak_bytes);
    let most = peaks
        .map(|peak| peak.most)
        .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))))?;
    let unit = byte_unit(most);
    let axis = |most: f64| Axis::bytes(format!("{} resident", unit.name), unit, most);
    let names = ("peak resident memory".to_owned(), format!("{}, each page touched", unit.name));
    let end = |_: &ScalingLine, last: Spread| {
        if last.least == last.most {
            bytes(last.median)
        } else {
            format!("{}–{}", figure3(last.least / unit.bytes), figure3(last.most / unit.bytes))
        }
    };
    Some(panel(trace, names, axis, |point| point.resident_peak_bytes, end, (false, true)))
}
