//! The pairs of backends that a run compares: how much longer the one takes, by which interval, after
//! how many repetitions it was clear, and what another minute would bring.

use super::figures::TraceReport;
use super::files::COMPARISONS_CSV;
use super::markdown::markdown;
use super::text_table::{Cell, texts};
use crate::results::{ComparedPair, TimeBudget};
use crate::stats::{self, Decision, LOOKS, TimeComparison};
use crate::units::{percent, ratio};

/// More open pairs than this are in the CSV only.
const SHOWN_MAX: usize = 12;

/// The columns of the table.
pub const HEADER: [&str; 6] =
    ["time of", "ratio", "interval", "repetitions", "decision", "a minute more"];

/// A pair on a trace.
struct PairRow<'a> {
    trace: &'a str,
    pair: &'a ComparedPair,
    /// The labels of base and candidate.
    names: [&'a str; 2],
    comparison: TimeComparison,
    /// Wall seconds of a repetition of the time pass on the trace.
    seconds: Option<f64>,
}

impl PairRow<'_> {
    /// Half of the interval after another minute, as a share; `None` for a pair that is decided.
    fn after_a_minute(&self) -> Option<f64> {
        let is_open = self.comparison.decision == Decision::Open;
        let half = self.comparison.half_width_after(60.0 / self.seconds?.max(1e-3));
        Some(half).filter(|half| is_open && half.is_finite())
    }

    /// Its cells below [`HEADER`].
    fn cells(&self) -> [Cell; 6] {
        let half_percent = self.after_a_minute().map(|half| half * 100.0);
        [
            format!("{} : {}", self.names[1], self.names[0]).into(),
            Cell::of(Some(1.0 + self.comparison.change), ratio),
            self.interval().into(),
            Cell::count(self.comparison.pairs as u64),
            self.comparison.decision_text().into(),
            Cell::of(half_percent, |half| format!("±{}", percent(half / 100.0))),
        ]
    }

    fn interval(&self) -> String {
        match self.comparison.lower.is_finite() {
            true => {
                let [lower, upper] = [self.comparison.lower, self.comparison.upper];
                format!("{:.3} to {:.3}", 1.0 + lower, 1.0 + upper)
            }
            false => "–".to_owned(),
        }
    }
}

fn pair_rows<'a>(trace_reports: &'a [TraceReport]) -> Vec<PairRow<'a>> {
    let rows = trace_reports.iter().flat_map(|trace_report| {
        let trace = trace_report.trace.name.as_str();
        let seconds = trace_report.repetition_seconds();
        let name = |spec: &str| {
            let backend = trace_report.backends.iter().find(|backend| backend.spec == spec);
            backend.map_or("", |backend| backend.name())
        };
        trace_report.comparisons.iter().filter_map(move |pair| {
            let names = [name(&pair.base), name(&pair.candidate)];
            Some(PairRow { trace, pair, names, comparison: pair.comparison?, seconds })
        })
    });
    rows.collect()
}

/// The cells of the pairs of one trace, below [`HEADER`].
pub fn cells_of_trace(trace_report: &TraceReport) -> Vec<Vec<Cell>> {
    let rows = pair_rows(std::slice::from_ref(trace_report));
    rows.iter().map(|row| row.cells().to_vec()).collect()
}

