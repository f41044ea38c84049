//! Failures as GitHub's workflow commands, one line each, which it shows beside the
//! change.

use super::{Finding, Verdict};

/// A value in a workflow command: its own escapes.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The same for a property, which ends at a comma or a colon.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// `::error` for failures and what could not be judged, `::warning` for warnings and what is
/// inconclusive.
pub fn annotations(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let kind = match finding.verdict {
            Verdict::Fail | Verdict::Missing => "error",
            Verdict::Inconclusive | Verdict::Warn => "warning",
            _ => return None,
        };
        let title =
            format!("heaplay {}: {} {}", finding.verdict.name(), finding.trace, finding.measure);
        let mut text = match finding.backend.as_str() {
            "" => finding.sentence(),
            backend => format!("{backend}: {}", finding.sentence()),
        };
        if !finding.reproduce.is_empty() {
            text.push_str(&format!("\nagain: {}", finding.reproduce));
        }
        Some(format!("::{kind} title={}::{}\n", property(&title), data(&text)))
    };
    findings.iter().filter_map(line).collect()
}
