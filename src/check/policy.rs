//! The policy, a TOML file with margins by measure and accepted increases. The
//! defaults need none.
//!
//! ```toml
//! error_budget = 0.001          # of a false failure, over the whole suite
//! recording_tolerance = 1.0     # % by which exact measures may grow between two recordings of a program
//!
//! [margins.time]                # time, tail, instructions, or any exact measure of `heaplay check --list`
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

use super::stored::FRAGMENTATION;
use super::{Finding, Verdict};
use crate::results::{Metric, civil_date};

/// The measures that are judged beside the exact ones.
pub const TIMED: [&str; 3] = ["time", "tail", "instructions"];

/// What is allowed of one measure, as shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// Fails above this.
    pub fail: f64,
    /// Passes below this.
    pub pass: f64,
}

/// An increase that is known.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    measure: String,
    trace: Option<String>,
    backend: Option<String>,
    up_to: Option<f64>,
    reason: String,
    until: toml::value::Datetime,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    error_budget: Option<f64>,
    recording_tolerance: Option<f64>,
    #[serde(default)]
    margins: BTreeMap<String, MarginEntry>,
    #[serde(default)]
    accept: Vec<Accept>,
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
    file: File,
}

/// Why a policy cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct PolicyError {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what was expected.
    pub reason: String,
}

/// Every name that a key of the file can be.
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

/// The known name that looks most like `name`, when one is close.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known.map(|k| (strsim::jaro_winkler(name, k), k)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > 0.7)
        .map(|(_, k)| format!(" (did you mean `{k}`?)"))
        .unwrap_or_default()
}

fn measures() -> impl Iterator<Item = &'static str> {
    TIMED.into_iter().chain([FRAGMENTATION]).chain(Metric::ALL.iter().map(|metric| metric.name()))
}

