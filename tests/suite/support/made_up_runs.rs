//! Made-up runs for tests, from a seed. The program is a service with request bursts: nearly all
//! rows are freed, so the heap is a sawtooth above a slowly rising level. Allocators differ in
//! rounding, external fragmentation and retention. Service times have a fast path, a refill, a page
//! fault and a tail.

use std::collections::BTreeMap;

use super::made_up_threads;
use hdrhistogram::Histogram;
use heaplay::results::{
    Attribution, BackendEntry, Chunk, FORMAT, Fullness, HeapRow, HeapRowContents, Latency,
    LatencyRow, LineContents, Machine, Manifest, Measurement, Metric, Moment, OTHER_SITES,
    Operation, Outcome, Pass, ProgramMark, Residency, Rounding, Run, Sample, Scope, ServiceTimes,
    SizeClass, SlowCall, Status, TraceEntry, WhatIf,
};

/// A small generator of its own, so that pictures do not change with a dependency: xorshift64*
/// (Vigna, 2016).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// From 0 up to, not with, 1.
    pub fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How a made-up allocator behaves.
#[derive(Clone, Copy)]
pub struct Habits {
    rounding: f64,
    fragmentation: f64,
    /// Share of free pages given back at once.
    returns: f64,
    trim: f64,
    nanoseconds: f64,
    /// Odds and size of its slow path.
    slow: (f64, f64),
    floor: f64,
}

const KNOWN: [(&str, &str, Habits); 12] = {
    const fn habits(
        rounding: f64,
        fragmentation: f64,
        returns: f64,
        trim: f64,
        nanoseconds: f64,
        slow: (f64, f64),
        floor: f64,
    ) -> Habits {
        Habits { rounding, fragmentation, returns, trim, nanoseconds, slow, floor }
    }
    [
        ("malloc", "glibc 2.36", habits(0.03, 0.3, 0.1, 0.99, 48.0, (3e-6, 3e7), 1.7e6)),
        ("pymalloc", "pymalloc 3.12", habits(0.05, 0.33, 0.06, 0.42, 15.0, (2e-6, 2e5), 0.8e6)),
        ("bump", "bump 0.1.0", habits(0.02, 0.0, 0.0, 0.0, 6.0, (1e-4, 3e3), 2e9)),
        ("null", "null 0.1.0", habits(0.0, 0.0, 0.0, 0.0, 2.4, (0.0, 0.0), 0.0)),
        ("mimalloc", "mimalloc 2.0.9", habits(0.07, 0.42, 0.7, 0.18, 22.0, (1e-6, 2e6), 17e6)),
        ("tcmalloc", "gperftools 2.10", habits(0.04, 0.34, 0.0, 0.63, 24.0, (4e-6, 6e5), 27e6)),
        ("jemalloc", "jemalloc 5.3.0", habits(0.04, 0.28, 0.5, 0.83, 17.0, (1e-6, 9e5), 1.6e6)),
        ("pymalloc@3.9", "pymalloc 3.9", habits(0.05, 0.31, 0.12, 0.5, 16.0, (2e-6, 1e5), 0.8e6)),
        (
            "jemalloc:dirty_decay_ms=0",
            "jemalloc 5.3.0",
            habits(0.04, 0.28, 0.97, 1.0, 27.0, (1e-5, 2e6), 1.5e6),
        ),
        ("python@3.11", "CPython 3.11.2", habits(0.05, 0.33, 0.06, 0.42, 16.5, (2e-6, 2e5), 0.8e6)),
        ("snmalloc", "snmalloc 0.7.4", habits(0.06, 0.35, 0.3, 0.6, 18.0, (1e-6, 7e5), 8e6)),
        ("freelist+malloc", "freelist 0.1.0", habits(0.05, 0.36, 0.1, 0.9, 20.0, (2e-6, 1e6), 2e6)),
    ]
};

/// Names of made-up backends, the first `count` of a fixed order.
pub fn backends(count: usize) -> Vec<&'static str> {
    KNOWN.iter().map(|(name, ..)| *name).take(count).collect()
}

