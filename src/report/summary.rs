//! Room `report`, picture: the scorecard of a whole run. With one trace its rows are the backends;
//! with several they are traces × backends, memory counts in multiples of what the program had
//! live, and the geometric mean stands at the foot. Where those would be too many rows to read, the
//! geometric mean alone has rows, and the traces are small marks in them.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Stroke, Type, fitted, shorten, text_width};
use super::chart::{
    AXIS, HEADING, INK, LEFT, LIVE, Picture, RIGHT, SMALL, STRONG, TINY, WHITE, frame,
};
use super::figures::{Backend, Cost, TraceReport};
use super::scorecard::{Group, MEMORY, Row, geometric, group, has_figures};
use super::series::shown_peak;
use super::words::{self, byte_unit, figure, nanosecond_tick, nanoseconds};
use crate::stats;

/// How to read it, for the page.
pub const READING: &str = "Left is better in every column. The dot is the figure, the pale bar the range over \
                           repetitions, and of memory from what would stay had it gone back at once to never, where it \
                           goes back by the clock; a difference counts when every repetition shows it. Blue dashes are what the program itself had \
                           live: no allocator can hold less.";

struct SummaryLayout {
    time: Scale,
    tail: Scale,
    memory: [Scale; 3],
    unit: String,
    /// Bytes in a unit of the memory columns, where they count bytes.
    bytes: f64,
    many: bool,
    /// The traces are marks in the rows of the geometric mean.
    dense: bool,
}

/// Rows that a picture has room for, with a name beside each.
const ROWS_MOST: usize = 52;

/// Which of the traces were made up and not recorded; `None` where none was.
pub fn synthesised(trace_reports: &[TraceReport]) -> Option<String> {
    let made_up =
        |trace_report: &&TraceReport| words::synthesised(&trace_report.trace.facts).is_some();
    let names: Vec<&str> = trace_reports
        .iter()
        .filter(made_up)
        .map(|trace_report| trace_report.trace.name.as_str())
        .collect();
    match names.len() {
        0 => None,
        1 if trace_reports.len() == 1 => words::synthesised(&trace_reports[0].trace.facts),
        _ => Some(format!("synthesised, not recorded: {}", names.join(", "))),
    }
}

/// Draws the scorecard; `None` when nothing was measured.
pub fn draw(trace_reports: &[TraceReport]) -> Option<Picture> {
    let measured: Vec<&TraceReport> = trace_reports
        .iter()
        .filter(|trace_report| trace_report.backends.iter().any(has_figures))
        .collect();
    if measured.is_empty() {
        return None;
    }
    let many = measured.len() > 1;
    let largest = measured
        .iter()
        .flat_map(|trace_report| trace_report.allocators().filter_map(|b| b.memory.peak))
        .collect::<Vec<f64>>();
    let unit = byte_unit(shown_peak(&largest).max(measured[0].live_peak));
    let scale_of = |live: f64| if many { live } else { unit.bytes };
    let mut groups: Vec<Group> =
        measured.iter().map(|trace_report| group(trace_report, &scale_of)).collect();
    let mean = many.then(|| geometric(&groups));
    let rows = groups.iter().chain(&mean).map(|group| group.rows.len()).sum::<usize>();
    let dense = many && rows > ROWS_MOST;
    let title = if many { verdict_many(&measured) } else { verdict_one(measured[0]) };
    groups.extend(mean);
    let layout = SummaryLayout {
        unit: if many { "× live".to_owned() } else { unit.name.to_owned() },
        bytes: unit.bytes,
        dense,
        ..layout(&groups, many)
    };
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &title, &plotted(&measured, dense), hint(many, dense));
    if dense && let Some(mut mean) = groups.pop() {
        by_time(&mut mean);
        table(&mut canvas, &layout, &[mean], &groups, (top, bottom));
    } else {
        table(&mut canvas, &layout, &groups, &[], (top, bottom));
    }
    Some(Picture { title, canvas })
}

