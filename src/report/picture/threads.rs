//! Picture of threads: a lane for each over the calls of the trace, and beside it the matrix of who
//! frees whose blocks, row by row.

use super::canvas::{Anchor, Canvas, Stroke, fitted, text_width};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, frame};
use super::panel::Panel;
use crate::report::chart::{ThreadsChart, tick_text};
use crate::report::figures::ThreadLane;
use crate::report::palette::{AXIS, Colour, GRID, INK, LIVE, SOFT, WHITE, WORSE};
use crate::units::{bytes, percent};

/// Width of the names of threads, in pixels.
const NAMES: f64 = 150.0;
/// Width of the columns of numbers.
const NUMBERS: f64 = 158.0;
/// Height of a lane, at most.
const LANE_MAX: f64 = 150.0;
/// Width of a cell of the matrix, at most.
const CELL_MAX: f64 = 96.0;
/// Width of the matrix, at most and at least.
const MATRIX: [f64; 2] = [470.0, 160.0];
/// Height of the strip of calls.
const STRIP: f64 = 6.0;

/// Where the parts lie.
struct ThreadsLayout {
    top: f64,
    step: f64,
    left: f64,
    right: f64,
    matrix: f64,
    cell: f64,
}

impl ThreadsLayout {
    fn new(lanes: usize, top: f64, bottom: f64) -> ThreadsLayout {
        let lanes = lanes.max(1) as f64;
        let top = top + 66.0;
        let step = ((bottom - 50.0 - top) / lanes).min(LANE_MAX);
        let cell = (MATRIX[0] / lanes).min(CELL_MAX);
        let matrix = RIGHT - (cell * lanes).max(MATRIX[1]) - 4.0;
        ThreadsLayout {
            top,
            step,
            left: LEFT + NAMES,
            right: matrix - NUMBERS - 34.0,
            matrix,
            cell,
        }
    }

    /// Upper edge of a lane.
    fn y(&self, lane: usize) -> f64 {
        self.top + self.step * lane as f64
    }
}

/// Draws the chart.
pub fn draw(chart: &ThreadsChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let lanes = &chart.threads.lanes;
    let layout = ThreadsLayout::new(lanes.len(), top, bottom);
    headings(&mut canvas, chart, &layout);
    for (at, lane) in lanes.iter().enumerate() {
        names(&mut canvas, chart, &layout, (at, lane));
        draw_lane(&mut canvas, chart, &layout, (at, lane));
        matrix_row(&mut canvas, &layout, (at, lane));
    }
    calls_axis(&mut canvas, chart, &layout);
    matrix_frame(&mut canvas, chart, &layout);
    canvas
}

fn headings(canvas: &mut Canvas, chart: &ThreadsChart, layout: &ThreadsLayout) {
    let y = layout.top - 36.0;
    canvas.text(LEFT, y, "thread", HEADING, Anchor::Left);
    canvas.text(LEFT, y + 21.0, "share of calls", TINY, Anchor::Left);
    canvas.text(layout.left, y, "live bytes of its blocks, and its calls", HEADING, Anchor::Left);
    let full = bytes(chart.live_axis.end() * chart.live_axis.unit_size);
    let full = format!("full height {full}, a quarter of that is half as high");
    canvas.text(layout.left, y + 21.0, &full, TINY, Anchor::Left);
    let (peak, end) = number_columns(layout);
    canvas.text(end, y, "live", HEADING, Anchor::Right);
    canvas.text(peak, y + 21.0, "at peak", TINY, Anchor::Right);
    canvas.text(end, y + 21.0, &chart.end_name, TINY, Anchor::Right);
    canvas.text(layout.matrix, y, "freed by thread", HEADING, Anchor::Left);
}

/// The right edges of the columns of numbers.
fn number_columns(layout: &ThreadsLayout) -> (f64, f64) {
    (layout.right + 16.0 + NUMBERS * 0.5, layout.right + 14.0 + NUMBERS)
}

