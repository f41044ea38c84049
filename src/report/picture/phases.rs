//! The marks of the program, drawn over a plot.

use super::canvas::{Anchor, Canvas, Stroke, shorten, text_width};
use super::frame::TINY;
use super::panel::Panel;
use crate::report::figures::ProgramPhase;
use crate::report::palette::{AXIS, SOFT, WHITE};

/// A thin line upwards at `x`.
pub fn mark_line(canvas: &mut Canvas, x: f64, top: f64, bottom: f64) {
    canvas.line(&[(x, top), (x, bottom)], Stroke::dashed(1.0, AXIS, 2.0, 3.0));
}

/// Draws a thin line at each mark, `at` its place across the panel; with names at the top where
/// they are `named`. A name that would touch the one before it is left out.
pub fn draw(
    canvas: &mut Canvas,
    panel: &Panel,
    phases: &[ProgramPhase],
    at: impl Fn(&ProgramPhase) -> f64,
    named: bool,
) {
    for phase in phases {
        mark_line(canvas, panel.x(at(phase)), panel.top, panel.bottom);
    }
    let mut free_from = panel.left;
    for phase in phases.iter().filter(|_| named) {
        let x = panel.x(at(phase));
        let kind = TINY.in_colour(SOFT);
        let name = shorten(&phase.name, kind, 110.0);
        let width = text_width(&name, kind);
        if x + 3.0 >= free_from && x + 6.0 + width < panel.right {
            canvas.rectangle(x + 2.0, panel.top + 1.0, x + 6.0 + width, panel.top + 16.0, WHITE);
            canvas.text(x + 4.0, panel.top + 12.0, &name, kind, Anchor::Left);
            free_from = x + 12.0 + width;
        }
    }
}
