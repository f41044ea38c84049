//! Picture of page retention by line: a column of live bytes, and one of free space for each
//! backend.

use super::canvas::{Anchor, Canvas, Stroke, Type, fitted, shorten, text_width};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, frame};
use super::panel::Panel;
use crate::report::chart::{LINES_MAX, PageRetentionChart, Reach, RetentionLine, Scale, tick_text};
use crate::report::palette::{Colour, EXTERNAL_FRAGMENTATION, GRID, INK, LIVE, WHITE};
use crate::report::text::short_line;
use crate::units::{bytes, count, figure, times};

/// Orange dark enough for small letters.
const BURNT: Colour = Colour(0xA8, 0x62, 0x00);
/// Pixels for the names of the lines.
const NAMES: f64 = 300.0;
/// Width in pixels from which a column is wide.
const WIDE: f64 = 150.0;

/// The rows of the picture.
#[derive(Clone, Copy)]
struct LineRows {
    top: f64,
    step: f64,
}

impl LineRows {
    fn middle(&self, row: usize) -> f64 {
        self.top + self.step * (row as f64 + 0.5)
    }
}

/// Draws the chart.
pub fn draw(chart: &PageRetentionChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let columns = chart.backends.len() + 1;
    let gap = if columns > 6 { 18.0 } else { 30.0 };
    let first = LEFT + NAMES;
    let width = (RIGHT - 16.0 - first - gap * (columns as f64 - 1.0)) / columns as f64;
    let width = width.min(300.0);
    let (plot_top, plot_bottom) = (top + 76.0, bottom - 40.0);
    let rows = LineRows { top: plot_top, step: (plot_bottom - plot_top) / LINES_MAX as f64 };
    for (row, line) in chart.lines.iter().enumerate() {
        name_line(&mut canvas, line, (first - 14.0, rows.middle(row), NAMES - 24.0));
    }
    // Pixels for the number beside a bar.
    let space = if columns > 6 { 44.0 } else { 96.0 };
    for column in 0..columns {
        let reach = if column == 0 { &chart.live_reach } else { &chart.free_space_reach };
        let left = first + (width + gap) * column as f64;
        let panel = Panel {
            left,
            top: plot_top,
            right: left + width,
            bottom: plot_bottom,
            across: Scale::Linear {
                from: 0.0,
                to: reach.most_bytes / reach.unit_bytes * width / (width - space).max(20.0),
            },
            up: Scale::Linear { from: 0.0, to: 1.0 },
        };
        grid(&mut canvas, &panel);
        match column.checked_sub(1) {
            None => live_column(&mut canvas, chart, &panel, rows),
            Some(at) => free_space_column(&mut canvas, chart, &panel, at, rows),
        }
    }
    let right = first + (width + gap) * (columns as f64 - 1.0) + width;
    canvas.text(right, plot_bottom + 42.0, &axis_label(chart), SMALL, Anchor::Right);
    canvas
}

fn axis_label(chart: &PageRetentionChart) -> String {
    let (live, free) = (&chart.live_reach, &chart.free_space_reach);
    if live == free {
        format!("x: {}, the same scale in every column", live.unit)
    } else {
        format!(
            "x: live in {}; free space in {}, the same scale for every allocator",
            live.unit, free.unit
        )
    }
}

fn grid(canvas: &mut Canvas, panel: &Panel) {
    let ticks = panel.across.ticks(if panel.right - panel.left > WIDE { 4 } else { 2 });
    for &tick in &ticks {
        let x = panel.x(tick);
        canvas.line(&[(x, panel.top), (x, panel.bottom)], Stroke::solid(1.0, GRID));
    }
    panel.axes(canvas);
    panel.numbers(canvas, &ticks, &|tick| tick_text(tick, &ticks));
}

/// The folder of a line's file: it distinguishes files of the same name.
fn folder(line: &str) -> &str {
    let path = line.rsplit_once('/').map_or("", |(path, _)| path);
    path.rsplit('/').next().unwrap_or_default()
}