/// The number of a lane in the heads of the matrix.
fn short_name(lane: &ThreadLane) -> String {
    lane.number.map_or("rest".to_owned(), |number| number.to_string())
}

fn names(
    canvas: &mut Canvas,
    chart: &ThreadsChart,
    layout: &ThreadsLayout,
    (at, lane): (usize, &ThreadLane),
) {
    let middle = layout.y(at) + layout.step / 2.0;
    let name = match lane.number {
        Some(number) if lane.name.is_empty() => number.to_string(),
        Some(number) => format!("{number} {}", lane.name),
        None => format!("{} others", lane.threads),
    };
    let share = percent(lane.calls as f64 / chart.threads.calls.max(1) as f64);
    let kind = STRONG.sized((layout.step * 0.42).clamp(11.0, 16.0));
    // In low lanes the share stands beside the name.
    let (space, name_y, share_y) = if layout.step < 34.0 {
        (NAMES - 62.0, middle + 4.5, middle + 4.5)
    } else {
        (NAMES - 14.0, middle - 2.0, middle + 15.0)
    };
    let (name, kind) = fitted(&name, kind, 10.0, space);
    canvas.text(LEFT, name_y, &name, kind, Anchor::Left);
    if layout.step < 34.0 {
        canvas.text(layout.left - 10.0, share_y, &share, TINY, Anchor::Right);
    } else {
        canvas.text(LEFT, share_y, &share, TINY, Anchor::Left);
    }
    let (peak, end) = number_columns(layout);
    let kind = SMALL.sized(13.0).in_colour(INK);
    canvas.text(peak, middle + 4.5, &bytes(lane.live_peak_bytes() as f64), kind, Anchor::Right);
    canvas.text(end, middle + 4.5, &bytes(lane.live_end_bytes as f64), kind, Anchor::Right);
}

