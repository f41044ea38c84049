//! The report draws any record without a panic, also records that no run would write.

use hdrhistogram::Histogram;
use heaplay::report::{CHARTS, TraceReport, draw, page, scorecard, summary};
use heaplay::results::{
    ArenaRow, Attribution, Chunk, Fullness, HeapRow, Latency, LatencyRow, Measurement, Metric,
    Moment, OTHER_SITES, Operation, Pass, ReturnedUnit, Rounding, Run, Sample, Scope, ServiceTimes,
    SizeClass, SlowCall, ThreadActivity, ThreadFrees, ThreadRow, UnitRetention, WhatIf,
};
use proptest::prelude::*;

use crate::support::made_up_runs::{self, Wish};

/// A run whose debug form leaves out the histograms' thousands of counts.
struct Shown(Run);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shown(run) = self;
        writeln!(f, "{:#?}\n{:#?}\n{:#?}", run.samples, run.chunks, run.measurements)?;
        writeln!(f, "{:#?}\n{:#?}\n{:#?}", run.slow_calls, run.latency_map, run.service_times)?;
        for latency in &run.latencies {
            let rows: Vec<(u64, u64)> = latency
                .histogram
                .iter_recorded()
                .map(|v| (v.value_iterated_to(), v.count_at_value()))
                .collect();
            writeln!(f, "{} {:?} {}: {rows:?}", latency.backend, latency.repetition, latency.op)?;
        }
        Ok(())
    }
}

const BACKENDS: [&str; 4] = ["malloc", "null", "strange <b>&", "malloc:x=1"];
const METRICS: [Metric; 16] = [
    Metric::Threads,
    Metric::FreeOrderResidentPeakBytes,
    Metric::EndedThreadsRetainedBytes,
    Metric::ResidentPeakBytes,
    Metric::ResidentEndBytes,
    Metric::ResidentTrimmedBytes,
    Metric::ResidentFlushedBytes,
    Metric::ResidentFreedBytes,
    Metric::LivePeakBytes,
    Metric::LiveEndBytes,
    Metric::PagesInUseEndBytes,
    Metric::PagesInUse2mEndBytes,
    Metric::TimeNanoseconds,
    Metric::RequestedBytes,
    Metric::Window10msNanoseconds,
    Metric::Window10msEvent,
];

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), 0..100_u64, 0..10_000_000_u64, Just(u64::MAX / 4), Just(u64::MAX)]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-1.0),
        Just(1e300),
        Just(1e-300),
        0.0..1e9
    ]
}

fn backend() -> impl Strategy<Value = String> {
    prop::sample::select(&BACKENDS[..]).prop_map(str::to_owned)
}

fn sample() -> impl Strategy<Value = Sample> {
    (backend(), number(), number(), [number(), number(), number(), number()]).prop_map(
        |(backend, event, clock_bytes, [live, usable, pinned, resident])| Sample {
            trace: "t".into(),
            backend,
            repetition: 0,
            event,
            clock_bytes,
            live_bytes: live,
            usable_bytes: usable,
            pages_in_use_bytes: pinned,
            resident_bytes: resident,
            lines: String::new(),
        },
    )
}

fn chunk() -> impl Strategy<Value = Chunk> {
    (backend(), 0..4_u32, prop_oneof![0..9_u32, Just(u32::MAX)], number(), number()).prop_map(
        |(backend, repetition, chunk, calls, nanoseconds)| Chunk {
            trace: "t".into(),
            backend,
            repetition,
            chunk,
            calls,
            nanoseconds,
        },
    )
}

fn measurement() -> impl Strategy<Value = Measurement> {
    (backend(), prop::sample::select(&METRICS[..]), float()).prop_map(|(backend, metric, value)| {
        Measurement {
            trace: "t".into(),
            backend,
            pass: Pass::Footprint,
            repetition: 0,
            op: Scope::All,
            metric,
            value,
        }
    })
}

