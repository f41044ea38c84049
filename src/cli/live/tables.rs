//! The tables of `heaplay live`: what each backend costs the program, beside the prediction.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::predicted_time::PredictedExtra;
use super::prediction::{Prediction, Predictions};
use super::signed::{signed, signed_time};
use crate::live::{LiveRuns, Observation, compare};
use crate::stats::{Decision, TimeComparison};
use crate::{stats, units};

/// A moment of a run at which its memory is compared.
pub struct LiveMoment {
    /// When it is.
    pub place: &'static str,
    /// The program's memory then, bytes.
    pub of_run: fn(&Observation) -> f64,
    /// The predicted range, bytes.
    pub of_prediction: fn(&Prediction) -> [f64; 2],
}

/// All of them.
pub const MOMENTS: [LiveMoment; 2] = [
    LiveMoment {
        place: "at the peak",
        of_run: |run| run.peak_bytes as f64,
        of_prediction: |predicted| predicted.peak_bytes,
    },
    LiveMoment {
        place: "at the end",
        of_run: |run| run.end_bytes as f64,
        of_prediction: |predicted| predicted.end_bytes,
    },
];

/// All tables. `is_timed_out` is a run that heaplay ended after a fixed time, so that processor time
/// is no cost of the same work.
pub fn text(all: &[LiveRuns], predictions: Option<&Predictions>, is_timed_out: bool) -> String {
    let rounds = all.first().map_or(0, |base| base.runs.len());
    let is_python = all.iter().flat_map(|runs| &runs.runs).any(Observation::is_python);
    let after = if is_python { ", after the interpreter has taken itself apart" } else { "" };
    let mut text = format!(
        "{rounds} round{}; resident anonymous memory of the program (the end is its exit{after}; a mark \
         shows an earlier moment)\n{}\n\n",
        if rounds == 1 { "" } else { "s" },
        memory(all, predictions)
    );
    if let Some(marks) = marks(all) {
        text += &format!("resident anonymous memory at its marks\n{marks}\n\n");
    }
    text += &format!("time of the program\n{}\n\n", time(all, predictions, is_timed_out));
    let parts = predictions
        .filter(|predictions| !is_timed_out && all.len() > 1 && !predictions.threads().may_contend);
    if let Some(parts) = parts.and_then(|predictions| predicted_parts(all, predictions)) {
        text +=
            &format!("predicted processor time against the first backend, by part\n{parts}\n\n");
    }
    if is_timed_out {
        text += "Each run had the same wall time, so the processor times are not those of the same \
                 work.\n";
    }
    text
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn measured(all: &[LiveRuns]) -> impl Iterator<Item = &LiveRuns> {
    all.iter().filter(|runs| !runs.runs.is_empty())
}

fn memory(all: &[LiveRuns], predictions: Option<&Predictions>) -> Table {
    let mut header = vec!["backend", "at the peak", "at the end"];
    if predictions.is_some() {
        header = vec![
            "backend",
            "at the peak",
            "predicted",
            "off by",
            "at the end",
            "predicted",
            "off by",
        ];
    }
    let mut table = table(&header);
    for runs in measured(all) {
        let mut row = vec![runs.candidate.label.clone()];
        let prediction = predictions.map(|all| all.of(&runs.candidate.name));
        for moment in MOMENTS {
            let values = runs.figures(moment.of_run);
            row.push(byte_range(&values));
            if let Some(prediction) = prediction {
                let range = prediction.map(moment.of_prediction);
                row.push(range.map_or_else(none, |range| byte_range(&range)));
                row.push(range.map_or_else(none, |range| off(range, &values)));
            }
        }
        table.add_row(row);
    }
    table
}

pub(super) fn none() -> String {
    "–".to_owned()
}

/// How a predicted range lies to the program's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// One of the two is in the other.
    Whole,
    /// Each has a part that the other has not.
    Partial,
    /// They are apart.
    None,
}

