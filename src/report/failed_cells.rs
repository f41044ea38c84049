//! The cells of a run that failed or are missing, in few lines: those of one backend on one trace that
//! share a reason are one line.

use super::text::list;
use crate::results::{CellKey, Run};

/// A line for each backend, trace and reason: `bump on app, pass time, repetition 0: reason`.
pub fn failed_cells(run: &Run) -> Vec<String> {
    let failed = run.failed().into_iter();
    lines(failed.map(|outcome| (outcome.cell(), outcome.reason.clone())))
}

/// The same for planned cells that were not tried.
pub fn missing_cells(run: &Run) -> Vec<String> {
    lines(run.missing().into_iter().map(|cell| (cell, "not measured".to_owned())))
}

fn lines(cells: impl Iterator<Item = (CellKey, String)>) -> Vec<String> {
    let mut groups: Vec<(String, Vec<CellKey>)> = Vec::new();
    for (cell, reason) in cells {
        let is_of = |(known, cells): &&mut (String, Vec<CellKey>)| {
            *known == reason && cells[0].trace == cell.trace && cells[0].backend == cell.backend
        };
        match groups.iter_mut().find(is_of) {
            Some((_, cells)) => cells.push(cell),
            None => groups.push((reason, vec![cell])),
        }
    }
    let line = |(reason, cells): &(String, Vec<CellKey>)| {
        let first = &cells[0];
        format!("{} on {}, {}: {reason}", first.backend, first.trace, passes(cells))
    };
    groups.iter().map(line).collect()
}

/// The passes of the cells of one line.
fn passes(cells: &[CellKey]) -> String {
    let mut names: Vec<String> = cells.iter().map(|cell| cell.pass.name().to_owned()).collect();
    names.dedup();
    match (cells, names.as_slice()) {
        ([cell], _) => format!("pass {}, repetition {}", cell.pass.name(), cell.repetition),
        (_, [name]) => format!("pass {name}, {} repetitions", cells.len()),
        _ => format!("passes {}, {} cells", list(&names), cells.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Pass;

    #[test]
    fn cells_that_share_a_reason_are_one_line() {
        let cell = |backend: &str, pass, repetition| {
            let (trace, backend) = ("app".to_owned(), backend.to_owned());
            CellKey { trace, backend, pass, repetition }
        };
        let cells = [
            (cell("bump", Pass::Footprint, 0), "stopped"),
            (cell("bump", Pass::Time, 0), "not tried again"),
            (cell("bump", Pass::Time, 1), "not tried again"),
            (cell("tlsf", Pass::Time, 1), "not tried again"),
            (cell("tlsf", Pass::Time, 2), "not tried again"),
            (cell("bump", Pass::Latency, 0), "not tried again"),
        ];
        let found = lines(cells.into_iter().map(|(cell, reason)| (cell, reason.to_owned())));
        assert_eq!(
            found,
            [
                "bump on app, pass footprint, repetition 0: stopped",
                "bump on app, passes time and latency, 3 cells: not tried again",
                "tlsf on app, pass time, 2 repetitions: not tried again",
            ]
        );
    }
}
