//! The conclusion of `heaplay live`: a sentence for each backend against the first, and the lines
//! that give the program the better ones.

use super::predicted_time::PredictedShare;
use super::prediction::Predictions;
use super::tables::{
    MOMENTS, Overlap, byte_range, change, comparison, decided, difference, overlap,
};
use crate::live::{LiveRuns, Observation, ProgramFailure};
use crate::report::list;
use crate::spec::{BackendSpec, preloaded_library};
use crate::stats::{Decision, TimeComparison};
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
    text += &libraries_note(all);
    if let Some(predictions) = predictions {
        text += &predictions.notes();
        text += far_note(all, predictions);
    }
    if let Some(failure) = failure(all) {
        return text
            + &format!(
                "all figures are those of a program that fails ({}): see why, and measure again (-r N for \
                 more rounds of it)\n",
                failure.status
            );
    }
    let Some((base, others)) = all.split_first() else { return text };
    let mut has_better = false;
    for (at, runs) in others.iter().enumerate().filter(|(_, runs)| !runs.runs.is_empty()) {
        text += &sentence(all, at + 1, predictions, is_timed_out);
        if is_better(base, runs, comparison(all, at + 1).map(|found| found.decision)) {
            has_better = true;
            let is_python = runs.runs.iter().any(Observation::is_python);
            text += &match runs.candidate.deployment.lines(is_python) {
                none if none.is_empty() => {
                    let set = if is_python { "set neither PYTHONMALLOC nor" } else { "do not set" };
                    format!("  the default: {set} LD_PRELOAD\n")
                }
                lines => lines,
            };
        }
    }
    if !has_better && others.iter().any(|runs| !runs.runs.is_empty()) {
        text += &format!(
            "keep {}: no other is shown to need less memory or less time, and no more of either\n",
            base.candidate.label
        );
    }
    if let Some(predictions) = predictions.filter(|_| !is_timed_out) {
        text += &contradictions_note(all, predictions);
    }
    text
}

/// That the program fails in each run, and how to see why; empty where it does not.
pub fn failure_note(all: &[LiveRuns], program: &str) -> String {
    let Some(failure) = failure(all) else { return String::new() };
    let end = failure.end.map_or_else(
        || format!("it prints nothing; run it by itself: {program}"),
        |end| format!("{end}; run it by itself to see more: {program}"),
    );
    format!("warning: the program fails in each run: {}; {end}\n", failure.status)
}

/// How the first backend's runs failed: a run that ended otherwise is one of the differences.
fn failure(all: &[LiveRuns]) -> Option<ProgramFailure> {
    all.first()?.runs.first()?.failure()
}

/// How a measured time stands to the predicted one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum TimePrediction {
    /// The difference is that predicted, within the error that is shown with it.
    Right(PredictedShare),
    /// It is not, and the interval reaches within that error, or near it.
    Off(PredictedShare),
    /// Nothing is clear after so few rounds.
    Unknown(PredictedShare),
    /// The interval does not reach that far, or the sign is another.
    Contradicted(PredictedShare),
}

/// Compares a measured difference with a predicted share.
fn judge_time(found: &TimeComparison, predicted: PredictedShare) -> TimePrediction {
    if !found.lower.is_finite() {
        return TimePrediction::Unknown(predicted);
    }
    // What is shown is compared: without a sign that is no difference.
    let share = if predicted.has_sign() { predicted.share } else { 0.0 };
    let error = predicted.error;
    let far = error.max(FAR_SHARE);
    let has_other_sign = predicted.has_sign() && found.change.signum() != share.signum();
    let is_outside = found.lower > share + far || found.upper < share - far;
    if found.is_apart() && (has_other_sign || is_outside) {
        return TimePrediction::Contradicted(predicted);
    }
    match (found.change - share).abs() <= error {
        true => TimePrediction::Right(predicted),
        false => TimePrediction::Off(predicted),
    }
}

/// How the time of the backend at `at` stands to its prediction; `None` where one of them is missing.
fn time_prediction(
    all: &[LiveRuns],
    at: usize,
    predictions: &Predictions,
) -> Option<TimePrediction> {
    let found = comparison(all, at)?;
    let extra = predictions.extra(&all[0].candidate.name, &all[at].candidate.name)?;
    let base_ns = stats::median(&all[0].figures(|run| run.processor_ns() as f64))?;
    Some(judge_time(&found, extra.share_of(base_ns)))
}

