//! Two made-up recordings, and two made-up runs, side by side.

use heaplay::report::{
    BrokenDownBy, ComparedKind, ComparedSide, MovedPart, MovedUnit, SideBySide, SideMeasure,
    compare_runs,
};
use heaplay::results::{Metric, Moment, Run};

use super::made_up_runs::{self, Wish};

/// Rows with their bytes before and after, in KiB.
type Rows<'a> = &'a [(&'a str, i64, i64)];

const LINES: Rows = &[
    ("/srv/app/handlers.py:42", 11_264, 22_528),
    ("/usr/lib/python3.12/json/decoder.py:353", 30_720, 31_744),
    ("/srv/app/store.py:17 via libsqlite3.so.0!sqlite3MemMalloc", 8192, 4096),
    ("/srv/app/a_module_with_a_name_that_is_far_too_long_for_its_column.py:1207", 512, 1536),
    ("<frozen importlib._bootstrap_external>:729", 2253, 2253),
    ("(no line)", 415, 424),
    ("/srv/app/cache.py:9", 0, 2048),
    ("/srv/app/old.py:3", 1024, 0),
];

const CLASSES: Rows = &[
    ("up to 64 B", 20_480, 24_576),
    ("up to 80 B", 9216, 15_360),
    ("up to 512 B", 12_288, 12_288),
    ("up to 64 KiB", 10_240, 10_240),
    ("up to 1 MiB", 2156, 2165),
];

const DOMAINS: Rows = &[("obj", 40_960, 50_176), ("mem", 13_420, 14_453)];

/// Two recordings. `factor` scales all figures; further lines are many and small.
pub fn recordings(factor: i64) -> SideBySide {
    let measure = |side: usize, name: &str, unit| {
        let value = |row: &(&str, i64, i64)| if side == 0 { row.1 } else { row.2 } * factor;
        let rows = |own: Rows| own.iter().map(|row| (row.0.to_owned(), value(row))).collect();
        let mut lines: std::collections::BTreeMap<String, i64> = rows(LINES);
        let small = (0..40).map(|at| (format!("/srv/app/small.py:{at}"), 100 * (at % 3)));
        lines.extend(small);
        let total = lines.values().sum();
        let mut measure = SideMeasure::new(name, unit, total);
        measure.rows.insert(BrokenDownBy::Line, lines);
        measure.rows.insert(BrokenDownBy::SizeClass, rows(CLASSES));
        measure.rows.insert(BrokenDownBy::Domain, rows(DOMAINS));
        measure
    };
    let side = |at: usize| {
        let measures = [
            measure(at, "live at the peak", MovedUnit::Bytes),
            measure(at, "requests", MovedUnit::Requests),
        ];
        let name = ["app-1.4.trace", "app-1.5.trace"][at].to_owned();
        (ComparedSide { name, facts: vec![] }, measures)
    };
    let [(old, before), (new, after)] = [side(0), side(1)];
    let part = MovedPart::between(String::new(), &before, &after);
    let kind = ComparedKind::Recordings;
    SideBySide { kind, sides: [old, new], notes: vec![], parts: vec![part] }
}

/// Two runs of one program on two backends. The second retains more.
pub fn runs() -> SideBySide {
    let made = |seed| {
        let wish = Wish {
            seed,
            backends: &["malloc", "pymalloc", "null"],
            samples: 300,
            calls: 1_000_000,
            ..Wish::default()
        };
        with_peak_figures(made_up_runs::run(&wish))
    };
    let before = made(1);
    let mut after = made(2);
    for row in &mut after.rounding {
        row.usable_bytes += row.live_blocks * 4;
    }
    let [before, after] = [(before, 400_000.0), (after, 700_000.0)].map(|(mut run, retained)| {
        add_up_at_the_end(&mut run, retained);
        run
    });
    compare_runs(["reports/before", "reports/after"], &before, &after).expect("a common backend")
}

/// Sets the figures at the end to the sums of the rows, as a real run has them.
fn add_up_at_the_end(run: &mut Run, retained: f64) {
    for row in &mut run.measurements {
        let rounding = run
            .rounding
            .iter()
            .filter(|own| (&own.backend, own.moment) == (&row.backend, Moment::End));
        let live: u64 = rounding.clone().map(|own| own.live_bytes).sum();
        let usable: u64 = rounding.map(|own| own.usable_bytes).sum();
        let lines = run
            .attributions
            .iter()
            .filter(|own| (&own.backend, own.moment) == (&row.backend, Moment::End));
        let free: u64 = lines.map(|own| own.external_fragmentation_bytes).sum();
        match row.metric {
            Metric::LiveEndBytes => row.value = live as f64,
            Metric::UsableEndBytes => row.value = usable as f64,
            Metric::PagesInUseEndBytes => row.value = (usable + free) as f64,
            Metric::ResidentEndBytes => row.value = (usable + free) as f64 + retained,
            _ => {}
        }
    }
}

/// The run with the figures at the live peak that made-up runs lack.
pub fn with_peak_figures(mut run: Run) -> Run {
    let known: Vec<_> = run
        .measurements
        .iter()
        .filter(|row| row.metric == Metric::LivePeakBytes)
        .cloned()
        .collect();
    for row in known {
        for (metric, factor) in [
            (Metric::UsableAtLivePeakBytes, 1.05),
            (Metric::PagesInUseAtLivePeakBytes, 1.2),
            (Metric::ResidentAtLivePeakBytes, 1.3),
        ] {
            let mut other = row.clone();
            (other.metric, other.value) = (metric, (row.value * factor).round());
            run.measurements.push(other);
        }
    }
    run
}