/// What to make up.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    pub seed: u64,
    pub traces: &'a [&'a str],
    pub backends: &'a [&'a str],
    /// Heap samples a backend.
    pub samples: usize,
    /// Calls of the trace.
    pub calls: u64,
    pub repetitions: u32,
    /// Threads of the trace, from 2 on.
    pub threads: u32,
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Wish {
            seed: 1,
            traces: &["service"],
            backends: &["malloc", "pymalloc", "bump", "null"],
            samples: 4000,
            calls: 30_804_506,
            repetitions: 5,
            threads: 9,
        }
    }
}

const MIB: f64 = 1024.0 * 1024.0;

/// Live bytes at `at` (0 to 1) of the trace.
fn live(at: f64, scale: f64) -> f64 {
    const PEAKS: [(f64, f64); 7] = [
        (0.06, 12.0),
        (0.12, 20.0),
        (0.17, 30.0),
        (0.27, 52.0),
        (0.33, 28.0),
        (0.44, 47.0),
        (0.5, 18.0),
    ];
    let floor = 3.0 + 6.0 * at.min(0.6);
    if at > 0.68 {
        return 8.7 * MIB * scale;
    }
    if at > 0.5 {
        let wave = (at * 90.0).fract();
        return (floor + 1.0 + 3.5 * wave) * MIB * scale;
    }
    let mut from = 0.0;
    for (to, height) in PEAKS {
        if at <= to {
            let part = (at - from) / (to - from);
            let shape = if part < 0.8 { part / 0.8 } else { (1.0 - part) / 0.2 };
            return (floor + height * shape) * MIB * scale;
        }
        from = to;
    }
    floor * MIB * scale
}

/// Makes a run up.
pub fn run(wish: &Wish) -> Run {
    let mut run = Run::new(manifest(wish));
    for (at, trace) in wish.traces.iter().enumerate() {
        for (place, name) in wish.backends.iter().enumerate() {
            let known = KNOWN.iter().find(|(known, ..)| known == name);
            let habits = known.map_or(KNOWN[0].2, |(.., habits)| *habits);
            let mut dice = Dice::new(wish.seed + 97 * at as u64 + 7 * place as u64);
            footprint(&mut run, wish, trace, name, habits, at, &mut dice);
            if *name != "null" {
                let mut own = Dice::new(wish.seed + 31 * at as u64 + 5 * place as u64);
                pages(&mut run, trace, name, habits, &mut own);
                sizes(&mut run, (trace, name), habits);
                heap_map(&mut run, trace, name, habits, &mut own);
                heap_contents(&mut run, trace, name);
                for (number, (share, _)) in (1..).zip(PHASES) {
                    let much = 1.6 * share * (1.3 - share);
                    attributions(
                        &mut run,
                        (trace, name),
                        Moment::Mark(number),
                        habits.fragmentation,
                        much,
                        &mut own,
                    );
                }
            }
            time(&mut run, wish, trace, name, habits, at, &mut dice);
            latency(&mut run, wish, trace, name, habits, &mut dice);
            let mut own = Dice::new(wish.seed + 41 * at as u64 + 11 * place as u64);
            tail(&mut run, wish, trace, name, habits, &mut own);
            if *name != "null" {
                walks(&mut run, wish, trace, name, habits);
            }
            made_up_threads::add(&mut run, (trace, name), wish.threads, wish.calls);
            outcomes(&mut run, wish, trace, name);
        }
    }
    run
}

/// Phases of the made-up program: their share of its calls, and their names.
pub const PHASES: [(f64, &str); 6] = [
    (0.0, "load"),
    (0.06, "first burst"),
    (0.27, "a phase with a rather long name"),
    (0.5, "parse"),
    (0.68, "serve"),
    (1.0, "exit"),
];

