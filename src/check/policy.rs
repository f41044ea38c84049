//! The policy: a TOML file with margins by measure, and increases that are accepted. The defaults
//! need no file.
//!
//! ```toml
//! error_budget = 0.001          # of a false failure, over the whole suite
//! recording_tolerance = 0.5     # % of the live peak by which memory may grow between recordings
//!
//! [margins.time]                # time, tail, instructions, or any exact measure of
//!                               # `heaplay check --list`
//! fail = 2.0                    # % above which it fails
//! pass = 4.0                    # % below which it has to be to pass (time and tail only)
//!
//! [[accept]]
//! measure = "resident_end_bytes"
//! trace = "service"             # all traces, when left out
//! backend = "pymalloc@3.11"     # all backends, when left out
//! up_to = 3.0                   # %, any increase when left out
//! reason = "the new cache, agreed in the review of 14 March"
//! until = 2026-12-31
//! ```

use std::collections::BTreeMap;

use toml::value::Date;

use super::finding::{Finding, Verdict};
use super::measures::margin;
use super::policy_file::{self, PolicyError, PolicyFile};
use crate::results::civil_date;

/// The growth that is allowed of one measure, as shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// The measure fails above this.
    pub fail: f64,
    /// The measure passes below this.
    pub pass: f64,
}

/// How to judge.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// By measure.
    margins: BTreeMap<String, Margin>,
    accepted: Vec<AcceptedIncrease>,
    error_budget: Option<f64>,
    recording_tolerance_percent: Option<f64>,
}

/// An increase that is accepted.
#[derive(Clone, Debug)]
struct AcceptedIncrease {
    measure: String,
    trace: Option<String>,
    backend: Option<String>,
    up_to_percent: Option<f64>,
    reason: String,
    until: Date,
}

/// Whether a finding's measure is that of the policy: `calls of malloc` is `calls`.
fn is_measure(finding: &str, name: &str) -> bool {
    finding == name || finding.strip_prefix(name).is_some_and(|rest| rest.starts_with(" of "))
}

/// Margins from percent. The second one is twice the first where it is not given.
fn margin_of(fail_percent: f64, pass_percent: Option<f64>) -> Margin {
    let pass_percent = pass_percent.unwrap_or(fail_percent * 2.0);
    Margin { fail: fail_percent / 100.0, pass: pass_percent / 100.0 }
}

impl From<PolicyFile> for Policy {
    fn from(file: PolicyFile) -> Policy {
        let margins = file.margins.into_iter().map(|(name, entry)| {
            let name = name.into_inner();
            let fail = entry.fail.map_or(margin(&name), toml::Spanned::into_inner);
            let pass = entry.pass.map(toml::Spanned::into_inner);
            (name, margin_of(fail, pass))
        });
        let accepted = file.accept.into_iter().filter_map(|entry| {
            Some(AcceptedIncrease {
                measure: entry.measure.into_inner(),
                trace: entry.trace,
                backend: entry.backend,
                up_to_percent: entry.up_to,
                reason: entry.reason.into_inner(),
                until: entry.until.into_inner().date?,
            })
        });
        Policy {
            margins: margins.collect(),
            accepted: accepted.collect(),
            error_budget: file.error_budget.map(toml::Spanned::into_inner),
            recording_tolerance_percent: file.recording_tolerance.map(toml::Spanned::into_inner),
        }
    }
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// The first line that is wrong: its syntax, an unknown name, or an impossible figure.
    pub fn read(text: &str) -> Result<Policy, PolicyError> {
        policy_file::read(text).map(Policy::from)
    }

    /// The margin of a measure. By default time and tail fail over 2 % and pass below 4 %,
    /// instructions fail over 0.1 %, and every other measure fails at any increase.
    pub fn margin(&self, measure: &str) -> Margin {
        let entry = self.margins.iter().find(|(name, _)| is_measure(measure, name));
        entry.map_or_else(|| margin_of(margin(measure), None), |(_, margin)| *margin)
    }

    /// The probability of a false failure that is allowed of the whole suite.
    pub fn error_budget(&self) -> f64 {
        self.error_budget.unwrap_or(0.001)
    }

    /// The policy with another recording tolerance, in percent.
    #[must_use]
    pub fn with_recording_tolerance(mut self, percent: Option<f64>) -> Policy {
        self.recording_tolerance_percent = percent.or(self.recording_tolerance_percent);
        self
    }

    /// The growth that is allowed between recordings of a program, as a share: of a measure, or of
    /// the live peak where that is larger.
    pub fn recording_tolerance(&self) -> f64 {
        self.recording_tolerance_percent.unwrap_or(0.5) / 100.0
    }

    /// Accepts the failures for which there is an entry, and returns a note for each entry that is
    /// expired or accepts nothing.
    pub fn accept(&self, findings: &mut [Finding], now_unix_seconds: u64) -> Vec<String> {
        let today = civil_date(now_unix_seconds);
        self.accepted.iter().filter_map(|entry| entry.apply(findings, today)).collect()
    }
}

