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

/// Pixels between the base lines of two rows of names.
const ROW_PIXELS: f64 = 14.0;
/// Pixels below the upper edge of a panel that the names of [`draw`] may take.
pub const NAMES_PIXELS: f64 = 16.0 + ROW_PIXELS;
/// The longest name in pixels, where the marks are nearer.
const NAME_PIXELS: f64 = 110.0;
/// A part of a name with fewer characters says nothing, but for a name that has no more.
const NAME_LEAST: usize = 4;
/// Pixels between a line and its name.
const BESIDE: f64 = 4.0;
/// Pixels between two names of a row.
const APART: f64 = 8.0;

/// Where the name of a mark is.
#[derive(Clone, Debug, PartialEq)]
struct PlacedName {
    name: String,
    left: f64,
    width: f64,
    row: usize,
}

/// Places the names of marks, each a name with the pixel of its line. A name is to the right of its
/// line, or to the left where the panel ends before it. One that would touch another goes to the next
/// of `rows`; where there is no space in any, it is shortened, and at last left out.
fn placed<'a>(
    marks: impl Iterator<Item = (&'a str, f64)>,
    (from, to): (f64, f64),
    rows: usize,
) -> Vec<PlacedName> {
    let mut placed: Vec<PlacedName> = Vec::new();
    let marks: Vec<(&str, f64)> = marks.collect();
    for (at, (name, x)) in marks.iter().copied().enumerate() {
        // Names can differ at their ends only, so none is shortened where it has space. The names of the
        // next marks are in the other rows.
        let next = marks.get(at + rows).map_or(to, |next| next.1 - APART);
        let whole = name.chars().count();
        let long = shorten(name, TINY, (next - x - BESIDE).max(NAME_PIXELS));
        let width = text_width(&long, TINY);
        let is_right = x + BESIDE + width < to;
        let left = if is_right { x + BESIDE } else { x - BESIDE - width };
        // The last resort is a part of the name, up to the end of the panel.
        let short = shorten(name, TINY, to - x - BESIDE);
        let places = [(long, left), (short, x + BESIDE)];
        let found = places.into_iter().find_map(|(name, left)| {
            let width = text_width(&name, TINY);
            let touches = |other: &PlacedName| {
                left < other.left + other.width + APART && other.left < left + width + APART
            };
            let is_free = |row: &usize| !placed.iter().any(|at| at.row == *row && touches(at));
            let is_in =
                left >= from && left + width <= to && name.chars().count() >= NAME_LEAST.min(whole);
            let row = (0..rows).find(is_free).filter(|_| is_in)?;
            Some(PlacedName { name, left, width, row })
        });
        placed.extend(found);
    }
    placed
}

/// Draws a thin line at each mark, `at` its place across the panel; with names at the top where
/// they are `named`, in two rows.
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
    let marks = phases.iter().filter(|_| named);
    let marks = marks.map(|phase| (phase.name.as_str(), panel.x(at(phase))));
    for PlacedName { name, left, width, row } in placed(marks, (panel.left, panel.right), 2) {
        let y = panel.top + 12.0 + ROW_PIXELS * row as f64;
        canvas.rectangle(left - 2.0, y - 11.0, left + width + 2.0, y + 3.5, WHITE);
        canvas.text(left, y, &name, TINY.in_colour(SOFT), Anchor::Left);
    }
}

/// Pixels above the base line of [`names_above`] that its names may take.
pub const NAMES_ABOVE_PIXELS: f64 = 12.0 + ROW_PIXELS;

/// Sets the names of marks in two rows above a panel, the base line of the lower one at `y`.
pub fn names_above<'a>(
    canvas: &mut Canvas,
    panel: &Panel,
    y: f64,
    marks: impl Iterator<Item = (&'a str, f64)>,
) {
    for PlacedName { name, left, row, .. } in placed(marks, (panel.left, panel.right), 2) {
        let y = y - ROW_PIXELS * row as f64;
        canvas.text(left, y, &name, TINY.in_colour(SOFT), Anchor::Left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_touch_or_leave_the_panel_have_another_place() {
        let marks = [("loaded", 10.0), ("burst", 52.0), ("burst", 94.0), ("done", 299.0)];
        let found = placed(marks.into_iter(), (0.0, 300.0), 2);
        let names: Vec<&str> = found.iter().map(|at| at.name.as_str()).collect();
        assert_eq!(names, ["loaded", "burst", "burst", "done"]);
        assert_eq!([found[0].row, found[1].row, found[2].row], [0, 1, 0]);
        let done = &found[3];
        assert!(done.left + done.width < 299.0 && done.row == 0, "{done:?}");
        for (at, one) in found.iter().enumerate() {
            let touches = |other: &&PlacedName| {
                other.row == one.row
                    && one.left < other.left + other.width
                    && other.left < one.left + one.width
            };
            assert!(found[at + 1..].iter().find(touches).is_none(), "{one:?}");
        }
        // A name for which there is no space at all is left out.
        assert_eq!(placed([("a", 10.0), ("b", 11.0)].into_iter(), (0.0, 300.0), 1).len(), 1);
        assert!(placed([("a name", 9.0)].into_iter(), (0.0, 10.0), 2).is_empty());
    }
}
