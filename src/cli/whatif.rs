//! Room `cli`, verb `whatif`: replays a trace in which one line's long-lived blocks are moved or
//! dropped, and says what that really saves, beside what the attribution of pins predicts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::children::ChildArgs;
use super::load::load_grouped;
use super::specs;
use super::terminal::print;
use crate::bench::{self, Loaded, Saving};
use crate::program::Change;
use crate::report::bytes;
use crate::results::BackendEntry;

/// Replay a trace in which the long-lived blocks of one line are moved or dropped, and see what
/// that saves
#[derive(clap::Args)]
pub struct WhatifArgs {
    /// The trace, recorded with --sites
    trace: PathBuf,
    /// Allocate this line's survivors after the last call, as if the program copied what it keeps.
    /// In a trace with callers (--sites=N) they are all that the line allocated, itself or by what
    /// it called
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
    /// Backends, separated by commas
    #[arg(short, long, default_value = "malloc,pymalloc")]
    backends: Vec<String>,
    #[command(flatten)]
    children: ChildArgs,
}

impl WhatifArgs {
    /// Replays both traces on each backend.
    ///
    /// # Errors
    /// A trace without sites, a line that is not in it, a backend that cannot be had.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let specs = specs::read_list(&self.backends)?;
        let (change, name) = match (&self.move_site, &self.drop_site) {
            (Some(name), _) => (Change::Move, name),
            (None, Some(name)) => (Change::Drop, name),
            (None, None) => bail!("name a line with --move-site or --drop-site"),
        };
        let (_, mut programs) =
            load_grouped(std::slice::from_ref(&self.trace), |births| births.under(name), u64::MAX)?;
        let Some(loaded) = programs.drain().map(|(_, loaded)| loaded).next() else {
            bail!("{}: no trace", self.trace.display());
        };
        let site = find(&loaded, name, &self.trace)?;
        let settings = self.children.settings();
        let entry = |spec| BackendEntry { name: String::from(spec), version: String::new() };
        let backends: Vec<BackendEntry> = specs.into_iter().map(entry).collect();
        let savings =
            bench::savings(&loaded, site, change, &backends, &settings).with_context(|| {
                format!("{}: the changed trace could not be replayed", self.trace.display())
            })?;
        print(&told(loaded.births.name(site), change, &savings))?;
        let failed = savings.iter().any(|saving| saving.result.is_err());
        Ok(if failed { ExitCode::from(2) } else { ExitCode::SUCCESS })
    }
}

fn find(loaded: &Loaded, name: &str, trace: &std::path::Path) -> anyhow::Result<u32> {
    if loaded.births.is_empty() {
        bail!(
            "{}: has no lines; record the program again with `heaplay record --sites`",
            trace.display()
        );
    }
    match loaded.births.find(name) {
        Ok(site) => Ok(site),
        Err(like) if like.is_empty() => {
            let counts: HashMap<u32, u64> = loaded.births.requests();
            let most = counts
                .iter()
                .filter(|(site, _)| **site > 0)
                .max_by_key(|(site, count)| (**count, **site));
            let example = most.map_or("", |(site, _)| loaded.births.name(*site));
            bail!(
                "no line `{name}` allocates in {}; `heaplay inspect` lists them (such as {example})",
                trace.display()
            )
        }
        Err(like) => bail!("`{name}` may be {}; write more of the path", like.join(" or ")),
    }
}

fn told(site: &str, change: Change, savings: &[Saving]) -> String {
    let (what, sum) = match change {
        Change::Move => ("allocated after the last call", "the free space charged to them"),
        Change::Drop => {
            ("never allocated", "their requested bytes and the free space charged to them")
        }
    };
    let moved = savings.iter().find_map(|saving| saving.result.as_ref().ok());
    let mut text = match moved {
        Some(found) => format!(
            "{site}: {} blocks ({}) that live to the end, {what}\n\n",
            found.blocks,
            bytes(found.live_bytes as f64)
        ),
        None => format!("{site}\n\n"),
    };
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "backend",
        "pinned before",
        "after",
        "saved",
        "predicted",
        "off by",
        "after trim",
    ]);
    let mut faults = String::new();
    for saving in savings {
        match &saving.result {
            Ok(found) => {
                let trims = match (found.trimmed_before, found.trimmed_after) {
                    (Some(before), Some(after)) => {
                        format!("{} → {}", bytes(before as f64), bytes(after as f64))
                    }
                    _ => "–".to_owned(),
                };
                let saved = found.pages_in_use_before as f64 - found.pages_in_use_after as f64;
                table.add_row([
                    saving.backend.clone(),
                    bytes(found.pages_in_use_before as f64),
                    bytes(found.pages_in_use_after as f64),
                    bytes(saved),
                    bytes(found.predicted as f64),
                    off(found.predicted as f64, saved),
                    trims,
                ]);
            }
            Err(reason) => faults += &format!("failed: {}: {reason}\n", saving.backend),
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    text += &format!(
        "{table}\n\nPinned: 4 KiB pages with a live byte, at the end. Predicted: {sum}.\n{faults}"
    );
    if moved.is_some_and(|found| found.blocks == 0) {
        text += "No block of this line lives to the end: a program that exits frees what it held. Record up to the moment that \
                 matters, with `heaplay record --stop-at-mark NAME` or `--duration SECONDS`, and ask again.\n";
    }
    text
}

/// By how much the prediction misses what was saved, in per cent of that.
fn off(predicted: f64, saved: f64) -> String {
    if saved == 0.0 {
        return if predicted == 0.0 { "0 %".into() } else { "nothing saved".into() };
    }
    format!("{:+.0} %", (predicted - saved) / saved.abs() * 100.0)
}

#[cfg(test)]
mod tests {
    use super::off;

    #[test]
    fn a_prediction_is_off_by_a_share_of_what_was_saved() {
        assert_eq!(off(115.0, 100.0), "+15 %");
        assert_eq!(off(50.0, 100.0), "-50 %");
        assert_eq!(off(50.0, -100.0), "+150 %");
        assert_eq!(off(0.0, 0.0), "0 %");
        assert_eq!(off(1.0, 0.0), "nothing saved");
    }
}
