//! Picture of the scorecard: a row for each backend, and five columns.

use super::canvas::{Anchor, Canvas, Stroke, Type, fitted, short_version, shorten, text_width};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, frame};
use super::panel::Panel;
use crate::report::chart::{Axis, Scale, ScorecardChart, tick_text};
use crate::report::figures::{
    BackendLabel, CallCost, ScorecardGroup, ScorecardRow, rows_without_bounds,
};
use crate::report::palette::{AXIS, INK, LIVE, WHITE};
use crate::stats;
use crate::units::{bytes, figure, nanosecond_tick, nanoseconds, ratio};

/// Height of a row in pixels from which it has its number above its mark, and two lines of names.
const TALL_ROW: f64 = 40.0;
/// Height of a row in pixels below which it has neither name nor numbers.
const LEAST_ROW: f64 = 10.0;

/// Where a row is, in pixels.
#[derive(Clone, Copy)]
struct RowPlace {
    y: f64,
    height: f64,
}

impl RowPlace {
    fn is_tall(&self) -> bool {
        self.height >= TALL_ROW
    }
}

/// A cell of the scorecard: where it is, and whose it is.
struct RowCell<'a> {
    panel: &'a Panel,
    place: RowPlace,
    backend: &'a BackendLabel,
}

/// Draws the chart.
pub fn draw(chart: &ScorecardChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let has_trace_names = chart.has_many_traces && !chart.is_dense;
    let first = LEFT + if has_trace_names { 268.0 } else { 210.0 };
    let gap = 40.0;
    let width = (RIGHT - 14.0 - first - gap * 4.0) / 5.0;
    let (top, bottom) = (top + 66.0, bottom - 40.0);
    let groups = chart.groups.len() as f64;
    let count: usize = chart.groups.iter().map(|group| group.rows.len()).sum();
    let between = if chart.groups.len() > 1 { (140.0 / groups).clamp(5.0, 18.0) } else { 0.0 };
    let space = bottom - top - 12.0 - between * (groups - 1.0);
    let height = (space / count.max(1) as f64).min(118.0);
    // Few rows end early: the axes follow them up, so that no half-empty plot is drawn.
    let end = (top + 12.0 + height * count as f64 + between * (groups - 1.0)).min(bottom);
    let panels: [Panel; 5] = std::array::from_fn(|column| {
        let left = first + (width + gap) * column as f64;
        let across = chart.columns[column].axis.scale;
        let up = Scale::Linear { from: 0.0, to: 1.0 };
        Panel { left, top, right: left + width, bottom: end, across, up }
    });
    heads(&mut canvas, chart, &panels);
    let mut y = top + 12.0;
    for group in &chart.groups {
        let rows = (y, y + height * group.rows.len() as f64);
        live_dashes(&mut canvas, chart, &panels, group, rows);
        for (at, row) in group.rows.iter().enumerate() {
            let place = RowPlace { y: y + height * 0.5, height };
            row_name(&mut canvas, chart, (group, at), place, first);
            let same = |group: &ScorecardGroup| {
                group.rows.iter().position(|other| other.backend.name == row.backend.name)
            };
            for other in &chart.marked {
                if let Some(at) = same(other) {
                    marks(&mut canvas, &panels, &other.rows[at], place);
                }
            }
            cells(&mut canvas, chart, &panels, (group, row), place);
            y += height;
        }
        y += between;
    }
    canvas
}

fn heads(canvas: &mut Canvas, chart: &ScorecardChart, panels: &[Panel; 5]) {
    for (at, (column, panel)) in chart.columns.iter().zip(panels).enumerate() {
        canvas.text(panel.left, panel.top - 34.0, &column.name, HEADING, Anchor::Left);
        let space = panel.right - panel.left + 30.0;
        let label = if column.is_measured { column.axis.label.as_str() } else { "not measured" };
        let label = shorten(label, TINY, space);
        canvas.text(panel.left, panel.top - 13.0, &label, TINY, Anchor::Left);
        if !column.is_measured {
            continue;
        }
        let ticks = panel.across.ticks(4);
        panel.columns(canvas, &ticks);
        canvas.line(
            &[(panel.left, panel.bottom), (panel.right, panel.bottom)],
            Stroke::solid(1.2, AXIS),
        );
        match at {
            1 => panel.numbers(canvas, &ticks, &nanosecond_tick),
            _ => panel.numbers(canvas, &ticks, &|tick| tick_text(tick, &ticks)),
        }
    }
}

