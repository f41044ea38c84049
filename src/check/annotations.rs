//! Failures as workflow commands of GitHub, one a line. GitHub shows them beside the change.

use super::finding::{Finding, Verdict};

/// A value in a workflow command, with GitHub's escapes.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property in a workflow command. It ends at a comma or a colon.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The commands: `::error` for failures and missing measures, `::warning` for warnings and
/// inconclusive measures.
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