fn latency() -> impl Strategy<Value = Latency> {
    let op = op();
    let values = prop::collection::vec((0..3_600_000_000_000_u64, 0..1_000_000_u64), 0..6);
    (backend(), prop::option::of(0..3_u32), op, values).prop_map(
        |(backend, repetition, op, values)| {
            let mut histogram = Histogram::new(3).expect("three digits are allowed");
            for (value, count) in values {
                histogram.record_n(value, count).expect("the histogram grows");
            }
            Latency { trace: "t".into(), backend, repetition, op, histogram }
        },
    )
}

fn moment() -> impl Strategy<Value = Moment> {
    prop::sample::select(
        &[Moment::Peak, Moment::End, Moment::Mark(0), Moment::Mark(1), Moment::Mark(u16::MAX)][..],
    )
}

fn site() -> impl Strategy<Value = String> {
    prop::sample::select(
        &["", "a.py:1", "/a/very/long/path/without/end/of/it.py:99", OTHER_SITES, "<frozen x"][..],
    )
    .prop_map(str::to_owned)
}

fn fullness() -> impl Strategy<Value = Fullness> {
    let bin = prop_oneof![0..16_u32, Just(u32::MAX)];
    (backend(), moment(), bin, number()).prop_map(|(backend, moment, bin, pages)| Fullness {
        trace: "t".into(),
        backend,
        repetition: 0,
        moment,
        bin,
        pages,
    })
}

fn rounding() -> impl Strategy<Value = Rounding> {
    let number = || prop_oneof![Just(0), Just(1), 0..10_000_000_u64, Just(u64::MAX / 64)];
    let up_to = prop_oneof![Just(0), Just(16), Just(512), Just(513), Just(1 << 20), Just(u64::MAX)];
    (backend(), moment(), up_to, [number(), number(), number()]).prop_map(
        |(backend, moment, up_to_bytes, [live_blocks, live_bytes, usable_bytes])| Rounding {
            trace: "t".into(),
            backend,
            repetition: 0,
            moment,
            up_to_bytes,
            live_blocks,
            live_bytes,
            usable_bytes,
        },
    )
}

fn size_class() -> impl Strategy<Value = SizeClass> {
    let number = || prop_oneof![0..600_u32, Just(u32::MAX)];
    (backend(), [number(), number(), number()]).prop_map(
        |(backend, [from_bytes, to_bytes, usable_bytes])| SizeClass {
            trace: "t".into(),
            backend,
            repetition: 0,
            from_bytes,
            to_bytes,
            usable_bytes,
        },
    )
}

fn attribution() -> impl Strategy<Value = Attribution> {
    // Sums of a few of them must fit a word, as those of one address space do.
    let number = || prop_oneof![Just(0), Just(1), 0..10_000_000_u64, Just(u64::MAX / 64)];
    (backend(), moment(), site(), [number(), number(), number()]).prop_map(
        |(backend, moment, site, [live_bytes, live_blocks, external_fragmentation_bytes])| {
            Attribution {
                trace: "t".into(),
                backend,
                repetition: 0,
                moment,
                site,
                live_bytes,
                live_blocks,
                external_fragmentation_bytes,
            }
        },
    )
}

fn unit_retention() -> impl Strategy<Value = UnitRetention> {
    let units = [ReturnedUnit::Arena, ReturnedUnit::Span, ReturnedUnit::Top];
    let unit = prop::sample::select(units.to_vec());
    (backend(), moment(), site(), unit, [number(), number(), number()]).prop_map(
        |(backend, moment, site, unit, [units, retained_bytes, returnable_bytes])| UnitRetention {
            trace: "t".into(),
            backend,
            repetition: 0,
            moment,
            unit,
            site,
            units,
            retained_bytes,
            returnable_bytes,
        },
    )
}

fn heap_row() -> impl Strategy<Value = HeapRow> {
    let cells = prop::sample::select(&["", "99999999p", "0.", "3.2-ap", "\u{fffd}", "240a"][..]);
    (backend(), number(), cells).prop_map(|(backend, row_bytes, cells)| HeapRow {
        trace: "t".into(),
        backend,
        repetition: 0,
        row: 0,
        region: 0,
        row_bytes,
        cells: cells.into(),
    })
}