fn marks(calls: u64) -> Vec<ProgramMark> {
    let mark = |(share, name): &(f64, &str)| ProgramMark {
        event: (calls as f64 * share) as u64,
        name: (*name).to_owned(),
    };
    PHASES.iter().map(mark).collect()
}

fn manifest(wish: &Wish) -> Manifest {
    let facts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    Manifest {
        format: FORMAT,
        heaplay: "0.1.0".into(),
        created_unix_seconds: 1_760_000_000,
        traces: wish
            .traces
            .iter()
            .map(|name| TraceEntry {
                name: (*name).to_owned(),
                path: format!("traces/{name}.trace"),
                sha256: "0".repeat(64),
                calls: wish.calls,
                recorded_ns: 4_000_000_000,
                facts: facts(&[("program", "service.py"), ("python", "3.12.1")]),
                marks: marks(wish.calls),
                has_callers: false,
                end: None,
                process: None,
                thread_count: wish.threads,
                threads: made_up_threads::names(),
                has_pymalloc_calls: None,
                ..TraceEntry::default()
            })
            .collect(),
        backends: wish
            .backends
            .iter()
            .map(|name| BackendEntry {
                name: (*name).to_owned(),
                version: KNOWN
                    .iter()
                    .find(|(known, ..)| known == name)
                    .map_or("1.0", |(_, v, _)| *v)
                    .to_owned(),
            })
            .collect(),
        passes: Pass::RECORDED.to_vec(),
        repetitions: wish.repetitions,
        time_budget: None,
        further_time: vec![],
        shard: None,
        seed: wish.seed,
        settings: facts(&[("jobs", "2"), ("timeout_seconds", "600")]),
        machine: Machine {
            facts: facts(&[("processor", "made up"), ("cores", "2"), ("page_bytes", "4096")]),
        },
        merged: vec![],
        clock: facts(&[("source", "tsc"), ("step_nanoseconds", "10"), ("pair_nanoseconds", "20")]),
    }
}

