//! What the replay of a recording predicts for the program under each backend.
//!
//! Memory: the replay's resident memory, and what the process holds besides its heap (data of loaded
//! files, stacks, own mappings). Processor time: the start of the program with the backend's library,
//! the calls of the trace, and the walks of the garbage collector (`predicted_time.rs`).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::HumanDuration;

use super::predicted_time::{Coldness, PredictedExtra, ReplayedTimes};
use super::recorded_collector::RecordedCollector;
use super::recorded_threads::RecordedThreads;
use crate::bench::{self, KnownCosts, Progress, RunPlan, Settings, Workload, Workloads};
use crate::cli::end_choice::EndChoice;
use crate::cli::load::load_within;
use crate::cli::run::progress::ProgressLine;
use crate::cli::terminal::note;
use crate::environment::PYTHONMALLOC;
use crate::live::{Candidate, Deployment, LiveRuns, LoadedAllocator, Observation};
use crate::results::{CellKey, Metric, Outcome, Pass, ProcessMemory, RunDir, Scope, TraceEntry};
use crate::{stats, units};

/// Repetitions of the timed passes.
const REPETITIONS: u32 = 5;
/// Repetitions for a trace of more than [`LONG_CALLS`], each of which takes many seconds.
const LONG_REPETITIONS: u32 = 3;
const LONG_CALLS: u64 = 20_000_000;

/// The prediction for one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Resident anonymous memory of the program at its peak, bytes. The two differ for an allocator
    /// that returns memory after a delay.
    pub peak_bytes: [f64; 2],
    /// The same at the end.
    pub end_bytes: [f64; 2],
    /// Processor times.
    pub times: ReplayedTimes,
    /// Instructions of all calls, without the first writes; `None` where they were not counted.
    pub instructions: Option<f64>,
}

/// The predictions for all backends.
pub struct Predictions {
    /// By the name of the backend; the reason where its replay failed.
    by_backend: BTreeMap<String, Result<Prediction, String>>,
    constant: Option<Constant>,
    /// The program's, under the first backend.
    coldness: Option<Coldness>,
    collector: RecordedCollector,
    threads: RecordedThreads,
}

/// What a process holds besides its heap, bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Constant {
    /// At the peak.
    peak_bytes: f64,
    /// At the end.
    end_bytes: f64,
    /// Whether the recording has it. Otherwise it is the difference between the program and the
    /// replay under the first backend, whose own prediction is right by that.
    is_recorded: bool,
}

/// How a trace is replayed.
struct ReplayPlan {
    passes: Vec<Pass>,
    /// Of each timed pass.
    repetitions: u32,
}

impl ReplayPlan {
    fn of(
        workload: &Workload,
        threads: &RecordedThreads,
        collector: RecordedCollector,
    ) -> ReplayPlan {
        let mut passes = vec![Pass::Footprint];
        if !threads.may_contend {
            passes.extend([Pass::Touch, Pass::Cold]);
            if collector.steps() > 0 {
                passes.push(Pass::Traversal);
            }
        }
        let is_long = workload.program.outline().calls > LONG_CALLS;
        let repetitions = if is_long { LONG_REPETITIONS } else { REPETITIONS };
        ReplayPlan { passes, repetitions }
    }

    /// About how long the replay on so many backends takes, by the rough rates of `heaplay plan`.
    fn duration(&self, workload: &Workload, backends: usize) -> HumanDuration {
        let seconds_of = |pass: &Pass| {
            let repetitions = if pass.is_timed() { self.repetitions } else { 1 };
            let cell = CellKey {
                trace: workload.name().to_owned(),
                backend: String::new(),
                pass: *pass,
                repetition: 0,
            };
            let calls = workload.program.outline().calls;
            KnownCosts::default().estimate(&cell, calls).seconds * f64::from(repetitions)
        };
        let seconds: f64 = self.passes.iter().map(seconds_of).sum();
        HumanDuration(Duration::from_secs_f64(seconds * backends as f64))
    }
}

