//! The findings as JUnit XML, a test case for each trace, backend and measure.

use std::fmt::Write;

use super::{Finding, Frame, Verdict};

/// Text for an attribute or an element: what XML 1.0 does not allow becomes a question mark.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// The whole file. What is inconclusive or not comparable is skipped, what could not be measured is
/// an error.
pub fn junit(frame: &Frame, findings: &[Finding]) -> String {
    let count =
        |verdicts: &[Verdict]| findings.iter().filter(|f| verdicts.contains(&f.verdict)).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites>\n<testsuite name=\"heaplay check\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        findings.len(),
        count(&[Verdict::Fail]),
        count(&[Verdict::Missing]),
        count(&[Verdict::Inconclusive, Verdict::Skipped]),
        frame.seconds
    );
    for finding in findings {
        let seconds = finding.evidence.as_ref().map_or(0.0, |evidence| evidence.seconds);
        let _ = write!(
            out,
            "<testcase classname=\"{}.{}\" name=\"{}\" time=\"{seconds:.3}\"",
            escape(&finding.trace.replace('.', "_")),
            escape(if finding.backend.is_empty() { "trace" } else { &finding.backend }),
            escape(&finding.measure),
        );
        let sentence = escape(&finding.sentence());
        let again = match finding.reproduce.as_str() {
            "" => String::new(),
            command => format!("\nagain: {}", escape(command)),
        };
        let _ = match finding.verdict {
            Verdict::Fail => {
                writeln!(
                    out,
                    "><failure message=\"{sentence}\">{sentence}{again}</failure></testcase>"
                )
            }
            Verdict::Missing => {
                writeln!(out, "><error message=\"{sentence}\">{sentence}{again}</error></testcase>")
            }
            Verdict::Inconclusive | Verdict::Skipped => {
                let word = finding.verdict.name();
                writeln!(out, "><skipped message=\"{word}: {sentence}\"/></testcase>")
            }
            Verdict::Warn | Verdict::Accepted => {
                let word = finding.verdict.name();
                writeln!(out, "><system-out>{word}: {sentence}{again}</system-out></testcase>")
            }
            Verdict::Better | Verdict::Pass | Verdict::Identical => writeln!(out, "/>"),
        };
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}
