//! Picture of two sides: a panel for each breakdown, with the bars before and after and the difference
//! of each row.

use super::canvas::{Anchor, Canvas, Stroke, Type, fitted, shorten, text_width};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, frame, legend};
use crate::report::chart::{MovementBar, MovementPanel, SideBySideChart};
use crate::report::figures::MovedUnit;
use crate::report::palette::{AXIS, Colour, GRID, INK, LIVE, WORSE};
use crate::report::text::capitalised;
use crate::units::{byte_unit, count, figure};

/// The side before.
const BEFORE: Colour = Colour(0xC3, 0xC8, 0xCD);
/// The side after.
const AFTER: Colour = Colour(0x5F, 0x63, 0x68);
/// Pixels between the wide panel and the others.
const GUTTER: f64 = 44.0;
/// The share of the width that the wide panel has.
const WIDE_SHARE: f64 = 0.56;
/// Pixels of a heading, with the line below it.
const HEAD: f64 = 52.0;
/// Pixels from row to row at most.
const STEP_MAX: f64 = 50.0;

/// Where the columns of a panel lie, in pixels.
#[derive(Clone, Copy)]
struct PanelColumns {
    left: f64,
    /// Right end of the names.
    names: f64,
    bars: (f64, f64),
    differences: (f64, f64),
    right: f64,
}

impl PanelColumns {
    fn within(left: f64, right: f64) -> PanelColumns {
        let width = right - left;
        let names = left + width * 0.28;
        let bars = (names + 12.0, left + width * 0.62);
        PanelColumns { left, names, bars, differences: (bars.1 + 14.0, right), right }
    }
}

/// Draws the chart.
pub fn draw(chart: &SideBySideChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let entries = [(BEFORE, "before"), (AFTER, "after"), (WORSE, "more"), (LIVE, "less")];
    let top = legend(&mut canvas, LEFT, top + 12.0, entries) + 10.0;
    let [first, others @ ..] = chart.panels.as_slice() else { return canvas };
    let width = RIGHT - LEFT;
    let wide_right = if others.is_empty() { RIGHT } else { LEFT + width * WIDE_SHARE };
    draw_panel(&mut canvas, first, PanelColumns::within(LEFT, wide_right), (top, bottom));
    // The panels below one another share the height by their rows.
    let rows: usize = others.iter().map(|panel| panel.rows.len() + 1).sum();
    let free = bottom - top - (HEAD + 14.0) * others.len() as f64;
    let step = (free / rows.max(1) as f64).min(STEP_MAX);
    let columns = PanelColumns::within(wide_right + GUTTER, RIGHT);
    let mut from = top;
    for panel in others {
        let to = from + HEAD + step * (panel.rows.len() + 1) as f64;
        draw_panel(&mut canvas, panel, columns, (from, to));
        from = to + 14.0;
    }
    canvas
}

fn draw_panel(
    canvas: &mut Canvas,
    panel: &MovementPanel,
    columns: PanelColumns,
    (top, bottom): (f64, f64),
) {
    let heading = capitalised(&format!("{} by {}", panel.measure, panel.by.name()));
    let space = columns.right - columns.left;
    let (heading, kind) = fitted(&heading, HEADING, 13.0, space);
    canvas.text(columns.left, top + 14.0, &heading, kind, Anchor::Left);
    canvas.text(columns.bars.0, top + 38.0, "before → after", TINY, Anchor::Left);
    let scales = RowScales::of(panel, columns);
    let half = text_width("difference", TINY) / 2.0;
    let at = scales.zero.clamp(columns.differences.0 + half, columns.differences.1 - half);
    canvas.text(at, top + 38.0, "difference", TINY, Anchor::Middle);
    let from = top + HEAD;
    let step = ((bottom - from) / (panel.rows.len() + 1) as f64).min(STEP_MAX);
    for (at, row) in std::iter::once(&panel.total).chain(&panel.rows).enumerate() {
        let is_total = at == 0;
        let middle = from + step * (at as f64 + 0.5);
        name_row(canvas, row, columns, (middle, step), is_total);
        scales.draw_bars(canvas, row, (middle, step), is_total);
        scales.draw_difference(canvas, row, (middle, step), is_total);
        if is_total {
            let y = from + step;
            let line = [(columns.left, y), (columns.right, y)];
            canvas.line(&line, Stroke::solid(1.0, GRID));
        }
    }
    let end = from + step * (panel.rows.len() + 1) as f64;
    let stroke = Stroke::solid(1.2, AXIS);
    canvas.line(&[(columns.bars.0, from), (columns.bars.0, end)], stroke);
    canvas.line(&[(scales.zero, from), (scales.zero, end)], stroke);
}