/// About how long the replays of a trace take, as words. The program has not run yet, so its garbage
/// collector may turn out to be too small to be replayed.
pub fn replay_duration(workloads: &Workloads, backends: usize) -> Option<String> {
    let workload = workloads.first()?;
    let collector = RecordedCollector::of(workload, None);
    let plan = ReplayPlan::of(workload, &RecordedThreads::of(workload), collector);
    Some(plan.duration(workload, backends).to_string())
}

/// Reads the trace, before the program runs.
///
/// # Errors
/// When it cannot be read, or is too large to be replayed at once.
pub fn load(trace: &Path) -> anyhow::Result<Workloads> {
    load_within(&[trace.to_owned()], &EndChoice::LastCall, u64::MAX)
}

/// Replays the trace on the backends that the program had. `has_instructions` counts the instructions
/// of all calls, too.
///
/// # Errors
/// When a file cannot be written. A backend whose replay fails is a prediction with the reason.
pub fn predict(
    workloads: &Workloads,
    all: &[LiveRuns],
    has_instructions: bool,
    settings: &Settings,
) -> anyhow::Result<Predictions> {
    let Some(workload) = workloads.first() else { bail!("there is no trace to replay") };
    let specs: Vec<(String, String)> = all
        .iter()
        .filter_map(|runs| {
            let loaded = runs.runs.first()?.allocator.as_ref()?;
            let Candidate { name, deployment, .. } = &runs.candidate;
            Some((name.clone(), replayed_spec(name, deployment, loaded)))
        })
        .collect();
    let threads = RecordedThreads::of(workload);
    let collector = RecordedCollector::of(workload, all.first());
    let replay = ReplayPlan::of(workload, &threads, collector);
    note(format!(
        "replays {} on {} backends, about {} on a quiet machine",
        workload.name(),
        specs.len(),
        replay.duration(workload, specs.len())
    ));
    let folder = tempfile::Builder::new().prefix("heaplay-").tempdir();
    let folder = folder.context("a folder for the replays")?;
    let mut names: Vec<String> = specs.iter().map(|(_, spec)| spec.clone()).collect();
    names.sort();
    names.dedup();
    let (backends, absent) = bench::ask_versions(names, settings.timeout, &|text| note(text));
    let plan = RunPlan {
        traces: workloads.traces(),
        backends,
        absent,
        passes: replay.passes,
        repetitions: replay.repetitions,
        time_budget: None,
        shard: None,
        seed: None,
    };
    let claimed = RunDir::claim(&folder.path().join("run"))?;
    let mut dir = bench::begin_run(claimed, &plan, settings)?;
    let progress = WithoutNotes(ProgressLine::new(&dir.missing()?, workloads));
    let run = bench::run(&mut dir, workloads, settings, &progress);
    drop(progress);
    let mut run = run?;
    if has_instructions && !bench::cancelled() {
        bench::add_instructions(&mut run, workloads, settings, &note);
    }
    let of = |spec: &str| {
        let values = |metric| run.values(workload.name(), spec, Scope::All, metric);
        let range = |metric, ends: [Metric; 2]| {
            let own = values(metric).first().copied()?;
            let ends = ends.map(|metric| values(metric).first().copied().unwrap_or(own));
            Some([own.min(ends[0]).min(ends[1]), own.max(ends[0]).max(ends[1])])
        };
        let at_peak = [Metric::ResidentPeakAtOnceBytes, Metric::ResidentPeakNeverBytes];
        let at_end = [Metric::ResidentEndAtOnceBytes, Metric::ResidentEndNeverBytes];
        Some(Prediction {
            peak_bytes: range(Metric::ResidentPeakBytes, at_peak)?,
            end_bytes: range(Metric::ResidentEndBytes, at_end)?,
            times: ReplayedTimes {
                start_ns: None,
                touch_ns: values(Metric::FirstTouchNanoseconds),
                cold_ns: values(Metric::ColdNanoseconds),
                walks_ns: collector.walks_ns(&values(Metric::CollectorStepNanoseconds)),
            },
            instructions: values(Metric::Instructions).first().copied(),
        })
    };
    let reason = |spec: &str| {
        let outcome = run.failed().into_iter().find(|outcome| outcome.backend == spec);
        outcome.map_or_else(|| "it has no figures".to_owned(), |outcome| outcome.reason.clone())
    };
    let mut by_backend: BTreeMap<String, Result<Prediction, String>> = specs
        .iter()
        .map(|(name, spec)| (name.clone(), of(spec).ok_or_else(|| reason(spec))))
        .collect();
    let constant = workloads
        .traces()
        .first()
        .and_then(Constant::recorded)
        .or_else(|| Constant::of_first(all.first()?, by_backend.get(&all[0].candidate.name)?));
    for prediction in by_backend.values_mut().flatten() {
        prediction.add(constant);
    }
    for runs in all {
        if let Some(Ok(prediction)) = by_backend.get_mut(&runs.candidate.name) {
            prediction.times.start_ns = stats::median(&runs.starts_ns);
        }
    }
    let coldness = all.first().and_then(|base| {
        Coldness::of(base, &by_backend.get(&base.candidate.name)?.as_ref().ok()?.times)
    });
    Ok(Predictions { by_backend, constant, coldness, collector, threads })
}