/// The fastest first, the harness alone last: many rows are read from the top.
fn by_time(group: &mut Group) {
    let time = |row: &Row| row.cost.map_or(f64::INFINITY, |cost| cost.middle);
    let key = |row: &Row| (row.name == "null", time(row));
    group.rows.sort_by(|a, b| key(a).0.cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)));
}

fn layout(groups: &[Group], many: bool) -> SummaryLayout {
    let rows = || groups.iter().flat_map(|group| group.rows.iter());
    let low =
        rows().filter_map(|row| row.rare.or(row.worst.map(|w| w.0))).fold(f64::INFINITY, f64::min);
    let high = rows().filter_map(|row| row.worst.map(|w| w.0)).fold(0.0, f64::max);
    // One value a backend, its largest: a giant runs off however many traces there are.
    let largest = |of: &dyn Fn(&Row) -> Option<f64>| -> Vec<f64> {
        let mut most: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
        for (name, value) in rows().filter_map(|row| Some((row.name.as_str(), of(row)?))) {
            let entry = most.entry(name).or_default();
            *entry = entry.max(value);
        }
        most.into_values().collect()
    };
    let highs = largest(&|row| row.cost.map(|cost| cost.high));
    let memory = std::array::from_fn(|k| {
        let values = largest(&|row| row.memory[k]);
        let live = groups.iter().map(|group| group.live[k]).fold(0.0, f64::max);
        Scale::Linear { from: 0.0, to: (shown_peak(&values).max(live) * 1.12).max(1e-6) }
    });
    // Peak, average and end of one trace share a unit, so they share a scale as well.
    let widest = memory.iter().map(Scale::end).fold(0.0, f64::max);
    let memory = if many { memory } else { [Scale::Linear { from: 0.0, to: widest }; 3] };
    SummaryLayout {
        time: Scale::Linear { from: 0.0, to: (shown_peak(&highs) * 1.1).max(1e-6) },
        tail: Scale::log(low / 2.0, high * 3.0),
        memory,
        unit: String::new(),
        bytes: 1.0,
        many,
        dense: false,
    }
}

/// The rows of `groups`; `each` is what stands in them as small marks.
fn table(
    canvas: &mut Canvas,
    layout: &SummaryLayout,
    groups: &[Group],
    each: &[Group],
    (top, bottom): (f64, f64),
) {
    let first = LEFT + if layout.many && !layout.dense { 268.0 } else { 210.0 };
    let gap = 40.0;
    let width = (RIGHT - 14.0 - first - gap * 4.0) / 5.0;
    let (top, bottom) = (top + 66.0, bottom - 40.0);
    let count: usize = groups.iter().map(|group| group.rows.len()).sum();
    let between =
        if groups.len() > 1 { (140.0 / groups.len() as f64).clamp(5.0, 18.0) } else { 0.0 };
    let room = bottom - top - 12.0 - between * (groups.len() as f64 - 1.0);
    let height = (room / count.max(1) as f64).min(118.0);
    // Few rows end early: the axes follow them up, so that no half-empty plot is drawn.
    let end =
        (top + 12.0 + height * count as f64 + between * (groups.len() as f64 - 1.0)).min(bottom);
    let panel = |column: usize, across: Scale| {
        let left = first + (width + gap) * column as f64;
        Panel {
            left,
            top,
            right: left + width,
            bottom: end,
            across,
            up: Scale::Linear { from: 0.0, to: 1.0 },
        }
    };
    let panels = [
        panel(0, layout.time),
        panel(1, layout.tail),
        panel(2, layout.memory[0]),
        panel(3, layout.memory[1]),
        panel(4, layout.memory[2]),
    ];
    heads(canvas, layout, &panels);
    let mut y = top + 12.0;
    for group in groups {
        live_dashes(canvas, layout, &panels, group, (y, y + height * group.rows.len() as f64));
        for (at, row) in group.rows.iter().enumerate() {
            let line = Line { y: y + height * 0.5, height };
            row_name(canvas, layout, group, at, row, line, first);
            for other in each
                .iter()
                .filter_map(|group| group.rows.iter().find(|other| other.name == row.name))
            {
                marks(canvas, &panels, other, line);
            }
            cells(canvas, layout, &panels, group, row, line);
            y += height;
        }
        y += between;
    }
}