fn footprint(
    run: &mut Run,
    wish: &Wish,
    trace: &str,
    name: &str,
    habits: Habits,
    at: usize,
    dice: &mut Dice,
) {
    let scale = (1.0 + at as f64 * 0.7) * (wish.calls as f64 / 30e6).min(1.0);
    let total = 2.07 * 1024.0 * MIB * scale;
    let mut retained = 0.0_f64;
    let mut row = |metric: Metric, value: f64| {
        run.measurements.push(Measurement {
            trace: trace.to_owned(),
            backend: name.to_owned(),
            pass: Pass::Footprint,
            repetition: 0,
            op: Scope::All,
            metric,
            value: value.round(),
        });
    };
    let mut samples: Vec<Sample> = Vec::new();
    let mut peak_live = 0.0_f64;
    for k in 1..=wish.samples {
        let place = k as f64 / wish.samples as f64;
        let clock = total * place;
        let live = live(place, scale) * (1.0 + 0.01 * dice.next());
        peak_live = peak_live.max(live);
        let usable = live * (1.0 + habits.rounding);
        let hole = (peak_live - live).max(0.0) * habits.fragmentation * place.min(0.5);
        let pinned = usable + hole + 0.002 * peak_live;
        retained = (retained * (1.0 - habits.returns * 6.0 / wish.samples as f64)).max(0.0);
        let mut resident = pinned.max(retained) * (1.0 + 0.004 * dice.next());
        retained = retained.max(pinned);
        if name == "bump" {
            resident = clock * 0.98;
        }
        if name == "null" {
            resident = 0.0;
        }
        samples.push(Sample {
            trace: trace.to_owned(),
            backend: name.to_owned(),
            repetition: 0,
            event: (wish.calls as f64 * place) as u64,
            clock_bytes: clock as u64,
            live_bytes: live as u64,
            usable_bytes: if name == "null" { live as u64 } else { usable as u64 },
            pages_in_use_bytes: if name == "null" { 0 } else { pinned as u64 },
            resident_bytes: resident as u64,
            lines: LineContents::encode(&[
                LineContents(LINES[k % 12].0.into(), k as u64, live as u64 / 2),
                LineContents(String::new(), 1, 16),
            ]),
        });
    }
    if let Some(last) = samples.last() {
        let end = last.resident_bytes as f64;
        let free = (last.resident_bytes.saturating_sub(last.pages_in_use_bytes)) as f64;
        row(Metric::LivePeakBytes, peak_live);
        row(Metric::LiveEndBytes, last.live_bytes as f64);
        row(Metric::RequestedBytes, total);
        row(Metric::Calls, wish.calls as f64);
        row(
            Metric::ResidentPeakBytes,
            samples.iter().map(|s| s.resident_bytes).max().unwrap_or(0) as f64,
        );
        row(Metric::ResidentEndBytes, end);
        row(Metric::PagesInUseEndBytes, last.pages_in_use_bytes as f64);
        row(Metric::UsableEndBytes, last.usable_bytes as f64);
        let left = end - free * habits.trim;
        row(
            Metric::ResidentTrimmedBytes,
            if name == "malloc" { (left * 1.15).min(end) } else { left },
        );
        row(Metric::ResidentFreedBytes, habits.floor.min(end));
        if name == "malloc" {
            row(Metric::ResidentFlushedBytes, left);
            row(
                Metric::TrimPredictedBytes,
                (last.pages_in_use_bytes as f64 + 8192.0).min(left - 4096.0),
            );
        }
        if ["mimalloc", "jemalloc"].contains(&name) {
            row(Metric::VariesBetweenRuns, 1.0);
            for (at_once, never, share) in [
                (Metric::ResidentPeakAtOnceBytes, Metric::ResidentPeakNeverBytes, 0.9),
                (Metric::ResidentMeanAtOnceBytes, Metric::ResidentMeanNeverBytes, 0.7),
                (Metric::ResidentEndAtOnceBytes, Metric::ResidentEndNeverBytes, 0.5),
            ] {
                let most = samples.iter().map(|s| s.resident_bytes).max().unwrap_or(0) as f64;
                row(at_once, end * share);
                row(never, most * 1.04);
            }
            row(Metric::ResidentTrimmedAtOnceBytes, end * 0.5);
            row(Metric::ResidentTrimmedNeverBytes, end - free * habits.trim * 0.5);
        }
        let mean =
            samples.iter().map(|s| s.resident_bytes as f64).sum::<f64>() / samples.len() as f64;
        row(Metric::ResidentMeanBytes, mean);
        row(
            Metric::LiveMeanBytes,
            samples.iter().map(|s| s.live_bytes as f64).sum::<f64>() / samples.len() as f64,
        );
    }
    run.samples.extend(samples);
}

/// The operations that pictures of latency show.
const SHOWN: [Operation; 3] = [Operation::Malloc, Operation::Free, Operation::Realloc];

/// The pages in use at the end by grain, above 4 KiB.
const GRAINS: [Metric; 5] = [
    Metric::PagesInUse16kEndBytes,
    Metric::PagesInUse64kEndBytes,
    Metric::PagesInUse256kEndBytes,
    Metric::PagesInUse1mEndBytes,
    Metric::PagesInUse2mEndBytes,
];

/// Lines with what they hold, in MiB, blocks, and how readily they pin.
const LINES: [(&str, f64, u64, f64); 12] = [
    ("/usr/lib/python3.12/json/decoder.py:353", 0.65, 12_921, 30.0),
    ("/home/someone/a-service-with-a-long-name/handlers_and_views.py:22", 0.06, 811, 40.0),
    ("/usr/lib/python3.12/ast.py:50", 0.52, 2749, 2.0),
    ("", 0.26, 719, 1.2),
    ("<frozen importlib._bootstrap_external>:729", 2.96, 27_711, 0.1),
    ("/usr/lib/python3.12/ast.py:262", 0.12, 2297, 3.0),
    ("service.py:38", 0.19, 2300, 2.0),
    ("service.py:26", 0.11, 811, 2.5),
    ("service.py:9", 1.11, 11_996, 0.1),
    ("<frozen importlib._bootstrap>:241", 0.8, 7528, 0.1),
    ("<string>:1", 0.01, 1, 5.0),
    (OTHER_SITES, 1.9, 20_000, 0.3),
];

