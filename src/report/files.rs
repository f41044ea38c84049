//! The names of a report's files.

/// The scorecard.
pub const SUMMARY: &str = "summary.png";

/// The scorecard as a table: every figure of every trace, and the geometric means.
pub const SUMMARY_CSV: &str = "summary.csv";

/// The summary of the terminal, as Markdown.
pub const SUMMARY_MARKDOWN: &str = "summary.md";

/// The pairs of backends whose times were compared.
pub const COMPARISONS_CSV: &str = "comparisons.csv";

/// Every percentile, by operation and size class.
pub const PERCENTILES_CSV: &str = "percentiles.csv";

/// Two sides: every row of every measure.
pub const SIDES_CSV: &str = "diff.csv";

/// The page.
pub const PAGE: &str = "index.html";

/// `TRACE--CHART.png`; of the trace's name only characters stay that every file system takes.
pub fn picture_name(trace: &str, chart: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let safe: String = trace.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
    format!("{}--{chart}.png", safe.trim_start_matches('.'))
}