/// Where a row stands.
#[derive(Clone, Copy)]
struct Line {
    y: f64,
    height: f64,
}

fn heads(canvas: &mut Canvas, layout: &SummaryLayout, panels: &[Panel; 5]) {
    let unit = &layout.unit;
    let subs = [
        "ns, whole replay".to_owned(),
        "| 1 in 1000    ● slowest call".to_owned(),
        format!("{unit}{}", if layout.many { " peak" } else { "" }),
        format!("{unit}{}, over the allocation clock", if layout.many { " average" } else { "" }),
        format!("{unit}{}", if layout.many { " peak" } else { "" }),
    ];
    let names = ["time per call", "slow calls", MEMORY[0], MEMORY[1], MEMORY[2]];
    for (column, panel) in panels.iter().enumerate() {
        canvas.text(panel.left, panel.top - 34.0, names[column], HEADING, Anchor::Left);
        let room = panel.right - panel.left + 30.0;
        canvas.text(
            panel.left,
            panel.top - 13.0,
            &shorten(&subs[column], TINY, room),
            TINY,
            Anchor::Left,
        );
        let ticks = panel.across.ticks(4);
        panel.columns(canvas, &ticks);
        canvas.line(
            &[(panel.left, panel.bottom), (panel.right, panel.bottom)],
            Stroke::solid(1.2, AXIS),
        );
        match column {
            1 => panel.numbers(canvas, &ticks, &nanosecond_tick),
            _ => panel.numbers(canvas, &ticks, &|tick| tick_words(tick, &ticks)),
        }
    }
}

fn row_name(
    canvas: &mut Canvas,
    layout: &SummaryLayout,
    group: &Group,
    at: usize,
    row: &Row,
    line: Line,
    right: f64,
) {
    if layout.many && !layout.dense {
        let kind = STRONG.sized((line.height * 0.9).clamp(9.0, 15.0));
        if at == 0 && !group.name.is_empty() {
            let name = shorten(&group.name, kind, 124.0);
            canvas.text(LEFT, line.y + kind.size * 0.36, &name, kind, Anchor::Left);
        }
        if line.height >= 10.0 {
            let kind = SMALL.sized((line.height * 0.85).clamp(9.0, 13.5)).in_colour(row.colour);
            let name = shorten(&row.name, kind, 118.0);
            canvas.text(right - 14.0, line.y + kind.size * 0.36, &name, kind, Anchor::Right);
        }
        return;
    }
    let size = (line.height * 0.6).min(17.0);
    let kind = if row.variant == 0 { STRONG.sized(size) } else { SMALL.sized(size.min(15.0)) };
    let (name, kind) = fitted(&row.name, kind, 11.0, 196.0);
    let note = line.height >= 40.0 && row.note != row.name;
    canvas.text(right - 20.0, line.y + if note { 2.0 } else { 5.0 }, &name, kind, Anchor::Right);
    if note {
        canvas.text(
            right - 20.0,
            line.y + 20.0,
            &shorten(&row.note, TINY, 196.0),
            TINY,
            Anchor::Right,
        );
    }
}

/// One trace in a row of the geometric mean: a thin stroke in each column, where it fits.
fn marks(canvas: &mut Canvas, panels: &[Panel; 5], row: &Row, line: Line) {
    let values = [
        row.cost.map(|cost| cost.middle),
        row.worst.map(|w| w.0),
        row.memory[0],
        row.memory[1],
        row.memory[2],
    ];
    // No taller than the white ground of a number, which would leave its ends.
    let half = (line.height * 0.2).clamp(2.0, 5.0);
    for (panel, value) in panels.iter().zip(values) {
        if let Some(value) = value.filter(|value| *value <= panel.across.end()) {
            let x = panel.x(value);
            canvas.line(
                &[(x, line.y - half), (x, line.y + half)],
                Stroke::solid(1.3, row.colour.pale(0.35)),
            );
        }
    }
}

