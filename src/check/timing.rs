//! Judges pairs that are still coming in: pure functions of the figures so far. The caller brings
//! more pairs as long as a step asks for them.
//!
//! A figure is ln(candidate / baseline) of one pair. A [`Gate`] has two margins. The candidate fails
//! if it is worse than the first margin with high confidence. It passes only if it is better than
//! the second one with high confidence. Between the two, more pairs follow.

use super::finding::{Evidence, Finding, Verdict};
use crate::results::{CellLabel, PairJudge, PairRatio, PairRecord, Step, TimedMeasure};
use crate::stats::{Estimate, LOOKS, error_of_look, look_after};

/// The largest error probability of a stage, however few cells there are.
const STAGE_ERROR_MOST: f64 = 0.01;

/// The error probabilities that are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Of a false failure, over all looks, cells and measures of the suite. A false failure needs
    /// two wrong stages that share no pair. So each stage may err as often as the square root of a
    /// measure's part: [`Gate::error_of_a_stage`].
    pub fail: f64,
    /// Of a false warning, over all looks of one cell.
    pub warn: f64,
    /// Of placing the candidate below a bound when it is above, at one look.
    pub pass: f64,
    /// Of a false alarm of the control, at one look, to either side.
    pub control: f64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { fail: 0.001, warn: 0.01, pass: 0.01, control: 0.001 }
    }
}

/// How one measure of one cell is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// The candidate fails above this share.
    pub fail: f64,
    /// The candidate passes only below this share.
    pub pass: f64,
    /// The error probabilities.
    pub budget: Budget,
    /// Cells of the suite.
    pub cells: usize,
    /// Timed measures of a cell.
    pub measures: usize,
}

impl Gate {
    /// The probability that one of the two stages is over the margin when the candidate is not, over
    /// all looks of the stage.
    pub fn error_of_a_stage(&self) -> f64 {
        (self.budget.fail / (self.cells * self.measures).max(1) as f64).sqrt().min(STAGE_ERROR_MOST)
    }

    /// The error probability of the look at so many pairs of a stage, for a failure.
    pub fn error_of_look(&self, pairs: usize) -> f64 {
        error_of_look(self.error_of_a_stage(), pairs)
    }

    /// Whether the figures of a stage are over the margin with high confidence.
    fn is_over(&self, estimate: &Estimate, pairs: usize) -> bool {
        estimate.lower(self.error_of_look(pairs)) > self.fail_log()
    }

    fn fail_log(&self) -> f64 {
        self.fail.ln_1p()
    }

    fn pass_log(&self) -> f64 {
        self.pass.ln_1p()
    }

    fn is_warning(&self, estimate: &Estimate, pairs: usize) -> bool {
        estimate.lower(error_of_look(self.budget.warn, pairs)) > 0.0
    }

    /// Pass, better or warn, for a candidate below the second margin.
    fn below(&self, estimate: &Estimate, pairs: usize) -> Verdict {
        if self.is_warning(estimate, pairs) {
            Verdict::Warn
        } else if estimate.upper(self.budget.control) < 0.0 {
            Verdict::Better
        } else {
            Verdict::Pass
        }
    }
}

/// The verdict on a timed measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruling {
    /// The verdict.
    pub verdict: Verdict,
    /// The reason, where the figures do not give it.
    pub why: String,
}

fn ended(verdict: Verdict, why: impl Into<String>) -> Step<Ruling> {
    Step::Ended(Ruling { verdict, why: why.into() })
}

/// Looks at the figures of the first stage. The steps want numbers of [`LOOKS`].
fn look(values: &[f64], gate: &Gate) -> Step<Ruling> {
    let next = look_after(values.len());
    let Some(estimate) = Estimate::of(values).filter(|_| values.len() >= LOOKS[0]) else {
        return Step::More(next.unwrap_or(LOOKS[0]));
    };
    if gate.is_over(&estimate, values.len()) {
        return Step::Confirm;
    }
    let upper = estimate.upper(gate.budget.pass);
    let warns = gate.is_warning(&estimate, values.len());
    // The pairs of the first look are few, and share an estimate of the usual ratio of each segment.
    // That widens their errors: without any injection, the first look gave nearly half of all
    // warnings. So it may pass, and a warning waits for the second look.
    let may_warn = !warns || values.len() > LOOKS[0];
    // A look that only passes what is low ends those that are low by chance, so their figures lean to
    // the fast side. The same bound on both sides leaves no lean. What is faster than that goes on
    // until it is better with high confidence.
    let is_level = estimate.lower(gate.budget.pass) > -gate.fail_log();
    let is_clear = is_level || warns || estimate.upper(gate.budget.control) < 0.0;
    if may_warn && is_clear && (upper < gate.fail_log() || upper < gate.pass_log() && warns) {
        return ended(gate.below(&estimate, values.len()), "");
    }
    match next {
        Some(next) => Step::More(next),
        None => Step::Ended(give_up(values, gate, "after the last look")),
    }
}

