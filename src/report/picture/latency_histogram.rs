//! Picture of the histograms of service times: a column for each operation, a row for each backend.

use super::canvas::{Anchor, Canvas, Stroke, short_version, shorten};
use super::frame::{HEADING, LEFT, NOTE, RIGHT, SMALL, STRONG, TINY, frame};
use super::panel::Panel;
use crate::report::chart::{HistogramCell, LEAST_SHARE, LatencyHistogramChart};
use crate::report::figures::BackendLabel;
use crate::report::palette::{AXIS, Colour, GRID, INK};
use crate::units::{count, nanosecond_tick, nanoseconds};

/// Draws the chart.
pub fn draw(chart: &LatencyHistogramChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let first = LEFT + 186.0;
    let gap = 34.0;
    let columns = chart.columns.len() as f64;
    let width = (RIGHT - first - gap * (columns - 1.0)) / columns;
    let top = top + 48.0;
    let height = (bottom - 58.0 - top) / chart.backends.len() as f64;
    for (at, column) in chart.columns.iter().enumerate() {
        let left = first + (width + gap) * at as f64;
        canvas.text(left, top - 20.0, column.operation, HEADING, Anchor::Left);
        let calls = format!("{} calls", count(column.calls));
        canvas.text(left + width, top - 20.0, &calls, NOTE, Anchor::Right);
        for (row, (backend, cell)) in chart.backends.iter().zip(&column.cells).enumerate() {
            let y = top + height * row as f64;
            let panel = Panel {
                left,
                top: y + 6.0,
                right: left + width,
                bottom: y + height - if height > 90.0 { 16.0 } else { 6.0 },
                across: chart.time_axis.scale,
                up: chart.share_axis.scale,
            };
            ridge(&mut canvas, chart, &panel, backend.colour, cell);
            if at == 0 {
                row_name(&mut canvas, &panel, backend);
            }
            if row + 1 == chart.backends.len() {
                let ticks = panel.across.ticks(8);
                panel.numbers(&mut canvas, &ticks, &nanosecond_tick);
            }
        }
    }
    let label = format!("x: {}   y: {}", chart.time_axis.label, chart.share_axis.label);
    canvas.text(RIGHT, bottom - 12.0, &label, SMALL, Anchor::Right);
    canvas
}

fn ridge(
    canvas: &mut Canvas,
    chart: &LatencyHistogramChart,
    panel: &Panel,
    colour: Colour,
    cell: &HistogramCell,
) {
    if let Some(clock) = &chart.clock {
        let right = panel.x(clock.floor_ns);
        canvas.rectangle(panel.left, panel.top, right, panel.bottom, GRID.pale(0.45));
    }
    panel.columns(canvas, &panel.across.ticks(8));
    for share in [1.0, 1e-3, 1e-6] {
        let y = panel.y(share);
        canvas.line(&[(panel.left, y), (panel.right, y)], Stroke::solid(1.0, GRID));
    }
    let mut outline = vec![(panel.left, panel.bottom)];
    for (pair, &share) in chart.edges_ns.windows(2).zip(&cell.shares) {
        let y = if share > 0.0 { panel.y(share.max(LEAST_SHARE * 1.6)) } else { panel.bottom };
        let (from, to) = (panel.x(pair[0]), panel.x(pair[1]));
        canvas.rectangle(from, y, to, panel.bottom, colour.pale(0.72));
        outline.push((from, y));
        outline.push((to, y));
    }
    outline.push((panel.right, panel.bottom));
    canvas.line(&outline, Stroke::solid(1.6, colour));
    canvas
        .line(&[(panel.left, panel.bottom), (panel.right, panel.bottom)], Stroke::solid(1.2, AXIS));
    figures(canvas, panel, colour, cell);
}

/// Rows lower than this have no numbers; the table of percentiles has them.
const LOW_ROW: f64 = 34.0;

/// The percentiles as numbers in the empty upper right, and marks on the base line.
fn figures(canvas: &mut Canvas, panel: &Panel, colour: Colour, cell: &HistogramCell) {
    let (Some(median), Some(slowest)) = (cell.median_ns, cell.slowest_ns) else {
        canvas.text(panel.right - 4.0, panel.top + 14.0, "no calls", TINY, Anchor::Right);
        return;
    };
    for value in [median, slowest] {
        let x = panel.x(value);
        let base = panel.bottom + 3.0;
        canvas.polygon(&[(x, panel.bottom - 7.0), (x - 5.0, base), (x + 5.0, base)], colour);
    }
    // In a low row the numbers would lie on the bars.
    if panel.bottom - panel.top < LOW_ROW {
        return;
    }
    let fact = |value: Option<f64>| value.map_or("n too small".to_owned(), nanoseconds);
    let text = format!(
        "p50 {}   p99 {}   p99.9 {}",
        nanoseconds(median),
        fact(cell.p99_ns),
        fact(cell.p99_9_ns)
    );
    canvas.text(panel.right - 4.0, panel.top + 12.0, &text, TINY.in_colour(INK), Anchor::Right);
    if panel.bottom - panel.top > 46.0 {
        let text = format!("slowest {}", nanoseconds(slowest));
        canvas.text(panel.right - 4.0, panel.top + 29.0, &text, TINY, Anchor::Right);
    }
}

fn row_name(canvas: &mut Canvas, panel: &Panel, backend: &BackendLabel) {
    let high = panel.bottom - panel.top;
    let middle = (panel.top + panel.bottom) / 2.0;
    let kind = STRONG.sized(15.0).in_colour(backend.colour);
    let name = shorten(&backend.name, kind, 122.0);
    canvas.text(LEFT + 124.0, middle + 3.0, &name, kind, Anchor::Right);
    if high > 60.0 && backend.version != backend.name {
        let version = short_version(&backend.version, TINY, 122.0);
        canvas.text(LEFT + 124.0, middle + 21.0, &version, TINY, Anchor::Right);
    }
    let marks: &[(f64, &str)] = if high > 60.0 {
        &[(1.0, "all"), (1e-3, "1 in 10³"), (1e-6, "1 in 10⁶")]
    } else {
        &[(1.0, "all")]
    };
    for (share, text) in marks {
        canvas.text(panel.left - 6.0, panel.y(*share) + 4.5, text, TINY.sized(11.5), Anchor::Right);
    }
}