fn name_line(canvas: &mut Canvas, line: &RetentionLine, (right, middle, space): (f64, f64, f64)) {
    let kind = Type { size: 15.5, bold: true, colour: INK };
    let name = shorten(&short_line(&line.site), kind, space);
    canvas.text(right, middle - 3.0, &name, kind, Anchor::Right);
    let blocks = line.live_blocks;
    let place = folder(&line.site);
    let place = if place.is_empty() { String::new() } else { format!("{place}   ") };
    let text = format!("{place}{} block{}", count(blocks), if blocks == 1 { "" } else { "s" });
    canvas.text(right, middle + 15.0, &shorten(&text, TINY, space), TINY, Anchor::Right);
}

fn live_column(canvas: &mut Canvas, chart: &PageRetentionChart, panel: &Panel, rows: LineRows) {
    let space = panel.right - panel.left;
    let (head, kind) = fitted("live bytes", HEADING.in_colour(LIVE), 11.0, space + 8.0);
    canvas.text(panel.left, panel.top - 42.0, &head, kind, Anchor::Left);
    let total = chart.live_total_bytes;
    let text = format!("{}{}", bytes(total), if space > WIDE { " in total" } else { "" });
    canvas.text(panel.left, panel.top - 18.0, &shorten(&text, SMALL, space), SMALL, Anchor::Left);
    for (row, line) in chart.lines.iter().enumerate() {
        let y = rows.middle(row);
        let value = line.live_bytes / chart.live_reach.unit_bytes;
        let end = bar(canvas, panel, value, y, LIVE);
        let kind = if line.live_bytes * 10.0 > total { STRONG } else { SMALL };
        let number = number_text(line.live_bytes, &chart.live_reach, |text| {
            text_width(text, kind) <= (panel.right - end - 4.0).max(36.0)
        });
        let used = canvas.text(end + 5.0, y + 5.0, &number, kind, Anchor::Left);
        let rank = line.rank_by_live.map_or(String::new(), |rank| format!("#{rank}"));
        if end + 5.0 + used + 8.0 + text_width(&rank, SMALL) < panel.right {
            canvas.text(panel.right, y + 5.0, &rank, SMALL, Anchor::Right);
        }
    }
}

fn free_space_column(
    canvas: &mut Canvas,
    chart: &PageRetentionChart,
    panel: &Panel,
    at: usize,
    rows: LineRows,
) {
    let column = &chart.backends[at];
    let total = column.free_space_total_bytes;
    column_heading(canvas, panel, &column.backend.name, total);
    for (row, line) in chart.lines.iter().enumerate() {
        let y = rows.middle(row);
        let free = line.free_space_bytes[at];
        let reach = &chart.free_space_reach;
        let end = bar(canvas, panel, free / reach.unit_bytes, y, EXTERNAL_FRAGMENTATION);
        let large = free * 10.0 > total;
        let kind = if large { STRONG } else { SMALL };
        let space = (panel.right - end - 4.0).max(36.0);
        let number = number_text(free, reach, |text| text_width(text, kind) <= space);
        let used = canvas.text(end + 5.0, y + 5.0, &number, kind, Anchor::Left);
        let live = line.live_bytes;
        if large && live > 0.0 && free >= 2.0 * live {
            let text = format!("×{}", times(free / live));
            let x = end + 5.0 + used + 4.0;
            if x + text_width(&text, SMALL) < panel.right + 12.0 {
                canvas.text(x, y + 5.0, &text, SMALL.in_colour(BURNT), Anchor::Left);
            }
        }
    }
}

