//! Verb `run`: the main job. Compiles traces, measures every backend on them, and leaves a run
//! folder with its pictures. `run/folder.rs` makes the folder, `run/disk.rs` reports what it takes of
//! the disk, `run/progress.rs` shows how far the run is, `run/other_programs.rs` what else the machine did,
//! and `run/conclusion.rs` how it ended. `run/options.rs` has its command line.

mod conclusion;
mod disk;
mod folder;
mod options;
mod other_programs;
pub(super) mod progress;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

pub use conclusion::conclude;
pub use options::{RunArgs, RunOrder, parse_seconds, parse_time_limit};

use self::other_programs::ProcessorTicks;
use self::progress::ProgressLine;
use super::end_choice::EndChoice;
use super::load::{FoundTraces, LineGroups, UnreadTraces, calls_within, load_found, load_grouped};
use super::shard::ShardChoice;
use super::terminal::note;
use super::{interrupt, specs};
use crate::bench::{self, RunPlan, Settings, Workloads};
use crate::results::{NewRunDir, Pass, Run, RunDir};
use crate::spec::{BackendSpec, FLOOR};

impl RunArgs {
    /// Runs, or finishes a run, and draws the report.
    ///
    /// # Errors
    /// What could not be done. The cells measured before stay in the folder.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (run, folder, unread) = self.measure()?;
        unread.announce()?;
        unread.conclude(conclude(&run, &folder, self.private)?)
    }

    /// Runs, or finishes a run, and leaves the record. Returns it with its folder, and the files that
    /// were not measured.
    ///
    /// # Errors
    /// As [`RunArgs::run`].
    pub fn measure(&self) -> anyhow::Result<(Run, PathBuf, UnreadTraces)> {
        interrupt::install()?;
        if let Some(huge_pages) = self.huge_pages {
            huge_pages.choose()?;
        }
        let mut settings = self.children.settings();
        settings.huge_pages = self.huge_pages;
        // Locked until the run is over: two runs in one folder would mix their cells.
        let (mut dir, workloads, unread) = match &self.resume {
            Some(folder) => {
                let mut dir = RunDir::open(folder)?;
                dir.lock()?;
                settings.pace = bench::pace_of_run(&dir);
                let workloads = resume(&mut dir, &settings)?;
                (dir, workloads, UnreadTraces::default())
            }
            None => {
                settings.pace = self.pace;
                self.begin(&settings, folder::claim(self.out.as_deref())?)?
            }
        };
        disk::note_need(&dir, &workloads, &settings)?;
        let folder = dir.folder().to_owned();
        let progress = ProgressLine::new(&dir.missing()?, &workloads);
        let before = ProcessorTicks::now();
        let run = bench::run(&mut dir, &workloads, &settings, &progress);
        let mut run = run.with_context(|| {
            let folder = folder.display();
            format!(
                "{folder}: the run stopped; the cells measured before are in the folder, and \
                 `heaplay run --resume {folder}` goes on"
            )
        })?;
        drop(progress);
        let ticks = ProcessorTicks::now()
            .zip(before)
            .filter(|_| run.manifest.passes.iter().any(|pass| pass.is_timed()));
        if let Some(text) = ticks.and_then(|(now, before)| now.note_since(before)) {
            note(text);
        }
        if self.count_instructions && run.missing().is_empty() && !bench::cancelled() {
            bench::add_instructions(&mut run, &workloads, &settings, &|text| note(text));
            dir.save(&run)?;
        }
        Ok((run, folder, unread))
    }

    /// The passes, with that of free order where it is requested.
    ///
    /// # Errors
    /// There is nothing but free order, and no trace has several threads.
    fn passes_of(&self, workloads: &Workloads) -> anyhow::Result<Vec<Pass>> {
        let has_threads = workloads.iter().any(|workload| workload.trace.thread_count > 1);
        let passes = self.passes.iter().copied();
        match self.order {
            RunOrder::Recorded => Ok(passes.collect()),
            _ if has_threads && self.order == RunOrder::Free => Ok(vec![Pass::Free]),
            _ if has_threads => Ok(passes.chain([Pass::Free]).collect()),
            RunOrder::Free => bail!(
                "one thread makes all calls of each trace, so there is no free order; leave --order \
                 out, or replay copies at once: heaplay scale --copies 1,2,4"
            ),
            RunOrder::Both => {
                note("one thread makes all calls of each trace, so free order is left out");
                Ok(passes.collect())
            }
        }
    }

    /// Compiles the traces, asks each backend for its version, and writes the manifest.
    fn begin(
        &self,
        settings: &Settings,
        claimed: NewRunDir,
    ) -> anyhow::Result<(RunDir, Workloads, UnreadTraces)> {
        let (plan, workloads, unread) = self.plan(settings)?;
        let dir = bench::begin_run(claimed, &plan, settings).context(folder::NO_FOLDER)?;
        note_time_limit(settings, &workloads);
        note_clock(settings);
        Ok((dir, workloads, unread))
    }

    /// Compiles the traces and asks each backend for its version.
    ///
    /// # Errors
    /// Traces, backends and options that do not fit.
    pub(super) fn plan(
        &self,
        settings: &Settings,
    ) -> anyhow::Result<(RunPlan, Workloads, UnreadTraces)> {
        let mut specs = specs::read_list(&self.backends)?;
        if !self.no_floor && !specs.iter().any(BackendSpec::is_floor) {
            specs.push(FLOOR.parse()?);
        }
        let lines = if self.callers { LineGroups::Callers } else { LineGroups::Lines };
        let FoundTraces { workloads, unread } =
            load_found(&self.traces, &self.end.at, lines, calls_within(settings))?;
        let names = specs.into_iter().map(String::from);
        let (backends, absent) = bench::ask_versions(names, settings.timeout, &|text| note(text));
        if let Some(typo) = absent.iter().find(|backend| backend.is_typo) {
            bail!("nothing was measured; correct the backend `{}`", typo.name);
        }
        let no_times = workloads.iter().find(|workload| workload.times.is_empty());
        if let (Some(workload), Some(_)) = (no_times, self.pace) {
            let name = workload.name();
            bail!(
                "{name}: has no times, so it has no pace; leave --pace out, or record it with \
                 `heaplay record`"
            );
        }
        let (traces, passes) = (workloads.traces(), self.passes_of(&workloads)?);
        let shard = self.shard.map(ShardChoice::shard).transpose()?;
        let (repetitions, time_budget) = self.repetitions_and_budget();
        // No shard sees all repetitions of a comparison, so their number is fixed.
        let time_budget = time_budget.filter(|_| shard.is_none());
        let seed = self.seed;
        let plan =
            RunPlan { traces, backends, absent, passes, repetitions, time_budget, shard, seed };
        Ok((plan, workloads, unread))
    }
}