fn what_if() -> impl Strategy<Value = WhatIf> {
    let resident = prop::array::uniform3(prop::option::of(number()));
    (backend(), site(), [number(), number(), number()], resident).prop_map(
        |(backend, site, [predicted, before, after], resident)| WhatIf {
            trace: "t".into(),
            backend,
            site,
            predicted_bytes: predicted,
            pages_in_use_before_bytes: before,
            pages_in_use_after_bytes: after,
            returnable_bytes: resident[0],
            resident_before_bytes: resident[1],
            resident_after_bytes: resident[2],
        },
    )
}

fn op() -> impl Strategy<Value = Operation> {
    prop::sample::select(&Operation::ALL[..])
}

fn slow_call() -> impl Strategy<Value = SlowCall> {
    (backend(), op(), site(), [number(), number(), number(), number()], [0..9_u32, 0..9_u32])
        .prop_map(
            |(
                backend,
                op,
                site,
                [event, size_bytes, nanoseconds, longest_nanoseconds],
                [seen, repetitions],
            )| {
                SlowCall {
                    trace: "t".into(),
                    backend,
                    event,
                    op,
                    size_bytes,
                    site,
                    nanoseconds,
                    longest_nanoseconds,
                    seen,
                    repetitions,
                }
            },
        )
}

fn latency_row() -> impl Strategy<Value = LatencyRow> {
    let cells = prop::sample::select(
        &["", "1 2 3", "_7 18446744073709551615", "x _", "0 0", "_99999999999 1"][..],
    );
    let columns = prop_oneof![0..9_u32, Just(u32::MAX)];
    (backend(), float(), float(), columns, cells).prop_map(
        |(backend, from_nanoseconds, to_nanoseconds, columns, cells)| LatencyRow {
            trace: "t".into(),
            backend,
            from_nanoseconds,
            to_nanoseconds,
            columns,
            cells: cells.into(),
        },
    )
}

fn service_times() -> impl Strategy<Value = ServiceTimes> {
    let counts = prop::sample::select(
        &["", "40:9000000000 255:1", "0:18446744073709551615 1:5", "x:y", "40:99999"][..],
    );
    (backend(), op(), number(), prop::option::of(0..3_u32), counts).prop_map(
        |(backend, op, up_to_bytes, repetition, counts)| ServiceTimes {
            trace: "t".into(),
            backend,
            repetition,
            op,
            up_to_bytes,
            counts: counts.into(),
        },
    )
}

fn thread_row() -> impl Strategy<Value = ThreadRow> {
    let some = || prop::option::of(number());
    (backend(), 0..9_u32, [number(), number(), number()], [some(), some(), some(), some()])
        .prop_map(|(backend, thread, [begin_event, calls, live], [end, usable, free, retained])| {
            ThreadRow {
                trace: "t".into(),
                backend,
                thread,
                begin_event,
                end_event: end,
                calls,
                live_end_bytes: live,
                usable_end_bytes: usable,
                external_fragmentation_end_bytes: free,
                retained_end_bytes: retained,
                ..ThreadRow::default()
            }
        })
}

fn thread_activity() -> impl Strategy<Value = ThreadActivity> {
    let cells = || {
        prop::sample::select(
            &["", "1 2 3", "99999999999*7", "x*y z", "240*18446744073709551615", "3*0 5"][..],
        )
    };
    let thread = prop_oneof![Just(None), (0..40_u32).prop_map(Some)];
    let threads = prop_oneof![Just(0), Just(1), Just(u32::MAX)];
    (backend(), thread, threads, cells(), cells()).prop_map(
        |(backend, thread, threads, calls, live)| ThreadActivity {
            trace: "t".into(),
            backend,
            repetition: 0,
            thread,
            threads,
            calls: calls.into(),
            live_bytes: live.into(),
        },
    )
}

fn thread_frees() -> impl Strategy<Value = ThreadFrees> {
    let thread = || prop::option::of(0..40_u32);
    (backend(), thread(), thread(), number(), number()).prop_map(
        |(backend, allocated_by, ended_by, blocks, remote_blocks)| ThreadFrees {
            trace: "t".into(),
            backend,
            allocated_by,
            ended_by,
            blocks,
            remote_blocks,
            ..ThreadFrees::default()
        },
    )
}