impl AcceptedIncrease {
    /// Accepts the findings that it is for; a note where the entry is of no use. `today` is year,
    /// month, day.
    fn apply(&self, findings: &mut [Finding], today: (i64, i64, i64)) -> Option<String> {
        let date = self.until;
        let until = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
        let mut is_used = false;
        for finding in findings.iter_mut().filter(|finding| self.is_for(finding)) {
            is_used = true;
            if until >= today {
                finding.verdict = Verdict::Accepted;
                finding.why = format!("{} (until {date})", self.reason);
            }
        }
        let what = format!("the policy accepts {} until {date} ({})", self.measure, self.reason);
        match (until < today, is_used) {
            (true, true) => Some(format!(
                "{what}: that is over; repair the regression, or give the entry another date"
            )),
            (true, false) => {
                Some(format!("{what}: that is over, and nothing needs the entry: remove it"))
            }
            (false, false) => {
                Some(format!("{what}: nothing needed the entry; remove it when that stays so"))
            }
            (false, true) => None,
        }
    }

    fn is_for(&self, finding: &Finding) -> bool {
        let matches =
            |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|name| name == found);
        let is_below = self
            .up_to_percent
            .is_none_or(|most| finding.growth().is_some_and(|growth| growth * 100.0 <= most));
        matches!(finding.verdict, Verdict::Fail | Verdict::Warn)
            && is_measure(&finding.measure, &self.measure)
            && matches(&self.trace, &finding.trace)
            && matches(&self.backend, &finding.backend)
            && is_below
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Metric;

    #[test]
    fn defaults_and_overrides() {
        let none = Policy::default();
        assert_eq!(none.margin("time"), Margin { fail: 0.02, pass: 0.04 });
        assert_eq!(none.margin(Metric::ResidentEndBytes.name()).fail, 0.0);
        let policy =
            Policy::read("[margins.time]\nfail = 3.5\n[margins.calls]\nfail = 1\n").unwrap();
        assert_eq!(policy.margin("time"), Margin { fail: 0.035, pass: 0.07 });
        assert_eq!(policy.margin("calls of malloc").fail, 0.01);
        assert_eq!(policy.margin("callsigns").fail, 0.0);
    }

    #[test]
    fn a_typo_names_its_line_and_the_nearest_name() {
        let error = |text: &str| Policy::read(text).unwrap_err();
        for (text, line, word) in [
            ("\nerror_budgte = 0.1\n", 2, "error_budget"),
            ("[margins.tmie]\nfail = 2\n", 1, "`time`"),
            ("[margins.time]\n\nfial = 2\n", 3, "`fail`"),
            ("[margins.time]\nfail = \"2\"\n", 2, "invalid type"),
            ("[margins.time]\nfail = -2\n", 2, "from 0 to"),
            ("[margins.time]\nfail = 5\npass = 3\n", 3, "pass"),
            ("[margins.arenas_peak]\npass = 3\n", 2, "time and tail"),
            ("x = \n", 1, ""),
            ("[[accept]]\nmeasure = \"time\"\nreason = \" \"\nuntil = 2030-01-01\n", 3, "reason"),
            (
                "[[accept]]\nmeasure = \"resident_end_byte\"\nreason = \"a\"\nuntil = 2030-01-01\n",
                2,
                Metric::ResidentEndBytes.name(),
            ),
            ("[[accept]]\nmeasure = \"time\"\nuntil = 2030-01-01\n", 1, "reason"),
            ("error_budget = 2\n", 1, "probability"),
        ] {
            let found = error(text);
            assert_eq!(found.line, line, "{text}: {found}");
            assert!(found.reason.contains(word), "{text}: {found}");
        }
    }

    #[test]
    fn broken_text_is_an_error_with_a_line_of_it() {
        let whole = "error_budget = 0.01\n[margins.time]\nfail = 3\npass = 6\n\
                     [[accept]]\nmeasure = \"tail\"\nreason = \"é\"\nuntil = 2030-01-01\n";
        assert!(Policy::read(whole).is_ok());
        for (cut, _) in whole.char_indices() {
            let without =
                format!("{}{}", &whole[..cut], whole[cut..].chars().skip(1).collect::<String>());
            for text in [&whole[..cut], &without] {
                if let Err(error) = Policy::read(text) {
                    assert!(
                        (1..=text.matches('\n').count() + 1).contains(&error.line),
                        "{text}: {error}"
                    );
                }
            }
        }
    }

    #[test]
    fn accepted_until_a_date_and_reported_when_useless() {
        let policy = Policy::read(
            "[[accept]]\nmeasure = \"arenas_end\"\nup_to = 50\nreason = \"known\"\nuntil = 2026-03-02\n\
             [[accept]]\nmeasure = \"tail\"\nreason = \"never\"\nuntil = 2099-01-01\n",
        )
        .unwrap();
        let failed = || {
            let mut finding = Finding::bare("t", "b", Metric::ArenasEnd.name(), Verdict::Fail, "");
            (finding.baseline, finding.candidate) = (Some(10.0), Some(12.0));
            finding
        };
        let at = |day: u64| {
            let mut findings = [failed()];
            let notes = policy.accept(&mut findings, day * 86_400);
            (findings[0].verdict, notes)
        };
        // 2026-03-02 is day 20,514.
        let (verdict, notes) = at(20_514);
        assert_eq!(verdict, Verdict::Accepted);
        assert!(notes.len() == 1 && notes[0].contains("tail"), "{notes:?}");
        let (verdict, notes) = at(20_515);
        assert_eq!(verdict, Verdict::Fail);
        assert!(notes[0].contains("over"), "{notes:?}");
        let mut large = [Finding { candidate: Some(16.0), ..failed() }];
        policy.accept(&mut large, 0);
        assert_eq!(large[0].verdict, Verdict::Fail, "beyond up_to");
    }
}
