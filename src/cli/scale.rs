//! The verb `scale`: the threads of a trace at once, on more and more threads, or copies of a trace
//! at once. It shows contention and scaling.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::children::ChildArgs;
use super::exit::Exit;
use super::load::{find_traces, load_traces};
use super::numbers::whole;
use super::output_file;
use super::terminal::{note, print};
use super::{interrupt, specs};
use crate::bench::{self, FreeFigures, FreePass, FreeThread, Settings, Workload};
use crate::replay::Lanes;
use crate::report::{self, ScalingFigures, ScalingLine, ScalingPoint, ScalingStep, Spread};
use crate::results::{BackendEntry, Metric};
use crate::{stats, units};

/// Replay a trace with its threads at once, on all processors: throughput and latency by the number
/// of threads, waits for blocks of other threads, context switches, resident memory as a range
#[derive(clap::Args)]
#[command(
    after_help = "Threads wait only for blocks of other threads that they end. A line whose \
    waiting is a large share of its time shows the trace's own dependencies rather than the \
    allocator. Without --threads and --copies, a trace of several threads runs on 1, 2, 4, … threads \
    up to the number of processors and on those of the trace, and a trace of one thread in so many \
    copies."
)]
pub struct ScaleArgs {
    /// Traces, or folders of traces
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// Backends, separated by commas. Those that one thread at a time may call are refused
    #[arg(short, long = "backends", visible_alias = "backend", default_value = "malloc")]
    backends: Vec<String>,
    /// Numbers of threads that the trace's threads share, such as 1,2,4,8; `trace` for those of the
    /// trace itself
    #[arg(long, value_name = "N", value_delimiter = ',')]
    threads: Vec<WantedThreads>,
    /// Numbers of copies of the whole trace at once, each on a thread and blocks of its own
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        value_parser = whole::<u32>("numbers of copies", 1..=1024, 4),
        conflicts_with = "threads"
    )]
    copies: Vec<u32>,
    /// Repetitions of each measurement
    #[arg(
        short,
        long,
        default_value_t = 5,
        value_parser = whole::<u16>("a number of repetitions", 1..=1000, 5)
    )]
    repetitions: u16,
    /// Write a row for each thread of each repetition to this CSV
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Draw throughput, processor time and memory by the number of threads into this folder
    #[arg(long, value_name = "DIR")]
    png: Option<PathBuf>,
    #[command(flatten)]
    children: ChildArgs,
}

/// A number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WantedThreads {
    /// Those of the trace.
    Trace,
    /// So many.
    Shared(u32),
}

impl FromStr for WantedThreads {
    type Err = String;

    fn from_str(text: &str) -> Result<WantedThreads, String> {
        match (text, text.parse::<u32>()) {
            ("trace", _) => Ok(WantedThreads::Trace),
            (_, Ok(count @ 1..=1024)) => Ok(WantedThreads::Shared(count)),
            _ => {
                Err("expected numbers of threads from 1 to 1024, such as 1,2,4, or `trace`"
                    .to_owned())
            }
        }
    }
}

