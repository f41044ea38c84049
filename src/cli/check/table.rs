//! The table of findings.

use comfy_table::{CellAlignment, ContentArrangement, Table};

use crate::check::{Finding, Verdict};

/// The table, worst first. Without `has_all`, findings that did not change are left out.
pub fn table(findings: &[Finding], has_all: bool) -> String {
    let shown: Vec<&Finding> = findings
        .iter()
        .filter(|f| {
            has_all
                || f.evidence.is_some()
                || !matches!(f.verdict, Verdict::Identical | Verdict::Pass | Verdict::Skipped)
        })
        .collect();
    if shown.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "verdict",
        "trace",
        "backend",
        "measure",
        "baseline",
        "candidate",
        "margin",
        "why",
    ]);
    for finding in shown {
        let percent = |share: f64| format!("{:+.1} %", share * 100.0);
        let candidate = match &finding.evidence {
            Some(e) => {
                format!("{} [{}, {}]", percent(e.effect), percent(e.lower), percent(e.upper))
            }
            None => figure(finding.candidate, finding.unit),
        };
        table.add_row([
            finding.verdict.name().to_owned(),
            finding.trace.clone(),
            if finding.backend.is_empty() { "(the trace)".into() } else { finding.backend.clone() },
            finding.measure.clone(),
            figure(finding.baseline, finding.unit),
            candidate,
            if finding.margin > 0.0 { percent(finding.margin) } else { "–".into() },
            finding.why.clone(),
        ]);
    }
    for column in [4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{table}\n")
}

fn figure(value: Option<f64>, unit: &str) -> String {
    match value {
        None => "–".into(),
        Some(value) if unit == "ratio" => format!("{value:.3}"),
        Some(value) => format!("{value} {unit}"),
    }
}