/// The verdict when no more pairs come.
fn give_up(values: &[f64], gate: &Gate, when: &str) -> Ruling {
    let Some(estimate) = Estimate::of(values).filter(|_| values.len() >= LOOKS[0]) else {
        let why = format!("only {} pairs {when}; at least {} are needed", values.len(), LOOKS[0]);
        return Ruling { verdict: Verdict::Inconclusive, why };
    };
    if estimate.upper(gate.budget.pass) < gate.pass_log() {
        return Ruling { verdict: gate.below(&estimate, values.len()), why: String::new() };
    }
    let why = format!(
        "neither over the margin nor below {} % with high confidence {when}",
        gate.pass * 100.0
    );
    Ruling { verdict: Verdict::Inconclusive, why }
}

/// Looks at the figures of the confirmation: fresh pairs, and the baseline against itself in the
/// same run.
fn confirm(values: &[f64], control: &[f64], gate: &Gate) -> Step<Ruling> {
    let next = look_after(values.len());
    let of = |values: &[f64]| Estimate::of(values).filter(|_| values.len() >= LOOKS[0]);
    let (Some(fresh), Some(control)) = (of(values), of(control)) else {
        return Step::More(next.unwrap_or(LOOKS[0]));
    };
    let level = gate.budget.control / 2.0;
    if gate.is_over(&fresh, values.len()) {
        // A control that is off voids a failure that it might explain. It does not explain one that
        // is over the margin even without the control's offset. Otherwise more pairs decide: a
        // control of six pairs may be off by chance.
        let off = control.lower(level) > 0.0 || control.upper(level) < 0.0;
        let rest = fresh.lower(gate.error_of_look(values.len())) - control.mean.abs();
        if !off || rest > gate.fail_log() {
            return ended(Verdict::Fail, "");
        }
        return match next {
            Some(next) => Step::More(next),
            None => {
                let off = (control.mean.exp() - 1.0) * 100.0;
                ended(
                    Verdict::Inconclusive,
                    format!(
                        "the control alarmed: the baseline against itself is off by {off:+.2} %"
                    ),
                )
            }
        };
    }
    if fresh.upper(gate.budget.pass) < gate.fail_log() {
        // The first stage ended because it was high. The fresh pairs were not chosen so.
        return ended(Verdict::Warn, "over the margin at first, and below it in fresh pairs");
    }
    match next {
        Some(next) => Step::More(next),
        None => ended(
            Verdict::Inconclusive,
            "over the margin at first, and not confirmed by the last look",
        ),
    }
}

impl PairJudge for Gate {
    type Ending = Ruling;

    fn look(&self, values: &[f64]) -> Step<Ruling> {
        look(values, self)
    }

    fn confirm(&self, values: &[f64], control: &[f64]) -> Step<Ruling> {
        confirm(values, control, self)
    }

    fn give_up(&self, values: &[f64], when: &str) -> Ruling {
        give_up(values, self, when)
    }

    fn give_up_confirmation(&self, when: &str) -> Ruling {
        Ruling {
            verdict: Verdict::Inconclusive,
            why: format!("over the margin, and not confirmed yet {when}"),
        }
    }
}

impl Gate {
    /// The rule in a sentence, for the record of a check.
    pub fn rule(&self) -> String {
        format!(
            "20 % trimmed mean over pairs of processes of ln(candidate/baseline), Yuen's error, \
             Student's t; looks at {LOOKS:?} pairs; fails when the lower bound is over the margin and \
             that of fresh pairs too, beside an A/A control; error {} over cells ({}) and measures \
             ({}): at most {:.2e} over the looks of each of the two stages, the first of which have \
             the larger shares; passes when the upper bound at {} % is below",
            self.budget.fail,
            self.cells,
            self.measures,
            self.error_of_a_stage(),
            (1.0 - self.budget.pass) * 100.0,
        )
    }
}

