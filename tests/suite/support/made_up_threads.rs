//! Made-up threads of a run, and made-up figures of scaling, for the tests of their pictures.

use heaplay::report::{
    ScalingFigures, ScalingLine, ScalingPoint, ScalingStep, Spread, TraceThreads, backend_labels,
};
use heaplay::results::{
    ArenaRow, BackendEntry, CellKey, Metric, NamedThread, Pass, Run, Scope, ThreadActivity,
    ThreadFrees, ThreadRow, encode_numbers,
};

use super::made_up_runs::Dice;

/// Columns of the activity.
const COLUMNS: u64 = 240;

/// Names of the first threads.
pub fn names() -> Vec<NamedThread> {
    let names = [(1, "main"), (2, "accept"), (3, "worker-0"), (4, "worker-1"), (9, "logger")];
    names.map(|(thread, name)| NamedThread { thread, name: name.to_owned() }).into()
}

/// Adds `threads` threads of a trace of `calls` calls to a run: a main thread that allocates at the
/// start, an accepting thread whose blocks workers free, and workers that come and go. A logger
/// frees blocks of all.
pub fn add(run: &mut Run, (trace, backend): (&str, &str), threads: u32, calls: u64) {
    let mut dice = Dice::new(11);
    let of = |thread: u32| -> (u64, Option<u64>) {
        match thread {
            1 | 2 => (0, None),
            _ => {
                let begin = calls / 10 + calls * u64::from(thread) / (2 * u64::from(threads));
                let life = if thread.is_multiple_of(3) { calls / 3 } else { calls / 2 };
                let end = begin + life.min(calls - begin);
                (begin, (thread != threads).then_some(end))
            }
        }
    };
    let (trace, backend) = (trace.to_owned(), backend.to_owned());
    let has_memory = backend != "null";
    for thread in 1..=threads {
        let (begin, end) = of(thread);
        let column = |at: u64| at * calls / COLUMNS;
        let lives = |at: u64| column(at) >= begin && end.is_none_or(|end| column(at) < end);
        // All threads together make about all calls.
        let share = COLUMNS * 11 * u64::from(threads);
        let high = if thread == 1 { 9e6 } else { 3e5 * (1.0 + dice.next() * 6.0) };
        let made: Vec<u64> = (0..COLUMNS)
            .map(|at| if lives(at) { (dice.next() * 40.0) as u64 * calls / share } else { 0 })
            .collect();
        let live: Vec<u64> = (0..COLUMNS)
            .map(|at| {
                let age = column(at).saturating_sub(begin) as f64 / calls as f64;
                let level = if lives(at) { (age * 6.0).min(1.0) } else { 0.12 };
                if column(at) < begin { 0 } else { (level * high) as u64 }
            })
            .collect();
        run.thread_activity.push(ThreadActivity {
            trace: trace.clone(),
            backend: backend.clone(),
            repetition: 0,
            thread: Some(thread),
            threads: 1,
            calls: encode_numbers(&made),
            live_bytes: encode_numbers(&live),
        });
        let bytes = |share: f64| has_memory.then_some((high * share) as u64);
        run.threads.push(ThreadRow {
            trace: trace.clone(),
            backend: backend.clone(),
            repetition: 0,
            thread,
            begin_event: begin,
            end_event: end,
            calls: made.iter().sum(),
            requested_bytes: made.iter().sum::<u64>() * 90,
            live_end_blocks: live[live.len() - 1] / 100,
            live_end_bytes: live[live.len() - 1],
            usable_end_bytes: bytes(0.13),
            external_fragmentation_end_bytes: bytes(0.05),
            retained_end_bytes: bytes(0.3),
        });
        let mut put = |ended_by: u32, blocks: u64| {
            run.thread_frees.push(ThreadFrees {
                trace: trace.clone(),
                backend: backend.clone(),
                repetition: 0,
                allocated_by: Some(thread),
                ended_by: Some(ended_by),
                blocks,
                remote_blocks: if ended_by == thread { 0 } else { blocks },
                bytes: blocks * 90,
            });
        };
        put(thread, if thread == 2 { 40 } else { 4000 });
        if thread == 2 {
            (3..threads).for_each(|worker| put(worker, 900));
        }
        if threads > 2 && thread > 2 && thread != threads {
            put(threads, 500);
        }
    }
    if has_memory {
        let cell = CellKey {
            trace: trace.clone(),
            backend: backend.clone(),
            pass: Pass::Footprint,
            repetition: 0,
        };
        let figures = [
            (Metric::Threads, f64::from(threads)),
            (Metric::HandOvers, 12_008.0),
            (Metric::EndedThreads, f64::from(threads.saturating_sub(3))),
            (Metric::EndedThreadsLiveBytes, 6e5),
            (Metric::EndedThreadsInUseBytes, 9e5),
            (Metric::EndedThreadsRetainedBytes, 2.5e6),
        ];
        run.measurements
            .extend(figures.map(|(metric, value)| cell.measurement(Scope::All, metric, value)));
        let mut free = CellKey { pass: Pass::Free, ..cell };
        for (repetition, peak) in (0..).zip([7.4e7, 8.1e7, 6.9e7]) {
            free.repetition = repetition;
            let metrics = [Metric::FreeOrderResidentPeakBytes, Metric::FreeOrderResidentEndBytes];
            run.measurements
                .extend(metrics.map(|metric| free.measurement(Scope::All, metric, peak)));
        }
    }
    if backend.starts_with("malloc") {
        run.arenas.extend((0..3).map(|arena: u64| ArenaRow {
            trace: trace.clone(),
            backend: backend.clone(),
            repetition: 0,
            arena: format!("arena {arena}"),
            threads: None,
            held_bytes: Some(20_000_000 + arena * 77_777),
            allocated_bytes: Some(9_000_000 >> arena),
            cached_bytes: None,
        }));
    }
}

