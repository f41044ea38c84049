//! Room `report`, picture of a check: one timed measure's effect with its interval against the
//! margins, and the pairs of processes behind it. This room may not know how a verdict is come to;
//! whoever does fills the figures in.

use super::axis::{Panel, Scale, tick_words};
use super::canvas::{Anchor, Canvas, Colour, Stroke};
use super::chart::{
    AXIS, EXTERNAL_FRAGMENTATION, HEADING, INK, LEFT, LIVE, Picture, RIGHT, SMALL, SOFT, STRONG,
    frame,
};

/// The figures of a timed measure, as shares: 0.05 is 5 % more than the baseline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effect {
    /// Which trace.
    pub trace: String,
    /// Which cell.
    pub backend: String,
    /// Which measure.
    pub measure: String,
    /// The verdict, as a word.
    pub verdict: String,
    /// The estimate.
    pub effect: f64,
    /// Its bounds.
    pub lower: f64,
    /// See `lower`.
    pub upper: f64,
    /// Fails above this.
    pub fail_margin: f64,
    /// Passes below this.
    pub pass_margin: f64,
    /// Each pair of the first stage.
    pub pairs: Vec<f64>,
    /// Each pair of the confirmation.
    pub confirmation: Vec<f64>,
    /// Each pair of the baseline with itself.
    pub control: Vec<f64>,
    /// What it cost.
    pub seconds: f64,
    /// The system's load.
    pub load: Option<f64>,
}

/// Over the margin.
const WORSE: Colour = Colour(0xD5, 0x5E, 0x00);

/// Draws it; `None` without pairs.
pub fn draw(effect: &Effect) -> Option<Picture> {
    let all: Vec<f64> = [&effect.pairs, &effect.confirmation, &effect.control]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    let finite: Vec<f64> = all.iter().copied().filter(|value| value.is_finite()).collect();
    if effect.pairs.is_empty() || finite.is_empty() {
        return None;
    }
    let percent = |share: f64| format!("{:+.1} %", share * 100.0);
    let title = format!(
        "{} of `{}`, {}: {} [{}, {}] against a margin of {}.  Verdict: {}.",
        capital(&effect.measure),
        effect.trace,
        effect.backend,
        percent(effect.effect),
        percent(effect.lower),
        percent(effect.upper),
        percent(effect.fail_margin),
        effect.verdict
    );
    let plotted = format!(
        "Each dot is a pair of processes that took turns on one processor: how much longer the candidate took.  {} pairs, \
         {:.0} s, load {}.",
        effect.pairs.len() + effect.confirmation.len(),
        effect.seconds,
        effect.load.map_or("unknown".to_owned(), |load| format!("{load:.1}"))
    );
    let hint = "It fails when the whole bar is right of the orange line, in fresh pairs too, while the baseline against itself \
                (grey) stays around 0.  It passes when the whole bar is left of the blue line.";
    let mut canvas = Canvas::new();
    let (top, bottom) = frame(&mut canvas, &title, &plotted, hint);
    // Outliers are the machine's; they stand at the edge.
    let mut sorted = finite;
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let room = 1.35;
    let from = at(0.04).min(effect.lower).min(-effect.fail_margin).max(-0.9) * 100.0;
    let to = at(0.96).max(effect.upper).max(effect.pass_margin).min(10.0) * 100.0;
    let middle = (from + to) / 2.0;
    let half = ((to - from) / 2.0 * room).max(0.5);
    let rows: Vec<(&str, &[f64], Colour)> = [
        ("first stage", effect.pairs.as_slice(), LIVE),
        ("confirmation", effect.confirmation.as_slice(), WORSE),
        ("control: A against A", effect.control.as_slice(), SOFT),
    ]
    .into_iter()
    .filter(|(_, pairs, _)| !pairs.is_empty())
    .collect();
    let panel = Panel {
        left: LEFT + 170.0,
        top: top + 56.0,
        right: RIGHT - 10.0,
        bottom: bottom - 52.0,
        across: Scale::Linear { from: middle - half, to: middle + half },
        up: Scale::Linear { from: 0.0, to: 1.0 },
    };
    let ticks = panel.across.ticks(9);
    panel.columns(&mut canvas, &ticks);
    let edge = |canvas: &mut Canvas, share: f64, colour: Colour, words: &str, high: f64| {
        let x = panel.x(share * 100.0);
        canvas.line(&[(x, panel.top - 8.0), (x, panel.bottom)], Stroke::solid(2.2, colour));
        canvas.text(x, panel.top - high, words, STRONG.in_colour(colour), Anchor::Middle);
    };
    canvas
        .line(&[(panel.x(0.0), panel.top), (panel.x(0.0), panel.bottom)], Stroke::solid(1.6, AXIS));
    let (fails, passes) = (percent(effect.fail_margin), percent(effect.pass_margin));
    edge(
        &mut canvas,
        effect.fail_margin,
        EXTERNAL_FRAGMENTATION,
        &format!("fails over {fails}"),
        14.0,
    );
    edge(&mut canvas, effect.pass_margin, LIVE, &format!("passes below {passes}"), 34.0);
    let high = (panel.bottom - panel.top) / (rows.len() as f64 + 0.8);
    // The estimate and its interval on top.
    let y = panel.top + high * 0.4;
    canvas.text(panel.left - 14.0, y + 6.0, "effect, interval", HEADING.sized(15.0), Anchor::Right);
    let (left, right) = (panel.x(effect.lower * 100.0), panel.x(effect.upper * 100.0));
    let colour = if effect.lower > effect.fail_margin { WORSE } else { INK };
    canvas.bar(left, right, y, 12.0, colour.pale(0.45));
    canvas.disc(panel.x(effect.effect * 100.0), y, 8.0, colour);
    for (row, (name, pairs, colour)) in rows.iter().enumerate() {
        let middle = panel.top + high * (row as f64 + 1.3);
        canvas.text(panel.left - 14.0, middle, name, HEADING.sized(15.0), Anchor::Right);
        let words = format!("{} pairs", pairs.len());
        canvas.text(panel.left - 14.0, middle + 20.0, &words, SMALL, Anchor::Right);
        // In order of time from top to bottom, so that a drift is seen.
        let step = high * 0.78 / pairs.len().max(1) as f64;
        for (at, share) in pairs.iter().enumerate() {
            let y = middle - high * 0.39 + step * (at as f64 + 0.5);
            canvas.disc(panel.x(share * 100.0), y, 3.4, colour.pale(0.75));
        }
    }
    panel.axes(&mut canvas);
    panel.numbers(&mut canvas, &ticks, &|tick| format!("{} %", tick_words(tick, &ticks)));
    let words = "x: how much longer the candidate takes than the baseline";
    canvas.text(panel.right, bottom - 6.0, words, SMALL, Anchor::Right);
    Some(Picture { title, canvas })
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_figures_draw_or_are_left_out() {
        assert!(draw(&Effect::default()).is_none());
        for value in [0.0, f64::NAN, 1e300, -1.0, f64::INFINITY] {
            let effect = Effect {
                pairs: vec![value, 0.01],
                effect: value,
                lower: value,
                ..Effect::default()
            };
            assert!(draw(&effect).is_some(), "{value}");
        }
    }
}
