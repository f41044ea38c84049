//! Recordings of one program against recordings of another state of it, on one backend: calls, bytes,
//! peak and footprint, and what changed by size class and by line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::options::CheckArgs;
use super::output::frame;
use crate::bench::{DemandChange, DemandChanges};
use crate::check::{Frame, Policy, compare_recordings};
use crate::cli::recording_series::{program_name, recordings};
use crate::cli::recording_side::{MeasuredSide, RecordingReader};
use crate::cli::shell;
use crate::cli::terminal::{note, print};
use crate::units;

/// Rows of each table of changes.
const MOST_ROWS: usize = 12;

/// The recordings of both sides that the options name; `None` where they name none.
///
/// # Errors
/// Files beside `--old` and `--new`.
pub fn named(args: &CheckArgs) -> anyhow::Result<Option<[Vec<PathBuf>; 2]>> {
    let series = |paths: &[PathBuf]| paths.iter().flat_map(|path| recordings(path)).collect();
    if !args.old.is_empty() {
        if !args.paths.is_empty() || !args.baseline.is_empty() {
            bail!("--old and --new name all recordings; leave out the other files and --baseline");
        }
        return Ok(Some([series(&args.old), series(&args.new)]));
    }
    match (args.baseline.as_slice(), args.paths.as_slice()) {
        ([], [old, new]) => Ok(Some([old, new].map(|path| recordings(path)))),
        _ => Ok(None),
    }
}

/// Measures all recordings and judges.
///
/// # Errors
/// A trace that cannot be read, a backend that cannot be had.
pub fn run(
    args: &CheckArgs,
    [old, new]: &[Vec<PathBuf>; 2],
    policy: &Policy,
) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    if let Some(path) = old.iter().chain(new).find(|path| path.is_dir()) {
        bail!(
            "{}: this is a folder; two run folders are compared with `--baseline RUN RUN`, \
             recordings by their files",
            path.display()
        );
    }
    // Runs are compared by the names of their traces.
    let name = program_name(old).context("no recording")?;
    let reader = RecordingReader::new(&args.backend, &name, args.children.settings())?;
    let (before, after) = (reader.measure(old)?, reader.measure(new)?);
    let stored = compare_recordings(&before.recordings, &after.recordings, policy)?;
    let mut findings = stored.findings;
    let again = again(args, old, new);
    for finding in &mut findings {
        finding.reproduce.clone_from(&again);
    }
    let changed = demand_changes(&before, &after);
    print(&changes(&changed))?;
    if let ([old], [new]) = (old.as_slice(), new.as_slice())
        && !changed.classes.is_empty()
    {
        let pair = [old, new].map(|path| path.display().to_string());
        let command = shell::line(["heaplay", "diff", &pair[0], &pair[1]]);
        note(format!("`{command}` shows what moved at the peak and at the end"));
    }
    let frame = Frame {
        baseline: listed(old),
        candidate: listed(new),
        seconds: began.elapsed().as_secs_f64(),
        notes: stored.notes,
        ..frame(0)
    };
    args.output.report(frame, findings, policy)
}

fn demand_changes(before: &MeasuredSide, after: &MeasuredSide) -> DemandChanges {
    DemandChanges::between(&before.demands, &after.demands)
}

/// The recordings of a side in a line.
fn listed(side: &[PathBuf]) -> String {
    let names: Vec<String> = side.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

/// The command that compares the same recordings again.
fn again(args: &CheckArgs, old: &[PathBuf], new: &[PathBuf]) -> String {
    let text = |path: &Path| path.display().to_string();
    let mut words = vec!["heaplay".to_owned(), "check".to_owned()];
    if let ([old], [new]) = (old, new) {
        words.extend([text(old), text(new)]);
    } else {
        words.push("--old".to_owned());
        words.extend(old.iter().map(|path| text(path)));
        words.push("--new".to_owned());
        words.extend(new.iter().map(|path| text(path)));
    }
    words.extend(["--backend".to_owned(), args.backend.clone()]);
    shell::line(words.iter().map(String::as_str))
}

/// The tables of what changed most, by bytes.
fn changes(found: &DemandChanges) -> String {
    let class = |up_to: &u64| format!("up to {}", units::bytes(*up_to as f64));
    let line = |name: &String| match name.as_str() {
        "" => "(no line known)".to_owned(),
        name => name.to_owned(),
    };
    let by_line = match &found.lines {
        Some(lines) => table("line", lines, line),
        None => "By line of the program: record both with --sites to see it.\n".to_owned(),
    };
    table("size class", &found.classes, class) + &by_line
}

fn table<K>(kind: &str, changes: &[DemandChange<K>], name: impl Fn(&K) -> String) -> String {
    if changes.is_empty() {
        return format!("By {kind}: nothing changed.\n");
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([kind, "requests", "was", "change", "bytes", "was", "change"]);
    let count = |number: i64| units::count(number.unsigned_abs());
    let signed = |change: i64| format!("{}{}", if change < 0 { '-' } else { '+' }, count(change));
    for DemandChange { key, before, after } in changes.iter().take(MOST_ROWS) {
        table.add_row([
            name(key),
            count(after.requests),
            count(before.requests),
            signed(after.requests - before.requests),
            count(after.bytes),
            count(before.bytes),
            signed(after.bytes - before.bytes),
        ]);
    }
    for column in 1..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let rest = changes.len().saturating_sub(MOST_ROWS);
    let more = if rest > 0 { format!("… and {rest} more\n") } else { String::new() };
    format!("{table}\n{more}")
}