/// The processor time's logarithms.
fn processor(pairs: &[PairRatio]) -> Vec<f64> {
    pairs.iter().map(|pair| pair.processor).collect()
}

/// The finding of a timed measure with its evidence. Without a `ruling` the measure was not carried
/// to its end.
pub fn finding(
    cell: CellLabel<'_>,
    measure: TimedMeasure,
    gate: &Gate,
    ruling: Option<Ruling>,
    record: PairRecord,
) -> Finding {
    let ruling = ruling.unwrap_or_else(|| Ruling {
        verdict: Verdict::Inconclusive,
        why: "it was not carried to its end".to_owned(),
    });
    let share = |log: f64| log.exp_m1();
    // Where there is a confirmation, its pairs are the estimate. Those of the first stage led to it
    // because they were high.
    let is_confirmed = record.confirmation.len() >= LOOKS[0];
    let shown = if is_confirmed { &record.confirmation } else { &record.pairs };
    let level = gate.error_of_look(shown.len());
    let wall: Vec<f64> = shown.iter().filter_map(|pair| pair.wall).collect();
    let evidence = Estimate::of(&processor(shown)).map(|estimate| Evidence {
        effect: share(estimate.mean),
        lower: share(estimate.lower(level)),
        upper: share(estimate.upper(gate.budget.pass)),
        error_of_a_look: level,
        fail_margin: gate.fail,
        pass_margin: gate.pass,
        wall_effect: Estimate::of(&wall).map(|estimate| share(estimate.mean)),
        pairs: record.pairs,
        confirmation: record.confirmation,
        control: record.control,
        seconds: record.seconds,
        load: record.load,
        seed: record.seed,
    });
    Finding {
        unit: "%",
        margin: gate.fail,
        evidence,
        ..Finding::bare(cell.trace, cell.backend, measure.name(), ruling.verdict, ruling.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    const GATE: Gate = Gate {
        fail: 0.02,
        pass: 0.04,
        budget: Budget { fail: 0.001, warn: 0.01, pass: 0.01, control: 0.001 },
        cells: 12,
        measures: 2,
    };

    /// Nearly normal: the sum of twelve, one in ten of them three times as wide.
    fn pair(random: &mut Random, truth: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| random.share()).sum::<f64>() - 6.0;
        truth.ln_1p() + sum * 0.018 * if random.share() < 0.1 { 3.0 } else { 1.0 }
    }

    /// A whole cell with simulated pairs; the verdict and the pairs that it took.
    fn cell(random: &mut Random, truth: f64) -> (Verdict, usize) {
        let mut values = Vec::new();
        loop {
            match look(&values, &GATE) {
                Step::More(wanted) => {
                    values.extend((values.len()..wanted).map(|_| pair(random, truth)))
                }
                Step::Ended(ruling) => return (ruling.verdict, values.len()),
                Step::Confirm => break,
            }
        }
        let (mut fresh, mut control) = (Vec::new(), Vec::new());
        loop {
            match confirm(&fresh, &control, &GATE) {
                Step::More(wanted) => {
                    fresh.extend((fresh.len()..wanted).map(|_| pair(random, truth)));
                    control.extend((control.len()..wanted).map(|_| pair(random, 0.0)));
                }
                Step::Ended(ruling) => return (ruling.verdict, values.len() + fresh.len()),
                Step::Confirm => unreachable!(),
            }
        }
    }

    #[test]
    fn verdicts_are_right_as_often_as_they_should_be() {
        let mut random = Random(11);
        let mut share = |truth: f64, trials: usize, verdicts: &[Verdict]| {
            let hits =
                (0..trials).filter(|_| verdicts.contains(&cell(&mut random, truth).0)).count();
            hits as f64 / trials as f64
        };
        // Each stage may err on the margin itself in 0.65 % (the root of 0.001 / 24), both in 0.004
        // %; with no difference it takes far more than that.
        assert!((GATE.error_of_a_stage() - 0.006_455).abs() < 1e-6);
        assert_eq!(share(0.0, 2000, &[Verdict::Fail]), 0.0);
        assert!(share(0.0, 500, &[Verdict::Pass, Verdict::Better]) > 0.97);
        assert!(share(0.02, 500, &[Verdict::Warn]) > 0.95);
        assert_eq!(share(0.02, 1000, &[Verdict::Fail]), 0.0);
        assert!(share(0.05, 500, &[Verdict::Fail]) > 0.98);
        assert!(share(0.10, 500, &[Verdict::Fail]) > 0.99);
        assert!(share(-0.05, 200, &[Verdict::Better, Verdict::Pass]) > 0.95);
    }

    /// On the margin itself, where it is hardest: how often a stage is over it, at a budget that
    /// can be counted.
    #[test]
    fn a_stage_errs_no_more_often_than_it_may() {
        let gate =
            Gate { budget: Budget { fail: 0.0001, ..GATE.budget }, cells: 1, measures: 1, ..GATE };
        assert!((gate.error_of_a_stage() - 0.01).abs() < 1e-12);
        let mut random = Random(3);
        let trials = 6000;
        let over = (0..trials).filter(|_| {
            let mut values = Vec::new();
            loop {
                match look(&values, &gate) {
                    Step::More(wanted) => {
                        values.extend((values.len()..wanted).map(|_| pair(&mut random, gate.fail)))
                    }
                    Step::Confirm => return true,
                    Step::Ended(_) => return false,
                }
            }
        });
        // 60 would be the whole of it; 90 is four standard deviations more.
        let over = over.count();
        assert!((3..90).contains(&over), "{over} of {trials}");
    }

    #[test]
    fn clear_cells_end_early() {
        let mut random = Random(5);
        let mut pairs: Vec<usize> = (0..200).map(|_| cell(&mut random, 0.0).1).collect();
        pairs.sort_unstable();
        assert!(pairs[100] <= 22, "{pairs:?}");
    }

    /// With no difference, the figures of cells that end early are below 0 as often as above.
    #[test]
    fn figures_of_early_endings_do_not_lean() {
        let mut random = Random(7);
        let (mut early, mut low) = (0, 0);
        while early < 1000 {
            let values: Vec<f64> = (0..LOOKS[0]).map(|_| pair(&mut random, 0.0)).collect();
            if matches!(look(&values, &GATE), Step::Ended(_)) {
                early += 1;
                let estimate = Estimate::of(&values).expect("enough pairs");
                low += usize::from(estimate.mean < 0.0);
            }
        }
        // Five standard deviations of a fair coin. Without the bound below, 82 % were.
        assert!((420..580).contains(&low), "{low} of {early} below 0");
    }

    #[test]
    fn a_warning_waits_for_the_second_look() {
        let above: Vec<f64> = (0..10).map(|n| 0.010 + f64::from(n % 3) * 0.0001).collect();
        assert_eq!(look(&above[..6], &GATE), Step::More(10));
        let Step::Ended(ruling) = look(&above, &GATE) else { panic!() };
        assert_eq!(ruling.verdict, Verdict::Warn);
        // What passes, passes at once.
        let still: Vec<f64> = (0..6).map(|n| f64::from(n % 3 - 1) * 0.0001).collect();
        assert!(matches!(look(&still, &GATE), Step::Ended(Ruling { verdict: Verdict::Pass, .. })));
    }

    #[test]
    fn a_control_that_alarms_voids_the_failure() {
        let last = LOOKS[LOOKS.len() - 1];
        let off: Vec<f64> = (0..last).map(|n| 0.05 + (n % 3) as f64 * 0.001).collect();
        assert_eq!(
            confirm(&off[..10], &off[..10], &GATE),
            Step::More(15),
            "more pairs may explain it"
        );
        let Step::Ended(ruling) = confirm(&off, &off, &GATE) else { panic!() };
        assert_eq!(ruling.verdict, Verdict::Inconclusive);
        assert!(ruling.why.contains("control"), "{}", ruling.why);
        let still: Vec<f64> = (0..20).map(|n| f64::from(n % 3 - 1) * 0.001).collect();
        let Step::Ended(ruling) = confirm(&off[..20], &still, &GATE) else { panic!() };
        assert_eq!(ruling.verdict, Verdict::Fail);
        // Off by 0.8 %, and 5 % are to be explained.
        let little: Vec<f64> = still.iter().map(|value| value - 0.008).collect();
        let Step::Ended(ruling) = confirm(&off[..20], &little, &GATE) else { panic!() };
        assert_eq!(ruling.verdict, Verdict::Fail);
        assert_eq!(give_up(&off[..4], &GATE, "in time").verdict, Verdict::Inconclusive);
    }
}
