//! The policy: a TOML file with margins by measure, and increases that are accepted. The defaults
//! need no file.
//!
//! ```toml
//! error_budget = 0.001          # of a false failure, over the whole suite
//! recording_tolerance = 1.0     # % by which exact measures may grow between two recordings
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

use serde::Deserialize;

use super::finding::{Finding, Verdict};
use super::measures::{INSTRUCTIONS, MEASURES, TAIL, TIME};
use crate::results::{Metric, civil_date};

/// The growth that is allowed of one measure, as shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// The measure fails above this.
    pub fail: f64,
    /// The measure passes below this.
    pub pass: f64,
}

/// An increase that is accepted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptEntry {
    measure: String,
    trace: Option<String>,
    backend: Option<String>,
    up_to: Option<f64>,
    reason: String,
    until: toml::value::Datetime,
}

/// The file as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    error_budget: Option<f64>,
    recording_tolerance: Option<f64>,
    #[serde(default)]
    margins: BTreeMap<String, MarginEntry>,
    #[serde(default)]
    accept: Vec<AcceptEntry>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MarginEntry {
    fail: Option<f64>,
    pass: Option<f64>,
}

/// How to judge.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    file: PolicyFile,
}

/// Why a policy cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct PolicyError {
    /// The line, counted from 1.
    pub line: usize,
    /// What was found, and what was expected.
    pub reason: String,
}

/// Every key of the file.
const KEYS: [&str; 12] = [
    "error_budget",
    "recording_tolerance",
    "margins",
    "accept",
    "fail",
    "pass",
    "measure",
    "trace",
    "backend",
    "up_to",
    "reason",
    "until",
];

/// The known name that is most like `name`, where one is close.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known.map(|k| (strsim::jaro_winkler(name, k), k)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > 0.7)
        .map(|(_, k)| format!(" (did you mean `{k}`?)"))
        .unwrap_or_default()
}

fn measures() -> impl Iterator<Item = &'static str> {
    let own = MEASURES.iter().map(|measure| measure.name);
    own.chain(Metric::ALL.iter().map(|metric| metric.name()))
}

/// Whether a finding's measure is that of the policy: `calls of malloc` is `calls`.
fn is_measure(finding: &str, name: &str) -> bool {
    finding == name || finding.strip_prefix(name).is_some_and(|rest| rest.starts_with(" of "))
}

/// Whether a measure is timed, so that it has a second margin.
fn is_timed(measure: &str) -> bool {
    measure == TIME.name || measure == TAIL.name
}

/// The text of a policy, to find the line of an error.
struct PolicyText<'a>(&'a str);