/// How the two ranges lie to each other.
pub fn overlap(predicted: [f64; 2], values: &[f64]) -> Overlap {
    let Some((least, most)) = stats::range(values) else { return Overlap::None };
    let [low, high] = predicted;
    match (low <= least, high >= most) {
        _ if low > most || high < least => Overlap::None,
        (true, true) => Overlap::Whole,
        (false, false) => Overlap::Whole,
        _ if low == least || high == most => Overlap::Whole,
        _ => Overlap::Partial,
    }
}

/// How far a predicted range is from the program's own.
fn off(predicted: [f64; 2], values: &[f64]) -> String {
    let Some((difference, share)) = difference(predicted, values) else { return none() };
    match overlap(predicted, values) {
        Overlap::Whole => return "inside".to_owned(),
        Overlap::Partial => return "overlaps".to_owned(),
        Overlap::None => {}
    }
    let sign = if difference < 0.0 { "−" } else { "+" };
    format!("{sign}{} ({sign}{})", units::bytes(difference.abs()), units::percent(share.abs()))
}

/// The distance of a predicted range from the program's own, in bytes and as a share of the median; 0
/// where the two overlap. `None` without a run.
pub fn difference(predicted: [f64; 2], values: &[f64]) -> Option<(f64, f64)> {
    let (least, most) = stats::range(values)?;
    let difference = if predicted[0] > most {
        predicted[0] - most
    } else if predicted[1] < least {
        predicted[1] - least
    } else {
        0.0
    };
    Some((difference, difference / stats::median(values)?.max(1.0)))
}