/// The progress of the replays, without what a run notes about its machine.
struct WithoutNotes(ProgressLine);

impl Progress for WithoutNotes {
    fn done(&self, outcome: &Outcome, weight: u64) {
        self.0.done(outcome, weight);
    }

    fn more(&self, weight: u64) {
        self.0.more(weight);
    }
}

/// The backend that stands in a replay for the allocator that the program had: the same library, and
/// the pymalloc of the same CPython.
fn replayed_spec(name: &str, deployment: &Deployment, loaded: &LoadedAllocator) -> String {
    let pymalloc = match (deployment.has_pymalloc, loaded.python) {
        (false, _) => None,
        (true, Some((3, minor))) => Some(format!("pymalloc@3.{minor}")),
        (true, _) => Some("pymalloc".to_owned()),
    };
    if deployment.preload.is_none() {
        // The C library's, with the settings of the spec.
        let below = name.split_once('+').map(|(_, below)| below);
        return match (pymalloc, below) {
            (Some(pymalloc), Some(below)) => format!("{pymalloc}+{below}"),
            (Some(pymalloc), None) => pymalloc,
            (None, _) => name.to_owned(),
        };
    }
    let settings: Vec<String> = deployment
        .variables
        .iter()
        .filter(|(name, _)| name != PYTHONMALLOC)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut library = format!("so:{}", loaded.file.display());
    if !settings.is_empty() {
        library += &format!(":{}", settings.join(","));
    }
    match pymalloc {
        Some(pymalloc) => format!("{pymalloc}+{library}"),
        None => library,
    }
}

impl Prediction {
    /// Adds what the process holds besides its heap.
    fn add(&mut self, constant: Option<Constant>) {
        let Some(constant) = constant else { return };
        for end in 0..2 {
            self.peak_bytes[end] += constant.peak_bytes;
            self.end_bytes[end] += constant.end_bytes;
        }
    }
}

impl Constant {
    fn recorded(trace: &TraceEntry) -> Option<Constant> {
        let memory = &trace.process.as_ref()?.memory;
        let all = |point: &&ProcessMemory| point.heap_bytes + point.besides_bytes;
        let (peak, end) = (memory.iter().max_by_key(all)?, memory.last()?);
        // A recording of before this figure was stored has none.
        (end.besides_bytes > 0).then_some(Constant {
            peak_bytes: peak.besides_bytes as f64,
            end_bytes: end.besides_bytes as f64,
            is_recorded: true,
        })
    }

    fn of_first(first: &LiveRuns, replayed: &Result<Prediction, String>) -> Option<Constant> {
        let replayed = replayed.as_ref().ok()?;
        let median = |figure: fn(&Observation) -> f64| stats::median(&first.figures(figure));
        Some(Constant {
            peak_bytes: median(|run| run.peak_bytes as f64)? - replayed.peak_bytes[0],
            end_bytes: median(|run| run.end_bytes as f64)? - replayed.end_bytes[0],
            is_recorded: false,
        })
    }
}