/// For which backends the measured time contradicts the predicted one, and the likely causes; empty
/// where it does for none.
fn contradictions_note(all: &[LiveRuns], predictions: &Predictions) -> String {
    let is_contradicted = |at: &usize| {
        let found = time_prediction(all, *at, predictions);
        matches!(found, Some(TimePrediction::Contradicted { .. }))
    };
    let names: Vec<String> =
        (1..all.len()).filter(is_contradicted).map(|at| all[at].candidate.label.clone()).collect();
    if names.is_empty() {
        return String::new();
    }
    let threads = predictions.threads().count;
    let contention = match threads > 1 {
        true => format!(
            "contention for locks ({threads} threads allocate, and the replay makes one call at a \
             time), "
        ),
        false => String::new(),
    };
    format!(
        "time is not as predicted under {}. Likely causes, which a replay does not have: {contention}\
         where the allocator places the objects that the program visits, and caches that the program \
         and the allocator share (docs/method/life.md). The measured time is the program's own\n",
        list(&names)
    )
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
    // Where the interpreter takes itself apart first, this is no figure of a service that runs on.
    let has_exited = |run: &Observation| run.status.is_some_and(|status| status.code().is_some());
    let exits = runs.runs.iter().all(|run| run.is_python() && has_exited(run));
    let exit = if exits && !is_timed_out { " (the exit of its interpreter)" } else { "" };
    let time = match comparison(all, at) {
        _ if is_timed_out => String::new(),
        Some(found) => {
            let predicted =
                predictions.map_or_else(String::new, |known| time_prediction_text(all, at, known));
            format!("; processor time {}: {}{predicted}", change(&found), decided(&found))
        }
        None => String::new(),
    };
    let names = [&runs.candidate.label, &base.candidate.label];
    format!("in life, {} instead of {}: {}{exit}{time}\n", names[0], names[1], memory.join(", "))
}

/// Whether the time is as predicted, what was predicted where it is not, or why nothing was.
fn time_prediction_text(all: &[LiveRuns], at: usize, predictions: &Predictions) -> String {
    match time_prediction(all, at, predictions) {
        Some(TimePrediction::Contradicted(predicted)) => {
            format!(", which contradicts the prediction ({predicted})")
        }
        Some(TimePrediction::Right(predicted)) => match comparison(all, at) {
            Some(found) if found.decision == Decision::Open => {
                format!(" ({predicted} predicted, which is within that)")
            }
            _ => format!(" as predicted ({predicted})"),
        },
        Some(TimePrediction::Off(predicted) | TimePrediction::Unknown(predicted)) => {
            format!(" ({predicted} predicted)")
        }
        None if predictions.threads().may_contend => {
            ", not predicted: several threads allocate".to_owned()
        }
        None => String::new(),
    }
}