impl ScaleArgs {
    /// Measures each trace on each backend, one child at a time, and prints a table for each trace.
    ///
    /// # Errors
    /// A trace or a backend is not available, or the CSV cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let backends: Vec<String> =
            specs::read_list(&self.backends)?.into_iter().map(String::from).collect();
        let workloads = load_traces(&find_traces(&self.traces)?)?;
        interrupt::install()?;
        let settings = self.children.settings();
        let mut table = self.out.as_deref().map(ThreadTable::create).transpose()?;
        if let Some(folder) = &self.png {
            std::fs::create_dir_all(folder).with_context(|| {
                format!("--png {}: expected a folder that you may write to", folder.display())
            })?;
        }
        let mut has_failed = false;
        let mut drawn = Vec::new();
        // A backend that several threads may not call fails on each line for the same reason.
        let mut reasons: HashSet<String> = HashSet::new();
        for workload in workloads.iter() {
            let mut scaling = Scaling::of(workload);
            let all_lanes = self.lanes(workload)?;
            let mut figures_of =
                ScalingShape::new(workload, &backends, &all_lanes, self.repetitions);
            for (step, lanes) in all_lanes.into_iter().enumerate() {
                for (line, backend) in backends.iter().enumerate() {
                    let figures = measure(workload, backend, lanes, self.repetitions, &settings);
                    if bench::cancelled() {
                        note("interrupted: the figures so far are in the tables above");
                        return Ok(Exit::Interrupted.into());
                    }
                    match figures {
                        Ok(measured) => {
                            if let Some(table) = &mut table {
                                table.add(workload.name(), backend, lanes, &measured)?;
                            }
                            scaling.add(backend, lanes, &measured);
                            figures_of.add(line, step, &measured);
                        }
                        Err(reason) => {
                            has_failed = true;
                            let reason = format!("{}: {backend}: {reason}", workload.name());
                            if reasons.insert(reason.clone()) {
                                note(reason);
                            }
                        }
                    }
                }
            }
            print(&scaling.text())?;
            drawn.push(figures_of.0);
        }
        if let Some(folder) = &self.png {
            for file in report::render_scaling(&drawn, folder)? {
                print(&format!("{}\n", file.display()))?;
            }
        }
        if let Some(table) = table {
            table.finish()?;
        }
        Ok(if has_failed { Exit::NoResult.into() } else { Exit::Fine.into() })
    }

    /// How the calls of a trace are shared out, one entry for each line of the table.
    fn lanes(&self, workload: &Workload) -> anyhow::Result<Vec<Lanes>> {
        let threads = workload.program.outline().threads.len();
        if !self.copies.is_empty() {
            return Ok(self.copies.iter().map(|copies| Lanes::Copies(*copies)).collect());
        }
        if !self.threads.is_empty() {
            if threads == 0 {
                bail!(
                    "{}: one thread makes all calls of this trace; --copies 1,2,4 replays copies of \
                     it at once",
                    workload.name()
                );
            }
            return Ok(self.threads.iter().map(|count| count.lanes()).collect());
        }
        let processors = bench::processors().len().max(2) as u32;
        let doubled = (0..).map(|power| 1_u32 << power).take_while(|count| *count <= processors);
        Ok(match threads {
            0 => doubled.map(Lanes::Copies).collect(),
            _ => doubled.map(Lanes::Threads).chain([Lanes::Recorded]).collect(),
        })
    }
}

impl WantedThreads {
    fn lanes(self) -> Lanes {
        match self {
            WantedThreads::Trace => Lanes::Recorded,
            WantedThreads::Shared(count) => Lanes::Threads(count),
        }
    }
}

/// The repetitions of one line of the table, by pass.
struct Measured {
    time: Vec<FreeFigures>,
    latency: Vec<FreeFigures>,
    /// Empty for a backend that backs no memory.
    footprint: Vec<FreeFigures>,
}

impl Measured {
    /// The median over repetitions of a figure that all threads together have.
    fn median_sum(&self, of: fn(&FreeThread) -> u64) -> f64 {
        median(&sorted(&self.time, |figures| figures.sum(of) as f64))
    }

    /// The share of the threads' time in which they waited for blocks of other threads.
    fn waited_share(&self) -> f64 {
        let all = self.median_sum(|thread| thread.wall_ns);
        self.median_sum(|thread| thread.waited_ns) / all.max(1.0)
    }
}

fn measure(
    workload: &Workload,
    backend: &str,
    lanes: Lanes,
    repetitions: u16,
    settings: &Settings,
) -> Result<Measured, bench::ChildFailure> {
    let replay = |pass| bench::replay_freely(workload, backend, lanes, pass, settings);
    let mut measured = Measured { time: vec![], latency: vec![], footprint: vec![] };
    for _ in 0..repetitions {
        measured.time.push(replay(FreePass::Time)?);
        measured.latency.push(replay(FreePass::Latency)?);
        if backend != crate::spec::FLOOR {
            measured.footprint.push(replay(FreePass::Footprint)?);
        }
    }
    Ok(measured)
}

/// The figures of one trace, for its pictures.
struct ScalingShape(ScalingFigures);

