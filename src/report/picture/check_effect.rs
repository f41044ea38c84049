//! Picture of one timed measure of a check: its interval, and a dot for each pair of processes.

use super::canvas::{Anchor, Canvas, Stroke};
use super::frame::{HEADING, LEFT, RIGHT, SMALL, STRONG, frame};
use super::panel::Panel;
use crate::report::chart::{CheckEffectChart, PairStage, Scale, signed_share, tick_text};
use crate::report::palette::{AXIS, Colour, EXTERNAL_FRAGMENTATION, INK, LIVE, WORSE};

/// Draws the chart.
pub fn draw(chart: &CheckEffectChart) -> Canvas {
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &chart.caption);
    let effect = &chart.effect;
    let panel = Panel {
        left: LEFT + 170.0,
        top: top + 56.0,
        right: RIGHT - 10.0,
        bottom: bottom - 52.0,
        across: chart.axis.scale,
        up: Scale::Linear { from: 0.0, to: 1.0 },
    };
    let ticks = panel.across.ticks(9);
    panel.columns(&mut canvas, &ticks);
    canvas
        .line(&[(panel.x(0.0), panel.top), (panel.x(0.0), panel.bottom)], Stroke::solid(1.6, AXIS));
    let (fails, passes) = (signed_share(effect.fail_margin), signed_share(effect.pass_margin));
    let fails = format!("fails over {fails}");
    margin(&mut canvas, &panel, effect.fail_margin, EXTERNAL_FRAGMENTATION, (&fails, 14.0));
    let passes = format!("passes below {passes}");
    margin(&mut canvas, &panel, effect.pass_margin, LIVE, (&passes, 34.0));
    let high = (panel.bottom - panel.top) / (chart.stages.len() as f64 + 0.8);
    // The estimate and its interval on top.
    let y = panel.top + high * 0.4;
    let kind = HEADING.sized(15.0);
    canvas.text(panel.left - 14.0, y + 6.0, "effect, interval", kind, Anchor::Right);
    let colour = if effect.lower > effect.fail_margin { WORSE } else { INK };
    let [lower, upper, middle] =
        [effect.lower, effect.upper, effect.effect].map(|share| panel.x(share * 100.0));
    canvas.bar(lower, upper, y, 12.0, colour.pale(0.45));
    canvas.disc(middle, y, 8.0, colour);
    for (row, stage) in chart.stages.iter().enumerate() {
        pairs(&mut canvas, &panel, stage, panel.top + high * (row as f64 + 1.3), high);
    }
    panel.axes(&mut canvas);
    panel.numbers(&mut canvas, &ticks, &|tick| format!("{} %", tick_text(tick, &ticks)));
    let label = format!("x: {}", chart.axis.label);
    canvas.text(panel.right, bottom - 6.0, &label, SMALL, Anchor::Right);
    canvas
}

/// The line of a margin, with its text so many pixels above the panel.
fn margin(
    canvas: &mut Canvas,
    panel: &Panel,
    share: f64,
    colour: Colour,
    (text, above): (&str, f64),
) {
    let x = panel.x(share * 100.0);
    canvas.line(&[(x, panel.top - 8.0), (x, panel.bottom)], Stroke::solid(2.2, colour));
    canvas.text(x, panel.top - above, text, STRONG.in_colour(colour), Anchor::Middle);
}

/// The pairs of a stage around `middle`, in order of time from top to bottom, so that a drift is
/// seen.
fn pairs(canvas: &mut Canvas, panel: &Panel, stage: &PairStage, middle: f64, high: f64) {
    canvas.text(panel.left - 14.0, middle, stage.name, HEADING.sized(15.0), Anchor::Right);
    let text = format!("{} pairs", stage.pairs.len());
    canvas.text(panel.left - 14.0, middle + 20.0, &text, SMALL, Anchor::Right);
    let step = high * 0.78 / stage.pairs.len().max(1) as f64;
    for (at, share) in stage.pairs.iter().enumerate() {
        let y = middle - high * 0.39 + step * (at as f64 + 0.5);
        canvas.disc(panel.x(share * 100.0), y, 3.4, stage.colour.pale(0.75));
    }
}