/// The name of a row; with several traces, that of the trace at its first row.
fn row_name(
    canvas: &mut Canvas,
    chart: &ScorecardChart,
    (group, at): (&ScorecardGroup, usize),
    place: RowPlace,
    right: f64,
) {
    let row = &group.rows[at];
    let backend = &row.backend;
    if chart.has_many_traces && !chart.is_dense {
        let kind = STRONG.sized((place.height * 0.9).clamp(9.0, 15.0));
        if at == 0 && !group.name.is_empty() {
            let name = shorten(&group.name, kind, 124.0);
            canvas.text(LEFT, place.y + kind.size * 0.36, &name, kind, Anchor::Left);
        }
        if place.height >= LEAST_ROW {
            let size = (place.height * 0.85).clamp(9.0, 13.5);
            let kind = SMALL.sized(size).in_colour(backend.colour);
            let name = shorten(&backend.name, kind, 118.0);
            canvas.text(right - 14.0, place.y + kind.size * 0.36, &name, kind, Anchor::Right);
        }
        return;
    }
    let size = (place.height * 0.6).min(17.0);
    let kind = if backend.variant == 0 { STRONG.sized(size) } else { SMALL.sized(size.min(15.0)) };
    let (name, kind) = fitted(&backend.name, kind, 11.0, 196.0);
    let has_note = place.is_tall() && row.note != backend.name;
    let y = place.y + if has_note { 2.0 } else { 5.0 };
    canvas.text(right - 20.0, y, &name, kind, Anchor::Right);
    if has_note {
        let note = short_version(&row.note, TINY, 196.0);
        canvas.text(right - 20.0, place.y + 20.0, &note, TINY, Anchor::Right);
    }
}

/// One trace in a row of the geometric mean: a thin stroke in each column, where it fits.
fn marks(canvas: &mut Canvas, panels: &[Panel; 5], row: &ScorecardRow, place: RowPlace) {
    let [peak, mean, end] = row.memory;
    let values = [row.cost.map(|cost| cost.middle_ns), row.slowest_ns, peak, mean, end];
    // No taller than the white ground of a number, which would leave its ends.
    let half = (place.height * 0.2).clamp(2.0, 5.0);
    for (panel, value) in panels.iter().zip(values) {
        if let Some(value) = value.filter(|value| *value <= panel.across.end()) {
            let x = panel.x(value);
            canvas.line(
                &[(x, place.y - half), (x, place.y + half)],
                Stroke::solid(1.3, row.backend.colour.pale(0.35)),
            );
        }
    }
}

fn cells(
    canvas: &mut Canvas,
    chart: &ScorecardChart,
    panels: &[Panel; 5],
    (group, row): (&ScorecardGroup, &ScorecardRow),
    place: RowPlace,
) {
    let backend = &row.backend;
    let cell = |column: usize| RowCell { panel: &panels[column], place, backend };
    if let Some(cost) = &row.cost {
        time_cell(canvas, &cell(0), cost, row.is_fastest);
    }
    if let Some(slowest) = row.slowest_ns {
        let least = smallest(group, &|row| row.slowest_ns);
        let is_best = least.is_some_and(|least| slowest <= least * 1.1) && !backend.is_bound;
        slow_cell(canvas, &cell(1), (row.one_in_1000_ns, slowest), is_best);
    }
    for k in 0..3 {
        let cell = cell(2 + k);
        let Some(value) = row.memory[k] else {
            if backend.is_floor && place.is_tall() {
                let x = cell.panel.left + 4.0;
                canvas.text(x, place.y + 4.0, "–", SMALL, Anchor::Left);
            }
            continue;
        };
        let text_of = |value| memory_text(value, &chart.columns[2 + k].axis, chart.has_many_traces);
        let text = text_of(value);
        let least = smallest(group, &|row| row.memory[k]);
        // Of two that look alike none is better.
        let is_least = |least: f64| value <= least * 1.01 || text == text_of(least);
        let is_best = least.is_some_and(is_least) && !backend.is_bound;
        memory_cell(canvas, &cell, (value, row.memory_ranges[k]), &text, is_best);
    }
}

/// Thickness in pixels of the bar of a range.
fn thickness(place: RowPlace) -> f64 {
    (place.height * 0.14).clamp(2.0, 6.5)
}

fn time_cell(canvas: &mut Canvas, cell: &RowCell, cost: &CallCost, is_best: bool) {
    let (panel, thin) = (cell.panel, thickness(cell.place));
    let end = panel.across.end();
    let [low, high] = [cost.low_ns, cost.high_ns].map(|ns| panel.x(ns.min(end)));
    canvas.bar(low, high, cell.place.y, thin, cell.backend.colour.pale(0.7));
    let edge = panel.x(cost.high_ns) + thin / 2.0;
    dot(canvas, cell, (cost.middle_ns, edge), &figure(cost.middle_ns), is_best);
}

