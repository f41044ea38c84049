//! The conclusion of `heaplay live`: a sentence for each backend against the first, and the lines
//! that give the program the better ones.

use super::prediction::Predictions;
use super::tables::{MOMENTS, byte_range, change, comparison, decided, difference};
use crate::live::{LiveRuns, Observation};
use crate::stats::Decision;
use crate::{stats, units};

/// A difference of memory below this share of the larger one is none.
const SMALL_SHARE: f64 = 0.02;
/// Nor is one below so many bytes: an interpreter has so much of its own.
const SMALL_BYTES: f64 = 1_048_576.0;
/// A prediction within this share of the program's own figure, or within [`SMALL_BYTES`], is right.
const RIGHT_SHARE: f64 = 0.02;

/// A prediction that is off by more than this is no prediction of this program.
const FAR_SHARE: f64 = 0.1;

/// All sentences.
pub fn text(all: &[LiveRuns], predictions: Option<&Predictions>, is_timed_out: bool) -> String {
    let mut text = differences(all);
    text += children_note(all);
    if let Some(failure) = all.first().and_then(|base| base.runs.first()?.failure()) {
        text += &format!("warning: the program fails in each run: {failure}\n");
    }
    if let Some(predictions) = predictions {
        text += &predictions.notes();
        text += far_note(all, predictions);
    }
    let Some((base, others)) = all.split_first() else { return text };
    for (at, runs) in others.iter().enumerate().filter(|(_, runs)| !runs.runs.is_empty()) {
        text += &sentence(all, at + 1, predictions, is_timed_out);
        if is_better(base, runs, comparison(all, at + 1).map(|found| found.decision)) {
            text += &match runs.candidate.deployment.lines() {
                none if none.is_empty() => {
                    "  the default: set neither PYTHONMALLOC nor LD_PRELOAD\n".to_owned()
                }
                lines => lines,
            };
        }
    }
    text
}

/// `in life, malloc instead of pymalloc: 43 MiB → 27 MiB at the peak, as predicted; …`.
fn sentence(
    all: &[LiveRuns],
    at: usize,
    predictions: Option<&Predictions>,
    is_timed_out: bool,
) -> String {
    let (base, runs) = (&all[0], &all[at]);
    let memory: Vec<String> = MOMENTS
        .iter()
        .map(|moment| {
            let [before, after] = [base, runs].map(|runs| byte_range(&runs.figures(moment.of_run)));
            let right = predictions.and_then(|predictions| {
                let predicted = predictions.of(&runs.candidate.name)?;
                Some(prediction_text(
                    (moment.of_prediction)(predicted),
                    &runs.figures(moment.of_run),
                ))
            });
            format!("{before} → {after} {}{}", moment.place, right.unwrap_or_default())
        })
        .collect();
    let time = match comparison(all, at) {
        _ if is_timed_out => String::new(),
        Some(found) => format!("; processor time {}: {}", change(&found), decided(&found)),
        None => String::new(),
    };
    let names = [&runs.candidate.label, &base.candidate.label];
    format!("in life, {} instead of {}: {}{time}\n", names[0], names[1], memory.join(", "))
}

/// ` as predicted`, or what was predicted.
fn prediction_text(range: [f64; 2], values: &[f64]) -> String {
    let Some((difference, share)) = difference(range, values) else { return String::new() };
    // A range of a factor of two says little.
    let is_wide = range[1] > 2.0 * range[0].max(1.0) && range[1] - range[0] > 2.0 * SMALL_BYTES;
    let is_right = difference.abs() <= SMALL_BYTES || share.abs() <= RIGHT_SHARE;
    if is_right && !is_wide {
        return " as predicted".to_owned();
    }
    format!(" ({} predicted)", byte_range(&range))
}

/// A warning where the replay is far from the program under the first backend.
fn far_note(all: &[LiveRuns], predictions: &Predictions) -> &'static str {
    let Some(base) = all.first() else { return "" };
    let Some(predicted) = predictions.of(&base.candidate.name) else { return "" };
    let is_far = MOMENTS.iter().any(|moment| {
        let found = difference((moment.of_prediction)(predicted), &base.figures(moment.of_run));
        found.is_some_and(|(bytes, share)| {
            bytes.abs() > 2.0 * SMALL_BYTES && share.abs() > FAR_SHARE
        })
    });
    if is_far {
        "warning: the replay is far from the program. Is the trace a recording of this program, with \
         these arguments and this interpreter?\n"
    } else {
        ""
    }
}

/// Whether a program would rather have the backend: it needs less memory in every run, or less
/// processor time, and no more of the other.
fn is_better(base: &LiveRuns, runs: &LiveRuns, decision: Option<Decision>) -> bool {
    let needs = |figure: fn(&Observation) -> f64| {
        let ranges = [base, runs].map(|runs| stats::range(&runs.figures(figure)));
        let [Some((least_before, most_before)), Some((least, most))] = ranges else { return 0 };
        let is_large = |difference: f64| {
            difference > SMALL_BYTES && difference > SMALL_SHARE * most.max(most_before)
        };
        i32::from(is_large(least - most_before)) - i32::from(is_large(least_before - most))
    };
    let memory = [needs(|run| run.peak_bytes as f64), needs(|run| run.end_bytes as f64)];
    let (is_slower, is_faster) =
        (decision == Some(Decision::Slower), decision == Some(Decision::Faster));
    let needs_more = memory.iter().any(|sign| *sign > 0);
    let needs_less = memory.iter().any(|sign| *sign < 0);
    !needs_more && !is_slower && (needs_less || is_faster)
}

/// That the figures are mostly those of processes that the program started.
fn children_note(all: &[LiveRuns]) -> &'static str {
    let mut runs = all.iter().flat_map(|runs| &runs.runs);
    let is_own = |run: &Observation| run.own_ns.is_none_or(|own| 2 * own > run.processor_ns());
    if runs.all(is_own) {
        return "";
    }
    "warning: most of the processor time is that of processes that the program started. Memory is \
     that of its first process only; put the program that matters after --\n"
}

/// What the runs of a backend printed otherwise, and how they ended otherwise, than the first run.
fn differences(all: &[LiveRuns]) -> String {
    let mut text = String::new();
    let Some((base, others)) = all.split_first() else { return text };
    for (how, count) in &base.differences {
        text += &format!(
            "the program does not do the same in each run: {how} in {count} of {} runs under {}\n",
            base.runs.len(),
            base.candidate.name
        );
    }
    for runs in others {
        for (how, count) in &runs.differences {
            if !base.differences.iter().any(|(known, _)| known == how) {
                text += &format!(
                    "warning: under {}: {how}, in {count} of {} runs, as never under {}\n",
                    runs.candidate.name,
                    units::count(runs.runs.len() as u64),
                    base.candidate.name
                );
            }
        }
    }
    text
}
