//! The findings as Markdown for a step summary: short, worst first.

use std::fmt::Write;

use super::finding::{Finding, Verdict, counts};
use super::frame::Frame;

/// Lines of the table at most.
const MOST: usize = 20;

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ").replace('<', "&lt;")
}

/// The whole summary.
pub fn markdown(frame: &Frame, findings: &[Finding]) -> String {
    let failed = findings.iter().any(|f| f.verdict == Verdict::Fail);
    let skipped = findings.iter().filter(|f| f.verdict == Verdict::Skipped).count();
    let headline = match (failed, skipped) {
        (true, _) => "worse".to_owned(),
        (false, 0) => "nothing is worse".to_owned(),
        (false, skipped) if skipped == findings.len() => "nothing could be judged".to_owned(),
        (false, skipped) => {
            format!("nothing that was judged is worse ({skipped} of {} skipped)", findings.len())
        }
    };
    let mut out = format!("### heaplay check: {headline}\n\n");
    let _ = writeln!(
        out,
        "`{}` → `{}` · {} · {:.0} s\n",
        cell(&frame.baseline),
        cell(&frame.candidate),
        counts(findings),
        frame.seconds
    );
    let shown: Vec<&Finding> = findings.iter().filter(|f| f.verdict <= Verdict::Accepted).collect();
    if !shown.is_empty() {
        out.push_str("| verdict | trace | backend | what |\n|---|---|---|---|\n");
        for finding in shown.iter().take(MOST) {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                finding.verdict.name(),
                cell(&finding.trace),
                cell(&finding.backend),
                cell(&finding.sentence())
            );
        }
        if shown.len() > MOST {
            let _ = writeln!(out, "\n… and {} more; the JSON file has all.", shown.len() - MOST);
        }
        if let Some(worst) = shown.iter().find(|f| !f.reproduce.is_empty()) {
            let _ = writeln!(out, "\nMeasure the worst again: `{}`", worst.reproduce);
        }
    }
    for note in &frame.notes {
        let _ = writeln!(out, "\n> {}", cell(note));
    }
    out
}