/// The number at a bar, in the unit of the axis. One that is above the axis, or too small for two digits in
/// that unit, has a unit of its own where it fits.
fn number_text(shown_bytes: f64, reach: &Reach, fits: impl Fn(&str) -> bool) -> String {
    /// Smaller numbers begin with 0.0.
    const TWO_DIGITS: f64 = 0.0995;
    /// Smaller numbers would need an exponent.
    const LEAST: f64 = 0.001;
    let (value, with_unit) = (shown_bytes / reach.unit_bytes, bytes(shown_bytes));
    let is_off = shown_bytes > reach.most_bytes * 1.001 || value > 0.0 && value < TWO_DIGITS;
    if is_off && fits(&with_unit) {
        with_unit
    } else if value > 0.0 && value < LEAST {
        format!("<{LEAST}")
    } else {
        figure(value)
    }
}

/// The backend and its total, above a column.
fn column_heading(canvas: &mut Canvas, panel: &Panel, name: &str, total: f64) {
    let space = panel.right - panel.left;
    let text = if space > WIDE {
        let (name, kind) = fitted(name, HEADING, 12.0, space);
        canvas.text(panel.left, panel.top - 42.0, &name, kind, Anchor::Left);
        format!("{} of free space", bytes(total))
    } else {
        // In a narrow column the settings are below the name, so that two of a family are
        // distinct.
        let at = name.find([':', '@', '+']).unwrap_or(name.len());
        let (name, settings) = name.split_at(at);
        let kind = HEADING.sized(15.5);
        let (name, kind) = fitted(name, kind, 11.0, space + 8.0);
        canvas.text(panel.left, panel.top - 52.0, &name, kind, Anchor::Left);
        // Two shared libraries differ in their names.
        let settings = settings.strip_prefix(":lib").unwrap_or(settings);
        let (settings, kind) = fitted(settings, TINY, 10.0, space + 8.0);
        canvas.text(panel.left, panel.top - 35.0, &settings, kind, Anchor::Left);
        bytes(total)
    };
    canvas.text(panel.left, panel.top - 18.0, &shorten(&text, SMALL, space), SMALL, Anchor::Left);
}

/// Draws a bar from the axis; gives its end. One that is too long ends in two slanted gaps, and has one
/// more for each doubling beyond twice the space, so that two such bars look different.
fn bar(canvas: &mut Canvas, panel: &Panel, value: f64, middle: f64, colour: Colour) -> f64 {
    let space = panel.right - panel.left;
    let most = panel.left + (space - if space < WIDE { 44.0 } else { 96.0 }).max(20.0);
    let end = panel.x(value).min(most);
    let half = 17.0;
    canvas.rectangle(panel.left, middle - half, end.max(panel.left + 1.0), middle + half, colour);
    if panel.x(value) > most + 1.0 {
        let doublings = ((panel.x(value) - panel.left) / (end - panel.left)).log2();
        let gaps = 1 + doublings.clamp(1.0, 5.0) as u32;
        for k in 0..gaps {
            let at = end - 8.0 - 8.0 * f64::from(k);
            let stroke = Stroke::solid(3.0, WHITE);
            canvas
                .line(&[(at - 4.0, middle + half + 2.0), (at + 4.0, middle - half - 2.0)], stroke);
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_far_below_the_unit_of_the_axis_have_their_own() {
        let reach = Reach { most_bytes: 6.3e6, unit: "MiB", unit_bytes: 1_048_576.0 };
        let text = |bytes, fits| number_text(bytes, &reach, |_| fits).replace('\u{a0}', " ");
        assert_eq!(text(6e6, true), "5.7");
        assert_eq!(text(97.0, true), "97 B");
        assert_eq!(text(45e3, true), "44 KiB");
        assert_eq!(text(7e6, true), "6.7 MiB");
        assert_eq!(text(97.0, false), "<0.001");
        assert_eq!(text(0.0, true), "0");
    }

    #[test]
    fn folders_distinguish_files_of_the_same_name() {
        assert_eq!(folder("/usr/lib/python3.11/json/decoder.py:353"), "json");
        assert_eq!(folder("a.py:1"), "");
    }
}
