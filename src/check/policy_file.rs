//! The file of a policy, as it is written: read with the place of each value, and validated. Its form
//! is in `policy.rs`.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::measures::{MEASURES, is_timed, margin};
use crate::results::Metric;
use crate::spec::did_you_mean;

/// Why a policy cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct PolicyError {
    /// The line, counted from 1.
    pub line: usize,
    /// What was found, and what was expected.
    pub reason: String,
}

/// The file.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct PolicyFile {
    pub(super) error_budget: Option<Spanned<f64>>,
    pub(super) recording_tolerance: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) margins: BTreeMap<Spanned<String>, MarginEntry>,
    #[serde(default)]
    pub(super) accept: Vec<AcceptEntry>,
}

/// Margins of a measure, in percent.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct MarginEntry {
    pub(super) fail: Option<Spanned<f64>>,
    pub(super) pass: Option<Spanned<f64>>,
}

/// An increase that is accepted.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct AcceptEntry {
    pub(super) measure: Spanned<String>,
    pub(super) trace: Option<String>,
    pub(super) backend: Option<String>,
    pub(super) up_to: Option<f64>,
    pub(super) reason: Spanned<String>,
    pub(super) until: Spanned<toml::value::Datetime>,
}

/// The keys of the file, of an entry of `margins`, and of an entry of `accept`.
const KEYS: [&str; 4] = ["error_budget", "recording_tolerance", "margins", "accept"];
const MARGIN_KEYS: [&str; 2] = ["fail", "pass"];
const ACCEPT_KEYS: [&str; 6] = ["measure", "trace", "backend", "up_to", "reason", "until"];

/// Reads and validates a file.
///
/// # Errors
/// The first place that is wrong: its syntax, an unknown name, or an impossible figure.
pub(super) fn read(text: &str) -> Result<PolicyFile, PolicyError> {
    let place = |error: &toml::de::Error| error.span().unwrap_or_default();
    let parsed = DeTable::parse(text)
        .map_err(|error| PolicyError::at(text, place(&error), error.message()))?;
    if let Some((place, reason)) = unknown_key(parsed.get_ref()) {
        return Err(PolicyError::at(text, place, reason));
    }
    let file: PolicyFile = toml::from_str(text)
        .map_err(|error| PolicyError::at(text, place(&error), error.message()))?;
    match file.fault() {
        Some((place, reason)) => Err(PolicyError::at(text, place, reason)),
        None => Ok(file),
    }
}

impl PolicyError {
    fn at(text: &str, place: Range<usize>, reason: impl Into<String>) -> PolicyError {
        let line = text[..place.start.min(text.len())].matches('\n').count() + 1;
        PolicyError { line, reason: reason.into() }
    }
}

/// A place in the text, and what is wrong there.
type Fault = (Range<usize>, String);

/// The first key that the file does not have.
fn unknown_key(file: &DeTable<'_>) -> Option<Fault> {
    if let Some(fault) = unknown_in(file, &KEYS) {
        return Some(fault);
    }
    let value = |key: &str| file.get(key).map(Spanned::get_ref);
    if let Some(DeValue::Table(margins)) = value("margins") {
        for entry in margins.values() {
            if let DeValue::Table(entry) = entry.get_ref()
                && let Some(fault) = unknown_in(entry, &MARGIN_KEYS)
            {
                return Some(fault);
            }
        }
    }
    if let Some(DeValue::Array(entries)) = value("accept") {
        for entry in entries.iter() {
            if let DeValue::Table(entry) = entry.get_ref()
                && let Some(fault) = unknown_in(entry, &ACCEPT_KEYS)
            {
                return Some(fault);
            }
        }
    }
    None
}

fn unknown_in(table: &DeTable<'_>, known: &[&str]) -> Option<Fault> {
    let unknown = table.keys().find(|key| !known.contains(&key.get_ref().as_ref()))?;
    let name = unknown.get_ref();
    let reason = format!(
        "there is no `{name}` here{}; expected one of {}",
        did_you_mean(name, known.iter().copied()),
        known.join(", ")
    );
    Some((unknown.span(), reason))
}

/// The names of all measures.
fn measures() -> impl Iterator<Item = &'static str> {
    let own = MEASURES.iter().map(|measure| measure.name);
    own.chain(Metric::ALL.iter().map(|metric| metric.name()))
}

/// The fault of a name that is no measure.
fn unknown_measure(name: &Spanned<String>) -> Option<Fault> {
    if measures().any(|known| known == name.get_ref()) {
        return None;
    }
    let reason = format!(
        "there is no measure `{}`{}; `heaplay check --list` lists them",
        name.get_ref(),
        did_you_mean(name.get_ref(), measures())
    );
    Some((name.span(), reason))
}

impl PolicyFile {
    fn fault(&self) -> Option<Fault> {
        let margins = self.margins.iter().find_map(|(name, entry)| entry.fault(name));
        let budget = || {
            let budget = self.error_budget.as_ref()?;
            let is_fine = *budget.get_ref() > 0.0 && *budget.get_ref() < 0.5;
            let reason = "error_budget: expected a probability above 0 and below 0.5";
            (!is_fine).then(|| (budget.span(), reason.to_owned()))
        };
        let tolerance = || {
            let tolerance = self.recording_tolerance.as_ref()?;
            let is_fine = tolerance.get_ref().is_finite() && *tolerance.get_ref() >= 0.0;
            let reason = "recording_tolerance: expected a percentage of 0 or more";
            (!is_fine).then(|| (tolerance.span(), reason.to_owned()))
        };
        margins
            .or_else(|| self.accept.iter().find_map(AcceptEntry::fault))
            .or_else(budget)
            .or_else(tolerance)
    }
}

impl MarginEntry {
    fn fault(&self, name: &Spanned<String>) -> Option<Fault> {
        if let Some(fault) = unknown_measure(name) {
            return Some(fault);
        }
        let measure = name.get_ref();
        for value in [&self.fail, &self.pass].into_iter().flatten() {
            if !(0.0..=1e6).contains(value.get_ref()) {
                let value_text = value.get_ref();
                let reason =
                    format!("margins.{measure}: {value_text} is no percentage from 0 to 1,000,000");
                return Some((value.span(), reason));
            }
        }
        let pass = self.pass.as_ref()?;
        if !is_timed(measure) {
            let reason = format!(
                "margins.{measure}: `pass` is for time and tail only; exact measures have one margin"
            );
            return Some((pass.span(), reason));
        }
        let fail = self.fail.as_ref().map_or(margin(measure), |fail| *fail.get_ref());
        let pass_percent = *pass.get_ref();
        (pass_percent < fail).then(|| {
            let reason = format!(
                "margins.{measure}: `pass` ({pass_percent} %) is below `fail` ({fail} %); it has to be \
                 at least as large"
            );
            (pass.span(), reason)
        })
    }
}

impl AcceptEntry {
    fn fault(&self) -> Option<Fault> {
        if let Some(fault) = unknown_measure(&self.measure) {
            return Some(fault);
        }
        if self.reason.get_ref().trim().is_empty() {
            let reason = "an `accept` entry needs a reason that somebody else will understand";
            return Some((self.reason.span(), reason.to_owned()));
        }
        let has_date = self.until.get_ref().date.is_some();
        let reason = "`until` needs a date, such as 2026-12-31";
        (!has_date).then(|| (self.until.span(), reason.to_owned()))
    }
}
