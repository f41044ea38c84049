//! A policy judges a suite: the [`Judge`] that `bench` asks while it measures.

use super::exact::compare_exact;
use super::finding::{Finding, Verdict};
use super::instructions::{self, least_and_most};
use super::measures::INSTRUCTIONS;
use super::policy::Policy;
use super::timing::{Budget, Gate, Ruling, finding};
use crate::results::{CellLabel, Judge, PairRecord, RepeatedRuns, TimedMeasure};

impl Judge for Policy {
    type Finding = Finding;
    type Pairs = Gate;

    fn pair_judge(&self, measure: TimedMeasure, cells: usize, measures: usize) -> Gate {
        let margin = self.margin(measure.name());
        let budget = Budget { fail: self.error_budget(), ..Budget::default() };
        Gate { fail: margin.fail, pass: margin.pass, budget, cells, measures }
    }

    fn judge_pairs(
        &self,
        cell: CellLabel<'_>,
        measure: TimedMeasure,
        judge: &Gate,
        ending: Option<Ruling>,
        record: PairRecord,
    ) -> Finding {
        finding(cell, measure, judge, ending, record)
    }

    fn judge_exact(&self, cell: CellLabel<'_>, sides: [RepeatedRuns<'_>; 2]) -> Vec<Finding> {
        compare_exact(cell, &sides[0], &sides[1], self)
    }

    fn is_third_run_needed(&self, findings: &[Finding]) -> bool {
        findings.iter().any(|finding| finding.verdict == Verdict::Fail)
    }

    fn is_second_count_needed(&self, [baseline, candidate]: [f64; 2]) -> bool {
        let margin = self.margin(INSTRUCTIONS.name).fail;
        instructions::is_second_count_needed(baseline, candidate, margin)
    }

    fn judge_instructions(
        &self,
        cell: CellLabel<'_>,
        [baseline, candidate]: &[Vec<f64>; 2],
    ) -> Finding {
        let margin = self.margin(INSTRUCTIONS.name).fail;
        let (verdict, why) = instructions::judge(baseline, candidate, margin);
        Finding {
            unit: INSTRUCTIONS.unit,
            margin,
            baseline: Some(least_and_most(baseline).0),
            candidate: Some(least_and_most(candidate).0),
            ..Finding::bare(cell.trace, cell.backend, INSTRUCTIONS.name, verdict, why)
        }
    }

    fn missing(&self, cell: CellLabel<'_>, measure: &str, reason: String) -> Finding {
        Finding::bare(cell.trace, cell.backend, measure, Verdict::Missing, reason)
    }

    fn skipped(&self, cell: CellLabel<'_>, measure: &str, reason: String) -> Finding {
        Finding::bare(cell.trace, cell.backend, measure, Verdict::Skipped, reason)
    }
}
