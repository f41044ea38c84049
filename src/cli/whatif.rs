//! The verb `whatif`: replays a trace in which one line's long-lived blocks are moved or dropped.
//! It prints the memory that this saves, beside the prediction of the attribution.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::children::ChildArgs;
use super::end_choice::EndArgs;
use super::exit::Exit;
use super::load::load_grouped;
use super::specs;
use super::terminal::print;
use crate::bench::{self, ReplayedRange, Saving, Workload};
use crate::program::{AllocationSites, Change};
use crate::report::HOLDERS_NOTE;
use crate::results::BackendEntry;
use crate::spec::nearest;
use crate::units::{CALLED_FROM, byte_unit, bytes, count, figure, short_line, without_functions};

/// Lines of a file that an error names, at most.
const NEAR_LINES_MAX: usize = 8;

/// Replay a trace in which the long-lived blocks of one line are moved or dropped, and show the
/// memory that this saves
#[derive(clap::Args)]
pub struct WhatifArgs {
    /// The trace, recorded with --sites
    trace: PathBuf,
    /// Allocate this line's survivors after the last call, as if the program copied them. In a
    /// trace with callers (--sites=N), they are all that the line allocated, itself or by the code
    /// that it called. One line at a time
    #[arg(
        long,
        value_name = "FILE:LINE",
        required_unless_present = "drop_site",
        conflicts_with = "drop_site"
    )]
    move_site: Option<String>,
    /// Never allocate this line's survivors
    #[arg(long, value_name = "FILE:LINE")]
    drop_site: Option<String>,
    /// Only what the line allocated itself, as the report has it. Without this option, a trace with callers
    /// has with it what the code that it called allocated
    #[arg(long)]
    without_callees: bool,
    /// Backends, separated by commas
    #[arg(short, long, visible_alias = "backend", default_value = "malloc,pymalloc")]
    backends: Vec<String>,
    #[command(flatten)]
    end: EndArgs,
    #[command(flatten)]
    children: ChildArgs,
}

impl WhatifArgs {
    /// Replays both traces on each backend.
    ///
    /// # Errors
    /// The trace has no sites or not this line, or a backend is not available.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let specs = specs::read_list(&self.backends)?;
        let (change, name) = match (&self.move_site, &self.drop_site) {
            (Some(name), _) => (Change::Move, name),
            (None, Some(name)) => (Change::Drop, name),
            (None, None) => bail!("name a line with --move-site or --drop-site"),
        };
        let name = &without_functions(name);
        let traces = std::slice::from_ref(&self.trace);
        // In a trace with callers, what the line itself allocated and what its callees did are one site.
        let has_callees = Cell::new(false);
        let group = |sites: AllocationSites| {
            has_callees.set(sites.has_callers() && !self.without_callees);
            if has_callees.get() { sites.under(name) } else { sites.by_line() }
        };
        let workloads = load_grouped(traces, group, &self.end.at, u64::MAX)?;
        let Some(loaded) = workloads.into_iter().next() else {
            bail!("{}: no trace", self.trace.display());
        };
        let site = find(&loaded, name, &self.trace)?;
        let settings = self.children.settings();
        let names = specs.into_iter().map(String::from);
        // A backend that cannot be had fails below, too, and is reported there.
        let (backends, _) = bench::ask_versions(names, settings.timeout, &|_| ());
        let savings =
            bench::savings(&loaded, site, change, &backends, &settings).with_context(|| {
                format!("{}: the changed trace could not be replayed", self.trace.display())
            })?;
        let has_times = !loaded.times.is_empty();
        let line = loaded.sites.name(site);
        let line = match has_callees.get() && !name.contains(CALLED_FROM) {
            true => format!(
                "{line} and the code that it called (--without-callees: only the line itself)"
            ),
            false => line.to_owned(),
        };
        print(&report(&line, change, &savings, &backends, has_times))?;
        if self.without_callees && savings.iter().all(has_no_block) {
            print(
                "Without --without-callees it is the code that the line called, too, whose blocks may \
                 live.\n",
            )?;
        }
        let has_failed = savings.iter().any(|saving| saving.result.is_err());
        Ok(if has_failed { Exit::NoResult.into() } else { Exit::Fine.into() })
    }
}

/// The allocation site of a line, which may be named by the end of its path.
fn find(loaded: &Workload, name: &str, trace: &Path) -> anyhow::Result<u32> {
    if loaded.sites.is_empty() {
        bail!(
            "{}: has no lines; record the program again with `heaplay record --sites`",
            trace.display()
        );
    }
    match loaded.sites.find(name) {
        Ok(site) => Ok(site),
        Err(like) if like.is_empty() => {
            bail!("no line `{name}` allocates in {}; {}", trace.display(), others(loaded, name))
        }
        Err(like) => bail!("`{name}` may be {}; write more of the path", like.join(" or ")),
    }
}