fn slow_cell(
    canvas: &mut Canvas,
    cell: &RowCell,
    (one_in_1000, slowest): (Option<f64>, f64),
    is_best: bool,
) {
    let (panel, y, colour) = (cell.panel, cell.place.y, cell.backend.colour);
    let from = one_in_1000.map_or(panel.left, |ns| panel.x(ns));
    canvas.line(&[(from, y), (panel.x(slowest), y)], Stroke::solid(1.4, colour.pale(0.55)));
    if let Some(ns) = one_in_1000 {
        let (x, half) = (panel.x(ns), (cell.place.height * 0.18).clamp(2.0, 8.0));
        canvas.line(&[(x, y - half), (x, y + half)], Stroke::solid(2.2, colour));
    }
    dot(canvas, cell, (slowest, panel.x(slowest)), &nanoseconds(slowest), is_best);
}

fn memory_cell(
    canvas: &mut Canvas,
    cell: &RowCell,
    (value, range): (f64, Option<(f64, f64)>),
    text: &str,
    is_best: bool,
) {
    let (panel, y, colour) = (cell.panel, cell.place.y, cell.backend.colour);
    let x = panel.x(value);
    canvas.line(&[(panel.left, y), (x, y)], Stroke::solid(1.4, colour.pale(0.55)));
    let mut edge = x;
    if let Some((low, high)) = range {
        let (end, thin) = (panel.across.end(), thickness(cell.place));
        let [low, high] = [low, high].map(|value| panel.x(value.min(end)));
        canvas.bar(low, high, y, thin, colour.pale(0.6));
        edge = edge.max(high + thin / 2.0);
    }
    dot(canvas, cell, (value, edge), text, is_best);
}

/// The number at a mark of memory; with its own unit where it is off the scale.
fn memory_text(value: f64, axis: &Axis, has_many_traces: bool) -> String {
    match value > axis.end() {
        _ if has_many_traces => ratio(value),
        true => bytes(value * axis.unit_size),
        false => figure(value),
    }
}

/// The smallest figure of the rows that a program could have.
fn smallest(group: &ScorecardGroup, of: &dyn Fn(&ScorecardRow) -> Option<f64>) -> Option<f64> {
    let rows = rows_without_bounds(&group.rows, |row| row.backend.is_bound);
    stats::range(&rows.into_iter().filter_map(of).collect::<Vec<f64>>()).map(|range| range.0)
}

/// The mark of a figure and its number: above where rows are tall, beside `edge` where they are
/// low.
fn dot(canvas: &mut Canvas, cell: &RowCell, (value, edge): (f64, f64), text: &str, is_best: bool) {
    let (panel, place, backend) = (cell.panel, cell.place, cell.backend);
    let (x, y) = (panel.x(value), place.y);
    let radius = (place.height * 0.24).clamp(2.2, 7.5);
    if value > panel.across.end() {
        let corners = [(x - radius, y - radius), (x + radius, y), (x - radius, y + radius)];
        canvas.polygon(&corners, backend.colour);
    } else if backend.variant == 0 {
        canvas.disc(x, y, radius, backend.colour);
    } else {
        canvas.ring(x, y, radius, (radius * 0.35).max(1.0), backend.colour);
    }
    if place.height < LEAST_ROW {
        return;
    }
    let size = if place.is_tall() { 14.5 } else { (place.height * 0.85).clamp(8.5, 13.0) };
    let colour = if is_best { INK } else { SMALL.colour };
    let kind = Type { size, bold: is_best, colour };
    let width = text_width(text, kind);
    let (left, base) = if place.is_tall() {
        let left = (x - width / 2.0).min(panel.right + 14.0 - width).max(panel.left - 20.0);
        (left, y - radius - 6.0)
    } else {
        let right = edge.max(x + radius) + 5.0;
        let fits = right + width <= panel.right + 26.0;
        (if fits { right } else { x - radius - 5.0 - width }, y + kind.size * 0.36)
    };
    // A number on a dashed or pale line needs its own ground.
    canvas.rectangle(left - 2.0, base - kind.size * 0.78, left + width + 2.0, base + 2.0, WHITE);
    canvas.text(left, base, text, kind, Anchor::Left);
}

fn live_dashes(
    canvas: &mut Canvas,
    chart: &ScorecardChart,
    panels: &[Panel; 5],
    group: &ScorecardGroup,
    (from, to): (f64, f64),
) {
    for ((live, panel), column) in group.live.into_iter().zip(&panels[2..]).zip(&chart.columns[2..])
    {
        if live <= 0.0 || !column.is_measured {
            continue;
        }
        let x = panel.x(live);
        canvas.line(&[(x, from - 6.0), (x, to)], Stroke::dashed(1.8, LIVE, 6.0, 3.5));
        if !chart.has_many_traces {
            let kind = Type { bold: true, ..TINY.in_colour(LIVE) };
            let text = format!("live {}", figure(live));
            let wide = text_width(&text, kind);
            let left = if x + 5.0 + wide < panel.right + 10.0 { x + 5.0 } else { x - 5.0 - wide };
            canvas.text(left, panel.top + 6.0, &text, kind, Anchor::Left);
        }
    }
}