fn cells(
    canvas: &mut Canvas,
    layout: &SummaryLayout,
    panels: &[Panel; 5],
    group: &Group,
    row: &Row,
    line: Line,
) {
    let thin = (line.height * 0.14).clamp(2.0, 6.5);
    if let Some(cost) = row.cost {
        let panel = &panels[0];
        let end = panel.across.end();
        canvas.bar(
            panel.x(cost.low.min(end)),
            panel.x(cost.high.min(end)),
            line.y,
            thin,
            row.colour.pale(0.7),
        );
        let best = row.name != "null" && leads(group, cost);
        let edge = panel.x(cost.high) + thin / 2.0;
        dot(canvas, panel, cost.middle, &figure(cost.middle), best, row, line, edge);
    }
    if let Some((worst, _)) = row.worst {
        let panel = &panels[1];
        let from = row.rare.map_or(panel.left, |rare| panel.x(rare));
        let stroke = Stroke::solid(1.4, row.colour.pale(0.55));
        canvas.line(&[(from, line.y), (panel.x(worst), line.y)], stroke);
        if let Some(rare) = row.rare {
            let (x, half) = (panel.x(rare), (line.height * 0.18).clamp(2.0, 8.0));
            canvas.line(&[(x, line.y - half), (x, line.y + half)], Stroke::solid(2.2, row.colour));
        }
        let best = smallest(group, &|row| row.worst.map(|w| w.0))
            .is_some_and(|least| worst <= least * 1.1);
        dot(canvas, panel, worst, &nanoseconds(worst), best, row, line, panel.x(worst));
    }
    for (k, panel) in panels[2..].iter().enumerate() {
        let Some(value) = row.memory[k] else {
            if row.name == "null" && line.height >= 40.0 {
                canvas.text(panel.left + 4.0, line.y + 4.0, "–", SMALL, Anchor::Left);
            }
            continue;
        };
        let stroke = Stroke::solid(1.4, row.colour.pale(0.55));
        canvas.line(&[(panel.left, line.y), (panel.x(value), line.y)], stroke);
        let mut edge = panel.x(value);
        if let Some((low, high)) = row.bands[k] {
            let end = panel.across.end();
            canvas.bar(
                panel.x(low.min(end)),
                panel.x(high.min(end)),
                line.y,
                thin,
                row.colour.pale(0.6),
            );
            edge = edge.max(panel.x(high.min(end)) + thin / 2.0);
        }
        let best = smallest(group, &|row| row.memory[k]).is_some_and(|least| value <= least * 1.01);
        let text = match value > panel.across.end() {
            _ if layout.many => words::ratio(value),
            true => words::bytes(value * layout.bytes),
            false => figure(value),
        };
        dot(canvas, panel, value, &text, best, row, line, edge);
    }
}

/// Whether no allocator of the group is faster beyond its range.
fn leads(group: &Group, cost: Cost) -> bool {
    let real = group.rows.iter().filter(|row| row.name != "null").filter_map(|row| row.cost);
    let best = real.min_by(|a, b| a.middle.total_cmp(&b.middle));
    best.is_some_and(|best| !cost.apart(&best))
}

fn smallest(group: &Group, of: &dyn Fn(&Row) -> Option<f64>) -> Option<f64> {
    stats::range(&group.rows.iter().filter_map(of).collect::<Vec<f64>>()).map(|range| range.0)
}