/// What does allocate: the lines of the same file, or else the line that allocates most often.
fn others(loaded: &Workload, name: &str) -> String {
    let near = loaded.sites.near_lines(name);
    if let Some((file, _)) = name.rsplit_once(':').filter(|_| !near.is_empty()) {
        let lines: Vec<String> = near.iter().take(NEAR_LINES_MAX).map(u64::to_string).collect();
        return format!(
            "of {file} these lines do, the nearest first: {}. A line that only takes objects from \
             CPython's free lists allocates nothing",
            lines.join(", ")
        );
    }
    let mut counts: HashMap<u32, u64> = loaded.sites.requests();
    // What has no line cannot be named.
    counts.remove(&0);
    let lines: BTreeSet<String> =
        counts.keys().map(|site| short_line(loaded.sites.name(*site))).collect();
    if let Some(near) = near_line(name, &lines) {
        return format!("did you mean {near}? `heaplay inspect` lists the lines");
    }
    let most = counts.iter().max_by_key(|(site, count)| (**count, **site));
    let example = most.map_or("", |(site, _)| loaded.sites.name(*site));
    format!("`heaplay inspect` lists them (such as {example})")
}

/// The line that a mistyped one may be: of the file with the most similar name, the line with the nearest
/// number. Endings and numbers make any two names alike, so that they are not compared.
fn near_line<'a>(name: &str, lines: &'a BTreeSet<String>) -> Option<&'a str> {
    let parts = |line: &'a str| {
        let (file, number) = line.rsplit_once(':')?;
        Some((file.strip_suffix(".py").unwrap_or(file), number.parse::<u64>().ok()?))
    };
    let (file, number) = name.rsplit_once(':').unwrap_or((name, "0"));
    let number = number.parse::<u64>().unwrap_or(0);
    let known = lines.iter().filter_map(|line| parts(line).map(|(file, _)| file));
    let near = nearest(file.strip_suffix(".py").unwrap_or(file), known)?;
    let of_file = lines.iter().filter_map(|line| Some((line, parts(line)?)));
    let of_file = of_file.filter(|(_, (file, _))| *file == near);
    of_file.min_by_key(|(_, (_, at))| at.abs_diff(number)).map(|(line, _)| line.as_str())
}

/// The table of all backends, with a sentence before and after it.
fn report(
    site: &str,
    change: Change,
    savings: &[Saving],
    backends: &[BackendEntry],
    has_times: bool,
) -> String {
    let (what, sum) = match change {
        Change::Move => ("allocated after the last call", "the free space charged to them"),
        Change::Drop => {
            ("never allocated", "their requested bytes and the free space charged to them")
        }
    };
    let moved = savings.iter().find_map(|saving| saving.result.as_ref().ok());
    let mut text = match moved {
        Some(found) => format!(
            "{site}: {} ({}) that live to the end, {what}\n\n",
            match found.blocks {
                1 => "1 block".to_owned(),
                blocks => format!("{} blocks", count(blocks)),
            },
            bytes(found.live_bytes as f64)
        ),
        None => format!("{site}\n\n"),
    };
    text += &format!(
        "{}\n\nResident: private memory at the end, before and after the change. Returnable: a prediction of \
         that saving, by arenas and spans in which only this line has blocks, and by the top of a heap; \
         where the two differ, the replay is right. In use: 4 KiB pages with a live byte, at the end. \
         Predicted: pages in use, by {sum}.\n",
        table(savings)
    );
    if savings.iter().any(is_range) {
        text += "(a–b): replays of this allocator differ, as runs of the program do, so there are several: \
                 the median, the least and the most; of the saving, what nine in ten pairs of a replay \
                 before and one after save.";
        text += if has_times {
            " The allocator reads the program's own times.\n"
        } else {
            " The trace has no times, so a delay of the allocator covers more calls than in the \
             program.\n"
        };
    }
    text += &format!("Measured: {}.\n", measured(savings, backends));
    text += &in_short(savings);
    for saving in savings {
        if let Err(reason) = &saving.result {
            text += &format!("failed: {}: {reason}\n", saving.backend);
        }
    }
    if moved.is_some_and(|found| found.blocks == 0) {
        text += "No block of this line lives to the end: a program that exits frees what it held. \
                 Record up to the moment that matters, with `heaplay record --stop-at-mark NAME` \
                 or `--duration SECONDS`, and try again.\n";
    }
    text
}

/// What the change is worth, in a sentence; empty where nothing was measured.
fn in_short(savings: &[Saving]) -> String {
    let less = |saved: f64| match saved {
        0.0 => "as much".to_owned(),
        saved if saved < 0.0 => format!("{} more", bytes(-saved)),
        saved => format!("{} less", bytes(saved)),
    };
    let of = |saving: &Saving| {
        let found = saving.result.as_ref().ok().filter(|found| found.blocks > 0)?;
        let resident = less(found.resident?.saved.median);
        let trimmed = found.trimmed_before.zip(found.trimmed_after);
        let trimmed = trimmed.map(|(before, after)| less(before as f64 - after as f64));
        let trimmed = trimmed.map_or(String::new(), |trimmed| format!(", {trimmed} after a trim"));
        Some(format!("under {} {resident} is resident{trimmed}", saving.backend))
    };
    let parts: Vec<String> = savings.iter().filter_map(of).collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!("With the change, {}. {HOLDERS_NOTE}\n", parts.join("; ")),
    }
}