/// What the lines pin at a moment; `much` of it.
fn attributions(
    run: &mut Run,
    (trace, name): (&str, &str),
    moment: Moment,
    fragmentation: f64,
    much: f64,
    dice: &mut Dice,
) {
    for (site, live, blocks, attribution) in LINES {
        run.attributions.push(Attribution {
            trace: trace.to_owned(),
            backend: name.to_owned(),
            repetition: 0,
            moment,
            site: site.to_owned(),
            live_bytes: (live * MIB) as u64,
            live_blocks: blocks,
            external_fragmentation_bytes: (much
                * live
                * MIB
                * attribution
                * (0.05 + fragmentation)
                * 2.0
                * (0.8 + 0.4 * dice.next())) as u64,
        });
    }
}

/// A heap of small blocks with a few large ones; an allocator whose classes are as wide as it
/// rounds.
fn sizes(run: &mut Run, (trace, name): (&str, &str), habits: Habits) {
    let width = 16 << (habits.rounding * 60.0) as u32;
    for up_to in (1..=32_u64).map(|k| k * 16).chain((0..15).map(|k| 1024 << k)) {
        let blocks = match up_to {
            64 => 290_000,
            small if small <= 512 => 40_000_000 / (small * small + 400),
            large => 3_000_000 / large,
        };
        let (requested, usable) =
            (up_to - up_to / 9, up_to.next_multiple_of(width.min(up_to.next_power_of_two())));
        for moment in [Moment::Peak, Moment::End, Moment::Whole] {
            let blocks = match moment {
                Moment::End => blocks / 5,
                Moment::Whole => blocks * 3,
                _ => blocks,
            };
            run.rounding.push(Rounding {
                trace: trace.to_owned(),
                backend: name.to_owned(),
                repetition: 0,
                moment,
                up_to_bytes: up_to,
                live_blocks: blocks,
                live_bytes: blocks * requested,
                usable_bytes: blocks * usable,
            });
        }
    }
    for up_to in (1..=512 / width as u32).map(|k| k * width as u32) {
        run.size_classes.push(SizeClass {
            trace: trace.to_owned(),
            backend: name.to_owned(),
            repetition: 0,
            from_bytes: up_to - width as u32 + 1,
            to_bytes: up_to,
            usable_bytes: up_to,
        });
    }
}

/// Fullness, lines and the granularity curve, at both moments; lines at the marks, too.
fn pages(run: &mut Run, trace: &str, name: &str, habits: Habits, dice: &mut Dice) {
    for moment in Moment::ALL {
        let sparse = if moment == Moment::End { 1.5 } else { 0.2 };
        for bin in 0..16_u32 {
            let low = sparse * habits.fragmentation * 3000.0 / f64::from(bin + 1);
            let pages = (low + 60.0 * f64::from(bin) * dice.next()) as u64;
            let (trace, backend) = (trace.to_owned(), name.to_owned());
            run.fullness.push(Fullness { trace, backend, repetition: 0, moment, bin, pages });
        }
        attributions(run, (trace, name), moment, habits.fragmentation, 1.0, dice);
    }
    for (at, grain) in GRAINS.into_iter().enumerate() {
        run.measurements.push(Measurement {
            trace: trace.to_owned(),
            backend: name.to_owned(),
            pass: Pass::Footprint,
            repetition: 0,
            op: Scope::All,
            metric: grain,
            value: (24.0 + (at as f64 + 1.0) * 90.0 * habits.fragmentation.max(0.05)) * MIB,
        });
    }
    run.what_ifs.push(WhatIf {
        trace: trace.to_owned(),
        backend: name.to_owned(),
        site: LINES[0].0.to_owned(),
        predicted_bytes: (13.4 * MIB) as u64,
        pages_in_use_before_bytes: (26.3 * MIB) as u64,
        pages_in_use_after_bytes: ((12.7 + 4.0 * dice.next()) * MIB) as u64,
        returnable_bytes: None,
        resident_before_bytes: None,
        resident_after_bytes: None,
    });
}