impl ScalingShape {
    fn new(
        workload: &Workload,
        backends: &[String],
        lanes: &[Lanes],
        repetitions: u16,
    ) -> ScalingShape {
        let own = workload.program.outline().threads.len().max(1) as u32;
        let step = |lanes: &Lanes| match *lanes {
            Lanes::Recorded => ScalingStep { name: format!("trace ({own})"), threads: own },
            Lanes::Threads(count) | Lanes::Copies(count) => {
                ScalingStep { name: count.to_string(), threads: count }
            }
        };
        let entries: Vec<BackendEntry> = backends
            .iter()
            .map(|name| BackendEntry { name: name.clone(), version: String::new() })
            .collect();
        let line = |backend| ScalingLine { backend, points: Vec::new() };
        ScalingShape(ScalingFigures {
            trace: workload.name().to_owned(),
            calls: workload.calls() as u64,
            processors: bench::processors().len().max(1) as u32,
            is_of_copies: lanes.iter().any(|lanes| matches!(lanes, Lanes::Copies(_))),
            repetitions: repetitions.into(),
            steps: lanes.iter().map(step).collect(),
            lines: report::backend_labels(&entries).into_iter().map(line).collect(),
        })
    }

    /// Adds the point of a step, to the line of the backend at that place.
    fn add(&mut self, line: usize, step: usize, measured: &Measured) {
        let spread = |figure: fn(&FreeFigures) -> f64| {
            Spread::of(measured.time.iter().map(figure)).unwrap_or_default()
        };
        let peaks = measured.footprint.iter().map(|figures| figures.resident_peak_bytes as f64);
        let point = ScalingPoint {
            step,
            calls_per_second: spread(FreeFigures::calls_per_second),
            processor_ns: spread(FreeFigures::processor_ns_per_call),
            resident_peak_bytes: Spread::of(peaks),
            waited_share: measured.waited_share(),
        };
        if let Some(line) = self.0.lines.get_mut(line) {
            line.points.push(point);
        }
    }
}

/// The table of one trace.
struct Scaling {
    title: String,
    table: Table,
    /// By backend: the throughput of its first line.
    first: BTreeMap<String, f64>,
    /// Lines whose threads waited for each other for more than a tenth of their time.
    mostly_waiting: Vec<String>,
}

const HEADER: [&str; 11] = [
    "backend",
    "threads",
    "calls a second",
    "range",
    "speed-up",
    "processor ns a call",
    "p99.9",
    "remote ends",
    "that waited",
    "switches",
    "peak resident",
];

impl Scaling {
    fn of(workload: &Workload) -> Scaling {
        let threads = workload.program.outline().threads.len().max(1);
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header(HEADER);
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        Scaling {
            title: format!(
                "{}: {} calls by {}, in free order",
                workload.name(),
                units::count(workload.calls() as u64),
                if threads == 1 { "one thread".to_owned() } else { format!("{threads} threads") }
            ),
            table,
            first: BTreeMap::new(),
            mostly_waiting: Vec::new(),
        }
    }

    fn add(&mut self, backend: &str, lanes: Lanes, measured: &Measured) {
        let rates = sorted(&measured.time, FreeFigures::calls_per_second);
        let rate = median(&rates);
        let first = *self.first.entry(backend.to_owned()).or_insert(rate);
        let tail = sorted(&measured.latency, |figures| {
            let tail = figures.threads.iter().filter_map(|thread| thread.latency_ns);
            tail.map(|[_, _, tail, _]| tail).max().unwrap_or(0) as f64
        });
        let processor = sorted(&measured.time, FreeFigures::processor_ns_per_call);
        let sum = |of: fn(&FreeThread) -> u64| measured.median_sum(of);
        let (ends, waits) = (sum(|thread| thread.remote_ends), sum(|thread| thread.waits));
        let peaks = sorted(&measured.footprint, |figures| figures.resident_peak_bytes as f64);
        let count = |value: f64| units::count(value as u64);
        self.table.add_row([
            backend.to_owned(),
            text_of(lanes),
            millions(rate),
            format!("{}–{}", millions(rates[0]), millions(rates[rates.len() - 1])),
            format!("×{:.2}", rate / first),
            format!("{:.1}", median(&processor)),
            units::nanoseconds(median(&tail)),
            count(ends),
            format!("{} ({})", count(waits), units::percent(waits / ends.max(1.0))),
            count(sum(|thread| thread.voluntary_switches + thread.involuntary_switches)),
            match (peaks.first(), peaks.last()) {
                (Some(least), Some(most)) => {
                    format!("{}–{}", units::bytes(*least), units::bytes(*most))
                }
                _ => "–".to_owned(),
            },
        ]);
        let waited_share = measured.waited_share();
        if waited_share > 0.1 {
            self.mostly_waiting.push(format!(
                "{backend} on {}: threads waited for blocks of other threads for {} of their time; \
                 the longest wait took {}",
                text_of(lanes),
                units::percent(waited_share),
                units::nanoseconds(
                    measured
                        .time
                        .iter()
                        .flat_map(|figures| &figures.threads)
                        .map(|thread| thread.longest_wait_ns)
                        .max()
                        .unwrap_or(0) as f64
                )
            ));
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}\n{}\ncalls a second are those of all threads together, in wall time: the median and the \
             range of the repetitions\n",
            self.title, self.table
        );
        for line in &self.mostly_waiting {
            text += &format!("{line}\n");
        }
        text.push('\n');
        text
    }
}

