//! Verb `plan`: the cells that `run` would measure with the same options, with estimated costs, and
//! nothing is measured. For who hands them out to machines.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

use super::exit::Exit;
use super::numbers::whole;
use super::run::RunArgs;
use super::tables::table;
use super::terminal::print;
use crate::bench::{
    Batch, DiskNeed, EstimateBasis, KnownCosts, PlannedCell, TraceDemand, batches, order,
    planned_cells,
};
use crate::results::{CellKey, Manifest, Outcome, Run, RunDir, Shard};

/// List the cells that `run` would measure with the same options, with their estimated costs
#[derive(clap::Args)]
pub struct PlanArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Print JSON: each cell with its batch, shard and cost
    #[arg(long)]
    json: bool,
    /// Name the shard of each cell, of so many, and add up the cost of each shard
    #[arg(long, value_name = "N", value_parser = whole::<u32>("a number of shards", 1..=100_000, 8))]
    shards: Option<u32>,
    /// Estimate by the seconds that this earlier run measured, instead of rough rates
    #[arg(long, value_name = "RUN")]
    from: Option<PathBuf>,
}

/// What `plan --json` prints.
#[derive(Serialize)]
struct PlanDocument<'a> {
    /// The version of heaplay.
    heaplay: &'a str,
    /// The estimated wall seconds of all cells, one after the other.
    seconds: f64,
    /// What latency cells take of the disk at most while the run lasts, on one machine.
    disk_bytes: u64,
    /// In the order in which one machine would measure them.
    cells: Vec<CellRow<'a>>,
    /// The shards, where they were requested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards: Vec<ShardRow>,
}

#[derive(Serialize)]
struct CellRow<'a> {
    trace: &'a str,
    backend: &'a str,
    pass: &'a str,
    repetition: u32,
    /// Cells of one batch are measured together, on one machine.
    batch: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<Shard>,
    /// Estimated wall seconds.
    seconds: f64,
    basis: EstimateBasis,
}

#[derive(Serialize)]
struct ShardRow {
    shard: Shard,
    cells: usize,
    seconds: f64,
}

impl PlanArgs {
    /// Plans.
    ///
    /// # Errors
    /// Those of `run` before it measures, and a run folder that cannot be read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(out) = &self.run.out {
            bail!("--out {}: a plan has no folder; give --out to `heaplay run`", out.display());
        }
        let costs = match &self.from {
            Some(folder) => KnownCosts::of(&Run::load(folder)?),
            None => KnownCosts::default(),
        };
        let (manifest, batches, jobs) = self.batches()?;
        let cells = planned_cells(&manifest, &batches, &costs);
        let shards = self.shards.map(|count| shard_rows(&cells, count)).transpose()?;
        let shards = shards.unwrap_or_default();
        if self.json {
            let document = PlanDocument {
                heaplay: env!("CARGO_PKG_VERSION"),
                seconds: seconds(&cells),
                disk_bytes: DiskNeed::of(&manifest, &batches, jobs).peak_bytes,
                cells: cells.iter().map(|cell| self.row(cell)).collect(),
                shards,
            };
            print(&format!("{}\n", serde_json::to_string_pretty(&document)?))?;
        } else {
            print(&self.summary(&cells, &shards))?;
        }
        Ok(Exit::Fine.into())
    }

    /// The manifest of the run, and the batches that it would measure: those that are missing, with
    /// `--resume`. Also how many of them run at once, at most.
    fn batches(&self) -> anyhow::Result<(Manifest, Vec<Batch>, usize)> {
        let settings = self.run.children.settings();
        if let Some(folder) = &self.run.resume {
            let dir = RunDir::open(folder)?;
            let tried: HashSet<CellKey> = dir.outcomes()?.iter().map(Outcome::cell).collect();
            let manifest = dir.manifest().clone();
            let cells = order(&manifest, &tried);
            let batches = batches(&cells, |_| TraceDemand::default());
            return Ok((manifest, batches, settings.jobs));
        }
        let (plan, workloads, _) = self.run.plan(&settings)?;
        let manifest = plan.manifest(&settings);
        let cells = order(&manifest, &HashSet::new());
        let batches = batches(&cells, |name| workloads.demand(name));
        Ok((manifest, batches, settings.jobs))
    }

    fn row<'a>(&self, planned: &'a PlannedCell) -> CellRow<'a> {
        let PlannedCell { cell, batch, cost } = planned;
        CellRow {
            trace: &cell.trace,
            backend: &cell.backend,
            pass: cell.pass.name(),
            repetition: cell.repetition,
            batch: *batch,
            shard: self.shards.and_then(|count| Shard::of(cell, count)),
            seconds: cost.seconds,
            basis: cost.basis,
        }
    }

    /// The plan for a terminal: a row for each trace, or for each shard.
    fn summary(&self, cells: &[PlannedCell], shards: &[ShardRow]) -> String {
        let seconds_text = |seconds: f64| format!("{seconds:.1}");
        let (header, rows): ([&str; 3], Vec<Vec<String>>) = if shards.is_empty() {
            let mut traces: Vec<&str> = cells.iter().map(|cell| cell.cell.trace.as_str()).collect();
            traces.sort_unstable();
            traces.dedup();
            let of = |trace: &str| {
                let own: Vec<&PlannedCell> =
                    cells.iter().filter(|cell| cell.cell.trace == trace).collect();
                vec![trace.to_owned(), own.len().to_string(), seconds_text(seconds(own))]
            };
            (["trace", "cells", "estimated s"], traces.into_iter().map(of).collect())
        } else {
            let of = |row: &ShardRow| {
                vec![row.shard.to_string(), row.cells.to_string(), seconds_text(row.seconds)]
            };
            (["shard", "cells", "estimated s"], shards.iter().map(of).collect())
        };
        if cells.is_empty() {
            return "No cell is to be measured.\n".to_owned();
        }
        let basis = match cells.iter().all(|cell| cell.cost.basis == EstimateBasis::Rough) {
            true => "by rough rates; --from RUN takes the seconds of an earlier run",
            false => "by the earlier run",
        };
        format!(
            "{}{} cells, {:.0} s one after the other, {basis}. Further repetitions are not in it: they \
             follow from the measurements.\n",
            table(&header, rows),
            cells.len(),
            seconds(cells)
        )
    }
}

fn seconds<'a>(cells: impl IntoIterator<Item = &'a PlannedCell>) -> f64 {
    // A sum of nothing would be −0.
    cells.into_iter().map(|cell| cell.cost.seconds).fold(0.0, |sum, seconds| sum + seconds)
}

/// The cells and cost of each of so many shards.
fn shard_rows(cells: &[PlannedCell], count: u32) -> anyhow::Result<Vec<ShardRow>> {
    let mut of_shards: HashMap<Shard, Vec<&PlannedCell>> = HashMap::new();
    for planned in cells {
        let shard = Shard::of(&planned.cell, count).context("no such shard")?;
        of_shards.entry(shard).or_default().push(planned);
    }
    let rows = (1..=count).filter_map(|index| Shard::new(index, count)).map(|shard| {
        let own = of_shards.remove(&shard).unwrap_or_default();
        ShardRow { shard, cells: own.len(), seconds: seconds(own) }
    });
    Ok(rows.collect())
}