/// The threads of [`add`] by themselves.
pub fn threads(count: u32, calls: u64) -> TraceThreads {
    let mut run = Run::new(heaplay::results::Manifest::default());
    add(&mut run, ("t", "null"), count, calls);
    let found =
        TraceThreads::of(calls, &names(), &run.threads, &run.thread_activity, &run.thread_frees);
    found.expect("several threads")
}

/// Scaling of a trace on some backends: the first scales well, each other one worse.
pub fn scaling(trace: &str, backends: &[&str], is_of_copies: bool) -> ScalingFigures {
    let mut dice = Dice::new(trace.len() as u64);
    let entries: Vec<BackendEntry> = backends
        .iter()
        .map(|name| BackendEntry { name: (*name).to_owned(), version: String::new() })
        .collect();
    let mut steps: Vec<ScalingStep> =
        [1, 2, 4, 8].map(|threads| ScalingStep { name: threads.to_string(), threads }).into();
    if !is_of_copies {
        steps.push(ScalingStep { name: "trace (12)".to_owned(), threads: 12 });
    }
    let line = |(at, backend)| {
        let worse = at as f64;
        let points = (0..steps.len()).map(|step| {
            let threads = f64::from(steps[step].threads);
            let at_once = threads.min(4.0);
            let rate = (30e6 - 4e6 * worse) * at_once.powf(0.97 - 0.3 * worse);
            let mut spread = |value: f64| {
                let (low, high) = (1.0 - 0.1 * dice.next(), 1.0 + 0.06 * dice.next());
                Spread { least: value * low, median: value, most: value * high }
            };
            ScalingPoint {
                step,
                calls_per_second: spread(rate),
                processor_ns: spread(at_once / rate * 1e9),
                resident_peak_bytes: (backends[at] != "null")
                    .then(|| spread((40e6 + 9e6 * worse) * (1.0 + threads / 9.0))),
                waited_share: if step == 3 && at == 1 { 0.3 } else { 0.01 },
            }
        });
        ScalingLine { backend, points: points.collect() }
    };
    let lines = backend_labels(&entries).into_iter().enumerate().map(line).collect();
    ScalingFigures {
        trace: trace.to_owned(),
        calls: 1_234_567,
        processors: 4,
        is_of_copies,
        repetitions: 5,
        steps,
        lines,
    }
}