fn text_of(lanes: Lanes) -> String {
    match lanes {
        Lanes::Recorded => "trace".to_owned(),
        Lanes::Threads(count) => count.to_string(),
        Lanes::Copies(1) => "1 copy".to_owned(),
        Lanes::Copies(count) => format!("{count} copies"),
    }
}

fn millions(rate: f64) -> String {
    format!("{:.1} M", rate / 1e6)
}

/// A figure of each repetition, ascending.
fn sorted(repetitions: &[FreeFigures], figure: impl Fn(&FreeFigures) -> f64) -> Vec<f64> {
    let mut figures: Vec<f64> = repetitions.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn median(figures: &[f64]) -> f64 {
    stats::median(figures).unwrap_or(0.0)
}

/// The CSV with a row for each thread of each repetition.
struct ThreadTable(csv::Writer<File>);

/// The columns but those of memory, which are the last. Times are those of the thread;
/// `replay_wall_ns` is that of the whole replay, in each of its rows.
const COLUMNS: [&str; 21] = [
    "trace",
    "backend",
    "lanes",
    "pass",
    "repetition",
    "thread",
    "calls",
    "processor_ns",
    "wall_ns",
    "replay_wall_ns",
    "remote_ends",
    "waits",
    "sleeps",
    "waited_ns",
    "longest_wait_ns",
    "voluntary_switches",
    "involuntary_switches",
    "latency_p50_ns",
    "latency_p99_ns",
    "latency_p999_ns",
    "latency_max_ns",
];

impl ThreadTable {
    fn create(path: &Path) -> anyhow::Result<ThreadTable> {
        let file = output_file::written(File::create(path), "-o", path)?;
        let mut writer = csv::Writer::from_writer(file);
        let memory = [Metric::ResidentPeakBytes, Metric::ResidentEndBytes].map(Metric::name);
        writer.write_record(COLUMNS.iter().chain(&memory))?;
        Ok(ThreadTable(writer))
    }

    fn add(
        &mut self,
        trace: &str,
        backend: &str,
        lanes: Lanes,
        measured: &Measured,
    ) -> anyhow::Result<()> {
        let passes = [
            ("time", &measured.time),
            ("latency", &measured.latency),
            ("footprint", &measured.footprint),
        ];
        for (pass, repetitions) in passes {
            for (repetition, figures) in repetitions.iter().enumerate() {
                for thread in &figures.threads {
                    let mut row: Vec<String> =
                        [trace, backend, &text_of(lanes), pass].map(str::to_owned).into();
                    row.push(repetition.to_string());
                    row.extend(numbers(figures, thread).map(|number| match number {
                        Some(number) => number.to_string(),
                        None => String::new(),
                    }));
                    self.0.write_record(&row)?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.0.flush().context("the CSV")
    }
}

/// The columns from `thread` on. Empty where the pass does not measure it.
fn numbers(figures: &FreeFigures, thread: &FreeThread) -> [Option<u64>; 18] {
    let latency = |at: usize| thread.latency_ns.map(|percentiles| percentiles[at]);
    let memory = |bytes: u64| (figures.resident_peak_bytes > 0).then_some(bytes);
    [
        Some(u64::from(thread.number)),
        Some(thread.calls),
        Some(thread.processor_ns),
        Some(thread.wall_ns),
        Some(figures.wall_ns),
        Some(thread.remote_ends),
        Some(thread.waits),
        Some(thread.sleeps),
        Some(thread.waited_ns),
        Some(thread.longest_wait_ns),
        Some(thread.voluntary_switches),
        Some(thread.involuntary_switches),
        latency(0),
        latency(1),
        latency(2),
        latency(3),
        memory(figures.resident_peak_bytes),
        memory(figures.resident_end_bytes),
    ]
}