impl Predictions {
    /// The prediction for a backend; `None` where its replay failed.
    pub fn of(&self, backend: &str) -> Option<&Prediction> {
        self.by_backend.get(backend)?.as_ref().ok()
    }

    /// The threads of the recording.
    pub fn threads(&self) -> RecordedThreads {
        self.threads
    }

    /// How much more processor time the program is predicted to need under a backend than under the
    /// base. `None` where threads may contend: that costs time which no replay in recorded order has.
    pub fn extra(&self, base: &str, backend: &str) -> Option<PredictedExtra> {
        if self.threads.may_contend {
            return None;
        }
        PredictedExtra::of(&self.of(base)?.times, &self.of(backend)?.times, self.coldness?)
    }

    /// What a reader of the predictions has to know.
    pub fn notes(&self) -> String {
        let mut text = String::new();
        for (backend, result) in &self.by_backend {
            if let Err(why) = result {
                text += &format!("no prediction for {backend}: {why}\n");
            }
        }
        match self.constant {
            Some(Constant { is_recorded: false, .. }) => {
                text += "the trace does not have the memory of the process, so the first backend's \
                         memory in life fixes what is added to each replay\n";
            }
            Some(Constant { peak_bytes, is_recorded: true, .. }) => {
                text += &format!(
                    "predicted memory is that of the replay, and {} that the process held besides \
                     its heap\n",
                    units::bytes(peak_bytes)
                );
            }
            None => {}
        }
        if self.threads.may_contend {
            text += &format!(
                "no time is predicted: {} threads allocate, and a replay makes one call at a time. \
                 So it has no contention for locks, of the allocator or the program, and no cache \
                 lines that move between processors. `heaplay scale` replays all threads at once\n",
                self.threads.count
            );
            return text;
        }
        if let Some(coldness) = self.coldness {
            text += &format!(
                "predicted time is that of the start, the calls and the garbage collector. Calls are \
                 replayed with nothing between them (warm caches), and with other code between them \
                 (cold caches). The more the program does between its calls, the nearer the sum is to \
                 the second: here {} of the way from the first to it\n",
                units::percent(coldness.share())
            );
        }
        text += &self.collector.note();
        text += "other walks of the program through its objects are not in it. ± is its known error, in per \
                 cent of the program's time: a fifth of what the replay takes, and 5 or more. A smaller \
                 difference is not predicted\n";
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::BackendSpec;

    fn replayed(name: &str, file: &str, python: Option<(u8, u8)>) -> String {
        let deployment = Deployment::of(&name.parse().unwrap()).unwrap();
        let loaded = LoadedAllocator {
            file: file.into(),
            version: String::new(),
            python,
            has_pymalloc: None,
        };
        let spec = replayed_spec(name, &deployment, &loaded);
        assert!(spec.parse::<BackendSpec>().is_ok(), "{spec}");
        spec
    }

    #[test]
    fn the_replay_has_the_allocator_of_the_program() {
        let (libc, jemalloc) = ("/lib/libc.so.6", "/usr/lib/libjemalloc.so.2");
        let python = Some((3, 11));
        assert_eq!(replayed("pymalloc", libc, python), "pymalloc@3.11");
        assert_eq!(replayed("malloc", libc, python), "malloc");
        let arenas = "malloc:MALLOC_ARENA_MAX=1";
        assert_eq!(replayed(arenas, libc, None), arenas);
        let below = "pymalloc+malloc:MALLOC_TOP_PAD_=64K";
        assert_eq!(replayed(below, libc, python), below.replace("pymalloc", "pymalloc@3.11"));
        assert_eq!(replayed("jemalloc", jemalloc, python), "so:/usr/lib/libjemalloc.so.2");
        assert_eq!(
            replayed("pymalloc+jemalloc:dirty_decay_ms=0", jemalloc, python),
            "pymalloc@3.11+so:/usr/lib/libjemalloc.so.2:MALLOC_CONF=dirty_decay_ms:0"
        );
    }
}