/// Whether a finding's measure is that of the policy: `calls of malloc` is `calls`.
fn is_measure(finding: &str, name: &str) -> bool {
    finding == name || finding.strip_prefix(name).is_some_and(|rest| rest.starts_with(" of "))
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// The first line that is wrong: its syntax, a name that is not known, a figure that cannot be.
    pub fn read(text: &str) -> Result<Policy, PolicyError> {
        let line_at = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(span.start));
            let mut reason = error.message().to_owned();
            if let Some(name) =
                reason.strip_prefix("unknown field `").and_then(|r| r.split('`').next())
            {
                reason = format!("there is no `{name}` here{}", nearest(name, KEYS.into_iter()))
                    + reason
                        .split_once(", ")
                        .map(|(_, rest)| format!("; {rest}"))
                        .unwrap_or_default()
                        .as_str();
            }
            PolicyError { line, reason }
        })?;
        // Names inside values have no place of their own in what was parsed: the first line that
        // holds one is it.
        let line_of = |word: &str| text.find(word).map_or(1, line_at);
        let unknown = |name: &str| PolicyError {
            line: line_of(name),
            reason: format!(
                "there is no measure `{name}`{}; `heaplay check --list` lists them",
                nearest(name, measures())
            ),
        };
        let wrong = |word: &str, reason: String| PolicyError { line: line_of(word), reason };
        for (name, entry) in &file.margins {
            if !measures().any(|known| known == name) {
                return Err(unknown(name));
            }
            if entry.pass.is_some() && !["time", "tail"].contains(&name.as_str()) {
                return Err(wrong(
                    name,
                    format!(
                        "margins.{name}: `pass` is for time and tail only; exact measures need no room"
                    ),
                ));
            }
            for value in [entry.fail, entry.pass].into_iter().flatten() {
                if !(0.0..=1e6).contains(&value) {
                    return Err(wrong(
                        name,
                        format!("margins.{name}: {value} is no percentage from 0 to 1,000,000"),
                    ));
                }
            }
        }
        for accept in &file.accept {
            if !measures().any(|known| known == accept.measure) {
                return Err(unknown(&accept.measure));
            }
            if accept.reason.trim().is_empty() {
                return Err(wrong(
                    "reason",
                    "an `accept` entry needs a reason that somebody else will understand"
                        .to_owned(),
                ));
            }
            if accept.until.date.is_none() {
                return Err(wrong("until", "`until` needs a date, such as 2026-12-31".to_owned()));
            }
        }
        if file.error_budget.is_some_and(|budget| !(budget > 0.0 && budget < 0.5)) {
            return Err(wrong(
                "error_budget",
                "error_budget: expected a probability above 0 and below 0.5".to_owned(),
            ));
        }
        if file.recording_tolerance.is_some_and(|value| !(value.is_finite() && value >= 0.0)) {
            return Err(wrong(
                "recording_tolerance",
                "recording_tolerance: expected a percentage of 0 or more".to_owned(),
            ));
        }
        let policy = Policy { file };
        for name in ["time", "tail"] {
            let margin = policy.margin(name);
            if margin.pass < margin.fail {
                return Err(wrong(
                    name,
                    format!(
                        "margins.{name}: `pass` ({} %) is below `fail` ({} %); it has to be at least as large",
                        margin.pass * 100.0,
                        margin.fail * 100.0
                    ),
                ));
            }
        }
        Ok(policy)
    }

    /// What is allowed of a measure: time and tail fail over 2 % and pass below 4 %, instructions
    /// fail over 0.1 %, all else at any increase.
    pub fn margin(&self, measure: &str) -> Margin {
        let usual = match measure {
            "time" | "tail" => (2.0, None),
            "instructions" => (0.1, None),
            _ => (0.0, None),
        };
        let entry =
            self.file.margins.iter().find(|(name, _)| is_measure(measure, name)).map(|(_, e)| *e);
        let (fail, pass) = match entry {
            Some(entry) => (entry.fail.unwrap_or(usual.0), entry.pass.or(usual.1)),
            None => usual,
        };
        Margin { fail: fail / 100.0, pass: pass.unwrap_or(fail * 2.0) / 100.0 }
    }

    /// The error that is allowed of the whole suite.
    pub fn error_budget(&self) -> f64 {
        self.file.error_budget.unwrap_or(0.001)
    }

    /// The same with another tolerance, in percent.
    #[must_use]
    pub fn with_recording_tolerance(mut self, percent: Option<f64>) -> Policy {
        self.file.recording_tolerance = percent.or(self.file.recording_tolerance);
        self
    }

    /// By how much exact measures may grow between two recordings of a program, as a share.
    pub fn recording_tolerance(&self) -> f64 {
        self.file.recording_tolerance.unwrap_or(1.0) / 100.0
    }

    /// Marks failures that an entry accepts, and tells which entries are expired, or accept
    /// nothing.
    pub fn accept(&self, findings: &mut [Finding], now_unix_seconds: u64) -> Vec<String> {
        let today = civil_date(now_unix_seconds);
        let mut notes = Vec::new();
        for accept in &self.file.accept {
            let Some(date) = accept.until.date else { continue };
            let until = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
            let mut used = false;
            for finding in findings.iter_mut() {
                let of = |asked: &Option<String>, found: &str| {
                    asked.as_ref().is_none_or(|name| name == found)
                };
                let failed = matches!(finding.verdict, Verdict::Fail | Verdict::Warn);
                let below = accept
                    .up_to
                    .is_none_or(|most| finding.growth().is_some_and(|g| g * 100.0 <= most));
                if !(failed
                    && is_measure(&finding.measure, &accept.measure)
                    && of(&accept.trace, &finding.trace)
                    && of(&accept.backend, &finding.backend)
                    && below)
                {
                    continue;
                }
                used = true;
                if until >= today {
                    finding.verdict = Verdict::Accepted;
                    finding.why = format!("{} (until {date})", accept.reason);
                }
            }
            let what =
                format!("the policy accepts {} until {date} ({})", accept.measure, accept.reason);
            if until < today {
                notes.push(format!(
                    "{what}: that is over; {}",
                    match used {
                        true => "repair it, or give it another date",
                        false => "and nothing needs it any more: remove the entry",
                    }
                ));
            } else if !used {
                notes.push(format!("{what}: nothing needed it; remove the entry when it stays so"));
            }
        }
        notes
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
    fn accepted_until_a_date_and_told_when_useless() {
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