/// A staircase of regions that fill in bursts and thin out.
fn heap_map(run: &mut Run, trace: &str, name: &str, habits: Habits, dice: &mut Dice) {
    let rows = if name == "bump" { 900 } else { 280 };
    for row in 0..rows {
        let born = 4 + row * 110 / rows;
        let gone = dice.next() < habits.returns * 0.4;
        let columns: Vec<Residency> = (0..240)
            .map(|column: usize| match column {
                _ if column < born => Residency::Nowhere,
                _ if gone && column > born + 40 => Residency::Nowhere,
                _ if row < 30 => Residency::Live(16),
                _ if column < born + 30 => Residency::Live(12 + (dice.next() * 4.9) as u8),
                _ if row % 5 == 0 => Residency::Empty,
                _ => Residency::Live(1 + (dice.next() * 3.0) as u8),
            })
            .collect();
        run.heap_map.push(HeapRow {
            trace: trace.to_owned(),
            backend: name.to_owned(),
            repetition: 0,
            row: row as u32,
            region: (row / 40) as u32,
            row_bytes: 256 << 10,
            cells: HeapRow::encode(&columns),
        });
    }
}

/// What lies in every second row at the two moments.
fn heap_contents(run: &mut Run, trace: &str, name: &str) {
    for moment in Moment::ALL {
        let rows = if name == "bump" { 900 } else { 280 };
        for row in (1..rows).step_by(2) {
            let blocks = u64::from(row) * 3 + u64::from(moment == Moment::Peak);
            let lines = [
                LineContents(LINES[row as usize % 12].0.into(), blocks - 1, blocks * 40),
                LineContents(String::new(), 1, 16),
            ];
            run.heap_contents.push(HeapRowContents {
                trace: trace.to_owned(),
                backend: name.to_owned(),
                repetition: 0,
                moment,
                row,
                resident_bytes: 64 << 12,
                pages_in_use_bytes: u64::from(1 + row % 64) << 12,
                live_blocks: blocks,
                live_bytes: blocks * 40 + 16,
                lines: LineContents::encode(&lines),
            });
        }
    }
}

fn time(
    run: &mut Run,
    wish: &Wish,
    trace: &str,
    name: &str,
    habits: Habits,
    at: usize,
    dice: &mut Dice,
) {
    let chunk_calls = 50_000.min(wish.calls.max(1));
    let chunks = wish.calls.div_ceil(chunk_calls).min(800);
    for repetition in 0..wish.repetitions {
        let drift = 0.9 + 0.35 * dice.next();
        let mut total = 0.0;
        for chunk in 0..chunks {
            let place = chunk as f64 / chunks as f64;
            let burst = if (0.5..0.68).contains(&place) { 1.35 } else { 1.0 };
            let stall = if dice.next() > 0.97 { 1.8 } else { 1.0 };
            let time = habits.nanoseconds * (1.0 + 0.2 * at as f64) * burst * drift * stall;
            let nanoseconds = time * chunk_calls as f64 * (0.97 + 0.06 * dice.next());
            total += nanoseconds;
            run.chunks.push(Chunk {
                trace: trace.to_owned(),
                backend: name.to_owned(),
                repetition,
                chunk: chunk as u32,
                calls: chunk_calls,
                nanoseconds: nanoseconds as u64,
            });
        }
        run.measurements.push(Measurement {
            trace: trace.to_owned(),
            backend: name.to_owned(),
            pass: Pass::Time,
            repetition,
            op: Scope::All,
            metric: Metric::TimeNanoseconds,
            value: total,
        });
    }
}

