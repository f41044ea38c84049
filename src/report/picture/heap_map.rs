//! Picture of the heap maps: a panel for each backend.

use super::canvas::{Anchor, Canvas, fitted, shorten, text_width, wrap};
use super::frame::{HEADING, LEFT, NOTE, RIGHT, SMALL, STRONG, fits, frame};
use super::fullness::fullness_legend;
use super::panel::Panel;
use super::phases;
use crate::report::chart::{HeapMapChart, HeapMapPanel, tick_text};
use crate::report::figures::ProgramPhase;
use crate::report::palette::{Colour, RETAINED, WHITE, fullness_colour};
use crate::units::{bytes, count};

/// Lines below a panel's name.
const HEADING_LINES: usize = 2;

/// Draws the chart.
pub fn draw(chart: &HeapMapChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    fullness_legend(&mut canvas, RIGHT - 300.0, top + 1.0, true);
    let top = top + 26.0;
    let lines = if chart.maps.len() > 5 { 2 } else { 1 };
    let across = chart.maps.len().div_ceil(lines);
    let height = (bottom - top) / lines as f64;
    for (line, maps) in chart.maps.chunks(across).enumerate() {
        let y = top + height * line as f64;
        draw_line(&mut canvas, chart, maps, across, (y, y + height), line + 1 == lines);
    }
    canvas
}

fn draw_line(
    canvas: &mut Canvas,
    chart: &HeapMapChart,
    maps: &[HeapMapPanel],
    across: usize,
    (top, bottom): (f64, f64),
    last: bool,
) {
    let single = bottom - top > 400.0;
    let gap = 34.0;
    let first = LEFT + 26.0;
    let width = (RIGHT - 12.0 - first - gap * (across as f64 - 1.0)) / across as f64;
    let head = if single { 84.0 } else { 74.0 };
    let mut lowest = bottom;
    for (at, map) in maps.iter().enumerate() {
        let left = first + (width + gap) * at as f64;
        let panel = Panel {
            left,
            top: top + head,
            right: left + width,
            bottom: bottom - 50.0,
            across: chart.calls_axis.scale,
            up: chart.address_axis.scale,
        };
        heading(canvas, &panel, map);
        paint(canvas, &panel, map, chart);
        let ticks = panel.up.ticks(if single { 8 } else { 4 });
        for &tick in ticks.iter().filter(|_| at == 0) {
            let y = panel.y(tick) + 5.0;
            canvas.text(panel.left - 9.0, y, &tick_text(tick, &ticks), SMALL, Anchor::Right);
        }
        let place = |phase: &ProgramPhase| chart.calls_axis.in_unit(phase.event);
        phases::draw(canvas, &panel, &chart.phases, place, width > 180.0);
        panel.axes(canvas);
        let ticks = panel.across.ticks(5);
        panel.numbers(canvas, &ticks, &|tick| tick_text(tick, &ticks));
        lowest = panel.bottom;
        if at + 1 == maps.len() && (single || last) {
            let label = format!("x: {}", chart.calls_axis.label);
            canvas.text(panel.right, panel.bottom + 40.0, &label, SMALL, Anchor::Right);
        }
    }
    let label = if single {
        format!("heap, oldest region first ({})", chart.address_axis.unit)
    } else {
        chart.address_axis.label.clone()
    };
    canvas.text_upwards(LEFT - 12.0, (top + head + lowest) / 2.0, &label, SMALL.sized(15.0));
}

fn heading(canvas: &mut Canvas, panel: &Panel, map: &HeapMapPanel) {
    let space = panel.right - panel.left;
    let y = panel.top - 56.0;
    let backend = &map.backend;
    let (name, kind) = fitted(&backend.name, HEADING, 12.0, space);
    let used = canvas.text(panel.left, y, &name, kind, Anchor::Left);
    if backend.version != backend.name && fits(&backend.version, SMALL, space - used - 10.0) {
        canvas.text(panel.left + used + 10.0, y, &backend.version, SMALL, Anchor::Left);
    }
    let [resident, sparse, empty] =
        [map.last.resident, map.last.sparse, map.last.empty].map(|rows| count(rows as u64));
    let text = if space > 200.0 {
        format!("end: {resident} rows resident, {sparse} of them under ¼ full, {empty} empty")
    } else {
        format!("end: {resident} rows, {empty} empty, {sparse} under ¼ full")
    };
    let kind = if space > 300.0 { NOTE } else { SMALL };
    let mut lines = wrap(&text, kind, space);
    if lines.len() > HEADING_LINES {
        // A narrow panel has no place for all three.
        lines = wrap(&format!("end: {resident} rows, {empty} empty"), kind, space);
    }
    for (at, line) in lines.iter().take(HEADING_LINES).enumerate() {
        let y = y + 22.0 + 19.0 * at as f64;
        canvas.text(panel.left, y, &shorten(line, kind, space), kind, Anchor::Left);
    }
}

fn paint(canvas: &mut Canvas, panel: &Panel, map: &HeapMapPanel, chart: &HeapMapChart) {
    let axis = &chart.address_axis;
    let column = (panel.right - panel.left) / map.columns as f64;
    let shown = (axis.end() * axis.unit_size / map.row_bytes).floor() as usize;
    for (row, runs) in map.rows.iter().take(shown).enumerate() {
        let y = |row: usize| panel.y(axis.in_unit(row as f64 * map.row_bytes));
        let mut at = 0;
        for run in runs {
            let from = panel.left + column * at as f64;
            at = (at + run.columns).min(map.columns);
            let Some(live) = run.live_sixteenths else { continue };
            let to = panel.left + column * at as f64;
            canvas.rectangle(from, y(row + 1), to, y(row), colour(live));
        }
    }
    if map.rows.len() > shown {
        let whole = bytes(map.bytes());
        let texts = [format!("▲ runs off to {whole}"), format!("▲ {whole}")];
        let fits_panel = |text: &String| fits(text, STRONG, panel.right - panel.left - 14.0);
        let text = texts.iter().find(|text| fits_panel(text)).unwrap_or(&texts[1]);
        let left = panel.right - text_width(text, STRONG) - 10.0;
        // Below the names of phases.
        let y = panel.top + phases::NAMES_PIXELS + 16.0;
        canvas.rectangle(left - 4.0, y - 16.0, panel.right - 4.0, y + 6.0, WHITE);
        canvas.text(left, y, text, STRONG, Anchor::Left);
    }
}

/// The colour of resident memory with so many sixteenths live.
fn colour(live_sixteenths: u8) -> Colour {
    match live_sixteenths {
        0 => RETAINED,
        level => fullness_colour((f64::from(level) - 0.5) / 16.0),
    }
}