/// The memory at each mark that every run of the first backend had.
fn marks(all: &[LiveRuns]) -> Option<Table> {
    let names: Vec<&str> =
        all.first()?.runs.first()?.marks.iter().map(|mark| mark.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let header: Vec<&str> = ["backend"].into_iter().chain(names.iter().copied()).collect();
    let mut table = table(&header);
    for runs in measured(all) {
        let mut row = vec![runs.candidate.label.clone()];
        for (at, name) in names.iter().enumerate() {
            let marks = runs.runs.iter().filter_map(|run| run.marks.get(at));
            let values: Vec<f64> = marks
                .filter(|mark| mark.name == *name)
                .map(|mark| mark.anonymous_bytes as f64)
                .collect();
            row.push(byte_range(&values));
        }
        table.add_row(row);
    }
    Some(table)
}

fn time(all: &[LiveRuns], predictions: Option<&Predictions>, is_timed_out: bool) -> Table {
    let base = all.first().map_or("", |base| base.candidate.name.as_str());
    let label = all.first().map_or("", |base| base.candidate.label.as_str());
    let against = format!("against {label}");
    let mut header =
        vec!["backend", "processor", "user", "system", "wall", "page faults", &against];
    if predictions.is_some() {
        header.push("predicted");
    }
    header.push("decided");
    let mut table = table(&header);
    for (at, runs) in all.iter().enumerate().filter(|(_, runs)| !runs.runs.is_empty()) {
        let time = |figure: fn(&Observation) -> u64| {
            let values = runs.figures(|run| figure(run) as f64);
            stats::median(&values).map_or_else(none, units::nanoseconds)
        };
        let faults = stats::median(&runs.figures(|run| run.faults as f64)).unwrap_or(0.0);
        let mut row = vec![
            runs.candidate.label.clone(),
            time_range(&runs.figures(|run| run.processor_ns() as f64)),
            time(|run| run.user_ns),
            time(|run| run.system_ns),
            time(|run| run.wall_ns),
            units::count(faults as u64),
        ];
        let comparison = comparison(all, at).filter(|_| !is_timed_out);
        row.push(comparison.map_or_else(none, |comparison| change(&comparison)));
        if let Some(predictions) = predictions {
            let predicted = predictions.extra(base, &runs.candidate.name);
            row.push(match (predicted, comparison) {
                (Some(extra), Some(_)) => predicted_change(extra, &all[0]),
                _ => none(),
            });
        }
        row.push(comparison.map_or_else(none, |comparison| decided(&comparison)));
        table.add_row(row);
    }
    table
}

/// The processor time of the backend at `at` against the first one's; `None` for the first itself.
pub fn comparison(all: &[LiveRuns], at: usize) -> Option<TimeComparison> {
    if at == 0 {
        return None;
    }
    let processor = |runs: &LiveRuns| runs.figures(|run| run.processor_ns() as f64);
    let pairs = all.iter().skip(1).filter(|runs| runs.failure.is_none()).count();
    compare(&processor(all.first()?), &processor(all.get(at)?), pairs)
}

/// `+12 % (+10 to +14)`.
pub fn change(comparison: &TimeComparison) -> String {
    if comparison.lower.is_finite() {
        format!(
            "{} % ({} to {})",
            signed(comparison.change * 100.0),
            signed(comparison.lower * 100.0),
            signed(comparison.upper * 100.0)
        )
    } else {
        format!("{} %", signed(comparison.change * 100.0))
    }
}

/// What a comparison says.
pub fn decided(comparison: &TimeComparison) -> String {
    match comparison.decision {
        Decision::Open if comparison.lower.is_infinite() => {
            "too few rounds (-r 6, or more --budget)".to_owned()
        }
        _ => comparison.decision_text(),
    }
}

/// A predicted difference as a share of the base's processor time: `+11 % ±5 (+120 ms)`.
fn predicted_change(extra: PredictedExtra, base: &LiveRuns) -> String {
    let base_ns = stats::median(&base.figures(|run| run.processor_ns() as f64)).unwrap_or(1.0);
    let predicted = extra.share_of(base_ns);
    match predicted.has_sign() {
        true => format!("{predicted} ({})", signed_time(extra.sum_ns())),
        false => predicted.to_string(),
    }
}

/// The parts of the predicted processor time, against the first backend. The sum has the calls
/// between the two kinds, by the program's [`Coldness`](super::predicted_time::Coldness).
fn predicted_parts(all: &[LiveRuns], predictions: &Predictions) -> Option<Table> {
    let (base, others) = all.split_first()?;
    let base_ns = stats::median(&base.figures(|run| run.processor_ns() as f64))?.max(1.0);
    let mut table = table(&[
        "backend",
        "start",
        "calls, warm caches",
        "calls, cold caches",
        "collector",
        "sum",
        "of its time",
    ]);
    for runs in others.iter().filter(|runs| !runs.runs.is_empty()) {
        let names = [&base.candidate.name, &runs.candidate.name];
        let extra = predictions.extra(names[0], names[1]);
        let part = |ns: Option<f64>| ns.map_or_else(none, signed_time);
        let share = extra.map(|extra| format!("{} %", signed(extra.sum_ns() / base_ns * 100.0)));
        table.add_row(vec![
            runs.candidate.label.clone(),
            part(extra.and_then(|extra| extra.start_ns)),
            part(extra.map(|extra| extra.warm_calls_ns)),
            part(extra.map(|extra| extra.cold_calls_ns)),
            part(extra.and_then(|extra| extra.collector_ns)),
            part(extra.map(|extra| extra.sum_ns())),
            share.unwrap_or_else(none),
        ]);
    }
    Some(table)
}

/// `43 MiB`, or `43 MiB–45 MiB` where the ends read differently.
pub fn byte_range(values: &[f64]) -> String {
    let Some((least, most)) = stats::range(values) else { return none() };
    let [least, most] = [units::bytes(least), units::bytes(most)];
    if least == most { least } else { format!("{least}–{most}") }
}

fn time_range(values: &[f64]) -> String {
    let Some((least, most)) = stats::range(values) else { return none() };
    let middle = stats::median(values).unwrap_or(least);
    format!(
        "{} ({}–{})",
        units::nanoseconds(middle),
        units::nanoseconds(least),
        units::nanoseconds(most)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_only_overlap_are_not_inside() {
        let program = [5.0, 7.0, 6.0];
        for (predicted, expected) in [
            ([4.0, 8.0], Overlap::Whole),
            ([6.0, 6.0], Overlap::Whole),
            ([5.0, 6.0], Overlap::Whole),
            ([4.0, 5.0], Overlap::Partial),
            ([4.0, 6.0], Overlap::Partial),
            ([6.0, 9.0], Overlap::Partial),
            ([3.0, 4.0], Overlap::None),
            ([8.0, 9.0], Overlap::None),
        ] {
            assert_eq!(overlap(predicted, &program), expected, "{predicted:?}");
        }
    }
}