/// The passes with first touch and traversal: what is slow per call places its objects badly.
fn walks(run: &mut Run, wish: &Wish, trace: &str, name: &str, habits: Habits) {
    let visit = 3.0 + habits.nanoseconds * habits.nanoseconds / 90.0;
    let far = (habits.nanoseconds / 80.0).min(0.9);
    for repetition in 0..wish.repetitions {
        let mut row = |pass, metric, value| {
            run.measurements.push(Measurement {
                trace: trace.to_owned(),
                backend: name.to_owned(),
                pass,
                repetition,
                op: Scope::All,
                metric,
                value,
            });
        };
        let drift = 0.95 + 0.03 * f64::from(repetition % 4);
        let touch = wish.calls as f64 * (habits.nanoseconds + 6.0) * drift;
        row(Pass::Touch, Metric::FirstTouchNanoseconds, touch);
        for (metric, value) in [
            (Metric::TraversalNanoseconds, visit * drift),
            (Metric::TraversalReverseNanoseconds, visit * drift * 1.1),
            (Metric::TraversalObjects, 1e6),
            (Metric::TraversalPages, 3e4 + far * 4e5),
            (Metric::TraversalStepsInLine, 4e5 * (1.0 - far)),
            (Metric::TraversalStepsInPage, 6e5 * (1.0 - far)),
            (Metric::TraversalStepsInHugePage, 7e5 * far),
            (Metric::TraversalStepsFarther, 3e5 * far),
        ] {
            row(Pass::Traversal, metric, value);
        }
    }
}

fn latency(run: &mut Run, wish: &Wish, trace: &str, name: &str, habits: Habits, dice: &mut Dice) {
    let shares = [0.468, 0.025, 0.015, 0.492];
    for (op, share) in Operation::ALL.into_iter().zip(shares) {
        let calls = (wish.calls as f64 * share) as u64;
        let slower = if op == Operation::Realloc { 2.0 } else { 1.0 };
        for repetition in [None, Some(0), Some(1)] {
            let histogram = service_times(calls, habits, slower, repetition.is_some(), dice);
            run.latencies.push(Latency {
                trace: trace.to_owned(),
                backend: name.to_owned(),
                repetition,
                op,
                histogram,
            });
        }
    }
}

