//! Picture of where objects lie: a bar for the time of a visit, and shares of distances.

use super::canvas::{Anchor, Canvas, Stroke, fitted, text_width};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, TINY, frame};
use super::panel::Panel;
use crate::report::chart::{DISTANCES, PlacementChart, PlacementRow, Scale, tick_text};
use crate::report::palette::{
    AXIS, Colour, EXTERNAL_FRAGMENTATION, INK, LIVE, ROUNDING, WHITE, WORSE,
};
use crate::units::{figure3, percent};

/// The colours of [`DISTANCES`], from near to far.
const COLOURS: [Colour; 4] = [LIVE, ROUNDING, EXTERNAL_FRAGMENTATION, WORSE];

/// Draws the chart.
pub fn draw(chart: &PlacementChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let first = LEFT + 190.0;
    let middle = first + (RIGHT - first) * 0.46;
    let panel = Panel {
        left: first,
        top: top + 66.0,
        right: middle,
        bottom: bottom - 56.0,
        across: chart.time_axis.scale,
        up: Scale::Linear { from: 0.0, to: 1.0 },
    };
    let shares = Panel {
        left: middle + 70.0,
        right: RIGHT - 120.0,
        across: Scale::Linear { from: 0.0, to: 100.0 },
        ..panel
    };
    let step = ((panel.bottom - panel.top) / chart.rows.len() as f64).min(140.0);
    axes(&mut canvas, chart, &panel, &shares);
    for (at, row) in chart.rows.iter().enumerate() {
        let y = panel.top + step * (at as f64 + 0.5);
        visit(&mut canvas, &panel, row, y, step);
        distances(&mut canvas, &shares, row, y, step);
    }
    canvas
}

fn axes(canvas: &mut Canvas, chart: &PlacementChart, panel: &Panel, shares: &Panel) {
    canvas.text(panel.left, panel.top - 34.0, "time of a visit", HEADING, Anchor::Left);
    let heading = "where the next object is";
    canvas.text(shares.left, panel.top - 34.0, heading, HEADING, Anchor::Left);
    let mut x = shares.left;
    for (name, colour) in DISTANCES.iter().zip(COLOURS) {
        canvas.rectangle(x, panel.top - 20.0, x + 12.0, panel.top - 8.0, colour);
        x += 18.0 + canvas.text(x + 17.0, panel.top - 9.0, name, TINY, Anchor::Left) + 14.0;
    }
    let heading = "pages by 100 objects";
    canvas.text(RIGHT, panel.top - 34.0, heading, SMALL, Anchor::Right);
    for (panel, label) in [(panel, chart.time_axis.label.as_str()), (shares, "% of the steps")] {
        let ticks = panel.across.ticks(6);
        panel.columns(canvas, &ticks);
        let ends = [(panel.left, panel.bottom), (panel.right, panel.bottom)];
        canvas.line(&ends, Stroke::solid(1.2, AXIS));
        panel.numbers(canvas, &ticks, &|tick| tick_text(tick, &ticks));
        let label = format!("x: {label}");
        canvas.text(panel.right, panel.bottom + 42.0, &label, SMALL, Anchor::Right);
    }
}

fn visit(canvas: &mut Canvas, panel: &Panel, row: &PlacementRow, y: f64, step: f64) {
    let kind = STRONG.sized((step * 0.5).min(17.0));
    let right = panel.left - 12.0;
    let (name, kind) = fitted(&row.backend.name, kind, 11.0, right - LEFT);
    canvas.text(right, y + kind.size * 0.36, &name, kind, Anchor::Right);
    let half = (step * 0.24).min(14.0);
    let [middle, low, high] = row.visit_ns.map(|ns| panel.x(ns));
    canvas.rectangle(low, y - half, high, y + half, row.backend.colour.pale(0.68));
    canvas.rectangle(panel.left, y - half, middle, y + half, row.backend.colour);
    let mut right = high.max(middle);
    if let Some(reverse_ns) = row.reverse_ns {
        let x = panel.x(reverse_ns);
        canvas.disc(x, y, 6.0, WHITE);
        canvas.ring(x, y, 5.0, 1.6, INK);
        right = right.max(x + 6.0);
    }
    let text = figure3(row.visit_ns[0]);
    let kind = STRONG.sized(15.0_f64.min(step * 0.5));
    canvas.text(right + 8.0, y + 5.0, &text, kind, Anchor::Left);
}

fn distances(canvas: &mut Canvas, panel: &Panel, row: &PlacementRow, y: f64, step: f64) {
    let half = (step * 0.32).min(18.0);
    let mut before = 0.0;
    for (share, colour) in row.steps.iter().zip(COLOURS) {
        let (from, to) = (panel.x(before * 100.0), panel.x((before + share) * 100.0));
        canvas.rectangle(from, y - half, to, y + half, colour);
        let text = percent(*share);
        if to - from > text_width(&text, SMALL) + 8.0 && half > 7.0 {
            let ink = if colour.lightness() < 0.6 { WHITE } else { INK };
            canvas.text((from + to) / 2.0, y + 5.0, &text, SMALL.in_colour(ink), Anchor::Middle);
        }
        before += share;
    }
    canvas.text(RIGHT, y + 5.0, &figure3(row.pages_by_100), STRONG.sized(15.0), Anchor::Right);
}
