//! Chart of a check: the effect of one timed measure with its interval against the margins, and the
//! pairs of processes behind it.

use serde::Serialize;

use super::axis::Axis;
use super::contract::Caption;
use super::scale::Scale;
use crate::report::figures::Effect;
use crate::report::palette::{Colour, LIVE, SOFT, WORSE};
use crate::report::text::capitalised;

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct CheckEffectChart {
    /// Its sentences.
    pub caption: Caption,
    /// Across: how much longer the candidate takes, in per cent.
    pub axis: Axis,
    /// The effect with its interval and margins, as shares.
    pub effect: Effect,
    /// The pairs by stage, in order of time.
    pub stages: Vec<PairStage>,
}

/// The pairs of a stage.
#[derive(Clone, Debug, Serialize)]
pub struct PairStage {
    /// Its name.
    pub name: &'static str,
    /// Its colour.
    pub colour: Colour,
    /// The effect of each pair, as a share.
    pub pairs: Vec<f64>,
}

/// Describes the chart; `None` without pairs.
pub fn describe(effect: &Effect) -> Option<CheckEffectChart> {
    let all = [&effect.pairs, &effect.confirmation, &effect.control];
    let mut finite: Vec<f64> =
        all.into_iter().flatten().copied().filter(|value| value.is_finite()).collect();
    if effect.pairs.is_empty() || finite.is_empty() {
        return None;
    }
    finite.sort_by(f64::total_cmp);
    let stages = [
        PairStage { name: "first stage", colour: LIVE, pairs: effect.pairs.clone() },
        PairStage { name: "confirmation", colour: WORSE, pairs: effect.confirmation.clone() },
        PairStage { name: "control: A against A", colour: SOFT, pairs: effect.control.clone() },
    ];
    Some(CheckEffectChart {
        caption: caption(effect),
        axis: Axis {
            label: "how much longer the candidate takes than the baseline".to_owned(),
            unit: "%".to_owned(),
            unit_size: 0.01,
            scale: effect_scale(effect, &finite),
        },
        effect: effect.clone(),
        stages: stages.into_iter().filter(|stage| !stage.pairs.is_empty()).collect(),
    })
}

/// A range around the interval, the margins and most pairs; outliers are machine noise and stand at
/// the edge. `pairs` rise.
fn effect_scale(effect: &Effect, pairs: &[f64]) -> Scale {
    const AROUND: f64 = 1.35;
    let at = |share: f64| pairs[((pairs.len() - 1) as f64 * share).round() as usize];
    let from = at(0.04).min(effect.lower).min(-effect.fail_margin).max(-0.9) * 100.0;
    let to = at(0.96).max(effect.upper).max(effect.pass_margin).min(10.0) * 100.0;
    let middle = (from + to) / 2.0;
    let half = ((to - from) / 2.0 * AROUND).max(0.5);
    Scale::Linear { from: middle - half, to: middle + half }
}

/// A share in per cent, with its sign.
pub fn signed_share(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

fn caption(effect: &Effect) -> Caption {
    let title = format!(
        "{} of `{}`, {}: {} [{}, {}] against a margin of {}.  Verdict: {}.",
        capitalised(&effect.measure),
        effect.trace,
        effect.backend,
        signed_share(effect.effect),
        signed_share(effect.lower),
        signed_share(effect.upper),
        signed_share(effect.fail_margin),
        effect.verdict
    );
    let plotted = format!(
        "Each dot is a pair of processes, interleaved on one processor: how much longer the \
         candidate took.  {} pairs, {:.0} s, load {}.",
        effect.pairs.len() + effect.confirmation.len(),
        effect.seconds,
        effect.load.map_or("unknown".to_owned(), |load| format!("{load:.1}"))
    );
    Caption::new(title, plotted, &READING)
}

const READING: [&str; 2] = [
    "It fails when the whole bar is right of the orange line, in fresh pairs too, while the \
     baseline against itself (grey) stays around 0.",
    "It passes when the whole bar is left of the blue line.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_figures_are_described_or_left_out() {
        assert!(describe(&Effect::default()).is_none());
        for value in [0.0, f64::NAN, 1e300, -1.0, f64::INFINITY] {
            let effect = Effect {
                pairs: vec![value, 0.01],
                effect: value,
                lower: value,
                ..Effect::default()
            };
            assert!(describe(&effect).is_some(), "{value}");
        }
    }
}