impl PolicyText<'_> {
    fn line_at(&self, offset: usize) -> usize {
        self.0[..offset.min(self.0.len())].matches('\n').count() + 1
    }

    /// The error at the first line that contains `name`. The parser gives no place for a name
    /// inside a value.
    fn error(&self, name: &str, reason: impl Into<String>) -> PolicyError {
        let line = self.0.find(name).map_or(1, |offset| self.line_at(offset));
        PolicyError { line, reason: reason.into() }
    }

    fn unknown_measure(&self, name: &str) -> PolicyError {
        self.error(
            name,
            format!(
                "there is no measure `{name}`{}; `heaplay check --list` lists them",
                nearest(name, measures())
            ),
        )
    }

    fn parse(&self) -> Result<PolicyFile, PolicyError> {
        toml::from_str(self.0).map_err(|error| {
            let line = error.span().map_or(1, |span| self.line_at(span.start));
            let message = error.message();
            let unknown = message.strip_prefix("unknown field `").and_then(|r| r.split('`').next());
            let reason = match unknown {
                None => message.to_owned(),
                Some(name) => {
                    let expected = message.split_once(", ").map(|(_, rest)| format!("; {rest}"));
                    format!(
                        "there is no `{name}` here{}{}",
                        nearest(name, KEYS.into_iter()),
                        expected.unwrap_or_default()
                    )
                }
            };
            PolicyError { line, reason }
        })
    }

    fn validate(&self, file: &PolicyFile) -> Result<(), PolicyError> {
        for (name, entry) in &file.margins {
            self.validate_margin(name, entry)?;
        }
        for accept in &file.accept {
            self.validate_accept(accept)?;
        }
        if file.error_budget.is_some_and(|budget| !(budget > 0.0 && budget < 0.5)) {
            let reason = "error_budget: expected a probability above 0 and below 0.5";
            return Err(self.error("error_budget", reason));
        }
        if file.recording_tolerance.is_some_and(|value| !(value.is_finite() && value >= 0.0)) {
            let reason = "recording_tolerance: expected a percentage of 0 or more";
            return Err(self.error("recording_tolerance", reason));
        }
        Ok(())
    }

    fn validate_margin(&self, name: &str, entry: &MarginEntry) -> Result<(), PolicyError> {
        if !measures().any(|known| known == name) {
            return Err(self.unknown_measure(name));
        }
        if entry.pass.is_some() && !is_timed(name) {
            let reason = format!(
                "margins.{name}: `pass` is for time and tail only; exact measures have one margin"
            );
            return Err(self.error(name, reason));
        }
        for value in [entry.fail, entry.pass].into_iter().flatten() {
            if !(0.0..=1e6).contains(&value) {
                let reason =
                    format!("margins.{name}: {value} is no percentage from 0 to 1,000,000");
                return Err(self.error(name, reason));
            }
        }
        Ok(())
    }

    fn validate_accept(&self, accept: &AcceptEntry) -> Result<(), PolicyError> {
        if !measures().any(|known| known == accept.measure) {
            return Err(self.unknown_measure(&accept.measure));
        }
        if accept.reason.trim().is_empty() {
            let reason = "an `accept` entry needs a reason that somebody else will understand";
            return Err(self.error("reason", reason));
        }
        if accept.until.date.is_none() {
            return Err(self.error("until", "`until` needs a date, such as 2026-12-31"));
        }
        Ok(())
    }
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// The first line that is wrong: its syntax, an unknown name, or an impossible figure.
    pub fn read(text: &str) -> Result<Policy, PolicyError> {
        let text = PolicyText(text);
        let file = text.parse()?;
        text.validate(&file)?;
        let policy = Policy { file };
        for name in [TIME.name, TAIL.name] {
            let margin = policy.margin(name);
            if margin.pass < margin.fail {
                let reason = format!(
                    "margins.{name}: `pass` ({} %) is below `fail` ({} %); it has to be at least as \
                     large",
                    margin.pass * 100.0,
                    margin.fail * 100.0
                );
                return Err(text.error(name, reason));
            }
        }
        Ok(policy)
    }

    /// The margin of a measure. By default time and tail fail over 2 % and pass below 4 %,
    /// instructions fail over 0.1 %, and every other measure fails at any increase.
    pub fn margin(&self, measure: &str) -> Margin {
        let default = match measure {
            name if is_timed(name) => 2.0,
            name if name == INSTRUCTIONS.name => 0.1,
            _ => 0.0,
        };
        let entry =
            self.file.margins.iter().find(|(name, _)| is_measure(measure, name)).map(|(_, e)| *e);
        let (fail, pass) = match entry {
            Some(entry) => (entry.fail.unwrap_or(default), entry.pass),
            None => (default, None),
        };
        Margin { fail: fail / 100.0, pass: pass.unwrap_or(fail * 2.0) / 100.0 }
    }

    /// The probability of a false failure that is allowed of the whole suite.
    pub fn error_budget(&self) -> f64 {
        self.file.error_budget.unwrap_or(0.001)
    }

    /// The policy with another recording tolerance, in percent.
    #[must_use]
    pub fn with_recording_tolerance(mut self, percent: Option<f64>) -> Policy {
        self.file.recording_tolerance = percent.or(self.file.recording_tolerance);
        self
    }

    /// The growth that is allowed of exact measures between two recordings of a program, as a share.
    pub fn recording_tolerance(&self) -> f64 {
        self.file.recording_tolerance.unwrap_or(1.0) / 100.0
    }

    /// Accepts the failures for which there is an entry, and returns a note for each entry that is
    /// expired or accepts nothing.
    pub fn accept(&self, findings: &mut [Finding], now_unix_seconds: u64) -> Vec<String> {
        let today = civil_date(now_unix_seconds);
        self.file.accept.iter().filter_map(|entry| entry.apply(findings, today)).collect()
    }
}

impl AcceptEntry {
    /// Accepts the findings that it is for; a note where the entry is of no use. `today` is year,
    /// month, day.
    fn apply(&self, findings: &mut [Finding], today: (i64, i64, i64)) -> Option<String> {
        let date = self.until.date?;
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
            .up_to
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
            ("[margins.time]\nfail = -2\n", 1, "from 0 to"),
            ("[margins.time]\nfail = 5\npass = 3\n", 1, "pass"),
            ("[margins.arenas_peak]\npass = 3\n", 1, "time and tail"),
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
        let whole = "error_budget = 0.01\n[margins.time]\nfail = 3\npass = 6\n[[accept]]\nmeasure = \"tail\"\nreason = \"é\"\nuntil = 2030-01-01\n";
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
