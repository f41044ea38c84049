//! Chart of a trace: how long blocks live, and at which sizes and ages most of the weight is.

use serde::Serialize;

use super::axis::Axis;
use super::contract::Caption;
use super::scale::Scale;
use crate::report::figures::{AgeBar, AgeCurve, TraceShape, survival};
use crate::report::palette::{Colour, INK};
use crate::units::{bytes, count, percent};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct TraceLifetimesChart {
    /// Its sentences.
    pub caption: Caption,
    /// Across: age, in bytes of the allocation clock.
    pub age_axis: Axis,
    /// Upwards, of the curves: blocks that are still live, in per cent.
    pub live_axis: Axis,
    /// All blocks first, then by size.
    pub curves: Vec<SurvivalCurve>,
    /// Bytes × bytes of age, by octave of size (rows) and of age (columns).
    pub weights: Vec<Vec<f64>>,
}

/// How many blocks of some sizes outlive an age.
#[derive(Clone, Debug, Serialize)]
pub struct SurvivalCurve {
    /// Which sizes.
    pub label: String,
    /// Its colour.
    pub colour: Colour,
    /// Steps: age in bytes, and the share (0 to 1) of the blocks that are still live.
    pub steps: Vec<(f64, f64)>,
    /// Ages at which blocks outlive the trace, with the share that is still live.
    pub censored: Vec<(f64, f64)>,
}

/// Colours of the curves: all, then by size from the smallest. They name sizes here, no backends.
const COLOURS: [Colour; 5] = [
    INK,
    Colour(0x00, 0x72, 0xB2),
    Colour(0x00, 0x9E, 0x73),
    Colour(0xD5, 0x5E, 0x00),
    Colour(0xCC, 0x79, 0xA7),
];

/// Describes the chart; `None` for a trace without blocks.
pub fn describe(shape: &TraceShape) -> Option<TraceLifetimesChart> {
    let all = shape.ages.first().filter(|curve| total(&curve.bars) > 0)?;
    // The ages are those of the whole trace, also where another moment counts as its end.
    let last = if shape.end.is_some() { "after the last call" } else { "at the end" };
    let survivors: u64 = all.bars.iter().map(|bar| bar.survived).sum();
    let plotted = format!(
        "Ages of the {} blocks of `{}` in bytes that the program allocated meanwhile.  {} blocks \
         outlive the trace: they count up to the age that they reached (ticks).",
        count(total(&all.bars)),
        shape.name,
        count(survivors)
    );
    let ages = shape.ages.iter().flat_map(|curve| &curve.bars).map(|bar| bar.from);
    let most = ages.max().unwrap_or(1);
    let ages = Scale::log(16.0, (most as f64 * 2.0).max(4096.0));
    let percents = Scale::Linear { from: 0.0, to: 100.0 };
    let colours = COLOURS.into_iter().cycle();
    Some(TraceLifetimesChart {
        caption: Caption {
            synthesised: shape.synthesised.clone(),
            ..Caption::new(verdict(all, last), plotted, &READING)
        },
        age_axis: Axis::plain("age, bytes allocated since the block's own request", "B", ages),
        live_axis: Axis {
            label: "% of blocks, by size of the block".to_owned(),
            unit: "%".to_owned(),
            unit_size: 0.01,
            scale: percents,
        },
        curves: shape.ages.iter().zip(colours).map(|(curve, colour)| of(curve, colour)).collect(),
        weights: shape.weights.clone(),
    })
}

fn of(curve: &AgeCurve, colour: Colour) -> SurvivalCurve {
    let (steps, censored) = survival(&curve.bars);
    let with_share = |age: f64| {
        // The share at that age is the last step's that is not later.
        let step = steps.iter().rev().find(|step| step.0 <= age);
        (age, step.map_or(1.0, |step| step.1))
    };
    let censored = censored.into_iter().map(with_share).collect();
    SurvivalCurve { label: curve.label.clone(), colour, censored, steps }
}

/// Blocks of a curve.
fn total(bars: &[AgeBar]) -> u64 {
    bars.iter().map(|bar| bar.ended + bar.survived).sum()
}

const READING: [&str; 3] = [
    "A curve that falls at the left: blocks that die young.",
    "A shelf: blocks that stay for a burst, a request or for good.",
    "Below, the darker a field, the more bytes × age it has: fields right of the fall are what an \
     allocator must hold while it serves all the rest.",
];

/// `last` is the end of the trace, in a sentence.
fn verdict(all: &AgeCurve, last: &str) -> String {
    let (steps, _) = survival(&all.bars);
    let count = total(&all.bars) as f64;
    let half = steps.iter().find(|step| step.1 <= 0.5).map(|step| step.0);
    let young: u64 = all.bars.iter().filter(|bar| bar.from < 1024).map(|bar| bar.ended).sum();
    let survived: u64 = all.bars.iter().map(|bar| bar.survived).sum();
    let opening = match half {
        Some(age) if age < 1024.0 => {
            "Half of the blocks end before the program has requested another KiB".to_owned()
        }
        Some(age) => format!("Half of the blocks end before another {} is allocated", bytes(age)),
        None => "More than half of the blocks outlive the ages that the trace shows".to_owned(),
    };
    format!(
        "{opening} ({} within 1 KiB); {} are still live {last}.",
        percent(young as f64 / count),
        percent(survived as f64 / count)
    )
}