/// Whether no block of the line lives to the end.
fn has_no_block(saving: &Saving) -> bool {
    saving.result.as_ref().is_ok_and(|found| found.blocks == 0)
}

/// Whether the resident memory is that of several replays.
fn is_range(saving: &Saving) -> bool {
    let found = saving.result.as_ref().ok().and_then(|found| found.resident);
    found.is_some_and(|resident| resident.saved.range.is_some())
}

/// The backends without a failure with their versions: another version may return memory in another
/// way.
fn measured(savings: &[Saving], backends: &[BackendEntry]) -> String {
    let is_measured = |entry: &&BackendEntry| {
        savings.iter().any(|saving| saving.backend == entry.name && saving.result.is_ok())
    };
    let named = |entry: &BackendEntry| format!("{} ({})", entry.name, entry.version);
    backends.iter().filter(is_measured).map(named).collect::<Vec<_>>().join(", ")
}

/// A row for each backend without a failure.
fn table(savings: &[Saving]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    let after = ["in use", "saved", "predicted", "off by", "after trim"];
    let first = ["backend", "resident", "resident saved", "returnable"];
    table.set_header(first.into_iter().chain(after));
    for saving in savings {
        let Ok(found) = &saving.result else { continue };
        let saved = found.pages_in_use_before as f64 - found.pages_in_use_after as f64;
        table.add_row([
            saving.backend.clone(),
            found.resident.map_or_else(none, |resident| {
                format!("{} → {}", with_range(resident.before), with_range(resident.after))
            }),
            found.resident.map_or_else(none, |resident| with_range(resident.saved)),
            found.returnable.map_or_else(none, |saving| bytes(saving as f64)),
            change(Some(found.pages_in_use_before), Some(found.pages_in_use_after)),
            bytes(saved),
            bytes(found.predicted as f64),
            off(found.predicted as f64, saved),
            change(found.trimmed_before, found.trimmed_after),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A figure before and after the change, in bytes.
fn change(before: Option<u64>, after: Option<u64>) -> String {
    match before.zip(after) {
        Some((before, after)) => format!("{} → {}", bytes(before as f64), bytes(after as f64)),
        None => none(),
    }
}

/// A figure that a backend does not have.
fn none() -> String {
    "–".to_owned()
}

/// The median in bytes, with the range in the same unit: `44 MiB (38–48)`.
fn with_range(found: ReplayedRange) -> String {
    let Some((low, high)) = found.range else { return bytes(found.median) };
    let unit = byte_unit(low.abs().max(high.abs()));
    let [low, median, high] = [low, found.median, high].map(|value| figure(value / unit.bytes));
    if low == high {
        return bytes(found.median);
    }
    let to = if low.starts_with('−') { " to " } else { "–" };
    format!("{median}\u{a0}{} ({low}{to}{high})", unit.name)
}

/// The error of the prediction, in per cent of the saved bytes.
fn off(predicted: f64, saved: f64) -> String {
    if saved == 0.0 {
        return if predicted == 0.0 { "0 %".into() } else { "nothing saved".into() };
    }
    let percent = ((predicted - saved) / saved.abs() * 100.0).round();
    // Without the sign of a zero.
    format!("{:+.0} %", percent + 0.0).replace('-', "−")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{near_line, off, with_range};
    use crate::bench::ReplayedRange;

    #[test]
    fn a_mistyped_line_is_one_of_a_similar_file() {
        let lines = ["contextlib.py:21", "crunch.py:8", "crunch.py:22", "python3.11+0x1f"];
        let lines: BTreeSet<String> = lines.map(str::to_owned).into();
        assert_eq!(near_line("crnuch.py:20", &lines), Some("crunch.py:22"));
        assert_eq!(near_line("crunhc", &lines), Some("crunch.py:8"));
        assert_eq!(near_line("nofile.py:21", &lines), None);
    }

    #[test]
    fn a_range_has_one_unit() {
        const MIB: f64 = 1024.0 * 1024.0;
        let text = |median: f64, range: Option<(f64, f64)>| {
            let range = range.map(|(low, high)| (low * MIB, high * MIB));
            with_range(ReplayedRange { median: median * MIB, range }).replace('\u{a0}', " ")
        };
        assert_eq!(text(44.0, Some((38.0, 48.0))), "44 MiB (38–48)");
        assert_eq!(text(-0.5, Some((-4.0, 3.0))), "−0.50 MiB (−4.0 to 3.0)");
        assert_eq!(text(0.5, None), "512 KiB");
        assert_eq!(text(167.0, Some((166.9, 167.2))), "167 MiB");
    }

    #[test]
    fn a_prediction_is_off_by_a_share_of_what_was_saved() {
        assert_eq!(off(115.0, 100.0), "+15 %");
        assert_eq!(off(50.0, 100.0), "−50 %");
        assert_eq!(off(50.0, -100.0), "+150 %");
        assert_eq!(off(99.9, 100.0), "+0 %");
        assert_eq!(off(0.0, 0.0), "0 %");
        assert_eq!(off(1.0, 0.0), "nothing saved");
    }
}