fn name_row(
    canvas: &mut Canvas,
    row: &MovementBar,
    columns: PanelColumns,
    (middle, step): (f64, f64),
    is_total: bool,
) {
    let space = columns.names - columns.left;
    let kind = Type { size: 14.5, bold: true, colour: INK };
    let kind = if is_total { kind } else { Type { bold: row.difference() != 0, ..kind } };
    let (name, kind) = fitted(&row.name, kind, 11.0, space);
    // Two lines need their height.
    let has_detail = !row.detail.is_empty() && step >= 34.0;
    let y = if has_detail { middle - 2.0 } else { middle + 5.0 };
    canvas.text(columns.names, y, &name, kind, Anchor::Right);
    if has_detail {
        let detail = shorten(&row.detail, TINY, space);
        canvas.text(columns.names, middle + 14.0, &detail, TINY, Anchor::Right);
    }
}

/// The scales of a panel, and its texts.
struct RowScales {
    columns: PanelColumns,
    unit: MovedUnit,
    /// The largest value, and the largest difference of any row.
    most: f64,
    most_difference: f64,
    /// Pixels for the text beside a bar.
    bar_text: f64,
    /// Pixels of one unit of a difference.
    difference_pixels: f64,
    /// Where the difference is 0.
    zero: f64,
}

impl RowScales {
    fn of(panel: &MovementPanel, columns: PanelColumns) -> RowScales {
        let all = || std::iter::once(&panel.total).chain(&panel.rows);
        let value = |row: &MovementBar| row.before.max(row.after) as f64;
        let widest = |text: &dyn Fn(&MovementBar) -> String| {
            all().map(|row| text_width(&text(row), STRONG)).fold(0.0, f64::max) + 8.0
        };
        let difference_text = widest(&|row| panel.unit.signed(row.difference()));
        let most_of = |sign: i64| {
            all().map(|row| (sign * row.difference()).max(0) as f64).fold(0.0, f64::max)
        };
        let (less, more) = (most_of(-1), most_of(1));
        // Both directions have one scale; a direction without a row takes no space.
        let text = |most: f64| if most > 0.0 { difference_text + 6.0 } else { 8.0 };
        let (left, right) =
            (columns.differences.0 + text(less), columns.differences.1 - text(more).max(24.0));
        let free = (right - left).max(10.0);
        let zero = left + if less > 0.0 { free * less / (less + more) } else { 0.0 };
        RowScales {
            columns,
            unit: panel.unit,
            most: all().map(value).fold(1.0, f64::max),
            most_difference: less.max(more),
            bar_text: widest(&|row| both(panel.unit, row)),
            difference_pixels: free / (less + more).max(1.0),
            zero,
        }
    }

    fn draw_bars(
        &self,
        canvas: &mut Canvas,
        row: &MovementBar,
        (middle, step): (f64, f64),
        is_total: bool,
    ) {
        let (left, right) = self.columns.bars;
        let space = (right - left - self.bar_text).max(20.0);
        let length = |value: i64| match value {
            ..=0 => 0.0,
            value => (value as f64 / self.most * space).max(1.0),
        };
        let half = (step * 0.34).min(13.0);
        let [before, after] = [row.before, row.after].map(length);
        canvas.rectangle(left, middle - half, left + before, middle - 0.5, BEFORE);
        canvas.rectangle(left, middle + 0.5, left + after, middle + half, AFTER);
        let kind = if is_total { STRONG } else { SMALL };
        let x = left + before.max(after) + 6.0;
        let (text, kind) = fitted(&both(self.unit, row), kind, 8.0, right + 8.0 - x);
        canvas.text(x, middle + 5.0, &text, kind, Anchor::Left);
    }

    fn draw_difference(
        &self,
        canvas: &mut Canvas,
        row: &MovementBar,
        (middle, step): (f64, f64),
        is_total: bool,
    ) {
        let difference = row.difference();
        let (colour, anchor, sign) = match difference < 0 {
            true => (LIVE, Anchor::Right, -1.0),
            false => (WORSE, Anchor::Left, 1.0),
        };
        let length = difference.abs() as f64 * self.difference_pixels;
        let half = (step * 0.3).min(12.0);
        if difference != 0 {
            let end = self.zero + sign * length.max(1.0);
            canvas.rectangle(self.zero, middle - half, end, middle + half, colour);
        }
        let is_large = difference.abs() as f64 >= self.most_difference * 0.1;
        let kind = if is_total || (is_large && difference != 0) { STRONG } else { SMALL };
        let x = self.zero + sign * (length + 6.0);
        canvas.text(x, middle + 5.0, &self.unit.signed(difference), kind, anchor);
    }
}

/// `91 → 104 MiB`.
fn both(unit: MovedUnit, row: &MovementBar) -> String {
    match unit {
        MovedUnit::Requests => {
            let [before, after] = [row.before, row.after].map(|value| unit.text(value));
            format!("{before} → {after}")
        }
        MovedUnit::Bytes => {
            let most = row.before.unsigned_abs().max(row.after.unsigned_abs());
            let own = byte_unit(most as f64);
            let text = |value: i64| match own.bytes {
                1.0 => count(value.unsigned_abs()),
                unit => figure(value as f64 / unit),
            };
            let sign = |value: i64| if value < 0 && own.bytes == 1.0 { "−" } else { "" };
            let [before, after] =
                [row.before, row.after].map(|value| format!("{}{}", sign(value), text(value)));
            format!("{before} → {after}\u{a0}{}", own.name)
        }
    }
}