fn draw_lane(
    canvas: &mut Canvas,
    chart: &ThreadsChart,
    layout: &ThreadsLayout,
    (at, lane): (usize, &ThreadLane),
) {
    let gap = (layout.step * 0.12).clamp(2.0, 6.0);
    let (top, foot) = (layout.y(at) + gap, layout.y(at) + layout.step - gap);
    let strip = foot - STRIP;
    let width = layout.right - layout.left;
    let calls = chart.threads.calls.max(1) as f64;
    let x = |event: u64| layout.left + width * (event as f64 / calls).clamp(0.0, 1.0);
    let (begin, end) = (x(lane.begin_event), lane.end_event.map_or(layout.right, x));
    canvas.rectangle(begin, top, end.max(begin + 1.0), foot, GRID.pale(0.45));
    // As high as a lane, for the largest of all lanes. By the square root, small heaps are seen.
    let most = match lane.number {
        Some(_) => chart.live_axis.end() * chart.live_axis.unit_size,
        None => lane.live_peak_bytes() as f64,
    };
    let most = most.max(1.0);
    let column = |values: &[u64], pixel: usize| {
        let at = pixel * values.len() / (width as usize * 3).max(1);
        values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    let columns = lane.column_calls.len().max(1) as f64;
    for pixel in 0..width as usize * 3 {
        let live = column(&lane.column_live_bytes, pixel) as f64;
        if live > 0.0 {
            let high = ((live / most).min(1.0).sqrt() * (strip - 2.0 - top)).max(0.67);
            canvas.sliver(layout.left, pixel, strip - 2.0 - high, strip - 2.0, LIVE);
        }
        let made = column(&lane.column_calls, pixel) as f64;
        if made > 0.0 {
            let share = (made * columns / calls).clamp(0.0, 1.0);
            let colour = INK.pale(0.72 * (1.0 - share.sqrt()));
            canvas.sliver(layout.left, pixel, strip, foot, colour);
        }
    }
    let tick = Stroke::solid(1.6, INK);
    if lane.number.is_some() && lane.begin_event > 0 {
        canvas.line(&[(begin, top - 1.0), (begin, foot + 1.0)], tick);
    }
    if lane.number.is_some() && lane.end_event.is_some() {
        canvas.line(&[(end, top - 1.0), (end, foot + 1.0)], tick);
    }
}

fn calls_axis(canvas: &mut Canvas, chart: &ThreadsChart, layout: &ThreadsLayout) {
    let bottom = layout.y(chart.threads.lanes.len()) + 3.0;
    let panel = Panel {
        left: layout.left,
        top: layout.top,
        right: layout.right,
        bottom,
        across: chart.calls_axis.scale,
        up: chart.live_axis.scale,
    };
    canvas.line(&[(panel.left, bottom), (panel.right, bottom)], Stroke::solid(1.2, AXIS));
    let ticks = panel.across.ticks(7);
    panel.numbers(canvas, &ticks, &|tick| tick_text(tick, &ticks));
    let label = format!("x: {}", chart.calls_axis.label);
    canvas.text(panel.right, bottom + 42.0, &label, SMALL, Anchor::Right);
}

/// Frees of a thread's own blocks.
const OWN: Colour = Colour(0x6B, 0x72, 0x7A);

/// The colour of a cell: grey for the thread itself, orange for others, darker for more. The threads
/// that share the last lane free own blocks and those of each other.
fn cell_colour(lane: &ThreadLane, is_same_lane: bool, share: f64) -> Colour {
    let pale = 0.85 - 0.85 * share.clamp(0.0, 1.0).sqrt();
    let colour = match (is_same_lane, lane.threads) {
        (false, _) => WORSE,
        (true, 0 | 1) => OWN,
        (true, _) => OWN.mix(WORSE, 0.4),
    };
    colour.pale(pale)
}

fn matrix_row(canvas: &mut Canvas, layout: &ThreadsLayout, (at, lane): (usize, &ThreadLane)) {
    let ended = lane.ended_blocks();
    let (top, foot) = (layout.y(at), layout.y(at + 1));
    for (by, &blocks) in lane.ended_by.iter().enumerate().filter(|(_, blocks)| **blocks > 0) {
        let share = blocks as f64 / ended.max(1) as f64;
        let left = layout.matrix + layout.cell * by as f64;
        let colour = cell_colour(lane, by == at, share);
        canvas.rectangle(left + 1.0, top + 1.0, left + layout.cell - 1.0, foot - 1.0, colour);
        let kind = SMALL.sized(if layout.cell < 34.0 { 11.0 } else { 13.0 });
        let ink = if colour.lightness() < 0.55 { WHITE } else { INK };
        let text = if share < 0.005 { "<1".to_owned() } else { format!("{:.0}", share * 100.0) };
        if text_width(&text, kind) + 4.0 < layout.cell {
            let x = left + layout.cell / 2.0;
            let y = (top + foot) / 2.0 + kind.size * 0.36;
            canvas.text(x, y, &text, kind.in_colour(ink), Anchor::Middle);
        }
    }
}

fn matrix_frame(canvas: &mut Canvas, chart: &ThreadsChart, layout: &ThreadsLayout) {
    let lanes = &chart.threads.lanes;
    let bottom = layout.y(lanes.len());
    let right = layout.matrix + layout.cell * lanes.len() as f64;
    for at in 0..=lanes.len() {
        let (x, y) = (layout.matrix + layout.cell * at as f64, layout.y(at));
        canvas.line(&[(x, layout.top), (x, bottom)], Stroke::solid(1.0, GRID));
        canvas.line(&[(layout.matrix, y), (right, y)], Stroke::solid(1.0, GRID));
    }
    for (at, lane) in lanes.iter().enumerate() {
        let x = layout.matrix + layout.cell * (at as f64 + 0.5);
        let kind = TINY.in_colour(SOFT);
        let (name, kind) = fitted(&short_name(lane), kind, 8.0, layout.cell - 3.0);
        canvas.text(x, layout.top - 8.0, &name, kind, Anchor::Middle);
    }
    let label = "per cent of the row's freed blocks";
    canvas.text(right, bottom + 21.0, label, TINY, Anchor::Right);
}