/// The mark of a figure and its number: above where rows are high, beside where they are low.
#[expect(clippy::too_many_arguments, reason = "a mark has a place, a look and a text")]
fn dot(
    canvas: &mut Canvas,
    panel: &Panel,
    value: f64,
    text: &str,
    best: bool,
    row: &Row,
    line: Line,
    edge: f64,
) {
    let x = panel.x(value);
    let radius = (line.height * 0.24).clamp(2.2, 7.5);
    if value > panel.across.end() {
        let r = radius;
        canvas.polygon(&[(x - r, line.y - r), (x + r, line.y), (x - r, line.y + r)], row.colour);
    } else if row.variant == 0 {
        canvas.disc(x, line.y, radius, row.colour);
    } else {
        canvas.ring(x, line.y, radius, (radius * 0.35).max(1.0), row.colour);
    }
    if line.height < 10.0 {
        return;
    }
    let ink = if best { INK } else { SMALL.colour };
    let tall = line.height >= 40.0;
    let kind = Type {
        size: if tall { 14.5 } else { (line.height * 0.85).clamp(8.5, 13.0) },
        bold: best,
        colour: ink,
    };
    let width = text_width(text, kind);
    let (left, base) = if tall {
        (
            (x - width / 2.0).min(panel.right + 14.0 - width).max(panel.left - 20.0),
            line.y - radius - 6.0,
        )
    } else {
        let right = edge.max(x + radius) + 5.0;
        let fits = right + width <= panel.right + 26.0;
        (if fits { right } else { x - radius - 5.0 - width }, line.y + kind.size * 0.36)
    };
    // A number on a dashed or pale line needs its own ground.
    canvas.rectangle(left - 2.0, base - kind.size * 0.78, left + width + 2.0, base + 2.0, WHITE);
    canvas.text(left, base, text, kind, Anchor::Left);
}

fn live_dashes(
    canvas: &mut Canvas,
    layout: &SummaryLayout,
    panels: &[Panel; 5],
    group: &Group,
    (from, to): (f64, f64),
) {
    for (k, panel) in panels[2..].iter().enumerate() {
        if group.live[k] <= 0.0 {
            continue;
        }
        let x = panel.x(group.live[k]);
        canvas.line(&[(x, from - 6.0), (x, to)], Stroke::dashed(1.8, LIVE, 6.0, 3.5));
        if !layout.many {
            let kind = Type { bold: true, ..TINY.in_colour(LIVE) };
            let text = format!("live {}", figure(group.live[k]));
            let wide = text_width(&text, kind);
            let left = if x + 5.0 + wide < panel.right + 10.0 { x + 5.0 } else { x - 5.0 - wide };
            canvas.text(left, panel.top + 6.0, &text, kind, Anchor::Left);
        }
    }
}

fn plotted(trace_reports: &[&TraceReport], dense: bool) -> String {
    if let [trace_report] = trace_reports {
        return format!(
            "Scorecard of `{}` ({} calls, live heap {} at peak, {} at exit).  Filled: a backend's first form, open: the same \
             with other settings.  Left is better in every column.",
            trace_report.trace.name,
            words::count(trace_report.trace.calls),
            words::bytes(trace_report.live_peak),
            words::bytes(trace_report.live_end)
        );
    }
    let rows = if dense { "Geometric means, with each trace as a thin stroke.  " } else { "" };
    format!(
        "Scorecard of {} traces.  {rows}Memory in multiples of what the program had live at its peak and on average.  Left is \
         better in every column.",
        trace_reports.len()
    )
}

fn hint(many: bool, dense: bool) -> &'static str {
    if dense {
        "Dot: geometric mean over the traces of the sum of per-chunk medians.  Pale bar: the same of minima and of the slowest \
         repetitions.  Blue dashes: live, the floor for any allocator.  Bold: best, or not separable from the best.  ▶: off the \
         scale.  Every trace by itself: summary.csv, and its pictures."
    } else if many {
        "Dot: sum of per-chunk medians over the repetitions.  Pale bar: from the sum of minima to the slowest repetition; \
         a difference counts when every repetition shows it.  Blue dashes: live, the floor for any allocator.  Bold: best, or not \
         separable from the best.  ▶: off the scale."
    } else {
        "Dot: sum of per-chunk medians over the repetitions.  Pale bar: from the sum of per-chunk minima to the slowest \
         repetition; a difference counts when every repetition shows it.  Blue dashes: what the program itself had live, the floor for any \
         allocator.  Bold: best, or not separable from the best.  ▶: off the scale."
    }
}