/// The tables of single calls: the latency map, slow calls, size classes, and the worst windows.
fn tail(run: &mut Run, wish: &Wish, trace: &str, name: &str, habits: Habits, dice: &mut Dice) {
    let (trace, backend) = (trace.to_owned(), name.to_owned());
    let columns = wish.calls.clamp(1, 240) as usize;
    let a_column = wish.calls as f64 / columns as f64;
    let edge = |level: usize| ((level as f64 * 2.0 - 0.5) / 8.0).exp2();
    for level in 18..60 {
        let odds = (-0.35 * (level as f64 - 18.0)).exp() * (0.6 + 0.02 * habits.nanoseconds);
        let calls: Vec<u64> = (0..columns)
            .map(|column| {
                let burst = if column % 40 < 12 { 3.0 } else { 0.4 };
                (a_column * odds * burst * dice.next()) as u64
            })
            .collect();
        if calls.iter().any(|calls| *calls > 0) {
            run.latency_map.push(LatencyRow {
                trace: trace.clone(),
                backend: backend.clone(),
                from_nanoseconds: edge(level),
                to_nanoseconds: edge(level + 1),
                columns: columns as u32,
                cells: LatencyRow::encode(&calls),
            });
        }
    }
    let slow = ((wish.calls as f64 * habits.slow.0 * 3.0) as u64).min(300);
    for at in 0..slow + 40 {
        let is_own = at < slow;
        let own = if is_own { (habits.slow.1 * dice.next().powi(3)).max(11e3) as u64 } else { 35 };
        run.slow_calls.push(SlowCall {
            trace: trace.clone(),
            backend: backend.clone(),
            event: (wish.calls as f64 * dice.next()) as u64,
            op: SHOWN[(dice.next() * 3.0) as usize],
            size_bytes: 16 << (dice.next() * 16.0) as u32,
            site: LINES[(dice.next() * 12.0) as usize].0.into(),
            nanoseconds: own,
            longest_nanoseconds: if is_own { own * 2 } else { 4_000_000 },
            seen: if is_own { wish.repetitions } else { 1 },
            repetitions: wish.repetitions,
        });
    }
    for (op, share) in
        [(Operation::Malloc, 0.47), (Operation::Realloc, 0.02), (Operation::Free, 0.49)]
    {
        for power in 4..if op == Operation::Realloc { 20 } else { 16 } {
            let calls = wish.calls as f64 * share / (1.0 + (f64::from(power) - 6.0).powi(2));
            let base = 40.0 + if power > 9 { 3.0 * habits.nanoseconds } else { 0.0 };
            let counts: Vec<String> = (0..12)
                .map(|k| (base as u64 + 6 * k, (calls * (-1.4 * k as f64).exp()) as u64))
                .filter(|(_, calls)| *calls > 0)
                .map(|(bucket, calls)| format!("{bucket}:{calls}"))
                .collect();
            for repetition in [None, Some(0)] {
                run.service_times.push(ServiceTimes {
                    trace: trace.clone(),
                    backend: backend.clone(),
                    repetition,
                    op,
                    up_to_bytes: 1 << power,
                    counts: counts.join(" "),
                });
            }
        }
    }
    for (metric, most) in [
        (Metric::Window1msNanoseconds, 1e6),
        (Metric::Window10msNanoseconds, 4e6),
        (Metric::Window100msNanoseconds, 2e7),
        (Metric::Window1msEvent, wish.calls as f64),
        (Metric::Window10msEvent, wish.calls as f64),
        (Metric::Window100msEvent, wish.calls as f64),
        (Metric::Preemptions, 300.0),
    ] {
        run.measurements.push(Measurement {
            trace: trace.clone(),
            backend: backend.clone(),
            pass: Pass::Latency,
            repetition: 0,
            op: Scope::All,
            metric,
            value: (most * dice.next()).round(),
        });
    }
}

/// Modes by odds; each is spread over some buckets, and what is seen is a multiple of the clock's
/// step.
fn service_times(
    calls: u64,
    habits: Habits,
    slower: f64,
    raw: bool,
    dice: &mut Dice,
) -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("bounds are good");
    let fast = 10.0 + habits.nanoseconds * 0.4 * slower;
    let mut modes = vec![(0.9, fast, 0.35), (0.09, fast * 3.0, 0.5), (0.01, 160.0 * slower, 0.6)];
    modes.push((0.002, 900.0 * slower, 0.7));
    modes.push((2e-4, 3500.0, 0.8));
    modes.push((8e-6, 20_000.0 * slower, 0.8));
    modes.push((habits.slow.0, habits.slow.1 * slower, 1.2));
    if raw {
        modes.push((6e-6, 4e6, 1.0));
    }
    for (odds, middle, width) in modes {
        let expected = calls as f64 * odds;
        let parts = if expected < 400.0 { expected.round() as u64 } else { 400 };
        for _ in 0..parts {
            let bell = (0..6).map(|_| dice.next()).sum::<f64>() / 6.0 - 0.5;
            let value = middle * (bell * 5.0 * width).exp();
            let stepped = ((value / 10.0).round() * 10.0).max(10.0) as u64;
            let count = ((expected / parts as f64).round() as u64).max(1);
            histogram.record_n(stepped, count).expect("the value is in bounds");
        }
    }
    histogram
}

fn outcomes(run: &mut Run, wish: &Wish, trace: &str, name: &str) {
    for pass in Pass::RECORDED {
        let repetitions = if pass == Pass::Footprint { 1 } else { wish.repetitions };
        for repetition in 0..repetitions {
            run.outcomes.push(Outcome {
                trace: trace.to_owned(),
                backend: name.to_owned(),
                pass,
                repetition,
                status: Status::Ok,
                seconds: 1.0,
                reason: String::new(),
            });
        }
    }
}