fn arena_row() -> impl Strategy<Value = ArenaRow> {
    let names = prop::sample::select(&["arena 0", "whole heap", "<b>"][..]);
    let some = || prop::option::of(number());
    (backend(), names, some(), some()).prop_map(|(backend, arena, held, allocated)| ArenaRow {
        trace: "t".into(),
        backend,
        arena: arena.into(),
        held_bytes: held,
        allocated_bytes: allocated,
        ..ArenaRow::default()
    })
}

fn absurd() -> impl Strategy<Value = Shown> {
    (
        prop::collection::vec(sample(), 0..20),
        prop::collection::vec(chunk(), 0..20),
        prop::collection::vec(measurement(), 0..12),
        prop::collection::vec(latency(), 0..10),
        (
            prop::collection::vec(fullness(), 0..20),
            prop::collection::vec(attribution(), 0..20),
            prop::collection::vec(unit_retention(), 0..20),
            prop::collection::vec(heap_row(), 0..8),
            prop::collection::vec(what_if(), 0..8),
            prop::collection::vec(rounding(), 0..12),
            prop::collection::vec(size_class(), 0..12),
        ),
        (
            prop::collection::vec(slow_call(), 0..12),
            prop::collection::vec(latency_row(), 0..12),
            prop::collection::vec(service_times(), 0..12),
        ),
        (
            prop::collection::vec(thread_row(), 0..30),
            prop::collection::vec(thread_activity(), 0..30),
            prop::collection::vec(thread_frees(), 0..30),
            prop::collection::vec(arena_row(), 0..9),
        ),
        number(),
        prop::sample::select(&["10", "0", "-1", "NaN", "inf", "x", "1e300"][..]),
    )
        .prop_map(
            |(
                samples,
                chunks,
                measurements,
                latencies,
                (fullness, attributions, units, heap_map, what_ifs, rounding, size_classes),
                (slow_calls, latency_map, service_times),
                threads,
                calls,
                step,
            )| {
                let wish = Wish {
                    traces: &["t"],
                    backends: &BACKENDS,
                    samples: 0,
                    calls: 0,
                    repetitions: 0,
                    seed: 1,
                    threads: 2,
                };
                let mut run = made_up_runs::run(&wish);
                for row in &mut run.heap_contents {
                    (row.resident_bytes, row.live_blocks, row.live_bytes) = (calls, calls, 7);
                    row.lines = "[[".repeat((calls % 2) as usize);
                }
                run.manifest.traces[0].calls = calls;
                run.manifest.traces[0].name = "t".into();
                run.manifest.clock.insert("step_nanoseconds".into(), step.into());
                run.samples = samples;
                run.chunks = chunks;
                run.measurements = measurements;
                run.latencies = latencies;
                (run.slow_calls, run.latency_map, run.service_times) =
                    (slow_calls, latency_map, service_times);
                (run.fullness, run.attributions, run.heap_map, run.what_ifs) =
                    (fullness, attributions, heap_map, what_ifs);
                (run.rounding, run.size_classes) = (rounding, size_classes);
                run.unit_retention = units;
                (run.threads, run.thread_activity, run.thread_frees, run.arenas) = threads;
                Shown(run)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(Shown(run) in absurd()) {
        let trace_reports = TraceReport::all(&run);
        let _ = scorecard(&trace_reports).map(|chart| draw(&chart));
        for kind in CHARTS {
            if let Some(chart) = kind.describe(&trace_reports[0]) {
                prop_assert!(serde_json::to_string(&chart).is_ok());
                let _ = draw(&chart);
                prop_assert!(!chart.caption().title.is_empty());
            }
        }
        prop_assert!(summary(&run).contains("malloc"));
        prop_assert!(page(&run).ends_with("</html>\n"));
    }
}

#[test]
fn a_run_of_nothing_still_has_a_page() {
    let mut run = made_up_runs::run(&Wish {
        traces: &[],
        backends: &[],
        samples: 0,
        calls: 0,
        ..Wish::default()
    });
    run.manifest.backends.clear();
    let folder =
        std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("album").join("nothing");
    let files = heaplay::report::render(&run, &folder).expect("written");
    assert_eq!(files.len(), 1);
}
