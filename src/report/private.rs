//! A run without what a person may not want to pass on: source lines and command lines.

use std::collections::HashMap;

use crate::results::{LineContents, OTHER_SITES, Run};

/// Facts of a trace that stay: they name no file, no folder and no command.
const FACTS: [&str; 8] = [
    "allocator",
    "domains",
    "ending",
    "python",
    "recorder",
    "synthesised",
    "unexplained",
    "vouched_bytes_share",
];

/// The run with numbers in place of source lines, without command lines, paths and names of threads.
/// A line has the same number everywhere.
pub fn without_private(mut run: Run) -> Run {
    let mut lines = LineNumbers::default();
    for row in &mut run.attributions {
        row.site = lines.label(&row.site);
    }
    for row in &mut run.unit_retention {
        row.site = lines.label(&row.site);
    }
    for row in &mut run.what_ifs {
        row.site = lines.label(&row.site);
    }
    for row in &mut run.slow_calls {
        row.site = lines.label(&row.site);
    }
    for row in &mut run.heap_contents {
        row.lines = lines.relabel(&row.lines);
    }
    for row in &mut run.samples {
        row.lines = lines.relabel(&row.lines);
    }
    for trace in &mut run.manifest.traces {
        trace.path.clear();
        trace.library_lines.clear();
        trace.free_lists.clear();
        trace.facts.retain(|fact, _| FACTS.contains(&fact.as_str()));
        trace.threads.clear();
    }
    run
}

/// The numbers of lines, in the order in which they are first seen.
#[derive(Default)]
struct LineNumbers(HashMap<String, usize>);

impl LineNumbers {
    fn label(&mut self, site: &str) -> String {
        if site.is_empty() || site == OTHER_SITES {
            return site.to_owned();
        }
        let next = self.0.len() + 1;
        let number = self.0.entry(site.to_owned()).or_insert(next);
        format!("line {number}")
    }

    /// A cell of lines with labels in place of their names.
    fn relabel(&mut self, cell: &str) -> String {
        let label = |line: LineContents| LineContents(self.label(&line.0), line.1, line.2);
        let lines: Vec<LineContents> = LineContents::decode(cell).into_iter().map(label).collect();
        LineContents::encode(&lines)
    }
}