/// ` as predicted`, with the range where it is wide, or what was predicted.
fn prediction_text(range: [f64; 2], values: &[f64]) -> String {
    let (Some((least, most)), Some(middle)) = (stats::range(values), stats::median(values)) else {
        return String::new();
    };
    let tolerance_bytes = SMALL_BYTES.max(RIGHT_SHARE * middle);
    let is_within = least >= range[0] - tolerance_bytes && most <= range[1] + tolerance_bytes;
    if is_within || overlap(range, values) == Overlap::Whole {
        // A range of a factor of two says little.
        let is_wide = range[1] > 2.0 * range[0].max(1.0) && range[1] - range[0] > 2.0 * SMALL_BYTES;
        return match is_wide {
            true => format!(" within the wide range predicted ({})", byte_range(&range)),
            false => " as predicted".to_owned(),
        };
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

/// Which installed library a program had for a backend that heaplay has built in, too: the two can be of
/// different versions. Empty where there is none.
fn libraries_note(all: &[LiveRuns]) -> String {
    let note = |runs: &LiveRuns| {
        let spec: BackendSpec = runs.candidate.name.parse().ok()?;
        let layer = spec.layers().find(|layer| matches!(preloaded_library(layer), Ok(Some(_))))?;
        let file = runs.runs.first()?.allocator.as_ref()?.file.display().to_string();
        (!layer.is_library()).then(|| {
            let name = layer.name();
            format!(
                "{name} is the installed {file} here, in the program and in its replay; `heaplay run` has \
                 the {name} that is built in, whose version `heaplay backends` shows. -b so:{file} replays \
                 this one\n"
            )
        })
    };
    all.iter().filter_map(note).collect()
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

#[cfg(test)]
mod tests {
    use super::super::predicted_time::LEAST_ERROR;
    use super::*;

    fn found(change: f64, lower: f64, upper: f64, decision: Decision) -> TimeComparison {
        TimeComparison { change, lower, upper, decision, pairs: 10, pairs_needed: None }
    }

    #[test]
    fn a_measured_time_contradicts_a_prediction_of_another_sign_or_far_from_it() {
        let predicted = |share| PredictedShare { share, error: LEAST_ERROR };
        let judge = |found, share| judge_time(found, predicted(share));
        let wrong = |share| TimePrediction::Contradicted(predicted(share));
        let off = |share| TimePrediction::Off(predicted(share));
        let slower = found(0.48, 0.40, 0.55, Decision::Slower);
        assert_eq!(judge(&slower, -0.29), wrong(-0.29));
        assert!(matches!(judge(&slower, 0.44), TimePrediction::Right(_)));
        assert_eq!(judge(&slower, 0.35), off(0.35));
        assert_eq!(judge(&slower, 0.29), wrong(0.29));
        // Nothing was predicted, and the interval is far from that.
        assert_eq!(judge(&slower, 0.03), wrong(0.03));
        let little = found(0.05, 0.02, 0.08, Decision::Slower);
        assert!(matches!(judge(&little, 0.03), TimePrediction::Right(_)));
        // Shown as no difference: `within ±5 %`.
        assert!(matches!(judge(&little, -0.03), TimePrediction::Right(_)));
        assert_eq!(judge(&little, 0.12), off(0.12));
        assert_eq!(judge(&little, -0.11), wrong(-0.11));
        // What is not decided contradicts nothing.
        let open = found(0.3, -0.1, 0.8, Decision::Open);
        assert_eq!(judge(&open, -0.29), off(-0.29));
        let few = found(0.3, f64::NEG_INFINITY, f64::INFINITY, Decision::Open);
        assert!(matches!(judge(&few, -0.29), TimePrediction::Unknown(_)));
    }

    #[test]
    fn memory_is_as_predicted_within_a_tolerance_and_a_wide_range_is_shown() {
        let mib = |number: f64| number * SMALL_BYTES;
        let text = |range: [f64; 2], values: [f64; 3]| {
            prediction_text(range.map(mib), &values.map(mib)).replace('\u{a0}', " ")
        };
        assert_eq!(text([149.0, 149.0], [148.9, 149.3, 151.0]), " as predicted");
        assert_eq!(text([153.0, 164.0], [164.0, 164.2, 164.4]), " as predicted");
        assert_eq!(
            text([4.0, 149.0], [148.8, 149.0, 149.1]),
            " within the wide range predicted (4.0 MiB–149 MiB)"
        );
        assert_eq!(text([4.0, 5.0], [2.0, 4.5, 8.0]), " as predicted");
        assert_eq!(text([4.0, 20.0], [18.0, 22.0, 24.0]), " (4.0 MiB–20 MiB predicted)");
        assert_eq!(text([4.0, 4.0], [8.0, 8.0, 8.0]), " (4.0 MiB predicted)");
    }

    #[test]
    fn a_prediction_of_little_certainty_is_contradicted_by_less() {
        let faster = found(-0.33, -0.34, -0.32, Decision::Faster);
        let of_calls = |error| PredictedShare { share: -0.5, error };
        assert!(matches!(judge_time(&faster, of_calls(0.18)), TimePrediction::Right(_)));
        let shown = of_calls(0.165);
        assert_eq!(judge_time(&faster, shown), TimePrediction::Off(shown));
        // Within its error it has no sign that another could contradict, and any small one is as shown.
        let slower = found(0.03, 0.02, 0.04, Decision::Slower);
        let unclear = PredictedShare { share: -0.066, error: 0.09 };
        assert!(matches!(judge_time(&slower, unclear), TimePrediction::Right(_)));
    }
}