/// Opens a run again, and compiles its traces under the names of its manifest.
fn resume(dir: &mut RunDir, settings: &Settings) -> anyhow::Result<Workloads> {
    bench::reopen(dir, settings.timeout, &|text| note(text))?;
    note(format!("{}: {} cells to do", dir.folder().display(), dir.missing()?.len()));
    let traces = &dir.manifest().traces;
    let paths: Vec<PathBuf> = traces.iter().map(|trace| PathBuf::from(&trace.path)).collect();
    // All traces of a run have the same groups.
    let lines = traces.first().map_or(LineGroups::Lines, LineGroups::of);
    let group = |sites| lines.group(sites);
    let workloads = load_grouped(&paths, group, &EndChoice::LastCall, calls_within(settings))?;
    let ends = traces.iter().map(|trace| trace.end.as_ref().map_or(u64::MAX, |end| end.event));
    let workloads = workloads.named_as(traces).into_iter().zip(ends);
    let workloads: std::io::Result<Workloads> =
        workloads.map(|(workload, end)| workload.until(end)).collect();
    workloads.context("no memory for the ends of the traces")
}

/// A note on the time after which a pass is stopped.
fn note_time_limit(settings: &Settings, workloads: &Workloads) {
    let limits = workloads.iter().map(|workload| settings.time_limit(workload.calls()));
    if let Some(longest) = limits.max() {
        let seconds = longest.as_secs();
        note(format!(
            "a pass that takes over {seconds} s is stopped and not tried again (--timeout sets \
             another limit)"
        ));
    }
}

fn note_clock(settings: &Settings) {
    let floor = settings.clock.clock().floor();
    note(format!(
        "the clock ({}) steps by {:.1} ns; an empty pair reads {:.1} ns and costs {:.1} ns",
        settings.clock.source_name(),
        floor.step_ns,
        floor.pair_ns,
        floor.cost_ns
    ));
}