/// What was decided of all pairs, and a table of those that are shown: all where they are few, else
/// the open ones. `None` where nothing was compared.
pub fn comparisons(trace_reports: &[TraceReport]) -> Option<String> {
    let rows = pair_rows(trace_reports);
    let open: Vec<&PairRow> =
        rows.iter().filter(|row| row.comparison.decision == Decision::Open).collect();
    let fewest = open.iter().map(|row| row.comparison.pairs).min();
    let decided = rows.iter().filter(|row| row.comparison.decision != Decision::Open);
    let repetitions: Vec<f64> = decided.map(|row| row.comparison.pairs as f64).collect();
    if rows.is_empty() {
        return None;
    }
    let mut text = match stats::range(&repetitions) {
        Some((least, most)) => format!(
            "{} of {} comparisons of time are decided, after {} repetitions ({COMPARISONS_CSV}).\n",
            repetitions.len(),
            rows.len(),
            if least == most { least.to_string() } else { format!("{least} to {most}") }
        ),
        None => format!("None of {} comparisons of time is decided.\n", rows.len()),
    };
    let shown: Vec<&PairRow> = match rows.len() <= SHOWN_MAX {
        true => rows.iter().collect(),
        false => open,
    };
    let hidden = shown.len().saturating_sub(SHOWN_MAX);
    let cells = shown
        .iter()
        .take(SHOWN_MAX)
        .map(|row| std::iter::once(row.trace.to_owned()).chain(texts(&row.cells())).collect());
    let cells: Vec<Vec<String>> = cells.collect();
    if !cells.is_empty() {
        let header: Vec<&str> = std::iter::once("trace").chain(HEADER).collect();
        text += &format!("{}\n", markdown(&header, cells));
    }
    if hidden > 0 {
        text += &format!("{hidden} more: {COMPARISONS_CSV}\n");
    }
    if let (Some(first), Some(fewest)) = (trace_reports.first(), fewest) {
        text += &what_decides(first.time_budget(), fewest);
    }
    Some(text)
}

/// What would decide the open pairs, in a sentence. `fewest` is the least number of repetitions of one.
fn what_decides(budget: Option<TimeBudget>, fewest: usize) -> String {
    match budget.map(|budget| budget.seconds) {
        None => "Their number of repetitions was fixed (-r): without it a run goes on until each pair is \
                 decided.\n"
            .to_owned(),
        Some(seconds) if fewest < LOOKS[0] => format!(
            "Nothing is decided before {} repetitions, and the budget of {seconds} s ended after {fewest}: \
             raise --budget.\n",
            LOOKS[0]
        ),
        Some(_) if !stats::has_further_look(fewest) => String::new(),
        Some(seconds) => format!(
            "The budget of {seconds} s is spent: a larger --budget goes on with the pairs that are open.\n"
        ),
    }
}

/// All pairs as CSV.
///
/// # Errors
/// When the encoder refuses.
pub fn csv(trace_reports: &[TraceReport]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "trace",
        "candidate",
        "base",
        "time_ratio",
        "lower",
        "upper",
        "repetitions",
        "decision",
        "half_width_after_a_minute",
    ])?;
    for row in pair_rows(trace_reports) {
        let comparison = &row.comparison;
        let decision = match comparison.decision {
            Decision::Slower => "slower",
            Decision::Faster => "faster",
            Decision::Equal => "equal",
            Decision::Open => "open",
        };
        let finite = |value: f64| match value.is_finite() {
            true => format!("{value:.5}"),
            false => String::new(),
        };
        writer.write_record([
            row.trace,
            &row.pair.candidate,
            &row.pair.base,
            &finite(1.0 + comparison.change),
            &finite(1.0 + comparison.lower),
            &finite(1.0 + comparison.upper),
            &comparison.pairs.to_string(),
            decision,
            &row.after_a_minute().map(finite).unwrap_or_default(),
        ])?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::ComparedBackends;

    #[test]
    fn an_open_pair_has_its_next_step() {
        let budget = TimeBudget { seconds: 0.1, compared: ComparedBackends::default() };
        let text = what_decides(Some(budget), 5);
        assert!(
            text.contains("before 6 repetitions") && text.contains("0.1 s ended after 5"),
            "{text}"
        );
        assert!(what_decides(Some(budget), 7).contains("a larger --budget"));
        assert!(what_decides(None, 5).contains("fixed (-r)"));
        let last = *LOOKS.last().unwrap_or(&0);
        assert_eq!(what_decides(Some(budget), last), "", "no further repetition is looked at");
    }
}