fn verdict_one(trace_report: &TraceReport) -> String {
    let mut costs: Vec<(&str, Cost)> =
        trace_report.allocators().filter_map(|b| Some((b.name, b.cost?))).collect();
    costs.sort_by(|a, b| a.1.middle.total_cmp(&b.1.middle));
    let mut title = String::new();
    if let (Some(best), Some(slow)) = (costs.first(), costs.last()) {
        let level: Vec<String> =
            costs.iter().filter(|c| !c.1.apart(&best.1)).map(|c| c.0.to_owned()).collect();
        title = if costs.len() == 1 {
            format!("{} takes {} ns a call.", best.0, figure(best.1.middle))
        } else if level.len() == costs.len() {
            "On time no allocator can be told from another.".to_owned()
        } else {
            let verb = if level.len() == 1 { "leads" } else { "lead" };
            let factor = words::times(slow.1.middle / best.1.middle);
            format!(
                "On time {} {verb}, and {} takes {factor} times as long.",
                words::some(&level),
                slow.0
            )
        };
    }
    let mut ends: Vec<(&Backend, f64)> =
        trace_report.allocators().filter_map(|b| Some((b, b.memory.end?))).collect();
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    let held = |backend: &Backend| backend.memory.words(2).unwrap_or_default();
    if let (Some(least), Some(most)) = (ends.first(), ends.last()) {
        title += &if ends.len() == 1 || most.1 < least.1 * 1.05 {
            format!(
                "  At exit {} stay resident for {} live.",
                held(most.0),
                words::bytes(trace_report.live_end)
            )
        } else {
            format!(
                "  At exit {} holds {}, {} holds {}, for {} live.",
                least.0.name,
                held(least.0),
                most.0.name,
                held(most.0),
                words::bytes(trace_report.live_end)
            )
        };
    }
    if title.is_empty() { "Scorecard".to_owned() } else { title.trim_start().to_owned() }
}

/// A ratio in a sentence.
fn part(ratio: f64) -> String {
    match ratio {
        same if (0.95..1.05).contains(&same) => "about the same".to_owned(),
        less if less < 1.0 => format!("{} of the", figure(less)),
        more => format!("{} times the", words::times(more)),
    }
}

/// Ratios to the reference, as geometric means over the traces on which both were measured.
fn verdict_many(trace_reports: &[&TraceReport]) -> String {
    let Some(reference) = trace_reports[0].reference() else {
        return format!("Scorecard of {} traces", trace_reports.len());
    };
    let ratio = |name: &str, of: &dyn Fn(&Backend) -> Option<f64>| {
        let ratios: Vec<f64> = trace_reports
            .iter()
            .filter_map(|trace_report| {
                let find =
                    |name: &str| trace_report.backends.iter().find(|b| b.name == name).and_then(of);
                Some(find(name)? / find(reference.name)?)
            })
            .collect();
        stats::geometric_mean(&ratios)
    };
    let time_of = |name: &str| ratio(name, &|b| b.cost.map(|c| c.middle));
    let peak_of = |name: &str| ratio(name, &|b| b.memory.peak);
    let others: Vec<&str> = trace_reports[0]
        .allocators()
        .map(|backend| backend.name)
        .filter(|name| *name != reference.name)
        .collect();
    let least = |of: &dyn Fn(&str) -> Option<f64>| {
        let known = others.iter().filter_map(|name| Some((*name, of(name)?)));
        known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name)
    };
    // A sentence has room for two: of many, the fastest and the one that needs the least.
    let mut told = others.clone();
    if others.len() > 2 {
        told = least(&time_of).into_iter().chain(least(&peak_of)).collect();
        told.dedup();
    }
    let clauses: Vec<String> = told
        .into_iter()
        .filter_map(|name| {
            let time = part(time_of(name)?);
            let peak = peak_of(name).map(part);
            let peak = peak.map_or(String::new(), |peak| format!(" and {peak} peak memory"));
            Some(format!("{name} takes {time} time{peak}"))
        })
        .collect();
    if clauses.is_empty() {
        return format!("Scorecard of {} traces", trace_reports.len());
    }
    let clauses = clauses.join("; ");
    format!(
        "Against {}, over {} traces (geometric mean), {clauses}.",
        reference.name,
        trace_reports.len()
    )
}
