//! Two recordings of one program on one backend: calls, bytes, peak, footprint and fragmentation, and
//! what changed by size class and by line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::options::CheckArgs;
use super::output::frame;
use crate::bench::{self, DemandChange, DemandChanges, Settings, Side, Workload, fingerprint};
use crate::check::{Frame, Policy, compare};
use crate::cli::load::load_traces;
use crate::cli::terminal::print;
use crate::cli::{shell, specs};
use crate::results::{BackendEntry, Manifest, Pass, Run};
use crate::units;

/// Rows of each table of changes.
const MOST_ROWS: usize = 12;

/// Measures both and judges.
///
/// # Errors
/// A trace that cannot be read, a backend that cannot be had.
pub fn run(args: &CheckArgs, old: &Path, new: &Path, policy: &Policy) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    if let Some(path) = [old, new].into_iter().find(|path| path.is_dir()) {
        bail!(
            "{}: this is a folder; two run folders are compared with `--baseline RUN RUN`, two \
             recordings by their files",
            path.display()
        );
    }
    specs::read(&args.backend)?;
    let version = bench::version(&args.backend, None)?;
    let before = read(old)?;
    // Runs are compared by the names of their traces.
    let after = read(new)?.named(before.name());
    let entry = BackendEntry { name: args.backend.clone(), version };
    let settings = args.children.settings();
    let measure = |recording| measure(recording, &entry, &settings);
    let runs = [measure(&before)?, measure(&after)?];
    let stored = compare(&runs[0], &runs[1], policy)?;
    let mut findings = stored.findings;
    let again = shell::line([
        "heaplay",
        "check",
        &old.display().to_string(),
        &new.display().to_string(),
        "--backend",
        &args.backend,
    ]);
    for finding in &mut findings {
        finding.reproduce.clone_from(&again);
    }
    print(&changes(&DemandChanges::between(&before, &after)))?;
    let frame = Frame {
        baseline: old.display().to_string(),
        candidate: new.display().to_string(),
        seconds: began.elapsed().as_secs_f64(),
        notes: stored.notes,
        ..frame(0)
    };
    args.output.report(frame, findings, policy)
}

fn read(path: &Path) -> anyhow::Result<Workload> {
    load_traces(&[PathBuf::from(path)])?.into_iter().next().context("one trace")
}

/// The run record of one recording, under the name that both have.
fn measure(
    recording: &Workload,
    backend: &BackendEntry,
    settings: &Settings,
) -> anyhow::Result<Run> {
    let mut run = Run::new(Manifest {
        traces: vec![recording.trace.clone()],
        backends: vec![backend.clone()],
        passes: vec![Pass::Footprint],
        machine: fingerprint(),
        ..Manifest::default()
    });
    let tables = bench::exact(&Side::of(&backend.name), recording, settings);
    let tables = tables
        .map_err(|error| anyhow!("{}: {}", recording.trace.path, error.about(&backend.name)))?;
    run.absorb(tables);
    Ok(run)
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
